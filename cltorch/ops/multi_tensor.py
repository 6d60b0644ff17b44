"""One launch for many tensors: elementwise updates (optimizer steps, gradient scaling) and norms over lists of tensors.

Kernels have a fixed number of slots, one memory object per slot and array, as many as fit into 1024 bytes of kernel arguments;
longer lists take several launches. Sizes and offsets travel in a small table that is uploaded once per list of shapes.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..codegen.ctypes import ctype
from ..codegen.expression import translate
from ..core import dispatch
from ..core.tensor import Tensor
from ..dtype import NAMES, dtype
from ..runtime.device import Device
from .views import view_as_real

ARGUMENT_BYTES = 1024 - 128  # OpenCL guarantees 1024 bytes of kernel arguments; scalars and the table take less than 128
FEW = 8                      # lists of at most this many tensors use a kernel with few slots: fewer arguments to bind
KEPT_LAYOUTS = 256           # tables kept before an update forgets them all
Lists = Sequence[Sequence[Tensor]]


class Layout:
    """The table of one launch on the device: where each tensor begins on the line of all elements, and its offsets."""

    __slots__ = ("count", "table", "total")

    def __init__(self, dev: Device, sizes: Sequence[int], offsets: Sequence[Sequence[int]]) -> None:
        starts = np.concatenate([[0], np.cumsum(sizes)])
        rows = np.zeros((len(sizes) + 1, 1 + len(offsets)), np.int32)
        rows[:, 0] = starts
        for j, column in enumerate(offsets):
            rows[:-1, j + 1] = column
        self.table = dispatch.upload(rows, dev)
        self.count, self.total = len(sizes), int(starts[-1])


def _batches(sizes: Sequence[int], slots: int) -> Iterator[slice]:
    """Stretches of a list that one launch can take: at most ``slots`` tensors and 2^31 - 1 elements."""
    start = elements = 0
    for i, n in enumerate(sizes):
        if i - start == slots or elements + n >= 1 << 31:
            yield slice(start, i)
            start, elements = i, 0
        elements += n
    if start < len(sizes):
        yield slice(start, len(sizes))


class _ManyTensors:
    """What updates and norms share: slots, layouts, and the grouping of tensors by device and dtype."""

    def __init__(self, arrays: int) -> None:
        self.slots = ARGUMENT_BYTES // (8 * arrays)
        self._layouts: dict[tuple, Layout] = {}

    def _layout(self, dev: Device, sizes: list[int], lists: Lists) -> Layout:
        """The table for these tensors, from the cache where lists of the same sizes and offsets came before."""
        key = (dev, *sizes, *[t.offset for ts in lists for t in ts])
        found = self._layouts.get(key)
        if found is None:
            if len(self._layouts) >= KEPT_LAYOUTS:
                self._layouts.clear()
            dispatch.numel_32("multi-tensor update", *lists[0])
            found = self._layouts[key] = Layout(dev, sizes, [[t.offset for t in ts] for ts in lists])
        return found

    def _launches(self, lists: Lists) -> Iterator[tuple[Lists, Layout, int]]:
        """Portions of the lists for one launch each, their tables, and the slots of the kernel. Empty tensors are left out."""
        sizes = [t.storage.nbytes // t.dtype.itemsize if t.plain else t.numel() for t in lists[0]]
        if 0 in sizes:
            kept = [i for i, n in enumerate(sizes) if n]
            lists, sizes = [[ts[i] for i in kept] for ts in lists], [sizes[i] for i in kept]
        slots = min(FEW, self.slots) if len(sizes) <= FEW else self.slots
        for where in _batches(sizes, slots):
            part = [ts[where] for ts in lists]
            yield part, self._layout(part[0][0]._dev, sizes[where], part), slots


def _memory(lists: Lists, written: Sequence[bool], slots: int) -> list[Any]:
    """The kernel's memory arguments, slot by slot; free slots repeat the first tensor's, which nothing reads."""
    columns = [[(dispatch.writable if w else dispatch.buffer)(t) for t in ts] for ts, w in zip(lists, written, strict=True)]
    arguments = [memory for row in zip(*columns, strict=True) for memory in row]
    return arguments + arguments[:len(lists)] * (slots - len(lists[0]))


class Update(_ManyTensors):
    """An elementwise update declared as text and applied to lists of tensors.

    ``arrays``: names of the arrays, those written marked with ``*`` ("*p g *momentum_buffer"); ``scalars``: names of the call-time
    numbers; ``singles``: names of numbers read from one-element tensors; ``update``: one C assignment a line. A name on the left
    that is no array is a new variable. Numbers are kernel arguments: new values compile nothing.
    """

    def __init__(self, arrays: str, scalars: str, update: str, singles: str = "") -> None:
        self.arrays = tuple((name.lstrip("*"), name.startswith("*")) for name in arrays.split())
        self.written = tuple(w for _, w in self.arrays)
        self.scalars, self.singles = tuple(scalars.split()), tuple(singles.split())
        self.lines = tuple(tuple(part.strip() for part in line.split("=", 1)) for line in update.strip().splitlines())
        self._kernels: dict[tuple, Any] = {}
        super().__init__(len(self.arrays))

    def __call__(self, lists: Lists, scalars: Sequence[float], singles: Sequence[Tensor] = ()) -> None:
        """Updates in place: ``lists`` holds one list of tensors per array, all of one dtype and device, in the arrays' order."""
        if False in [t.plain or t.is_contiguous() for ts in lists for t in ts]:
            self._through_copies(lists, scalars, singles)
            return
        for part, layout, slots in self._launches(lists):
            self._launch(part, layout, slots, scalars, singles)

    def _launch(self, lists: Lists, layout: Layout, slots: int, scalars: Sequence[float], singles: Sequence[Tensor]) -> None:
        first = lists[0][0]
        dev = first._dev
        kernel = self._kernels.get((dev, first.dtype, slots)) or self._build(dev, first.dtype, slots)
        groups, local = dispatch.groups(dev, layout.total, dispatch.work_group(dev, "optim/update"))
        kernel(groups, local, *_memory(lists, self.written, slots), dispatch.buffer(layout.table), layout.count, layout.total,
               *[dispatch.buffer(s) for s in singles], *scalars)
        if dev.type == "cpu" and any(t.storage.shared for ts, w in zip(lists, self.written, strict=True) if w for t in ts):
            dev.synchronize()

    def _build(self, dev: Device, d: dtype, slots: int) -> Any:
        t = ctype(d)
        known = {name for name, _ in self.arrays}
        update = []
        for name, expression in self.lines:
            update.append((name, translate(expression, t), name not in known))
            known.add(name)
        made = dispatch.kernel(dev, "optim/update", t=d, slots=slots, arrays=self.arrays, scalars=self.scalars, singles=self.singles,
                               update=tuple(update), WG=dispatch.work_group(dev, "optim/update"))
        self._kernels[dev, d, slots] = made
        return made

    def _through_copies(self, lists: Lists, scalars: Sequence[float], singles: Sequence[Tensor]) -> None:
        """Tensors that aren't contiguous are updated in contiguous copies, which are then written back."""
        dense = [[t.contiguous() for t in ts] for ts in lists]
        self(dense, scalars, singles)
        for ts, copies, w in zip(lists, dense, self.written, strict=True):
            for t, copied in zip(ts, copies, strict=True):
                if w and copied is not t:
                    t.copy_(copied)


