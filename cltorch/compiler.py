"""``compile``: a function's launches, captured per kind of arguments and replayed. Source: https://docs.pytorch.org/docs/stable/generated/torch.compile.html"""
from __future__ import annotations

import functools
import gc
import types
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .core import autograd
from .core.capture import Capture, is_capturing
from .core.function import Function
from .core.lazy import realize
from .core.modes import modes
from .core.storage import Storage, Value
from .core.tensor import Tensor, empty, make
from .nn import Module
from .optim import Optimizer
from .runtime.device import Device

__all__ = ["CaptureError", "OptimizedModule", "compile", "disable", "is_compiling", "make_graphed_callables", "reset"]
KINDS = 16  # kinds of arguments that one function is captured for; others run eagerly
_generation = 0


class CaptureError(RuntimeError):
    """What a function does can't be replayed."""


def is_compiling() -> bool:
    """Whether a function is being captured."""
    return is_capturing()


def reset() -> None:
    """Every compiled function captures anew at its next calls."""
    global _generation
    _generation += 1


def disable(fn: Callable | None = None, recursive: bool = True) -> Callable:
    """Marks a function that ``compile`` leaves as it is."""
    if fn is None:
        return functools.partial(disable, recursive=recursive)
    fn._cltorch_disabled = True
    return fn


def _flatten(value: Any, tensors: list[Tensor]) -> Any:
    """The structure of an argument or a result, hashable, its tensors in order. CaptureError for what has no value to compare by."""
    if isinstance(value, Tensor):
        tensors.append(value)
        return Tensor, len(tensors) - 1
    if isinstance(value, (list, tuple)):
        return type(value), *[_flatten(v, tensors) for v in value]
    if isinstance(value, dict):
        return dict, *[(k, _flatten(v, tensors)) for k, v in value.items()]
    try:
        hash(value)
    except TypeError:
        raise CaptureError(f"an argument or a result of type {type(value).__name__} can't be compared from call to call") from None
    return None, type(value), value


def _rebuild(spec: Any, tensors: Sequence[Tensor]) -> Any:
    kind, *rest = spec
    if kind is Tensor:
        return tensors[rest[0]]
    if kind is None:
        return rest[1]
    if kind is dict:
        return {k: _rebuild(v, tensors) for k, v in rest}
    parts = [_rebuild(v, tensors) for v in rest]
    return kind(*parts) if hasattr(kind, "_fields") else kind(parts)


def _reached(fn: Any, seen: dict[int, Any]) -> None:
    """The modules, optimizers and tensors that a function can name: its own, its closure's, its globals', those of functions that it calls."""
    if id(fn) in seen:
        return
    if isinstance(fn, (Module, Optimizer, Tensor)):
        seen[id(fn)] = fn
    elif isinstance(fn, functools.partial):
        for part in (fn.func, *fn.args, *fn.keywords.values()):
            _reached(part, seen)
    elif isinstance(fn, types.MethodType):
        _reached(fn.__self__, seen)
        _reached(fn.__func__, seen)
    elif isinstance(fn, types.FunctionType) and not _is_library(fn.__module__):
        seen[id(fn)] = fn
        cells = []
        for cell in fn.__closure__ or ():
            try:
                cells.append(cell.cell_contents)
            except ValueError:  # a name that isn't bound yet
                continue
        named = [fn.__globals__[name] for name in fn.__code__.co_names if name in fn.__globals__]
        for found in (*cells, *named, *(fn.__defaults__ or ()), *(fn.__kwdefaults__ or {}).values()):
            _reached(found, seen)
    elif isinstance(fn, (list, tuple, dict)):
        for item in fn.values() if isinstance(fn, dict) else fn:
            _reached(item, seen)


def _is_library(module: str | None) -> bool:
    """Whether functions of a module name nobody's networks: this package's, but for the tools, which are programs. A function of exec or eval may
    have none."""
    return module is not None and module.startswith("cltorch.") and not module.startswith("cltorch.tools.")


