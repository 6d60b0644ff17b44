"""Reads data.pkl without running anything from it: a small stack machine that knows data, and calls only what ``names`` lists."""
from __future__ import annotations

import pickletools
from collections import Counter, OrderedDict
from collections.abc import Callable
from pickle import UnpicklingError
from typing import Any

import numpy as np

from ..nn.modules.module import Module
from . import numpy_objects
from .names import Constructor, find, may_call
from .tensors import set_attributes

_DAMAGE = (IndexError, KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError, UnicodeError,
           Warning)  # a warning where warnings are errors: damaged text
_VALUES = frozenset(("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
                     "SHORT_BINSTRING", "BINSTRING", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"))
_MARK = object()


class Unpickler:
    """``load()`` gives the object. ``persistent_load`` gets each storage's record. UnpicklingError for anything not allowed or damaged."""

    def __init__(self, data: bytes, persistent_load: Callable[[Any], Any], weights_only: bool) -> None:
        self._data, self._persistent_load, self._weights_only = data, persistent_load, weights_only
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._from_outside: BaseException | None = None

    def load(self) -> Any:
        try:
            return self._run()
        except UnpicklingError:
            raise
        except _DAMAGE as error:
            if error is self._from_outside:
                raise
            raise UnpicklingError(f"load: data.pkl is damaged: {error}") from error

    def _run(self) -> Any:
        push, steps = self._stack.append, _STEPS
        for opcode, arg, _ in pickletools.genops(self._data):
            name = opcode.name
            if name in _VALUES:
                push(arg)
            elif name == "STOP":
                return self._stack.pop()
            elif name in steps:
                steps[name](self, arg)
            else:
                raise UnpicklingError(f"load: data.pkl uses pickle operation {name}, which no checkpoint needs")
        raise UnpicklingError("load: data.pkl ends too early")

    def _persistent(self) -> None:
        try:
            self._stack.append(self._persistent_load(self._stack.pop()))
        except Exception as error:
            self._from_outside = error  # the storage's or the map_location function's own complaint: no damage of the pickle
            raise

    def _pop_mark(self) -> list[Any]:
        at = len(self._stack) - 1
        while self._stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise UnpicklingError("load: data.pkl is damaged: a mark is missing")
        items = self._stack[at + 1:]
        del self._stack[at:]
        return items

    def _pop(self, count: int) -> list[Any]:
        items = self._stack[-count:]
        if len(items) < count:
            raise UnpicklingError("load: data.pkl is damaged: too few values")
        del self._stack[-count:]
        return items

    def _put(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def _global(self, module: str, name: str) -> None:
        self._stack.append(find(module, name, self._weights_only))

    def _stack_global(self) -> None:
        module, name = self._pop(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise UnpicklingError("load: data.pkl names something by what is not text")
        self._global(module, name)

    def _set_items(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) not in (dict, OrderedDict, Counter):
            raise UnpicklingError(f"load: the file sets items of a {type(target).__name__}")
        target.update(zip(items[::2], items[1::2], strict=True))

    def _append(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not list:
            raise UnpicklingError(f"load: the file appends to a {type(target).__name__}")
        target.extend(items)

    def _add(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not set:
            raise UnpicklingError(f"load: the file adds to a {type(target).__name__}")
        target.update(items)

    def _reduce(self) -> None:
        function, args = self._pop(2)
        if type(args) is not tuple:
            raise UnpicklingError("load: the file calls something with arguments that are not a tuple")
        if isinstance(function, Constructor):
            self._stack.append(function.make(*args))
        elif may_call(function, self._weights_only):
            self._stack.append(function(*args))
        else:
            raise UnpicklingError(f"load: the file tries to call {function!r}, which may not be called")

    def _new_object(self) -> None:
        kind, args = self._pop(2)
        if isinstance(kind, Constructor):
            self._stack.append(kind.make(*args))
        elif isinstance(kind, type) and may_call(kind, self._weights_only):
            self._stack.append(kind.__new__(kind, *args))
        else:
            raise UnpicklingError(f"load: the file tries to make an object of {kind!r}")

    def _build(self) -> None:
        state = self._stack.pop()
        target = self._stack[-1]
        if isinstance(target, np.ndarray):
            numpy_objects.fill(target, state)
        elif isinstance(target, np.dtype):
            numpy_objects.check_dtype_state(target, state)
        elif type(target) in (OrderedDict, Counter):
            set_attributes(target, state)
        elif isinstance(target, Module) or may_call(type(target), self._weights_only):
            _restore(target, state)
        else:
            raise UnpicklingError(f"load: the file tries to set the state of a {type(target).__name__}")


def _restore(target: Any, state: Any) -> None:
    """Gives an allowed object its state as pickle does."""
    set_state = getattr(target, "__setstate__", None)
    if set_state is not None:
        set_state(state)
        return
    attributes, slots = state if isinstance(state, tuple) else (state, None)
    target.__dict__.update(attributes or {})
    for name, value in (slots or {}).items():
        setattr(target, name, value)


def _next_memo(machine: Unpickler) -> None:
    machine._put(len(machine._memo))


_STEPS: dict[str, Callable[[Unpickler, Any], Any]] = {
    "PROTO": lambda m, arg: None,
    "FRAME": lambda m, arg: None,
    "NONE": lambda m, arg: m._stack.append(None),
    "NEWTRUE": lambda m, arg: m._stack.append(True),
    "NEWFALSE": lambda m, arg: m._stack.append(False),
    "MARK": lambda m, arg: m._stack.append(_MARK),
    "POP": lambda m, arg: m._stack.pop(),
    "POP_MARK": lambda m, arg: m._pop_mark(),
    "EMPTY_TUPLE": lambda m, arg: m._stack.append(()),
    "TUPLE1": lambda m, arg: m._stack.append(tuple(m._pop(1))),
    "TUPLE2": lambda m, arg: m._stack.append(tuple(m._pop(2))),
    "TUPLE3": lambda m, arg: m._stack.append(tuple(m._pop(3))),
    "TUPLE": lambda m, arg: m._stack.append(tuple(m._pop_mark())),
    "EMPTY_LIST": lambda m, arg: m._stack.append([]),
    "APPEND": lambda m, arg: m._append(m._pop(1)),
    "APPENDS": lambda m, arg: m._append(m._pop_mark()),
    "EMPTY_DICT": lambda m, arg: m._stack.append({}),
    "SETITEM": lambda m, arg: m._set_items(m._pop(2)),
    "SETITEMS": lambda m, arg: m._set_items(m._pop_mark()),
    "EMPTY_SET": lambda m, arg: m._stack.append(set()),
    "ADDITEMS": lambda m, arg: m._add(m._pop_mark()),
    "FROZENSET": lambda m, arg: m._stack.append(frozenset(m._pop_mark())),
    "BINGET": lambda m, arg: m._stack.append(m._memo[arg]),
    "LONG_BINGET": lambda m, arg: m._stack.append(m._memo[arg]),
    "BINPUT": lambda m, arg: m._put(arg),
    "LONG_BINPUT": lambda m, arg: m._put(arg),
    "MEMOIZE": lambda m, arg: _next_memo(m),
    "GLOBAL": lambda m, arg: m._global(*arg.split(" ", 1)),
    "STACK_GLOBAL": lambda m, arg: m._stack_global(),
    "REDUCE": lambda m, arg: m._reduce(),
    "NEWOBJ": lambda m, arg: m._new_object(),
    "BUILD": lambda m, arg: m._build(),
    "BINPERSID": lambda m, arg: m._persistent(),
}
