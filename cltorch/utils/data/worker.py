"""What runs inside a DataLoader's worker process."""
from __future__ import annotations

import os
import queue
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory
from typing import Any, NamedTuple

from .dataset import IterableDataset
from .fetch import make_fetcher
from .seeding import seed_process
from .transport import CREATING, HOLD_SEGMENTS, Packet, pack, unpack

_STARTING = ("while starting DataLoader worker process {} (what the dataset is made of must be importable there: "
             "from a module or a guarded script, not from an interactive session)")


class WorkerInfo(NamedTuple):
    """``id`` (0 to ``num_workers`` - 1), ``num_workers``, ``seed``, ``dataset``: this worker's own copy."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


class Setup(NamedTuple):
    """What a worker is told at its start. ``job`` holds the pickled (dataset, collate_fn, worker_init_fn, batched, drop_last)."""

    worker_id: int
    num_workers: int
    base_seed: int
    prefix: str
    job: Packet
    held: int


class Task(NamedTuple):
    """Fetch this ``index`` (a list of them where samples are batched). ``epoch`` rises where an iterable dataset starts over."""

    number: int
    epoch: int
    index: Any


class Reply(NamedTuple):
    """``kind``: ready, batch, end (an iterable dataset is exhausted) or error. ``number``: the task's; -1 with ready."""

    worker_id: int
    number: int
    epoch: int
    kind: str
    packet: Packet | None


class Failure(NamedTuple):
    """An exception on its way to the parent: its type where that can travel, and its traceback as text."""

    type: type[BaseException]
    text: str
    where: str

    def reraise(self) -> None:
        """Raises the original type with the worker's traceback as its message; RuntimeError where the type takes no single text."""
        message = f"Caught {self.type.__name__} {self.where}.\nOriginal {self.text}"
        if issubclass(self.type, KeyError):  # KeyError shows the repr of its argument, which would escape the line breaks
            raise self.type(_Verbatim(message))
        try:
            error = self.type(message)
        except Exception:  # a constructor of the user's own may raise anything
            error = RuntimeError(message)
        raise error


class _Verbatim(str):
    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


_info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """Inside a DataLoader's worker: its id, num_workers, seed and dataset copy. None in the main process."""
    return _info


class _Inbox:
    """Tasks as they arrive, read by a thread: the parent never blocks while it sends, and its death ends this process at once."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._queue: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._stopping = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while True:
            try:
                task = self._connection.recv()
            except (EOFError, OSError):
                with CREATING:
                    os._exit(0)  # the parent is gone
            self._stopping |= task is None
            self._queue.put(task)

    def __iter__(self) -> Iterator[Task]:
        while (task := self._queue.get()) is not None and not self._stopping:
            yield task


class _Outbox:
    def __init__(self, connection: Connection, setup: Setup) -> None:
        self._connection, self._setup = connection, setup
        self._held: deque[SharedMemory] = deque()

    def _hold(self, segment: SharedMemory) -> None:
        """Keeps the newest segments open: the parent has attached to older ones before it sent the task that is now done."""
        self._held.append(segment)
        if len(self._held) > self._setup.held:
            self._held.popleft().close()

    def send(self, number: int, epoch: int, kind: str, content: Any = None) -> None:
        name = f"{self._setup.prefix}_{number}"
        packet = None if content is None else pack(content, name, self._hold if HOLD_SEGMENTS else None)
        self._connection.send(Reply(self._setup.worker_id, number, epoch, kind, packet))

    def send_error(self, number: int, epoch: int, error: Exception, where: str) -> None:
        failure = Failure(type(error), traceback.format_exc(), where)
        try:
            self.send(number, epoch, "error", failure)
        except Exception:  # the type can't be pickled (a local class): its name is in the text
            self.send(number, epoch, "error", failure._replace(type=RuntimeError))


class _Loop:
    def __init__(self, setup: Setup, outbox: _Outbox) -> None:
        self._id, self._outbox = setup.worker_id, outbox
        self._where = f"in DataLoader worker process {setup.worker_id}"
        self._dataset, self._collate, init, self._batched, self._drop_last = unpack(setup.job, keep=True)
        self._fetch: Callable[[Any], Any] | None = None
        self._epoch = -1
        self._init_error: Exception | None = None
        self._start(setup, init)

    def _start(self, setup: Setup, init: Callable[[int], Any] | None) -> None:
        global _info
        seed = setup.base_seed + setup.worker_id
        seed_process(seed)
        _info = WorkerInfo(setup.worker_id, setup.num_workers, seed, self._dataset)
        if init is not None:
            init(setup.worker_id)

    def _fetcher(self, epoch: int) -> Callable[[Any], Any]:
        if self._fetch is None or (epoch != self._epoch and isinstance(self._dataset, IterableDataset)):
            self._fetch = make_fetcher(self._dataset, self._batched, self._collate, self._drop_last)
        self._epoch = epoch
        return self._fetch

    def run(self, task: Task) -> None:
        try:
            batch = self._fetcher(task.epoch)(task.index)
            self._outbox.send(task.number, task.epoch, "batch", (batch,))
        except StopIteration as stop:
            if isinstance(self._dataset, IterableDataset):
                self._outbox.send(task.number, task.epoch, "end")
            else:
                self._outbox.send_error(task.number, task.epoch, stop, self._where)
        except Exception as error:  # whatever the dataset raises is raised again in the parent
            self._outbox.send_error(task.number, task.epoch, error, self._where)


def main(tasks: Connection, results: Connection, setup: Setup) -> None:
    """A worker process: sets up, says ready, answers every task with one reply, ends on None or with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its workers
    inbox, outbox = _Inbox(tasks), _Outbox(results, setup)
    try:
        loop = _Loop(setup, outbox)
    except Exception as error:  # unpickling the dataset or worker_init_fn failed: the parent says so
        outbox.send_error(-1, 0, error, _STARTING.format(setup.worker_id))
        return
    outbox.send(-1, 0, "ready")
    try:
        for task in inbox:
            loop.run(task)
    except BrokenPipeError:  # the parent is ending
        return
