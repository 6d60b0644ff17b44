"""Convolutions and transposed convolutions in one, two and three dimensions."""
from __future__ import annotations

import math
from typing import Any

from ...core.tensor import Tensor
from ...ops.creation import empty
from .. import functional as F
from .. import init
from ..parameter import Parameter
from .module import Module

_PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


def ntuple(value: Any, rank: int) -> tuple:
    """One number for every dimension, or the numbers given. ValueError where their count is wrong."""
    if isinstance(value, (tuple, list)):
        if len(value) != rank:
            raise ValueError(f"expected a number or {rank} numbers, got {value!r}")
        return tuple(value)
    return (value,) * rank


class _ConvNd(Module):
    """Sizes, weight and bias of every convolution; ``_rank`` is the number of spatial dimensions."""

    _rank = 0
    _transposed = False

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any, padding: Any, dilation: Any,
                 output_padding: Any, groups: int, bias: bool, padding_mode: str, device: Any, dtype: Any) -> None:
        super().__init__()
        if groups <= 0:
            raise ValueError("groups must be a positive integer")
        if in_channels % groups:
            raise ValueError("in_channels must be divisible by groups")
        if out_channels % groups:
            raise ValueError("out_channels must be divisible by groups")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride = ntuple(kernel_size, self._rank), ntuple(stride, self._rank)
        self.dilation, self.output_padding = ntuple(dilation, self._rank), ntuple(output_padding, self._rank)
        self.padding = padding if isinstance(padding, str) else ntuple(padding, self._rank)
        self.padding_mode = padding_mode
        self._check_padding()
        first, second = (in_channels, out_channels) if self._transposed else (out_channels, in_channels)
        self.weight = Parameter(empty(first, second // groups, *self.kernel_size, device=device, dtype=dtype))
        self.register_parameter("bias", Parameter(empty(out_channels, device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def _check_padding(self) -> None:
        if isinstance(self.padding, str):
            if self.padding not in ("same", "valid"):
                raise ValueError(f"Invalid padding string {self.padding!r}, should be one of 'same', 'valid'")
            if self.padding == "same" and any(s != 1 for s in self.stride):
                raise ValueError("padding='same' is not supported for strided convolutions")
        if self.padding_mode not in _PADDING_MODES:
            raise ValueError(f"padding_mode must be one of {_PADDING_MODES}, but got padding_mode='{self.padding_mode}'")

    def reset_parameters(self) -> None:
        """Uniform within ±1/sqrt(fan_in), PyTorch's choice."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan_in = init._calculate_fan_in_and_fan_out(self.weight)[0]
            if fan_in:
                init.uniform_(self.bias, -fan_in ** -0.5, fan_in ** -0.5)

    def _edges(self) -> list[int]:
        """The padding as ``F.pad`` takes it: (before, after) from the last dimension to the first."""
        edges = []
        for i in reversed(range(self._rank)):
            if self.padding == "same":
                total = self.dilation[i] * (self.kernel_size[i] - 1)
                edges += [total // 2, total - total // 2]
            else:
                edges += [0, 0] if self.padding == "valid" else [self.padding[i]] * 2
        return edges

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        zeros, ones = (0,) * self._rank, (1,) * self._rank
        for name, default in (("padding", zeros), ("dilation", ones), ("output_padding", zeros), ("groups", 1)):
            if getattr(self, name) != default:
                text += f", {name}={getattr(self, name)}"
        if self.bias is None:
            text += ", bias=False"
        return text if self.padding_mode == "zeros" else f"{text}, padding_mode={self.padding_mode}"


class _Conv(_ConvNd):
    """A convolution: F.conv1d, conv2d or conv3d."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
                 groups: int = 1, bias: bool = True, padding_mode: str = "zeros", device: Any = None, dtype: Any = None) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, 0, groups, bias, padding_mode, device, dtype)

    def forward(self, input: Tensor) -> Tensor:
        if self.padding_mode == "zeros":
            return getattr(F, self._function)(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)
        padded = F.pad(input, self._edges(), mode=self.padding_mode)
        return getattr(F, self._function)(padded, self.weight, self.bias, self.stride, (0,) * self._rank, self.dilation, self.groups)


class Conv1d(_Conv):
    """Cross-correlation. Shape: (N, C_in, L) → (N, C_out, L_out), or without N."""

    _rank = 1
    _function = "conv1d"


class Conv2d(_Conv):
    """Cross-correlation. Shape: (N, C_in, H, W) → (N, C_out, H_out, W_out), or without N."""

    _rank = 2
    _function = "conv2d"


class Conv3d(_Conv):
    """Cross-correlation. Shape: (N, C_in, D, H, W) → (N, C_out, D_out, H_out, W_out), or without N."""

    _rank = 3
    _function = "conv3d"


class _ConvTranspose(_ConvNd):
    """A transposed convolution: F.conv_transpose1d, 2d or 3d. ValueError for any padding mode but zeros."""

    _transposed = True

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
                 groups: int = 1, bias: bool = True, dilation: Any = 1, padding_mode: str = "zeros",
                 device: Any = None, dtype: Any = None) -> None:
        if padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}')
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, output_padding, groups, bias, padding_mode,
                         device, dtype)

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        extra = self.output_padding if output_size is None else self._output_padding(input, output_size)
        return getattr(F, self._function)(input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation)

    def _output_padding(self, input: Tensor, output_size: Any) -> tuple[int, ...]:
        """What must be added to reach ``output_size``. ValueError with the possible range where it can't be reached."""
        wanted, sizes = list(output_size)[-self._rank:], input.shape[-self._rank:]
        extra = []
        for n, out, stride, padding, kernel, dilation in zip(sizes, wanted, self.stride, self.padding, self.kernel_size, self.dilation,
                                                             strict=True):
            least = (n - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1
            if not least <= out < least + stride:
                raise ValueError(f"requested an output size of {wanted}, but valid sizes in that dimension range "
                                 f"from {least} to {least + stride - 1} (for an input of {list(sizes)})")
            extra.append(out - least)
        return tuple(extra)


class ConvTranspose1d(_ConvTranspose):
    """Gradient of Conv1d with respect to its input. Shape: (N, C_in, L) → (N, C_out, L_out), or without N."""

    _rank = 1
    _function = "conv_transpose1d"


class ConvTranspose2d(_ConvTranspose):
    """Gradient of Conv2d with respect to its input. Shape: (N, C_in, H, W) → (N, C_out, H_out, W_out), or without N."""

    _rank = 2
    _function = "conv_transpose2d"


class ConvTranspose3d(_ConvTranspose):
    """Gradient of Conv3d with respect to its input. Shape: (N, C_in, D, H, W) → (N, C_out, D_out, H_out, W_out), or without N."""

    _rank = 3
    _function = "conv_transpose3d"
