"""Contiguous copies of transposed tensors, tile by tile: reading memory's columns element by element would waste most of every cache line."""
from __future__ import annotations

from ..shape import collapse, contiguous_strides
from . import dispatch
from .modes import modes
from .pointwise import CONVERT, attach
from .tensor import Tensor

SMALLEST = 1 << 15  # elements from which tiles pay
_RAW = {1: "uchar", 2: "ushort", 4: "uint", 8: "ulong", 16: "ulong2"}
FAMILY = "movement/transpose"


def _swapped(t: Tensor) -> tuple[int, tuple[int, ...], tuple[int, ...], tuple[int, ...]] | None:
    """(the dimension that memory runs along, sizes, strides in memory, strides of the copy), where that is not the last one."""
    sizes, (steps, out) = collapse(t.shape, t._strides, contiguous_strides(t.shape))
    if len(sizes) < 2 or sizes[-1] < 8 or 0 in steps or steps[-1] == 1 or 1 not in steps:
        return None
    run = steps.index(1)
    return (run, sizes, steps, out) if sizes[run] >= 8 else None


def _side(tile: int, itemsize: int) -> int:
    """wide: the side of a tile for elements of this size, from that for 4 bytes: as much of the cache."""
    return min(64, 2 * tile) if itemsize == 1 else tile if itemsize < 8 else max(8, tile * 4 // itemsize)


def tiled_copy(t: Tensor) -> Tensor | None:
    """A contiguous copy of t with its gradient, or None where tiles don't help."""
    n = t.numel()
    if not SMALLEST <= n < 1 << 31 or t.storage.nbytes // t.dtype.itemsize >= 1 << 31:
        return None
    plan = _swapped(t)
    dev = t._dev
    if plan is None or dev.cl_device is None:
        return None
    tile, height = (dispatch.tuned(dev, FAMILY)[name] for name in ("TILE", "ROWS"))
    if dev.strategy == "grid" and dev.max_work_group_size < tile * height:
        return None
    run, sizes, steps, out_steps = plan
    batch = [d for d in range(len(sizes) - 1) if d != run]
    out = dispatch.empty(t.shape, t.dtype, dev)
    tile = _side(tile, t.dtype.itemsize) if dev.strategy == "wide" else tile
    batches = n // (sizes[run] * sizes[-1])
    tiles = batches * -(-sizes[run] // tile) * -(-sizes[-1] // tile)
    size = ((min(dev.wide_groups, tiles),), (1,)) if dev.strategy == "wide" else \
        ((min(tiles, dev.compute_units * 64) * tile, height), (tile, height))
    kernel = dispatch.kernel(dev, FAMILY, raw=_RAW[t.dtype.itemsize], rank=len(batch), TILE=tile)
    kernel(*size, dispatch.buffer(out), dispatch.buffer(t), t.offset, batches, sizes[run], sizes[-1], out_steps[run], steps[-1],
           *[number for d in batch for number in (sizes[d], steps[d], out_steps[d])])
    dispatch.finish(t)
    if modes.grad and t.requires_grad:
        attach(CONVERT, (t,), (), out)
    return out
