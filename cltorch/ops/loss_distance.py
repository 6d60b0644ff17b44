"""Loss functions of nn.functional that compare values: regression, probabilities, embeddings, rankings.

Each takes ``reduction`` "mean", "sum" or "none"; size_average and reduce, deprecated in PyTorch, are accepted and ignored.
Sources: https://docs.pytorch.org/docs/stable/nn.functional.html#loss-functions
"""
from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.tensor import Tensor
from ..dtype import FLOATING
from ..shape import broadcast_shapes
from .activation import logsigmoid
from .loss import reduce_loss
from .registry import composite
from .ternary import where


def _same(name: str, input: Tensor, target: Tensor) -> None:
    """PyTorch's warning for shapes that only broadcasting makes equal; RuntimeError where nothing does."""
    if input.shape != target.shape:
        warnings.warn(f"Using a target size ({target.shape}) that is different to the input size ({input.shape}). This will likely lead to incorrect "
                      "results due to broadcasting. Please ensure they have the same size.", UserWarning, stacklevel=4)
        broadcast_shapes(input.shape, target.shape)


def _pair(make: Any, **options: Any) -> list:
    return [((make(3, 4), make(3, 4)), {**options, "reduction": r}) for r in ("mean", "sum", "none")]


def _reduced(values: np.ndarray, reduction: str) -> np.ndarray:
    return values.mean() if reduction == "mean" else values.sum() if reduction == "sum" else values


def _reference(terms: Callable) -> Callable:
    def reference(*args: Any, reduction: str = "mean", **options: Any) -> np.ndarray:
        return _reduced(terms(*args, **options), reduction)

    return reference


@composite("mse_loss", namespace="functional", dtypes=FLOATING, samples=_pair, ref=_reference(lambda x, y: (x - y) ** 2))
def mse_loss(input, target, size_average=None, reduce=None, reduction="mean", weight=None):
    """Squared differences. Shapes should be equal (a warning where they only broadcast)."""
    _same("mse_loss", input, target)
    squares = (input - target).square()
    if weight is not None:
        squares = squares * weight
        if reduction == "mean":
            return squares.sum() / weight.expand(squares.shape).sum()
    return reduce_loss(squares, reduction)


@composite("l1_loss", namespace="functional", dtypes=FLOATING, samples=_pair, ref=_reference(lambda x, y: np.abs(x - y)))
def l1_loss(input, target, size_average=None, reduce=None, reduction="mean", weight=None):
    """Absolute differences."""
    _same("l1_loss", input, target)
    terms = (input - target).abs()
    if weight is not None:
        terms = terms * weight
        if reduction == "mean":
            return terms.sum() / weight.expand(terms.shape).sum()
    return reduce_loss(terms, reduction)


@composite("huber_loss", namespace="functional", dtypes=FLOATING, samples=lambda make: _pair(make, delta=0.7),
           ref=_reference(lambda x, y, delta=1.0: np.where(np.abs(x - y) < delta, 0.5 * (x - y) ** 2, delta * (np.abs(x - y) - 0.5 * delta))))
def huber_loss(input, target, reduction="mean", delta=1.0, weight=None):
    """Quadratic below ``delta``, linear above. ValueError for a delta that is not positive."""
    if delta <= 0:
        raise ValueError(f"huber_loss: delta must be greater than 0, got {delta}")
    _same("huber_loss", input, target)
    terms = _huber((input - target).abs(), delta)
    return reduce_loss(terms if weight is None else terms * weight, reduction)


def _huber(size: Tensor, delta: float) -> Tensor:
    """In a function of its own, as below: while the terms are summed nobody holds ``size``, which would be stored."""
    return where(size < delta, 0.5 * size * size, delta * (size - 0.5 * delta))


@composite("smooth_l1_loss", namespace="functional", dtypes=FLOATING, samples=lambda make: _pair(make, beta=0.5),
           ref=_reference(lambda x, y, beta=1.0: np.where(np.abs(x - y) < beta, 0.5 * (x - y) ** 2 / beta, np.abs(x - y) - 0.5 * beta)))
