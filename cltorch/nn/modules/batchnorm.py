"""Normalisation with running statistics: batch and instance normalisation."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...core.tensor import Tensor
from ...dtype import int64
from ...ops.creation import empty, full, ones, zeros
from .. import functional as F
from .. import init
from ..parameter import Parameter
from .module import Module


class _NormBase(Module):
    """Affine parameters and running statistics per channel."""

    _version = 2  # 2: num_batches_tracked is saved
    _ranks: Sequence[int] = ()

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
                 track_running_stats: bool = True, device: Any = None, dtype: Any = None, *, bias: bool = True) -> None:
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        options = dict(device=device, dtype=dtype)
        self.register_parameter("weight", Parameter(empty(num_features, **options)) if affine else None)
        self.register_parameter("bias", Parameter(empty(num_features, **options)) if affine and bias else None)
        tracked = track_running_stats
        self.register_buffer("running_mean", zeros(num_features, **options) if tracked else None)
        self.register_buffer("running_var", ones(num_features, **options) if tracked else None)
        self.register_buffer("num_batches_tracked", full((), 0, dtype=int64, device=device) if tracked else None)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Mean 0, variance 1, no batches seen."""
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0, fresh statistics."""
        self.reset_running_stats()
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() not in self._ranks:
            allowed = " or ".join(f"{rank}D" for rank in self._ranks)
            raise ValueError(f"expected {allowed} input (got {input.dim()}D input)")

    def extra_repr(self) -> str:
        return (f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, bias={self.bias is not None}, "
                f"track_running_stats={self.track_running_stats}")

    def _load_from_state_dict(self, state_dict: dict, prefix: str, local_metadata: dict, *rest: Any) -> None:
        """Version 1 had no ``num_batches_tracked``: the module's own count stands in for it."""
        key = prefix + "num_batches_tracked"
        if local_metadata.get("version", 1) < 2 and self.track_running_stats and key not in state_dict:
            state_dict[key] = self.num_batches_tracked
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)


class _BatchNorm(_NormBase):
    """Per-channel normalisation by batch statistics (training) or running ones (evaluation)."""

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        factor = self._update_count()
        by_batch = self.training or self.running_mean is None
        keep = not self.training or self.track_running_stats
        return F.batch_norm(input, self.running_mean if keep else None, self.running_var if keep else None,
                            self.weight, self.bias, by_batch, factor, self.eps)

    def _update_count(self) -> float:
        """Counts a training batch; returns the weight of its statistics (without ``momentum`` that of a cumulative average)."""
        counting = self.training and self.track_running_stats and self.num_batches_tracked is not None
        if counting:
            self.num_batches_tracked.add_(1)
        if self.momentum is not None:
            return self.momentum
        return 1.0 / float(self.num_batches_tracked) if counting else 0.0


class BatchNorm1d(_BatchNorm):
    """Shape: (N, C) or (N, C, L) → the same."""

    _ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Shape: (N, C, H, W) → the same."""

    _ranks = (4,)


class BatchNorm3d(_BatchNorm):
    """Shape: (N, C, D, H, W) → the same."""

    _ranks = (5,)


class _InstanceNorm(_NormBase):
    """Normalisation of every sample's every channel by itself, or by running statistics in evaluation."""

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = False,
                 track_running_stats: bool = False, device: Any = None, dtype: Any = None, *, bias: bool = True) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        channels = -self._ranks[0]
        if input.shape[channels] != self.num_features and self.affine:
            raise ValueError(f"expected input's size at dim={input.dim() + channels} to match num_features "
                             f"({self.num_features}), but got: {input.shape[channels]}.")
        batched = input if input.dim() == self._ranks[1] else input.unsqueeze(0)
        out = F.instance_norm(batched, self.running_mean, self.running_var, self.weight, self.bias,
                              self.training or not self.track_running_stats, 0.0 if self.momentum is None else self.momentum, self.eps)
        return out if batched is input else out.squeeze(0)


class InstanceNorm1d(_InstanceNorm):
    """Shape: (N, C, L) or (C, L) → the same."""

    _ranks = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """Shape: (N, C, H, W) or (C, H, W) → the same."""

    _ranks = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    """Shape: (N, C, D, H, W) or (C, D, H, W) → the same."""

    _ranks = (4, 5)
