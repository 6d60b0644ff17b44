"""OpenCL C's built-in functions, as far as kernels/ calls them: declarations for a compiler that would read all 14,000 for each program.

The overloads are complete for each name: with some missing, C's conversions would choose another one without a word.
Source: https://registry.khronos.org/OpenCL/specs/3.0-unified/html/OpenCL_C.html, chapter 6.15 ("Built-in Functions").
"""
from __future__ import annotations

import re
from functools import cache
from itertools import product

HEADER_READ = "-D_OPENCL_H_"  # clang's header with all of them believes that it has been read
WIDTHS = ("", "2", "3", "4", "8", "16")
FLOATS, INTEGERS = ("float", "double"), ("char", "uchar", "short", "ushort", "int", "uint", "long", "ulong")
MEMORY = ("__global", "__local")

# In a signature F and I are any vector or scalar of a floating and of an integer type, f and i their elements, M an address space.
UNARY, BINARY = "const F {}(F)", "const F {}(F, F)"
SMALLER = (BINARY, "const F {}(F, f)", "const I {}(I, I)", "const I {}(I, i)")
ATOMIC = tuple(f"{kind} {{}}(volatile M {kind} *, {kind})" for kind in ("int", "uint"))
TABLE: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("get_global_id", "get_global_size", "get_group_id", "get_local_id", "get_local_size", "get_num_groups"), ("const size_t {}(uint)",)),
    **dict.fromkeys(("acos", "acosh", "asin", "asinh", "atan", "atanh", "cbrt", "ceil", "cos", "cosh", "cospi", "erf", "erfc", "exp", "exp2", "expm1", "fabs",
                     "floor", "lgamma", "log", "log10", "log1p", "log2", "rint", "sin", "sinh", "sinpi", "sqrt", "tan", "tanh", "trunc"), (UNARY,)),
    **dict.fromkeys(("atan2", "copysign", "fmod", "hypot", "nextafter", "pow"), (BINARY,)),
    "fma": ("const F {}(F, F, F)",),
    **dict.fromkeys(("max", "min"), SMALLER),
    **dict.fromkeys(("atomic_add", "atomic_max", "atomic_min"), ATOMIC),
    "atomic_xchg": tuple(f"{kind} {{}}(volatile M {kind} *, {kind})" for kind in ("float", "int", "uint")),
    "atomic_inc": tuple(f"{kind} {{}}(volatile M {kind} *)" for kind in ("int", "uint")),
    "atomic_cmpxchg": tuple(f"{kind} {{}}(volatile M {kind} *, {kind}, {kind})" for kind in ("int", "uint")),
    "barrier": ("convergent void {}(cl_mem_fence_flags)",),
}
_WORD = re.compile(r"\b[a-z]\w*(?=\s*\()")
_LETTER = re.compile(r"\b[FfIiM]\b")


def overloads(name: str, fp64: bool) -> list[str]:
    """The declarations of one function, each once, without their ends: "const float2 fmod(float2, float2)"."""
    found: dict[str, None] = {}
    for signature in TABLE[name]:
        if "M" in signature:
            choices = [{"M": space} for space in MEMORY]
        elif "F" in signature:
            choices = [{"F": kind + width, "f": kind} for kind, width in product(FLOATS if fp64 else FLOATS[:1], WIDTHS)]
        elif "I" in signature:
            choices = [{"I": kind + width, "i": kind} for kind, width in product(INTEGERS, WIDTHS)]
        else:
            choices = [dict[str, str]()]
        found.update(dict.fromkeys(_filled(signature, choice).format(name) for choice in choices))
    return list(found)


def _filled(signature: str, choice: dict[str, str]) -> str:
    return _LETTER.sub(lambda letter: choice[letter[0]], signature)


@cache
def _declared(name: str, fp64: bool) -> str:
    lines = []
    for text in overloads(name, fp64):
        words = text.split(" ", 1)
        attribute = words[0] if words[0] in ("const", "convergent") else ""
        lines.append(f"__attribute__((overloadable{', ' + attribute if attribute else ''})) {words[1] if attribute else text};")
    return " ".join(lines)


def declarations(source: str, fp64: bool) -> str:
    """One line that declares what ``source`` calls, for a compiler that declares nothing itself."""
    return " ".join(_declared(name, fp64) for name in sorted(TABLE.keys() & set(_WORD.findall(source))))
