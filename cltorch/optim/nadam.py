"""NAdam. Source: https://docs.pytorch.org/docs/stable/generated/torch.optim.NAdam.html"""
from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..core.tensor import Tensor
from .optimizer import GRADIENT, Optimizer, Rule, check, check_common, decays

_RULE = Rule("exp_avg exp_avg_sq", "sign decay shrink rest1 beta2 rest2 correction eps by_gradient by_average", f"""
    {GRADIENT}
    exp_avg = exp_avg + rest1 * (d - exp_avg)
    exp_avg_sq = beta2 * exp_avg_sq + rest2 * d * d
    spread = sqrt(exp_avg_sq / correction) + eps
    p = shrink * p - by_gradient * (d / spread) - by_average * (exp_avg / spread)""")


class NAdam(Optimizer):
    """Adam with Nesterov's look ahead."""

    def __init__(self, params: Iterable, lr: float | Tensor = 2e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0, momentum_decay: float = 4e-3, decoupled_weight_decay: bool = False, *,
                 foreach: bool | None = None, maximize: bool = False, capturable: bool = False, differentiable: bool = False) -> None:
        check_common(lr, eps, weight_decay, betas)
        check("momentum_decay value", momentum_decay, momentum_decay >= 0.0)
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, momentum_decay=momentum_decay,
                                      decoupled_weight_decay=decoupled_weight_decay, maximize=maximize, foreach=foreach,
                                      capturable=capturable, differentiable=differentiable))

    def _update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        lr, (beta1, beta2) = float(group["lr"]), group["betas"]
        for step, bucket in self._stepped(params, _RULE.state, mu_product=1.0):
            mu, mu_next = (beta1 * (1.0 - 0.5 * 0.96 ** (t * group["momentum_decay"])) for t in (step, step + 1))
            product = self.state[bucket[0]]["mu_product"] * mu
            for p in bucket:
                self.state[p]["mu_product"] = product
            self._apply(_RULE, bucket, (*decays(group, lr), 1 - beta1, beta2, 1 - beta2, 1 - beta2 ** step, group["eps"],
                                        lr * (1 - mu) / (1 - product), lr * mu_next / (1 - product * mu_next)))
