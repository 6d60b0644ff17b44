"""Which kernel multiplies two matrices, with which tiles.

``plan`` is pure: it chooses by shape, layout class, vector width and the device's tuned numbers alone, so a product's order of additions
never changes between runs.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import inf
from typing import Any, NamedTuple

from ..core import dispatch
from ..dtype import dtype
from ..runtime.device import Device

LOCAL_BYTES = 32 * 1024
SMALL = 32 * 1024  # multiplications below which one simple launch beats packing
MOST = 1 << 35  # multiplications of a GPU's launch: a third of a second at 100 G a second, well below any watchdog's patience
DEEP = {"panel_local": 128, "panel_half": 512, "panel_packed": 512}  # KC with vectors of 64 bytes: copies fit the first cache, panels the second
TALL, BIG = 1024, 1 << 19  # rows of a, elements of b, from which a b whose rows aren't contiguous is turned once for all, in a launch of its own
MANY = 768  # rows of a from which, with vectors of 32 bytes and less, b is packed once for all: a row of its panel is one cache line of a page
MANY_TILES = 192  # of an item that copies, with vectors of 32 bytes and less: each line of b is copied for all rows of tiles that it has
MOST_PACKED = 1 << 24  # elements of an operand that is packed only for speed: the copy takes memory
DEPTH = 256  # of k that a part of a GPU's product has at least
GROUPS_PER_UNIT = 2  # work-groups to have for each of a GPU's compute units, so that one works while another waits
ITEMS_PER_UNIT = 4  # work-items to have for each compute unit, so that none waits long for the last
ROWS = 32  # rows of tiles that a work-item of matmul/panel may have where it copies a's
FAR = 0.24  # cycles for a number that comes from the last cache


class Layout(NamedTuple):
    """What a plan may know of an operand's strides: whether rows and columns are contiguous (a dimension of size 1 is)."""

    row: bool
    column: bool


class Plan(NamedTuple):
    """How to multiply: ``way`` names the kernel, ``swap`` computes the transposed product from the transposed operands.
    ``tunables``: what depends on the shape; the others are the family's. ``parts``: of k, which are summed by themselves and then added up."""

    way: str
    swap: bool = False
    tunables: tuple[tuple[str, int], ...] = ()
    parts: int = 1


class Side(NamedTuple):
    """The sums that a work-item keeps in registers, as a profile wants them."""

    rows: int
    vectors: int

    @staticmethod
    def of(dev: Device, family: str, rows: str = "MR", vectors: str = "NV") -> Side | None:
        """None where no profile says."""
        numbers = dispatch.tuned(dev, family)
        return Side(numbers[rows], numbers[vectors]) if {rows, vectors} & dispatch.given(dev, family).keys() else None


class Block(NamedTuple):
    """The tile of a work-group, as a profile wants it: kernels/matmul/block.mako."""

    TM: int
    TN: int
    TK: int
    RM: int
    RN: int

    @staticmethod
    def of(dev: Device, family: str) -> Block | None:
        """None where no profile says."""
        numbers = dispatch.tuned(dev, family)
        return Block(*[numbers[name] for name in Block._fields]) if {*Block._fields} & dispatch.given(dev, family).keys() else None


def layout(shape: Sequence[int], strides: Sequence[int]) -> Layout:
    """``row``: neighbours along the last dimension are neighbours in memory; ``column``: along the one before."""
    return Layout(strides[-1] == 1 or shape[-1] == 1, strides[-2] == 1 or shape[-2] == 1)


