"""Sums, products, extremes and counts over any dims."""
from __future__ import annotations

import numpy as np

from ..core.tensor import TYPE_NAMES, Tensor
from ..dtype import BOOL, COMPLEX, bool_
from ..shape import Size, normalize_dim
from .binary import maximum, minimum
from .complexes import CORE, conjugate
from .creation import arange
from .movement import cat
from .reduction_form import (
    ACCUMULATE,
    BOOLEAN,
    INDEX,
    NUMPY_NAMES,
    Extreme,
    axes,
    comparing,
    default_samples,
    named_result,
    numpy_names,
    one_dim_samples,
    reduced_size,
    reduction,
    refuse_complex,
    spread,
)
from .registry import ALL, FLOATING, INTEGRAL, composite, kernel_op, write_out
from .ternary import where

REAL_NUMBERS = FLOATING | INTEGRAL
LARGER = dict(float="((b > a) | (b != b)) ? b : a", int="b > a ? b : a", bool="a | b")  # NaN stays, and wins over everything
SMALLER = dict(float="((b < a) | (b != b)) ? b : a", int="b < a ? b : a", bool="a & b")
LARGER_PAIR = dict(float="(b > a) | ((b != b) & (a == a))", int="b > a", bool="b > a")
SMALLER_PAIR = dict(float="(b < a) | ((b != b) & (a == a))", int="b < a", bool="b < a")
NONZERO = dict(float="x != 0", complex="(x.x != 0) | (x.y != 0)")

max_result, min_result, aminmax_result = named_result("max", "values indices"), named_result("min", "values indices"), named_result("aminmax", "min max")


# sums and products

sum = reduction(
    "sum(input, dim=None, keepdim=False, *, dtype=None)", dtypes=ALL, out=ACCUMULATE, combine="a + b", empty=0,
    grad=dict(input=lambda g, input_shape, dim, keepdim: spread(g, input_shape, dim, keepdim)), ref=np.sum)

nansum = reduction(
    "nansum(input, dim=None, keepdim=False, *, dtype=None)", dtypes=REAL_NUMBERS | BOOL, out=ACCUMULATE, map=dict(float="x == x ? x : 0", int="x", bool="x"),
    combine="a + b", empty=0, ref=np.nansum,
    grad=dict(input=lambda g, input, dim, keepdim: where(input == input, spread(g, input.shape, dim, keepdim), 0)))

_mean = reduction(
    "mean(input, dim=None, keepdim=False, *, dtype=None)", dtypes=ALL, combine="a + b", finish="a / n", empty=float("nan"), samples=None,
    grad=dict(input=lambda g, input_shape, dim, keepdim: spread(g / reduced_size(input_shape, dim), input_shape, dim, keepdim)), **CORE)


@composite("mean", method=True, dtypes=FLOATING | COMPLEX, ref=axes(np.mean), samples=default_samples)
@numpy_names
def mean(input, dim=None, keepdim=False, *, dtype=None, out=None):
    """The average over ``dim`` (None: all), in ``dtype`` or the input's type. RuntimeError for integers without a floating dtype."""
    kind, d = ("Input", input.dtype) if dtype is None else ("Optional", dtype)
    if not (d.is_floating_point or d.is_complex):
        raise RuntimeError(f"mean(): could not infer output dtype. {kind} dtype must be either a floating point or complex dtype. "
                           f"Got: {TYPE_NAMES[d.name]}")
    return _mean(input, dim, keepdim, dtype=dtype, out=out)


def _others_product(x: Tensor, dim: int) -> Tensor:
    """For each element the product of all others along ``dim``, right also where some are 0."""
    n = x.shape[dim]
    one = x.new_ones([1 if d == dim else m for d, m in enumerate(x.shape)])
    before = x.narrow(dim, 0, n - 1).cumprod(dim)
    after = x.narrow(dim, 1, n - 1).flip(dim).cumprod(dim).flip(dim)
    return cat((one, before), dim) * cat((after, one), dim)


def _prod_gradient(g: Tensor, input: Tensor, dim: int | None, keepdim: bool) -> Tensor:
    if input.ndim == 0:
        return g
    x, along = (input.reshape(-1), 0) if dim is None else (input, normalize_dim(dim, input.ndim))
    others = _others_product(x, along) if x.shape[along] > 1 else x.new_ones(x.shape)
    return spread(g, input.shape, dim, keepdim) * conjugate(others.reshape(input.shape))


prod = reduction(
    "prod(input, dim=None, keepdim=False, *, dtype=None)", dtypes=ALL, out=ACCUMULATE, combine="mul(a, b)", identity=1, empty=1,
    grad=dict(input=_prod_gradient), ref=np.prod, samples=one_dim_samples)


# truth and counts

any = reduction("any(input, dim=None, keepdim=False)", dtypes=ALL, out=BOOLEAN, map=NONZERO, mapped="bool", combine="a | b", empty=0,
                accumulator=lambda d: d, grad=None, ref=np.any)

all = reduction("all(input, dim=None, keepdim=False)", dtypes=ALL, out=BOOLEAN, map=NONZERO, mapped="bool", combine="a & b", identity=1,
                empty=1, accumulator=lambda d: d, grad=None, ref=np.all)

count_nonzero = reduction(
    "count_nonzero(input, dim=None)", dtypes=ALL, out=INDEX, map=NONZERO, mapped="bool", combine="a + b", empty=0, grad=None,
    ref=lambda x, axis, keepdims: np.count_nonzero(x, axis),
    samples=lambda make: [((make(3, 4),), {}), ((make(2, 3, 4),), dict(dim=(0, 2))), ((make(3, 4),), dict(dim=1)), ((make(),), {})])


# extremes

