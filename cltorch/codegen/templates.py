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
says "not for this type", and calling it is an error. Also there: ``poly("z", [c0, c1, ...])`` in Horner's form with the type's literals,
``native`` (the OpenCL built-in is to be called: float types in grid, float64 in wide too, because PoCL doesn't inline built-ins) and
``builtin("sin")``, the function that does only that, and ``intrinsic("floor")``, the same through the processor's instruction. A def
without ``t``, ``<%def name="philox(wide)">``, writes a function that has no suffix and is called by its bare name:
``philox(key, counter)``. A def complex_exp writes exp_c64 and exp_c128. Names are unique across the files.
"""
from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..dtype import dtype
from .ctypes import SUFFIXES, CType, by_suffix, ctype, forward_to_builtin, forward_to_intrinsic, polynomial

if TYPE_CHECKING:
    from mako.lookup import TemplateLookup
    from mako.template import Template

STRATEGIES = ("wide", "grid")

_CALL = re.compile(r"\b([A-Za-z]\w*)\s*\(")
_TYPED = re.compile(rf"(\w+)_({'|'.join(SUFFIXES)})")
_DEF = re.compile(r'^<%def name="(\w+)\(([^)]*)\)">', re.MULTILINE)
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)
_DOUBLE = re.compile(r"\bdouble(?:2|3|4|8|16)?\b")
_FP64 = "#pragma OPENCL EXTENSION cl_khr_fp64 : enable\n"


class TemplateError(RuntimeError):
    """A kernel template failed to render: names the template, its line and the cause."""


@cache
def kernel_root() -> Path:
    """The folder of the kernel templates: inside the package in a wheel, beside it in a checkout or an editable install."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "kernels", package.parent / "kernels"):
        if (folder / "common").is_dir():
            return folder
    raise TemplateError(f"the kernel templates are missing: neither {package}/kernels nor {package.parent}/kernels holds them")


def render(template: str, strategy: str, **params: Any) -> str:
    """The complete OpenCL C source of kernels/<template>.mako under ``strategy`` ("wide" or "grid")."""
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy is one of {STRATEGIES}, got {strategy!r}")
    wide = strategy == "wide"
    context = {"name": template.rsplit("/", 1)[-1], "ctype": ctype, "library_has": library_has, **_tuned(template, wide, params),
               "strategy": strategy, "wide": wide}
    body = _text(_template(template), {key: _c_types(value) for key, value in context.items()})
    return complete(body, wide)


def tunables(template: str) -> dict[str, tuple[Any, Any, tuple[Any, ...]]]:
    """The tunables a template declares: name -> (default of wide, default of grid, legal values)."""
    return dict(getattr(module_of(template), "TUNABLES", {}))


def module_of(template: str) -> Any:
    """The names that a template's ``<%! %>`` blocks define."""
    return _template(template).module


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


# -- Mako -----------------------------------------------------------------------------------------------------------------


@cache
def _lookup() -> TemplateLookup:
    from mako.lookup import TemplateLookup  # here as below: Mako takes a tenth of the time of `import cltorch` that imports it

    return TemplateLookup([str(kernel_root())], strict_undefined=True, filesystem_checks=False, preprocessor=mark_lines)


@cache
def _template(name: str) -> Template:
    from mako.exceptions import MakoException, TopLevelLookupException

    try:
        return _lookup().get_template(f"{name}.mako")
    except TopLevelLookupException:
        raise TemplateError(f"there is no kernel template {name}.mako under {kernel_root()}") from None
    except (MakoException, SyntaxError) as error:
        raise TemplateError(f"kernel template {name}.mako can't be read: {error}") from error


def _text(template: Template, context: Mapping[str, Any]) -> str:
    owner = getattr(template, "parent", template)  # a def belongs to its file's template
    try:
        text = template.render(**context)
    except (ArithmeticError, AttributeError, LookupError, NameError, TypeError, ValueError, RuntimeError) as error:
        raise TemplateError(f"kernel template {_where(error, owner)}: {type(error).__name__}: {error}") from error
    return _marked(text, owner.uri.lstrip("/"))


def _where(error: Exception, template: Template) -> str:
    """"reduce/rows.mako, near line 12" of the innermost template frame: Mako places it within a line or two; marks, which shift lines, are undone."""
    from mako.exceptions import RichTraceback

    name, line, text = str(template.uri), 0, str(template.source)
    for record in RichTraceback(error=error, traceback=error.__traceback__).records:
        if record[4] is not None:
            name, line, text = record[4], record[5], record[7]
    file = name.removeprefix(str(kernel_root())).lstrip("/")
    source = text.splitlines()
    missing = re.fullmatch(r"'(\w+)' is not defined", str(error))
    if missing:  # Mako looks all names up on entry, before the first line
        line = next((k for k, text in enumerate(source, 1) if re.search(rf"\b{missing[1]}\b", text)), line)
    for back, text in enumerate(reversed(source[:line])):
        if text.startswith("#line "):
            line = int(text.split()[1]) + back - 1
            break
    return f"{file}, near line {line}"


_OPENS = re.compile(r"<%(?!%)(!?\s|!?$|doc>|text>)")
_CLOSES = re.compile(r"%>|</%doc>|</%text>")
_IDLE = re.compile(r"(?m)^#line \d+\n(?=(?:\s*\n)*(?:#line |\Z))")


def mark_lines(source: str) -> str:
    """Mako source with #line marks after everything that makes rendered and template lines differ (Mako's preprocessor hook)."""
    out: list[str] = []
    inside = shifted = continued = False
    for number, line in enumerate(source.splitlines(), 1):
        stripped = line.strip()
        control = re.match(r"%(?!%)|##", stripped) is not None
        if shifted and stripped and not (inside or control or continued or stripped.startswith("<%")):
            out.append(f"#line {number}")
            shifted = False
        out.append(line)
        for token in re.finditer(f"{_OPENS.pattern}|{_CLOSES.pattern}", line):
            inside = _CLOSES.fullmatch(token.group()) is None
        shifted = shifted or inside or control or "<%" in line or "</%" in line or "${" in line or line.endswith("\\")
        continued = line.endswith("\\")
    return "\n".join(out) + "\n"


def _marked(text: str, file: str) -> str:
    """Rendered text as ``file``'s: the first mark names it; marks that mark nothing or only repeat what counting gives are dropped."""
    lines: list[str] = []
    expected, started = 1, False
    for line in _IDLE.sub("", text).splitlines():
        if line.startswith("#line "):
            number = int(line.split()[1])
            if started and number == expected:
                continue
            expected = number
            lines.append(line)
            continue
        if not started:
            if not line.strip():
                expected += 1
                continue
            started = True
            lines = [f'#line {expected} "{file}"']
        lines.append(line)
        expected += 1
    return "\n".join(lines) + "\n"


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


@cache
def _function_template(name: str) -> Template:
    """A file's Python blocks and one def of it, on the lines they have there: most files hold dozens, and a process calls a few."""
    from mako.exceptions import MakoException
    from mako.template import Template

    file = kernel_root() / _library()[name].file
    kept: list[str] = []
    end = ""
    for line in file.read_text(encoding="utf-8").splitlines():
        if not end and line.startswith(("<%!", f'<%def name="{name}(')):
            end = "%>" if line.startswith("<%!") else "</%def>"
        kept.append(line if end else "")
        if end and line.rstrip().endswith(end):
            end = ""
    text = "\n".join(kept) + "\n"
    try:
        return Template(text, filename=str(file), uri=_library()[name].file, strict_undefined=True, preprocessor=mark_lines)
    except (MakoException, SyntaxError) as error:
        raise TemplateError(f"function {name} of {_library()[name].file} can't be read: {error}") from error


# A loop that holds a call isn't vectorised, and clang leaves a call of what is large and called twice. GPUs' compilers inline everything.
INLINE = "static inline __attribute__((always_inline)) "


@cache
def _function(key: tuple[str, str], wide: bool) -> _Function:
    name, suffix = key
    context: dict[str, Any] = {"ctype": ctype, "wide": wide}
    if suffix:
        t = by_suffix(suffix)
        context |= {"t": t, "poly": partial(polynomial, t), "builtin": partial(forward_to_builtin, t),
                    "intrinsic": partial(forward_to_intrinsic, t), "native": t.is_float and (t.s == "f64" or not wide)}
    text = _text(_function_template(name).get_def(name), context)
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
