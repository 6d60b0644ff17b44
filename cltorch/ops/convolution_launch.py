"""Launches of kernels/conv: how an image is cut into tiles, and the arguments of the sums over patches."""
from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from ..core import dispatch
from ..core.tensor import Tensor
from ..dtype import dtype
from ..runtime.device import Device
from ..shape import Size
from .gemm import vector_bytes

STAGE_BYTES = 48 * 1024  # of private memory for an image's window, and as much for sums or gradients
PAIRS = 768  # vectors of sums that one work-item keeps for a gradient to the weights
ITEMS_PER_UNIT = 4


class Axis(NamedTuple):
    """One axis of a sum over patches: output o and tap k read the source at o * stride + start + k * step."""

    taps: int
    count: int
    stride: int
    start: int
    step: int

    @property
    def span(self) -> int:
        return max(self.taps - 1, 0) * abs(self.step)


class Source(NamedTuple):
    """An image (n, groups * channels, h, w) and its channels in one group."""

    image: Tensor
    channels: int

    def arguments(self) -> tuple:
        t = self.image
        n, c, h, w = t._strides
        return dispatch.buffer(t), t.offset, n, c * self.channels, c, h, w, t.shape[2], t.shape[3], self.channels


class Tiling(NamedTuple):
    """A work-item's share: th by tw outputs, ``block`` channels staged at a time, ``tiles`` of MR rows."""

    th: int
    tw: int
    block: int
    tiles: int
    tunables: tuple[tuple[str, int], ...]


