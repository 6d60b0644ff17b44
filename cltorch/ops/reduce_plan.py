"""Reductions over any dims of any strided tensor: what is computed (Spec), how it lies in memory (Geometry), and the launches."""
from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from ..core import dispatch
from ..core.tensor import Tensor
from ..dtype import dtype, int32
from ..shape import Size, contiguous_strides

MOST_KEPT = MOST_REDUCED = 3  # ranks that a kernel addresses; tensors that need more are copied first
SLICE = 16384  # elements that are worth a work-item of their own
LARGE = 32768  # elements that are worth all the device's threads
CACHED = 1 << 18  # elements in the caches, where strips of columns cost no more than whole rows do, and need no second launch
STRIP = 32  # columns that are worth a work-item of their own
SHORT = 4096  # elements of rows that are summed four at a time, in 16 lanes each: longer ones would lose digits


class Spec:
    """What a reduction computes, in the words of kernels/reduce/accumulator.mako. One object per reduction and dtypes: compared by identity."""

    def __init__(self, dtype: dtype, acc: dtype, outputs: tuple[tuple[dtype, str], ...], *, kind: str = "value", map: str = "x",
                 mapped: dtype | None = None, combine: str = "", identity: Any = 0, scalars: tuple[str, ...] = ()) -> None:
        self.outputs, self.acc, self.kind = tuple(d for d, _ in outputs), acc, kind
        self.params = dict(dtype=dtype, acc=acc, outputs=outputs, kind=kind, map=map, mapped=mapped or dtype, combine=combine,
                           identity=identity, scalars=scalars)
        self.kernels: dict[tuple, Any] = {}

    def kernel(self, dev: Any, template: str, **variant: Any) -> Any:
        key = (dev, template, *variant.values())
        found = self.kernels.get(key)
        if found is None:
            found = self.kernels[key] = dispatch.kernel(dev, f"reduce/{template}", **{**self.params, **variant})
        return found


class Geometry(NamedTuple):
    """One reduction's launch, but for its buffers and scalars. ``merge`` is None where one stage is enough."""

    template: str
    variant: tuple[tuple[str, Any], ...]
    groups: tuple[int, ...]
    local: tuple[int, ...]
    numbers: tuple[int, ...]
    slots: int
    merge: tuple | None


class _Device(NamedTuple):
    """The device properties and tuned numbers that a plan depends on: ``tile`` accumulators of a work-item in columns.mako (wide), and the
    work-items of each template's groups."""

    wide: bool
    groups: int
    compute_units: int
    tile: int
    rows: int
    columns: int
    merge: int


def _power_of_two(n: int) -> int:
    """The lowest power of two that is not below n."""
    return 1 << max(n - 1, 0).bit_length()


def _gather(dims: Sequence[tuple[int, ...]], reorder: bool) -> list[tuple[int, ...]]:
    """Dims (size, strides...) with size-1 dims dropped, sorted from far to near (stride 0 first), neighbours merged."""
    real = [d for d in dims if d[0] != 1]
    if reorder:
        real.sort(key=lambda d: (d[1] != 0, -d[1]))
    out: list[tuple[int, ...]] = []
    for d in real:
        if out and all(far == d[0] * near for far, near in zip(out[-1][1:], d[1:], strict=True)):
            out[-1] = (out[-1][0] * d[0], *d[1:])
        else:
            out.append(d)
    return out


def _filled(dims: list[tuple[int, ...]], rank: int, width: int) -> tuple[int, ...]:
    """The dims as flat kernel arguments, filled up in front with size-1 dims."""
    filled = [(1,) + (0,) * (width - 1)] * (rank - len(dims)) + dims
    return tuple(n for d in filled for n in d)


def _addressed(unit: bool, kept: list, reduced: list) -> tuple[tuple[tuple[str, Any], ...], tuple[int, ...]]:
    """The kernel variant (one for a single dim each, one for any) and its arguments."""
    flat = len(kept) <= 1 and len(reduced) <= 1
    ranks = (1, 1) if flat else (MOST_KEPT, MOST_REDUCED)
    return (("unit", unit), ("kept", ranks[0]), ("reduced", ranks[1])), _filled(kept, ranks[0], 3) + _filled(reduced, ranks[1], 2)


def _wide_groups(device: _Device, work: int) -> int:
    return device.groups if work >= LARGE else 2 if work >= 8192 else 1


