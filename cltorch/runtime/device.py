"""Devices: "cpu", "cuda:0", "cuda:1" and what they can do. Nothing is opened before it is used."""
from __future__ import annotations

import logging
import os
import threading
import warnings
from typing import Any, NoReturn

import numpy as np
import pyopencl as cl

from .. import config
from ..errors import LaunchError, NoOpenCLError, UnsupportedDtypeError
from . import platforms
from .allocator import Allocator, HostAllocator, aligned_bytes, physical_memory

log = logging.getLogger("cltorch")
ALIASES = {"cpu": "cpu", "cuda": "cuda", "opencl": "cuda"}
INDEX = threading.local()
INSTALL = 'pip install "cltorch[pocl]"'


class device:
    """``device("cuda:1")``, ``device("cuda", 1)``, ``device(1)``: a name of a device, as in PyTorch. "opencl" means "cuda".

    Equal names are the same object. Raises RuntimeError for text that names no kind of device.
    """

    __slots__ = ("index", "type")
    _known: dict[tuple[str, int | None], device] = {}
    type: str
    index: int | None

    def __new__(cls, type: str | int | device, index: int | None = None) -> device:
        if isinstance(type, device):
            return type
        if isinstance(type, int) and not isinstance(type, bool):
            key = ("cuda", _checked_index(type, type))
        else:
            key = _parse(type, index)
        made = cls._known.get(key)
        if made is None:
            made = object.__new__(cls)
            object.__setattr__(made, "type", key[0])
            object.__setattr__(made, "index", key[1])
            made = cls._known.setdefault(key, made)
        return made

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"attribute {name!r} of a device can't be changed")

    def __repr__(self) -> str:
        return f"device(type={self.type!r})" if self.index is None else f"device(type={self.type!r}, index={self.index})"

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __reduce__(self) -> tuple:
        return (device, (self.type,) if self.index is None else (self.type, self.index))

    def __enter__(self) -> device:
        defaults = _defaults()
        defaults.append(self)
        return self

    def __exit__(self, *error: object) -> None:
        _defaults().pop()


def _parse(text: Any, index: int | None) -> tuple[str, int | None]:
    if not isinstance(text, str):
        raise TypeError(f"device() takes text such as 'cuda:0', an index or a device, not {type(text).__name__}")
    kind, colon, number = text.partition(":")
    if kind not in ALIASES:
        raise RuntimeError(f"Expected one of cpu, cuda, opencl device type at start of device string: {text}")
    if colon:
        if index is not None:
            raise RuntimeError(f"device({text!r}, {index}) gives the index twice")
        if not (number.isascii() and number.isdigit()) or (len(number) > 1 and number[0] == "0"):
            raise RuntimeError(f"Invalid device string: {text!r}; write for instance 'cuda:0'")
        index = int(number)
    return ALIASES[kind], None if index is None else _checked_index(index, text)


def _checked_index(index: int, given: object) -> int:
    if index < 0:
        raise RuntimeError(f"Device index must not be negative, got {given}")
    return index


def _defaults() -> list[device]:
    try:
        return INDEX.defaults
    except AttributeError:
        INDEX.defaults = []
        return INDEX.defaults


def default_device() -> device:
    """Where new tensors go: the innermost ``with device(...)``, else ``set_default_device``'s, else "cpu"."""
    stack = _defaults()
    return stack[-1] if stack else getattr(INDEX, "default", None) or device("cpu")


def set_default_device(spec: Any) -> None:
    """Make tensors without a ``device=`` on ``spec`` in this thread; None goes back to "cpu"."""
    INDEX.default = None if spec is None else device(spec)


def current_index() -> int:
    """The index that "cuda" without a number means in this thread."""
    return getattr(INDEX, "current", 0)


def set_current_index(index: int) -> None:
    INDEX.current = get("cuda", index).index


