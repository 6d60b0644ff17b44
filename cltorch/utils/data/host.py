"""Batches of "cpu" tensors put together in host memory: no kernel, so it costs little and works in every worker."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...core.data import resolve
from ...core.lazy import realize
from ...core.storage import write_bytes
from ...core.tensor import Tensor, empty
from ...dtype import dtype


def from_host(bits: np.ndarray, d: dtype, where: str = "cpu") -> Tensor:
    """A new tensor with a copy of stored bits (bfloat16: as uint16), without a kernel."""
    out = empty(bits.shape, d, resolve(where))
    if bits.size:
        write_bytes(out.storage.value.block, out._dev, np.ascontiguousarray(bits).reshape(-1).view(np.uint8))
    return out


def on_host(t: Tensor) -> bool:
    """Whether a tensor can be put into a batch by copying its bits."""
    return not (t.is_cuda or t.requires_grad)


def bits_of(t: Tensor) -> np.ndarray:
    """A "cpu" tensor's stored bits, to be read at once: a look at its memory where that is host memory, else a copy."""
    block = realize(t.storage.value)
    if block.host is None or t.numel() == 0:
        return t._host()
    size = t.dtype.itemsize
    return np.ndarray(t.shape, t.dtype.np, t._dev.host_view(block), t.offset * size, tuple(s * size for s in t._strides))


def stack(batch: Sequence[Tensor]) -> Tensor | None:
    """The tensors along a new first dimension; None where that takes more than copying equal shapes and types on the host."""
    first = batch[0]
    if not all(on_host(t) and t.dtype is first.dtype and t.shape == first.shape for t in batch):
        return None
    return from_host(np.stack([bits_of(t) for t in batch]), first.dtype)


def rows(t: Tensor, indices: Sequence[int]) -> Tensor:
    """The slices of t at the indices along dim 0, together. IndexError where one is out of range."""
    if on_host(t):
        return from_host(np.take(bits_of(t), indices, 0), t.dtype)
    return t[list(indices)]
