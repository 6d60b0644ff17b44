"""Batch and instance normalisation: statistics and gradients' sums by kernels, the rest as chains that fuse with what follows."""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core import dispatch
from ..core.modes import modes, no_grad
from ..core.pointwise import PROMOTE
from ..core.tensor import TYPE_NAMES, Tensor, alias
from ..dtype import FLOATING, dtype
from .complexes import CORE
from .layer_norm import instance_rows, per_channel
from .reduce_plan import Spec, run
from .reduction_form import summing
from .registry import composite, kernel_op, pointwise

_specs: dict[dtype, Spec] = {}


_apply = pointwise(
    "batch_apply(input, mean, rstd, weight, bias)", dtypes=FLOATING, out=PROMOTE, cl="(input - mean) * rstd * weight + bias", inplace=False,
    ref=lambda x, mean, rstd, w, b: (x - mean) * rstd * w + b, **CORE)

_slope = pointwise(
    "batch_slope(g, input, mean, rstd, weight, direct, along, share)", dtypes=FLOATING, out=PROMOTE, inplace=False,
    cl="rstd * weight * (g - (direct + (input - mean) * rstd * along) * share)",
    ref=lambda g, x, mean, rstd, w, direct, along, share: rstd * w * (g - (direct + (x - mean) * rstd * along) * share), **CORE)


def along_channels(t: Tensor | float, rank: int) -> Tensor | float:
    """A (C) tensor as one that broadcasts over (N, C, ...) of ``rank`` dims, out of the graph. Numbers stay."""
    if not isinstance(t, Tensor):
        return t
    return alias(t, (*t.shape, *[1] * (rank - 2)), (*t._strides, *[0] * (rank - 2)), t.offset)


