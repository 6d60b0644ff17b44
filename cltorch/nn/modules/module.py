"""Module: the base class of every layer and network."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ...core.autograd import RemovableHandle
from ...core.modes import no_grad
from ...core.tensor import Tensor
from ...dtype import bfloat16, float16, float32, float64
from ...dtype import dtype as DType
from ...ops.creation import empty_like
from ..parameter import Buffer, Parameter
from .hooks import BackwardGates
from .state import StateDict

_TABLES = ("_parameters", "_buffers", "_modules")


def typename(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")


def indent(text: str, spaces: int = 2) -> str:
    """Every line but the first moved right."""
    return text.replace("\n", "\n" + " " * spaces)


class Module(StateDict):
    """Base class of layers and networks: holds parameters, buffers and child modules, and calls ``forward``.

    Assigning a Parameter, a Module or a Buffer to an attribute registers it. Differs from PyTorch: there are no global hooks.
    """

    training: bool
    _function: str | None = None  # the function of nn.functional that a layer calls by this name
    _hooked = False  # whether a forward or backward hook was ever registered: the only test on the way to forward

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        self.__dict__.update(training=True, _parameters={}, _buffers={}, _non_persistent_buffers_set=set(), _modules={}, _hook_tables={})

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; every subclass defines it."""
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    # Calling

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._hooked:
            return self._call_with_hooks(args, kwargs)
        return self.forward(*args, **kwargs)

    def _call_with_hooks(self, args: tuple, kwargs: dict) -> Any:
        for hook, with_kwargs in self._hooks("forward_pre"):
            args, kwargs = self._run_pre_hook(hook, with_kwargs, args, kwargs)
        hooks = self._hooks("forward")
        done = 0
        try:
            result = self._forward_between_gates(args, kwargs)
            for hook, with_kwargs, _ in hooks:
                done += 1
                changed = hook(self, args, kwargs, result) if with_kwargs else hook(self, args, result)
                result = result if changed is None else changed
            return result
        except Exception:
            self._run_always_called(hooks[done:], args, kwargs)
            raise

    def _run_pre_hook(self, hook: Callable, with_kwargs: bool, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        changed = hook(self, args, kwargs) if with_kwargs else hook(self, args)
        if changed is None:
            return args, kwargs
        if not with_kwargs:
            return (changed if isinstance(changed, tuple) else (changed,)), kwargs
        if isinstance(changed, tuple) and len(changed) == 2:
            return changed
        raise RuntimeError(f"forward pre-hook must return None or a tuple of (new_args, new_kwargs), but got {changed}.")

    def _run_always_called(self, hooks: list, args: tuple, kwargs: dict) -> None:
        """The hooks registered with ``always_call`` that an exception kept from running; they see None as the result."""
        for hook, with_kwargs, always_call in hooks:
            if always_call:
                hook(self, args, kwargs, None) if with_kwargs else hook(self, args, None)

    def _forward_between_gates(self, args: tuple, kwargs: dict) -> Any:
        hooks, pre_hooks = self._hooks("backward"), self._hooks("backward_pre")
        if not hooks and not pre_hooks:
            return self.forward(*args, **kwargs)
        gates = BackwardGates(self, hooks, pre_hooks)
        return gates.leave(self.forward(*gates.enter(args), **kwargs))

    def _add_call_hook(self, kind: str, hook: Any, prepend: bool) -> RemovableHandle:
        self.__dict__["_hooked"] = True
        return self._add_hook(kind, hook, prepend)

    def register_forward_pre_hook(self, hook: Callable, *, prepend: bool = False, with_kwargs: bool = False) -> RemovableHandle:
        """``hook(module, args)`` runs before ``forward`` and may return other arguments (``with_kwargs``: both kinds)."""
        return self._add_call_hook("forward_pre", (hook, with_kwargs), prepend)

    def register_forward_hook(self, hook: Callable, *, prepend: bool = False, with_kwargs: bool = False,
                              always_call: bool = False) -> RemovableHandle:
        """``hook(module, args, output)`` runs after ``forward`` and may return another output (``with_kwargs``: also gets them)."""
        return self._add_call_hook("forward", (hook, with_kwargs, always_call), prepend)

    def register_full_backward_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """``hook(module, grad_input, grad_output)`` runs in backward and may return another ``grad_input``."""
        return self._add_call_hook("backward", hook, prepend)

    def register_full_backward_pre_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """``hook(module, grad_output)`` runs in backward before the module's gradients and may return another ``grad_output``."""
        return self._add_call_hook("backward_pre", hook, prepend)

    register_backward_hook = register_full_backward_hook

    # Registration and attributes

    def _check_name(self, kind: str, name: str, table: dict) -> None:
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {typename(name)}")
        if "." in name:
            raise KeyError(f'{kind} name can\'t contain ".", got: {name}')
        if name == "":
            raise KeyError(f'{kind} name can\'t be empty string ""')
        if hasattr(self, name) and name not in table:
            raise KeyError(f"attribute '{name}' already exists")

    def _table(self, table: str, kind: str) -> dict:
        if table not in self.__dict__:
            raise AttributeError(f"cannot assign {kind} before Module.__init__() call")
        return self.__dict__[table]

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Adds a parameter under a name (None reserves the name). KeyError where the name is taken or not a plain one."""
        table = self._table("_parameters", "parameters")
        self._check_name("parameter", name, table)
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(f"cannot assign '{typename(param)}' object to parameter '{name}' (torch.nn.Parameter or None required)")
        if param is not None and param.grad_fn is not None:
            raise ValueError(f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must be created explicitly. "
                             f"To express '{name}' as a function of another Tensor, compute the value in the forward() method.")
        table[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Adds a tensor that belongs to the module's state but isn't trained; ``persistent=False`` keeps it out of ``state_dict``."""
        table = self._table("_buffers", "buffer")
        self._check_name("buffer", name, table)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(f"cannot assign '{typename(tensor)}' object to buffer '{name}' (torch Tensor or None required)")
        table[name] = tensor
        (self._non_persistent_buffers_set.discard if persistent else self._non_persistent_buffers_set.add)(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Adds a child module under a name."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{typename(module)} is not a Module subclass")
        table = self._table("_modules", "module")
        self._check_name("module", name, table)
        table[name] = module

    register_module = add_module

    def _forget(self, name: str) -> None:
        self.__dict__.pop(name, None)
        for table in _TABLES:
            self.__dict__[table].pop(name, None)
        self._non_persistent_buffers_set.discard(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Parameter):
            self._replace(name, "_parameters", "parameters", lambda: self.register_parameter(name, value))
        elif isinstance(value, Module):
            self._replace(name, "_modules", "module", lambda: self.add_module(name, value))
        elif isinstance(value, Buffer):
            self._replace(name, "_buffers", "buffer", lambda: self.register_buffer(name, value, value.persistent))
        else:
            self._set_plain(name, value)

    def _replace(self, name: str, table: str, kind: str, register: Callable[[], None]) -> None:
        """Registers under a name that may already be another attribute; an entry of the same table keeps its place."""
        if name not in self._table(table, kind):
            self._forget(name)
        register()

    def _set_plain(self, name: str, value: Any) -> None:
        own = self.__dict__
        for table, expected in zip(_TABLES, ("torch.nn.Parameter", "torch.Tensor", "torch.nn.Module"), strict=True):
            if name in own.get(table, ()):
                if value is not None and not (table == "_buffers" and isinstance(value, Tensor)):
                    kind = {"_parameters": "parameter", "_buffers": "buffer", "_modules": "child module"}[table]
                    raise TypeError(f"cannot assign '{typename(value)}' as {kind} '{name}' ({expected} or None expected)")
                own[table][name] = value
                return
        object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__
        for table in _TABLES:
            if table in own and name in own[table]:
                return own[table][name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __delattr__(self, name: str) -> None:
        for table in _TABLES:
            if name in self.__dict__[table]:
                del self.__dict__[table][name]
                self._non_persistent_buffers_set.discard(name)
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        names = set(dir(type(self))) | set(self.__dict__)
        for table in _TABLES:
            names.update(self.__dict__[table])
        return sorted(name for name in names if not name[:1].isdigit())

    # Walking the tree

    def named_modules(self, memo: set | None = None, prefix: str = "", remove_duplicate: bool = True) -> Iterator[tuple[str, Module]]:
        """This module and all below it with their dotted names, each once unless ``remove_duplicate`` is False."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, child in self._modules.items():
            if child is not None:
                yield from child.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """This module and all below it, each once."""
        for _, module in self.named_modules():
            yield module

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The direct children with their names, each once."""
        seen: set[Module] = set()
        for name, child in self._modules.items():
            if child is not None and child not in seen:
                seen.add(child)
                yield name, child

    def children(self) -> Iterator[Module]:
        """The direct children, each once."""
        for _, child in self.named_children():
            yield child

    def _named_members(self, table: str, prefix: str, recurse: bool, remove_duplicate: bool) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        modules = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else [(prefix, self)]
        for path, module in modules:
            for name, tensor in module.__dict__[table].items():
                if tensor is None or id(tensor) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(tensor))
                yield f"{path}.{name}" if path else name, tensor

    def named_parameters(self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True) -> Iterator[tuple[str, Parameter]]:
        """Parameters of this module and (``recurse``) all below it, with their dotted names."""
        return self._named_members("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Parameters of this module and (``recurse``) all below it, each once."""
        for _, parameter in self.named_parameters(recurse=recurse):
            yield parameter

    def named_buffers(self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True) -> Iterator[tuple[str, Tensor]]:
        """Buffers of this module and (``recurse``) all below it, with their dotted names."""
        return self._named_members("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Buffers of this module and (``recurse``) all below it, each once."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    def get_submodule(self, target: str) -> Module:
        """The module at a dotted path. Raises AttributeError naming the part that is missing or not a module."""
        module = self
        for name in target.split(".") if target else ():
            if not hasattr(module, name):
                raise AttributeError(f"{type(module).__name__} has no attribute `{name}`")
            module = getattr(module, name)
            if not isinstance(module, Module):
                raise AttributeError(f"`{name}` is not an nn.Module")
        return module

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Puts a module at a dotted path whose last part may be new (``strict``: must exist). AttributeError where the path leads nowhere."""
        if not isinstance(module, Module):
            raise ValueError(f"`module` is not an nn.Module, found {typename(module)}")
        path, _, name = target.rpartition(".")
        if not name:
            raise ValueError("Cannot set the submodule without a target name!")
        if strict:
            self.get_submodule(target)
        setattr(self.get_submodule(path), name, module)

    def _get_member(self, target: str, table: str, kind: str) -> Any:
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        if not hasattr(module, name):
            raise AttributeError(f"{type(module).__name__} has no attribute `{name}`")
        if name not in module.__dict__[table]:
            raise AttributeError(f"`{name}` is not {kind}")
        return module.__dict__[table][name]

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a dotted path, or AttributeError."""
        return self._get_member(target, "_parameters", "an nn.Parameter")

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at a dotted path, or AttributeError."""
        return self._get_member(target, "_buffers", "a buffer")

    # Changing everything below

    def apply(self, fn: Callable[[Module], None]) -> Module:
        """Calls ``fn`` on every module below and then on this one; returns this one."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def train(self, mode: bool = True) -> Module:
        """Sets training mode (dropout and batch statistics on) here and below. ValueError for anything but a bool."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for child in self.children():
            child.train(mode)
        return self

    def eval(self) -> Module:
        """Sets evaluation mode here and below."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Module:
        """Switches the gradient of every parameter on or off."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops every parameter's gradient, or fills it with zeros."""
        for parameter in self.parameters():
            if parameter.grad is None:
                continue
            if set_to_none:
                parameter.grad = None
            else:
                parameter.grad = parameter.grad.detach()
                parameter.grad.zero_()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Module:
        """Replaces the data of every parameter, its gradient and every buffer by ``fn`` of it; the Parameter objects stay the same."""
        if recurse:
            for child in self.children():
                child._apply(fn)
        with no_grad():
            for parameter in self._parameters.values():
                if parameter is None:
                    continue
                gradient = parameter.grad
                parameter.data = fn(parameter.data)
                if gradient is not None:
                    parameter.grad = fn(gradient.detach()).requires_grad_(gradient.requires_grad)
            for name, buffer in self._buffers.items():
                if buffer is not None:
                    self._buffers[name] = fn(buffer)
        return self

    def to(self, *args: Any, **kwargs: Any) -> Module:
        """``to(device)``, ``to(dtype)``, ``to(device, dtype)``, ``to(tensor)``: moves in place; only floating and complex tensors change dtype."""
        device, dtype = _parse_to(*args, **kwargs)
        if dtype is not None and not (dtype.is_floating_point or dtype.is_complex):
            raise TypeError(f"nn.Module.to only accepts floating point or complex dtypes, but got desired dtype={dtype}")

        def convert(t: Tensor) -> Tensor:
            new = dtype if dtype is not None and (t.is_floating_point() or t.is_complex()) else t.dtype
            return t.to(new) if device is None else t.to(device, new)

        return self._apply(convert)

    def to_empty(self, *, device: Any, recurse: bool = True) -> Module:
        """Moves to a device without copying: parameters and buffers are uninitialised there."""
        return self._apply(lambda t: empty_like(t, device=device), recurse)

    def cuda(self, device: Any = None) -> Module:
        """Moves everything to an OpenCL device (the current one by default)."""
        return self._apply(lambda t: t.cuda(device))

    def cpu(self) -> Module:
        """Moves everything to host memory."""
        return self._apply(lambda t: t.cpu())

    def type(self, dst_type: DType | str) -> Module:
        """Casts every parameter and buffer, integer ones included."""
        return self._apply(lambda t: t.type(dst_type))

    def _cast_floating(self, dtype: DType) -> Module:
        return self._apply(lambda t: t.to(dtype) if t.is_floating_point() else t)

    def float(self) -> Module:
        """Casts floating-point parameters and buffers to float32."""
        return self._cast_floating(float32)

    def double(self) -> Module:
        """Casts floating-point parameters and buffers to float64."""
        return self._cast_floating(float64)

    def half(self) -> Module:
        """Casts floating-point parameters and buffers to float16."""
        return self._cast_floating(float16)

    def bfloat16(self) -> Module:
        """Casts floating-point parameters and buffers to bfloat16."""
        return self._cast_floating(bfloat16)

    def share_memory(self) -> Module:
        """Returns the module as it is: OpenCL buffers can't be shared between processes."""
        return self

    # Printing, copying

    def extra_repr(self) -> str:
        """What a subclass shows between its brackets."""
        return ""

    def _get_name(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        extra = self.extra_repr()
        own = extra.split("\n") if extra else []
        children = [f"({name}): {indent(repr(child))}" for name, child in self._modules.items()]
        if len(own) == 1 and not children:
            return f"{self._get_name()}({own[0]})"
        lines = own + children
        return f"{self._get_name()}(" + ("\n  " + "\n  ".join(lines) + "\n" if lines else "") + ")"


def _parse_to(device: Any = None, dtype: DType | None = None, non_blocking: bool = False, **ignored: Any) -> tuple[Any, DType | None]:
    """The device and dtype that arguments of ``to`` name. TypeError for what is neither."""
    if isinstance(device, Tensor):
        return device.device, device.dtype
    if isinstance(device, DType):
        return None, device
    if dtype is not None and not isinstance(dtype, DType):
        raise TypeError(f"nn.Module.to takes a device, a dtype or a tensor, got {typename(dtype)}")
    return device, dtype


class Described(Module):
    """A layer that prints the attributes named in ``_shown`` as name=value."""

    _shown: tuple[str, ...] = ()

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in self._shown)