class Device:
    """One OpenCL device and its limits, or host memory ("cpu").

    ``context``, ``queue`` and ``allocator`` are opened when first read. ``queue`` is the current stream's in-order queue;
    ``recorder``, where not None, receives launches instead of the queue (graph capture).
    """

    __slots__ = ("__weakref__", "_recorder", "allocator", "cl_device", "compute_units", "context", "driver_version", "engine",
                 "extensions", "global_mem_size", "has_fp64", "index", "inflight", "kernels", "kind", "local_mem_size", "lost",
                 "max_alloc", "max_work_group_size", "name", "observers", "platform_name", "programs", "queue", "queues", "quirks",
                 "rng", "shares_host", "spec", "strategy", "stream", "type", "vendor", "version", "wide_groups")

    def __init__(self, type: str, index: int, found: platforms.Found | None, engine: Device | None = None) -> None:
        self.type, self.index, self.engine = type, index, engine
        self.spec = device("cpu") if type == "cpu" else device(type, index)
        self.kernels: list = []
        self.programs: dict = {}
        self.inflight: list = []
        self.rng: Any = {}
        self.observers: tuple = ()
        self.lost = ""
        self._recorder = None
        self.cl_device = None if found is None else found.device
        if found is None:
            self._describe_bare_host()
        else:
            self._describe(found)
        if type == "cpu":
            self.global_mem_size = physical_memory()
            self.allocator = HostAllocator(self)
            if found is None:
                self.shares_host = True

    def _describe(self, found: platforms.Found) -> None:
        dev = found.device
        self.kind = found.kind
        self.name, self.vendor = platforms.clean(dev.name), platforms.clean(dev.vendor)
        self.platform_name, self.version = platforms.clean(found.platform.name), platforms.clean(dev.version)
        self.driver_version = platforms.clean(dev.driver_version)
        self.extensions = frozenset(dev.extensions.split())
        self.has_fp64 = "cl_khr_fp64" in self.extensions
        self.compute_units = dev.max_compute_units
        self.max_work_group_size = dev.max_work_group_size
        self.local_mem_size, self.max_alloc, self.global_mem_size = dev.local_mem_size, dev.max_mem_alloc_size, dev.global_mem_size
        self.quirks = platforms.quirks(found)
        self._choose_strategy()

    def _describe_bare_host(self) -> None:
        """Host memory on a machine without OpenCL: tensors can be made and moved, nothing can be computed."""
        self.kind, self.name, self.vendor, self.platform_name = "CPU", "host memory", "", ""
        self.version = self.driver_version = ""
        self.extensions = self.quirks = frozenset()
        self.has_fp64 = True
        self.compute_units, self.max_work_group_size = os.cpu_count() or 1, 1
        self.local_mem_size, self.max_alloc = 0, physical_memory()
        self._choose_strategy()

    def _choose_strategy(self) -> None:
        forced = config.get("STRATEGY")
        if forced not in ("", "wide", "grid"):
            raise ValueError(f"CLTORCH_STRATEGY={forced!r}: the strategies are wide and grid")
        self.strategy = forced or ("wide" if self.kind == "CPU" else "grid")
        self.wide_groups = 4 * self.compute_units

    def __repr__(self) -> str:
        return f"<{self.spec}: {self.name}>"

    def __getattr__(self, name: str) -> Any:
        """What is opened late. After this the attributes are plain slots."""
        if name in ("context", "queue", "queues", "allocator", "shares_host"):
            with LOCK:
                self._open()
            return object.__getattribute__(self, name)
        raise AttributeError(f"a device has no attribute {name!r}")

    def _open(self) -> None:
        if self.lost:
            raise RuntimeError(self.lost)
        if self.cl_device is None:
            raise NoOpenCLError(f"no OpenCL device was found, and a kernel has to run: {platforms.INSTALL_HINT}")
        if self.engine is not None:
            self.context, queue = self.engine.context, self.engine.queue
        else:
            self.context = cl.Context([self.cl_device])
            queue = cl.CommandQueue(self.context, self.cl_device)
            log.debug("opened %s: %s, %s", self.spec, self.name, self.version)
        self.queues = [queue]
        if self.type == "cpu":
            self.shares_host = _works_in_host_memory(self.context, queue, self.kind)
        else:
            self.shares_host = False
            self.allocator = Allocator(self)
        self.queue = queue

    @property
    def recorder(self) -> Any:
        return self._recorder

    @recorder.setter
    def recorder(self, recorder: Any) -> None:
        self._recorder = recorder
        self.rechoose()

    def rechoose(self) -> None:
        """Each kernel picks its fast or its observed path anew."""
        for kernel in self.kernels:
            kernel.choose()

    def observe(self, observer: Any) -> None:
        """Call ``observer(kernel, event, global_size, local_size, args)`` after each launch."""
        self.observers += (observer,)
        self.rechoose()

    def unobserve(self, observer: Any) -> None:
        self.observers = tuple(o for o in self.observers if o is not observer)
        self.rechoose()

    def require(self, dtype: Any) -> None:
        """Raise UnsupportedDtypeError where kernels can't compute in ``dtype`` here."""
        if not self.has_fp64 and dtype.name in ("float64", "complex128"):
            smaller = "float32" if dtype.name == "float64" else "complex64"
            raise UnsupportedDtypeError(f"{self.spec} ({self.name}) has no double precision (cl_khr_fp64), which {dtype.name} needs: "
                                        f"use {smaller}, or compute on another device")

    def pending(self, block: Any) -> bool:
        """Whether a command may still be using a block's memory."""
        return block.touched

    def host_view(self, block: Any) -> np.ndarray:
        """The bytes of a "cpu" block, after the commands that may use them have ended."""
        if block.touched:
            self.synchronize()
        return block.host

    def synchronize(self) -> None:
        """Wait until everything enqueued here has ended. Raises LaunchError where the device failed."""
        try:
            self.finish()
        except cl.Error as error:
            raise LaunchError(f"{self.spec} ({self.name}) failed while it was waited for: {error}. CLTORCH_SYNC=1 names the kernel") \
                from error

    def finish(self) -> None:
        """``synchronize`` that opens nothing: a device without a queue has nothing to wait for."""
        try:
            queues = object.__getattribute__(self, "queues")
        except AttributeError:
            return
        for queue in queues:
            queue.finish()
        self.inflight.clear()

    def read(self, buffer: Any, nbytes: int, byte_offset: int = 0) -> np.ndarray:
        """Bytes of device memory as a new NumPy array. Waits."""
        out = np.empty(nbytes, np.uint8)
        self.read_into(out, buffer, byte_offset)
        return out

    def read_into(self, array: np.ndarray, buffer: Any, byte_offset: int = 0) -> None:
        """Fill a C-contiguous array from device memory. Waits."""
        if array.nbytes:
            self._transfer("read", cl.enqueue_copy, array, buffer, src_offset=byte_offset)

    def write(self, buffer: Any, array: np.ndarray, byte_offset: int = 0, blocking: bool = True) -> None:
        """Copy an array into device memory. Without ``blocking`` the array must not change until ``synchronize``."""
        array = np.ascontiguousarray(array)
        if array.nbytes:
            event = self._transfer("write", cl.enqueue_copy, buffer, array, dst_offset=byte_offset, is_blocking=blocking)
            if not blocking:
                self.inflight.append(event)

    def copy(self, dst: Any, src: Any, nbytes: int, dst_off: int = 0, src_off: int = 0) -> None:
        """Copy within the device. Returns at once."""
        if nbytes:
            self._transfer("copy", cl.enqueue_copy, dst, src, byte_count=nbytes, src_offset=src_off, dst_offset=dst_off)

    def fill(self, buffer: Any, pattern: Any, nbytes: int, byte_offset: int = 0) -> None:
        """Repeat a NumPy scalar over device memory; the offset is a multiple of its size. Returns at once."""
        if nbytes:
            self._transfer("fill", cl.enqueue_fill_buffer, buffer, pattern, byte_offset, nbytes)

    def _transfer(self, what: str, command: Any, *args: Any, **keywords: Any) -> Any:
        queue = self.queue
        try:
            return command(queue, *args, **keywords)
        except cl.Error as error:
            raise LaunchError(f"{self.spec} ({self.name}) could not {what} memory: {error}") from error


