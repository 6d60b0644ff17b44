"""Recording pointwise operators: result types, broadcasting, in-place forms and gradients, at a few microseconds a call."""
from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any
from weakref import ref

import numpy as np

from ..dtype import (
    CATEGORY_BOOL,
    CATEGORY_COMPLEX,
    CATEGORY_FLOAT,
    bool_,
    default_complex,
    dtype,
    get_default_dtype,
    of_number,
    promote_types,
)
from ..runtime.device import Device
from ..shape import Size, broadcast_pair, broadcast_strides, contiguous_strides
from . import autograd, lazy
from .autograd import Like, OperatorNode, Saved, edge
from .lazy import LIMIT, Deferred, flush, realize, remember, sift
from .modes import modes
from .storage import Read, Storage, Value
from .tensor import TYPE_NAMES, Tensor, _new, fresh, isolate, make, unique

SAME, PROMOTE, FLOAT, BOOLEAN, REAL = "same", "promote", "float", "boolean", "real"
_instruction_ids = itertools.count()


class Instruction:
    """An operator at one compute type: what a pending value refers to."""

    __slots__ = ("compute", "expression", "id", "name", "parameters", "result")

    def __init__(self, name: str, expression: str, parameters: tuple[str, ...], compute: dtype, result: dtype) -> None:
        self.id = next(_instruction_ids)
        self.name, self.expression, self.parameters, self.compute, self.result = name, expression, parameters, compute, result


def kind_of(d: dtype) -> str:
    """Which of an operator's expressions serves a compute type."""
    return "complex" if d.is_complex else "float" if d.is_floating_point else "bool" if d is bool_ else "int"


def argument_names(rule: Callable) -> tuple[str, ...]:
    """What a gradient rule asks for: a plain function's arguments. (inspect.signature takes 20 times as long, and importing asks of each rule.)"""
    return rule.__code__.co_varnames[:rule.__code__.co_argcount]


class Gradient:
    """Gradient lambdas by operand, and what each combination of operands needs saved."""

    def __init__(self, rules: dict[str, Callable], operands: tuple[str, ...], known: Sequence[str]) -> None:
        unknown = set(rules) - set(operands)
        if unknown:
            raise TypeError(f"gradients of {sorted(unknown)}, but the operands are {operands}")
        self.rules = [(rules[o], argument_names(rules[o])) if o in rules else None for o in operands]
        allowed = {*known}
        for rule in self.rules:
            for name in rule[1] if rule else ():
                if name not in allowed and not name.startswith(("g", "out")):
                    raise TypeError(f"a gradient rule asks for {name!r}; there are {sorted(allowed)}, g and out")
        self.names = {mask: self._names(mask) for mask in range(1 << min(len(operands), 6))}

    def _names(self, mask: int) -> tuple[str, ...]:
        wanted: dict[str, None] = {}
        for k, rule in enumerate(self.rules):
            if rule is not None and mask >> k & 1:
                wanted.update(dict.fromkeys(rule[1]))
        return tuple(n for n in wanted if n != "g")


