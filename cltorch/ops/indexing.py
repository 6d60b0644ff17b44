"""Reading by index: index_select, gather, take, masks, nonzero, and the writing forms that mirror them (index_*, masked_*, put_)."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core import dispatch
from ..core.data import tensor
from ..core.tensor import Tensor
from ..dtype import bool_, int32, int64, uint8
from ..shape import broadcast_shapes, contiguous_strides, normalize_dim
from . import subscript
from .addressing import Columns, Indexed, accumulate, accumulate_lines, addresses, put, read, take, zeros_like_shape
from .arguments import same_device
from .compaction import mask_indices, positions, truth, unravel
from .registry import composite, write_out
from .tape import overwritten, taped
from .ternary import choose
from .views import reshape


def check_index(name: str, x: Tensor, index: Any, kinds: tuple = (int32, int64)) -> None:
    """An index tensor of the right type, on x's device. TypeError or RuntimeError otherwise."""
    if not isinstance(index, Tensor):
        raise TypeError(f"{name}(): argument 'index' must be Tensor, not {type(index).__name__}")
    if index.dtype not in kinds:
        raise RuntimeError(f"{name}(): Expected dtype {' or '.join(k.name for k in kinds)} for index, got {index.dtype}")
    same_device(name, x, index)


# along one dimension, an index vector


def _along(x: Tensor, dim: int, index: Tensor, name: str) -> tuple[int, Tensor]:
    check_index(name, x, index)
    if index.dim() > 1:
        raise IndexError(f"{name}(): Index is supposed to be a vector, got shape {list(index.shape)}")
    return normalize_dim(dim, x.dim()), index.reshape(1) if not index.shape else index


def _line(shape: tuple[int, ...], strides: tuple[int, ...], d: int) -> tuple[int, int, Columns]:
    """Size and stride of dimension d, and the other dimensions; a 0-d tensor counts as one element."""
    if not shape:
        return 1, 1, Columns()
    return shape[d], strides[d], Columns(tuple(shape[:d]), tuple(strides[:d]), tuple(shape[d + 1:]), tuple(strides[d + 1:]))


def select_along(x: Tensor, d: int, index: Tensor, wrap: bool = False) -> Tensor:
    """x's slices at an index vector, with the gradient."""
    n, stride, columns = _line(x.shape, x._strides, d)
    address = addresses([Indexed(index, n, stride, d)], index.shape, wrap=wrap)
    shape = (*x.shape[:d], index.shape[0], *x.shape[d + 1:]) if x.shape else ()
    from_shape = x.shape
    return taped("IndexSelect", take(x, address, columns, shape), (x, lambda g: _add_along(g, from_shape, d, index)), index=index)


def _add_along(g: Tensor, shape: tuple[int, ...], d: int, index: Tensor) -> Tensor:
    """Zeros of ``shape`` with g's slices added at an index vector."""
    out = zeros_like_shape(g, shape)
    n, stride, columns = _line(shape, contiguous_strides(tuple(shape)), d)
    accumulate(out, addresses([Indexed(index, n, stride, d)], index.shape), columns, g.contiguous())
    return taped("IndexAdd", out, (g, lambda gg: select_along(gg, d, index)))


@composite("index_select", method=True, ref=lambda x, dim, index: np.take(x, index, dim),
           samples=lambda make: [((make(3, 4), 0, make(5, dtype=int64, low=0, high=2)), {}), ((make(3, 4), 1, make(2, dtype=int32, low=0, high=3)), {})])
