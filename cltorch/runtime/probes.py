"""What a device can do beyond OpenCL 1.2, found out by trying.

Extension strings are no proof: some drivers list what gives wrong results, others leave out what works (NVIDIA's half arithmetic). So each
probe is a tiny kernel (kernels/probe) whose result is compared on the host. Nothing is probed before somebody asks. Compilers abort and
drivers hang, so probes run in a child process with a time limit; the answers are kept beside the compiled kernels, by device, driver
version and probe source. ``CLTORCH_DISABLE`` switches extras off by name.
"""
from __future__ import annotations

import hashlib
import inspect
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import pyopencl as cl

from .. import config
from ..config import debug
from ..store import STORE
from . import platforms, probe_checks
from .device import Device
from .facts import Facts


class Probe(NamedTuple):
    """``check`` runs in the child; ``kernel`` is its source in kernels/probe; ``means`` is what a "yes" promises."""

    check: Callable[[probe_checks.Bench], str]
    kernel: str
    means: str


PROBES = {check.__name__: Probe(check, check.__name__, (check.__doc__ or "").strip()) for check in (
    probe_checks.subgroups, probe_checks.half_arithmetic, probe_checks.local_atomics, probe_checks.command_buffers,
    probe_checks.float_atomics, probe_checks.nvidia_float_atomics, probe_checks.nvidia_mma, probe_checks.intel_matrix,
    probe_checks.amd_wmma)}
SECONDS = 60  # for all probes of a device: a driver that hangs is given up
COMMAND = "from cltorch.runtime import probes; probes.child()"
MARK = "cltorch-probe "
OFF = "off: CLTORCH_DISABLE"
IDENTITY = ("platform_name", "name", "version", "driver_version")
_LOCK = threading.Lock()
_known: dict[tuple[str, ...], dict[str, str]] = {}


def has(device: Device, name: str) -> bool:
    """Whether a device has an extra, probed at the first question. ValueError for a name that no probe has."""
    return answer(device, name) == "yes"


def answer(device: Device, name: str) -> str:
    """One probe's answer: "yes", "no: why", or "off: CLTORCH_DISABLE". ValueError for a name that no probe has."""
    if name not in PROBES:
        raise ValueError(f"there is no probe {name!r}; the probes are {', '.join(PROBES)}")
    return OFF if name in disabled() else _answers(device, [name])[name]


def results(device: Device) -> dict[str, str]:
    """Every probe's answer: "yes", "no: why", or "off: CLTORCH_DISABLE". Probes what was not asked before: seconds for a new driver."""
    off = disabled()
    answers = _answers(device, [name for name in PROBES if name not in off])
    return {name: OFF if name in off else answers[name] for name in PROBES}


def disabled() -> frozenset[str]:
    """The names in CLTORCH_DISABLE. ValueError for one that no probe has."""
    names = frozenset(word.strip() for word in config.get("DISABLE").split(",") if word.strip())
    unknown = sorted(names - set(PROBES))
    if unknown:
        raise ValueError(f"CLTORCH_DISABLE: there is no probe {unknown[0]!r}; the probes are {', '.join(PROBES)}")
    return names


def identity(device: Device | Facts) -> tuple[str, ...]:
    return tuple(getattr(device, name) for name in IDENTITY)


def _answers(device: Device, names: Sequence[str]) -> dict[str, str]:
    """Answers from memory, from disk, else from a child process."""
    if device.cl_device is None:
        return dict.fromkeys(names, "no: this machine has no OpenCL device")
    key = identity(device)
    with _LOCK:
        known = _known.get(key)
        if known is None:
            known = _known[key] = _load(key)
        missing = [name for name in names if name not in known]
        if missing:
            debug(1, f"probing {', '.join(missing)} on {device.spec} ({device.name})")
            known.update(_probe(key, missing))
            _save(key, known)
        return {name: known[name] for name in names}


