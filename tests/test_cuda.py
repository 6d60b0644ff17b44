"""torch.cuda's and torch.accelerator's names."""
from __future__ import annotations

import sys
import threading

import pytest
from processes import run_python

import cltorch
from cltorch import accelerator, cuda
from cltorch.runtime.device import get


def test_the_first_device() -> None:
    assert cuda.is_available() and cuda.device_count() >= 1 and cuda.current_device() == 0
    assert cuda.get_device_name() == cuda.get_device_name("cuda:0") == cuda.get_device_name(cltorch.device("cuda")) == get("cuda").name
    properties = cuda.get_device_properties(0)
    assert properties.name == get("cuda").name and properties.total_memory > 0 and properties.has_fp64 == get("cuda").has_fp64
    assert (properties.major, properties.minor) == cuda.get_device_capability() >= (1, 0)
    assert (cltorch.ones(1, device="cuda") + 1).item() == 2
    cuda.synchronize()
    cuda.synchronize("cuda:0")
    assert cuda.is_initialized() and cuda.is_bf16_supported() and not cuda.is_tf32_supported() and cuda.get_arch_list() == []
    assert not cuda.can_device_access_peer(0, 0)


@pytest.mark.parametrize("call", [cuda.get_device_name, cuda.get_device_properties, cuda.set_device, cuda.synchronize, cuda.memory_allocated, cuda.device])
def test_wrong_devices(call: object) -> None:
    with pytest.raises(RuntimeError, match="invalid device ordinal: cuda:99"):
        call(99)  # type: ignore[operator]
    with pytest.raises(ValueError, match="Expected a cuda device, but got: cpu"):
        call("cpu")  # type: ignore[operator]
    with pytest.raises(RuntimeError, match="Expected one of"):
        call("nonsense")  # type: ignore[operator]


def test_current_device_is_per_thread() -> None:
    with cuda.device(0), cuda.device(-1), cuda.device(None), cuda.device_of(cltorch.ones(1)):
        assert cuda.current_device() == 0
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.append(cuda.current_device()))
    thread.start()
    thread.join()
    assert seen == [0]
    cuda.set_device(-1)
    cuda.set_device("cuda:0")


def test_memory_numbers_are_true(device: cltorch.device) -> None:
    cuda.empty_cache()
    before, reserved = cuda.memory_allocated(), cuda.memory_reserved()
    cuda.reset_peak_memory_stats()
    x = cltorch.empty(1 << 18, device=device)
    assert cuda.memory_allocated() - before == 1 << 20 == x.numel() * x.element_size()
    assert cuda.memory_reserved() - reserved == 1 << 20 and cuda.max_memory_allocated() == cuda.memory_allocated()
    del x
    assert cuda.memory_allocated() == before and cuda.memory_reserved() - reserved == 1 << 20
    assert cuda.max_memory_allocated() - before == 1 << 20
    free, total = cuda.mem_get_info()
    assert free == total - cuda.memory_reserved()
    cuda.empty_cache()
    assert cuda.memory_reserved() <= reserved and cuda.max_memory_reserved() >= 1 << 20
    stats = cuda.memory_stats()
    assert stats["allocated_bytes.all.current"] == before and stats["reserved_bytes.all.current"] == cuda.memory_reserved()
    assert "in use by tensors" in cuda.memory_summary()
    cuda.reset_accumulated_memory_stats()
    assert cuda.memory_stats()["num_device_alloc"] == 0
    with pytest.warns(FutureWarning, match="reset_peak_memory_stats"):
        cuda.reset_max_memory_allocated()


def test_out_of_memory_is_pytorchs_type(device: cltorch.device) -> None:
    assert issubclass(cuda.OutOfMemoryError, RuntimeError)
    with pytest.raises(cuda.OutOfMemoryError, match=r"out of memory: tried to allocate 4\.00 TiB"):
        cltorch.empty(1 << 40, device=device)
    assert (cltorch.ones(3, device=device) + 1).tolist() == [2, 2, 2]


