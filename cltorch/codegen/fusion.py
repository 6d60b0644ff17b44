"""A chain of pointwise operators as the text of one kernel (pure: descriptions in, OpenCL C out)."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, NamedTuple

from ..dtype import dtype, int16
from .ctypes import CType, ctype
from .expression import translate
from .templates import library_files, render

# How a leaf or output lies in memory relative to the launch's row-major element number.
DENSE, SHIFTED, SINGLE, UNIT, CONSTANT, STRIDED = range(6)
HALVES = """#if defined(POCL_DEVICE_ADDRESS_BITS) && defined(__F16C__)
#define HALF_INSTRUCTIONS
#endif
"""  # in front of a chain whose loops ask for vectors: elsewhere in PoCL they would be slow calls, and others' compilers were not tried
LABORIOUS = frozenset(f"common/{name}.mako" for name in ("exponential", "power", "special", "trigonometry"))  # functions that take longer than memory


class Step(NamedTuple):
    """One operator: its expression over the parameter names, what each parameter reads, and the types."""

    expression: str
    parameters: tuple[str, ...]
    sources: tuple[tuple[str, int], ...]  # ("step" | "leaf" | "scalar" | "product", index); product: what the kernel has computed itself
    compute: dtype
    result: dtype


class Chain(NamedTuple):
    """What a launch computes. ``leaves``: (dtype, layout); ``outputs``: step indices, written with layout ``out_layout``.
    ``streamed``: past a processor's caches; rank 0 and dense outputs only."""

    steps: tuple[Step, ...]
    leaves: tuple[tuple[dtype, int], ...]
    outputs: tuple[int, ...]
    out_layout: int
    rank: int
    large: bool
    streamed: bool = False


def _index(layout: int, name: str, rank: int) -> str:
    if layout == DENSE:
        return "i"
    if layout == SHIFTED:
        return f"(i + f{name})"
    if layout == UNIT:
        return f"(b{name} + j)"
    if layout == CONSTANT:
        return f"b{name}"
    return f"(b{name} + j * t{name}_{rank - 1})"


def _parameters(chain: Chain, index: str) -> list[str]:
    rank = chain.rank
    out = [f"__global {ctype(chain.steps[k].result).storage} *restrict o{n}" if chain.out_layout == DENSE
           else f"__global {ctype(chain.steps[k].result).storage} *o{n}" for n, k in enumerate(chain.outputs)]
    alias = "restrict " if chain.out_layout == DENSE else ""  # an assignment in place may read what it writes
    out += [f"__global const {ctype(d).storage} *{alias}p{n}" for n, (d, _) in enumerate(chain.leaves)]
    out.append(f"const {index} n")
    out += [f"const {index} d{axis}" for axis in range(rank)]
    return out + _places(chain, index)


def _places(chain: Chain, index: str) -> list[str]:
    """The parameters that say where leaves and outputs begin and how far apart their elements are."""
    out = []
    names = [(str(n), layout) for n, (_, layout) in enumerate(chain.leaves)]
    if chain.out_layout != DENSE:
        names.append(("o", chain.out_layout))
    for name, layout in names:
        if layout != DENSE:
            out.append(f"const {index} f{name}")
        if layout >= UNIT:
            out += [f"const {index} t{name}_{axis}" for axis in range(chain.rank)]
    return out


def _bases(chain: Chain) -> list[tuple[str, str, list[str]]]:
    names = [(str(n), layout) for n, (_, layout) in enumerate(chain.leaves)] + [("o", chain.out_layout)]
    return [(name, f"f{name}", [f"t{name}_{axis}" for axis in range(chain.rank)]) for name, layout in names if layout >= UNIT]


def _step_texts(chain: Chain, scalars: list[str], stored: Sequence[int]) -> list[str]:
    """The steps in order, those of ``stored`` written to memory; appends their scalars' kernel parameters."""
    read = {index for step in chain.steps for kind, index in step.sources if kind == "step"}
    return [_step_text(chain, k, scalars, k not in stored or k in read) for k in range(len(chain.steps))]


def _step_text(chain: Chain, k: int, scalars: list[str], read: bool) -> str:
    """``const float v2; { const float x = v0, y = l1; v2 = ...; }`` for step k. A half that nobody reads is rounded where it is stored."""
    step = chain.steps[k]
    compute, result = ctype(step.compute), ctype(step.result)
    inner = []
    for name, (kind, source) in zip(step.parameters, step.sources, strict=True):
        if kind == "scalar":
            number = f"s{len(scalars)}"
            if compute.is_complex:
                part = compute.kernel_scalar
                scalars += [f"const {part} {number}", f"const {part} s{len(scalars) + 1}"]
                value = f"({compute.c})({number}, s{len(scalars) - 1})"
            else:
                scalars.append(f"const {compute.kernel_scalar} {number}")
                value = compute.scalar_value(number)
        elif kind == "product":
            value = "product"
        elif kind == "step":
            value = compute.cast(ctype(chain.steps[source].result), f"v{source}")
        else:
            value = compute.cast(ctype(chain.leaves[source][0]), f"l{source}")
        inner.append(f"const {compute.c} {name} = {value};")
    expression = translate(step.expression, compute)
    if result.s == "b8":
        expression = f"({expression}) != 0"
    elif read or not result.is_half:
        expression = result.round(expression)
    return f"    {result.c} v{k}; {{ {' '.join(inner)} v{k} = {expression}; }}"


def _as_bits(chain: Chain) -> Chain:
    """A mere copy of halves moves the 16-bit integers that they are: conversion to float and back takes four times as long as the memory."""
    if len(chain.steps) != 1 or len(chain.leaves) != 1:
        return chain
    step, (d, layout) = chain.steps[0], chain.leaves[0]
    copied = step.sources == (("leaf", 0),) and step.expression == step.parameters[0] and step.compute is step.result is d
    if not copied or not ctype(d).is_half:
        return chain
    return chain._replace(steps=(step._replace(compute=int16, result=int16),), leaves=((int16, layout),))