class Pointwise:
    """A pointwise operator: expressions by kind of type, result rule, gradient. Calls go through ``unary``, ``binary`` or ``general``."""

    def __init__(self, name: str, operands: tuple[str, ...], scalars: tuple[str, ...], dtypes: frozenset[dtype], rule: str,
                 expressions: dict[str, str], gradient: dict[str, Callable] | None, refusals: dict[str, str],
                 check: Callable | None = None) -> None:
        self.name, self.operands, self.scalars, self.dtypes, self.rule, self.expressions = name, operands, scalars, dtypes, rule, expressions
        self.refusals, self.check = refusals, check
        self.gradient = Gradient(gradient, operands, (*operands, *scalars, "out")) if gradient else None
        self.node_name = "".join(part.capitalize() for part in name.split("_")) + "Backward0"
        self.instructions: dict[dtype, Instruction] = {}

    def __repr__(self) -> str:
        return f"<pointwise {self.name}>"

    def instruction(self, common: dtype) -> Instruction:
        """The operator at the operands' common type. Raises NotImplementedError (a RuntimeError) for a type it does not take."""
        integral = self.rule == FLOAT and common.category < CATEGORY_FLOAT
        compute = get_default_dtype() if integral else common
        found = self.instructions.get(compute)
        if found is None:
            if compute not in self.dtypes:
                if kind_of(compute) in self.refusals:
                    raise RuntimeError(self.refusals[kind_of(compute)])
                raise NotImplementedError(f"\"{self.name}\" not implemented for '{TYPE_NAMES[compute.name]}'")
            result = bool_ if self.rule == BOOLEAN else compute.to_real if self.rule == REAL else compute
            expression = self.expressions.get(kind_of(compute)) or self.expressions["float"]
            found = Instruction(self.name, expression, (*self.operands, *self.scalars), compute, result)
            self.instructions[compute] = found
        return found

    def call(self, operands: tuple, scalars: tuple = ()) -> Tensor:
        """Records the operator on tensors and numbers (at least one tensor)."""
        first, last = operands[0], operands[-1]
        if not (isinstance(first, Tensor) and isinstance(last, Tensor) and len(operands) == 2 and first.dtype is last.dtype and first._dev is last._dev
                and first.shape == last.shape):
            return self._general(operands, scalars)
        # What most calls are, without a function call more than it takes: two tensors of one type and shape
        instruction = self.instructions.get(first.dtype) or self.instruction(first.dtype)
        shape, one, other = first.shape, first.storage, last.storage
        if first.plain and last.plain and one.value.shape is None and other.value.shape is None:
            args: tuple = one.value, other.value
        else:
            args = _leaf(first, shape), _leaf(last, shape)
        if scalars and instruction.compute.category < CATEGORY_FLOAT:
            scalars = tuple([int(v) for v in scalars])
        out = record(instruction, args, scalars, shape, first._dev)
        if lazy.EAGER or one.shared or other.shared:
            run_now(out)
        if (first._rg or last._rg) and modes.grad and self.gradient is not None:
            attach(self, operands, scalars, out)
        return out

    def _general(self, operands: tuple, scalars: tuple) -> Tensor:
        first = operands[0]
        if len(operands) == 1:
            if not isinstance(first, Tensor):
                raise TypeError(f"{self.name}(): argument '{self.operands[0]}' must be Tensor, not {type(first).__name__}")
            instruction = self.instructions.get(first.dtype) or self.instruction(first.dtype)
            shape, dev = first.shape, first._dev
            args = (first.storage.value if first.plain and first.storage.value.shape is None else _leaf(first, shape),)
        else:
            shape, dev, common, operands = _unify(self, operands)
            instruction = self.instructions.get(common) or self.instruction(common)
            args = tuple([_leaf(o, shape) if isinstance(o, Tensor) else o for o in operands])
        if scalars and instruction.compute.category < CATEGORY_FLOAT:
            scalars = tuple([int(v) for v in scalars])  # as PyTorch: 1.5 means 1 to an operator on integers
        out = record(instruction, args, scalars, shape, dev)
        tracked, at_once = False, lazy.EAGER
        for o in operands:
            if isinstance(o, Tensor):
                tracked = tracked or o._rg
                at_once = at_once or o.storage.shared
        if at_once:
            run_now(out)
        if tracked and modes.grad and self.gradient is not None:
            attach(self, operands, scalars, out)
        return out


def run_now(out: Tensor) -> None:
    """Launches at once and waits where an operand's memory is shared with NumPy, whose owner may change it next."""
    realize(out.storage.value)
    if out._dev.type == "cpu" and not (lazy.EAGER and out._dev.recorder):  # CLTORCH_EAGER launches alone in a graph, too
        out._dev.synchronize()


