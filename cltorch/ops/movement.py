"""Movement: joining, repeating, turning and masking parts of tensors. Elements are moved as raw bits."""
from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from ..core import dispatch
from ..core.autograd import Like, OperatorNode, edge
from ..core.lazy import streams
from ..core.modes import modes
from ..core.pointwise import assign, result_type
from ..core.tensor import Tensor, alias
from ..shape import Size, contiguous_strides, normalize_dim, normalize_dims
from . import geometry
from .arguments import listed, same_device, tensors_of, variadic
from .registry import composite, kernel_op, write_out
from .tape import raw, taped
from .views import embed, expand, narrow, reshape, transpose, unsqueeze, window_of

CAT_INPUTS = (2, 4, 16)  # kernels exist for these numbers of inputs: 16 keep the arguments under 512 bytes


# joining


def _joinable(tensors: Sequence[Any], dim: int) -> tuple[list[Tensor], int]:
    """The tensors that have elements' room in the result (1-d empty ones are skipped, as PyTorch does) and the dimension, checked."""
    if not tensors:
        raise RuntimeError("torch.cat(): expected a non-empty list of Tensors")
    for k, x in enumerate(tensors):
        if not isinstance(x, Tensor):
            raise TypeError(f"cat(): expected Tensor as element {k} in argument 0, but got {type(x).__name__}")
        if not x.shape:
            raise RuntimeError(f"zero-dimensional tensor (at position {k}) cannot be concatenated")
        same_device("cat", tensors[0], x)
    kept = [x for x in tensors if x.shape != (0,)] or [tensors[0]]
    first, d = kept[0].shape, normalize_dim(dim, kept[0].dim())
    for k, x in enumerate(kept):
        if x.dim() != len(first):
            raise RuntimeError(f"Tensors must have same number of dimensions: got {len(first)} and {x.dim()}")
        for axis, (n, m) in enumerate(zip(first, x.shape, strict=True)):
            if n != m and axis != d:
                raise RuntimeError(f"Sizes of tensors must match except in dimension {d}. Expected size {n} but got size {m} for tensor number {k} "
                                   "in the list.")
    return kept, d


def _join(parts: list[Tensor], d: int, shape: Size) -> Tensor:
    """The parts, of one dtype: one launch for each 16 where all are contiguous, else one for each."""
    dev = parts[0]._dev
    out = dispatch.empty(shape, parts[0].dtype, dev)
    if not all(x.is_contiguous() for x in parts):
        start = 0
        for x in parts:
            dispatch.buffer(x)  # somebody may still want it by itself
            assign(alias(out, x.shape, out._strides, start * out._strides[d]), x)
            start += x.shape[d]
        return out
    dispatch.numel_32("cat", out)
    outer, inner = prod(shape[:d]), prod(shape[d + 1:])
    streamed = streams(dev, out.storage.nbytes, out.storage.nbytes)
    first, width = 0, shape[d] * inner
    for batch in (parts[k:k + CAT_INPUTS[-1]] for k in range(0, len(parts), CAT_INPUTS[-1])):
        count = next(n for n in CAT_INPUTS if n >= len(batch))
        arguments: list[Any] = []
        row = 0
        for x in batch:
            arguments += (dispatch.buffer(x), x.offset, x.shape[d] * inner)
            row += x.shape[d] * inner
        arguments += (arguments[0], 0, 0) * (count - len(batch))
        kernel = dispatch.kernel(dev, "movement/cat", raw=raw(out), inputs=count, streamed=streamed)
        kernel(*dispatch.groups(dev, outer * row), dispatch.buffer(out), outer, width, first, row, *arguments)
        first += row
    return out


@composite("cat", aliases=("concat", "concatenate"), ref=lambda xs, dim=0: np.concatenate(xs, dim),
           samples=lambda make: [(([make(2, 3), make(4, 3)],), {}), (([make(2, 3), make(2, 1).expand(2, 2), make(3, 2).t()], 1), {}),
                                 (([make(2, 0), make(2, 3)], -1), {}), (([make(5)],), {})])
def cat(tensors: Sequence[Tensor], dim: int = 0, *, out: Tensor | None = None) -> Tensor:
    """The tensors one after another along ``dim``: equal shapes elsewhere, types promoted. RuntimeError where shapes don't fit."""
    given, d = _joinable(list(tensors), dim)
    common = result_type(*given) if any(x.dtype is not given[0].dtype for x in given) else given[0].dtype
    parts = [x if x.dtype is common else x.to(common) for x in given]
    sizes = [x.shape[d] for x in parts]
    shape = Size((*parts[0].shape[:d], sum(sizes), *parts[0].shape[d + 1:]))
    if shape.numel() == 0:
        result = dispatch.empty(shape, common, parts[0]._dev)
    else:
        result = _join([x for x in parts if x.shape[d]], d, shape)
    _record_cat(result, parts, sizes, d)
    return result if out is None else write_out(result, out)


