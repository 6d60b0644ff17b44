"""``torch.cuda``'s names over OpenCL devices: "cuda:N" is the N-th OpenCL device of this machine, whoever made it."""
from __future__ import annotations

import re
import warnings
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, NamedTuple

from .compiler import make_graphed_callables
from .core import random as _random
from .core.tensor import Tensor
from .errors import LaunchError, OutOfMemoryError
from .graphs import CUDAGraph, graph, graph_pool_handle, is_current_stream_capturing
from .runtime.device import Device, current_index, devices, resolve, set_current_index
from .runtime.device import device as _device
from .runtime.stream import Event, Stream, StreamContext, current_stream, default_stream, set_stream, stream

__all__ = [
    "AcceleratorError", "CUDAGraph", "Event", "OutOfMemoryError", "Stream", "StreamContext", "can_device_access_peer",
    "current_device", "current_stream", "default_stream", "device", "device_count", "device_of", "empty_cache", "get_arch_list",
    "get_device_capability", "get_device_name", "get_device_properties", "get_rng_state", "get_rng_state_all", "graph",
    "graph_pool_handle", "init", "initial_seed", "is_available", "is_bf16_supported", "is_current_stream_capturing",
    "is_initialized", "is_tf32_supported", "make_graphed_callables", "manual_seed", "manual_seed_all", "max_memory_allocated", "max_memory_reserved",
    "mem_get_info", "memory_allocated", "memory_reserved", "memory_stats", "memory_summary", "reset_accumulated_memory_stats",
    "reset_max_memory_allocated", "reset_peak_memory_stats", "seed", "seed_all", "set_device", "set_rng_state",
    "set_rng_state_all", "set_stream", "stream", "synchronize",
]
AcceleratorError = LaunchError


class DeviceProperties(NamedTuple):
    """What a device is and can do. The first six names are PyTorch's; the rest is OpenCL's."""

    name: str
    major: int
    minor: int
    total_memory: int
    multi_processor_count: int
    max_threads_per_block: int
    shared_memory_per_block: int
    max_allocation: int
    vendor: str
    platform: str
    opencl_version: str
    driver_version: str
    kind: str
    strategy: str
    has_fp64: bool
    has_fp16_arithmetic: bool
    is_integrated: bool
    extensions: frozenset[str]


def is_available() -> bool:
    """Whether there is any OpenCL device."""
    return bool(devices())


def device_count() -> int:
    """How many OpenCL devices there are (after CLTORCH_DEVICES)."""
    return len(devices())


def init() -> None:
    """Nothing to do: devices are opened when they are used."""


def is_initialized() -> bool:
    """Whether any device was opened."""
    return any(dev.is_open for dev in devices())


def current_device() -> int:
    """The index that "cuda" means in this thread."""
    return resolve().index


def set_device(device: Any) -> None:
    """Make "cuda" mean this device in this thread. Negative indices do nothing, as in PyTorch. ValueError for "cpu"."""
    if not _means_nothing(device):
        set_current_index(resolve(device).index)


def _means_nothing(device: Any) -> bool:
    return device is None or (isinstance(device, int) and device < 0)


class device:  # noqa: N801 - PyTorch's name
    """``with cuda.device(1):`` "cuda" means "cuda:1" inside. None or a negative index changes nothing."""

    def __init__(self, device: Any) -> None:
        self.idx = -1 if _means_nothing(device) else resolve(device).index
        self.prev_idx = -1

    def __enter__(self) -> None:
        self.prev_idx = current_index()
        set_device(self.idx)

    def __exit__(self, *error: object) -> None:
        if self.idx >= 0:
            set_device(self.prev_idx)


class device_of(device):  # noqa: N801 - PyTorch's name
    """``with cuda.device_of(tensor):`` the tensor's device is current inside; a "cpu" tensor changes nothing."""

    def __init__(self, obj: Any) -> None:
        super().__init__(obj.device if obj.device.type == "cuda" else None)


def get_device_name(device: Any = None) -> str:
    """The driver's name of the device."""
    return resolve(device).name


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """The device's OpenCL version, such as (1, 2). Differs: PyTorch gives NVIDIA's compute capability."""
    found = re.search(r"OpenCL (\d+)\.(\d+)", resolve(device).version)
    return (int(found[1]), int(found[2])) if found else (1, 2)


def get_device_properties(device: Any = None) -> DeviceProperties:
    """Name, memory, limits and what the driver says about itself."""
    dev = resolve(device)
    major, minor = get_device_capability(device)
    return DeviceProperties(
        dev.name, major, minor, dev.global_mem_size, dev.compute_units, dev.max_work_group_size, dev.local_mem_size, dev.max_alloc,
        dev.vendor, dev.platform_name, dev.version, dev.driver_version, dev.kind, dev.strategy, dev.has_fp64,
        "cl_khr_fp16" in dev.extensions, dev.kind != "discrete GPU", dev.extensions)


