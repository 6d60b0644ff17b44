"""How many launches a call makes, one by one or in a graph's replay."""
from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

from cltorch.runtime import graph
from cltorch.runtime.device import Device
from cltorch.runtime.observe import Observer
from cltorch.runtime.submission import LITTLE


class Counter(Observer):
    """``little``: those of the ``launches`` that have too few work-items for all compute units."""

    def __init__(self) -> None:
        self.launches = self.little = 0

    def note(self, global_size: tuple) -> None:
        self.launches += 1
        self.little += math.prod(global_size) <= LITTLE

    def before(self, kernel: Any, global_size: tuple, local_size: tuple | None, args: tuple) -> None:
        self.note(global_size)


@contextlib.contextmanager
def counted(dev: Device) -> Iterator[Counter]:
    """Counts what is launched on a device within the block. A graph's replay goes past a device's observers: its enqueues are counted themselves."""
    counter, enqueue = Counter(), graph.Bound.enqueue

    def counting(bound: graph.Bound, submission: Any, global_size: tuple, *more: Any, **options: Any) -> None:
        counter.note(global_size)
        enqueue(bound, submission, global_size, *more, **options)

    dev.watch(counter)
    graph.Bound.enqueue = counting  # type: ignore[assignment]
    try:
        yield counter
    finally:
        graph.Bound.enqueue = enqueue  # type: ignore[method-assign]
        dev.unwatch(counter)
