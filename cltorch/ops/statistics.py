"""Variance and standard deviation, norms, logsumexp, medians."""
from __future__ import annotations

import math
from functools import partial

import numpy as np

from ..core.tensor import TYPE_NAMES, Tensor
from ..dtype import COMPLEX, bfloat16, dtype, float16, float32, get_default_dtype
from ..shape import normalize_dim, normalize_dims
from .complexes import CORE, sgn
from .creation import arange
from .reduction import LARGER, NONZERO, SMALLER, amax, at_places, evenly_among
from .reduction_form import (
    REAL,
    Spec,
    axes,
    check_dims_nonempty,
    default_samples,
    named_result,
    numpy_names,
    one_dim_samples,
    reduced_size,
    reduction,
    run,
    spread,
    summing,
)
from .registry import FLOATING, INTEGRAL, composite, find, kernel_op, write_out
from .ternary import where
from .unary import exp, log

# variance


def _deviation(name: str, finish: str, with_mean: bool):
    """The operator that gives sum((x - mean)^2) / (n - correction), finished, and the mean if asked, in one pass over memory."""
    specs: dict[dtype, Spec] = {}

    def forward(input, dim, correction, keepdim):
        d = input.dtype
        if d not in specs:
            outputs = ((d, finish), (d, "mean")) if with_mean else ((d, finish),)
            specs[d] = Spec(d, summing(d), outputs, kind="moments", scalars=("correction",))
        dims = normalize_dims(dim, input.ndim)
        if input.numel():
            found = run(input, specs[d], dims, keepdim, (float(correction),))
        else:
            nothing = input.sum(dims, keepdim) / 0
            found = (nothing, nothing.clone()) if with_mean else (nothing,)
        return found if with_mean else found[0]

    def of_variance(g, input, dim, correction, keepdim):
        n = reduced_size(input.shape, dim)
        centred = input - input.mean(dim, True)
        return spread(g, input.shape, dim, keepdim) * centred * (2 / (n - correction) if n > correction else math.nan)

    def of_spread(g, input, out, dim, correction, keepdim):
        if "sqrt" in finish:
            g = where(out == 0, 0, g / (2 * out))
        return of_variance(g, input, dim, correction, keepdim)

    def of_both(g0, g1, input, out0, dim, correction, keepdim):
        n = reduced_size(input.shape, dim)
        return of_spread(g0, input, out0, dim, correction, keepdim) + spread(g1 / n, input.shape, dim, keepdim)

    return kernel_op(f"{name}(input, dim, correction, keepdim)", dtypes=FLOATING, forward=forward,
                     grad=dict(input=of_both if with_mean else of_spread), **CORE)


_VARIANCE = "m2 / (n > correction ? n - correction : 0)"
_ROOT = f"sqrt({_VARIANCE})"
_var, _std = _deviation("var", _VARIANCE, False), _deviation("std", _ROOT, False)
_var_with_mean, _std_with_mean = _deviation("var_mean", _VARIANCE, True), _deviation("std_mean", _ROOT, True)


def _arguments(input, dim, unbiased, correction):
    """dim and correction from the old and new ways to give them."""
    if not (input.dtype.is_floating_point or input.dtype.is_complex):
        raise RuntimeError("std and var only support floating point and complex dtypes")
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if unbiased is not None:
        if correction is not None:
            raise TypeError("var and std take unbiased or correction, not both")
        correction = 1 if unbiased else 0
    return dim, 1 if correction is None else correction


def _moment_samples(make):
    return [((make(3, 4),), {}), ((make(2, 3, 4),), dict(dim=1, correction=0)), ((make(2, 3, 4),), dict(dim=(0, -1), keepdim=True)),
            ((make(4, 3),), dict(dim=0, unbiased=False))]


def _reference(function, with_mean):
    def called(x, dim=None, unbiased=None, keepdim=False, correction=None):
        ddof = int(unbiased) if unbiased is not None else 1 if correction is None else correction
        value = axes(partial(function, ddof=ddof))(x, dim, keepdim)
        return (value, axes(np.mean)(x, dim, keepdim)) if with_mean else value

    return called


