"""The junction of templates and launches: signature -> text -> program -> kernel handle, memoised. Kernel operators stand on this page."""
from __future__ import annotations

from typing import Any

import numpy as np

from ..codegen.templates import render
from ..dtype import TABLE, dtype
from ..runtime import program
from ..runtime.device import Device
from ..shape import Size
from .lazy import groups, realize
from .pointwise import assign
from .storage import write_bytes
from .tensor import Tensor, empty, isolate

_kernels: dict[tuple, Any] = {}


def kernel(dev: Device, template: str, entry: str | None = None, **params: Any) -> Any:
    """The kernel ``entry`` (default: the template's last path part) of a template rendered with params, built once per device.

    Call it as ``kernel(global_size, local_size, *arguments)`` with memory objects (``buffer``/``writable``), ints and floats.
    Parameters must be hashable; dtypes among them reach the template as C types.
    """
    key = (dev, template, entry, *params.items())
    found = _kernels.get(key)
    if found is None:
        for value in params.values():
            if isinstance(value, dtype):
                dev.require(value)
        entry = entry or template.rsplit("/", 1)[-1]
        found = _kernels[key] = program.build(dev, render(template, dev.strategy, **params), template).kernel(entry)
    return found


def buffer(t: Tensor) -> Any:
    """The memory object that holds t's storage, pending work launched. t starts at element ``t.offset``."""
    return realize(t.storage.value).mem


def writable(t: Tensor) -> Any:
    """The memory object to write t's storage in place: pending readers of the old content keep it; the version goes up.

    For memory shared with NumPy call ``finish(t)`` after the launch.
    """
    isolate(t.storage)
    t.storage.version += 1
    return t.storage.value.block.mem


def finish(t: Tensor) -> None:
    """Waits where t's memory is shared with NumPy."""
    if t.storage.shared:
        t._dev.synchronize()


def from_host(array: np.ndarray, d: dtype, dev: Device) -> Tensor:
    """A tensor of type d with the stored bits of ``array`` (already of ``d.np``), copied to the device."""
    out = empty(array.shape, d, dev)
    if array.size:
        raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        write_bytes(out.storage.value.block, dev, raw)
    return out


def upload(values: Any, dev: Device) -> Tensor:
    """A small int64 or int32 host array as a device tensor (index tables, segment bounds)."""
    array = np.asarray(values)
    return from_host(array, _BY_NUMPY[array.dtype], dev)


def numel_32(name: str, *tensors: Tensor) -> None:
    """RuntimeError where a tensor has 2^31 elements or more: kernels outside the pointwise family index with 32 bits."""
    for t in tensors:
        if t.shape.numel() >= 1 << 31:
            raise RuntimeError(f"{name}: a tensor with {t.shape.numel()} elements is too large for 32-bit indexing; split it")



_BY_NUMPY = {d.np: d for d in TABLE if d.name != "bfloat16"}
__all__ = ["Size", "assign", "buffer", "empty", "finish", "from_host", "groups", "kernel", "numel_32", "upload", "writable"]
