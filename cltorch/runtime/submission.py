"""When launches are handed to the driver, and to which of its threads.

A CPU's driver wakes its sleeping threads at each launch, which costs the caller 10 to 20 us (PoCL, measured), five times what the launch itself
does, if the threads fell asleep while Python prepared it. Where the driver has a second device that works in the calling thread (inline.py),
a launch of little work runs there while the first has nothing to do. Elsewhere such launches wait for each other: they are handed over together
when there are ``BURST`` of them, with the next launch that has work for all threads, and before anything else is asked of the queue.

Other devices get each launch at once, and a clFlush every ``FLUSH`` launches: without one some drivers keep them all until the host waits, and a
watchdog sees a device that makes no progress.
"""
from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pyopencl as cl

if TYPE_CHECKING:
    from .launch import Kernel

BURST = 16  # launches that are worth one waking
FLUSH = 32
LITTLE = 2  # work-items of a CPU's launch that are too few to wake the threads for
LITTLE_BYTES = 1 << 18  # a copy or fill that takes about as long as the waking
COMPLETE = cl.command_execution_status.COMPLETE
UNKNOWN = object()


class Line:
    """A device's first queue and, beside it, one whose commands run in the calling thread.

    A command on ``inline`` is over when its call returns, so nothing has to wait for it; it may start only while ``queue`` has nothing to do.
    ``last``: the newest command on ``queue``, None where it is known to be over, UNKNOWN for good where others may use the queue.
    ``lock``: held while either queue gets a command; without it a command of another thread's could be queued behind one on ``inline``, and
    its call return too early.
    """

    __slots__ = ("inline", "last", "lock", "queue")

    def __init__(self, queue: Any, inline: Any) -> None:
        self.queue, self.inline = queue, inline
        self.last: Any = None
        self.lock = threading.RLock()

    def is_idle(self) -> bool:
        """Whether a command may run in this thread now."""
        last = self.last
        if last is not None and last is not UNKNOWN and last.command_execution_status == COMPLETE:
            self.has_ended(last)
        return self.last is None

    def has_ended(self, command: Any) -> None:
        """Everything on ``queue`` until ``command`` is over."""
        with self.lock:
            if self.last is command and command is not UNKNOWN:
                self.last = None

    def enqueue(self, command: Callable, *args: Any, **keywords: Any) -> Any:
        """``command(queue, ...)`` behind what was enqueued before. Returns its event, None where nothing was enqueued."""
        with self.lock:
            event = command(self.queue, *args, **keywords)
            if event is not None and self.last is not UNKNOWN:
                self.last = event
        return event

    def run(self, command: Callable, *args: Any, **keywords: Any) -> Any:
        """``command(inline, ...)`` now; only after ``is_idle`` said so."""
        with self.lock:
            return command(self.inline, *args, **keywords)

    def retire(self) -> None:
        """From now on everything goes to ``queue``: somebody else may use it."""
        with self.lock:
            self.last = UNKNOWN


class Transfer:
    """A copy or fill that waits in line as a launch does; its other arguments are ``args`` there."""

    __slots__ = ("command", "keywords")
    is_built = True

    def __init__(self, command: Callable, keywords: dict[str, Any]) -> None:
        self.command, self.keywords = command, keywords

    def submit(self, queue: Any, global_size: tuple, local_size: tuple | None, args: tuple) -> Any:
        return self.command(queue, *args, **self.keywords)