def _declare(name, real, with_mean, meaning):
    function = np.var if name.startswith("var") else np.std

    @composite(name, method=not with_mean, dtypes=FLOATING | COMPLEX, samples=_moment_samples, ref=_reference(function, with_mean))
    @numpy_names
    def declared(input, dim=None, unbiased=None, keepdim=False, *, correction=None, out=None):
        dim, correction = _arguments(input, dim, unbiased, correction)
        if input.dtype.is_complex:
            result = var(input.real, dim, keepdim=keepdim, correction=correction) + var(input.imag, dim, keepdim=keepdim, correction=correction)
            result = result.sqrt() if name.startswith("std") else result
            if with_mean:
                result = (result, input.mean(dim, keepdim))
        else:
            result = real(input, dim, correction, keepdim)
        return result if out is None else write_out(result, out)

    declared.__name__ = declared.__qualname__ = name
    declared.__doc__ = f"{meaning} over ``dim`` (None: all), divided by n - ``correction`` (1). One pass, stable."
    return declared


var = _declare("var", _var, False, "The variance")
std = _declare("std", _std, False, "The standard deviation")
var_mean = _declare("var_mean", _var_with_mean, True, "The variance and the mean")
std_mean = _declare("std_mean", _std_with_mean, True, "The standard deviation and the mean")


# vector norms

_SIZE, _SQUARE = "abs(x)", dict(float="x * x", complex="x.x * x.x + x.y * x.y")
_NORM = dict(dtypes=FLOATING | COMPLEX, out=REAL, mapped="real", samples=None, **CORE)


def _norm_gradient(g, input, out, dim, keepdim):
    scale = where(out == 0, 0, g / out)
    return input * spread(scale, input.shape, dim, keepdim)


def _extreme_norm_gradient(g, input, out, dim, keepdim):
    return sgn(input) * evenly_among(g, input.abs(), out, dim, keepdim)


def _power_norm_gradient(g, input, out, dim, keepdim, p):
    scale = where(out == 0, 0, g / out ** (p - 1))
    powers = input.abs() ** (p - 1)
    powers = where(input == 0, 0, powers) if p < 1 else powers
    return sgn(input) * powers * spread(scale, input.shape, dim, keepdim)


_norm_2 = reduction("norm_2(input, dim=None, keepdim=False, *, dtype=None)", map=_SQUARE, combine="a + b", finish="sqrt(a)", empty=0,
                    grad=dict(input=_norm_gradient), **_NORM)
_norm_1 = reduction("norm_1(input, dim=None, keepdim=False, *, dtype=None)", map=_SIZE, combine="a + b", empty=0,
                    grad=dict(input=lambda g, input, dim, keepdim: sgn(input) * spread(g, input.shape, dim, keepdim)), **_NORM)
_norm_0 = reduction("norm_0(input, dim=None, keepdim=False, *, dtype=None)", map=NONZERO, combine="a + b", empty=0,
                    grad=dict(input=lambda g, input: input.new_zeros(input.shape)), **{**_NORM, "mapped": "bool"})
_norm_inf = reduction("norm_inf(input, dim=None, keepdim=False, *, dtype=None)", map=_SIZE, combine=LARGER, identity="lowest",
                      grad=dict(input=_extreme_norm_gradient), **_NORM)
_norm_low = reduction("norm_low(input, dim=None, keepdim=False, *, dtype=None)", map=_SIZE, combine=SMALLER, identity="highest",
                      grad=dict(input=_extreme_norm_gradient), **_NORM)
_norm_p = reduction("norm_p(input, dim=None, keepdim=False, *, dtype=None, p=2.0)", map=dict(float="pow(abs(x), p)"), combine="a + b",
                    finish="pow(a, 1 / p)", empty=0, scalars=("p",), grad=dict(input=_power_norm_gradient), **_NORM)
