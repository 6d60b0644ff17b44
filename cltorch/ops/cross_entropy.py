"""Cross entropy with class indices in one pass over the scores, forward and backward: neither probabilities nor their logarithms are stored.

A target outside the classes cannot raise where the kernel runs: its loss is NaN, and the IndexError comes when the host next waits for
the device (reads a value, synchronises).
"""
from __future__ import annotations

import math
from typing import Any

from ..core import dispatch
from ..core.modes import modes
from ..core.tensor import Tensor
from ..dtype import FLOATING
from .addressing import flags_of
from .complexes import CORE
from .creation import arange
from .reduction_form import summing
from .registry import kernel_op
from .softmax import softmax
from .ternary import where


class _Call:
    """The arguments that forward and backward share: contiguous operands, sizes, and the launch."""

    def __init__(self, x: Tensor, target: Tensor, weight: Tensor | None, ignore: int, smoothing: float, mode: str) -> None:
        dispatch.numel_32("cross_entropy", x)
        self.x, self.target = x.contiguous(), target.contiguous()
        self.weight = None if weight is None else weight.to(x.dtype).contiguous()
        self.dev, self.acc = x._dev, summing(x.dtype)
        self.outer, self.n, self.inner = x.shape[0], x.shape[1], math.prod(x.shape[2:])
        self.params = dict(dtype=x.dtype, acc=self.acc, weighted=weight is not None, smooth=smoothing > 0, each=mode == "none", columns=self.inner > 1)
        self.ignore, self.smoothing, self.mean = ignore, float(smoothing), int(mode == "mean")
        self.groups, self.local, self.threads = self._plan()

    def _plan(self) -> tuple[tuple[int], tuple[int], int]:
        """Global size, local size, work-items an item."""
        items, dev = self.outer * self.inner, self.dev
        if dev.strategy == "wide":
            lines = self.outer * -(-self.inner // dispatch.tuned(dev, "loss/cross_entropy")["TILE"]) if self.inner > 1 else items
            return (min(dispatch.groups(dev, items * self.n * 4)[0][0], lines),), (1,), 1
        width = dispatch.work_group(dev, "loss/cross_entropy")
        threads = min(width, 1 << max(-(-self.n // 4) - 1, 0).bit_length()) if self.inner == 1 else 1
        return (min(-(-items * threads // width), dev.compute_units * 16) * width,), (width,), threads

    def sources(self) -> list[Any]:
        tensors = [self.x, self.target] + ([] if self.weight is None else [self.weight])
        return [a for t in tensors for a in (dispatch.buffer(t), t.offset)]

    def launch(self, stage: str, *results: Any) -> None:
        kernel = dispatch.kernel(self.dev, "loss/cross_entropy", stage=stage, WG=self.local[0], **self.params)
        kernel(self.groups, self.local, *results, *self.sources(), self.outer, self.n, self.inner, self.threads, self.ignore, self.smoothing,
               self.mean)

    def finish(self, loss: Tensor, partial: Tensor, total: Tensor, parts: int) -> None:
        kernel = dispatch.kernel(self.dev, "loss/cross_entropy", stage="finish", WG=self.local[0], **self.params)
        kernel(self.local, self.local, dispatch.buffer(loss), dispatch.buffer(partial), dispatch.buffer(total), parts, self.mean)


def _forward(input: Tensor, target: Tensor, weight: Tensor | None, ignore: int, smoothing: float, mode: str) -> tuple[Tensor, Tensor, Tensor]:
    dev, acc = input._dev, summing(input.dtype)
    loss = dispatch.empty(target.shape if mode == "none" else (), input.dtype, dev)
    lse, total = dispatch.empty(target.shape, acc, dev), dispatch.empty((1,), acc, dev)
    if not input.numel():
        empty_mean = mode == "mean" or (input.shape[1] == 0 and target.numel() > 0)
        return loss.fill_(math.nan if empty_mean else 0.0), lse, total
    call = _Call(input, target, weight, ignore, smoothing, mode)
    parts = call.groups[0] // call.local[0]
    partial = dispatch.empty((parts, 2), acc, dev)
    call.launch("forward", *[dispatch.buffer(t) for t in (loss, lse, partial, total, flags_of(dev))])
    if parts > 1 and mode != "none":
        call.finish(loss, partial, total, parts)
    return loss, lse, total


def _gradient(g0: Tensor, input: Tensor, target: Tensor, weight: Tensor | None, ignore: int, smoothing: float, mode: str, out1: Tensor,
              out2: Tensor) -> Tensor:
    if not input.numel():
        return input.new_zeros(input.shape)
    if modes.grad:
        return _gradient_as_tensors(g0, input, target, weight, ignore, smoothing, mode, out2)
    call = _Call(input, target, weight, ignore, smoothing, mode)
    g = g0.to(input.dtype).contiguous()
    dx = dispatch.empty(input.shape, input.dtype, input._dev)
    call.launch("backward", dispatch.buffer(dx), dispatch.buffer(out1), dispatch.buffer(out2), dispatch.buffer(g), g.offset)
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
