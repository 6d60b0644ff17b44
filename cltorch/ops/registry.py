"""The table of operators: one declaration gives the function, the method, the in-place form, ``out=``, the Python operator, and the tests.

Forms: ``pointwise`` (a C expression), ``view`` (a geometry), ``kernel_op`` (a forward function over kernels), ``composite`` (Python over other
operators); ``reduction`` is built on ``kernel_op`` in reduction_form.py. ``functions(namespace)`` feeds the public modules.
"""
from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..codegen.expression import check as check_expression
from ..core.autograd import Like, OperatorNode, Saved, edge
from ..core.modes import modes
from ..core.pointwise import BOOLEAN, FLOAT, PROMOTE, REAL, SAME, Pointwise, argument_names, assign, inplace
from ..core.tensor import TYPE_NAMES, Tensor, empty
from ..core.view import view_of
from ..dtype import ALL, BOOL, COMPLEX, FLOATING, INTEGRAL, NUMERIC, dtype

INDEX, ACCUMULATE = "index", "accumulate"
NUMBER_TYPES = (int, float, bool, complex, np.generic)


@dataclass
class Operator:
    """One row of the table."""

    name: str
    form: str
    function: Callable
    dtypes: frozenset[dtype] = ALL
    rule: str | None = None
    gradient: dict[str, Callable] | None = None
    ref: Callable | None = None
    domain: Any = (-2, 2)
    samples: Callable | None = None
    namespaces: tuple[str, ...] = ("torch",)
    aliases: tuple[str, ...] = ()
    method: bool = True
    inplace: Callable | None = None
    dunders: dict[str, str] = field(default_factory=dict)
    engine: Any = None

    @property
    def differentiable(self) -> bool:
        return bool(self.gradient)

    def __repr__(self) -> str:
        return self.name


_table: dict[tuple[str, str], Operator] = {}


def table() -> list[Operator]:
    """Every declared operator, in order of declaration."""
    return list(_table.values())


def find(name: str, namespace: str = "torch") -> Operator:
    """An operator by name. Raises KeyError where there is none."""
    for op in _table.values():
        if name in (op.name, *op.aliases) and namespace in op.namespaces:
            return op
    raise KeyError(f"no operator {name!r} in namespace {namespace!r}")


def functions(namespace: str) -> dict[str, Callable]:
    """The public functions of a namespace, by name: "torch", "functional", "linalg", "special", "fft"."""
    out: dict[str, Callable] = {}
    for op in _table.values():
        if namespace in op.namespaces:
            for name in (op.name, *op.aliases):
                out[name] = op.function
                if op.inplace is not None and namespace in ("torch", "functional"):
                    out[f"{name}_"] = op.inplace
    return out


def _register(op: Operator) -> Operator:
    key = (op.namespaces[0], op.name)
    if key in _table:
        raise TypeError(f"operator {op.name!r} is declared twice in namespace {op.namespaces[0]!r}")
    _table[key] = op
    if op.method:
        for name in (op.name, *op.aliases):
            setattr(Tensor, name, op.function)
            if op.inplace is not None:
                setattr(Tensor, f"{name}_", op.inplace)
    for dunder, order in op.dunders.items():
        setattr(Tensor, dunder, _dunder(op, dunder, order))
    return op


def _dunder(op: Operator, name: str, order: str) -> Callable:
    """A Python operator's method; NotImplemented for operands that are neither tensors nor numbers."""
    function = op.function
    allowed = (Tensor, *NUMBER_TYPES)
    if order == "inplace":
        function = op.inplace or function
    if order == "yx":
        def method(self: Tensor, other: Any) -> Any:
            return function(other, self) if isinstance(other, allowed) else NotImplemented
    elif order == "x":
        def method(self: Tensor) -> Any:  # type: ignore[misc]
            return function(self)
    else:
        def method(self: Tensor, other: Any) -> Any:
            return function(self, other) if isinstance(other, allowed) else NotImplemented
    method.__name__ = method.__qualname__ = name
    return method


@functools.cache
def _parameters(text: str) -> inspect.Signature:
    """The signature that ``(x, beta=1.0)`` means. Many operators share theirs, and compiling is most of what importing costs."""
    scope: dict[str, Any] = {"inf": float("inf"), "nan": float("nan")}
    exec(f"def declared{text}: pass", scope)
    return inspect.signature(scope["declared"])


