"""Renders kernels/*.mako to OpenCL C and puts the library functions it calls in front.

Writing a kernel template. ``render("reduce/rows", strategy="wide", dtype=float16, op="sum")`` renders kernels/reduce/rows.mako:

* Every dtype among the parameters (also inside lists and dicts) arrives as a CType. Also there: ``strategy``, ``wide`` (bool),
  ``name`` (the last part of the template's path unless given: name the kernel so), ``ctype`` (ctype("int64") gives that CType)
  and ``library_has("gamma", t)``. A parameter that wasn't passed is an error, never an empty text.
* ``<%! TUNABLES = dict(WG=(1, 64, (1, 64, 128, 256))) %>``: name = (default of wide, default of grid, legal values). A tunable that
  isn't passed takes the strategy's default; a value that isn't legal raises. CONSTRAINTS beside it: declared.py.
* Call library functions by name and suffix: ``tanh_${t.s}(x)``. The text is scanned for ``name_suffix(`` and each name that
  kernels/common/*.mako defines is put in front, with what it calls in turn. Nothing is imported or declared by hand.

Writing a library function. In kernels/common, one ``<%def name="tanh(t, wide)">`` per function, which writes
``static inline ${t.c} tanh_${t.s}(${t.c} x) {...}``; t is the suffix's own type (f32: float32, never a half). A def that writes nothing
says "not for this type", and calling it is an error. Also there: ``poly("z", [c0, c1, ...])`` with the type's literals; ``horner``, the same where
every rounding is promised (random numbers are the same bits on all devices); ``native`` (the OpenCL built-in is to be called: float types in grid,
float64 in wide too, because PoCL doesn't inline built-ins) and ``builtin("sin")``, the function that does only that, and ``intrinsic("floor")``, the
same through the processor's instruction. A def without ``t``, ``<%def name="philox(wide)">``, writes a function that has no suffix and is called by
its bare name: ``philox(key, counter)``. A def complex_exp writes exp_c64 and exp_c128. Names are unique across the files.
"""
from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from ..dtype import dtype
from ..errors import TemplateError
from .compiled import Templates
from .ctypes import SUFFIXES, CType, by_suffix, ctype, forward_to_builtin, forward_to_intrinsic, horner, polynomial

STRATEGIES = ("wide", "grid")

_CALL = re.compile(r"\b([A-Za-z]\w*)\s*\(")
_TYPED = re.compile(rf"(\w+)_({'|'.join(SUFFIXES)})")
_DEF = re.compile(r'^<%def name="(\w+)\(([^)]*)\)">', re.MULTILINE)
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)
_DOUBLE = re.compile(r"\bdouble(?:2|3|4|8|16)?\b")
_FP64 = "#pragma OPENCL EXTENSION cl_khr_fp64 : enable\n"


@cache
def kernel_root() -> Path:
    """The folder of the kernel templates: inside the package in a wheel, beside it in a checkout or an editable install."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "kernels", package.parent / "kernels"):
        if (folder / "common").is_dir():
            return folder
    raise TemplateError(f"the kernel templates are missing: neither {package}/kernels nor {package.parent}/kernels holds them")


@cache
def _templates() -> Templates:
    return Templates(kernel_root())


def render(template: str, strategy: str, **params: Any) -> str:
    """The complete OpenCL C source of kernels/<template>.mako under ``strategy`` ("wide" or "grid")."""
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy is one of {STRATEGIES}, got {strategy!r}")
    wide = strategy == "wide"
    context = {"name": template.rsplit("/", 1)[-1], "ctype": ctype, "library_has": library_has, **_tuned(template, wide, params),
               "strategy": strategy, "wide": wide}
    body = _templates().render(f"{template}.mako", {key: _c_types(value) for key, value in context.items()})
    return complete(body, wide)


def tunables(template: str) -> dict[str, tuple[Any, Any, tuple[Any, ...]]]:
    """The tunables a template declares: name -> (default of wide, default of grid, legal values)."""
    return dict(getattr(module_of(template), "TUNABLES", {}))


def module_of(template: str) -> Any:
    """The names that a template's ``<%! %>`` blocks define."""
    return _templates().get_template(f"{template}.mako").module


def complete(text: str, wide: bool) -> str:
    """Generated source with the library functions it calls in front: what a driver can build."""
    return prelude(text, wide) + text


def prelude(text: str, wide: bool) -> str:
    """The library functions that ``text`` calls, with what they call in turn, in the order C wants (and the fp64 pragma if needed)."""
    chosen: dict[tuple[str, str], _Function] = {}
    for key in _calls(text):
        _collect(key, wide, chosen)
    source = "".join(function.text for function in chosen.values())
    if source:
        source += '#line 1 "generated"\n'
    return (_FP64 if _DOUBLE.search(source) or _DOUBLE.search(text) else "") + source


