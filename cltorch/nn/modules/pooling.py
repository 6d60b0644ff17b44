"""Pooling: maximum, average, their adaptive forms, power averages and unpooling."""
from __future__ import annotations

from typing import Any

from ...core.tensor import Tensor
from .. import functional as F
from .conv import ntuple
from .module import Described


class _Pool(Described):
    """A pooling layer calls the function of nn.functional named ``_function``."""

    _shown = ("kernel_size", "stride", "padding")


class _MaxPool(_Pool):
    """Maximum over windows; with ``return_indices`` also where it was."""

    _shown = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, return_indices: bool = False,
                 ceil_mode: bool = False) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation, self.return_indices, self.ceil_mode = padding, dilation, return_indices, ceil_mode

    def forward(self, input: Tensor) -> Any:
        return getattr(F, self._function)(input, self.kernel_size, self.stride, self.padding, self.dilation, ceil_mode=self.ceil_mode,
                              return_indices=self.return_indices)


class MaxPool1d(_MaxPool):
    """Shape: (N, C, L) or (C, L)."""

    _function = "max_pool1d"


class MaxPool2d(_MaxPool):
    """Shape: (N, C, H, W) or (C, H, W)."""

    _function = "max_pool2d"


class MaxPool3d(_MaxPool):
    """Shape: (N, C, D, H, W) or (C, D, H, W)."""

    _function = "max_pool3d"


class AvgPool1d(_Pool):
    """Mean over windows. Shape: (N, C, L) or (C, L)."""

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
                 count_include_pad: bool = True) -> None:
        super().__init__()
        self.kernel_size, self.stride = ntuple(kernel_size, 1), ntuple(kernel_size if stride is None else stride, 1)
        self.padding, self.ceil_mode, self.count_include_pad = ntuple(padding, 1), ceil_mode, count_include_pad

    def forward(self, input: Tensor) -> Tensor:
        return F.avg_pool1d(input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)


class _AvgPool(_Pool):
    """Mean over windows, or their sum over ``divisor_override``."""

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False, count_include_pad: bool = True,
                 divisor_override: int | None = None) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.ceil_mode = padding, ceil_mode
        self.count_include_pad, self.divisor_override = count_include_pad, divisor_override

    def forward(self, input: Tensor) -> Tensor:
        return getattr(F, self._function)(input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad,
                              self.divisor_override)


class AvgPool2d(_AvgPool):
    """Shape: (N, C, H, W) or (C, H, W)."""

    _function = "avg_pool2d"


class AvgPool3d(_AvgPool):
    """Shape: (N, C, D, H, W) or (C, D, H, W)."""

    _function = "avg_pool3d"


class _LPPool(_Pool):
    """(sum of x ** norm_type over windows) ** (1 / norm_type)."""

    _shown = ("norm_type", "kernel_size", "stride", "ceil_mode")

    def __init__(self, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> None:
        super().__init__()
        self.norm_type, self.kernel_size, self.stride, self.ceil_mode = norm_type, kernel_size, stride, ceil_mode

    def forward(self, input: Tensor) -> Tensor:
        return getattr(F, self._function)(input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)


class LPPool1d(_LPPool):
    """Shape: (N, C, L) or (C, L)."""

    _function = "lp_pool1d"


class LPPool2d(_LPPool):
    """Shape: (N, C, H, W) or (C, H, W)."""

    _function = "lp_pool2d"


class _MaxUnpool(_Pool):
    """Puts maxima back where ``return_indices`` said they were; zeros elsewhere."""

    _rank = 0

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        super().__init__()
        self.kernel_size = ntuple(kernel_size, self._rank)
        self.stride = ntuple(kernel_size if stride is None else stride, self._rank)
        self.padding = ntuple(padding, self._rank)

    def forward(self, input: Tensor, indices: Tensor, output_size: Any = None) -> Tensor:
        return getattr(F, self._function)(input, indices, self.kernel_size, self.stride, self.padding, output_size)


class MaxUnpool1d(_MaxUnpool):
    """Shape: (N, C, L) or (C, L)."""

    _rank = 1
    _function = "max_unpool1d"


class MaxUnpool2d(_MaxUnpool):
    """Shape: (N, C, H, W) or (C, H, W)."""

    _rank = 2
    _function = "max_unpool2d"


class MaxUnpool3d(_MaxUnpool):
    """Shape: (N, C, D, H, W) or (C, D, H, W)."""

    _rank = 3
    _function = "max_unpool3d"


class _AdaptiveAvgPool(_Pool):
    """Mean over as many windows as ``output_size`` asks for; None keeps a dimension."""

    _shown = ("output_size",)

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Tensor) -> Any:
        return getattr(F, self._function)(input, self.output_size)


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """Shape: (N, C, L) or (C, L)."""

    _function = "adaptive_avg_pool1d"


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """Shape: (N, C, H, W) or (C, H, W)."""

    _function = "adaptive_avg_pool2d"


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """Shape: (N, C, D, H, W) or (C, D, H, W)."""

    _function = "adaptive_avg_pool3d"


class _AdaptiveMaxPool(_AdaptiveAvgPool):
    """Maximum over as many windows as ``output_size`` asks for; with ``return_indices`` also where it was."""

    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__(output_size)
        self.return_indices = return_indices

    def forward(self, input: Tensor) -> Any:
        return getattr(F, self._function)(input, self.output_size, self.return_indices)


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """Shape: (N, C, L) or (C, L)."""

    _function = "adaptive_max_pool1d"


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """Shape: (N, C, H, W) or (C, H, W)."""

    _function = "adaptive_max_pool2d"


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """Shape: (N, C, D, H, W) or (C, D, H, W)."""

    _function = "adaptive_max_pool3d"
