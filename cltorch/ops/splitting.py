"""Several views at once: split, chunk, unbind and their kin. The gradients of all parts come back through one concatenation."""
from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..core.autograd import Like, OperatorNode, edge
from ..core.modes import modes
from ..core.tensor import Tensor, alias
from ..core.view import view_of
from ..shape import normalize_dim
from . import geometry
from .arguments import listed
from .movement import cat, stack
from .registry import composite
from .views import narrow


def parts(x: Tensor, pieces: list[geometry.Geometry], name: str, join: Callable[[tuple[Tensor, ...]], Tensor]) -> tuple[Tensor, ...]:
    """Views of x with one node for all of them; ``join`` makes x's gradient of theirs."""
    outs = tuple([view_of(x, *piece, name) for piece in pieces])
    if modes.grad and x._rg and outs:
        names = ("g",) if len(outs) == 1 else tuple([f"g{k}" for k in range(len(outs))])
        node = OperatorNode(name, [edge(x)], {}, [(lambda *gs: join(gs), names, None)], [Like(x)], len(outs), [(o.shape, o.dtype, o._dev) for o in outs])
        for k, out in enumerate(outs):
            out._fn, out._rg, out.output_nr = node, True, k
    return outs


def _cut(x: Tensor, pieces: list[tuple[int, int]], dim: int, covers: bool = True) -> tuple[Tensor, ...]:
    if covers and len(pieces) > 1:
        return parts(x, [geometry.narrow(x.shape, x._strides, x.offset, dim, *piece) for piece in pieces], "SplitBackward0",
                     lambda gs: _joined(gs, dim))
    return tuple([narrow(x, dim, *piece) for piece in pieces])


def _side_by_side(gradients: tuple[Tensor, ...], starts: list[int], shape: tuple[int, ...], strides: tuple[int, ...]) -> Tensor | None:
    """The memory in which gradients lie at these distances from the first, as attention's of its three operands do; None where they don't."""
    first = gradients[0]
    for g, start in zip(gradients, starts, strict=True):
        if g.storage is not first.storage or g.offset != first.offset + start or g._strides != first._strides or g.dtype is not first.dtype:
            return None
        if modes.grad and g._rg:
            return None
    return alias(first, shape, strides, first.offset)


def _joined(gradients: tuple[Tensor, ...], dim: int) -> Tensor:
    """One after the other along ``dim``."""
    first, sizes = gradients[0], [g.shape[dim] for g in gradients]
    starts = [start * first._strides[dim] for start in itertools.accumulate(sizes[:-1], initial=0)]
    whole = _side_by_side(gradients, starts, (*first.shape[:dim], sum(sizes), *first.shape[dim + 1:]), first._strides)
    return cat(gradients, dim) if whole is None else whole


def _stacked(gradients: tuple[Tensor, ...], dim: int) -> Tensor:
    """Along a new dimension."""
    first, count = gradients[0], len(gradients)
    step = gradients[1].offset - first.offset if count > 1 else 0
    shape, strides = ((*old[:dim], new, *old[dim:]) for old, new in ((first.shape, count), (first._strides, step)))
    whole = _side_by_side(gradients, [k * step for k in range(count)], shape, strides) if step >= 0 else None
    return stack(gradients, dim) if whole is None else whole


def _runs(sizes: list[int]) -> list[tuple[int, int]]:
    ends = np.cumsum(sizes).tolist()
    return [(end - size, size) for end, size in zip(ends, sizes, strict=True)]


def _sized(input: Tensor, name: str) -> None:
    if not input.shape:
        raise RuntimeError(f"{name} expects at least a 1-dimensional tensor")


@composite("split", method=True, samples=lambda make: [((make(5, 2), 2), {}), ((make(3, 4), [1, 3], -1), {})],
           ref=lambda x, size, dim=0: np.split(x, np.cumsum(geometry.split_sizes(x.shape[dim], size))[:-1], dim))
def split(tensor: Tensor, split_size_or_sections: Any = None, dim: int = 0, *, split_size: Any = None) -> tuple[Tensor, ...]:
    """Views of parts of a given size (the last may be shorter), or of the listed sizes, along ``dim``."""
    _sized(tensor, "split")
    d = normalize_dim(dim, tensor.dim())
    size = split_size if split_size_or_sections is None else split_size_or_sections
    return _cut(tensor, _runs(geometry.split_sizes(tensor.shape[d], size)), d)


