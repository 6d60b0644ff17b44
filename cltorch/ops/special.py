"""Pointwise special functions: sigmoid and its kin, error functions, gamma functions, cleaning of NaN and infinities."""
from __future__ import annotations

import math

import numpy as np

from ..dtype import finfo
from . import references
from .complexes import CORE, conjugate
from .registry import COMPLEX, FLOAT, FLOATING, SAME, composite, pointwise
from .unary import BOTH, COMPUTED, exp

# sigmoid and logit


def _sigmoid_gradient(g, out):
    return g * conjugate((1 - out) * out) if out.dtype.is_complex else sigmoid_backward(g, out)


sigmoid = pointwise(
    "sigmoid(input)", dtypes=COMPUTED, out=FLOAT, cl=dict(float="sigmoid(input)", complex="div((T)(1, 0), (T)(1, 0) + exp(-input))"),
    grad=dict(input=_sigmoid_gradient), ref=references.sigmoid, namespace="torch,functional")

expit = composite("expit", namespace="special", ref=references.sigmoid, samples=lambda make: [((make(3, 4),), {})])(
    lambda input, *, out=None: sigmoid(input, out=out))

sigmoid_backward = pointwise(
    "sigmoid_backward(grad, output)", dtypes=FLOATING, out=SAME, cl="grad * (1 - output) * output", inplace=False, **CORE,
    grad=dict(grad=lambda g, output: sigmoid_backward(g, output), output=lambda g, grad, output: g * grad * (1 - output * 2)),
    ref=lambda g, y: g * (1 - y) * y)

_logit_backward = pointwise(
    "logit_backward(grad, input, low=0.0, high=1.0, outside=0.0)", dtypes=FLOATING, out=SAME, inplace=False, **CORE,
    cl="input < low || input > high ? outside : grad / (input * (1 - input))",
    grad=dict(grad=lambda g, input, low, high, outside: _logit_backward(g, input, low, high, outside),
              input=lambda g, grad, input, low, high: _logit_backward(g * grad, input, low, high, 0.0) * (input * 2 - 1) / (input * (1 - input))),
    ref=lambda g, x, low=0.0, high=1.0, outside=0.0: np.where((x < low) | (x > high), outside, g / (x * (1 - x))), domain=(0.2, 0.8))


def _logit_reference(x, eps=None):
    x = x if eps is None else np.clip(x, eps, 1 - eps)
    return np.log(x / (1 - x))


_logit = pointwise(
    "logit(input)", dtypes=FLOATING, out=FLOAT, cl="log(input / (1 - input))", ref=_logit_reference, domain=(0.1, 0.9), **CORE,
    grad=dict(input=lambda g, input: _logit_backward(g, input, 0.0, 1.0, math.nan)))

_logit_clamped = pointwise(
    "logit_clamped(input, eps=0.1)", dtypes=FLOATING, out=FLOAT, ref=_logit_reference, domain=(0.15, 0.85), **CORE,
    cl="log(clamp(input, eps, 1 - eps) / (1 - clamp(input, eps, 1 - eps)))",
    grad=dict(input=lambda g, input, eps: _logit_backward(g, input, eps, 1 - eps, 0.0)))


@composite("logit", namespace=BOTH, method=True, inplace=True, ref=_logit_reference, domain=(0.15, 0.85),
           samples=lambda make: [((make(3, 4, low=0.15, high=0.85),), {}), ((make(5, low=0.15, high=0.85), 0.1), {})])
def logit(input, eps=None, *, out=None):
    """log(input / (1 - input)); with ``eps`` the input is clamped to [eps, 1 - eps] first, without it values outside [0, 1] give NaN."""
    return _logit(input, out=out) if eps is None else _logit_clamped(input, eps, out=out)


# error functions

TWO_OVER_ROOT_PI = 2 / math.sqrt(math.pi)

