"""Running sums, products and extremes, differences."""
from __future__ import annotations

from typing import Any

import numpy as np

from ..core import dispatch
from ..core.tensor import Tensor
from ..dtype import BOOL, CATEGORY_FLOAT, COMPLEX, dtype, int32, int64
from ..shape import normalize_dim
from .complexes import CORE, conjugate
from .movement import cat
from .reduction import REAL_NUMBERS
from .reduction_form import comparing, named_result, summing
from .registry import ALL, FLOATING, composite, kernel_op, write_out
from .ternary import where
from .unary import exp, log

CHUNK = 16384  # elements that are worth a work-item (wide) or work-group (grid) of their own


class Scan:
    """What is carried along, in the words of kernels/cumulative/scan.mako."""

    def __init__(self, kind: str, combine: Any = "", identity: Any = 0) -> None:
        self.kind, self.combine, self.identity = kind, combine, identity

    def run(self, x: Tensor, dim: int, reverse: bool = False, out: dtype | None = None, factor: Tensor | None = None) -> tuple[Tensor, ...]:
        """(result,) or, for pairs, (values, indices), of x's shape; ``out``: the result's type."""
        dispatch.numel_32("scan", x)
        out = out or x.dtype
        acc = comparing(x.dtype) if self.kind == "pair" else summing(out)
        results = [dispatch.empty(x.shape, out, x._dev)]
        if self.kind == "pair":
            results.append(dispatch.empty(x.shape, int64, x._dev))
        if x.numel():
            inputs = [x.contiguous()] + ([] if factor is None else [factor.contiguous()])
            self._launch(inputs, normalize_dim(dim, x.ndim), reverse, acc, results)
        return tuple(results)

    def _launch(self, inputs: list[Tensor], dim: int, reverse: bool, acc: dtype, results: list[Tensor]) -> None:
        x, dev = inputs[0], inputs[0]._dev
        shape = x.shape or (1,)
        n, inner = shape[dim], 1
        for size in shape[dim + 1:]:
            inner *= size
        outer = x.numel() // (n * inner)
        groups, local, chunks = _plan(dev, outer, n, inner)
        per = -(-n // chunks)
        kind = "value" if self.kind == "sum" and not (acc.is_floating_point or acc.is_complex) else self.kind
        combine = self.combine if isinstance(self.combine, str) else self.combine["float" if acc.is_floating_point else "int"]
        common = dict(dtype=x.dtype, acc=acc, kind=kind, combine=combine, identity=self.identity, reverse=reverse, columns=inner > 1,
                      out=results[0].dtype, WG=local[0])
        types = {"sum": (acc, acc), "value": (acc,), "pair": (acc, int32), "affine": (acc, acc)}[kind]
        held = [dispatch.empty((outer * inner * chunks,), d, dev) for d in types] if chunks > 1 else results[:1] * len(types)
        totals = [dispatch.buffer(t) for t in held]
        sources = [dispatch.buffer(t) for t in inputs]
        numbers = (*[t.offset for t in inputs], outer, n, inner, chunks, per)
        if chunks > 1:
            dispatch.kernel(dev, "cumulative/scan", stage="totals", **common)(groups, local, *sources, *totals, *numbers)
        written = [dispatch.buffer(r) for r in results]
        dispatch.kernel(dev, "cumulative/scan", stage="scan", **common)(groups, local, *sources, *written, *totals, *numbers)


def _plan(dev: Any, outer: int, n: int, inner: int) -> tuple[tuple[int], tuple[int], int]:
    """Global size, local size, and the chunks that each scanned line is cut into."""
    if dev.strategy == "wide":
        tile = dispatch.tuned(dev, "cumulative/scan")["TILE"]
        lines = outer * -(-inner // tile)
        groups = dispatch.groups(dev, outer * n * inner)[0][0]
        chunks = 1 if lines >= groups else max(1, min(-(-2 * groups // lines), n * min(inner, tile) // CHUNK))
        return (min(groups, lines * chunks),), (1,), chunks
    width = dispatch.work_group(dev, "cumulative/scan")
    lines = outer if inner == 1 else -(-outer * inner // width)
    chunks = max(1, min(dev.compute_units * 8 // lines, n // (CHUNK if inner == 1 else 256), 256))
    return (min(lines * chunks, dev.compute_units * 64) * width,), (width,), chunks


_SUM = Scan("sum", "a + b")
_PRODUCT = Scan("value", "mul(a, b)", 1)
_LOGSUM = Scan("value", "log_add_exp(a, b)", "lowest")
_RECURRENCE = Scan("affine")
_LARGER, _SMALLER = (Scan("pair", dict(float=f"(b {sign} a) | (b != b)", int=f"b {sign} a"), limit) for sign, limit in ((">=", "lowest"), ("<=", "highest")))


def _result_type(d: dtype, wanted: dtype | None) -> dtype:
    return wanted or (d if d.category >= CATEGORY_FLOAT else int64)


def _samples(make):
    return [((make(3, 4), 0), {}), ((make(3, 4), 1), {}), ((make(2, 3, 4), -2), {}), ((make(), 0), {})]


def _reference(function):
    return lambda x, dim: function(x, dim) if x.ndim else x


# sums and products

_running_sum = kernel_op(
    "cumsum(input, dim, reverse, dtype)", dtypes=ALL, forward=lambda input, dim, reverse, dtype: _SUM.run(input, dim, reverse, dtype)[0],
    grad=dict(input=lambda g, dim, reverse: _running_sum(g, dim, not reverse, g.dtype)), **CORE)


@composite("cumsum", method=True, inplace=True, dtypes=ALL, samples=_samples, ref=_reference(np.cumsum))
def cumsum(input, dim, *, dtype=None, out=None):
    """Sums of the elements up to each one along ``dim``; integers give int64. Rounding errors don't add up with the length."""
    return _running_sum(input, dim, False, _result_type(input.dtype, dtype), out=out)


def _shifted(x: Tensor, dim: int, by: int, fill: float) -> Tensor:
    """x moved along ``dim`` by one place, forwards or backwards, with ``fill`` at the free end."""
    n = x.shape[dim]
    edge = x.new_full([1 if d == dim else m for d, m in enumerate(x.shape)], fill)
    return cat((edge, x.narrow(dim, 0, n - 1)), dim) if by > 0 else cat((x.narrow(dim, 1, n - 1), edge), dim)


def _recurrence_gradient(g: Tensor, factor: Tensor, dim: int, reverse: bool) -> Tensor:
    return recurrence(g, conjugate(_shifted(factor, dim, 1 if reverse else -1, 0)), dim, not reverse)


recurrence = kernel_op(
    "recurrence(input, factor, dim, reverse)", dtypes=FLOATING | COMPLEX,
    forward=lambda input, factor, dim, reverse: _RECURRENCE.run(input, dim, reverse, factor=factor)[0],
    grad=dict(input=lambda g, factor, dim, reverse: _recurrence_gradient(g, factor, dim, reverse),
              factor=lambda g, factor, out, dim, reverse:
              _recurrence_gradient(g, factor, dim, reverse) * conjugate(_shifted(out, dim, -1 if reverse else 1, 0))),
    doc="s[k] = input[k] + factor[k] * s[k - 1] along ``dim``, from the end where ``reverse``.", **CORE)


def _product_gradient(g: Tensor, input: Tensor, out: Tensor, dim: int) -> Tensor:
    """Right also where elements are 0: (product before) * (sum of g times the products after)."""
    if not input.shape:
        return g
    d = normalize_dim(dim, input.ndim)
    if not input.numel():
        return g
    x = input.to(out.dtype)
    return conjugate(_shifted(out, d, 1, 1)) * recurrence(g, conjugate(_shifted(x, d, -1, 0)), d, True)


_running_product = kernel_op(
    "cumprod(input, dim, dtype)", dtypes=ALL, forward=lambda input, dim, dtype: _PRODUCT.run(input, dim, False, dtype)[0],
    grad=dict(input=_product_gradient), **CORE)


@composite("cumprod", method=True, inplace=True, dtypes=ALL, samples=_samples, ref=_reference(np.cumprod))
def cumprod(input, dim, *, dtype=None, out=None):
    """Products of the elements up to each one along ``dim``; integers give int64."""
    return _running_product(input, dim, _result_type(input.dtype, dtype), out=out)


# logcumsumexp

_running_logsum = kernel_op(
    "logcumsumexp(input, dim, reverse)", dtypes=FLOATING, forward=lambda input, dim, reverse: _LOGSUM.run(input, dim, reverse)[0],
    grad=dict(input=lambda g, input, out, dim, reverse: _logsum_gradient(g, input, out, dim, reverse)), **CORE)


def _logsum_gradient(g: Tensor, input: Tensor, out: Tensor, dim: int, reverse: bool) -> Tensor:
    """In logarithms, positive and negative gradients apart: nothing overflows."""
    positive = log(where(g > 0, g, 0)) - out
    negative = log(where(g < 0, -g, 0)) - out
    return exp(_running_logsum(positive, dim, not reverse) + input) - exp(_running_logsum(negative, dim, not reverse) + input)


@composite("logcumsumexp", method=True, dtypes=FLOATING, samples=_samples,
           ref=_reference(lambda x, dim: np.logaddexp.accumulate(x, dim)))
def logcumsumexp(input, dim, *, out=None):
    """log of the sums of exp of the elements up to each one along ``dim``, without overflow."""
    return _running_logsum(input, dim, False, out=out)


# running extremes

cummax_result, cummin_result = named_result("cummax", "values indices"), named_result("cummin", "values indices")


def _extreme(name: str, scan: Scan, result: type):
    pair = kernel_op(
        f"{name}_pair(input, dim)", dtypes=REAL_NUMBERS | BOOL, forward=lambda input, dim: scan.run(input, dim),
        grad=dict(input=lambda g0, out1, input_shape, dim: g0.new_zeros(input_shape).scatter_add(dim, out1, g0) if input_shape else g0), **CORE)

    def reference(x, dim):
        if not x.ndim:
            return x, np.zeros((), np.int64)
        values = (np.maximum if name == "cummax" else np.minimum).accumulate(x, dim)
        places = np.where(x == values, np.arange(x.shape[dim]).reshape([-1] + [1] * (x.ndim - dim % x.ndim - 1)), 0)
        return values, np.maximum.accumulate(places, dim)

    @composite(name, method=True, dtypes=REAL_NUMBERS | BOOL, samples=_samples, ref=reference)
    def declared(input, dim, *, out=None):
        return result(*pair(input, dim, out=out))

    declared.__name__ = declared.__qualname__ = name
    declared.__doc__ = (f"A named tuple: the {'largest' if name == 'cummax' else 'smallest'} elements up to each one along ``dim``, and the indices of the "
                        "last of equal ones. NaN wins.")
    return declared


cummax, cummin = _extreme("cummax", _LARGER, cummax_result), _extreme("cummin", _SMALLER, cummin_result)


# differences


@composite("diff", method=True, dtypes=ALL, ref=lambda x, n=1, dim=-1: np.diff(x, n, dim),
           samples=lambda make: [((make(5),), {}), ((make(4, 3),), dict(n=2, dim=0)), ((make(3, 1),), {}), ((make(3, 4),), dict(n=0))])
def diff(input, n=1, dim=-1, prepend=None, append=None, *, out=None):
    """The ``n``-th differences of neighbours along ``dim``, after ``prepend`` and ``append`` were joined; bool: whether they differ."""
    if not input.shape:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    d = normalize_dim(dim, input.ndim)
    parts = [p for p in (prepend, input, append) if p is not None]
    x = cat(parts, d) if len(parts) > 1 else input
    for _ in range(min(n, x.shape[d])):
        size = max(x.shape[d] - 1, 0)
        later, earlier = x.narrow(d, x.shape[d] - size, size), x.narrow(d, 0, size)
        x = later != earlier if x.dtype in BOOL else later - earlier
    x = x.clone() if x is input else x
    return x if out is None else write_out(x, out)
