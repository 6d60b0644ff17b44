"""Messages between a DataLoader and its workers: a short pickle, and a shared-memory segment for the tensors' and arrays' bytes.

The pickle goes through a pipe; every buffer is written into one segment per message, from which the receiver copies once, into the
tensors' own memory. A segment's name follows from the message's number, so the parent can remove what a killed worker left behind.
"""
from __future__ import annotations

import io
import math
import os
import pickle
import threading
from collections.abc import Callable
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...core.tensor import Tensor
from ...dtype import NAMES
from .host import bits_of, from_host

ALIGNMENT = 64
HOLD_SEGMENTS = os.name == "nt"  # there a segment lives as long as its handles
_SHARED_FOLDER = Path("/dev/shm")
INLINE_LIMIT = 16384  # larger messages would fill a pipe and block their writer until somebody reads
CREATING = threading.Lock()  # held until Python's resource tracker knows a new segment: who ends the process waits for that, or the segment stays for ever


class Packet(NamedTuple):
    """``data``: the pickle, or None where it is the segment's first part; ``parts``: (offset, size) of every part of the segment."""

    data: bytes | None
    segment: str | None
    parts: list[tuple[int, int]]


def _rebuild_tensor(raw: Any, dtype_name: str, shape: tuple[int, ...], where: str, requires_grad: bool) -> Tensor:
    d = NAMES[dtype_name]
    out = from_host(np.frombuffer(raw, d.np).reshape(shape), d, where)
    return out.requires_grad_() if requires_grad else out


def _rebuild_array(raw: Any, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    return np.frombuffer(raw, dtype).reshape(shape).copy()


class _Pickler(pickle.Pickler):
    """Takes tensors and arrays out of band; everything else is pickled as usual."""

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is Tensor:
            if not obj.is_leaf:
                raise RuntimeError("a DataLoader worker can't send a tensor that requires grad and is the result of an operator: "
                                   "detach() it in the dataset or in collate_fn")
            bits = np.ascontiguousarray(bits_of(obj))
            return _rebuild_tensor, (pickle.PickleBuffer(bits), obj.dtype.name, tuple(obj.shape), str(obj.device), obj.requires_grad)
        if type(obj) is np.ndarray and not obj.dtype.hasobject:
            array = np.ascontiguousarray(obj)
            return _rebuild_array, (pickle.PickleBuffer(array.view(np.uint8) if array.ndim else array), array.dtype, obj.shape)
        return NotImplemented


def _aligned(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT


def _layout(sizes: list[int]) -> list[tuple[int, int]]:
    parts, end = [], 0
    for size in sizes:
        start = _aligned(end)
        parts.append((start, size))
        end = start + size
    return parts


def _dumps(obj: Any, take_buffer: Callable[[pickle.PickleBuffer], Any] | None) -> bytes:
    stream = io.BytesIO()
    _Pickler(stream, 5, buffer_callback=take_buffer).dump(obj)
    return stream.getvalue()


def _room() -> float:
    """Bytes that still fit into shared memory: containers often have little, and writing past it kills the process."""
    if not _SHARED_FOLDER.is_dir():
        return math.inf
    usage = os.statvfs(_SHARED_FOLDER)
    return usage.f_bavail * usage.f_frsize


def pack(obj: Any, segment_name: str, created: Callable[[SharedMemory], None] | None = None) -> Packet:
    """Pickles an object for the other process; large content goes into a new segment of the given name, while there is room.

    ``created`` is told the segment (Windows frees one when its last handle closes: somebody must hold it); else it is closed here.
    """
    buffers: list[pickle.PickleBuffer] = []
    data = _dumps(obj, buffers.append)
    views = [b.raw() for b in buffers]
    large = len(data) > INLINE_LIMIT
    if not views and not large:
        return Packet(data, None, [])
    contents = [memoryview(data), *views] if large else views
    parts = _layout([v.nbytes for v in contents])
    size = max(1, parts[-1][0] + parts[-1][1])
    if size > _room():
        return Packet(_dumps(obj, None), None, [])
    with CREATING:
        segment = SharedMemory(segment_name, create=True, size=size)
    for (start, size), view in zip(parts, contents, strict=True):
        segment.buf[start:start + size] = view
    if created is None:
        segment.close()
    else:
        created(segment)
    return Packet(None if large else data, segment_name, parts)


def unpack(packet: Packet, keep: bool = False) -> Any:
    """The object of a packet. Its segment is removed unless ``keep`` (it has other readers)."""
    if packet.segment is None:
        return pickle.loads(packet.data or b"")
    segment = SharedMemory(packet.segment)
    try:
        views = [segment.buf[start:start + size] for start, size in packet.parts]
        data = packet.data if packet.data is not None else views.pop(0)
        return _loads_and_release(data, views)
    finally:
        segment.close()
        if not keep:
            segment.unlink()


def _loads_and_release(data: Any, views: list[memoryview]) -> Any:
    try:
        return pickle.loads(data, buffers=views)
    finally:
        for view in views:
            view.release()
        if isinstance(data, memoryview):
            data.release()


def discard(name: str) -> None:
    """Removes a segment that nobody will read, if it exists."""
    try:
        segment = SharedMemory(name)
    except (FileNotFoundError, ValueError):  # ValueError: its writer was killed before the segment had a size
        return
    segment.close()
    segment.unlink()
