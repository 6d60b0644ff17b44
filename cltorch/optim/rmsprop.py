"""RMSprop. Source: https://docs.pytorch.org/docs/stable/generated/torch.optim.RMSprop.html"""
from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..core.tensor import Tensor
from .optimizer import GRADIENT, Optimizer, Rule, check, check_common, sign_and_decay


def _rule(centered: bool, momentum: bool) -> Rule:
    lines = [GRADIENT, "square_avg = alpha * square_avg + rest * d * d"]
    spread = "square_avg"
    if centered:
        lines.append("grad_avg = grad_avg + rest * (d - grad_avg)")
        spread = "square_avg - grad_avg * grad_avg"
    lines.append(f"change = d / (sqrt({spread}) + eps)")
    if momentum:
        lines.append("momentum_buffer = momentum * momentum_buffer + change")
    lines.append(f"p = p - lr * {'momentum_buffer' if momentum else 'change'}")
    state = ["square_avg"] + ["momentum_buffer"] * momentum + ["grad_avg"] * centered
    return Rule(" ".join(state), "lr sign decay alpha rest eps momentum", "\n".join(lines))


_RULES = {(centered, momentum): _rule(centered, momentum) for centered in (False, True) for momentum in (False, True)}


class RMSprop(Optimizer):
    """Steps by the gradient over its running root mean square (``centered``: standard deviation)."""

    def __init__(self, params: Iterable, lr: float | Tensor = 1e-2, alpha: float = 0.99, eps: float = 1e-8, weight_decay: float = 0,
                 momentum: float = 0, centered: bool = False, capturable: bool = False, foreach: bool | None = None,
                 maximize: bool = False, differentiable: bool = False) -> None:
        check_common(lr, eps, weight_decay)
        check("momentum value", momentum, momentum >= 0.0)
        check("alpha value", alpha, alpha >= 0.0)
        super().__init__(params, dict(lr=lr, momentum=momentum, alpha=alpha, eps=eps, centered=centered, weight_decay=weight_decay,
                                      capturable=capturable, foreach=foreach, maximize=maximize, differentiable=differentiable))

    def _update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        rule = _RULES[bool(group["centered"]), group["momentum"] > 0]
        alpha = group["alpha"]
        for _, bucket in self._stepped(params, rule.state):
            self._apply(rule, bucket, (float(group["lr"]), *sign_and_decay(group), alpha, 1 - alpha, group["eps"], group["momentum"]))
