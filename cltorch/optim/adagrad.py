"""Adagrad. Source: https://docs.pytorch.org/docs/stable/generated/torch.optim.Adagrad.html"""
from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..core.tensor import Tensor
from .optimizer import GRADIENT, Optimizer, Rule, check, check_common, sign_and_decay, zeros_like

_RULE = Rule("sum", "lr sign decay eps", f"""
    {GRADIENT}
    sum = sum + d * d
    p = p - lr * (d / (sqrt(sum) + eps))""")


class Adagrad(Optimizer):
    """Steps by the gradient over the root of the sum of its squares so far."""

    def __init__(self, params: Iterable, lr: float | Tensor = 1e-2, lr_decay: float = 0, weight_decay: float = 0,
                 initial_accumulator_value: float = 0, eps: float = 1e-10, foreach: bool | None = None, *, maximize: bool = False,
                 differentiable: bool = False, fused: bool | None = None) -> None:
        check_common(lr, eps, weight_decay)
        check("lr_decay value", lr_decay, lr_decay >= 0.0)
        check("initial_accumulator_value value", initial_accumulator_value, initial_accumulator_value >= 0.0)
        super().__init__(params, dict(lr=lr, lr_decay=lr_decay, eps=eps, weight_decay=weight_decay,
                                      initial_accumulator_value=initial_accumulator_value, foreach=foreach, maximize=maximize,
                                      differentiable=differentiable, fused=fused))
        for group in self.param_groups:
            for p in group["params"]:
                value = group["initial_accumulator_value"]
                self.state[p] = {"step": 0, "sum": zeros_like(p).fill_(complex(value, value) if p.is_complex() else value)}

    def _update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        for step, bucket in self._stepped(params, _RULE.state):
            lr = float(group["lr"]) / (1 + (step - 1) * group["lr_decay"])
            self._apply(_RULE, bucket, (lr, *sign_and_decay(group), group["eps"]))
