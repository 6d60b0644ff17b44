"""The OpenCL implementations that the tests know by name: how each is recognised, made visible, and installed.

``--device NAME`` puts one first ("cuda:0"), ``--device all`` runs pytest once for each that is here, and the summary names every one.
"""
from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, MutableMapping, Sequence
from typing import NamedTuple

from cltorch.runtime import platforms

STRATEGIES = ("wide", "grid")


class Implementation(NamedTuple):
    name: str
    title: str
    install: str
    recognise: Callable[[str, str], bool]  # lower-case platform name, driver version
    cpu_only: bool = True


def _is_pocl(platform: str) -> bool:
    return "portable computing language" in platform


TABLE = {i.name: i for i in (
    Implementation("pocl", "PyPI's PoCL", 'pip install "cltorch[pocl]"', lambda p, v: _is_pocl(p) and "debian" not in v),
    Implementation("debian-pocl", "Debian's PoCL", "apt-get install pocl-opencl-icd", lambda p, v: _is_pocl(p) and "debian" in v),
    Implementation("rusticl", "Mesa's rusticl", "apt-get install mesa-opencl-icd", lambda p, v: "rusticl" in p, cpu_only=False),
    Implementation("intel", "Intel's CPU runtime", 'pip install "cltorch[intel]"', lambda p, v: "intel(r) opencl" in p),
)}

ALWAYS_DOUBLE = ("float_power",)  # operators that compute in float64 whatever they are given, as in PyTorch


def make_visible(environment: MutableMapping[str, str]) -> None:
    """Settings without which an installed implementation shows no device. Before anything looks for devices."""
    environment.setdefault("RUSTICL_ENABLE", "llvmpipe")


def name_of(entry: platforms.Found) -> str | None:
    """The implementation that a device belongs to; None for another driver's, a GPU's for instance."""
    platform, version = platforms.clean(entry.platform.name).lower(), platforms.clean(entry.device.driver_version).lower()
    return next((i.name for i in TABLE.values() if i.recognise(platform, version) and (entry.kind == "CPU" or not i.cpu_only)), None)


def here() -> dict[str, int]:
    """The implementations on this machine: name -> index of its first device among the usable ones."""
    found: dict[str, int] = {}
    for index, entry in enumerate(platforms.usable()):
        name = name_of(entry)
        if name is not None:
            found.setdefault(name, index)
    return found


def missing(name: str) -> str:
    """Why an implementation can't be tested here, and what to do."""
    if name == "rusticl" and any("rusticl" in p.name.lower() for p in platforms.platforms()):
        return f"installed, but it shows no device (RUSTICL_ENABLE={os.environ.get('RUSTICL_ENABLE', '')})"
    return f"not installed ({TABLE[name].install})"


def choose(name: str | None, strategy: str | None, environment: MutableMapping[str, str]) -> None:
    """Set what makes ``name`` the first OpenCL device and ``strategy`` its strategy. LookupError where it is missing."""
    make_visible(environment)
    if strategy:
        environment["CLTORCH_STRATEGY"] = strategy
    if name:
        index = here().get(name)
        if index is None:
            raise LookupError(f"--device {name}: {TABLE[name].title} is {missing(name)}")
        others = (i for i in range(len(platforms.usable())) if i != index)
        environment["CLTORCH_DEVICES"] = ",".join(map(str, (index, *others)))


def runs(device: str | None, strategy: str | None) -> list[tuple[str | None, str | None]]:
    """The (device, strategy) pairs that the options ask for; "all" leaves the missing devices out."""
    devices = [name for name in TABLE if name in here()] if device == "all" else [device]
    return [(d, s) for d in devices for s in (STRATEGIES if strategy == "both" else (strategy,))]


def run_each(pairs: Sequence[tuple[str | None, str | None]], arguments: Sequence[str]) -> int:
    """One pytest after the other (a process sees its devices once). Returns the worst exit status, after a line for each."""
    results = []
    for device, strategy in pairs:
        options = [text for option, value in (("--device", device), ("--strategy", strategy)) if value for text in (option, value)]
        print(f"\n== pytest {' '.join(options)}", flush=True)
        status = subprocess.run([sys.executable, "-m", "pytest", *arguments, *options], check=False).returncode
        results.append((" ".join(options), status))
    print("\n== runs")
    for text, status in results:
        print(f"{'passed' if status == 0 else f'failed ({status})':<10} pytest {text}")
    return max(status for _, status in results)


def summary(tested: str | None, strategy: str, without_fp64: int) -> list[str]:
    """A line for each implementation: the tests ran on it, it was not chosen, or it is missing and why."""
    found, lines = here(), []
    note = f", {without_fp64} tests skipped because it has no fp64" if without_fp64 else ""
    for name, implementation in TABLE.items():
        if name == tested:
            lines.append(f"tested   {implementation.title} (strategy {strategy}{note})")
        elif name in found:
            lines.append(f"present  {implementation.title}: not chosen (--device {name})")
        else:
            lines.append(f"missing  {implementation.title}: {missing(name)}")
    simulator = shutil.which("oclgrind")
    lines.append("present  Oclgrind: tools/check_kernels.py runs the kernels in it" if simulator else
                 "missing  Oclgrind: not installed (apt-get install oclgrind)")
    return lines

