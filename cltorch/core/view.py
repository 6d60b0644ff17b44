"""Views: aliases with a gradient, and the strided gather and scatter that carry gradients through writes into views."""
from __future__ import annotations

from typing import Any

from ..dtype import dtype
from ..shape import Size, contiguous_strides, extent
from . import pointwise
from .autograd import Like, OperatorNode, edge
from .lazy import realize
from .modes import modes
from .pointwise import assign, note_view, refresh_view
from .storage import Storage
from .tensor import Tensor, alias, empty, make


def make_alias(storage: Storage, d: dtype, shape: tuple[int, ...], strides: tuple[int, ...], offset: int) -> Tensor:
    """A tensor over an existing storage. RuntimeError where its elements would lie outside."""
    reach = (offset + extent(shape, strides)) * d.itemsize if 0 not in shape else 0
    if offset < 0 or any(s < 0 for s in strides) or reach > storage.nbytes:
        raise RuntimeError(f"setStorage: sizes {list(shape)}, strides {list(strides)}, storage offset {offset}, and itemsize {d.itemsize} requiring "
                           f"a storage size of {reach} are out of bounds for storage of size {storage.nbytes}")
    plain = offset == 0 and Size(shape).numel() * d.itemsize == storage.nbytes and contiguous_strides(tuple(shape)) == tuple(strides)
    return make(storage, d, Size(shape), tuple(strides), offset, plain and storage.value.dtype is d)


def view_of(t: Tensor, shape: tuple[int, ...], strides: tuple[int, ...], offset: int, name: str, rule: Any = None,
            names: tuple[str, ...] = (), saved: dict[str, Any] | None = None, d: dtype | None = None) -> Tensor:
    """A differentiable view: shares t's storage; ``rule(*names)`` maps the view's gradient to t's."""
    out = alias(t, shape, strides, offset, d)
    if d is None or d is t.dtype:
        base = out._base = t if t._base is None else t._base
        out._view = refresh_view
        out._generation = base._generation
        if not base._rg and modes.grad:
            note_view(base, out)
    if modes.grad and t._rg and rule is not None:
        out._fn = OperatorNode(name, [edge(t)], saved or {}, [(rule, names, None)], [Like(t)])
        out._rg = True
    return out


def _in_geometry(g: Tensor, shape: tuple[int, ...], strides: tuple[int, ...], offset: int, view_shape: tuple[int, ...],
                 view_strides: tuple[int, ...], view_offset: int) -> tuple[Tensor, int, int]:
    """g's elements laid out in fresh flat memory as the first geometry, zeros between; where that and the view start in it."""
    start = min(offset, view_offset)
    size = max(offset - start + extent(shape, strides), view_offset - start + extent(view_shape, view_strides), 1)
    covered = Size(shape).numel() == size
    flat = empty((size,), g.dtype, g._dev) if covered else pointwise.constant((size,), 0, g.dtype, g._dev)
    assign(alias(flat, shape, strides, offset - start), g)
    return flat, offset - start, view_offset - start


def _gather(g: Tensor, shape: tuple, strides: tuple, offset: int, view_shape: tuple, view_strides: tuple, view_offset: int) -> Tensor:
    flat, _, place = _in_geometry(g, shape, strides, offset, view_shape, view_strides, view_offset)
    out = empty(view_shape, g.dtype, g._dev)
    assign(out, alias(flat, view_shape, view_strides, place))
    return out


def gather_strided(g: Tensor, shape: tuple, strides: tuple, offset: int, view_shape: tuple, view_strides: tuple, view_offset: int) -> Tensor:
    """The part of ``g`` (a gradient of a tensor with the first geometry) that a view with the second geometry shows."""
    geometry = (shape, strides, offset, view_shape, view_strides, view_offset)
    out = _gather(g, *geometry)
    if modes.grad and g._rg:
        def rule(gg: Tensor) -> Tensor:
            return slice_scatter_strided(pointwise.autograd.ZEROS(shape, gg.dtype, gg._dev), gg, *geometry)
        out._fn, out._rg = OperatorNode("GatherStridedBackward0", [edge(g)], {}, [(rule, ("g",), None)], [Like(g)]), True
    return out


def slice_scatter_strided(g: Tensor, source: Tensor | None, shape: tuple, strides: tuple, offset: int, view_shape: tuple,
                          view_strides: tuple, view_offset: int) -> Tensor:
    """``g`` with the elements that the view shows replaced by ``source`` (None: by zeros)."""
    geometry = (shape, strides, offset, view_shape, view_strides, view_offset)
    flat, home, place = _in_geometry(g, *geometry)
    part = alias(flat, view_shape, view_strides, place)
    assign(part, pointwise.constant(view_shape, 0, g.dtype, g._dev) if source is None else source)
    out = empty(shape, g.dtype, g._dev)
    assign(out, alias(flat, shape, strides, home))
    if modes.grad and (g._rg or (source is not None and source._rg)):
        edges, targets, likes = [], [], []
        for t, rule in ((g, lambda gg: slice_scatter_strided(gg, None, *geometry)), (source, lambda gg: gather_strided(gg, *geometry))):
            if t is not None and t._rg:
                edges.append(edge(t))
                targets.append((rule, ("g",), None))
                likes.append(Like(t))
        out._fn, out._rg = OperatorNode("SliceScatterBackward0", edges, {}, targets, likes), True
    return out


def as_strided(t: Tensor, shape: tuple[int, ...], strides: tuple[int, ...], offset: int | None = None) -> Tensor:
    """A view with any geometry inside t's storage. RuntimeError where it would reach outside."""
    start = t.offset if offset is None else offset
    make_alias(t.storage, t.dtype, shape, strides, start)
    geometry = (t.shape, t._strides, t.offset, Size(shape), tuple(strides), start)

    def rule(g: Tensor) -> Tensor:
        return slice_scatter_strided(pointwise.autograd.ZEROS(geometry[0], g.dtype, g._dev), g, *geometry)

    return view_of(t, Size(shape), tuple(strides), start, "AsStridedBackward0", rule, ("g",))


def ready(t: Tensor) -> Tensor:
    """t with its storage realised (for code that reads memory itself)."""
    realize(t.storage.value)
    return t


for _method in (gather_strided, slice_scatter_strided):
    setattr(Tensor, _method.__name__, _method)
