"""Pointwise arithmetic of two operands."""
from __future__ import annotations

import math

import numpy as np

from ..core.tensor import Tensor
from ..dtype import complex128, float64, of_number
from . import references
from .complexes import CORE, conjugate, zeros_for
from .registry import ALL, BOOL, FLOAT, FLOATING, INTEGRAL, NUMERIC, PROMOTE, SAME, composite, pointwise
from .special import sigmoid
from .unary import BOTH, COMPUTED, LN2, REALS, exp2, log, reciprocal, rsqrt, sqrt, square
from .unary import floor as floor_of
from .unary import trunc as trunc_of

BOOL_MINUS_BOOL = ("Subtraction, the `-` operator, with two bool tensors is not supported. "
                   "Use the `^` or `logical_xor()` operator instead.")
BOOL_MINUS = ("Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to invert a mask, use the `~` or "
              "`logical_not()` operator instead.")


def _pair(make, **options):
    return [((make(3, 4), make(3, 4)), options), ((make(3, 4), make(4)), options), ((make(3, 1), make(1, 4)), options)]


def _dtype_of(value):
    return value.dtype if isinstance(value, Tensor) else of_number(value)


# add, sub, mul, div. Each is declared for the plain form that Python operators use; the public functions add PyTorch's options.


def _no_bool(input, other):
    if _dtype_of(input) in BOOL or _dtype_of(other) in BOOL:
        raise RuntimeError(BOOL_MINUS)


_add = pointwise(
    "add(input, other)", dtypes=ALL, out=PROMOTE, cl="add(input, other)", grad=dict(input=lambda g: g, other=lambda g: g), ref=np.add,
    dunders=dict(__add__="xy", __radd__="yx", __iadd__="inplace"), **CORE)

_sub = pointwise(
    "sub(input, other)", dtypes=NUMERIC, out=PROMOTE, cl="sub(input, other)", grad=dict(input=lambda g: g, other=lambda g: -g),
    ref=np.subtract, dunders=dict(__sub__="xy", __rsub__="yx", __isub__="inplace"), check=_no_bool, refuse=dict(bool=BOOL_MINUS_BOOL), **CORE)

_scaled_sum = pointwise(
    "scaled_sum(input, other, alpha)", dtypes=NUMERIC, out=PROMOTE, cl="add(input, mul(alpha, other))",
    grad=dict(input=lambda g: g, other=lambda g, alpha: g * conjugate(alpha)), operands=("input", "other", "alpha"),
    ref=lambda x, y, alpha: x + alpha * y, inplace=False, **CORE)


def _check_alpha(input, other, alpha) -> None:
    kinds = max(_dtype_of(input).category, _dtype_of(other).category)
    if isinstance(alpha, bool) and kinds:
        raise RuntimeError("Boolean alpha only supported for Boolean results.")
    if isinstance(alpha, float) and kinds < 2:
        raise RuntimeError("For integral input tensors, argument alpha must not be a floating point number.")
    if isinstance(alpha, complex) and kinds < 3:
        raise RuntimeError("For non-complex input tensors, argument alpha must not be a complex number.")


@composite("add", method=True, inplace=True, dtypes=ALL, ref=lambda x, y, alpha=1: x + alpha * y,
           samples=lambda make: _pair(make) + _pair(make, alpha=2))
def add(input, other, *, alpha=1, out=None):
    """input + alpha * other, broadcast and promoted."""
    if type(alpha) is int and alpha == 1:
        return _add(input, other, out=out)
    _check_alpha(input, other, alpha)
    if _dtype_of(input) in BOOL and _dtype_of(other) in BOOL:
        return _add(input, other if alpha else False, out=out)
    return _scaled_sum(input, other, alpha, out=out)


@composite("sub", method=True, inplace=True, dtypes=NUMERIC, aliases=("subtract",), ref=lambda x, y, alpha=1: x - alpha * y,
           samples=lambda make: _pair(make) + _pair(make, alpha=2))
