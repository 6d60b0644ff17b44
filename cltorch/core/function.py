"""``autograd.Function``: operators with a hand-written gradient. Source: https://docs.pytorch.org/docs/stable/autograd.html#function"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import autograd
from .autograd import Node, Saved, edge, needs_grad
from .modes import modes
from .tensor import Tensor, alias


class Context:
    """What ``forward`` leaves for ``backward``: saved tensors and any attribute."""

    def __init__(self, needs_input_grad: tuple[bool, ...]) -> None:
        self.needs_input_grad = needs_input_grad
        self._to_save: tuple = ()
        self._saved: tuple | None = None
        self._node: Node | None = None
        self._not_differentiable: tuple = ()
        self._dirty: tuple = ()
        self._materialize = True

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keeps inputs or outputs for ``backward``; they are checked for later in-place changes."""
        self._to_save = tensors

    @property
    def saved_tensors(self) -> tuple[Tensor | None, ...]:
        if self._saved is None:
            raise RuntimeError(autograd._FREED)
        assert self._node is not None
        return tuple(s.get(self._node) if s is not None else None for s in self._saved)

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        self._not_differentiable = tensors

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Names inputs that ``forward`` changed in place and returns."""
        self._dirty = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Whether missing output gradients reach ``backward`` as zeros (the default) or as None."""
        self._materialize = value


class FunctionNode(Node):
    """The graph node of one application of a Function."""

    __slots__ = ("ctx", "function", "kept", "meta", "positions")

    def __init__(self, function: Any, ctx: Context, edges: list, positions: list[int], outputs: int) -> None:
        super().__init__(f"{function.__name__}Backward", edges, outputs)
        self.function, self.ctx, self.positions = function, ctx, positions
        self.meta: list[Any] = []

    def backward(self, grads: list[Tensor | None]) -> Sequence[Tensor | None]:
        if self.ctx._materialize:
            grads = [autograd.ZEROS(*m) if g is None else g for g, m in zip(grads, self.meta, strict=True)]
        results = self.function.backward(self.ctx, *grads)
        results = results if isinstance(results, tuple) else (results,)
        expected = len(self.ctx.needs_input_grad)
        if len(results) < expected or any(r is not None for r in results[expected:]):
            raise RuntimeError(f"function {self.label} returned an incorrect number of gradients (expected {expected}, got {len(results)})")
        return [results[k] for k in self.positions]

    def release(self) -> None:
        self.ctx._saved = None


class Function:
    """Base class: override static ``forward(ctx, ...)`` and ``backward(ctx, *grads)``, then call ``MyFunction.apply(...)``.

    ``forward(...)`` with a separate ``setup_context(ctx, inputs, output)`` works as well.
    """

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def backward(ctx: Context, *grads: Any) -> Any:
        raise NotImplementedError("You must implement the backward function for your custom autograd.Function.")

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Runs ``forward`` without recording and puts one node of this class into the graph."""
        needs = tuple(isinstance(a, Tensor) and a._rg for a in args)
        ctx = Context(needs)
        separate = "setup_context" in {name for c in cls.__mro__[:-2] for name in vars(c)}
        record = needs_grad(args)
        edges = [edge(a) for a in args if isinstance(a, Tensor)] if record else []
        before = modes.grad
        modes.grad = False
        try:
            result = cls.forward(*args) if separate else cls.forward(ctx, *args)
            if separate:
                getattr(cls, "setup_context")(ctx, args, result)  # noqa: B009 - subclasses may define it
        finally:
            modes.grad = before
        return cls._record(ctx, args, edges, result) if record else result

    @classmethod
    def _record(cls, ctx: Context, args: tuple, edges: list, result: Any) -> Any:
        outputs = list(result) if isinstance(result, tuple) else [result]
        positions = [k for k, a in enumerate(args) if isinstance(a, Tensor)]
        node = FunctionNode(cls, ctx, edges, positions, len(outputs))
        inputs = {id(a) for a in args if isinstance(a, Tensor)}
        dirty = {id(t) for t in ctx._dirty}
        saved_outputs = {}
        for k, out in enumerate(outputs):
            if not isinstance(out, Tensor):
                node.meta.append(((), None, None))
                continue
            if id(out) in inputs and id(out) not in dirty:
                outputs[k] = alias(out, out.shape, out._strides, out.offset)
            saved_outputs[id(out)] = k
            out = outputs[k]
            node.meta.append((out.shape, out.dtype, out._dev))
            if id(out) not in {id(t) for t in ctx._not_differentiable} and (out.dtype.is_floating_point or out.dtype.is_complex):
                out._fn, out._rg, out.output_nr = node, True, k
        ctx._node = node
        ctx._saved = tuple(None if t is None else Saved(t, True, saved_outputs[id(t)]) if id(t) in saved_outputs and id(t) not in inputs else Saved(t)
                           for t in ctx._to_save)
        return tuple(outputs) if isinstance(result, tuple) else outputs[0]


def once_differentiable(backward: Any) -> Any:
    """Decorator for ``backward``: its gradients are constants, so differentiating twice raises no error but gives no gradient."""
    def wrapped(ctx: Context, *grads: Any) -> Any:
        before = modes.grad
        modes.grad = False
        try:
            return backward(ctx, *grads)
        finally:
            modes.grad = before

    return wrapped
