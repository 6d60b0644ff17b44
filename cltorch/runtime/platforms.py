"""Finding the OpenCL devices of this machine, those that pip installed included, best first."""
from __future__ import annotations

import functools
import re
from typing import Any, NamedTuple

import pyopencl as cl

from .. import config
from . import intel

INSTALL_HINT = 'install a driver for your GPU, or an OpenCL for the CPU from PyPI: pip install "cltorch[pocl]"'
KINDS = ("discrete GPU", "integrated GPU", "accelerator", "CPU")
GENERIC_DRIVERS = ("portable computing language", "rusticl", "clover")


class Found(NamedTuple):
    """One device of one platform. ``skip`` says why it doesn't count; empty where it does."""

    platform: Any
    device: Any
    kind: str
    skip: str


def clean(text: str) -> str:
    """Driver strings come with trailing blanks and NULs."""
    return " ".join(text.replace("\0", " ").split())


@functools.cache
def platforms() -> list[Any]:
    """The loader's platforms; an empty list where there is no implementation at all."""
    try:
        with intel.announced():
            return list(cl.get_platforms())
    except cl.Error:
        return []


def survey() -> list[Found]:
    """Every device of every platform, best first, the skipped ones with their reason (without CLTORCH_DEVICES)."""
    found = [_judge(platform, dev) for platform in platforms() for dev in _devices_of(platform)]
    return sorted(_without_duplicates(found), key=_rank)


def usable() -> list[Found]:
    """The devices that count, best first, before CLTORCH_DEVICES selects."""
    return [entry for entry in survey() if not entry.skip]


def _devices_of(platform: Any) -> list[Any]:
    try:
        return list(platform.get_devices())
    except cl.Error:  # an empty platform (Mesa's Clover) raises DEVICE_NOT_FOUND
        return []


def _judge(platform: Any, dev: Any) -> Found:
    skip = ""
    if "fpga emulation" in dev.name.lower():
        skip = "FPGA emulation"
    elif not dev.available:
        skip = "the driver says it isn't available"
    elif not dev.compiler_available:
        skip = "its driver has no compiler"
    elif not dev.endian_little:
        skip = "big-endian"
    return Found(platform, dev, kind_of(dev), skip)


def kind_of(dev: Any) -> str:
    if dev.type & cl.device_type.GPU:
        return KINDS[1] if dev.host_unified_memory else KINDS[0]
    return KINDS[3] if dev.type & cl.device_type.CPU else KINDS[2]


def quirks(entry: Found) -> frozenset[str]:
    """Named facts about a driver that kernels and launch plans may ask for."""
    text = clean(f"{entry.platform.name} {entry.device.vendor} {entry.device.version}").lower()
    marks = {"pocl": "portable computing", "rusticl": "rusticl", "oclgrind": "oclgrind", "nvidia": "nvidia", "amd": "advanced micro",
             "intel": "intel(r) opencl", "apple": "apple", "arm": "arm ", "qualcomm": "qualcomm"}
    found = {name for name, mark in marks.items() if mark in text}
    if entry.device.local_mem_type == cl.device_local_mem_type.GLOBAL:
        found.add("local_memory_is_global")
    return frozenset(found)


def _rank(entry: Found) -> tuple:
    no_fp64 = "cl_khr_fp64" not in entry.device.extensions
    return bool(entry.skip), KINDS.index(entry.kind), entry.kind == "CPU" and no_fp64


def _is_generic(entry: Found) -> bool:
    return any(word in clean(entry.platform.name).lower() for word in GENERIC_DRIVERS)


def _without_duplicates(found: list[Found]) -> list[Found]:
    """One GPU under two drivers counts once: the vendor's driver wins over PoCL and Mesa."""
    owners: dict[tuple, Any] = {}
    result = list(found)
    for i in sorted(range(len(found)), key=lambda i: _is_generic(found[i])):
        entry = found[i]
        if entry.skip or not entry.device.type & cl.device_type.GPU:
            continue
        identity = _identity(entry)
        owner = owners.setdefault(identity, entry.platform)
        if owner != entry.platform:
            result[i] = entry._replace(skip=f"the same GPU under {clean(owner.name)}")
    return result


def _identity(entry: Found) -> tuple:
    """Where the bus address can be read that names the GPU, else its name and memory."""
    dev, info = entry.device, cl.device_info
    for names in (("PCI_DOMAIN_ID_NV", "PCI_BUS_ID_NV", "PCI_SLOT_ID_NV"), ("TOPOLOGY_AMD",)):
        try:
            return _name_key(dev), *(str(dev.get_info(getattr(info, name))) for name in names)
        except (cl.Error, AttributeError):
            continue
    return (_name_key(dev),)


def _name_key(dev: Any) -> str:
    name = re.sub(r"^(pthread|cuda|basic)-", "", clean(dev.name).lower())
    return re.sub(r"\(.*?\)|[^a-z0-9 ]", "", name).strip()


def select(entries: list[Found], text: str | None = None) -> list[Found]:
    """CLTORCH_DEVICES: comma separated indices or words (name, vendor, platform, type); ``-word`` excludes."""
    words = [word.strip().lower() for word in (config.get("DEVICES") if text is None else text).split(",") if word.strip()]
    wanted = [word for word in words if not word.startswith("-")]
    dropped = [word[1:] for word in words if word.startswith("-")]
    chosen = entries if not wanted else [entry for word in wanted for entry in _matches(entries, word)]
    rejected = [entry for word in dropped for entry in _matches(entries, word)]
    return [entry for entry in dict.fromkeys(chosen) if entry not in rejected]


def nothing_found() -> str:
    """Why there is no "cuda" device, and what to do."""
    if config.get("DEVICES") and usable():
        return f"CLTORCH_DEVICES={config.get('DEVICES')!r} selects none of this machine's devices; tools/list_devices.py shows them"
    return f"no OpenCL device was found: {INSTALL_HINT}"


def _matches(entries: list[Found], word: str) -> list[Found]:
    if word.isdigit():
        return entries[int(word):int(word) + 1]
    return [entry for entry in entries
            if word in clean(f"{entry.device.name} {entry.device.vendor} {entry.platform.name} {entry.kind}").lower()]
