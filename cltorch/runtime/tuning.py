"""The profiles of a device: files of tuned numbers. core/dispatch.py checks them against the templates and hands the numbers out.

A profile is a JSON file: ``match`` names attributes of a Device with regular expressions that must fit the whole value (case doesn't
count); ``families`` maps a kernel family ("matmul/panel") to its parameters; ``level`` says how exactly it fits; ``measured`` and ``driver``
say when, how and where the numbers were found. Less exact profiles come first and are overridden: strategy, vendor, architecture, device,
then CLTORCH_PROFILE. What no profile says is the template's default.
"""
from __future__ import annotations

import functools
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from .. import config
from ..config import debug
from .device import Device

LEVELS = ("strategy", "vendor", "architecture", "device")
MATCHED = ("name", "vendor", "platform_name", "version", "driver_version", "kind", "strategy")
EXACTLY = ("name", "platform_name", "strategy")
FOLDER = Path(__file__).parent / "profiles"


def profiles(device: Device) -> tuple[dict[str, Any], ...]:
    """The profiles that fit this device, the least exact first: shipped ones, then CLTORCH_PROFILE. Each also has its ``path`` and ``own``."""
    return _fitting(device, config.get("PROFILE"))


@functools.cache
def _fitting(device: Device, own: str) -> tuple[dict[str, Any], ...]:
    found = [profile for profile in map(read, sorted(FOLDER.glob("*.json"))) if fits(profile, device)]
    found.sort(key=lambda profile: LEVELS.index(profile["level"]))
    if own:
        profile = read(Path(own).expanduser()) | {"own": True}
        if fits(profile, device):
            found.append(profile)
            _compare_drivers(profile, device)
        else:
            debug(1, f"{profile['path']} was measured on another device than {device.spec} ({device.name}): it keeps its defaults")
    debug(3, f"profiles of {device.spec} ({device.name}): {', '.join(profile['path'] for profile in found) or 'none, the defaults'}")
    return tuple(found)


def _compare_drivers(profile: dict[str, Any], device: Device) -> None:
    if profile.get("driver", device.driver_version) != device.driver_version:
        debug(1, f"{profile['path']} was measured with driver {profile['driver']}, and {device.spec} has {device.driver_version}: tune again")


def fits(profile: dict[str, Any], device: Device) -> bool:
    """Whether every named attribute of the device fits."""
    return all(re.fullmatch(pattern, getattr(device, name), re.IGNORECASE) for name, pattern in profile["match"].items())


def read(path: Path) -> dict[str, Any]:
    """A profile whose form is checked, with its ``path``. Raises ValueError that names the file and what is wrong with it."""
    try:
        profile = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"the tuning profile {path} can't be read: {error}") from error
    families = profile.get("families") if isinstance(profile, dict) else None
    if not isinstance(families, dict) or not all(isinstance(values, dict) for values in families.values()):
        raise ValueError(f'the tuning profile {path} needs "families": {{"family": {{"parameter": value}}}}')
    profile.setdefault("match", {})
    profile.setdefault("level", "device")
    unknown = [name for name in profile["match"] if name not in MATCHED]
    if unknown or profile["level"] not in LEVELS:
        raise ValueError(f"the tuning profile {path} matches on {unknown or profile['level']!r}: "
                         f"the attributes are {', '.join(MATCHED)}, the levels {', '.join(LEVELS)}")
    return profile | {"path": str(path), "own": False}


def exactly(device: Device) -> dict[str, str]:
    """The ``match`` of a profile for this device under its strategy."""
    return {name: re.escape(getattr(device, name)) for name in EXACTLY}


def save(path: str | os.PathLike, device: Device, families: dict[str, dict[str, Any]], measured: Any, level: str = "device",
         match: dict[str, str] | None = None) -> None:
    """Write a profile for exactly this device, or for what ``match`` fits. ``measured`` says when and how the numbers were found."""
    profile = {"level": level, "match": exactly(device) if match is None else match, "driver": device.driver_version,
               "measured": measured, "families": families}
    target = Path(path)
    handle, aside = tempfile.mkstemp(dir=target.parent, suffix=".tmp")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(profile, file, indent=1, sort_keys=True)
        file.write("\n")
    os.replace(aside, target)
    _fitting.cache_clear()
