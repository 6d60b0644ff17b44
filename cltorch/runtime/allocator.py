"""The caching allocator: the memory of a dead tensor is the next tensor's, without asking the driver.

A freed block goes back to the free list of its size class. Commands run in order on a device's queue, so memory may be reused at
once, while the last command that used it is still running. Only NumPy must wait: see ``Device.host_view``.

What travels through the free lists is a *cell*: a cl.Buffer on a "cuda" device, a list ``[host bytes, cl.Buffer or None]`` on "cpu".
"""
from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyopencl as cl

from ..errors import OutOfMemoryError
from . import faults

if TYPE_CHECKING:
    from .device import Device

GRAIN = 512                  # smallest block, and the rounding step of small ones
PAGE = 4096
PAGE_ALIGNED = 1 << 16       # host blocks from this size on start at a page, smaller ones at a cache line
KNOWN_SIZES = 4096           # how many exact sizes a pool remembers before it starts again
TOUCH_AND_WAIT = 1 << 26     # allocations from this size on are waited for: drivers that allocate lazily fail here, not in a kernel


def round_size(nbytes: int) -> int:
    """The size class: multiples of 512 bytes, from 16 KiB on 16 steps to each power of two (6% waste at most)."""
    shift = max(9, (nbytes - 1).bit_length() - 5)
    return ((nbytes - 1 >> shift) + 1) << shift


def human_bytes(nbytes: int) -> str:
    """``1536`` as "1.50 KiB"."""
    value, unit = float(nbytes), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(value) < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{nbytes} B" if unit == "B" else f"{value:.2f} {unit}"


class Block:
    """Device memory of one storage: ``mem`` is the cl.Buffer. When the block dies, its memory goes back to where it came from."""

    __slots__ = ("allocator", "bucket", "mem", "nbytes", "size")
    host: Any = None
    touched = True

    def __init__(self, allocator: Allocator, bucket: Any, size: int, nbytes: int, cell: Any) -> None:
        self.allocator = allocator
        self.bucket = bucket
        self.size = size
        self.nbytes = nbytes
        self.mem = cell

    def __del__(self) -> None:
        try:
            self.allocator.allocated -= self.size
            self.bucket.append(self.mem)
        except (AttributeError, TypeError):  # a block half made, or an interpreter that is taking its modules down
            return

    def pin(self) -> None:
        """Take the memory out of recycling: it dies with its last holder."""
        allocator = self.allocator
        if self.bucket is not allocator.sink:
            allocator.allocated -= self.size
            allocator.reserved -= self.size
            allocator.segments -= 1
            self.bucket, self.size = allocator.sink, 0


class HostBlock(Block):
    """Memory of the "cpu" device: ``host`` is a NumPy array of bytes, ``mem`` a cl.Buffer over it, made when first read."""

    __slots__ = ("cell", "host")

    def __init__(self, allocator: Allocator, bucket: Any, size: int, nbytes: int, cell: Any) -> None:
        self.allocator = allocator
        self.bucket = bucket
        self.size = size
        self.nbytes = nbytes
        self.cell = cell
        self.host, mem = cell
        if mem is not None:
            self.mem = mem

    def __getattr__(self, name: str) -> Any:
        if name != "mem":
            raise AttributeError(f"a memory block has no {name!r}")
        self.mem = self.cell[1] = self.allocator.buffer_over(self.host)
        return self.mem

    @property
    def touched(self) -> bool:  # type: ignore[override]
        """Whether a command may still be using the memory. Memory that never had a cl.Buffer is certainly idle."""
        return self.cell[1] is not None

    def __del__(self) -> None:
        try:
            self.allocator.allocated -= self.size
            self.bucket.append(self.cell)
        except (AttributeError, TypeError):
            return


class Sink:
    """Stands in for the free list of pinned and wrapped memory, which nobody may recycle."""

    __slots__ = ("allocator",)

    def __init__(self, allocator: Allocator) -> None:
        self.allocator = allocator

    def append(self, cell: Any) -> None:
        self.allocator.let_go(cell)


class Pool:
    """Free lists by size class. Each stream has one; a captured graph keeps its own for as long as it lives."""

    __slots__ = ("bins", "known")

    def __init__(self) -> None:
        self.bins: dict[int, list] = {}
        self.known: dict[int, tuple[int, list]] = {}

    def lookup(self, nbytes: int) -> tuple[int, list]:
        """The size class of an exact size and its free list, remembered for next time."""
        if len(self.known) >= KNOWN_SIZES:
            self.known.clear()
        size = round_size(max(nbytes, 1))
        self.known[nbytes] = found = size, self.bins.setdefault(size, [])
        return found


