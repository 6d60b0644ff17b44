"""Connectionist temporal classification: one work-group a sequence, forward and backward in logarithms."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core import dispatch
from ..core.tensor import Tensor
from ..dtype import FLOATING, int64
from .complexes import CORE
from .loss import reduce_loss
from .reduction_form import summing
from .registry import composite, kernel_op


def _launch(stage: str, log_probs: Tensor, tables: Sequence[Tensor], results: list[Tensor], extra: list[Any], states: int, blank: int, zero: bool) -> None:
    dev, x = log_probs._dev, log_probs.contiguous()
    steps, batch, classes = x.shape
    local = dispatch.work_group(dev, "loss/ctc")
    kernel = dispatch.kernel(dev, "loss/ctc", stage=stage, dtype=x.dtype, acc=summing(x.dtype), WG=local)
    labels = tables[0]
    kernel((batch * local,), (local,), *[dispatch.buffer(t) for t in results], *extra, dispatch.buffer(x), x.offset, dispatch.buffer(labels), labels.offset,
           *[dispatch.buffer(t) for t in tables[1:]], steps, batch, classes, states, blank, int(zero))


def _forward(log_probs: Tensor, labels: Tensor, starts: Tensor, sizes: Tensor, spans: Tensor, states: int, blank: int, zero: bool) -> tuple[Tensor, Tensor]:
    dev, acc = log_probs._dev, summing(log_probs.dtype)
    steps, batch, _ = log_probs.shape
    alpha, nll = dispatch.empty((batch, steps, states), acc, dev), dispatch.empty((batch,), acc, dev)
    _launch("alpha", log_probs, (labels, starts, sizes, spans), [alpha, nll], [], states, blank, zero)
    return nll.to(log_probs.dtype), alpha


def _gradient(g0: Tensor, log_probs: Tensor, labels: Tensor, starts: Tensor, sizes: Tensor, spans: Tensor, states: int, blank: int, zero: bool,
              out0: Tensor, out1: Tensor) -> Tensor:
    dev, acc, batch = log_probs._dev, out1.dtype, log_probs.shape[1]
    dlp = dispatch.empty(log_probs.shape, log_probs.dtype, dev)
    beta, sums = dispatch.empty((batch, 2, states), acc, dev), dispatch.empty((batch, log_probs.shape[2]), acc, dev)
    g = g0.contiguous()
    _launch("beta", log_probs, (labels, starts, sizes, spans), [dlp, out1, out0.to(acc), beta, sums], [dispatch.buffer(g), g.offset], states, blank, zero)
    return dlp


_ctc = kernel_op("ctc(log_probs, labels, starts, sizes, spans, states, blank, zero)", dtypes=FLOATING, forward=_forward, out=False,
                 grad=dict(log_probs=_gradient), **CORE)


def _lengths(values: Any, like: Tensor, batch: int, name: str) -> Tensor:
    """int64 lengths of every item, on the scores' device."""
    t = values if isinstance(values, Tensor) else dispatch.from_host(np.asarray(values, np.int64), int64, like._dev)
    t = t.to(device=like.device, dtype=int64).reshape(-1).contiguous()
    if t.shape[0] != batch:
        raise RuntimeError(f"{name} must be of size batch_size: {name} has {t.shape[0]} elements, the batch {batch}")
    return t if t.offset == 0 else t.clone()


def _arranged(targets: Tensor, sizes: Tensor, batch: int) -> tuple[Tensor, int]:
    """Where each item's labels start, and the most labels an item can have. Labels in one row need their lengths on the host."""
    if targets.ndim == 2:
        return dispatch.from_host(np.arange(batch, dtype=np.int64) * targets.shape[1], int64, sizes._dev), targets.shape[1]
    listed = np.asarray(sizes.tolist(), np.int64)
    if listed.sum() > targets.numel():
        raise RuntimeError(f"Expected targets to hold sum(target_lengths) = {listed.sum()} labels, but it has {targets.numel()}")
    return dispatch.from_host(np.cumsum(listed) - listed, int64, sizes._dev), int(listed.max(initial=0))


@composite("ctc_loss", namespace="functional,torch", dtypes=FLOATING)
def ctc_loss(log_probs, targets, input_lengths, target_lengths, blank=0, reduction="mean", zero_infinity=False):
    """CTC loss of log-probabilities (T, N, C) or (T, C) and labels (N, S) or in one row, with the steps and labels of each item.

    "mean" divides each loss by its number of labels first. As in PyTorch the gradient is that through log_softmax. It has no second gradient.
    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.ctc_loss.html
    """
    single = log_probs.ndim == 2
    scores = log_probs.unsqueeze(1) if single else log_probs
    if scores.ndim != 3:
        raise RuntimeError(f"ctc_loss: expected log_probs (T, N, C) or (T, C), got {list(log_probs.shape)}")
    _, batch, classes = scores.shape
    if not 0 <= blank < classes:
        raise RuntimeError(f"blank must be in label range, got blank={blank} of {classes} classes")
    sizes, spans = _lengths(target_lengths, scores, batch, "target_lengths"), _lengths(input_lengths, scores, batch, "input_lengths")
    labels = targets.to(device=scores.device, dtype=int64).contiguous()
    starts, most = _arranged(labels, sizes, batch)
    losses = _ctc(scores, labels, starts, sizes, spans, 2 * most + 1, blank, bool(zero_infinity))[0]
    if reduction == "mean":
        return (losses / sizes.clamp(min=1).to(losses.dtype)).mean()
    return reduce_loss(losses.reshape(()) if single else losses, reduction)