def test_seeds(device: cltorch.device) -> None:
    cuda.manual_seed(7)
    assert cuda.initial_seed() == 7 and cuda.default_generators[0].initial_seed() == 7
    state = cuda.get_rng_state()
    first = cltorch.rand(5, device=device).tolist()
    cuda.set_rng_state(state)
    assert cltorch.rand(5, device=device).tolist() == first
    cuda.manual_seed_all(7)
    assert cltorch.rand(5, device=device).tolist() == first
    states = cuda.get_rng_state_all()
    cuda.set_rng_state_all(states)
    cuda.seed()
    cuda.seed_all()
    assert cuda.initial_seed() != 7


def test_streams_keep_tensor_results(device: cltorch.device) -> None:
    x = cltorch.arange(1000, device=device, dtype=cltorch.float32)
    y = x * 2
    side = cuda.Stream()
    with cuda.stream(side):
        z = y + 1
        total = z.sum()
    w = y * 3 + z
    assert total.item() == 1000 * 999 + 1000 and (w - (x * 8 + 1)).abs().max().item() == 0


def test_accelerator() -> None:
    assert accelerator.is_available() and accelerator.current_accelerator() == cltorch.device("cuda")
    assert accelerator.device_count() == cuda.device_count() and accelerator.current_device_index() == accelerator.current_device_idx() == 0
    accelerator.set_device_index(0)
    with accelerator.device_index(0):
        accelerator.synchronize()
    assert accelerator.get_memory_info() == cuda.mem_get_info() and accelerator.memory_allocated() == cuda.memory_allocated()
    assert cltorch.float32 in accelerator.get_device_capability()["supported_dtypes"]
    assert accelerator.current_stream() == cuda.current_stream()
    accelerator.empty_cache()
    accelerator.empty_host_cache()


@pytest.mark.skipif(sys.platform == "win32", reason="the loader reads the registry there")
def test_without_opencl(tmp_path: object) -> None:
    code = """
from cltorch import accelerator, cuda
import cltorch
assert not cuda.is_available() and cuda.device_count() == 0 and accelerator.current_accelerator(check_available=True) is None
cuda.manual_seed(1), cuda.manual_seed_all(1), cuda.seed_all(), cuda.empty_cache()
for call in (cuda.current_device, cuda.get_device_name, cuda.synchronize, lambda: cltorch.empty(3, device="cuda")):
    try:
        call()
    except RuntimeError as error:
        assert "pip install" in str(error), error
    else:
        raise AssertionError(call)
print("fine")
"""
    done = run_python(code, OCL_ICD_VENDORS=f"{tmp_path}/nothing")
    assert done.stdout == "fine\n", done.stderr


@pytest.mark.skipif(cuda.device_count() < 2, reason="one OpenCL device only")
def test_two_devices() -> None:
    x = cltorch.arange(6, device="cuda:0").reshape(2, 3)
    y = x.to("cuda:1")
    assert y.device == cltorch.device("cuda:1") and (y * 2).tolist() == [[0, 2, 4], [6, 8, 10]] and x.tolist() == y.tolist()
    with pytest.raises(RuntimeError, match="cuda:0"):
        x + y
    with cuda.device(1):
        assert cuda.current_device() == 1 and cltorch.ones(2, device="cuda").device.index == 1
        assert cuda.current_stream().device == cltorch.device("cuda:1")
    assert cltorch.ones(2, device="cuda").device.index == 0 and get("cuda", 0).context is not get("cuda", 1).context
    before = cuda.memory_allocated(0)
    z = cltorch.empty(1000, device="cuda:1")
    assert cuda.memory_allocated(0) == before and cuda.memory_allocated(1) >= z.numel() * 4
    done = cuda.Event()
    done.record(cuda.current_stream(1))
    cuda.current_stream(0).wait_event(done)
    assert done.query()
