"""What an OpenCL error means for the device that it came from: a refused command, missing memory, or a device that is lost.

A device is lost when its driver has reset it (a watchdog ends kernels that run for seconds), when a kernel left its memory, or when it
was taken away. Drivers say so late and in different words: NVIDIA's with OUT_OF_RESOURCES at the next wait, Intel's with
OUT_OF_RESOURCES or an invalid queue; a launch that merely asks for too much gets OUT_OF_RESOURCES when it is enqueued.
"""
from __future__ import annotations

import pyopencl as cl

from ..errors import DeviceLostError, LaunchError, OutOfMemoryError

ILLEGAL_ACCESS_NV = -9999  # NVIDIA's, in no header
GONE = frozenset({int(code) for code in (
    cl.status_code.DEVICE_NOT_AVAILABLE, cl.status_code.INVALID_COMMAND_QUEUE, cl.status_code.INVALID_CONTEXT,
    cl.status_code.EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST)} | {ILLEGAL_ACCESS_NV})
WAITING = frozenset({"clFinish", "clWaitForEvents", "clEnqueueReadBuffer", "clEnqueueWriteBuffer"})
ADVICE = ("A kernel that runs for seconds is ended by the driver's watchdog; a kernel that leaves its memory, or a driver that crashes, has the "
          "same effect. This device refuses work until the process starts again; other devices go on. CLTORCH_SYNC=1 names the kernel, "
          "CLTORCH_DUMP=folder writes a script that repeats it")


def means_lost(error: cl.Error) -> bool:
    """Whether the device is gone, not only this command."""
    return error.code in GONE or (error.code == cl.status_code.OUT_OF_RESOURCES and error.routine in WAITING)


def judge(device: str, doing: str, error: cl.Error, more: str = "") -> tuple[type[RuntimeError], str]:
    """The exception's type and text for an error while ``device`` should ``doing``."""
    if means_lost(error):
        return DeviceLostError, f"{device} was lost when it should {doing}: {error}.{more} {ADVICE}"
    if error.code == cl.status_code.MEM_OBJECT_ALLOCATION_FAILURE:
        return OutOfMemoryError, f"{device} has no memory left to {doing}: {error}.{more} Free tensors or use smaller batches"
    return LaunchError, (f"{device} could not {doing}: {error}.{more} "
                         "CLTORCH_SYNC=1 finds the launch that failed, CLTORCH_DUMP=folder writes a script that repeats it")
