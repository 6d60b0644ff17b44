"""Activation functions: torch.nn.functional's, and those that tensors have as methods."""
from __future__ import annotations

import math
import warnings

import numpy as np

from . import references
from .complexes import CORE, conjugate
from .registry import COMPLEX, FLOATING, SAME, composite, inplace_form, pointwise
from .special import sigmoid
from .ternary import choose
from .unary import REALS, abs, tanh

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805
DENSITY = 1 / math.sqrt(2 * math.pi)
TANH_SCALE, TANH_CUBIC = math.sqrt(2 / math.pi), 0.044715
PUBLIC = dict(namespace="functional", method=False, inplace="flag")
PLAIN = dict(namespace="functional", method=False, inplace=False)
BOTH = "torch,functional"


def _samples(*options):
    return lambda make: [((make(3, 4),), option) for option in options or ({},)]


def _finish(input, result, inplace: bool, name: str):
    return inplace_form(input, result, f"{name}_") if inplace else result


# The gradients that training calls at every step are operators of their own: one recorded node each. A gradient of 0 where the input is
# outside an interval is chosen, not multiplied, so that an infinite incoming gradient stays out.

_relu_backward = pointwise(
    "relu_backward(grad, output)", dtypes=FLOATING, out=SAME, cl="output <= 0 ? 0 : grad", inplace=False, domain=(0.2, 2), **CORE,
    grad=dict(grad=lambda g, output: _relu_backward(g, output)), ref=lambda g, y: np.where(y <= 0, 0, g))

_between = pointwise(
    "between_backward(grad, input, low=-1.0, high=1.0)", dtypes=FLOATING, out=SAME, cl="input <= low || input >= high ? 0 : grad", inplace=False,
    domain=(-0.9, 0.9), grad=dict(grad=lambda g, input, low, high: _between(g, input, low, high)), **CORE,
    ref=lambda g, x, low=-1.0, high=1.0: np.where((x <= low) | (x >= high), 0, g))

_beyond = pointwise(
    "beyond_backward(grad, input, low=-1.0, high=1.0)", dtypes=FLOATING, out=SAME, cl="input >= low && input <= high ? 0 : grad", inplace=False,
    domain=(1.1, 2), grad=dict(grad=lambda g, input, low, high: _beyond(g, input, low, high)), **CORE,
    ref=lambda g, x, low=-1.0, high=1.0: np.where((x >= low) & (x <= high), 0, g))

# piecewise linear

relu = pointwise(
    "relu(input)", dtypes=REALS, out=SAME, cl="input < 0 ? 0 : input", namespace=BOTH, inplace="flag", domain=(0.2, 2),
    grad=dict(input=lambda g, out: _relu_backward(g, out)), ref=lambda x: np.maximum(x, 0),
    refuse=dict(bool="Boolean inputs not supported for relu", complex="relu is not supported for complex types"))

relu6 = pointwise(
    "relu6(input)", dtypes=REALS, out=SAME, cl="clamp(input, (T)0, (T)6)", domain=(0.2, 2),
    grad=dict(input=lambda g, input: _between(g, input, 0.0, 6.0)), ref=lambda x: np.clip(x, 0, 6),
    refuse=dict(bool="Boolean inputs not supported for hardtanh"), **PUBLIC)

_leaky_relu_backward = pointwise(
    "leaky_relu_backward(grad, input, negative_slope=0.01)", dtypes=FLOATING, out=SAME, cl="input > 0 ? grad : grad * negative_slope",
    domain=(0.2, 2), grad=dict(grad=lambda g, input, negative_slope: _leaky_relu_backward(g, input, negative_slope)), inplace=False, **CORE,
    ref=lambda g, x, negative_slope=0.01: np.where(x > 0, g, g * negative_slope))

leaky_relu = pointwise(
    "leaky_relu(input, negative_slope=0.01)", dtypes=FLOATING, out=SAME, cl="input > 0 ? input : input * negative_slope", domain=(0.2, 2),
    grad=dict(input=lambda g, input, negative_slope: _leaky_relu_backward(g, input, negative_slope)),
    ref=lambda x, negative_slope=0.01: np.where(x > 0, x, x * negative_slope), **PUBLIC)

_hardtanh = pointwise(
    "hardtanh(input, min_val=0.0, max_val=1.0)", dtypes=REALS, out=SAME, cl="clamp(input, min_val, max_val)", domain=(0.1, 0.9),
    grad=dict(input=lambda g, input, min_val, max_val: _between(g, input, min_val, max_val)), inplace=False, **CORE,
    ref=lambda x, min_val=0.0, max_val=1.0: np.clip(x, min_val, max_val),
    refuse=dict(bool="Boolean inputs not supported for hardtanh"))


