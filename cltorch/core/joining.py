"""The little launches of a graph, next to each other, become one launch.

What a processor's driver needs to hand over from one kernel to the next is many times the work of a kernel on a few thousand numbers. The
joined kernel does the same work in the same order, on one work-item.
"""
from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ..codegen import Argument, Member, join, joinable
from ..runtime import program
from ..runtime.graph import Joined, Launch, Recording
from ..runtime.launch import Kernel

ARGUMENTS = 64  # what every device takes, of 8 bytes at most: half of the 1024 bytes that it takes

Seats = list[tuple[int | None, ...]]


def join_little(recording: Recording, live: set[tuple[int, int]]) -> None:
    """``live``: (id of a launch, position) of the numbers that are bound anew between replays; others are read from a table."""
    dev = recording.device
    if dev.strategy != "wide":
        return
    for run in recording.runs(_little):
        steered = {(launch.kernel, p) for launch in run for p in range(len(launch.args)) if (id(launch), p) in live}
        for launches, seats in _parts(run, steered):
            if len(launches) > 1:
                source, table = join(_members(launches, seats))
                kernel = program.build(dev, source, f"{len(launches)} launches as one").kernel("joined")
                recording.join(launches, Joined(kernel, launches, seats, table))


def _little(launch: Launch) -> bool:
    one = launch.local_size is None or math.prod(launch.local_size) == 1
    return one and launch.small and joinable(launch.kernel.program.source)


def _parts(run: Sequence[Launch], steered: set[tuple[Kernel, int]]) -> Iterator[tuple[list[Launch], Seats]]:
    """The run in pieces whose arguments a kernel may have; memory that several launches name is one argument."""
    launches: list[Launch] = []
    places: Seats = []
    known: dict[int, int] = {}
    taken = 1
    for launch in run:
        fresh = [p for p in range(len(launch.args)) if launch.memory(p) is not None or (launch.kernel, p) in steered]
        if launches and taken + len(fresh) > ARGUMENTS:
            yield launches, places
            launches, places, known, taken = [], [], {}, 1
        seats: list[int | None] = [None] * len(launch.args)
        for position in fresh:
            address = launch.memory(position)
            seat = known.get(address) if address is not None else None
            if seat is None:
                seat, taken = taken, taken + 1
                if address is not None:
                    known[address] = seat
            seats[position] = seat
        launches.append(launch)
        places.append(tuple(seats))
    yield launches, places


def _members(launches: Sequence[Launch], seats: Seats) -> list[Member]:
    return [Member(launch.kernel.program.source, launch.kernel.name, launch.global_size,
                   tuple(Argument(a.type, a.scalar is None, seat) for a, seat in zip(launch.kernel.arguments, places, strict=True)))
            for launch, places in zip(launches, seats, strict=True)]
