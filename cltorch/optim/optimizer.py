"""Optimizer: parameter groups, state, hooks, saving. A rule says in ``_update`` what one step does to the parameters of a group."""
from __future__ import annotations

import copy
import functools
from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

from ..core import capture
from ..core.autograd import RemovableHandle
from ..core.data import tensor
from ..core.modes import enable_grad, no_grad
from ..core.tensor import Tensor
from ..dtype import float32
from ..ops import registry
from ..ops.multi_tensor import Update
from ..ops.views import view_as_real

zeros_like = registry.functions("torch")["zeros_like"]

GRADIENT = "d = sign * g + decay * p"  # the first line of most rules: maximize and weight decay are numbers, not variants
_COUNTS = ("step", "mu_product")       # state kept as Python numbers, saved as 0-d float32 tensors as PyTorch keeps them


class _Required:
    def __repr__(self) -> str:
        return "<required parameter>"


required = _Required()


class Rule:
    """An update of parameters as text: ``state`` names the state tensors it reads and writes, ``scalars`` its call-time numbers."""

    def __init__(self, state: str, scalars: str, update: str) -> None:
        self.state = tuple(state.split())
        self.update = Update(" ".join(("*p", "g", *(f"*{name}" for name in self.state))), scalars, update)


def _with_hooks(step: Callable) -> Callable:
    """``step`` with the pre- and post-hooks around it; it also tells learning-rate schedulers that a step was made."""

    @functools.wraps(step)
    def stepped(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        self._opt_called = True
        for hook in list(self._step_pre_hooks.values()):
            changed = hook(self, args, kwargs)
            if changed is not None:
                if not (isinstance(changed, tuple) and len(changed) == 2):
                    raise RuntimeError(f"{step} must return None or a tuple of (new_args, new_kwargs), but got {changed}.")
                args, kwargs = changed
        result = step(self, *args, **kwargs)
        for hook in list(self._step_post_hooks.values()):
            hook(self, args, kwargs)
        return result

    stepped._tells_schedulers = True
    return stepped


class Optimizer:
    """Base class of optimizers.

    ``params``: tensors, dicts that each describe a group, or (name, tensor) pairs. A subclass defines ``_update(group, params)``
    for one group's parameters that have gradients, or overrides ``step``. Differs from PyTorch: ``state[p]["step"]`` is a Python
    number until ``state_dict()`` makes it a tensor; ``foreach``, ``fused`` and ``capturable`` are accepted and change nothing.
    """

    def __init__(self, params: Iterable, defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        self._make_hook_tables()
        if isinstance(params, Tensor):
            raise TypeError("params argument given to the optimizer should be an iterable of Tensors or dicts, but got torch.FloatTensor")
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        if defaults.get("differentiable"):
            raise NotImplementedError(f"{type(self).__name__}: differentiable=True is not supported, the step is not recorded")
        for group in groups:
            self.add_param_group(dict(group))

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "step" in cls.__dict__:
            cls.step = _with_hooks(cls.step)

    def _make_hook_tables(self) -> None:
        self._step_pre_hooks: dict[int, Callable] = {}
        self._step_post_hooks: dict[int, Callable] = {}
        self._state_dict_pre_hooks: dict[int, Callable] = {}
        self._state_dict_post_hooks: dict[int, Callable] = {}
        self._load_pre_hooks: dict[int, Callable] = {}
        self._load_post_hooks: dict[int, Callable] = {}

    # Stepping

    @_with_hooks
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of every parameter that has a gradient. ``closure`` computes the loss anew first; its result is returned."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        with no_grad():
            for group in self.param_groups:
                with_gradient = [p for p in group["params"] if p.grad is not None]
                if with_gradient:
                    self._recorded_update(group, with_gradient)
        return loss

    def _recorded_update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """``_update``; while a graph is captured, the graph learns to repeat it with the numbers of then."""
        if capture.STATE.active is None:
            self._update(group, params)
        else:
            capture.STATE.active.update(functools.partial(self._update, group, params), [self.state[p] for p in params])

    def _update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        raise NotImplementedError(f"{type(self).__name__} defines neither _update nor step")

    def _stepped(self, params: list[Tensor], names: tuple[str, ...], **counts: float) -> Iterable[tuple[float, list[Tensor]]]:
        """Counts a step of each parameter, making missing state; then the parameters by step, device and dtype."""
        buckets: dict[tuple, list[Tensor]] = {}
        for p in params:
            state = self.state[p]
            if "step" not in state:
                state["step"] = 0
                state.update(counts)
            for name in names:
                if name not in state:
                    state[name] = zeros_like(p)
            state["step"] = step = state["step"] + 1
            buckets.setdefault((step, p._dev, p.dtype), []).append(p)
        return [(key[0], bucket) for key, bucket in buckets.items()]

    def _apply(self, rule: Rule, params: list[Tensor], scalars: tuple[float, ...]) -> None:
        """Applies a rule to parameters of one device and dtype, in as few launches as they fit into."""
        if capture.STATE.steering is None:
            self._launch(rule, params, scalars)
        else:
            capture.STATE.steering.apply(functools.partial(self._launch, rule, params, scalars), scalars)

    def _launch(self, rule: Rule, params: list[Tensor], scalars: tuple[float, ...]) -> None:
        states = [self.state[p] for p in params]
        lists = [params, [p.grad for p in params], *([state[name] for state in states] for name in rule.state)]
        if params[0].dtype.is_complex:
            lists = [[view_as_real(t.detach()) for t in ts] for ts in lists]
        rule.update(lists, scalars)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops the gradients of all parameters, or fills them with zeros."""
        for p in chain.from_iterable(group["params"] for group in self.param_groups):
            if p.grad is not None:
                if set_to_none:
                    p.grad = None
                else:
                    p.grad = p.grad.detach()
                    p.grad.zero_()

    # Groups

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group; options it doesn't give take the defaults.

        TypeError for sets and for what is no tensor; ValueError for non-leaf tensors, missing options and parameters that another
        group has.
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        params = param_group["params"]
        if isinstance(params, set):
            raise TypeError("optimizer parameters need to be organized in ordered collections, but the ordering of tensors in sets "
                            "will change between runs. Please use a list instead.")
        listed = [params] if isinstance(params, Tensor) else list(params)
        if listed and isinstance(listed[0], tuple):
            param_group["param_names"] = [name for name, _ in listed]
            listed = [p for _, p in listed]
        param_group["params"] = listed
        for p in listed:
            if not isinstance(p, Tensor):
                raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {type(p).__name__}")
            if not (p.is_leaf or p.retains_grad):
                raise ValueError("can't optimize a non-leaf Tensor")
        for name, default in self.defaults.items():
            if default is required and name not in param_group:
                raise ValueError(f"parameter group didn't specify a value of required optimization parameter {name}")
            param_group.setdefault(name, default)
        own = set(listed)
        if len(own) != len(listed):
            raise ValueError("optimizer contains a parameter group with duplicate parameters; pass each parameter once")
        if any(not own.isdisjoint(group["params"]) for group in self.param_groups):
            raise ValueError("some parameters appear in more than one parameter group")
        if self.param_groups and ("param_names" in param_group) != ("param_names" in self.param_groups[0]):
            raise ValueError("all optimizer param groups should be with/without names. "
                             "cannot add param group with names to the optimizer")
        self.param_groups.append(param_group)

    # Saving

    def state_dict(self) -> dict[str, Any]:
        """State and groups in PyTorch's format, with parameters as running numbers."""
        for hook in list(self._state_dict_pre_hooks.values()):
            hook(self)
        numbers: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            for p in group["params"]:
                numbers.setdefault(id(p), len(numbers))
            groups.append({**{name: value for name, value in group.items() if name != "params"},
                           "params": [numbers[id(p)] for p in group["params"]]})
        state = {numbers[id(p)] if isinstance(p, Tensor) else p: _saved(values) for p, values in self.state.items()}
        result = {"state": state, "param_groups": groups}
        for hook in list(self._state_dict_post_hooks.values()):
            changed = hook(self, result)
            result = result if changed is None else changed
        return result

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over a state and groups; tensors are cast to their parameter's dtype and moved to its device.

        ValueError where the number of groups or their sizes differ.
        """
        state_dict = dict(state_dict)
        for hook in list(self._load_pre_hooks.values()):
            changed = hook(self, state_dict)
            state_dict = state_dict if changed is None else changed
        saved = copy.deepcopy(state_dict["param_groups"])
        if len(saved) != len(self.param_groups):
            raise ValueError("loaded state dict has a different number of parameter groups")
        if any(len(new["params"]) != len(old["params"]) for new, old in zip(saved, self.param_groups, strict=True)):
            raise ValueError("loaded state dict contains a parameter group that doesn't match the size of optimizer's group")
        by_number = dict(zip(chain.from_iterable(group["params"] for group in saved),
                             chain.from_iterable(group["params"] for group in self.param_groups), strict=True))
        state: defaultdict[Any, dict] = defaultdict(dict)
        for key, values in state_dict["state"].items():
            if key in by_number:
                state[by_number[key]] = {name: _loaded(name, value, by_number[key]) for name, value in values.items()}
            else:
                state[key] = copy.deepcopy(values)
        groups = [{**new, "params": old["params"]} for new, old in zip(saved, self.param_groups, strict=True)]
        self.__setstate__({"state": state, "param_groups": groups})
        for hook in list(self._load_post_hooks.values()):
            hook(self)

    def __getstate__(self) -> dict[str, Any]:
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if "_step_pre_hooks" not in self.__dict__:
            self._make_hook_tables()
        for group in self.param_groups:
            for name, default in self.defaults.items():
                group.setdefault(name, default)

    # Hooks

    def register_step_pre_hook(self, hook: Callable) -> RemovableHandle:
        """``hook(optimizer, args, kwargs)`` runs before ``step`` and may return other arguments."""
        return RemovableHandle(self._step_pre_hooks, hook)

    def register_step_post_hook(self, hook: Callable) -> RemovableHandle:
        """``hook(optimizer, args, kwargs)`` runs after ``step``."""
        return RemovableHandle(self._step_post_hooks, hook)

    def register_state_dict_pre_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """``hook(optimizer)`` runs before ``state_dict``."""
        return RemovableHandle(self._state_dict_pre_hooks, hook, prepend=prepend)

    def register_state_dict_post_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """``hook(optimizer, state_dict)`` runs after ``state_dict`` and may return another dict."""
        return RemovableHandle(self._state_dict_post_hooks, hook, prepend=prepend)

    def register_load_state_dict_pre_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """``hook(optimizer, state_dict)`` runs before loading and may return another dict."""
        return RemovableHandle(self._load_pre_hooks, hook, prepend=prepend)

    def register_load_state_dict_post_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """``hook(optimizer)`` runs after loading."""
        return RemovableHandle(self._load_post_hooks, hook, prepend=prepend)

    def __repr__(self) -> str:
        groups = []
        for i, group in enumerate(self.param_groups):
            options = [f"    {name}: {group[name]}\n" for name in sorted(group) if name != "params"]
            groups.append(f"\nParameter Group {i}\n" + "".join(options))
        return f"{type(self).__name__} (" + "".join(groups) + ")"


def _saved(values: Any) -> Any:
    """A parameter's state as PyTorch keeps it."""
    if not isinstance(values, dict):
        return values
    return {name: tensor(float(v), dtype=float32) if name in _COUNTS and not isinstance(v, Tensor) else v for name, v in values.items()}


def _loaded(name: str, value: Any, p: Tensor) -> Any:
    """One entry of a parameter's state as it is kept here."""
    if name in _COUNTS:
        number = float(value)
        return int(number) if name == "step" else number
    if isinstance(value, Tensor):
        return value.to(device=p.device, dtype=p.dtype if p.is_floating_point() else value.dtype, copy=True)
    return copy.deepcopy(value)


def check(name: str, value: float, legal: bool) -> None:
    """ValueError in PyTorch's words for an option out of range."""
    if not legal:
        raise ValueError(f"Invalid {name}: {value}")


def check_common(lr: Any, eps: float | None = None, weight_decay: float = 0.0, betas: tuple | None = None) -> None:
    """The checks that most rules share."""
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError("Tensor lr must be 1-element")
    check("learning rate", lr, float(lr) >= 0.0)
    if eps is not None:
        check("epsilon value", eps, eps >= 0.0)
    for i, beta in enumerate(betas or ()):
        check(f"beta parameter at index {i}", beta, 0.0 <= float(beta) < 1.0)
    check("weight_decay value", weight_decay, float(weight_decay) >= 0.0)


def sign_and_decay(group: dict[str, Any]) -> tuple[float, float]:
    """The scalars ``sign`` and ``decay`` of the line GRADIENT."""
    return -1.0 if group["maximize"] else 1.0, float(group["weight_decay"])


def decays(group: dict[str, Any], lr: float) -> tuple[float, float, float]:
    """``sign``, ``decay`` and ``shrink``: weight decay as part of the gradient, or (decoupled) as a shrinking of the parameter."""
    sign, decay = sign_and_decay(group)
    return (sign, 0.0, 1.0 - lr * decay) if group.get("decoupled_weight_decay") else (sign, decay, 1.0)