def plan(strategy: str, m: int, n: int, k: int, batch: int, d: dtype, a: Layout, b: Layout, vector_bytes: int = 32,
         local_bytes: int = LOCAL_BYTES, group: int = 256, units: int = 2, largest: int = 128, side: Side | None = None,
         given: Block | None = None, local: bool = True) -> Plan:
    """The way to multiply (batch, m, k) by (batch, k, n). ``side`` and ``given``: what a profile wants instead of our own tiles; ``local``: see
    ``through_local_memory``."""
    if strategy == "grid":
        most = max(1, min(k // DEPTH, k * (m + n) // (2 * m * n)))  # parts of k: what they write and read again is no more than the operands
        if m * n * k * batch > MOST:
            most = 1  # cut into launches by rows instead
        tile = _grid_tile(m, n, batch * most, d, min(local_bytes, LOCAL_BYTES), group, units, largest, given)
        groups = ceil(m, dict(tile)["TM"]) * ceil(n, dict(tile)["TN"]) * batch
        return Plan("grid", False, (*tile, ("LOCAL", int(local))), min(most, ceil(GROUPS_PER_UNIT * units, groups)))
    lanes = lanes_of(d, vector_bytes)
    if a.row and b.column and k >= lanes and (min(m, n) <= 32 or m * n * k <= SMALL):
        side = 4 if vector_bytes > 32 and not d.is_complex else 2
        return Plan("dot_vector" if min(m, n) == 1 else "dot_tile", m == 1, (("VW", lanes), ("R", side), ("C", side)))
    swap = a.column and (not b.row or n < lanes <= m)
    if m * n * k * batch <= SMALL:
        return Plan("small", swap, (("VW", lanes),))
    if d.is_complex or d.itemsize < 4:
        return _panel("panel_packed", False, _panel_tile(n, d, vector_bytes, side), vector_bytes)
    return _panel_plan(m, n, k, batch, d, b.column if swap else a.row, b.row, swap, vector_bytes, side)


def _panel(way: str, swap: bool, tile: tuple[tuple[str, int], ...], vector_bytes: int) -> Plan:
    """A plan of matmul/panel with the depth of its blocks, or the tiles of an item, where they aren't the family's."""
    if vector_bytes > 32:
        return Plan(way, swap, (*tile, ("KC", DEEP[way])))
    return Plan(way, swap, (*tile, ("TILES", MANY_TILES)) if way == "panel_local" else tile)


def _panel_plan(m: int, n: int, k: int, batch: int, d: dtype, along: bool, unit: bool, swap: bool, vector_bytes: int, side: Side | None) -> Plan:
    """Panels of float32, float64, int32, int64, which can be read in place: few rows of a read b as it lies (``unit``: its rows are contiguous), more
    copy what they need of it. It is packed where it is narrow, padded with zeros, and where it would be turned or gathered again and again.
    ``along``: the rows of the first operand, after a swap, are contiguous."""
    if swap:
        m, n, unit = n, m, True
    lanes = lanes_of(d, vector_bytes)
    if n >= lanes:
        if m == 1 and unit:
            return Plan("panel_direct", swap, (("MR", 1), ("NV", min(8, _power_below(n // lanes))), ("VW", lanes)))
        tile = _panel_tile(n if n >= 4 * lanes else _power_below(n // lanes) * lanes, d, vector_bytes, side)
        if tile[1][1] * lanes > n:  # a profile's tile, wider than this product
            tile = _panel_tile(n, d, vector_bytes, None)
        if m > 2 * dict(tile)["MR"]:
            return _panel(_many_rows(m, n, k, batch, along, unit, vector_bytes), swap, tile, vector_bytes)
        if unit:
            return Plan("panel_direct", swap, tile)
    if not unit and m * k + 2 * m * n < n * k:  # cheaper to pack a instead and to store columns
        m, n, swap = n, m, not swap
    return _panel("panel_half", swap, _panel_tile(n, d, vector_bytes, side), vector_bytes)


def _many_rows(m: int, n: int, k: int, batch: int, along: bool, unit: bool, vector_bytes: int) -> str:
    """The way for more rows of a than a few tiles: what is copied again and again in blocks, or packed once for all."""
    work, a, b = m * n * k, batch * m * k, batch * k * n
    at_least = "panel_half" if not unit and m >= TALL and k * n >= BIG else "panel_local"
    if vector_bytes > 32 or b > MOST_PACKED or work < 1 << 25 or (along and m < MANY):
        return at_least
    if not along:
        return "panel_packed" if m >= 128 and n >= 256 and work >= 1 << 27 and a <= MOST_PACKED else at_least
    return "panel_packed" if n >= 512 and a <= MOST_PACKED else "panel_half"


def shared(down: int, across: int, units: int, way: str, along: bool, unit: bool, tile: dict[str, int], batch: int = 1,
           vector_bytes: int = 64) -> tuple[int, int]:
    """The rows of tiles and the panels of a work-item of matmul/panel. ``down`` by ``across`` tiles in all, for each of ``batch`` products.

    What takes the fewest cycles for a row of b, by an estimate that was fitted to two cores with vectors of 64 bytes: two vectors are multiplied and
    added in a cycle; what is copied or turned (``along``, ``unit``: a's and b's rows are contiguous) and what comes from far away add to that. A vector
    of 32 bytes takes as long to copy as more than half of one of 64.
    """
    if way == "panel_direct":  # whole pages of b's rows
        share = down * across * batch // (ITEMS_PER_UNIT * units)
        tiles = max(1, min(8, tile["TILES"], down, share))
        return tiles, max(1, min(min(16, tile["TILES"]) // tiles, across, share // tiles))
    high, wide, line = tile["MR"], tile["NV"], tile["NV"] * tile["VW"]
    in_place = way == "panel_local" and along and down > ROWS  # of fewer rows b is what takes time, whose lines an item had better read side by side
    stays = (in_place or way == "panel_packed") and vector_bytes <= 32  # a's rows in the second cache, from an item to its neighbour: b's block is small
    most = tile["TILES"] if in_place and stays else min(ROWS, tile["TILES"])
    apart = 3.2 if vector_bytes > 32 or way == "panel_half" else 0.8  # a column of a read in place
    best = (inf, 1, 1)
    for panels in (1 << i for i in range(min(across, tile["TILES"]).bit_length())):
        turned = 0.0 if along or way == "panel_packed" else 4.2 if way == "panel_local" and panels > 1 else apart
        copied = 0.0 if way != "panel_local" else wide * panels * (5.5 if not unit else 2.0 if vector_bytes > 32 else 3.2)
        for tiles in range(1, min(most, tile["TILES"] // panels, down) + 1):
            each = tiles * (panels * high * wide / 2 + turned) + copied + FAR * (panels * line + (0 if stays else tiles * high))
            rounds = ceil(ceil(down, tiles) * ceil(across, panels) * batch, units)
            best = min(best, ((rounds + 0.25) * each, tiles, panels))  # a quarter: one waits for the last
    return best[1:]


def _power_below(n: int) -> int:
    return 1 << (n.bit_length() - 1)


def lanes_of(d: dtype, vector_bytes: int) -> int:
    """Lanes of a vector of sums: halves and small integers are summed in four bytes, complex numbers in two planes."""
    part = d.to_real.itemsize
    return max(2, min(16, vector_bytes // max(part, 4)))


def _panel_tile(n: int, d: dtype, vector_bytes: int, side: Side | None) -> tuple[tuple[str, int], ...]:
    """MR rows by NV vectors, so that the sums and one step's operands fit into the vector registers (32 of 64 bytes, else 16)."""
    lanes = lanes_of(d, vector_bytes)
    if vector_bytes > 32:
        rows = {1: 12, 2: 6} if d.is_complex else {1: 8, 2: 8, 4: 6}
    else:
        rows = {1: 5} if d.is_complex else {1: 8, 2: 6}
    if side and not d.is_complex:
        rows = {vectors: high for vectors, high in rows.items() if vectors < side.vectors} | {side.vectors: side.rows}
    vectors = next((v for v in rows if v * lanes >= n), max(rows))
    return ("MR", rows[vectors]), ("NV", vectors), ("VW", lanes)


def _grid_tile(m: int, n: int, batch: int, d: dtype, local_bytes: int, group: int, units: int,
               largest: int, given: Block | None) -> tuple[tuple[str, int], ...]:
    """Sums per work-group and per item: as many as leave two groups for every compute unit, within local memory
    and a side of ``largest`` (compilers for CPUs spend tens of seconds on unrolled large tiles). ``batch``: of products, or of their parts."""
    if given and ceil(m, given.TM) * ceil(n, given.TN) * batch >= GROUPS_PER_UNIT * units:
        return tuple(fitted(given, d, local_bytes)._asdict().items())
    for high, wide in ((128, 128), (64, 64), (32, 32), (16, 16)):
        if high <= largest and ceil(m, high) * ceil(n, wide) * batch >= GROUPS_PER_UNIT * units:
            break
    high, wide = min(high, _side(m)), min(wide, _side(n))
    deep = _shallow(16, high + wide, d, local_bytes)
    if group >= 256:
        return ("TM", high), ("TN", wide), ("TK", deep), ("RM", high // 16), ("RN", wide // 16)
    each = 8 if group < 16 else 4 if group < 64 else 2
    return ("TM", 8), ("TN", 8), ("TK", deep), ("RM", each), ("RN", each)


def grid_sizes(tile: Mapping[str, int], rows: int, columns: int, batch: int) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Global and local size for ``batch`` times rows by columns of sums, a Block's tile a work-group."""
    local = (tile["TN"] // tile["RN"], tile["TM"] // tile["RM"], 1)
    return (ceil(columns, tile["TN"]) * local[0], ceil(rows, tile["TM"]) * local[1], batch), local


def through_local_memory(dev: Device) -> bool:
    """Whether slices of a GPU's product pass through local memory, where no profile says: not where that is a part of main memory (Mali), nor on Intel's
    GPUs, where many registers and the caches do better. A CPU has this strategy to test it, and does as most GPUs do."""
    found = dispatch.given(dev, "matmul/grid").get("LOCAL")
    return bool(found) if found is not None else dev.kind == "CPU" or not (dev.local_mem_is_global or dev.vendor.lower().startswith("intel"))


def fitted(block: Block, d: dtype, local_bytes: int) -> Block:
    """The block with slices that fit into local memory for this type."""
    return block._replace(TK=_shallow(block.TK, block.TM + block.TN, d, local_bytes))


def _shallow(deep: int, sides: int, d: dtype, local_bytes: int) -> int:
    """The depth of slices that fit into local memory."""
    while deep > 4 and deep * (sides + 2) * max(d.itemsize, 4) > local_bytes:
        deep //= 2
    return deep


def _side(count: int) -> int:
    return next((side for side in (16, 32, 64) if count <= side), 128)


def vector_bytes(dev: Device, family: str) -> int:
    """Bytes of the vector registers that the device's compiler uses. A profile's VW counts lanes of four bytes."""
    lanes = dispatch.given(dev, family).get("VW")
    return 4 * lanes if lanes else _vector_bytes(dev.cl_device)


@lru_cache(maxsize=64)
def _vector_bytes(cl_device: Any) -> int:
    return max(16, min(64, 4 * cl_device.native_vector_width_float))


def ceil(count: int, size: int) -> int:
    return -(-count // size)


def bounded(count: int, each: int, step: int) -> list[tuple[int, int]]:
    """``count`` rows (or images) of ``each`` multiplications in slices (first, rows) of at most MOST, whole steps each: a watchdog ends what runs too long."""
    rows = max(1, MOST // max(each * step, 1)) * step
    return [(first, min(rows, count - first)) for first in range(0, count, rows)]
