"""PoCL on processors that are younger than its compiler.

PoCL asks LLVM what the host's processor is called and hands the answer to clang. LLVM 14, in PoCL from pip, has no name for AMD's Zen 5: it
answers "generic", which clang refuses for x86, so that no program can be built (https://github.com/pocl/pocl/issues/1049), and PoCL of that
time has no option that names the processor. Here PoCL's description of the device, in this process's memory, gets the name of an older
processor whose instructions this one has: those that later versions of PoCL choose, for the library of built-in functions that they link, too.

A name with fewer instructions than that library was compiled for keeps fma, min and their like from being inlined: products of matrices took three
times as long on a Zen 5 that was called "znver3". That is what LLVM 14 calls a Zen 4 (its own name came with LLVM 16), which therefore is renamed, too,
and so is a Zen 3 itself: the library for vectors of 32 bytes is a Haswell's, whose functions are inlined into code for a Haswell alone. That took 7 %
from a ResNet's step.
"""
from __future__ import annotations

import ctypes
import itertools
import re
from pathlib import Path
from typing import Any

from .facts import Facts

KNOWN = {  # as clang names them, best first; what Linux calls the instructions that set them apart
    "skylake-avx512": frozenset({"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl", "avx2", "fma", "bmi1", "bmi2", "clwb"}),
    "haswell": frozenset({"avx2", "fma", "f16c", "bmi1", "bmi2", "abm", "movbe"}),
    "x86-64": frozenset[str](),
}
UNKNOWN = "generic"
OUTDATED = (UNKNOWN, "znver3")
X86 = re.compile(rf"pocl.*-((?:x86_64|i[3-6]86)-\S+)-({'|'.join(OUTDATED)})$", re.IGNORECASE)  # the end of a device's version: target and processor
DESCRIBED = 1024  # bytes of a device's description in which the processor's name is looked for (PoCL 3.0: byte 640 of about 1200)


def named(dev: Any, facts: Facts) -> Facts:
    """A device's facts, after its compiler was given a name for the processor where it had none or a wrong one; the version then ends with that name.

    Raises RuntimeError where it has none and the device's description isn't found.
    """
    wrong = X86.search(facts.version)
    if wrong is None:
        return facts
    name = nearest(instructions())
    try:
        with open("/proc/self/mem", "rb", buffering=0) as memory:
            place = _pointer_to_name(memory, dev.int_ptr, wrong[1].encode(), wrong[2].encode())
    except OSError:
        place = None
    if place is None:
        if wrong[2] != UNKNOWN:
            return facts
        raise RuntimeError(f"PoCL {facts.driver_version} has a compiler that doesn't know this processor and builds nothing for it; "
                           'a newer PoCL may, Intel\'s runtime does: pip install "cltorch[intel]"')
    if place:
        strdup = ctypes.CDLL(None).strdup  # memory that PoCL may free
        strdup.restype, strdup.argtypes = ctypes.c_void_p, [ctypes.c_char_p]
        ctypes.c_void_p.from_address(place).value = strdup(name.encode())
    return facts._replace(version=facts.version.removesuffix(wrong[2]) + name)


def nearest(have: frozenset[str]) -> str:
    """The best processor of KNOWN whose instructions are among these."""
    return next(name for name, needed in KNOWN.items() if needed <= have)


def instructions() -> frozenset[str]:
    """What the processor can do, in Linux's words; empty where there is no Linux to tell."""
    told = Path("/proc/cpuinfo")
    flags = re.search(r"^flags\s*:(.*)$", told.read_text(), re.MULTILINE) if told.exists() else None
    return frozenset(flags[1].split() if flags else ())


def _pointer_to_name(memory: Any, description: int, triple: bytes, wrong: bytes) -> int | None:
    """The address of the pointer to the processor's name, which follows the pointer to the target's triple in a device's description.

    0 where the wrong name has been replaced already, None where there is no such pair.
    """
    words = memoryview(_read(memory, description, DESCRIBED)).cast("P")
    texts = [_read(memory, word, 64).partition(b"\0")[0] for word in words]
    for i, pair in enumerate(itertools.pairwise(texts)):
        if pair == (triple, wrong):
            return description + (i + 1) * words.itemsize
        if pair[0] == triple and pair[1].decode(errors="replace") in KNOWN:
            return 0
    return None


def _read(memory: Any, address: int, size: int) -> bytes:
    """So much of the process's memory, or what can be read of it: what looks like a pointer may point nowhere."""
    try:
        memory.seek(address)
        return memory.read(size)
    except (OSError, OverflowError, ValueError):
        return b""