def smooth_l1_loss(input, target, size_average=None, reduce=None, reduction="mean", beta=1.0):
    """Quadratic below ``beta``, linear above, with slope one. ValueError for a negative beta."""
    if beta < 0:
        raise ValueError(f"smooth_l1_loss: beta must not be negative, got {beta}")
    if beta == 0:
        return l1_loss(input, target, reduction=reduction)
    _same("smooth_l1_loss", input, target)
    return reduce_loss(_smooth((input - target).abs(), beta), reduction)


def _smooth(size: Tensor, beta: float) -> Tensor:
    return where(size < beta, 0.5 * size * size / beta, size - 0.5 * beta)


def _equal_shapes(name: str, input: Tensor, target: Tensor) -> None:
    if input.shape != target.shape:
        raise ValueError(f"{name}: Using a target size ({target.shape}) that is different to the input size ({input.shape}) is deprecated. "
                         "Please ensure they have the same size.")


def _probabilities(make: Any) -> list:
    return [((make(3, 4, low=0.1, high=0.9), make(3, 4, low=0.1, high=0.9).detach()), dict(reduction=r)) for r in ("mean", "none")]


@composite("binary_cross_entropy", namespace="functional", dtypes=FLOATING, samples=_probabilities,
           ref=_reference(lambda x, y: -(y * np.log(x) + (1 - y) * np.log(1 - x))))
def binary_cross_entropy(input, target, weight=None, size_average=None, reduce=None, reduction="mean"):
    """Of probabilities in [0, 1]; logarithms are kept above -100 as PyTorch does. Values outside [0, 1] give NaN (PyTorch raises on the CPU)."""
    _equal_shapes("binary_cross_entropy", input, target)
    terms = -(target * input.log().clamp(min=-100) + (1 - target) * (1 - input).log().clamp(min=-100))
    return reduce_loss(terms if weight is None else terms * weight, reduction)


@composite("binary_cross_entropy_with_logits", namespace="functional", dtypes=FLOATING, samples=_pair,
           ref=_reference(lambda x, y: np.maximum(x, 0) - x * y + np.log1p(np.exp(-np.abs(x)))))
def binary_cross_entropy_with_logits(input, target, weight=None, size_average=None, reduce=None, reduction="mean", pos_weight=None):
    """Of scores, stable for large ones; ``pos_weight`` weights the positive targets."""
    if input.shape != target.shape:
        raise ValueError(f"Target size ({target.shape}) must be the same as input size ({input.shape})")
    if pos_weight is None:
        terms = (1 - target) * input - logsigmoid(input)
    else:
        terms = (1 - target) * input - (1 + (pos_weight - 1) * target) * logsigmoid(input)
    return reduce_loss(terms if weight is None else terms * weight, reduction)


@composite("kl_div", namespace="functional", dtypes=FLOATING)
def kl_div(input, target, size_average=None, reduce=None, reduction="mean", log_target=False):
    """Kullback-Leibler divergence of log-probabilities from probabilities; "batchmean" divides by the batch size."""
    terms = target.exp() * (target - input) if log_target else target.xlogy(target) - target * input
    if reduction == "batchmean":
        return terms.sum() / input.shape[0] if input.dim() else terms.sum()
    return reduce_loss(terms, reduction)


@composite("poisson_nll_loss", namespace="functional", dtypes=FLOATING)
def poisson_nll_loss(input, target, log_input=True, full=False, size_average=None, eps=1e-8, reduce=None, reduction="mean"):
    """Negative log likelihood of a Poisson distribution; ``full`` adds Stirling's approximation."""
    terms = input.exp() - target * input if log_input else input - target * (input + eps).log()
    if full:
        stirling = target * target.log() - target + 0.5 * (2 * math.pi * target).log()
        terms = terms + stirling.masked_fill(target <= 1, 0.0)
    return reduce_loss(terms, reduction)


@composite("gaussian_nll_loss", namespace="functional", dtypes=FLOATING)
def gaussian_nll_loss(input, target, var, full=False, eps=1e-6, reduction="mean"):
    """Negative log likelihood of a normal distribution; ``var`` (input's shape, or without its last dim, or 1 there) is kept above ``eps``."""
    if isinstance(var, Tensor) and var.shape != input.shape:
        if input.shape[:-1] == var.shape:
            var = var.unsqueeze(-1)
        elif not (input.shape[:-1] == var.shape[:-1] and var.shape[-1] == 1):
            raise ValueError(f"var is of incorrect size: {var.shape} for input {input.shape}")
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not valid")
    kept = var + (eps - var).clamp(min=0).detach()
    terms = 0.5 * (kept.log() + (input - target) ** 2 / kept)
    return reduce_loss(terms + 0.5 * math.log(2 * math.pi) if full else terms, reduction)