def _parse(signature: str) -> tuple[str, inspect.Signature]:
    """Name and parameters of ``"softplus(x, beta=1.0)"``."""
    bracket = signature.index("(")
    return signature[:bracket].strip(), _parameters(signature[bracket:])


@functools.cache
def _code(text: str) -> Any:
    return compile(text, "<operator>", "exec")


def _compile(name: str, signature: inspect.Signature, body: str, scope: dict[str, Any], doc: str, extra: str = "") -> Callable:
    """A function with exactly this signature, so that a call costs no argument packing. ``extra``: keyword-only parameters to add."""
    parts, star = [], False
    for p in signature.parameters.values():
        if p.kind is p.VAR_POSITIONAL:
            star = True
            parts.append(f"*{p.name}")
            continue
        if p.kind is p.KEYWORD_ONLY and not star:
            parts.append("*")
            star = True
        if p.default is p.empty:
            parts.append(p.name)
        else:
            scope[f"_default_{p.name}"] = p.default
            parts.append(f"{p.name}=_default_{p.name}")
    if extra:
        parts += [extra] if star else ["*", extra]
    exec(_code(f"def declared({', '.join(parts)}):\n{body}"), scope)
    function = scope.pop("declared")
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    function.__module__ = "cltorch"
    return function


def write_out(result: Any, out: Any) -> Any:
    """Puts a result into ``out=`` tensors, resizing them where PyTorch does. RuntimeError for a type that can't hold it."""
    if isinstance(result, tuple):
        return type(result)(*[write_out(r, o) for r, o in zip(result, out, strict=True)]) if hasattr(result, "_fields") \
            else tuple(write_out(r, o) for r, o in zip(result, out, strict=True))
    if not isinstance(out, Tensor):
        raise TypeError(f"argument 'out' must be Tensor, not {type(out).__name__}")
    if result.dtype.category > out.dtype.category:
        raise RuntimeError(f"result type {TYPE_NAMES[result.dtype.name]} can't be cast to the desired output type {TYPE_NAMES[out.dtype.name]}")
    if result._dev is not out._dev:
        raise RuntimeError(f"Expected out tensor to be on {result.device}, but it is on {out.device}")
    if modes.grad and (out._rg or result._rg):
        raise RuntimeError("functions with out=... arguments don't support automatic differentiation, but one of the arguments requires grad.")
    if out.shape != result.shape:
        out.data = empty(result.shape, out.dtype, out._dev)
    assign(out, result)
    return out


def _doc(signature: str, form: str, doc: str | None) -> str:
    return f"{signature}\n\n{doc or f'As PyTorch ({form}); https://docs.pytorch.org/docs/stable/torch.html.'}"


def pointwise(signature: str, *, dtypes: Iterable[dtype], cl: str | dict[str, str], out: str = SAME, grad: dict[str, Callable] | None = None,
              ref: Callable | None = None, domain: Any = (-2, 2), operands: Sequence[str] | None = None, method: bool = True,
              inplace: bool | str = True, namespace: str = "torch", aliases: Sequence[str] = (), dunders: dict[str, str] | None = None,
              refuse: dict[str, str] | None = None, check: Callable | None = None, doc: str | None = None) -> Callable:
    """Declares a pointwise operator; returns its function. Parameters without a default are operands, the others call-time scalars.

    ``refuse``: sentences of the RuntimeError for kinds of type ("bool", "int", "float", "complex") that are not declared.
    ``check(*operands)``: may raise; called where the operands are not all tensors of one type and shape.
    ``inplace="flag"`` adds an ``inplace=False`` argument to the function too, as those of nn.functional have.
    """
    name, parsed = _parse(signature)
    names = tuple(parsed.parameters)
    listed = tuple(operands) if operands is not None else tuple(n for n, p in parsed.parameters.items() if p.default is p.empty)
    scalars = tuple(n for n in names if n not in listed)
    expressions = {"float": cl} if isinstance(cl, str) else dict(cl)
    for text in expressions.values():
        check_expression(text)
    if "float" not in expressions:
        expressions["float"] = next(iter(expressions.values()))
    engine = Pointwise(name, listed, scalars, frozenset(dtypes), out, expressions, grad, refuse or {}, check)
    call = f"_call(({', '.join(listed)},), ({''.join(s + ', ' for s in scalars)}))"
    scope = {"_call": engine.call, "_write": write_out, "_inplace": inplace_form}
    body = f"  if out is None: return {call}\n  return _write({call}, out)"
    public = parsed
    if inplace == "flag":
        public = parsed.replace(parameters=[*parsed.parameters.values(), inspect.Parameter("inplace", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=False)])
        body = f"  if inplace: return _inplace({names[0]}, {call}, '{name}_')\n{body}"
    function = _compile(name, public, body, scope, _doc(signature, "pointwise", doc), "out=None")
    in_place = None
    if inplace:
        in_place = _inplace_function(name, parsed, call, scope)
    _register(Operator(name, "pointwise", function, frozenset(dtypes), out, grad, ref, domain, None, _spaces(namespace), tuple(aliases),
                       method, in_place, dunders or {}, engine))
    return function


