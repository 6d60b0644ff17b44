"""Adamax. Source: https://docs.pytorch.org/docs/stable/generated/torch.optim.Adamax.html"""
from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..core.tensor import Tensor
from .optimizer import GRADIENT, Optimizer, Rule, check_common, sign_and_decay

_RULE = Rule("exp_avg exp_inf", "sign decay rest1 beta2 step_size eps", f"""
    {GRADIENT}
    exp_avg = exp_avg + rest1 * (d - exp_avg)
    exp_inf = max(beta2 * exp_inf, abs(d) + eps)
    p = p - step_size * (exp_avg / exp_inf)""")


class Adamax(Optimizer):
    """Adam with the running maximum of the gradient's size in place of its root mean square."""

    def __init__(self, params: Iterable, lr: float | Tensor = 2e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0, foreach: bool | None = None, *, maximize: bool = False, differentiable: bool = False,
                 capturable: bool = False) -> None:
        check_common(lr, eps, weight_decay, betas)
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, foreach=foreach, maximize=maximize,
                                      differentiable=differentiable, capturable=capturable))

    def _update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        beta1, beta2 = group["betas"]
        for step, bucket in self._stepped(params, _RULE.state):
            step_size = float(group["lr"]) / (1 - beta1 ** step)
            self._apply(_RULE, bucket, (*sign_and_decay(group), 1 - beta1, beta2, step_size, group["eps"]))