def library_has(name: str, t: dtype | CType | str) -> bool:
    """Whether the function library defines ``name`` for this type in both strategies."""
    suffix = ctype(t).s
    name = _definition(name, suffix)
    return name in _library() and all(_function((name, suffix), wide).text for wide in (True, False))


def library_names() -> dict[str, str]:
    """Every function of the library -> the file (under kernels/) that defines it."""
    return {name: entry.file for name, entry in _library().items()}


def library_files(text: str) -> frozenset[str]:
    """The files (under kernels/) that define the library functions which C text calls."""
    return frozenset(_library()[_definition(name, suffix)].file for name, suffix in _calls(text))


# -- parameters -----------------------------------------------------------------------------------------------------------


def _tuned(template: str, wide: bool, params: Mapping[str, Any]) -> dict[str, Any]:
    """``params`` with the tunables' defaults filled in."""
    tuned = dict(params)
    for key, (default_wide, default_grid, legal) in tunables(template).items():
        value = tuned.setdefault(key, default_wide if wide else default_grid)
        if value not in legal:
            raise ValueError(f"{template}: tunable {key} is one of {tuple(legal)}, got {value!r}")
    return tuned


def _c_types(value: Any) -> Any:
    """``value`` with each dtype replaced by its CType, in lists, tuples and dicts too."""
    if isinstance(value, dtype):
        return ctype(value)
    if type(value) in (list, tuple):
        return type(value)(map(_c_types, value))
    if type(value) is dict:
        return {key: _c_types(item) for key, item in value.items()}
    return value


# -- the function library ---------------------------------------------------------------------------------------------------


class _Entry(NamedTuple):
    file: str
    typed: bool


class _Function(NamedTuple):
    text: str
    calls: tuple[tuple[str, str], ...]


@cache
def _library() -> dict[str, _Entry]:
    """Every def of kernels/common/*.mako by name. Read, not parsed: a process parses the few files that it uses."""
    library: dict[str, _Entry] = {}
    for path in sorted((kernel_root() / "common").glob("*.mako")):
        for name, parameters in _DEF.findall(path.read_text(encoding="utf-8")):
            if name in library:
                raise TemplateError(f"function {name} is defined in {library[name].file} and again in common/{path.name}")
            library[name] = _Entry(f"common/{path.name}", "t" in parameters.replace(" ", "").split(","))
    return library


def _definition(name: str, suffix: str) -> str:
    """The def that writes ``name_suffix``: complex_exp for exp_c64, where there is one."""
    return f"complex_{name}" if suffix[0] == "c" and f"complex_{name}" in _library() else name


def _calls(text: str) -> Iterator[tuple[str, str]]:
    """(name, suffix) of each library function that C text calls; the suffix is "" for functions without one."""
    library = _library()
    for word in dict.fromkeys(_CALL.findall(COMMENT.sub(" ", text))):
        typed = _TYPED.fullmatch(word)
        name = _definition(typed[1], typed[2]) if typed else ""
        if typed and name in library and library[name].typed:
            yield name, typed[2]
        elif word in library and not library[word].typed:
            yield word, ""


# A loop that holds a call isn't vectorised, and clang leaves a call of what is large and called twice. GPUs' compilers inline everything.
INLINE = "static inline __attribute__((always_inline)) "


@cache
def _function(key: tuple[str, str], wide: bool) -> _Function:
    name, suffix = key
    context: dict[str, Any] = {"ctype": ctype, "wide": wide}
    if suffix:
        t = by_suffix(suffix)
        context |= {"t": t, "poly": partial(polynomial, t), "horner": partial(horner, t), "builtin": partial(forward_to_builtin, t),
                    "intrinsic": partial(forward_to_intrinsic, t), "native": t.is_float and (t.s == "f64" or not wide)}
    text = _templates().render(_library()[name].file, context, name)
    if wide:
        text = text.replace("static inline ", INLINE)
    if not COMMENT.sub("", "\n".join(line for line in text.splitlines() if not line.startswith("#line"))).strip():
        return _Function("", ())
    return _Function(text, tuple(call for call in _calls(text) if call != key))


def _collect(key: tuple[str, str], wide: bool, chosen: dict[tuple[str, str], _Function]) -> None:
    """Adds a function behind everything it calls."""
    if key in chosen:
        return
    function = _function(key, wide)
    if not function.text:
        name, suffix = key
        raise TemplateError(f"{name}_{suffix}: {_library()[name].file} defines no {name} for {by_suffix(suffix).name}")
    for call in function.calls:
        _collect(call, wide, chosen)
    chosen[key] = function