def _works_in_host_memory(context: Any, queue: Any, kind: str) -> bool:
    """Probe: does a command's result appear in the host memory under a buffer, and the host's writes in the buffer?"""
    if kind != "CPU":
        return False
    host, back = aligned_bytes(4096, 4096), np.zeros(4096, np.uint8)
    host[:] = 1
    buffer = cl.Buffer(context, cl.mem_flags.READ_WRITE | cl.mem_flags.USE_HOST_PTR, hostbuf=host)
    cl.enqueue_fill_buffer(queue, buffer, np.uint8(7), 0, 2048)
    queue.finish()
    seen = bool((host[:2048] == 7).all() and (host[2048:] == 1).all())
    host[2048:] = 9
    other = cl.Buffer(context, cl.mem_flags.READ_WRITE, 4096)
    cl.enqueue_copy(queue, other, buffer, byte_count=4096)
    cl.enqueue_copy(queue, back, other)
    return seen and bool((back == host).all())


LOCK = threading.RLock()
_found: list[Device] | None = None
_host: Device | None = None
_retired: list = []  # a forked child keeps the parent's handles and never releases them


def devices() -> list[Device]:
    """Every OpenCL device, best first: "cuda:0", "cuda:1", ... Found once, selected by CLTORCH_DEVICES."""
    global _found
    if _found is None:
        with LOCK:
            if _found is None:
                entries = platforms.select(platforms.usable())
                _found = [Device("cuda", i, entry) for i, entry in enumerate(entries)]
    return _found


