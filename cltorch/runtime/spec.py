"""The names of devices as a user writes them: "cpu", "cuda", "cuda:1". Nothing here touches OpenCL."""
from __future__ import annotations

import threading
from typing import Any, NoReturn

ALIASES = {"cpu": "cpu", "cuda": "cuda", "opencl": "cuda"}


class _PerThread(threading.local):
    """What each thread chose: the number behind a bare "cuda", and where new tensors go."""

    current = 0
    default: device | None = None

    def __init__(self) -> None:
        self.stack: list[device] = []


CHOSEN = _PerThread()


def unknown(text: str) -> RuntimeError:
    return RuntimeError(f"Expected one of cpu, cuda, opencl device type at start of device string: {text}")


class device:  # noqa: N801 - PyTorch's name
    """``device("cuda:1")``, ``device("cuda", 1)``, ``device(1)``: a name of a device, as in PyTorch. "opencl" means "cuda".

    Equal names are the same object. Raises RuntimeError for text that names no kind of device.
    """

    __slots__ = ("index", "type")
    type: str
    index: int | None

    def __new__(cls, type: Any, index: int | None = None) -> device:
        if isinstance(type, device):
            return type
        if isinstance(type, int) and not isinstance(type, bool):
            kind, index = "cuda", _checked_index(type, type)
        else:
            kind, index = _parse(type, index)
        made = _KNOWN.get((kind, index))
        if made is None:
            made = object.__new__(cls)
            object.__setattr__(made, "type", kind)
            object.__setattr__(made, "index", index)
            made = _KNOWN.setdefault((kind, index), made)
        return made

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"attribute {name!r} of a device can't be changed")

    def __repr__(self) -> str:
        return f"device(type={self.type!r})" if self.index is None else f"device(type={self.type!r}, index={self.index})"

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __reduce__(self) -> tuple:
        return (device, (self.type,) if self.index is None else (self.type, self.index))

    def __enter__(self) -> device:
        CHOSEN.stack.append(self)
        return self

    def __exit__(self, *error: object) -> None:
        CHOSEN.stack.pop()


_KNOWN: dict[tuple[str, int | None], device] = {}


def _parse(text: Any, index: int | None) -> tuple[str, int | None]:
    if not isinstance(text, str):
        raise TypeError(f"device() takes text such as 'cuda:0', an index or a device, not {type(text).__name__}")
    kind, colon, number = text.partition(":")
    if kind not in ALIASES:
        raise unknown(text)
    if colon:
        if index is not None:
            raise RuntimeError(f"device({text!r}, {index}) gives the index twice")
        if not (number.isascii() and number.isdigit()) or (len(number) > 1 and number[0] == "0"):
            raise RuntimeError(f"Invalid device string: {text!r}; write for instance 'cuda:0'")
        index = int(number)
    return ALIASES[kind], None if index is None else _checked_index(index, text)


def _checked_index(index: int, given: object) -> int:
    if index < 0:
        raise RuntimeError(f"Device index must not be negative, got {given}")
    return index


def default_device() -> device:
    """Where new tensors go: the innermost ``with device(...)``, else ``set_default_device``'s, else "cpu"."""
    return CHOSEN.stack[-1] if CHOSEN.stack else CHOSEN.default or device("cpu")


def set_default_device(spec: Any) -> None:
    """Make tensors without a ``device=`` on ``spec`` in this thread; None goes back to "cpu"."""
    CHOSEN.default = None if spec is None else device(spec)


def current_index() -> int:
    """The index that "cuda" without a number means in this thread."""
    return CHOSEN.current
