"""What each data type is in OpenCL C: its type in memory, in arithmetic and in sums, and how values pass between them.

Kernels are written against these objects, so that no kernel body asks which data type it serves. float16 and bfloat16
are ushorts in memory and floats in arithmetic (no cl_khr_fp16 needed); bool is a uchar that holds 0 or 1 only.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar

import numpy as np

from ..dtype import bool_, by_name, dtype

Number = bool | int | float | complex

# dtype name -> (suffix of our functions, arithmetic type, type in memory, accumulator's dtype, C type of a scalar argument)
_TABLE = {
    "float32": ("f32", "float", "float", "float32", "float"),
    "float64": ("f64", "double", "double", "float64", "double"),
    "float16": ("f32", "float", "ushort", "float32", "float"),
    "bfloat16": ("f32", "float", "ushort", "float32", "float"),
    "complex64": ("c64", "float2", "float2", "complex64", "float"),
    "complex128": ("c128", "double2", "double2", "complex128", "double"),
    "int8": ("i8", "char", "char", "int64", "int"),
    "int16": ("i16", "short", "short", "int64", "int"),
    "int32": ("i32", "int", "int", "int64", "int"),
    "int64": ("i64", "long", "long", "int64", "long"),
    "uint8": ("u8", "uchar", "uchar", "int64", "int"),
    "bool": ("b8", "uchar", "uchar", "int64", "int"),
}
_BY_SUFFIX = {row[0]: name for name, row in reversed(_TABLE.items())}  # reversed: f32 is float32, not a half
_CODEC = {"float16": "half", "bfloat16": "bfloat"}
_SCALAR_NP: dict[str, np.dtype[Any]] = {"int": np.dtype("i4"), "long": np.dtype("i8"), "float": np.dtype("f4"), "double": np.dtype("f8")}
SUFFIXES = tuple(_BY_SUFFIX)
LONG = 6  # coefficients of a polynomial from which on its length is what takes time


@dataclass(frozen=True, eq=False, repr=False)
class CType:
    """One data type in OpenCL C. Get one with ``ctype(dtype)``; there is one object per dtype, so ``is`` compares."""

    name: str
    """The dtype's name, "float16"."""
    s: str
    """The suffix of our functions for its arithmetic: f32 f64 c64 c128 i8 i16 i32 i64 u8 b8."""
    c: str
    """The C type values have in arithmetic."""
    storage: str
    """The C type elements have in memory."""
    kernel_scalar: str
    """The C type a Python number is passed as (for complex: each of its two parts)."""
    itemsize: int
    is_float: bool
    is_complex: bool
    is_integral: bool
    is_bool: bool
    is_signed: bool
    is_half: bool = field(init=False)
    """float16 or bfloat16: stored narrower than computed."""
    chained: ClassVar[bool] = False
    """Whether elements pass through a chain on their way from or to memory (fusion.py: Inlined)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_half", self.name in _CODEC)

    def __repr__(self) -> str:
        return f"ctype({self.name})"

    @property
    def acc(self) -> CType:
        """The type sums are kept in: float for halves, long for integers and bool, its own otherwise."""
        return ctype(_TABLE[self.name][3])

    @property
    def real(self) -> CType:
        """The type of a complex type's parts; any other type is itself."""
        return ctype({"c64": "float32", "c128": "float64"}.get(self.s, self.name))

    @property
    def compute(self) -> CType:
        """The type whose memory form is this one's arithmetic form: float32 for halves, itself otherwise."""
        return ctype(_BY_SUFFIX[self.s])

    @property
    def np_scalar(self) -> np.dtype[Any]:
        """The NumPy type of a scalar kernel argument."""
        return _SCALAR_NP[self.kernel_scalar]

    @property
    def precision(self) -> int:
        """Bits of a float's significand, the hidden one included: how many random bits a uniform number can hold."""
        return {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53}[self.real.name]

    @property
    def needs_fp64(self) -> bool:
        return self.s in ("f64", "c128")

    # -- memory ---------------------------------------------------------------------------------------------------

    def parameters(self, name: str) -> str:
        """The kernel parameters of what is only read under ``name``."""
        return f"__global const {self.storage} *restrict {name}"

    def results(self, name: str) -> str:
        """The kernel parameters of what is only written under ``name``."""
        return f"__global {self.storage} *restrict {name}"

    def definition(self, name: str) -> str:
        """What stands in front of a kernel that reads or writes ``name``."""
        return ""

    def load(self, pointer: str, index: str) -> str:
        """The expression of element ``index`` in arithmetic form."""
        return self.decode(f"{pointer}[{index}]")

    def store(self, pointer: str, index: str, value: str) -> str:
        """The statement, without its semicolon, that writes ``value`` (in arithmetic form) to element ``index``."""
        return f"{pointer}[{index}] = {self.encode(value)}"

    def decode(self, element: str) -> str:
        """Arithmetic form of an element that was read as it lies in memory."""
        return f"from_{_CODEC[self.name]}_f32({element})" if self.is_half else element

    def encode(self, value: str) -> str:
        """Memory form of a value: halves are rounded to nearest even, bool becomes 0 or 1, integers wrap."""
        if self.is_half:
            return f"to_{_CODEC[self.name]}_f32({value})"
        return f"(({value}) != 0)" if self.is_bool else value

    # -- values ---------------------------------------------------------------------------------------------------

    def cast(self, source: CType, value: str) -> str:
        """``value`` of arithmetic type ``source`` in this arithmetic type, by PyTorch's rules. It doesn't round to a half: see round.

        Integers wrap. Floats are truncated; out of range and NaN give what x86 gives: the lowest integer for int32 and int64, and the
        low bits of that for the narrower ones (functions from_* in kernels/common/dtype.mako). Anything but 0 is True, NaN included.
        Complex numbers keep their real part, real ones get the imaginary part 0.
        """
        if source.s == self.s:
            return value
        if self.is_bool:
            return f"from_{source.s}_b8({value})" if source.is_complex else f"(uchar)(({value}) != 0)"
        if self.is_complex:
            if source.is_complex:
                return f"from_{source.s}_{self.s}({value})"
            return f"({self.c})({self.real.cast(source, value)}, {self.real.zero})"
        if source.is_complex:
            return self.cast(source.real, f"({value}).x")
        if source.is_float and self.is_integral:
            return f"from_{source.s}_{self.s}({value})"
        return f"({self.c})({value})"

    def round(self, value: str) -> str:
        """``value`` as it would be after a store and a load: rounded for halves, wrapped for small integers, unchanged for others."""
        if self.is_half:
            return f"round_{_CODEC[self.name]}_f32({value})"
        return f"({self.c})({value})" if self.s in ("i8", "i16", "u8") else value

    def lit(self, value: Number) -> str:
        """The exact C literal of ``value`` in arithmetic type. Raises ValueError for a number that the type can't hold."""
        if self.is_complex:
            number = complex(value)
            return f"({self.c})({self.real.lit(number.real)}, {self.real.lit(number.imag)})"
        if isinstance(value, complex):
            raise ValueError(f"{value} is no literal of {self.name}: it has an imaginary part")
        return _float_literal(float(value), self.s) if self.is_float else self._integer_literal(value)

    def _integer_literal(self, value: bool | int | float) -> str:
        if self.is_bool:
            return "1" if value else "0"
        number = int(value)
        limits = np.iinfo(self.name)
        if number != value or not limits.min <= number <= limits.max:
            raise ValueError(f"{value} is no literal of {self.name}: integers from {limits.min} to {limits.max} are")
        end = "L" if self.s == "i64" else ""
        if number == limits.min and self.s in ("i32", "i64"):  # C has no negative literals: -2147483648 would be a long
            return f"({number + 1}{end} - 1)"
        return f"{number}{end}" if number >= 0 else f"({number}{end})"

    @property
    def zero(self) -> str:
        return self.lit(0)

    @property
    def one(self) -> str:
        return self.lit(1)

    @property
    def lowest(self) -> str:
        """The identity of max: -infinity, the lowest integer, False. Raises TypeError for complex, which has no order."""
        return self._extreme(-1)

    @property
    def highest(self) -> str:
        """The identity of min: infinity, the highest integer, True. Raises TypeError for complex, which has no order."""
        return self._extreme(+1)

    def _extreme(self, sign: int) -> str:
        if self.is_complex:
            raise TypeError(f"{self.name} has no order, so no lowest or highest value")
        if self.is_float:
            return self.lit(sign * math.inf)
        if self.is_bool:
            return self.lit(sign > 0)
        limits = np.iinfo(self.name)
        return self.lit(limits.max if sign > 0 else limits.min)

    # -- scalar arguments -----------------------------------------------------------------------------------------

    def scalar_parameters(self, name: str) -> list[str]:
        """The kernel parameters that carry one Python number: one, or for complex its two parts name_re and name_im."""
        names = [f"{name}_re", f"{name}_im"] if self.is_complex else [name]
        return [f"const {self.kernel_scalar} {n}" for n in names]

    def scalar_value(self, name: str) -> str:
        """The expression that gives the parameters of ``scalar_parameters(name)`` in arithmetic type."""
        if self.is_complex:
            return f"({self.c})({name}_re, {name}_im)"
        if self.is_bool:
            return f"(uchar)({name} != 0)"
        return name if self.c == self.kernel_scalar else f"({self.c})({name})"

    def scalar_arguments(self, value: Number) -> tuple[int | float, ...]:
        """The Python numbers to pass for ``scalar_parameters``."""
        if self.is_complex:
            number = complex(value)
            return number.real, number.imag
        if isinstance(value, complex):
            raise TypeError(f"a complex number can't be an argument of type {self.name}")
        return (float(value),) if self.is_float else (int(value),)


