"""Finding the OpenCL devices of this machine, those that pip installed included, best first."""
from __future__ import annotations

import functools
import os
import re
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import pyopencl as cl

from .. import config
from . import affinity, inline, intel, processor, quirks
from .facts import Facts, ask, clean

INSTALL_HINT = 'install a driver for your GPU, or an OpenCL for the CPU from PyPI: pip install "cltorch[pocl]"'
KINDS = ("discrete GPU", "integrated GPU", "accelerator", "CPU")
GENERIC_DRIVERS = ("portable computing language", "rusticl", "clover")
NOTHING_THERE = (cl.status_code.DEVICE_NOT_FOUND, cl.status_code.PLATFORM_NOT_FOUND_KHR)
FAILURES: dict[str, str] = {}  # the drivers that failed while they were listed, and what they said; each costs one warning


class Found(NamedTuple):
    """One device of one platform. ``skip`` says why it doesn't count; empty where it does. ``spare``: it would work if asked for.
    ``inline``: the OpenCL device that runs this one's little launches in the calling thread (inline.py)."""

    platform: Any
    device: Any
    facts: Facts
    kind: str
    skip: str = ""
    spare: bool = False
    inline: Any = None


@functools.cache
def platforms() -> list[Any]:
    """The loader's platforms; an empty list where there is no implementation at all."""
    # PoCL would make machine code twice: of this launch's size, and of any size for the binary. Ours is as fast with the second alone.
    os.environ.setdefault("POCL_WORK_GROUP_SPECIALIZATION", "0")
    try:
        with intel.announced(), inline.offered():
            return list(cl.get_platforms())
    except Exception as error:
        return _failed("the OpenCL loader", error)


def survey() -> list[Found]:
    """Every device of every platform, best first, the skipped ones with their reason (without CLTORCH_DEVICES)."""
    found = [entry for platform in platforms() for entry in _with_inline([e for dev in _devices_of(platform) for e in _judge(platform, dev)])]
    return sorted(_without_duplicates(found), key=_rank)


def usable() -> list[Found]:
    """The devices that count, best first, before CLTORCH_DEVICES selects."""
    return [entry for entry in survey() if not entry.skip]


def chosen() -> list[Found]:
    """The devices that the program gets, in its order: cuda:0, cuda:1, ..."""
    return select(survey())


def find(platform_name: str, name: str, version: str) -> Any:
    """The OpenCL device with these facts. Raises LookupError."""
    for platform in platforms():
        if clean(platform.name) == platform_name:
            for entry in (e for dev in _devices_of(platform) for e in _judge(platform, dev)):
                if (entry.facts.name, entry.facts.version) == (name, version):
                    return entry.device
    raise LookupError(f"no device {name} ({version}) of {platform_name}")


def _devices_of(platform: Any) -> list[Any]:
    try:
        with inline.offered(), affinity.spread(platform.name):
            return list(platform.get_devices())
    except Exception as error:  # whatever a driver throws; an empty platform (Mesa's Clover) raises DEVICE_NOT_FOUND
        return _failed(_name_of(platform), error)


def _judge(platform: Any, dev: Any) -> list[Found]:
    """The device and whether it counts; nothing where its driver fails to say what it is."""
    try:
        facts = processor.named(dev, ask(platform, dev))
    except Exception as error:
        return _failed(_name_of(platform), error)
    found = Found(platform, dev, facts, kind_of(facts))
    unfit = _unfit(facts)
    if unfit:
        return [found._replace(skip=unfit)]
    unwanted = "; ".join(quirk.reason for quirk in quirks.in_force(facts) if "device" in quirk.disables)
    return [found._replace(skip=unwanted, spare=bool(unwanted))]


def _with_inline(found: list[Found]) -> list[Found]:
    """A processor that a platform shows twice counts once: its other driver serves the first one's little launches."""
    result = list(found)
    for i, entry in enumerate(found):
        served = [k for k, other in enumerate(found) if not other.skip and inline.serves(entry.facts.name, other.facts.name)]
        if served and not entry.skip:
            result[i] = entry._replace(skip=f"{found[served[0]].facts.name} without threads, for its little launches", spare=True)
            if config.get("INLINE"):
                result[served[0]] = result[served[0]]._replace(inline=entry.device)
    return result


def _failed(driver: str, error: Exception) -> list[Any]:
    """A driver that fails is left out, with a warning the first time; one that merely has nothing to show isn't worth a word."""
    if not isinstance(error, cl.Error) or error.code not in NOTHING_THERE:
        said = f"{type(error).__name__}: {error}"
        if FAILURES.get(driver) != said:
            FAILURES[driver] = said
            warnings.warn(f"{driver} failed while its devices were listed, and is left out: {said}", stacklevel=2)
    return []