def attach(op: Any, operands: tuple, scalars: tuple, out: Tensor) -> None:
    """Makes ``out`` the result of a recorded operator node."""
    gradient = op.gradient
    mask, edges, targets, likes = 0, [], [], []
    for k, o in enumerate(operands):
        if isinstance(o, Tensor) and o._rg and gradient.rules[k] is not None:
            mask |= 1 << k
            edges.append(edge(o))
            targets.append((*gradient.rules[k], None))
            likes.append(Like(o))
    if not mask or not (out.dtype.is_floating_point or out.dtype.is_complex):
        return
    saved: dict[str, Any] = {}
    names = gradient.names[mask]
    for name in names:
        if name in op.operands:
            value = operands[op.operands.index(name)]
            saved[name] = Saved(value) if isinstance(value, Tensor) else value
        elif name == "out":
            saved[name] = Saved(out, True)
        else:
            saved[name] = scalars[op.scalars.index(name)]
    out._fn = OperatorNode(op.node_name, edges, saved, targets, likes)
    out._rg = True


def _leaf(t: Tensor, shape: Size) -> Any:
    """t as an operand of a launch over ``shape``: its value where element numbers agree, else a strided read of realised memory."""
    value = t.storage.value
    if t.plain and (t.shape == shape or value.numel == shape.numel()):
        if value.block is None and value.shape is not None and value.shape != shape:
            realize(value)
        return value
    if value.block is None:
        realize(value)
    return Read(value, t.dtype, t.offset, broadcast_strides(t.shape, t._strides, shape))


def record(instruction: Instruction, args: tuple, scalars: tuple, shape: Size, dev: Device) -> Tensor:
    """A pending tensor. Long chains are cut here: children are realised when the chain would pass LIMIT."""
    weight, layout = 1, None
    for arg in args:
        if type(arg) is Value:
            if arg.block is None:
                weight += arg.weight
                if arg.shape is not None:
                    layout = shape
            else:
                weight += 1
        elif type(arg) is Read:
            weight += 2
            layout = shape
        else:
            weight += 1
    if weight > LIMIT and (weight := _size(args)) > LIMIT:
        weight = 1 + len(args)
        layout = None
        for arg in args:
            if type(arg) is Value:
                realize(arg)
            elif type(arg) is Read:
                layout = shape
    n = 1
    for size in shape:
        n *= size
    d = instruction.result
    t = _new(Tensor)
    t.storage = storage = Storage(Value(None, dev, d, n, instruction, args, scalars, layout, weight), dev, n * d.itemsize)
    recorded = dev.recorded  # ``remember`` in place: a call would cost as much as the rest of it
    recorded.append(ref(storage))
    if len(recorded) > dev.recorded_limit:
        sift(dev)
    t.dtype, t.shape, t._strides, t.offset, t._dev, t.plain = d, shape, contiguous_strides(shape), 0, dev, True
    return t


def _size(args: tuple) -> int:
    """A chain's weight where what several of its steps read counts once, which takes longer to find than a sum of the operands' weights."""
    seen: set[int] = set()
    left, size = list(args), 1
    while left:
        arg = left.pop()
        if type(arg) is not Value:
            size += 2 if type(arg) is Read else 1
        elif id(arg) not in seen:
            seen.add(id(arg))
            size += 1
            if arg.block is None and type(arg.instruction) is not Deferred:
                left += arg.args
    return size


_NUMBERS = (int, float, bool, complex, np.generic)


def result_type(*operands: Any) -> dtype:
    """PyTorch's rule: tensors with dimensions decide, then 0-d tensors, then numbers; the later only when of a higher category."""
    ranks: list[Any] = [None, None, None]
    for o in operands:
        if isinstance(o, Tensor):
            rank, d = (0 if o.shape else 1), o.dtype
        else:
            rank, d = 2, of_number(o)
        before = ranks[rank]
        ranks[rank] = d if before is None else promote_types(before, d)
    return _combine(_combine(ranks[0], ranks[1]), ranks[2])


def _combine(high: Any, low: Any) -> Any:
    if high is None or low is None:
        return high or low
    if high.is_complex:
        return high
    if high.is_floating_point:
        return high.to_complex if low.is_complex else high
    if high.category == CATEGORY_BOOL or low.category >= CATEGORY_FLOAT:
        return promote_types(high, low)
    return high