def render_chain(chain: Chain, strategy: str) -> str:
    """The kernel ``map`` for a chain. Arguments: outputs, leaves, n, sizes, per leaf (offset, strides), output (offset, strides), scalars."""
    chain = _as_bits(chain)
    index = "ulong" if chain.large else "uint"
    scalars: list[str] = []
    hoisted = [_leaf(chain, n) for n, (_, layout) in enumerate(chain.leaves) if layout == SINGLE]
    body = [f"    {_leaf(chain, n)}" for n, (_, layout) in enumerate(chain.leaves) if layout != SINGLE]
    body += _step_texts(chain, scalars, chain.outputs)
    for n, k in enumerate(chain.outputs):
        t = ctype(chain.steps[k].result)
        where = (f"held{n}", "j") if chain.streamed else (f"o{n}", _index(chain.out_layout, "o", chain.rank))
        body.append(f"    {t.store(*where, f'v{k}')};")
    results = [chain.steps[k].result for k in chain.outputs]
    streamed = [(ctype(d).storage, d.itemsize) for d in results if chain.streamed]
    read = [(f"p{n}", _index(layout, str(n), chain.rank), d.itemsize) for n, (d, layout) in enumerate(chain.leaves) if layout in (DENSE, SHIFTED)]
    text = "\n".join(body)
    widest = max(step.compute.itemsize for step in chain.steps) if library_files(text) & LABORIOUS else 0
    halves = strategy == "wide" and "to_half_f32(" in text
    source = render("pointwise/map", strategy, parameters=_parameters(chain, index) + scalars, hoisted=hoisted, body=text, rank=chain.rank,
                    bases=_bases(chain), I=index, streamed=streamed, read=read, interleave=8 if len(chain.steps) <= 2 and not widest else 4,
                    widest=widest, halves=halves)
    return HALVES + source if halves else source


def _leaf(chain: Chain, n: int) -> str:
    d, layout = chain.leaves[n]
    t = ctype(d)
    where = f"f{n}" if layout == SINGLE else _index(layout, str(n), chain.rank)
    return f"const {t.c} l{n} = {t.load(f'p{n}', where)};"


@dataclass(frozen=True, eq=False, repr=False)
class Inlined(CType):
    """A type whose elements a kernel passes through a chain on their way from or to memory. One object for each chain: kernels are found by it."""

    chained: ClassVar[bool] = True
    body: str
    given: tuple[tuple[str, str], ...]  # types and names of the parameters: memory objects, where those begin that don't begin at 0, numbers

    def parameters(self, name: str) -> str:
        return ", ".join(f"{kind} {name}_{word}" for kind, word in self.given)

    def results(self, name: str) -> str:
        return self.parameters(name)

    def _function(self, head: str, more: str) -> str:
        given = ", ".join(f"{kind.replace('restrict', '')} {word}" for kind, word in self.given)  # the kernel's own say it; Oclgrind can't inline those that do
        return f"static inline __attribute__((always_inline)) {head}({given}, {more})\n{{\n#pragma OPENCL FP_CONTRACT OFF\n{self.body}}}\n"

    def _call(self, function: str, name: str, more: str) -> str:
        return f"{function}({', '.join(f'{name}_{word}' for _, word in self.given)}, {more})"


class Computed(Inlined):
    """The type of what a kernel reads from a chain instead of from memory: elements are computed where it loads them."""

    def definition(self, name: str) -> str:
        return self._function(f"{self.c} {name}_at", "const ulong i")

    def load(self, pointer: str, index: str) -> str:
        return self._call(f"{pointer}_at", pointer, index)


class Continued(Inlined):
    """The type of a kernel's result that a chain goes on from: where the kernel stores an element, the chain's outputs are stored.

    The index counts from the memory's start, because it is the chain's element number, too.
    """

    def definition(self, name: str) -> str:
        return self._function(f"void {name}_put", f"const ulong i, const {self.c} product")

    def store(self, pointer: str, index: str, value: str) -> str:
        return self._call(f"{pointer}_put", pointer, f"{index}, {value}")


def computed(chain: Chain) -> Computed:
    """A chain over dense, shifted and single leaves as a type to read from; its last step is what is read."""
    return Computed(**_inlined(chain, chain.steps[-1].result, (), [f"    return v{len(chain.steps) - 1};"]))


def continued(chain: Chain, d: dtype) -> Continued:
    """A chain over a kernel's result of type d (sources "product") and dense, shifted and single leaves as a type to write to."""
    stores = [f"    {ctype(chain.steps[k].result).store(f'o{n}', 'i', f'v{k}')};" for n, k in enumerate(chain.outputs)]
    return Continued(**_inlined(chain, d, [ctype(chain.steps[k].result).results(f"o{n}") for n, k in enumerate(chain.outputs)], stores))


def _inlined(chain: Chain, d: dtype, outputs: Sequence[str], end: Sequence[str]) -> dict[str, Any]:
    scalars: list[str] = []
    body = [f"    {_leaf(chain, n)}" for n in range(len(chain.leaves))] + _step_texts(chain, scalars, chain.outputs if outputs else ())
    leaves = [ctype(d).parameters(f"p{n}") for n, (d, _) in enumerate(chain.leaves)]
    given = tuple((kind, word) for kind, _, word in (text.rpartition(" ") for text in (*outputs, *leaves, *_places(chain, "uint"), *scalars)))
    return {**{f.name: getattr(ctype(d), f.name) for f in fields(CType) if f.init}, "body": "\n".join([*body, *end]) + "\n", "given": given}
