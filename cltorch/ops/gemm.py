"""Which kernel multiplies two matrices, and its launch: c = alpha * a @ b + beta * d through strides, batched, in every numeric type.

``plan`` is pure: it chooses by shape, layout class and vector width alone, so a product's order of additions never changes between runs.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from ..codegen.ctypes import ctype
from ..core import dispatch
from ..core.tensor import Tensor, alias
from ..dtype import dtype
from ..runtime.device import Device
from ..shape import Size, broadcast_shapes, broadcast_strides, collapse

Number = int | float | complex

LOCAL_BYTES = 32 * 1024
SMALL = 32 * 1024  # multiplications below which one simple launch beats packing
ITEMS_PER_UNIT = 8  # work-items to have for each compute unit, so that none waits long for the last
DEPTH = 128  # k is summed in blocks of so many: a panel of b that deep stays in the first-level cache
BIG_PANEL = 1 << 18  # elements of b from which reading it in place misses the caches too often


class Layout(NamedTuple):
    """What a plan may know of an operand's strides: whether rows and columns are contiguous (a dimension of size 1 is)."""

    row: bool
    column: bool


class Plan(NamedTuple):
    """How to multiply: ``way`` names the kernel, ``swap`` computes the transposed product from the transposed operands."""

    way: str
    swap: bool = False
    tunables: tuple[tuple[str, int], ...] = ()


def layout(shape: Sequence[int], strides: Sequence[int]) -> Layout:
    """``row``: neighbours along the last dimension are neighbours in memory; ``column``: along the one before."""
    return Layout(strides[-1] == 1 or shape[-1] == 1, strides[-2] == 1 or shape[-2] == 1)


def plan(strategy: str, m: int, n: int, k: int, batch: int, d: dtype, a: Layout, b: Layout, vector_bytes: int = 32,
         local_bytes: int = LOCAL_BYTES, group: int = 256, units: int = 2, largest: int = 128) -> Plan:
    """The way to multiply (batch, m, k) by (batch, k, n)."""
    if strategy == "grid":
        return Plan("grid", False, _grid_tile(m, n, batch, d, min(local_bytes, LOCAL_BYTES), group, units, largest))
    lanes = _lanes(d, vector_bytes)
    if a.row and b.column and k >= lanes and (min(m, n) <= 32 or m * n * k <= SMALL):
        side = 4 if vector_bytes > 32 and not d.is_complex else 2
        return Plan("dot_vector" if min(m, n) == 1 else "dot_tile", m == 1, (("VW", lanes), ("R", side), ("C", side)))
    swap = a.column and not b.row
    if m * n * k * batch <= SMALL:
        return Plan("small", swap, (("VW", lanes),))
    if d.is_complex or d.itemsize < 4:
        return Plan("panel_packed", False, _panel_tile(m, n, d, vector_bytes))
    return _panel_plan(m, n, k, d, b.row, swap, vector_bytes)


