"""Containers: modules and parameters in sequences and dictionaries."""
from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from ...core.tensor import Tensor
from ..parameter import Parameter
from .module import Module, indent, typename


class _ModuleSequence(Module):
    """Modules under the names "0", "1", ...: indexing, slicing, insertion, deletion, iteration."""

    def _position(self, index: Any) -> int:
        index, length = operator.index(index), len(self._modules)
        if not -length <= index < length:
            raise IndexError(f"index {index} is out of range")
        return index % length

    def _renumber(self, modules: list[Module]) -> None:
        self._modules.clear()
        self._modules.update((str(i), module) for i, module in enumerate(modules))

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self._slice(index)
        return list(self._modules.values())[self._position(index)]

    def _slice(self, where: slice) -> Any:
        return type(self)(list(self)[where])

    def __setitem__(self, index: int, module: Module) -> None:
        setattr(self, list(self._modules)[self._position(index)], module)

    def __delitem__(self, index: int | slice) -> None:
        modules = list(self)
        del modules[index if isinstance(index, slice) else self._position(index)]
        self._renumber(modules)

    def append(self, module: Module) -> Any:
        """Adds a module at the end."""
        self.add_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Any:
        """Adds modules at the end. TypeError where ``modules`` can't be iterated."""
        if not isinstance(modules, Iterable):
            raise TypeError(f"{type(self).__name__}.extend should be called with an iterable, but got {type(modules).__name__}")
        for module in list(modules):
            self.append(module)
        return self

    __iadd__ = extend

    def insert(self, index: int, module: Module) -> Any:
        """Puts a module before the one at ``index``."""
        if not isinstance(module, Module):
            raise AssertionError(f"module should be of type: {Module}")
        if not -len(self) <= index <= len(self):
            raise IndexError(f"Index out of range: {index}")
        modules = list(self)
        modules.insert(index, module)
        self._renumber(modules)
        return self

    def pop(self, key: int | slice = -1) -> Module:
        """Removes a module and returns it."""
        module = self[key]
        del self[key]
        return module

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.isdigit()]


class Sequential(_ModuleSequence):
    """Modules applied one after the other: ``Sequential(a, b, ...)`` or ``Sequential(OrderedDict(name=module, ...))``."""

    def __init__(self, *args: Any) -> None:
        super().__init__()
        named = args[0].items() if len(args) == 1 and isinstance(args[0], Mapping) else ((str(i), m) for i, m in enumerate(args))
        for name, module in named:
            self.add_module(name, module)

    def _slice(self, where: slice) -> Sequential:
        return type(self)(dict(list(self._modules.items())[where]))

    def __add__(self, other: Sequential) -> Sequential:
        if not isinstance(other, Sequential):
            raise ValueError(f"add operator supports only objects of Sequential class, but {type(other)} is given.")
        return Sequential(*self, *other)

    def __mul__(self, times: int) -> Sequential:
        if not isinstance(times, int):
            raise TypeError(f"unsupported operand type(s) for *: {type(self)} and {type(times)}")
        if times <= 0:
            raise ValueError(f"Non-positive multiplication factor {times} for {type(self)}")
        return Sequential(*(list(self) * times))

    __rmul__ = __mul__

    def forward(self, input: Any) -> Any:
        for module in self._modules.values():
            input = module(input)
        return input


class ModuleList(_ModuleSequence):
    """Modules in a list whose parameters count as the owner's."""

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.extend(modules)

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList(chain(self, other))

    def __repr__(self) -> str:
        """Runs of modules that print alike are shown once, with their range and number."""
        runs: list[list] = []
        for i, text in enumerate(map(repr, self)):
            if runs and runs[-1][1] == text:
                runs[-1][2] = i
            else:
                runs.append([i, text, i])
        lines = [indent(f"({first}): {text}" if first == last else f"({first}-{last}): {last - first + 1} x {text}")
                 for first, text, last in runs]
        return f"{self._get_name()}(" + ("\n  " + "\n  ".join(lines) + "\n" if lines else "") + ")"


class _Keyed:
    """Dictionary manners over ``_members``, for ModuleDict and ParameterDict."""

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __contains__(self, key: str) -> bool:
        return key in self._members

    def keys(self) -> Iterable[str]:
        """The names."""
        return self._members.keys()

    def values(self) -> Iterable:
        """The members."""
        return self._members.values()

    def items(self) -> Iterable[tuple[str, Any]]:
        """Pairs of name and member."""
        return self._members.items()

    def pop(self, key: str) -> Any:
        """Removes a member and returns it."""
        member = self[key]
        del self[key]
        return member

    def clear(self) -> None:
        """Removes everything."""
        for key in list(self._members):
            del self[key]

    def update(self, members: Any) -> None:
        """Adds members from a mapping or from pairs; those of a plain dict keep its order."""
        if not isinstance(members, Iterable):
            raise TypeError(f"{type(self).__name__}.update should be called with an iterable of key/value pairs, "
                            f"but got {type(members).__name__}")
        for i, pair in enumerate(members.items() if hasattr(members, "items") else members):
            if len(pair) != 2:
                raise ValueError(f"{type(self).__name__} update sequence element #{i} has length {len(pair)}; 2 is required")
            self[pair[0]] = pair[1]


