"""The zip container of torch.save: stored records under one top folder, every payload at a multiple of 64 bytes.

Source of the layout: archives written by PyTorch 2.13, compared byte by byte.
"""
from __future__ import annotations

import os
import secrets
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import IO, Any

import numpy as np

ALIGNMENT = 64
_LOCAL_HEADER = 30  # bytes before the name in a zip's local file header
_ZIP64_FIELD = 20  # the extra field that zipfile adds for a record that may pass 4 GiB
_ZIP64_FROM = 1 << 30
_CHUNK = 1 << 22  # bytes read and summed while they are in the cache
_DATE = (1980, 1, 1, 0, 0, 0)  # equal content gives equal files
_LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # how PyTorch's format before 1.6 starts


class Writer:
    """Writes records one after the other; the end of its ``with`` block adds the directory."""

    def __init__(self, stream: IO[bytes], folder: str) -> None:
        self._sink = _Counted(stream)
        self._zip = zipfile.ZipFile(self._sink, "w", zipfile.ZIP_STORED)
        self._folder = folder

    def write(self, name: str, payload: Any) -> None:
        data = memoryview(payload).cast("B")
        info = zipfile.ZipInfo(f"{self._folder}/{name}", _DATE)
        zip64 = data.nbytes >= _ZIP64_FROM
        start = self._zip.fp.tell() + _LOCAL_HEADER + len(info.filename.encode()) + zip64 * _ZIP64_FIELD
        padding = -(start + 4) % ALIGNMENT
        info.extra = struct.pack("<2sH", b"FB", padding) + b"Z" * padding
        info.file_size = data.nbytes
        with self._zip.open(info, "w", force_zip64=zip64) as record:
            record.write(data)
        info.extra = b""  # padding belongs in front of the payload, not in the directory

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._sink.broken = kind is not None  # then nothing more may reach the stream, the directory least of all
        self._zip.close()


class _Counted:
    """A write-only stream that knows its position from 0 on, so that alignment is relative to the archive's start."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._position, self.broken = stream, 0, False

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        done = view.nbytes if self.broken else 0
        while done < view.nbytes:  # a raw stream may take less than it is given
            done += self._stream.write(view[done:]) or 0
        self._position += view.nbytes
        return view.nbytes

    def tell(self) -> int:
        return self._position

    def flush(self) -> None:
        if not self.broken and hasattr(self._stream, "flush"):
            self._stream.flush()

    def seekable(self) -> bool:
        return False


@contextmanager
def atomic_file(path: str | os.PathLike) -> Iterator[IO[bytes]]:
    """A new file beside ``path`` that takes its place when the block ends well, and is removed otherwise.

    What is no ordinary file (a pipe, a device) can't be replaced, and is written to.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        with open(target, "wb") as stream:
            yield stream
        return
    if not target.parent.is_dir():
        raise RuntimeError(f"save: parent directory {target.parent} does not exist")
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        if target.exists():
            os.chmod(temporary, target.stat().st_mode & 0o7777)
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


class Reader:
    """Reads the records of an archive and checks what it says about itself. RuntimeError for anything that is not one."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._size = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        _refuse_other_formats(stream)
        try:
            self._zip = zipfile.ZipFile(stream)
        except (zipfile.BadZipFile, ValueError, struct.error, EOFError, NotImplementedError) as error:
            raise RuntimeError(f"load: the file can't be read as an archive (truncated or damaged?): {error}") from error
        self._records = self._index()

    def _index(self) -> dict[str, zipfile.ZipInfo]:
        folders = {info.filename.split("/", 1)[0] for info in self._zip.infolist()}
        if len(folders) != 1:
            raise RuntimeError(f"load: expected one top folder in the archive, found {sorted(folders)[:5]}")
        records: dict[str, zipfile.ZipInfo] = {}
        for info in self._zip.infolist():
            name = info.filename.partition("/")[2]
            if name in records:
                raise RuntimeError(f"load: the archive holds record {name!r} twice")
            if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
                raise RuntimeError(f"load: record {name!r} is compressed or encrypted; torch.save never writes such records")
            records[name] = info
        if sum(info.file_size for info in records.values()) > self._size:
            raise RuntimeError("load: the archive's records claim more bytes than the file has")
        if "data.pkl" not in records:
            raise RuntimeError("load: the archive has no data.pkl, so it was not written by save")
        if "constants.pkl" in records or any(name.startswith("code/") for name in records):
            raise RuntimeError("load: this is a TorchScript archive, which holds code; save a state_dict from PyTorch instead")
        return records

    def __contains__(self, name: str) -> bool:
        return name in self._records

    def size(self, name: str) -> int:
        if name not in self._records:
            raise RuntimeError(f"load: the archive has no record {name!r}; it is damaged")
        return self._records[name].file_size

    def read(self, name: str) -> np.ndarray:
        """A record's bytes."""
        data = np.empty(self.size(name), np.uint8)
        self.read_into(name, data)
        return data

    def read_into(self, name: str, target: np.ndarray) -> None:
        """Fills an array of the record's size. RuntimeError where the checksum doesn't fit."""
        view, checksum = memoryview(target), 0  # type: ignore[arg-type]
        self._seek(name)
        for start in range(0, len(view), _CHUNK):
            part = view[start:start + _CHUNK]
            self._fill(part, name)
            checksum = zlib.crc32(part, checksum)
        if checksum != self._records[name].CRC:
            raise RuntimeError(f"load: record {name!r} is damaged: its checksum is wrong")

    def _seek(self, name: str) -> None:
        """To the payload, behind the local header, whose length only it knows."""
        start = self._records[name].header_offset
        self._stream.seek(max(start, 0))
        header = self._stream.read(_LOCAL_HEADER) if start >= 0 else b""
        if len(header) < _LOCAL_HEADER or not header.startswith(b"PK\3\4"):
            raise RuntimeError(f"load: record {name!r} is not where the archive's directory says; the file is damaged")
        name_length, extra_length = struct.unpack("<HH", header[26:])
        self._stream.seek(name_length + extra_length, os.SEEK_CUR)

    def _fill(self, part: memoryview, name: str) -> None:
        done = 0
        while done < len(part):
            if hasattr(self._stream, "readinto"):
                count = self._stream.readinto(part[done:]) or 0
            else:
                chunk = self._stream.read(len(part) - done)
                count = len(chunk)
                part[done:done + count] = chunk
            if count == 0:
                raise RuntimeError(f"load: the file ends inside record {name!r}; it is truncated")
            done += count

    def text(self, name: str, default: str) -> str:
        if name not in self._records:
            return default
        return self.read(name).tobytes().decode("ascii", "replace").strip()


def _refuse_other_formats(stream: IO[bytes]) -> None:
    start = stream.read(len(_LEGACY_MAGIC))
    stream.seek(0)
    if not start:
        raise EOFError("load: the file is empty (Ran out of input)")
    if start.startswith(_LEGACY_MAGIC):
        raise RuntimeError("load: this file is in PyTorch's format from before version 1.6. "
                           "Load it with PyTorch and save it again: torch.save(torch.load(f), g)")
    if not start.startswith(b"PK"):
        raise UnpicklingError(f"load: this is not a file that save wrote (it starts with {start[:8]!r})")
