"""Loss functions of nn.functional over classes: negative log likelihood and cross entropy.

A target outside the classes cannot raise where the kernel runs: its loss is NaN, and the IndexError comes when the host next waits for
the device (reads a value, synchronises).
"""
from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ..core import dispatch
from ..core.tensor import Tensor
from ..dtype import FLOATING, int64, uint8
from .addressing import flags_of
from .cross_entropy import class_cross_entropy
from .registry import composite, kernel_op


def reduce_loss(loss: Tensor, reduction: str) -> Tensor:
    """"none", "mean" or "sum" of a loss. ValueError for another word."""
    if reduction == "mean":
        return loss.mean()
    if reduction == "sum":
        return loss.sum()
    if reduction == "none":
        return loss
    raise ValueError(f"{reduction} is not a valid value for reduction")


def _launch(entry: str, x: Tensor, target: Tensor, weight: Tensor | None, ignore: int, classes: int, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    dev, n = x._dev, target.numel()
    inner = prod(target.shape[1:])
    out = dispatch.empty(shape, x.dtype, dev)
    share = dispatch.empty(target.shape if entry == "pick" else (1,), x.dtype, dev)
    if n:
        dispatch.numel_32("nll_loss", x, out)
        source, wanted = x.contiguous(), target.contiguous()
        weights = weight.to(x.dtype).contiguous() if weight is not None else source
        kernel = dispatch.kernel(dev, "loss/nll", entry, dtype=x.dtype, weighted=weight is not None)
        # the kernel reads its arrays from their starts
        parts = [t if t.offset == 0 else t.clone() for t in (source, wanted, weights)]
        kernel(*dispatch.groups(dev, n * (classes if entry == "spread" else 1)), dispatch.buffer(out), dispatch.buffer(share), dispatch.buffer(flags_of(dev)),
               *[dispatch.buffer(t) for t in parts], n, inner, classes, ignore)
    return out, share


def _pick(input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int) -> tuple[Tensor, Tensor]:
    return _launch("pick", input, target, weight, ignore_index, input.shape[1], target.shape)


def _spread(g: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, classes: int) -> Tensor:
    shape = (target.shape[0], classes, *target.shape[1:])
    return _launch("spread", g, target, weight, ignore_index, classes, shape)[0]


def _reference(input: np.ndarray, target: np.ndarray, weight: Any, ignore_index: int) -> tuple[np.ndarray, np.ndarray]:
    used = target != ignore_index
    safe = np.where(used, target, 0)
    w = (np.ones(input.shape[1]) if weight is None else weight)[safe] * used
    return -w * np.take_along_axis(input, safe[:, None], 1)[:, 0], w


def _targets(make: Any, *shape: int) -> Tensor:
    return make(*shape, low=0, high=3, dtype=int64)


nll_pick = kernel_op(
    "nll_pick(input, target, weight, ignore_index)", forward=_pick, dtypes=FLOATING, method=False, namespace="core", out=False,
    grad=dict(input=lambda g0, target, weight, ignore_index, input_shape: nll_spread(g0, target, weight, ignore_index, input_shape[1])),
    ref=_reference,
    samples=lambda make: [((make(5, 4), _targets(make, 5), None, -100), {}), ((make(2, 4, 3), _targets(make, 2, 3), make(4, low=0.5, high=2).detach(), 1), {})])

nll_spread = kernel_op(
    "nll_spread(value, target, weight, ignore_index, classes)", forward=_spread, dtypes=FLOATING, method=False, namespace="core", out=False,
    grad=dict(value=lambda g, target, weight, ignore_index: nll_pick(g, target, weight, ignore_index)[0]))


def _check_target(input: Tensor, target: Tensor, name: str) -> None:
    if input.dim() < 1:
        raise ValueError(f"{name}: expected 1 or more dimensions of scores (got {input.dim()})")
    if input.dim() != 1 and input.shape[0] != target.shape[0] if target.dim() else input.dim() > 1:
        raise ValueError(f"Expected input batch_size ({input.shape[0]}) to match target batch_size ({target.shape[0] if target.dim() else 1}) ({name}).")
    if target.dtype not in (int64, uint8):
        raise RuntimeError(f"{name}: expected target dtype to be Long or Byte, but got {target.dtype}; write target.long()")
    expected = input.shape[:1] + input.shape[2:] if input.dim() > 1 else ()
    if tuple(target.shape) != tuple(expected):
        raise RuntimeError(f"{name}: expected target size {list(expected)}, got {list(target.shape)}")


@composite("nll_loss", namespace="functional", dtypes=FLOATING)
def nll_loss(input, target, weight=None, size_average=None, ignore_index=-100, reduce=None, reduction="mean"):
    """Negative log likelihood. ``input``: log-probabilities (N, C), (C) or (N, C, d1, ...); ``target``: int64 class indices without the C dimension.

    "mean" divides by the sum of the weights of the targets that are not ignored. size_average and reduce, deprecated in PyTorch, are ignored.
    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.nll_loss.html
    """
    _check_target(input, target, "nll_loss")
    if target.dtype is not int64:
        target = target.to(int64)
    single = input.dim() == 1
    losses, shares = nll_pick(input.unsqueeze(0), target.reshape(1), weight, ignore_index) if single else nll_pick(input, target, weight, ignore_index)
    if reduction == "mean":
        return losses.sum() / shares.sum()
    if single:
        losses = losses.reshape(())
    return reduce_loss(losses, reduction)


def _of_probabilities(logs: Tensor, target: Tensor, weight: Tensor | None, smoothing: float, reduction: str) -> Tensor:
    dim = 0 if logs.dim() == 1 else 1
    classes = logs.shape[dim]
    if smoothing:
        target = target * (1 - smoothing) + smoothing / classes
    product = logs * target
    if weight is not None:
        product = product * weight.reshape((-1,) + (1,) * (logs.dim() - dim - 1))
    losses = -product.sum(dim)
    if reduction == "mean":
        return losses.sum() / max(losses.numel(), 1)
    return reduce_loss(losses, reduction)


@composite("cross_entropy", namespace="functional", dtypes=FLOATING)
def cross_entropy(input, target, weight=None, size_average=None, ignore_index=-100, reduce=None, reduction="mean", label_smoothing=0.0):
    """Cross entropy of scores (N, C), (C) or (N, C, d1, ...) with class indices, or with probabilities of the scores' own shape.

    Raises ValueError for batches that don't match and label_smoothing outside [0, 1], RuntimeError for other shapes.
    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.cross_entropy.html
    """
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    if target.shape == input.shape and target.is_floating_point():
        return _of_probabilities(input.log_softmax(0 if input.dim() == 1 else 1), target, weight, label_smoothing, reduction)
    if target.is_floating_point():
        raise RuntimeError(f"cross_entropy: expected scalar type Long for class indices but found {target.dtype}; probabilities need the scores' shape")
    _check_target(input, target, "cross_entropy")
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    target = target if target.dtype is int64 else target.to(int64)
    single = input.dim() == 1
    scores, wanted = (input.unsqueeze(0), target.reshape(1)) if single else (input, target)
    loss = class_cross_entropy(scores, wanted, weight, ignore_index, label_smoothing, reduction)[0]
    return loss.reshape(()) if single else loss


@composite("multi_margin_loss", namespace="functional", dtypes=FLOATING)
def multi_margin_loss(input, target, p=1, margin=1.0, weight=None, size_average=None, reduce=None, reduction="mean"):
    """Multi-class hinge loss of scores (N, C) or (C). Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.MultiMarginLoss.html"""
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    scores, wanted = (input.unsqueeze(0), target.reshape(1)) if input.dim() == 1 else (input, target)
    own = scores.gather(1, wanted.unsqueeze(1))
    terms = (margin - own + scores).clamp(min=0)
    if p == 2:
        terms = terms * terms
    if weight is not None:
        terms = terms * weight[wanted].unsqueeze(1)
    terms = terms.scatter(1, wanted.unsqueeze(1), 0.0)
    losses = terms.sum(1) / scores.shape[1]
    return reduce_loss(losses.reshape(()) if input.dim() == 1 else losses, reduction)


@composite("multilabel_margin_loss", namespace="functional", dtypes=FLOATING)
def multilabel_margin_loss(input, target, size_average=None, reduce=None, reduction="mean"):
    """Multi-label hinge loss; ``target`` lists class indices, ended by -1. Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.MultiLabelMarginLoss.html"""
    scores, wanted = (input.unsqueeze(0), target.unsqueeze(0)) if input.dim() == 1 else (input, target)
    listed = (wanted < 0).to(int64).cumsum(1) == 0  # entries before the first -1
    safe = wanted.masked_fill(~listed, 0)
    is_target = (scores.detach() * 0).scatter_add(1, safe, listed.to(scores.dtype)) > 0
    own = scores.gather(1, safe)
    terms = (1 - own.unsqueeze(2) + scores.unsqueeze(1)).clamp(min=0)
    counted = listed.unsqueeze(2) & ~is_target.unsqueeze(1)
    losses = terms.masked_fill(~counted, 0.0).sum((1, 2)) / scores.shape[1]
    return reduce_loss(losses.reshape(()) if input.dim() == 1 else losses, reduction)
