"""Launches of attention's fused kernels, which keep no matrix of scores: memory grows with the length, not with its square."""
from __future__ import annotations

from functools import lru_cache
from math import gcd
from typing import Any, NamedTuple

from ..core import dispatch
from ..core.tensor import Tensor, alias
from ..dtype import dtype
from ..runtime.device import Device
from ..shape import Size, broadcast_shapes, broadcast_strides, collapse
from .gemm_plan import ceil, lanes_of, vector_bytes
from .random import threshold
from .reduction_form import summing

FAMILIES = {"wide": "attention/panel", "grid": "attention/block"}
CAPACITIES = (64, 128, 256)  # channels of a head that kernels are compiled for
LEAST_ROWS = 16  # queries below which lanes would be idle: the products of one or a few rows are quicker
ITEMS_PER_UNIT = 4  # work-items of a gradient to have for each compute unit, so that none waits long for the last
MOST_PARTS = 8  # copies of the gradients of keys and values that may be added up
Geometry = tuple[tuple[int, ...], tuple[int, ...]]  # shape and strides


class Dropout(NamedTuple):
    """Of weights, with probability ``p`` below 1: the mask from a place in a random stream, which forward and backward draw alike."""

    p: float
    seed: int
    offset: int

    def arguments(self) -> tuple[int, int, int, float]:
        """As kernels take them: the words below a limit drop a weight, the others multiply it."""
        return self.seed, self.offset, min(threshold(self.p), 2 ** 32 - 1), 1 / (1 - self.p)


class Plan(NamedTuple):
    """What launches over operands of known geometry need. ``steps``: of each operand its strides (row, column, three batch dimensions).
    ``results``: the shapes and strides of what is written, and ``places``: the same as a kernel counts them."""

    batch: Size
    rows: int
    keys: int
    e: int
    ev: int
    inner: tuple[int, int]
    steps: tuple[tuple[int, ...], ...]
    results: tuple[Geometry, ...]
    places: tuple[tuple[int, ...], ...]

    @property
    def blocks(self) -> int:
        """How far dropout goes in a random stream: four keys a block."""
        return self.batch.numel() * self.rows * ceil(self.keys, 4)

    def source(self, t: Tensor, number: int) -> tuple:
        """Memory, first element and strides of an operand."""
        return (dispatch.buffer(t), t.offset, *self.steps[number])

    def memory(self, number: int, d: dtype, dev: Device, parts: int = 1) -> Tensor:
        """For a result: (parts, elements)."""
        return dispatch.empty((parts, Size(self.results[number][0]).numel()), d, dev)

    def target(self, number: int, memory: Tensor, offset: int = 0) -> tuple:
        """A result's memory, first element and strides, as a kernel takes them."""
        return (dispatch.buffer(memory), offset, *self.places[number])

    def result(self, number: int, memory: Tensor, offset: int = 0) -> Tensor:
        """Its parts added up, in its shape and order."""
        whole = memory if memory.shape[0] == 1 else memory.sum(0)  # type: ignore[attr-defined]
        return alias(whole, *self.results[number], offset)

    def arguments(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float, causal: bool, dropout: Dropout | None) -> list:
        """What every kernel's arguments end with."""
        operands = [q, k, v] if mask is None else [q, k, v, mask]
        sources = [argument for number, t in enumerate(operands) for argument in self.source(t, number)]
        return [*sources, self.rows, self.keys, self.e, self.ev, *self.inner, float(scale), int(causal), *(dropout.arguments() if dropout else ())]


def _ordered(shape: tuple[int, ...], of: Geometry) -> tuple[int, ...]:
    """Dense strides in the order that an operand's dimensions have in memory, columns last: heads that lie side by side in a row stay so.
    Contiguous where broadcasting gave the operand another shape."""
    order = sorted(range(len(shape) - 1), key=lambda dim: -of[1][dim]) if shape[:-1] == of[0][:-1] else range(len(shape) - 1)
    strides, step = [1] * len(shape), shape[-1]
    for dim in reversed(order):
        strides[dim], step = step, step * shape[dim]
    return tuple(strides)


