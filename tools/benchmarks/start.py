"""How soon a new process has trained one step: a process for each, with an empty or a filled kernel cache."""
from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable

from cltorch.tools.tune_pairs import PACKAGE

from . import training
from .case import Mode
from .contestants import find_devices, find_rivals
from .measure import sample

MODELS = {"mlp": training.mlp, "cnn": training.cnn, "resnet": training.resnet, "gpt": training.gpt}
STEPS = 20
LIMIT = 600  # seconds for a process
CHILD = """
import time
start = time.perf_counter()
import {0}
imported = time.perf_counter() - start
import json
from cltorch.tools.benchmarks.start import child
print(json.dumps(dict(child(*{1}), **{{"import": imported}})))
"""


def peak() -> int:
    """The process's largest size so far in bytes; 0 where the system doesn't say."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def child(library: str, place: str, model: str, compiled: bool, shrink: int) -> dict[str, float]:
    """Trains in this process, cltorch on the device ``place``. Seconds of the first step and of a later one; bytes."""
    contestant = find_devices([place])[0] if library == "cltorch" else find_rivals([library])[0][0]
    t, device = contestant.library, contestant.place
    (t.ones(64, 64, device=device, requires_grad=True) @ t.ones(64, 64, device=device)).sum().backward()
    contestant.wait()
    before = peak()
    step = contestant.prepare(training.case(model, MODELS[model], shrink))
    if compiled:
        step = t.compile(step)
    first, *later = (sample(Mode.STEPS, contestant, step, 1)[0] for _ in range(1 + STEPS))
    return {"first": first, "later": statistics.median(later), "memory": peak() - before}


def measure(library: str, place: str, model: str, compiled: bool, shrink: int, folder: str) -> dict[str, float] | str:
    """What ``child`` says in a process of its own with the kernel caches in ``folder``, or why it said nothing."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (PACKAGE, os.environ.get("PYTHONPATH")))),
                   "CLTORCH_CACHE_DIR": folder, "POCL_CACHE_DIR": folder, "TORCHINDUCTOR_CACHE_DIR": folder}
    command = [sys.executable, "-c", CHILD.format(library, (library, place, model, compiled, shrink))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT, env=environment)
    except subprocess.TimeoutExpired:
        return f"no answer within {LIMIT} s"
    if done.returncode:
        return (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
    return json.loads(done.stdout.splitlines()[-1])


def first_step(place: str, model: str, cold: bool) -> Callable[[], float]:
    """A call that gives the seconds of the first compiled step of a new process on the device ``place``, with no kernel cached or with all of them."""
    def seconds(folder: str) -> float:
        found = measure("cltorch", place, model, True, 1, folder)
        if isinstance(found, str):
            raise RuntimeError(found)
        return found["first"]

    def from_nothing() -> float:
        with tempfile.TemporaryDirectory() as folder:
            return seconds(folder)

    if cold:
        return from_nothing
    filled = tempfile.mkdtemp()

    def from_cache() -> float:
        return seconds(filled)

    weakref.finalize(from_cache, shutil.rmtree, filled, ignore_errors=True)
    from_cache()
    return from_cache
