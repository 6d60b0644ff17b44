"""DataLoader: batches of a dataset, in this process or from worker processes.

Source: https://docs.pytorch.org/docs/stable/data.html
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from .collate import default_collate, default_convert
from .dataset import Dataset, IterableDataset
from .iterators import MultiProcessIterator, SingleProcessIterator
from .pool import start_context
from .sampler import BatchSampler, RandomSampler, Sampler, SequentialSampler

T_co = TypeVar("T_co", covariant=True)
_FIXED = frozenset(("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers"))


class DataLoader(Generic[T_co]):
    """Iterates over a dataset in batches: each epoch is one ``for batch in loader``.

    ``num_workers`` > 0 loads in that many processes (forkserver or spawn: never a fork, which OpenCL doesn't survive), so the dataset,
    ``collate_fn`` and ``worker_init_fn`` must be picklable and a script needs the ``if __name__ == "__main__":`` guard. Tensors come back
    through shared memory, in order, on the device they were made on; make "cpu" tensors in workers. ``pin_memory`` is accepted and does
    nothing. ValueError for options that exclude each other; an exception in a worker is raised here with its traceback in the message.
    """

    def __init__(self, dataset: Dataset[T_co], batch_size: int | None = 1, shuffle: bool | None = None,
                 sampler: Sampler | Iterable | None = None, batch_sampler: Sampler[list] | Iterable[list] | None = None,
                 num_workers: int = 0, collate_fn: Callable[[list], Any] | None = None, pin_memory: bool = False,
                 drop_last: bool = False, timeout: float = 0, worker_init_fn: Callable[[int], Any] | None = None,
                 multiprocessing_context: Any = None, generator: Any = None, *, prefetch_factor: int | None = None,
                 persistent_workers: bool = False, pin_memory_device: str = "", in_order: bool = True) -> None:
        _check_workers(num_workers, timeout, prefetch_factor, persistent_workers, multiprocessing_context)
        _check_sampling(dataset, batch_size, shuffle, sampler, batch_sampler, drop_last)
        self.dataset, self.num_workers, self.timeout = dataset, num_workers, timeout
        self.pin_memory, self.pin_memory_device, self.in_order = pin_memory, pin_memory_device, in_order
        self.worker_init_fn, self.generator = worker_init_fn, generator
        self.prefetch_factor = 2 if num_workers and prefetch_factor is None else prefetch_factor
        self.persistent_workers = persistent_workers
        self.multiprocessing_context = multiprocessing_context
        self.sampler = sampler if sampler is not None else _default_sampler(dataset, shuffle, generator)
        if batch_sampler is not None:
            batch_size, drop_last = None, False
        elif batch_size is not None and not isinstance(dataset, IterableDataset):
            batch_sampler = BatchSampler(self.sampler, batch_size, drop_last)
        self.batch_size, self.drop_last, self.batch_sampler = batch_size, drop_last, batch_sampler
        self.collate_fn = collate_fn or (default_collate if self.batched else default_convert)
        self._workers: MultiProcessIterator | None = None
        self._built = True

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _FIXED and getattr(self, "_built", False):
            raise ValueError(f"{name} attribute should not be set after DataLoader is initialized: make a new DataLoader")
        super().__setattr__(name, value)

    @property
    def batched(self) -> bool:
        """Whether the loader puts samples together to batches (else it passes single ones on)."""
        return self.batch_size is not None or self.batch_sampler is not None

    @property
    def multiprocessing_context(self) -> Any:
        return self._context

    @multiprocessing_context.setter
    def multiprocessing_context(self, choice: Any) -> None:
        if choice is not None and self.num_workers == 0:
            raise ValueError("multiprocessing_context can only be used with multi-process loading (num_workers > 0), but got num_workers=0")
        self._context = None if choice is None else start_context(choice)

    def context(self) -> Any:
        """The multiprocessing context that workers start with."""
        return self._context or start_context()

    def __iter__(self) -> Iterator[Any]:
        if self.num_workers == 0:
            return SingleProcessIterator(self)
        if not self.persistent_workers:
            return MultiProcessIterator(self)
        if self._workers is None or not self._workers.alive:
            self._workers = MultiProcessIterator(self)
            return self._workers
        return self._workers.restart()

    def __len__(self) -> int:
        if not isinstance(self.dataset, IterableDataset):
            return len(self.sampler if self.batch_sampler is None else self.batch_sampler)  # type: ignore[arg-type]
        samples = len(self.dataset)  # type: ignore[arg-type]
        if self.batch_size is None:
            return samples
        return samples // self.batch_size if self.drop_last else -(-samples // self.batch_size)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_workers"} | {"_workers": None}


def _default_sampler(dataset: Any, shuffle: bool | None, generator: Any) -> Any:
    if isinstance(dataset, IterableDataset):
        return None
    return RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)


def _check_workers(num_workers: int, timeout: float, prefetch_factor: int | None, persistent: bool, context: Any) -> None:
    if num_workers < 0:
        raise ValueError(f"num_workers option should be non-negative; use num_workers=0 to disable multiprocessing, got {num_workers}")
    if timeout < 0:
        raise ValueError(f"timeout option should be non-negative, got {timeout}")
    if num_workers == 0 and prefetch_factor is not None:
        raise ValueError("prefetch_factor option could only be specified in multiprocessing: let num_workers > 0, "
                         f"or leave it out (got prefetch_factor={prefetch_factor})")
    if prefetch_factor is not None and prefetch_factor < 1:
        raise ValueError(f"prefetch_factor option should be positive, got {prefetch_factor}")
    if persistent and num_workers == 0:
        raise ValueError("persistent_workers option needs num_workers > 0")


def _check_sampling(dataset: Any, batch_size: Any, shuffle: Any, sampler: Any, batch_sampler: Any, drop_last: Any) -> None:
    if isinstance(dataset, IterableDataset):
        for name, value in (("shuffle", shuffle or None), ("sampler", sampler), ("batch_sampler", batch_sampler)):
            if value is not None:
                raise ValueError(f"DataLoader with IterableDataset: expected unspecified {name} option, but got {name}={value}")
    if sampler is not None and shuffle:
        raise ValueError("sampler option is mutually exclusive with shuffle")
    if batch_sampler is not None:
        if batch_size != 1 or shuffle or sampler is not None or drop_last:
            raise ValueError("batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and drop_last")
    elif batch_size is None:
        if drop_last:
            raise ValueError("batch_size=None option disables auto-batching and is mutually exclusive with drop_last")
    elif not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size <= 0:
        raise ValueError(f"batch_size should be a positive integer value, but got batch_size={batch_size}")