def _record_cat(result: Tensor, parts: list[Tensor], sizes: list[int], d: int) -> None:
    if not (modes.grad and any(x._rg for x in parts)):
        return
    element = [k for k, x in enumerate(parts) if x._rg]
    starts = [0, *itertools.accumulate(sizes)]

    def rule(g: Tensor) -> list[Tensor]:
        return [narrow(g, d, start, size) for start, size in zip(starts, sizes, strict=False)]

    kept = [parts[k] for k in element]
    result._fn = OperatorNode("CatBackward0", [edge(x) for x in kept], {}, [(rule, ("g",), element)], [Like(x) for x in kept])
    result._rg = True


@composite("stack", ref=lambda xs, dim=0: np.stack(xs, dim),
           samples=lambda make: [(([make(2, 3), make(2, 3)],), {}), (([make(2, 3), make(2, 3)], -1), {}), (([make(), make()],), {})])
def stack(tensors: Sequence[Tensor], dim: int = 0, *, out: Tensor | None = None) -> Tensor:
    """The tensors, all of one shape, along a new dimension. RuntimeError for unequal shapes."""
    given = list(tensors)
    if not given:
        raise RuntimeError("stack expects a non-empty TensorList")
    for k, x in enumerate(given):
        if x.shape != given[0].shape:
            raise RuntimeError(f"stack expects each tensor to be equal size, but got {list(given[0].shape)} at entry 0 and {list(x.shape)} at entry {k}")
    d = normalize_dim(dim, given[0].dim() + 1)
    return cat([unsqueeze(x, d) for x in given], d, out=out)


def _joining(name: str, rank: int, dim: Callable[[int], int], doc: str, ref: Callable, alias: tuple[str, ...] = ()) -> Callable:
    def function(tensors: Sequence[Tensor], *, out: Tensor | None = None) -> Tensor:
        given = [_at_least(x, rank) for x in tensors]
        if not given:
            raise RuntimeError(f"{name} expects a non-empty TensorList")
        return cat(given, dim(given[0].dim()), out=out)

    function.__name__, function.__doc__ = name, doc
    samples = {"hstack": ((3,), (2, 3)), "vstack": ((3,), (2, 3)), "dstack": ((3,), (2, 3, 1))}[name]
    return composite(name, aliases=alias, ref=ref, samples=lambda make: [(([make(*s), make(*s)],), {}) for s in samples])(function)


def _at_least(x: Tensor, rank: int) -> Tensor:
    shape = x.shape
    if len(shape) >= rank:
        return x
    if rank == 3:
        return reshape(x, (1, *shape, 1) if len(shape) == 1 else (*shape, 1) if shape else (1, 1, 1))
    return reshape(x, (1,) * (rank - len(shape)) + tuple(shape))


hstack = _joining("hstack", 1, lambda rank: 0 if rank == 1 else 1, "cat along the second dimension (the first of 1-d tensors).", np.hstack)
vstack = _joining("vstack", 2, lambda rank: 0, "cat along the first of at least two dimensions.", np.vstack, ("row_stack",))
dstack = _joining("dstack", 3, lambda rank: 2, "cat along the third dimension.", np.dstack)


@composite("column_stack", ref=np.column_stack, samples=lambda make: [(([make(3), make(3, 2)],), {})])
def column_stack(tensors: Sequence[Tensor], *, out: Tensor | None = None) -> Tensor:
    """hstack, with 1-d tensors as columns."""
    return cat([x if x.dim() > 1 else reshape(x, (x.numel(), 1)) for x in tensors], 1, out=out)


@composite("block_diag", samples=lambda make: [((make(2, 3), make(2), make()), {})])
def block_diag(*tensors: Tensor) -> Tensor:
    """The matrices along the diagonal of a matrix of zeros."""
    blocks = [_at_least(x, 2) for x in tensors_of(tensors)]
    shape = (sum(x.shape[0] for x in blocks), sum(x.shape[1] for x in blocks))
    strides, row, column, total = contiguous_strides(shape), 0, 0, None
    for x in blocks:
        placed = embed(x, shape, (x.shape, strides, row * strides[0] + column))
        total = placed if total is None else total + placed
        row, column = row + x.shape[0], column + x.shape[1]
    return total


# repeating