def host() -> Device:
    """The "cpu" device. It computes on the OpenCL CPU device; without one, on another device with copies; without any, not at all."""
    global _host
    if _host is None:
        with LOCK:
            if _host is None:
                _host = _make_host()
    return _host


def _make_host() -> Device:
    listed = devices()
    cpu_first = sorted(platforms.usable(), key=lambda entry: entry.kind != "CPU")
    if not cpu_first:
        return Device("cpu", 0, None)
    entry = cpu_first[0]
    if entry.kind != "CPU":
        warnings.warn(f"this machine has no OpenCL for its CPU: 'cpu' tensors are computed on {platforms.clean(entry.device.name)} "
                      f"and copied there and back each time. {INSTALL} is quicker", stacklevel=4)
    engine = next((d for d in listed if d.cl_device == entry.device), None)
    return Device("cpu", 0, entry, engine or Device("cuda", len(listed), entry))


def get(type: str, index: int | None = None) -> Device:
    """The Device of a name. Raises NoOpenCLError or, for an index that is too large, RuntimeError."""
    if type == "cpu":
        return host()
    kind = ALIASES.get(type)
    if kind is None:
        raise RuntimeError(f"Expected one of cpu, cuda, opencl device type at start of device string: {type}")
    if kind == "cpu":
        return host()
    listed = devices()
    if index is None:
        index = current_index()
    if 0 <= index < len(listed):
        return listed[index]
    if not listed:
        raise NoOpenCLError(f"cuda:{index} was asked for, but no OpenCL device was found: {platforms.INSTALL_HINT}, or use 'cpu'")
    names = ", ".join(f"cuda:{d.index} ({d.name})" for d in listed)
    raise RuntimeError(f"invalid device ordinal: cuda:{index} was asked for, but there {'is' if len(listed) == 1 else 'are'} only {names}")


def _everyone() -> list[Device]:
    known = list(_found or [])
    if _host is not None:
        known += [d for d in (_host.engine, _host) if d is not None and d not in known]
    return known


def _before_fork() -> None:
    """What was computed so far is complete in host memory, so that a child can read "cpu" tensors."""
    LOCK.acquire()
    for dev in _everyone():
        try:
            dev.finish()
        except cl.Error as error:
            log.warning("%s failed before a fork: %s", dev.spec, error)


def _after_fork_in_child() -> None:
    """OpenCL contexts don't survive a fork: the child's devices refuse to work and say why."""
    for dev in _everyone():
        dev.lost = (f"{dev.spec} can't compute in a forked process: OpenCL does not survive a fork. Start the process with the "
                    "'spawn' or 'forkserver' method of multiprocessing, or use only cpu tensors and NumPy in it")
        for name in ("queue", "queues", "context"):
            try:
                _retired.append(object.__getattribute__(dev, name))
            except AttributeError:
                continue
            delattr(dev, name)
    LOCK.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=LOCK.release, after_in_child=_after_fork_in_child)
