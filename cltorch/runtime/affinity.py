"""A processor for each of a driver's threads.

PoCL's threads sleep between launches and are woken together. Linux then often puts two of them on one processor, and leaves them there for
milliseconds, since a thread that has just run is taken to have its data there: a product of 512 columns took 3.1 ms where it takes 2.0 (two cores of
an Intel Xeon, Linux 6.18), and the time of whatever takes 1 to 10 ms varied by 30 to 60 % from call to call, by 5 to 10 % since.
PoCL's own POCL_AFFINITY=1 takes processor 0 for the first thread, also where the process may not use it.
"""
from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from ..config import debug
from .facts import clean, is_pocl

TASKS = Path("/proc/self/task")  # Linux's list of the process's threads
CHOICE = "POCL_AFFINITY"


@contextlib.contextmanager
def spread(driver: str) -> Iterator[None]:
    """The threads that PoCL starts within the block get a processor each, where they are as many as the process may use.

    The user's choice stays: POCL_AFFINITY=0 leaves them where the system puts them. ``driver``: the platform's name; others start threads that only wait.
    """
    if not is_pocl(clean(driver)) or CHOICE in os.environ or not TASKS.is_dir():
        yield
        return
    before = _threads()
    yield
    started, processors = sorted(_threads() - before), sorted(os.sched_getaffinity(0))
    if len(started) != len(processors):
        return
    for thread, processor in zip(started, processors, strict=True):
        try:
            os.sched_setaffinity(thread, {processor})
        except OSError as error:  # a sandbox may forbid it
            debug(1, f"a driver's thread stays where the system puts it: {error}")


def _threads() -> set[int]:
    return {int(entry.name) for entry in TASKS.iterdir()}
