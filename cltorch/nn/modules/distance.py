"""Distances between pairs of vectors."""
from __future__ import annotations

from ...core.tensor import Tensor
from .. import functional as F
from .module import Module


class CosineSimilarity(Module):
    """Cosine of the angle along ``dim``; norms are at least ``eps``."""

    _function = "cosine_similarity"

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        super().__init__()
        self.dim, self.eps = dim, eps

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return getattr(F, self._function)(x1, x2, self.dim, self.eps)


class PairwiseDistance(Module):
    """``p``-norm of x1 - x2 + eps along the last dimension."""

    _function = "pairwise_distance"

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> None:
        super().__init__()
        self.norm, self.eps, self.keepdim = p, eps, keepdim

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return getattr(F, self._function)(x1, x2, self.norm, self.eps, self.keepdim)
