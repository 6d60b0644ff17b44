"""Writes the type stubs of what the operator table attaches: cltorch/core/tensor.pyi and cltorch/__init__.pyi. ``--check`` only compares."""
from __future__ import annotations

import argparse
import ast
import inspect
import keyword
import re
from pathlib import Path
from typing import Any

import cltorch
from cltorch.core import tensor as tensor_module

ROOT = Path(cltorch.__file__).resolve().parent
HEADER = "# Written by tools/make_stubs.py from the operator table. Do not edit.\nimport builtins\nfrom typing import Any\n"
NUMBERS = {"dim": "int", "ndimension": "int", "numel": "int", "nelement": "int",
           "item": "Any", "tolist": "Any", "numpy": "Any", "is_contiguous": "bool",
           "__len__": "int", "__bool__": "bool", "__float__": "float", "__int__": "int", "__index__": "int", "__hash__": "int", "__repr__": "str",
           "__str__": "str", "__format__": "str", "__init__": "None", "backward": "None", "size": "Any", "stride": "Any", "__dir__": "list[str]",
           "is_floating_point": "bool", "is_complex": "bool", "is_signed": "bool", "element_size": "int", "storage_offset": "int", "data_ptr": "int",
           "split": "tuple[Tensor, ...]", "chunk": "tuple[Tensor, ...]", "unbind": "tuple[Tensor, ...]", "type": "Any", "get_device": "int",
           "_host": "Any", "grad_fn": "Any",
           "max": "Any", "min": "Any", "sort": "Any", "topk": "Any", "equal": "bool", "allclose": "bool", "register_hook": "Any", "__iter__": "Any",
           "untyped_storage": "Any", "retain_grad": "None", "__complex__": "complex", "__array__": "Any", "__reduce_ex__": "tuple", "__dlpack__": "Any"}


def qualified(kind: str) -> str:
    """A type whose name a method of Tensor hides (int, float, bool, ...), in full."""
    return re.sub(r"\b(int|float|bool|str|tuple|complex|list)\b", r"builtins.\1", kind)


def parameters(function: Any, method: bool) -> str:
    """A signature as stub text: names and kinds, types left open, defaults as dots."""
    try:
        listed = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return "self, *args: Any, **kwargs: Any" if method else "*args: Any, **kwargs: Any"
    out, star = [], False
    for k, p in enumerate(listed):
        if method and k == 0:
            out.append("self" if p.kind is not p.VAR_POSITIONAL else "self, *args: Any")
            star = p.kind is p.VAR_POSITIONAL
            continue
        if p.kind is p.VAR_POSITIONAL:
            star = True
            out.append(f"*{p.name}: Any")
        elif p.kind is p.VAR_KEYWORD:
            out.append(f"**{p.name}: Any")
        else:
            if p.kind is p.KEYWORD_ONLY and not star:
                out.append("*")
                star = True
            out.append(f"{p.name}: Any" + ("" if p.default is p.empty else " = ..."))
    return ", ".join(out)


def member(name: str, value: Any) -> str:
    if isinstance(value, property):
        text = f"    @property\n    def {name}(self) -> Any: ...\n"
        return text + (f"    @{name}.setter\n    def {name}(self, value: Any) -> None: ...\n" if value.fset else "")
    if name in ("__eq__", "__ne__"):
        return f"    def {name}(self, other: Any) -> Tensor: ...  # type: ignore[override]\n"
    if callable(value):
        return f"    def {name}({parameters(value, True)}) -> {qualified(NUMBERS.get(name, 'Tensor'))}: ...\n"
    return f"    {name}: Any\n"


def tensor_stub() -> str:
    """The stub of core/tensor.py: the class with everything that was attached, and the module's functions."""
    skip = {"__module__", "__dict__", "__weakref__", "__doc__", "__annotations__", "__static_attributes__", "__firstlineno__", "__annotate__",
            "__annotate_func__", "__annotations_cache__"}
    body = [f"    {name}: Any\n" for name in tensor_module.Tensor.__annotations__ if name not in vars(tensor_module.Tensor)]
    body += [member(n, v) for n, v in sorted(vars(tensor_module.Tensor).items()) if n not in skip]
    text = HEADER + "\nTYPE_NAMES: dict[str, str]\nUNIQUE: int\n_new: Any\n\nclass Tensor:\n" + "".join(body) + "\n"
    own = {node.name for node in ast.parse(Path(tensor_module.__file__).read_text()).body if isinstance(node, ast.FunctionDef)}
    results = {"unique": "bool", "isolate": "None", "_calibrate": "int"}
    for name in sorted(own):
        text += f"def {name}({parameters(getattr(tensor_module, name), False)}) -> {results.get(name, 'Tensor')}: ...\n"
    return text


def package_stub() -> str:
    """The stub of the package: re-exports as they are written, then the operator table's functions."""
    source = (ROOT / "__init__.py").read_text()
    lines = [HEADER]
    written: set[str] = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                shown = alias.asname or alias.name
                written.add(shown)
                lines.append(f"from {'.' * node.level}{node.module or ''} import {alias.name} as {shown}\n")
        elif isinstance(node, ast.Assign):
            for target in ast.walk(node.targets[0]):
                if isinstance(target, ast.Name):
                    written.add(target.id)
                    lines.append(f"{target.id}: Any\n")
    lines.append("from .core.tensor import Tensor as _T\n")
    for name, function in sorted(cltorch.ops.registry.functions("torch").items()):
        if name not in written and not keyword.iskeyword(name):
            lines.append(f"def {name}({parameters(function, False)}) -> Any: ...\n")
    return "".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit with 1 where a stub differs from what would be written")
    arguments = parser.parse_args(argv)
    stale = 0
    for path, text in ((ROOT / "core" / "tensor.pyi", tensor_stub()), (ROOT / "__init__.pyi", package_stub())):
        if path.exists() and path.read_text() == text:
            continue
        stale = 1
        if arguments.check:
            print(f"{path.relative_to(ROOT.parent)} is stale: run python tools/make_stubs.py")
        else:
            path.write_text(text)
            print(f"wrote {path.relative_to(ROOT.parent)}")
    return stale if arguments.check else 0


if __name__ == "__main__":
    raise SystemExit(main())
