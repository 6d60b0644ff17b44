"""What keeps a row below its goal, from the limits that were measured in its own rounds: bytes, arithmetic, launches, and how near it is to each."""
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


def bounds(row: Row) -> list[Bound]:
    """Those that were measured in the row's rounds, the one that takes longest first."""
    found = [*memory(row), *operations(row), *launches(row), *parts(row)]
    return sorted((bound for bound in found if bound.seconds), reverse=True)


def memory(row: Row) -> list[Bound]:
    """As many bytes as are read and written go at the copy's bandwidth, what is left at the one of its own direction."""
    read, rest = row.moved - row.written, row.moved - 2 * row.written
    direction, copy = limits.READ if rest > 0 else limits.WRITE, COPY[1]
    if not row.moved or copy not in row.beside or (rest and direction not in row.beside):
        return []
    seconds = 2 * min(read, row.written) / row.beside[copy] + (abs(rest) / row.beside[direction] if rest else 0.0)
    small = ONE_SIDED * row.moved
    name = "copy " if abs(rest) < small else "read " if row.written < small else "write " if read < small else ""
    return [Bound(seconds, f"{name}bandwidth")]


def operations(row: Row) -> list[Bound]:
    return [Bound(row.flops / row.beside[limits.ARITHMETIC], "multiply-add peak")] if limits.ARITHMETIC in row.beside else []


def parts(row: Row) -> list[Bound]:
    return [Bound(row.beside[limits.PRODUCTS], "what its products alone take")] if limits.PRODUCTS in row.beside else []


def launches(row: Row) -> list[Bound]:
    kinds = [(row.launches - row.little, limits.LAUNCH), (row.little, limits.LITTLE_LAUNCH)]
    parts = [(count, row.beside.get(name, 0.0)) for count, name in kinds if count]
    if not parts or not all(each for _, each in parts):
        return []
    seconds = sum(count * each for count, each in parts)
    return [Bound(seconds, "launches", f"{' + '.join(f'{count} x {human_seconds(each)}' for count, each in parts)} = {human_seconds(seconds)}")]


class Finding(NamedTuple):
    """``most``: the ratio that the device allows, 0 where no limit is near."""

    text: str
    most: float = 0.0


def finding(mine: Row, other: Row, same: bool) -> Finding:
    """What a row's time says of its limits. ``same``: the rival computes on the same processor, so that what it surpasses is no limit of ours."""
    quickest = min(mine.median, other.median) if same else mine.median
    found = [bound for bound in bounds(mine) if bound.seconds <= NOISE * (mine.median if bound.sum else quickest)]
    if not found or found[0].seconds < NEAR * mine.median:
        parts = explained(mine, other, found, same)
        return Finding(f"no limit reached{': ' if parts else ''}{', '.join(parts)}")
    bound, ratio = found[0], other.median / mine.median
    most = max(ratio, other.median / bound.seconds, 1.0 if same and not bound.sum else 0.0)  # what the rival reaches can be reached
    if bound.sum:
        return Finding(bound.says(mine), most)
    rival = theirs(bound, other) if same and bound.seconds / other.median >= REACHED else ""
    return Finding(f"{bound.says(mine)}{rival}, at most {human_ratio(most)}", most)


def explained(mine: Row, other: Row, found: Sequence[Bound], same: bool) -> list[str]:
    """What is known of a row that is near no limit. Caches are quicker than memory: its bandwidth is no limit where somebody surpasses it."""
    surpassed = [bound for bound in memory(mine) if bound not in found]
    if surpassed:
        return [f"{bound.share(mine)}{theirs(bound, other)}, caches" for bound in surpassed]
    host = statistics.median(mine.returned) / mine.median if mine.returned else 0.0
    if host >= NEAR:
        return [*(bound.share(mine) for bound in found[:1]), f"host calls {100 * host:.0f} %"]
    return [bound.share(mine) + (theirs(bound, other) if same and not bound.sum else "") for bound in found[:1]]


def theirs(bound: Bound, other: Row) -> str:
    return f" (rival {100 * bound.seconds / other.median:.0f} %)"


def same_processor(ours: Mapping[str, Any], rival: Mapping[str, Any]) -> bool:
    """Whether two contestants compute on a processor of the same kind."""
    return ours.get("kind") == rival.get("kind")


def is_timed(mine: Row, other: Row | None) -> bool:
    """Whether no side lacks times. ``other`` None: the row is ours alone."""
    return bool(mine.seconds and (other is None or other.seconds))


def is_reached(mine: Row, other: Row | None) -> bool:
    """A goal is a ratio of times, or seconds."""
    return is_timed(mine, other) and (other.median / mine.median >= mine.goal if other and mine.goal else mine.median <= mine.limit)


def remark(mine: Row, other: Row | None, same: bool) -> Finding:
    """Nothing for a row that reached its goal or has none, or that either side lacks."""
    if not (mine.goal or mine.limit) or not is_timed(mine, other) or is_reached(mine, other):
        return Finding("")
    return finding(mine, other, same) if other else Finding("the compiler's time")
