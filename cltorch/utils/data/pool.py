"""A DataLoader's worker processes, seen from the parent: starting, sending tasks, receiving replies, ending.

Workers never come from a fork of this process: an OpenCL context doesn't survive that. Each has two one-way pipes of its own and shares no
lock with anybody, so killing one can't block another; its death closes its pipe, which the parent notices at once.
"""
from __future__ import annotations

import itertools
import multiprocessing
import pickle
import secrets
import signal
import sys
import time
from collections.abc import Iterator
from multiprocessing.connection import wait
from typing import Any

from . import worker
from .transport import Packet, discard, pack, unpack
from .worker import Reply, Setup, Task

GRACE_SECONDS = 3.0  # for a worker to finish its sample after it was asked to stop
_GUARD_HINT = ('a script that uses num_workers > 0 must keep the code that runs at once under `if __name__ == "__main__":`, '
               "because every worker process imports the script")


def start_context(choice: Any = None) -> Any:
    """The multiprocessing context of a start method's name, a context, or the default. ValueError for fork and unknown names."""
    if choice is None:
        return _default_context()
    if isinstance(choice, str):
        methods = multiprocessing.get_all_start_methods()
        if choice not in methods:
            raise ValueError(f"multiprocessing_context option should specify a valid start method in {methods}, "
                             f"but got multiprocessing_context={choice!r}")
        choice = multiprocessing.get_context(choice)
    if not isinstance(choice, multiprocessing.context.BaseContext):
        raise TypeError("multiprocessing_context option should be a valid context object or a string specifying the start method, "
                        f"but got multiprocessing_context={choice}")
    if choice.get_start_method() == "fork":
        raise ValueError("multiprocessing_context='fork' can't be used: OpenCL does not survive a fork, and workers would hang. "
                         "Use 'forkserver' or 'spawn' (the default is chosen for you).")
    return choice


def _default_context() -> Any:
    """forkserver on Linux (one clean process imports cltorch, workers are quick copies of it); spawn elsewhere."""
    if not sys.platform.startswith("linux"):
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    if multiprocessing.get_start_method(allow_none=True) != "forkserver":  # else the program may have a preload list of its own
        context.set_forkserver_preload([worker.__name__])
    return context


def _pickle_job(job: dict[str, Any], segment: str) -> Packet:
    try:
        return pack(tuple(job.values()), segment)
    except Exception as error:
        culprit = next((name for name, value in job.items() if not _can_pickle(value)), "an argument")
        raise pickle.PicklingError(
            f"DataLoader with num_workers > 0 could not send its {culprit} to the worker processes: {error}. Workers are fresh processes: "
            "datasets, collate_fn and worker_init_fn must be picklable, so define their classes and functions at the top level of a module "
            "(no lambda, no local function, no open file or generator), or use num_workers=0.") from error


def _can_pickle(value: Any) -> bool:
    name = f"clt_{secrets.token_hex(4)}"
    try:
        pack(value, name)
    except Exception:  # any failure answers the question
        return False
    discard(name)
    return True


def _describe_exit(code: int | None) -> str:
    if code is None:
        return "its pipe closed"
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"killed by {name}" + (" (shared memory, /dev/shm, is full)" if name == "SIGBUS" else "")
    return f"exit code {code}"


class _Worker:
    def __init__(self, context: Any, setup: Setup) -> None:
        task_reader, self.tasks = context.Pipe(duplex=False)
        self.results, result_writer = context.Pipe(duplex=False)
        self.process = context.Process(target=worker.main, args=(task_reader, result_writer, setup), daemon=True)
        self.ready, self.alive, self.pending = False, True, {-1}
        try:
            self.process.start()
        except RuntimeError:
            if "__mp_main__" not in sys.modules:  # only a worker process that is importing its parent's script has this module
                raise
            raise RuntimeError(f"this worker process imported a script that starts a DataLoader's workers at once: {_GUARD_HINT}.") from None
        finally:
            task_reader.close()
            result_writer.close()

    def ask(self, message: Task | None) -> None:
        try:
            self.tasks.send(message)
        except OSError:  # it died: receiving will say so
            return
        if message is not None:
            self.pending.add(message.number)


