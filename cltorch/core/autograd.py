"""Reverse-mode automatic differentiation: nodes, saved tensors, and an engine that neither recurses nor depends on graph depth.

Source of the behaviour: https://docs.pytorch.org/docs/stable/notes/autograd.html
"""
from __future__ import annotations

import heapq
import itertools
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from ..shape import Size
from .lazy import start
from .modes import modes
from .tensor import TYPE_NAMES, Tensor, alias, fresh

_sequence = itertools.count(1)
_FREED = ("Trying to backward through the graph a second time (or directly access saved tensors after they have already been freed). "
          "Saved intermediate values of the graph are freed when you call .backward() or autograd.grad(). "
          "Specify retain_graph=True if you need to backward through the graph a second time or if you need to access saved "
          "tensors after calling backward.")


class Node:
    """One step of the graph. ``edges``: where each input's gradient goes, as (leaf tensor or Node, output number) or None."""

    __slots__ = ("__weakref__", "edges", "hooks", "label", "outputs", "pre_hooks", "sequence")

    def __init__(self, name: str, edges: Sequence[tuple[Any, int] | None], outputs: int = 1) -> None:
        self.label = name
        self.edges: Sequence[Any] = edges
        self.outputs = outputs
        self.sequence = next(_sequence)
        self.pre_hooks: dict[int, dict[int, Callable]] | None = None  # by output: tensor hooks, in order of registration
        self.hooks: dict[int, Callable] | None = None

    def backward(self, grads: list[Tensor | None]) -> Sequence[Tensor | None]:
        """One gradient (or None) for each edge."""
        raise NotImplementedError(f"{self.label} has no gradient")

    def name(self) -> str:
        """Such as "AddBackward0", as it is printed."""
        return self.label

    def release(self) -> None:
        """Forgets what was saved for backward."""

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:
        return tuple((AccumulateGrad(e[0]), 0) if isinstance(e[0], Tensor) else e if e else (None, 0) for e in self.edges)

    def register_hook(self, hook: Callable) -> RemovableHandle:
        """Calls ``hook(grad_inputs, grad_outputs)`` after this node's gradients were computed; it may return replacements."""
        if self.hooks is None:
            self.hooks = {}
        return RemovableHandle(self.hooks, hook)

    def __repr__(self) -> str:
        return f"<{self.label} object at 0x{id(self):x}>"


class AccumulateGrad:
    """Where a leaf's gradient ends, as ``grad_fn.next_functions`` shows it."""

    def __init__(self, variable: Tensor) -> None:
        self.variable = variable

    def name(self) -> str:
        return "torch::autograd::AccumulateGrad"


class RemovableHandle:
    """Takes a hook out again. Also a context manager."""

    _numbers = itertools.count()

    def __init__(self, hooks: dict[int, Any], hook: Any, *, prepend: bool = False) -> None:
        self.id = next(self._numbers)
        self._hooks = weakref.ref(hooks) if not isinstance(hooks, dict) else (lambda: hooks)
        if prepend:
            rest = dict(hooks)
            hooks.clear()
            hooks[self.id] = hook
            hooks.update(rest)
        else:
            hooks[self.id] = hook

    def remove(self) -> None:
        hooks = self._hooks()
        if hooks is not None:
            hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


def edge(t: Tensor) -> tuple[Any, int] | None:
    """Where t's gradient goes, or None where it needs none."""
    base = t._base
    if base is not None and t._generation != base._generation and t._view is not None:
        t._generation = base._generation
        t._view(t)
    if t._fn is not None:
        return t._fn, t.output_nr
    return (t, 0) if t._rg else None


def needs_grad(values: Sequence[Any]) -> bool:
    """Whether an operator over these operands has to be recorded."""
    return modes.grad and any(isinstance(v, Tensor) and v._rg for v in values)


class Saved:
    """A tensor kept for backward together with the version of its storage. An output is kept without its graph, to avoid a cycle."""

    __slots__ = ("is_output", "number", "tensor", "version")

    def __init__(self, tensor: Tensor, is_output: bool = False, number: int = 0) -> None:
        self.tensor = alias(tensor, tensor.shape, tensor._strides, tensor.offset) if is_output else tensor
        self.version = tensor.storage.version
        self.is_output, self.number = is_output, number

    def get(self, node: Node) -> Tensor:
        t = self.tensor
        if t.storage.version != self.version:
            raise RuntimeError(
                "one of the variables needed for gradient computation has been modified by an inplace operation: "
                f"[torch.{TYPE_NAMES[t.dtype.name]}Tensor {list(t.shape)}], needed by {node.label}, is at version {t.storage.version}; expected "
                f"version {self.version} instead. Hint: write the result to a new tensor, or clone() before the in-place operation.")
        if not self.is_output or not modes.grad:
            return t
        again = alias(t, t.shape, t._strides, t.offset)
        again._fn, again._rg, again.output_nr = node, True, self.number
        return again


