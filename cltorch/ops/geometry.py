"""Geometries of views, as pure arithmetic: (shape, strides, offset, arguments) -> (shape, strides, offset)."""
from __future__ import annotations

import operator
from collections.abc import Sequence
from math import prod
from typing import Any

from ..shape import infer_shape, normalize_dim, view_strides
from .arguments import listed

Ints = tuple[int, ...]
Geometry = tuple[Ints, Ints, int]


def transpose(shape: Ints, strides: Ints, offset: int, dim0: int, dim1: int) -> Geometry:
    a, b = normalize_dim(dim0, len(shape)), normalize_dim(dim1, len(shape))
    if a == b:
        return shape, strides, offset
    order = list(range(len(shape)))
    order[a], order[b] = b, a
    return tuple([shape[d] for d in order]), tuple([strides[d] for d in order]), offset


def matrix_transpose(shape: Ints, strides: Ints, offset: int) -> Geometry:
    if len(shape) > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {len(shape)}D")
    return shape[::-1], strides[::-1], offset


def permutation(dims: Any, rank: int) -> Ints:
    """Non-negative dims, each once. RuntimeError where they are no permutation."""
    order = listed(dims)
    if len(order) != rank:
        raise RuntimeError(f"permute(): number of dimensions in the tensor input does not match the length of the desired ordering of "
                           f"dimensions i.e. input.dim() = {rank} is not equal to len(dims) = {len(order)}")
    order = tuple([normalize_dim(d, rank) for d in order])
    if len(set(order)) != rank:
        raise RuntimeError(f"permute(): duplicate dims are not allowed, got {list(order)}")
    return order


def permute(shape: Ints, strides: Ints, offset: int, dims: Any) -> Geometry:
    order = permutation(dims, len(shape))
    return tuple([shape[d] for d in order]), tuple([strides[d] for d in order]), offset


def inverse(dims: Any, rank: int) -> Ints:
    """The permutation that undoes ``dims``."""
    order = permutation(dims, rank)
    back = [0] * rank
    for position, d in enumerate(order):
        back[d] = position
    return tuple(back)


def moved(rank: int, source: Any, destination: Any) -> Ints:
    """The permutation of movedim."""
    sources = [normalize_dim(d, rank) for d in listed(source)]
    targets = [normalize_dim(d, rank) for d in listed(destination)]
    if len(sources) != len(targets):
        raise RuntimeError(f"movedim: Invalid source or destination dims: source ({sources} dims) should contain the same number of dims as "
                           f"destination ({targets} dims)")
    if len(set(sources)) != len(sources) or len(set(targets)) != len(targets):
        raise RuntimeError(f"movedim: repeated dim in `source` ({sources}) or `destination` ({targets})")
    rest = [d for d in range(rank) if d not in sources]
    order = [-1] * rank
    for s, t in zip(sources, targets, strict=True):
        order[t] = s
    return tuple([d if d >= 0 else rest.pop(0) for d in order])


def expand(shape: Ints, strides: Ints, offset: int, size: Any) -> Geometry:
    sizes = listed(size)
    lead = len(sizes) - len(shape)
    if lead < 0:
        raise RuntimeError(f"expand(size={list(sizes)}): the number of sizes provided ({len(sizes)}) must be greater or equal to the number of "
                           f"dimensions in the tensor ({len(shape)})")
    out, steps = [], []
    for axis, n in enumerate(sizes):
        have, step = (shape[axis - lead], strides[axis - lead]) if axis >= lead else (1, 0)
        if n == -1:
            if axis < lead:
                raise RuntimeError(f"The expanded size of the tensor (-1) isn't allowed in a leading, non-existing dimension {axis}")
            n = have
        elif have != n and have != 1:
            raise RuntimeError(f"The expanded size of the tensor ({n}) must match the existing size ({have}) at non-singleton dimension {axis}.  "
                               f"Target sizes: {list(sizes)}.  Tensor sizes: {list(shape)}")
        out.append(n)
        steps.append(step if n == have else 0)
    return tuple(out), tuple(steps), offset


def squeeze(shape: Ints, strides: Ints, offset: int, dim: Any = None) -> Geometry:
    rank = len(shape)
    chosen = range(rank) if dim is None else {normalize_dim(d, rank) for d in listed(dim)}
    kept = [d for d in range(rank) if shape[d] != 1 or d not in chosen]
    return tuple([shape[d] for d in kept]), tuple([strides[d] for d in kept]), offset


def unsqueeze(shape: Ints, strides: Ints, offset: int, dim: int) -> Geometry:
    d = normalize_dim(dim, len(shape) + 1)
    step = shape[d] * strides[d] if d < len(shape) else 1
    return (*shape[:d], 1, *shape[d:]), (*strides[:d], step, *strides[d:]), offset


def narrow(shape: Ints, strides: Ints, offset: int, dim: int, start: Any, length: int) -> Geometry:
    if not shape:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    d = normalize_dim(dim, len(shape))
    n, first, length = shape[d], operator.index(start), operator.index(length)
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    if not -n <= first <= n:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-n}, {n}], but got {first})")
    first += n if first < 0 else 0
    if first + length > n:
        raise RuntimeError(f"start ({first}) + length ({length}) exceeds dimension size ({n}).")
    return (*shape[:d], length, *shape[d + 1:]), strides, offset + first * strides[d]


