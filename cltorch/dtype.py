"""Data types: the twelve element types, PyTorch's promotion table, and their mapping to NumPy and Python numbers.

Source: https://docs.pytorch.org/docs/stable/tensor_attributes.html#torch-dtype
"""
from __future__ import annotations

from typing import Any

import numpy as np

# Promotion categories, lowest first: a Python number or 0-d tensor only changes the result's type when its category is higher.
CATEGORY_BOOL, CATEGORY_INT, CATEGORY_FLOAT, CATEGORY_COMPLEX = range(4)


class dtype:  # noqa: N801 - PyTorch's name
    """The type of a tensor's elements. Singletons: compare with ``is`` or ``==``.

    Attributes: ``name``, ``itemsize`` (bytes), ``is_floating_point``, ``is_complex``, ``is_signed``, ``is_integral``
    (bool is not), ``category``, ``np`` (the NumPy type of the *stored* bits: bfloat16 is stored as uint16), ``index`` (0..11).
    """

    __slots__ = ("category", "index", "is_complex", "is_floating_point", "is_integral", "is_signed", "itemsize", "name", "np")

    def __init__(self, index: int, name: str, category: int, storage: type, signed: bool = True) -> None:
        self.index, self.name, self.category, self.is_signed = index, name, category, signed
        self.np = np.dtype(storage)
        self.itemsize = self.np.itemsize
        self.is_floating_point = category == CATEGORY_FLOAT
        self.is_complex = category == CATEGORY_COMPLEX
        self.is_integral = category == CATEGORY_INT

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return by_name, (self.name,)

    def __lt__(self, other: dtype) -> bool:
        return self.index < other.index

    @property
    def to_real(self) -> dtype:
        """The type of a complex type's parts; any other type is itself."""
        return _REAL.get(self, self)

    @property
    def to_complex(self) -> dtype:
        """The complex type whose parts are of this floating type."""
        return complex128 if self in (float64, complex128) else complex64


uint8 = dtype(0, "uint8", CATEGORY_INT, np.uint8, signed=False)
int8 = dtype(1, "int8", CATEGORY_INT, np.int8)
int16 = dtype(2, "int16", CATEGORY_INT, np.int16)
int32 = dtype(3, "int32", CATEGORY_INT, np.int32)
int64 = dtype(4, "int64", CATEGORY_INT, np.int64)
float16 = dtype(5, "float16", CATEGORY_FLOAT, np.float16)
float32 = dtype(6, "float32", CATEGORY_FLOAT, np.float32)
float64 = dtype(7, "float64", CATEGORY_FLOAT, np.float64)
complex64 = dtype(8, "complex64", CATEGORY_COMPLEX, np.complex64)
complex128 = dtype(9, "complex128", CATEGORY_COMPLEX, np.complex128)
bool_ = dtype(10, "bool", CATEGORY_BOOL, np.bool_, signed=False)
bfloat16 = dtype(11, "bfloat16", CATEGORY_FLOAT, np.uint16)

TABLE: tuple[dtype, ...] = (uint8, int8, int16, int32, int64, float16, float32, float64, complex64, complex128, bool_, bfloat16)
NAMES = {d.name: d for d in TABLE}
ALIASES = {"half": float16, "float": float32, "double": float64, "short": int16, "int": int32, "long": int64,
           "cfloat": complex64, "cdouble": complex128}
_REAL = {complex64: float32, complex128: float64}

FLOATING = frozenset(d for d in TABLE if d.is_floating_point)
COMPLEX = frozenset((complex64, complex128))
INTEGRAL = frozenset(d for d in TABLE if d.is_integral)
BOOL = frozenset((bool_,))
NUMERIC = FLOATING | COMPLEX | INTEGRAL
ALL = frozenset(TABLE)


def by_name(name: str) -> dtype:
    return NAMES[name]


def _promote_pair(a: dtype, b: dtype) -> dtype:
    if a is b:
        return a
    if a.category < b.category:
        a, b = b, a
    if a.is_complex:
        return complex128 if complex128 in (a, b) or float64 in (a, b) else complex64
    if a.category != b.category:
        return a
    if a.is_floating_point:
        if {a, b} == {float16, bfloat16}:
            return float32
        return a if a.itemsize > b.itemsize else b
    if a.is_signed != b.is_signed:  # uint8 with a signed type: the next signed type that holds both
        return int16 if {a, b} == {uint8, int8} else (a if a.is_signed else b)
    return a if a.itemsize > b.itemsize else b


_PROMOTION = tuple(tuple(_promote_pair(a, b) for b in TABLE) for a in TABLE)