def _unify(op: Pointwise, operands: tuple) -> tuple[Size, Device, dtype, tuple]:
    """Broadcast shape, device and common type; RuntimeError where devices differ (a 0-d "cpu" tensor goes with any device)."""
    shape: Size | None = None
    dev: Any = None
    common: Any = None
    mixed = moved = False
    for o in operands:
        if isinstance(o, Tensor):
            if shape is None:
                shape, dev, common = o.shape, o._dev, o.dtype
            else:
                if o.shape != shape:
                    shape = broadcast_pair(shape, o.shape)
                    mixed = True
                if o._dev is not dev:
                    moved = True
                if o.dtype is not common:
                    mixed = True
        elif not isinstance(o, _NUMBERS):
            raise TypeError(f"{op.name}(): argument must be Tensor or Number, not {type(o).__name__}")
        else:
            mixed = True
    if shape is None:
        raise TypeError(f"{op.name}(): at least one operand must be a Tensor")
    if moved:
        dev, operands = _one_device(op.name, operands)
    if mixed:
        if op.check is not None:
            op.check(*operands)
        common = result_type(*operands)
        operands = tuple([o.item() if isinstance(o, np.generic) else o for o in operands])
    return shape, dev, common, operands


def _one_device(name: str, operands: tuple) -> tuple[Device, tuple]:
    tensors = [o for o in operands if isinstance(o, Tensor)]
    home = next((t._dev for t in tensors if t.shape or t.is_cuda), tensors[0]._dev)
    if any(t._dev is not home and (t.shape or t.is_cuda) for t in tensors):
        places = " and ".join(dict.fromkeys(str(t.device) for t in tensors))
        raise RuntimeError(f"Expected all tensors to be on the same device, but found at least two devices, {places}! ({name}: "
                           "move one with .to(device))")
    return home, tuple(o.to(home.spec) if isinstance(o, Tensor) and o._dev is not home else o for o in operands)


def assign(target: Tensor, source: Tensor) -> None:
    """Writes source's elements (broadcast, converted) into target's place in its storage. No gradient; bumps the version."""
    if source.dtype is not target.dtype or source.shape != target.shape or not source.plain:
        source = record(CONVERT.instruction_to(target.dtype), (_leaf(source, target.shape),), (), target.shape, target._dev)
    storage = target.storage
    if target.plain and not storage.shared:
        if storage.value is not source.storage.value:
            storage.value = source.storage.value
            remember(storage, storage.device)
    elif target.numel():
        _write_through(target, source)
    storage.version += 1


def _write_through(target: Tensor, source: Tensor) -> None:
    storage = target.storage
    value = source.storage.value
    if value.block is None and (type(value.instruction) is Deferred or (value.shape is not None and value.shape != target.shape)):
        realize(value)  # no chain, or recorded over another shape: its leaves' strides don't fit the target's
    realize(storage.value)
    inside, elsewhere = _reads(value, storage.value, target)
    if elsewhere or value.block is not None:
        realize(value)
        copy = (Read(value, target.dtype, 0, contiguous_strides(target.shape)),)
        value = record(CONVERT.instruction_to(target.dtype), copy, (), target.shape, target._dev).storage.value
        inside = value.args[0].value is storage.value
    if not storage.shared and not unique(storage, inside):
        isolate(storage)
    flush((value,), (storage.value.block, target.offset, target.shape, target._strides))
    if storage.shared:
        storage.device.synchronize()


def _reads(value: Value, memory: Value, target: Tensor) -> tuple[int, bool]:
    """How often a pending value reads ``memory``, and whether anywhere but at the target's own elements, or through an operator before its
    last: that one's result may be wanted later, when the memory has changed."""
    count, elsewhere = 0, False
    for arg in value.args:
        if type(arg) is Value:
            if arg is memory:
                count, elsewhere = count + 1, elsewhere or type(value.instruction) is Deferred or not target.is_contiguous() or target.offset != 0
            elif arg.block is None:
                more, other = _reads(arg, memory, target)
                count, elsewhere = count + more, elsewhere or other or more > 0
        elif type(arg) is Read and arg.value is memory:
            count += 1
            elsewhere = elsewhere or arg.offset != target.offset or arg.strides != target._strides
    return count, elsewhere


