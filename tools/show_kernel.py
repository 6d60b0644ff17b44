"""Prints the OpenCL C that a device gets: of an expression or an operator (its launches), or of a kernel template.

  show_kernel.py "softplus(x * y + x)" --dtype float16        the chain's kernel; x, y and z are tensors of --shape
  show_kernel.py cumsum --strategy grid                       what an operator launches on its first sample
  show_kernel.py reduce/rows --dtype float16                  a template, as an operator that uses it renders it
  show_kernel.py matmul/small --set VW=4 --set dtype=float32 --set out=float32    a template with the parameters given, without a device
"""
from __future__ import annotations

import argparse
import ast
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # run as a file of a checkout: the package lies beside tools/
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cltorch
from cltorch.codegen import TemplateError, kernel_root, render, tunables
from cltorch.core import dispatch
from cltorch.core.tensor import Tensor
from cltorch.dtype import NAMES, dtype
from cltorch.ops import registry
from cltorch.runtime.observe import Observer

NAMESPACES = ("functional", "special", "linalg", "fft", "torch")  # the last wins where two have a name
EXAMPLES = {  # a template -> an expression that makes the device render it
    "pointwise/map": "x * y + x", "reduce/rows": "x.sum(1)", "reduce/columns": "x.sum(0)", "matmul/small": "x[:4] @ y[:, :4]", "matmul/panel": "x @ y",
    "matmul/dot": "x[0] @ x[1]", "matmul/grid": "x @ y", "norm/softmax": "x.softmax(-1)", "norm/layer": "layer_norm(x, x.shape[-1:])",
    "conv/correlate": "conv2d(x[None, None], y[None, None, :3, :3], None, 2)", "conv/direct": "conv2d(x[None, None], y[None, None, :3, :3])",
    "conv/grid": "conv2d(x[None, None], y[None, None, :3, :3].repeat(8, 1, 1, 1))",
    "conv/weights": "(w := y[None, None, :3, :3].repeat(32, 1, 1, 1).detach().requires_grad_(), conv2d(x[None, None], w).sum().backward())[0].grad",
    "indexing/address": "x.gather(1, tensor([[0, 1]], device=x.device))", "indexing/move": "x.index_select(0, tensor([0, 1], device=x.device))",
    "sorting/rows": "x.sort()",
    "movement/cat": "cat([x, y])", "movement/flip": "x.flip(0)", "movement/tri": "x.tril()",
}


def tensors(count: int, shape: tuple[int, ...], d: dtype, device: Any) -> list[Tensor]:
    """Operands of one dtype: 1, 2, 3, ... over and over, so that no function is left its domain by accident."""
    size = cltorch.Size(shape).numel()
    base = (cltorch.arange(size) % 7 + 1).reshape(shape)
    return [base.to(d).to(device) for _ in range(count)]


def realise(result: Any) -> None:
    """Launches what is pending in a result."""
    for item in result if isinstance(result, (tuple, list)) else [result]:
        if isinstance(item, Tensor):
            dispatch.buffer(item)


class Sources(Observer):
    """Keeps the source of each launched program, in order."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def before(self, kernel: Any, global_size: tuple, local_size: tuple | None, args: tuple) -> None:
        self.found.setdefault(kernel.program.source, kernel.program.label)


def launched(work: Callable[[], Any], device: Any) -> list[tuple[str, str]]:
    """(label, source) of the programs whose kernels ``work`` launches."""
    dev, sources = cltorch.empty(0, device=device)._dev, Sources()
    dev.watch(sources)
    try:
        realise(work())
    finally:
        dev.unwatch(sources)
    return [(label, source) for source, label in sources.found.items()]


def of_expression(text: str, arguments: argparse.Namespace) -> list[tuple[str, str]]:
    names = {name: function for space in NAMESPACES for name, function in registry.functions(space).items()}
    d = NAMES[arguments.dtype]
    names |= dict(zip("xyz", tensors(3, arguments.shape, d, arguments.device), strict=True)) | {"tensor": cltorch.tensor, **NAMES}
    for name in "xyz":
        dispatch.buffer(names[name])
    code = compile(text, "<expression>", "eval")
    return launched(lambda: eval(code, names), arguments.device)


def of_operator(op: registry.Operator, arguments: argparse.Namespace) -> list[tuple[str, str]]:
    d = NAMES[arguments.dtype]
    make = lambda *shape, dtype=None, **_: tensors(1, shape, dtype or d, arguments.device)[0]  # noqa: E731 - the samples' maker
    if op.samples is not None:
        args, kwargs = op.samples(make)[0]
        return launched(lambda: op.function(*args, **kwargs), arguments.device)
    needed = [p for p in inspect.signature(op.function).parameters.values() if p.default is p.empty]
    operands = tensors(len(needed), arguments.shape, d, arguments.device)
    for operand in operands:
        dispatch.buffer(operand)
    return launched(lambda: op.function(*operands), arguments.device)


def of_template(name: str, arguments: argparse.Namespace) -> list[tuple[str, str]]:
    if name in EXAMPLES and not arguments.set:
        return [found for found in of_expression(EXAMPLES[name], arguments) if f'"{name}.mako"' in found[1]]
    settings = {"dtype": NAMES[arguments.dtype], **dict(arguments.set)}
    return [(name, render(name, arguments.strategy or "wide", **settings))]


def find(target: str) -> registry.Operator | None:
    return next((op for op in registry.table() if target in (op.name, *op.aliases)), None)


def sources(arguments: argparse.Namespace) -> list[tuple[str, str]]:
    """(label, source) of everything the target stands for."""
    if (kernel_root() / f"{arguments.target}.mako").is_file():
        return of_template(arguments.target, arguments)
    op = find(arguments.target)
    return of_operator(op, arguments) if op else of_expression(arguments.target, arguments)


def setting(text: str) -> tuple[str, Any]:
    """``name=value``: a dtype's name, a Python literal, or a word."""
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r}: name=value was expected")
    if value in NAMES:
        return name, NAMES[value]
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", help="an expression over x, y, z, an operator's name, or a template's path under kernels/")
    parser.add_argument("--dtype", choices=sorted(NAMES), default="float32")
    parser.add_argument("--strategy", choices=("wide", "grid"), help="default: the device's own")
    parser.add_argument("--set", type=setting, action="append", default=[], metavar="NAME=VALUE", help="a parameter of the template")
    parser.add_argument("--shape", type=lambda text: tuple(map(int, text.split(","))), default=(64, 64), help="of x, y and z; 64,64")
    parser.add_argument("--device", default="cuda")
    arguments = parser.parse_args(argv)
    if arguments.strategy:
        os.environ["CLTORCH_STRATEGY"] = arguments.strategy
    try:
        found = sources(arguments)
    except TemplateError as error:
        declared = tunables(arguments.target)
        print(f"{error}\nGive the template's parameters with --set; tunables: {declared or 'none'}", file=sys.stderr)
        return 1
    except (NameError, SyntaxError) as error:
        print(f"{arguments.target!r} is neither a template, nor an operator, nor an expression over x, y and z: {error}", file=sys.stderr)
        return 1
    for label, source in found:
        print(f"// ---- {label}\n{source}")
    if not found:
        print("nothing was launched: a view, or a result that needed no kernel", file=sys.stderr)
    return 0 if found else 1


if __name__ == "__main__":
    raise SystemExit(main())
