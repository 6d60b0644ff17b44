"""Recorded launches: kernels with their arguments bound, and copies, enqueued again as often as wanted.

While ``Device.recorder`` is a ``Recording``, the device enqueues nothing: each launch gets a kernel object of its own with its arguments
set, so a replay costs one enqueue a launch. Arguments can be bound anew between replays: OpenCL takes their values when it enqueues.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyopencl as cl

from .submission import LITTLE

if TYPE_CHECKING:
    from .device import Device
    from .launch import Kernel
    from .segments import Segment
    from .submission import Submission


FEW, SMALL = 8, 1 << 16  # work-items, and bytes of memory, of a launch that one work-item may do alone


class Advancing(int):
    """A number in a kernel's arguments that is another one in the next replay; ``source`` says which."""

    source: Any = None


class Bound:
    """A kernel with its arguments set: a kernel object for the device's queue, one for the calling thread (inline.py), as they are needed."""

    __slots__ = ("_args", "_current", "_handles", "_kernel", "_recorded")

    def __init__(self, kernel: Kernel, args: Sequence) -> None:
        self._kernel, self._args = kernel, list(args)
        self._handles: dict[bool, Any] = {}
        self._current: bool | None = None  # whose kernel object has the arguments of now
        self._recorded: Any = None

    def handle(self, inline: bool) -> Any:
        if self._current is not inline:
            if inline not in self._handles:
                self._handles[inline] = self._kernel.new_handle(inline)
            self._handles[inline].set_args(*self._args)
            self._current = inline
        return self._handles[inline]

    def recorded(self) -> Any:
        """A kernel object for command buffers, with the arguments of now for good: those that are bound later go to another one."""
        if self._recorded is None:
            self._recorded = self.handle(False)
            del self._handles[False]
            self._current = None
        return self._recorded

    def bind(self, position: int, value: Any) -> None:
        self._args[position] = value
        self._recorded = None
        if self._current is not None:
            self._handles[self._current].set_arg(position, value)

    def enqueue(self, submission: Submission, global_size: tuple, local_size: tuple | None, little: bool) -> None:
        line = submission.line
        if line is None:
            cl.enqueue_nd_range_kernel(submission.queue, self.handle(False), global_size, local_size)
        elif little and line.is_idle():
            line.run(cl.enqueue_nd_range_kernel, self.handle(True), global_size, local_size)
        else:
            line.enqueue(cl.enqueue_nd_range_kernel, self.handle(False), global_size, local_size)


class Launch:
    """One enqueue of one kernel, or one of the members of a joined one: ``seats`` says which arguments of ``bound`` its own ones are.

    ``memories``: for each argument the address of the memory object that was recorded, None for a number. What is bound in its place is named by it still:
    two that are the same memory in one replay needn't be in the next.
    ``rebound``: where its segment (segments.py) looks for the ids of launches that got another argument, or None.
    """

    __slots__ = ("args", "bound", "global_size", "kernel", "little", "local_size", "memories", "rebound", "seats")

    def __init__(self, kernel: Kernel, global_size: tuple, local_size: tuple | None, args: tuple) -> None:
        self.kernel, self.global_size, self.local_size, self.args = kernel, global_size, local_size, list(args)
        self.memories = [value.int_ptr if isinstance(value, cl.MemoryObject) else None for value in args]
        self.separate()
        self.little = math.prod(global_size) <= LITTLE or self.small

    def separate(self) -> None:
        """By itself, as it was recorded."""
        self.bound = Bound(self.kernel, self.args)
        self.seats: Sequence[int | None] = range(len(self.args))
        self.rebound: set[int] | None = None

    def bind(self, position: int, value: Any) -> None:
        """Another memory object or number for one argument, from the next enqueue on."""
        if value is self.args[position]:
            return
        if self.rebound is not None:
            self.rebound.add(id(self))
        scalar = self.kernel.arguments[position].scalar
        self.args[position] = value
        seat = self.seats[position]
        assert seat is not None
        self.bound.bind(seat, value if scalar is None else scalar(value))

    def writes(self, position: int) -> bool:
        return self.kernel.arguments[position].written

    def enqueue(self, submission: Submission) -> None:
        self.bound.enqueue(submission, self.global_size, self.local_size, self.little)

    def bits(self, position: int) -> int:
        """A number among the arguments as 64 bits: an integer as it is, a float's own bits."""
        scalar = self.kernel.arguments[position].scalar
        assert scalar is not None
        number = scalar(self.args[position])
        if isinstance(number, np.floating):
            return int(number.view(f"uint{8 * number.itemsize}"))
        return int(number) & 0xFFFFFFFFFFFFFFFF

    @property
    def small(self) -> bool:
        """Whether one work-item does its work about as soon as all of the device do."""
        return math.prod(self.global_size) == 1 or (math.prod(self.global_size) <= FEW and self._bytes() <= SMALL)

    def _bytes(self) -> int:
        return sum(size for size in {value.int_ptr: value.size for value in self.args if isinstance(value, cl.MemoryObject)}.values())


