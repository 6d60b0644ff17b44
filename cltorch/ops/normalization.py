"""Normalisations by norms and mean squares, and distances between vectors."""
from __future__ import annotations

import math

import numpy as np

from ..dtype import FLOATING, finfo, promote_types
from .complexes import CORE
from .movement import cat
from .reduction_form import reduced_size, reduction, spread, summing
from .registry import composite, write_out
from .statistics import vector_norm

_mean_square = reduction(
    "mean_square(input, dim=None, keepdim=False)", dtypes=FLOATING, map="x * x", combine="a + b", finish="a / n", empty=math.nan, samples=None,
    grad=dict(input=lambda g, input, dim, keepdim: input * spread(g * (2 / reduced_size(input.shape, dim)), input.shape, dim, keepdim)), **CORE)


def _rms_reference(x, shape, weight=None, eps=None):
    axes = tuple(range(x.ndim - len(shape), x.ndim))
    return x / np.sqrt((x * x).mean(axes, keepdims=True) + (eps or 0)) * (1 if weight is None else weight)


@composite("rms_norm", namespace="functional,torch", dtypes=FLOATING, ref=_rms_reference,
           samples=lambda make: [((make(3, 4), (4,)), {}), ((make(2, 3, 4), (3, 4), make(3, 4)), dict(eps=1e-3))])
def rms_norm(input, normalized_shape, weight=None, eps=None):
    """x / sqrt(mean(x^2) + eps) * weight over the last dims; ``eps`` None is the smallest step of the type at 1. Shape: any, kept.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.rms_norm.html
    """
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if not shape or tuple(input.shape[-len(shape):]) != shape:
        raise RuntimeError(f"Given normalized_shape={list(shape)}, expected input with shape [*, {', '.join(map(str, shape))}], "
                           f"but got input of size{list(input.shape)}")
    x = input.to(summing(input.dtype))
    scale = _mean_square(x, tuple(range(-len(shape), 0)), True) + (finfo(x.dtype).eps if eps is None else eps)
    y = x * scale.rsqrt()
    if weight is not None:
        y = y * weight
    return y if y.dtype is input.dtype else y.to(input.dtype)


def _response_reference(x, size, alpha=1e-4, beta=0.75, k=1.0):
    squares = np.pad(x * x, [(0, 0), (size // 2, (size - 1) // 2)] + [(0, 0)] * (x.ndim - 2))
    total = sum(squares[:, i:i + x.shape[1]] for i in range(size))
    return x / (k + alpha / size * total) ** beta


@composite("local_response_norm", namespace="functional", dtypes=FLOATING, ref=_response_reference,
           samples=lambda make: [((make(2, 5, 3), 3), {}), ((make(2, 4, 2, 2), 2), dict(alpha=0.1, beta=0.5, k=2.0))])
def local_response_norm(input, size, alpha=1e-4, beta=0.75, k=1.0):
    """x / (k + alpha * mean of x^2 over ``size`` neighbouring channels) ** beta. Shape: (N, C, ...), kept."""
    if input.ndim < 3:
        raise ValueError(f"Expected 3D or higher dimensionality input (got {input.ndim} dimensions)")
    if input.numel() == 0:
        return input
    squares = input * input
    lead, channels = size // 2, input.shape[1]
    total = 0
    for shift in range(-lead, size - lead):  # neighbours beyond the first and last channel count as 0
        low, high = max(0, shift), min(channels, channels + shift)
        if low < high:
            part = squares.narrow(1, low, high - low)
            before, after = low - shift, channels - (high - shift)
            blank = [input.new_zeros([input.shape[0], n, *input.shape[2:]]) for n in (before, after)]
            total = total + cat([t for t in (blank[0], part, blank[1]) if t.shape[1]], 1)
    return input / (total * (alpha / size) + k) ** beta


@composite("normalize", namespace="functional", dtypes=FLOATING,
           ref=lambda x, p=2.0, dim=1: x / np.maximum((np.abs(x) ** p).sum(dim, keepdims=True) ** (1 / p), 1e-12),
           samples=lambda make: [((make(3, 4),), {}), ((make(2, 3, 4),), dict(p=3.0, dim=-1))])
def normalize(input, p=2.0, dim=1, eps=1e-12, out=None):
    """x / max(norm of x along ``dim``, eps)."""
    result = input / vector_norm(input, p, dim, True).clamp(min=eps)
    return result if out is None else write_out(result, out)


def _cosine_reference(a, b, dim=1):
    def unit(x):
        return x / np.maximum(np.sqrt((x * x).sum(dim, keepdims=True)), 1e-8)

    return (unit(a) * unit(b)).sum(dim)


@composite("cosine_similarity", namespace="functional,torch", dtypes=FLOATING, ref=_cosine_reference,
           samples=lambda make: [((make(3, 4), make(3, 4)), {}), ((make(2, 3, 4), make(3, 4)), dict(dim=-1))])
def cosine_similarity(x1, x2, dim=1, eps=1e-8):
    """The cosine of the angle between vectors along ``dim``; norms are at least ``eps``. Operands broadcast."""
    first, second = x1.to(summing(x1.dtype)), x2.to(summing(x2.dtype))
    first = first / vector_norm(first, 2, dim, True).clamp(min=eps)
    second = second / vector_norm(second, 2, dim, True).clamp(min=eps)
    return (first * second).sum(dim).to(promote_types(x1.dtype, x2.dtype))


@composite("pairwise_distance", namespace="functional,torch", dtypes=FLOATING,
           ref=lambda a, b, p=2.0: (np.abs(a - b + 1e-6) ** p).sum(-1) ** (1 / p),
           samples=lambda make: [((make(3, 4), make(3, 4)), {}), ((make(2, 3, 4), make(4)), dict(p=1.0))])
def pairwise_distance(x1, x2, p=2.0, eps=1e-6, keepdim=False):
    """The p-norm of x1 - x2 + eps along the last dim. Operands broadcast."""
    return vector_norm(x1 - x2 + eps, p, -1, keepdim)
