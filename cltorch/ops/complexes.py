"""Pointwise operators about complex numbers: making them, taking them apart, conjugating. Real tensors pass through where they may."""
from __future__ import annotations

import math

import numpy as np

from ..core.pointwise import BOOLEAN, FLOAT, REAL, SAME
from ..core.tensor import TYPE_NAMES, Tensor
from ..dtype import ALL, COMPLEX, FLOATING, dtype, float32, float64
from . import references
from .registry import composite, pointwise, write_out

CORE = dict(namespace="core", method=False)  # private: served by a public operator that chooses among several


def conjugate(value):
    """The conjugate of a tensor or number; real ones are themselves, without a recorded operator."""
    if isinstance(value, Tensor):
        return conj_physical(value) if value.dtype.is_complex else value
    return value.conjugate()


def zeros_for(g):
    """The gradient of a step function."""
    return g.new_zeros(g.shape)


def _is_complex(x) -> bool:
    return np.asarray(x).dtype.kind == "c"


conj_physical = pointwise(
    "conj_physical(input)", dtypes=ALL, out=SAME, cl="conj(input)",
    grad=dict(input=lambda g: conjugate(g)), ref=np.conj)


@composite("conj", method=True, samples=lambda make: [((make(3, 4),), {})], ref=np.conj)
def conj(input):
    """The complex conjugate; a real tensor is returned itself. Differs from PyTorch: a copy, not a lazy view with a conjugate bit."""
    return conj_physical(input) if input.dtype.is_complex else input


@composite("resolve_conj", method=True, samples=lambda make: [((make(3),), {})], ref=lambda x: x)
def resolve_conj(input):
    """The tensor itself: conjugates are never lazy here."""
    return input


@composite("resolve_neg", method=True, samples=lambda make: [((make(3),), {})], ref=lambda x: x)
def resolve_neg(input):
    """The tensor itself: negatives are never lazy views here."""
    return input


def _question(name: str, answer: str, ask, method: bool = True):
    """A function of a tensor that answers with a Python bool."""
    def function(input):
        return ask(input)

    function.__name__, function.__doc__ = name, answer
    return composite(name, method=method, differentiable=False)(function)


is_conj = _question("is_conj", "False: conjugates are never lazy here.", lambda input: False)
is_neg = _question("is_neg", "False: negatives are never lazy views here.", lambda input: False)
is_complex = _question("is_complex", "Whether the type is complex64 or complex128.", lambda input: input.dtype.is_complex, method=False)
is_floating_point = _question("is_floating_point", "Whether the type is float64, float32, float16 or bfloat16.",
                              lambda input: input.dtype.is_floating_point, method=False)


@composite("is_nonzero", method=True, differentiable=False)
def is_nonzero(input):
    """Whether the one element is not zero, as a Python bool (waits for the device). RuntimeError where there is not exactly one."""
    return bool(input)


def _sgn_gradient(g, input, out):
    if not input.dtype.is_complex:
        return zeros_for(g)
    size = REAL_ABS(input)
    radial = (g * conjugate(out)).real
    safe = size + (size == 0)
    return (g - out * radial) / safe * (size != 0)


REAL_ABS = pointwise(
    "complex_abs(input)", dtypes=COMPLEX, out=REAL, cl="abs(input)", grad=dict(input=lambda g, input: g * sgn(input)), ref=np.abs,
    inplace=False, domain=(0.25, 2), **CORE)

sgn = pointwise(
    "sgn(input)", dtypes=ALL, out=SAME,
    cl=dict(float="sign(input)", bool="input", complex="sgn(input)"),
    grad=dict(input=_sgn_gradient), domain=(0.25, 2),
    ref=lambda x: np.where(x == 0, 0, x / np.where(x == 0, 1, np.abs(x))) if _is_complex(x) else references.real_sign(x))

isreal = pointwise(
    "isreal(input)", dtypes=ALL, out=BOOLEAN, cl=dict(float="1", complex="input.y == 0"), inplace=False, ref=np.isreal)


# angle

_real_angle = pointwise(
    "real_angle(input)", dtypes=FLOATING, out=FLOAT, cl="angle(input)",
    grad=dict(input=zeros_for), ref=lambda x: np.where(x < 0, math.pi, 0.0), domain=(0.25, 2), inplace=False, **CORE)


def _angle_gradient(g, input):
    squared = REAL_ABS(input) ** 2
    return input * 1j * (g * (squared != 0) / (squared + (squared == 0)))


_complex_angle = pointwise(
    "complex_angle(input)", dtypes=COMPLEX, out=REAL, cl="angle(input)", grad=dict(input=_angle_gradient), ref=np.angle,
    domain=(0.25, 2), inplace=False, **CORE)


@composite("angle", method=True, dtypes=ALL, samples=lambda make: [((make(3, 4, low=0.25),), {})], ref=np.angle)
def angle(input, *, out=None):
    """The argument of complex numbers, in (-pi, pi]; 0 or pi for real ones, NaN for NaN. Integers give the default float type."""
    return (_complex_angle if input.dtype.is_complex else _real_angle)(input, out=out)


# making complex numbers

def _parts(name: str, first: Tensor, second: Tensor) -> dtype:
    """The complex type of two real tensors. RuntimeError with PyTorch's sentences where they are not both float32 or both float64."""
    allowed = (float32, float64)
    if first.dtype not in allowed or second.dtype not in allowed:
        raise RuntimeError(f"Expected both inputs to be Float or Double tensors but got {TYPE_NAMES[first.dtype.name]} and "
                           f"{TYPE_NAMES[second.dtype.name]} ({name})")
    if first.dtype is not second.dtype:
        raise RuntimeError(f"Expected object of scalar type {TYPE_NAMES[first.dtype.name]} but got scalar type "
                           f"{TYPE_NAMES[second.dtype.name]} for second argument ({name})")
    return first.dtype.to_complex


_join = pointwise(
    "complex_join(real, imag)", dtypes=COMPLEX, out=SAME, cl="(T)(real.x, imag.x)",
    grad=dict(real=lambda g: g, imag=lambda g: g * -1j), ref=lambda a, b: np.real(a) + 1j * np.real(b), inplace=False, **CORE)


def _float_samples(make):
    return [((make(3, 4, low=0.2), make(3, 4)), {}), ((make(3, 1, low=0.2), make(4)), {})]


@composite("complex", dtypes=(float32, float64), samples=_float_samples, ref=lambda real, imag: real + 1j * imag)
def complex(real, imag, *, out=None):
    """real + i imag. Both float32 gives complex64, both float64 gives complex128; anything else is a RuntimeError."""
    target = _parts("complex", real, imag)
    return _join(real.to(target), imag.to(target), out=out)


@composite("polar", dtypes=(float32, float64), samples=_float_samples, ref=lambda abs, angle: abs * np.exp(1j * angle))
def polar(abs, angle, *, out=None):
    """abs * (cos(angle) + i sin(angle)). Both float32 gives complex64, both float64 gives complex128."""
    _parts("polar", abs, angle)
    result = complex(abs * angle.cos(), abs * angle.sin())
    return result if out is None else write_out(result, out)
