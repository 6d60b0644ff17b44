"""Pointwise operators of one operand: signs, rounding, powers, exponentials, trigonometry, special functions."""
from __future__ import annotations

import math

import numpy as np

from . import references
from .complexes import CORE, conjugate, sgn, zeros_for
from .registry import (
    ALL,
    BOOL,
    BOOLEAN,
    COMPLEX,
    FLOAT,
    FLOATING,
    INTEGRAL,
    NUMERIC,
    REAL,
    SAME,
    composite,
    pointwise,
)

REALS = FLOATING | INTEGRAL
COMPUTED = FLOATING | COMPLEX  # with out=FLOAT: integers and bool are computed as the default float
BOTH = "torch,special"
LN2, LN10 = math.log(2), math.log(10)

# signs

neg = pointwise(
    "neg(input)", dtypes=NUMERIC, out=SAME, cl="neg(input)", grad=dict(input=lambda g: -g), ref=np.negative, aliases=("negative",),
    dunders=dict(__neg__="x"),
    refuse=dict(bool="Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert a mask, use the `~` or "
                     "`logical_not()` operator instead."))


@composite("positive", method=True, dunders=dict(__pos__="x"), samples=lambda make: [((make(3, 4),), {})], dtypes=NUMERIC, ref=np.positive)
def positive(input):
    """The tensor itself. RuntimeError for bool."""
    if input.dtype in BOOL:
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


abs = pointwise(
    "abs(input)", dtypes=NUMERIC, out=REAL, cl="abs(input)", grad=dict(input=lambda g, input: g * sgn(input)), ref=np.abs,
    aliases=("absolute",), dunders=dict(__abs__="x"), domain=(0.25, 3))

sign = pointwise(
    "sign(input)", dtypes=REALS | BOOL, out=SAME, cl=dict(float="sign(input)", bool="input"), grad=dict(input=zeros_for),
    ref=references.real_sign, domain=(0.25, 3),
    refuse=dict(complex="Unlike NumPy, torch.sign is not intended to support complex numbers. Please use torch.sgn instead."))

signbit = pointwise(
    "signbit(input)", dtypes=REALS | BOOL, out=BOOLEAN, cl=dict(float="signbit(input)", bool="0"), inplace=False,
    ref=lambda x: np.signbit(x.astype(np.float64)))

# rounding


def _rounding(name: str, **options):
    """A rounding operator: the identity on integers, gradient 0."""
    return pointwise(f"{name}(input)", dtypes=REALS, out=SAME, cl=dict(float=f"{name}(input)", int="input"),
                     grad=dict(input=zeros_for), domain=(-2.4, 2.4), **options)


floor = _rounding("floor", ref=np.floor)
ceil = _rounding("ceil", ref=np.ceil)
trunc = _rounding("trunc", ref=np.trunc, aliases=("fix",))
_round = _rounding("round", ref=np.round, **CORE)

# The power of ten is an operand of its own sign: multiplying by 10 ** -2 would not be the division that PyTorch does.
_round_right = pointwise(
    "round_right(input, scale=10.0)", dtypes=FLOATING, out=SAME, cl="round(input * scale) / scale", grad=dict(input=zeros_for),
    ref=lambda x, scale=10.0: np.round(x * scale) / scale, domain=(-2.4, 2.4), **CORE)
_round_left = pointwise(
    "round_left(input, scale=10.0)", dtypes=FLOATING, out=SAME, cl="round(input / scale) * scale", grad=dict(input=zeros_for),
    ref=lambda x, scale=10.0: np.round(x / scale) * scale, domain=(-24, 24), **CORE)


@composite("round", namespace=BOTH, method=True, inplace=True, dtypes=REALS, domain=(-2.4, 2.4), ref=lambda x, decimals=0: np.round(x, decimals),
           samples=lambda make: [((make(3, 4, low=-2.4, high=2.4),), {})])
