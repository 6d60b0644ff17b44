"""Element addresses of indexed positions, and what is done with them: read and take, put, accumulate. Bounds are checked on the device.

An address is the element offset, from a tensor's start, that a position of an indexed result reads or writes. The kernel that computes
addresses reports indices out of bounds in a small buffer per device; ``poll_errors`` raises them. It runs by itself when the host waits for
the device (item(), tolist(), numpy(), synchronize()); until then such an index reads and writes element 0 of its dimension.
"""
from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..core import dispatch
from ..core.pointwise import constant
from ..core.storage import write_bytes
from ..core.tensor import Tensor
from ..dtype import bfloat16, float16, int32, int64
from ..runtime.device import Device
from ..shape import broadcast_strides, collapse
from .order import sort_rows
from .tape import raw

FLAG_WORDS = 8
_flags: dict[Device, Tensor] = {}


class Indexed(NamedTuple):
    """An index tensor: size and stride (elements) of the dimension it indexes, and that dimension's number for the error sentence."""

    index: Tensor
    size: int
    stride: int
    dim: int


class Columns(NamedTuple):
    """The dimensions that are not indexed: sizes and strides of those before and after the entries in the result."""

    outer_sizes: tuple[int, ...] = ()
    outer_strides: tuple[int, ...] = ()
    inner_sizes: tuple[int, ...] = ()
    inner_strides: tuple[int, ...] = ()

    def merged(self) -> tuple[list[int], list[int]]:
        """Kernel arguments (size, stride, ...) of outer and inner dimensions, neighbours merged, size-1 dimensions dropped."""
        sides = []
        for sizes, strides in ((self.outer_sizes, self.outer_strides), (self.inner_sizes, self.inner_strides)):
            if prod(sizes) == 1:
                sides.append([])
                continue
            merged, (steps,) = collapse(tuple(sizes), tuple(strides))
            sides.append([n for pair in zip(merged, steps, strict=True) for n in pair])
        return sides[0], sides[1]

    @property
    def count(self) -> int:
        return prod(self.outer_sizes) * prod(self.inner_sizes)


class OutOfBoundsError(IndexError, RuntimeError):
    """An index outside its dimension. PyTorch raises IndexError for some operators and RuntimeError for others; this is both."""


def out_of_bounds(index: int, dim: int, size: int) -> OutOfBoundsError:
    return OutOfBoundsError(f"index {index} is out of bounds for dimension {dim} with size {size}")


def flags_of(dev: Device) -> Tensor:
    """The device's report buffer; asks for a look at it when the host waits next."""
    found = _flags.get(dev)
    if found is None:
        found = _flags[dev] = dispatch.from_host(np.zeros(FLAG_WORDS, np.int32), int32, dev)
    if not dev.checks:
        dev.checks.append(partial(poll_errors, dev))
    return found


def poll_errors(dev: Device) -> None:
    """Raises the IndexError that a kernel reported since the last look. Waits for the device."""
    flags = _flags.get(dev)
    if flags is None:
        return
    words = flags._host()
    if words[0]:
        write_bytes(flags.storage.value.block, dev, np.zeros(4 * FLAG_WORDS, np.uint8))  # in place: captured graphs report here, too
        index = int(words[3:5].copy().view(np.int64)[0])
        if words[1] < 0:  # kernels/loss/nll.mako
            raise IndexError(f"Target {index} is out of bounds for {int(words[2])} classes.")
        raise out_of_bounds(index, int(words[1]), int(words[2]))


def check_host(index: np.ndarray, size: int, dim: int) -> None:
    """IndexError at once for indices that the host knows."""
    if index.size:
        low, high = int(index.min()), int(index.max())
        if low < -size or high >= size:
            raise out_of_bounds(low if low < -size else high, dim, size)


def addresses(indexed: Sequence[Indexed], shape: tuple[int, ...], base: tuple[int, ...] | None = None, wrap: bool = True) -> Tensor:
    """int32 addresses of every position of ``shape``, to which the index tensors broadcast; ``base`` are strides of the position itself.

    ``wrap``: whether negative indices count from the end.
    """
    out = dispatch.empty((prod(shape),), int32, indexed[0].index._dev)
    _locate(out, None, indexed, shape, base, wrap)
    return out


def read(x: Tensor, indexed: Sequence[Indexed], shape: tuple[int, ...], base: tuple[int, ...] | None = None, wrap: bool = True) -> Tensor:
    """x's elements at those addresses, in one launch; x's dimensions are all indexed, or part of ``base``."""
    out = dispatch.empty(shape, x.dtype, x._dev)
    dispatch.numel_32("indexing", x)
    _locate(out, x, indexed, shape, base, wrap)
    return out


