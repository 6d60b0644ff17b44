"""One epoch of a DataLoader: in this process, or through a pool of workers."""
from __future__ import annotations

import itertools
import time
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .dataset import IterableDataset
from .fetch import make_fetcher
from .pool import WorkerPool, round_robin
from .seeding import draw_seed
from .worker import Reply, Task

if TYPE_CHECKING:
    from .dataloader import DataLoader


def _indices(loader: DataLoader) -> Iterator[Any]:
    """What to fetch, batch by batch; for an iterable dataset only the batches' sizes matter and there is no end."""
    if isinstance(loader.dataset, IterableDataset):
        return itertools.repeat(None if loader.batch_size is None else [None] * loader.batch_size)
    return iter(loader.sampler if loader.batch_sampler is None else loader.batch_sampler)


class SingleProcessIterator:
    """Fetches each batch when it is asked for."""

    def __init__(self, loader: DataLoader) -> None:
        draw_seed(loader.generator)  # as with workers: an epoch takes one draw, so num_workers doesn't change later random numbers
        self._loader = loader
        self._indices = _indices(loader)
        self._fetch = make_fetcher(loader.dataset, loader.batched, loader.collate_fn, loader.drop_last)

    def __iter__(self) -> SingleProcessIterator:
        return self

    def __next__(self) -> Any:
        return self._fetch(next(self._indices))

    def __len__(self) -> int:
        return len(self._loader)


class MultiProcessIterator:
    """Keeps ``prefetch_factor`` tasks per worker under way, hands them out in turn and gives results back in order."""

    def __init__(self, loader: DataLoader) -> None:
        self._loader = loader
        self._ahead = loader.prefetch_factor or 2
        self._epoch, self._number = -1, 0
        job = {"dataset": loader.dataset, "collate_fn": loader.collate_fn, "worker_init_fn": loader.worker_init_fn,
               "batched": loader.batched, "drop_last": loader.drop_last}
        self._pool = WorkerPool(loader.context(), loader.num_workers, draw_seed(loader.generator), job, self._ahead)
        self._close = weakref.finalize(self, self._pool.shutdown)
        self._begin()

    def _begin(self) -> None:
        self._epoch += 1
        self._indices = _indices(self._loader)
        self._exhausted = False
        self._active = [True] * self._loader.num_workers
        self._turns = itertools.cycle(range(self._loader.num_workers))
        self._waiting: dict[int, Reply | None] = {}  # task number -> its reply, None while it is under way; in order
        for _ in range(self._ahead * self._loader.num_workers):
            self._assign()

    @property
    def alive(self) -> bool:
        return self._pool.alive

    def restart(self) -> MultiProcessIterator:
        """A new epoch with the same workers; results of an unfinished one are thrown away when they arrive."""
        draw_seed(self._loader.generator)
        for reply in self._waiting.values():
            self._pool.drop(reply)
        self._begin()
        return self

    def _assign(self) -> None:
        worker_id = None if self._exhausted else round_robin(self._active, self._turns)
        if worker_id is None:
            return
        try:
            index = next(self._indices)
        except StopIteration:
            self._exhausted = True
            return
        self._waiting[self._number] = None
        self._pool.send(worker_id, Task(self._number, self._epoch, index))
        self._number += 1

    def __iter__(self) -> MultiProcessIterator:
        return self

    def __len__(self) -> int:
        return len(self._loader)

    def __next__(self) -> Any:
        while (reply := self._next_reply()) is not None:
            self._assign()
            if reply.kind == "end":
                continue
            content = self._pool.open(reply)
            if reply.kind == "error":
                content.reraise()
            return content[0]
        self._finish()
        raise StopIteration

    def _next_reply(self) -> Reply | None:
        """The reply whose turn it is; None when no task is left."""
        limit = self._loader.timeout
        deadline = time.monotonic() + limit if limit > 0 else None
        while self._waiting:
            number = self._due()
            if number is not None:
                return self._waiting.pop(number)
            self._receive(deadline)
        return None

    def _due(self) -> int | None:
        candidates = itertools.islice(self._waiting, 1) if self._loader.in_order else self._waiting
        return next((number for number in candidates if self._waiting[number] is not None), None)

    def _receive(self, deadline: float | None) -> None:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        replies = self._pool.receive(left)
        if left == 0.0 and not replies:
            self._close()
            raise RuntimeError(f"DataLoader timed out after {self._loader.timeout} seconds: no batch came from its workers. "
                               "Give a longer timeout=, or find out what the dataset waits for.")
        for reply in replies:
            self._accept(reply)

    def _accept(self, reply: Reply) -> None:
        if reply.number < 0:  # a worker could not start
            failure = self._pool.open(reply)
            self._close()
            failure.reraise()
        if reply.epoch != self._epoch:
            self._pool.drop(reply)
            return
        if reply.kind == "end":
            self._active[reply.worker_id] = False
        self._waiting[reply.number] = reply

    def _finish(self) -> None:
        if not self._loader.persistent_workers:
            self._close()