def index_select(input: Tensor, dim: int, index: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The slices along ``dim`` at an index vector (no negative indices)."""
    d, index = _along(input, dim, index, "index_select")
    result = select_along(input, d, index)
    return result if out is None else write_out(result, out)


def _index_write(name: str, doc: str, run: Callable, before: Callable, samples: Callable | None = None) -> tuple[Callable, Callable]:
    """index_add, index_copy: the in-place method, and the function on a clone. Returns both."""
    def in_place(self: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Any = 1) -> Tensor:
        d, index = _along(self, dim, index, name)
        same_device(name, self, source)
        if source.dtype is not self.dtype:
            raise RuntimeError(f"{name}(): self and source expected to have the same dtype, but got (self) {self.dtype} and (source) {source.dtype}")
        n, stride, columns = _line(self.shape, self._strides, d)
        wanted = (*self.shape[:d], index.shape[0], *self.shape[d + 1:]) if self.shape else ()
        if source.shape != wanted and not (source.numel() == index.shape[0] and source.dim() <= 1 and self.dim() <= 1):
            raise RuntimeError(f"{name}(): source of shape {list(source.shape)} doesn't match {list(wanted)}, index's length at dimension {d} of self")
        address = addresses([Indexed(index, n, stride, d)], index.shape, wrap=False)
        given = (source if alpha == 1 else source * alpha).contiguous()
        shape = source.shape
        return overwritten(f"{name}_", self, lambda t: run(t, address, columns, given), (self, lambda g: before(g, d, index)),
                           (given, lambda g: reshape(select_along(g, d, index), shape)), index=index)

    def function(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Any = 1, out: Tensor | None = None) -> Tensor:
        result = in_place(input.clone(), dim, index, source, alpha=alpha)
        return result if out is None else write_out(result, out)

    in_place.__name__, in_place.__doc__, function.__name__, function.__doc__ = f"{name}_", f"{doc} In place.", name, doc
    composite(name, method=True, samples=samples)(function)
    composite(f"{name}_", namespace="tensor", method=True)(in_place)
    return function, in_place


def _filled_along(g: Tensor, d: int, index: Tensor, value: Any = 0) -> Tensor:
    return index_fill(g, d, index, value)


index_add, index_add_ = _index_write(
    "index_add", "Adds alpha * source's slices to the input's slices at an index vector; the same on every run.", accumulate, lambda g, d, index: g,
    samples=lambda make: [((make(3, 4), 1, make(5, dtype=int64, low=0, high=3), make(3, 5)), {}),
                          ((make(4), 0, make(2, dtype=int64, low=0, high=3), make(2)), {})])
index_copy, index_copy_ = _index_write(
    "index_copy", "Copies source's slices to the input's slices at an index vector.", put, _filled_along)


@composite("index_fill_", namespace="tensor", method=True)
def index_fill_(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """Fills the slices at an index vector with one number, in place."""
    d, index = _along(input, dim, index, "index_fill")
    if isinstance(value, Tensor) and value.shape:
        raise RuntimeError(f"index_fill_ only supports a 0-dimensional value tensor, but got tensor with {value.dim()} dimension(s).")
    given = value.to(input.dtype) if isinstance(value, Tensor) else tensor(value, dtype=input.dtype, device=input._dev)
    n, stride, columns = _line(input.shape, input._strides, d)
    address = addresses([Indexed(index, n, stride, d)], index.shape)
    return overwritten("index_fill_", input, lambda t: put(t, address, columns, given), (input, lambda g: _filled_along(g, d, index)),
                       (given, lambda g: select_along(g, d, index, wrap=True).sum()), index=index)


@composite("index_fill", method=True, samples=lambda make: [((make(3, 4), 1, make(2, dtype=int64, low=0, high=3), 1), {})])
def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """A copy with the slices at an index vector filled with one number."""
    return index_fill_(input.clone(), dim, index, value)


# several index tensors


@composite("index_put_", namespace="torch", method=True)
def index_put_(input: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Tensor:
    """``input[indices] = values`` (``+=`` with accumulate, where repeated places add up, the same on every run), in place."""
    return subscript.write(input, *subscript.given(input, indices), values, accumulate)


@composite("index_put", method=True)
def index_put(input: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Tensor:
    """A copy with ``copy[indices] = values``, or ``+=``."""
    return index_put_(input.clone(), indices, values, accumulate)


# element by element along one dimension


def _gathered(shape: tuple[int, ...], strides: tuple[int, ...], d: int, index: Tensor) -> tuple[list[Indexed], tuple[int, ...], tuple[int, ...] | None]:
    """gather's positions, as ``addresses`` takes them: x[i0, .., index[i0, .., id, ..], ..] for every position of index."""
    if not shape:
        return [Indexed(index, 1, 1, 0)], index.shape, None
    base = tuple([0 if axis == d else s for axis, s in enumerate(strides)])
    return [Indexed(index, shape[d], strides[d], d)], index.shape, base


def gather_addresses(shape: tuple[int, ...], strides: tuple[int, ...], d: int, index: Tensor) -> Tensor:
    """Addresses of gather's elements in a tensor of that shape and those strides."""
    return addresses(*_gathered(shape, strides, d, index), wrap=False)


def check_gather(name: str, x: Tensor, d: int, index: Tensor) -> None:
    check_index(name, x, index)
    if max(index.dim(), 1) != max(x.dim(), 1):
        raise RuntimeError(f"Index tensor must have the same number of dimensions as input tensor ({name}: {list(index.shape)} and {list(x.shape)})")
    for axis, n in enumerate(index.shape):
        if axis != d and n > (x.shape[axis] if x.shape else 1):
            raise RuntimeError(f"Size does not match at dimension {axis} expected index {list(index.shape)} to be no larger than self {list(x.shape)} apart "
                               f"from dimension {d} ({name})")


def pick(x: Tensor, d: int, index: Tensor) -> Tensor:
    """gather with checked arguments."""
    if index.numel() == 0:
        return x.new_empty(index.shape)
    shape = x.shape
    out = read(x, *_gathered(x.shape, x._strides, d, index), wrap=False)
    return taped("Gather", out, (x, lambda g: drop(g, shape, d, index)), index=index)


def drop(g: Tensor, shape: tuple[int, ...], d: int, index: Tensor) -> Tensor:
    """Zeros of ``shape`` with g added at gather's places: its adjoint."""
    out = zeros_like_shape(g, shape)
    accumulate_lines(out, gather_addresses(tuple(shape), contiguous_strides(tuple(shape)), d, index), index.shape, d, g.contiguous())
    return taped("ScatterAdd", out, (g, lambda gg: pick(gg, d, index)))


@composite("gather", method=True, ref=lambda x, dim, index: np.take_along_axis(x, index, dim),
           samples=lambda make: [((make(3, 4), 1, make(3, 2, dtype=int64, low=0, high=3)), {}), ((make(3, 4), 0, make(5, 4, dtype=int64, low=0, high=2)), {})])
def gather(input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False, out: Tensor | None = None) -> Tensor:
    """input's elements at index along ``dim``, the other coordinates being the position's own (no negative indices). sparse_grad gives dense ones."""
    d = normalize_dim(dim, input.dim())
    check_gather("gather", input, d, index)
    result = pick(input, d, index)
    return result if out is None else write_out(result, out)


@composite("take_along_dim", method=True, ref=lambda x, indices, dim=None: np.take_along_axis(x, indices, dim),
           samples=lambda make: [((make(3, 4), make(3, 2, dtype=int64, low=0, high=3), 1), {}), ((make(3, 4), make(1, 4, dtype=int64, low=0, high=2), 0), {})])
def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None, *, out: Tensor | None = None) -> Tensor:
    """gather that broadcasts the other dimensions; without dim, from the flattened input."""
    if dim is None:
        return gather(reshape(input, -1), 0, reshape(indices, -1), out=out)
    if input.dim() != indices.dim():
        raise RuntimeError(f"torch.take_along_dim(): input and indices should have the same number of dimensions, but got {input.dim()} dimensions for "
                           f"input, and {indices.dim()} dimensions for indices")
    d = normalize_dim(dim, input.dim())
    shape = broadcast_shapes([1 if a == d else n for a, n in enumerate(input.shape)], [1 if a == d else n for a, n in enumerate(indices.shape)])
    wide, narrow = list(shape), list(shape)
    wide[d], narrow[d] = input.shape[d], indices.shape[d]
    return gather(input.expand(wide), d, indices.expand(narrow), out=out)


