"""The caching allocator: reuse, statistics, limits, host memory shared with NumPy."""
from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest
from processes import run_python

from cltorch.errors import OutOfMemoryError
from cltorch.runtime import program
from cltorch.runtime.allocator import Allocator, HostAllocator, Pool, aligned_bytes, human_bytes, round_size
from cltorch.runtime.device import get, host

ADD_ONE = "__kernel void add_one(__global float *x, int n) { for (int i = 0; i < n; i++) x[i] += 1; }"


@pytest.fixture
def cuda() -> Allocator:
    """An allocator of its own, so that counters start at zero."""
    get("cuda").queue  # noqa: B018 - opens the device
    return Allocator(get("cuda"))


@pytest.fixture
def cpu() -> HostAllocator:
    host().queue  # noqa: B018
    return HostAllocator(host())


@pytest.mark.parametrize("nbytes", [1, 511, 512, 513, 8192, 8193, 16384, 16385, 100_000, 1 << 20, (1 << 20) + 1, 12_345_678, 1 << 31])
def test_size_classes(nbytes: int) -> None:
    size = round_size(nbytes)
    assert size % 512 == 0 and nbytes <= size <= max(nbytes * 17 / 16, nbytes + 511) and round_size(size) == size


def test_memory_is_reused_and_counted(cuda: Allocator) -> None:
    first = cuda.allocate(5000)
    mem = first.mem
    assert (cuda.allocated, cuda.reserved, cuda.peak) == (5120, 5120, 5120)
    del first
    assert (cuda.allocated, cuda.reserved, cuda.peak) == (0, 5120, 5120)
    again, other = cuda.allocate(5001), cuda.allocate(5000)
    assert again.mem is mem and other.mem is not mem and cuda.allocated == 10240 == cuda.peak
    del again, other
    cuda.empty_cache()
    assert (cuda.allocated, cuda.reserved, cuda.reserved_peak) == (0, 0, 10240)
    cuda.reset_peak()
    assert cuda.peak == cuda.reserved_peak == 0
    stats = cuda.statistics()
    assert stats["num_device_alloc"] == stats["num_device_free"] == 2 and stats["segment.all.current"] == 0
    assert "10.00 KiB" not in cuda.summary() and "0 B" in cuda.summary()


def test_zero_bytes_are_a_dummy(cuda: Allocator, cpu: HostAllocator) -> None:
    assert cuda.allocate(0).mem is not None and cpu.allocate(0).mem is not None and cpu.wrap(np.empty((3, 0))).mem is not None


def test_a_thousand_sizes_stay_bounded(cuda: Allocator) -> None:
    for nbytes in range(1, 20_000):
        cuda.allocate(nbytes)
    assert len(cuda.pool.known) <= 4096 and cuda.allocated == 0 and cuda.reserved < 1 << 20


def test_too_large_names_both_sizes(cuda: Allocator) -> None:
    kept = cuda.allocate(4096)
    with pytest.raises(OutOfMemoryError, match=rf"tried to allocate .*\({1 << 45} bytes\).*One allocation .*{cuda.device.max_alloc} bytes"):
        cuda.allocate(1 << 45)
    assert cuda.statistics()["num_ooms"] == 1 and cuda.allocated == 4096 == kept.size
    assert cuda.allocate(4096).mem is not None


