"""Writes data.pkl with PyTorch's names for tensors, sizes, devices and types, as text: PyTorch is never imported."""
from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from typing import Any, ClassVar

from ..core.storage import Storage
from ..core.tensor import Tensor
from ..dtype import dtype
from ..nn.parameter import Parameter
from ..runtime.spec import device
from ..shape import Size
from .names import STORAGE_NAMES


class Global:
    """A name that is written without being looked up. Callable only because pickle asks for it."""

    __slots__ = ("module", "name")

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name

    def __call__(self) -> None:
        raise TypeError(f"{self.module}.{self.name} is only a name")


class _Stored:
    """A storage as the element type it is saved with; None means bytes."""

    __slots__ = ("dtype", "storage")

    def __init__(self, storage: Storage, d: dtype | None) -> None:
        self.storage, self.dtype = storage, d


_REBUILD_V2, _REBUILD_V3 = Global("torch._utils", "_rebuild_tensor_v2"), Global("torch._utils", "_rebuild_tensor_v3")
_PARAMETER = Global("torch._utils", "_rebuild_parameter")
_SIZE, _DEVICE = Global("torch", "Size"), Global("torch", "device")
_BYTES = Global("torch.storage", "UntypedStorage")
_STORAGES = {d: Global("torch", name) for d, name in STORAGE_NAMES.items()}
_DTYPES = {d: Global("torch", d.name) for d in STORAGE_NAMES}


class Pickler(pickle._Pickler):  # the C pickler can't write a name that isn't importable
    """After ``dump``, ``storages`` holds the storages in the order of their keys."""

    dispatch: ClassVar[dict] = dict(pickle._Pickler.dispatch)

    def __init__(self, stream: io.BytesIO, protocol: int) -> None:
        super().__init__(stream, protocol)
        self.storages: list[Storage] = []
        self._keys: dict[int, tuple[int, dtype | None]] = {}

    def _key(self, storage: Storage, d: dtype | None) -> int:
        if id(storage) not in self._keys:
            self._keys[id(storage)] = (len(self.storages), d)
            self.storages.append(storage)
        return self._keys[id(storage)][0]

    def persistent_id(self, obj: Any) -> Any:
        if not isinstance(obj, _Stored):
            return None
        key = str(self._key(obj.storage, obj.dtype))
        kind = _BYTES if obj.dtype is None else _STORAGES[obj.dtype]
        count = obj.storage.nbytes // (1 if obj.dtype is None else obj.dtype.itemsize)
        return "storage", kind, key, str(obj.storage.device.spec), count

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Parameter):
            return _PARAMETER, (obj.data, obj.requires_grad, OrderedDict())
        if isinstance(obj, Tensor):
            return self._reduce_tensor(obj)
        if isinstance(obj, Size):
            return _SIZE, (tuple(obj),)
        if isinstance(obj, device):
            return _DEVICE, (obj.type,) if obj.index is None else (obj.type, obj.index)
        return NotImplemented

    def _reduce_tensor(self, t: Tensor) -> tuple[Any, tuple]:
        """By element type; a storage that is seen through two types, or holds part of an element, is written as bytes the second time."""
        _, first = self._keys.get(id(t.storage), (0, t.dtype))
        geometry = (t.storage_offset(), tuple(t.shape), tuple(t.stride()), t.requires_grad, OrderedDict())
        if first is t.dtype and t.storage.nbytes % t.dtype.itemsize == 0:
            return _REBUILD_V2, (_Stored(t.storage, t.dtype), *geometry)
        return _REBUILD_V3, (_Stored(t.storage, None), *geometry, t.dtype)

    def _save_name(self, obj: Global) -> None:
        if self.proto >= 4:
            self.save(obj.module)
            self.save(obj.name)
            self.write(pickle.STACK_GLOBAL)
        else:
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode("ascii"))
        self.memoize(obj)

    def _save_dtype(self, obj: dtype) -> None:
        self.save(_DTYPES[obj])

    dispatch[Global] = _save_name
    dispatch[dtype] = _save_dtype


def dump(obj: Any, protocol: int) -> tuple[bytes, list[Storage]]:
    """data.pkl and the storages it refers to. PicklingError, with the fix, for what can't be saved."""
    stream = io.BytesIO()
    pickler = Pickler(stream, protocol)
    try:
        pickler.dump(obj)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise pickle.PicklingError(f"save: {error}. Save data (tensors, numbers, text, lists, dicts, state_dict()) or objects whose class "
                                   "is defined at the top level of a module") from error
    return stream.getvalue(), pickler.storages