@composite("repeat", namespace="tensor", method=True, ref=np.tile, samples=lambda make: [((make(2, 3), (2, 1, 2)), {}), ((make(3), (2,)), {}),
                                                                                         ((make(), (3,)), {}), ((make(2), (0,)), {})])
@variadic("repeats")
def repeat(input: Tensor, repeats: tuple[int, ...]) -> Tensor:
    """The tensor repeated that often along each dimension, new ones first. RuntimeError for fewer numbers than dimensions."""
    lead = len(repeats) - input.dim()
    if lead < 0:
        raise RuntimeError("Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor")
    if min(repeats, default=0) < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension: repeats {list(repeats)}")
    shape = (1,) * lead + tuple(input.shape)
    pairs = [n for size in shape for n in (1, size)]
    target = [n for times, size in zip(repeats, shape, strict=True) for n in (times, size)]
    spread = expand(reshape(input, pairs), target)
    return reshape(spread.clone() if spread.is_contiguous() else spread, [times * size for times, size in zip(repeats, shape, strict=True)])


@composite("tile", method=True, ref=np.tile, samples=lambda make: [((make(2, 3), (2,)), {}), ((make(2, 3), (2, 1, 1)), {})])
@variadic("dims")
def tile(input: Tensor, dims: tuple[int, ...]) -> Tensor:
    """repeat, with missing numbers of repetitions taken as 1."""
    return repeat(input, (1,) * (input.dim() - len(dims)) + dims)


# turning


