"""``save`` and ``load`` in the file format of PyTorch, both ways. Loading never runs code from the file.

Source of the format: https://docs.pytorch.org/docs/stable/notes/serialization.html
"""
from __future__ import annotations

import hashlib
import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import IO, Any

import numpy as np

from ..core.data import to_bytes
from ..core.storage import Storage
from .locations import MapLocation, placement
from .names import StorageClass, add_safe_globals, clear_safe_globals, get_safe_globals, safe_globals
from .pickler import dump
from .tensors import LoadedStorage, typed_storage
from .unpickler import Unpickler
from .zipformat import ALIGNMENT, Reader, Writer, atomic_file

DEFAULT_PROTOCOL = 2
_VERSION = b"3\n"


def save(obj: Any, f: str | os.PathLike | IO[bytes], pickle_module: Any = None, pickle_protocol: int = DEFAULT_PROTOCOL,
         _use_new_zipfile_serialization: bool = True) -> None:
    """Writes an object in PyTorch's zip format to a path or a writable binary file; tensors that share a storage still do after loading.

    A path is written whole or not at all: an interrupted save leaves the old file. Tensors are saved with their device's name
    ("cuda:0"), so PyTorch without CUDA needs ``map_location="cpu"`` for them. PicklingError for objects that can't be saved.
    """
    if pickle_module not in (None, pickle):
        raise ValueError("save: pickle_module can't be replaced; cltorch writes its own pickle")
    if not _use_new_zipfile_serialization:
        raise ValueError("save: the format from before PyTorch 1.6 can't be written; leave out _use_new_zipfile_serialization=False")
    data, storages = dump(obj, pickle_protocol)
    if not isinstance(f, (str, os.PathLike)):
        _write(f, "archive", data, storages)
        return
    path = Path(f)
    with atomic_file(path) as stream:
        _write(stream, path.stem, data, storages)


def _write(stream: IO[bytes], folder: str, data: bytes, storages: list[Storage]) -> None:
    with Writer(stream, folder) as writer:
        writer.write("data.pkl", data)
        writer.write(".format_version", b"1")
        writer.write(".storage_alignment", str(ALIGNMENT).encode())
        writer.write("byteorder", b"little")
        for key, storage in enumerate(storages):
            writer.write(f"data/{key}", to_bytes(storage))
        writer.write("version", _VERSION)
        writer.write(".data/serialization_id", _identity(data))


def _identity(data: bytes) -> bytes:
    """Forty decimal digits that tell checkpoints of different structure apart."""
    return f"{int.from_bytes(hashlib.sha256(data).digest(), 'big') % 10 ** 40:040d}".encode()


def load(f: str | os.PathLike | IO[bytes], map_location: MapLocation = None, pickle_module: Any = None, *, weights_only: bool | None = True,
         mmap: bool | None = None, encoding: str = "utf-8") -> Any:
    """Reads what ``save`` or torch.save (1.6 and later) wrote, from a path or a seekable binary file.

    ``map_location``: where tensors go: a device, a dict from saved to wanted device names, or a function (storage, name) -> storage or None.
    Only data and PyTorch's list of types are loaded, NumPy scalars and arrays among them; ``add_safe_globals`` allows more. Unlike in PyTorch
    ``weights_only=False`` runs nothing from the file either: it also admits Module classes that are imported already. ``mmap`` and
    ``encoding`` are accepted and do nothing. RuntimeError for a file that is damaged, EOFError for an empty one,
    UnpicklingError for one that save did not write or that holds what is forbidden.
    """
    if pickle_module not in (None, pickle):
        raise ValueError("load: pickle_module can't be replaced; cltorch reads with its own restricted unpickler")
    place = placement(map_location)
    if isinstance(f, (str, os.PathLike)):
        with open(f, "rb") as stream:
            return _read(stream, place, weights_only is not False)
    return _read(_seekable(f), place, weights_only is not False)


def _seekable(f: Any) -> IO[bytes]:
    if not hasattr(f, "read"):
        raise TypeError(f"load: expected a path or a binary file opened for reading, got {type(f).__name__}")
    if not (hasattr(f, "seek") and hasattr(f, "tell")):
        return io.BytesIO(f.read())
    if f.seek(0, os.SEEK_CUR) and not f.read(1):
        raise EOFError("load: the file is at its end (Ran out of input): call seek(0) after writing to it")
    return f


def _read(stream: IO[bytes], place: Callable[[str], Any], weights_only: bool) -> Any:
    reader = Reader(stream)
    order = reader.text("byteorder", "little")
    if order not in ("little", "big"):
        raise RuntimeError(f"load: unknown byte order {order!r}")
    loaded: dict[str, LoadedStorage] = {}

    def storage_of(record: Any) -> LoadedStorage:
        kind, key, location, count = _storage_record(record)
        if key not in loaded:
            loaded[key] = _read_storage(reader, kind, key, count, place(location), order)
        return loaded[key]

    return Unpickler(reader.read("data.pkl").tobytes(), storage_of, weights_only).load()


def _storage_record(record: Any) -> tuple[StorageClass, str, str, int]:
    if not (isinstance(record, tuple) and len(record) == 5 and record[0] == "storage"):
        raise UnpicklingError(f"load: a storage's record was expected, found {record!r}")
    _, kind, key, location, count = record
    if not (isinstance(kind, StorageClass) and isinstance(key, str) and isinstance(location, str) and type(count) is int and count >= 0):
        raise UnpicklingError(f"load: a storage's record is wrong: {record[1:]!r}")
    return kind, key, location, count


def _read_storage(reader: Reader, kind: StorageClass, key: str, count: int, place: Any, order: str) -> LoadedStorage:
    name, itemsize = f"data/{key}", kind.dtype.itemsize if kind.dtype else 1
    if reader.size(name) != count * itemsize:
        raise RuntimeError(f"load: storage {key} should hold {count} elements of {itemsize} bytes, but its record has {reader.size(name)} bytes")
    if order == "big" and kind.dtype is None:
        raise RuntimeError("load: the file holds bytes in big-endian order without their type; save it anew on a little-endian machine")

    def fill(target: np.ndarray) -> None:
        reader.read_into(name, target)
        if order == "big":
            target.view(kind.dtype.np).byteswap(inplace=True)  # type: ignore[union-attr]

    return LoadedStorage(typed_storage(count * itemsize, kind.dtype, place, fill), kind.dtype)


__all__ = ["add_safe_globals", "clear_safe_globals", "get_safe_globals", "load", "safe_globals", "save"]
