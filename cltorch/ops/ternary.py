"""Pointwise operators of three operands: selection, clamping, interpolation, fused multiply-adds."""
from __future__ import annotations

import numpy as np

from ..core.tensor import TYPE_NAMES, Tensor
from ..dtype import bool_, uint8
from .complexes import CORE, conjugate
from .registry import ALL, BOOL, COMPLEX, FLOATING, INTEGRAL, NUMERIC, PROMOTE, SAME, composite, pointwise

NO_COMPLEX = dict(complex="clamp is not supported for complex types")
REALS = FLOATING | INTEGRAL

# selection: a bool condition never raises the common type of the two others

choose = pointwise(
    "where(condition, input, other)", dtypes=ALL, out=PROMOTE, inplace=False,
    cl=dict(float="condition != 0 ? input : other", complex="condition.x != 0 ? input : other"),
    grad=dict(input=lambda g, condition: choose(condition, g, 0), other=lambda g, condition: choose(condition, 0, g)),
    ref=lambda c, x, y: np.where(c != 0, x, y), **CORE)


def _condition(condition):
    if condition.dtype is bool_:
        return condition
    if condition.dtype is uint8:
        return condition != 0
    raise RuntimeError("where expected condition to be a boolean tensor, but got a tensor with dtype "
                       f"{TYPE_NAMES[condition.dtype.name]}; compare it, as in condition != 0")


def _where_samples(make):
    choice = make(3, 4, dtype=bool_)
    return [((choice, make(3, 4), make(3, 4)), {}), ((choice, make(4), make(3, 1)), {}), ((choice, make(3, 4), 1), {}),
            ((make(4, dtype=bool_), 2, make(3, 4)), {})]


@composite("where", samples=_where_samples, ref=np.where)
def where(condition, input=None, other=None, *, out=None):
    """input where condition is true, else other; with the condition alone, ``condition.nonzero(as_tuple=True)``."""
    if other is None:
        return condition.nonzero(as_tuple=True)
    return choose(_condition(condition), input, other, out=out)


def _where_method(self, condition, other):
    """self where condition is true, else other."""
    return choose(_condition(condition), self, other)


Tensor.where = _where_method

# clamping


def _inside(x, low, high):
    return np.where((x >= low) & (x <= high), 1.0, 0.0)


_clamp_backward = pointwise(
    "clamp_backward(grad, input, min, max)", dtypes=FLOATING, out=SAME, inplace=False, cl="input >= min && input <= max ? grad : 0",
    grad=dict(grad=lambda g, input, min, max: _clamp_backward(g, input, min, max)), **CORE,
    ref=lambda g, x, low, high: g * _inside(x, low, high))

_clamp = pointwise(
    "clamp(input, min, max)", dtypes=REALS, out=PROMOTE, cl="clamp(input, min, max)", refuse=NO_COMPLEX,
    grad=dict(input=lambda g, input, min, max: _clamp_backward(g, input, min, max),
              min=lambda g, input, min, max: choose((min < max) & (input < min), g, 0),
              max=lambda g, input, min, max: choose((input > max) | (max < min), g, 0)),
    ref=lambda x, low, high: np.minimum(np.maximum(x, low), high), domain=dict(input=(-2, 2), min=(-0.9, -0.5), max=(0.5, 0.9)), **CORE)


clamp_min = pointwise(
    "clamp_min(input, min)", dtypes=REALS | BOOL, out=PROMOTE, cl=dict(float="max(input, min)", bool="input | min"), refuse=NO_COMPLEX,
    grad=dict(input=lambda g, input, min: choose(input >= min, g, 0), min=lambda g, input, min: choose(input < min, g, 0)), ref=np.maximum)

clamp_max = pointwise(
    "clamp_max(input, max)", dtypes=REALS | BOOL, out=PROMOTE, cl=dict(float="min(input, max)", bool="input & max"), refuse=NO_COMPLEX,
    grad=dict(input=lambda g, input, max: choose(input <= max, g, 0), max=lambda g, input, max: choose(input > max, g, 0)), ref=np.minimum)


def _clamp_samples(make):
    x = make(3, 4)
    low = -1 if x.dtype.is_signed else 0
    return [((x, low, 1), {}), ((x, 0), {}), ((x,), dict(max=1)), ((x, make(4, low=-1, high=0), make(3, 1, low=0, high=1)), {})]


@composite("clamp", method=True, inplace=True, aliases=("clip",), dtypes=REALS, samples=_clamp_samples,
           ref=lambda x, min=None, max=None: np.clip(x, -np.inf if min is None else min, np.inf if max is None else max))
def clamp(input, min=None, max=None, *, out=None):
    """min(max(input, min), max); a bound may be a number, a tensor or None. Where min > max the result is max; NaN stays NaN."""
    if max is None:
        if min is None:
            raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
        return clamp_min(input, min, out=out)
    return clamp_max(input, max, out=out) if min is None else _clamp(input, min, max, out=out)


# interpolation and fused multiply-adds


def _one_type(input, end, weight):
    if isinstance(end, Tensor) and end.dtype is not input.dtype:
        raise RuntimeError(f"expected dtype {input.dtype.name} for `end` but got dtype {end.dtype.name} (lerp)")


FROM_START = "add(input, mul(weight, sub(end, input)))"
FROM_END = "sub(end, mul(sub(end, input), sub({one}, weight)))"

lerp = pointwise(
    "lerp(input, end, weight)", dtypes=FLOATING | COMPLEX, out=PROMOTE, check=_one_type,
    cl=dict(float=f"abs(weight) < 0.5 ? {FROM_START} : {FROM_END.format(one='(T)1')}",
            complex=f"abs(weight) < 0.5 ? {FROM_START} : {FROM_END.format(one='(T)(1, 0)')}"),
    grad=dict(input=lambda g, weight: g * (1 - conjugate(weight)), end=lambda g, weight: g * conjugate(weight),
              weight=lambda g, input, end: g * conjugate(end - input)),
    ref=lambda x, end, weight: x + weight * (end - x))

addcmul = pointwise(
    "addcmul(input, tensor1, tensor2, *, value=1)", dtypes=NUMERIC, out=PROMOTE, cl="add(input, mul(mul(value, tensor1), tensor2))",
    grad=dict(input=lambda g: g, tensor1=lambda g, tensor2, value: g * conjugate(tensor2 * value),
              tensor2=lambda g, tensor1, value: g * conjugate(tensor1 * value)),
    ref=lambda x, a, b, value=1: x + value * a * b)

addcdiv = pointwise(
    "addcdiv(input, tensor1, tensor2, *, value=1)", dtypes=FLOATING | COMPLEX, out=PROMOTE,
    cl=dict(float="input + value * tensor1 / tensor2", complex="input + div(mul(value, tensor1), tensor2)"),
    grad=dict(input=lambda g: g, tensor1=lambda g, tensor2, value: g * conjugate(value / tensor2),
              tensor2=lambda g, tensor1, tensor2, value: -g * conjugate(tensor1 * value / (tensor2 * tensor2))),
    ref=lambda x, a, b, value=1: x + value * a / b, domain=dict(input=(-2, 2), tensor1=(-2, 2), tensor2=(0.5, 2)),
    refuse=dict(int="Integer division with addcdiv is not supported: use (input + value * torch.trunc(tensor1 / tensor2)).to(input.dtype), or "
                    "input + value * tensor1 / tensor2 for the true quotient."))
