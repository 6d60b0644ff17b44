"""Matrix products' launches: c = alpha * a @ b + beta * d through strides, batched, in every numeric type. gemm_plan.py chooses the kernel."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

from ..codegen.ctypes import ctype
from ..core import dispatch
from ..core.tensor import Tensor, alias
from ..dtype import dtype
from ..runtime.device import Device
from ..shape import Size, broadcast_shapes, broadcast_strides, collapse, contiguous_strides
from .gemm_plan import ITEMS_PER_UNIT, Block, Plan, Side, bounded, ceil, grid_sizes, lanes_of, layout, plan, shared, through_local_memory, vector_bytes

Number = int | float | complex
Geometry = tuple[tuple[int, ...], tuple[int, ...]]  # shape and strides


class Steps(NamedTuple):
    """An operand's strides: row, column, and the two batch dimensions that the kernels count."""

    row: int
    column: int
    outer: int
    inner: int

    def transposed(self) -> Steps:
        return Steps(self.column, self.row, self.outer, self.inner)


class Problem(NamedTuple):
    """What a launch is prepared for: sizes (batch = outer * inner) and strides of a, b, d and c."""

    d: dtype
    m: int
    n: int
    k: int
    batch: int
    inner: int
    a: Steps
    b: Steps
    add: Steps
    c: Steps

    def transposed(self) -> Problem:
        """The transposed product, from the transposed operands in the other order."""
        a, b, add, c = (steps.transposed() for steps in (self.b, self.a, self.add, self.c))
        return self._replace(m=self.n, n=self.m, a=a, b=b, add=add, c=c)

    def tail(self, d: Any, d_start: int, c: list[Any], c_start: int) -> tuple:
        """The arguments from d on, without scalars."""
        return (d, d_start, *self.add, *c, c_start, *self.c, self.m, self.n, self.k, self.inner)


# (type of the result, a's memory, its first element, b's, ..., d's, ..., c's arguments, first element, scalars)
Launch = Callable[[Any, Any, int, Any, int, Any, int, list[Any], int, tuple], None]
ONE = (1, 1, 1)


def _grid(dev: Device, p: Problem, chosen: Plan) -> Launch:
    tile = dict(chosen.tunables)
    kernels = dispatch.Kinds(dev, "matmul/grid", way="grid", dtype=p.d, **tile)
    slices = [(first, p._replace(m=rows), grid_sizes(tile, rows, p.n, p.batch)) for first, rows in bounded(p.m, p.n * p.k * p.batch, tile["TM"])]

    def launch(kind: Any, a: Any, a_start: int, b: Any, b_start: int, d: Any, d_start: int, c: list[Any], c_start: int, scalars: tuple) -> None:
        for first, part, sizes in slices:
            tail = part.tail(d, d_start + first * p.add.row, c, c_start + first * p.c.row)
            kernels[kind](*sizes, a, a_start + first * p.a.row, *p.a, b, b_start, *p.b, *tail, *scalars)

    return launch


def _grid_parts(dev: Device, p: Problem, chosen: Plan) -> Launch:
    """Parts of k by work-groups of their own, for a product of fewer tiles than the device has compute units; a second launch adds them up."""
    tile = dict(chosen.tunables)
    deep = ceil(ceil(p.k, chosen.parts), tile["TK"]) * tile["TK"]
    parts = ceil(p.k, deep)
    sums = dispatch.kernel(dev, "matmul/grid", "grid_part", way="grid_part", dtype=p.d, out=p.d, **tile)
    folds = dispatch.Kinds(dev, "matmul/grid", "grid_fold", way="grid_fold", dtype=p.d)
    sizes, row = grid_sizes(tile, p.m, p.n, p.batch * parts), (min(64, dev.max_work_group_size), 1, 1)
    elements = (ceil(p.n, row[0]) * row[0], p.m, p.batch)
    nbytes = p.batch * parts * p.m * p.n * max(p.d.itemsize, 4)  # as they are summed: halves as floats

    def launch(kind: Any, a: Any, a_start: int, b: Any, b_start: int, d: Any, d_start: int, c: list[Any], c_start: int, scalars: tuple) -> None:
        partial = dev.allocator.allocate(nbytes)
        sums(*sizes, a, a_start, *p.a, b, b_start, *p.b, partial.mem, parts, deep, p.m, p.n, p.k, p.inner)
        folds[kind](elements, row, partial.mem, parts, *p.tail(d, d_start, c, c_start), *scalars)

    return launch


