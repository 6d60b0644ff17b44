"""Sorting, selecting, counting and searching: sort, topk, kthvalue, unique, bincount, histc, searchsorted, isin.

Sorts are stable always; NaN counts as the largest number, as in PyTorch.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from ..core import dispatch
from ..core.data import tensor
from ..core.pointwise import result_type
from ..core.tensor import Tensor
from ..dtype import COMPLEX, bool_, float32, float64, int32, int64, promote_types
from ..shape import normalize_dim
from .addressing import Columns, accumulate
from .compaction import positions
from .creation import filled
from .indexing import gather, pick, select_along
from .order import sort_rows, top_rows
from .reduction_form import named_result
from .registry import composite, write_out
from .scatter import tally_addresses
from .views import reshape, transpose

sort_result, topk_result, kthvalue_result = (named_result(name, "values indices") for name in ("sort", "topk", "kthvalue"))


def _rows_of(x: Tensor, d: int) -> Tensor:
    """x as contiguous (rows, n) with dimension d last."""
    last = x if d == x.dim() - 1 or not x.shape else transpose(x, d, -1)
    n = last.shape[-1] if last.shape else 1
    return reshape(last.contiguous(), (last.numel() // n if n else 0, n))


def _back(t: Tensor, shape: tuple[int, ...], d: int, n: int) -> Tensor:
    """(rows, n) results in the place of dimension d of ``shape``."""
    if not shape:
        return reshape(t, ())
    sizes = [*shape[:d], *shape[d + 1:], n]
    if d != len(shape) - 1:  # the rows were made with dimensions d and last exchanged
        sizes = list(shape)
        sizes[d], sizes[-1] = sizes[-1], n
        return transpose(reshape(t, sizes), d, -1).contiguous()
    return reshape(t, sizes)


def _ordered(name: str, x: Tensor) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}(): argument 'input' must be Tensor, not {type(x).__name__}")
    if x.dtype in COMPLEX:
        raise NotImplementedError(f"\"{name}\" not implemented for complex numbers, which have no order")


def _chosen(result: type, input: Tensor, d: int, values: Tensor, indices: Tensor, out: Any) -> Any:
    """The named pair; values found without a gradient are picked again with one where the input needs it."""
    if input.requires_grad and input.shape:
        values = pick(input, d, indices)
    elif input.requires_grad:
        values = input.clone()
    pair = result(values, indices)
    return pair if out is None else write_out(pair, out)


def _sort_samples(make: Any) -> list:
    return [((make(3, 5),), {}), ((make(3, 5), 0), {"descending": True}), ((make(40),), {}), ((make(),), {})]


def _sort_reference(x: np.ndarray, dim: int = -1, descending: bool = False) -> tuple[np.ndarray, np.ndarray]:
    if not x.ndim:
        return x, np.zeros((), np.int64)
    order = np.flip(np.argsort(np.flip(x, dim), dim, kind="stable"), dim) if descending else np.argsort(x, dim, kind="stable")
    order = x.shape[dim] - 1 - order if descending else order
    return np.take_along_axis(x, order, dim), order


@composite("sort", method=True, samples=_sort_samples, ref=_sort_reference, dtypes=frozenset(d for d in (float32, float64, int32, int64, bool_)))
def sort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False, *, out: Any = None) -> Any:
    """(values, indices) sorted along ``dim``; always stable. NotImplementedError for complex numbers."""
    _ordered("sort", input)
    d, x = normalize_dim(dim, input.dim()), input.detach()
    n = x.shape[d] if x.shape else 1
    values, indices = (_back(t, x.shape, d, n) for t in sort_rows(_rows_of(x, d), bool(descending)))
    return _chosen(sort_result, input, d, values, indices, out)


@composite("argsort", method=True, differentiable=False)
def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """The indices that sort along ``dim``; always stable."""
    return sort(input.detach(), dim, descending).indices


@composite("msort", method=True)
def msort(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The values sorted along the first dimension."""
    values = sort(input, 0).values
    return values if out is None else write_out(values, out)


@composite("topk", method=True)
def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True, *, out: Any = None) -> Any:
    """The k largest (smallest) along ``dim`` in order, equal ones in the order of their places; NaN counts as the largest.

    RuntimeError where k is negative or larger than the dimension.
    """
    _ordered("topk", input)
    d, x = normalize_dim(dim, input.dim()), input.detach()
    if not 0 <= k <= (x.shape[d] if x.shape else 1):
        raise RuntimeError(f"selected index k out of range: {k} for dimension {d} of shape {list(x.shape)}")
    values, indices = (_back(t, x.shape, d, k) for t in top_rows(_rows_of(x, d), k, bool(largest)))
    return _chosen(topk_result, input, d, values, indices, out)


