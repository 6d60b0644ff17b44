"""``torch.accelerator``: the device-neutral names. The accelerator is "cuda", any OpenCL device."""
from __future__ import annotations

from typing import Any

from . import cuda as _cuda
from .cuda import current_device as current_device_index
from .cuda import (
    current_stream,
    device_count,
    empty_cache,
    is_available,
    max_memory_allocated,
    max_memory_reserved,
    memory_allocated,
    memory_reserved,
    memory_stats,
    reset_accumulated_memory_stats,
    reset_peak_memory_stats,
    set_stream,
    synchronize,
)
from .cuda import device as device_index
from .cuda import mem_get_info as get_memory_info
from .cuda import set_device as set_device_index
from .dtype import ALL
from .runtime.device import device, host, resolve

__all__ = [
    "current_accelerator", "current_device_idx", "current_device_index", "current_stream", "device_count", "device_index", "empty_cache",
    "empty_host_cache", "get_device_capability", "get_memory_info", "is_available", "max_memory_allocated", "max_memory_reserved",
    "memory_allocated", "memory_reserved", "memory_stats", "reset_accumulated_memory_stats", "reset_peak_memory_stats", "set_device_idx",
    "set_device_index", "set_stream", "synchronize",
]
current_device_idx, set_device_idx = current_device_index, set_device_index


def current_accelerator(check_available: bool = False) -> device | None:
    """``device("cuda")``; with ``check_available``, None on a machine without OpenCL."""
    return device("cuda") if not check_available or _cuda.is_available() else None


def empty_host_cache() -> None:
    """Free the cached memory of "cpu" tensors."""
    host().allocator.empty_cache()


def get_device_capability(device: Any = None, /) -> dict[str, Any]:
    """{"supported_dtypes": set}: what the device computes in."""
    dev = resolve(device)
    return {"supported_dtypes": {d for d in ALL if dev.has_fp64 or d.name not in ("float64", "complex128")}}
