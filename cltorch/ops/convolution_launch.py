"""Launches of kernels/conv: how an image is cut into tiles, and the arguments of the sums over patches."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..core import dispatch
from ..core.tensor import Tensor
from ..dtype import dtype
from ..runtime.device import Device
from ..shape import Size
from . import convolution_winograd as winograd
from .convolution_sums import WORTH_ANOTHER, Axis, Correlation, Gradient
from .gemm_plan import Block, Side, bounded, ceil, fitted, grid_sizes, vector_bytes

ITEMS_PER_UNIT = 4
FEW_ROWS = 4  # of a group, up to which a GPU's items sum one output each: the smallest tile has 16 rows


class Room(NamedTuple):
    """Private memory of a work-item, as the TUNABLES of correlate.mako and weights.mako say, which count elements of four bytes.

    ``stage``: bytes for an image's window, most of a first-level cache; ``sums``: for sums, or for gradients; ``taps``: on a side of a
    kernel; ``pairs``: vectors of sums for a gradient to the weights; ``side``: rows and vectors of a register tile, where a profile says.
    """

    stage: int
    sums: int
    taps: int
    pairs: int = 0
    side: Side | None = None

    @staticmethod
    def of(dev: Device, family: str) -> Room:
        names = ("R", "C") if family == "conv/weights" else ("MR", "NV")
        return Room.from_numbers(dispatch.tuned(dev, family))._replace(side=Side.of(dev, family, *names))

    @staticmethod
    def from_numbers(numbers: Mapping[str, int]) -> Room:
        return Room(4 * numbers["STAGE"], 4 * (numbers["GRAD"] if "GRAD" in numbers else numbers["SUMS"]), numbers["TAPS"], numbers.get("PAIRS", 0))


class Tiling(NamedTuple):
    """A work-item's share: th by tw outputs, ``block`` channels staged at a time, ``tiles`` of MR rows. ``cost``: estimated cycles of the whole."""

    th: int
    tw: int
    block: int
    tiles: int
    cost: float
    tunables: tuple[tuple[str, int], ...]


def _axes_arguments(axes: tuple[Axis, Axis], groups: int, th: int, tw: int) -> tuple:
    h, w = axes
    return (h.count, w.count, h.stride, w.stride, h.taps, w.taps, h.start, h.step, w.start, w.step, groups, th, tw)


