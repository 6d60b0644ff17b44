"""Adadelta. Source: https://docs.pytorch.org/docs/stable/generated/torch.optim.Adadelta.html"""
from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..core.tensor import Tensor
from .optimizer import GRADIENT, Optimizer, Rule, check, check_common, sign_and_decay

_RULE = Rule("square_avg acc_delta", "lr sign decay rho rest eps", f"""
    {GRADIENT}
    square_avg = rho * square_avg + rest * d * d
    change = sqrt(acc_delta + eps) / sqrt(square_avg + eps) * d
    acc_delta = rho * acc_delta + rest * change * change
    p = p - lr * change""")


class Adadelta(Optimizer):
    """Steps by the gradient times the ratio of the running root mean squares of steps and gradients."""

    def __init__(self, params: Iterable, lr: float | Tensor = 1.0, rho: float = 0.9, eps: float = 1e-6, weight_decay: float = 0,
                 foreach: bool | None = None, *, capturable: bool = False, maximize: bool = False, differentiable: bool = False) -> None:
        check_common(lr, eps, weight_decay)
        check("rho value", rho, 0.0 <= rho <= 1.0)
        super().__init__(params, dict(lr=lr, rho=rho, eps=eps, weight_decay=weight_decay, maximize=maximize, capturable=capturable,
                                      foreach=foreach, differentiable=differentiable))

    def _update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        rho = group["rho"]
        for _, bucket in self._stepped(params, _RULE.state):
            self._apply(_RULE, bucket, (float(group["lr"]), *sign_and_decay(group), rho, 1 - rho, group["eps"]))
