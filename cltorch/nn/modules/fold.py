"""Sliding blocks of images as columns, and back."""
from __future__ import annotations

from typing import Any

from ...core.tensor import Tensor
from .. import functional as F
from .module import Described

_BLOCKS = ("kernel_size", "dilation", "padding", "stride")


class Fold(Described):
    """Sums columns of sliding blocks into an image. Shape: (N, C · kernel, L) → (N, C, *output_size)."""

    _function = "fold"
    _shown = ("output_size", *_BLOCKS)

    def __init__(self, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> None:
        super().__init__()
        self.output_size, self.kernel_size, self.dilation, self.padding, self.stride = output_size, kernel_size, dilation, padding, stride

    def forward(self, input: Tensor) -> Tensor:
        return getattr(F, self._function)(input, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)


class Unfold(Described):
    """Sliding blocks of an image as columns. Shape: (N, C, *) → (N, C · kernel, L)."""

    _function = "unfold"
    _shown = _BLOCKS

    def __init__(self, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> None:
        super().__init__()
        self.kernel_size, self.dilation, self.padding, self.stride = kernel_size, dilation, padding, stride

    def forward(self, input: Tensor) -> Tensor:
        return getattr(F, self._function)(input, self.kernel_size, self.dilation, self.padding, self.stride)
