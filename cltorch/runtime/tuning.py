"""The tuned numbers of a device.

A profile is a JSON file: ``match`` names attributes of a Device with regular expressions that must fit the whole value (case doesn't
count); ``families`` maps a kernel family ("matmul/panel") to its parameters; ``level`` says how exactly it fits; ``measured`` says
when and how. Less exact profiles come first and are overridden: strategy, vendor, architecture, device, then CLTORCH_PROFILE.
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
from .device import Device
from .observe import debug

LEVELS = ("strategy", "vendor", "architecture", "device")
MATCHED = ("name", "vendor", "platform_name", "version", "driver_version", "kind", "strategy")
FOLDER = Path(__file__).parent / "profiles"


def tunables(device: Device, family: str) -> dict[str, Any]:
    """What is known for this device about a family: overrides for the defaults that its template declares. Empty where nothing is."""
    found = _fitting(device, config.get("PROFILE")).get(family, {})
    return dict(found)


@functools.cache
def _fitting(device: Device, own: str) -> dict[str, dict[str, Any]]:
    profiles = [profile for profile in map(read, sorted(FOLDER.glob("*.json"))) if fits(profile, device)]
    profiles.sort(key=lambda profile: LEVELS.index(profile["level"]))
    if own:
        profile = read(Path(own).expanduser())
        if fits(profile, device):
            profiles.append(profile)
    merged: dict[str, dict[str, Any]] = {}
    for profile in profiles:
        for family, values in profile["families"].items():
            merged.setdefault(family, {}).update(values)
    debug(3, f"tunables of {device.spec} ({device.name}): {merged or 'the defaults'}")
    return merged


def fits(profile: dict[str, Any], device: Device) -> bool:
    """Whether every named attribute of the device fits."""
    return all(re.fullmatch(pattern, getattr(device, name), re.IGNORECASE) for name, pattern in profile["match"].items())


def read(path: Path) -> dict[str, Any]:
    """A checked profile. Raises ValueError that names the file and what is wrong with it."""
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
    return profile


def save(path: str | os.PathLike, device: Device, families: dict[str, dict[str, Any]], measured: str) -> None:
    """Write a profile for exactly this device. ``measured`` says when and how the numbers were found."""
    profile = {"level": "device", "match": {"name": re.escape(device.name), "platform_name": re.escape(device.platform_name)},
               "measured": measured, "families": families}
    target = Path(path)
    handle, aside = tempfile.mkstemp(dir=target.parent, suffix=".tmp")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(profile, file, indent=1, sort_keys=True)
    os.replace(aside, target)
    _fitting.cache_clear()