erf = pointwise("erf(input)", dtypes=FLOATING, out=FLOAT, cl="erf(input)", namespace=BOTH, ref=references.erf,
                grad=dict(input=lambda g, input: g * exp(-(input * input)) * TWO_OVER_ROOT_PI))
erfc = pointwise("erfc(input)", dtypes=FLOATING, out=FLOAT, cl="erfc(input)", namespace=BOTH, ref=references.erfc,
                 grad=dict(input=lambda g, input: g * exp(-(input * input)) * -TWO_OVER_ROOT_PI))
erfinv = pointwise("erfinv(input)", dtypes=FLOATING, out=FLOAT, cl="erfinv(input)", namespace=BOTH, ref=references.erfinv,
                   grad=dict(input=lambda g, out: g * exp(out * out) / TWO_OVER_ROOT_PI), domain=(-0.9, 0.9))

# gamma functions

lgamma = pointwise("lgamma(input)", dtypes=FLOATING, out=FLOAT, cl="lgamma(input)", ref=references.lgamma, domain=(0.3, 5),
                   grad=dict(input=lambda g, input: g * digamma(input)))
digamma = pointwise("digamma(input)", dtypes=FLOATING, out=FLOAT, cl="digamma(input)", namespace=BOTH, ref=references.digamma,
                    domain=(0.3, 5), grad=dict(input=lambda g, input: g * polygamma(1, input)))
zeta = pointwise("zeta(input, other)", dtypes=FLOATING, out=FLOAT, cl="zeta(input, other)", namespace="special", method=False, inplace=False,
                 grad=dict(other=lambda g, input, other: -g * input * zeta(input + 1, other)), ref=references.zeta,
                 domain=dict(input=(1.5, 4), other=(0.3, 4)))


@composite("polygamma", namespace=BOTH, dtypes=FLOATING, domain=(0.3, 4),
           samples=lambda make: [((n, make(3, 4, low=0.3, high=4)), {}) for n in (0, 1, 2)],
           ref=lambda n, x: references.digamma(x) if n == 0 else (-1) ** (n + 1) * math.factorial(n) * references.zeta(n + 1, x))
def polygamma(n, input, *, out=None):
    """The n-th derivative of digamma; n is a Python integer >= 0."""
    if n < 0:
        raise RuntimeError(f"polygamma(n, x) does not support negative n, got {n}")
    if n == 0:
        return digamma(input, out=out)
    result = zeta(float(n + 1), input) * float((-1) ** (n + 1) * math.factorial(n))
    return result if out is None else out.copy_(result)


# NaN and infinities

_nan_to_num = pointwise(
    "nan_to_num(input, nan=0.0, posinf=1e4, neginf=-1e4)", dtypes=FLOATING | COMPLEX, out=SAME,
    cl=dict(float="nan_to_num(input, nan, posinf, neginf)",
            complex="(T)(input.x != input.x ? nan.x : input.x == INFINITY ? posinf.x : input.x == -INFINITY ? neginf.x : input.x, "
                    "input.y != input.y ? nan.x : input.y == INFINITY ? posinf.x : input.y == -INFINITY ? neginf.x : input.y)"),
    grad=dict(input=lambda g, input: g * input.isfinite()), **CORE,
    ref=lambda x, nan=0.0, posinf=1e4, neginf=-1e4: np.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf))


@composite("nan_to_num", method=True, inplace=True, samples=lambda make: [((make(3, 4),), {}), ((make(3), 1.0, 2.0, 3.0), {})], ref=np.nan_to_num)
def nan_to_num(input, nan=None, posinf=None, neginf=None, *, out=None):
    """NaN becomes ``nan`` (0), infinities ``posinf`` and ``neginf`` (the type's largest and lowest numbers). Integers are copied."""
    if input.dtype.category < 2:
        result = input.clone()
        return result if out is None else out.copy_(result)
    limits = finfo(input.dtype)
    return _nan_to_num(input, 0.0 if nan is None else nan, limits.max if posinf is None else posinf,
                       limits.min if neginf is None else neginf, out=out)