def select(shape: Ints, strides: Ints, offset: int, dim: int, index: Any) -> Geometry:
    if not shape:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    d, i = normalize_dim(dim, len(shape)), operator.index(index)
    n = shape[d]
    if not -n <= i < n:
        raise IndexError(f"select(): index {i} out of range for tensor of size {list(shape)} at dimension {d}")
    return (*shape[:d], *shape[d + 1:]), (*strides[:d], *strides[d + 1:]), offset + (i + n if i < 0 else i) * strides[d]


def diagonal(shape: Ints, strides: Ints, offset: int, diagonal: int = 0, dim1: int = 0, dim2: int = 1) -> Geometry:
    a, b = normalize_dim(dim1, len(shape)), normalize_dim(dim2, len(shape))
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    if diagonal >= 0:
        n, start = max(min(shape[a], shape[b] - diagonal), 0), diagonal * strides[b]
    else:
        n, start = max(min(shape[a] + diagonal, shape[b]), 0), -diagonal * strides[a]
    kept = [d for d in range(len(shape)) if d not in (a, b)]
    return (*[shape[d] for d in kept], n), (*[strides[d] for d in kept], strides[a] + strides[b]), offset + (start if n else 0)


def unfold(shape: Ints, strides: Ints, offset: int, dimension: int, size: int, step: int) -> Geometry:
    if not shape:
        if size > 1:
            raise RuntimeError(f"maximum size for tensor at dimension 0 is 1 but size is {size}")
        return (size,), (1,), offset
    d = normalize_dim(dimension, len(shape))
    if size < 0 or size > shape[d]:
        raise RuntimeError(f"maximum size for tensor at dimension {d} is {shape[d]} but size is {size}")
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    count = (shape[d] - size) // step + 1
    return (*shape[:d], count, *shape[d + 1:], size), (*strides[:d], strides[d] * step, *strides[d + 1:], strides[d]), offset


def strides_for(shape: Ints, strides: Ints, target: Ints) -> Ints:
    """Strides of a view as ``target``. RuntimeError with PyTorch's sentence where only a copy has that shape."""
    found = view_strides(shape, strides, target)
    if found is None:
        raise RuntimeError("view size is not compatible with input tensor's size and stride (at least one dimension spans across two contiguous "
                           "subspaces). Use .reshape(...) instead.")
    return found


def view(shape: Ints, strides: Ints, offset: int, size: Any) -> Geometry:
    target = infer_shape(listed(size), prod(shape))
    return target, strides_for(shape, strides, target), offset


def flattened(shape: Ints, start_dim: int, end_dim: int) -> Ints:
    """The target shape of flatten."""
    if not shape:
        return (1,)
    a, b = normalize_dim(start_dim, len(shape)), normalize_dim(end_dim, len(shape))
    if a > b:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    return (*shape[:a], prod(shape[a:b + 1]), *shape[b + 1:])


def unflattened(shape: Ints, dim: int, sizes: Sequence[int]) -> Ints:
    """The target shape of unflatten."""
    d, parts = normalize_dim(dim, len(shape)), listed(sizes)
    if not parts:
        raise RuntimeError("unflatten: sizes must be non-empty")
    try:
        return (*shape[:d], *infer_shape(parts, shape[d]), *shape[d + 1:])
    except RuntimeError as error:
        raise RuntimeError(f"unflatten: Provided sizes {list(parts)} don't multiply up to the size of dim {d} ({shape[d]}) in the input "
                           "tensor") from error


def split_sizes(n: int, size: Any) -> list[int]:
    """Lengths of the parts of ``split``: of ``size`` each (the last may be shorter), or as listed."""
    if not hasattr(size, "__index__"):
        parts = [operator.index(s) for s in size]
        if sum(parts) != n or min(parts, default=0) < 0:
            raise RuntimeError(f"split_with_sizes expects split_sizes to sum exactly to {n} (input tensor's size at dimension), but got "
                               f"split_sizes={parts}")
        return parts
    size = operator.index(size)
    if size < 0 or (size == 0 and n):
        raise RuntimeError(f"split expects split_size be positive, but got split_size={size}")
    return [0] if n == 0 else [min(size, n - start) for start in range(0, n, size)]


def section_sizes(n: int, sections: int) -> list[int]:
    """Lengths of ``sections`` nearly equal parts, the longer ones first (tensor_split)."""
    if sections <= 0:
        raise RuntimeError(f"number of sections must be larger than 0, got {sections}")
    short, longer = divmod(n, sections)
    return [short + 1] * longer + [short] * (sections - longer)


def cut_sizes(n: int, cuts: Sequence[int]) -> list[tuple[int, int]]:
    """(start, length) of the parts between cutting positions, which may be negative or beyond the end (tensor_split)."""
    edges = [slice(None, c).indices(n)[1] for c in cuts]
    starts = [0, *edges]
    return [(start, max(end - start, 0)) for start, end in zip(starts, [*edges, n], strict=True)]
