"""Two-dimensional convolution: conv2d, its gradients as operators of their own (each other's gradients in turn), and the launches of kernels/conv.

Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.conv2d.html
"""
from __future__ import annotations

from functools import lru_cache
from math import gcd
from typing import Any

from ..core import dispatch
from ..core.tensor import TYPE_NAMES, Tensor, alias
from ..dtype import FLOATING, INTEGRAL
from ..shape import Size, contiguous_strides
from .arguments import listed
from .convolution_launch import correlate, correlated, weight_gradient
from .convolution_sums import Axis, Correlation, Gradient, Image
from .gemm import matrix, product
from .registry import composite, kernel_op

TYPES = FLOATING | INTEGRAL
CORE = {"namespace": "core", "method": False}
C_TYPES = {"float32": "float", "float64": "double", "float16": "c10::Half", "bfloat16": "c10::BFloat16"}


# -- plain matrix products --------------------------------------------------------------------------------------------------------


def _pointwise(weight: Tensor, stride: tuple, start: tuple, groups: int, image: Tensor) -> bool:
    """Whether each output is a product of one pixel's channels: a 1 x 1 kernel in steps of one over an image whose rows follow each other."""
    return (tuple(weight.shape[2:]) == (1, 1) and stride == (1, 1) and start == (0, 0) and groups == 1
            and image._strides[2] == image.shape[3] * image._strides[3])


def _covering(weight_shape: tuple, size: tuple, start: tuple, dilation: tuple, groups: int, input_shape: tuple) -> bool:
    """Whether the kernel covers the whole image once, as a linear layer does."""
    return (size == (1, 1) and start == (0, 0) and groups == 1 and tuple(weight_shape[2:]) == tuple(input_shape[2:])
            and all(d == 1 or k == 1 for d, k in zip(dilation, weight_shape[2:], strict=True)))


def _flat_pixels(t: Tensor) -> Tensor:
    n, c, h, w = t.shape
    return matrix(t, (n, c, h * w), (t._strides[0], t._strides[1], t._strides[3]))


