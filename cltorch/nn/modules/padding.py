"""Padding layers: constant, zero, reflection, replication and circular, in one, two and three dimensions."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...core.tensor import Tensor
from .. import functional as F
from .conv import ntuple
from .module import Module


class _Pad(Module):
    """Pads the last ``_rank`` dimensions; ``padding`` is one number or (before, after) from the last dimension on."""

    _rank = 0
    _mode = "constant"

    def __init__(self, padding: int | Sequence[int]) -> None:
        super().__init__()
        self.padding = ntuple(padding, 2 * self._rank)

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, self._mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPad(_Pad):
    """Pads with one value."""

    def __init__(self, padding: int | Sequence[int], value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class _ZeroPad(_ConstantPad):
    """Pads with zeros."""

    def __init__(self, padding: int | Sequence[int]) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


def _family(base: type[_Pad], name: str, what: str, mode: str = "constant") -> tuple[Any, Any, Any]:
    """The three classes of one way of padding, one per number of dimensions."""
    made = []
    for rank, shape in enumerate(("(N, C, L) or (C, L)", "(N, C, H, W) or (C, H, W)", "(N, C, D, H, W) or (C, D, H, W)"), 1):
        namespace = dict(_rank=rank, _mode=mode, __module__=__name__, __qualname__=f"{name}{rank}d", __doc__=f"{what}. Shape: {shape}.")
        made.append(type(base)(f"{name}{rank}d", (base,), namespace))
    return tuple(made)


ConstantPad1d, ConstantPad2d, ConstantPad3d = _family(_ConstantPad, "ConstantPad", "Pads with ``value``")
ZeroPad1d, ZeroPad2d, ZeroPad3d = _family(_ZeroPad, "ZeroPad", "Pads with zeros")
ReflectionPad1d, ReflectionPad2d, ReflectionPad3d = _family(_Pad, "ReflectionPad", "Pads with the input mirrored at its edge", "reflect")
ReplicationPad1d, ReplicationPad2d, ReplicationPad3d = _family(_Pad, "ReplicationPad", "Pads with the input's edge", "replicate")
CircularPad1d, CircularPad2d, CircularPad3d = _family(_Pad, "CircularPad", "Pads with the input's other end", "circular")