class Norm(_ManyTensors):
    """A number over all elements of a list of tensors: ``map`` of each element, combined by "sum" or "max"."""

    def __init__(self, map: str, combine: str) -> None:
        self.map, self.combine = map, combine
        super().__init__(1)

    def __call__(self, tensors: Sequence[Tensor], p: float) -> Tensor:
        """A 0-d tensor on the tensors' device, in their accumulator type. All have one dtype and device, and elements."""
        dev, d = tensors[0]._dev, tensors[0].dtype
        acc = NAMES[ctype(d).acc.name]
        launches = list(self._launches([[t.contiguous() for t in tensors]]))
        width = dispatch.work_group(dev, "optim/norm")
        sizes = [dispatch.groups(dev, layout.total, width) for _, layout, _ in launches]
        partials = dispatch.empty((sum(g[0] // local[0] for g, local in sizes),), acc, dev)
        first = 0
        for (part, layout, slots), (groups, local) in zip(launches, sizes, strict=True):
            kernel = dispatch.kernel(dev, "optim/norm", t=d, acc=acc, slots=slots, combine=self.combine, map=translate(self.map, ctype(acc)),
                                     WG=width)
            kernel(groups, local, *_memory(part, (False,), slots), dispatch.buffer(layout.table), layout.count, layout.total,
                   dispatch.writable(partials), first, p)
            first += groups[0] // local[0]
        return partials.sum() if self.combine == "sum" else partials.amax()


def by_kind(tensors: Sequence[Tensor]) -> dict[tuple[Device, dtype], list[int]]:
    """Positions of the tensors of each device and dtype."""
    kinds: dict[tuple[Device, dtype], list[int]] = {}
    for i, t in enumerate(tensors):
        kinds.setdefault((t._dev, t.dtype), []).append(i)
    return kinds


_SQUARES, _SIZES, _LARGEST = Norm("x * x", "sum"), Norm("abs(x)", "sum"), Norm("abs(x)", "max")
_POWERS, _NONZERO = Norm("pow(abs(x), p)", "sum"), Norm("x != 0 ? 1.0 : 0.0", "sum")
_SCALE = Update("*g", "", "g = g * factor", singles="factor")
_CLAMP = Update("*g", "limit", "g = g > limit ? limit : g < -limit ? -limit : g")


def _real(t: Tensor) -> Tensor:
    return view_as_real(t) if t.dtype.is_complex else t


def norm(tensors: Sequence[Tensor], p: float = 2.0) -> Tensor:
    """The p-norm of all elements of all tensors, as a 0-d tensor on the first one's device; nothing is read by the host.

    One launch for up to 112 tensors of a dtype. The result has the accumulator's type (float32 for halves).
    """
    p = float(p)
    tensors = [t.abs() if t.dtype.is_complex else t for t in tensors if t.numel()]
    kind = {2.0: _SQUARES, 1.0: _SIZES, float("inf"): _LARGEST, 0.0: _NONZERO}.get(p, _POWERS)
    found = [kind([tensors[i] for i in where], p).to(tensors[0].device) for where in by_kind(tensors).values()]
    joined = found[0]
    for other in found[1:]:
        joined = joined.maximum(other) if kind is _LARGEST else joined + other
    if kind is _SQUARES:
        return joined.sqrt()
    return joined ** (1.0 / p) if kind is _POWERS else joined


def scale_(tensors: Sequence[Tensor], factor: Tensor) -> None:
    """Multiplies all tensors in place by a number that lies on a device: one launch for many tensors, and the host reads nothing."""
    real = [_real(t) for t in tensors]
    for (dev, d), where in by_kind(real).items():
        number = factor.to(device=dev.spec, dtype=NAMES[ctype(d).compute.name])
        _SCALE([[real[i] for i in where]], (), (number if number.plain else number.clone(),))


def clamp_(tensors: Sequence[Tensor], limit: float) -> None:
    """Clamps all tensors to [-limit, limit] in place; NaN stays."""
    for where in by_kind(tensors).values():
        _CLAMP([[tensors[i] for i in where]], (limit,))