def _inplace_function(name: str, signature: inspect.Signature, call: str, scope: dict[str, Any]) -> Callable:
    """``name_``: the call's result written into its first argument."""
    first = next(iter(signature.parameters))
    return _compile(f"{name}_", signature, f"  return _inplace({first}, {call}, _name)", {**scope, "_name": f"{name}_"}, _doc(f"{name}_", "in place", None))


def inplace_form(target: Any, result: Tensor, name: str) -> Tensor:
    if not isinstance(target, Tensor):
        raise TypeError(f"{name}(): argument 'input' must be Tensor, not {type(target).__name__}")
    return inplace(target, result, name)


def _spaces(namespace: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in namespace.split(","))


class KernelOp:
    """A declared operator whose forward is a Python function over kernels; operands are whichever arguments are tensors."""

    def __init__(self, name: str, signature: inspect.Signature, forward: Callable, gradient: dict[str, Callable] | None,
                 dtypes: frozenset[dtype]) -> None:
        self.name, self.forward, self.dtypes = name, forward, dtypes
        self.node_name = "".join(part.capitalize() for part in name.split("_")) + "Backward0"
        self.names = tuple(signature.parameters)
        self.index = {n: k for k, n in enumerate(self.names)}
        self.positional = sum(p.kind is not p.KEYWORD_ONLY for p in signature.parameters.values())
        self.keywords = self.names[self.positional:]
        self.rules = [(self.index[n], rule, argument_names(rule)) for n, rule in (gradient or {}).items()]
        self.savings: dict[int, list[tuple[str, int, int]]] = {}
        for at, _, wanted in self.rules:
            for n in wanted:
                if n.removesuffix("_shape") not in self.index and not n.startswith(("g", "out")):
                    raise TypeError(f"{name}: the gradient of {self.names[at]} asks for {n!r}; there are {self.names}, their shapes, g and out")

    def call(self, *values: Any) -> Any:
        self._check(values)
        before = modes.grad
        modes.grad = False
        try:
            result = self.forward(*values[:self.positional], **dict(zip(self.keywords, values[self.positional:], strict=True)))
        finally:
            modes.grad = before
        if before and self.rules:
            for at, _, _ in self.rules:
                if _requires(values[at]):
                    self._attach(values, result)
                    break
        return result

    def _check(self, values: tuple) -> None:
        first = values[0]
        if isinstance(first, Tensor) and first.dtype not in self.dtypes:
            raise NotImplementedError(f"\"{self.name}\" not implemented for '{TYPE_NAMES[first.dtype.name]}'")
        home = None
        for value in values:
            for t in value if isinstance(value, (list, tuple)) else (value,):
                if isinstance(t, Tensor) and (t.shape or t.is_cuda):
                    if home is None:
                        home = t
                    elif t._dev is not home._dev:
                        raise RuntimeError(f"Expected all tensors to be on the same device, but found at least two devices, {home.device} and "
                                           f"{t.device}! ({self.name}: move one with .to(device))")

    def _attach(self, values: tuple, result: Any) -> None:
        outputs = list(result) if isinstance(result, tuple) else [result]
        edges, targets, likes, needed = [], [], [], 0
        for n, (at, rule, names) in enumerate(self.rules):
            value = values[at]
            if isinstance(value, Tensor):
                if value._rg:
                    edges.append(edge(value))
                    likes.append(Like(value))
                    targets.append((rule, names, None))
                    needed |= 1 << n
            elif _requires(value):
                element = [k for k, t in enumerate(value) if isinstance(t, Tensor) and t._rg]
                edges += [edge(value[k]) for k in element]
                likes += [Like(value[k]) for k in element]
                targets.append((rule, names, element))
                needed |= 1 << n
        savings = self.savings.get(needed)
        if savings is None:
            savings = self.savings[needed] = self._find_savings(needed)
        saved = {}
        for name, at, what in savings:
            if what == OUTPUT:
                saved[name] = Saved(outputs[at], True, at)
                continue
            value = values[at]
            if what == SHAPE:  # an operand whose shape is enough isn't kept alive
                saved[name] = value.shape
            elif isinstance(value, Tensor):
                saved[name] = Saved(value)
            else:
                saved[name] = _save_elements(value) if isinstance(value, (list, tuple)) else value
        meta = [(o.shape, o.dtype, o._dev) for o in outputs] if len(outputs) > 1 else None
        node = OperatorNode(self.node_name, edges, saved, targets, likes, len(outputs), meta)
        for k, o in enumerate(outputs):
            if o.dtype.is_floating_point or o.dtype.is_complex:
                o._fn, o._rg, o.output_nr = node, True, k

    def _find_savings(self, needed: int) -> list[tuple[str, int, int]]:
        """What the gradients of some operands ask for, a bit for each: the name, which argument or result, and whether its OPERAND, SHAPE or OUTPUT."""
        found = []
        for name in dict.fromkeys(name for n, (_, _, names) in enumerate(self.rules) if needed >> n & 1 for name in names):
            if name[0] == "g" and (name == "g" or name[1:].isdigit()):  # a gradient, which comes later
                continue
            if name in self.index:
                found.append((name, self.index[name], OPERAND))
            elif name.endswith("_shape"):
                found.append((name, self.index[name.removesuffix("_shape")], SHAPE))
            else:
                found.append((name, int(name[3:] or 0), OUTPUT))
        return found