def round(input, *, decimals=0, out=None):
    """To the nearest integer, or to ``decimals`` places (left of the point where negative); halves go to the even neighbour."""
    if decimals == 0:
        return _round(input, out=out)
    scale = 10.0 ** (decimals if decimals > 0 else -decimals)
    return (_round_right if decimals > 0 else _round_left)(input, scale, out=out)


frac = pointwise("frac(input)", dtypes=FLOATING, out=SAME, cl="frac(input)", grad=dict(input=lambda g: g), domain=(0.1, 0.9),
                 ref=lambda x: x - np.trunc(x))

# powers and roots

_square = pointwise(
    "square(input)", dtypes=NUMERIC, out=SAME, cl="mul(input, input)", grad=dict(input=lambda g, input: g * (conjugate(input) * 2)),
    ref=np.square, **CORE)


@composite("square", method=True, inplace=True, dtypes=ALL, ref=lambda x: x.astype(np.int64) ** 2 if x.dtype == bool else np.square(x),
           samples=lambda make: [((make(3, 4),), {})])
def square(input, *, out=None):
    """input times itself; bool gives int64."""
    return _square(input.long() if input.dtype in BOOL else input, out=out)


sqrt = pointwise(
    "sqrt(input)", dtypes=COMPUTED, out=FLOAT, cl="sqrt(input)", grad=dict(input=lambda g, out: g / (conjugate(out) * 2)), domain=(0.2, 4))

rsqrt = pointwise(
    "rsqrt(input)", dtypes=COMPUTED, out=FLOAT, cl="rsqrt(input)",
    grad=dict(input=lambda g, out: g * conjugate(out * out * out) * -0.5), ref=lambda x: 1 / np.sqrt(x), domain=(0.2, 4))

reciprocal = pointwise(
    "reciprocal(input)", dtypes=COMPUTED, out=FLOAT, cl="reciprocal(input)",
    grad=dict(input=lambda g, out: -g * conjugate(out * out)), ref=lambda x: 1.0 / x, domain=(0.25, 4))

# exponentials and logarithms

exp = pointwise("exp(input)", dtypes=COMPUTED, out=FLOAT, cl="exp(input)", grad=dict(input=lambda g, out: g * conjugate(out)))

exp2 = pointwise("exp2(input)", dtypes=COMPUTED, out=FLOAT, cl="exp2(input)", namespace=BOTH,
                 grad=dict(input=lambda g, out: g * conjugate(out) * LN2))

expm1 = pointwise("expm1(input)", dtypes=COMPUTED, out=FLOAT, cl="expm1(input)", namespace=BOTH,
                  grad=dict(input=lambda g, out: g * (conjugate(out) + 1)))

log = pointwise("log(input)", dtypes=COMPUTED, out=FLOAT, cl="log(input)", grad=dict(input=lambda g, input: g / conjugate(input)),
                domain=(0.2, 4))

log2 = pointwise("log2(input)", dtypes=COMPUTED, out=FLOAT, cl="log2(input)",
                 grad=dict(input=lambda g, input: g / (conjugate(input) * LN2)), domain=(0.2, 4))

log10 = pointwise("log10(input)", dtypes=COMPUTED, out=FLOAT, cl="log10(input)",
                  grad=dict(input=lambda g, input: g / (conjugate(input) * LN10)), domain=(0.2, 4))

log1p = pointwise("log1p(input)", dtypes=COMPUTED, out=FLOAT, cl="log1p(input)", namespace=BOTH,
                  grad=dict(input=lambda g, input: g / (conjugate(input) + 1)), domain=(-0.8, 3))

# trigonometry

sin = pointwise("sin(input)", dtypes=COMPUTED, out=FLOAT, cl="sin(input)", grad=dict(input=lambda g, input: g * conjugate(cos(input))))
cos = pointwise("cos(input)", dtypes=COMPUTED, out=FLOAT, cl="cos(input)", grad=dict(input=lambda g, input: -g * conjugate(sin(input))))
tan = pointwise("tan(input)", dtypes=COMPUTED, out=FLOAT, cl="tan(input)", grad=dict(input=lambda g, out: g * conjugate(out * out + 1)),
                domain=(-1.2, 1.2))