def test_the_cache_is_freed_before_giving_up(cuda: Allocator, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda.allocate(1 << 20)  # dies at once: cached
    real = cuda.request

    def full(size: int) -> object:
        if cuda.reserved + size > 3 << 20:
            raise MemoryError("full")
        return real(size)

    monkeypatch.setattr(cuda, "request", full)
    block = cuda.allocate(5 << 19)
    assert cuda.retries == 1 and cuda.failures == 0 and cuda.reserved == block.size
    with pytest.raises(OutOfMemoryError, match=r"2\.50 MiB are in use by tensors, 0 B are cached"):
        cuda.allocate(1 << 20)


def test_memory_beyond_the_device_is_refused(cuda: Allocator) -> None:
    cuda.reserved = cuda.device.global_mem_size
    with pytest.raises(MemoryError, match="the device has"):
        cuda.request(512)


def test_host_memory_is_aligned_and_lazy(cpu: HostAllocator) -> None:
    small, large = cpu.allocate(100), cpu.allocate(1 << 20)
    assert small.host.ctypes.data % 64 == 0 and large.host.ctypes.data % 4096 == 0 and small.host.nbytes >= 100
    assert not small.touched and small.mem is small.mem and small.touched
    address = small.host.ctypes.data
    del small
    again = cpu.allocate(64)
    assert again.host.ctypes.data == address and again.touched
    with pytest.raises(AttributeError, match="no 'colour'"):
        again.colour  # noqa: B018


def test_pinned_memory_is_never_recycled(cpu: HostAllocator) -> None:
    block = cpu.allocate(400)
    view = block.host[:400].view(np.float32)
    view[:] = 7
    block.pin()
    block.pin()
    assert cpu.allocated == cpu.reserved == 0
    del block
    other = cpu.allocate(400)
    other.host[:] = 0
    assert not np.shares_memory(other.host, view) and (view == 7).all()


def test_a_kernel_is_done_before_pinned_memory_goes(cpu: HostAllocator) -> None:
    kernel = program.build(host(), ADD_ONE, "add_one").kernel("add_one")
    for _ in range(20):
        array = np.zeros(100_000, np.float32)
        block = cpu.wrap(array)
        kernel((1,), (1,), block.mem, array.size)
        del block
        assert (array == 1).all()


def test_wrapping_numpy_memory(cpu: HostAllocator) -> None:
    array = np.zeros((6, 4), np.float32)
    kernel = program.build(host(), ADD_ONE, "add_one").kernel("add_one")
    kernel((1,), (1,), cpu.wrap(array).mem, array.size)
    host().synchronize()
    assert (array == 1).all()
    part = array[1::2, ::3]
    assert cpu.wrap(part).host.nbytes == part.strides[0] * 2 + part.strides[1] + 4
    assert cpu.wrap(part).host.ctypes.data == part.ctypes.data
    with pytest.raises(ValueError, match="negative strides"):
        cpu.wrap(array[::-1])
    array.flags.writeable = False
    assert cpu.wrap(array).mem is not None
    with pytest.raises(TypeError, match="can't be shared with NumPy"):
        Allocator(get("cuda")).wrap(array)


def test_wrapped_arrays_live_as_long_as_the_block(cpu: HostAllocator) -> None:
    class Array(np.ndarray):
        pass

    array = np.ones(10, np.float32).view(Array)
    alive = weakref.ref(array)
    block = cpu.wrap(array)
    del array
    gc.collect()
    assert alive() is not None and block.host.view(np.float32).sum() == 10
    del block
    gc.collect()
    assert alive() is None


def test_host_memory_beyond_the_machine(cpu: HostAllocator) -> None:
    with pytest.raises(OutOfMemoryError, match=r"cpu .*tried to allocate 1024\.00 TiB"):
        cpu.allocate(1 << 50)


def test_private_pools(cuda: Allocator) -> None:
    shared = cuda.allocate(1000).mem
    with cuda.use_pool(Pool()) as pool:
        block = cuda.allocate(1000)
        assert block.mem is not shared
        private = block.mem
    del block
    assert cuda.allocate(1000).mem is shared
    with cuda.use_pool(pool):
        assert cuda.allocate(1000).mem is private
    cuda.empty_cache()
    with cuda.use_pool(pool):
        assert cuda.allocate(1000).mem is private


def test_counters_hold_under_threads(cuda: Allocator) -> None:
    def churn(seed: int) -> None:
        rng = np.random.default_rng(seed)
        kept: list = [None] * 8
        for _ in range(3000):
            kept[rng.integers(8)] = cuda.allocate(int(rng.integers(1, 50_000)))

    threads = [threading.Thread(target=churn, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cuda.allocated == 0 <= cuda.reserved
    cuda.empty_cache()
    assert cuda.reserved == 0


MANY_STEPS = """
import gc, mmap
from pathlib import Path
import cltorch
from cltorch.runtime import builders

net = cltorch.nn.Sequential(cltorch.nn.Linear(10, 32), cltorch.nn.ReLU(), cltorch.nn.Linear(32, 1)).to("cuda")
optimizer, x, y = cltorch.optim.Adam(net.parameters()), cltorch.randn(16, 10, device="cuda"), cltorch.randn(16, 1, device="cuda")

def step():
    optimizer.zero_grad()
    cltorch.nn.functional.mse_loss(net(x), y).backward()
    optimizer.step()

def taken(steps):
    for number in range(1, steps + 1):
        run()
        if number % 100 == 0:  # as a loop that reads its loss: what a driver's queue holds until then takes memory, too
            cltorch.cuda.synchronize()
    gc.collect()
    stats, pages = cltorch.cuda.memory_stats(), Path("/proc/self/statm")
    return (stats["allocated_bytes.all.current"], stats["reserved_bytes.all.current"],
            int(pages.read_text().split()[1]) * mmap.PAGESIZE if pages.exists() else 0)

run = cltorch.compile(step) if COMPILED else step
taken(100)
builders.wait()  # the compiled step's launches are compiled into one meanwhile, which takes memory once
print(*taken(1000), *taken(9000))
"""


@pytest.mark.parametrize("compiled", [False, True])
def test_ten_thousand_training_steps_take_no_more_memory_than_the_first_thousand(compiled: bool) -> None:
    """The device's bytes in use, those reserved, and (Linux) the process's: one of its own, because other tests' memory comes and goes."""
    done = run_python(f"COMPILED = {compiled}\n{MANY_STEPS}")
    assert done.returncode == 0, done.stderr
    in_use, reserved, resident, *after = map(int, done.stdout.split())
    assert [in_use, reserved] == after[:2] and after[2] - resident < 1 << 20  # less than 120 bytes a step: nothing is kept of one


def test_words() -> None:
    assert [human_bytes(n) for n in (0, 1023, 1536, 5 << 20, 3 << 30, 2 << 50)] == ["0 B", "1023 B", "1.50 KiB", "5.00 MiB", "3.00 GiB", "2048.00 TiB"]
    assert aligned_bytes(100, 4096).ctypes.data % 4096 == 0
