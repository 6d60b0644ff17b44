"""Limiting gradients by their common norm or by value. Norms and clipping touch many gradients in one launch, and the host reads nothing."""
from __future__ import annotations

import warnings
from collections.abc import Iterable

from ...core.data import tensor
from ...core.modes import no_grad
from ...core.tensor import Tensor
from ...ops import multi_tensor


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    listed = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    return [p.grad.detach() for p in listed if p.grad is not None]


@no_grad()
def get_total_norm(tensors: Tensor | Iterable[Tensor], norm_type: float = 2.0, error_if_nonfinite: bool = False,
                   foreach: bool | None = None) -> Tensor:
    """The norm of all elements of all tensors, a 0-d tensor (float32 for halves). RuntimeError where it is not finite, if asked to."""
    listed = [t.detach() for t in ([tensors] if isinstance(tensors, Tensor) else tensors)]
    if not any(t.numel() for t in listed):
        return tensor(0.0)
    total = multi_tensor.norm(listed, norm_type)
    if error_if_nonfinite and not bool(total.isfinite()):
        raise RuntimeError(f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, so it cannot be clipped. "
                           "To disable this error and scale the gradients by the non-finite norm anyway, set `error_if_nonfinite=False`")
    return total


@no_grad()
def clip_grads_with_norm_(parameters: Tensor | Iterable[Tensor], max_norm: float, total_norm: Tensor, foreach: bool | None = None) -> None:
    """Multiplies all gradients by ``max_norm / total_norm`` where that is less than 1."""
    gradients = _gradients(parameters)
    if gradients:
        multi_tensor.scale_(gradients, (float(max_norm) / (total_norm + 1e-6)).clamp(max=1.0))


def clip_grad_norm_(parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False,
                    foreach: bool | None = None) -> Tensor:
    """Scales all gradients together so that their norm is at most ``max_norm``; returns the norm they had."""
    listed = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    if not listed:
        warnings.warn("`parameters` is an empty generator, no gradient clipping will occur.", stacklevel=2)
    total = get_total_norm(_gradients(listed), norm_type, error_if_nonfinite)
    clip_grads_with_norm_(listed, max_norm, total)
    return total


def clip_grad_norm(parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0) -> Tensor:
    """The old name of clip_grad_norm_."""
    warnings.warn("clip_grad_norm is deprecated in favor of clip_grad_norm_", FutureWarning, stacklevel=2)
    return clip_grad_norm_(parameters, max_norm, norm_type)


@no_grad()
def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None) -> None:
    """Clamps every gradient element to [-clip_value, clip_value]: one launch for many gradients."""
    multi_tensor.clamp_(_gradients(parameters), float(clip_value))
