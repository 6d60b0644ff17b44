"""Launches of attention's fused kernels, which keep no matrix of scores: memory grows with the length, not with its square."""
from __future__ import annotations

from functools import lru_cache
from math import gcd
from typing import Any, NamedTuple

from ..core import dispatch
from ..core.tensor import Tensor
from ..dtype import dtype
from ..runtime.device import Device
from ..shape import Size, broadcast_shapes, broadcast_strides, collapse
from .gemm_plan import ceil, lanes_of, vector_bytes
from .reduction_form import summing

FAMILIES = {"wide": "attention/panel", "grid": "attention/block"}
CAPACITIES = (64, 128, 256)  # channels of a head that kernels are compiled for
LEAST_ROWS = 16  # queries below which lanes would be idle: the products of one or a few rows are quicker
ITEMS_PER_UNIT = 4  # work-items of a gradient to have for each compute unit, so that none waits long for the last
MOST_PARTS = 8  # copies of the gradients of keys and values that may be added up
Geometry = tuple[tuple[int, ...], tuple[int, ...]]  # shape and strides


class Plan(NamedTuple):
    """What launches over operands of known geometry need. ``steps``: of each operand its strides (row, column, three batch dimensions)."""

    batch: Size
    rows: int
    keys: int
    e: int
    ev: int
    inner: tuple[int, int]
    steps: tuple[tuple[int, ...], ...]

    def source(self, t: Tensor, number: int) -> tuple:
        """Memory, first element and strides of an operand."""
        return (dispatch.buffer(t), t.offset, *self.steps[number])

    def arguments(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float, causal: bool) -> list:
        """What every kernel's arguments end with."""
        operands = [q, k, v] if mask is None else [q, k, v, mask]
        sources = [argument for number, t in enumerate(operands) for argument in self.source(t, number)]
        return [*sources, self.rows, self.keys, self.e, self.ev, *self.inner, float(scale), int(causal)]


@lru_cache(maxsize=4096)
def plan(q: Geometry, k: Geometry, v: Geometry, mask: Geometry | None = None, g: Geometry | None = None) -> Plan | None:
    """How to launch over these operands, or None where products and a softmax do it: for few queries, heads beyond CAPACITIES, for nothing
    at all, and for batch dimensions in which the operands differ too much to be counted by three.

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
    operands = [(q, (rows, e)), (k, (keys, e)), (v, (keys, ev)), (mask, (rows, keys)), (g, (rows, ev))]
    whole = [broadcast_strides(*of, (*batch, *shape)) for of, shape in operands if of is not None]
    sizes, steps = collapse(tuple(batch), *[w[:-2] for w in whole])
    if len(sizes) > 3 or not batch.numel():
        return None
    lead = (0,) * (3 - len(sizes))
    places = tuple((*w[-2:], *lead, *s) for w, s in zip(whole, steps, strict=True))
    return Plan(batch, rows, keys, e, ev, (1, *sizes)[-2:], places)


def planned(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, g: Tensor | None = None) -> Plan | None:
    """``plan`` of tensors."""
    return plan(*[None if t is None else (tuple(t.shape), t._strides) for t in (q, k, v, mask, g)])


def _blocks(dev: Device, p: Plan) -> int:
    return ceil(p.rows, dispatch.tuned(dev, FAMILIES["wide"])["QUERIES"])


def _lanes(dev: Device, family: str, acc: dtype) -> int:
    """Those of the device's vectors, or fewer, so that a block of queries is whole panels of NV vectors."""
    tunables, lanes = dispatch.tuned(dev, family), lanes_of(acc, vector_bytes(dev, family))
    return gcd(lanes, tunables["QUERIES"] // tunables["NV"])


def _kernel(dev: Device, entry: str, p: Plan, q: Tensor, mask: Tensor | None) -> Any:
    """A kernel of the strategy's family, compiled for the types and the next capacity."""
    family = FAMILIES[dev.strategy]
    capacity = next(c for c in CAPACITIES if c >= max(p.e, p.ev))
    lanes = {"VW": _lanes(dev, family, summing(q.dtype))} if dev.strategy == "wide" else {}
    return dispatch.kernel(dev, family, entry, stage=entry, dtype=q.dtype, mask=None if mask is None else mask.dtype, CAP=capacity, **lanes)


def _run(dev: Device, entry: str, p: Plan, q: Tensor, mask: Tensor | None, parts: int, arguments: list) -> None:
    """Launches ``entry``; ``parts``: what a batch is cut into for a work-item (wide), or rows of the result (grid), BR of which a group takes."""
    kernel, count = _kernel(dev, entry, p, q, mask), p.batch.numel()
    if dev.strategy == "wide":
        kernel((parts, count), (1, 1), *arguments)
        return
    tile = dispatch.tuned(dev, FAMILIES["grid"])
    group = (tile["BC"] // tile["RN"], tile["BR"] // tile["RM"], 1)
    kernel((ceil(parts, tile["BR"]) * group[0], group[1], count), group, *arguments)


def forward(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float, causal: bool) -> tuple[Tensor, Tensor]:
    """The result (..., L, Ev), and the logarithms of the sums over keys (..., L) that the gradient needs."""
    p, dev = planned(q, k, v, mask), q._dev
    assert p is not None
    out = dispatch.empty((*p.batch, p.rows, p.ev), q.dtype, dev)
    sums = dispatch.empty((*p.batch, p.rows), summing(q.dtype), dev)
    parts = _blocks(dev, p) if dev.strategy == "wide" else p.rows
    _run(dev, "forward", p, q, mask, parts, [dispatch.buffer(out), dispatch.buffer(sums), *p.arguments(q, k, v, mask, scale, causal)])
    return out, sums


def backward(g: Tensor, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, out: Tensor, sums: Tensor, scale: float,
             causal: bool) -> list[Tensor]:
    """Gradients of q, k and v, of the shape that broadcasting gave them, those of k and v in sums' type."""
    p, dev, acc = planned(q, k, v, mask, g), q._dev, sums.dtype
    assert p is not None
    wide = dev.strategy == "wide"
    parts = min(MOST_PARTS, _blocks(dev, p), ceil(dev.compute_units * ITEMS_PER_UNIT, p.batch.numel())) if wide else 1
    delta = (g.to(acc) * out.to(acc)).sum(-1)  # type: ignore[attr-defined]
    dq = dispatch.empty((*p.batch, p.rows, p.e), q.dtype, dev)
    dk, dv = (dispatch.empty((parts, *p.batch, p.keys, n), acc, dev) for n in (p.e, p.ev))
    rest = [*p.source(g, -1), *map(dispatch.buffer, (sums, delta)), *p.arguments(q, k, v, mask, scale, causal)]
    if wide:
        _run(dev, "backward", p, q, mask, parts, [*map(dispatch.buffer, (dq, dk, dv)), *rest])
    else:
        for entry, target, rows in (("dq", dq, p.rows), ("dk", dk, p.keys), ("dv", dv, p.keys)):
            _run(dev, entry, p, q, mask, rows, [dispatch.buffer(target), *rest])
    return [dq, *(t[0] if parts == 1 else t.sum(0) for t in (dk, dv))]  # type: ignore[attr-defined]