@composite("take", method=True, ref=np.take, samples=lambda make: [((make(3, 4), make(2, 3, dtype=int64, low=0, high=11)), {})])
def take_flat(input: Tensor, index: Tensor) -> Tensor:
    """The elements at row-major positions (negative ones count from the end)."""
    check_index("take", input, index, (int64,))
    return subscript.gather(reshape(input, -1), [(0, index)])


@composite("put_", namespace="tensor", method=True)
def put_(input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """Writes (adds) source's elements to row-major positions, in place."""
    check_index("put_", input, index, (int64,))
    if index.numel() != source.numel():
        raise RuntimeError(f"put_(): Expected source and index to have the same number of elements, but got source.numel() = {source.numel()}, "
                           f"index.numel() = {index.numel()}")
    if input.is_contiguous():
        subscript.write(input.view(-1), [(0, reshape(index, -1))], False, reshape(source, -1), accumulate, "put_")
        return input
    flat = subscript.write(reshape(input, -1).clone(), [(0, reshape(index, -1))], False, reshape(source, -1), accumulate, "put_")
    return input.copy_(reshape(flat, input.shape))


@composite("put", method=True)
def put_copy(input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """A copy with source's elements written (added) to row-major positions."""
    return put_(input.clone(), index, source, accumulate)


# masks


def _mask(name: str, mask: Any) -> Tensor:
    if not isinstance(mask, Tensor):
        raise TypeError(f"{name}(): argument 'mask' must be Tensor, not {type(mask).__name__}")
    if mask.dtype not in (bool_, uint8):
        raise RuntimeError(f"{name}: expected BoolTensor for mask, got {mask.dtype}")
    return truth(mask) if mask.dtype is bool_ else mask.to(bool_)


def _fill_value(input: Tensor, value: Any) -> Any:
    """The value as the input's type holds it. RuntimeError for a tensor with dimensions and for a complex number that it can't hold."""
    if isinstance(value, Tensor):
        if value.shape:
            raise RuntimeError(f"masked_fill_ only supports a 0-dimensional value tensor, but got tensor with {value.dim()} dimension(s).")
        return value.to(input.dtype)
    if isinstance(value, complex) and not input.dtype.is_complex:
        raise RuntimeError(f"value cannot be converted to type {input.dtype.name} without overflow")
    if input.dtype is bool_:
        return bool(value)
    return int(value) if input.dtype.is_integral else value


def _masked_fill_samples(make: Any) -> list:
    return [((make(3, 4), make(3, 4, dtype=bool_), 1), {}), ((make(3, 4), make(4, dtype=bool_), 0), {})]


@composite("masked_fill", method=True, inplace=True, ref=lambda x, mask, value: np.where(mask, np.asarray(value, x.dtype), x), samples=_masked_fill_samples)
def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """The input where mask is false, one number where it is true; a pointwise operator."""
    return choose(_mask("masked_fill", mask), _fill_value(input, value), input)


@composite("masked_select", method=True, ref=lambda x, mask: x[np.broadcast_to(mask, x.shape)],
           samples=lambda make: [((make(3, 4), make(3, 4, dtype=bool_)), {}), ((make(3, 4), make(4, dtype=bool_)), {})])
def masked_select(input: Tensor, mask: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The elements where mask is true, in row-major order (1-d). Waits for the device to learn how many."""
    mask = _mask("masked_select", mask)
    shape = broadcast_shapes(input.shape, mask.shape)
    places = mask_indices(mask.expand(shape).reshape(shape or (1,)))
    x = input.expand(shape).reshape(shape or (1,))
    result = subscript.gather(x, list(enumerate(places)), x.is_contiguous())
    return result if out is None else write_out(result, out)


@composite("masked_scatter", method=True, inplace=True)
def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """A copy in which the places where mask is true take source's elements, in row-major order. RuntimeError where they run out; waits for the device."""
    if source.dtype is not input.dtype:
        raise RuntimeError(f"masked_scatter: expected self and source to have same dtypes but got {input.dtype} and {source.dtype}")
    shape = broadcast_shapes(input.shape, mask.shape)
    places = mask_indices(_mask("masked_scatter", mask).expand(shape).reshape(shape or (1,)))
    count = places[0].shape[0]
    if count > source.numel():
        raise RuntimeError(f"masked_scatter: expected source to have at least as many elements as mask has true ones: {source.numel()} and {count}")
    out = input.expand(shape).reshape(shape or (1,)).clone()
    subscript.write(out, list(enumerate(places)), True, reshape(source, -1)[:count], name="masked_scatter")
    return reshape(out, shape)


@composite("nonzero", method=True, differentiable=False, ref=lambda x, as_tuple=False: np.nonzero(x) if as_tuple else np.argwhere(x),
           samples=lambda make: [((make(3, 4),), {}), ((make(5),), {}), ((make(3, 4),), {"as_tuple": True})])
def nonzero(input: Tensor, *, out: Tensor | None = None, as_tuple: bool = False) -> Any:
    """Coordinates of the elements that are not zero, a row each (as_tuple: an index tensor per dimension). Waits for the device."""
    x = input.detach()
    if as_tuple:
        return mask_indices(truth(x).reshape(1) if not x.shape else truth(x))
    flat = positions(truth(x))
    result = dispatch.empty((flat.numel(), 0), int64, x._dev) if not x.shape else unravel(flat, x.shape, columns=False)
    return result if out is None else write_out(result, out)


@composite("argwhere", method=True, differentiable=False, ref=np.argwhere, samples=lambda make: [((make(3, 4),), {})])
def argwhere(input: Tensor) -> Tensor:
    """Coordinates of the elements that are not zero, a row each."""
    return nonzero(input)