OPERAND, SHAPE, OUTPUT = range(3)


def _save_elements(value: Sequence[Any]) -> Any:
    """Tensors in a list, each saved; a list of numbers is saved as a tuple: lists are lists of saved tensors."""
    if any(isinstance(t, Tensor) for t in value):
        return [Saved(t) if isinstance(t, Tensor) else t for t in value]
    return tuple(value) if isinstance(value, list) else value


def _requires(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value._rg
    return isinstance(value, (list, tuple)) and any(isinstance(t, Tensor) and t._rg for t in value)


def kernel_op(signature: str, *, forward: Callable, dtypes: Iterable[dtype] = ALL, grad: dict[str, Callable] | None = None,
              ref: Callable | None = None, samples: Callable | None = None, method: bool = True, inplace: bool = False,
              namespace: str = "torch", aliases: Sequence[str] = (), dunders: dict[str, str] | None = None, out: bool = True,
              doc: str | None = None, domain: Any = (-2, 2), synonyms: dict[str, str] | None = None) -> Callable:
    """Declares an operator whose ``forward`` launches kernels; returns its function. ``synonyms``: other keywords of parameters."""
    name, parsed = _parse(signature)
    names = tuple(parsed.parameters)
    engine = KernelOp(name, parsed, forward, grad, frozenset(dtypes))
    call = f"_call({', '.join(names)})"
    scope = {"_call": engine.call, "_write": write_out, "_inplace": inplace_form}
    with_out = out and "out" not in names and not any(p.kind is p.VAR_POSITIONAL for p in parsed.parameters.values())
    others = {other: own for other, own in (synonyms or {}).items() if own in names}
    body = "".join(f"  if {other} is not None: {own} = {other}\n" for other, own in others.items())
    body += f"  if out is None: return {call}\n  return _write({call}, out)" if with_out else f"  return {call}"
    extra = ", ".join(f"{keyword}=None" for keyword in (["out"] if with_out else []) + list(others))
    function = _compile(name, parsed, body, scope, _doc(signature, "kernel", doc), extra)
    in_place = None
    if inplace:
        in_place = _inplace_function(name, parsed, call, scope)
    _register(Operator(name, "kernel_op", function, frozenset(dtypes), None, grad, ref, domain, samples, _spaces(namespace), tuple(aliases),
                       method, in_place, dunders or {}, engine))
    return function


class ViewOp:
    """A declared view: a geometry rule, and a gradient that is another view or scatter."""

    def __init__(self, name: str, signature: inspect.Signature, geometry: Callable, grad: Callable | None) -> None:
        self.name, self.geometry, self.grad = name, geometry, grad
        self.node_name = "".join(part.capitalize() for part in name.split("_")) + "Backward0"
        self.names = tuple(signature.parameters)
        self.wanted = argument_names(grad) if grad else ()

    def call(self, x: Tensor, *values: Any) -> Tensor:
        if not isinstance(x, Tensor):
            raise TypeError(f"{self.name}(): argument 'input' must be Tensor, not {type(x).__name__}")
        shape, strides, offset = self.geometry(x.shape, x._strides, x.offset, *values)
        if not (modes.grad and x._rg):
            return view_of(x, shape, strides, offset, self.node_name)
        named = dict(zip(self.names, (x, *values), strict=True), from_shape=x.shape)
        saved = {n: (Saved(named[n]) if isinstance(named[n], Tensor) else tuple(named[n]) if isinstance(named[n], list) else named[n])
                 for n in self.wanted if n != "g"}
        return view_of(x, shape, strides, offset, self.node_name, self.grad, self.wanted, saved)


def view(signature: str, *, geometry: Callable, grad: Callable | None, ref: Callable | None = None, samples: Callable | None = None,
         method: bool = True, inplace: bool = False, namespace: str = "torch", aliases: Sequence[str] = (), doc: str | None = None) -> Callable:
    """Declares a view; ``geometry(shape, strides, offset, *arguments)`` gives the new triple. ``inplace`` adds the metadata-changing form.

    A parameter ``*sizes`` reaches geometry and gradient as one tuple and may be given by its name; a gradient may ask for ``from_shape``.
    """
    name, parsed = _parse(signature)
    engine = ViewOp(name, parsed, geometry, grad)
    called, extra, arguments = _variadic(parsed)
    function = _compile(name, called, f"  return _call({arguments})", {"_call": engine.call}, _doc(signature, "view", doc), extra)
    in_place = None
    if inplace:
        in_place = _compile(f"{name}_", called, f"  return _retarget({arguments.split(',')[0]}, _call({arguments}))",
                            {"_call": engine.call, "_retarget": retarget}, _doc(f"{name}_", "in place", None), extra)
    _register(Operator(name, "view", function, ALL, SAME, {"x": grad} if grad else None, ref, (-2, 2), samples, _spaces(namespace),
                       tuple(aliases), method, in_place, {}, engine))
    return function


def _variadic(signature: inspect.Signature) -> tuple[inspect.Signature, str, str]:
    """The signature to compile, an extra keyword and the call's arguments: ``*dims`` may also be given as ``dims=``."""
    parameters, arguments, extra = [], [], ""
    for p in signature.parameters.values():
        if p.kind is p.VAR_POSITIONAL:
            extra = f"{p.name}=None"
            arguments.append(f"{p.name}_ if {p.name} is None else ({p.name},)")
            p = p.replace(name=f"{p.name}_")
        else:
            arguments.append(p.name)
        parameters.append(p)
    return signature.replace(parameters=parameters), extra, ", ".join(arguments)


def retarget(x: Tensor, seen: Tensor) -> Tensor:
    """Makes x itself the view (transpose_, squeeze_, ...)."""
    if modes.grad and x._rg and x._fn is None:
        raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation; detach() it first")
    x.data = seen
    x._fn, x._rg, x.output_nr = seen._fn, seen._rg, seen.output_nr
    return x


def composite(name: str, *, namespace: str = "torch", method: bool = False, inplace: bool = False, aliases: Sequence[str] = (),
              dunders: dict[str, str] | None = None, dtypes: Iterable[dtype] = ALL, ref: Callable | None = None, samples: Callable | None = None,
              domain: Any = (-2, 2), differentiable: bool = True) -> Callable[[Callable], Callable]:
    """Decorator: an operator written with other operators; its gradient follows from theirs."""
    def declare(function: Callable) -> Callable:
        function.__qualname__ = name  # what Python's errors about arguments call it
        in_place = None
        if inplace:
            def in_place(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
                return inplace_form(input, function(input, *args, **kwargs), f"{name}_")

            in_place.__name__ = f"{name}_"
        _register(Operator(name, "composite", function, frozenset(dtypes), None, {"traced": function} if differentiable else None, ref, domain,
                           samples, _spaces(namespace), tuple(aliases), method, in_place, dunders or {}, None))
        return function

    return declare


__all__ = ["ACCUMULATE", "ALL", "BOOL", "BOOLEAN", "COMPLEX", "FLOAT", "FLOATING", "INDEX", "INTEGRAL", "NUMERIC", "PROMOTE", "REAL", "SAME",
           "Operator", "composite", "find", "functions", "kernel_op", "pointwise", "table", "view"]
