"""RAdam. Source: https://docs.pytorch.org/docs/stable/generated/torch.optim.RAdam.html"""
from __future__ import annotations

from collections.abc import Iterable
from math import sqrt
from typing import Any

from ..core.tensor import Tensor
from .optimizer import GRADIENT, Optimizer, Rule, check_common, decays

_RULE = Rule("exp_avg exp_avg_sq", "sign decay shrink rest1 beta2 rest2 step_size adaptive eps", f"""
    {GRADIENT}
    exp_avg = exp_avg + rest1 * (d - exp_avg)
    exp_avg_sq = beta2 * exp_avg_sq + rest2 * d * d
    p = shrink * p - step_size * exp_avg * (adaptive != 0 ? adaptive / (sqrt(exp_avg_sq) + eps) : 1.0)""")


class RAdam(Optimizer):
    """Adam that adapts only once the variance of its step length is tractable, and then with a correction."""

    def __init__(self, params: Iterable, lr: float | Tensor = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0, decoupled_weight_decay: bool = False, *, foreach: bool | None = None, maximize: bool = False,
                 capturable: bool = False, differentiable: bool = False) -> None:
        check_common(lr, eps, weight_decay, betas)
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, maximize=maximize, foreach=foreach,
                                      capturable=capturable, decoupled_weight_decay=decoupled_weight_decay,
                                      differentiable=differentiable))

    def _update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        lr, (beta1, beta2) = float(group["lr"]), group["betas"]
        for step, bucket in self._stepped(params, _RULE.state):
            self._apply(_RULE, bucket, (*decays(group, lr), 1 - beta1, beta2, 1 - beta2, lr / (1 - beta1 ** step),
                                        _adaptive(beta2, step), group["eps"]))


def _adaptive(beta2: float, step: float) -> float:
    """The factor of the adaptive step: rectification times bias correction, or 0 while the variance isn't tractable."""
    limit = 2 / (1 - beta2) - 1
    correction = 1 - beta2 ** step
    length = limit - 2 * step * beta2 ** step / correction
    if length <= 5.0:
        return 0.0
    return sqrt((length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length)) * sqrt(correction)