def _flip(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """A copy at strides that may be negative."""
    out = dispatch.empty(x.shape, x.dtype, x._dev)
    n = out.numel()
    if n == 0:
        return out
    dispatch.numel_32("flip", x)
    offset, steps, sizes = x.offset, list(x._strides), list(x.shape)
    for d in dims:
        offset += (sizes[d] - 1) * steps[d]
        steps[d] = -steps[d]
    merged = [(1, 0)]
    for size, step in zip(sizes, steps, strict=True):
        if size == 1:
            continue
        before = merged[-1]
        if len(merged) > 1 and before[1] == size * step:
            merged[-1] = (before[0] * size, step)
        else:
            merged.append((size, step))
    merged = merged[1:] or merged
    kernel = dispatch.kernel(x._dev, "movement/flip", raw=raw(x), rank=len(merged))
    kernel(*dispatch.groups(x._dev, n), dispatch.buffer(out), dispatch.buffer(x), offset, n, *itertools.chain(*merged))
    return out


@composite("flip", method=True, ref=np.flip, samples=lambda make: [((make(2, 3, 4), (0, 2)), {}), ((make(5), (0,)), {}), ((make(3, 4).t(), (-1,)), {}),
                                                                   ((make(2, 3), ()), {})])
@variadic("dims")
def flip(input: Tensor, dims: tuple[int, ...]) -> Tensor:
    """A copy with the order of the elements reversed along each of ``dims`` (views can't have negative strides, as in PyTorch)."""
    chosen = normalize_dims(dims, input.dim()) if dims else ()
    return taped("Flip", _flip(input, chosen), (input, lambda g: flip(g, chosen)))


@composite("fliplr", method=True, ref=np.fliplr, samples=lambda make: [((make(2, 3),), {})])
def fliplr(input: Tensor) -> Tensor:
    """Reversed along the second dimension. RuntimeError below two dimensions."""
    if input.dim() < 2:
        raise RuntimeError("Input must be >= 2-d.")
    return flip(input, 1)


@composite("flipud", method=True, ref=np.flipud, samples=lambda make: [((make(2, 3),), {})])
def flipud(input: Tensor) -> Tensor:
    """Reversed along the first dimension. RuntimeError for a 0-d tensor."""
    if input.dim() < 1:
        raise RuntimeError("Input must be >= 1-d.")
    return flip(input, 0)


@composite("roll", method=True, ref=np.roll, samples=lambda make: [((make(5), 2), {}), ((make(2, 3), -1), {}), ((make(2, 3), (1, 4), (0, 1)), {})])
def roll(input: Tensor, shifts: Any, dims: Any = None) -> Tensor:
    """Elements shifted along ``dims``, around the end; without dims, shifted in row-major order."""
    moves, axes = listed(shifts), () if dims is None else listed(dims)
    if not axes:
        if len(moves) != 1:
            raise RuntimeError(f"shifts and dimensions must align. shifts: {len(moves)}, dims:{len(axes)}")
        return reshape(roll(reshape(input, -1), moves, (0,)), input.shape)
    if len(moves) != len(axes):
        raise RuntimeError(f"shifts and dimensions must align. shifts: {len(moves)}, dims:{len(axes)}")
    out = input
    for move, axis in zip(moves, axes, strict=True):
        n = out.shape[normalize_dim(axis, out.dim())] if out.shape else 1
        cut = -move % n if n else 0
        if cut:
            out = cat((narrow(out, axis, cut, n - cut), narrow(out, axis, 0, cut)), axis)
    return out.clone() if out is input else out


@composite("rot90", method=True, ref=np.rot90, samples=lambda make: [((make(2, 3),), {}), ((make(2, 3), 2), {}), ((make(2, 3, 2), -1, (1, 2)), {})])
def rot90(input: Tensor, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
    """Turned by k quarter turns in the plane of two dims."""
    a, b = normalize_dim(dims[0], input.dim()), normalize_dim(dims[1], input.dim())
    if a == b or len(dims) != 2:
        raise RuntimeError(f"expected total rotation dims == 2 different ones, but got dims = {list(dims)}")
    turns = k % 4
    if turns == 0:
        return input.clone()
    if turns == 2:
        return flip(input, (a, b))
    return flip(transpose(input, a, b), a if turns == 1 else b)


# triangles and diagonals


def _tri(name: str, upper: int) -> Callable:
    def forward(x: Tensor, diagonal: int = 0) -> Tensor:
        if x.dim() < 2:
            raise RuntimeError(f"{name}: input tensor must have at least 2 dimensions")
        out = dispatch.empty(x.shape, x.dtype, x._dev)
        if out.numel():
            dispatch.numel_32(name, out)
            given, (rows, cols) = x.contiguous(), x.shape[-2:]
            lines, k = out.numel() // cols, max(min(int(diagonal), cols), -rows)
            kernel = dispatch.kernel(x._dev, "movement/tri", raw=raw(x))
            kernel(*dispatch.groups(x._dev, out.numel()), dispatch.buffer(out), dispatch.buffer(given), given.offset, lines, rows, cols, k, upper)
        return out

    function = kernel_op(f"{name}(input, diagonal=0)", forward=forward, grad=dict(input=lambda g, diagonal: function(g, diagonal)), inplace=True,
                         ref=getattr(np, name),
                         samples=lambda make: [((make(3, 4),), {}), ((make(2, 4, 3), -1), {}), ((make(3, 3), 1), {}), ((make(2, 3), 9), {})],
                         doc=f"The {'upper' if upper else 'lower'} triangle from the given diagonal on, zeros elsewhere.")
    return function


tril, triu = _tri("tril", 0), _tri("triu", 1)


@composite("diag_embed", method=True, samples=lambda make: [((make(2, 3),), {}), ((make(3), 1), {}), ((make(2, 3), -1, 0, 2), {})])
def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The last dimension as diagonals of matrices of zeros, which lie in dims dim1 and dim2 of the result."""
    rank = input.dim() + 1
    a, b = normalize_dim(dim1, rank), normalize_dim(dim2, rank)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    n = input.shape[-1] + abs(offset)
    shape = list(input.shape[:-1])
    for d in sorted((a, b)):
        shape.insert(d, n)
    return embed(input, tuple(shape), window_of(geometry.diagonal, tuple(shape), offset, a, b))


@composite("diag", method=True, ref=np.diag, samples=lambda make: [((make(3),), {}), ((make(3), 1), {}), ((make(3, 4),), {}), ((make(3, 4), -1), {})])
def diag(input: Tensor, diagonal: int = 0, *, out: Tensor | None = None) -> Tensor:
    """A vector as a diagonal matrix; of a matrix, a copy of its diagonal. RuntimeError for other numbers of dimensions."""
    if input.dim() == 1:
        result = diag_embed(input, diagonal)
    elif input.dim() == 2:
        result = input.diagonal(diagonal).clone()
    else:
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {input.dim()}D")
    return result if out is None else write_out(result, out)


@composite("diagflat", method=True, ref=np.diagflat, samples=lambda make: [((make(2, 2), 1), {})])
def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """All elements as the diagonal of a matrix."""
    return diag_embed(reshape(input, -1), offset)


def _scattered(name: str, rule: Callable, doc: str) -> Callable:
    """select_scatter and its kin: a copy of the input in which the part that a view shows is replaced."""
    def function(input: Tensor, src: Tensor, *arguments: Any, **named: Any) -> Tensor:
        out = input.clone()
        part = rule(out, *arguments, **named)
        if part.shape != src.shape:
            raise RuntimeError(f"{name}: expected src to have a size equal to the slice of self. src size = {list(src.shape)}, slice size = {list(part.shape)}")
        part.copy_(src)
        return out

    function.__name__, function.__doc__ = name, doc
    return composite(name, method=True)(function)


def _sliced(x: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Tensor:
    d = normalize_dim(dim, x.dim())
    return x[(slice(None),) * d + (slice(start, end, step),)]


select_scatter = _scattered("select_scatter", lambda x, dim, index: x.select(dim, index), "A copy with the slice (dim, index) replaced by src.")
slice_scatter = _scattered("slice_scatter", _sliced, "A copy with the slice (dim, start, end, step) replaced by src.")
diagonal_scatter = _scattered("diagonal_scatter", lambda x, *a, **k: x.diagonal(*a, **k), "A copy with the diagonal (offset, dim1, dim2) replaced by src.")


# grids


@composite("meshgrid", ref=lambda *xs, indexing="ij": np.meshgrid(*xs, indexing=indexing),
           samples=lambda make: [((make(3), make(2)), {"indexing": "ij"}), ((make(3), make(2)), {"indexing": "xy"})])
def meshgrid(*tensors: Tensor, indexing: str | None = None) -> tuple[Tensor, ...]:
    """Coordinate grids of 1-d tensors, as views: "ij" (the default) or "xy" order of the first two."""
    given = tensors_of(tensors)
    if indexing not in (None, "ij", "xy"):
        raise RuntimeError(f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}')
    for x in given:
        if x.dim() > 1:
            raise RuntimeError(f"torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: {list(x.shape)}")
    swap = indexing == "xy" and len(given) > 1
    ordered = [given[1], given[0], *given[2:]] if swap else list(given)
    shape = tuple(x.numel() for x in ordered)
    grids = [expand(reshape(x, [n if a == k else 1 for a, n in enumerate(shape)]), shape) for k, x in enumerate(ordered)]
    if swap:
        grids[0], grids[1] = grids[1], grids[0]
    return tuple(grids)


@composite("cartesian_prod", samples=lambda make: [((make(3), make(2)), {}), ((make(3),), {})])
def cartesian_prod(*tensors: Tensor) -> Tensor:
    """Every combination of one element of each 1-d tensor, a row each."""
    given = tensors_of(tensors)
    if len(given) == 1:
        return given[0]
    return stack([reshape(g, -1) for g in meshgrid(*given, indexing="ij")], -1)


@composite("combinations", method=True, samples=lambda make: [((make(4),), {}), ((make(4), 3), {}), ((make(3), 2, True), {})])
def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """Every combination of r elements of a 1-d tensor, a row each. RuntimeError for other tensors and a negative r."""
    if input.dim() != 1 or r < 0:
        raise RuntimeError(f"combinations: Expect a 1D vector and a non-negative number, but got shape {list(input.shape)} and r={r}")
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    table = np.array(list(choose(range(input.shape[0]), r)), np.int64).reshape(-1, r)
    if table.size == 0:
        return input.new_empty((len(table), r) if r else (0,))
    return input[dispatch.upload(table, input._dev)]


@composite("repeat_interleave", method=True, ref=lambda x, repeats, dim=None, output_size=None: np.repeat(x, repeats, dim),
           samples=lambda make: [((make(2, 3), 2), {}), ((make(2, 3), 2), {"dim": 1}), ((make(0), 2), {})])
def repeat_interleave(input: Tensor, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None) -> Tensor:
    """Each element repeated ``repeats`` times along ``dim`` (of the flattened input without one). With one argument, the indices for it.

    Numbers of repetitions that are a tensor are read by the host.
    """
    if repeats is None:
        counts = input.tolist()
        return dispatch.upload(np.repeat(np.arange(len(counts)), counts), input._dev)
    x, d = (reshape(input, -1), 0) if dim is None else (input, normalize_dim(dim, input.dim()))
    if isinstance(repeats, (Tensor, np.ndarray, list, tuple)):
        counts = np.asarray(repeats.tolist() if isinstance(repeats, Tensor) else repeats, np.int64).reshape(-1)
        if counts.size not in (1, x.shape[d]):
            raise RuntimeError(f"repeats must have the same size as input along dim, but got repeats.size(0) = {counts.size} and "
                               f"input.size({d}) = {x.shape[d]}")
        if (counts < 0).any():
            raise RuntimeError("repeats can not be negative")
        picked = np.repeat(np.arange(x.shape[d], dtype=np.int64), counts if counts.size > 1 else int(counts[0]))
        return x.index_select(d, dispatch.upload(picked, x._dev))
    times = int(repeats)
    if times < 0:
        raise RuntimeError("Repeats must be non-negative")
    shape = x.shape
    spread = expand(unsqueeze(x, d + 1), (*shape[:d + 1], times, *shape[d + 1:]))
    return reshape(spread, (*shape[:d], shape[d] * times, *shape[d + 1:]))
