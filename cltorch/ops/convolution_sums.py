"""The sums over patches that kernels/conv computes, as numbers: axes, images, a correlation, a gradient to weights. Nothing here launches."""
from __future__ import annotations

from typing import NamedTuple

from ..core.tensor import Tensor

WORTH_ANOTHER = 0.95  # of the usual tile's cost: what another one has to be below before a model gets one more program, half a second to compile


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


class Image(NamedTuple):
    """The geometry of an image (n, groups * channels, h, w); ``channels``: those of one group."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    channels: int

    @staticmethod
    def of(t: Tensor, channels: int) -> Image:
        return Image(tuple(t.shape), t._strides, channels)

    def arguments(self) -> tuple:
        """What follows the image's memory and first element."""
        n, c, h, w = self.strides
        return n, c * self.channels, c, h, w, *self.shape[2:], self.channels


class Correlation(NamedTuple):
    """A sum over patches. ``weight``: offset and strides along group, row, channel, tap row, tap column; ``out``: the same of the rows it writes: offset,
    strides along image, group, row, output row, output column; ``bias``: its stride, None without one."""

    image: Image
    weight: tuple[int, ...]
    bias: int | None
    axes: tuple[Axis, Axis]
    groups: int
    rows: int
    out: tuple[int, ...]


class Gradient(NamedTuple):
    """A gradient to weights (groups * rows, channels, taps, taps); ``grad``: strides of the gradient to the outputs."""

    image: Image
    grad: tuple[int, ...]
    axes: tuple[Axis, Axis]
    groups: int
    rows: int

    @property
    def depth(self) -> int:
        return self.image.channels * self.axes[0].taps * self.axes[1].taps

    def grad_arguments(self) -> tuple:
        n, m, y, x = self.grad
        return n, m * self.rows, m, y, x
