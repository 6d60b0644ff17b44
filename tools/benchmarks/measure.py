"""Interleaved timing: every contestant takes its turn in each round, so that what else the machine does hits all alike."""
from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from .case import Case, Mode
from .contestants import Contestant
from .limits import compared
from .results import COPY, UNKNOWN, Row

PAUSE = 0.01  # seconds: two ticks of the clock by which some kernels count a thread's time


class Plan(NamedTuple):
    """``seconds`` of samples a contestant spends on a case, in samples of about ``sample`` seconds or one call, in ``fewest`` to ``most`` rounds (fewer
    where one call takes all of ``slow`` seconds); a call that would take longer than ``limit`` seconds is left out; the run is over after ``total``.
    ``warm`` training steps come first: by then a compiled one is captured, its launches are joined, and the next ones take what it takes. A sample of
    training steps has ``steps`` at least: one follows the other, and only the first finds in the caches what another contestant left there."""

    seconds: float = 0.5
    sample: float = 0.01
    fewest: int = 3
    most: int = 25
    slow: float = 10.0
    limit: float = 20.0
    total: float = math.inf
    warm: int = 40
    steps: int = 5


class Entry:
    """One contestant in one case: its call, how many calls make a sample, the samples."""

    def __init__(self, case: Case, contestant: Contestant, plan: Plan) -> None:
        self.case, self.contestant, self.plan = case, contestant, plan
        self.row = Row(case.suite, case.name, case.dtype, contestant.label, case.mode.name, case.moved, case.flops,
                       written=case.written, goal=case.goal, limit=case.limit)
        self.call: Callable[[], Any] = no_call
        self.spent = 0.0

    def prepare(self) -> None:
        """Inputs, first calls that compile (and capture, and join what was captured), and others that tell how many calls make a sample."""
        self.call = self.contestant.prepare(self.case)
        if self.case.mode is Mode.START:
            return
        first = sum(sample(self.case.mode, self.contestant, self.call, 1)[0] for _ in range(self.plan.warm if self.case.mode is Mode.STEPS else 1))
        if self.contestant.compiled():
            sample(self.case.mode, self.contestant, self.call, 1)
        if first < self.plan.slow:
            self.calibrate()
        if self.row.calls > 1:
            self.calibrate()

    def calibrate(self) -> None:
        once, _ = sample(self.case.mode, self.contestant, self.call, self.row.calls)
        least = self.plan.steps if self.case.mode is Mode.STEPS else 1
        self.row.calls = max(least, min(1000, round(self.plan.sample / max(once, 1e-7))))

    def take(self) -> None:
        start = time.perf_counter()
        seconds, returned = sample(self.case.mode, self.contestant, self.call, self.row.calls)
        self.row.seconds.append(seconds)
        self.row.returned.append(returned)
        self.spent += time.perf_counter() - start if self.case.mode is Mode.START else seconds * self.row.calls

    def count(self) -> None:
        """The launches of one more call; a call that is only recorded has none, and a process's aren't seen."""
        if self.row.seconds and self.case.mode not in (Mode.RECORD, Mode.START):
            self.row.launches, self.row.little = self.contestant.launches(self.call)

    @property
    def measured(self) -> float:
        """Units a second; seconds where a call is a launch and nothing else."""
        work = self.case.flops or self.case.moved
        return work / self.row.median if work else self.row.median

    @property
    def done(self) -> bool:
        count, plan = len(self.row.seconds), self.plan
        enough = count >= plan.most or (count >= plan.fewest and self.spent >= plan.seconds) or self.spent >= plan.slow
        return bool(self.row.note) or enough


def no_call() -> Any:
    """Before a case is prepared."""


def sample(mode: Mode, contestant: Contestant, call: Callable[[], Any], count: int) -> tuple[float, float]:
    """Seconds a call, of ``count`` calls, the device idle at the start; and those until the calls had returned."""
    if mode is Mode.START:
        return call(), 0.0
    contestant.wait()
    start = time.perf_counter()
    result = repeat(mode, contestant, call, count)
    if mode is Mode.STEPS:
        contestant.settle(result)
    returned = time.perf_counter()
    contestant.wait()
    stop = returned if mode in (Mode.LAUNCH, Mode.RECORD) else time.perf_counter()
    return (stop - start) / count, (returned - start) / count


def repeat(mode: Mode, contestant: Contestant, call: Callable[[], Any], count: int) -> Any:
    """The last call's result. What comes between calls is as little as can be: a call that is only recorded takes a few microseconds."""
    result, settle = None, contestant.settle if mode in (Mode.THROUGHPUT, Mode.LAUNCH, Mode.ROUND_TRIP) else None
    for _ in range(count):
        result = call()
        if settle:
            settle(result)
            if mode is Mode.ROUND_TRIP:
                contestant.wait()
    return result


