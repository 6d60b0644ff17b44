"""From an index (or a list of them) to a sample (or a batch), the same in the main process and in workers."""
from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from ...core.tensor import Tensor
from .collate import default_collate
from .dataset import IterableDataset, Subset, TensorDataset, fetch_many
from .host import rows


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


def _is_tensors(dataset: Any) -> bool:
    """A TensorDataset or a Subset of one: their batches are rows of tensors, whoever collates them."""
    while type(dataset) is Subset:
        dataset = dataset.dataset
    return type(dataset) is TensorDataset


def _tensor_rows(dataset: Any, indices: Sequence[int]) -> list[Tensor]:
    """What collating the samples one by one would give, in one copy per tensor."""
    while type(dataset) is Subset:
        dataset, indices = dataset.dataset, [dataset.indices[i] for i in indices]
    return [rows(t, indices) for t in dataset.tensors]


def make_fetcher(dataset: Any, batched: bool, collate: Callable, drop_last: bool) -> Callable[[Any], Any]:
    """A function from index to data. For an iterable dataset it takes the next samples and raises StopIteration at their end."""
    if isinstance(dataset, IterableDataset):
        return _stream_batches(dataset, collate, drop_last) if batched else _stream_samples(dataset, collate)
    if batched and collate is default_collate and _is_tensors(dataset):
        return lambda indices: _tensor_rows(dataset, indices)
    if batched:
        return lambda indices: collate(fetch_many(dataset, indices))
    return lambda index: collate(dataset[index])