def _probe(key: tuple[str, ...], names: Sequence[str]) -> dict[str, str]:
    """Run probes in child processes: one that dies or hangs is blamed on the probe it was at, and the next child goes on behind it."""
    answers: dict[str, str] = {}
    while left := [name for name in names if name not in answers]:
        lines, ending = _run_child(key, left)
        answers.update({name: answer for name, answer in lines if answer})
        at = [name for name, answer in lines if not answer and name not in answers]
        if ending and at:
            answers[at[0]] = f"no: {ending}"
        elif not all(name in answers for name in left):
            raise RuntimeError(f"the process that probes {key[1]} could not work: {ending or 'it ended early'}")
    return answers


def _run_child(key: tuple[str, ...], names: Sequence[str]) -> tuple[list[tuple[str, str]], str]:
    """What a child said, as (probe, answer; empty at its start), and how it ended; empty where it ended well."""
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    command = [sys.executable, "-c", COMMAND, json.dumps({"device": key, "names": list(names)})]
    try:
        done = subprocess.run(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)}, capture_output=True, timeout=SECONDS,
                              stdin=subprocess.DEVNULL, check=False)
        said, ending = done.stdout, _ending(done.returncode, done.stderr.decode(errors="replace").strip())
    except subprocess.TimeoutExpired as late:
        said, ending = late.stdout or b"", f"the driver did not answer within {SECONDS} seconds"
    lines = [line[len(MARK):] for line in said.decode(errors="replace").splitlines() if line.startswith(MARK)]
    return [(name, answer) for name, answer in map(json.loads, lines)], ending


def _ending(status: int, errors: str) -> str:
    """Why a child ended badly. RuntimeError where the fault is in the probe's own Python, which says nothing about the driver."""
    if not status:
        return ""
    if "Traceback (most recent call last)" in errors:
        raise RuntimeError(f"a probe failed in Python:\n{errors}")
    last = errors.rpartition("\n")[2][:200]
    return f"the driver ended the process with status {status}" + (f": {last}" if last else "")


def child() -> None:
    """The child's whole program: probe the device that the command line describes, and say each answer as it comes."""
    request = json.loads(sys.argv[1])
    wanted = tuple(request["device"])
    bench = probe_checks.Bench(next(found for found in platforms.survey() if identity(found.facts) == wanted))
    for name in request["names"]:
        say(name, "")
        say(name, judge(bench, PROBES[name]))


def judge(bench: probe_checks.Bench, probe: Probe) -> str:
    """One probe's answer; what OpenCL raises is a "no" with its words."""
    try:
        reason = probe.check(bench)
    except cl.Error as error:
        reason = probe_checks.brief(error)
    return f"no: {reason}" if reason else "yes"


def say(name: str, answer: str) -> None:
    print(f"\n{MARK}{json.dumps([name, answer])}", flush=True)  # on a line of its own, whatever the driver printed


def fingerprint(name: str) -> str:
    """Changes with what a probe does: an answer of an older probe is asked again."""
    text = probe_checks.source_of(PROBES[name].kernel) + inspect.getsource(PROBES[name].check)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def path(key: Iterable[str]) -> Path:
    """The file of a device's answers, beside the folder of compiled kernels."""
    return STORE.path("").parent.parent / "probes" / f"{hashlib.sha256(chr(0).join(key).encode()).hexdigest()}.json"


def _load(key: tuple[str, ...]) -> dict[str, str]:
    """The answers on disk whose probe is the same as today's. A torn file counts as none."""
    if not STORE.limit:
        return {}
    try:
        rows = json.loads(path(key).read_text(encoding="utf-8"))["answers"]
        return {name: answer for name, (mark, answer) in rows.items() if name in PROBES and mark == fingerprint(name)}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        debug(1, f"{path(key)} can't be used, the device is probed again: {error}")
        return {}


def _save(key: tuple[str, ...], answers: dict[str, str]) -> None:
    """Keep the answers, with the device's name for a person who looks. A read-only disk costs one debug note."""
    if not STORE.limit:
        return
    text = {"device": dict(zip(IDENTITY, key, strict=True)), "answers": {name: [fingerprint(name), answer] for name, answer in answers.items()}}
    target = path(key)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=target.parent, suffix=".tmp")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(text, file, indent=1)
        os.replace(aside, target)
    except OSError as error:
        debug(1, f"what {key[1]} can do can't be kept in {target.parent}: {error}")
