"""Devices: "cpu", "cuda:0", "cuda:1" and what they can do. Nothing is opened before it is used."""
from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pyopencl as cl

from .. import config
from ..config import debug
from ..errors import DeviceLostError, NoOpenCLError, UnsupportedDtypeError
from . import faults, inline, platforms, quirks
from .allocator import Allocator, HostAllocator, physical_memory, works_in_host_memory
from .observe import Observer, chosen_observers
from .spec import ALIASES, CHOSEN, current_index, default_device, device, set_default_device, unknown
from .submission import LITTLE_BYTES, Line, Submission

__all__ = ["Device", "current_index", "default_device", "device", "devices", "get", "host", "resolve", "set_current_index", "set_default_device"]
LAUNCHERS: list[Callable[[Device], None]] = []  # the layer that records operators adds what launches them
COPIED = 1 << 24  # bytes for the device that are copied, so that they can wait in line while the caller goes on
LATE = ("allocator", "context", "queues", "shares_host", "staged", "submission")


class Device:
    """One OpenCL device and its limits, or host memory ("cpu").

    ``context``, ``queue`` and ``allocator`` are opened when first read. ``queue`` is the current stream's in-order queue; launches that wait for
    it in ``submission`` are handed over whenever it is read.
    ``inline_device``: the OpenCL device that runs launches of little work in the calling thread (inline.py), or None.
    ``shares_host``: kernels work in host memory (probed). ``staged``: a "cpu" whose kernels run on copies of host memory.
    ``quirks`` in force switched off what is ``disabled``. ``lost``: why it refuses work, or "". ``unfinished``: work was lost with it.
    ``checks``: functions that run once, when the host next waits (they raise errors that kernels reported).
    ``recorded``: weak references to storages whose content may still wait for its launch; above ``recorded_limit`` they are sifted.
    ``deferred``: weak references to the last results whose launch was put off.
    ``recorder``, where not None, receives launches, copies and fills instead of the queue (graph.py).
    """

    __slots__ = ("__weakref__", "_recorder", "allocator", "checks", "cl_device", "compute_units", "context", "deferred", "disabled", "driver_version",
                 "engine", "extensions", "global_mem_size", "has_fp64", "index", "inflight", "inline_device", "kernels", "kind", "lanes",
                 "local_mem_is_global", "local_mem_size", "lost", "max_alloc", "max_work_group_size", "name", "observers", "platform_name",
                 "programs", "queues", "quirks", "recorded", "recorded_limit", "rng", "shares_host", "spec", "staged", "strategy", "stream",
                 "submission", "type", "unfinished", "vendor", "version", "wide_groups")

    allocator: Any
    context: Any
    queues: list[Any]
    submission: Submission

    def __init__(self, spec: device, found: platforms.Found | None, engine: Device | None = None) -> None:
        self.spec, self.type, self.index, self.engine = spec, spec.type, spec.index or 0, engine
        self.cl_device: Any = found and found.device
        self.inline_device: Any = found and found.inline
        self.kernels: list = []
        self.programs: dict = {}
        self.inflight: list = []
        self.checks: list = []
        self.recorded: list = []
        self.recorded_limit = 1024
        self.deferred: list = []
        self.lanes: list = []
        self.rng: Any = {}
        self.observers = chosen_observers()
        self.lost = ""
        self.unfinished = False
        self.stream: Any = None
        self._recorder: Any = None
        if found is None:
            self._describe_memory_alone()
        else:
            self._describe(found)
        if self.type == "cpu":
            self.global_mem_size = physical_memory()
            self.allocator = HostAllocator(self)
        self._choose_strategy()

    def _describe(self, found: platforms.Found) -> None:
        facts = found.facts
        self.kind = found.kind
        self.name, self.vendor, self.version = facts.name, facts.vendor, facts.version
        self.platform_name, self.driver_version = facts.platform_name, facts.driver_version
        self.extensions = facts.extensions
        self.has_fp64 = "cl_khr_fp64" in self.extensions
        self.compute_units = facts.max_compute_units
        self.max_work_group_size = facts.max_work_group_size
        self.local_mem_size, self.max_alloc, self.global_mem_size = facts.local_mem_size, facts.max_mem_alloc_size, facts.global_mem_size
        self.local_mem_is_global = facts.local_memory_is_global
        self.quirks, self.disabled = frozenset(quirk.name for quirk in quirks.in_force(facts)), quirks.disabled(facts)

    def _describe_memory_alone(self) -> None:
        """A machine without OpenCL: tensors can be made and moved, nothing can be computed."""
        self.kind, self.name = "CPU", "host memory, no OpenCL"
        self.vendor = self.platform_name = self.version = self.driver_version = ""
        self.extensions = self.quirks = self.disabled = frozenset()
        self.has_fp64 = self.shares_host = self.local_mem_is_global = True
        self.staged = False
        self.compute_units, self.max_work_group_size, self.local_mem_size = os.cpu_count() or 1, 1, 0
        self.max_alloc = self.global_mem_size = physical_memory()

    def _choose_strategy(self) -> None:
        forced = config.get("STRATEGY")
        if forced not in ("", "wide", "grid"):
            raise ValueError(f"CLTORCH_STRATEGY={forced!r}: the strategies are wide and grid")
        self.strategy = forced or ("wide" if self.kind == "CPU" and "wide" not in self.disabled else "grid")
        self.wide_groups = 4 * self.compute_units

    def __repr__(self) -> str:
        return f"<{self.spec}: {self.name}>"

    def __getattr__(self, name: str) -> Any:
        """What is opened late. Afterwards the attributes are plain slots."""
        if name not in LATE:
            raise AttributeError(f"a device has no attribute {name!r}")
        with LOCK:
            if not self.is_open:
                self._open()
        return object.__getattribute__(self, name)

    @property
    def is_open(self) -> bool:
        try:
            object.__getattribute__(self, "submission")
        except AttributeError:
            return False
        return True

    def _open(self) -> None:
        if self.lost:
            raise DeviceLostError(self.lost)
        if self.cl_device is None:
            raise NoOpenCLError(f"a kernel has to run, but {platforms.nothing_found()}")
        if self.engine is not None:
            self.context, queue, line = self.engine.context, self.engine.queues[0], self.engine.submission.home
        else:
            self.context = self.guard("be opened", cl.Context, [d for d in (self.cl_device, self.inline_device) if d is not None])
            queue = self.guard("be opened", self.new_queue, config.get("DEBUG") >= 2)
            beside = self.inline_device and self.guard("be opened", inline.open_queue, self.context, self.inline_device)
            line = Line(queue, beside) if beside is not None else None
            debug(1, f"{self.spec} is {self.name} ({self.kind}, {self.platform_name}, {self.version}), strategy {self.strategy}")
        self.queues = [queue]
        self.shares_host = self.type == "cpu" and self.kind == "CPU" and works_in_host_memory(self.context, queue)
        self.staged = self.type == "cpu" and not self.shares_host
        if self.type != "cpu":
            self.allocator = Allocator(self)
        self.submission = Submission(queue, line)  # last: another thread that finds it finds everything

    @property
    def queue(self) -> Any:
        self.submission.drain()
        return self.submission.queue

    @queue.setter
    def queue(self, queue: Any) -> None:
        self.submission.drain()
        self.submission.turn_to(queue)

    def new_queue(self, profiling: bool = False) -> Any:
        """An in-order queue in this device's context; profiling slows some drivers down and is off by default."""
        properties: Any = cl.command_queue_properties.PROFILING_ENABLE if profiling else 0
        return cl.CommandQueue(self.context, self.cl_device, properties)

    @property
    def recorder(self) -> Any:
        return self._recorder

    @recorder.setter
    def recorder(self, recorder: Any) -> None:
        self.hand_over()
        self._recorder = recorder
        self._rechoose()

    def watch(self, observer: Observer) -> None:
        """Call the observer before and after each launch."""
        self.hand_over()
        self.observers += (observer,)
        self._rechoose()

    def unwatch(self, observer: Observer) -> None:
        self.hand_over()
        self.observers = tuple(o for o in self.observers if o is not observer)
        self._rechoose()

    def _rechoose(self) -> None:
        for kernel in self.kernels:
            kernel.choose()

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
        """The bytes of a "cpu" block, to read or to write, after the commands that may use them have ended."""
        if block.touched:
            self.synchronize()
        return block.host

    def synchronize(self) -> None:
        """Wait until everything enqueued here has ended. Raises LaunchError where the device failed, RuntimeError during capture."""
        if self._recorder is not None:
            raise RuntimeError(f"{self.spec} can't be waited for while a graph is captured: read results after the capture")
        self.finish()
        self._check()

    def launch_recorded(self) -> None:
        """Launch every recorded operator whose result somebody still holds."""
        for launch in LAUNCHERS:
            launch(self)
        self.hand_over()

    def hand_over(self) -> None:
        """Give the driver the launches that wait for others."""
        if self.is_open:
            self.submission.drain()

    def _check(self) -> None:
        while self.checks:
            self.checks.pop()()

    def finish(self) -> None:
        """Wait, whoever asks; a device that was never opened has nothing to wait for. Raises LaunchError, DeviceLostError."""
        if self.unfinished:
            raise DeviceLostError(self.lost)
        self.hand_over()
        if self.is_open:
            home = self.submission.home
            last = home and home.last
            for queue in list(self.queues):
                self.guard("finish its work", queue.finish)
            if home is not None:
                home.has_ended(last)
            self.inflight.clear()

    def guard(self, doing: str, command: Callable, *args: Any, **keywords: Any) -> Any:
        """``command(...)``, its OpenCL errors made readable. A lost device isn't asked again: its driver may never answer."""
        if self.lost:
            raise DeviceLostError(self.lost)
        try:
            return command(*args, **keywords)
        except cl.Error as error:
            raise self.failure(doing, error) from error

    def failure(self, doing: str, error: cl.Error, more: str = "") -> RuntimeError:
        """What to raise for an OpenCL error while this device should ``doing``. Where it means that the device is lost, it is from now on."""
        kind, text = faults.judge(f"{self.spec} ({self.name})", doing, error, more)
        if kind is DeviceLostError:
            for dev in {self, *everyone()}:
                if dev.cl_device == self.cl_device:
                    dev.abandon(text)
                    dev.unfinished = True
        return kind(text)

    def abandon(self, reason: str) -> None:
        """Refuse all further work. The driver's objects are kept, never released: a release may hang."""
        self.lost = reason
        if self.is_open:
            _retired.append((self.submission, self.queues, self.context, list(self.inflight)))
            del self.submission, self.queues, self.context

    def read(self, buffer: Any, nbytes: int, byte_offset: int = 0) -> np.ndarray:
        """Bytes of device memory as a new NumPy array. Waits."""
        out = np.empty(nbytes, np.uint8)
        self.read_into(out, buffer, byte_offset)
        return out

    def read_into(self, array: np.ndarray, buffer: Any, byte_offset: int = 0) -> None:
        """Fill a C-contiguous array from device memory. Waits."""
        if not array.nbytes:
            return
        if self.staged:
            array.reshape(-1).view(np.uint8)[:] = self._bytes(buffer, byte_offset, array.nbytes)
        else:
            self._await(self._command("read", array.nbytes, cl.enqueue_copy, array, buffer, src_offset=byte_offset, is_blocking=False))
        self._check()

    def write(self, buffer: Any, array: np.ndarray, byte_offset: int = 0, blocking: bool = True) -> None:
        """Copy an array into device memory. Without ``blocking`` the array must not change until ``synchronize``."""
        array = np.ascontiguousarray(array)
        if not array.nbytes:
            return
        if self.staged:
            self._bytes(buffer, byte_offset, array.nbytes)[:] = array.reshape(-1).view(np.uint8)
            return
        event = self._command("write", array.nbytes, cl.enqueue_copy, buffer, array, dst_offset=byte_offset, is_blocking=False)
        if blocking:
            self._await(event)
        elif event is not None:
            self.inflight.append(event)  # keeps the array alive

    def copy(self, dst: Any, src: Any, nbytes: int, dst_off: int = 0, src_off: int = 0) -> None:
        """Copy within the device. Returns at once."""
        if nbytes and self.staged:
            self._bytes(dst, dst_off, nbytes)[:] = self._bytes(src, src_off, nbytes)
        elif nbytes:
            self._command("copy", nbytes, cl.enqueue_copy, dst, src, byte_count=nbytes, src_offset=src_off, dst_offset=dst_off)

    def fill(self, buffer: Any, pattern: Any, nbytes: int, byte_offset: int = 0) -> None:
        """Repeat a NumPy scalar over device memory; the offset is a multiple of its size. Returns at once."""
        if nbytes and self.staged:
            self._bytes(buffer, byte_offset, nbytes).view(pattern.dtype)[:] = pattern
        elif nbytes:
            self._command("fill", nbytes, cl.enqueue_fill_buffer, buffer, pattern, byte_offset, nbytes)

    def push(self, mem: Any) -> None:
        """Staged "cpu": bring the device's copy of a block up to date."""
        cl.enqueue_copy(self.queue, mem, self.allocator.hosts[mem.int_ptr])

    def pull(self, mem: Any) -> None:
        """Staged "cpu": bring a kernel's result home."""
        cl.enqueue_copy(self.queue, self.allocator.hosts[mem.int_ptr], mem)

    def _bytes(self, mem: Any, offset: int, nbytes: int) -> np.ndarray:
        return self.allocator.hosts[mem.int_ptr][offset:offset + nbytes]

    def _command(self, what: str, nbytes: int, command: Any, *args: Any, **keywords: Any) -> Any:
        if self._recorder is not None:
            if what == "read":
                raise RuntimeError(f"results can't be read while a graph is captured on {self.spec}: do it before or after")
            if what == "write":  # now too: tables that operators keep are used outside of the graph
                args = args[0], args[1].copy()
                self._await(self.guard("write memory", self.submission.command, nbytes, command, *args, **keywords))
            self._recorder.command(nbytes, command, args, keywords)
            return None
        if what != "read" and nbytes <= COPIED and self.submission.waiting and not self.submission.advance():
            if what == "write":
                args = args[0], args[1].copy()
            self.submission.follow(partial(self.guard, f"{what} memory", command), args, keywords)
            return None
        if what == "read" and nbytes <= LITTLE_BYTES:
            self.guard("finish its work", self.submission.settle)  # then the copy needs none of the driver's threads
        return self.guard(f"{what} memory", self.submission.command, nbytes, command, *args, **keywords)

    def _await(self, event: Any) -> None:
        if event is not None:
            self.guard("move memory", event.wait)