@composite("kthvalue", method=True)
def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False, *, out: Any = None) -> Any:
    """The k-th smallest element along ``dim`` (counted from 1) and its index."""
    _ordered("kthvalue", input)
    d = normalize_dim(dim, input.dim())
    if not 1 <= k <= (input.shape[d] if input.shape else 1):
        raise RuntimeError(f"kthvalue(): selected number k out of range for dimension {d}: {k} of {list(input.shape)}")
    if not input.shape:
        return _chosen(kthvalue_result, input, d, input.detach().clone(), filled((), 0, int64, input._dev), out)
    found = sort(input.detach(), d).indices.narrow(d, k - 1, 1)
    pair = kthvalue_result(*(t if keepdim else t.squeeze(d) for t in (gather(input, d, found), found)))
    return pair if out is None else write_out(pair, out)


# distinct values


def _starts(x: Tensor) -> Tensor:
    """Where (a mask) a new value starts in a vector; in a matrix, where a row differs from the one before."""
    out = filled((x.shape[0],), True, bool_, x._dev).clone()
    if x.shape[0] > 1:
        differs = x[1:] != x[:-1]
        out[1:] = reshape(differs, (x.shape[0] - 1, -1)).any(1) if x.dim() > 1 else differs
    return out


def _runs(x: Tensor, wants_groups: bool, wants_counts: bool) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """For values grouped in runs: where each run starts, which run each element belongs to, how long the runs are."""
    mask = _starts(x)
    first = positions(mask)
    groups = mask.cumsum(0) - 1 if wants_groups else None
    counts = None
    if wants_counts:
        ends = filled((first.shape[0],), x.shape[0], int64, x._dev).clone()
        ends[:-1] = first[1:]
        counts = ends - first
    return first, groups, counts


def _unique_rows(x: Tensor) -> Tensor:
    """The order that sorts the rows of a matrix lexicographically: stable sorts by column, the last first."""
    order = None
    for column in range(x.shape[1] - 1, -1, -1):
        keys = x.select(1, column)
        keys = keys if order is None else select_along(keys, 0, order)
        step = sort_rows(reshape(keys.contiguous(), (1, -1)))[1].reshape(-1)
        order = step if order is None else select_along(order, 0, step)
    return order


def _answers(values: Tensor, inverse: Tensor | None, counts: Tensor | None, return_inverse: bool, return_counts: bool) -> Any:
    wanted = [values] + [inverse] * return_inverse + [counts] * return_counts
    return wanted[0] if len(wanted) == 1 else tuple(wanted)


@composite("unique", method=True, differentiable=False)
def unique(input: Tensor, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None) -> Any:
    """The distinct values in ascending order (slices along ``dim``), with the inverse and counts if asked for. Waits for the device."""
    _ordered("unique", input)
    x = input.detach()
    if dim is not None:
        return _unique_slices(x, normalize_dim(dim, x.dim()), return_inverse, return_counts)
    n = x.numel()
    if n == 0:
        return _answers(reshape(x, -1).clone(), filled(x.shape, 0, int64, x._dev), filled((0,), 0, int64, x._dev), return_inverse, return_counts)
    values, order = (t.reshape(n) for t in sort_rows(reshape(x.contiguous(), (1, n))))
    first, groups, counts = _runs(values, return_inverse, return_counts)
    inverse = reshape(filled((n,), 0, int64, x._dev).scatter(0, order, groups), x.shape) if return_inverse else None
    return _answers(select_along(values, 0, first), inverse, counts, return_inverse, return_counts)


def _unique_slices(x: Tensor, d: int, return_inverse: bool, return_counts: bool) -> Any:
    n = x.shape[d]
    moved = x.movedim(d, 0)
    if x.numel() == 0:
        if n > 1 or x.shape.count(0) > 1:
            raise RuntimeError(f"unique: there are 0 sized dimensions in {list(x.shape)}, and they aren't selected by dim={d}, so unique cannot be applied")
        return _answers(x.clone(), filled((n,), 0, int64, x._dev), filled((n,), 1, int64, x._dev), return_inverse, return_counts)
    rows = reshape(moved.contiguous(), (n, -1))
    order = _unique_rows(rows)
    ordered = select_along(rows, 0, order)
    first, groups, counts = _runs(ordered, return_inverse, return_counts)
    inverse = filled((n,), 0, int64, x._dev).scatter(0, order, groups) if return_inverse else None
    kept = reshape(select_along(ordered, 0, first), (first.shape[0], *moved.shape[1:])).movedim(0, d).contiguous()
    return _answers(kept, inverse, counts, return_inverse, return_counts)


