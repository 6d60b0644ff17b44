"""Where a run happened: what somebody needs to know who compares its numbers with others."""
from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cltorch
from cltorch import config
from cltorch.runtime import tuning
from cltorch.runtime.allocator import physical_memory

from .contestants import Cltorch, Contestant

PACKAGES = ("pyopencl", "numpy", "mako", "pocl-binary-distribution", "intel-opencl-rt", "torch", "tinygrad")
ROOT = Path(cltorch.__file__).resolve().parent.parent


def environment(options: dict[str, Any]) -> dict[str, Any]:
    """The machine, the versions, the variables that change how cltorch computes, the options of this run, and when."""
    return {
        "when": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"), "options": options,
        "os": platform.platform(), "machine": platform.machine(), "python": f"{platform.python_implementation()} {platform.python_version()}",
        "cpu": cpu_model(), "cores": os.cpu_count(), "memory": physical_memory(), "cltorch": cltorch.__version__, "commit": commit(),
        "versions": {name: version for name in PACKAGES if (version := installed(name))},
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "variables": {f"CLTORCH_{name}": os.environ[f"CLTORCH_{name}"] for name in config.TABLE if f"CLTORCH_{name}" in os.environ},
    }


def describe(contestant: Contestant) -> dict[str, Any]:
    """A contestant as plain values. A rival says its library's version, a device what its driver says."""
    known = {"label": contestant.label, "library": contestant.name, "version": installed(contestant.name) or cltorch.__version__}
    if not isinstance(contestant, Cltorch):
        return {**known, "name": f"{contestant.name} on {place_name(contestant)}", "threads": threads(contestant), "kind": contestant.kind}
    dev = contestant.device
    return {
        **known, "name": dev.name, "vendor": dev.vendor, "kind": dev.kind, "platform": dev.platform_name, "opencl": dev.version,
        "driver": dev.driver_version, "compute_units": dev.compute_units, "memory": dev.global_mem_size, "local_memory": dev.local_mem_size,
        "fp64": dev.has_fp64, "strategy": dev.strategy, "profiles": profiles(dev),
    }


def place_name(contestant: Contestant) -> str:
    place = str(contestant.place)
    return contestant.library.cuda.get_device_name(place) if contestant.name == "torch" and place != "cpu" else f"{place} ({cpu_model()})"


def threads(contestant: Contestant) -> int | None:
    return contestant.library.get_num_threads() if contestant.name == "torch" else os.cpu_count()


def profiles(dev: Any) -> list[str]:
    """The tuned profiles that fit a device, those shipped first, then CLTORCH_PROFILE."""
    own = config.get("PROFILE")
    paths = [*sorted(tuning.FOLDER.glob("*.json")), *([Path(own).expanduser()] if own else [])]
    return [path.stem for path in paths if tuning.fits(tuning.read(path), dev)]


def installed(name: str) -> str:
    """A distribution's version, "" where there is none."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def commit() -> str:
    """The checkout's commit, with + where files differ from it; "" for an installed package."""
    if not (ROOT / ".git").exists():
        return ""
    ask = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def cpu_model() -> str:
    """The processor's name, as well as the system tells it."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        names = [line.split(":", 1)[1].strip() for line in information.read_text().splitlines() if line.startswith("model name")]
        if names:
            return names[0]
    return platform.processor() or platform.machine()


def busy(found: dict[str, Any]) -> str:
    """A warning where other programs were running when the run began."""
    if (found["load"] or 0) < 0.5 * found["cores"]:
        return ""
    return f"This machine is busy (load {found['load']} on {found['cores']} cores): expect low figures and wide spreads."


def legend(contestants: Sequence[dict[str, Any]]) -> list[str]:
    """Who each label is, for the terminal."""
    return [line for who in contestants for line in textwrap.wrap(f"{who['label']:14} {details(who)}", 120, subsequent_indent=15 * " ")]


def details(who: dict[str, Any]) -> str:
    if "driver" not in who:
        return f"{who['name']}, version {who['version']}, {who['threads']} threads"
    return (f"{who['name']}, {who['platform']}, {' '.join(who['opencl'].split()[:2])}, driver {who['driver']}, strategy {who['strategy']}, "
            f"tuned profile: {' + '.join(who['profiles']) or 'none, the defaults'}")
