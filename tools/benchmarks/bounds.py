"""What keeps a row below its goal, from what the suite limits measured in the same run: bytes, arithmetic or launches, and how near it is to each."""
from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from . import limits
from .results import COPY, Row, human_ratio, human_seconds

NEAR = 0.7      # of a limit from which on it explains a row
REACHED = 0.9   # of a limit from which on a rival is said to be at it, too
NOISE = 1.15    # who needs less than a limit's time by more than this isn't bound by it
ONE_SIDED = 0.01  # a part of the bytes that is too small to name them by


class Bound(NamedTuple):
    """The seconds that a call takes at least, by what, and for launches how they come about."""

    seconds: float
    name: str
    sum: str = ""

    def says(self, row: Row) -> str:
        """How near a row is to it."""
        return f"{self.name}: {self.sum} of {human_seconds(row.median)}" if self.sum else self.share(row)

    def share(self, row: Row) -> str:
        percent = f"{100 * self.seconds / row.median:.0f} %"
        return f"{self.name} {percent}" if self.sum else f"{percent} of {self.name}"


class Limits:
    """One contestant's own limits: bytes a second both ways, read and written; operations a second by dtype; seconds of a launch. Each is that of the
    samples' quicker quartile: what else the machine does makes a limit look lower, never higher."""

    def __init__(self, rows: Sequence[Row], contestant: str) -> None:
        found = {row.key: row for row in rows if row.contestant == contestant and row.seconds}
        bandwidths = {"copy": COPY, "read": ("limits", limits.READ, "float32"), "write": ("limits", limits.WRITE, "float32")}
        self.bandwidth = {name: found[key].moved / found[key].quartiles[0] for name, key in bandwidths.items() if key in found}
        self.arithmetic = {row.dtype: row.flops / row.quartiles[0] for row in found.values() if (row.suite, row.case) == ("limits", limits.ARITHMETIC)}
        self.launch = [found[key].quartiles[0] if (key := ("limits", name, "float32")) in found else 0.0 for name in (limits.LAUNCH, limits.LITTLE_LAUNCH)]

    def bounds(self, row: Row) -> list[Bound]:
        """Those that were measured, the one that takes longest first."""
        found = [*self.memory(row), *self.operations(row), *self.launches(row)]
        return sorted((bound for bound in found if bound.seconds), reverse=True)

    def memory(self, row: Row) -> list[Bound]:
        """As many bytes as are read and written go at the copy's bandwidth, what is left at the one of its own direction."""
        if len(self.bandwidth) < 3 or not row.moved:
            return []
        read, rest = row.moved - row.written, row.moved - 2 * row.written
        both = 2 * min(read, row.written) / self.bandwidth["copy"]
        seconds = both + abs(rest) / self.bandwidth["read" if rest > 0 else "write"]
        small = ONE_SIDED * row.moved
        name = "copy" if abs(rest) < small else "read" if row.written < small else "write" if read < small else "memory"
        return [Bound(seconds, f"{name} bandwidth")]

    def operations(self, row: Row) -> list[Bound]:
        return [Bound(row.flops / self.arithmetic[row.dtype], "multiply-add peak")] if row.dtype in self.arithmetic else []

    def launches(self, row: Row) -> list[Bound]:
        counts = (row.launches - row.little, row.little)
        if not row.launches or not all(self.launch):
            return []
        seconds = sum(count * each for count, each in zip(counts, self.launch, strict=True))
        parts = [f"{count} x {human_seconds(each)}" for count, each in zip(counts, self.launch, strict=True) if count]
        return [Bound(seconds, "launches", f"{' + '.join(parts)} = {human_seconds(seconds)}")]


class Finding(NamedTuple):
    """``most``: the ratio that the device allows, 0 where no limit is near."""

    text: str
    most: float = 0.0


def finding(mine: Row, other: Row, found: Limits, same: bool) -> Finding:
    """What a row's time says of its limits. ``same``: the rival computes on the same processor, so that what it surpasses is no limit of ours."""
    quickest = min(mine.median, other.median) if same else mine.median
    bounds = [bound for bound in found.bounds(mine) if bound.seconds <= NOISE * (mine.median if bound.sum else quickest)]
    if not bounds or bounds[0].seconds < NEAR * mine.median:
        parts = explained(mine, other, bounds, found)
        return Finding(f"no limit reached{': ' if parts else ''}{', '.join(parts)}")
    bound, ratio = bounds[0], other.median / mine.median
    most = max(ratio, other.median / bound.seconds, 1.0 if same and not bound.sum else 0.0)  # what the rival reaches can be reached
    if bound.sum:
        return Finding(bound.says(mine), most)
    theirs = bound.seconds / other.median
    rival = f" (rival {100 * theirs:.0f} %)" if same and theirs >= REACHED else ""
    return Finding(f"{bound.says(mine)}{rival}, at most {human_ratio(most)}", most)


def explained(mine: Row, other: Row, bounds: Sequence[Bound], found: Limits) -> list[str]:
    """What is known of a row that is near no limit. Caches are quicker than memory: its bandwidth is no limit where somebody surpasses it."""
    surpassed = [bound for bound in found.memory(mine) if bound not in bounds]
    parts = [f"{bound.share(mine)} (rival {100 * bound.seconds / other.median:.0f} %), caches" for bound in surpassed] or \
        [bound.share(mine) for bound in bounds[:1]]
    host = statistics.median(mine.returned) / mine.median if mine.returned else 0.0
    return [*parts, *([f"host calls {100 * host:.0f} %"] if host >= NEAR else [])]


def same_processor(ours: Mapping[str, Any], rival: Mapping[str, Any]) -> bool:
    """Whether two contestants compute on a processor of the same kind."""
    return ours.get("kind") == rival.get("kind")


def is_reached(mine: Row, other: Row) -> bool:
    """A goal is a ratio of times, or seconds."""
    return other.median / mine.median >= mine.goal if mine.goal else mine.median <= mine.limit


def remark(mine: Row, other: Row, found: Limits, same: bool) -> Finding:
    """Nothing for a row that reached its goal or has none, or that either side lacks."""
    if not (mine.goal or mine.limit) or not mine.seconds or not other.seconds or is_reached(mine, other):
        return Finding("")
    return finding(mine, other, found, same)
