"""The junction of templates and launches: signature -> text -> program -> kernel handle, memoised. Kernel operators stand on this page."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from types import MappingProxyType
from typing import Any

import numpy as np

from ..codegen import broken, defaults, is_template, render, tunables
from ..config import debug
from ..dtype import TABLE, dtype
from ..runtime import program, tuning
from ..runtime.device import Device
from ..shape import Size
from . import lazy
from .lazy import Deferred, computed_on_the_way, groups, put_off, realize, remember, settle
from .pointwise import assign
from .storage import Value, write_bytes
from .tensor import Tensor, empty, fresh, isolate

_kernels: dict[tuple, Any] = {}


def kernel(dev: Device, template: str, entry: str | None = None, **params: Any) -> Any:
    """The kernel ``entry`` (default: the template's last path part) of a template rendered with params, built once per device.

    Call it as ``kernel(global_size, local_size, *arguments)`` with memory objects (``buffer``/``writable``), ints and floats.
    Parameters must be hashable; dtypes among them reach the template as C types. Tunables that aren't passed are ``tuned``.
    """
    key = (dev, template, entry, *params.items())
    found = _kernels.get(key)
    if found is None:
        for value in params.values():
            if isinstance(value, dtype):
                dev.require(value)
        entry = entry or template.rsplit("/", 1)[-1]
        found = _kernels[key] = program.build(dev, render(template, dev.strategy, **{**tuned(dev, template), **params}), template, later=True).kernel(entry)
    return found


class Kinds(dict[Any, Any]):
    """A kernel for each type of result: a dtype, or a chain that goes on from it (codegen.fusion.Continued). Built when first asked for."""

    def __init__(self, dev: Device, family: str, *entry: str, **params: Any) -> None:
        self.build = partial(kernel, dev, family, *entry, **params)

    def __missing__(self, kind: Any) -> Any:
        found = self[kind] = self.build(out=kind)
        return found


@cache
def tuned(dev: Device, family: str) -> Mapping[str, Any]:
    """Every tunable of a kernel family on this device: what its profiles say, else the strategy's default. ValueError: see ``given``."""
    return MappingProxyType({**defaults(family, dev.strategy), **given(dev, family)})


@cache
def given(dev: Device, family: str) -> Mapping[str, Any]:
    """The tunables that profiles set, exacter ones last. Planners that choose a number by shape let it give way to these.

    ValueError for a parameter or value that the template doesn't allow, or one that this device's limits don't in a profile made for it;
    what a vendor's or an architecture's profile asks too much of a small device is left out.
    """
    values: dict[str, Any] = {}
    for profile in _profiles(dev):
        found = {name: _legal(profile, family, name, value) for name, value in profile["families"].get(family, {}).items()}
        unmet = broken(family, dev.strategy, {**defaults(family, dev.strategy), **values, **found}, limits(dev)) if found else ""
        if not unmet:
            values |= found
        elif profile["own"] or profile["level"] == "device":
            raise ValueError(f"the tuning profile {profile['path']}: {family} with {found} does not meet {unmet} on {dev.name}, where {limits(dev)}")
        else:
            debug(1, f"{profile['path']}: {family} keeps its defaults on {dev.name}, which does not meet {unmet}")
    return MappingProxyType(values)


@cache
def _profiles(dev: Device) -> tuple[dict[str, Any], ...]:
    for profile in (found := tuning.profiles(dev)):
        for family in profile["families"]:
            if not is_template(family):
                raise ValueError(f"the tuning profile {profile['path']}: there is no kernel family {family!r}; tools/tune.py --list names them")
    return found


def _legal(profile: dict[str, Any], family: str, name: str, value: Any) -> Any:
    declared = tunables(family)
    if name not in declared:
        raise ValueError(f"the tuning profile {profile['path']}: {family} has no parameter {name!r}, but {', '.join(declared) or 'none'}")
    legal = declared[name][2]
    if value not in legal:
        raise ValueError(f"the tuning profile {profile['path']}: {family}: {name} is one of {tuple(legal)}, got {value!r}")
    return legal[legal.index(value)]  # 4 where the file says 4.0


def limits(dev: Device) -> dict[str, int]:
    """What a template's CONSTRAINTS may name of a device."""
    return {"work_group": dev.max_work_group_size, "local_bytes": dev.local_mem_size}


@cache
def work_group(dev: Device, family: str) -> int:
    """The work-items of a family's groups: its tunable WG, or the next lower legal number that the device allows."""
    most = min(tuned(dev, family)["WG"], dev.max_work_group_size)
    return max(n for n in tunables(family)["WG"][2] if n <= most)


def buffer(t: Tensor) -> Any:
    """The memory object that holds t's storage, pending work launched. t starts at element ``t.offset``."""
    return realize(t.storage.value).mem


def source(t: Tensor) -> tuple[Any, list[Any]]:
    """What a kernel may read t from: the type for its template, and the arguments for the type's ``parameters``. That is t's memory, or the
    operands of a pending chain that the kernel computes on its way (codegen.fusion.Computed), once: a second kernel finds it in memory. t starts
    at element ``t.offset`` of it.
    """
    value = t.storage.value
    if value.block is None and not value.visited and t.dtype is value.dtype and 0 < t.numel() <= value.numel:
        value.visited = True
        found = computed_on_the_way(value)
        if found is not None:
            return found
    return t.dtype, [realize(value).mem]


def kept_source(t: Tensor) -> tuple[Any, list[Any]]:
    """As ``source`` for a kernel that also writes what it computes: t's memory is the last argument then. For all of a contiguous t.

    Ask for it last: what the chain reads may be freed by now, and would be the next allocation's memory."""
    value = t.storage.value
    found = computed_on_the_way(value) if value.block is None and t.dtype is value.dtype and 0 < t.numel() == value.numel else None
    if found is None:
        return t.dtype, [realize(value).mem]
    settle(value, value.device.allocator.allocate(value.numel * value.dtype.itemsize))
    return found[0], [*found[1], value.block.mem]


def deferred(shape: Size, d: dtype, dev: Device, launch: Callable[[Any, list[Any]], None], *operands: Tensor) -> Tensor:
    """A contiguous result whose launch waits for the pointwise operators on it (lazy.Deferred). ``launch(type, results)`` writes the type it is
    given, through the arguments for the type's ``results``, and reads the operands' memory, which stays as it is now."""
    if lazy.EAGER or any(t.storage.shared for t in operands):
        out = empty(shape, d, dev)
        launch(d, [out.storage.value.block.mem])
        return out
    values = tuple([t.storage.value for t in operands])
    out = fresh(Value(None, dev, d, shape.numel(), Deferred(d, launch), values), d, shape, dev)
    remember(out.storage, dev)
    put_off(out.storage.value)
    return out


def writable(t: Tensor) -> Any:
    """The memory object to write t's storage in place: pending readers of the old content keep it; the version goes up.

    For memory shared with NumPy call ``finish(t)`` after the launch.
    """
    isolate(t.storage)
    t.storage.version += 1
    return t.storage.value.block.mem


def finish(t: Tensor) -> None:
    """Waits where t's memory is shared with NumPy."""
    if t.storage.shared:
        t._dev.synchronize()


def from_host(array: np.ndarray, d: dtype, dev: Device) -> Tensor:
    """A tensor of type d with the stored bits of ``array`` (already of ``d.np``), copied to the device."""
    out = empty(array.shape, d, dev)
    if array.size:
        raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        write_bytes(out.storage.value.block, dev, raw)
    return out


def upload(values: Any, dev: Device) -> Tensor:
    """A small int64 or int32 host array as a device tensor (index tables, segment bounds)."""
    array = np.asarray(values)
    return from_host(array, _BY_NUMPY[array.dtype], dev)


def numel_32(name: str, *tensors: Tensor | Size) -> None:
    """RuntimeError where a tensor has 2^31 elements or more: kernels outside the pointwise family index with 32 bits."""
    for t in tensors:
        n = (t if isinstance(t, Size) else t.shape).numel()
        if n >= 1 << 31:
            raise RuntimeError(f"{name}: a tensor with {n} elements is too large for 32-bit indexing; split it")


_BY_NUMPY = {d.np: d for d in TABLE if d.name != "bfloat16"}
__all__ = ["Kinds", "Size", "assign", "buffer", "deferred", "empty", "finish", "from_host", "given", "groups", "kept_source", "kernel", "limits",
           "numel_32", "source", "tuned", "upload", "work_group", "writable"]
