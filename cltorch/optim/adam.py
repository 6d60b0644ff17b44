"""Adam and AdamW. Source: https://docs.pytorch.org/docs/stable/generated/torch.optim.Adam.html"""
from __future__ import annotations

from collections.abc import Iterable
from math import sqrt
from typing import Any

from ..core.tensor import Tensor
from .optimizer import GRADIENT, Optimizer, Rule, check_common, decays

_SCALARS = "sign decay shrink rest1 beta2 rest2 step_size correction eps"
_MOMENTS = f"""
    {GRADIENT}
    exp_avg = exp_avg + rest1 * (d - exp_avg)
    exp_avg_sq = beta2 * exp_avg_sq + rest2 * d * d"""

_ADAM = Rule("exp_avg exp_avg_sq", _SCALARS, _MOMENTS + """
    p = shrink * p - step_size * (exp_avg / (sqrt(exp_avg_sq) / correction + eps))""")

_AMSGRAD = Rule("exp_avg exp_avg_sq max_exp_avg_sq", _SCALARS, _MOMENTS + """
    max_exp_avg_sq = max(max_exp_avg_sq, exp_avg_sq)
    p = shrink * p - step_size * (exp_avg / (sqrt(max_exp_avg_sq) / correction + eps))""")


class Adam(Optimizer):
    """Steps by the mean gradient over the root mean squared gradient; ``amsgrad`` divides by the largest seen."""

    def __init__(self, params: Iterable, lr: float | Tensor = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0, amsgrad: bool = False, *, foreach: bool | None = None, maximize: bool = False,
                 capturable: bool = False, differentiable: bool = False, fused: bool | None = None,
                 decoupled_weight_decay: bool = False) -> None:
        check_common(lr, eps, weight_decay, betas)
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad, maximize=maximize,
                                      foreach=foreach, capturable=capturable, differentiable=differentiable, fused=fused,
                                      decoupled_weight_decay=decoupled_weight_decay))

    def _update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        lr, (beta1, beta2) = float(group["lr"]), map(float, group["betas"])
        rule = _AMSGRAD if group["amsgrad"] else _ADAM
        for step, bucket in self._stepped(params, rule.state):
            self._apply(rule, bucket, (*decays(group, lr), 1 - beta1, beta2, 1 - beta2, lr / (1 - beta1 ** step),
                                       sqrt(1 - beta2 ** step), group["eps"]))



class AdamW(Adam):
    """Adam whose weight decay shrinks the parameters instead of adding to the gradient."""

    def __init__(self, params: Iterable, lr: float | Tensor = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 1e-2, amsgrad: bool = False, *, maximize: bool = False, foreach: bool | None = None,
                 capturable: bool = False, differentiable: bool = False, fused: bool | None = None) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, foreach=foreach, maximize=maximize, capturable=capturable,
                         differentiable=differentiable, fused=fused, decoupled_weight_decay=True)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group["decoupled_weight_decay"] = True