def undo_broadcast(g: Tensor, shape: Size) -> Tensor:
    """Sums a gradient over the dimensions that broadcasting added or stretched."""
    if g.shape == shape:
        return g
    lead = len(g.shape) - len(shape)
    stretched = [i + lead for i, n in enumerate(shape) if n == 1 and g.shape[i + lead] != 1]
    if lead or stretched:
        g = g.sum([*range(lead), *stretched], keepdim=bool(stretched))
    return g if g.shape == shape else g.reshape(shape)


def fit(g: Tensor, like: Tensor) -> Tensor:
    """A gradient brought to an operand's shape and dtype."""
    if g.dtype is not like.dtype:
        if g.dtype.is_complex and not like.dtype.is_complex:
            g = g.real
        g = g.to(like.dtype)
    return undo_broadcast(g, like.shape)


class OperatorNode(Node):
    """The node of a declared operator: gradient lambdas by operand, fed by name from what was saved."""

    __slots__ = ("likes", "meta", "saved", "targets")

    def __init__(self, name: str, edges: list, saved: dict[str, Any], targets: list[Any],
                 likes: list[Any], outputs: int = 1, meta: Any = None) -> None:
        Node.__init__(self, name, edges, outputs)
        self.saved: dict[str, Any] | None = saved
        self.targets = targets
        self.likes = likes
        self.meta = meta

    def backward(self, grads: list[Tensor | None]) -> Sequence[Tensor | None]:
        if self.saved is None:
            raise RuntimeError(_FREED)
        named = {}
        for name, value in self.saved.items():
            kind = type(value)
            named[name] = value.get(self) if kind is Saved else [v.get(self) if type(v) is Saved else v for v in value] if kind is list else value
        if self.outputs == 1:
            named["g"] = grads[0]
        else:
            for k, g in enumerate(grads):
                named[f"g{k}"] = g if g is not None else self._zeros(k)
        out: list[Tensor | None] = []
        for rule, names, element in self.targets:
            result = rule(*[named[n] for n in names])
            if element is None:
                out.append(result)
            else:
                out += [result[k] for k in element]
        return [g if g is None or like is None else fit(g, like) for g, like in zip(out, self.likes, strict=True)]

    def _zeros(self, k: int) -> Tensor:
        shape, d, dev = self.meta[k]
        return ZEROS(shape, d, dev)

    def release(self) -> None:
        self.saved = None
        self.likes = []


class Like:
    """Shape and dtype of an operand, without holding its memory."""

    __slots__ = ("dtype", "shape")

    def __init__(self, t: Tensor) -> None:
        self.shape, self.dtype = t.shape, t.dtype


def own(g: Tensor) -> Tensor:
    """The gradient with a storage of its own; shares the immutable value, so nothing is copied unless one side is written."""
    if g.plain and not g.storage.shared:
        return fresh(g.storage.value, g.dtype, g.shape, g._dev)
    return g.detach().clone()


_RETAIN = -1  # the key of a retain_grad hook: it sees the gradient after all other hooks


def _run_hooks(hooks: dict[int, Callable], g: Tensor) -> Tensor:
    for _, hook in sorted(hooks.items(), key=lambda item: item[0] == _RETAIN):
        result = hook(g)
        if result is not None:
            g = result
    return g


