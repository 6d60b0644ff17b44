"""Convolutions of 3 x 3 in steps of one by Winograd's F(2 x 2, 3 x 3), kernels/conv/winograd.mako: how they are shared out, and their launch.

The largest and the root mean square error against float64 are 0.4 to 2.6 times those of the direct sum for 16 to 1024 channels (below 1 up to 64: the
transforms add a little, the shorter sums, over channels alone, take more away), and below those of PyTorch 2.13. Unlike there, an infinite pixel may make
NaNs of all outputs of its squares, and pixels near the largest float32 may overflow in a sum of four.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from ..core import dispatch
from ..dtype import dtype, float32
from ..runtime.device import Device
from .convolution_sums import WORTH_ANOTHER, Axis, Correlation
from .gemm_plan import Side, ceil, vector_bytes

FAMILY = "conv/winograd"
LARGEST = 128  # squares of a work-item


class Room(NamedTuple):
    """Elements of private memory of a work-item, and what a profile wants kept in registers: the TUNABLES of winograd.mako."""

    stage: int
    tiled: int
    sums: int
    side: Side | None = None

    @staticmethod
    def of(dev: Device) -> Room:
        return Room.from_numbers(dispatch.tuned(dev, FAMILY))._replace(side=Side.of(dev, FAMILY))

    @staticmethod
    def from_numbers(numbers: Mapping[str, int]) -> Room:
        return Room(numbers["STAGE"], numbers["TILED"], numbers["SUMS"])


class Sharing(NamedTuple):
    """A work-item's share: ``high`` rows of ``wide`` squares, ``block`` channels transformed at a time, ``share`` tiles of MR rows, ``tiles`` of them at
    a time. ``cost``: estimated cycles of the whole, as those of convolution_launch.Tiling."""

    high: int
    wide: int
    block: int
    share: int
    tiles: int
    cost: float
    tunables: tuple[tuple[str, int], ...]


def possible(d: dtype, c: Correlation) -> bool:
    """Whether the sum is one that the kernel computes."""
    return d is float32 and c.image.channels > 0 and all(a.taps == 3 and a.stride == 1 and abs(a.step) == 1 for a in c.axes)


def _cuts(down: int, across: int, images: int) -> Iterator[tuple[int, int]]:
    """Rows and columns of squares to consider."""
    for parts in range(ceil(across, LARGEST), across + 1):
        wide = ceil(across, parts)
        if parts == 1 or wide >= 16:
            yield from ((high, wide) for high in range(1, min(LARGEST // wide, down * images) + 1))


def _item(high: int, wide: int, down: int, channels: int, passes: int, rows: int, lanes: int) -> float:
    """Cycles of a work-item's transforms, about: of ``channels`` ``passes`` times, and of ``rows`` of sums."""
    turns = ceil(wide, lanes)
    staged = 2 * (high + ceil(high, down)) * (15 + 6 * ceil(2 * wide + 2, lanes))
    return channels * passes * (staged + 60 * high * turns + 20) + rows * high * (90 * turns + 10)


@lru_cache(maxsize=1024)
def sharing(height: int, width: int, channels: int, rows: int, images: int, groups: int, units: int, lanes: int, many: bool, room: Room) -> Sharing | None:
    """The cheapest way to share out ``images`` of height x width outputs, by an estimate in cycles, half a work-item's wait for the last one among them. None
    where none fits. Pure. ``many``: 32 registers."""
    down, across, best = ceil(height, 2), ceil(width, 2), None
    for mr, nv in [tuple(room.side)] if room.side else [(6, 4), (12, 2), (12, 1)] if many else [(6, 2), (12, 1)]:
        total, step = ceil(rows, mr), max(mr * nv / 2, mr / 2 + nv) + 1.5
        for high, wide in _cuts(down, across, images):
            vectors = ceil(high * wide, nv * lanes) * nv
            block = min(channels, room.tiled // (16 * lanes * vectors))
            most = room.sums // (16 * lanes * mr * vectors)
            if not block or not most or (2 * min(high, down) + 2) * 2 * (wide + 1 + lanes) > room.stage:
                continue
            block = ceil(channels, ceil(channels, block))
            for share in dict.fromkeys(ceil(total, parts) for parts in (1, 2, 4, 8)):
                passes = ceil(share, min(share, most))
                products = 16 * (vectors // nv) * share * (channels * step + 20 * ceil(channels, block))
                item = products + _item(high, wide, down, channels, passes if block < channels else 1, share * mr, lanes) + 1000
                items = ceil(down * images, high) * ceil(across, wide) * ceil(total, share) * groups
                cost = (ceil(items, units) + 0.5) * item + 20 * groups * rows * channels / units
                tunables = ("MR", mr), ("NV", nv), ("VW", lanes)
                if best is None or cost < best.cost * (1 if tunables == best.tunables else WORTH_ANOTHER):
                    best = Sharing(high, wide, block, share, ceil(share, passes), cost, tunables)
    return best


def plan(dev: Device, d: dtype, c: Correlation) -> Sharing | None:
    """How to share out a sum over patches; None where this isn't the way to compute it."""
    if not possible(d, c):
        return None
    register = vector_bytes(dev, FAMILY)
    return sharing(c.axes[0].count, c.axes[1].count, c.image.channels, c.rows, c.image.shape[0], c.groups, dev.compute_units, register // d.itemsize,
                   register > 32, Room.of(dev))


def _upright(axis: Axis, stride: int) -> tuple[int, int, int]:
    """(first pixel, offset and stride of the weights) of the same sum with taps in the pixels' order."""
    return (axis.start, 0, stride) if axis.step == 1 else (axis.start - 2, 2 * stride, -stride)


def launcher(dev: Device, d: dtype, c: Correlation, cut: Sharing) -> Callable[..., None]:
    """A function (type of the result, image's memory, its first element, weight's ..., bias's ..., the result's arguments) that launches."""
    kernels = dispatch.Kinds(dev, FAMILY, "winograd", part="winograd", dtype=d, **dict(cut.tunables))
    height, lanes, one = cut.tunables[0][1], cut.tunables[2][1], (1, 1, 1)
    pack = dispatch.kernel(dev, FAMILY, "pack", part="pack", dtype=d, out=d, MR=height, VW=lanes)
    (h, w), channels, images, total = c.axes, c.image.channels, c.image.shape[0], ceil(c.rows, height)
    start, group, row, channel, *taps = c.weight
    (dy, skip_h, wh), (dx, skip_w, ww) = (_upright(axis, stride) for axis, stride in zip(c.axes, taps, strict=True))
    start, steps, allocate = start + skip_h + skip_w, (group, row, channel, wh, ww), dev.allocator.allocate
    nbytes = 16 * c.groups * total * (channels * height + lanes) * d.itemsize
    size = (ceil(ceil(h.count, 2) * images, cut.high) * ceil(ceil(w.count, 2), cut.wide), ceil(total, cut.share), c.groups)
    before = (*c.image.arguments(), h.count, w.count, dy, dx, cut.high, cut.wide)
    after, shift = (*c.out, images, c.rows, cut.block, cut.share, cut.tiles), (c.bias or 0, int(c.bias is not None))

    def run(kind: Any, image: Any, image_start: int, weight: Any, weight_start: int, bias: Any, bias_start: int, results: list[Any]) -> None:
        panels = allocate(nbytes)
        pack((total, c.groups, 1), one, weight, weight_start + start, *steps, panels.mem, c.rows, channels)
        kernels[kind](size, one, image, image_start, *before, panels.mem, bias, bias_start, *shift, *results, *after)

    return run