@composite("hardtanh", namespace="functional", inplace=True, dtypes=REALS, samples=_samples(dict(min_val=0.0, max_val=1.5)),
           ref=lambda x, min_val=-1.0, max_val=1.0: np.clip(x, int(min_val), int(max_val)) if x.dtype.kind == "i" else np.clip(x, min_val, max_val))
def hardtanh(input, min_val=-1.0, max_val=1.0, inplace=False):
    """input clamped to [min_val, max_val]; the gradient is 0 at and outside the bounds."""
    if min_val > max_val:
        raise ValueError("min_val cannot be greater than max_val")
    if not input.dtype.is_signed and input.dtype.is_integral and (min_val < 0 or max_val < 0):
        raise RuntimeError("cannot do hardtanh on an unsigned type with negative limits")
    return _finish(input, _hardtanh(input, min_val, max_val), inplace, "hardtanh")


_threshold = pointwise(
    "threshold_kernel(input, threshold=1.0, value=20.0)", dtypes=REALS, out=SAME, cl="input <= threshold ? value : input", inplace=False, **CORE,
    domain=(1.1, 2), grad=dict(input=lambda g, input, threshold: choose(input <= threshold, 0, g)),
    ref=lambda x, threshold=1.0, value=20.0: np.where(x <= threshold, value, x))


@composite("threshold", namespace=BOTH, inplace=True, dtypes=REALS, ref=lambda x, threshold, value: np.where(x <= threshold, value, x),
           samples=_samples(dict(threshold=1, value=20)))
def threshold(input, threshold, value, inplace=False):
    """input where it is larger than threshold, else value."""
    return _finish(input, _threshold(input, threshold, value), inplace, "threshold")


hardshrink = pointwise(
    "hardshrink(input, lambd=0.5)", dtypes=FLOATING, out=SAME, cl="input >= -lambd && input <= lambd ? 0 : input", namespace=BOTH,
    inplace=False, domain=(0.7, 2), grad=dict(input=lambda g, input, lambd: _beyond(g, input, -lambd, lambd)),
    ref=lambda x, lambd=0.5: np.where(np.abs(x) <= lambd, 0, x))

_softshrink = pointwise(
    "softshrink(input, lambd=0.5)", dtypes=FLOATING, out=SAME,
    cl="input > lambd ? input - lambd : input < -lambd ? input + lambd : input * 0", inplace=False, domain=(0.7, 2),
    grad=dict(input=lambda g, input, lambd: _beyond(g, input, -lambd, lambd)), **CORE,
    ref=lambda x, lambd=0.5: np.sign(x) * np.maximum(np.abs(x) - lambd, 0))


@composite("softshrink", namespace="functional", dtypes=FLOATING, samples=_samples(dict(lambd=0.3)),
           ref=lambda x, lambd=0.5: np.sign(x) * np.maximum(np.abs(x) - lambd, 0))
def softshrink(input, lambd=0.5):
    """input moved towards 0 by lambd, 0 within [-lambd, lambd]."""
    if lambd < 0:
        raise RuntimeError(f"lambda must be greater or equal to 0, but found to be {lambd}")
    return _softshrink(input, lambd)


hardsigmoid = pointwise(
    "hardsigmoid(input)", dtypes=FLOATING, out=SAME, cl="clamp(input + 3, (T)0, (T)6) / 6",
    grad=dict(input=lambda g, input: _between(g * (1 / 6), input, -3.0, 3.0)), ref=lambda x: np.clip(x + 3, 0, 6) / 6, **PUBLIC)

_hardswish_backward = pointwise(
    "hardswish_backward(grad, input)", dtypes=FLOATING, out=SAME, cl="input <= -3 ? 0 : input < 3 ? grad * (input / 3 + 0.5) : grad",
    grad=dict(grad=lambda g, input: _hardswish_backward(g, input), input=lambda g, grad, input: _between(g * grad * (1 / 3), input, -3.0, 3.0)),
    ref=lambda g, x: np.where(x <= -3, 0, np.where(x < 3, g * (x / 3 + 0.5), g)), inplace=False, **CORE)

hardswish = pointwise(
    "hardswish(input)", dtypes=FLOATING, out=SAME, cl="input * clamp(input + 3, (T)0, (T)6) / 6",
    grad=dict(input=lambda g, input: _hardswish_backward(g, input)), ref=lambda x: x * np.clip(x + 3, 0, 6) / 6, **PUBLIC)