def _float_literal(value: float, suffix: str) -> str:
    """Shortest decimal that reads back as the same number; the macros stand for what has no decimal. Never a bare double in float."""
    number, end = (np.float32(value), "f") if suffix == "f32" else (np.float64(value), "")
    if np.isnan(number):
        return "NAN" if suffix == "f32" else "((double)NAN)"
    if np.isinf(number):
        text = "INFINITY" if suffix == "f32" else "((double)INFINITY)"
        return text if number > 0 else f"(-{text})"
    text = str(number)
    if "." not in text and "e" not in text:
        text += ".0"
    return f"(-{text[1:]}{end})" if text[0] == "-" else text + end


@cache
def _make(name: str) -> CType:
    suffix, compute, storage, _, scalar = _TABLE[name]
    d = by_name(name)
    return CType(name, suffix, compute, storage, scalar, d.itemsize, is_float=d.is_floating_point, is_complex=d.is_complex,
                 is_integral=d.is_integral, is_bool=d is bool_, is_signed=d.is_signed)


def ctype(d: dtype | CType | str) -> CType:
    """The CType of a dtype (or of its name). One object per dtype."""
    return _make(d if isinstance(d, str) else d.name)


def by_suffix(suffix: str) -> CType:
    """The CType whose functions carry ``suffix``: float32 for f32."""
    return _make(_BY_SUFFIX[suffix])


