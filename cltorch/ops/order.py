"""Launches of the sorting kernels over contiguous (rows, n) tensors: which kernel serves which shape, and scratch memory."""
from __future__ import annotations

from ..core import dispatch
from ..core.tensor import Tensor
from ..dtype import dtype, int32, int64
from ..runtime.device import Device

ROWS_LIMIT = 4096  # wide: up to this length one work-item sorts a row; longer rows are shared when there are few
PART = {"wide": 1024, "grid": 2048}  # shortest part of a long row that is worth its own counting
MAX_PARTS = 256
TOPK_LIMIT = 128  # beyond, sorting everything is quicker than insertion
_BITS = {"float16": (8, 32), "bfloat16": (16, 32), "bool": (0, 8), "uint8": (0, 8), "int8": (0, 8), "int16": (0, 16)}


def key_bits(d: dtype) -> tuple[int, int]:
    """The range of bits of a type's sort key that can differ (halves are compared as floats, whose low bits are 0)."""
    return _BITS.get(d.name, (0, d.itemsize * 8))


def group_size(dev: Device, wanted: int) -> int:
    """A power-of-two work-group size that the device allows; 1 for wide."""
    return 1 if dev.strategy == "wide" else min(wanted, 1 << (dev.max_work_group_size.bit_length() - 1))


def fits_group(dev: Device, n: int) -> bool:
    """grid: whether a row is sorted in local memory."""
    return dev.strategy == "grid" and n <= dispatch.tuned(dev, "sorting/rows")["TILE"]


def sort_rows(x: Tensor, descending: bool = False, bits: int | None = None) -> tuple[Tensor, Tensor]:
    """Each row sorted, stably, NaN as the largest: values and int64 places. ``bits``: how many low bits of (non-negative) keys differ."""
    rows, n = x.shape
    dev = x._dev
    dispatch.numel_32("sort", x)
    values, indices = dispatch.empty(x.shape, x.dtype, dev), dispatch.empty(x.shape, int64, dev)
    if rows and n:
        small = n <= ROWS_LIMIT or rows >= dev.wide_groups if dev.strategy == "wide" else fits_group(dev, n)
        if small:
            _sort_small(x, values, indices, descending)
        else:
            _sort_long(x, values, indices, descending, bits)
    return values, indices


def _keys(dev: Device, d: dtype, count: int) -> Tensor:
    return dispatch.empty((count,), int64 if d.itemsize == 8 else int32, dev)


def _sort_small(x: Tensor, values: Tensor, indices: Tensor, descending: bool) -> None:
    rows, n = x.shape
    dev, wide = x._dev, x._dev.strategy == "wide"
    local = dispatch.work_group(dev, "sorting/rows")
    groups = min(rows, dev.wide_groups if wide else dev.compute_units * 16)
    scratch = groups * 2 * n if wide else 1
    first, end = key_bits(x.dtype)
    keys, places = _keys(dev, x.dtype, scratch), dispatch.empty((scratch,), int32, dev)
    kernel = dispatch.kernel(dev, "sorting/rows", dtype=x.dtype, first_bit=first, bits=end, WG=local)
    kernel((groups * local,), (local,), dispatch.buffer(x), x.offset, dispatch.buffer(values), dispatch.buffer(indices),
           dispatch.buffer(keys), dispatch.buffer(places), rows, n, int(descending))


def _sort_long(x: Tensor, values: Tensor, indices: Tensor, descending: bool, bits: int | None) -> None:
    rows, n = x.shape
    dev, total = x._dev, rows * n
    wide = dev.strategy == "wide"
    digit, local = dispatch.tuned(dev, "sorting/radix")["DIGIT"], dispatch.work_group(dev, "sorting/radix")
    parts = max(1, min(-(-n // PART[dev.strategy]), -(-dev.wide_groups // rows) if wide else MAX_PARTS))
    per = -(-n // parts)
    here, there = (_keys(dev, x.dtype, total), dispatch.empty((total,), int32, dev)), (_keys(dev, x.dtype, total), dispatch.empty((total,), int32, dev))
    counts = dispatch.empty((rows << digit, parts), int32, dev)
    tally = dispatch.buffer(counts)
    begin, count, scan, scatter, finish = (dispatch.kernel(dev, "sorting/radix", entry, dtype=x.dtype, WG=local)
                                           for entry in ("begin", "count", "scan", "scatter", "finish"))
    begin(*dispatch.groups(dev, total), dispatch.buffer(here[0]), dispatch.buffer(here[1]), dispatch.buffer(x), x.offset, total, n, int(descending))
    first, end = key_bits(x.dtype)
    for shift in range(first, end if bits is None else min(end, bits), digit):
        grid = (rows * parts * local,), (local,)
        count(*grid, tally, dispatch.buffer(here[0]), n, parts, per, shift)
        scan((rows * local,), (local,), tally, parts << digit)
        scatter(*grid, dispatch.buffer(there[0]), dispatch.buffer(there[1]), dispatch.buffer(here[0]), dispatch.buffer(here[1]), tally, n, parts, per, shift)
        here, there = there, here
    finish(*dispatch.groups(dev, total), dispatch.buffer(values), dispatch.buffer(indices), dispatch.buffer(here[1]), dispatch.buffer(x), x.offset, total, n)


def top_rows(x: Tensor, k: int, largest: bool) -> tuple[Tensor, Tensor]:
    """The k largest (smallest) of each row in order, ties by place: values and int64 places."""
    rows, n = x.shape
    dev = x._dev
    if rows == 0 or k == 0 or k > TOPK_LIMIT or n <= 4 * k or fits_group(dev, n):
        values, indices = sort_rows(x, descending=largest)
        return values[:, :k].contiguous(), indices[:, :k].contiguous()
    wanted = -(-dev.wide_groups // rows) if dev.strategy == "wide" else n
    parts = max(1, min(wanted, n // max(512, 4 * k)))
    dispatch.numel_32("topk", x)
    values, indices = dispatch.empty((rows, parts * k), x.dtype, dev), dispatch.empty((rows, parts * k), int64, dev)
    kernel = dispatch.kernel(dev, "sorting/topk", dtype=x.dtype)
    best = _keys(dev, x.dtype, rows * parts * k)
    kernel(*_jobs(dev, rows * parts), dispatch.buffer(x), x.offset, dispatch.buffer(values), dispatch.buffer(indices),
           dispatch.buffer(best), rows, n, parts, k, int(not largest))
    if parts == 1:
        return values, indices
    winners, where = top_rows(values, k, largest)
    return winners, indices.gather(1, where)


def _jobs(dev: Device, count: int) -> tuple[tuple[int], tuple[int]]:
    """Sizes for independent jobs that each loop over much data."""
    if dev.strategy == "wide":
        return (min(count, dev.wide_groups),), (1,)
    local = group_size(dev, 64)
    return (min(-(-count // local), dev.compute_units * 64) * local,), (local,)