def promote_types(a: dtype, b: dtype) -> dtype:
    """The smallest type that holds both, by PyTorch's table."""
    return _PROMOTION[a.index][b.index]


_default = float32


def get_default_dtype() -> dtype:
    """The floating type that Python floats and float creation functions give."""
    return _default


def set_default_dtype(d: dtype) -> None:
    """Sets the default floating type. Raises TypeError for a type that is not floating point."""
    global _default
    if not isinstance(d, dtype) or not d.is_floating_point:
        raise TypeError(f"only floating-point types are supported as the default type, got {d}")
    _default = d


def default_complex() -> dtype:
    return _default.to_complex


def of_number(value: Any) -> dtype:
    """The type a Python (or NumPy) scalar stands for when it meets tensors: bool, int64, the default float or its complex."""
    if isinstance(value, (bool, np.bool_)):
        return bool_
    if isinstance(value, (int, np.integer)):
        return int64
    if isinstance(value, (float, np.floating)):
        return _default
    if isinstance(value, (complex, np.complexfloating)):
        return default_complex()
    raise TypeError(f"a tensor or a Python number was expected, got {type(value).__name__}")


def from_numpy_dtype(d: Any) -> dtype:
    """The type of a NumPy array's elements. Raises TypeError with PyTorch's sentence for types that no tensor holds."""
    name = np.dtype(d).name
    if name in NAMES:
        return NAMES[name]
    raise TypeError(f"can't convert np.ndarray of type {np.dtype(d)}. The only supported types are: "
                    "float64, float32, float16, complex64, complex128, int64, int32, int16, int8, uint8, and bool.")


def bfloat16_to_float32(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def float32_to_bfloat16(values: np.ndarray) -> np.ndarray:
    """Bits of the nearest bfloat16, ties to even; NaN stays NaN."""
    bits = np.asarray(values, np.float32).view(np.uint32)  # asarray: 0-d stays 0-d
    rounded = ((bits.astype(np.uint64) + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FC0), rounded)


def encode(array: np.ndarray, d: dtype) -> np.ndarray:
    """A NumPy array of numbers as the bits that type ``d`` stores."""
    if array.dtype.kind == "c" and not d.is_complex:
        array = array.real
    with np.errstate(over="ignore", invalid="ignore"):  # what is too large becomes infinite, silently as in PyTorch
        if d is bfloat16:
            return float32_to_bfloat16(np.asarray(array).astype(np.float32))
        return array.astype(d.np, copy=False)


def decode(bits: np.ndarray, d: dtype) -> np.ndarray:
    """Stored bits as numbers NumPy can compute with (bfloat16 becomes float32)."""
    return bfloat16_to_float32(bits) if d is bfloat16 else bits


class finfo:  # noqa: N801 - PyTorch's name
    """Limits of a floating type: bits, eps, max, min, tiny, smallest_normal, resolution, dtype."""

    def __init__(self, type: dtype | None = None) -> None:
        d = (type or _default).to_real
        if not d.is_floating_point:
            raise TypeError(f"torch.finfo() requires a floating point input type. Use torch.iinfo to handle '{d.name}'")
        self.dtype, self.bits = d.name, d.itemsize * 8
        if d is bfloat16:
            self.eps, self.tiny, self.max, self.resolution = 2.0 ** -7, 2.0 ** -126, float.fromhex("0x1.fep127"), 0.01
        else:
            info: Any = np.finfo(d.np)
            self.eps, self.tiny, self.max = float(info.eps), float(info.tiny), float(info.max)
            self.resolution = float(info.resolution)
        self.min, self.smallest_normal = -self.max, self.tiny

    def __repr__(self) -> str:
        return (f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, eps={self.eps:g}, "
                f"smallest_normal={self.smallest_normal:g}, tiny={self.tiny:g}, dtype={self.dtype})")


class iinfo:  # noqa: N801 - PyTorch's name
    """Limits of an integer type: bits, max, min, dtype."""

    def __init__(self, type: dtype) -> None:
        if not type.is_integral:
            raise TypeError(f"torch.iinfo() requires an integer input type. Use torch.finfo to handle '{type.name}'")
        info: Any = np.iinfo(type.np)
        self.dtype, self.bits, self.max, self.min = type.name, info.bits, int(info.max), int(info.min)

    def __repr__(self) -> str:
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype})"


def can_cast(source: dtype, target: dtype) -> bool:
    """Whether PyTorch's casting rules allow ``source`` to be stored in ``target`` (never to a lower category)."""
    return source.category <= target.category
