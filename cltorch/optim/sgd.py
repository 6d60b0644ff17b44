"""Stochastic gradient descent, with momentum. Source: https://docs.pytorch.org/docs/stable/generated/torch.optim.SGD.html"""
from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..core.tensor import Tensor
from .optimizer import GRADIENT, Optimizer, Rule, check, check_common, sign_and_decay, zeros_like

_PLAIN = Rule("", "lr sign decay", f"""
    {GRADIENT}
    p = p - lr * d""")

# keep and take weigh the old buffer and the new gradient: 0 and 1 at a parameter's first step
_MOMENTUM = Rule("momentum_buffer", "lr sign decay keep take momentum nesterov", f"""
    {GRADIENT}
    momentum_buffer = keep * momentum_buffer + take * d
    p = p - lr * (nesterov != 0 ? d + momentum * momentum_buffer : momentum_buffer)""")


class SGD(Optimizer):
    """p -= lr · (g + weight_decay · p), through a momentum buffer where ``momentum`` is not 0."""

    def __init__(self, params: Iterable, lr: float | Tensor = 1e-3, momentum: float = 0, dampening: float = 0,
                 weight_decay: float | Tensor = 0, nesterov: bool = False, *, maximize: bool = False, foreach: bool | None = None,
                 differentiable: bool = False, fused: bool | None = None) -> None:
        check_common(lr, weight_decay=weight_decay)
        check("momentum value", momentum, momentum >= 0.0)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        super().__init__(params, dict(lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay, nesterov=nesterov,
                                      maximize=maximize, foreach=foreach, differentiable=differentiable, fused=fused))

    def _update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        lr, (sign, decay), momentum = float(group["lr"]), sign_and_decay(group), float(group["momentum"])
        buckets: dict[tuple, list[Tensor]] = {}
        for p in params:
            first = momentum != 0 and self.state[p].get("momentum_buffer") is None
            buckets.setdefault((first, p._dev, p.dtype), []).append(p)
        for (first, *_), bucket in buckets.items():
            if momentum == 0:
                self._apply(_PLAIN, bucket, (lr, sign, decay))
                continue
            if first:
                for p in bucket:
                    self.state[p]["momentum_buffer"] = zeros_like(p)
            keep, take = (0.0, 1.0) if first else (momentum, 1.0 - group["dampening"])
            self._apply(_MOMENTUM, bucket, (lr, sign, decay, keep, take, momentum, float(group["nesterov"])))
