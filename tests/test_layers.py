"""The package's structure: imports go down the layers, pyopencl and mako stay in their rooms, nothing imports inside a function."""
from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent / "cltorch"
FILES = sorted(ROOT.rglob("*.py"))
LOW = {"dtype": 1, "shape": 1, "config": 1, "errors": 1, "store": 1}
PACKAGES = {"runtime": 2, "codegen": 2, "core": 3, "ops": 4}


def layer(module: tuple[str, ...]) -> int:
    """The row of a module, given as its path below the package."""
    if not module:
        return 6
    if module[0] in LOW:
        return LOW[module[0]]
    return PACKAGES.get(module[0], 5)


def place(path: Path) -> tuple[str, ...]:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def imported(path: Path) -> list[tuple[tuple[str, ...], int]]:
    """Modules of the package that a file imports, with the line."""
    package = place(path) if path.name == "__init__.py" else place(path)[:-1]
    out = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                base = package[:len(package) - node.level + 1]
                named = tuple(node.module.split(".")) if node.module else ()
                for alias in node.names:
                    target = (*base, *named, alias.name)
                    exists = (ROOT.joinpath(*target).with_suffix(".py")).exists() or ROOT.joinpath(*target).is_dir()
                    out.append((target if exists else (*base, *named), node.lineno))
            elif node.module and node.module.split(".")[0] == "cltorch":
                out.append((tuple(node.module.split(".")[1:]), node.lineno))
        elif isinstance(node, ast.Import):
            out += [(tuple(a.name.split(".")[1:]), node.lineno) for a in node.names if a.name.split(".")[0] == "cltorch"]
    return out


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down(path: Path) -> None:
    mine = layer(place(path))
    for module, line in imported(path):
        theirs = layer(module)
        assert theirs <= mine, f"{path.name}:{line} (layer {mine}) imports cltorch.{'.'.join(module)} (layer {theirs})"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_rooms_and_habits(path: Path) -> None:
    """The file that imports Mako alone is imported where it is used: Mako takes a tenth of the time of ``import cltorch``, and only rendering needs it."""
    package = place(path)[0] if place(path) else ""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        outside = isinstance(node, ast.ImportFrom) and not node.level
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""] if outside else []
        for name in names:
            top = name.split(".")[0]
            assert top != "torch", f"{path}:{node.lineno} imports PyTorch"
            assert top != "pyopencl" or package == "runtime", f"{path}:{node.lineno}: only runtime imports pyopencl"
            assert top != "mako" or path == ROOT / "codegen" / "compiled.py", f"{path}:{node.lineno}: only codegen/compiled.py imports mako"
        if isinstance(node, ast.ImportFrom):
            assert all(a.name != "*" for a in node.names), f"{path}:{node.lineno}: star import"
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            inner = [n for n in ast.walk(node) if isinstance(n, (ast.Import, ast.ImportFrom))]
            assert not inner, f"{path}:{node.lineno} {node.name} imports inside"


def test_runtime_and_codegen_do_not_know_each_other() -> None:
    for path in FILES:
        package = place(path)[:1]
        if package in (("runtime",), ("codegen",)):
            other = ("codegen",) if package == ("runtime",) else ("runtime",)
            assert all(module[:1] != other for module, _ in imported(path)), path


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_swallows_the_api(path: Path) -> None:
    assert path.read_text().count("\n") <= 600, f"{path} is over 600 lines: split it by kind"
