"""Less common forms: in-place geometry (as_strided_, resize_), diagonals filled in place, sums to a shape, unravelled positions."""
from __future__ import annotations

from typing import Any

from ..core.autograd import undo_broadcast
from ..core.pointwise import assign
from ..core.tensor import Tensor, alias
from ..shape import Size, as_shape, contiguous_strides
from .arguments import listed, variadic
from .creation import empty
from .movement import flip
from .registry import composite, retarget
from .splitting import chunk
from .views import as_strided, narrow


@composite("as_strided_", namespace="tensor", method=True)
def as_strided_(input: Tensor, size: Any, stride: Any, storage_offset: int | None = None) -> Tensor:
    """Makes this tensor a view of its memory with any sizes and strides."""
    return retarget(input, as_strided(input, size, stride, storage_offset))


@composite("resize_", namespace="tensor", method=True, differentiable=False)
def resize_(input: Tensor, *sizes: Any, memory_format: Any = None) -> Tensor:
    """Changes the shape in place; elements that fit are kept in memory order, new ones are not initialised. RuntimeError where it requires grad."""
    shape = as_shape(sizes)
    if input.requires_grad:
        raise RuntimeError("cannot resize variables that require grad")
    if (input.offset + shape.numel()) * input.dtype.itemsize <= input.storage.nbytes:
        input.data = alias(input, shape, contiguous_strides(shape), input.offset)
        return input
    grown, kept = empty(shape.numel(), dtype=input.dtype, device=input._dev), input.storage.nbytes // input.dtype.itemsize - input.offset
    if kept > 0:
        assign(alias(grown, (kept,), (1,), 0), alias(input, (kept,), (1,), input.offset))
    input.data = alias(grown, shape, contiguous_strides(shape), 0)
    return input


@composite("resize_as_", namespace="tensor", method=True, differentiable=False)
def resize_as_(input: Tensor, the_template: Tensor) -> Tensor:
    """resize_ to the shape of another tensor."""
    return resize_(input, the_template.shape)


@composite("fill_diagonal_", namespace="tensor", method=True)
def fill_diagonal_(input: Tensor, fill_value: Any, wrap: bool = False) -> Tensor:
    """Fills the main diagonal (of more than two dimensions: of equal sizes) in place; wrap starts again below it in tall matrices."""
    rank, sizes = input.dim(), set(input.shape)
    if rank < 2 or (rank > 2 and len(sizes) > 1):
        raise RuntimeError(f"all dimensions of input must be of equal length, and at least two; got {list(input.shape)}")
    step, width = sum(input._strides), input.shape[1]
    count = min(input.shape)
    if count:
        as_strided(input, (count,), (step,), input.offset).fill_(fill_value)
    if wrap and rank == 2 and input.shape[0] > width + 1:
        fill_diagonal_(narrow(input, 0, width + 1, input.shape[0] - width - 1), fill_value, True)
    return input


@composite("sum_to_size", namespace="tensor", method=True)
@variadic("size")
def sum_to_size(input: Tensor, size: tuple[int, ...]) -> Tensor:
    """Sums over the dimensions that broadcasting would add to ``size`` or stretch. RuntimeError where it doesn't broadcast."""
    lead = input.dim() - len(size)
    if lead < 0 or any(n not in (1, m) for n, m in zip(size, input.shape[lead:], strict=True)):
        raise RuntimeError(f"size {list(size)} is not expandable to size {list(input.shape)}.")
    return undo_broadcast(input, Size(size))


@composite("unsafe_chunk", method=True)
def unsafe_chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """chunk, whose results PyTorch lets be written in place (here chunk's may be, too)."""
    return chunk(input, chunks, dim)


@composite("narrow_copy", method=True)
def narrow_copy(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """A copy of narrow's view."""
    return narrow(input, dim, start, length).clone()


@composite("unravel_index", differentiable=False)
def unravel_index(indices: Tensor, shape: Any) -> tuple[Tensor, ...]:
    """Coordinates, one tensor per dimension, of row-major positions in ``shape``."""
    out, rest = [], indices
    for n in reversed(listed(shape)):
        out.append(rest % n)
        rest = rest.div(n, rounding_mode="floor")
    return tuple(reversed(out))


def reverse(self: Tensor) -> Tensor:
    """reversed(x): along the first dimension."""
    return flip(self, 0) if self.shape else self


Tensor.__reversed__ = reverse  # type: ignore[attr-defined]