# exponential units


def _elu_reference(x, alpha=1.0, scale=1.0, input_scale=1.0):
    return scale * np.where(x <= 0, alpha * np.expm1(np.minimum(x, 0) * input_scale), x)


_elu_backward = pointwise(
    "elu_backward(grad, input, alpha=1.0, scale=1.0, input_scale=1.0)", dtypes=FLOATING, out=SAME,
    cl="input <= 0 ? grad * scale * alpha * input_scale * exp(input * input_scale) : grad * scale",
    grad=dict(grad=lambda g, input, alpha, scale, input_scale: _elu_backward(g, input, alpha, scale, input_scale),
              input=lambda g, grad, input, alpha, scale, input_scale:
                  choose(input <= 0, _elu_backward(g * grad, input, alpha, scale, input_scale) * input_scale, 0)),
    ref=lambda g, x, alpha=1.0, scale=1.0, input_scale=1.0:
        g * scale * np.where(x <= 0, alpha * input_scale * np.exp(np.minimum(x, 0) * input_scale), 1),
    inplace=False, domain=(-2, -0.2), **CORE)

_elu = pointwise(
    "elu_scaled(input, alpha=1.0, scale=1.0, input_scale=1.0)", dtypes=FLOATING, out=SAME, inplace=False, domain=(-2, -0.2), **CORE,
    cl="input <= 0 ? scale * alpha * expm1(input * input_scale) : scale * input", ref=_elu_reference,
    grad=dict(input=lambda g, input, alpha, scale, input_scale: _elu_backward(g, input, alpha, scale, input_scale)))


@composite("elu", namespace="functional", inplace=True, dtypes=FLOATING, samples=_samples({}, dict(alpha=0.5)), ref=_elu_reference)
def elu(input, alpha=1.0, inplace=False):
    """input where positive, else alpha * (exp(input) - 1)."""
    return _finish(input, _elu(input, alpha), inplace, "elu")


@composite("selu", namespace=BOTH, inplace=True, dtypes=FLOATING, samples=_samples(), ref=lambda x: _elu_reference(x, SELU_ALPHA, SELU_SCALE))
def selu(input, inplace=False):
    """elu with the constants of self-normalising networks."""
    return _finish(input, _elu(input, SELU_ALPHA, SELU_SCALE), inplace, "selu")


@composite("celu", namespace=BOTH, inplace=True, dtypes=FLOATING, samples=_samples({}, dict(alpha=0.5)),
           ref=lambda x, alpha=1.0: _elu_reference(x, alpha, 1.0, 1 / alpha))
def celu(input, alpha=1.0, inplace=False):
    """input where positive, else alpha * (exp(input / alpha) - 1)."""
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    return _finish(input, _elu(input, alpha, 1.0, 1.0 / alpha), inplace, "celu")


# smooth units

_gelu_backward = pointwise(
    "gelu_backward(grad, input)", dtypes=FLOATING, out=SAME, inplace=False, **CORE,
    cl="grad * gelu_slope(input)",
    grad=dict(grad=lambda g, input: _gelu_backward(g, input),
              input=lambda g, grad, input: g * grad * (input * input * -0.5).exp() * (2 - input * input) * DENSITY),
    ref=lambda g, x: g * (references.normal_cdf(x) + x * DENSITY * np.exp(-x * x / 2)))

_gelu = pointwise(
    "gelu_erf(input)", dtypes=FLOATING, out=SAME, cl="gelu(input)",
    grad=dict(input=lambda g, input: _gelu_backward(g, input)), ref=lambda x: x * references.normal_cdf(x), inplace=False, **CORE)

INNER = f"tanh({TANH_SCALE!r} * (input + {TANH_CUBIC!r} * input * input * input))"


def _inner(x):
    return np.tanh(TANH_SCALE * (x + TANH_CUBIC * x ** 3))


def _gelu_tanh_second(g, grad, input):
    t = tanh((input * input * (TANH_SCALE * TANH_CUBIC) + TANH_SCALE) * input)
    slope = input * input * (3 * TANH_SCALE * TANH_CUBIC) + TANH_SCALE
    bend = input * (6 * TANH_SCALE * TANH_CUBIC)
    return g * grad * (1 - t * t) * (slope + input * 0.5 * (bend - t * slope * slope * 2))