def _name_of(platform: Any) -> str:
    try:
        return f"the OpenCL driver {clean(platform.name)!r}"
    except Exception as error:
        return f"an OpenCL driver whose name can't be read ({error})"


def _unfit(facts: Facts) -> str:
    """Why kernels can't run there; empty where they can."""
    version = re.match(r"OpenCL (\d+)\.(\d+)", facts.version)
    if not facts.available:
        return "the driver says it isn't available"
    if not facts.compiler_available:
        return "its driver has no compiler"
    if not facts.endian_little:
        return "big-endian"
    if version is not None and (int(version[1]), int(version[2])) < (1, 2):
        return f"it has OpenCL {version[1]}.{version[2]}, and 1.2 is needed"
    if "EMBEDDED" in facts.profile and "cles_khr_int64" not in facts.extensions:
        return "its embedded profile has no 64-bit integers"
    return ""


def kind_of(facts: Facts) -> str:
    if facts.type & cl.device_type.GPU:
        return KINDS[1] if facts.host_unified_memory else KINDS[0]
    return KINDS[3] if facts.type & cl.device_type.CPU else KINDS[2]


def _rank(entry: Found) -> tuple:
    no_fp64 = "cl_khr_fp64" not in entry.facts.extensions
    return bool(entry.skip), KINDS.index(entry.kind), entry.kind == "CPU" and no_fp64


def _is_generic(entry: Found) -> bool:
    return any(word in entry.facts.platform_name.lower() for word in GENERIC_DRIVERS)


def _without_duplicates(found: list[Found]) -> list[Found]:
    """One GPU under two drivers counts once: the vendor's driver wins over PoCL and Mesa."""
    owners: list[Found] = []
    result = list(found)
    for i in sorted(range(len(found)), key=lambda i: _is_generic(found[i])):
        entry = found[i]
        if entry.skip or not entry.facts.type & cl.device_type.GPU:
            continue
        owner = next((o for o in owners if o.platform != entry.platform and _same_gpu(o.facts, entry.facts)), None)
        if owner is None:
            owners.append(entry)
        else:
            result[i] = entry._replace(skip=f"the same GPU under {owner.facts.platform_name}", spare=True)
    return result


def _same_gpu(one: Facts, other: Facts) -> bool:
    """By the bus address where both drivers tell it, else by name."""
    if one.bus and other.bus:
        return one.bus == other.bus
    return bool(_model_names(one) & _model_names(other))


def _model_names(facts: Facts) -> set[str]:
    """The name without a driver's additions: PoCL's "CUDA-", Mesa's "(radeonsi, ...)". AMD's own driver has the model in the board name."""
    return {re.sub(r"^(pthread|cuda|basic)-|\(.*?\)|[^a-z0-9 ]", "", name.lower()).strip() for name in (facts.name, facts.board) if name}


def select(entries: Sequence[Found], text: str | None = None) -> list[Found]:
    """CLTORCH_DEVICES: comma separated indices or words (name, vendor, platform, type); ``-word`` excludes.

    Indices count the devices that are used by default. A word that fits none of those may name one that is skipped but would work.
    """
    words = [word.strip().lower() for word in (config.get("DEVICES") if text is None else text).split(",") if word.strip()]
    usual, spare = [entry for entry in entries if not entry.skip], [entry for entry in entries if entry.spare]
    wanted = [word for word in words if not word.startswith("-")]
    dropped = [word[1:].strip() for word in words if word.startswith("-")]
    taken = usual if not wanted else [entry for word in wanted for entry in _matches(usual, word) or _matches(spare, word)]
    rejected = [entry for word in dropped for entry in _matches(usual, word)]
    return [entry for entry in dict.fromkeys(taken) if entry not in rejected]


def nothing_found() -> str:
    """Why there is no "cuda" device, and what to do."""
    if config.get("DEVICES") and usable():
        return f"CLTORCH_DEVICES={config.get('DEVICES')!r} selects none of this machine's devices; tools/list_devices.py shows them"
    failed = "".join(f" ({driver} failed: {said})" for driver, said in FAILURES.items())
    return f"no OpenCL device was found{failed}: {INSTALL_HINT}. tools/list_devices.py looks for the reason"


def _matches(entries: list[Found], word: str) -> list[Found]:
    if word.isdigit():
        return entries[int(word):int(word) + 1]
    return [entry for entry in entries
            if word in f"{entry.facts.name} {entry.facts.vendor} {entry.facts.platform_name} {entry.kind}".lower()]
