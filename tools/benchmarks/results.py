"""What a run leaves: rows, the run's environment, the JSON file, and the figures that the table and the page show."""
from __future__ import annotations

import dataclasses
import json
import math
import os
import statistics
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

SCHEMA = 1
COPY = ("memory", "copy", "float32")  # the case that shares are counted from
UNKNOWN = "not in this library"  # the note of a rival that has no such operator


@dataclasses.dataclass
class Row:
    """One contestant in one case: seconds a call of each sample, ``calls`` calls a sample; ``note`` says why there are none."""

    suite: str
    case: str
    dtype: str
    contestant: str
    mode: str
    moved: float
    flops: float
    calls: int = 1
    seconds: list[float] = dataclasses.field(default_factory=list)
    note: str = ""
    written: float = 0.0
    goal: float = 0.0
    limit: float = 0.0
    launches: int = 0  # of one call, all of them
    little: int = 0    # those of them that have too little work for all compute units
    returned: list[float] = dataclasses.field(default_factory=list)  # seconds of a call in each sample until the calls had returned
    beside: dict[str, float] = dataclasses.field(default_factory=dict)  # a goal's limits, taken in the same rounds: units or launches' seconds (bounds.py)

    @property
    def key(self) -> tuple[str, str, str]:
        return self.suite, self.case, self.dtype

    @property
    def title(self) -> str:
        return self.case if self.dtype == "float32" else f"{self.case}, {self.dtype}"

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """Half of the samples lie between."""
        if len(self.seconds) < 2:
            return self.median, self.median
        low, _, high = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return low, high

    @property
    def spread(self) -> float:
        """The interquartile range over the median."""
        low, high = self.quartiles
        return (high - low) / self.median

    @property
    def rate(self) -> tuple[float, str]:
        """The figure people compare, larger is better, and its unit."""
        return self.rate_at(self.median)

    def rate_at(self, seconds: float) -> tuple[float, str]:
        if self.suite == "train":
            return 1 / seconds, "steps/s"
        if self.flops:
            return self.flops / seconds / 1e9, "GFLOP/s"
        if self.moved:
            return self.moved / seconds / 1e9, "GB/s"
        return 1 / seconds, "calls/s"


@dataclasses.dataclass
class Run:
    """A file of ``bench.py --json``."""

    environment: dict[str, Any]
    contestants: list[dict[str, Any]]
    rows: list[Row] = dataclasses.field(default_factory=list)
    missing: dict[str, str] = dataclasses.field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write the whole file or leave the old one: an interrupted run keeps what it had."""
        content = {"schema": SCHEMA, **dataclasses.asdict(self)}
        handle, aside = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1)
        os.replace(aside, path)


def load(path: Path) -> Run:
    """A run from its file. ValueError that names the file where it is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise ValueError(f"its schema is {content['schema']}, this version reads {SCHEMA}")
        return Run(content["environment"], content["contestants"], [Row(**row) for row in content["rows"]], content["missing"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no file of bench.py --json: {error!r}") from error


def rivals_of(run: Run) -> list[dict[str, Any]]:
    """The contestants that are no device of ours."""
    return [who for who in run.contestants if "driver" not in who]


def cases(rows: Iterable[Row]) -> list[tuple[str, str, str]]:
    """The (suite, case, dtype) keys in order of first appearance."""
    return list(dict.fromkeys(row.key for row in rows))


class Shares:
    """Percent of what the contestant itself reached: of its float32 copy for bandwidth, of its best product in that dtype for arithmetic."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.copy = {row.contestant: row.rate[0] for row in rows if row.seconds and row.key == COPY}
        self.peak: dict[tuple[str, str], float] = {}
        for row in rows:
            if row.seconds and row.flops and row.suite != "limits":
                who = (row.contestant, row.dtype)
                self.peak[who] = max(self.peak.get(who, 0.0), row.rate[0])

    def of(self, row: Row) -> tuple[float, str] | None:
        """(percent, "copy" or "peak"), or None where nothing was measured to compare with."""
        who = (row.contestant, row.dtype)
        if row.flops:
            return (100 * row.rate[0] / self.peak[who], "peak") if who in self.peak else None
        return (100 * row.rate[0] / self.copy[row.contestant], "copy") if row.moved and row.contestant in self.copy else None


def speedups(rows: Sequence[Row], base: str) -> dict[tuple[str, str], tuple[float, int]]:
    """(suite, contestant) -> (geometric mean of base's time over the contestant's, cases that both ran)."""
    timed = {(row.key, row.contestant): row.median for row in rows if row.seconds}
    logs: dict[tuple[str, str], list[float]] = {}
    for (key, contestant), seconds in timed.items():
        if (key, base) in timed:
            logs.setdefault((key[0], contestant), []).append(math.log(timed[key, base] / seconds))
    return {who: (math.exp(statistics.fmean(values)), len(values)) for who, values in logs.items()}


def human_seconds(seconds: float) -> str:
    """Three digits and a unit."""
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}" if seconds * factor < 1000 else f"{seconds * factor:.0f} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def human_ratio(value: float) -> str:
    """Two decimals, and two digits of what is small."""
    return f"{value:.2f} x" if value >= 0.1 else f"{value:.2g} x"


def human_rate(rate: tuple[float, str]) -> str:
    value, unit = rate
    if unit == "GFLOP/s" and value >= 10_000:
        return f"{value / 1000:.1f} TFLOP/s"
    if unit == "calls/s" and value >= 10_000:
        return f"{value / 1000:.0f} k calls/s"
    return f"{value:.3g} {unit}" if value < 1000 else f"{value:.0f} {unit}"
