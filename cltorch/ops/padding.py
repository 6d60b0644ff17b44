"""Padding in all modes, sliding blocks (unfold, fold) and pixel shuffles."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.pointwise import assign, constant
from ..core.tensor import Tensor, alias
from ..shape import contiguous_strides
from .movement import cat, flip
from .registry import composite
from .tape import taped
from .views import embed, expand, narrow, permute, reshape, through


def _windows(pad: Sequence[int], rank: int) -> list[tuple[int, int]]:
    """(before, after) for every dimension; PyTorch lists them from the last dimension on."""
    if len(pad) % 2:
        raise RuntimeError(f"Padding length must be divisible by 2, got {list(pad)}")
    if len(pad) > 2 * rank:
        raise RuntimeError(f"Padding length should be less than or equal to two times the input dimension but got padding length {len(pad)} and input of "
                           f"dimension {rank}")
    pairs = [(int(pad[2 * k]), int(pad[2 * k + 1])) for k in range(len(pad) // 2)]
    return [(0, 0)] * (rank - len(pairs)) + pairs[::-1]


def _constant_pad(x: Tensor, pairs: list[tuple[int, int]], value: Any) -> Tensor:
    for d, (before, after) in enumerate(pairs):
        n = x.shape[d]
        if n + before + after < 0:
            raise RuntimeError(f"The input size {n}, plus negative padding {before} and {after}, resulted in a negative output size (dimension {d})")
        if before < 0 or after < 0:
            start = min(max(-before, 0), n)
            x = narrow(x, d, start, max(n - start - max(-after, 0), 0))
    pairs = [(max(b, 0), max(a, 0)) for b, a in pairs]
    if not any(b or a for b, a in pairs):
        return x.clone()
    shape = tuple([n + b + a for n, (b, a) in zip(x.shape, pairs, strict=True)])
    strides = contiguous_strides(shape)
    window = (x.shape, strides, sum(b * s for (b, _), s in zip(pairs, strides, strict=True)))
    if not value:
        return embed(x, shape, window)
    out = constant(shape, value, x.dtype, x._dev)
    assign(alias(out, *window), x.detach())
    return taped("ConstantPadNd", out, (x, lambda g: through(g.contiguous(), window)))


def _edges(x: Tensor, d: int, before: int, after: int, mode: str) -> list[Tensor | None]:
    """The pieces whose concatenation along d is the padded tensor."""
    n = x.shape[d]
    if mode == "reflect":
        return [flip(narrow(x, d, 1, before), d) if before else None, x, flip(narrow(x, d, n - 1 - after, after), d) if after else None]
    if mode == "circular":
        return [narrow(x, d, n - before, before) if before else None, x, narrow(x, d, 0, after) if after else None]
    return [_repeated(x, d, 0, before) if before else None, x, _repeated(x, d, n - 1, after) if after else None]


def _repeated(x: Tensor, d: int, start: int, times: int) -> Tensor:
    return expand(narrow(x, d, start, 1), [times if a == d else n for a, n in enumerate(x.shape)])


def _check_border(n: int, before: int, after: int, mode: str, d: int) -> None:
    if mode == "reflect" and max(before, after) >= n:
        raise RuntimeError("Argument #4: Padding size should be less than the corresponding input dimension, but got: "
                           f"padding ({before}, {after}) at dimension {d} of input size {n}")
    if mode == "circular" and max(before, after) > n:
        raise RuntimeError(f"Padding value causes wrapping around more than once: ({before}, {after}) at dimension {d} of input size {n}")
    if n == 0:
        raise RuntimeError(f"pad: mode {mode!r} needs a non-empty dimension {d}")


_NUMPY_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def _pad_reference(x: np.ndarray, pad: Sequence[int], mode: str = "constant", value: Any = None) -> np.ndarray:
    options = {"constant_values": value or 0} if mode == "constant" else {}
    return np.pad(x, _windows(pad, x.ndim), mode=_NUMPY_MODES[mode], **options)


@composite("pad", namespace="functional", ref=_pad_reference,
           samples=lambda make: [((make(2, 3), (1, 2)), {}), ((make(2, 3), (1, 0, 0, 2), "constant", 1.5 if make.d.is_floating_point else 1), {}),
                                 ((make(1, 2, 4), (2, 1), "reflect"), {}), ((make(1, 2, 4), (2, 1), "replicate"), {}),
                                 ((make(1, 2, 4), (2, 1), "circular"), {}), ((make(1, 1, 3, 4), (1, 2, 2, 1), "reflect"), {})])
def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: Any = None) -> Tensor:
    """The input with borders: ``pad`` lists (before, after) from the last dimension on; constant (negative numbers cut), reflect, replicate, circular."""
    pairs = _windows(pad, input.dim())
    if mode == "constant":
        return _constant_pad(input, pairs, value)
    if value:
        raise ValueError(f"Padding mode \"{mode}\" doesn't take in value argument")
    if mode not in _NUMPY_MODES:
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    out = input
    for d, (before, after) in enumerate(pairs):
        if before < 0 or after < 0:
            out = narrow(out, d, max(-before, 0), out.shape[d] + min(before, 0) + min(after, 0))
            before, after = max(before, 0), max(after, 0)
        if before or after:
            _check_border(out.shape[d], before, after, mode, d)
            out = cat([p for p in _edges(out, d, before, after, mode) if p is not None], d)
    return out.clone() if out is input else out


# sliding blocks


def _pair(value: Any) -> tuple[int, int]:
    return (int(value), int(value)) if hasattr(value, "__index__") else (int(value[0]), int(value[1]))


def _block_window(shape: tuple[int, ...], kernel: tuple[int, int], dilation: tuple[int, int], stride: tuple[int, int], i: int, j: int) -> Any:
    """Where element (i, j) of every block lies in contiguous images of ``shape`` (n, c, h, w)."""
    strides, counts = contiguous_strides(shape), _block_counts(shape, kernel, dilation, stride)
    return ((*shape[:2], *counts), (*strides[:2], stride[0] * strides[2], stride[1] * strides[3]), i * dilation[0] * strides[2] + j * dilation[1] * strides[3])


def _block_counts(shape: tuple[int, ...], kernel: tuple[int, int], dilation: tuple[int, int], stride: tuple[int, int]) -> tuple[int, int]:
    counts = tuple((n - d * (k - 1) - 1) // s + 1 for n, k, d, s in zip(shape[2:], kernel, dilation, stride, strict=True))
    if min(counts) <= 0:
        raise RuntimeError(f"Given an input of padded spatial size {list(shape[2:])}, kernel_size={kernel}, dilation={dilation}, stride={stride}, the "
                           f"calculated shape of the array of sliding blocks is {list(counts)}, but its components must be at least one.")
    return counts[0], counts[1]


def _batched(function: Callable, x: Tensor, rank: int, *arguments: Any) -> Tensor:
    return function(x.unsqueeze(0), *arguments).squeeze(0) if x.dim() == rank - 1 else function(x, *arguments)


@composite("unfold", namespace="functional", samples=lambda make: [((make(1, 2, 4, 5), 2), {}), ((make(2, 1, 5, 5), (3, 2)), {"stride": 2, "padding": 1})])
def unfold(input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """Sliding blocks of images (n, c, h, w) as columns: (n, c * block elements, blocks)."""
    return _batched(_unfold, input, 4, _pair(kernel_size), _pair(dilation), _pair(padding), _pair(stride))


def _unfold(x: Tensor, kernel: tuple, dilation: tuple, padding: tuple, stride: tuple) -> Tensor:
    padded = pad(x, (padding[1], padding[1], padding[0], padding[0])) if any(padding) else x.contiguous()
    n, c = padded.shape[:2]
    blocks = [through(padded, _block_window(padded.shape, kernel, dilation, stride, i, j)) for i in range(kernel[0]) for j in range(kernel[1])]
    stacked = cat([b.unsqueeze(2) for b in blocks], 2)
    return reshape(stacked, (n, c * kernel[0] * kernel[1], -1))


@composite("fold", namespace="functional", samples=lambda make: [((make(1, 8, 12), (4, 5), 2), {})])
def fold(input: Tensor, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """The adjoint of unfold: columns (n, c * block elements, blocks) summed into images of ``output_size``."""
    return _batched(_fold, input, 3, _pair(output_size), _pair(kernel_size), _pair(dilation), _pair(padding), _pair(stride))


def _fold(x: Tensor, size: tuple, kernel: tuple, dilation: tuple, padding: tuple, stride: tuple) -> Tensor:
    per_block = kernel[0] * kernel[1]
    if x.shape[1] % per_block:
        raise RuntimeError(f"Expected size of input's dimension 1 to be divisible by the product of kernel_size, but got input.size(1)={x.shape[1]} and "
                           f"kernel_size={kernel}")
    shape = (x.shape[0], x.shape[1] // per_block, size[0] + 2 * padding[0], size[1] + 2 * padding[1])
    counts = _block_counts(shape, kernel, dilation, stride)
    if counts[0] * counts[1] != x.shape[2]:
        raise RuntimeError(f"Given output_size={size}, kernel_size={kernel}, dilation={dilation}, padding={padding}, stride={stride}, expected size of input's "
                           f"dimension 2 to match the calculated number of sliding blocks {counts[0]} * {counts[1]}, but got {x.shape[2]}")
    blocks = reshape(x, (*shape[:2], per_block, *counts))
    total = None
    for k in range(per_block):
        placed = embed(blocks.select(2, k), shape, _block_window(shape, kernel, dilation, stride, k // kernel[1], k % kernel[1]))
        total = placed if total is None else total + placed
    return narrow(narrow(total, 2, padding[0], size[0]), 3, padding[1], size[1]).contiguous()


# pixel shuffles


@composite("pixel_shuffle", namespace="torch,functional", samples=lambda make: [((make(1, 8, 2, 3), 2), {})])
def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """(*, c r r, h, w) to (*, c, h r, w r)."""
    r, (c, h, w) = upscale_factor, input.shape[-3:] if input.dim() >= 3 else (0, 0, 0)
    if input.dim() < 3 or r <= 0 or c % (r * r):
        raise RuntimeError(f"pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of upscale_factor, but input.shape="
                           f"{list(input.shape)} and upscale_factor={r}")
    lead = tuple(input.shape[:-3])
    k = len(lead)
    split = reshape(input, (*lead, c // (r * r), r, r, h, w))
    return reshape(permute(split, (*range(k), k, k + 3, k + 1, k + 4, k + 2)), (*lead, c // (r * r), h * r, w * r))


@composite("pixel_unshuffle", namespace="torch,functional", samples=lambda make: [((make(1, 2, 4, 6), 2), {})])
def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """(*, c, h r, w r) to (*, c r r, h, w)."""
    r, (c, h, w) = downscale_factor, input.shape[-3:] if input.dim() >= 3 else (0, 1, 1)
    if input.dim() < 3 or r <= 0 or h % r or w % r:
        raise RuntimeError(f"pixel_unshuffle expects height and width to be divisible by downscale_factor, but input.shape={list(input.shape)} and "
                           f"downscale_factor={r}")
    lead = tuple(input.shape[:-3])
    k = len(lead)
    split = reshape(input, (*lead, c, h // r, r, w // r, r))
    return reshape(permute(split, (*range(k), k, k + 2, k + 4, k + 1, k + 3)), (*lead, c * r * r, h // r, w // r))


@composite("channel_shuffle", namespace="torch,functional", samples=lambda make: [((make(1, 6, 2, 2), 3), {})])
def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Channels (dimension 1) dealt out to groups."""
    n, c = input.shape[:2]
    if groups <= 0 or c % groups:
        raise RuntimeError(f"Number of channels must be divisible by groups. Got {c} channels and {groups} groups.")
    return reshape(reshape(input, (n, groups, c // groups, -1)).transpose(1, 2), input.shape)