def _preferred(dev: Device, family: str, d: dtype, chosen: Plan) -> dict[str, int]:
    """A plan's numbers with the profiles' in front of them: lanes by the type, tiles for real numbers."""
    found = dict(dispatch.given(dev, family))
    if "VW" in found:
        found["VW"] = lanes_of(d, 4 * found["VW"])
    if d.is_complex:
        found = {name: value for name, value in found.items() if name == "VW"}
    return {**dict(chosen.tunables), **found}


def _small(dev: Device, p: Problem, chosen: Plan) -> Launch:
    kernels = dispatch.Kinds(dev, "matmul/small", dtype=p.d, **_preferred(dev, "matmul/small", p.d, chosen))
    rows = max(1, 4096 // max(p.n * p.k, 1), ceil(p.m * p.batch, dev.compute_units * ITEMS_PER_UNIT))
    size = (ceil(p.m * p.batch, rows), 1, 1)

    def launch(kind: Any, a: Any, a_start: int, b: Any, b_start: int, d: Any, d_start: int, c: list[Any], c_start: int, scalars: tuple) -> None:
        kernels[kind](size, ONE, a, a_start, *p.a, b, b_start, *p.b, *p.tail(d, d_start, c, c_start), *scalars, p.batch, rows)

    return launch


def _dot(dev: Device, p: Problem, chosen: Plan) -> Launch:
    kernels = dispatch.Kinds(dev, "matmul/dot", chosen.way, way=chosen.way, dtype=p.d, **_preferred(dev, "matmul/dot", p.d, chosen))
    columns = min(p.n, 64)
    across = ceil(p.n, columns)
    rows = max(8, ceil(p.m * across * p.batch, dev.compute_units * ITEMS_PER_UNIT * 8) * 8)
    size = (across, ceil(p.m, rows), p.batch)
    left, right = (p.a.row, p.a.outer, p.a.inner), (p.b.column, p.b.outer, p.b.inner)

    def launch(kind: Any, a: Any, a_start: int, b: Any, b_start: int, d: Any, d_start: int, c: list[Any], c_start: int, scalars: tuple) -> None:
        kernels[kind](size, ONE, a, a_start, *left, b, b_start, *right, *p.tail(d, d_start, c, c_start), *scalars, rows, columns)

    return launch


class _Packed:
    """An operand's panels: how to make them anew, and the strides of their batches. A broadcast batch is packed once."""

    def __init__(self, dev: Device, p: Problem, kernels: dispatch.Kinds, steps: Steps, step: int, kstep: int, count: int, each: int, deep: int) -> None:
        self.allocate, self.kernels = dev.allocator.allocate, kernels
        panels, shared = ceil(count, each), steps.outer == 0 and steps.inner == 0
        stride = panels * each * p.k * (2 if p.d.is_complex else 1)
        self.size = (panels, ceil(p.k, deep), 1 if shared else p.batch)
        self.bytes = self.size[2] * stride * (8 if p.d.to_real.itemsize == 8 else 4)
        self.batches = (0, 0) if shared else (stride * p.inner, stride)
        self.before, self.after = (step, kstep, steps.outer, steps.inner), (count, p.k, p.inner)

    def make(self, kind: Any, memory: Any, start: int) -> Any:
        block = self.allocate(self.bytes)
        self.kernels[kind](self.size, ONE, memory, start, *self.before, block.mem, *self.after)
        return block


def _panel(dev: Device, p: Problem, chosen: Plan) -> Launch:
    given = dispatch.given(dev, "matmul/panel")
    tile = {**dispatch.tuned(dev, "matmul/panel"), **dict(chosen.tunables), **{name: given[name] for name in ("KC", "TILES") if name in given}}
    kernels = partial(dispatch.Kinds, dev, "matmul/panel", dtype=p.d, way=chosen.way, **tile)
    height, width = tile["MR"], tile["NV"] * tile["VW"]
    down, across = ceil(p.m, height), ceil(p.n, width)
    tiles, panels = shared(down, across, dev.compute_units, chosen.way, p.a.column == 1, p.b.column == 1, tile, p.batch, vector_bytes(dev, "matmul/panel"))
    size = (ceil(across, panels), ceil(down, tiles), p.batch)
    products = kernels(chosen.way)
    left = _Packed(dev, p, kernels("pack_a"), p.a, p.a.row, p.a.column, p.m, height, tile["KC"]) if chosen.way == "panel_packed" else None
    packed = chosen.way in ("panel_half", "panel_packed")
    right = _Packed(dev, p, kernels("pack_b"), p.b, p.b.column, p.b.row, p.n, width, tile["KC"]) if packed else None
    a_steps = (0, 0, *left.batches) if left else tuple(p.a)
    b_steps = (0, *right.batches) if right else (p.b.row, *([p.b.column] if chosen.way == "panel_local" else []), p.b.outer, p.b.inner)

    def launch(kind: Any, a: Any, a_start: int, b: Any, b_start: int, d: Any, d_start: int, c: list[Any], c_start: int, scalars: tuple) -> None:
        held = []
        if left:
            held.append(left.make(kind, a, a_start))
            a, a_start = held[-1].mem, 0
        if right:
            held.append(right.make(kind, b, b_start))
            b, b_start = held[-1].mem, 0
        products[kind](size, ONE, a, a_start, *a_steps, b, b_start, *b_steps, *p.tail(d, d_start, c, c_start), *scalars, tiles, panels)

    return launch


def _launch_of(dev: Device, p: Problem) -> tuple[Launch, bool]:
    """The launch for a problem, and whether it takes b before a."""
    a, b = layout((p.m, p.k), (p.a.row, p.a.column)), layout((p.k, p.n), (p.b.row, p.b.column))
    if dev.strategy == "wide":
        chosen = plan("wide", p.m, p.n, p.k, p.batch, p.d, a, b, vector_bytes(dev, "matmul/panel"), side=Side.of(dev, "matmul/panel"))
    else:
        chosen = plan("grid", p.m, p.n, p.k, p.batch, p.d, a, b, 32, dev.local_mem_size, dev.max_work_group_size, dev.compute_units,
                      32 if dev.kind == "CPU" else 128, given=Block.of(dev, "matmul/grid"), local=through_local_memory(dev))
    make = {"grid": _grid if chosen.parts == 1 else _grid_parts, "small": _small, "dot_tile": _dot, "dot_vector": _dot}.get(chosen.way, _panel)
    return make(dev, p.transposed() if chosen.swap else p, chosen), chosen.swap


# -- tensors --------------------------------------------------------------------------------------------------------------------


class Product:
    """alpha * a @ b + beta * d for operands of known geometry: everything that doesn't depend on their memory is worked out once."""

    __slots__ = ("add_scalars", "d", "dev", "launch", "plain_scalars", "shape", "starts", "swap")

    def __init__(self, dev: Device, d: dtype, a: Geometry, b: Geometry, add: Geometry | None, shape: Size | None = None) -> None:
        batch = broadcast_shapes(a[0][:-2], b[0][:-2])
        m, k, n = a[0][-2], a[0][-1], b[0][-1]
        whole = Size((*batch, m, n))
        self.dev, self.d, self.shape, self.starts = dev, d, whole if shape is None else shape, []
        if not whole.numel():
            return
        c_steps = contiguous_strides(tuple(whole))
        d_steps = (0,) * len(whole) if add is None else broadcast_strides(*add, tuple(whole))
        batches = [broadcast_strides(g[0][:-2], g[1][:-2], tuple(batch)) for g in (a, b)] + [d_steps[:-2], c_steps[:-2]]
        sizes, batches = collapse(tuple(batch), *batches)
        where = [a[1][-2:], b[1][-2:], d_steps[-2:], c_steps[-2:]]
        m, sizes, batches = _fold(m, sizes, batches, where)
        outer = sizes[-2] if len(sizes) > 1 else 1
        steps = [Steps(*w, s[-2] if len(sizes) > 1 else 0, s[-1]) for w, s in zip(where, batches, strict=True)]
        self.starts = _leading(sizes[:-2], [s[:-2] for s in batches])
        self.launch, self.swap = _launch_of(dev, Problem(d, m, n, k, outer * sizes[-1], sizes[-1], *steps))
        self.plain_scalars, self.add_scalars = self.scalars(1, 1, False), self.scalars(1, 1, True)

    def scalars(self, alpha: Number, beta: Number, added: bool) -> tuple:
        c = ctype(self.d).compute
        return (*c.scalar_arguments(alpha), *c.scalar_arguments(beta), (alpha != 1) + 2 * added)

    def __call__(self, a: Tensor, b: Tensor, add: Tensor | None = None, alpha: Number = 1, beta: Number = 1) -> Tensor:
        if not self.starts:
            return dispatch.empty(self.shape, self.d, self.dev)
        if alpha == 1 == beta:
            scalars = self.plain_scalars if add is None else self.add_scalars
        else:
            scalars = self.scalars(alpha, beta, add is not None)
        operands = (a, b) if add is None else (a, b, add)
        added, added_start = (None, 0) if add is None else (dispatch.buffer(add), add.offset)
        if self.swap:
            a, b = b, a
        first, first_start, second, second_start = dispatch.buffer(a), a.offset, dispatch.buffer(b), b.offset

        def launch(kind: Any, results: list[Any]) -> None:
            more = results[0] if added is None else added
            for start in self.starts:
                x, y = (start[1], start[0]) if self.swap else (start[0], start[1])
                self.launch(kind, first, first_start + x, second, second_start + y, more, added_start + start[2], results, start[3], scalars)

        return dispatch.deferred(self.shape, self.d, self.dev, launch, *operands)


def _fold(m: int, sizes: tuple, batches: tuple, where: list) -> tuple[int, tuple, tuple]:
    """A batch of a with one b is one tall product where a's and the result's rows go on from one batch to the next."""
    if len(sizes) == 1 and sizes[0] > 1 and batches[1][0] == 0 and all(batches[i][0] == m * where[i][0] for i in (0, 2, 3)):
        return m * sizes[0], (1,), ((0,), (0,), (0,), (0,))
    return m, sizes, batches


def _leading(sizes: tuple, steps: list) -> list[list[int]]:
    """What the operands' first elements move by for each index of the batch dimensions that the kernels don't count themselves."""
    starts = [[0] * len(steps)]
    for axis, size in enumerate(sizes):
        starts = [[o + i * s[axis] for o, s in zip(start, steps, strict=True)] for start in starts for i in range(size)]
    return starts


prepared = lru_cache(maxsize=4096)(Product)


def product(a: Tensor, b: Tensor, add: Tensor | None = None, alpha: Number = 1, beta: Number = 1) -> Tensor:
    """alpha * a @ b + beta * add for a (..., m, k) and b (..., k, n) of one type, batch dimensions broadcast; ``add`` is expanded to the result.

    ``beta`` = 0 ignores ``add``, NaN included. Nothing is copied: strides, also 0 and transposed ones, are read in place.
    """
    if beta == 0:
        add = None
    geometry = None if add is None else (tuple(add.shape), add._strides)
    return prepared(a._dev, a.dtype, (tuple(a.shape), a._strides), (tuple(b.shape), b._strides), geometry)(a, b, add, alpha, beta)


def matrix(t: Tensor, shape: Sequence[int], strides: Sequence[int]) -> Tensor:
    """Another geometry of t's memory, without a gradient."""
    return alias(t, tuple(shape), tuple(strides), t.offset)
