"""Layer normalisation with kernels of its own for both directions, and the normalisations that are made of it."""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core import dispatch
from ..core.modes import modes
from ..core.tensor import TYPE_NAMES, Tensor
from ..dtype import FLOATING, dtype
from .complexes import CORE
from .reduction_form import summing
from .registry import composite, kernel_op

ROWS_PER_SLOT = 512  # rows whose gradients of weights are added one after the other: bounds the rounding error


def _plan(dev: Any, rows: int, n: int, tasks: int) -> tuple[tuple[int], tuple[int], int]:
    """Global size, local size, work-items a row."""
    if dev.strategy == "wide":
        return (min(dispatch.groups(dev, rows * n * 4)[0][0], tasks),), (1,), 1
    width = dispatch.work_group(dev, "norm/layer")
    threads = min(width, 1 << max(-(-n // 4) - 1, 0).bit_length())
    return (min(-(-rows * threads // width), dev.compute_units * 64) * width,), (width,), threads


def _sources(*tensors: Tensor | None) -> list[Any]:
    """Memory and offset of each tensor that is there."""
    return [a for t in tensors if t is not None for a in (dispatch.buffer(t), t.offset)]


def _params(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> dict[str, Any]:
    affine = weight.dtype if weight is not None else bias.dtype if bias is not None else x.dtype
    return dict(dtype=x.dtype, acc=summing(x.dtype), affine=affine, scaled=weight is not None, shifted=bias is not None)


def _contiguous(t: Tensor | None) -> Tensor | None:
    return None if t is None else t.contiguous()


def _forward(parts: Sequence[Tensor | None], n: int, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    x, weight, bias = (_contiguous(t) for t in parts)
    assert x is not None
    dispatch.numel_32("layer_norm", x)
    dev, rows = x._dev, x.numel() // n if n else 0
    acc = summing(x.dtype)
    y, mean, rstd = dispatch.empty(x.shape, x.dtype, dev), dispatch.empty((rows,), acc, dev), dispatch.empty((rows,), acc, dev)
    if x.numel():
        groups, local, threads = _plan(dev, rows, n, rows)
        affine = _sources(weight, bias)
        kind, source = dispatch.kept_source(x)
        kernel = dispatch.kernel(dev, "norm/layer", stage="forward", WG=local[0], **{**_params(x, weight, bias), "dtype": kind})
        kernel(groups, local, dispatch.buffer(y), *source, x.offset, *affine, dispatch.buffer(mean), dispatch.buffer(rstd), float(eps), rows, n, 0, threads)
    return y, mean, rstd


def _backward(g: Tensor, x: Tensor, weight: Tensor | None, mean: Tensor, rstd: Tensor, n: int) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Gradients of input, weight and bias (flat) in one pass over memory (grid: two)."""
    g, x, weight = g.to(x.dtype).contiguous(), x.contiguous(), _contiguous(weight)
    dev, rows = x._dev, mean.shape[0]
    result = dispatch.empty(x.shape, x.dtype, dev)
    wide = dev.strategy == "wide"
    most = dispatch.groups(dev, rows * n)[0][0] if wide else max(1, dev.compute_units * 512 // n)
    slots = max(min(most, rows), -(-rows // ROWS_PER_SLOT))
    partial = [] if weight is None else [dispatch.empty((slots, n), mean.dtype, dev) for _ in range(2)]
    groups, local, threads = _plan(dev, rows, n, slots)
    params = _params(x, weight, None)
    sources = [*_sources(x, g, weight), dispatch.buffer(mean), dispatch.buffer(rstd)]
    sums = [dispatch.buffer(part) for part in partial]
    numbers = (rows, n, slots, threads)
    dispatch.kernel(dev, "norm/layer", stage="backward", WG=local[0], **params)(
        groups, local, dispatch.buffer(result), *sources, *(sums if wide else ()), *numbers)
    if not partial:
        return result, None, None
    if not wide:
        kernel = dispatch.kernel(dev, "norm/layer", stage="places", WG=local[0], **params)
        kernel((-(-n * slots // local[0]) * local[0],), local, *sources, *sums, *numbers)
    dw, db = (part.reshape(n) if slots == 1 else part.sum(0) for part in partial)
    return result, dw, db


def _gradients(g0: Tensor, parts: list[Tensor | None], out1: Tensor, out2: Tensor, n: int, eps: float) -> list[Tensor | None]:
    x, weight, bias = parts
    assert x is not None
    if not x.numel():
        return [g0] + [None if t is None else t.new_zeros(t.shape) for t in (weight, bias)]
    if modes.grad:
        return _gradients_as_tensors(g0, x, weight, n, eps)
    dx, dw, db = _backward(g0, x, weight, out1, out2, n)
    if weight is None:
        return [dx, None, None if bias is None else g0.reshape(-1, n).sum(0).reshape(bias.shape)]
    assert dw is not None and db is not None
    return [dx, dw.reshape(weight.shape), None if bias is None else db.reshape(bias.shape)]


def _gradients_as_tensors(g: Tensor, x: Tensor, weight: Tensor | None, n: int, eps: float) -> list[Tensor | None]:
    """The same in differentiable operators, for gradients of gradients."""
    rows, up = x.reshape(-1, n), g.reshape(-1, n)
    centred = rows - rows.mean(1, True)
    rstd = ((centred * centred).mean(1, True) + eps).rsqrt()
    normal = centred * rstd
    inner = up if weight is None else up * weight.reshape(-1)
    dx = rstd * (inner - inner.mean(1, True) - normal * (inner * normal).mean(1, True))
    dw = None if weight is None else (up * normal).sum(0).reshape(weight.shape)
    return [dx.reshape(x.shape), dw, up.sum(0).reshape(g.shape[-1:]) if weight is None else up.sum(0).reshape(weight.shape)]


_layer_norm = kernel_op("layer_norm(parts, n, eps)", forward=_forward, out=False, grad=dict(parts=_gradients), **CORE)


def normalized_rows(x: Tensor, rows: int, eps: float) -> Tensor:
    """x with each of ``rows`` equal parts of its row-major elements normalised."""
    n = x.numel() // rows if rows else 0
    return _layer_norm([x.contiguous(), None, None], n, eps)[0]


def _check(name: str, input: Tensor, shape: tuple[int, ...], **parts: Tensor | None) -> None:
    if input.dtype not in FLOATING:
        raise NotImplementedError(f"{name}: not implemented for '{TYPE_NAMES[input.dtype.name]}'")
    if not shape:
        raise RuntimeError("Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one element, but got normalized_shape = []")
    if tuple(input.shape[-len(shape):]) != shape:
        raise RuntimeError(f"Given normalized_shape={list(shape)}, expected input with shape [*, {', '.join(map(str, shape))}], "
                           f"but got input of size{list(input.shape)}")
    for part, t in parts.items():
        if t is not None and tuple(t.shape) != shape:
            raise RuntimeError(f"Expected {part} to be of same shape as normalized_shape, but got {part} of shape {list(t.shape)} "
                               f"and normalized_shape = {list(shape)}")


def _samples(make):
    return [((make(3, 4), (4,)), {}), ((make(2, 3, 4), (3, 4), make(3, 4), make(3, 4)), {}), ((make(2, 3, 4), (4,), make(4)), dict(eps=0.1))]


def _reference(x, shape, weight=None, bias=None, eps=1e-5):
    axes = tuple(range(x.ndim - len(shape), x.ndim))
    y = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)
    return y * (1 if weight is None else weight) + (0 if bias is None else bias)


@composite("layer_norm", namespace="functional,torch", dtypes=FLOATING, samples=_samples, ref=_reference)
def layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-5, cudnn_enable=True):
    """(x - mean) / sqrt(var + eps) * weight + bias over the last dims, those of ``normalized_shape``. Shape: any, kept.

    RuntimeError where shapes don't fit. Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.layer_norm.html
    """
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    _check("layer_norm", input, shape, weight=weight, bias=bias)
    return _layer_norm([input, weight, bias], math.prod(shape), eps)[0]


def per_channel(t: Tensor, rank: int) -> Tensor:
    """A (C) tensor that broadcasts over (N, C, ...) of ``rank`` dims."""
    return t.reshape(-1, *[1] * (rank - 2))


def _group_reference(x, groups, weight=None, bias=None, eps=1e-5):
    flat = x.reshape(x.shape[0] * groups, -1)
    y = ((flat - flat.mean(1, keepdims=True)) / np.sqrt(flat.var(1, keepdims=True) + eps)).reshape(x.shape)
    side = [-1] + [1] * (x.ndim - 2)
    return y * (1 if weight is None else weight.reshape(side)) + (0 if bias is None else bias.reshape(side))


@composite("group_norm", namespace="functional,torch", dtypes=FLOATING, ref=_group_reference,
           samples=lambda make: [((make(2, 6, 3), 3), {}), ((make(2, 4, 2, 2), 2, make(4), make(4)), {}), ((make(3, 4), 2), {})])
def group_norm(input, num_groups, weight=None, bias=None, eps=1e-5, cudnn_enabled=True):
    """Normalises each sample's groups of channels. Shape: (N, C, ...), kept; weight and bias (C).

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.group_norm.html
    """
    if input.ndim < 2:
        raise RuntimeError(f"Expected at least 2 dimensions for input tensor but received {input.ndim}")
    channels = input.shape[1]
    if num_groups <= 0 or channels % num_groups:
        raise RuntimeError(f"Expected number of channels in input to be divisible by num_groups, but got input of shape {list(input.shape)} "
                           f"and num_groups={num_groups}")
    for part, t in (("weight", weight), ("bias", bias)):
        if t is not None and tuple(t.shape) != (channels,):
            raise RuntimeError(f"Expected {part} to be a vector of size equal to the number of channels in input, but got {part} of shape "
                               f"{list(t.shape)} and input of shape {list(input.shape)}")
    return _scaled(normalized_rows(input.to(summing(input.dtype)), input.shape[0] * num_groups, eps), weight, bias, input.dtype)


def _scaled(y: Tensor, weight: Tensor | None, bias: Tensor | None, d: dtype) -> Tensor:
    """y * weight + bias by channel, as type ``d``: y is in the type that sums have, so that halves are rounded once."""
    if weight is not None:
        y = y * per_channel(weight, y.ndim)
    if bias is not None:
        y = y + per_channel(bias, y.ndim)
    return y if y.dtype is d else y.to(d)


def instance_rows(input: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """Every sample's every channel normalised by itself."""
    return _scaled(normalized_rows(input.to(summing(input.dtype)), input.shape[0] * input.shape[1], eps), weight, bias, input.dtype)


__all__ = ["group_norm", "instance_rows", "layer_norm", "normalized_rows", "per_channel"]
