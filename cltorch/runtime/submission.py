"""When launches are handed to the driver.

A CPU's driver wakes its sleeping threads at each launch, which costs the caller 10 to 20 us (PoCL, measured), five times what the launch itself
does, if the threads fell asleep while Python prepared it. So launches of little work wait for each other: they are handed over together when
there are ``BURST`` of them, with the next launch that has work for all threads, and before anything else is asked of the queue. Other devices
get each launch at once.
"""
from __future__ import annotations

import math
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .launch import Kernel

BURST = 16  # launches that are worth one waking
LITTLE = 2  # work-items of a CPU's launch that are too few to wake the threads for


class Submission:
    """A device's current queue and the launches that wait for it, in order."""

    __slots__ = ("lock", "queue", "waiting")

    def __init__(self, queue: Any) -> None:
        self.queue = queue
        self.waiting: deque[tuple[Kernel, tuple, tuple | None, tuple]] = deque()
        self.lock = threading.RLock()

    def add(self, kernel: Kernel, global_size: tuple, local_size: tuple | None, args: tuple) -> None:
        """Launch now or with the next ones. Raises what ``Kernel.submit`` raises, for this launch or one that waited."""
        self.waiting.append((kernel, global_size, local_size, args))
        if len(self.waiting) >= BURST or math.prod(global_size) > LITTLE:
            self.drain()

    def drain(self) -> None:
        """Hand over all that waits. Where a launch fails, its error is raised, and the next call goes on after it."""
        with self.lock:
            while self.waiting:
                kernel, global_size, local_size, args = self.waiting.popleft()
                kernel.submit(self.queue, global_size, local_size, args)
