"""Tensors as text, as PyTorch prints them. Only the elements that are shown are brought to the host."""
from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from ..dtype import bool_, decode, default_complex, get_default_dtype, int64
from ..shape import extent
from .tensor import Tensor, alias

_READ_AT_ONCE = 1 << 16  # elements: less than this is read whole rather than piece by piece


@dataclass(frozen=True)
class _Options:
    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


_PROFILES = {"default": _Options(), "short": _Options(precision=2, edgeitems=2), "full": _Options(threshold=math.inf)}
_options = _Options()


def set_printoptions(precision: int | None = None, threshold: float | None = None, edgeitems: int | None = None, linewidth: int | None = None,
                     profile: str | None = None, sci_mode: bool | None = None) -> None:
    """How tensors print: digits, elements before summarising, items at each edge, characters a line, "default"/"short"/"full", e-notation.

    ``sci_mode`` None, also by leaving it out, means automatic.
    """
    global _options
    if profile is not None:
        if profile not in _PROFILES:
            raise ValueError(f"set_printoptions: profile must be one of {sorted(_PROFILES)}, got {profile!r}")
        _options = replace(_PROFILES[profile], sci_mode=_options.sci_mode)
    given: dict[str, Any] = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}
    _options = replace(_options, sci_mode=sci_mode, **{name: value for name, value in given.items() if value is not None})


def get_printoptions() -> dict[str, Any]:
    """The options in force, by name."""
    return {field.name: getattr(_options, field.name) for field in fields(_options)}


@contextmanager
def printoptions(**options: Any) -> Iterator[None]:
    """``set_printoptions`` for the length of a ``with`` block."""
    global _options
    before = _options
    set_printoptions(**options)
    try:
        yield
    finally:
        _options = before


def _edges(t: Tensor, edge: int) -> np.ndarray:
    """The elements that a summary shows: the first and last ``edge`` of every dimension that is longer than both."""
    if extent(t.shape, t.stride()) <= _READ_AT_ONCE:
        values = t._host()
        for axis, n in enumerate(values.shape):
            if n > 2 * edge:
                values = np.take(values, [*range(edge), *range(n - edge, n)], axis)
        return values
    return _edges_by_piece(t, edge, 0)


def _part(t: Tensor, axis: int, start: int, count: int) -> Tensor:
    shape = (*t.shape[:axis], count, *t.shape[axis + 1:])
    return alias(t, shape, t.stride(), t.storage_offset() + start * t.stride(axis))


def _edges_by_piece(t: Tensor, edge: int, axis: int) -> np.ndarray:
    if axis == t.ndim or extent(t.shape, t.stride()) <= _READ_AT_ONCE:
        return _edges(t, edge) if axis < t.ndim else t._host()
    n = t.shape[axis]
    starts = [(i, 1) for i in range(n)] if n <= 2 * edge else [(0, edge), (n - edge, edge)]
    return np.concatenate([_edges_by_piece(_part(t, axis, start, count), edge, axis + 1) for start, count in starts], axis)


class _RealFormat:
    """One width and notation for all the values shown. Zeros, infinities and NaN don't take part in the choice."""

    def __init__(self, values: np.ndarray) -> None:
        self.width = 1
        self.text: Callable[[Any], str] = str
        if values.dtype.kind == "f":
            self._choose_notation(values.astype(np.float64).ravel())
        elif values.size:
            self.width = max(len(str(v)) for v in values.ravel().tolist())

    def _choose_notation(self, values: np.ndarray) -> None:
        shown = values[np.isfinite(values) & (values != 0)]
        self.text = _with_point
        if not shown.size:
            return
        whole = bool((shown == np.ceil(shown)).all())
        if self._wants_exponent(np.abs(shown), whole):
            self.text = f"{{:.{_options.precision}e}}".format
        elif not whole:
            self.text = f"{{:.{_options.precision}f}}".format
        self.width = max(1, *(len(self.text(v)) for v in shown.tolist()))

    @staticmethod
    def _wants_exponent(sizes: np.ndarray, whole: bool) -> bool:
        if _options.sci_mode is not None:
            return _options.sci_mode
        low, high = float(sizes.min()), float(sizes.max())
        return high / low > 1000.0 or high > 1e8 or (not whole and low < 1e-4)

    def __call__(self, value: Any) -> str:
        return self.text(value).rjust(self.width)


def _with_point(value: float) -> str:
    return f"{value:.0f}." if math.isfinite(value) else f"{value:.0f}"


class _ComplexFormat:
    """Real and imaginary parts, each with its own width and notation."""

    def __init__(self, values: np.ndarray) -> None:
        self._real, self._imaginary = _RealFormat(values.real), _RealFormat(values.imag)
        self.width = self._real.width + self._imaginary.width + 1

    def __call__(self, value: complex) -> str:
        imaginary = self._imaginary(value.imag).lstrip()
        sign = "" if imaginary.startswith("-") else "+"
        return f"{self._real(value.real)}{sign}{imaginary}j"


def _vector(values: np.ndarray, cut: bool, indent: int, text: Any) -> str:
    per_line = max(1, (_options.linewidth - indent) // (text.width + 2))
    items = [text(v) for v in values.tolist()]
    if cut:
        items.insert(_options.edgeitems, " ...")
    lines = [", ".join(items[i:i + per_line]) for i in range(0, len(items), per_line)]
    return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"


def _nested(values: np.ndarray, shape: tuple[int, ...], summarize: bool, indent: int, text: Any) -> str:
    """``values`` holds what is shown of a tensor of ``shape``."""
    if values.ndim == 0:
        return text(values.item())
    cut = summarize and shape[0] > 2 * _options.edgeitems
    if values.ndim == 1:
        return _vector(values, cut, indent, text)
    parts = [_nested(v, shape[1:], summarize, indent + 1, text) for v in values]
    if cut:
        parts.insert(_options.edgeitems, "...")
    return "[" + ("," + "\n" * (values.ndim - 1) + " " * (indent + 1)).join(parts) + "]"


def _values_text(t: Tensor, indent: int) -> str:
    if t.numel() == 0:
        return "[]"
    summarize = t.numel() > _options.threshold
    values = decode(_edges(t, _options.edgeitems) if summarize else t._host(), t.dtype)
    text = _ComplexFormat(values) if t.dtype.is_complex else _RealFormat(values)
    return _nested(values, t.shape, summarize, indent, text)


def _suffixes(t: Tensor) -> Iterator[str]:
    if t.device.type != "cpu":
        yield f"device='{t.device}'"
    if t.numel() == 0 and t.ndim != 1:
        yield f"size={tuple(t.shape)}"
    inferred = (get_default_dtype(),) if t.numel() == 0 else (get_default_dtype(), default_complex(), int64, bool_)
    if t.dtype not in inferred:
        yield f"dtype={t.dtype}"
    if t.grad_fn is not None:
        yield f"grad_fn=<{t.grad_fn.label}>"
    elif t.requires_grad:
        yield "requires_grad=True"


def tensor_repr(t: Tensor) -> str:
    """``tensor([...], dtype=..., device=..., grad_fn=...)``: what differs from the defaults is said."""
    prefix = "tensor("
    text = prefix + _values_text(t, len(prefix))
    column = len(text) - text.rfind("\n") + 1
    for suffix in _suffixes(t):
        if column + len(suffix) + 2 > _options.linewidth:
            text += ",\n" + " " * len(prefix) + suffix
            column = len(prefix) + len(suffix)
        else:
            text += ", " + suffix
            column += len(suffix) + 2
    return text + ")"