def sub(input, other, *, alpha=1, out=None):
    """input - alpha * other, broadcast and promoted. RuntimeError for bool."""
    if type(alpha) is int and alpha == 1:
        return _sub(input, other, out=out)
    _no_bool(input, other)
    _check_alpha(input, other, alpha)
    return _scaled_sum(input, other, -alpha, out=out)


@composite("rsub", dtypes=NUMERIC, ref=lambda x, y, alpha=1: y - alpha * x, samples=lambda make: _pair(make) + _pair(make, alpha=2))
def rsub(input, other, *, alpha=1, out=None):
    """other - alpha * input."""
    return sub(other, input, alpha=alpha, out=out)


mul = pointwise(
    "mul(input, other)", dtypes=ALL, out=PROMOTE, cl="mul(input, other)", aliases=("multiply",), ref=np.multiply,
    grad=dict(input=lambda g, other: g * conjugate(other), other=lambda g, input: g * conjugate(input)),
    dunders=dict(__mul__="xy", __rmul__="yx", __imul__="inplace"))

_div = pointwise(
    "div(input, other)", dtypes=COMPUTED, out=FLOAT, cl=dict(float="input / other", complex="div(input, other)"), ref=np.true_divide,
    grad=dict(input=lambda g, other: g / conjugate(other), other=lambda g, input, other: -g * conjugate(input / other / other)),
    domain=dict(input=(-2, 2), other=(0.5, 2)), dunders=dict(__truediv__="xy", __rtruediv__="yx", __itruediv__="inplace"), **CORE)

_NO_STEPS = dict(input=zeros_for, other=zeros_for)

_floor_divide = pointwise(
    "floor_divide(input, other)", dtypes=REALS, out=PROMOTE, cl="floor_divide(input, other)", grad=_NO_STEPS, ref=np.floor_divide,
    domain=dict(input=(-6, 6), other=(1, 3)), **CORE)

_trunc_divide = pointwise(
    "trunc_divide(input, other)", dtypes=REALS, out=PROMOTE, cl="trunc_divide(input, other)", grad=_NO_STEPS, ref=references.trunc_divide,
    domain=dict(input=(-6, 6), other=(1, 3)), **CORE)


def _refuse_zero(input, other) -> None:
    """A Python zero as an integer divisor raises, as in PyTorch on CPUs; zeros inside a tensor give numbers without meaning (no wait for the device)."""
    if isinstance(other, int) and other == 0 and _dtype_of(input).category < 2:
        raise RuntimeError("ZeroDivisionError")


def _quotient_samples(make):
    x, y = make(3, 4, low=-6, high=6), make(3, 4, low=1, high=3)
    return [((x, y), {}), ((x, make(4, low=1, high=3)), {}), ((x, 2), {})]


def _rounded(reference):
    return lambda x, y, rounding_mode=None: reference[rounding_mode](x, y)


@composite("div", method=True, inplace=True, aliases=("divide",), dtypes=ALL, domain=(0.5, 2),
           ref=_rounded({None: np.true_divide, "floor": np.floor_divide, "trunc": references.trunc_divide}), samples=_quotient_samples)