@composite("split_with_sizes", method=True)
def split_with_sizes(input: Tensor, split_sizes: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Views of parts of the listed sizes along ``dim``."""
    return split(input, listed(split_sizes), dim)


@composite("unsafe_split", method=True)
def unsafe_split(input: Tensor, split_size: int, dim: int = 0) -> tuple[Tensor, ...]:
    """split, whose results PyTorch lets be written in place (here split's may be, too)."""
    return split(input, split_size, dim)


@composite("chunk", method=True, samples=lambda make: [((make(5, 2), 2), {}), ((make(2, 4), 3, 1), {})],
           ref=lambda x, chunks, dim=0: np.split(x, range(-(-x.shape[dim] // chunks), x.shape[dim], -(-x.shape[dim] // chunks)), dim))
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most ``chunks`` views of equal size (the last may be shorter) along ``dim``."""
    _sized(input, "chunk")
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    n = input.shape[normalize_dim(dim, input.dim())]
    if n == 0:
        return split(input, [0] * chunks, dim)
    return split(input, -(-n // chunks), dim)


@composite("tensor_split", method=True, samples=lambda make: [((make(7, 2), 3), {}), ((make(2, 5), [1, 4], 1), {})], ref=np.array_split)
def tensor_split(input: Tensor, indices_or_sections: Any = None, dim: int = 0, *, indices: Any = None, sections: Any = None) -> tuple[Tensor, ...]:
    """Views of that many nearly equal parts, or cut at the listed positions, along ``dim``."""
    _sized(input, "tensor_split")
    d = normalize_dim(dim, input.dim())
    given = next(v for v in (indices_or_sections, indices, sections) if v is not None)
    if isinstance(given, Tensor):
        given = given.tolist()
    if hasattr(given, "__index__"):
        return _cut(input, _runs(geometry.section_sizes(input.shape[d], int(given))), d)
    pieces = geometry.cut_sizes(input.shape[d], given)
    return _cut(input, pieces, d, covers=sum(size for _, size in pieces) == input.shape[d] and list(given) == sorted(given))


@composite("hsplit", method=True)
def hsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """tensor_split along the second dimension (the first of a 1-d tensor)."""
    return _even_split(input, indices_or_sections, 0 if input.dim() == 1 else 1, "hsplit", 1)


@composite("vsplit", method=True)
def vsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """tensor_split along the first of at least two dimensions."""
    return _even_split(input, indices_or_sections, 0, "vsplit", 2)


@composite("dsplit", method=True)
def dsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """tensor_split along the third dimension."""
    return _even_split(input, indices_or_sections, 2, "dsplit", 3)


def _even_split(x: Tensor, given: Any, dim: int, name: str, rank: int) -> tuple[Tensor, ...]:
    if x.dim() < rank:
        raise RuntimeError(f"torch.{name} requires a tensor with at least {rank} dimension, but got a tensor with {x.dim()} dimensions!")
    if hasattr(given, "__index__") and (int(given) <= 0 or x.shape[dim] % int(given)):
        raise RuntimeError(f"torch.{name} attempted to split along dimension {dim}, but the size of the dimension {x.shape[dim]} is not divisible by "
                           f"the split_size {given}!")
    return tensor_split(x, given, dim)


@composite("unbind", method=True, samples=lambda make: [((make(2, 3),), {}), ((make(2, 3), -1), {}), ((make(1, 2),), {})],
           ref=lambda x, dim=0: [np.take(x, k, dim) for k in range(x.shape[dim])])
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """A view of every slice along ``dim``."""
    if not input.shape:
        raise RuntimeError("Dimension specified as 0 but tensor has no dimensions")
    d = normalize_dim(dim, input.dim())
    shape, strides = (*input.shape[:d], *input.shape[d + 1:]), (*input._strides[:d], *input._strides[d + 1:])
    pieces = [(shape, strides, input.offset + k * input._strides[d]) for k in range(input.shape[d])]
    return parts(input, pieces, "UnbindBackward0", lambda gs: _stacked(gs, d))


def iterate(self: Tensor) -> Iterator[Tensor]:
    if not self.shape:
        raise TypeError("iteration over a 0-d tensor")
    return iter(unbind(self))


Tensor.__iter__ = iterate  # type: ignore[attr-defined]
