"""When launches are handed to the driver.

A CPU's driver wakes its sleeping threads at each launch, which costs the caller 10 to 20 us (PoCL, measured), five times what the launch itself
does, if the threads fell asleep while Python prepared it. So launches of little work wait for each other: they are handed over together when
there are ``BURST`` of them, with the next launch that has work for all threads, and before anything else is asked of the queue.

Other devices get each launch at once, and a clFlush every ``FLUSH`` launches: without one some drivers keep them all until the host waits, and a
watchdog sees a device that makes no progress.
"""
from __future__ import annotations

import math
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .launch import Kernel

BURST = 16  # launches that are worth one waking
FLUSH = 32
LITTLE = 2  # work-items of a CPU's launch that are too few to wake the threads for


class Submission:
    """A device's current queue and the launches that wait for it, in order."""

    __slots__ = ("lock", "queue", "unflushed", "waiting")

    def __init__(self, queue: Any) -> None:
        self.queue = queue
        self.unflushed = 0
        self.waiting: deque[tuple[Kernel, tuple, tuple | None, tuple]] = deque()
        self.lock = threading.RLock()

    def add(self, kernel: Kernel, global_size: tuple, local_size: tuple | None, args: tuple) -> None:
        """Launch now or with the next ones. Raises what ``Kernel.submit`` raises, for this launch or one that waited."""
        self.waiting.append((kernel, global_size, local_size, args))
        if len(self.waiting) >= BURST or math.prod(global_size) > LITTLE:
            self.drain()

    def at_once(self, kernel: Kernel, global_size: tuple, local_size: tuple | None, args: tuple) -> None:
        """Launch now, after what waits. Raises what ``Kernel.submit`` raises."""
        if self.waiting:
            self.drain()
        kernel.submit(self.queue, global_size, local_size, args)
        self.unflushed += 1
        if self.unflushed >= FLUSH:
            self.unflushed = 0
            self.queue.flush()

    def drain(self) -> None:
        """Hand over all that waits. Where a launch fails, its error is raised, and the next call goes on after it."""
        with self.lock:
            while self.waiting:
                kernel, global_size, local_size, args = self.waiting.popleft()
                kernel.submit(self.queue, global_size, local_size, args)