_NORMS = {2.0: _norm_2, 1.0: _norm_1, 0.0: _norm_0, math.inf: _norm_inf, -math.inf: _norm_low}


def _check_norm_of_nothing(input, ord, dim):
    if input.numel() or 0 <= ord < math.inf:
        return
    if dim is None:
        raise RuntimeError(f"linalg.vector_norm cannot compute the {ord:g} norm on an empty tensor because the operation does not have an identity")
    for d in normalize_dims(dim, input.ndim):
        if not input.shape[d]:
            raise RuntimeError(f"linalg.vector_norm cannot compute the {ord:g} norm on the dimension {d} because this dimension is empty and the "
                               "operation does not have an identity")


def _vector_reference(x, ord=2, dim=None, keepdim=False):
    size = np.abs(x)
    if ord in (math.inf, -math.inf):
        return axes(np.max if ord > 0 else np.min)(size, dim, keepdim)
    if ord == 0:
        return axes(np.sum)(size != 0, dim, keepdim)
    return axes(np.sum)(size ** ord, dim, keepdim) ** (1 / ord)


def _norm_samples(make):
    plain = [((make(3, 4), p), {}) for p in (2, 1, 0, 3, 0.5, math.inf, -math.inf, -1)]
    return [*plain, ((make(2, 3, 4), 2), dict(dim=(0, 2))), ((make(3, 4), 3.5), dict(dim=1, keepdim=True)), ((make(),), {})]


@composite("vector_norm", namespace="linalg", dtypes=FLOATING | COMPLEX, ref=_vector_reference, samples=_norm_samples)
def vector_norm(x, ord=2, dim=None, keepdim=False, *, dtype=None, out=None):
    """(sum |x|^ord)^(1/ord) over ``dim`` (None: all); ord 0 counts what isn't zero, inf and -inf take the largest and smallest |x|."""
    if not (x.dtype.is_floating_point or x.dtype.is_complex):
        raise RuntimeError(f"linalg.vector_norm: Expected a floating point or complex tensor as input. Got {TYPE_NAMES[x.dtype.name]}")
    if dtype is not None:
        x = x.to(dtype)
    ord = float(ord)
    _check_norm_of_nothing(x, ord, dim)
    if ord in _NORMS:
        return _NORMS[ord](x, dim, keepdim, out=out)
    x = x.abs() if x.dtype.is_complex else x
    return _norm_p(x, dim, keepdim, p=ord, out=out)


# matrix norms


def _matrix_norm(A, ord, dim, keepdim):
    """One of two dims by sums of sizes, or over singular values."""
    rows, columns = (normalize_dim(d, A.ndim) for d in dim)
    if rows == columns:
        raise RuntimeError(f"linalg.matrix_norm: dims must be different. Got ({dim[0]}, {dim[1]})")
    if ord == "fro":
        return _norm_2(A, dim, keepdim)
    if ord in (1, -1, math.inf, -math.inf):
        added, other = (rows, columns) if abs(ord) == 1 else (columns, rows)
        sums = _norm_1(A, added, True)
        result = sums.amax(other, True) if ord > 0 else sums.amin(other, True)
        return result if keepdim else result.squeeze((rows, columns))
    values = find("svdvals", "linalg").function(A.movedim((rows, columns), (-2, -1)))
    result = values.sum(-1) if ord == "nuc" else values.amax(-1) if ord == 2 else values.amin(-1)
    if keepdim:
        for d in sorted((rows, columns)):
            result = result.unsqueeze(d)
    return result


def _matrix_samples(make):
    return [((make(3, 4), p), {}) for p in ("fro", 1, -1, math.inf, -math.inf)] + [((make(2, 3, 4), "fro", (0, 2)), {})]


@composite("matrix_norm", namespace="linalg", dtypes=FLOATING | COMPLEX, samples=_matrix_samples,
           ref=lambda A, ord="fro", dim=(-2, -1): np.linalg.norm(A, ord, tuple(dim)))