def div(input, other, *, rounding_mode=None, out=None):
    """input / other; integers give the default float type. ``rounding_mode`` "floor" or "trunc" rounds and keeps the promoted type."""
    if rounding_mode is None:
        return _div(input, other, out=out)
    _refuse_zero(input, other)
    if rounding_mode == "floor":
        return _floor_divide(input, other, out=out)
    if rounding_mode == "trunc":
        return _trunc_divide(input, other, out=out)
    raise RuntimeError(f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found '{rounding_mode}'")


@composite("true_divide", method=True, inplace=True, dtypes=ALL, ref=np.true_divide, samples=_quotient_samples)
def true_divide(input, other, *, out=None):
    """input / other; integers give the default float type."""
    return _div(input, other, out=out)


@composite("floor_divide", method=True, inplace=True, dtypes=REALS, ref=np.floor_divide, samples=_quotient_samples,
           dunders=dict(__floordiv__="xy", __rfloordiv__="yx", __ifloordiv__="inplace"))
def floor_divide(input, other, *, out=None):
    """The quotient rounded towards minus infinity, in the promoted type."""
    _refuse_zero(input, other)
    return _floor_divide(input, other, out=out)


_remainder = pointwise(
    "remainder(input, other)", dtypes=REALS, out=PROMOTE, cl="remainder(input, other)", ref=np.remainder,
    grad=dict(input=lambda g: g, other=lambda g, input, other: -g * floor_of(input / other)),
    domain=dict(input=(1.1, 1.4), other=(0.5, 0.53)), **CORE)

_fmod = pointwise(
    "fmod(input, other)", dtypes=REALS, out=PROMOTE, cl="fmod(input, other)", ref=np.fmod,
    grad=dict(input=lambda g: g, other=lambda g, input, other: -g * trunc_of(input / other)),
    domain=dict(input=(1.1, 1.4), other=(0.5, 0.53)), **CORE)


def _remainder_samples(make):
    return [((make(3, 4, low=1.1, high=1.4), make(3, 4, low=1, high=1.05)), {}), ((make(3, 4, low=1.1, high=1.4), 1), {})]


@composite("remainder", method=True, inplace=True, dtypes=REALS, ref=np.remainder, samples=_remainder_samples,
           dunders=dict(__mod__="xy", __rmod__="yx", __imod__="inplace"))
def remainder(input, other, *, out=None):
    """Python's ``%``: the result has the sign of the divisor."""
    _refuse_zero(input, other)
    return _remainder(input, other, out=out)


@composite("fmod", method=True, inplace=True, dtypes=REALS, ref=np.fmod, samples=_remainder_samples)
def fmod(input, other, *, out=None):
    """C's ``fmod``: the result has the sign of the dividend."""
    _refuse_zero(input, other)
    return _fmod(input, other, out=out)


# powers


def _power_of_base(g, input, exponent):
    if isinstance(exponent, Tensor):
        return (g * conjugate(exponent * _pow(input, exponent - 1))).where(exponent != 0, 0)
    return zeros_for(g) if exponent == 0 else g * conjugate(pow(input, exponent - 1) * exponent)


def _power_of_exponent(g, input, exponent, out):
    logarithm = log(input) if isinstance(input, Tensor) else _log_of_number(input)
    plain = g * conjugate(out * logarithm)
    if isinstance(input, Tensor):
        zero = input == 0
        settled = zero if exponent.dtype.is_complex else zero & (exponent >= 0)
        return plain.where(~settled, 0)
    if input != 0:
        return plain
    return zeros_for(g) if exponent.dtype.is_complex else plain.where(exponent < 0, 0)


def _log_of_number(value):
    if isinstance(value, complex):
        return complex(np.log(value)) if value else -math.inf
    return math.log(value) if value > 0 else (-math.inf if value == 0 else math.nan)


_pow = pointwise(
    "pow(input, exponent)", dtypes=NUMERIC, out=PROMOTE, cl="pow(input, exponent)", ref=references.integer_power,
    grad=dict(input=_power_of_base, exponent=_power_of_exponent), domain=dict(input=(0.5, 2), exponent=(-2, 2)), **CORE)

_logical_power = pointwise(
    "logical_power(input, exponent)", dtypes=BOOL, out=SAME, cl="input | !exponent", ref=lambda x, y: x | ~y, inplace=False, **CORE)

_cube = pointwise(
    "cube(input)", dtypes=NUMERIC, out=SAME, cl="mul(mul(input, input), input)", ref=lambda x: x * x * x, **CORE,
    grad=dict(input=lambda g, input: g * (conjugate(input * input) * 3)))

_SPECIAL_POWERS = {2: square, 3: _cube, 0.5: sqrt, -1: reciprocal, -0.5: rsqrt}


def _power_samples(make):
    base, exponent = make(3, 4, low=0.5, high=2), make(3, 4, low=0, high=2)
    return [((base, exponent), {}), ((base, exponent[0]), {}), ((base, 2), {}), ((base, 3), {}), ((2, exponent), {}), ((base, 0), {})]


@composite("pow", method=True, inplace=True, dtypes=NUMERIC, ref=references.integer_power, samples=_power_samples,
           dunders=dict(__pow__="xy", __rpow__="yx", __ipow__="inplace"))
def pow(input, exponent, *, out=None):
    """input ** exponent; either may be a number. Integers to a negative Python integer raise RuntimeError, as in PyTorch."""
    if type(exponent) in (int, float, bool) and isinstance(input, Tensor):
        if input.dtype.category >= 2:
            special = _SPECIAL_POWERS.get(exponent)
            if special is not None:
                return special(input, out=out)
        elif exponent < 0 and type(exponent) is int:
            raise RuntimeError("Integers to negative integer powers are not allowed.")
        elif type(exponent) is bool and input.dtype in BOOL:
            return _logical_power(input, exponent, out=out)
    return _pow(input, exponent, out=out)


@composite("float_power", method=True, inplace=True, dtypes=ALL, samples=lambda make: [((make(3, 4, low=0.5, high=2), 2), {})],
           ref=lambda x, y: np.float_power(x.astype(np.complex128) if x.dtype.kind == "c" else x.astype(np.float64), y))
def float_power(input, exponent, *, out=None):
    """input ** exponent in float64 (complex128 for complex operands)."""
    target = complex128 if _dtype_of(input).is_complex or _dtype_of(exponent).is_complex else float64
    base, power = (v.to(target) if isinstance(v, Tensor) else v for v in (input, exponent))
    return pow(base, power, out=out)


@composite("ldexp", method=True, inplace=True, dtypes=FLOATING, samples=lambda make: [((make(3, 4), make(3, 4)), {})], ref=lambda x, y: x * 2.0 ** y)
def ldexp(input, other, *, out=None):
    """input * 2 ** other."""
    return mul(input, exp2(other), out=out)


# larger, smaller: NaN wins in maximum and minimum, loses in fmax and fmin; ties share the gradient in the former two

_ORDERED = REALS | BOOL
_NO_COMPLEX = "{} not implemented for complex tensors."


def _extreme(name: str, expression: str, grad: dict, bool_sign: str, reference):
    return pointwise(f"{name}(input, other)", dtypes=_ORDERED, out=PROMOTE, cl=dict(float=expression, bool=f"input {bool_sign} other"),
                     grad=grad, ref=reference, inplace=False, refuse=dict(complex=_NO_COMPLEX.format(name)))


_share = pointwise(
    "maximum_backward(grad, input, other)", dtypes=FLOATING, out=SAME, cl="input == other ? grad / 2 : input < other ? 0 : grad",
    grad=dict(grad=lambda g, input, other: _share(g, input, other)), inplace=False,
    ref=lambda g, x, y: np.where(x == y, g / 2, np.where(x < y, 0, g)), **CORE)

maximum = _extreme("maximum", "max(input, other)", dict(input=lambda g, input, other: _share(g, input, other),
                                                        other=lambda g, input, other: _share(g, other, input)), "|", np.maximum)
minimum = _extreme("minimum", "min(input, other)", dict(input=lambda g, input, other: _share(g, other, input),
                                                        other=lambda g, input, other: _share(g, input, other)), "&", np.minimum)
fmax = _extreme("fmax", "fmax(input, other)", dict(input=lambda g, input, other: g.where((input >= other) | (other != other), 0),
                                                   other=lambda g, input, other: g.where(~((input >= other) | (other != other)), 0)),
                "|", np.fmax)
fmin = _extreme("fmin", "fmin(input, other)", dict(input=lambda g, input, other: g.where((input <= other) | (other != other), 0),
                                                   other=lambda g, input, other: g.where(~((input <= other) | (other != other)), 0)),
                "&", np.fmin)

# the rest

hypot = pointwise(
    "hypot(input, other)", dtypes=FLOATING, out=PROMOTE, cl="hypot(input, other)",
    grad=dict(input=lambda g, input, out: g * (input / out), other=lambda g, other, out: g * (other / out)), domain=(0.5, 2))


def _per_square(g, input, other):
    """g / (input ** 2 + other ** 2), 0 at the origin."""
    square = input * input + other * other
    return (g / square).where(square != 0, 0)


atan2 = pointwise(
    "atan2(input, other)", dtypes=FLOATING, out=FLOAT, cl="atan2(input, other)", aliases=("arctan2",), ref=np.arctan2, domain=(0.5, 2),
    grad=dict(input=lambda g, input, other: _per_square(g * other, input, other),
              other=lambda g, input, other: _per_square(-g * input, input, other)))

copysign = pointwise(
    "copysign(input, other)", dtypes=FLOATING, out=FLOAT, cl="copysign(input, other)", domain=(0.5, 2),
    grad=dict(input=lambda g, input, out: g * (out / input).where(input != 0, 0), other=zeros_for))


def _same_dtype(input, other):
    if not isinstance(input, Tensor) or not isinstance(other, Tensor):
        raise TypeError("heaviside(): arguments 'input' and 'values' must be Tensors")
    if input.dtype is not other.dtype:
        raise RuntimeError("heaviside is not yet implemented for tensors with different dtypes.")


heaviside = pointwise(
    "heaviside(input, values)", dtypes=_ORDERED, out=PROMOTE, domain=(0.5, 2), grad=dict(input=zeros_for, values=zeros_for), check=_same_dtype,
    cl=dict(float="input == 0 ? values : (T)(input > 0)", bool="input ? 1 : values"),
    ref=lambda x, v: np.where(x == 0, v, x > 0), refuse=dict(complex="heaviside is not yet implemented for complex tensors."))

logaddexp = pointwise(
    "logaddexp(input, other)", dtypes=COMPUTED, out=PROMOTE, inplace=False,
    cl=dict(float="log_add_exp(input, other)", complex="log(exp(input) + exp(other))"),
    grad=dict(input=lambda g, input, other: g * conjugate(sigmoid(input - other)), other=lambda g, input, other: g * conjugate(sigmoid(other - input))),
    ref=lambda x, y: np.log(np.exp(x) + np.exp(y)))

logaddexp2 = pointwise(
    "logaddexp2(input, other)", dtypes=FLOATING, out=PROMOTE, inplace=False, cl="log_add_exp2(input, other)",
    grad=dict(input=lambda g, input, other: g * sigmoid((input - other) * LN2), other=lambda g, input, other: g * sigmoid((other - input) * LN2)))


def _xlogy_reference(x, y):
    return np.where(x == 0, 0.0, x * np.log(np.where(x == 0, 1, y)))


xlogy = pointwise(
    "xlogy(input, other)", dtypes=FLOATING, out=FLOAT, namespace=BOTH, ref=_xlogy_reference, domain=(0.3, 3),
    cl="xlogy(input, other)",
    grad=dict(input=lambda g, input, other: g * log(other).where((input != 0) | (other > 0), 0) if isinstance(other, Tensor)
              else g * _log_of_number(other),
              other=lambda g, input, other: g * input / other))

gcd = pointwise("gcd(input, other)", dtypes=INTEGRAL, out=PROMOTE, cl="gcd(input, other)", domain=(0, 20))
lcm = pointwise("lcm(input, other)", dtypes=INTEGRAL, out=PROMOTE, cl="lcm(input, other)", domain=(0, 10))
nextafter = pointwise("nextafter(input, other)", dtypes=FLOATING, out=PROMOTE, cl="nextafter(input, other)", ref=None)
