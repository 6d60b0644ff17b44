"""Cross entropy with class indices in one pass over the scores, forward and backward: neither probabilities nor their logarithms are stored.

A target outside the classes cannot raise where the kernel runs: its loss is NaN, and the IndexError comes when the host next waits for
the device (reads a value, synchronises).
"""
from __future__ import annotations

import math
from functools import cache, lru_cache
from typing import Any

from ..core import dispatch
from ..core.modes import modes
from ..core.tensor import Tensor
from ..dtype import FLOATING, dtype
from ..runtime.device import Device
from ..shape import Size
from .addressing import flags_of
from .complexes import CORE
from .creation import arange
from .reduction_form import summing
from .registry import kernel_op
from .softmax import softmax
from .ternary import where


class _Call:
    """What forward and backward over scores of one shape share: sizes, the arguments that are numbers, and the kernels. Made once."""

    def __init__(self, dev: Device, d: dtype, shape: Size, weighted: bool, ignore: int, smoothing: float, mode: str) -> None:
        dispatch.numel_32("cross_entropy", shape)
        self.dev, self.each = dev, mode == "none"
        outer, n, inner = shape[0], shape[1], math.prod(shape[2:])
        self.groups, self.local, threads = self._plan(outer, n, inner)
        self.parts = self.groups[0] // self.local[0]
        self.mean = int(mode == "mean")
        self.numbers = outer, n, inner, threads, ignore, float(smoothing), self.mean
        params = dict(dtype=d, acc=summing(d), weighted=weighted, smooth=smoothing > 0, each=self.each, columns=inner > 1)
        self.kernel = cache(lambda stage: dispatch.kernel(dev, "loss/cross_entropy", stage=stage, WG=self.local[0], **params))

    def _plan(self, outer: int, n: int, inner: int) -> tuple[tuple[int], tuple[int], int]:
        """Global size, local size, work-items an item."""
        items, dev = outer * inner, self.dev
        if dev.strategy == "wide":
            lines = outer * -(-inner // dispatch.tuned(dev, "loss/cross_entropy")["TILE"]) if inner > 1 else items
            return (min(dispatch.groups(dev, items * n * 4)[0][0], lines),), (1,), 1
        width = dispatch.work_group(dev, "loss/cross_entropy")
        threads = min(width, 1 << max(-(-n // 4) - 1, 0).bit_length()) if inner == 1 else 1
        return (min(-(-items * threads // width), dev.compute_units * 16) * width,), (width,), threads

    def launch(self, stage: str, *arguments: Any) -> None:
        self.kernel(stage)(self.groups, self.local, *arguments, *self.numbers)

    def finish(self, loss: Tensor, partial: Tensor, total: Tensor) -> None:
        self.kernel("finish")(self.local, self.local, dispatch.buffer(loss), dispatch.buffer(partial), dispatch.buffer(total), self.parts, self.mean)


_call = lru_cache(maxsize=1024)(_Call)


def _operands(input: Tensor, target: Tensor, weight: Tensor | None) -> list[Tensor]:
    """What the kernels read, in rows without gaps. To be held until they are launched."""
    weights = [] if weight is None else [weight.to(input.dtype).contiguous()]
    return [input if input.plain else input.contiguous(), target if target.plain else target.contiguous(), *weights]


def _memory(tensors: list[Tensor]) -> list[Any]:
    """Memory and first element of each."""
    return [a for t in tensors for a in (dispatch.buffer(t), t.offset)]


def _forward(input: Tensor, target: Tensor, weight: Tensor | None, ignore: int, smoothing: float, mode: str) -> tuple[Tensor, Tensor, Tensor]:
    dev, acc = input._dev, summing(input.dtype)
    loss = dispatch.empty(target.shape if mode == "none" else (), input.dtype, dev)
    lse, total = dispatch.empty(target.shape, acc, dev), dispatch.empty((1,), acc, dev)
    if not input.numel():
        empty_mean = mode == "mean" or (input.shape[1] == 0 and target.numel() > 0)
        return loss.fill_(math.nan if empty_mean else 0.0), lse, total
    call = _call(dev, input.dtype, input.shape, weight is not None, ignore, smoothing, mode)
    partial = dispatch.empty((call.parts, 2), acc, dev)
    operands = _operands(input, target, weight)
    call.launch("forward", *[dispatch.buffer(t) for t in (loss, lse, partial, total, flags_of(dev))], *_memory(operands))
    if call.parts > 1 and not call.each:
        call.finish(loss, partial, total)
    return loss, lse, total


def _gradient(g0: Tensor, input: Tensor, target: Tensor, weight: Tensor | None, ignore: int, smoothing: float, mode: str, out1: Tensor,
              out2: Tensor) -> Tensor:
    if not input.numel():
        return input.new_zeros(input.shape)
    if modes.grad:
        return _gradient_as_tensors(g0, input, target, weight, ignore, smoothing, mode, out2)
    call = _call(input._dev, input.dtype, input.shape, weight is not None, ignore, smoothing, mode)
    g = g0 if g0.plain and g0.dtype is input.dtype else g0.to(input.dtype).contiguous()
    dx = dispatch.empty(input.shape, input.dtype, input._dev)
    operands = [g, *_operands(input, target, weight)]
    call.launch("backward", dispatch.buffer(dx), dispatch.buffer(out1), dispatch.buffer(out2), *_memory(operands))
    return dx


def _gradient_as_tensors(g: Tensor, x: Tensor, target: Tensor, weight: Tensor | None, ignore: int, smoothing: float, mode: str,
                         total: Tensor) -> Tensor:
    """The same in differentiable operators, for gradients of gradients."""
    classes = x.shape[1]
    shape = [1, classes] + [1] * (x.ndim - 2)
    w = (x.new_ones(classes) if weight is None else weight.to(x.dtype)).detach().reshape(shape)
    t = target.unsqueeze(1)
    hit = (arange(classes, device=x.device).reshape(shape) == t).to(x.dtype)
    p = softmax(x, 1)
    own = (hit * w).sum(1, True) * (1 - smoothing)
    slope = own * (p - hit) + (p * w.sum() - w) * (smoothing / classes)
    scale = g.unsqueeze(1) if mode == "none" else g / total.to(x.dtype) if mode == "mean" else g
    return where(t == ignore, 0, slope * scale)


class_cross_entropy = kernel_op(
    "class_cross_entropy(input, target, weight, ignore, smoothing, mode)", dtypes=FLOATING, forward=_forward, out=False,
    grad=dict(input=lambda g0, input, target, weight, ignore, smoothing, mode, out1, out2:
              _gradient(g0, input, target, weight, ignore, smoothing, mode, out1, out2)),
    doc="(loss, logsumexp of the scores, sum of the targets' weights) of scores (N, C, ...) and class indices (N, ...).", **CORE)
