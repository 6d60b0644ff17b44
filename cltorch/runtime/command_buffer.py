"""``cl_khr_command_buffer``: launches that a driver keeps, and enqueues in order by one call.

pyopencl has no binding for it, so its functions are called at the addresses that the driver gives. Source:
https://registry.khronos.org/OpenCL/specs/3.0-unified/html/OpenCL_API.html#_command_buffers

The extension was provisional for years and changed meanwhile. What is called here kept its arguments (copies and fills didn't, and aren't recorded),
what is promised did not: before 1.0.0 a command buffer that is still pending may be enqueued only where it was made for simultaneous use.
"""
from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyopencl as cl

if TYPE_CHECKING:
    from .submission import Submission

NAME = "cl_khr_command_buffer"
PROVISIONAL, RATIFIED = (0, 9, 0), (1, 0, 0)  # the versions that were tried, with PoCL 3.1 and Intel's runtime for CPUs
CAPABILITIES, REQUIRED_QUEUE_PROPERTIES = 0x12A9, 0x12AA  # CL_DEVICE_COMMAND_BUFFER_..._KHR
CAN_BE_SIMULTANEOUS = 1 << 2
FLAGS, SIMULTANEOUS_USE = 0x1293, 1 << 0

Pointer, UInt = ctypes.c_void_p, ctypes.c_uint
FUNCTIONS: dict[str, tuple[Any, ...]] = {  # result and arguments
    "clCreateCommandBufferKHR": (Pointer, UInt, Pointer, Pointer, Pointer),
    "clCommandNDRangeKernelKHR": (ctypes.c_int, *(Pointer,) * 4, UInt, *(Pointer,) * 3, UInt, *(Pointer,) * 3),
    "clFinalizeCommandBufferKHR": (ctypes.c_int, Pointer),
    "clEnqueueCommandBufferKHR": (ctypes.c_int, UInt, Pointer, Pointer, UInt, Pointer, Pointer),
    "clReleaseCommandBufferKHR": (ctypes.c_int, Pointer),
}


@functools.cache
def _loader() -> Any:
    """The OpenCL library that pyopencl's module is linked to."""
    return ctypes.CDLL("OpenCL" if sys.platform == "win32" else cl._cl.__file__)


@functools.cache
def _functions(platform: Any) -> dict[str, Any]:
    """The extension's functions, as far as the platform has them."""
    find = _loader().clGetExtensionFunctionAddressForPlatform
    find.restype, find.argtypes = Pointer, (Pointer, ctypes.c_char_p)
    addresses = {name: find(platform.int_ptr, name.encode()) for name in FUNCTIONS}
    return {name: ctypes.CFUNCTYPE(*FUNCTIONS[name])(address) for name, address in addresses.items() if address}


def _version(device: Any) -> tuple[int, int, int] | None:
    """The version of the extension that a device reports; None where it doesn't, as devices of OpenCL 1 and 2."""
    try:
        packed = next((e.version for e in device.extensions_with_version if e.name == NAME), None)
    except cl.Error:
        return None
    return None if packed is None else (packed >> 22, packed >> 12 & 0x3FF, packed & 0xFFF)


def _ask(device: Any, what: int) -> int:
    """A bit field among a device's properties, which pyopencl doesn't know."""
    ask, found = _loader().clGetDeviceInfo, ctypes.c_uint64(0)
    ask.argtypes = (Pointer, UInt, ctypes.c_size_t, Pointer, Pointer)
    _check(ask(device.int_ptr, what, ctypes.sizeof(found), ctypes.byref(found), None), "clGetDeviceInfo")
    return found.value


def _check(status: int, routine: str) -> None:
    if status:
        raise cl.RuntimeError(cl._cl._ErrorRecord(msg="", code=status, routine=routine))


def unfit(device: Any) -> str:
    """Why an OpenCL device's command buffers can't be used for replays; "" where they can. Raises cl.Error where the driver gives no answer."""
    if NAME not in device.extensions.split():
        return f"no {NAME}"
    version = _version(device)
    if version not in (PROVISIONAL, RATIFIED):
        number = "an unknown version" if version is None else f"version {'.'.join(map(str, version))}"
        return f"{number} of {NAME}, which was never tried"
    missing = [name for name in FUNCTIONS if name not in _functions(device.platform)]
    if missing:
        return f"the driver has no {missing[0]}"
    if version == PROVISIONAL and not _ask(device, CAPABILITIES) & CAN_BE_SIMULTANEOUS:
        return "a command buffer can't be enqueued again while it is pending"
    required = _ask(device, REQUIRED_QUEUE_PROPERTIES)
    return f"its queues need the properties {required:#x}" if required else ""


class CommandBuffer:
    """Launches in order, each a kernel object with its arguments set, a global size and a local size or None. Only for devices that aren't ``unfit``.

    The kernel objects are its own: PoCL 3.1 crashes where an argument of one that was recorded is set later. ``release`` it where it is no longer
    needed: one that is pending runs first. Raises cl.Error where the driver refuses to record.
    """

    __slots__ = ("_enqueue", "_handle", "_release", "held")

    def __init__(self, queue: Any, launches: Sequence[tuple[Any, tuple, tuple | None]]) -> None:
        create, record, finalize, self._enqueue, release = (_functions(queue.device.platform)[name] for name in FUNCTIONS)
        self.held, self._release = (queue, *[kernel for kernel, _, _ in launches]), release
        simultaneous = (ctypes.c_uint64 * 3)(FLAGS, SIMULTANEOUS_USE, 0) if _version(queue.device) == PROVISIONAL else None
        status = ctypes.c_int(0)
        self._handle = create(1, (Pointer * 1)(queue.int_ptr), simultaneous, ctypes.byref(status))
        _check(status.value, "clCreateCommandBufferKHR")
        try:
            for kernel, global_size, local_size in launches:
                _check(record(self._handle, None, None, kernel.int_ptr, len(global_size), None, _sizes(global_size), _sizes(local_size), 0, None, None, None),
                       "clCommandNDRangeKernelKHR")
            _check(finalize(self._handle), "clFinalizeCommandBufferKHR")
        except cl.Error:
            self.release()
            raise

    def enqueue(self, submission: Submission) -> None:
        """Once more, on the queue that it was made with, which is the submission's."""
        if submission.line is None:
            _check(self._enqueue(0, None, self._handle, 0, None, None), "clEnqueueCommandBufferKHR")
        else:
            submission.line.enqueue(self._with_event)

    def _with_event(self, _: Any) -> Any:
        event = ctypes.c_size_t(0)
        _check(self._enqueue(0, None, self._handle, 0, None, ctypes.byref(event)), "clEnqueueCommandBufferKHR")
        return cl.Event.from_int_ptr(event.value, retain=False)

    def release(self) -> None:
        _check(self._release(self._handle), "clReleaseCommandBufferKHR")


def _sizes(size: tuple | None) -> Any:
    return None if size is None else (ctypes.c_size_t * len(size))(*size)
