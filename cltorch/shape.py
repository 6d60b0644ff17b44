"""Pure shape arithmetic: sizes, strides, broadcasting, collapsing. No arrays here."""
from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import prod
from typing import Any


class Size(tuple):
    """A tensor's shape: a tuple of ints that prints as PyTorch's and knows its ``numel``."""

    __slots__ = ()

    def numel(self) -> int:
        return prod(self)

    def __repr__(self) -> str:
        return f"torch.Size([{', '.join(map(str, self))}])"

    def __getitem__(self, key: Any) -> Any:
        item = tuple.__getitem__(self, key)
        return Size(item) if isinstance(key, slice) else item

    def __add__(self, other: tuple) -> Size:
        return Size(tuple.__add__(self, tuple(other)))

    def __reduce__(self) -> tuple[Any, tuple]:
        return Size, (tuple(self),)


@lru_cache(maxsize=8192)
def contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Row-major strides in elements (PyTorch's convention: a dimension of size 0 counts as 1)."""
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= max(n, 1)
    return tuple(reversed(strides))


@lru_cache(maxsize=8192)
def is_contiguous(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether elements lie in row-major order without gaps (strides of size-1 dimensions don't matter)."""
    step = 1
    for n, s in zip(reversed(shape), reversed(strides), strict=True):
        if n == 0:
            return True
        if n != 1:
            if s != step:
                return False
            step *= n
    return True


@lru_cache(maxsize=8192)
def broadcast_pair(a: tuple[int, ...], b: tuple[int, ...]) -> Size:
    """The broadcast shape of two shapes; RuntimeError in PyTorch's words where there is none."""
    if a == b:
        return Size(a)
    rank = max(len(a), len(b))
    out = []
    for i in range(rank):
        x = a[i - rank + len(a)] if i >= rank - len(a) else 1
        y = b[i - rank + len(b)] if i >= rank - len(b) else 1
        if x != y and x != 1 and y != 1:
            raise RuntimeError(f"The size of tensor a ({x}) must match the size of tensor b ({y}) at non-singleton dimension {i}")
        out.append(y if x == 1 else x)
    return Size(out)


def broadcast_shapes(*shapes: Sequence[int]) -> Size:
    """The shape that all the shapes broadcast to. Raises RuntimeError where they don't."""
    out: tuple[int, ...] = ()
    for shape in shapes:
        out = broadcast_pair(tuple(out), (shape,) if isinstance(shape, int) else tuple(shape))
    return Size(out)


@lru_cache(maxsize=8192)
def broadcast_strides(shape: tuple[int, ...], strides: tuple[int, ...], target: tuple[int, ...]) -> tuple[int, ...]:
    """Strides that read a tensor of ``shape`` as if it had the broadcast shape ``target``."""
    lead = len(target) - len(shape)
    return (0,) * lead + tuple(0 if n == 1 and m != 1 else s for n, s, m in zip(shape, strides, target[lead:], strict=True))


def normalize_dim(dim: int, rank: int) -> int:
    """A non-negative dim. Raises IndexError with PyTorch's sentence when it is out of range (a 0-d tensor accepts 0 and -1)."""
    limit = max(rank, 1)
    d = operator.index(dim)
    if not -limit <= d < limit:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-limit}, {limit - 1}], but got {d})")
    return d + limit if d < 0 else d


def normalize_dims(dims: int | Iterable[int] | None, rank: int) -> tuple[int, ...]:
    """Sorted non-negative dims; None or an empty tuple means all. RuntimeError where one appears twice."""
    if dims is None:
        return tuple(range(rank))
    listed = (dims,) if isinstance(dims, int) else tuple(dims)
    if not listed:
        return tuple(range(rank))
    found = tuple(normalize_dim(d, rank) for d in listed)
    if len(set(found)) != len(found):
        repeated = next(d for d in found if found.count(d) > 1)
        raise RuntimeError(f"dim {repeated} appears multiple times in the list of dims")
    return tuple(sorted(d for d in found if d < rank))


def as_shape(args: tuple) -> Size:
    """The shape given as ``f(2, 3)``, ``f((2, 3))`` or ``f(Size)``. Raises TypeError for anything but integers, RuntimeError for negative sizes."""
    if len(args) == 1 and not hasattr(args[0], "__index__"):
        args = tuple(args[0])
    try:
        shape = Size(operator.index(n) for n in args)
    except TypeError as error:
        raise TypeError(f"a shape takes integers, got {args!r}") from error
    for n in shape:
        if n < 0:
            raise RuntimeError(f"Trying to create tensor with negative dimension {n}: {list(shape)}")
    return shape


def infer_shape(shape: Sequence[int], count: int) -> Size:
    """A target shape with one -1 filled in. RuntimeError with PyTorch's sentences where it can't hold ``count`` elements."""
    shape = tuple(operator.index(n) for n in shape)
    unknown = [i for i, n in enumerate(shape) if n == -1]
    if len(unknown) > 1:
        raise RuntimeError("only one dimension can be inferred")
    for n in shape:
        if n < -1:
            raise RuntimeError(f"invalid shape dimension {n}")
    known = prod(n for n in shape if n != -1)
    if unknown:
        if known == 0:
            if count == 0:
                raise RuntimeError(f"cannot reshape tensor of 0 elements into shape {list(shape)} because the unspecified "
                                   "dimension size -1 can be any value and is ambiguous")
            raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {count}")
        if count % known:
            raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {count}")
        shape = (*shape[:unknown[0]], count // known, *shape[unknown[0] + 1:])
    elif known != count:
        raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {count}")
    return Size(shape)


def view_strides(shape: tuple[int, ...], strides: tuple[int, ...], target: tuple[int, ...]) -> tuple[int, ...] | None:
    """Strides that show the same memory as ``target``, or None where that needs a copy."""
    if prod(shape) == 0:
        return contiguous_strides(target)
    chunks: list[list[int]] = []  # [elements, stride of the last], for runs of dims that are contiguous with each other
    for n, s in zip(shape, strides, strict=True):
        if n == 1:
            continue
        if chunks and chunks[-1][1] == n * s:
            chunks[-1] = [chunks[-1][0] * n, s]
        else:
            chunks.append([n, s])
    out, left = [1] * len(target), list(reversed(chunks)) or [[1, 1]]
    current, stride = left.pop(0)
    for i in reversed(range(len(target))):
        if target[i] == 1:
            out[i] = stride
            continue
        if current == 1 and left:
            current, stride = left.pop(0)
        if current % target[i]:
            return None
        out[i] = stride
        stride *= target[i]
        current //= target[i]
    return tuple(out)


@lru_cache(maxsize=8192)
def collapse(shape: tuple[int, ...], *strides: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """Merges neighbouring dimensions that every operand steps through evenly; drops size-1 dimensions. At least one dimension is left."""
    sizes: list[int] = []
    steps: list[list[int]] = [[] for _ in strides]
    for axis, n in enumerate(shape):
        if n == 1:
            continue
        now = [s[axis] for s in strides]
        if sizes and all(step[-1] == n * s for step, s in zip(steps, now, strict=True)):
            sizes[-1] *= n
            for step, s in zip(steps, now, strict=True):
                step[-1] = s
        else:
            sizes.append(n)
            for step, s in zip(steps, now, strict=True):
                step.append(s)
    if not sizes:
        return (1,), tuple((0,) for _ in strides)
    return tuple(sizes), tuple(tuple(step) for step in steps)


def extent(shape: Sequence[int], strides: Sequence[int]) -> int:
    """Elements from the first to the last reachable one, both included (0 for an empty tensor); strides are not negative."""
    if 0 in shape:
        return 0
    return 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