def _panel_plan(m: int, n: int, k: int, d: dtype, unit: bool, swap: bool, vector_bytes: int) -> Plan:
    """Panels of float32, float64, int32, int64, which can be read in place. Packing pays where b is read often or can't be read otherwise."""
    if swap:
        m, n, unit = n, m, True
    lanes = _lanes(d, vector_bytes)
    if unit and n >= lanes:
        if m == 1:
            return Plan("panel_direct", swap, (("MR", 1), ("NV", min(8, _power_below(n // lanes))), ("VW", lanes), ("KC", DEPTH)))
        tile = _panel_tile(m, n if n >= 4 * lanes else _power_below(n // lanes) * lanes, d, vector_bytes)
        return Plan("panel_half" if m >= 256 and k * n >= BIG_PANEL else "panel_direct", swap, tile)
    if not unit and m * k + 2 * m * n < n * k:  # cheaper to pack a instead and to store columns
        m, n, swap = n, m, not swap
    return Plan("panel_half", swap, _panel_tile(m, n, d, vector_bytes))


def _power_below(n: int) -> int:
    return 1 << (n.bit_length() - 1)


def _lanes(d: dtype, vector_bytes: int) -> int:
    """Lanes of a vector of sums: halves and small integers are summed in four bytes, complex numbers in two planes."""
    part = d.to_real.itemsize
    return max(2, min(16, vector_bytes // max(part, 4)))


def _panel_tile(m: int, n: int, d: dtype, vector_bytes: int) -> tuple[tuple[str, int], ...]:
    """MR rows by NV vectors, so that the sums and one step's operands fit into the vector registers (32 of 64 bytes, else 16)."""
    lanes = _lanes(d, vector_bytes)
    if vector_bytes > 32:
        rows = {1: 12, 2: 6} if d.is_complex else {1: 12, 2: 12, 4: 6}
    else:
        rows = {1: 5} if d.is_complex else {1: 12, 2: 6}
    vectors = next((v for v in rows if v * lanes >= n), max(rows))
    return ("MR", rows[vectors]), ("NV", vectors), ("VW", lanes), ("KC", DEPTH)


def _grid_tile(m: int, n: int, batch: int, d: dtype, local_bytes: int, group: int, units: int,
               largest: int) -> tuple[tuple[str, int], ...]:
    """Sums per work-group and per item: as many as leave two groups for every compute unit, within local memory
    and a side of ``largest`` (compilers for CPUs spend tens of seconds on unrolled large tiles)."""
    for high, wide in ((128, 128), (64, 64), (32, 32), (16, 16)):
        if high <= largest and _ceil(m, high) * _ceil(n, wide) * batch >= 2 * units:
            break
    high, wide = min(high, _side(m)), min(wide, _side(n))
    deep, element = 16, max(d.itemsize, 4)
    while deep > 4 and deep * (high + wide + 2) * element > local_bytes:
        deep //= 2
    if group >= 256:
        return ("TM", high), ("TN", wide), ("TK", deep), ("RM", high // 16), ("RN", wide // 16)
    each = 8 if group < 16 else 4 if group < 64 else 2
    return ("TM", 8), ("TN", 8), ("TK", deep), ("RM", each), ("RN", each)


def _side(count: int) -> int:
    return next((side for side in (16, 32, 64) if count <= side), 128)


def vector_bytes(dev: Device) -> int:
    """Bytes of the vector registers that the device's compiler uses."""
    return _vector_bytes(dev.cl_device)


@lru_cache(maxsize=64)
def _vector_bytes(cl_device: Any) -> int:
    return max(16, min(64, 4 * cl_device.native_vector_width_float))


# -- launches -----------------------------------------------------------------------------------------------------------------


class Operand(NamedTuple):
    """Memory, first element, row and column stride, strides of the two batch dimensions."""

    memory: Any
    offset: int
    row: int
    column: int
    outer: int
    inner: int

    def transposed(self) -> Operand:
        return self._replace(row=self.column, column=self.row)


class Problem(NamedTuple):
    """What a launcher is made for: sizes (batch = outer * inner), type and layouts."""

    m: int
    n: int
    k: int
    batch: int
    d: dtype
    a: Layout
    b: Layout


Launch = Callable[[Operand, Operand, Operand, Operand, int, tuple], None]


@lru_cache(maxsize=4096)
def launcher(dev: Device, problem: Problem) -> Launch:
    """A function (a, b, d, c, inner, scalars) that multiplies operands of this problem; made once."""
    p = problem
    wide = dev.strategy == "wide"
    chosen = plan(dev.strategy, p.m, p.n, p.k, p.batch, p.d, p.a, p.b, vector_bytes(dev) if wide else 32, dev.local_mem_size,
                  dev.max_work_group_size, dev.compute_units, 32 if dev.kind == "CPU" else 128)
    m, n = (p.n, p.m) if chosen.swap else (p.m, p.n)
    make = {"grid": _grid, "small": _small}.get(chosen.way) or (_dot if chosen.way.startswith("dot") else _panel)
    launch = make(dev, p.d, m, n, p.k, p.batch, chosen)
    if not chosen.swap:
        return launch
    return lambda a, b, d, c, inner, scalars: launch(b.transposed(), a.transposed(), d.transposed(), c.transposed(), inner, scalars)


def _target(d: Operand, c: Operand) -> tuple:
    return (*d, c.memory, c.offset, *c[2:])


def _ceil(count: int, size: int) -> int:
    return -(-count // size)


def _grid(dev: Device, d: dtype, m: int, n: int, k: int, batch: int, chosen: Plan) -> Launch:
    kernel = dispatch.kernel(dev, "matmul/grid", dtype=d, **dict(chosen.tunables))
    tile = dict(chosen.tunables)
    local = (tile["TN"] // tile["RN"], tile["TM"] // tile["RM"], 1)
    size = (_ceil(n, tile["TN"]) * local[0], _ceil(m, tile["TM"]) * local[1], batch)

    def launch(a: Operand, b: Operand, add: Operand, c: Operand, inner: int, scalars: tuple) -> None:
        kernel(size, local, *a, *b, *_target(add, c), m, n, k, inner, *scalars)

    return launch


def _small(dev: Device, d: dtype, m: int, n: int, k: int, batch: int, chosen: Plan) -> Launch:
    kernel = dispatch.kernel(dev, "matmul/small", dtype=d, **dict(chosen.tunables))
    rows = max(1, 4096 // max(n * k, 1), _ceil(m * batch, dev.compute_units * ITEMS_PER_UNIT))
    size = (_ceil(m * batch, rows), 1, 1)

    def launch(a: Operand, b: Operand, add: Operand, c: Operand, inner: int, scalars: tuple) -> None:
        kernel(size, (1, 1, 1), *a, *b, *_target(add, c), m, n, k, inner, *scalars, batch, rows)

    return launch


def _dot(dev: Device, d: dtype, m: int, n: int, k: int, batch: int, chosen: Plan) -> Launch:
    kernel = dispatch.kernel(dev, "matmul/dot", chosen.way, dtype=d, **dict(chosen.tunables))
    columns = min(n, 64)
    across = _ceil(n, columns)
    rows = max(8, _ceil(m * across * batch, dev.compute_units * ITEMS_PER_UNIT * 8) * 8)
    size = (across, _ceil(m, rows), batch)

    def launch(a: Operand, b: Operand, add: Operand, c: Operand, inner: int, scalars: tuple) -> None:
        kernel(size, (1, 1, 1), a.memory, a.offset, a.row, a.outer, a.inner, b.memory, b.offset, b.column, b.outer, b.inner,
               *_target(add, c), m, n, k, inner, *scalars, rows, columns)

    return launch


def _panel(dev: Device, d: dtype, m: int, n: int, k: int, batch: int, chosen: Plan) -> Launch:
    tile = dict(chosen.tunables)
    product, pack_a, pack_b = (dispatch.kernel(dev, "matmul/panel", entry, dtype=d, **tile) for entry in (chosen.way, "pack_a", "pack_b"))
    height, width = tile["MR"], tile["NV"] * tile["VW"]
    down, across, deep = _ceil(m, height), _ceil(n, width), _ceil(k, DEPTH)
    tiles = max(1, min(8, down * across * batch // (ITEMS_PER_UNIT * dev.compute_units)))
    size, one = (across, _ceil(down, tiles), batch), (1, 1, 1)
    lane = 8 if d.to_real.itemsize == 8 else 4
    planes = 2 if d.is_complex else 1

    def packed(kernel: Any, x: Operand, step: int, kstep: int, count: int, panels: int, each: int, inner: int) -> tuple:
        """Memory of x in panels, with its batch strides; a broadcast batch is packed once."""
        shared = x.outer == 0 and x.inner == 0
        z = 1 if shared else batch
        stride = panels * each * k * planes
        memory = dev.allocator.allocate(z * stride * lane)
        kernel((panels, deep, z), one, x.memory, x.offset, step, kstep, x.outer, x.inner, memory.mem, count, k, inner)
        return memory, (0, 0) if shared else (stride * inner, stride)

    def launch(a: Operand, b: Operand, add: Operand, c: Operand, inner: int, scalars: tuple) -> None:
        left: tuple = (a.memory, a.offset, a.row, a.column, a.outer, a.inner)
        right: tuple = (b.memory, b.offset, b.row, b.outer, b.inner)
        held = []
        if chosen.way == "panel_packed":
            memory, strides = packed(pack_a, a, a.row, a.column, m, down, height, inner)
            left = (memory.mem, 0, 0, 0, *strides)
            held.append(memory)
        if chosen.way != "panel_direct":
            memory, strides = packed(pack_b, b, b.column, b.row, n, across, width, inner)
            right = (memory.mem, 0, 0, *strides)
            held.append(memory)
        product(size, one, *left, *right, *_target(add, c), m, n, k, inner, *scalars, tiles)

    return launch


# -- tensors --------------------------------------------------------------------------------------------------------------------


def product(a: Tensor, b: Tensor, add: Tensor | None = None, alpha: Number = 1, beta: Number = 1) -> Tensor:
    """alpha * a @ b + beta * add for a (..., m, k) and b (..., k, n) of one type, batch dimensions broadcast; ``add`` is expanded to the result.

    ``beta`` = 0 ignores ``add``, NaN included. Nothing is copied: strides, also 0 and transposed ones, are read in place.
    """
    batch = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    m, k, n = a.shape[-2], a.shape[-1], b.shape[-1]
    shape = Size((*batch, m, n))
    dev, d = a._dev, a.dtype
    out = dispatch.empty(shape, d, dev)
    if not shape.numel():
        return out
    if beta == 0:
        add = None
    c = ctype(d).compute
    scalars = (*c.scalar_arguments(alpha), *c.scalar_arguments(beta), (alpha != 1) + 2 * (add is not None))
    d_strides = (0,) * len(shape) if add is None else broadcast_strides(tuple(add.shape), add._strides, shape)
    steps = [broadcast_strides(tuple(t.shape[:-2]), t._strides[:-2], tuple(batch)) for t in (a, b)] + [d_strides[:-2], out._strides[:-2]]
    sizes, batches = collapse(tuple(batch), *steps)
    where = [(*t._strides[-2:],) for t in (a, b)] + [d_strides[-2:], out._strides[-2:]]
    m, sizes, batches = _fold(m, sizes, batches, where)
    memory = [dispatch.buffer(a), dispatch.buffer(b), None, dispatch.buffer(out)]
    memory[2] = memory[3] if add is None else dispatch.buffer(add)
    offsets = [a.offset, b.offset, 0 if add is None else add.offset, 0]
    outer, inner = (sizes[-2] if len(sizes) > 1 else 1), sizes[-1]
    run = launcher(dev, Problem(m, n, k, outer * inner, d, layout((m, k), where[0]), layout((k, n), where[1])))
    for starts in _leading(sizes[:-2], [s[:-2] for s in batches], offsets):
        operands = [Operand(memory[i], starts[i], *where[i], batches[i][-2] if len(sizes) > 1 else 0, batches[i][-1]) for i in range(4)]
        run(*operands, inner, scalars)
    return out


def _fold(m: int, sizes: tuple, batches: tuple, where: list) -> tuple[int, tuple, tuple]:
    """A batch of a with one b is one tall product where a's and the result's rows go on from one batch to the next."""
    if len(sizes) == 1 and sizes[0] > 1 and batches[1][0] == 0 and all(batches[i][0] == m * where[i][0] for i in (0, 2, 3)):
        return m * sizes[0], (1,), ((0,), (0,), (0,), (0,))
    return m, sizes, batches


def _leading(sizes: tuple, steps: list, offsets: list) -> list[list[int]]:
    """The operands' first elements for each index of the batch dimensions that the kernels don't count themselves."""
    starts = [offsets]
    for axis, size in enumerate(sizes):
        starts = [[o + i * s[axis] for o, s in zip(start, steps, strict=True)] for start in starts for i in range(size)]
    return starts


def matrix(t: Tensor, shape: Sequence[int], strides: Sequence[int]) -> Tensor:
    """Another geometry of t's memory, without a gradient."""
    return alias(t, tuple(shape), tuple(strides), t.offset)
