"""Little launches in the calling thread.

PoCL's usual driver ("pthread") wakes its threads for a launch: 20 us of the caller's time and 40 until the result is there, for a kernel that needs
one. Its other driver ("basic") is a second device of the same processor and runs a command within the call that enqueues it: 1.5 us in all
(measured on 2 cores). Where both are there they share a context, and a device runs launches of little work on the second one while the first has
nothing to do (submission.py). Both get the same machine code. The second device isn't listed.
"""
from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyopencl as cl

from .. import config

DRIVERS = ("basic-", "cpu-minimal-")  # how the names of such devices begin, in PoCL 3 and since
DEVICE_MARK = slice(8, 16)            # where a binary of PoCL's names the driver and processor that it was made for


@contextlib.contextmanager
def offered() -> Iterator[None]:
    """Within the block PoCL from pip, asked for its devices for the first time, has both. A choice of the user's (POCL_DEVICES) stays."""
    if "POCL_DEVICES" in os.environ or not config.get("INLINE") or importlib.util.find_spec("pocl_binary_distribution") is None:
        yield
        return
    os.environ["POCL_DEVICES"] = "pthread basic"
    try:
        yield
    finally:
        del os.environ["POCL_DEVICES"]


def serves(name: str, other: str) -> bool:
    """Whether the device ``name`` is ``other``'s processor with the driver that works in the calling thread."""
    return name.startswith(DRIVERS) and not other.startswith(DRIVERS) and name.partition("-")[2] == other.partition("-")[2]


def open_queue(context: Any, device: Any) -> Any:
    """A queue that has done what it is given when the call returns; None where it hasn't."""
    queue = cl.CommandQueue(context, device)
    buffer = cl.Buffer(context, cl.mem_flags.READ_WRITE, 1 << 20)
    event = cl.enqueue_fill_buffer(queue, buffer, np.uint32(7), 0, 1 << 20)
    ended = event.command_execution_status == cl.command_execution_status.COMPLETE
    queue.finish()
    return queue if ended else None


def relabelled(binary: bytes, device: Any, other: Any) -> bytes | None:
    """A program that was compiled for ``device``, for ``other``; None where PoCL marks its binaries in another way."""
    if binary[DEVICE_MARK] != _mark(device):
        return None
    return binary[:DEVICE_MARK.start] + _mark(other) + binary[DEVICE_MARK.stop:]


def _mark(device: Any) -> bytes:
    """The FNV-1 hash of driver, target and processor, with which a device's version ends (PoCL 3.0, pocl_binary.c)."""
    mark = 0xCBF29CE484222325
    for value in device.version.rpartition(" ")[2].encode():
        mark = (mark * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF) ^ value
    return mark.to_bytes(8, "little")
