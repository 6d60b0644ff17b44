"""Recorded launches: kernels with their arguments bound, and copies, enqueued again as often as wanted.

While ``Device.recorder`` is a ``Recording``, the device enqueues nothing: each launch gets a kernel object of its own with its arguments
set, so a replay costs one enqueue a launch. Arguments can be bound anew between replays: OpenCL takes their values when it enqueues.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pyopencl as cl

if TYPE_CHECKING:
    from .device import Device
    from .launch import Kernel


class Advancing(int):
    """A number in a kernel's arguments that is another one in the next replay; ``source`` says which."""

    source: Any = None


class Launch:
    """One enqueue of one kernel."""

    __slots__ = ("args", "global_size", "handle", "kernel", "local_size")

    def __init__(self, kernel: Kernel, global_size: tuple, local_size: tuple | None, args: tuple) -> None:
        self.kernel, self.global_size, self.local_size, self.args = kernel, global_size, local_size, list(args)
        self.handle = kernel.new_handle()
        self.handle.set_args(*args)

    def bind(self, position: int, value: Any) -> None:
        """Another memory object or number for one argument, from the next enqueue on."""
        scalar = self.kernel.arguments[position].scalar
        self.args[position] = value
        self.handle.set_arg(position, value if scalar is None else scalar(value))

    def writes(self, position: int) -> bool:
        return self.kernel.arguments[position].written

    def enqueue(self, queue: Any) -> None:
        cl.enqueue_nd_range_kernel(queue, self.handle, self.global_size, self.local_size)


class Command:
    """One copy or fill: ``function(queue, *args, **keywords)``."""

    __slots__ = ("args", "function", "keywords")

    def __init__(self, function: Callable, args: tuple, keywords: dict[str, Any]) -> None:
        self.function, self.args, self.keywords = function, list(args), keywords

    def bind(self, position: int, value: Any) -> None:
        self.args[position] = value

    def writes(self, position: int) -> bool:
        return position == 0

    def enqueue(self, queue: Any) -> None:
        self.function(queue, *self.args, **self.keywords)


class Recording:
    """What a device would have enqueued, in order."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.entries: list[Launch | Command] = []

    def launch(self, kernel: Kernel, global_size: tuple, local_size: tuple | None, args: tuple) -> None:
        self.entries.append(Launch(kernel, global_size, local_size, args))

    def command(self, function: Callable, args: tuple, keywords: dict[str, Any]) -> None:
        self.entries.append(Command(function, args, keywords))

    def places(self) -> dict[int, list[tuple[Launch | Command, int]]]:
        """Where each memory object is bound: address of the OpenCL object -> (entry, argument position)."""
        found: dict[int, list[tuple[Launch | Command, int]]] = {}
        for entry in self.entries:
            for position, value in enumerate(entry.args):
                if isinstance(value, cl.MemoryObject):
                    found.setdefault(value.int_ptr, []).append((entry, position))
        return found

    def advancing(self) -> list[tuple[Launch | Command, int, Advancing]]:
        """The arguments that are other numbers in each replay."""
        return [(entry, position, value) for entry in self.entries for position, value in enumerate(entry.args) if type(value) is Advancing]

    def enqueue(self) -> None:
        """Once more, on the current stream. Raises LaunchError where the driver refuses."""
        queue = self.device.queue
        try:
            for entry in self.entries:
                entry.enqueue(queue)
        except cl.Error as error:
            raise self.device.failure("replay a graph", error) from error


class Refusal:
    """Stands where a recording would be, on the devices that a graph isn't captured on."""

    def __init__(self, device: Device, captured: Device) -> None:
        self.device, self.captured = device, captured

    def launch(self, *_: Any) -> None:
        raise RuntimeError(f"an operator runs on {self.device.spec} while a graph is captured on {self.captured.spec}: "
                           f"a graph holds the work of one device, do this before or after the capture")

    command = launch