@composite("unique_consecutive", method=True, differentiable=False)
def unique_consecutive(input: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None) -> Any:
    """The values without those equal to the one before (slices along ``dim``), with the inverse and counts if asked for. Waits for the device."""
    x = input.detach()
    rows = reshape(x, -1) if dim is None else x.movedim(dim, 0)
    n, kind = rows.shape[0], rows.shape
    if n == 0 or rows.numel() == 0:
        return _answers(rows.clone(), filled(x.shape if dim is None else (n,), 0, int64, x._dev), filled((0,), 0, int64, x._dev), return_inverse, return_counts)
    flat = reshape(rows.contiguous(), (n,) if dim is None else (n, -1))
    first, groups, counts = _runs(flat, return_inverse, return_counts)
    values = reshape(select_along(flat, 0, first), (first.shape[0], *kind[1:]))
    values = values if dim is None else values.movedim(0, dim).contiguous()
    inverse = reshape(groups, x.shape) if return_inverse and dim is None else groups
    return _answers(values, inverse, counts, return_inverse, return_counts)


# counting


def tally(bins: Tensor, count: int) -> Tensor:
    """How often each of 0 .. count-1 occurs in an int64 vector; other numbers are skipped."""
    dev, n = bins._dev, bins.numel()
    size = dispatch.groups(dev, max(n, 1))
    if dev.strategy == "wide" and size[0][0] * count > max(n, 65536):  # rows that are mostly zeros cost more than they save
        size = (1,), (1,)
    rows = size[0][0] if dev.strategy == "wide" else 1
    counts = filled((rows, count), 0, int32, dev)
    if n and count:
        given = bins.contiguous()
        kernel = dispatch.kernel(dev, "indexing/tally")
        kernel(*size, dispatch.writable(counts), dispatch.buffer(given), given.offset, n, count)
    return counts.sum(0) if rows > 1 else counts.reshape(count).to(int64)


@composite("bincount", method=True, differentiable=False, dtypes=(int64, int32), ref=lambda x, weights=None, minlength=0: np.bincount(x, weights, minlength),
           samples=lambda make: [((make(20, low=0, high=5),), {}), ((make(20, low=0, high=5),), {"minlength": 9})])
