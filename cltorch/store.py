"""The disk cache: what took long to compile, by a hash of what it was compiled from. Whatever is wrong with a file there means "compile again"."""
from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from pathlib import Path

from . import config
from .config import debug

MAGIC = b"cltorch-binary-2\n"


def default_folder() -> Path:
    """Where this system keeps what can be made again."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "cltorch"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "cltorch" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cltorch"


class Store:
    """The disk cache. A file is MAGIC, the SHA-256 of the rest, the binary; written aside and moved into place."""

    def __init__(self) -> None:
        self.complained = False
        self.total: int | None = None

    @property
    def limit(self) -> int:
        return config.get("CACHE_SIZE") << 20

    def path(self, key: str) -> Path:
        folder = config.get("CACHE_DIR")
        return (Path(folder).expanduser() if folder else default_folder()) / "kernels" / f"{key}.bin"

    def load(self, key: str) -> bytes | None:
        """The binary from its file, or None: a miss, a torn file."""
        if not self.limit:
            return None
        path = self.path(key)
        try:
            binary = unpack(path.read_bytes())
            os.utime(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            debug(1, f"the cached binary {path} can't be used and is built again: {error}")
            return None
        return binary

    def save(self, key: str, binary: bytes) -> None:
        """Keep a binary. A full or read-only disk costs one debug note."""
        if not self.limit:
            return
        path = self.path(key)
        try:
            self._write(path, pack(binary))
        except OSError as error:
            if not self.complained:
                self.complained = True
                debug(1, f"compiled kernels can't be kept in {path.parent}: {error}")

    def _write(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.replace(aside, path)
        except BaseException:
            os.unlink(aside)
            raise
        self._trim(path.parent, len(data))

    def _trim(self, folder: Path, added: int) -> None:
        """Above the limit the files that were used longest ago go, down to four fifths."""
        if self.total is not None and self.total + added <= self.limit:
            self.total += added
            return
        files = []
        for entry in os.scandir(folder):
            try:
                files.append((entry.stat().st_mtime, entry.stat().st_size, entry.path))
            except FileNotFoundError:  # another process trims too
                continue
        self.total = sum(size for _, size, _ in files)
        if self.total <= self.limit:
            return
        for _, size, path in sorted(files):
            if self.total <= self.limit * 4 // 5:
                break
            Path(path).unlink(missing_ok=True)
            self.total -= size


def pack(binary: bytes) -> bytes:
    return MAGIC + hashlib.sha256(binary).digest() + binary


def unpack(data: bytes) -> bytes:
    """The binary. Raises ValueError for anything that ``pack`` didn't write."""
    start = len(MAGIC) + 32
    if not data.startswith(MAGIC) or hashlib.sha256(data[start:]).digest() != data[len(MAGIC):start]:
        raise ValueError("not a whole file of the kernel cache")
    return data[start:]


STORE = Store()
