"""Runs expressions of the kernels' function library on the device under test, in both strategies, without operators in between."""
from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

import cltorch
from cltorch.codegen import CType, complete, ctype
from cltorch.core import dispatch
from cltorch.dtype import by_name
from cltorch.runtime import program

WIDE, GRID = True, False
BOTH = [pytest.param(WIDE, id="wide"), pytest.param(GRID, id="grid")]


def _walk(wide: bool) -> str:
    """A contiguous chunk for each of a few fat work-items, or a stride over all work-items: what kernels do in each strategy."""
    return "for (uint i = lo; i < hi; i++)" if wide else "for (uint i = get_global_id(0); i < n; i += get_global_size(0))"


def kernel_text(expressions: Iterable[str], inputs: tuple[CType, ...], out: CType, wide: bool) -> str:
    """``out[i] = expression number `which` `` over x, y, z, the elements of up to three arrays. One kernel: PoCL compiles by kernel."""
    parameters = "".join(f", __global const {t.storage} *restrict p{k}" for k, t in enumerate(inputs))
    loads = " ".join(f"const {t.c} {'xyz'[k]} = {t.load(f'p{k}', 'i')};" for k, t in enumerate(inputs))
    cases = "".join(f"  if (which == {k})\n    {_walk(wide)} {{ {loads} {out.store('o', 'i', expression)}; }}\n"
                    for k, expression in enumerate(expressions))
    return (f"__kernel void choose(__global {out.storage} *restrict o{parameters}, const uint n, const uint which) {{\n"
            "  const uint per = (n + get_num_groups(0) - 1) / get_num_groups(0), lo = get_group_id(0) * per;\n"
            f"  const uint hi = lo + per < n ? lo + per : n;\n{cases}}}\n")


class Functions:
    """Several expressions over arrays of one dtype as one program."""

    def __init__(self, device: cltorch.device, expressions: dict[str, str], inputs: tuple[str, ...], out: str, wide: bool) -> None:
        self.dev = dispatch.from_host(np.zeros(1, np.int32), by_name("int32"), cltorch.empty(1, device=device)._dev)._dev
        self.inputs, self.out, self.wide = [by_name(name) for name in inputs], by_name(out), wide
        for d in (*self.inputs, self.out):
            if ctype(d).needs_fp64 and not self.dev.has_fp64:
                pytest.skip(f"{self.dev} has no {d.name}")
        types = tuple(ctype(d) for d in self.inputs)
        text = kernel_text(expressions.values(), types, ctype(out), wide)
        self.kernel = program.build(self.dev, complete(text, wide), "function library").kernel("choose")
        self.names = list(expressions)

    def __call__(self, name: str, *arrays: np.ndarray) -> np.ndarray:
        """The expression of that name over flat arrays (in their dtype's stored form)."""
        values = [dispatch.from_host(a.astype(d.np, copy=False), d, self.dev) for a, d in zip(arrays, self.inputs, strict=True)]
        result = dispatch.empty((arrays[0].size,), self.out, self.dev)
        sizes = ((4,), (1,)) if self.wide else ((256,), (64,))
        buffers = [dispatch.buffer(v) for v in values]
        self.kernel(*sizes, dispatch.writable(result), *buffers, arrays[0].size, self.names.index(name))
        return result.cpu().view(cltorch.int16).numpy().view(np.uint16) if self.out.name == "bfloat16" else result.cpu().numpy()


def run(device: cltorch.device, expression: str, *arrays: np.ndarray, dtype: str = "float32", out: str = "", wide: bool = WIDE) -> np.ndarray:
    """One expression over arrays of one dtype."""
    return Functions(device, {"one": expression}, (dtype,) * len(arrays), out or dtype, wide)("one", *arrays)