def _step_between(q: Tensor, k: Tensor, v: Tensor) -> int:
    """How many elements q, k and v are from one another, where they are the thirds of one tensor that fills its memory; else 0."""
    step = k.offset - q.offset
    if not (q.storage is k.storage is v.storage and q.shape == k.shape == v.shape and q._strides == k._strides == v._strides and v.offset == k.offset + step):
        return 0
    dense = 1
    for stride, size in sorted([(step, 3), *zip(q._strides, q.shape, strict=True)]):
        if size > 1:
            if stride != dense:
                return 0
            dense *= size
    return step


@lru_cache(maxsize=4096)
def plan(q: Geometry, k: Geometry, v: Geometry, mask: Geometry | None = None, g: Geometry | None = None, out: Geometry | None = None,
         alike: bool = False) -> Plan | None:
    """How to launch over these operands (with ``g`` for the gradients), or None where products and a softmax do it: for few queries, heads beyond
    CAPACITIES, for nothing at all, and for batch dimensions in which the operands differ too much to be counted by three. ``alike``: the gradients
    have the operands' strides.

    Operands whose sizes don't fit each other give None, too: the products say what is wrong.
    """
    (rows, e), (keys, ev) = q[0][-2:], v[0][-2:]
    if k[0][-2:] != (keys, e) or rows < LEAST_ROWS or max(e, ev) > CAPACITIES[-1] or not min(keys, e, ev):
        return None
    batch = broadcast_shapes(q[0][:-2], k[0][:-2])
    scores = (*batch, rows, keys)
    if mask is not None and broadcast_shapes(scores, mask[0]) != scores:
        return None
    batch = broadcast_shapes(batch, v[0][:-2])
    operands = [(q, (rows, e)), (k, (keys, e)), (v, (keys, ev)), (mask, (rows, keys)), (g, (rows, ev)), (out, (rows, ev))]
    shapes = [(q, (*batch, rows, ev))] if g is None else [(q, (*batch, rows, e)), (k, (*batch, keys, e)), (v, (*batch, keys, ev))]
    results = tuple((shape, of[1] if alike else _ordered(shape, of)) for of, shape in shapes)
    whole = [broadcast_strides(*of, (*batch, *shape)) for of, shape in operands if of is not None]
    sizes, steps = collapse(tuple(batch), *[w[:-2] for w in whole], *[strides[:-2] for _, strides in results])
    if len(sizes) > 3 or not batch.numel():
        return None
    lead = (0,) * (3 - len(sizes))
    read = tuple((*w[-2:], *lead, *s) for w, s in zip(whole, steps[:len(whole)], strict=True))
    written = tuple((strides[-2], *lead, *s) for (_, strides), s in zip(results, steps[len(whole):], strict=True))
    return Plan(batch, rows, keys, e, ev, (1, *sizes)[-2:], read, results, written)


def planned(*operands: Tensor | None, alike: bool = False) -> Plan | None:
    """``plan`` of tensors."""
    return plan(*[None if t is None else (tuple(t.shape), t._strides) for t in operands], alike=alike)


def _blocks(dev: Device, rows: int) -> int:
    return ceil(rows, dispatch.tuned(dev, FAMILIES["wide"])["QUERIES"])


def _parts(dev: Device, rows: int, batch: int) -> int:
    """Work-items that share one batch's gradients of keys and values, so that all compute units have work."""
    return min(MOST_PARTS, _blocks(dev, rows), ceil(dev.compute_units * ITEMS_PER_UNIT, batch))


