"""What devices are known to get wrong, and what is switched off for it.

To add one: a row with a predicate on the device's facts, the features that go, the reason, and the evidence: a link, or a test that
fails without the row. ``list_devices --verbose`` shows the rows in force.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pyopencl as cl

from .facts import Facts

FEATURES = {
    "device": "it isn't used unless CLTORCH_DEVICES names it",
    "grid": "its kernels use the wide strategy, also under CLTORCH_STRATEGY=grid",
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
    Quirk("apple_cpu", lambda facts: facts.platform_name.lower() == "apple" and bool(facts.type & cl.device_type.CPU), frozenset({"grid"}),
          "kernels with barriers may only have one work-item a group",
          "https://github.com/clMathLibraries/clBLAS/issues/25"),
)


def in_force(facts: Facts) -> tuple[Quirk, ...]:
    """The rows that fit a device."""
    return tuple(quirk for quirk in TABLE if quirk.applies(facts))


def disabled(facts: Facts) -> frozenset[str]:
    """The features that are switched off on a device."""
    return frozenset[str]().union(*(quirk.disables for quirk in in_force(facts)))