class Joined:
    """Launches one after the other as one, by a kernel that was generated for them (codegen/joined.py).

    ``places``: for each launch, the joined kernel's argument for each of its own, counted from 0, or None for what the table holds;
    ``table``: its numbers, (launch, argument) where one is the bits of an argument; ``workers`` share the work by ``marks``.
    """

    __slots__ = ("bound", "held", "workers")

    def __init__(self, kernel: Kernel, launches: Sequence[Launch], places: Sequence[Sequence[int | None]],
                 table: Sequence[int | tuple[int, int]], workers: int = 1, marks: np.ndarray | None = None) -> None:
        args = {seat: value for launch, seats in zip(launches, places, strict=True) for value, seat in zip(launch.args, seats, strict=True)
                if seat is not None}
        numbers = [launches[n[0]].bits(n[1]) if isinstance(n, tuple) else n for n in table]
        flags, self.workers = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR, workers
        arrays = [np.array(numbers, np.uint64), *([] if marks is None else [marks])]
        self.held = [cl.Buffer(kernel.device.context, flags, hostbuf=array) for array in arrays]
        self.bound = Bound(kernel, [*[args[seat] for seat in sorted(args)], *self.held])
        for launch, seats in zip(launches, places, strict=True):
            launch.bound, launch.seats = self.bound, seats

    def enqueue(self, submission: Submission) -> None:
        self.bound.enqueue(submission, (self.workers,), (1,), little=self.workers == 1)


class Command:
    """One copy or fill of so many bytes: ``function(queue, *args, **keywords)``."""

    __slots__ = ("args", "function", "keywords", "nbytes")

    def __init__(self, nbytes: int, function: Callable, args: tuple, keywords: dict[str, Any]) -> None:
        self.nbytes, self.function, self.args, self.keywords = nbytes, function, list(args), keywords

    def bind(self, position: int, value: Any) -> None:
        self.args[position] = value

    def writes(self, position: int) -> bool:
        return position == 0

    def enqueue(self, submission: Submission) -> None:
        submission.command(self.nbytes, self.function, *self.args, **self.keywords)


class Recording:
    """What a device would have enqueued, in order."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.entries: list[Launch | Command] = []
        self.steps: Sequence[Launch | Command | Joined | Segment] = self.entries  # what is enqueued

    def launch(self, kernel: Kernel, global_size: tuple, local_size: tuple | None, args: tuple) -> None:
        self.entries.append(Launch(kernel, global_size, local_size, args))

    def command(self, nbytes: int, function: Callable, args: tuple, keywords: dict[str, Any]) -> None:
        self.entries.append(Command(nbytes, function, args, keywords))

    def places(self) -> dict[int, list[tuple[Launch | Command, int]]]:
        """Where each memory object is bound: address of the OpenCL object -> (entry, argument position)."""
        found: dict[int, list[tuple[Launch | Command, int]]] = {}
        for entry in self.entries:
            for position, value in enumerate(entry.args):
                if isinstance(value, cl.MemoryObject):
                    found.setdefault(value.int_ptr, []).append((entry, position))
        return found

    def separate(self) -> None:
        """Each launch by itself again."""
        self.steps = self.entries
        for entry in self.entries:
            if isinstance(entry, Launch):
                entry.separate()

    def runs(self, joinable: Callable[[Launch], bool]) -> list[list[Launch]]:
        """The launches that could be joined with their neighbours, in order: two or more at a time."""
        found: list[list[Launch]] = [[]]
        for entry in self.entries:
            if isinstance(entry, Launch) and joinable(entry):
                found[-1].append(entry)
            elif found[-1]:
                found.append([])
        return [run for run in found if len(run) > 1]

    def join(self, launches: Sequence[Launch], joined: Joined) -> None:
        """From now on ``joined`` is enqueued in the place of these neighbours."""
        first = self.steps.index(launches[0])
        self.steps = [*self.steps[:first], joined, *self.steps[first + len(launches):]]

    def advancing(self) -> list[tuple[Launch | Command, int, Advancing]]:
        """The arguments that are other numbers in each replay."""
        return [(entry, position, value) for entry in self.entries for position, value in enumerate(entry.args) if type(value) is Advancing]

    def enqueue(self) -> None:
        """Once more, on the current stream. Raises LaunchError where the driver refuses."""
        self.device.hand_over()
        submission = self.device.submission
        try:
            for step in self.steps:
                step.enqueue(submission)
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
