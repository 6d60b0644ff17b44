"""Pointwise special functions: sigmoid and its kin, error functions, gamma functions, cleaning of NaN and infinities."""
from __future__ import annotations

import math

import numpy as np

from ..core.tensor import Tensor
from ..dtype import finfo
from . import references
from .complexes import CORE, conjugate
from .registry import COMPLEX, FLOAT, FLOATING, SAME, composite, pointwise, write_out
from .unary import BOTH, COMPUTED, exp, log, log1p, sign

# sigmoid and logit


def _sigmoid_gradient(g, out):
    return g * conjugate((1 - out) * out) if out.dtype.is_complex else sigmoid_backward(g, out)


sigmoid = pointwise(
    "sigmoid(input)", dtypes=COMPUTED, out=FLOAT, cl="sigmoid(input)",
    grad=dict(input=_sigmoid_gradient), ref=references.sigmoid, namespace="torch,functional")

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
    "logit(input)", dtypes=FLOATING, out=FLOAT, cl="logit(input)", ref=_logit_reference, domain=(0.1, 0.9), **CORE,
    grad=dict(input=lambda g, input: _logit_backward(g, input, 0.0, 1.0, math.nan)))

_logit_clamped = pointwise(
    "logit_clamped(input, eps=0.1)", dtypes=FLOATING, out=FLOAT, ref=_logit_reference, domain=(0.15, 0.85), **CORE,
    cl="logit(clamp(input, eps, 1 - eps))",
    grad=dict(input=lambda g, input, eps: _logit_backward(g, input, eps, 1 - eps, 0.0)))


@composite("logit", namespace=BOTH, method=True, inplace=True, dtypes=FLOATING, ref=_logit_reference, domain=(0.15, 0.85),
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
                    domain=(0.3, 5), grad=dict(input=lambda g, input: g * _polygamma(input, 1.0)))
zeta = pointwise("zeta(input, other)", dtypes=FLOATING, out=FLOAT, cl="zeta(input, other)", namespace="special", method=False, inplace=False,
                 grad=dict(other=lambda g, input, other: -g * input * zeta(input + 1, other)), ref=references.zeta,
                 domain=dict(input=(1.5, 4), other=(0.3, 4)))


def _polygamma_reference(n, x):
    return references.digamma(x) if n == 0 else (-1) ** (n + 1) * math.factorial(int(n)) * references.zeta(n + 1, x)


_polygamma = pointwise(
    "polygamma_kernel(input, n=1.0)", dtypes=FLOATING, out=FLOAT, cl="polygamma(n, input)", inplace=False, domain=(0.3, 4), **CORE,
    grad=dict(input=lambda g, input, n: g * _polygamma(input, n + 1)), ref=lambda x, n=1.0: _polygamma_reference(n, x))


@composite("polygamma", namespace=BOTH, dtypes=FLOATING, domain=(0.3, 4),
           samples=lambda make: [((n, make(3, 4, low=0.3, high=4)), {}) for n in (0, 1, 2)],
           ref=_polygamma_reference)
def polygamma(n, input, *, out=None):
    """The n-th derivative of digamma; n is a Python integer >= 0."""
    if n < 0:
        raise RuntimeError(f"polygamma(n, x) does not support negative n, got {n}")
    if n == 0:
        return digamma(input, out=out)
    return _polygamma(input, float(n), out=out)


def _polygamma_method(self, n):
    """The n-th derivative of digamma at self."""
    return polygamma(n, self)


Tensor.polygamma = _polygamma_method


@composite("mvlgamma", method=True, inplace=True, dtypes=FLOATING, domain=(1.5, 4), samples=lambda make: [((make(3, 4, low=1.5, high=4), 3), {})],
           ref=lambda x, p: p * (p - 1) / 4 * math.log(math.pi) + sum(references.lgamma(x - j / 2) for j in range(p)))
def mvlgamma(input, p, *, out=None):
    """The logarithm of the multivariate gamma function of dimension ``p``; input > (p - 1) / 2."""
    if p < 1:
        raise RuntimeError(f"p has to be greater than or equal to 1, got {p}")
    result = lgamma(input)
    for j in range(1, p):
        result = result + lgamma(input - j / 2)
    result = result + p * (p - 1) / 4 * math.log(math.pi)
    return result if out is None else write_out(result, out)


# torch.special's own