def get_arch_list() -> list[str]:
    """Empty: kernels are compiled on the device's own driver."""
    return []


def can_device_access_peer(device: Any, peer_device: Any) -> bool:
    """False: OpenCL 1.2 devices of different contexts exchange data through host memory."""
    resolve(device), resolve(peer_device)
    return False


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """True: bfloat16 is stored as 16 bits and computed in float on every device; without emulation, False."""
    return bool(including_emulation) and is_available()


def is_tf32_supported() -> bool:
    return False


def synchronize(device: Any = None) -> None:
    """Launch what was recorded for the device, and wait until everything on it has ended."""
    dev = resolve(device)
    dev.launch_recorded()
    dev.synchronize()


def empty_cache() -> None:
    """Give the cached free memory of every open device back to its driver."""
    for dev in devices():
        if dev.is_open:
            dev.allocator.empty_cache()


def _counter(dev: Device, name: str) -> int:
    return getattr(dev.allocator, name) if dev.is_open else 0


def memory_allocated(device: Any = None) -> int:
    """Bytes that tensors hold now, in whole blocks."""
    return _counter(resolve(device), "allocated")


def max_memory_allocated(device: Any = None) -> int:
    """The most bytes that tensors held since the start or ``reset_peak_memory_stats``."""
    return _counter(resolve(device), "peak")


def memory_reserved(device: Any = None) -> int:
    """Bytes that the allocator holds from the driver, free ones included."""
    return _counter(resolve(device), "reserved")


def max_memory_reserved(device: Any = None) -> int:
    return _counter(resolve(device), "reserved_peak")


def memory_stats(device: Any = None) -> OrderedDict[str, int]:
    """The allocator's counters under PyTorch's names; those that make no sense here are absent."""
    return OrderedDict(sorted(resolve(device).allocator.statistics().items()))


def memory_summary(device: Any = None, abbreviated: bool = False) -> str:
    """The counters as a table to print."""
    return resolve(device).allocator.summary()


def mem_get_info(device: Any = None) -> tuple[int, int]:
    """(free, total) bytes. OpenCL doesn't say what other processes use: free is the total less what this one reserved."""
    dev = resolve(device)
    return dev.global_mem_size - _counter(dev, "reserved"), dev.global_mem_size


def reset_peak_memory_stats(device: Any = None) -> None:
    """Start the maxima again from now."""
    dev = resolve(device)
    if dev.is_open:
        dev.allocator.reset_peak()


def reset_max_memory_allocated(device: Any = None) -> None:
    """The older name of ``reset_peak_memory_stats``."""
    warnings.warn("cuda.reset_max_memory_allocated resets every maximum; use reset_peak_memory_stats", FutureWarning, stacklevel=2)
    reset_peak_memory_stats(device)


def reset_accumulated_memory_stats(device: Any = None) -> None:
    """Start the counts of allocations, retries and failures again."""
    dev = resolve(device)
    if dev.is_open:
        dev.allocator.reset_counts()


def manual_seed(seed: int) -> None:
    """Seed the current device's generator; without any device, nothing happens."""
    if is_available():
        _random.generator_of(_device("cuda")).manual_seed(seed)


def manual_seed_all(seed: int) -> None:
    """Seed the generators of all OpenCL devices."""
    for generator in _random.device_generators():
        generator.manual_seed(seed)


def seed() -> None:
    """Seed the current device's generator from the system's entropy."""
    if is_available():
        _random.generator_of(_device("cuda")).seed()


def seed_all() -> None:
    """Seed all devices' generators with one number from the system's entropy."""
    generators = _random.device_generators()
    chosen = generators[0].seed() if generators else 0
    for generator in generators[1:]:
        generator.manual_seed(chosen)


def initial_seed() -> int:
    """The seed of the current device's generator."""
    return _random.generator_of(_device("cuda")).initial_seed()


def get_rng_state(device: Any = "cuda") -> Tensor:
    """The state of a device's generator, a uint8 tensor on "cpu"."""
    return _random.generator_of(resolve(device).spec).get_state()


def get_rng_state_all() -> list[Tensor]:
    return [generator.get_state() for generator in _random.device_generators()]


def set_rng_state(new_state: Tensor, device: Any = "cuda") -> None:
    """Put a generator back where ``get_rng_state`` was called."""
    _random.generator_of(resolve(device).spec).set_state(new_state)


def set_rng_state_all(new_states: Iterable[Tensor]) -> None:
    for generator, state in zip(_random.device_generators(), new_states, strict=True):
        generator.set_state(state)


def __getattr__(name: str) -> Any:
    """``default_generators`` is made when asked for: importing this module must not look for devices."""
    if name == "default_generators":
        return tuple(_random.device_generators())
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