class _Engine:
    """One backward pass."""

    def __init__(self, roots: list[tuple[tuple[Any, int], Tensor]], retain: bool, create: bool,
                 wanted: Sequence[tuple[Any, int]] | None) -> None:
        self.retain, self.create = retain, create
        self.wanted = None if wanted is None else set(wanted)
        self.captured: dict[tuple[Any, int], Tensor] = {}
        self.buffers: dict[Node, list[Tensor | None]] = {}
        self.waiting: dict[Node, int] = {}
        self.ready: list[tuple[int, Node]] = []
        self._discover([e[0] for e, _ in roots if isinstance(e[0], Node)])
        self.needed = None if self.wanted is None else self._needed()
        for (target, number), g in roots:
            self._add(target, number, g)
        for node in {e[0] for e, _ in roots if isinstance(e[0], Node)}:
            if not self.waiting[node]:
                heapq.heappush(self.ready, (-node.sequence, node))

    def _discover(self, stack: list[Node]) -> None:
        waiting = self.waiting
        for node in stack:
            waiting.setdefault(node, 0)
        stack = list(waiting)
        while stack:
            for e in stack.pop().edges:
                if e is not None and isinstance(e[0], Node):
                    if e[0] in waiting:
                        waiting[e[0]] += 1
                    else:
                        waiting[e[0]] = 1
                        stack.append(e[0])

    def _needed(self) -> set[Node]:
        """Nodes on a way to a wanted input; a node's edges lead to nodes made before it."""
        found: set[Node] = set()
        assert self.wanted is not None
        for node in sorted(self.waiting, key=lambda n: n.sequence):
            if any(e is not None and (e in self.wanted or e[0] in found) for e in node.edges):
                found.add(node)
        return found

    def run(self) -> None:
        while self.ready:
            node = heapq.heappop(self.ready)[1]
            grads = self.buffers.pop(node, [None] * node.outputs)
            self._visit_outputs(node, grads)
            if self.needed is not None and node not in self.needed:
                results: Sequence[Tensor | None] = [None] * len(node.edges)
            elif all(g is None for g in grads):
                results = [None] * len(node.edges)
            else:
                results = self._call(node, grads)
            for e, g in zip(node.edges, results, strict=True):
                if e is None:
                    continue
                if g is not None:
                    self._add(e[0], e[1], g)
                if isinstance(e[0], Node):
                    self.waiting[e[0]] -= 1
                    if not self.waiting[e[0]]:
                        heapq.heappush(self.ready, (-e[0].sequence, e[0]))

    def _call(self, node: Node, grads: list[Tensor | None]) -> Sequence[Tensor | None]:
        results = node.backward(grads)
        if modes.anomaly:
            _check_nan(node, results)
        if node.hooks:
            for hook in list(node.hooks.values()):
                changed = hook(tuple(results), tuple(grads))
                if changed is not None:
                    results = changed if isinstance(changed, (tuple, list)) else (changed,)
        if not self.retain:
            node.release()
        return results

    def _visit_outputs(self, node: Node, grads: list[Tensor | None]) -> None:
        if node.pre_hooks:
            for number, hooks in node.pre_hooks.items():
                g = grads[number]
                if g is not None:
                    grads[number] = _run_hooks(hooks, g)
        if self.wanted is not None:
            for number, g in enumerate(grads):
                if (node, number) in self.wanted and g is not None:
                    self.captured[node, number] = g

    def _add(self, target: Any, number: int, g: Tensor) -> None:
        if isinstance(target, Node):
            buffer = self.buffers.get(target)
            if buffer is None:
                buffer = self.buffers[target] = [None] * target.outputs
            before = buffer[number]
            buffer[number] = g if before is None else before + g
            return
        if target._hooks:
            g = _run_hooks(target._hooks, g)
        if self.wanted is None:
            accumulate(target, g, self.create)
        elif (target, 0) in self.wanted:
            before = self.captured.get((target, 0))
            self.captured[target, 0] = g if before is None else before + g


def accumulate(leaf: Tensor, g: Tensor, create: bool) -> None:
    """Adds a gradient into ``leaf.grad``."""
    if leaf._grad is None:
        leaf._grad = g if create and g._rg else own(g)
    elif create:
        leaf._grad = leaf._grad + g
    else:
        leaf._grad.add_(g)
    start(leaf._grad.storage.value)


def _check_nan(node: Node, results: Sequence[Tensor | None]) -> None:
    for k, g in enumerate(results):
        if g is not None and bool((g != g).any()):
            raise RuntimeError(f"Function '{node.label}' returned nan values in its {k}th output.")


def _initial(t: Tensor, g: Tensor | None) -> Tensor:
    if g is None:
        if t.numel() != 1:
            raise RuntimeError("grad can be implicitly created only for scalar outputs")
        return ONES(t.shape, t.dtype, t._dev)
    if not isinstance(g, Tensor):
        raise TypeError(f"gradients can be either Tensors or None, but got {type(g).__name__}")
    if g.shape != t.shape:
        raise RuntimeError(f"Mismatch in shape: grad_output[0] has a shape of {g.shape} and output[0] has a shape of {t.shape}.")
    return g


def _roots(tensors: Sequence[Tensor], grads: Sequence[Tensor | None]) -> list[tuple[tuple[Any, int], Tensor]]:
    out = []
    for k, (t, g) in enumerate(zip(tensors, grads, strict=True)):
        e = edge(t)
        if e is None:
            raise RuntimeError(f"element {k} of tensors does not require grad and does not have a grad_fn")
        out.append((e, _initial(t, g)))
    return out


def _listed(value: Any, count: int | None = None) -> list[Any]:
    if value is None:
        return [None] * (count or 0)
    return [value] if isinstance(value, Tensor) else list(value)


def backward(tensors: Any, grad_tensors: Any = None, retain_graph: bool | None = None, create_graph: bool = False,
             inputs: Any = None) -> None:
    """Adds the gradients of the sum of ``tensors`` to the leaves' ``.grad`` (only to ``inputs`` where given).

    Raises RuntimeError for a tensor without a graph, for a missing gradient of a non-scalar, and for a graph already freed.
    """
    roots = _listed(tensors)
    pairs = _roots(roots, _listed(grad_tensors, len(roots)))
    retain = create_graph if retain_graph is None else retain_graph
    targets = None if inputs is None else [_wanted(t) for t in _listed(inputs)]
    before = modes.grad
    modes.grad = create_graph
    try:
        engine = _Engine(pairs, retain, create_graph, targets)
        engine.run()
        if targets is not None:
            for t, target in zip(_listed(inputs), targets, strict=True):
                if target in engine.captured:
                    accumulate(t, engine.captured[target], create_graph)
    finally:
        modes.grad = before


