"""Saving and restoring a module's parameters and buffers: ``state_dict`` and ``load_state_dict``."""
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from ...core.autograd import RemovableHandle
from ...core.modes import no_grad
from ...core.tensor import Tensor
from ..parameter import Parameter

EXTRA_STATE = "_extra_state"


class IncompatibleKeys(NamedTuple):
    """What ``load_state_dict`` found missing and what it could not place."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"_IncompatibleKeys(missing_keys={self.missing_keys!r}, unexpected_keys={self.unexpected_keys!r})"

    __str__ = __repr__


class _Report:
    """What went wrong while a state dict was loaded."""

    def __init__(self) -> None:
        self.missing: list[str] = []
        self.unexpected: list[str] = []
        self.errors: list[str] = []

    def raise_errors(self, name: str, strict: bool) -> None:
        lines = list(self.errors)
        if strict:
            for title, keys in (("Unexpected", self.unexpected), ("Missing", self.missing)):
                if keys:
                    quoted = ", ".join(f'"{key}"' for key in keys)
                    lines.insert(0, f"{title} key(s) in state_dict: {quoted}. ")
        if lines:
            raise RuntimeError(f"Error(s) in loading state_dict for {name}:\n\t" + "\n\t".join(lines))


class StateDict:
    """The part of Module that saves and restores; Module mixes it in."""

    _version = 1

    def get_extra_state(self) -> Any:
        """What a subclass wants saved beside its tensors. Override together with ``set_extra_state``."""
        raise NotImplementedError("override get_extra_state to save extra state with a module")

    def set_extra_state(self, state: Any) -> None:
        """Takes back what ``get_extra_state`` gave."""
        raise NotImplementedError("override set_extra_state to restore a module's extra state")

    def _own_state(self) -> Iterator[tuple[str, Tensor]]:
        """This module's own parameters and persistent buffers by name, without those that are None."""
        for name, tensor in self._parameters.items():
            if tensor is not None:
                yield name, tensor
        for name, tensor in self._buffers.items():
            if tensor is not None and name not in self._non_persistent_buffers_set:
                yield name, tensor

    def _save_to_state_dict(self, destination: dict, prefix: str, keep_vars: bool) -> None:
        """Puts this module's own state into ``destination``; subclasses override it to add more."""
        for name, tensor in self._own_state():
            destination[prefix + name] = tensor if keep_vars else tensor.detach()
        if type(self).get_extra_state is not StateDict.get_extra_state:
            destination[prefix + EXTRA_STATE] = self.get_extra_state()

    def state_dict(self, *, destination: dict | None = None, prefix: str = "", keep_vars: bool = False) -> dict:
        """Parameters and persistent buffers of this module and everything below, by dotted name.

        The tensors share memory with the module's and are detached unless ``keep_vars``. The dict carries PyTorch's ``_metadata``.
        """
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()
        metadata = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = metadata
        for hook in self._hooks("state_dict_pre"):
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, child in self._modules.items():
            if child is not None:
                child.state_dict(destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        for hook in self._hooks("state_dict"):
            result = hook(self, destination, prefix, metadata)
            destination = destination if result is None else result
        return destination

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> IncompatibleKeys:
        """Copies the tensors of ``state_dict`` into this module's (``assign``: puts them in their place).

        Raises RuntimeError listing every missing or unexpected key (``strict``) and every tensor of the wrong size;
        TypeError for anything but a mapping. Returns the missing and unexpected keys.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        metadata = getattr(state_dict, "_metadata", {})
        remaining, report = OrderedDict(state_dict), _Report()
        if metadata:
            remaining._metadata = metadata
        self._load_tree(remaining, "", strict, assign, metadata, report)
        report.raise_errors(type(self).__name__, strict)
        return IncompatibleKeys(report.missing, report.unexpected)

    def _load_tree(self, state: dict, prefix: str, strict: bool, assign: bool, metadata: Mapping, report: _Report) -> None:
        local = dict(metadata.get(prefix[:-1], {}), assign_to_params_buffers=assign)
        self._load_from_state_dict(state, prefix, local, True, report.missing, report.unexpected, report.errors)
        for name, child in self._modules.items():
            if child is not None:
                below = f"{prefix}{name}."
                part = OrderedDict((key, value) for key, value in state.items() if key.startswith(below))
                child._load_tree(part, below, strict, assign, metadata, report)
        keys = IncompatibleKeys(report.missing, report.unexpected)
        for hook in self._hooks("load_state_dict_post"):
            if hook(self, keys) is not None:
                raise RuntimeError("a hook registered with register_load_state_dict_post_hook must change "
                                   "the incompatible keys in place and return None")

    def _load_from_state_dict(self, state_dict: dict, prefix: str, local_metadata: dict, strict: bool,
                              missing_keys: list[str], unexpected_keys: list[str], error_msgs: list[str]) -> None:
        """Restores this module's own state; subclasses override it to understand older versions."""
        for hook in self._hooks("load_state_dict_pre"):
            hook(self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        assign = local_metadata.get("assign_to_params_buffers", False)
        for name, tensor in self._own_state():
            key = prefix + name
            if key not in state_dict:
                missing_keys.append(key)
                continue
            problem = _mismatch(key, state_dict[key], tensor)
            if problem:
                error_msgs.append(problem)
            elif assign:
                setattr(self, name, _assigned(state_dict[key], tensor))
            else:
                with no_grad():
                    tensor.copy_(state_dict[key])
        self._load_extra_state(state_dict, prefix, missing_keys, unexpected_keys)
        unexpected_keys.extend(self._unexpected(state_dict, prefix))

    def _load_extra_state(self, state_dict: dict, prefix: str, missing_keys: list[str], unexpected_keys: list[str]) -> None:
        key = prefix + EXTRA_STATE
        if type(self).set_extra_state is not StateDict.set_extra_state:
            if key in state_dict:
                self.set_extra_state(state_dict[key])
            else:
                missing_keys.append(key)
        elif key in state_dict:
            unexpected_keys.append(key)

    def _unexpected(self, state_dict: dict, prefix: str) -> Iterator[str]:
        """Keys under ``prefix`` that are neither this module's own nor a child's (a child reports its own)."""
        own = {name for name, _ in self._own_state()}
        for key in state_dict:
            if key.startswith(prefix) and key != prefix + EXTRA_STATE:
                head, dot, _ = key[len(prefix):].partition(".")
                if not (head in self._modules if dot else head in own):
                    yield key

    def _hooks(self, kind: str) -> list[Callable]:
        """The registered hooks of a kind, in order."""
        table = self.__dict__["_hook_tables"].get(kind)
        return list(table.values()) if table else []

    def _add_hook(self, kind: str, hook: Any, prepend: bool = False) -> RemovableHandle:
        return RemovableHandle(self._hook_tables.setdefault(kind, {}), hook, prepend=prepend)

    def register_state_dict_pre_hook(self, hook: Callable) -> RemovableHandle:
        """``hook(module, prefix, keep_vars)`` runs before this module's state is collected."""
        return self._add_hook("state_dict_pre", hook)

    def register_state_dict_post_hook(self, hook: Callable) -> RemovableHandle:
        """``hook(module, state_dict, prefix, local_metadata)`` runs after this module's state was collected, and may change it in place."""
        return self._add_hook("state_dict", hook)

    _register_state_dict_hook = register_state_dict_post_hook

    def register_load_state_dict_pre_hook(self, hook: Callable) -> RemovableHandle:
        """``hook(module, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)`` runs before loading."""
        return self._add_hook("load_state_dict_pre", hook)

    def register_load_state_dict_post_hook(self, hook: Callable) -> RemovableHandle:
        """``hook(module, incompatible_keys)`` runs after loading, and may change the keys in place."""
        return self._add_hook("load_state_dict_post", hook)


def _mismatch(key: str, value: Any, tensor: Tensor) -> str | None:
    """Why ``value`` can't be loaded into ``tensor``, or None."""
    if not isinstance(value, Tensor):
        return f'While copying the parameter named "{key}", expected a tensor but received {type(value)}'
    if value.shape != tensor.shape:
        return (f"size mismatch for {key}: copying a param with shape {value.shape} from checkpoint, "
                f"the shape in current model is {tensor.shape}.")
    return None


def _assigned(value: Tensor, old: Tensor) -> Tensor:
    """``value`` as what a module keeps in the place of ``old``: a Parameter stays one and keeps ``requires_grad``."""
    if not isinstance(old, Parameter):
        return value
    if isinstance(value, Parameter):
        return value.requires_grad_(old.requires_grad)
    return Parameter(value, requires_grad=old.requires_grad)