def inplace(target: Tensor, result: Tensor, name: str) -> Tensor:
    """Ends an in-place operator: ``result`` (computed out of place, with its graph) becomes target's content and history."""
    check_inplace(target, name)
    if result.shape != target.shape:
        raise RuntimeError(f"output with shape {list(target.shape)} doesn't match the broadcast shape {list(result.shape)} ({name})")
    if result.dtype.category > target.dtype.category:
        raise RuntimeError(f"result type {TYPE_NAMES[result.dtype.name]} can't be cast to the desired output type "
                           f"{TYPE_NAMES[target.dtype.name]} ({name})")
    tracked = modes.grad and (result._rg or target._rg)
    if tracked and result.dtype is not target.dtype:
        result = result.to(target.dtype)
    if tracked and isinstance(result._fn, OperatorNode):
        _keep_overwritten(target, result._fn)
    assign(target, result)
    if tracked:
        adopt(target, result)
    return target


def _keep_overwritten(target: Tensor, node: OperatorNode) -> None:
    """Where an operator's gradient needs the operand that it is about to overwrite, the old content is kept for it."""
    for saved in (node.saved or {}).values():
        if type(saved) is Saved and saved.tensor is target:
            before = autograd.own(target)
            before._fn, before.output_nr, before._rg = target._fn, target.output_nr, target._rg
            saved.tensor, saved.version = before, before.storage.version


def adopt(target: Tensor, result: Tensor) -> None:
    """Gives ``target``, which was written in place, the history of ``result``; a view passes it on to its base."""
    if target._base is not None:
        _rebase_view(target, target._base, result)
    else:
        target._fn, target.output_nr, target._rg = result._fn, result.output_nr, result._rg
        target._generation += 1
        _renew_views(target)


def check_inplace(target: Tensor, name: str) -> None:
    """RuntimeError for a leaf that requires grad, a view of one, and a tensor whose elements share memory."""
    if modes.grad:
        if target._rg and target._fn is None:
            raise RuntimeError(f"a leaf Variable that requires grad is being used in an in-place operation ({name}); "
                               "use it within torch.no_grad(), or write to a new tensor")
        base = target._base
        if base is not None and base._rg and base._fn is None:
            raise RuntimeError(f"a view of a leaf Variable that requires grad is being used in an in-place operation ({name}).")
    for n, s in zip(target.shape, target._strides, strict=True):
        if s == 0 and n > 1:
            raise RuntimeError("unsupported operation: more than one element of the written-to tensor refers to a single memory location. "
                               f"Please clone() the tensor before performing the operation ({name}).")


class SliceAssign(autograd.Node):
    """A base tensor after a view of it was overwritten: the view's part of the gradient goes to what was written."""

    __slots__ = ("geometry", "parts")

    def __init__(self, base_edge: Any, written: Tensor, base: Tensor, view: Tensor) -> None:
        edges = [base_edge, edge(written)]
        super().__init__("CopySlices", edges)
        self.geometry = (base.shape, base._strides, base.offset, view.shape, view._strides, view.offset)

    def backward(self, grads: list[Tensor | None]) -> list[Tensor | None]:
        g = grads[0]
        shape, strides, offset, view_shape, view_strides, view_offset = self.geometry
        assert g is not None
        return [g.slice_scatter_strided(None, shape, strides, offset, view_shape, view_strides, view_offset) if self.edges[0] else None,
                g.gather_strided(shape, strides, offset, view_shape, view_strides, view_offset) if self.edges[1] else None]


class ViewOf(autograd.Node):
    """A view's gradient edge, remade after its base was written in place."""

    __slots__ = ("geometry",)

    def __init__(self, base: Tensor, view: Tensor) -> None:
        super().__init__("AsStridedBackward0", [edge(base)])
        self.geometry = (base.shape, base._strides, base.offset, view.shape, view._strides, view.offset)

    def backward(self, grads: list[Tensor | None]) -> list[Tensor | None]:
        g = grads[0]
        assert g is not None
        shape, strides, offset, view_shape, view_strides, view_offset = self.geometry
        zeros = autograd.ZEROS(shape, g.dtype, g._dev)
        return [zeros.slice_scatter_strided(g, shape, strides, offset, view_shape, view_strides, view_offset)]


