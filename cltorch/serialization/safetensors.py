"""Tensors in .safetensors files, through the safetensors library: ``pip install "cltorch[safetensors]"``.

Source of the format: https://github.com/huggingface/safetensors
"""
from __future__ import annotations

import json
import os
from typing import Any

import numpy as np

from ..core.tensor import Tensor
from ..core.view import make_alias
from ..dtype import NAMES, dtype
from ..shape import contiguous_strides
from .tensors import filled_storage
from .zipformat import atomic_file

try:
    from safetensors import SafetensorError, deserialize
    from safetensors.numpy import save as save_arrays
except ImportError as error:
    raise ImportError('safetensors files need the safetensors library: pip install "cltorch[safetensors]"') from error

_CODES = {"BOOL": "bool", "U8": "uint8", "I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64", "F16": "float16", "BF16": "bfloat16",
          "F32": "float32", "F64": "float64", "C64": "complex64"}


def _check_savable(tensors: dict[str, Tensor]) -> None:
    """The format knows neither views nor shared memory; saving them would double them silently."""
    owners: dict[int, str] = {}
    for name, t in tensors.items():
        if not isinstance(t, Tensor):
            raise ValueError(f"save_file: {name!r} is a {type(t).__name__}; only tensors can be saved")
        if t.dtype.name not in _CODES.values():
            raise ValueError(f"save_file: {name!r} is {t.dtype}, which the safetensors format does not have")
        other = owners.setdefault(id(t.storage), name)
        if other != name:
            raise RuntimeError(f"save_file: {other!r} and {name!r} share memory, which the safetensors format can't express: "
                               "save one of them, clone() the other, or use cltorch.save")


def save(tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """The file's bytes. ValueError for what is no tensor or complex128, RuntimeError for tensors that share memory."""
    _check_savable(tensors)
    arrays = {name: np.ascontiguousarray(t.detach()._host()).reshape(t.shape) for name, t in tensors.items()}
    return _name_bfloat16(bytes(save_arrays(arrays, metadata)))


def _name_bfloat16(data: bytes) -> bytes:
    """NumPy has no bfloat16, so its bits were written as U16, a type that no tensor has: gives those entries their real type."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + size])
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] == "U16":
            entry["dtype"] = "BF16"
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + size:]


def save_file(tensors: dict[str, Tensor], filename: str | os.PathLike, metadata: dict[str, str] | None = None) -> None:
    """Writes tensors by name; the file appears whole or not at all. ``metadata`` maps text to text."""
    data = save(tensors, metadata)
    with atomic_file(filename) as stream:
        stream.write(data)


def load(data: bytes, device: Any = "cpu") -> dict[str, Tensor]:
    """The tensors in a file's bytes. RuntimeError for damaged data, and for types that cltorch does not have."""
    try:
        described = deserialize(data)
    except SafetensorError as error:
        raise RuntimeError(f"load: not a safetensors file, or a damaged one: {error}") from error
    return {name: _tensor(name, entry, device) for name, entry in described}


def load_file(filename: str | os.PathLike, device: Any = "cpu") -> dict[str, Tensor]:
    """The tensors in a file, on a device."""
    with open(filename, "rb") as stream:
        return load(stream.read(), device)


def _tensor(name: str, entry: dict[str, Any], place: Any) -> Tensor:
    d: dtype | None = NAMES.get(_CODES.get(entry["dtype"], ""))
    if d is None:
        raise RuntimeError(f"load: {name!r} is of type {entry['dtype']}, which cltorch does not have")
    raw = np.frombuffer(entry["data"], np.uint8)
    shape = tuple(entry["shape"])
    return make_alias(filled_storage(raw, d, place), d, shape, contiguous_strides(shape), 0)