class _Watched:
    """What a capture depends on beyond its arguments: modes of modules, and whether parameters want and have gradients."""

    def __init__(self, fn: Any) -> None:
        seen: dict[int, Any] = {}
        _reached(fn, seen)
        self.modules = list({id(m): m for root in seen.values() if isinstance(root, Module) for m in root.modules()}.values())
        owners: Iterator[Tensor] = (p for m in self.modules for p in m._parameters.values() if p is not None)
        stepped = (p for root in seen.values() if isinstance(root, Optimizer) for group in root.param_groups for p in group["params"])
        self.parameters = list({id(p): p for p in (*owners, *stepped)}.values())
        self.devices = {t._dev for t in (*self.parameters, *[t for t in seen.values() if isinstance(t, Tensor)])}

    def state(self) -> tuple:
        return (modes.grad, *[m.training for m in self.modules], *[(p._rg, p._grad is None) for p in self.parameters])


class _Bound:
    """Tensors of a graph that each call has its own memory for: where their memory is bound in the recording."""

    def __init__(self, capture: Capture, tensors: Sequence[Tensor]) -> None:
        places = capture.recording.places()
        self.tensors = tensors
        self.places = [places.get(t.storage.value.block.mem.int_ptr, ()) if t.storage.value.block.touched else () for t in tensors]

    def bind(self, tensors: Sequence[Tensor]) -> list[Value]:
        """Binds the memory of contiguous tensors; returns their values, which may be bound again as long as somebody holds them."""
        values = [t.storage.value for t in tensors]
        for value in values:
            realize(value)
        self.bind_values(values)
        return values

    def bind_values(self, values: Sequence[Value]) -> None:
        for places, value in zip(self.places, values, strict=True):
            if places:
                mem = value.block.mem
                for entry, position in places:
                    entry.bind(position, mem)