def _rebase_view(view: Tensor, base: Tensor, result: Tensor) -> None:
    before = edge(base)
    base._fn = SliceAssign(before, result, base, view)
    base._rg, base.output_nr = True, 0
    base._generation += 1
    refresh_view(view)
    view._generation = base._generation
    _renew_views(base)


def note_view(base: Tensor, view: Tensor) -> None:
    """Remembers a view whose base requires no gradient yet: a write may change that. Dead entries go when the list has doubled."""
    views = base._views
    if views is None:
        views = base._views = []
    elif len(views) >= 16 and len(views) & (len(views) - 1) == 0:
        views[:] = [entry for entry in views if entry() is not None]
    views.append(ref(view))


def _renew_views(base: Tensor) -> None:
    """The base requires gradients now, and so do the views that were made before."""
    if base._rg and base._views is not None:
        for entry in base._views:
            view = entry()
            if view is not None and view._generation != base._generation:
                refresh_view(view)
                view._generation = base._generation
        base._views = None


def refresh_view(view: Tensor) -> None:
    """Points a view's gradient at its base's present history."""
    base = view._base
    assert base is not None
    if base._rg:
        view._fn, view._rg, view.output_nr = ViewOf(base, view), True, 0


class _Convert(Pointwise):
    """``to``: a copy in a given type. The compute type is the target, so the conversion happens where the operand is read."""

    def __init__(self) -> None:
        super().__init__("convert", ("x",), (), frozenset(), SAME, {"float": "x"}, {"x": lambda g: g}, {})
        self.node_name = "ToCopyBackward0"

    def instruction_to(self, d: dtype) -> Instruction:
        found = self.instructions.get(d)
        if found is None:
            found = self.instructions[d] = Instruction("convert", "x", ("x",), d, d)
        return found

    def convert(self, t: Tensor, d: dtype) -> Tensor:
        """A contiguous copy of t as type d, recorded."""
        t._dev.require(d)
        out = record(self.instruction_to(d), (_leaf(t, t.shape),), (), t.shape, t._dev)
        if lazy.EAGER or t.storage.shared:
            run_now(out)
        if modes.grad and t._rg and d.category >= CATEGORY_FLOAT:
            attach(self, (t,), (), out)
        return out


CONVERT = _Convert()
_CONSTANT: dict[dtype, Instruction] = {}


def constant(shape: tuple[int, ...], value: Any, d: dtype, dev: Device) -> Tensor:
    """A tensor filled with one number; pending, so that it fuses into what uses it."""
    instruction = _CONSTANT.get(d)
    dev.require(d)
    if instruction is None:
        instruction = _CONSTANT[d] = Instruction("fill", "x", ("x",), d, d)
    if d is bool_:
        value = bool(value)
    elif d.is_integral:
        value = wrap_int(int(value), d)
    elif d.category != CATEGORY_COMPLEX:
        value = float(value)
    out = record(instruction, (value,), (), Size(shape), dev)
    if lazy.EAGER:
        run_now(out)
    return out


def wrap_int(value: int, d: dtype) -> int:
    """The integer as the type stores it (two's complement)."""
    bits = d.itemsize * 8
    value &= (1 << bits) - 1
    return value - (1 << bits) if d.is_signed and value >> (bits - 1) else value


autograd.set_fills(lambda shape, d, dev: constant(shape, 0, d, dev), lambda shape, d, dev: constant(shape, 1, d, dev))
__all__ = ["BOOLEAN", "CONVERT", "FLOAT", "PROMOTE", "REAL", "SAME", "Instruction", "Pointwise", "adopt", "assign", "attach", "check_inplace",
           "constant", "default_complex", "fresh", "inplace", "make", "note_view", "record", "refresh_view", "result_type", "run_now"]
