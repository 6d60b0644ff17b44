"""The launches of a graph, next to each other, become one launch on a processor.

To hand over from one kernel to the next its driver wakes threads, which takes 20 to 40 us: many times the work of a kernel on a few thousand
numbers, and the tenth part of a product of 512 columns. The joined kernel does the same work in the same order, on one work-item where all of it is little.
"""
from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ..codegen import MARKS, Argument, Member, join, joinable
from ..runtime import program
from ..runtime.graph import Joined, Launch, Recording
from ..runtime.launch import Kernel

ARGUMENTS = 120  # and two more, of 8 bytes at most, of the 1024 bytes that every device takes
WORKERS = 4  # work-items a compute unit: a driver that hands them out by several at a time still gives each thread some; late ones find nothing to do

Seats = list[tuple[int | None, ...]]


class Plan(NamedTuple):
    """Neighbours of a recording and the kernel that does their work in one launch; ``shared`` by several work-items."""

    launches: list[Launch]
    seats: Seats
    table: Sequence[int | tuple[int, int]]
    shared: bool
    kernel: Kernel


def plan_joins(recording: Recording, live: set[tuple[int, int]], every: bool) -> list[Plan]:
    """Neighbours of little work as one launch, or with ``every`` all. ``live``: (id of a launch, position) of the numbers that are bound anew between
    replays; others are read from a table. The kernels are compiled meanwhile, where there is somebody to do so."""
    dev = recording.device
    plans: list[Plan] = []
    if dev.strategy != "wide":
        return plans
    for run in recording.runs(lambda launch: (every or launch.small) and _alone(launch)):
        steered = {(launch.kernel, p) for launch in run for p in range(len(launch.args)) if (id(launch), p) in live}
        for launches, seats in _parts(run, steered):
            if len(launches) > 1:
                shared = not all(launch.small for launch in launches)
                source, table = join(_members(launches, seats), shared)
                kernel = program.build(dev, source, f"{len(launches)} launches as one", later=True).kernel("joined")
                plans.append(Plan(launches, seats, table, shared, kernel))
    return plans


def join_launches(recording: Recording, plans: Sequence[Plan]) -> None:
    """From now on the recording's launches are enqueued as planned."""
    recording.separate()
    for launches, seats, table, shared, kernel in plans:
        marks = np.zeros(MARKS * (len(launches) + 1), np.uint32) if shared else None
        workers = WORKERS * recording.device.compute_units if shared else 1
        recording.join(launches, Joined(kernel, launches, seats, table, workers, marks))


def _alone(launch: Launch) -> bool:
    """Whether its groups are of one work-item, which shares nothing."""
    one = launch.local_size is None or math.prod(launch.local_size) == 1
    return one and math.prod(launch.global_size) < 1 << 32 and joinable(launch.kernel.program.source)


def _parts(run: Sequence[Launch], steered: set[tuple[Kernel, int]]) -> Iterator[tuple[list[Launch], Seats]]:
    """The run in pieces whose arguments a kernel may have; memory that several launches name is one argument."""
    launches: list[Launch] = []
    places: Seats = []
    known: dict[int, int] = {}
    taken = 0
    for launch in run:
        fresh = [p for p, address in enumerate(launch.memories) if address is not None or (launch.kernel, p) in steered]
        if launches and taken + len(fresh) > ARGUMENTS:
            yield launches, places
            launches, places, known, taken = [], [], {}, 0
        seats: list[int | None] = [None] * len(launch.args)
        for position in fresh:
            address = launch.memories[position]
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
