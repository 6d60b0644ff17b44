"""The names that a checkpoint may hold, by PyTorch's list, and what each becomes here. Names are text: PyTorch is never imported."""
from __future__ import annotations

import sys
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pickle import UnpicklingError
from typing import Any, NamedTuple

from ..core.tensor import TYPE_NAMES
from ..dtype import NAMES, dtype
from ..nn.modules.module import Module
from ..runtime.spec import device
from ..shape import Size
from . import numpy_objects
from .tensors import rebuild_parameter, rebuild_parameter_with_state, rebuild_tensor, rebuild_tensor_v3, rebuild_with_state

STORAGE_NAMES: dict[dtype, str] = {NAMES[name]: f"{short}Storage" for name, short in TYPE_NAMES.items()}
_OTHER_DTYPES = frozenset(
    "bits16 bits1x8 bits2x4 bits4x2 bits8 complex32 float4_e2m1fn_x2 float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz "
    "float8_e8m0fnu int1 int2 int3 int4 int5 int6 int7 qint32 qint8 quint2x4 quint4x2 quint8 uint1 uint16 uint2 uint3 uint32 uint4 "
    "uint5 uint6 uint64 uint7".split())
_BLOCKED_MODULES = frozenset(("sys", "os", "posix", "nt", "subprocess", "builtins", "importlib"))


class Constructor(NamedTuple):
    """A name that the file may call: ``make`` checks its arguments and runs nothing of the file's choosing."""

    name: str
    make: Callable[..., Any]


class StorageClass(NamedTuple):
    """The class in a storage's record; no dtype for bytes."""

    name: str
    dtype: dtype | None


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1", "ascii", "utf-8"):
        raise UnpicklingError(f"load: bytes in encoding {encoding!r}")
    return text.encode(encoding)


def _bytearray(data: Any = b"", encoding: str = "latin1") -> bytearray:
    if isinstance(data, str):
        data = _encode(data, encoding)
    if not isinstance(data, bytes):
        raise UnpicklingError(f"load: bytearray of {type(data).__name__}")
    return bytearray(data)


def _number(real: float, imaginary: float = 0.0) -> complex:
    return complex(real, imaginary)


def _size(sizes: tuple[int, ...] = ()) -> Size:
    if not all(isinstance(n, int) for n in sizes):
        raise UnpicklingError(f"load: torch.Size of {sizes!r}")
    return Size(sizes)


_CONSTRUCTORS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": OrderedDict,
    "collections.Counter": Counter,
    "builtins.set": set,
    "builtins.frozenset": frozenset,
    "builtins.complex": _number,
    "builtins.bytes": lambda: b"",  # how protocol 2 writes empty bytes
    "builtins.bytearray": _bytearray,
    "_codecs.encode": _encode,
    "torch.Size": _size,
    "torch.device": device,
    "torch.serialization._get_layout": str,
    "torch._utils._rebuild_tensor": rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": rebuild_tensor,
    "torch._utils._rebuild_tensor_v3": rebuild_tensor_v3,
    "torch._utils._rebuild_parameter": rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": rebuild_parameter_with_state,
    "torch._tensor._rebuild_from_type_v2": lambda make, kind, args, state: rebuild_with_state(make.make(*args), state),
    "numpy.core.multiarray.scalar": numpy_objects.scalar,
    "numpy._core.multiarray.scalar": numpy_objects.scalar,
    "numpy.core.multiarray._reconstruct": numpy_objects.array,
    "numpy._core.multiarray._reconstruct": numpy_objects.array,
    "numpy.dtype": numpy_objects.dtype,
}


def _builtin_names() -> dict[str, Any]:
    found: dict[str, Any] = {name: Constructor(name, make) for name, make in _CONSTRUCTORS.items()}
    for d, storage in STORAGE_NAMES.items():
        found[f"torch.{d.name}"] = d
        for module in ("torch", "torch.cuda"):
            found[f"{module}.{storage}"] = StorageClass(storage, d)
    for module in ("torch.storage.UntypedStorage", "torch.storage.TypedStorage", "torch.UntypedStorage"):
        found[module] = StorageClass("UntypedStorage", None)
    for name in ("torch.Tensor", "torch.nn.parameter.Parameter", "numpy.ndarray"):
        found[name] = name
    return found


_NAMES = _builtin_names()
_MOVED = {"__builtin__": "builtins", "copy_reg": "copyreg"}  # what protocol 2 calls them
_user: dict[str, Any] = {}


def find(module: str, name: str, weights_only: bool) -> Any:
    """What a name in a file stands for. UnpicklingError where the file may not use it."""
    path = f"{_MOVED.get(module, module)}.{name}"
    if path in _NAMES:
        return _NAMES[path]
    if module.split(".", 1)[0] in _BLOCKED_MODULES:
        raise UnpicklingError(f"load: the file names {path}; names from that module are never loaded")
    if path in _user:
        return _user[path]
    if not weights_only and module.split(".", 1)[0] != "torch":
        return _loaded(module, name)
    raise UnpicklingError(_refusal(module, name, path))


def _refusal(module: str, name: str, path: str) -> str:
    if module == "torch" and name in _OTHER_DTYPES:
        return f"load: the file holds data of type torch.{name}, which cltorch does not have; convert it in PyTorch before saving"
    if module.split(".", 1)[0] == "torch":
        return f"load: the file names {path}, which cltorch does not load; in PyTorch, save model.state_dict() and dense tensors"
    return (f"Weights only load failed: the file names {path}, which is not on the list of types that may be loaded. If you trust this class, "
            f"allow it: cltorch.serialization.add_safe_globals([{name}]). For a whole Module: load(f, weights_only=False).")


def _loaded(module: str, name: str) -> Any:
    """A Module class or a function of cltorch's that this program imported already. Nothing is imported for a file's sake."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if isinstance(found, type) and issubclass(found, Module):
        return found
    if callable(found) and module.split(".", 1)[0] == __name__.split(".", 1)[0] and not isinstance(found, type):
        return found
    raise UnpicklingError(f"load: the file names {module}.{name}. Besides data, load(f, weights_only=False) takes only Module classes that are "
                          f"imported already and what add_safe_globals allows; import {module} first if it defines such a class")


def may_call(found: Any, weights_only: bool) -> bool:
    """Whether a name that ``find`` gave may also be called (functions may only be named)."""
    allowed_by_user = any(found is value for value in _user.values())
    return allowed_by_user or (not weights_only and isinstance(found, type) and issubclass(found, Module))


def _entry(item: Any) -> tuple[str, Any]:
    if isinstance(item, tuple):
        return str(item[1]), item[0]
    return f"{item.__module__}.{item.__qualname__}", item


def add_safe_globals(safe_globals: list) -> None:
    """Allows classes and functions, or (class, "module.Name") pairs, to be named and called by files that ``load`` reads."""
    _user.update(_entry(item) for item in safe_globals)


def get_safe_globals() -> list:
    """What ``add_safe_globals`` added."""
    return list(_user.values())


def clear_safe_globals() -> None:
    """Forgets what ``add_safe_globals`` added."""
    _user.clear()


@contextmanager
def safe_globals(safe_globals: list) -> Iterator[None]:
    """``add_safe_globals`` for the length of a ``with`` block."""
    before = dict(_user)
    add_safe_globals(safe_globals)
    try:
        yield
    finally:
        _user.clear()
        _user.update(before)