class _Machine:
    """What was found on this machine, once."""

    listed: list[Device] | None = None
    host: Device | None = None


LOCK = threading.RLock()
_retired: list = []  # the handles of lost devices, and in a forked child the parent's, are never released


def devices() -> list[Device]:
    """Every OpenCL device, best first: "cuda:0", "cuda:1", ... Found once, selected by CLTORCH_DEVICES."""
    if _Machine.listed is None:
        with LOCK:
            if _Machine.listed is None:
                _Machine.listed = [Device(device("cuda", i), entry) for i, entry in enumerate(platforms.chosen())]
    return _Machine.listed


def host() -> Device:
    """The "cpu" device. It computes on the OpenCL CPU device; without one, on another device with copies; without any, not at all."""
    if _Machine.host is None:
        with LOCK:
            if _Machine.host is None:
                _Machine.host = _make_host(devices())
    return _Machine.host


def _make_host(listed: list[Device]) -> Device:
    entries = sorted(platforms.usable(), key=lambda entry: entry.kind != "CPU")
    if not entries:
        return Device(device("cpu"), None)
    entry = entries[0]
    if entry.kind != "CPU":
        warnings.warn(f"this machine has no OpenCL for its CPU: operators on 'cpu' tensors run on {entry.facts.name}, "
                      'copied there and back each time. pip install "cltorch[pocl]" is quicker', stacklevel=4)
    unlisted = Device(device("cuda", len(listed)), entry)
    engine = next((d for d in listed if d.cl_device == entry.device), unlisted)
    return Device(device("cpu"), entry, engine)


