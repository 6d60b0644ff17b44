"""Times of a candidate beside the default's, each measured by a child process (tune_workloads.py) that may crash or hang."""
from __future__ import annotations

import json
import math
import os
import queue
import statistics
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import cltorch

HOPELESS = 1.25  # a candidate that is so much slower after two rounds isn't measured further
ENOUGH = 0.97  # of the default's time: what is worth a number of its own
PACKAGE = str(Path(cltorch.__file__).parents[1])  # for children, wherever they are started


class RejectedError(Exception):
    """A candidate that can't be used, and why."""


class Child:
    """A process that measures one set of numbers: see tune_workloads.py. Raises RejectedError where it fails or doesn't answer in time."""

    def __init__(self, command: tuple[str, ...], profile: str, timeout: float) -> None:
        paths = os.pathsep.join(filter(None, (PACKAGE, os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, "PYTHONPATH": paths, "CLTORCH_PROFILE": profile}
        if profile:
            environment["CLTORCH_CACHE_SIZE"] = "0"  # what is tried once would push out what is used daily
        self.deadline_s = timeout
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        self.lines: queue.Queue[str] = queue.Queue()
        self.errors: list[str] = []
        self.readers = [threading.Thread(target=work, daemon=True) for work in (self._listen, self._collect)]
        for reader in self.readers:
            reader.start()
        try:
            self.first = self._answer()
        except BaseException:
            self.close()
            raise

    def _listen(self) -> None:
        for line in self.process.stdout or ():
            self.lines.put(line)
        self.lines.put("")

    def _collect(self) -> None:
        self.errors.extend(self.process.stderr or ())

    def _answer(self) -> dict[str, Any]:
        line = "-"
        while line and not line.startswith("{"):  # drivers print notes of their own
            try:
                line = self.lines.get(timeout=self.deadline_s)
            except queue.Empty:
                raise RejectedError(f"no answer within {self.deadline_s:.0f} s") from None
        if not line:
            self.readers[1].join(1)
            last = next((text.strip() for text in reversed(self.errors) if text.strip()), "")
            raise RejectedError(f"the process ended with {self.process.wait()}{': ' + last if last else ''}")
        try:
            answer = json.loads(line)
        except ValueError:
            raise RejectedError(f"an answer was cut off: {line.strip()[:80]}") from None
        if "error" in answer:
            raise RejectedError(answer["error"])
        return answer

    def seconds(self) -> list[float]:
        """One measurement of each workload."""
        try:
            print("", file=self.process.stdin, flush=True)
        except OSError as error:
            raise RejectedError(f"the process is gone: {error}") from None
        return self._answer()["seconds"]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for reader in self.readers:
            reader.join(1)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe and not pipe.closed:
                try:
                    pipe.close()
                except BrokenPipeError:  # a line that nobody read
                    continue

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Ratios(NamedTuple):
    """Times of a candidate over the default's: one row a round, one column a workload."""

    rows: list[list[float]]

    @property
    def totals(self) -> list[float]:
        return [math.exp(statistics.fmean(map(math.log, row))) for row in self.rows]

    @property
    def median(self) -> float:
        return statistics.median(self.totals)

    def quartiles(self) -> tuple[float, float]:
        return spread(self.totals)

    def better(self) -> bool:
        """Faster beyond noise over all workloads, and slower beyond noise in none."""
        return self.median <= ENOUGH and self.quartiles()[1] < 1 and all(spread(list(column))[0] <= 1.02 for column in zip(*self.rows, strict=True))

    def __str__(self) -> str:
        low, high = self.quartiles()
        return f"{1 / self.median:.2f}x the default's speed (quartiles {1 / high:.2f} to {1 / low:.2f}, {len(self.rows)} pairs)"


def spread(values: list[float]) -> tuple[float, float]:
    """Lower and upper quartile."""
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def paired(default: Child, candidate: Child, rounds: int, until: float = math.inf) -> Ratios:
    """Both measured in turns, the first of a pair alternating. Ends early at time ``until``, or where there is no hope."""
    rows: list[list[float]] = []
    for i in range(rounds):
        if rows and time.monotonic() > until:
            break
        first, second = (default, candidate) if i % 2 == 0 else (candidate, default)
        times = {first: first.seconds(), second: second.seconds()}
        rows.append([new / old for new, old in zip(times[candidate], times[default], strict=True)])
        if i == 1 and min(Ratios(rows).totals) > HOPELESS:
            break
    return Ratios(rows)
