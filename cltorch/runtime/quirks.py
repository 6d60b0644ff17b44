"""What devices are known to get wrong, and what is switched off for it.

To add one: a row with a predicate on the device's facts, the features that go, the reason, and the evidence: a link, or a test that
fails without the row. ``list_devices --verbose`` shows the rows in force.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .facts import Facts, is_pocl

FEATURES = {
    "device": "it isn't used unless CLTORCH_DEVICES names it",
    "wide": "its kernels use the grid strategy unless CLTORCH_STRATEGY says otherwise",
    "char_constants": "constants that ?: chooses in programs with 8-bit integers are hidden from its compiler",
    "group_loop": "kernels tell its compiler again that a work-group has the size that they declare",
    "loop_vectors": "loops of its kernels that compute more than they read say how wide their vectors are to be",
    "header": "its compiler gets declarations of the functions that a program calls instead of its own of all",
    "one_compiler": "kernels that aren't in the cache are compiled by several processes, while launches that need them wait in line",
}


class Quirk(NamedTuple):
    """One thing that a kind of device gets wrong. ``disables`` names FEATURES."""

    name: str
    applies: Callable[[Facts], bool]
    disables: frozenset[str]
    reason: str
    evidence: str


TABLE = (
    Quirk("fpga_emulator", lambda facts: "fpga emulation" in facts.name.lower(), frozenset({"device"}),
          "an emulator for the designers of FPGA kernels: it runs on the CPU, slowly, and is often listed first",
          "https://github.com/commaai/openpilot/issues/35405"),
    Quirk("llvmpipe_loops", lambda facts: facts.name.lower().startswith("llvmpipe"), frozenset({"wide"}),
          "it ends a work-item's loops after 65535 turns in all (LP_MAX_TGSI_LOOP_ITERATIONS in Mesa) and leaves the rest undone without an error, "
          "so work-items must be small and many",
          "tests/test_platforms.py::test_long_loops_run_to_their_end"),
    Quirk("llvmpipe_char_constants", lambda facts: facts.name.lower().startswith("llvmpipe") and facts.driver_version.startswith("22."),
          frozenset({"char_constants"}),
          "Mesa 22.3's compiler crashes or computes nonsense where an 8-bit value and a constant meet in ?: (o[i] = x < 0 ? 7 : x)",
          "tests/test_faults.py::test_a_constant_that_meets_a_char"),
    Quirk("pocl_group_loop", lambda facts: is_pocl(facts.platform_name) and facts.driver_version.startswith("3.0"), frozenset({"group_loop"}),
          "PoCL 3.0's generic machine code has three loops over a group's work-items and unrolls them around the kernel's own, even where the kernel declares "
          "a group of one: six times the instructions, and twice the time to compile",
          "tests/test_runtime_program.py::test_a_declared_group_is_compiled_without_loops_around_it"),
    Quirk("pocl_loop_vectors", lambda facts: is_pocl(facts.platform_name) and facts.native_vector_width_float == 16, frozenset({"loop_vectors"}),
          "clang's loops use vectors of 256 bits where the processor has 512, for the sake of older ones' clocks: exp, tanh and gelu of 4 M floats take "
          "1.4 to 1.9 times as long on a Zen 5",
          "tests/test_runtime_program.py::test_loops_use_whole_vectors"),
    Quirk("pocl_header", lambda facts: is_pocl(facts.platform_name), frozenset({"header"}),
          "it reads clang's declarations of all 14,000 built-in functions for each program: 75 of the 88 ms that a small one takes",
          "tests/test_runtime_program.py::test_short_declarations_save_the_compiler_a_megabyte"),
    Quirk("pocl_one_compiler", lambda facts: is_pocl(facts.platform_name), frozenset({"one_compiler"}),
          "it compiles one kernel at a time in a process, however many threads ask, and takes 0.1 to 0.8 s for one",
          "tests/test_runtime_builders.py::test_helpers_compile_what_waits"),
)


def in_force(facts: Facts) -> tuple[Quirk, ...]:
    """The rows that fit a device."""
    return tuple(quirk for quirk in TABLE if quirk.applies(facts))


def disabled(facts: Facts) -> frozenset[str]:
    """The features that are switched off on a device."""
    return frozenset[str]().union(*(quirk.disables for quirk in in_force(facts)))
