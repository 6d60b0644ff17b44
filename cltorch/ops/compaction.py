"""Where a mask is true: the host learns how many places there are, the device lists them."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core import dispatch
from ..core.tensor import Tensor
from ..dtype import bool_, int32, int64, uint8

PART = 4096  # fewest elements that are worth a part of their own


def positions(mask: Tensor) -> Tensor:
    """Row-major positions (int64, 1-d) of the true elements of a bool or uint8 tensor. Waits for the device."""
    mask = mask.contiguous()
    dev, n = mask._dev, mask.numel()
    if n == 0:
        return dispatch.empty((0,), int64, dev)
    dispatch.numel_32("nonzero", mask)
    local = dispatch.work_group(dev, "indexing/compact")
    most = dev.wide_groups if dev.strategy == "wide" else dev.compute_units * 16
    parts = max(1, min(-(-n // PART), most))
    per, size = -(-n // parts), ((parts * local,), (local,))
    counts = dispatch.empty((parts,), int32, dev)
    count, write = (dispatch.kernel(dev, "indexing/compact", entry, WG=local) for entry in ("count", "positions"))
    count(*size, dispatch.buffer(counts), dispatch.buffer(mask), mask.offset, n, per)
    ends = np.cumsum(counts._host())
    out = dispatch.empty((int(ends[-1]),), int64, dev)
    if out.numel():
        starts = dispatch.from_host(np.concatenate(([0], ends[:-1])).astype(np.int32), int32, dev)
        write(*size, dispatch.buffer(out), dispatch.buffer(starts), dispatch.buffer(mask), mask.offset, n, per)
    return out


def unravel(flat: Tensor, shape: Sequence[int], columns: bool) -> Tensor:
    """Coordinates of row-major positions: (n, rank), or with ``columns`` (rank, n)."""
    n, rank = flat.numel(), len(shape)
    out = dispatch.empty((rank, n) if columns else (n, rank), int64, flat._dev)
    if out.numel():
        kernel = dispatch.kernel(flat._dev, "indexing/unravel", rank=rank)
        kernel(*dispatch.groups(flat._dev, n), dispatch.buffer(out), dispatch.buffer(flat), n, int(columns), *shape)
    return out


def truth(x: Tensor) -> Tensor:
    """x as a mask."""
    return x if x.dtype in (bool_, uint8) else x != 0


def mask_indices(mask: Tensor) -> tuple[Tensor, ...]:
    """The places where a mask is true, as one int64 index tensor per dimension. Waits for the device."""
    flat = positions(mask)
    if mask.dim() == 1:
        return (flat,)
    table = unravel(flat, mask.shape, columns=True)
    return tuple([table.select(0, k) for k in range(mask.dim())])