def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each non-negative integer occurs in a vector (or the sum of its weights; float64 stays, other types give float32's sums).

    Waits for the device to learn the largest. RuntimeError for negative numbers and other shapes.
    """
    if input.dim() != 1 or not (input.dtype.is_integral):
        raise RuntimeError(f"bincount only supports 1-d non-negative integral inputs, got {input.dtype} of shape {list(input.shape)}")
    if minlength < 0:
        raise RuntimeError("minlength should be >= 0")
    if weights is not None and weights.shape != input.shape:
        raise RuntimeError(f"weights should be 1-d and have the same length as input, got {list(weights.shape)} and {list(input.shape)}")
    bins = input.detach().to(int64)
    low, high = (int(bins.min().item()), int(bins.max().item())) if bins.numel() else (0, -1)
    if low < 0:
        raise RuntimeError(f"bincount only supports 1-d non-negative integral inputs, got {low}")
    count = max(high + 1, minlength)
    if weights is None:
        return tally(bins, count)
    kind = weights.dtype if weights.dtype in (float32, float64) else float64 if input._dev.has_fp64 else float32
    out = filled((count,), 0, kind, input._dev)
    if bins.numel():
        accumulate(out, tally_addresses(bins, count), Columns(), weights.detach().to(kind).contiguous())
    return out


@composite("histc", method=True, differentiable=False)
def histc(input: Tensor, bins: int = 100, min: float = 0, max: float = 0, *, out: Tensor | None = None) -> Tensor:
    """Counts in ``bins`` equal bins between min and max (of the data, where both are 0), in the input's type; elements outside are left out."""
    if not input.dtype.is_floating_point:
        raise NotImplementedError(f"\"histc\" not implemented for {input.dtype}")
    if bins <= 0:
        raise RuntimeError(f"bins must be > 0, but got {bins}")
    x, low, high = reshape(input.detach(), -1), float(min), float(max)
    if low == high == 0 and x.numel():
        low, high = float(x.min().item()), float(x.max().item())
    if low == high:
        low, high = low - 1, high + 1
    if not low < high or not np.isfinite([low, high]).all():
        raise RuntimeError(f"max must be larger than min, and both finite; got min={low} and max={high}")
    scaled = (x - low) * (bins / (high - low))
    place = scaled.floor().to(int64).clamp(max=bins - 1).masked_fill((x < low) | (x > high) | (x != x), -1)
    result = tally(place, bins).to(input.dtype)
    return result if out is None else write_out(result, out)


# searching


def _same_rows(sequence: Tensor, values: Tensor) -> None:
    if sequence.dim() != 1 and (sequence.dim() != values.dim() or sequence.shape[:-1] != values.shape[:-1]):
        raise RuntimeError(f"torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 dimensions of boundaries tensor and input value "
                           f"tensor must match, but we got boundaries tensor {list(sequence.shape)} and input value tensor {list(values.shape)}")


def _search(sequence: Tensor, values: Tensor, right: bool, out_int32: bool) -> Tensor:
    dev, kind = sequence._dev, int32 if out_int32 else int64
    out = dispatch.empty(values.shape, kind, dev)
    n = values.numel()
    if n:
        boundaries, given = sequence.contiguous(), values.contiguous()
        length = boundaries.shape[-1]
        per_row = given.shape[-1] if boundaries.dim() > 1 else n
        kernel = dispatch.kernel(dev, "sorting/search", dtype=sequence.dtype, index=kind)
        kernel(*dispatch.groups(dev, n), dispatch.buffer(out), dispatch.buffer(boundaries), boundaries.offset, length if boundaries.dim() > 1 else 0, length,
               dispatch.buffer(given), given.offset, per_row, n, int(right))
    return out


@composite("searchsorted", method=True, differentiable=False,
           ref=lambda a, v, right=False: np.searchsorted(np.sort(a), v, "right" if right else "left"))
def searchsorted(sorted_sequence: Tensor, input: Any = None, *, out_int32: bool = False, right: bool = False, side: str | None = None,
                 sorter: Tensor | None = None, out: Tensor | None = None, values: Any = None) -> Tensor:
    """Where each value goes in the ascending rows of ``sorted_sequence``: before equal elements (after, with right). RuntimeError where rows don't match."""
    given = values if input is None else input
    if side not in (None, "left", "right") or (side == "left" and right):
        raise RuntimeError(f"torch.searchsorted(): side can only be 'left' or 'right', and right=True contradicts 'left'; got side of {side}, right of {right}")
    sequence = sorted_sequence.detach() if sorter is None else gather(sorted_sequence.detach(), -1, sorter)
    wanted = given.detach() if isinstance(given, Tensor) else tensor(given, device=sequence._dev)
    kind = promote_types(sequence.dtype, wanted.dtype)
    sequence, wanted = sequence.to(kind), wanted.to(kind)
    if isinstance(given, Tensor):
        _same_rows(sequence, wanted)
    result = _search(sequence, wanted, right or side == "right", out_int32)
    return result if out is None else write_out(result, out)


@composite("bucketize", method=True, differentiable=False)
def bucketize(input: Any, boundaries: Tensor, *, out_int32: bool = False, right: bool = False, out: Tensor | None = None) -> Tensor:
    """The number of the bucket between ascending boundaries that each value falls into: (b[i-1], b[i]], with right [b[i-1], b[i])."""
    if boundaries.dim() != 1:
        raise RuntimeError(f"boundaries tensor must be 1 dimension, but got dim({boundaries.dim()})")
    return searchsorted(boundaries, input, out_int32=out_int32, right=right, out=out)


@composite("isin", differentiable=False)
def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Tensor:
    """Which elements occur among test_elements. By sorting those and searching; NaN is in nothing."""
    home = next(t for t in (elements, test_elements) if isinstance(t, Tensor))
    given, tests = (t.detach() if isinstance(t, Tensor) else tensor(t, device=home._dev) for t in (elements, test_elements))
    kind = result_type(*[t if isinstance(t, Tensor) else s for t, s in ((elements, given), (test_elements, tests))])
    kind = int32 if kind is bool_ else kind
    given, tests = given.to(kind), reshape(tests, -1).to(kind)
    if tests.numel() == 0:
        return filled(given.shape, invert, bool_, home._dev)
    ascending = sort(tests).values
    place = _search(ascending, given, False, False).clamp(max=tests.numel() - 1)
    found = reshape(select_along(ascending, 0, reshape(place, -1)), given.shape) == given
    return found.logical_not() if invert else found