class Submission:
    """A device's current queue and the launches that wait for it, in order. ``line`` is ``home`` while its queue is the current one."""

    __slots__ = ("handing", "home", "line", "lock", "queue", "unflushed", "waiting")

    def __init__(self, queue: Any, home: Line | None = None) -> None:
        self.home = home
        self.unflushed = 0
        self.handing = False
        self.waiting: deque[tuple[Kernel | Transfer, tuple, tuple | None, tuple]] = deque()
        self.lock = threading.RLock()
        self.turn_to(queue)

    def turn_to(self, queue: Any) -> None:
        """Another queue from now on."""
        self.queue = queue
        self.line = self.home if self.home is not None and self.home.queue is queue else None

    def add(self, kernel: Kernel, global_size: tuple, local_size: tuple | None, args: tuple) -> None:
        """Launch in this thread, now or with the next ones. Raises what ``Kernel.submit`` raises, for this launch or one that waited."""
        line = self.line
        if line is not None:
            if self.waiting:
                self.at_once(kernel, global_size, local_size, args)
                return
            if math.prod(global_size) > LITTLE or not (line.last is None or line.is_idle()):
                self.at_once(kernel, global_size, local_size, args)
                return
            try:
                with line.lock:
                    kernel.inline(line.inline, global_size, local_size, *args)
            except cl.Error as error:
                kernel.again(error, line, global_size, local_size, args)
            return
        self.waiting.append((kernel, global_size, local_size, args))
        if len(self.waiting) >= BURST or math.prod(global_size) > LITTLE:
            self.advance()

    def hold(self, kernel: Kernel, global_size: tuple, local_size: tuple | None, args: tuple) -> None:
        """Launch when the kernel has been built (builders.py)."""
        if kernel.is_built:
            kernel.choose()
            kernel(global_size, local_size, *args)
        else:
            self.waiting.append((kernel, global_size, local_size, args))

    def at_once(self, kernel: Kernel, global_size: tuple, local_size: tuple | None, args: tuple) -> None:
        """Launch now, or behind what waits for its kernel. Raises what ``Kernel.submit`` raises."""
        if self.waiting and not self.advance():
            self.waiting.append((kernel, global_size, local_size, args))
        else:
            self._launch(kernel, global_size, local_size, args)

    def _launch(self, kernel: Kernel | Transfer, global_size: tuple, local_size: tuple | None, args: tuple) -> None:
        if self.line is None:
            kernel.submit(self.queue, global_size, local_size, args)
        else:
            self.line.enqueue(kernel.submit, global_size, local_size, args)
        self.unflushed += 1
        if self.unflushed >= FLUSH:
            self.unflushed = 0
            self.queue.flush()

    def command(self, nbytes: int, command: Callable, *args: Any, **keywords: Any) -> Any:
        """``command(queue, ...)``, a copy or fill of so many bytes, after what waits. Returns its event."""
        if self.waiting:
            self.drain()
        return self.ahead(nbytes, command, *args, **keywords)

    def follow(self, command: Callable, args: tuple, keywords: dict[str, Any]) -> None:
        """``command(queue, ...)`` behind what waits, some time after this returns."""
        self.waiting.append((Transfer(command, keywords), (), None, args))

    def ahead(self, nbytes: int, command: Callable, *args: Any, **keywords: Any) -> Any:
        """``command`` before what waits, which doesn't know the memory yet."""
        line = self.line
        if line is None:
            return command(self.queue, *args, **keywords)
        return (line.run if nbytes <= LITTLE_BYTES and line.is_idle() else line.enqueue)(command, *args, **keywords)

    def settle(self) -> None:
        """Where this thread can run commands, wait until it may."""
        self.drain()
        if self.line is not None and not self.line.is_idle():
            last = self.line.last
            self.queue.finish()
            self.line.has_ended(last)

    def enqueue_on(self, queue: Any, command: Callable, **keywords: Any) -> Any:
        """``command(queue, ...)``, a barrier or marker on whichever queue of the device's. Returns its event."""
        if self.home is not None and self.home.queue is queue:
            return self.home.enqueue(command, **keywords)
        return command(queue, **keywords)

    def drain(self) -> None:
        """Hand over all that waits, built by then. Where a launch fails, its error is raised, and the next call goes on after it."""
        self._hand_over(lambda: True)

    def advance(self) -> bool:
        """Hand over what waits up to the first kernel that isn't built. Whether nothing waits any more."""
        self._hand_over(lambda: self.waiting[0][0].is_built)
        return not self.waiting

    def _hand_over(self, may: Callable[[], bool]) -> None:
        with self.lock:
            if self.handing:  # by a finalizer that runs within a launch of this thread's
                return
            self.handing = True
            try:
                while self.waiting and may():
                    try:
                        self._launch(*self.waiting[0])
                    finally:
                        self.waiting.popleft()  # no sooner: another thread's launch must find that something waits
            finally:
                self.handing = False
