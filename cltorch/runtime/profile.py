"""Timing launches with OpenCL events: a table by kernel, a Chrome trace (chrome://tracing, Perfetto)."""
from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from .device import Device, devices, host
from .observe import Observer, memory_of
from .stream import order


class Launch(NamedTuple):
    """One kernel that ran. Times are seconds on the device's clock; ``nbytes`` counts the whole buffers among its arguments once."""

    device: str
    kernel: str
    queued: float
    start: float
    end: float
    nbytes: int
    global_size: tuple
    local_size: tuple | None


class Profile(Observer):
    """``with Profile() as p: ...`` times each launch on the given devices (all that are open) without waiting between them.

    Inside, launches go to a profiling queue, which some drivers run more slowly.
    """

    def __init__(self, on: Iterable[Device] | None = None) -> None:
        self._on = None if on is None else list(on)
        self._events: list[tuple] = []
        self._before: dict[Device, Any] = {}
        self.launches: list[Launch] = []

    def __enter__(self) -> Profile:
        if self._on is None:
            self._on = [dev for dev in [*devices(), host()] if dev.is_open or (dev.engine is not None and dev.engine.is_open)]
        for dev in self._on:
            self._before[dev] = before = dev.queue
            timed = dev.new_queue(profiling=True)
            order(dev, before, timed)
            dev.queues.append(timed)
            dev.queue = timed
            dev.watch(self)
        return self

    def __exit__(self, *error: object) -> None:
        for dev, before in self._before.items():
            dev.unwatch(self)
            timed, dev.queue = dev.queue, before
            dev.guard("finish its work", timed.finish)
            dev.queues.remove(timed)
        self._before.clear()
        self.launches += [self._read(*entry) for entry in self._events]
        self._events.clear()

    def after(self, kernel: Any, event: Any, global_size: tuple, local_size: tuple | None, args: tuple) -> None:
        nbytes = sum(mem.size for mem in memory_of(args))
        self._events.append((str(kernel.device.spec), f"{kernel.program.label}:{kernel.name}", event, nbytes, global_size, local_size))

    def _read(self, device: str, kernel: str, event: Any, nbytes: int, global_size: tuple, local_size: tuple | None) -> Launch:
        times = event.profile
        return Launch(device, kernel, times.queued * 1e-9, times.start * 1e-9, times.end * 1e-9, nbytes, global_size, local_size)

    def totals(self) -> list[tuple[str, int, float, int]]:
        """(kernel, calls, seconds, bytes), longest first."""
        sums: dict[str, list] = {}
        for launch in self.launches:
            row = sums.setdefault(launch.kernel, [0, 0.0, 0])
            row[0] += 1
            row[1] += launch.end - launch.start
            row[2] += launch.nbytes
        return sorted(((kernel, *row) for kernel, row in sums.items()), key=lambda row: -row[2])

    def table(self, rows: int = 30) -> str:
        """The kernels that took longest. GB/s is an upper bound: it counts whole buffers."""
        totals = self.totals()
        everything = sum(row[2] for row in totals) or 1e-12
        width = max([len(row[0]) for row in totals[:rows]] + [6])
        lines = [f"{'kernel':{width}} {'calls':>7} {'total ms':>10} {'us each':>10} {'share':>6} {'GB/s':>8}"]
        lines += [f"{kernel:{width}} {calls:7d} {seconds * 1e3:10.3f} {seconds / calls * 1e6:10.1f} {seconds / everything:6.1%} "
                  f"{nbytes / max(seconds, 1e-12) / 1e9:8.2f}" for kernel, calls, seconds, nbytes in totals[:rows]]
        lines.append(f"{'all':{width}} {len(self.launches):7d} {everything * 1e3:10.3f}")
        return "\n".join(lines)

    def export_chrome_trace(self, path: str | os.PathLike) -> None:
        """Write the launches as a Chrome trace; times start at the first launch of each device."""
        origin: dict[str, float] = {}
        for launch in self.launches:
            origin[launch.device] = min(origin.get(launch.device, launch.queued), launch.queued)
        events = [{"name": launch.kernel, "cat": "kernel", "ph": "X", "pid": launch.device, "tid": "queue",
                   "ts": (launch.start - origin[launch.device]) * 1e6, "dur": (launch.end - launch.start) * 1e6,
                   "args": {"global": launch.global_size, "local": launch.local_size, "bytes": launch.nbytes,
                            "waited us": (launch.start - launch.queued) * 1e6}} for launch in self.launches]
        Path(path).write_text(json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}))