def evenly_among(g: Tensor, input: Tensor, out: Tensor, dim: object, keepdim: bool) -> Tensor:
    """The gradient shared evenly by the elements that are the extreme one (NaN where that is NaN)."""
    best = spread(out, input.shape, dim, keepdim)
    chosen = where(best == best, input == best, input != input)
    share = g / chosen.sum(dim, keepdim)
    return where(chosen, spread(share, input.shape, dim, keepdim), 0)


amax = reduction("amax(input, dim=(), keepdim=False)", dtypes=REAL_NUMBERS | BOOL, combine=LARGER, identity="lowest", accumulator=comparing,
                 grad=dict(input=evenly_among), ref=np.max)

amin = reduction("amin(input, dim=(), keepdim=False)", dtypes=REAL_NUMBERS | BOOL, combine=SMALLER, identity="highest", accumulator=comparing,
                 grad=dict(input=evenly_among), ref=np.min)


def at_places(index: Tensor, g: Tensor, shape: Size, dim: int, keepdim: bool) -> Tensor:
    """Zeros of ``shape`` with g at the places ``index`` along ``dim``."""
    if not shape:
        return g
    d = normalize_dim(dim, len(shape))
    places = arange(shape[d], device=g.device).reshape([-1] + [1] * (len(shape) - d - 1))
    return where(places == spread(index, shape, d, keepdim), spread(g, shape, d, keepdim), 0)


def _extreme_pair(name: str, order: dict[str, str], identity: str):
    """The operator that gives (values, indices) of the first extreme elements along a dim, and the finder of indices alone."""
    find = Extreme(name, order, identity).find
    return kernel_op(
        f"{name}_pair(input, dim, keepdim=False)", dtypes=REAL_NUMBERS | BOOL, forward=lambda input, dim, keepdim: find(input, dim, keepdim, True),
        grad=dict(input=lambda g0, out1, input_shape, dim, keepdim: at_places(out1, g0, input_shape, dim, keepdim)), **CORE)


_max_pair, _min_pair = _extreme_pair("max", LARGER_PAIR, "lowest"), _extreme_pair("min", SMALLER_PAIR, "highest")


def _overloaded(name, whole, pair, binary, result):
    """max and min: of a whole tensor, along a dim with indices, or of two tensors."""
    first = np.argmax if name == "max" else np.argmin
    values = axes(np.max if name == "max" else np.min)

    def reference(x, dim=None, keepdim=False):
        if dim is None:
            return values(x)
        return (values(x, dim, keepdim), first(x, dim, keepdims=keepdim)) if x.ndim else (x, np.zeros((), np.int64))

    @composite(name, method=True, dtypes=REAL_NUMBERS | BOOL, ref=reference, samples=one_dim_samples)
    @numpy_names
    def function(input, dim=None, keepdim=False, *, other=None, out=None):
        refuse_complex(name, input)
        other = dim if isinstance(dim, Tensor) else other
        if other is not None:
            return binary(input, other, out=out)
        if dim is not None:
            return result(*pair(input, dim, keepdim, out=out))
        if input.numel() == 0:
            raise RuntimeError(f"{name}(): Expected reduction dim to be specified for input.numel() == 0. "
                               "Specify the reduction dim with the 'dim' argument.")
        return whole(input, out=out)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (f"{name}(input): the {word[name]} element; {name}(input, dim, keepdim): a named tuple (values, indices) of the first "
                        f"{word[name]} elements along ``dim``; {name}(input, other): elementwise. NaN wins.")
    return function


word = {"max": "largest", "min": "smallest"}
max = _overloaded("max", amax, _max_pair, maximum, max_result)
min = _overloaded("min", amin, _min_pair, minimum, min_result)


@composite("aminmax", method=True, dtypes=REAL_NUMBERS | BOOL, samples=one_dim_samples,
           ref=lambda x, dim=None, keepdim=False: (axes(np.min)(x, dim, keepdim), axes(np.max)(x, dim, keepdim)))
def aminmax(input, *, dim=None, keepdim=False, out=None):
    """The smallest and the largest element, of all or along ``dim``: a named tuple (min, max)."""
    if input.numel() == 0 and dim is None:
        raise RuntimeError("aminmax(): cannot compute aminmax over an empty dimension as the operation has no identity.")
    low, high = out or (None, None)
    dims = () if dim is None else dim
    return aminmax_result(amin(input, dims, keepdim, out=low), amax(input, dims, keepdim, out=high))


def _place(name: str, order: dict[str, str], identity: str, reference):
    find = Extreme(name, order, identity).find

    def forward(input, dim, keepdim):
        if input.dtype is bool_:
            raise RuntimeError(f"{name}(): does not support bool input")
        return find(input, dim, keepdim, False, IndexError)[0]

    def ref(x, dim=None, keepdim=False):
        return np.asarray(reference(x, dim if x.ndim else None, keepdims=keepdim))

    return kernel_op(f"{name}(input, dim=None, keepdim=False)", dtypes=REAL_NUMBERS, forward=forward, grad=None, ref=ref,
                     samples=one_dim_samples, synonyms=NUMPY_NAMES,
                     doc="The index (int64) of the first of the extreme elements: in the flattened tensor, or along ``dim``. NaN wins.")


argmax = _place("argmax", LARGER_PAIR, "lowest", np.argmax)
argmin = _place("argmin", SMALLER_PAIR, "highest", np.argmin)


@composite("nanmean", method=True, dtypes=FLOATING, ref=axes(np.nanmean), samples=default_samples)
@numpy_names
def nanmean(input, dim=None, keepdim=False, *, dtype=None, out=None):
    """The average of the elements that are not NaN; NaN where there is none."""
    present = (input == input).sum(dim, keepdim)
    result = nansum(input, dim, keepdim, dtype=dtype) / present
    return result if out is None else write_out(result, out)
