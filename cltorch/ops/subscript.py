"""``x[...]`` and ``x[...] = v``: integers, slices, None, Ellipsis, masks and index tensors in any mix, by PyTorch's rules.

Basic indexing is one view. Index tensors (and lists, arrays, masks, which become such) then gather from that view; where their dimensions go
in the result is NumPy's rule, applied after integers were used up (as in PyTorch: x[0, :, i] keeps i's dimension in place).
"""
from __future__ import annotations

import operator
from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..core import dispatch
from ..core.data import from_numpy, tensor
from ..core.tensor import Tensor
from ..core.view import view_of
from ..dtype import bool_, int64, uint8
from ..shape import Size, broadcast_shapes, contiguous_strides
from .addressing import Columns, Indexed, accumulate, addresses, check_host, out_of_bounds, put, take, zeros_like_shape
from .compaction import mask_indices
from .tape import overwritten, taped
from .views import embed


class Basic(NamedTuple):
    """A view as sizes, (source dimension, step) of each of its dimensions (None: a new one), and where it starts in each source dimension."""

    sizes: list[int]
    sources: list[tuple[int, int] | None]
    starts: list[tuple[int, int]]

    def geometry(self, strides: Sequence[int], offset: int) -> tuple[tuple[int, ...], tuple[int, ...], int]:
        steps = tuple([0 if s is None else strides[s[0]] * s[1] for s in self.sources])
        return tuple(self.sizes), steps, offset + sum([start * strides[d] for d, start in self.starts])


class Parsed(NamedTuple):
    basic: Basic
    indices: list[tuple[int, Tensor | np.ndarray]]  # (dimension of the view, index tensor or mask), masks still whole
    whole: bool  # nothing is selected away


def _as_index(item: Any, dev: Any) -> Any:
    """Lists and arrays as host arrays, tensors as they are."""
    if isinstance(item, Tensor):
        if item.dtype.is_floating_point or item.dtype.is_complex:
            raise IndexError(f"tensors used as indices must be long, int, byte or bool tensors, got {item.dtype}")
        return item
    array = np.asarray([operator.index(i) if isinstance(i, Tensor) and not i.shape else i for i in item] if isinstance(item, (list, tuple, range)) else item)
    if array.size == 0 and array.dtype.kind == "f":
        array = array.astype(np.int64)
    if array.dtype.kind not in "iub":
        raise IndexError(f"tensors used as indices must be long, int, byte or bool tensors, got an array of {array.dtype}")
    return array if array.dtype.kind == "b" else array.astype(np.int64)


def _rank_used(item: Any) -> int:
    """How many dimensions of the source an item takes."""
    if item is None or item is Ellipsis or isinstance(item, (bool, np.bool_)):
        return 0
    if isinstance(item, (Tensor, np.ndarray)) and _is_mask(item):
        return len(item.shape)
    return 1


def _is_mask(item: Tensor | np.ndarray) -> bool:
    return item.dtype.kind == "b" if isinstance(item, np.ndarray) else item.dtype in (bool_, uint8)


def _items(key: Any, rank: int, dev: Any) -> list[Any]:
    """The subscript as a list without Ellipsis, sequences converted."""
    listed = list(key) if isinstance(key, tuple) else [key]
    items = []
    for item in listed:
        if isinstance(item, (list, tuple, range, np.ndarray)) or (isinstance(item, Tensor) and not _selects(item)):
            item = _as_index(item, dev)
            if isinstance(item, np.ndarray) and item.ndim == 0:
                item = bool(item) if item.dtype.kind == "b" else int(item)
        items.append(item)
    used = sum(map(_rank_used, items))
    if used > rank:
        raise IndexError(f"too many indices for tensor of dimension {rank}")
    dots = [k for k, item in enumerate(items) if item is Ellipsis]
    fill = [slice(None)] * (rank - used)
    if not dots:
        return items
    return items[:dots[0]] + fill + [i for i in items[dots[0] + 1:] if i is not Ellipsis]