asin = pointwise("asin(input)", dtypes=COMPUTED, out=FLOAT, cl="asin(input)", aliases=("arcsin",), ref=np.arcsin, domain=(-0.9, 0.9),
                 grad=dict(input=lambda g, input: g * conjugate(rsqrt(1 - input * input))))
acos = pointwise("acos(input)", dtypes=COMPUTED, out=FLOAT, cl="acos(input)", aliases=("arccos",), ref=np.arccos, domain=(-0.9, 0.9),
                 grad=dict(input=lambda g, input: -g * conjugate(rsqrt(1 - input * input))))
atan = pointwise("atan(input)", dtypes=COMPUTED, out=FLOAT, cl="atan(input)", aliases=("arctan",), ref=np.arctan,
                 grad=dict(input=lambda g, input: g / conjugate(input * input + 1)))
sinh = pointwise("sinh(input)", dtypes=COMPUTED, out=FLOAT, cl="sinh(input)", grad=dict(input=lambda g, input: g * conjugate(cosh(input))))
cosh = pointwise("cosh(input)", dtypes=COMPUTED, out=FLOAT, cl="cosh(input)", grad=dict(input=lambda g, input: g * conjugate(sinh(input))))


def _tanh_gradient(g, out):
    return g * conjugate(1 - out * out) if out.dtype.is_complex else tanh_backward(g, out)


tanh = pointwise("tanh(input)", dtypes=COMPUTED, out=FLOAT, cl="tanh(input)", grad=dict(input=_tanh_gradient), namespace="torch,functional")
asinh = pointwise("asinh(input)", dtypes=COMPUTED, out=FLOAT, cl="asinh(input)", aliases=("arcsinh",), ref=np.arcsinh,
                  grad=dict(input=lambda g, input: g * conjugate(rsqrt(input * input + 1))))
acosh = pointwise("acosh(input)", dtypes=COMPUTED, out=FLOAT, cl="acosh(input)", aliases=("arccosh",), ref=np.arccosh, domain=(1.2, 4),
                  grad=dict(input=lambda g, input: g * conjugate(rsqrt(input + 1) * rsqrt(input - 1))))
atanh = pointwise("atanh(input)", dtypes=COMPUTED, out=FLOAT, cl="atanh(input)", aliases=("arctanh",), ref=np.arctanh, domain=(-0.8, 0.8),
                  grad=dict(input=lambda g, input: g / conjugate(1 - input * input)))

deg2rad = pointwise("deg2rad(input)", dtypes=FLOATING, out=FLOAT, cl=f"input * {math.pi / 180!r}",
                    grad=dict(input=lambda g: g * (math.pi / 180)))
rad2deg = pointwise("rad2deg(input)", dtypes=FLOATING, out=FLOAT, cl=f"input * {180 / math.pi!r}",
                    grad=dict(input=lambda g: g * (180 / math.pi)))


def _sinc_gradient(g, input):
    x = input * math.pi
    zero = input == 0
    return g * conjugate((x * cos(x) - sin(x)) / (x * input + zero)) * ~zero


sinc = pointwise(
    "sinc(input)", dtypes=COMPUTED, out=FLOAT, namespace=BOTH, grad=dict(input=_sinc_gradient), domain=(0.1, 2.2),
    cl=dict(float="sinc(input)",
            complex=f"eq(input, (T)(0, 0)) ? (T)(1, 0) : div(sin(input * {math.pi!r}), input * {math.pi!r})"))

# gradients that training calls at every step, as one operator each

tanh_backward = pointwise(
    "tanh_backward(grad, output)", dtypes=FLOATING, out=SAME, cl="grad * (1 - output * output)", inplace=False, **CORE,
    grad=dict(grad=lambda g, output: tanh_backward(g, output), output=lambda g, grad, output: g * grad * output * -2),
    ref=lambda g, y: g * (1 - y * y))
