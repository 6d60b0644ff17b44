"""Pointwise comparison, tests of single values, logic, bit operations, and closeness."""
from __future__ import annotations

import numpy as np

from ..core.tensor import TYPE_NAMES, Tensor
from ..dtype import get_default_dtype
from .registry import ALL, BOOL, BOOLEAN, FLOATING, INTEGRAL, SAME, composite, pointwise

ORDERED = FLOATING | INTEGRAL | BOOL
BITS = INTEGRAL | BOOL

# comparison


def _comparison(name: str, sign: str, alias: str, reference):
    """lt, le, gt, ge: ordered types only."""
    return pointwise(f"{name}(input, other)", dtypes=ORDERED, out=BOOLEAN, cl=f"input {sign} other", ref=reference, aliases=(alias,),
                     dunders={f"__{name}__": "xy"})


eq = pointwise("eq(input, other)", dtypes=ALL, out=BOOLEAN, cl="eq(input, other)", ref=np.equal, dunders=dict(__eq__="xy"))
ne = pointwise("ne(input, other)", dtypes=ALL, out=BOOLEAN, cl="ne(input, other)", ref=np.not_equal, aliases=("not_equal",),
               dunders=dict(__ne__="xy"))
lt = _comparison("lt", "<", "less", np.less)
le = _comparison("le", "<=", "less_equal", np.less_equal)
gt = _comparison("gt", ">", "greater", np.greater)
ge = _comparison("ge", ">=", "greater_equal", np.greater_equal)

# tests of a value

isnan = pointwise("isnan(input)", dtypes=ALL, out=BOOLEAN, cl="isnan(input)", inplace=False)
isinf = pointwise("isinf(input)", dtypes=ALL, out=BOOLEAN, cl="isinf(input)", inplace=False)
isfinite = pointwise("isfinite(input)", dtypes=ALL, out=BOOLEAN, cl="isfinite(input)", inplace=False)
isposinf = pointwise("isposinf(input)", dtypes=ORDERED, out=BOOLEAN, cl=dict(float="input == INFINITY", int="0", bool="0"), inplace=False,
                     namespace="torch", ref=lambda x: np.isposinf(x.astype(np.float64)))
isneginf = pointwise("isneginf(input)", dtypes=ORDERED, out=BOOLEAN, cl=dict(float="input == -INFINITY", int="0", bool="0"), inplace=False,
                     ref=lambda x: np.isneginf(x.astype(np.float64)))

# logic: any type counts as true where it is not zero

TRUTH = dict(float="(input != 0)", complex="((input.x != 0) | (input.y != 0))")
OTHER = {kind: text.replace("input", "other") for kind, text in TRUTH.items()}


def _logical(name: str, sign: str, reference):
    return pointwise(f"logical_{name}(input, other)", dtypes=ALL, out=BOOLEAN, cl={kind: f"{TRUTH[kind]} {sign} {OTHER[kind]}" for kind in TRUTH},
                     ref=reference)


logical_and = _logical("and", "&", np.logical_and)
logical_or = _logical("or", "|", np.logical_or)
logical_xor = _logical("xor", "!=", np.logical_xor)
logical_not = pointwise("logical_not(input)", dtypes=ALL, out=BOOLEAN, cl=dict(float="eq(input, 0)", complex="eq(input, (T)(0, 0))"))

# bits


def _bitwise(name: str, sign: str):
    return pointwise(f"bitwise_{name}(input, other)", dtypes=BITS, out=SAME, cl=f"input {sign} other",
                     dunders={f"__{name}__": "xy", f"__r{name}__": "yx", f"__i{name}__": "inplace"})


bitwise_and = _bitwise("and", "&")
bitwise_or = _bitwise("or", "|")
bitwise_xor = _bitwise("xor", "^")
bitwise_not = pointwise("bitwise_not(input)", dtypes=BITS, out=SAME, cl=dict(int="~input", bool="!input"), ref=np.invert)


def _invert(self: Tensor) -> Tensor:
    if self.dtype not in BITS:
        raise TypeError(f"~ (operator.invert) is only implemented on integer and Boolean-type tensors, not {self.dtype}")
    return bitwise_not(self)


setattr(Tensor, "__invert__", _invert)  # noqa: B010 - mypy refuses the assignment of a method

# A shift by a negative number or by the width and more gives 0, to the right the sign.
bitwise_left_shift = pointwise(
    "bitwise_left_shift(input, other)", dtypes=INTEGRAL, out=SAME, domain=(0, 5), ref=np.left_shift,
    cl="shift_left(input, other)",
    dunders=dict(__lshift__="xy", __rlshift__="yx", __ilshift__="inplace"))
bitwise_right_shift = pointwise(
    "bitwise_right_shift(input, other)", dtypes=INTEGRAL, out=SAME, domain=(0, 5), ref=np.right_shift,
    cl="shift_right(input, other)",
    dunders=dict(__rshift__="xy", __rrshift__="yx", __irshift__="inplace"))

# closeness


def _check_close(input: Tensor, other: Tensor, rtol: float, atol: float) -> None:
    if input.dtype is not other.dtype:
        raise RuntimeError(f"{TYPE_NAMES[input.dtype.name]} did not match {TYPE_NAMES[other.dtype.name]}")
    for name, value in (("rtol", rtol), ("atol", atol)):
        if value < 0:
            raise RuntimeError(f"{name} must be greater than or equal to zero, but got {value}")


def _close_samples(make):
    x = make(3, 4)
    return [((x, x.detach().clone()), {}), ((x, make(4)), {}), ((x, make(3, 4)), dict(rtol=0.5, atol=0.1, equal_nan=True))]


def _close_reference(x, y, rtol=1e-05, atol=1e-08, equal_nan=False):
    if np.asarray(x).dtype == bool:
        x, y = x.astype(np.int64), y.astype(np.int64)
    return np.isclose(x, y, rtol, atol, equal_nan)


@composite("isclose", method=True, samples=_close_samples, ref=_close_reference, differentiable=False)
def isclose(input, other, rtol=1e-05, atol=1e-08, equal_nan=False):
    """|input - other| <= atol + rtol * |other|, elementwise; equal infinities are close. Bool tensor. RuntimeError where the types differ."""
    _check_close(input, other, rtol, atol)
    close = input == other
    if not (input.dtype.is_floating_point or input.dtype.is_complex):
        if rtol == 0 and atol == 0:
            return close
        input, other = input.to(get_default_dtype()), other.to(get_default_dtype())
    elif equal_nan:
        close = close | (isnan(input) & isnan(other))
    difference = (input - other).abs()
    return close | (isfinite(difference) & (difference <= other.abs() * rtol + atol))


@composite("allclose", method=True, samples=_close_samples, differentiable=False,
           ref=lambda x, y, rtol=1e-05, atol=1e-08, equal_nan=False: bool(_close_reference(x, y, rtol, atol, equal_nan).all()))
def allclose(input, other, rtol=1e-05, atol=1e-08, equal_nan=False):
    """Whether ``isclose`` holds everywhere; a Python bool (waits for the device)."""
    return bool(isclose(input, other, rtol, atol, equal_nan).all().item())


@composite("equal", method=True, differentiable=False, samples=lambda make: [((make(3, 4), make(3, 4)), {}), ((make(3), make(4)), {})],
           ref=np.array_equal)
def equal(input, other):
    """Whether both have the same shape and elements; a Python bool (waits for the device)."""
    if input.shape != other.shape:
        return False
    return bool(eq(input, other).all().item())