def until_idle() -> None:
    """Sleeps until the process has used next to no time for a PAUSE: an OpenMP library's workers spin after their last call, for 3 to 200 ms by library
    and processor, and would take a core from the next contestant."""
    for _ in range(50):
        used = time.process_time()
        time.sleep(PAUSE)
        if time.process_time() - used < PAUSE / 4:
            return


class Race:
    """Runs cases one after the other over the same contestants and remembers who is slow, and who has used how much of the time."""

    def __init__(self, contestants: Sequence[Contestant], plan: Plan, cases: Sequence[Case]) -> None:
        self.contestants, self.plan, self.start = contestants, plan, time.perf_counter()
        self.per_flop: dict[tuple[str, str], float] = {}
        self.measures = {case.key: case for case in cases if case.suite == "limits" or case.key == COPY}
        self.standards: dict[tuple[str, tuple[str, str, str]], Entry] = {}
        self.ends = schedule(cases, plan.total)
        self.used = dict.fromkeys((contestant.label for contestant in contestants), 0.0)

    def run(self, case: Case) -> list[Row]:
        """A row for each contestant. What fails on one contestant is its row's note, whatever it was: the others go on."""
        entries = [Entry(case, contestant, self.plan) for contestant in self.contestants]
        for entry in entries:
            entry.row.note = self.reason_to_skip(entry)
            self.attempt(entry, entry.prepare)
        beside = self.beside(case)
        for entry in self.turns(entries, beside):
            until_idle()
            self.attempt(entry, entry.take)
        for entry in entries:
            if case.goal or case.limit:
                self.attempt(entry, entry.count)
                mine = (standard for standard in beside if standard.contestant is entry.contestant and standard.row.seconds)
                entry.row.beside = {standard.case.name: standard.measured for standard in mine}
            if entry.row.seconds and case.flops and case.mode is not Mode.STEPS:
                self.per_flop[entry.row.contestant, case.dtype] = entry.row.median / case.flops
        return [entry.row for entry in entries]

    def attempt(self, entry: Entry, action: Callable[[], None]) -> None:
        if entry.row.note:
            return
        start = time.perf_counter()
        try:
            action()
        except Exception as error:  # a driver's or a library's: anything can come
            text = str(error).strip().splitlines() or [""]
            entry.row.note = f"{type(error).__name__}: {text[0]}"
            entry.row.seconds.clear()
            entry.row.returned.clear()
        self.used[entry.row.contestant] += time.perf_counter() - start

    def beside(self, case: Case) -> list[Entry]:
        """What a goal is compared with, on each device, to be timed in the goal's own rounds: a processor's clock and memory change within a run."""
        keys = compared(case) if case.goal or case.limit else []
        found = [self.standard(contestant, self.measures[key]) for contestant in self.contestants if contestant.measures_limits
                 for key in keys if key in self.measures]
        for entry in found:
            entry.row.seconds.clear()
        return found

    def standard(self, contestant: Contestant, case: Case) -> Entry:
        """Prepared once a run."""
        key = (contestant.label, case.key)
        if key not in self.standards:
            self.standards[key] = Entry(case, contestant, self.plan)
            self.attempt(self.standards[key], self.standards[key].prepare)
        return self.standards[key]

    def turns(self, entries: Sequence[Entry], beside: Sequence[Entry] = ()) -> Iterator[Entry]:
        """Round after round, those that aren't done, and what they are compared with."""
        for _ in itertools.count():
            waiting = [entry for entry in entries if not entry.done]
            if not waiting:
                return
            yield from waiting
            yield from beside

    def reason_to_skip(self, entry: Entry) -> str:
        if not entry.contestant.knows(entry.case):
            return UNKNOWN
        elapsed, end = time.perf_counter() - self.start, self.ends[entry.case.key]
        if elapsed > self.plan.total:
            return f"left out: the run's {self.plan.total:.0f} seconds were over"
        if elapsed > end and self.used[entry.row.contestant] > end / len(self.contestants):
            return f"left out: it had used up its share of the run's {self.plan.total:.0f} seconds"
        flops = 0.0 if entry.case.mode is Mode.STEPS else entry.case.flops  # a step's time is more than its products'
        expected = self.per_flop.get((entry.row.contestant, entry.case.dtype), 0.0) * flops
        return f"left out: about {expected:.0f} s a call" if expected > self.plan.limit else ""


def schedule(cases: Sequence[Case], total: float) -> dict[tuple[str, str, str], float]:
    """The second at which each case should begin at the latest. A run that is late leaves out those contestants that have used more than their
    share until it has caught up: a slow device costs itself figures, not the others. Training counts five times, as it compiles many kernels."""
    weights = [5 if case.mode is Mode.STEPS else 1 for case in cases]
    passed = itertools.accumulate(weights[:-1], initial=1)
    return {case.key: total * done / sum(weights) for case, done in zip(cases, passed, strict=True)}
