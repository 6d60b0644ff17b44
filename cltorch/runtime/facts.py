"""What a driver says about one device, asked once: everything else reads these facts, so a driver that fails does so in one place."""
from __future__ import annotations

from typing import Any, NamedTuple

import pyopencl as cl


class Facts(NamedTuple):
    """Properties under OpenCL's names (sizes in bytes, the clock in MHz); texts are clean."""

    platform_name: str
    platform_version: str
    name: str
    vendor: str
    version: str
    driver_version: str
    opencl_c_version: str
    profile: str
    type: int
    extensions: frozenset[str]
    available: bool
    compiler_available: bool
    endian_little: bool
    host_unified_memory: bool
    max_compute_units: int
    max_clock_frequency: int
    max_work_group_size: int
    max_work_item_sizes: tuple[int, ...]
    max_parameter_size: int
    mem_base_addr_align: int
    local_mem_size: int
    local_mem_type: int
    max_mem_alloc_size: int
    max_constant_buffer_size: int
    global_mem_size: int
    native_vector_width_float: int
    board: str = ""
    bus: tuple[int, ...] = ()

    @property
    def local_memory_is_global(self) -> bool:
        """Whether __local lies in main memory (CPUs, Mali): correct, but no quicker."""
        return self.local_mem_type == cl.device_local_mem_type.GLOBAL


def ask(platform: Any, dev: Any) -> Facts:
    """The facts of a device. Raises whatever the driver raises."""
    told: dict[str, Any] = {name: getattr(dev, name) for name in Facts._fields if name not in ("platform_name", "platform_version", "board", "bus")}
    told.update(platform_name=platform.name, platform_version=platform.version, board=_optional(dev, "BOARD_NAME_AMD") or "", bus=_bus_address(dev),
                extensions=frozenset(clean(dev.extensions).split()), max_work_item_sizes=tuple(dev.max_work_item_sizes))
    for name, value in told.items():
        if isinstance(value, str):
            told[name] = clean(value)
    return Facts(**told)


def is_pocl(platform_name: str) -> bool:
    return platform_name.lower() == "portable computing language"


def clean(text: str) -> str:
    """Driver strings come with trailing blanks and NULs."""
    return " ".join(text.replace("\0", " ").split())


def _bus_address(dev: Any) -> tuple[int, ...]:
    """PCI domain, bus and device of a GPU, as far as its driver tells."""
    told = _optional(dev, "TOPOLOGY_AMD")
    if told is not None:
        return 0, told.bus, told.device
    bus, slot = _optional(dev, "PCI_BUS_ID_NV"), _optional(dev, "PCI_SLOT_ID_NV")
    return () if bus is None or slot is None else (_optional(dev, "PCI_DOMAIN_ID_NV") or 0, bus, slot)


def _optional(dev: Any, name: str) -> Any:
    """A property of an extension; None where the driver or pyopencl doesn't know it."""
    try:
        return dev.get_info(getattr(cl.device_info, name))
    except (cl.Error, AttributeError):
        return None