class ModuleDict(_Keyed, Module):
    """Modules in a dictionary whose parameters count as the owner's."""

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.update(modules)

    @property
    def _members(self) -> dict[str, Module]:
        return self._modules

    def __getitem__(self, key: str) -> Module:
        return self._modules[key]

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        del self._modules[key]


def _as_parameter(value: Any) -> Any:
    """A bare tensor becomes a Parameter; anything else is kept as it is."""
    return Parameter(value) if isinstance(value, Tensor) and not isinstance(value, Parameter) else value


def _parameter_line(key: Any, value: Any) -> str:
    if not isinstance(value, Tensor):
        return f"  ({key}): Object of type: {type(value).__name__}"
    size = "x".join(str(n) for n in value.shape)
    where = "" if value.device.type == "cpu" else f" ({value.device})"
    kind = "Parameter" if isinstance(value, Parameter) else "Tensor"
    return f"  ({key}): {kind} containing: [{value.dtype} of size {size}{where}]"


class _ParameterContainer(Module):
    """What ParameterList and ParameterDict share: members are attributes, tensors among them become Parameters."""

    def _member(self, key: Any) -> Any:
        return getattr(self, str(key))

    def _put(self, key: Any, value: Any) -> None:
        setattr(self, str(key), _as_parameter(value))

    def extra_repr(self) -> str:
        return "\n".join(_parameter_line(key, value) for key, value in self._pairs())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(f"{type(self).__name__} should not be called.")


class ParameterList(_ParameterContainer):
    """Parameters in a list; tensors put into it become Parameters, other objects are kept as they are."""

    def __init__(self, values: Iterable | None = None) -> None:
        super().__init__()
        self._size = 0
        if values is not None:
            self += values

    def _pairs(self) -> Iterator[tuple[int, Any]]:
        return enumerate(self)

    def _position(self, index: Any) -> int:
        index = operator.index(index)
        if not -self._size <= index < self._size:
            raise IndexError(f"index {index} is out of range")
        return index % self._size

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator:
        return (self._member(i) for i in range(self._size))

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)([self._member(i) for i in range(*index.indices(self._size))])
        return self._member(self._position(index))

    def __setitem__(self, index: int, value: Any) -> None:
        self._put(self._position(index), value)

    def append(self, value: Any) -> ParameterList:
        """Adds a value at the end."""
        self._size += 1
        self[-1] = value
        return self

    def extend(self, values: Iterable) -> ParameterList:
        """Adds values at the end. TypeError for a lone tensor or something that can't be iterated."""
        if not isinstance(values, Iterable) or isinstance(values, Tensor):
            raise TypeError(f"ParameterList.extend should be called with an iterable, but got {type(values).__name__}")
        for value in list(values):
            self.append(value)
        return self

    __iadd__ = extend

    def pop(self, key: int = -1) -> Any:
        """Removes a value and returns it; those behind it move up."""
        values = list(self)
        value = values.pop(key)
        for i in range(self._size):
            delattr(self, str(i))
        self._size = 0
        self.extend(values)
        return value


class ParameterDict(_Keyed, _ParameterContainer):
    """Parameters in a dictionary; tensors put into it become Parameters, other objects are kept as they are."""

    def __init__(self, parameters: Any = None) -> None:
        super().__init__()
        self._keys: dict[str, None] = {}
        if parameters is not None:
            self.update(parameters)

    @property
    def _members(self) -> dict[str, Any]:
        return {key: self._member(key) for key in self._keys}

    def _pairs(self) -> Iterable[tuple[str, Any]]:
        return self.items()

    def __getitem__(self, key: str) -> Any:
        if key not in self._keys:
            raise KeyError(key)
        return self._member(key)

    def __setitem__(self, key: str, value: Any) -> None:
        if not isinstance(key, str):
            raise TypeError(f"Index given to ParameterDict cannot be used as a key as it is not a string (type is '{typename(key)}')")
        self._keys[key] = None
        self._put(key, value)

    def __delitem__(self, key: str) -> None:
        if key not in self._keys:
            raise KeyError(key)
        del self._keys[key]
        delattr(self, key)

    def copy(self) -> ParameterDict:
        """A new dictionary with the same parameters."""
        return ParameterDict(self._members)

    def get(self, key: str, default: Any = None) -> Any:
        """The value under ``key``, or the default."""
        return self[key] if key in self else default

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The value under ``key``, which becomes the default where there is none."""
        if key not in self:
            self[key] = default
        return self[key]

    def popitem(self) -> tuple[str, Any]:
        """Removes the last pair and returns it."""
        key = next(reversed(self._keys))
        return key, self.pop(key)
