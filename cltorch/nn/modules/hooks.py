"""The gates that catch a module's gradients on their way back, for its full backward hooks."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...core.function import Function
from ...core.tensor import Tensor


class _Gate(Function):
    """Identity on tensors; hands their gradients to ``callback``, which may return others in their place."""

    @staticmethod
    def forward(ctx: Any, callback: Callable, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.callback = callback
        return tuple(t.view_as(t) for t in tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
        return None, *ctx.callback(gradients)


def _through_gate(callback: Callable, values: tuple) -> tuple:
    """The values with every tensor that requires a gradient led through one gate; ``callback`` sees None for the others."""
    where = [i for i, v in enumerate(values) if isinstance(v, Tensor) and v.requires_grad]
    if not where:
        return values

    def aligned(gradients: tuple) -> tuple:
        full: list = [None] * len(values)
        for i, g in zip(where, gradients, strict=True):
            full[i] = g
        result = callback(tuple(full))
        return tuple(result[i] for i in where)

    out = list(values)
    for i, t in zip(where, _Gate.apply(aligned, *(values[i] for i in where)), strict=True):
        out[i] = t
    return tuple(out)


def _replaced(name: str, old: tuple, result: Any) -> tuple:
    """The gradients after a hook returned ``result``; RuntimeError where their number changed."""
    if result is None:
        return old
    new = result if isinstance(result, tuple) else (result,)
    if len(new) != len(old):
        raise RuntimeError(f"{name} hook returned {len(new)} gradients where the module has {len(old)}")
    return new


class BackwardGates:
    """Runs a module's full backward hooks: one gate before ``forward`` and one after it.

    The hooks get ``(module, grad_input, grad_output)`` as in PyTorch; where no input requires a gradient they run when the
    output's gradient arrives, with None for every ``grad_input``.
    """

    def __init__(self, module: Any, hooks: list[Callable], pre_hooks: list[Callable]) -> None:
        self.module, self.hooks, self.pre_hooks = module, hooks, pre_hooks
        self.grad_output: tuple | None = None
        self.inputs = 0
        self.gated = False

    def enter(self, args: tuple) -> tuple:
        self.inputs = len(args)
        out = _through_gate(self._input_gradients, args)
        self.gated = out is not args
        return out

    def leave(self, result: Any) -> Any:
        values = result if isinstance(result, tuple) else (result,)
        out = _through_gate(self._output_gradients, values)
        return out if isinstance(result, tuple) else out[0]

    def _output_gradients(self, gradients: tuple) -> tuple:
        for hook in self.pre_hooks:
            gradients = _replaced("backward pre", gradients, hook(self.module, gradients))
        self.grad_output = gradients
        if not self.gated:
            self._run((None,) * self.inputs)
        return gradients

    def _input_gradients(self, gradients: tuple) -> tuple:
        return self._run(gradients)

    def _run(self, grad_input: tuple) -> tuple:
        for hook in self.hooks:
            grad_input = _replaced("backward", grad_input, hook(self.module, grad_input, self.grad_output))
        self.grad_output = None
        return grad_input