class Allocator:
    """Memory of a "cuda" device. The counters are bytes of whole blocks, as PyTorch counts them."""

    block_type: type[Block] = Block

    def __init__(self, device: Device) -> None:
        self.device = device
        self.allocated = self.peak = self.reserved = self.reserved_peak = 0
        self.retries = self.failures = self.obtained = self.returned = self.segments = 0
        self.sink = Sink(self)
        self.shared_pools: list[Pool] = []
        self.pool = self.new_pool()

    def new_pool(self) -> Pool:
        """A pool that ``empty_cache`` empties (a stream's)."""
        pool = Pool()
        self.shared_pools.append(pool)
        return pool

    @contextlib.contextmanager
    def use_pool(self, pool: Pool) -> Iterator[Pool]:
        """Allocate from ``pool`` inside the block. ``Pool()`` is a private one: its memory is freed when it and its blocks die."""
        before, self.pool = self.pool, pool
        try:
            yield pool
        finally:
            self.pool = before

    def allocate(self, nbytes: int) -> Block:
        """``nbytes`` of uninitialised memory (a small dummy for 0). Raises OutOfMemoryError after freeing the cache and a retry."""
        try:
            size, bucket = self.pool.known[nbytes]
            cell = bucket.pop()
        except (KeyError, IndexError):
            size, bucket = self.pool.lookup(nbytes)
            cell = bucket.pop() if bucket else self._obtain(size, nbytes)
        allocated = self.allocated = self.allocated + size
        if allocated > self.peak:
            self.peak = allocated
        return self.block_type(self, bucket, size, nbytes, cell)

    def _obtain(self, size: int, nbytes: int) -> Any:
        """New memory from the driver; where it refuses, once more without the cache."""
        try:
            cell = self.request(size)
        except (cl.Error, MemoryError) as error:
            self._stop_if_lost(error)
            self.retries += 1
            self.empty_cache()
            try:
                cell = self.request(size)
            except (cl.Error, MemoryError) as error:
                self._stop_if_lost(error)
                self.failures += 1
                raise self.out_of_memory(nbytes, error) from None
        self.obtained += 1
        self.segments += 1
        self.reserved += size
        self.reserved_peak = max(self.reserved_peak, self.reserved)
        return cell

    def _stop_if_lost(self, error: Exception) -> None:
        """Raise DeviceLostError where it isn't memory that is missing."""
        if isinstance(error, cl.Error) and error.code in faults.GONE:
            raise self.device.failure("allocate memory", error) from error

    def request(self, size: int) -> Any:
        """Ask the driver. Many create buffers lazily: a first small write makes a failure show here."""
        device = self.device
        if self.reserved + size > device.global_mem_size:
            raise MemoryError(f"the device has {human_bytes(device.global_mem_size)}")
        mem = cl.Buffer(device.context, cl.mem_flags.READ_WRITE, size)
        device.submission.ahead(4, cl.enqueue_fill_buffer, mem, np.uint32(0), 0, 4)
        if size >= TOUCH_AND_WAIT:
            device.submission.queue.finish()
        return mem

    def out_of_memory(self, nbytes: int, error: BaseException) -> OutOfMemoryError:
        device = self.device
        limit = ""
        if nbytes > device.max_alloc:
            limit = (f" One allocation on this device may hold {human_bytes(device.max_alloc)} ({device.max_alloc} bytes):"
                     f" split the tensor or use a smaller dtype.")
        return OutOfMemoryError(
            f"{device.spec} ({device.name}) is out of memory: tried to allocate {human_bytes(nbytes)} ({nbytes} bytes).{limit}"
            f" The device has {human_bytes(device.global_mem_size)}; {human_bytes(self.allocated)} are in use by tensors, "
            f"{human_bytes(self.reserved - self.allocated)} are cached. Free tensors or use smaller batches. The driver said: {error}")

    def buffer_over(self, host: np.ndarray) -> Any:
        raise TypeError("only the memory of the cpu device lies over host memory")

    def wrap(self, array: np.ndarray) -> Block:
        raise TypeError(f"memory of {self.device.spec} can't be shared with NumPy; only cpu tensors can")

    def let_go(self, cell: Any) -> None:
        """The last reference to pinned memory is going; a cl.Buffer is kept alive by the driver while commands use it."""

    def empty_cache(self) -> None:
        """Give the free blocks back to the driver."""
        self.device.finish()
        for pool in self.shared_pools:
            for size, bucket in pool.bins.items():
                while bucket:
                    self.let_go_idle(bucket.pop())
                    self.reserved -= size
                    self.returned += 1
                    self.segments -= 1

    def let_go_idle(self, cell: Any) -> None:
        """A free block leaves the cache while no command runs."""

    def reset_peak(self) -> None:
        self.peak, self.reserved_peak = self.allocated, self.reserved

    def reset_counts(self) -> None:
        """Start the counts again; what is held now stays counted."""
        self.retries = self.failures = self.obtained = self.returned = 0

    def statistics(self) -> dict[str, int]:
        """The counters under PyTorch's names (``memory_stats``)."""
        free = self.reserved - self.allocated
        return {
            "allocated_bytes.all.current": self.allocated, "allocated_bytes.all.peak": self.peak,
            "active_bytes.all.current": self.allocated, "active_bytes.all.peak": self.peak,
            "reserved_bytes.all.current": self.reserved, "reserved_bytes.all.peak": self.reserved_peak,
            "inactive_split_bytes.all.current": 0, "cached_bytes.all.current": free,
            "segment.all.current": self.segments, "segment.all.allocated": self.obtained,
            "segment.all.freed": self.returned, "num_device_alloc": self.obtained, "num_device_free": self.returned,
            "num_alloc_retries": self.retries, "num_ooms": self.failures,
        }

    def summary(self) -> str:
        """A table of the counters."""
        rows = (("in use by tensors", self.allocated, self.peak), ("held from the driver", self.reserved, self.reserved_peak),
                ("cached, free", self.reserved - self.allocated, None))
        lines = [f"Memory of {self.device.spec} ({self.device.name}, {human_bytes(self.device.global_mem_size)})",
                 f"{'':24}{'now':>14}{'peak':>14}"]
        lines += [f"{name:24}{human_bytes(now):>14}{'' if peak is None else human_bytes(peak):>14}" for name, now, peak in rows]
        lines.append(f"driver allocations {self.obtained}, given back {self.returned}, retries {self.retries}, failures {self.failures}")
        return "\n".join(lines)