def _rows(t: Tensor) -> Tensor:
    """(n, everything else) of a contiguous tensor."""
    return matrix(t, (t.shape[0], t.numel() // max(t.shape[0], 1)), (t.numel() // max(t.shape[0], 1), 1))


def _turned(t: Tensor) -> Tensor:
    return matrix(t, (t.shape[1], t.shape[0]), (t._strides[1], t._strides[0]))


def _shaped(t: Tensor, shape: tuple[int, ...]) -> Tensor:
    return alias(t, shape, contiguous_strides(shape), 0)


# -- forward and gradients ----------------------------------------------------------------------------------------------------------


def _convolution(input: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple, start: tuple, dilation: tuple, groups: int,
                 size: tuple) -> Tensor:
    shape = Size((input.shape[0], weight.shape[0], *size))
    if _pointwise(weight, stride, start, groups, input):
        w = matrix(weight, weight.shape[:2], weight._strides[:2])
        column = None if bias is None else matrix(bias, (bias.shape[0], 1), (bias._strides[0], 0))
        return _shaped(product(w, _flat_pixels(input), column), shape)
    if _covering(weight.shape, size, start, dilation, groups, input.shape) and input.is_contiguous() and weight.is_contiguous():
        return _shaped(product(_rows(input), _turned(_rows(weight)), bias), shape)
    axes = tuple(Axis(weight.shape[2 + i], size[i], stride[i], start[i], dilation[i]) for i in (0, 1))
    rows = weight.shape[0] // groups
    n, m, h, w = contiguous_strides(shape)
    return correlated(input, weight, bias, shape, Correlation(
        Image.of(input, input.shape[1] // groups), (0, weight._strides[0] * rows, *weight._strides), None if bias is None else bias._strides[0], axes,
        groups, rows, (0, n, m * rows, m, h, w)))


def _reaching(remainder: int, kernel: int, stride: int, start: int, dilation: int, count: int) -> tuple[int, int, Axis]:
    """The taps that reach inputs at ``remainder`` modulo the stride: first tap, step between taps, and the axis of the sum over outputs."""
    common = gcd(stride, dilation)
    step = stride // common
    first = next((k for k in range(min(step, kernel)) if (remainder - start - k * dilation) % stride == 0), None)
    if first is None:
        return 0, 1, Axis(0, count, 1, 0, 1)
    taps = -(-(kernel - first) // step)
    return first, step, Axis(taps, count, 1, (remainder - start - first * dilation) // stride, -(step * dilation // stride))


def _convolution_input(g: Tensor, weight: Tensor, size: tuple, stride: tuple, start: tuple, dilation: tuple, groups: int) -> Tensor:
    """The gradient to the input: for each remainder of its rows and columns by the stride, a convolution of g with the taps that reach it."""
    shape = Size((g.shape[0], weight.shape[1] * groups, *size))
    if _pointwise(weight, stride, start, groups, g):
        return _shaped(product(_turned(matrix(weight, weight.shape[:2], weight._strides[:2])), _flat_pixels(g)), shape)
    if _covering(weight.shape, tuple(g.shape[2:]), start, dilation, groups, shape) and g.is_contiguous() and weight.is_contiguous():
        return _shaped(product(_rows(g), _rows(weight)), shape)
    wm, wc, wh, ww = weight._strides
    n, m, h, w = contiguous_strides(shape)
    outputs, rows = weight.shape[0] // groups, weight.shape[1]
    image, sums = Image.of(g, outputs), []
    for a in range(min(stride[0], size[0])):
        kh, step_h, high = _reaching(a, weight.shape[2], stride[0], start[0], dilation[0], -(-(size[0] - a) // stride[0]))
        for b in range(min(stride[1], size[1])):
            kw, step_w, wide = _reaching(b, weight.shape[3], stride[1], start[1], dilation[1], -(-(size[1] - b) // stride[1]))
            sums.append(Correlation(
                image, (kh * wh + kw * ww, wm * outputs, wc, wm, wh * step_h, ww * step_w), None, (high, wide), groups, rows,
                (a * h + b * w, n, m * rows, m, h * stride[0], w * stride[1])))
    if stride == (1, 1) and sums:
        return correlated(g, weight, None, shape, sums[0])
    out = dispatch.empty(shape, g.dtype, g._dev)
    for part in sums:
        correlate(g, weight, out, part)
    return out


def _convolution_weight(g: Tensor, input: Tensor, kernel: tuple, stride: tuple, start: tuple, dilation: tuple, groups: int) -> Tensor:
    shape = Size((g.shape[1], input.shape[1] // groups, *kernel))
    if not g.numel() or not input.numel():
        return g.new_zeros(shape)  # type: ignore[attr-defined]
    if _covering(shape, tuple(g.shape[2:]), start, dilation, groups, input.shape) and g.is_contiguous() and input.is_contiguous():
        return _shaped(product(_turned(_rows(g)), _rows(input)), shape)
    axes = tuple(Axis(kernel[i], g.shape[2 + i], stride[i], start[i], dilation[i]) for i in (0, 1))
    out = dispatch.empty(shape, g.dtype, g._dev)
    weight_gradient(input, g, out, Gradient(Image.of(input, shape[1]), g._strides, axes, groups, shape[0] // groups))
    return out


convolution = kernel_op(
    "convolution(input, weight, bias, stride, start, dilation, groups, size)", dtypes=TYPES, forward=_convolution, out=False, **CORE,
    grad=dict(
        input=lambda g, weight, input_shape, stride, start, dilation, groups:
            convolution_input(g, weight, input_shape[2:], stride, start, dilation, groups),
        weight=lambda g, input, weight_shape, stride, start, dilation, groups:
            convolution_weight(g, input, weight_shape[2:], stride, start, dilation, groups),
        bias=lambda g: g.sum((0, 2, 3))))

convolution_input = kernel_op(
    "convolution_input(grad, weight, size, stride, start, dilation, groups)", dtypes=TYPES, forward=_convolution_input, out=False, **CORE,
    grad=dict(
        grad=lambda g, weight, grad_shape, stride, start, dilation, groups:
            convolution(g, weight, None, stride, start, dilation, groups, grad_shape[2:]),
        weight=lambda g, grad, weight_shape, stride, start, dilation, groups:
            convolution_weight(grad, g, weight_shape[2:], stride, start, dilation, groups)))

convolution_weight = kernel_op(
    "convolution_weight(grad, input, kernel, stride, start, dilation, groups)", dtypes=TYPES, forward=_convolution_weight, out=False, **CORE,
    grad=dict(
        grad=lambda g, input, grad_shape, stride, start, dilation, groups:
            convolution(input, g, None, stride, start, dilation, groups, grad_shape[2:]),
        input=lambda g, grad, input_shape, stride, start, dilation, groups:
            convolution_input(grad, g, input_shape[2:], stride, start, dilation, groups)))


# -- the public function ------------------------------------------------------------------------------------------------------------


def _pair(name: str, value: Any) -> tuple[int, int]:
    numbers = listed(value)
    if len(numbers) == 1:
        numbers *= 2
    if len(numbers) != 2:
        raise RuntimeError(f"expected {name} to be a single integer value or a list of 2 values to match the convolution dimensions, but got "
                           f"{name}={list(numbers)}")
    return numbers


def _check_types(input: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    for name, t in (("input", input), ("weight", weight)):
        if not isinstance(t, Tensor):
            raise TypeError(f"conv2d(): argument '{name}' must be Tensor, not {type(t).__name__}")
    if input.dtype is not weight.dtype:
        raise RuntimeError(f"expected scalar type {TYPE_NAMES[input.dtype.name]} but found {TYPE_NAMES[weight.dtype.name]}")
    if bias is not None and bias.dtype is not input.dtype:
        names = (C_TYPES.get(t.dtype.name, t.dtype.name) for t in (input, bias))
        raise RuntimeError("Input type ({}) and bias type ({}) should be the same".format(*names))


def _check_shapes(image: Size, weight: Size, bias: Size | None, groups: int) -> None:
    if len(image) not in (3, 4):
        raise RuntimeError(f"Expected 3D (unbatched) or 4D (batched) input to conv2d, but got input of size: {list(image)}")
    if len(weight) != 4:
        raise RuntimeError(f"conv2d: expected a 4-dimensional weight (out_channels, in_channels / groups, height, width), but got weight of size "
                           f"{list(weight)}")
    if groups <= 0:
        raise RuntimeError("non-positive groups is not supported")
    if weight[0] < groups:
        raise RuntimeError(f"Given groups={groups}, expected weight to be at least {groups} at dimension 0, but got weight of size {list(weight)} instead")
    if weight[0] % groups:
        raise RuntimeError(f"Given groups={groups}, expected weight to be divisible by {groups} at dimension 0, but got weight of size "
                           f"[{list(weight)}] instead")
    if image[-3] != weight[1] * groups:
        raise RuntimeError(f"Given groups={groups}, weight of size {list(weight)}, expected input{list(image)} to have {weight[1] * groups} channels, "
                           f"but got {image[-3]} channels instead")
    if bias is not None and tuple(bias) != (weight[0],):
        raise RuntimeError(f"Given weight of size {list(weight)}, expected bias to be 1-dimensional with {weight[0]} elements, but got bias of size "
                           f"{list(bias)} instead")


def _padding(padding: Any, kernel: tuple, stride: tuple, dilation: tuple) -> tuple[tuple[int, int], tuple[int, int]]:
    """Zeros before and after, by axis. "same" puts the odd one after."""
    if isinstance(padding, str):
        if padding == "valid":
            return (0, 0), (0, 0)
        if padding != "same":
            raise RuntimeError(f"Invalid padding string: '{padding}'")
        if stride != (1, 1):
            raise RuntimeError("padding='same' is not supported for strided convolutions")
        whole = tuple(d * (k - 1) for d, k in zip(dilation, kernel, strict=True))
        return (whole[0] // 2, whole[1] // 2), (whole[0] - whole[0] // 2, whole[1] - whole[1] // 2)
    both = _pair("padding", padding)
    if min(both) < 0:
        raise RuntimeError("negative padding is not supported")
    return both, both


@lru_cache(maxsize=1024)
def _geometry(image: Size, weight: Size, bias: Size | None, stride: Any, padding: Any, dilation: Any, groups: int) -> tuple:
    """(stride, start, dilation, groups, output size) of a call, checked."""
    _check_shapes(image, weight, bias, groups)
    stride, dilation = _pair("stride", stride), _pair("dilation", dilation)
    if min(stride) <= 0:
        raise RuntimeError("non-positive stride is not supported")
    if min(dilation) <= 0:
        raise RuntimeError(f"dilation should be greater than zero, but got {list(dilation)}")
    kernel = tuple(weight[2:])
    before, after = _padding(padding, kernel, stride, dilation)
    padded = tuple(n + a + b for n, a, b in zip(image[-2:], before, after, strict=True))
    spans = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))
    if 0 in image[-2:] or any(n < s for n, s in zip(padded, spans, strict=True)):
        raise RuntimeError(f"Calculated padded input size per channel: ({padded[0]} x {padded[1]}). Kernel size: ({spans[0]} x {spans[1]}). "
                           "Kernel size can't be greater than actual input size")
    size = tuple((n - s) // step + 1 for n, s, step in zip(padded, spans, stride, strict=True))
    return stride, (-before[0], -before[1]), dilation, groups, size


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


@composite("conv2d", namespace="torch, functional", dtypes=FLOATING)
def conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Sliding products. Shapes (n, c, h, w) or (c, h, w), (m, c / groups, kh, kw), (m,) to (n, m, oh, ow). Floating and integer types.

    ``padding`` also takes "same" and "valid". Sums run in float for halves, in one order for a shape; float32 with 3 x 3
    taps in steps of one may be summed by Winograd's method on a CPU (its error: ops/convolution_winograd.py). Source: nn.functional.conv2d.
    """
    _check_types(input, weight, bias)
    places = _geometry(input.shape, weight.shape, None if bias is None else bias.shape, _hashable(stride), _hashable(padding), _hashable(dilation), groups)
    if len(input.shape) == 4:
        return convolution(input, weight, bias, *places)
    return convolution(input.unsqueeze(0), weight, bias, *places).squeeze(0)