def _splits(device: _Device, tasks: int, slices: int, enough: int) -> int:
    """Parts to cut each task into so that there are ``enough`` of them, at most ``slices``."""
    return 1 if tasks >= enough else max(1, min(-(-enough // tasks), slices))


def _rows(device: _Device, kept: list, reduced: list, outputs: int, count: int) -> Geometry:
    reduced = reduced or [(1, 1)]
    variant, dims = _addressed(reduced[-1][1] == 1, kept, reduced)
    work, threads, local = outputs * count, 1, (1,)
    if device.wide:
        groups = _wide_groups(device, work)
        splits = _splits(device, outputs, count // SLICE, 2 * groups if groups > 2 else 1)
        global_size = min(groups, outputs * splits)
        short = splits == 1 and work >= LARGE and outputs >= 4 * global_size and 64 <= count <= SHORT and count % 16 == 0
        variant += (("quartets", short and variant[:1] == (("unit", True),) and len(reduced) == 1 and len(kept) <= 1),)
    else:
        width = device.rows
        threads = min(width, _power_of_two(-(-count // 4)))
        splits = _splits(device, outputs, count // (16 * width), device.compute_units * 16)
        global_size = min(-(-outputs * splits * threads // width), device.compute_units * 64) * width
        local = (width,)
        variant += (("WG", width), ("quartets", False))
    numbers = (outputs, splits, count, threads, *dims)
    return Geometry("rows", variant, (global_size,), local, numbers, outputs * splits,
                    _merge(device, outputs, splits, count, 1, kept) if splits > 1 else None)


def _columns(device: _Device, kept: list, reduced: list, outputs: int, count: int) -> Geometry:
    columns, cs, co = kept[-1]
    variant, dims = _addressed(cs == 1, kept[:-1], reduced)
    outer, merged, across, local = outputs // columns, 1, device.tile, (1,)
    if device.wide:
        if len(reduced) == 1 and cs == 1 and reduced[0][1] == columns:
            merged = max(1, min(device.tile // columns, count // 16))
        tiles = -(-columns // device.tile)
        groups = _wide_groups(device, outputs * count)
        splits = _splits(device, outer * tiles, count * min(columns, device.tile) // SLICE, 2 * groups if groups > 2 else 1)
        if splits > 1 and cs == 1 and outputs * count <= CACHED and outer * (columns // STRIP) >= 2 * device.compute_units:
            splits = merged = 1
            across = min(device.tile, max(STRIP, -(-columns * outer // groups // STRIP) * STRIP))
            tiles = -(-columns // across)
        global_size = min(groups, outer * tiles * splits)
    else:
        width = device.columns
        deep = min(_power_of_two(-(-count // 4)), max(1, width // min(32, _power_of_two(columns))))
        across = width // deep
        tiles = -(-columns // across)
        splits = _splits(device, outer * tiles, count // (16 * deep), device.compute_units * 16)
        global_size = min(outer * tiles * splits, device.compute_units * 64) * width
        local = (width,)
        variant += (("WG", width),)
    numbers = (outer, tiles, splits, count, columns, cs, co, across, merged, *dims)
    return Geometry("columns", variant, (global_size,), local, numbers, outputs * splits,
                    _merge(device, outputs, splits, count, merged, kept) if splits > 1 else None)


def _merge(device: _Device, outputs: int, splits: int, count: int, merged: int, kept: list) -> tuple:
    """The second stage: (variant, global size, local size, numbers). Slots are in the kept dims' order from far to near."""
    variant: tuple[tuple[str, Any], ...] = (("kept", MOST_KEPT),)
    threads, local = 1, (1,)
    if device.wide:
        global_size = min(_wide_groups(device, outputs * splits * 8), outputs)
    else:
        width = device.merge
        threads = min(width, _power_of_two(splits))
        global_size = min(-(-outputs * threads // width), device.compute_units * 64) * width
        local = (width,)
        variant += (("WG", width),)
    return variant, (global_size,), local, (outputs, splits, count, merged, threads, *_filled(kept, MOST_KEPT, 3))


@lru_cache(maxsize=4096)
def geometry(shape: tuple[int, ...], strides: tuple[int, ...], dims: tuple[int, ...], ordered: bool, device: _Device) -> Geometry | None:
    """How to reduce ``dims``; None where the tensor has to be copied to row-major order first. ``ordered``: reduced elements
    are numbered in row-major order, so their dims keep their places."""
    places = iter(contiguous_strides(tuple(n for d, n in enumerate(shape) if d not in dims)))
    kept = _gather([(n, strides[d], next(places)) for d, n in enumerate(shape) if d not in dims], True)
    reduced = _gather([(shape[d], strides[d]) for d in dims], not ordered)
    if len(kept) > MOST_KEPT or len(reduced) > MOST_REDUCED:
        return None
    outputs = Size(n for n, _, _ in kept).numel()
    count = Size(n for n, _ in reduced).numel()
    if kept and reduced and 0 < kept[-1][1] and (kept[-1][1] < reduced[-1][1] or not reduced[-1][1]
                                                 or (reduced[-1][0] < 8 <= kept[-1][0])):
        return _columns(device, kept, reduced, outputs, count)
    return _rows(device, kept, reduced, outputs, count)


def _traits(dev: Any) -> _Device:
    widths = [dispatch.work_group(dev, f"reduce/{template}") for template in ("rows", "columns", "merge")]
    return _Device(dev.strategy == "wide", dev.wide_groups, dev.compute_units, dispatch.tuned(dev, "reduce/columns")["TILE"], *widths)


class Launcher:
    """Everything about one reduction of one geometry that can be known before its memory is: a call only allocates and launches."""

    __slots__ = ("again", "dev", "dtypes", "kernels", "order", "partial", "plan", "shape", "spec")

    def __init__(self, x: Tensor, spec: Spec, dims: tuple[int, ...], keepdim: bool) -> None:
        dispatch.numel_32("reduction", x)
        dev, shape, strides = x._dev, tuple(x.shape), x._strides
        self.shape = Size(1 if d in dims else n for d, n in enumerate(shape) if keepdim or d not in dims)
        self.order: tuple[int, ...] | None = None
        plan = geometry(shape, strides, dims, spec.kind == "pair", _traits(dev))
        if plan is None:  # too many dims to address: copied to row-major order with the reduced dims last
            kept = [d for d in range(len(shape)) if d not in dims]
            self.order = (*kept, *dims)
            shape = tuple(shape[d] for d in self.order)
            plan = geometry(shape, contiguous_strides(shape), tuple(range(len(kept), len(shape))), spec.kind == "pair", _traits(dev))
            assert plan is not None
        self.dtypes = spec.outputs
        self.partial = () if plan.merge is None else (spec.acc,) if spec.kind == "value" else (spec.acc, int32 if spec.kind == "pair" else spec.acc)
        self.again = spec.kind == "moments"
        self.kernels: dict[Any, tuple[Any, Any]] = {}
        self.plan, self.spec, self.dev = plan, spec, dev

    def make(self, source: Any) -> tuple[Any, Any]:
        """The kernels of both stages, for elements that lie in memory (a dtype) or that a chain computes."""
        variant, spec, second = dict(self.plan.variant), self.spec, self.plan.merge
        if "quartets" in variant:
            variant["quartets"] &= spec.kind == "value" and source is spec.params["dtype"]
        first = spec.kernel(self.dev, self.plan.template, dtype=source, partial=second is not None, **variant)
        of_elements = dict(dtype=source) if self.again else {}
        found = first, None if second is None else spec.kernel(self.dev, "merge", partial=False, **of_elements, **dict(second[0]))
        self.kernels[source] = found
        return found

    def __call__(self, x: Tensor, scalars: tuple[float, ...] = ()) -> tuple[Tensor, ...]:
        if self.order is not None:
            x = x.permute(*self.order).contiguous()  # type: ignore[attr-defined]
        dev, plan = x._dev, self.plan
        outputs = tuple([dispatch.empty(self.shape, d, dev) for d in self.dtypes])
        results = [o.storage.value.block.mem for o in outputs]
        kind, source = dispatch.source(x)
        first, second = self.kernels.get(kind) or self.make(kind)
        if second is None:
            first(plan.groups, plan.local, *source, *results, x.offset, *plan.numbers, *scalars)
            return outputs
        held = [dispatch.empty((plan.slots,), d, dev) for d in self.partial]
        partial = [dispatch.buffer(t) for t in (held[0], held[-1])]
        first(plan.groups, plan.local, *source, *partial, x.offset, *plan.numbers, *scalars)
        assert plan.merge is not None
        _, groups, local, numbers = plan.merge
        first_elements = (*source, x.offset) if self.again else ()  # where sums are of differences from them
        second(groups, local, *first_elements, *partial, *results, *numbers, *scalars)
        return outputs


MOST_LAUNCHERS = 8192
_launchers: dict[tuple, Launcher] = {}


def launcher(x: Tensor, spec: Spec, dims: tuple[int, ...], keepdim: bool) -> Launcher:
    """The launcher for x's geometry, made once."""
    key = (spec, x._dev, x.shape, x._strides, dims, keepdim)
    found = _launchers.get(key)
    if found is None:
        if len(_launchers) >= MOST_LAUNCHERS:
            _launchers.clear()
        found = _launchers[key] = Launcher(x, spec, dims, keepdim)
    return found


def run(x: Tensor, spec: Spec, dims: tuple[int, ...], keepdim: bool = False, scalars: tuple[float, ...] = ()) -> tuple[Tensor, ...]:
    """The outputs of ``spec`` over the (sorted, non-negative) ``dims`` of x, which must not be empty there: fresh tensors."""
    return launcher(x, spec, dims, keepdim)(x, scalars)


__all__ = ["Launcher", "Spec", "geometry", "launcher", "run"]