class HostAllocator(Allocator):
    """Memory of the "cpu" device: NumPy arrays, over which a cl.Buffer is laid when a kernel first needs one."""

    block_type = HostBlock

    def __init__(self, device: Device) -> None:
        super().__init__(device)
        self.kept: list = []
        self.hosts: dict[int, np.ndarray] = {}  # cl.Buffer -> host bytes; only where kernels don't work in host memory

    def request(self, size: int) -> list:
        if size > self.device.global_mem_size:
            raise MemoryError(f"this machine has {human_bytes(self.device.global_mem_size)}")
        return [aligned_bytes(size, PAGE if size >= PAGE_ALIGNED else 64), None]

    def wrap(self, array: np.ndarray) -> HostBlock:
        """A block over the user's memory, from the array's first byte to its last; strides must not be negative."""
        span = (array.size and sum((n - 1) * s for n, s in zip(array.shape, array.strides, strict=True)) + array.itemsize)
        if not span:
            return self.allocate(0)  # type: ignore[return-value]
        if any(s < 0 for s in array.strides):
            raise ValueError("an array with negative strides can't share its memory with a tensor; pass array.copy()")
        return HostBlock(self, self.sink, 0, span, [_bytes_at(array, span), None])

    def buffer_over(self, host: np.ndarray) -> Any:
        device, flags = self.device, cl.mem_flags.READ_WRITE
        try:
            if device.shares_host:
                return cl.Buffer(device.context, flags | cl.mem_flags.USE_HOST_PTR, hostbuf=host)
            mem = cl.Buffer(device.context, flags, host.nbytes)
        except cl.Error as error:
            raise self.out_of_memory(host.nbytes, error) from None
        self.hosts[mem.int_ptr] = host
        return mem

    def let_go(self, cell: list) -> None:
        """Commands may still use the memory, and NumPy frees it at once: wait for them. What a lost device may still use stays."""
        if self.device.unfinished:
            self.kept.append(cell)
        elif cell[1] is not None:
            self.device.finish()
            self.let_go_idle(cell)

    def let_go_idle(self, cell: list) -> None:
        if cell[1] is not None:
            self.hosts.pop(cell[1].int_ptr, None)


def aligned_bytes(size: int, alignment: int) -> np.ndarray:
    """Uninitialised bytes whose address is a multiple of ``alignment``."""
    raw = np.empty(size + alignment, np.uint8)
    start = -raw.ctypes.data % alignment
    return raw[start:start + size]


def works_in_host_memory(context: Any, queue: Any) -> bool:
    """Probe: does a command's result appear in the host memory under a buffer, and the host's writes in the buffer?"""
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


def _bytes_at(array: np.ndarray, span: int) -> np.ndarray:
    """The array's memory as writable bytes; they keep the array alive."""
    raw = (ctypes.c_uint8 * span).from_address(array.ctypes.data)
    raw.owner = array  # type: ignore[attr-defined]
    return np.frombuffer(raw, np.uint8)  # type: ignore[call-overload]


def physical_memory() -> int:
    """Bytes of main memory, or a figure beyond doubt where the system doesn't tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 1 << 62
