"""Kernel templates as Python code, which the disk cache keeps: Mako needs 5 ms to read one, and a first training step takes 30 to 50 of them,
which was half of its time where all kernels came from the cache (measured). The only file that imports Mako.
"""
from __future__ import annotations

import hashlib
import marshal
import posixpath
import re
from collections.abc import Mapping
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from types import ModuleType
from typing import Any

import mako
from mako.exceptions import MakoException, RichTraceback
from mako.lookup import TemplateCollection
from mako.template import ModuleTemplate, Template

from ..errors import TemplateError
from ..store import STORE

# Part of each key: what reads the code, what writes it, and this file, which says how.
KEY = b"\0".join((MAGIC_NUMBER, mako.__version__.encode(), Path(__file__).read_bytes()))


class Templates(TemplateCollection):
    """The templates below a folder, each read once. A namespace's file is beside the file that names it, or below the folder with a leading "/"."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._read: dict[str, Template] = {}

    def get_template(self, uri: str, relativeto: str | None = None) -> Template:
        """The template of a file. Raises TemplateError."""
        name = uri.lstrip("/")
        if name not in self._read:
            try:
                text = (self.root / name).read_text(encoding="utf-8")
            except FileNotFoundError:
                raise TemplateError(f"there is no kernel template {name} under {self.root}") from None
            self._read[name] = self._template(text, name, f"kernel template {name}")
        return self._read[name]

    def adjust_uri(self, uri: str, filename: str) -> str:
        return uri if uri.startswith("/") else posixpath.join(posixpath.dirname(filename), uri)

    def function(self, name: str, file: str) -> Template:
        """A file's def of that name with the file's Python blocks, on the lines they have there: most files hold dozens, and a process calls a few."""
        if name not in self._read:
            kept: list[str] = []
            end = ""
            for line in (self.root / file).read_text(encoding="utf-8").splitlines():
                if not end and line.startswith(("<%!", f'<%def name="{name}(')):
                    end = "%>" if line.startswith("<%!") else "</%def>"
                kept.append(line if end else "")
                if end and line.rstrip().endswith(end):
                    end = ""
            self._read[name] = self._template("\n".join(kept) + "\n", file, f"function {name} of {file}").get_def(name)
        return self._read[name]

    def _template(self, text: str, file: str, what: str) -> Template:
        """From the cache, or read by Mako."""
        path = str(self.root / file)
        key = hashlib.sha256(b"\0".join((KEY, file.encode(), text.encode()))).hexdigest()
        stored = STORE.load(key)
        if stored is not None:
            marked, source, code = marshal.loads(stored)
            module = ModuleType(re.sub(r"\W", "_", file))
            exec(code, module.__dict__)
            return ModuleTemplate(module, template_filename=path, module_source=source, template_source=marked, lookup=self)
        marked = mark_lines(text)
        try:
            read = Template(marked, filename=path, uri=file, lookup=self, strict_undefined=True)
        except (MakoException, SyntaxError) as error:
            raise TemplateError(f"{what} can't be read: {error}") from error
        if STORE.limit:
            STORE.save(key, marshal.dumps((marked, read.code, compile(read.code, read.module_id, "exec"))))
        return read

    def render(self, file: str, context: Mapping[str, Any], function: str = "") -> str:
        """A file's text, or that of its def of a name, with its #line marks. Raises TemplateError."""
        template = self.function(function, file) if function else self.get_template(file)
        try:
            text = template.render(**context)
        except (ArithmeticError, AttributeError, LookupError, NameError, TypeError, ValueError, RuntimeError) as error:
            owner = getattr(template, "parent", template)  # a def belongs to its file's template
            raise TemplateError(f"kernel template {self._where(error, owner)}: {type(error).__name__}: {error}") from error
        return _marked(text, file)

    def _where(self, error: Exception, template: Template) -> str:
        """"reduce/rows.mako, near line 12" of the innermost template frame: Mako places it within a line or two; marks, which shift lines, are undone."""
        name, line, text = str(template.uri), 0, str(template.source)
        for record in RichTraceback(error=error, traceback=error.__traceback__).records:
            if record[4] is not None:
                name, line, text = record[4], record[5], record[7]
        file = name.removeprefix(str(self.root)).lstrip("/")
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
    """Mako source with #line marks after everything that makes rendered and template lines differ."""
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
