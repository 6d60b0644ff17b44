"""Declared C expressions become C of one compute type: function suffixes, literals, the type name ``T``."""

from __future__ import annotations

import re
from functools import lru_cache

from .ctypes import CType

_SUFFIX = r"(?:f32|f64|c64|c128|i8|i16|i32|i64|u8|b8)"
_KEYWORDS = frozenset(
    "if for while switch return sizeof float double char uchar short ushort int uint long ulong bool void size_t".split()
)

_TOKEN = re.compile(
    r"""
    (?P<hex>0[xX][0-9a-fA-F]+[uUlL]*)
  | (?P<float>(?:\d+\.\d*|\.\d+)(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+)(?P<mark>[fF]?)
  | (?P<integer>\d+[uUlL]*)
  | (?P<word>[A-Za-z_]\w*)(?P<call>\s*\()?
  | (?P<other>\s+|.)
    """,
    re.VERBOSE | re.DOTALL,
)

_BUILTIN = re.compile(rf"as_\w+|convert_\w+|\w+_{_SUFFIX}")


class ExpressionError(ValueError):
    """A declared C expression that cannot be C: unbalanced brackets, a statement, an empty string."""


def check(expression: str) -> str:
    """The expression itself if its brackets balance and it holds no statement, else ExpressionError."""
    depth = 0
    for character in expression:
        depth += (character == "(") - (character == ")")
        if depth < 0:
            break
    if depth or not expression.strip() or any(c in expression for c in ";{}#\"'\\"):
        raise ExpressionError(f"not a C expression: {expression!r}")
    return expression


def _real_literal(text: str, t: CType) -> str:
    return text if t.s in ("f64", "c128") else text + "f"


def _word(match: re.Match[str], t: CType) -> str:
    word, call = match["word"], match["call"]
    if word == "T":
        return t.c + (call or "")
    if call is None or word in _KEYWORDS or _BUILTIN.fullmatch(word):
        return match[0]
    return f"{word}_{t.s}{call}"


def _token(match: re.Match[str], t: CType) -> str:
    if match["word"]:
        return _word(match, t)
    if match["float"]:
        return _real_literal(match["float"], t)
    if match["integer"] and t.is_complex and match["integer"].isdigit():
        return _real_literal(match["integer"] + ".0", t)
    return match[0]


@lru_cache(maxsize=4096)
def translate(expression: str, t: CType) -> str:
    """``exp(x) + 0.5`` -> ``exp_f32(x) + 0.5f``: calls get the type's suffix, real literals its precision, ``T`` its name.

    ``as_type`` and ``convert_type`` built-ins and names that carry a suffix already stay as they are.
    """
    return _TOKEN.sub(lambda match: _token(match, t), check(expression))