def _ceil(count: int, size: int) -> int:
    return -(-count // size)


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
    widths = dict.fromkeys(_ceil(axes[1].count, parts) for parts in (1, 2, 3, 4, 6, 8, 12, 16, 32, 64, axes[1].count))
    heights = dict.fromkeys(_ceil(axes[0].count, parts) for parts in (*range(1, 17), 20, 24, 32, 48, 64, axes[0].count))
    return ((h, w) for w in widths for h in heights)


@lru_cache(maxsize=1024)
def tiling(axes: tuple[Axis, Axis], channels: int, rows: int, images: int, units: int, itemsize: int, register_bytes: int) -> Tiling:
    """The cheapest cut of a sum over patches, by an estimate in vector instructions. Pure, so that a shape is always summed in the same order."""
    room = STAGE_BYTES // itemsize
    lanes = max(2, min(16, register_bytes // itemsize))
    many = register_bytes > 32  # 32 registers of 64 bytes, else 16
    shapes = ([(6, 4), (12, 2), (12, 1), (1, 8)] if many else [(6, 2), (12, 1), (1, 8)])
    best: tuple[float, Tiling] | None = None
    for mr, nv in shapes:
        if (mr == 1) != (rows == 1):
            continue
        total = _ceil(rows, mr)
        for th, tw in _cuts(axes):
            flat, channel = window(axes, th, tw)
            padded = _ceil(flat, nv * lanes) * nv * lanes
            tiles = min(total, room // (mr * padded)) if channel <= room else 0
            if not tiles:
                continue
            tiles = _ceil(total, _ceil(total, tiles))
            step = max(mr * nv, mr + nv) / 2 + 1  # two multiplications and two loads a cycle
            item = (tiles * padded / lanes / nv * step * channels * axes[0].taps * axes[1].taps + channels * channel * 0.5
                    + tiles * mr * th * tw * 0.5 + 400)
            items = _ceil(axes[0].count, th) * _ceil(axes[1].count, tw) * _ceil(total, tiles) * images
            cost = _ceil(items, units) * item
            if best is None or cost < best[0]:
                block = max(1, min(channels, room // channel))
                best = cost, Tiling(th, tw, block, tiles, (("MR", mr), ("NV", nv), ("VW", lanes), ("STAGE", room), ("SUMS", room)))
    if best is None:
        raise RuntimeError(f"conv2d: a kernel that spans {axes[0].span + 1} x {axes[1].span + 1} pixels needs more than {STAGE_BYTES} bytes for one output")
    return best[1]


def correlate(source: Source, weight: Tensor, w: tuple, bias: Tensor | None, axes: tuple[Axis, Axis], groups: int, rows: int, shape: Size,
              out: Tensor | None = None, first: tuple[int, int] = (0, 0), step: tuple[int, int] = (1, 1)) -> Tensor:
    """Sums over patches into ``out`` (n, groups * rows, h, w), a new tensor unless given, at rows and columns ``first``, ``first + step``, ...

    ``w``: the weights' offset and strides along group, row, channel, tap row, tap column.
    """
    image = source.image
    dev, d = image._dev, image.dtype
    out = dispatch.empty(shape, d, dev) if out is None else out
    if not shape.numel() or not axes[0].count or not axes[1].count:
        return out
    dispatch.numel_32("conv2d", image, out)
    on, om, oh, ow = out._strides
    target = (dispatch.buffer(out), first[0] * oh + first[1] * ow, on, om * rows, om, oh * step[0], ow * step[1], rows)
    memory = dispatch.buffer(weight)
    weights = (memory, weight.offset + w[0], *w[1:])
    shift = (memory, 0, 0, 0) if bias is None else (dispatch.buffer(bias), bias.offset, bias._strides[0], 1)
    run = _correlate_wide if dev.strategy == "wide" else _correlate_grid
    run(dev, d, source, weights, shift, target, axes, groups)
    return out


def _correlate_wide(dev: Device, d: dtype, source: Source, weights: tuple, shift: tuple, target: tuple, axes: tuple[Axis, Axis], groups: int) -> None:
    images, channels, rows = source.image.shape[0] * groups, source.channels, target[-1]
    lane = max(d.itemsize, 4)
    cut = tiling(axes, channels, rows, images, dev.compute_units, lane, vector_bytes(dev))
    pack, kernel = (dispatch.kernel(dev, "conv/correlate", entry, dtype=d, **dict(cut.tunables)) for entry in ("pack", "correlate"))
    height = cut.tunables[0][1]
    total, area = _ceil(rows, height), axes[0].taps * axes[1].taps
    panels = dev.allocator.allocate(groups * total * height * channels * area * lane)
    one = (1, 1, 1)
    if channels * area:
        pack((total, groups, 1), one, *weights, panels.mem, rows, channels, axes[0].taps, axes[1].taps)
    across = _ceil(axes[0].count, cut.th) * _ceil(axes[1].count, cut.tw)
    kernel((across, _ceil(total, cut.tiles), images), one, *source.arguments(), *_axes_arguments(axes, groups, cut.th, cut.tw), panels.mem, *shift,
           *target, cut.block, cut.tiles)


def grid_tile(dev: Device, d: dtype, rows: int, columns: int) -> tuple[tuple[str, int], ...]:
    """Sums of a work-group: square tiles that 256 items (or as many as the device allows) share."""
    side = 16 if min(rows, columns) <= 16 else 32
    if dev.kind != "CPU" and min(rows, columns) > 32:
        side = 64
    deep = 8 if d.itemsize > 4 and side == 64 else 16
    if dev.max_work_group_size >= 256:
        return ("TM", side), ("TN", side), ("TK", deep), ("RM", side // 16), ("RN", side // 16)
    each = 8 if dev.max_work_group_size < 16 else 2
    return ("TM", 8), ("TN", 8), ("TK", deep), ("RM", each), ("RN", each)


def _grid_sizes(tile: tuple, rows: int, columns: int, batch: int) -> tuple[tuple, tuple]:
    t = dict(tile)
    local = (t["TN"] // t["RN"], t["TM"] // t["RM"], 1)
    return (_ceil(columns, t["TN"]) * local[0], _ceil(rows, t["TM"]) * local[1], batch), local


def _correlate_grid(dev: Device, d: dtype, source: Source, weights: tuple, shift: tuple, target: tuple, axes: tuple[Axis, Axis], groups: int) -> None:
    rows, images = target[-1], source.image.shape[0]
    columns = images * axes[0].count * axes[1].count
    tile = grid_tile(dev, d, rows, columns)
    kernel = dispatch.kernel(dev, "conv/grid", "grid_correlate", dtype=d, **dict(tile))
    kernel(*_grid_sizes(tile, rows, columns, groups), *source.arguments(), *_axes_arguments(axes, groups, 1, 1), *weights, *shift, *target, images)


# -- the gradient to the weights --------------------------------------------------------------------------------------------------


class Share(NamedTuple):
    """A work-item's share of a gradient to the weights: ``high`` rows by ``deep`` taps, tiles of th by tw outputs, ``splits`` partial sums."""

    high: int
    deep: int
    th: int
    tw: int
    splits: int
    tunables: tuple[tuple[str, int], ...]


@lru_cache(maxsize=1024)
def share(axes: tuple[Axis, Axis], channels: int, rows: int, images: int, groups: int, units: int, itemsize: int, register_bytes: int) -> Share:
    """The cheapest cut of a gradient to the weights, by an estimate in vector instructions. Pure."""
    room = STAGE_BYTES // itemsize
    lanes = max(2, min(16, register_bytes // itemsize))
    area = axes[0].taps * axes[1].taps
    depth = channels * area
    side = 4 if register_bytes > 32 else 2
    height = 1 if rows == 1 else side
    pairs = PAIRS * 64 // max(lanes * itemsize, 64)
    best: tuple[float, Share] | None = None
    for deep in dict.fromkeys(min(depth, 256, max(1, n * area)) for n in (1, 2, 3, 4, 6, 8, 12, 16, 32)):
        high = min(rows, pairs // deep)
        if not high:
            continue
        held = min(channels, _ceil(deep, area) + (deep % area > 0 or depth % area > 0))
        for th, tw in _cuts(axes):
            flat, channel = window(axes, th, tw)
            padded = _ceil(flat, lanes) * lanes
            if channel * held > room or padded * high > room:
                continue
            blocks = _ceil(rows, high) * _ceil(depth, deep) * groups
            jobs = images * _ceil(axes[0].count, th) * _ceil(axes[1].count, tw)
            splits = max(1, min(jobs, _ceil(ITEMS_PER_UNIT * units, blocks)))
            sums = _ceil(high, height) * _ceil(deep, side)
            job = sums * (height * side / 2 + 1) * (padded / lanes + 3) + held * channel * 0.5 + high * padded * 0.3
            cost = _ceil(blocks * splits, units) * _ceil(jobs, splits) * job
            if best is None or cost < best[0]:
                best = cost, Share(high, deep, th, tw, splits, (("R", height), ("C", side), ("VW", lanes), ("STAGE", room), ("GRAD", room),
                                                                ("PAIRS", pairs)))
    if best is None:
        raise RuntimeError(f"conv2d: a kernel that spans {axes[0].span + 1} x {axes[1].span + 1} pixels needs more than {STAGE_BYTES} bytes for one output")
    return best[1]


def weight_gradient(source: Source, g: Tensor, axes: tuple[Axis, Axis], groups: int, shape: Size) -> Tensor:
    """The sum over images and outputs of g times the pixel under each tap: (groups * rows, channels, taps, taps), as partial sums added in order."""
    image = source.image
    dev, d = image._dev, image.dtype
    dispatch.numel_32("conv2d", image, g)
    out = dispatch.empty(shape, d, dev)
    if not shape.numel():
        return out
    rows, lane, count = shape[0] // groups, max(d.itemsize, 4), shape.numel()
    gn, gm, gy, gx = g._strides
    grad = (dispatch.buffer(g), g.offset, gn, gm * rows, gm, gy, gx)
    wide = dev.strategy == "wide"
    cut: Any = None
    if wide:
        cut = share(axes, source.channels, rows, image.shape[0], groups, dev.compute_units, lane, vector_bytes(dev))
        splits = cut.splits
    else:
        tile = grid_tile(dev, d, rows, count // shape[0])
        blocks = _ceil(rows, tile[0][1]) * _ceil(count // shape[0], tile[1][1]) * groups
        splits = max(1, min(64, _ceil(4 * dev.compute_units, blocks), image.shape[0] * axes[0].count * axes[1].count // 256))
    partial = dev.allocator.allocate(splits * count * lane)
    if wide:
        kernel = dispatch.kernel(dev, "conv/weights", dtype=d, **dict(cut.tunables))
        sizes = (_ceil(rows, cut.high) * _ceil(count // shape[0], cut.deep), splits, groups), (1, 1, 1)
        kernel(*sizes, *source.arguments(), *_axes_arguments(axes, groups, cut.th, cut.tw), *grad, partial.mem, rows, image.shape[0], cut.high, cut.deep)
    else:
        kernel = dispatch.kernel(dev, "conv/grid", "grid_weights", dtype=d, **dict(tile))
        kernel(*_grid_sizes(tile, rows, count // shape[0], groups * splits), *source.arguments(), *_axes_arguments(axes, groups, 1, 1), *grad,
               partial.mem, rows, image.shape[0])
    fold = dispatch.kernel(dev, "conv/fold", dtype=d)
    sizes = ((min(dev.wide_groups, _ceil(count, 256)),), (1,)) if wide else ((min(_ceil(count, 64), 1024) * 64,), (64,))
    fold(*sizes, partial.mem, dispatch.buffer(out), count, splits)
    return out