def _statistics(x: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, 1 / sqrt(var + eps) and the unbiased variance of each channel."""
    d = x.dtype
    if d not in _specs:
        acc = summing(d)
        _specs[d] = Spec(d, acc, ((acc, "mean"), (acc, "rsqrt(m2 / n + eps)"), (acc, "m2 / (n > 1 ? n - 1 : 1)")), kind="moments", scalars=("eps",))
    mean, rstd, variance = run(x, _specs[d], tuple(i for i in range(x.ndim) if i != 1), False, (float(eps),))
    return mean, rstd, variance


def _forward(parts: Sequence[Tensor | None], eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x, weight, bias = parts
    assert x is not None
    dispatch.numel_32("batch_norm", x)
    mean, rstd, variance = _statistics(x, eps)
    y = _apply(x, *[along_channels(t, x.ndim) for t in (mean, rstd, 1.0 if weight is None else weight, 0.0 if bias is None else bias)])
    return y if y.dtype is x.dtype else y.to(x.dtype), mean, rstd, variance


def _sums(g: Tensor, x: Tensor, mean: Tensor, rstd: Tensor) -> tuple[Tensor, Tensor]:
    """Per channel the sums of g and of g * normalised x, in one pass."""
    dev, outer, channels = x._dev, x.shape[0], x.shape[1]
    inner = math.prod(x.shape[2:])
    groups, local, slices = _plan(dev, outer, channels, inner)
    if slices == 1:
        direct, along = dispatch.empty((channels,), mean.dtype, dev), dispatch.empty((channels,), mean.dtype, dev)
        pitch, shift = channels, 0
    else:
        direct = along = dispatch.empty((slices, 2, channels), mean.dtype, dev)
        pitch, shift = 2 * channels, channels
    kind, source = dispatch.source(g)
    kernel = dispatch.kernel(dev, "norm/batch", dtype=x.dtype, gradient=kind, acc=mean.dtype, flat=inner == 1, WG=local[0])
    kernel(groups, local, dispatch.buffer(x), x.offset, *source, g.offset, dispatch.buffer(mean), dispatch.buffer(rstd),
           dispatch.buffer(direct), dispatch.buffer(along), pitch, shift, outer, channels, inner, slices)
    if slices == 1:
        return direct, along
    total = direct.sum(0)
    return total[0], total[1]


def _plan(dev: Any, outer: int, channels: int, inner: int) -> tuple[tuple[int], tuple[int], int]:
    """Global size, local size, slices of the outer dim."""
    if dev.strategy == "wide":
        groups = dispatch.groups(dev, outer * channels * inner * 2)[0][0]
        lines = channels if inner > 1 else -(-channels // dispatch.tuned(dev, "norm/batch")["TILE"])
        slices = 1 if lines >= groups else max(1, min(-(-groups // lines), outer))
        return (min(groups, lines * slices),), (1,), slices
    width = dispatch.work_group(dev, "norm/batch")
    lines = channels if inner > 1 else -(-channels // width)
    slices = max(1, min(dev.compute_units * 8 // lines, outer // 8, 64))
    items = channels * slices * (width if inner > 1 else 1)
    return (min(-(-items // width), dev.compute_units * 64) * width,), (width,), slices


def _gradients(g0: Tensor, parts: list[Tensor | None], out1: Tensor, out2: Tensor, eps: float) -> list[Tensor | None]:
    x, weight, bias = parts
    assert x is not None
    if modes.grad:
        return _gradients_as_tensors(g0, x, weight, bias, eps)
    g, rank, n = g0.to(x.dtype).contiguous(), x.ndim, x.numel() // x.shape[1]
    direct, along = _sums(g, x.contiguous(), out1, out2)
    dx = _slope(g, x, *[along_channels(t, rank) for t in (out1, out2, 1.0 if weight is None else weight, direct, along)], 1 / n)
    return [dx, None if weight is None else along, None if bias is None else direct]


def _gradients_as_tensors(g: Tensor, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> list[Tensor | None]:
    """The same in differentiable operators, for gradients of gradients."""
    rank, n = x.ndim, x.numel() // x.shape[1]
    dims = tuple(i for i in range(rank) if i != 1)
    centred = x - x.mean(dims, True)
    scale = ((centred * centred).mean(dims, True) + eps).rsqrt()
    normal = centred * scale
    direct, along = g.sum(dims), (g * normal).sum(dims)
    factor = scale if weight is None else scale * per_channel(weight, rank)
    dx = factor * (g - (per_channel(direct, rank) + normal * per_channel(along, rank)) * (1 / n))
    return [dx, None if weight is None else along, None if bias is None else direct]


_batch_norm = kernel_op("batch_norm(parts, eps)", forward=_forward, out=False, grad=dict(parts=_gradients), **CORE)


def _check(name: str, input: Tensor, **parts: Tensor | None) -> None:
    if input.dtype not in FLOATING:
        raise NotImplementedError(f"{name}: not implemented for '{TYPE_NAMES[input.dtype.name]}'")
    if input.ndim < 2:
        raise RuntimeError(f"{name}: expected an input of at least 2 dims (N, C, ...), got {list(input.shape)}")
    for part, t in parts.items():
        if t is not None and t.numel() != input.shape[1]:
            raise RuntimeError(f"{part} should contain {input.shape[1]} elements not {t.numel()} ({name})")


def _update(running_mean: Tensor | None, running_var: Tensor | None, mean: Tensor, variance: Tensor, momentum: float) -> None:
    """Moves the running statistics towards the batch's by ``momentum``, in place."""
    with no_grad():
        for running, now in ((running_mean, mean), (running_var, variance)):
            if running is not None:
                running.lerp_(now.to(running.dtype), momentum)


def _batch_reference(x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    axes, side = tuple(i for i in range(x.ndim) if i != 1), [-1] + [1] * (x.ndim - 2)
    mean, variance = (x.mean(axes), x.var(axes)) if training else (running_mean, running_var)
    y = (x - mean.reshape(side)) / np.sqrt(variance.reshape(side) + eps)
    return y * (1 if weight is None else weight.reshape(side)) + (0 if bias is None else bias.reshape(side))


def _batch_samples(make):
    positive = make(3, low=0.5, high=2).detach()
    return [((make(4, 3), None, None, make(3), make(3), True), {}), ((make(2, 3, 2, 2), None, None, make(3), None, True), {}),
            ((make(2, 3, 4), make(3).detach(), positive, make(3), make(3)), {}), ((make(2, 3, 4), make(3).detach(), positive), dict(eps=0.1))]


@composite("batch_norm", namespace="functional", dtypes=FLOATING, samples=_batch_samples, ref=_batch_reference)
def batch_norm(input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    """Per-channel normalisation of (N, C, ...): by the batch's statistics (training; running ones are updated in place), or by running ones.

    Running variances are unbiased. Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.batch_norm.html
    """
    _check("batch_norm", input, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    if not training:
        if running_mean is None or running_var is None:
            raise RuntimeError("Expected running_mean and running_var to be defined when training=False")
        return _by_running(input, running_mean, running_var, weight, bias, eps)
    if input.numel() <= input.shape[1]:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {input.shape}")
    y, mean, _, variance = _batch_norm([input, weight, bias], eps)
    _update(running_mean, running_var, mean, variance, momentum)
    return y


def _by_running(input: Tensor, mean: Tensor, variance: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    rank, acc = input.ndim, summing(input.dtype)
    mean, scale = mean.to(acc), (variance.to(acc) + eps).rsqrt()
    if weight is not None:
        scale = scale * weight
    y = (input - per_channel(mean, rank)) * per_channel(scale, rank)
    if bias is not None:
        y = y + per_channel(bias, rank)
    return y if y.dtype is input.dtype else y.to(input.dtype)


@composite("batch_norm", dtypes=FLOATING)
def torch_batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps, cudnn_enabled):
    """torch.batch_norm: nn.functional.batch_norm with the arguments in the order of the low-level function."""
    return batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)


def _instance_reference(x, mean=None, variance=None, weight=None, bias=None):
    axes, side = tuple(range(2, x.ndim)), [-1] + [1] * (x.ndim - 2)
    y = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)
    return y * (1 if weight is None else weight.reshape(side)) + (0 if bias is None else bias.reshape(side))


@composite("instance_norm", namespace="functional", dtypes=FLOATING, ref=_instance_reference,
           samples=lambda make: [((make(2, 3, 4),), {}), ((make(2, 3, 2, 3), None, None, make(3), make(3)), {})])
def instance_norm(input, running_mean=None, running_var=None, weight=None, bias=None, use_input_stats=True, momentum=0.1, eps=1e-5):
    """Normalises every sample's every channel of (N, C, ...) by itself, or by running statistics where ``use_input_stats`` is False.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.instance_norm.html
    """
    _check("instance_norm", input, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    if math.prod(input.shape[2:]) == 1:
        raise ValueError(f"Expected more than 1 spatial element when training, got input size {input.shape}")
    if running_mean is not None or running_var is not None:
        with no_grad():
            variance, mean = input.flatten(2).detach().var(2), input.flatten(2).detach().mean(2)
        _update(running_mean, running_var, mean.mean(0), variance.mean(0), momentum)
    return instance_rows(input, weight, bias, eps)