def get(type: str, index: int | None = None) -> Device:
    """The Device of a name. Raises NoOpenCLError where there is none, RuntimeError for an index that is too large."""
    kind = ALIASES.get(type)
    if kind == "cpu":
        return host()
    if kind is None:
        raise unknown(type)
    listed = devices()
    if index is None:
        index = current_index()
    if 0 <= index < len(listed):
        return listed[index]
    if not listed:
        raise NoOpenCLError(f"cuda:{index} was asked for, but {platforms.nothing_found()}")
    names = ", ".join(f"cuda:{d.index} ({d.name})" for d in listed)
    raise RuntimeError(f"invalid device ordinal: cuda:{index} was asked for, but there {'is' if len(listed) == 1 else 'are'} only {names}")


def resolve(spec: Any = None) -> Device:
    """The "cuda" Device that an optional index, text or device means; None is the current one. ValueError for "cpu"."""
    if spec is None:
        return get("cuda")
    named = device(spec)
    if named.type != "cuda":
        raise ValueError(f"Expected a cuda device, but got: {named}")
    return get("cuda", named.index)


def set_current_index(index: int) -> None:
    """What "cuda" without a number means in this thread from now on."""
    CHOSEN.current = get("cuda", index).index


def everyone() -> list[Device]:
    known = list(_Machine.listed or [])
    if _Machine.host is not None:
        known += [d for d in (_Machine.host.engine, _Machine.host) if d is not None and d not in known]
    return known


def _before_fork() -> None:
    """What was computed so far is complete in host memory, so that a child can read "cpu" tensors."""
    LOCK.acquire()
    for dev in everyone():
        if not dev.lost:
            try:
                dev.finish()
            except RuntimeError as error:
                debug(1, f"{dev.spec} failed before a fork: {error}")


def _after_fork_in_child() -> None:
    """OpenCL contexts don't survive a fork: the child's devices refuse to work and say why."""
    for dev in everyone():
        dev.abandon(f"{dev.spec} can't compute in a forked process: OpenCL does not survive a fork. Start the process with the "
                    "'spawn' or 'forkserver' method of multiprocessing, or use only cpu tensors and NumPy in it")
    LOCK.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=LOCK.release, after_in_child=_after_fork_in_child)
