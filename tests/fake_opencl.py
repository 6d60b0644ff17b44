"""Platforms and devices that no driver stands behind, for what no machine at hand has."""
from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pyopencl as cl

from cltorch.runtime.facts import ask
from cltorch.runtime.platforms import Found, kind_of

TYPES = {"GPU": cl.device_type.GPU, "CPU": cl.device_type.CPU, "accelerator": cl.device_type.ACCELERATOR}
DEFAULTS: dict[str, Any] = dict(
    vendor="V", version="OpenCL 1.2 fake", driver_version="7", opencl_c_version="OpenCL C 1.2 ", profile="FULL_PROFILE", extensions="cl_khr_fp64 ",
    available=True, compiler_available=True, endian_little=True, max_compute_units=4, max_clock_frequency=1000, max_work_group_size=256,
    max_work_item_sizes=[256, 256, 64], max_parameter_size=1024, mem_base_addr_align=1024, local_mem_size=32768,
    local_mem_type=cl.device_local_mem_type.LOCAL, max_mem_alloc_size=1 << 28, max_constant_buffer_size=65536, global_mem_size=1 << 30,
    native_vector_width_float=4)


class Named(SimpleNamespace):
    """Known by identity, as OpenCL's objects are."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__


class FakeDevice(Named):
    """A device; ``fails`` maps a property to what reading it raises, ``bus`` is what NVIDIA's drivers tell, ``board`` AMD's."""

    fails: Mapping[str, Exception] = MappingProxyType({})

    def __init__(self, name: str, kind: str = "GPU", bus: tuple[int, ...] = (), board: str = "", **properties: Any) -> None:
        super().__init__(**{**DEFAULTS, "name": name, "type": TYPES[kind.split()[-1]], "host_unified_memory": kind != "discrete GPU", **properties})
        self.bus, self.board = bus, board

    def __getattribute__(self, name: str) -> Any:
        if name in object.__getattribute__(self, "fails"):
            raise object.__getattribute__(self, "fails")[name]
        return object.__getattribute__(self, name)

    def get_info(self, what: int) -> Any:
        told = dict(zip(("PCI_DOMAIN_ID_NV", "PCI_BUS_ID_NV", "PCI_SLOT_ID_NV"), self.bus, strict=False), BOARD_NAME_AMD=self.board)
        for name, value in told.items():
            if value != "" and what == getattr(cl.device_info, name):
                return value
        raise opencl_error(cl.status_code.INVALID_VALUE, "clGetDeviceInfo")


class FakePlatform(Named):
    """A platform with these devices, or one whose ``get_devices`` raises."""

    def __init__(self, name: str, *devices: FakeDevice, error: Exception | None = None) -> None:
        super().__init__(name=name, version="OpenCL 1.2 fake")
        self.devices, self.error = devices, error

    def get_devices(self) -> list[FakeDevice]:
        if self.error is not None:
            raise self.error
        return list(self.devices)


def found(name: str, kind: str = "discrete GPU", platform: str = "P", **properties: Any) -> Found:
    """A device as the survey finds it."""
    owner, dev = FakePlatform(platform), FakeDevice(name, kind, **properties)
    facts = ask(owner, dev)
    return Found(owner, dev, facts, kind_of(facts))


def opencl_error(code: int, routine: str) -> cl.Error:
    """What pyopencl raises when a routine returns a code."""
    return cl.RuntimeError(cl._cl._ErrorRecord(msg="", code=int(code), routine=routine))
