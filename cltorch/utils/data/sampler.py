"""Samplers: the order in which a DataLoader visits a dataset.

They draw on the host, from a NumPy generator that is seeded by one draw from the given (or the default) generator: the order of a seed
is the same on every device, and differs from PyTorch's.
"""
from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any, Generic, TypeVar

import numpy as np

from ...core.tensor import Tensor
from .seeding import host_rng

T_co = TypeVar("T_co", covariant=True)


def _positive(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise ValueError(f"{name} should be a positive integer value, but got {name}={value}")
    return value


def _boolean(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} should be a boolean value, but got {name}={value}")
    return value


class Sampler(Generic[T_co]):
    """An iterable of indices (or of lists of them), iterated once per epoch. Subclasses define ``__iter__`` and usually ``__len__``."""

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError(f"{type(self).__name__} must define __iter__().")


class SequentialSampler(Sampler[int]):
    """0, 1, 2, ... in order."""

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler[int]):
    """A fresh permutation each epoch; ``num_samples`` of them, or independent draws with ``replacement``.

    More samples than the dataset holds, without replacement, are whole permutations one after the other.
    """

    def __init__(self, data_source: Sized, replacement: bool = False, num_samples: int | None = None, generator: Any = None) -> None:
        self.data_source, self.generator = data_source, generator
        self.replacement = _boolean("replacement", replacement)
        self._num_samples = num_samples
        _positive("num_samples", self.num_samples)

    @property
    def num_samples(self) -> int:
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self) -> Iterator[int]:
        rng, size, left = host_rng(self.generator), len(self.data_source), self.num_samples
        while left > 0:
            count = min(left, size)
            draw = rng.integers(size, size=count) if self.replacement else rng.permutation(size)[:count]
            yield from draw.tolist()
            left -= count

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler[int]):
    """The given indices in a fresh random order each epoch."""

    def __init__(self, indices: Sequence[int], generator: Any = None) -> None:
        self.indices, self.generator = indices, generator

    def __iter__(self) -> Iterator[int]:
        for i in host_rng(self.generator).permutation(len(self.indices)).tolist():
            yield self.indices[i]

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler[int]):
    """``num_samples`` indices, each drawn with probability proportional to its weight.

    ValueError for weights that are not 1-D; RuntimeError where they sum to nothing, or hold too few non-zero ones without replacement.
    """

    def __init__(self, weights: Sequence[float] | Tensor, num_samples: int, replacement: bool = True, generator: Any = None) -> None:
        values = weights.tolist() if isinstance(weights, Tensor) else weights
        self.weights = np.asarray(values, np.float64)
        self.num_samples, self.generator = _positive("num_samples", num_samples), generator
        if not isinstance(replacement, bool):
            raise ValueError(f"replacement should be a boolean value, but got replacement={replacement}")
        self.replacement = replacement
        if self.weights.ndim != 1:
            raise ValueError(f"weights should be a 1d sequence but given weights have shape {self.weights.shape}")

    def _probabilities(self) -> np.ndarray:
        total = self.weights.sum()
        if not np.isfinite(total) or (self.weights < 0).any() or total <= 0:
            raise RuntimeError("WeightedRandomSampler: invalid distribution; weights must be finite, non-negative, with a positive sum, "
                               f"got a sum of {total} and a minimum of {self.weights.min(initial=0)}")
        usable = np.count_nonzero(self.weights)
        if not self.replacement and self.num_samples > usable:
            raise RuntimeError(f"WeightedRandomSampler: cannot draw {self.num_samples} samples without replacement "
                               f"from {usable} non-zero weights")
        return self.weights / total

    def __iter__(self) -> Iterator[int]:
        p = self._probabilities()
        yield from host_rng(self.generator).choice(len(p), self.num_samples, self.replacement, p).tolist()

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler[list[int]]):
    """Lists of ``batch_size`` indices from another sampler; the last may be shorter unless ``drop_last``."""

    def __init__(self, sampler: Sampler[int] | Iterable[int], batch_size: int, drop_last: bool) -> None:
        self.sampler, self.batch_size = sampler, _positive("batch_size", batch_size)
        if not isinstance(drop_last, bool):
            raise ValueError(f"drop_last should be a boolean value, but got drop_last={drop_last}")
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[list[int]]:
        indices = iter(self.sampler)
        while batch := list(itertools.islice(indices, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch

    def __len__(self) -> int:
        full, rest = divmod(len(self.sampler), self.batch_size)  # type: ignore[arg-type]
        return full + (rest > 0 and not self.drop_last)