def matrix_norm(A, ord="fro", dim=(-2, -1), keepdim=False, *, dtype=None, out=None):
    """The norm of matrices in two dims: "fro", "nuc", 1, -1, inf, -inf, 2, -2 (the last two and "nuc" through singular values)."""
    if A.ndim < 2:
        raise RuntimeError(f"linalg.matrix_norm: The input tensor A must have at least 2 dimensions, but has {A.ndim}")
    if ord not in ("fro", "nuc", 1, -1, 2, -2, math.inf, -math.inf):
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    result = _matrix_norm(A if dtype is None else A.to(dtype), ord, dim, keepdim)
    return result if out is None else write_out(result, out)


@composite("norm", namespace="linalg", dtypes=FLOATING | COMPLEX, ref=lambda A, ord=None, dim=None: np.linalg.norm(A, ord, dim),
           samples=lambda make: [((make(3, 4),), {}), ((make(3, 4), 1), {}), ((make(5), 3), {}), ((make(3, 4), 2, 1), {}), ((make(3, 4), "fro"), {})])
def linalg_norm(A, ord=None, dim=None, keepdim=False, *, dtype=None, out=None):
    """vector_norm or matrix_norm, by the number of dims: matrices where ``dim`` has two, or where ``ord`` is given for a 2-d tensor."""
    if dim is not None and not isinstance(dim, int) and len(dim) not in (1, 2):
        raise RuntimeError(f"linalg.norm: If dim is specified, it must be of length 1 or 2. Got {list(dim)}")
    pair = dim if dim is not None and not isinstance(dim, int) and len(dim) == 2 else None
    if ord is None:
        return vector_norm(A, 2, dim, keepdim, dtype=dtype, out=out)
    if pair is None and dim is None and A.ndim == 2:
        pair = (0, 1)
    if pair is not None:
        return matrix_norm(A, ord, pair, keepdim, dtype=dtype, out=out)
    if dim is None and A.ndim != 1:
        raise RuntimeError(f"linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got {A.ndim}D.")
    return vector_norm(A, ord, dim, keepdim, dtype=dtype, out=out)


@composite("norm", method=True, dtypes=FLOATING | COMPLEX, samples=_norm_samples,
           ref=lambda x, p=2, dim=None, keepdim=False: _vector_reference(x, p, dim, keepdim))
def norm(input, p="fro", dim=None, keepdim=False, out=None, dtype=None):
    """The p-norm over ``dim`` (None: all); "fro" is 2, "nuc" the sum of singular values of a matrix."""
    if p == "nuc":
        return matrix_norm(input, "nuc", (-2, -1) if dim is None else dim, keepdim, dtype=dtype, out=out)
    return vector_norm(input, 2 if p in ("fro", None) else p, dim, keepdim, dtype=dtype, out=out)


@composite("dist", method=True, dtypes=FLOATING | COMPLEX, ref=lambda x, y, p=2: _vector_reference(x - y, p),
           samples=lambda make: [((make(3, 4), make(3, 4)), {}), ((make(3, 4), make(4), 1), {})])
def dist(input, other, p=2):
    """The p-norm of input - other."""
    return vector_norm(input - other, p)


# logsumexp


def _logsumexp(input, dim, keepdim):
    if not (input.dtype.is_floating_point or input.dtype.is_complex):
        input = input.to(get_default_dtype())
    x = input.to(float32) if input.dtype in (float16, bfloat16) else input
    if x.numel() == 0:
        return log(x.sum(dim, keepdim)).to(input.dtype)
    top = amax(x, dim, True)
    top = where(top.abs() == math.inf, 0, top)
    total = log(exp(x - top).sum(dim, keepdim))
    return (total + (top if keepdim else top.reshape(total.shape))).to(input.dtype)


def _logsumexp_reference(x, axis, keepdims):
    return np.log(np.sum(np.exp(x), axis=axis, keepdims=keepdims))