_gelu_tanh_backward = pointwise(
    "gelu_tanh_backward(grad, input)", dtypes=FLOATING, out=SAME, inplace=False, **CORE,
    cl=f"grad * 0.5 * (1 + {INNER}) + grad * 0.5 * input * (1 - {INNER} * {INNER}) * {TANH_SCALE!r} * (1 + {3 * TANH_CUBIC!r} * input * input)",
    grad=dict(grad=lambda g, input: _gelu_tanh_backward(g, input), input=_gelu_tanh_second),
    ref=lambda g, x: g * 0.5 * (1 + _inner(x) + x * (1 - _inner(x) ** 2) * TANH_SCALE * (1 + 3 * TANH_CUBIC * x * x)))

_gelu_tanh = pointwise(
    "gelu_tanh(input)", dtypes=FLOATING, out=SAME, cl=f"input / (1 + exp({-2 * TANH_SCALE!r} * input * (1 + {TANH_CUBIC!r} * input * input)))",
    ref=lambda x: 0.5 * x * (1 + _inner(x)), inplace=False, grad=dict(input=lambda g, input: _gelu_tanh_backward(g, input)), **CORE)


@composite("gelu", namespace="functional", dtypes=FLOATING, samples=_samples({}, dict(approximate="tanh")),
           ref=lambda x, approximate="none": 0.5 * x * (1 + _inner(x)) if approximate == "tanh" else x * references.normal_cdf(x))
def gelu(input, approximate="none"):
    """input times the normal distribution's CDF, exactly ("none") or by a tanh formula ("tanh")."""
    if approximate not in ("none", "tanh"):
        raise RuntimeError(f"approximate argument must be either none or tanh, got {approximate!r}.")
    return _gelu(input) if approximate == "none" else _gelu_tanh(input)


def _silu_second(g, grad, input):
    s = sigmoid(input)
    return g * grad * s * (1 - s) * (2 + input * (1 - s * 2))


_silu_backward = pointwise(
    "silu_backward(grad, input)", dtypes=FLOATING, out=SAME, cl="grad * sigmoid(input) * (1 + input * (1 - sigmoid(input)))", inplace=False,
    grad=dict(grad=lambda g, input: _silu_backward(g, input), input=_silu_second), **CORE,
    ref=lambda g, x: g * references.sigmoid(x) * (1 + x * (1 - references.sigmoid(x))))


def _silu_gradient(g, input):
    if not input.dtype.is_complex:
        return _silu_backward(g, input)
    s = sigmoid(input)
    return g * conjugate(s * (1 + input * (1 - s)))


silu = pointwise(
    "silu(input)", dtypes=FLOATING | COMPLEX, out=SAME,
    cl=dict(float="input / (1 + exp(-input))", complex="mul(input, sigmoid(input))"), grad=dict(input=_silu_gradient),
    ref=lambda x: x * references.sigmoid(x), **PUBLIC)


def _mish_gradient(g, input):
    t = tanh(_softplus(input))
    return g * (t + input * sigmoid(input) * (1 - t * t))


mish = pointwise("mish(input)", dtypes=FLOATING, out=SAME, cl="mish(input)", grad=dict(input=_mish_gradient),
                 ref=lambda x: x * np.tanh(references.softplus(x)), **PUBLIC)

_softplus_backward = pointwise(
    "softplus_backward(grad, input, beta=1.0, threshold=20.0)", dtypes=FLOATING, out=SAME, inplace=False, **CORE,
    cl="input * beta > threshold ? grad : grad * sigmoid(input * beta)",
    grad=dict(grad=lambda g, input, beta, threshold: _softplus_backward(g, input, beta, threshold),
              input=lambda g, grad, input, beta, threshold:
                  choose(input * beta > threshold, 0, g * grad * sigmoid(input * beta) * (1 - sigmoid(input * beta)) * beta)),
    ref=lambda g, x, beta=1.0, threshold=20.0: np.where(x * beta > threshold, g, g * references.sigmoid(x * beta)))

_softplus = pointwise(
    "softplus(input, beta=1.0, threshold=20.0)", dtypes=FLOATING, out=SAME,
    cl="input * beta > threshold ? input : softplus(input * beta) / beta",
    grad=dict(input=lambda g, input, beta, threshold: _softplus_backward(g, input, beta, threshold)),
    ref=lambda x, beta=1.0, threshold=20.0: np.where(x * beta > threshold, x, references.softplus(x * beta) / beta), **PLAIN)

logsigmoid = pointwise("logsigmoid(input)", dtypes=FLOATING, out=SAME, cl="logsigmoid(input)", ref=lambda x: -references.softplus(-x),
                       grad=dict(input=lambda g, input: g * sigmoid(-input)), **PLAIN)


