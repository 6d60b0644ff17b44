"""Gradient nodes for operators whose forward is plain Python over kernels, and the frame of in-place writes that kernels do."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core.autograd import Like, OperatorNode, Saved, edge
from ..core.modes import modes
from ..core.pointwise import adopt, check_inplace
from ..core.tensor import Tensor, alias

RAW = {1: "uchar", 2: "ushort", 4: "uint", 8: "ulong", 16: "ulong2"}


def raw(t: Tensor) -> str:
    """The C type that moves an element of t as bits."""
    return RAW[t.dtype.itemsize]


def taped(name: str, out: Tensor, *inputs: tuple[Any, Callable], **saved: Tensor) -> Tensor:
    """``out`` as the recorded result of ``name``. ``inputs``: (tensor, rule), where a rule takes the gradient, then ``saved`` tensors by name."""
    if not modes.grad:
        return out
    kept = [(t, rule) for t, rule in inputs if isinstance(t, Tensor) and t._rg]
    if kept and (out.dtype.is_floating_point or out.dtype.is_complex):
        targets = [(rule, ("g", *rule.__code__.co_varnames[1:rule.__code__.co_argcount]), None) for _, rule in kept]
        held = {n: Saved(t) for n, t in saved.items()}
        out._fn = OperatorNode(f"{name}Backward0", [edge(t) for t, _ in kept], held, targets, [Like(t) for t, _ in kept])
        out._rg = True
    return out


def overwritten(name: str, target: Tensor, write: Callable[[Tensor], None], *inputs: tuple[Any, Callable], **saved: Tensor) -> Tensor:
    """Runs ``write(target)``, a kernel that changes target's memory, with the checks and the graph of an in-place operator.

    ``inputs`` are as in ``taped`` and include (target, rule) for what target held before.
    """
    check_inplace(target, name)
    result = taped(name, alias(target, target.shape, target._strides, target.offset), *inputs, **saved)
    write(target)
    if result._rg:
        adopt(target, result)
    return target