logsumexp = kernel_op(
    "logsumexp(input, dim, keepdim=False)", namespace="torch,special", dtypes=FLOATING | INTEGRAL, forward=_logsumexp, ref=axes(_logsumexp_reference),
    samples=lambda make: [s for s in default_samples(make) if s[1] and not make.d.is_integral],
    grad=dict(input=lambda g, input, out, dim, keepdim: spread(g, input.shape, dim, keepdim) * exp(input - spread(out, input.shape, dim, keepdim))))


# medians

median_result, nanmedian_result = named_result("median", "values indices"), named_result("nanmedian", "values indices")


def _middle(x: Tensor, dim: int, ignore_nan: bool) -> tuple[Tensor, Tensor]:
    """The lower median along ``dim`` and its index, the dim kept. A NaN is the median unless ignored."""
    values, indices = x.sort(dim, stable=True)
    n = x.shape[dim]
    present = (x == x).sum(dim, True)
    rank = (present - 1).clamp(min=0) // 2 if ignore_nan else where(present == n, (n - 1) // 2, present)  # the first NaN lies behind the numbers
    places = arange(n, device=x.device).reshape([-1] + [1] * (x.ndim - dim - 1))
    chosen = where(places == rank, indices, 0).sum(dim, True)
    return values.gather(dim, rank), chosen


def _median_pair(name, ignore_nan):
    def forward(input, dim, keepdim):
        d = normalize_dim(dim, input.ndim)
        if not input.shape:
            return input.clone(), input.new_zeros((), dtype=arange(0).dtype)
        check_dims_nonempty(name, input, d, (d,))
        values, indices = _middle(input, d, ignore_nan)
        return (values, indices) if keepdim else (values.squeeze(d), indices.squeeze(d))

    return kernel_op(f"{name}_pair(input, dim, keepdim)", dtypes=FLOATING | INTEGRAL, forward=forward,
                     grad=dict(input=lambda g0, out1, input_shape, dim, keepdim: at_places(out1, g0, input_shape, dim, keepdim)), **CORE)


def _whole_median(name, ignore_nan):
    def forward(input):
        if input.numel() == 0:
            return input.new_full((), math.nan if input.dtype.is_floating_point else 0)
        return _middle(input.reshape(-1), 0, ignore_nan)[0].reshape(())

    return kernel_op(f"{name}(input)", dtypes=FLOATING | INTEGRAL, forward=forward,
                     grad=dict(input=lambda g, input, out: evenly_among(g, input, out, None, False)), **CORE)


def _median_operator(name, ignore_nan, result):
    pair, whole = _median_pair(name, ignore_nan), _whole_median(name, ignore_nan)

    def reference(x, dim=None, keepdim=False):
        if dim is None or not x.ndim:
            flat = np.sort(x.reshape(-1))
            value = flat[(flat.size - 1) // 2]
            return value if dim is None else (value, np.zeros((), np.int64))
        order = np.argsort(x, dim, kind="stable")
        index = np.take(order, [(x.shape[dim] - 1) // 2], dim)
        value = np.take_along_axis(x, index, dim)
        return (value, index) if keepdim else (value.squeeze(dim), index.squeeze(dim))

    @composite(name, method=True, dtypes=FLOATING | INTEGRAL, ref=reference, samples=one_dim_samples)
    def declared(input, dim=None, keepdim=False, *, out=None):
        if dim is None:
            return whole(input, out=out)
        return result(*pair(input, dim, keepdim, out=out))

    declared.__name__ = declared.__qualname__ = name
    declared.__doc__ = (f"{name}(input): the lower median, {'NaN ignored' if ignore_nan else 'NaN where there is one'}; {name}(input, dim, keepdim): "
                        "a named tuple (values, indices) along ``dim``. Sorts.")
    return declared


median = _median_operator("median", False, median_result)
nanmedian = _median_operator("nanmedian", True, nanmedian_result)