SPECIAL = dict(dtypes=FLOATING, out=FLOAT, namespace="special", method=False, inplace=False)
ROOT_HALF, DENSITY = math.sqrt(0.5), 1 / math.sqrt(2 * math.pi)


def _alias(name: str, function, reference):
    """A second name of an operator that only torch.special has."""
    def alias(input, *, out=None):
        return function(input, out=out)

    alias.__doc__, alias.__name__ = f"Another name of torch.{function.__name__}.", name
    return composite(name, namespace="special", dtypes=FLOATING, ref=reference, domain=(0.3, 3),
                     samples=lambda make: [((make(3, 4, low=0.3, high=3),), {})])(alias)


expit = _alias("expit", sigmoid, references.sigmoid)
gammaln = _alias("gammaln", lgamma, references.lgamma)
psi = _alias("psi", digamma, references.digamma)


@composite("multigammaln", namespace="special", dtypes=FLOATING, samples=lambda make: [((make(3, 4, low=1.5, high=4), 3), {})],
           ref=lambda x, p: p * (p - 1) / 4 * math.log(math.pi) + sum(references.lgamma(x - j / 2) for j in range(p)))
def multigammaln(input, p, *, out=None):
    """torch.mvlgamma."""
    return mvlgamma(input, p, out=out)


def _per(value, input):
    """value / input, 1/2 at 0: what i1(x) / x tends to."""
    zero = input == 0
    return (value / (input + zero)).where(~zero, 0.5)


i0 = pointwise("i0(input)", dtypes=FLOATING, out=FLOAT, cl="i0(input)", namespace=BOTH, ref=references.i0,
               grad=dict(input=lambda g, input: g * i1(input)))
i0e = pointwise("i0e(input)", cl="i0e(input)", ref=lambda x: references.i0(x) * np.exp(-np.abs(x)), domain=(0.2, 3), **SPECIAL,
                grad=dict(input=lambda g, input, out: g * (i1e(input) - sign(input) * out)))
i1 = pointwise("i1(input)", cl="i1(input)", ref=references.i1, domain=(0.2, 3), **SPECIAL,
               grad=dict(input=lambda g, input, out: g * (i0(input) - _per(out, input))))
i1e = pointwise("i1e(input)", cl="i1e(input)", ref=lambda x: references.i1(x) * np.exp(-np.abs(x)), domain=(0.2, 3), **SPECIAL,
                grad=dict(input=lambda g, input, out: g * (i0e(input) - sign(input) * out - _per(out, input))))
erfcx = pointwise("erfcx(input)", cl="erfcx(input)", ref=lambda x: np.exp(x * x) * references.erfc(x), **SPECIAL,
                  grad=dict(input=lambda g, input, out: g * (out * input * 2 - TWO_OVER_ROOT_PI)))
ndtr = pointwise("ndtr(input)", cl="ndtr(input)", ref=references.normal_cdf, **SPECIAL,
                 grad=dict(input=lambda g, input: g * exp(input * input * -0.5) * DENSITY))
log_ndtr = pointwise("log_ndtr(input)", cl="log_ndtr(input)", ref=lambda x: np.log(references.normal_cdf(x)), **SPECIAL,
                     grad=dict(input=lambda g, input: g / erfcx(input * -ROOT_HALF) * (2 * DENSITY)))
ndtri = pointwise("ndtri(input)", cl=f"erfinv(2 * input - 1) * {math.sqrt(2)!r}", domain=(0.1, 0.9), **SPECIAL,
                  ref=lambda x: references.erfinv(2 * x - 1) * math.sqrt(2), grad=dict(input=lambda g, out: g * exp(out * out * 0.5) / DENSITY))
entr = pointwise("entr(input)", cl="entr(input)", ref=lambda x: -x * np.log(x), domain=(0.2, 3), **SPECIAL,
                 grad=dict(input=lambda g, input: g * (-log(input) - 1)))
xlog1py = pointwise("xlog1py(input, other)", cl="xlog1py(input, other)", ref=lambda x, y: x * np.log1p(y), domain=(0.2, 3), **SPECIAL,
                    grad=dict(input=lambda g, input, other: g * (log1p(other) if isinstance(other, Tensor) else math.log1p(other)),
                              other=lambda g, input, other: g * input / (other + 1)))

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
        return result if out is None else write_out(result, out)
    limits = finfo(input.dtype)
    return _nan_to_num(input, 0.0 if nan is None else nan, limits.max if posinf is None else posinf,
                       limits.min if neginf is None else neginf, out=out)