class WorkerPool:
    """``num_workers`` processes with one job. ``send`` a Task, ``receive`` Replies, ``shutdown`` always."""

    def __init__(self, context: Any, num_workers: int, base_seed: int, job: dict[str, Any], held: int) -> None:
        self._prefix = f"clt_{secrets.token_hex(4)}"
        self._job_segment: str | None = None
        self._workers: list[_Worker] = []
        self._unread: set[str] = set()  # segments of replies that have arrived
        packet = _pickle_job(job, f"{self._prefix}_job")
        self._job_segment = packet.segment
        try:
            for i in range(num_workers):
                setup = Setup(i, num_workers, base_seed, self._prefix, packet, held)
                self._workers.append(_Worker(context, setup))
        except BaseException:
            self.shutdown()
            raise

    @property
    def alive(self) -> bool:
        return bool(self._workers)

    def send(self, worker_id: int, task: Task) -> None:
        self._workers[worker_id].ask(task)

    def receive(self, timeout: float | None) -> list[Reply]:
        """Waits for replies of any workers and gives all that are there; none after ``timeout`` seconds. RuntimeError where a worker died."""
        if not self._workers:
            raise RuntimeError("this DataLoader iterator's workers have ended: start a new epoch with iter(loader)")
        connections = {w.results: w for w in self._workers}
        ready = wait(list(connections), timeout)
        replies = [self._read(connections[connection]) for connection in ready]
        if None in replies:
            for reply in replies:
                self.drop(reply)
            self._raise_dead()
        return [reply for reply in replies if reply is not None and reply.kind != "ready"]

    def _read(self, w: _Worker) -> Reply | None:
        """The next reply, None where the worker is gone."""
        try:
            reply: Reply = w.results.recv()
        except (EOFError, OSError):
            w.alive = False
            return None
        w.pending.discard(reply.number)
        if reply.packet is not None and reply.packet.segment is not None:
            self._unread.add(reply.packet.segment)
        if reply.number < 0:
            w.ready = True
            self._free_job()
        return reply

    def drop(self, reply: Reply | None) -> None:
        """Removes what came with a reply that nobody will read."""
        if reply is not None and reply.packet is not None and reply.packet.segment is not None:
            self._unread.discard(reply.packet.segment)
            discard(reply.packet.segment)

    def open(self, reply: Reply) -> Any:
        """A reply's content; its segment is gone afterwards."""
        assert reply.packet is not None
        if reply.packet.segment is not None:
            self._unread.discard(reply.packet.segment)
        return unpack(reply.packet)

    def _free_job(self) -> None:
        if self._job_segment is not None and all(w.ready for w in self._workers):
            discard(self._job_segment)
            self._job_segment = None

    def _raise_dead(self) -> None:
        dead = [w for w in self._workers if not w.alive]
        for w in dead:
            w.process.join(1)
        pids = ", ".join(str(w.process.pid) for w in dead)
        how = ", ".join(sorted({_describe_exit(w.process.exitcode) for w in dead}))
        early = any(not w.ready for w in dead)
        self.shutdown()
        hint = f" It ended while it was starting: {_GUARD_HINT}; its own message is above." if early else ""
        raise RuntimeError(f"DataLoader worker (pid(s) {pids}) exited unexpectedly: {how}.{hint}")

    def shutdown(self) -> None:
        """Ends the workers (asked first, killed after a grace period) and removes every segment. Safe to call twice."""
        workers, self._workers = self._workers, []
        for w in workers:
            w.ask(None)
        self._drain(workers, time.monotonic() + GRACE_SECONDS)
        for w in workers:
            _end(w)
            for number in w.pending:
                discard(f"{self._prefix}_{number}")
        for name in (*self._unread, self._job_segment):
            if name is not None:
                discard(name)
        self._unread.clear()
        self._job_segment = None

    def _drain(self, workers: list[_Worker], deadline: float) -> None:
        """Throws away what still arrives until every pipe is closed: a worker must not block while it ends."""
        open_pipes = {w.results: w for w in workers if w.alive}
        while open_pipes and (left := deadline - time.monotonic()) > 0:
            for connection in wait(list(open_pipes), left):
                reply = self._read(open_pipes[connection])
                self.drop(reply)
                if reply is None:
                    del open_pipes[connection]


def _end(w: _Worker) -> None:
    for stop in (w.process.terminate, w.process.kill):
        w.process.join(1)
        if w.process.exitcode is not None:
            break
        stop()
    w.process.join(1)
    w.tasks.close()
    w.results.close()


def round_robin(active: list[bool], cycle: Iterator[int]) -> int | None:
    """The next worker that is still active, None where none is."""
    return next((i for i in itertools.islice(cycle, len(active)) if active[i]), None)