class _Results:
    """A graph's results as tensors of their own: each call gets new memory for them, into which the recorded kernels write."""

    def __init__(self, capture: Capture, tensors: Sequence[Tensor], inputs: Sequence[Tensor]) -> None:
        self.dev = capture.dev
        given = {id(t.storage): k for k, t in enumerate(inputs)}
        storages = list({id(t.storage): t.storage for t in tensors}.values())
        made = {id(s) for s in capture.results}
        held = _references(capture, tensors)
        self.fresh = [s for s in storages if id(s) in made and id(s) not in held]
        number = {id(s): k for k, s in enumerate(self.fresh)}
        self.bound = _Bound(capture, [next(t for t in tensors if t.storage is s) for s in self.fresh])
        # what each result is: (of the call's inputs, number), (of the fresh storages, number), or the very tensor
        self.sources: list[tuple[str, int]] = [("input", given[id(t.storage)]) if id(t.storage) in given else
                                               ("fresh", number[id(t.storage)]) if id(t.storage) in number else ("kept", 0) for t in tensors]
        self.like = [(t.dtype, t.shape, t._strides, t.offset, t.plain) for t in tensors]
        self.kept = [t if source[0] == "kept" else None for t, source in zip(tensors, self.sources, strict=True)]
        self.sizes = [(s.nbytes, s.value.dtype, s.value.numel) for s in self.fresh]
        own = {id(s) for s in self.fresh}  # written in other memory by each call
        capture.results = [s for s in capture.results if id(s) not in own]
        capture.homes = [home for home in capture.homes if id(home.storage()) not in own]

    def prepare(self) -> list[Storage]:
        """Binds new memory for this call's results."""
        allocate, dev = self.dev.allocator.allocate, self.dev
        values = [Value(allocate(nbytes), dev, d, numel) for nbytes, d, numel in self.sizes]
        self.bound.bind_values(values)
        return [Storage(value, dev, nbytes) for value, (nbytes, _, _) in zip(values, self.sizes, strict=True)]

    def named(self, tensors: Sequence[Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
        """Arguments and parameters among the results as themselves, where an operator would return aliases."""
        return [t if where == "fresh" else self._given(n, inputs) for n, (t, (where, _)) in enumerate(zip(tensors, self.sources, strict=True))]

    def tensors(self, storages: Sequence[Storage], inputs: Sequence[Tensor]) -> list[Tensor]:
        made = []
        for n, ((where, k), like) in enumerate(zip(self.sources, self.like, strict=True)):
            d, shape, strides, offset, plain = like
            made.append(make(storages[k], d, shape, strides, offset, plain) if where == "fresh" else self._given(n, inputs))
        return made

    def _given(self, n: int, inputs: Sequence[Tensor]) -> Tensor:
        """The n-th result, which no kernel made: a tensor that was there before, an argument, or a view of one."""
        kept = self.kept[n]
        if kept is not None:
            return kept
        d, shape, strides, offset, plain = self.like[n]
        given = inputs[self.sources[n][1]]
        same = plain and d is given.dtype and shape == given.shape
        return given if same else make(given.storage, d, shape, strides, offset, plain)


def _references(capture: Capture, tensors: Sequence[Tensor]) -> set[int]:
    """Storages of results that something else in the program holds, too: gradients of parameters, buffers of modules."""
    own = {id(t) for t in tensors}
    wanted = {id(t.storage) for t in tensors}
    return {id(t.storage) for t in gc.get_objects() if issubclass(type(t), Tensor) and id(t) not in own and id(t.__dict__.get("storage")) in wanted}


class _Graphed(Function):
    """A captured forward, and its captured backward, as one operator."""

    @staticmethod
    def forward(ctx: Any, plan: Any, inputs: Sequence[Tensor], *leaves: Tensor) -> Any:
        ctx.plan = plan
        ctx.set_materialize_grads(False)
        results, ctx.memory = plan.run(inputs)
        ctx.versions = [(t.storage, t.storage.version) for t in inputs]
        ctx.number, ctx.token = plan.number, _Token()
        plan.waiting = weakref.ref(ctx.token)
        ctx.mark_non_differentiable(*[t for t, d in zip(results, plan.differentiable, strict=True) if not d])
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        return None, None, *ctx.plan.run_backward(ctx, grads)


class _Token:
    """Lives as long as a forward's graph waits for its backward."""


class _Plan:
    """One function for one kind of arguments."""

    def __init__(self, fn: Callable, spec: Any, inputs: Sequence[Tensor], watched: _Watched, dev: Device) -> None:
        self.dev = dev
        self.number, self.waiting = 0, None
        self.inputs = [empty(t.shape, t.dtype, dev).requires_grad_(t._rg) for t in inputs]
        versions = [t.storage.version for t in self.inputs]
        before = [p._grad for p in watched.parameters]
        self.capture, self.backward = Capture(dev), None
        self.capture.begin()
        try:
            args, kwargs = _rebuild(spec, self.inputs)
            result = fn(*args, **kwargs)
            outputs: list[Tensor] = []
            self.spec = _flatten(result, outputs)
            del result, args, kwargs
            self._check(outputs, versions)
            self.capture.end()
            self.grads = [(p, p._grad) for p, grad in zip(watched.parameters, before, strict=True) if p._grad is not grad]
            self.differentiable = [t._fn is not None for t in outputs]
            self.leaves: list[Tensor] = []
            if any(self.differentiable) and modes.grad:
                self._capture_backward(outputs)
        except BaseException:
            if is_capturing():
                self.capture.abort()
            for p, grad in zip(watched.parameters, before, strict=True):
                p._grad = grad
            raise
        for t in outputs:
            if t._fn is not None:
                t._fn, t._rg = None, False
        self.given = _Bound(self.capture, self.inputs)
        self.results = _Results(self.capture, outputs, self.inputs)
        if self.backward is not None:
            self.again = _Bound(self.backward, [*self.inputs, *self.results.bound.tensors])

    def _check(self, outputs: Sequence[Tensor], versions: Sequence[int]) -> None:
        if any(t.storage.version != v for t, v in zip(self.inputs, versions, strict=True)):
            raise CaptureError("it writes into its arguments")
        if any(t._grad is not None for t in self.inputs):
            raise CaptureError("it computes gradients of its arguments in place: return them from autograd.grad, or call backward outside")
        if any(t._dev is not self.dev for t in outputs):
            raise CaptureError("its results lie on another device")

    def _capture_backward(self, outputs: Sequence[Tensor]) -> None:
        """The gradients of the results; none where the function went backward itself."""
        wanted = [t for t in outputs if t._fn is not None]
        leaves = _leaves(wanted)
        seeds = [empty(t.shape, t.dtype, self.dev) for t in wanted]
        capture = Capture(self.dev, self.capture.pool)
        capture.begin()
        try:
            grads = autograd.grad(wanted, leaves, seeds, allow_unused=True)
        except RuntimeError as error:
            capture.abort()
            if "backward through the graph a second time" not in str(error):
                raise
            self.differentiable = [False] * len(outputs)
            return
        capture.end()
        self.leaves, self.backward = leaves, capture
        self.seeds = _Bound(capture, seeds)
        self.used = [g is not None for g in grads]
        self.gradients = _Results(capture, [g for g in grads if g is not None], seeds)

    # running

    def fits(self) -> bool:
        """Whether the graph can be replayed now: its tensors are where they were, and no earlier forward waits for its backward."""
        return not self.capture.gone() and (self.waiting is None or self.waiting() is None)

    def __call__(self, inputs: Sequence[Tensor]) -> Any:
        if self.backward is None:
            outputs = self.run(inputs)[0]
        else:
            static = {id(t): k for k, t in enumerate(self.inputs)}
            leaves = [inputs[static[id(t)]] if id(t) in static else t for t in self.leaves]
            outputs = self.results.named(list(_Graphed.apply(self, inputs, *leaves)), inputs)
        return _rebuild(self.spec, outputs)

    def run(self, inputs: Sequence[Tensor]) -> tuple[list[Tensor], list[Value]]:
        """The results of a replay, and the values that it read as arguments and wrote as results, for the backward."""
        dense = _dense(inputs)
        read = self.given.bind(dense)
        storages = self.results.prepare()
        self.capture.replay()
        self.number += 1
        for p, grad in self.grads:
            p._grad = grad
        return self.results.tensors(storages, dense), [*read, *[s.value for s in storages]]

    def run_backward(self, ctx: Any, grads: Sequence[Tensor | None]) -> list[Tensor | None]:
        assert self.backward is not None
        if ctx.number != self.number:
            raise RuntimeError("backward through a compiled function after it was called again: its saved tensors were overwritten")
        if any(storage.version != version for storage, version in ctx.versions):
            raise RuntimeError("one of the variables needed for gradient computation has been modified by an inplace operation: "
                               "an argument of a compiled function was written before its backward")
        given = [g for g, d in zip(grads, self.differentiable, strict=True) if d]
        zeros = [g if g is not None else empty(t.shape, t.dtype, self.dev).zero_() for g, t in zip(given, self.seeds.tensors, strict=True)]
        held = self.seeds.bind(_dense(zeros))
        self.again.bind_values(ctx.memory)
        storages = self.gradients.prepare()
        self.backward.replay()
        del held  # not before the replay is enqueued: its memory would be a gradient's
        ctx.token = self.waiting = None
        found = iter(self.gradients.tensors(storages, zeros))
        return [next(found) if used else None for used in self.used]


def _dense(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The tensors, those that aren't all of their memory in order as copies."""
    return [t if t.plain else t.detach().clone().contiguous() for t in tensors]


def _leaves(outputs: Sequence[Tensor]) -> list[Tensor]:
    """The leaf tensors that outputs depend on, each once."""
    found: dict[int, Tensor] = {}
    seen: set[int] = set()
    stack = [t._fn if t._fn is not None else t for t in outputs]
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, Tensor):
            found[id(node)] = node
        else:
            stack += [e[0] for e in node.edges if e]
    return list(found.values())


class _Compiled:
    """Runs a function's first call of each kind eagerly, captures the second, and replays the others."""

    def __init__(self, fn: Callable, strict: bool) -> None:
        functools.update_wrapper(self, fn, updated=())
        self.fn, self.strict = fn, strict
        self.plans: dict[Any, _Plan | int] = {}
        self.watched: _Watched | None = None
        self.complained = False
        self.generation = _generation

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if is_capturing():
            return self.fn(*args, **kwargs)
        if self.watched is None or self.generation != _generation:
            self.plans, self.watched, self.generation = {}, _Watched(self.fn), _generation
        inputs: list[Tensor] = []
        try:
            spec = _flatten((args, kwargs), inputs)
            key = (spec, self.watched.state(), *[(t.shape, t.dtype, t._dev, t._rg) for t in inputs])
            plan = self.plans.get(key)
        except (CaptureError, TypeError) as error:
            return self._eagerly(error, args, kwargs)
        if isinstance(plan, _Plan) and plan.fits():
            return plan(inputs)
        if plan is None:
            if len(self.plans) >= KINDS:
                return self._eagerly(CaptureError(f"it is called with more than {KINDS} kinds of arguments"), args, kwargs)
            self.plans[key] = 1
        elif plan == 1 or (isinstance(plan, _Plan) and (plan.waiting is None or plan.waiting() is None)):
            try:
                made = self.plans[key] = _Plan(self.fn, spec, inputs, self.watched, self._device(inputs))
            except Exception as error:  # also the function's own errors: the eager call raises them again, without a graph's traceback
                self.plans[key] = 0
                return self._eagerly(error, args, kwargs)
            return made(inputs)
        return self.fn(*args, **kwargs)

    def _device(self, inputs: Sequence[Tensor]) -> Device:
        assert self.watched is not None
        found = self.watched.devices.union(t._dev for t in inputs)
        if len(found) != 1:
            raise CaptureError(f"its tensors lie on {len(found)} devices: {', '.join(sorted(str(d.spec) for d in found))}")
        return found.pop()

    def _eagerly(self, error: Exception, args: tuple, kwargs: dict) -> Any:
        """The call without a graph; one warning says why. With ``fullgraph`` the reason is an error."""
        name = getattr(self.fn, "__qualname__", type(self.fn).__name__)
        if self.strict:
            raise RuntimeError(f"compile(fullgraph=True): {name} can't be captured: {error}") from error
        result = self.fn(*args, **kwargs)
        if not self.complained:
            self.complained = True
            warnings.warn(f"compile: {name} runs eagerly, because it can't be captured: {error}", stacklevel=3)
        return result


class OptimizedModule(Module):
    """A module whose ``forward`` is compiled. Other attributes are the original's, which is ``_orig_mod``."""

    def __init__(self, module: Module, strict: bool) -> None:
        super().__init__()
        self._orig_mod = module
        self.__dict__["_compiled"] = _Compiled(module, strict)
        self.training = module.training

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._compiled(*args, **kwargs)

    def train(self, mode: bool = True) -> OptimizedModule:
        super().train(mode)
        return self

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("_orig_mod"), name)


def compile(model: Any = None, *, fullgraph: bool = False, dynamic: bool | None = None, backend: Any = "opencl", mode: str | None = None,
            options: dict | None = None, disable: bool = False) -> Any:
    """A function or module whose launches are captured and replayed: Python runs at the first two calls with each kind of arguments only.

    A kind is what the arguments are but for the content of tensors (shapes, dtypes, device, requires_grad; numbers, strings and the like by value),
    whether gradients are recorded, and, of the modules and optimizers that the function can name, ``training``, ``requires_grad`` and whether there
    are gradients. Everything else that the function reads of Python is what it was at the second call. Random numbers, learning rates and
    step counts advance as in eager code, and results are the same bit for bit. A function may be a whole training step: forward,
    ``backward()``, ``optimizer.step()``. Where it reads results on the host, writes into its arguments or uses several devices, it runs eagerly, with
    one warning (``fullgraph=True``: RuntimeError). Differs from PyTorch: ``dynamic``, ``backend``, ``mode`` and ``options`` change nothing; a result
    whose graph was used up inside is returned without one.
    """
    if model is None:
        return functools.partial(compile, fullgraph=fullgraph, dynamic=dynamic, backend=backend, mode=mode, options=options, disable=disable)
    if not callable(model):
        raise TypeError(f"compile: expected a function or a module, got {type(model).__name__}")
    if disable or getattr(model, "_cltorch_disabled", False):
        return model
    return OptimizedModule(model, fullgraph) if isinstance(model, Module) else _Compiled(model, fullgraph)


def make_graphed_callables(callables: Any, sample_args: Any, num_warmup_iters: int = 3, allow_unused_input: bool = False, pool: Any = None) -> Any:
    """Functions or modules captured at once for arguments like ``sample_args``, forward and backward; modules keep their name and get a new ``forward``.

    A tuple of callables takes a tuple of tuples of arguments. RuntimeError for what can't be captured. Source: torch.cuda.make_graphed_callables.
    Differs: other kinds of arguments are captured when they come, results are tensors of their own, and each callable has its own memory.
    """
    if isinstance(callables, tuple):
        if len(callables) != len(sample_args):
            raise ValueError(f"make_graphed_callables: {len(callables)} callables need as many tuples of sample_args, got {len(sample_args)}")
        return tuple(make_graphed_callables(c, args, num_warmup_iters) for c, args in zip(callables, sample_args, strict=True))
    compiled = _Compiled(callables.forward if isinstance(callables, Module) else callables, True)
    for _ in range(max(num_warmup_iters, 1) + 1):
        compiled(*sample_args)
    if not isinstance(callables, Module):
        return compiled
    callables.forward = compiled
    return callables