def _wanted(t: Tensor) -> tuple[Any, int]:
    e = edge(t)
    if e is None:
        raise RuntimeError("One of the differentiated Tensors does not require grad")
    return e


def grad(outputs: Any, inputs: Any, grad_outputs: Any = None, retain_graph: bool | None = None, create_graph: bool = False,
         allow_unused: bool | None = None, is_grads_batched: bool = False, materialize_grads: bool = False) -> tuple[Tensor | None, ...]:
    """The gradients of the sum of ``outputs`` with respect to ``inputs``, without touching ``.grad``.

    Raises RuntimeError where an input is unused and ``allow_unused`` is false. ``is_grads_batched`` is not offered.
    """
    if is_grads_batched:
        raise NotImplementedError("grad: is_grads_batched needs vmap, which cltorch does not have; loop over the gradients")
    roots, listed = _listed(outputs), _listed(inputs)
    pairs = _roots(roots, _listed(grad_outputs, len(roots)))
    wanted = [_wanted(t) for t in listed]
    before = modes.grad
    modes.grad = create_graph
    try:
        engine = _Engine(pairs, create_graph if retain_graph is None else retain_graph, create_graph, wanted)
        engine.run()
    finally:
        modes.grad = before
    results = [engine.captured.get(w) for w in wanted]
    for k, (t, g) in enumerate(zip(listed, results, strict=True)):
        if g is None and materialize_grads:
            results[k] = ZEROS(t.shape, t.dtype, t._dev)
        elif g is None and not allow_unused:
            raise RuntimeError("One of the differentiated Tensors appears to not have been used in the graph. "
                               "Set allow_unused=True if this is the desired behavior.")
    return tuple(results)


def register_hook(t: Tensor, hook: Callable) -> RemovableHandle:
    """Calls ``hook(grad)`` when t's gradient is known; a returned tensor replaces it."""
    if not t._rg:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    if t._fn is None:
        if t._hooks is None:
            t._hooks = {}
        return RemovableHandle(t._hooks, hook)
    node = t._fn
    if node.pre_hooks is None:
        node.pre_hooks = {}
    return RemovableHandle(node.pre_hooks.setdefault(t.output_nr, {}), hook)


def retain_grad(t: Tensor) -> None:
    """Keeps ``.grad`` of a non-leaf tensor as well."""
    if not t._rg:
        raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
    if t._fn is None or t._retains:
        return
    t._retains = True
    reference = weakref.ref(t)

    def keep(g: Tensor) -> None:
        kept = reference()
        if kept is not None:
            accumulate(kept, g, modes.grad)

    node = t._fn
    if node.pre_hooks is None:
        node.pre_hooks = {}
    node.pre_hooks.setdefault(t.output_nr, {})[_RETAIN] = keep


class set_detect_anomaly:  # noqa: N801 - PyTorch's name
    """Checks every gradient for NaN and names the operator that made it. Function and context manager."""

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self._before = modes.anomaly
        modes.anomaly = mode and check_nan

    def __enter__(self) -> None:
        return None

    def __exit__(self, *exc: object) -> None:
        modes.anomaly = self._before


class detect_anomaly(set_detect_anomaly):  # noqa: N801 - PyTorch's name
    """Context manager form of ``set_detect_anomaly(True)``."""

    def __init__(self, check_nan: bool = True) -> None:
        super().__init__(True, check_nan)


def _unset(*_: Any) -> Tensor:
    raise RuntimeError("cltorch.ops was not imported")


ZEROS: Callable[..., Tensor] = _unset
ONES: Callable[..., Tensor] = _unset


def set_fills(zeros: Callable[..., Tensor], ones: Callable[..., Tensor]) -> None:
    """The pointwise layer gives the engine its constants (f(shape, dtype, device))."""
    global ZEROS, ONES
    ZEROS, ONES = zeros, ones


def _attach() -> None:
    def method(self: Tensor, gradient: Tensor | None = None, retain_graph: bool | None = None, create_graph: bool = False,
               inputs: Any = None) -> None:
        """Adds the gradients of this tensor to the leaves' ``.grad``; ``gradient`` weights it where it is not a scalar."""
        backward(self, gradient, retain_graph, create_graph, inputs)

    for name, attached in (("backward", method), ("register_hook", register_hook), ("retain_grad", retain_grad)):
        setattr(Tensor, name, attached)


_attach()
