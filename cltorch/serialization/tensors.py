"""Tensors and parameters from what a checkpoint says about them; every number is checked against the storage."""
from __future__ import annotations

from collections.abc import Callable
from pickle import UnpicklingError
from typing import Any

import numpy as np

from ..core.data import resolve
from ..core.storage import Storage, new_storage, write_bytes
from ..core.tensor import Tensor
from ..core.view import make_alias
from ..dtype import bfloat16, dtype
from ..nn.parameter import Parameter


class LoadedStorage:
    """A storage whose bytes were read: the memory, and the type that its record gave (None: bytes)."""

    __slots__ = ("dtype", "memory")

    def __init__(self, memory: Storage, d: dtype | None) -> None:
        self.memory, self.dtype = memory, d


def typed_storage(nbytes: int, d: dtype | None, place: Any, fill: Callable[[np.ndarray], Any]) -> Storage:
    """A storage on a device whose bytes ``fill`` writes into the array it is given: the memory itself where that is host memory.

    It knows its elements' type where that is known. UnsupportedDtypeError where the device can't compute in the type.
    """
    dev = resolve(place)
    if d is not None and dev.type != "cpu":
        dev.require(d)
    memory = new_storage(dev, nbytes, d, nbytes // d.itemsize if d else 0)
    block = memory.value.block
    if block.host is not None:
        fill(dev.host_view(block)[:nbytes])
        return memory
    raw = np.empty(nbytes, np.uint8)
    fill(raw)
    if nbytes:
        write_bytes(block, dev, raw)
    return memory


def filled_storage(raw: np.ndarray, d: dtype | None, place: Any) -> Storage:
    """A storage on a device with a copy of the bytes."""
    def fill(target: np.ndarray) -> None:
        target[:] = raw

    return typed_storage(raw.nbytes, d, place, fill)


def _geometry(values: Any, what: str) -> tuple[int, ...]:
    if not (isinstance(values, tuple) and all(type(n) is int and 0 <= n < 1 << 62 for n in values)):
        raise UnpicklingError(f"load: a tensor with {what} {values!r}: a tuple of integers from 0 on was expected")
    return tuple(values)


def _tensor(storage: Any, d: dtype | None, offset: Any, size: Any, stride: Any, requires_grad: Any, metadata: Any) -> Tensor:
    if not isinstance(storage, LoadedStorage) or not isinstance(d, dtype):
        raise UnpicklingError("load: a tensor without a storage or a type")
    (start,), shape, strides = _geometry((offset,), "storage offset"), _geometry(tuple(size), "size"), _geometry(tuple(stride), "stride")
    if len(shape) != len(strides):
        raise UnpicklingError(f"load: a tensor with size {shape} and stride {strides}: they differ in length")
    out = make_alias(storage.memory, d, shape, strides, start)
    if metadata:
        out = _resolved(out, metadata)
    return out.requires_grad_() if requires_grad else out


def _resolved(t: Tensor, metadata: dict[str, Any]) -> Tensor:
    """PyTorch's lazily conjugated and negated tensors, with the values they stand for."""
    bits = t._host()
    if metadata.get("conj"):
        bits = np.conj(bits)
    if metadata.get("neg"):
        bits = bits ^ 0x8000 if t.dtype is bfloat16 else np.negative(bits)
    raw = np.ascontiguousarray(bits).reshape(-1).view(np.uint8)
    strides = tuple(s // t.dtype.itemsize for s in np.ascontiguousarray(bits).strides)
    return make_alias(filled_storage(raw, t.dtype, t.device), t.dtype, t.shape, strides[:t.ndim], 0)


def rebuild_tensor(storage: Any, offset: int, size: tuple, stride: tuple, requires_grad: bool = False, hooks: Any = None,
                   metadata: Any = None) -> Tensor:
    return _tensor(storage, getattr(storage, "dtype", None), offset, size, stride, requires_grad, metadata)


def rebuild_tensor_v3(storage: Any, offset: int, size: tuple, stride: tuple, requires_grad: bool, hooks: Any, d: dtype,
                      metadata: Any = None) -> Tensor:
    return _tensor(storage, d, offset, size, stride, requires_grad, metadata)


def rebuild_parameter(data: Tensor, requires_grad: bool, hooks: Any = None) -> Parameter:
    if not isinstance(data, Tensor):
        raise UnpicklingError(f"load: a Parameter of {type(data).__name__}")
    return Parameter(data, bool(requires_grad))


def rebuild_parameter_with_state(data: Tensor, requires_grad: bool, hooks: Any, state: Any) -> Parameter:
    return rebuild_with_state(rebuild_parameter(data, requires_grad), state)


def rebuild_with_state(made: Any, state: Any) -> Any:
    """Adds the Python attributes that were saved with a tensor."""
    if isinstance(state, tuple):  # (attributes, slots)
        state = {**(state[0] or {}), **(state[1] or {})}
    set_attributes(made, state or {})
    return made


def set_attributes(target: Any, state: Any) -> None:
    """Sets new attributes; a file may not replace what the object or its class has already."""
    if not isinstance(state, dict):
        raise UnpicklingError(f"load: attributes of a {type(target).__name__} given as {type(state).__name__}")
    for name, value in state.items():
        if not isinstance(name, str) or hasattr(target, name):
            raise UnpicklingError(f"load: the file tries to set attribute {name!r} of a {type(target).__name__}")
        setattr(target, name, value)