@composite("soft_margin_loss", namespace="functional", dtypes=FLOATING, samples=_pair, ref=_reference(lambda x, y: np.log1p(np.exp(-x * y))))
def soft_margin_loss(input, target, size_average=None, reduce=None, reduction="mean"):
    """log(1 + exp(-target * input)) for targets of 1 and -1."""
    return reduce_loss(-logsigmoid(input * target), reduction)


@composite("multilabel_soft_margin_loss", namespace="functional", dtypes=FLOATING)
def multilabel_soft_margin_loss(input, target, weight=None, size_average=None, reduce=None, reduction="mean"):
    """Binary cross entropy of each label, averaged over the last dim."""
    terms = -(target * logsigmoid(input) + (1 - target) * logsigmoid(-input))
    return reduce_loss((terms if weight is None else terms * weight).mean(-1), reduction)


@composite("hinge_embedding_loss", namespace="functional", dtypes=FLOATING)
def hinge_embedding_loss(input, target, margin=1.0, size_average=None, reduce=None, reduction="mean"):
    """The input where the target is 1, max(0, margin - input) where it is -1."""
    near = where(target == 1, input, 0.0)
    far = where(target == -1, (margin - input).clamp(min=0), 0.0)
    return reduce_loss(near + far, reduction)


@composite("margin_ranking_loss", namespace="functional", dtypes=FLOATING)
def margin_ranking_loss(input1, input2, target, margin=0.0, size_average=None, reduce=None, reduction="mean"):
    """max(0, -target * (input1 - input2) + margin)."""
    if not input1.dim() == input2.dim() == target.dim():
        raise RuntimeError(f"margin_ranking_loss : All input tensors should have same dimension but got sizes: input1: {input1.shape}, "
                           f"input2: {input2.shape}, target: {target.shape} ")
    return reduce_loss((-target * (input1 - input2) + margin).clamp(min=0), reduction)


@composite("cosine_embedding_loss", namespace="functional", dtypes=FLOATING)
def cosine_embedding_loss(input1, input2, target, margin=0.0, size_average=None, reduce=None, reduction="mean"):
    """1 - cosine where the target is 1, max(0, cosine - margin) where it is -1; vectors along the last dim."""
    eps = 1e-12
    cosine = (input1 * input2).sum(-1) / ((input1 * input1).sum(-1) + eps).sqrt() / ((input2 * input2).sum(-1) + eps).sqrt()
    terms = where(target == 1, 1 - cosine, 0.0) + where(target == -1, (cosine - margin).clamp(min=0), 0.0)
    return reduce_loss(terms, reduction)


def _distance(x: Tensor, y: Tensor, p: float, eps: float) -> Tensor:
    return (x - y + eps).norm(p=p, dim=-1)


@composite("triplet_margin_loss", namespace="functional", dtypes=FLOATING)
def triplet_margin_loss(anchor, positive, negative, margin=1.0, p=2, eps=1e-6, swap=False, size_average=None, reduce=None, reduction="mean"):
    """max(0, d(anchor, positive) - d(anchor, negative) + margin). ValueError for a margin that is not positive."""
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    return triplet_margin_with_distance_loss(anchor, positive, negative, distance_function=lambda x, y: _distance(x, y, p, eps), margin=margin,
                                             swap=swap, reduction=reduction)


@composite("triplet_margin_with_distance_loss", namespace="functional", dtypes=FLOATING)
def triplet_margin_with_distance_loss(anchor, positive, negative, *, distance_function=None, margin=1.0, swap=False, reduction="mean"):
    """As triplet_margin_loss, with a distance of your own (default: Euclidean)."""
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    distance = distance_function or (lambda x, y: _distance(x, y, 2.0, 1e-6))
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = far.minimum(distance(positive, negative))
    return reduce_loss((near - far + margin).clamp(min=0), reduction)