def _locate(out: Tensor, x: Tensor | None, indexed: Sequence[Indexed], shape: tuple[int, ...], base: tuple[int, ...] | None, wrap: bool) -> None:
    """Fills ``out`` with the addresses of every position of ``shape``, or with what lies there in x."""
    dev = out._dev
    if out.numel() == 0:
        return
    index = int32 if all(i.index.dtype is int32 for i in indexed) else int64
    given = [i.index.to(index) for i in indexed]
    for t in (out, *given):
        dispatch.numel_32("indexing", t)
    strides = [broadcast_strides(t.shape, t._strides, shape) for t in given]
    sizes, (steps, *merged) = collapse(shape, base or (0,) * len(shape), *strides)
    arguments: list[Any] = [n for pair in zip(sizes, steps, strict=True) for n in pair]
    for t, i, s in zip(given, indexed, merged, strict=True):
        arguments += (dispatch.buffer(t), t.offset, i.size, i.stride, i.dim, *s)
    source = () if x is None else (dispatch.buffer(x), x.offset)
    kernel = dispatch.kernel(dev, "indexing/address", "address" if x is None else "read", raw="" if x is None else raw(x), index=index, count=len(given),
                             rank=len(sizes))
    kernel(*dispatch.groups(dev, out.numel()), dispatch.buffer(out), *source, dispatch.buffer(flags_of(dev)), out.numel(), int(wrap), *arguments)


def take(x: Tensor, address: Tensor, columns: Columns, shape: tuple[int, ...]) -> Tensor:
    """What lies at the addresses: elements in the order (outer, entry, inner), as ``shape``."""
    out = dispatch.empty(shape, x.dtype, x._dev)
    n = out.numel()
    if n:
        dispatch.numel_32("indexing", x, out)
        outer, inner = columns.merged()
        kernel = dispatch.kernel(x._dev, "indexing/move", "take", raw=raw(x), outers=len(outer) // 2, inners=len(inner) // 2)
        kernel(*dispatch.groups(x._dev, n), dispatch.buffer(out), dispatch.buffer(x), x.offset, dispatch.buffer(address), address.numel(), n, *outer, *inner)
    return out


def put(x: Tensor, address: Tensor, columns: Columns, value: Tensor) -> None:
    """Writes value (contiguous in the order (outer, entry, inner), or one element) to the addresses in x's memory."""
    n = address.numel() * columns.count
    if n == 0:
        return
    dispatch.numel_32("indexing", x, value)
    outer, inner = columns.merged()
    kernel = dispatch.kernel(x._dev, "indexing/move", "put", raw=raw(x), outers=len(outer) // 2, inners=len(inner) // 2)
    source, places = dispatch.buffer(value), dispatch.buffer(address)
    kernel(*dispatch.groups(x._dev, n), dispatch.writable(x), source, value.offset, int(value.numel() > 1), x.offset, places, address.numel(), n,
           *outer, *inner)
    dispatch.finish(x)


def accumulate(x: Tensor, address: Tensor, columns: Columns, value: Tensor, op: str = "sum", start: bool = True) -> None:
    """Combines value (contiguous in the order (outer, entry, inner)) into x's memory at the addresses, in the order of the entries.

    op: sum, prod, amax, amin, mean; ``start``: whether what x holds counts. The same on every run: entries are sorted by address first.
    """
    entries = address.numel()
    if entries * columns.count == 0:
        return
    dispatch.numel_32("indexing", x, value)
    last = sum((n - 1) * s for n, s in zip(x.shape, x._strides, strict=True))
    key, order = sort_rows(address.reshape(1, entries), bits=max(last.bit_length(), 1))
    outer, inner = columns.merged()
    kernel = dispatch.kernel(x._dev, "indexing/accumulate", dtype=x.dtype, op=op, outers=len(outer) // 2, inners=len(inner) // 2, owned=False)
    work = entries if x._dev.strategy == "wide" else entries * columns.count
    size = dispatch.groups(x._dev, max(work, entries * columns.count)) if x._dev.strategy == "wide" else dispatch.groups(x._dev, work)
    source, keys, places = dispatch.buffer(value), dispatch.buffer(key), dispatch.buffer(order)
    kernel(*size, dispatch.writable(x), x.offset, source, value.offset, keys, places, entries, int(start), *outer, *inner)
    dispatch.finish(x)


def accumulate_lines(x: Tensor, address: Tensor, shape: tuple[int, ...], d: int, value: Tensor, op: str = "sum", start: bool = True) -> None:
    """``accumulate`` by gather's addresses for an index of ``shape`` along ``d``: positions that differ elsewhere have different elements of x.

    A CPU adds line by line, in the order of the entries: that takes a tenth of sorting them, so few lines keep many processors busy enough.
    """
    dev = x._dev
    lines = (prod(shape[:d]), prod(shape[d:d + 1]), prod(shape[d + 1:]))
    if dev.strategy != "wide" or 8 * lines[0] * lines[2] < dev.compute_units or op == "mean" or not start or x.dtype in (float16, bfloat16):
        accumulate(x, address, Columns(), value, op, start)
        return
    dispatch.numel_32("indexing", x, value)
    kernel = dispatch.kernel(dev, "indexing/accumulate", "owned", dtype=x.dtype, op=op, outers=0, inners=0, owned=True)
    source, places = dispatch.buffer(value), dispatch.buffer(address)
    kernel(*dispatch.groups(dev, address.numel()), dispatch.writable(x), x.offset, source, value.offset, places, *lines)
    dispatch.finish(x)


def zeros_like_shape(g: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Zeros of a shape with g's type and device."""
    return constant(shape, 0, g.dtype, g._dev)
