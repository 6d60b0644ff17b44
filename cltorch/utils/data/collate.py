"""From a list of samples to a batch."""
from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np

from ...core.data import as_tensor, from_numpy, tensor
from ...core.tensor import Tensor
from ...dtype import float64, get_default_dtype
from ...ops.movement import stack
from ...runtime.device import host as host_device
from . import host

_TEXT = (str, bytes)
_NO_TENSOR = frozenset("SaUO")  # NumPy kinds that no tensor holds
_UNSUPPORTED = "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {}"


def _is_namedtuple(value: Any) -> bool:
    return isinstance(value, tuple) and hasattr(value, "_fields")


def _like_mapping(template: Mapping, values: dict) -> Any:
    """``values`` as the template's own type where that can be copied and filled, else a dict."""
    if type(template) is dict:
        return values
    try:
        if not isinstance(template, MutableMapping):
            return type(template)(values)  # type: ignore[call-arg]
        filled = copy.copy(template)  # keeps what the type knows besides its items, such as a defaultdict's factory
        filled.update(values)
    except TypeError:  # a mapping that can't be copied or made this way
        return values
    return filled


def _like_sequence(template: Sequence, values: list) -> Any:
    if type(template) is list:
        return values
    try:
        return type(template)(values)  # type: ignore[call-arg]
    except TypeError:  # a sequence, such as range, whose constructor takes something else
        return values


def _collate_arrays(batch: Sequence[np.ndarray]) -> Tensor:
    shapes = [a.shape for a in batch]
    for i, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise RuntimeError(f"stack expects each array to be equal size, but got {list(shapes[0])} at entry 0 "
                               f"and {list(shape)} at entry {i}")
    return from_numpy(np.stack(batch))


def _collate_tensors(batch: Sequence[Tensor]) -> Tensor:
    """On the host where that is the whole story: it needs no kernel, so it works in every worker."""
    stacked = host.stack(batch)
    return stack(list(batch), 0) if stacked is None else stacked


def _collate_floats(batch: Sequence[float]) -> Tensor:
    """float64 as PyTorch does; on a machine without double precision the default type."""
    return tensor(list(batch), dtype=float64 if host_device().has_fp64 else get_default_dtype())


def _collate_numpy(batch: Sequence[Any]) -> Any:
    first = batch[0]
    if first.dtype.kind in _NO_TENSOR:
        raise TypeError(_UNSUPPORTED.format(f"a NumPy {type(first).__name__} of dtype {first.dtype}"))
    if isinstance(first, np.ndarray) and first.ndim:
        return _collate_arrays(batch)
    return as_tensor(np.asarray(batch))


def _collate_mapping(batch: Sequence[Mapping]) -> Any:
    return _like_mapping(batch[0], {key: default_collate([sample[key] for sample in batch]) for key in batch[0]})


def _collate_sequence(batch: Sequence[Sequence]) -> Any:
    first = batch[0]
    sizes = [len(sample) for sample in batch]
    if len(set(sizes)) > 1:
        raise RuntimeError(f"each element in list of batch should be of equal size, got sizes {sorted(set(sizes))}: "
                           "pad the samples, or give the DataLoader a collate_fn")
    columns = [default_collate(column) for column in zip(*batch, strict=True)]
    if _is_namedtuple(first):
        return type(first)(*columns)
    return columns if isinstance(first, tuple) else _like_sequence(first, columns)


_BY_TYPE: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (Tensor, _collate_tensors),
    ((np.ndarray, np.generic), _collate_numpy),
    (float, _collate_floats),
    ((int, complex), lambda batch: tensor(list(batch))),
    (_TEXT, lambda batch: batch),
    (Mapping, _collate_mapping),
    (Sequence, _collate_sequence),
)


def default_collate(batch: Sequence[Any]) -> Any:
    """Stacks samples along a new first dimension, inside dicts, lists, tuples and named tuples; text stays a list.

    Python floats become float64, ints int64, bools bool. TypeError for other elements, RuntimeError where sizes differ.
    """
    for kind, collate in _BY_TYPE:
        if isinstance(batch[0], kind):
            return collate(batch)
    raise TypeError(_UNSUPPORTED.format(type(batch[0])))


def default_convert(data: Any) -> Any:
    """NumPy arrays and scalars inside ``data`` become tensors; everything else stays as it is (without batching)."""
    if isinstance(data, (np.ndarray, np.generic)):
        return data if data.dtype.kind in _NO_TENSOR else as_tensor(np.asarray(data))
    if isinstance(data, Mapping):
        return _like_mapping(data, {key: default_convert(value) for key, value in data.items()})
    if _is_namedtuple(data):
        return type(data)(*(default_convert(value) for value in data))
    if isinstance(data, tuple):
        return [default_convert(value) for value in data]
    if isinstance(data, Sequence) and not isinstance(data, _TEXT):
        return _like_sequence(data, [default_convert(value) for value in data])
    return data