def _selects(item: Tensor) -> bool:
    """0-d integer tensors select like integers."""
    return not item.shape and item.dtype.is_integral and item.dtype is not uint8


def parse(shape: tuple[int, ...], key: Any, dev: Any) -> Parsed:
    basic, indices, whole, d = Basic([], [], []), [], True, 0
    for item in _items(key, len(shape), dev):
        if item is None:
            basic.sizes.append(1)
            basic.sources.append(None)
        elif isinstance(item, slice):
            whole = _slice(basic, item, d, shape[d]) and whole
            d += 1
        elif isinstance(item, (bool, np.bool_)):
            indices.append((len(basic.sizes), np.zeros(int(item), np.int64)))
            basic.sizes.append(1)
            basic.sources.append(None)
        elif isinstance(item, (Tensor, np.ndarray)) and not (isinstance(item, Tensor) and _selects(item)):
            d = _record_index(basic, indices, item, d, shape)
        else:
            _select(basic, item, d, shape)
            d, whole = d + 1, False
    for rest in range(d, len(shape)):
        basic.sizes.append(shape[rest])
        basic.sources.append((rest, 1))
    return Parsed(basic, indices, whole)


def _slice(basic: Basic, item: slice, d: int, n: int) -> bool:
    step = 1 if item.step is None else operator.index(item.step)
    if step <= 0:
        raise ValueError("step must be greater than zero")
    start, stop, _ = slice(*[None if v is None else operator.index(v) for v in (item.start, item.stop)], step).indices(n)
    size = max(0, -((start - stop) // step))
    basic.sizes.append(size)
    basic.sources.append((d, step))
    basic.starts.append((d, start if size else 0))
    return size == n


def _select(basic: Basic, item: Any, d: int, shape: tuple[int, ...]) -> None:
    try:
        i = operator.index(item)
    except TypeError:
        raise IndexError("only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices "
                         f"(got {type(item).__name__})") from None
    if not shape:
        raise IndexError("invalid index of a 0-dim tensor. Use `tensor.item()` to convert a 0-dim tensor to a Python number")
    n = shape[d]
    if not -n <= i < n:
        raise IndexError(f"index {i} is out of bounds for dimension {d} with size {n}")
    basic.starts.append((d, i + n if i < 0 else i))


def _record_index(basic: Basic, indices: list, item: Tensor | np.ndarray, d: int, shape: tuple[int, ...]) -> int:
    indices.append((len(basic.sizes), item))
    used = _rank_used(item)
    if used and _is_mask(item):
        for axis in range(used):
            if item.shape[axis] != shape[d + axis]:
                raise IndexError(f"The shape of the mask {list(item.shape)} at index {axis} does not match the shape of the indexed tensor {list(shape)} "
                                 f"at index {d + axis}")
    if not used:  # a 0-d mask tensor adds a dimension that it selects from
        basic.sizes.append(1)
        basic.sources.append(None)
    for axis in range(d, d + used):
        basic.sizes.append(shape[axis])
        basic.sources.append((axis, 1))
    return d + used


# reading


def basic_view(x: Tensor, basic: Basic) -> Tensor:
    shape = x.shape
    return view_of(x, *basic.geometry(x._strides, x.offset), "SliceBackward0",
                   lambda g: embed(g, shape, basic.geometry(contiguous_strides(shape), 0)), ("g",))


def getitem(self: Tensor, key: Any) -> Tensor:
    parsed = parse(self.shape, key, self._dev)
    if not parsed.indices:
        return basic_view(self, parsed.basic)
    seen = self if parsed.whole and len(parsed.basic.sizes) == len(self.shape) else basic_view(self, parsed.basic)
    return gather(seen, *resolve(seen, parsed.indices))


def resolve(seen: Tensor, indices: list[tuple[int, Any]]) -> tuple[list[tuple[int, Tensor]], bool]:
    """Index tensors by dimension of ``seen``, masks replaced by the places of their elements; and whether no place can occur twice."""
    out: list[tuple[int, Tensor]] = []
    for d, item in indices:
        if _is_mask(item):
            mask = item if isinstance(item, Tensor) else from_numpy(np.ascontiguousarray(item))
            if mask._dev is not seen._dev:
                mask = mask.to(seen._dev)
            if not mask.shape:
                mask = mask.reshape(1)
            out += [(d + axis, places) for axis, places in enumerate(mask_indices(mask))]
        elif isinstance(item, Tensor):
            out.append((d, item if item._dev is seen._dev else item.to(seen._dev)))
        else:
            check_host(item, seen.shape[d], d)
            out.append((d, tensor(item, dtype=int64, device=seen._dev)))
    return out, all(_is_mask(item) for _, item in indices) and len(indices) == 1


class Plan(NamedTuple):
    """An indexed region of a tensor: addresses of the entries, the other dimensions, and the shape of the result."""

    address: Tensor
    columns: Columns
    shape: tuple[int, ...]


def plan(shape: tuple[int, ...], strides: tuple[int, ...], indices: list[tuple[int, Tensor]]) -> Plan:
    entries = _broadcast(indices)
    dims = [d for d, _ in indices]
    rest = [d for d in range(len(shape)) if d not in dims]
    adjacent = dims == list(range(dims[0], dims[0] + len(dims)))
    before = [d for d in rest if adjacent and d < dims[0]]
    after = [d for d in rest if d not in before]
    for d in dims:
        if shape[d] == 0 and prod(entries):
            raise out_of_bounds(0, d, 0)
    address = addresses([Indexed(t, shape[d], strides[d], d) for d, t in indices], tuple(entries))
    columns = Columns(*[tuple([values[d] for d in side]) for side in (before, after) for values in (shape, strides)])
    return Plan(address, columns, (*columns.outer_sizes, *entries, *columns.inner_sizes))


def _broadcast(indices: list[tuple[int, Tensor]]) -> Size:
    try:
        return broadcast_shapes(*[t.shape for _, t in indices])
    except RuntimeError as error:
        shapes = ", ".join(str(list(t.shape)) for _, t in indices)
        raise IndexError(f"shape mismatch: indexing tensors could not be broadcast together with shapes {shapes}") from error


def gather(x: Tensor, indices: list[tuple[int, Tensor]], distinct: bool = False) -> Tensor:
    """x at index tensors by dimension; the gradient adds up at the places (``distinct``: none occurs twice, so it is only put there)."""
    layout = plan(x.shape, x._strides, indices)
    shape, known = x.shape, layout if x.is_contiguous() else None
    return taped("Index", take(x, *layout), (x, lambda g: scatter_zeros(g, shape, indices, distinct, known)), **_guards(indices))


def _guards(indices: list[tuple[int, Tensor]]) -> dict[str, Tensor]:
    """Kept beside a rule so that backward notices an index tensor that changed."""
    return {f"index{k}": t for k, (_, t) in enumerate(indices)}


def scatter_zeros(g: Tensor, shape: tuple[int, ...], indices: list[tuple[int, Tensor]], distinct: bool, layout: Plan | None = None) -> Tensor:
    """Zeros of ``shape`` with g added at the places: gather's adjoint. ``layout``: the plan over a contiguous tensor, where it is known."""
    out = zeros_like_shape(g, shape)
    where = layout or plan(shape, contiguous_strides(tuple(shape)), indices)
    (put if distinct else accumulate)(out, where.address, where.columns, g.contiguous())
    return taped("IndexPut", out, (g, lambda gg: gather(gg, indices, distinct)))


# writing


def _stripped(value: Tensor, shape: Sequence[int]) -> Tensor:
    """Without the leading dimensions of size 1 that the target has not."""
    extra = value.dim() - len(shape)
    return value.reshape(value.shape[extra:]) if extra > 0 and all(n == 1 for n in value.shape[:extra]) else value


def setitem(self: Tensor, key: Any, value: Any) -> None:
    parsed = parse(self.shape, key, self._dev)
    if not parsed.indices:
        target = basic_view(self, parsed.basic)
        if isinstance(value, Tensor):
            target.copy_(_stripped(value, target.shape))
        else:
            target.fill_(_scalar(value, self))
        return
    if _fills_mask(parsed, value):
        d, mask = parsed.indices[0]
        target = basic_view(self, parsed.basic)
        mask = mask if isinstance(mask, Tensor) else tensor(mask, device=self._dev)
        target.masked_fill_(mask.to(bool_).reshape(*mask.shape, *[1] * (target.dim() - d - mask.dim())), value)
        return
    target = self if parsed.whole and len(parsed.basic.sizes) == len(self.shape) else basic_view(self, parsed.basic)
    write(target, *resolve(target, parsed.indices), value if isinstance(value, Tensor) else tensor(_scalar(value, self), dtype=self.dtype, device=self._dev))


def _scalar(value: Any, target: Tensor) -> Any:
    if isinstance(value, (np.ndarray, list, tuple)) and np.ndim(value):
        raise TypeError(f"can't assign a {type(value).__name__} to a {type(target).__name__}: make it a tensor first")
    return value.item() if isinstance(value, (np.generic, np.ndarray)) else value


def _fills_mask(parsed: Parsed, value: Any) -> bool:
    """One mask and one number need no list of places."""
    number = not isinstance(value, Tensor) or (not value.shape and not value._rg)
    return number and len(parsed.indices) == 1 and _is_mask(parsed.indices[0][1]) and bool(len(parsed.indices[0][1].shape))


def write(target: Tensor, indices: list[tuple[int, Tensor]], distinct: bool, value: Tensor, sums: bool = False, name: str = "index_put_") -> Tensor:
    """target at index tensors = value, in place (``sums``: added)."""
    if value.dtype is not target.dtype:
        raise RuntimeError(f"Index put requires the source and destination dtypes match, got {target.dtype} for the destination and {value.dtype} for "
                               "the source.")
    if value._dev is not target._dev:
        if value.dim():
            raise RuntimeError(f"expected the value to be on {target.device}, but it is on {value.device} ({name}: move it with .to(device))")
        value = value.to(target._dev)
    where = plan(target.shape, target._strides, indices)
    value = _fit(_stripped(value, where.shape), where.shape, sums)
    single = value.numel() == 1 and not sums

    def run(t: Tensor) -> None:
        if sums:
            accumulate(t, where.address, where.columns, value)
        else:
            put(t, where.address, where.columns, value)

    before = (lambda g: g) if sums else (lambda g: cleared(g, indices))
    of_value = (lambda g: gather(g, indices, distinct).sum().reshape(value.shape)) if single else (lambda g: gather(g, indices, distinct))
    return overwritten(name, target, run, (target, before), (value, of_value), **_guards(indices))


def _fit(value: Tensor, shape: tuple[int, ...], sums: bool) -> Tensor:
    """The value in the shape of the places, contiguous; one element stays one."""
    if value.numel() == 1 and not sums:
        return value
    try:
        return value.expand(shape).contiguous()
    except RuntimeError as error:
        raise RuntimeError(f"shape mismatch: value tensor of shape {list(value.shape)} cannot be broadcast to indexing result of shape "
                           f"{list(shape)}") from error


def cleared(g: Tensor, indices: list[tuple[int, Tensor]]) -> Tensor:
    """g with zeros at the places."""
    out = g.detach().clone()
    where = plan(out.shape, out._strides, indices)
    put(out, where.address, where.columns, dispatch.from_host(np.zeros(1, g.dtype.np), g.dtype, g._dev))
    return taped("IndexPut", out, (g, lambda gg: cleared(gg, indices)))


def given(x: Tensor, indices: Any) -> tuple[list[tuple[int, Tensor]], bool]:
    """The index tensors of index_put: a sequence with an entry (or None) for each leading dimension."""
    key = tuple([slice(None) if i is None else i for i in indices])
    parsed = parse(x.shape, key, x._dev)
    return resolve(x, parsed.indices)


Tensor.__getitem__ = getitem  # type: ignore[attr-defined]
Tensor.__setitem__ = setitem  # type: ignore[attr-defined]