def window(axes: tuple[Axis, Axis], th: int, tw: int) -> tuple[int, int]:
    """(outputs numbered flat, elements of one channel's window): kernels/conv/stage.mako."""
    h, w = axes
    pitch = tw + w.span // w.stride
    plane = (th + h.span // h.stride) * pitch
    return (th - 1) * pitch + tw, min(h.stride, h.span + 1) * min(w.stride, w.span + 1) * plane


def _cuts(axes: tuple[Axis, Axis]) -> Iterator[tuple[int, int]]:
    """Tile sizes to consider: even parts of the rows and, for wide images, of the columns."""
    widths = dict.fromkeys(ceil(axes[1].count, parts) for parts in (1, 2, 3, 4, 6, 8, 12, 16, 32, 64, axes[1].count))
    heights = dict.fromkeys(ceil(axes[0].count, parts) for parts in (*range(1, 17), 20, 24, 32, 48, 64, axes[0].count))
    return ((h, w) for w in widths for h in heights)


def _lanes(itemsize: int, register_bytes: int) -> int:
    return max(2, min(16, register_bytes // itemsize))


def _staging(axes: tuple[Axis, Axis], th: int, tw: int, lanes: int) -> float:
    """Cycles to stage one channel's window, about: a row costs more to begin than to copy."""
    h, w = axes
    rows = min(h.stride, h.span + 1) * min(w.stride, w.span + 1) * (th + h.span // h.stride)
    return rows * (25 + (tw + w.span // w.stride) * {1: 2 / lanes, 2: 5 / lanes}.get(w.stride, 1.5))


def _refuse(axes: tuple[Axis, Axis], room: Room) -> RuntimeError:
    return RuntimeError(f"conv2d: a kernel that spans {axes[0].span + 1} x {axes[1].span + 1} pixels with {max(axes[0].taps, axes[1].taps)} taps on a side is "
                        f"too large: one output's window must fit into {room.stage} bytes, and a side may have {room.taps} taps")


@lru_cache(maxsize=1024)
def tiling(axes: tuple[Axis, Axis], channels: int, rows: int, images: int, units: int, itemsize: int, register_bytes: int, room: Room) -> Tiling:
    """The cheapest cut of a sum over patches, by an estimate in cycles, in another tile than the first one only where that is WORTH_ANOTHER program. Pure, so
    that a shape is always summed in the same order."""
    stage, sums, lanes = room.stage // itemsize, room.sums // itemsize, _lanes(itemsize, register_bytes)
    shapes = [(8, 2), (6, 4), (12, 2), (16, 1), (1, 8)] if register_bytes > 32 else [(6, 2), (12, 1), (1, 8)]  # 32 registers, or 16
    if room.side:
        shapes = [tuple(room.side), (1, 8)]
    area, best = axes[0].taps * axes[1].taps, None
    for mr, nv in shapes:
        total, step = ceil(rows, mr), max(mr * nv / 2, mr / 2 + nv) + 1  # two multiplications and two aligned loads a cycle
        for th, tw in _cuts(axes) if (mr == 1) == (rows == 1) else ():
            flat, channel = window(axes, th, tw)
            vectors = min(ceil(flat, nv * lanes), th * ceil(tw, nv * lanes)) * nv
            tiles = min(total, sums // (mr * vectors * lanes)) if channel <= stage else 0
            if not tiles:
                continue
            tiles = ceil(total, ceil(total, tiles))
            item = tiles * vectors / nv * step * channels * area + channels * (_staging(axes, th, tw, lanes) + 3 * area)
            item += tiles * mr * th * (20 + 2 * tw / lanes) + 1000
            cost = ceil(ceil(axes[0].count, th) * ceil(axes[1].count, tw) * ceil(total, tiles) * images, units) * item
            tunables = ("MR", mr), ("NV", nv), ("VW", lanes), ("STAGE", stage), ("SUMS", sums)
            if best is None or cost < best.cost * (1 if tunables == best.tunables else WORTH_ANOTHER):
                best = Tiling(th, tw, max(1, min(channels, stage // channel)), tiles, cost, tunables)
    if best is None or max(axes[0].taps, axes[1].taps) > room.taps:
        raise _refuse(axes, room)
    return best


def correlated(image: Tensor, weight: Tensor, bias: Tensor | None, shape: Size, c: Correlation) -> Tensor:
    """The sums over patches as a contiguous tensor of its own, whose launch is put off."""
    if not shape.numel():
        return dispatch.empty(shape, image.dtype, image._dev)
    dispatch.numel_32("conv2d", image, shape)
    run, memory = _correlation(image._dev, image.dtype, c), _memory(image, weight, bias)
    operands = (image, weight) if bias is None else (image, weight, bias)
    return dispatch.deferred(shape, image.dtype, image._dev, lambda kind, results: run(kind, *memory, results), *operands)


def correlate(image: Tensor, weight: Tensor, out: Tensor, c: Correlation) -> None:
    """Writes the sums over patches into a part of ``out``."""
    if not out.numel() or not c.axes[0].count or not c.axes[1].count:
        return
    dispatch.numel_32("conv2d", image, out)
    _correlation(image._dev, image.dtype, c)(image.dtype, *_memory(image, weight, None), [dispatch.buffer(out)])


def _memory(image: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Any, ...]:
    """What a correlation's operands lie in, and where they begin."""
    memory = dispatch.buffer(weight)
    shift, first = (memory, 0) if bias is None else (dispatch.buffer(bias), bias.offset)
    return dispatch.buffer(image), image.offset, memory, weight.offset, shift, first


@lru_cache(maxsize=1024)
def _correlation(dev: Device, d: dtype, c: Correlation) -> Callable[..., None]:
    """A function (type of the result, image's memory, its first element, weight's ..., bias's ..., the result's arguments) that launches; made once."""
    return (_correlate_wide if dev.strategy == "wide" else _correlate_grid)(dev, d, c)


def _correlate_wide(dev: Device, d: dtype, c: Correlation) -> Callable[..., None]:
    images, channels, lane = c.image.shape[0] * c.groups, c.image.channels, max(d.itemsize, 4)
    cut = tiling(c.axes, channels, c.rows, images, dev.compute_units, lane, vector_bytes(dev, "conv/correlate"), Room.of(dev, "conv/correlate"))
    quick = winograd.plan(dev, d, c)
    if quick and quick.cost < cut.cost:
        return winograd.launcher(dev, d, c, quick)
    packers, kernels = (dispatch.Kinds(dev, "conv/correlate", entry, dtype=d, **dict(cut.tunables)) for entry in ("pack", "correlate"))
    height, one = cut.tunables[0][1], (1, 1, 1)
    total, depth = ceil(c.rows, height), channels * c.axes[0].taps * c.axes[1].taps
    nbytes, allocate = c.groups * total * height * depth * lane, dev.allocator.allocate
    across = ceil(c.axes[0].count, cut.th) * ceil(c.axes[1].count, cut.tw)
    size, packs = (across, ceil(total, cut.tiles), images), (total, c.groups, 1)
    before = (*c.image.arguments(), *_axes_arguments(c.axes, c.groups, cut.th, cut.tw))
    after, shape = (*c.out, c.rows, cut.block, cut.tiles), (c.rows, channels, c.axes[0].taps, c.axes[1].taps)
    start, steps, shift = c.weight[0], c.weight[1:], (c.bias or 0, int(c.bias is not None))

    def run(kind: Any, image: Any, image_start: int, weight: Any, weight_start: int, bias: Any, bias_start: int, results: list[Any]) -> None:
        panels = allocate(nbytes)
        if depth:
            packers[kind](packs, one, weight, weight_start + start, *steps, panels.mem, *shape)
        kernels[kind](size, one, image, image_start, *before, panels.mem, bias, bias_start, *shift, *results, *after)

    return run


def _correlate_grid(dev: Device, d: dtype, c: Correlation) -> Callable[..., None]:
    images, pixels = c.image.shape[0], c.axes[0].count * c.axes[1].count
    parts = bounded(images, pixels * c.groups * c.rows * c.image.channels * c.axes[0].taps * c.axes[1].taps, 1)
    if c.rows <= FEW_ROWS:
        width = dispatch.work_group(dev, "conv/direct")
        kernels = dispatch.Kinds(dev, "conv/direct", "direct_correlate", dtype=d, rows_at_once=1 << (c.rows - 1).bit_length(), WG=width)
        sizes = [((ceil(pixels, width) * width, c.groups, count), (width, 1, 1)) for _, count in parts]
    else:
        tile = grid_tile(dev, d, c.rows, images * pixels)
        kernels = dispatch.Kinds(dev, "conv/grid", "grid_correlate", dtype=d, **dict(tile))
        sizes = [grid_sizes(dict(tile), c.rows, count * pixels, c.groups) for _, count in parts]
    slices = [(first * c.image.strides[0], size, (c.out[0] + first * c.out[1], *c.out[1:], c.rows, count))
              for (first, count), size in zip(parts, sizes, strict=True)]
    before = (*c.image.arguments(), *_axes_arguments(c.axes, c.groups, 1, 1))
    start, steps, shift = c.weight[0], c.weight[1:], (c.bias or 0, int(c.bias is not None))

    def run(kind: Any, image: Any, image_start: int, weight: Any, weight_start: int, bias: Any, bias_start: int, results: list[Any]) -> None:
        for first, size, after in slices:
            kernels[kind](*size, image, image_start + first, *before, weight, weight_start + start, *steps, bias, bias_start, *shift, *results, *after)

    return run


def grid_tile(dev: Device, d: dtype, rows: int, columns: int) -> tuple[tuple[str, int], ...]:
    """Sums of a work-group: square tiles that 256 items (or as many as the device allows) share, or what a profile says."""
    wanted = Block.of(dev, "conv/grid")
    if wanted and min(rows, columns) > 16:
        return tuple(fitted(wanted, d, dev.local_mem_size)._asdict().items())
    side = 16 if min(rows, columns) <= 16 else 32
    if dev.kind != "CPU" and min(rows, columns) > 32:
        side = 64
    deep = 8 if d.itemsize > 4 and side == 64 else 16
    if dev.max_work_group_size >= 256:
        return ("TM", side), ("TN", side), ("TK", deep), ("RM", side // 16), ("RN", side // 16)
    each = 8 if dev.max_work_group_size < 16 else 2
    return ("TM", 8), ("TN", 8), ("TK", deep), ("RM", each), ("RN", each)


# -- the gradient to the weights --------------------------------------------------------------------------------------------------


class Share(NamedTuple):
    """A work-item's share of a gradient to the weights: ``high`` rows by ``deep`` taps, tiles of th by tw outputs, ``splits`` partial sums;
    ``lanes`` of its vectors are outputs or rows."""

    high: int
    deep: int
    th: int
    tw: int
    splits: int
    lanes: str
    tunables: tuple[tuple[str, int], ...]


class SumTile(NamedTuple):
    """The sums that kernels/conv/weights.mako has in registers at a time: R rows, or vectors of rows, by C taps; ``lanes``: outputs or rows."""

    lanes: str
    R: int
    C: int

    @staticmethod
    def fitting(rows: int, width: int, register_bytes: int, side: Side | None) -> list[SumTile]:
        """Those that fit into the vector registers (32, or 16) of ``width`` lanes. ``side``: R and C of sums along outputs, where a profile says."""
        r, c = side or (Side(4, 4) if register_bytes > 32 else Side(2, 4))
        along = [SumTile("outputs", 1 if rows == 1 else r, c)]
        return along if rows < width // 2 else [*along, SumTile("rows", 1, 8), SumTile("rows", 2, 8 if register_bytes > 32 else 6)]

    def heights(self, rows: int, width: int, vectors: int) -> list[int]:
        """How many rows a work-item may have, with room for so many vectors of sums a tap."""
        if self.lanes == "outputs":
            return [high] if (high := min(rows, vectors)) else []
        step = self.R * width
        parts = dict.fromkeys(ceil(ceil(rows, step), n) * step for n in (1, 2, 3, 4, 6, 8))
        return [high for high in parts if high <= vectors * width]

    def cycles(self, high: int, deep: int, th: np.ndarray, tw: np.ndarray, columns: np.ndarray, width: int) -> np.ndarray:
        """About what tiles of outputs take, their windows staged: to lay out the gradient, and to sum."""
        products, loads = self.R * self.C / 2, self.R + self.C  # two multiplications a cycle
        if self.lanes == "rows":
            turn, end = max(products, loads / 2) + 1, 4 * th + 2 * self.R * self.C + 10
            return high * th * (2 + tw) + ceil(high, self.R * width) * ceil(deep, self.C) * (turn * columns + end)
        turn = max(products, self.R / 2 + self.C) + 1  # the window's vectors lie across lines of the cache: one such load a cycle
        return high * th * (25 + 2 * tw / width) + ceil(high, self.R) * ceil(deep, self.C) * turn * (columns / width + 4)


@lru_cache(maxsize=1024)
def share(axes: tuple[Axis, Axis], channels: int, rows: int, images: int, groups: int, units: int, itemsize: int, register_bytes: int,
          room: Room) -> Share:
    """The cheapest cut of a gradient to the weights, as in ``tiling``. Pure."""
    stage, most, width = room.stage // itemsize, room.sums // itemsize, _lanes(itemsize, register_bytes)
    area, best = axes[0].taps * axes[1].taps, None
    depth = channels * area
    depths = dict.fromkeys(min(depth, room.taps, max(1, n * area)) for n in (1, 2, 3, 4, 6, 8, 12, 16, 32))
    tiles = SumTile.fitting(rows, width, register_bytes, room.side)
    cuts = [(th, tw, *window(axes, th, tw), _staging(axes, th, tw, width), images * ceil(axes[0].count, th) * ceil(axes[1].count, tw))
            for th, tw in _cuts(axes)]
    th, tw, flat, channel, staging, jobs = np.array(cuts, np.float64).T  # some thousand estimates: all cuts of an item at a time; whole numbers stay exact
    for tile, deep, high in ((t, d, h) for t in tiles for d in depths for h in t.heights(rows, width, room.pairs // d)):
        held = min(channels, ceil(deep, area) + (deep % area > 0 or depth % deep > 0))
        blocks = ceil(rows, high) * ceil(depth, deep) * groups
        columns = th * tw if tile.lanes == "rows" else ceil(flat, width) * width
        splits = np.maximum(1, np.minimum(jobs, ceil(ITEMS_PER_UNIT * units, blocks)))
        job = held * staging + 3 * deep + tile.cycles(high, deep, th, tw, columns, width)
        cost = np.where((channel * held > stage) | (columns * high > most), np.inf, ceil(blocks * splits, units) * ceil(jobs, splits) * job)
        k = int(cost.argmin())
        tunables = ("R", tile.R), ("C", tile.C), ("VW", width), ("STAGE", stage), ("GRAD", most)
        if cost[k] < (np.inf if best is None else best[0] * (1 if tunables == best[1].tunables else WORTH_ANOTHER)):
            best = cost[k], Share(high, deep, *cuts[k][:2], int(splits[k]), tile.lanes, tunables)
    if best is None or max(axes[0].taps, axes[1].taps) > room.taps:
        raise _refuse(axes, room)
    return best[1]


def weight_gradient(image: Tensor, g: Tensor, out: Tensor, c: Gradient) -> None:
    """Writes the sums over images and outputs of g times the pixel under each tap into ``out``: partial sums, added in order."""
    if not out.numel():
        return
    dispatch.numel_32("conv2d", image, g)
    _weight_gradient(image._dev, image.dtype, c)(dispatch.buffer(image), image.offset, dispatch.buffer(g), g.offset, dispatch.buffer(out))


@lru_cache(maxsize=1024)
def _weight_gradient(dev: Device, d: dtype, c: Gradient) -> Callable[..., None]:
    """A function (image's memory, its first element, gradient's ..., out's memory) that launches; made once."""
    wide = dev.strategy == "wide"
    count = c.groups * c.rows * c.depth
    kernel, sizes, cut, splits, slices = (_weights_wide if wide else _weights_grid)(dev, d, c)
    before = (*c.image.arguments(), *_axes_arguments(c.axes, c.groups, *cut))
    steps, fold = c.grad_arguments(), dispatch.kernel(dev, "conv/fold", dtype=d)
    fold_sizes = ((min(dev.wide_groups, ceil(count, 256)),), (1,)) if wide else ((min(ceil(count, 64), 1024) * 64,), (64,))
    nbytes, allocate, each_image, each_grad = splits * count * max(d.itemsize, 4), dev.allocator.allocate, c.image.strides[0], c.grad[0]

    def run(image: Any, image_start: int, g: Any, g_start: int, out: Any) -> None:
        partial = allocate(nbytes)
        for first, images, extra in slices:
            kernel(*sizes, image, image_start + first * each_image, *before, g, g_start + first * each_grad, *steps, partial.mem, c.rows, images, *extra)
        fold(*fold_sizes, partial.mem, out, count, splits)

    return run


def _weights_wide(dev: Device, d: dtype, c: Gradient) -> tuple:
    cut = share(c.axes, c.image.channels, c.rows, c.image.shape[0], c.groups, dev.compute_units, max(d.itemsize, 4), vector_bytes(dev, "conv/weights"),
                Room.of(dev, "conv/weights"))
    kernel = dispatch.kernel(dev, "conv/weights", dtype=d, lanes=cut.lanes, **dict(cut.tunables))
    sizes = (ceil(c.rows, cut.high) * ceil(c.depth, cut.deep), cut.splits, c.groups), (1, 1, 1)
    return kernel, sizes, (cut.th, cut.tw), cut.splits, [(0, c.image.shape[0], (cut.high, cut.deep))]


def _weights_grid(dev: Device, d: dtype, c: Gradient) -> tuple:
    pixels, count = c.axes[0].count * c.axes[1].count, c.groups * c.rows * c.depth
    parts = bounded(c.image.shape[0], pixels * count, 1) or [(0, 0)]
    direct, width, tile = c.rows <= FEW_ROWS, dispatch.work_group(dev, "conv/direct"), grid_tile(dev, d, c.rows, c.depth)
    blocks = count if direct else ceil(c.rows, tile[0][1]) * ceil(c.depth, tile[1][1]) * c.groups
    splits = max(1, min(64, ceil(4 * dev.compute_units, blocks), parts[0][1] * pixels // 256))
    if direct:
        kernel = dispatch.kernel(dev, "conv/direct", "direct_weights", dtype=d, out=d, rows_at_once=0, WG=width)
        sizes = (c.rows * c.depth * width, 1, c.groups * splits), (width, 1, 1)
    else:
        kernel = dispatch.kernel(dev, "conv/grid", "grid_weights", dtype=d, out=d, **dict(tile))
        sizes = grid_sizes(dict(tile), c.rows, c.depth, c.groups * splits)
    return kernel, sizes, (1, 1), splits * len(parts), [(first, images, (k * splits * count,)) for k, (first, images) in enumerate(parts)]
