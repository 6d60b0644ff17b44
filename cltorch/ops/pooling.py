"""Pooling over windows: max_pool, avg_pool and their adaptive forms in one and two dimensions.

Sources: https://docs.pytorch.org/docs/stable/nn.functional.html#pooling-functions
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..core import dispatch
from ..core.tensor import Tensor
from ..dtype import FLOATING, INTEGRAL, int64
from .registry import composite, kernel_op


class Window(NamedTuple):
    """How windows lie along rows and columns: sizes, strides, pads, dilations, and the number of windows. Hashable; saved for backward."""

    size: tuple[int, int]
    stride: tuple[int, int]
    pad: tuple[int, int]
    dilation: tuple[int, int]
    outputs: tuple[int, int]
    adaptive: bool = False
    include_pad: bool = True
    divisor: int = 0

    def numbers(self, plane: tuple[int, int]) -> list[int]:
        """The kernel's arguments from the plane's sizes on."""
        out: list[int] = []
        for d in range(2):
            out += [plane[d], self.outputs[d], self.size[d], self.stride[d], self.pad[d], self.dilation[d]]
        return [*out, int(self.include_pad), self.divisor]


def _launch(entry: str, buffers: list[Tensor], out: Tensor, planes: int, window: Window, plane: tuple[int, int]) -> None:
    dispatch.numel_32("pooling", *buffers, out)
    if out.numel() == 0:
        return
    dev = out._dev
    kernel = dispatch.kernel(dev, "pool/window", entry, what=entry, dtype=out.dtype, adaptive=window.adaptive)
    args: list[Any] = []
    for k, t in enumerate(buffers):
        args.append(dispatch.buffer(t))
        if not (entry == "maximum" and k == 0):
            args.append(t.offset)
    kernel(*dispatch.groups(dev, out.numel() * 8), dispatch.buffer(out), *args, planes, *window.numbers(plane))


def _maximum(input: Tensor, window: Window) -> tuple[Tensor, Tensor]:
    x = input.contiguous()  # type: ignore[attr-defined]
    shape = (*x.shape[:-2], *window.outputs)
    out, where = dispatch.empty(shape, x.dtype, x._dev), dispatch.empty(shape, int64, x._dev)
    _launch("maximum", [where, x], out, x.shape[:-2].numel(), window, tuple(x.shape[-2:]))  # type: ignore[arg-type]
    return out, where


def _maximum_back(value: Tensor, where: Tensor, window: Window, plane: tuple[int, int]) -> Tensor:
    g, at = value.contiguous(), where.contiguous()  # type: ignore[attr-defined]
    out = dispatch.empty((*g.shape[:-2], *plane), g.dtype, g._dev)
    _launch("maximum_back", [g, at], out, g.shape[:-2].numel(), window, plane)
    return out


def _average(input: Tensor, window: Window) -> Tensor:
    x = input.contiguous()  # type: ignore[attr-defined]
    out = dispatch.empty((*x.shape[:-2], *window.outputs), x.dtype, x._dev)
    _launch("average", [x], out, x.shape[:-2].numel(), window, tuple(x.shape[-2:]))  # type: ignore[arg-type]
    return out


def _average_back(value: Tensor, window: Window, plane: tuple[int, int]) -> Tensor:
    g = value.contiguous()  # type: ignore[attr-defined]
    out = dispatch.empty((*g.shape[:-2], *plane), g.dtype, g._dev)
    _launch("average_back", [g], out, g.shape[:-2].numel(), window, plane)
    return out


def _picked(g: Tensor, where: Tensor) -> Tensor:
    return g.flatten(-2).gather(-1, where.flatten(-2)).reshape(where.shape)  # type: ignore[attr-defined]


pool_max = kernel_op(
    "pool_max(input, window)", forward=_maximum, dtypes=FLOATING | INTEGRAL, method=False, namespace="core", out=False,
    grad=dict(input=lambda g0, out1, window, input_shape: pool_max_back(g0, out1, window, tuple(input_shape[-2:]))))
pool_max_back = kernel_op(
    "pool_max_back(value, where, window, plane)", forward=_maximum_back, dtypes=FLOATING, method=False, namespace="core", out=False,
    grad=dict(value=lambda g, where: _picked(g, where)))
pool_average = kernel_op(
    "pool_average(input, window)", forward=_average, dtypes=FLOATING, method=False, namespace="core", out=False,
    grad=dict(input=lambda g, window, input_shape: pool_average_back(g, window, tuple(input_shape[-2:]))))
pool_average_back = kernel_op(
    "pool_average_back(value, window, plane)", forward=_average_back, dtypes=FLOATING, method=False, namespace="core", out=False,
    grad=dict(value=lambda g, window: pool_average(g, window)))


def _numbers(name: str, what: str, value: Any, dims: int) -> tuple[int, ...]:
    """One integer for every dim, or one a dim. RuntimeError for another count."""
    given = (value,) * dims if isinstance(value, int) else tuple(value)
    if len(given) == 1:
        given *= dims
    if len(given) != dims:
        raise RuntimeError(f"{name}: {what} must either be a single int, or a tuple of {dims} ints, got {value}")
    return given


def _outputs(n: int, size: int, stride: int, pad: int, dilation: int, ceil_mode: bool) -> int:
    reach = n + 2 * pad - dilation * (size - 1) - 1
    count = (-(-reach // stride) if ceil_mode else reach // stride) + 1
    return count - 1 if ceil_mode and (count - 1) * stride >= n + pad else count


def _window(name: str, input: Tensor, dims: int, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool, **more: Any) -> Window:
    """The checked windows over the last ``dims`` dims; one-dimensional ones lie along the columns."""
    if input.dim() not in (dims + 1, dims + 2):
        raise RuntimeError(f"{name}: Expected {dims + 1}D or {dims + 2}D input, got {list(input.shape)}")
    size = _numbers(name, "kernel_size", kernel_size, dims)
    step = _numbers(name, "stride", stride if stride not in (None, (), []) else size, dims)
    pad, spread = _numbers(name, "padding", padding, dims), _numbers(name, "dilation", dilation, dims)
    if min(size) <= 0 or min(step) <= 0 or min(spread) <= 0:
        raise RuntimeError(f"{name}: kernel size, stride and dilation should be greater than zero, got {size}, {step}, {spread}")
    if any(p < 0 or 2 * p > k for p, k in zip(pad, size, strict=True)):
        raise RuntimeError(f"{name}: pad should be at most half of effective kernel size, but got pad={pad}, kernel_size={size}")
    outputs = tuple(_outputs(n, *sizes, ceil_mode) for n, *sizes in zip(input.shape[-dims:], size, step, pad, spread, strict=True))
    if min(outputs) < 1:
        raise RuntimeError(f"{name}: Given input size {list(input.shape)} with windows of {size}, the output size {list(outputs)} is too small")
    lead = 2 - dims
    return Window((1,) * lead + size, (1,) * lead + step, (0,) * lead + pad, (1,) * lead + spread, (1,) * lead + outputs, **more)  # type: ignore[arg-type]


def _flat(input: Tensor, dims: int) -> Tensor:
    """One-dimensional input as one row of a plane."""
    return input.unsqueeze(-2) if dims == 1 else input  # type: ignore[attr-defined]


def _shaped(result: Tensor, dims: int) -> Tensor:
    return result.squeeze(-2) if dims == 1 else result  # type: ignore[attr-defined]


def _max(dims: int) -> Any:
    name = f"max_pool{dims}d"

    def function(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
        window = _window(name, input, dims, kernel_size, stride, padding, dilation, ceil_mode)
        values, where = pool_max(_flat(input, dims), window)
        return (_shaped(values, dims), _shaped(where, dims)) if return_indices else _shaped(values, dims)

    function.__name__ = name
    function.__doc__ = f"The largest element of each window over the last {dims} dims, (N, C, ...) or (C, ...); ``return_indices`` adds where it was (int64)."
    return composite(name, namespace="functional,torch" if dims == 2 else "functional", dtypes=FLOATING,
                     samples=lambda make: [((make(2, 6), 2) if dims == 1 else (make(2, 5, 6), 2), {})])(function)


max_pool1d, max_pool2d = _max(1), _max(2)


@composite("avg_pool2d", namespace="functional", dtypes=FLOATING)
def avg_pool2d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
    """The mean of each window of (N, C, H, W) or (C, H, W); padding counts as zeros unless ``count_include_pad`` is false. ValueError for divisor 0."""
    if divisor_override == 0:
        raise RuntimeError("divisor must be not zero")
    window = _window("avg_pool2d", input, 2, kernel_size, stride, padding, 1, ceil_mode, include_pad=count_include_pad, divisor=divisor_override or 0)
    return pool_average(input, window)


@composite("avg_pool1d", namespace="functional,torch", dtypes=FLOATING)
def avg_pool1d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """The mean of each window of (N, C, L) or (C, L)."""
    window = _window("avg_pool1d", input, 1, kernel_size, stride, padding, 1, ceil_mode, include_pad=count_include_pad)
    return _shaped(pool_average(_flat(input, 1), window), 1)


def _adaptive(name: str, input: Tensor, output_size: Any, dims: int) -> Window:
    if input.dim() not in (dims + 1, dims + 2):
        raise RuntimeError(f"{name}: Expected {dims + 1}D or {dims + 2}D tensor, but got {list(input.shape)}")
    given: Sequence[Any] = (output_size,) * dims if output_size is None or isinstance(output_size, int) else tuple(output_size)
    outputs = tuple(n if o is None else o for o, n in zip(given, input.shape[-dims:], strict=True))
    if min(outputs) < 0 or 0 in input.shape[-dims:]:
        raise RuntimeError(f"{name}: expected non-negative output sizes and non-empty planes, got {outputs} for {list(input.shape)}")
    return Window((1, 1), (1, 1), (0, 0), (1, 1), (1,) * (2 - dims) + outputs, adaptive=True)  # type: ignore[arg-type]


def _adaptive_average(dims: int) -> Any:
    name = f"adaptive_avg_pool{dims}d"

    def function(input, output_size):
        window = _adaptive(name, input, output_size, dims)
        if window.outputs == (1, 1):  # one window: an ordinary mean, whose gradient is one number a plane
            return input.mean(tuple(range(-dims, 0)), keepdim=True)
        return _shaped(pool_average(_flat(input, dims), window), dims)

    function.__name__ = name
    function.__doc__ = f"Means over windows chosen so that the last {dims} dims come out with ``output_size`` (None keeps a dim)."
    return composite(name, namespace="functional,torch" if dims == 1 else "functional", dtypes=FLOATING)(function)


def _adaptive_maximum(dims: int) -> Any:
    name = f"adaptive_max_pool{dims}d"

    def function(input, output_size, return_indices=False):
        values, where = pool_max(_flat(input, dims), _adaptive(name, input, output_size, dims))
        return (_shaped(values, dims), _shaped(where, dims)) if return_indices else _shaped(values, dims)

    function.__name__ = name
    function.__doc__ = f"Largest elements of windows chosen so that the last {dims} dims come out with ``output_size``."
    return composite(name, namespace="functional", dtypes=FLOATING)(function)


adaptive_avg_pool1d, adaptive_avg_pool2d = _adaptive_average(1), _adaptive_average(2)
adaptive_max_pool1d, adaptive_max_pool2d = _adaptive_maximum(1), _adaptive_maximum(2)
