"""NumPy scalars and arrays from a checkpoint: plain numbers and text only, never objects."""
from __future__ import annotations

import math
from pickle import UnpicklingError
from typing import Any

import numpy as np

_PLAIN = frozenset("biufcSU")
_ORDERS = ("<", "|", "=")


def dtype(code: str, align: Any = False, copy: Any = True) -> np.dtype:
    """The dtype of a code such as "f8"; numbers and text only."""
    try:
        found = np.dtype(code) if isinstance(code, str) else None
    except TypeError:
        found = None
    if found is None or found.kind not in _PLAIN or found.subdtype is not None:
        raise UnpicklingError(f"load: NumPy data of type {code!r}; only numbers, bools and text are loaded")
    return found


def check_dtype_state(found: np.dtype, state: Any) -> None:
    """A dtype's state may only confirm its byte order (and a text type's size, which its code holds too)."""
    if not (isinstance(state, tuple) and len(state) > 4 and state[1] in _ORDERS and state[2:5] == (None, None, None)):
        raise UnpicklingError(f"load: NumPy dtype {found} with state {state!r}")


def _checked(d: Any, data: Any, count: int) -> bytes:
    if not isinstance(d, np.dtype) or d.kind not in _PLAIN or not isinstance(data, bytes) or len(data) != count * d.itemsize:
        raise UnpicklingError(f"load: NumPy data of type {d!r}: {count} elements don't match the bytes given")
    return data


def scalar(d: np.dtype, data: bytes) -> np.generic:
    return np.frombuffer(_checked(d, data, 1), d)[0]


def array(kind: Any, shape: Any, code: Any) -> np.ndarray:
    """An empty array that ``fill`` will turn into the real one."""
    return np.empty(0, np.uint8)


def fill(target: np.ndarray, state: Any) -> None:
    """Sets an array's shape, type and content in place (the file may refer to it again)."""
    _, shape, d, fortran, data = state
    if not (isinstance(shape, tuple) and all(isinstance(n, int) and n >= 0 for n in shape)):
        raise UnpicklingError(f"load: NumPy array of shape {shape!r}")
    target.__setstate__((1, shape, d, bool(fortran), _checked(d, data, math.prod(shape))))