def _tile(dev: Device, family: str, acc: dtype) -> dict[str, int]:
    """Lanes of the device's vectors, or fewer, so that a block of queries is whole panels of NV vectors; rows, where no profile says, for the number of its
    registers (32 of 64 bytes, else 16)."""
    tunables, given, nbytes = dispatch.tuned(dev, family), dispatch.given(dev, family), vector_bytes(dev, family)
    lanes = {"VW": gcd(lanes_of(acc, nbytes), tunables["QUERIES"] // tunables["NV"])}
    return lanes if nbytes <= 32 or {"MR", "NV"} & given.keys() else {**lanes, "MR": 8}


def _kernel(dev: Device, entry: str, p: Plan, q: Tensor, mask: Tensor | None, dropout: bool) -> Any:
    """A kernel of the strategy's family, compiled for the types and the next capacity."""
    family = FAMILIES[dev.strategy]
    capacity = next(c for c in CAPACITIES if c >= max(p.e, p.ev))
    tile = _tile(dev, family, summing(q.dtype)) if dev.strategy == "wide" else {}
    mask_dtype = None if mask is None else mask.dtype
    return dispatch.kernel(dev, family, entry, stage=entry, dtype=q.dtype, mask=mask_dtype, dropout=dropout, CAP=capacity, **tile)


def _run(dev: Device, entry: str, p: Plan, q: Tensor, mask: Tensor | None, dropout: Dropout | None, parts: int, arguments: list) -> None:
    """Launches ``entry``; ``parts``: what a batch is cut into for a work-item (wide), or rows of the result (grid), BR of which a group takes."""
    kernel, count = _kernel(dev, entry, p, q, mask, dropout is not None), p.batch.numel()
    if dev.strategy == "wide":
        kernel((parts, count), (1, 1), *arguments)
        return
    tile = dispatch.tuned(dev, FAMILIES["grid"])
    group = (tile["BC"] // tile["RN"], tile["BR"] // tile["RM"], 1)
    kernel((ceil(parts, tile["BR"]) * group[0], group[1], count), group, *arguments)


def forward(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float, causal: bool, dropout: Dropout | None) -> tuple[Tensor, Tensor]:
    """The result (..., L, Ev), and the logarithms of the sums over keys (..., L) that the gradient needs: to the base of the strategy's kernels."""
    p, dev = planned(q, k, v, mask), q._dev
    assert p is not None
    out = p.memory(0, q.dtype, dev)
    sums = dispatch.empty((*p.batch, p.rows), summing(q.dtype), dev)
    parts = _blocks(dev, p.rows) if dev.strategy == "wide" else p.rows
    _run(dev, "forward", p, q, mask, dropout, parts, [*p.target(0, out), dispatch.buffer(sums), *p.arguments(q, k, v, mask, scale, causal, dropout)])
    return p.result(0, out), sums


def backward(g: Tensor, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, out: Tensor, sums: Tensor, scale: float,
             causal: bool, dropout: Dropout | None) -> list[Tensor]:
    """Gradients of q, k and v, of the shape that broadcasting gave them, those of k and v in sums' type."""
    dev, acc = q._dev, sums.dtype
    wide = dev.strategy == "wide"
    step = _step_between(q, k, v) if acc is q.dtype else 0
    if step and wide and _parts(dev, q.shape[-2], q.shape[:-2].numel()) > 1:
        step = 0  # parts of a result lie one after the other
    p = planned(q, k, v, mask, g, out, alike=step > 0)
    if p is None:  # g's batch dimensions can't be counted together with the operands' as those alone could
        q, k, v, g, out = [t.contiguous() for t in (q, k, v, g, out)]  # type: ignore[attr-defined]
        step, p = 0, planned(q, k, v, mask, g, out)
        assert p is not None
    parts = _parts(dev, p.rows, p.batch.numel()) if wide else 1
    if step:
        found = [dispatch.empty((1, 3 * q.numel()), acc, dev)] * 3
    else:
        found = [p.memory(0, q.dtype, dev), p.memory(1, acc, dev, parts), p.memory(2, acc, dev, parts)]
    targets = [p.target(number, t, number * step) for number, t in enumerate(found)]
    given, operands = p.source(g, -2), p.arguments(q, k, v, mask, scale, causal, dropout)
    if wide:
        answers, start, row, _, *batch = p.source(out, -1)  # a result of ``forward``: with neighbouring columns
        results = [*targets[0], *targets[1], *targets[2]]
        _run(dev, "backward", p, q, mask, dropout, parts, [*results, *given, answers, start, row, *batch, dispatch.buffer(sums), *operands])
    else:
        delta = (g.to(acc) * out.to(acc)).sum(-1)  # type: ignore[attr-defined]
        for entry, target, rows in zip(("dq", "dk", "dv"), targets, (p.rows, p.keys, p.keys), strict=True):
            _run(dev, entry, p, q, mask, dropout, rows, [*target, *given, dispatch.buffer(sums), dispatch.buffer(delta), *operands])
    return [p.result(number, t, number * step) for number, t in enumerate(found)]
