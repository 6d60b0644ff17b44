"""Values and storages.

A ``Value`` is immutable: either a memory block, or a pending pointwise expression that will fill one. A ``Storage`` is what tensors
share: it points at its current Value and counts versions. Writing in place gives a storage a *new* Value, so pending work that read
the old one stays right without anybody tracking hazards.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from ..dtype import dtype
from ..runtime.device import Device, get
from ..runtime.spec import device


class Value:
    """``block`` set: realised memory. ``block`` None: the result of ``instruction`` over ``args``, ``numel`` elements of ``dtype``.

    ``args`` holds Values (same element number), Reads (strided or broadcast leaves) and Python numbers; ``scalars`` the call-time
    numbers; ``shape`` is the iteration shape where a leaf depends on it, else None; ``weight`` bounds the chain's size; ``visited``: whether
    a kernel has computed it on the way, so that the next one to need it had better find it in memory.
    """

    __slots__ = ("__weakref__", "args", "block", "device", "dtype", "instruction", "numel", "scalars", "shape", "visited", "weight")

    def __init__(self, block: Any, device: Device, dtype: Any, numel: int, instruction: Any = None,
                 args: tuple = (), scalars: tuple = (), shape: tuple | None = None, weight: int = 1) -> None:
        self.block = block
        self.device = device
        self.dtype = dtype
        self.numel = numel
        self.instruction = instruction
        self.args = args
        self.scalars = scalars
        self.shape = shape
        self.weight = weight
        self.visited = False


class Read:
    """A leaf that is not simply "element i": a realised value seen through offset and strides over the launch's shape."""

    __slots__ = ("dtype", "offset", "strides", "value")

    def __init__(self, value: Value, dtype: dtype, offset: int, strides: tuple[int, ...]) -> None:
        self.value, self.dtype, self.offset, self.strides = value, dtype, offset, strides


class Storage:
    """The memory that a tensor and its views share. ``shared``: NumPy sees it too, so operators on it run at once."""

    __slots__ = ("__weakref__", "device", "nbytes", "shared", "value", "version")

    def __init__(self, value: Value, device: Device, nbytes: int, shared: bool = False) -> None:
        self.value = value
        self.device = device
        self.nbytes = nbytes
        self.version = 0
        self.shared = shared

    def __len__(self) -> int:
        return self.nbytes


def new_storage(dev: Device, nbytes: int, dtype: dtype | None = None, numel: int = 0) -> Storage:
    """Fresh uninitialised memory."""
    return Storage(Value(dev.allocator.allocate(nbytes), dev, dtype, numel), dev, nbytes)


def from_bytes(data: np.ndarray, spec: device) -> Storage:
    """A storage that holds a copy of the bytes on a device (``device`` object of the user's kind)."""
    dev = get(spec.type, spec.index)
    raw = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
    storage = new_storage(dev, raw.nbytes)
    if raw.nbytes:
        write_bytes(storage.value.block, dev, raw)
    return storage


def write_bytes(block: Any, dev: Device, raw: np.ndarray) -> None:
    if block.host is not None:
        dev.host_view(block)[:raw.nbytes] = raw  # waits for commands that may still use recycled memory
    else:
        dev.write(block.mem, raw)