def polynomial(t: CType, variable: str, coefficients: Sequence[float]) -> str:
    """A polynomial, constant term first in ``coefficients``, with literals of ``t``. A long one is the sum of its even and odd powers: a multiplication
    more than Horner's form, but two chains of operations side by side, each half as long."""
    if len(coefficients) < LONG:
        return horner(t, variable, coefficients)
    square = f"({variable} * {variable})"
    return f"({variable} * {horner(t, square, coefficients[1::2])} + {horner(t, square, coefficients[::2])})"


def horner(t: CType, variable: str, coefficients: Sequence[float]) -> str:
    """The same as one chain of operations, whose roundings don't change with its length."""
    text = t.lit(coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        text = f"({text} * {variable} + {t.lit(coefficient)})"
    return text


def forward_to_builtin(t: CType, name: str, parameters: str = "x", called: str = "") -> str:
    """A library function that only calls the OpenCL built-in of the same name (or the one ``called``)."""
    declared = ", ".join(f"{t.c} {p}" for p in parameters.split(", "))
    return f"static inline {t.c} {name}_{t.s}({declared}) {{ return {called or name}({parameters}); }}"


def forward_to_intrinsic(t: CType, name: str, called: str = "", parameters: str = "x", feature: str = "__SSE4_1__") -> str:
    """As forward_to_builtin, but where the compiler is for a processor that has an instruction for it (x86 with ``feature``), its intrinsic:
    PoCL inlines that, and not the built-in."""
    called = called or name
    declared = ", ".join(f"{t.c} {p}" for p in parameters.split(", "))
    return (f"static inline {t.c} {name}_{t.s}({declared}) {{\n#if defined({feature}) || defined(__aarch64__)\n"
            f"  return __builtin_{called}{'f' if t.s == 'f32' else ''}({parameters});\n#else\n  return {called}({parameters});\n#endif\n}}")
