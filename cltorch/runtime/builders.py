"""Kernels compiled by other processes while this one goes on.

A first training step needs 30 to 40 kernels that no cache has. PoCL takes 0.1 to 0.8 s for one and compiles one at a time in a process, however
many threads ask; meanwhile no other Python thread runs (pyopencl holds the GIL). So a kernel that isn't built yet is a ``Job``; launches that need
it wait in line (submission.py), the program goes on, and helper processes compile what waits, one for each processor. On two cores the first
step of a small ResNet took 13.9 s and takes 7.5; of a GPT 12.5 and 7.0.

A helper is a new Python that opens the same device, gets texts and returns binaries. It ends after ``IDLE`` seconds without work, and with this process.
"""
from __future__ import annotations

import atexit
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pyopencl as cl

from .. import config
from ..config import debug
from . import platforms
from .builtins import HEADER_READ

if TYPE_CHECKING:
    from .device import Device

MOST = 8          # helpers, each with a compiler of 100 to 200 MB
BACKLOG = 2       # jobs that wait for each helper there is: more are worth another one's start, which takes half a second
IDLE = 10.0
Where = tuple[str, str, str]  # platforms.find
ALONE = {"OPENBLAS_NUM_THREADS": "1"}  # NumPy's threads would turn in circles for a while after their start, on processors that compile
NO_CACHE: Any = False  # pyopencl keeps a cache of its own, without the code that is generated at a launch
BOOT = """
import sys, types
package = types.ModuleType("cltorch")  # without what the package imports for its users
package.__path__ = [sys.argv[1]]
sys.modules["cltorch"] = package
from cltorch.runtime import builders
builders.serve()
"""


class Job:
    """A program that has to be compiled: ``text`` with ``options`` for the device that ``where`` names.

    ``here()`` compiles it in this process, ``keep(binary)`` takes what a helper made; ``done`` is set after either, and where a helper failed.
    """

    __slots__ = ("done", "here", "keep", "options", "pool", "text")

    def __init__(self, where: Where, text: str, options: tuple[str, ...], here: Callable[[], None], keep: Callable[[bytes], None]) -> None:
        self.text, self.options, self.here, self.keep = text, options, here, keep
        self.done = threading.Event()
        self.pool = POOLS[where]
        self.pool.add(self)

    def finish(self) -> None:
        """Return when it is done: compiled here, where no helper can."""
        if self.pool.take(self):
            try:
                self.here()
            finally:
                self.done.set()
        self.done.wait()


class Pool:
    """The jobs for a device that nobody has begun, and those that the threads have ``begun``: each hands them to a helper, the longest first, so that no
    helper is left with a long one while the others have none; so many are ``ready``."""

    def __init__(self, where: Where) -> None:
        self.where = where
        self.jobs: list[Job] = []
        self.begun: set[Job] = set()
        self.changed = threading.Condition()
        self.threads = self.ready = 0

    def add(self, job: Job) -> None:
        with self.changed:
            self.jobs.append(job)
            self.changed.notify()
            if len(self.jobs) > BACKLOG * self.threads and self.threads < most():
                self.threads += 1
                threading.Thread(target=self._work, name="cltorch builder", daemon=True).start()

    def take(self, job: Job) -> bool:
        """Whether the caller has to compile ``job``, because no helper is there to do so."""
        with self.changed:
            alone = not self.ready and job in self.jobs
            if alone:
                self.jobs.remove(job)
            return alone

    def _next(self) -> Job | None:
        """What to do next. None after a while without work: the helper isn't ready any more."""
        with self.changed:
            if self.changed.wait_for(lambda: self.jobs, IDLE):
                job = max(self.jobs, key=lambda job: len(job.text))
                self.jobs.remove(job)
                self.begun.add(job)
                return job
            self.ready -= 1
            return None

    def _work(self) -> None:
        """A helper's thread."""
        ready = False
        try:
            with Helper() as helper:
                helper.ask(self.where)
                with self.changed:
                    self.ready += 1
                ready = True
                while (job := self._next()) is not None:
                    try:
                        binary = helper.ask((job.text, job.options))
                        if binary is not None:
                            job.keep(binary)
                    finally:
                        self.begun.discard(job)
                        job.done.set()
                ready = False
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            _State.broken = True
            debug(1, f"kernels are compiled in this process alone from now on, because a helper failed: {error!r}")
        finally:
            self._leave(ready)

    def _leave(self, ready: bool) -> None:
        """A thread ends. Where no helper is left, who needs a kernel compiles it."""
        with self.changed:
            self.threads -= 1
            self.ready -= ready
            left = [] if self.ready else list(self.jobs)
            for job in left:
                self.jobs.remove(job)
                job.done.set()


class Helper:
    """A process that compiles for one device. OSError, EOFError where it can't be started or ends."""

    def __init__(self) -> None:
        paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
        command = [sys.executable, "-c", BOOT, str(Path(__file__).resolve().parent.parent)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None if config.get("DEBUG") else subprocess.DEVNULL,
                                        env={**os.environ, **ALONE, "PYTHONPATH": paths, "PYTHONSAFEPATH": "1"})
        _State.helpers.add(self)

    def ask(self, what: Any) -> Any:
        """First the device, then programs. The binary; None where the driver has an error to tell, which who needs the program will meet, too."""
        questions, answers = self.process.stdin, self.process.stdout
        assert questions is not None and answers is not None
        pickle.dump(what, questions)
        questions.flush()
        return pickle.load(answers)

    def __enter__(self) -> Helper:
        return self

    def __exit__(self, *error: object) -> None:
        _State.helpers.discard(self)
        self.process.kill()
        self.process.communicate()


class _State:
    """The process's helpers, and whether one has failed."""

    helpers: ClassVar[set[Helper]] = set()
    broken = False


class _Pools(dict[Where, Pool]):
    def __missing__(self, where: Where) -> Pool:
        found = self[where] = Pool(where)
        return found


POOLS = _Pools()


def place(device: Device) -> Where:
    """By what a helper finds a device."""
    return device.platform_name, device.name, device.version


def most() -> int:
    """How many helpers there may be."""
    if _State.broken or not sys.executable or getattr(sys, "frozen", False):  # a frozen program would start itself again
        return 0
    chosen = config.get("BUILDERS")
    if chosen != "":
        return chosen
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(processors, MOST) if processors > 1 else 0


def wait() -> bool:
    """Return when nothing is left to compile. Whether something was."""
    left = [job for pool in POOLS.values() for job in (*pool.jobs, *pool.begun)]
    for job in left:
        job.finish()
    return bool(left)


def serve() -> None:
    """The helper's side. Its standard output is for answers alone."""
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    device = platforms.find(*pickle.load(questions))
    context = cl.Context([device])
    answer: Any = _binary(context, device, "__kernel void nothing() {}", (HEADER_READ,)) is not None  # reads the compiler's library
    while True:
        pickle.dump(answer, answers)
        answers.flush()
        try:
            text, options = pickle.load(questions)
        except EOFError:
            return
        answer = _binary(context, device, text, options)


def _binary(context: Any, device: Any, text: str, options: tuple[str, ...]) -> bytes | None:
    try:
        return cl.Program(context, text).build(list(options), [device], cache_dir=NO_CACHE).get_info(cl.program_info.BINARIES)[0]
    except cl.Error:
        return None


def _end() -> None:
    for helper in list(_State.helpers):
        helper.process.kill()


def _forget() -> None:
    """In a forked child: threads and helpers are the parent's."""
    POOLS.clear()
    _State.helpers.clear()


atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
