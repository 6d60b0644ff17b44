"""From an index (or a list of them) to a sample (or a batch), the same in the main process and in workers."""
from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from .dataset import IterableDataset, fetch_many


def _stream_batches(dataset: Any, collate: Callable, drop_last: bool) -> Callable[[list], Any]:
    samples = iter(dataset)

    def fetch(indices: list) -> Any:
        batch = list(itertools.islice(samples, len(indices)))
        if not batch or (drop_last and len(batch) < len(indices)):
            raise StopIteration
        return collate(batch)

    return fetch


def _stream_samples(dataset: Any, collate: Callable) -> Callable[[Any], Any]:
    samples = iter(dataset)
    return lambda index: collate(next(samples))


def make_fetcher(dataset: Any, batched: bool, collate: Callable, drop_last: bool) -> Callable[[Any], Any]:
    """A function from index to data. For an iterable dataset it takes the next samples and raises StopIteration at their end."""
    if isinstance(dataset, IterableDataset):
        return _stream_batches(dataset, collate, drop_last) if batched else _stream_samples(dataset, collate)
    if batched:
        return lambda indices: collate(fetch_many(dataset, indices))
    return lambda index: collate(dataset[index])