@composite("softsign", namespace="functional", dtypes=REALS | COMPLEX, samples=_samples(), ref=lambda x: x / (1 + np.abs(x)))
def softsign(input):
    """input / (1 + |input|)."""
    return input / (abs(input) + 1)


# samples keep off zero, where the difference cancels and only rounding is left in 16-bit types (as in PyTorch)
@composite("tanhshrink", namespace="functional", dtypes=REALS | COMPLEX, ref=lambda x: x - np.tanh(x),
           samples=lambda make: [((make(3, 4, low=1, high=3),), {})])
def tanhshrink(input):
    """input - tanh(input)."""
    return input - tanh(input)


# activations with a parameter tensor, a dimension, or chance

_prelu = pointwise(
    "prelu_kernel(input, weight)", dtypes=FLOATING, out=SAME, cl="input > 0 ? input : weight * input", inplace=False, **CORE,
    grad=dict(input=lambda g, input, weight: choose(input > 0, g, g * weight), weight=lambda g, input: choose(input > 0, 0, g * input)),
    ref=lambda x, w: np.where(x > 0, x, w * x), domain=dict(input=(0.2, 2), weight=(-1, 1)))


def _prelu_reference(x, w):
    return np.where(x > 0, x, w.reshape(-1, *[1] * (x.ndim - 2)) * x if x.ndim > 1 else w * x)


@composite("prelu", namespace=BOTH, method=True, dtypes=FLOATING, ref=_prelu_reference,
           samples=lambda make: [((make(2, 3, 4), make(3)), {}), ((make(4), make(1)), {})])
def prelu(input, weight):
    """input where positive, else weight * input; ``weight`` has one element or one per channel (dimension 1)."""
    count = weight.numel()
    if count != 1:
        if input.ndim == 0:
            raise RuntimeError("Not allow zero-dim input tensor.")
        channels = input.shape[1] if input.ndim > 1 else 1
        if channels != count:
            raise RuntimeError(f"Mismatch of parameter numbers and input channel size. Found parameter numbers = {count} and channel size = {channels}.")
    if weight.ndim > 1:
        raise RuntimeError(f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {weight.ndim}")
    return _prelu(input, weight.reshape(-1, *[1] * (input.ndim - 2)) if input.ndim > 1 else weight.reshape(input.shape and (1,)))


def _glu_reference(x, dim=-1):
    a, b = np.split(x, 2, dim)
    return a * references.sigmoid(b)


@composite("glu", namespace="functional", dtypes=FLOATING, ref=_glu_reference,
           samples=lambda make: [((make(3, 4),), {}), ((make(4, 3, 2),), dict(dim=0))])
def glu(input, dim=-1):
    """The first half along ``dim`` times the sigmoid of the second."""
    if input.ndim == 0:
        raise RuntimeError("glu does not support 0-dimensional tensors because halving dimension must be even")
    if input.size(dim) % 2:
        raise RuntimeError(f"Halving dimension must be even, but dimension {dim % input.ndim} is size {input.size(dim)}")
    a, b = input.chunk(2, dim)
    return a * sigmoid(b)


def _softmin_reference(x, dim):
    e = np.exp(-x - (-x).max(dim, keepdims=True))
    return e / e.sum(dim, keepdims=True)


@composite("softmin", namespace="functional", dtypes=FLOATING, ref=_softmin_reference, samples=_samples(dict(dim=0), dict(dim=1)))
def softmin(input, dim=None, _stacklevel=3, dtype=None):
    """softmax of the negated input."""
    if dim is None:
        warnings.warn("Implicit dimension choice for softmin has been deprecated. Change the call to include dim=X as an argument.",
                      stacklevel=_stacklevel)
        dim = 0 if input.ndim in (0, 1, 3) else 1
    return (-input).softmax(dim, dtype=dtype)


@composite("rrelu", namespace=BOTH, inplace=True, dtypes=FLOATING, samples=_samples(),
           ref=lambda x, lower=1 / 8, upper=1 / 3: np.where(x > 0, x, x * (lower + upper) / 2))
def rrelu(input, lower=1.0 / 8, upper=1.0 / 3, training=False, inplace=False):
    """leaky_relu with a slope drawn from [lower, upper) per element in training, and their mean otherwise."""
    if lower > upper:
        raise RuntimeError(f"Lower bound should be less than or equal to the upper bound, got {lower} and {upper}")
    if training:
        result = _prelu(input, input.detach().new_empty(input.shape).uniform_(lower, upper))
    else:
        result = leaky_relu(input, (lower + upper) / 2)
    return _finish(input, result, inplace, "rrelu")
