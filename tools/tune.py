"""Finds the numbers (tile sizes, work-group sizes, lanes) with which each kernel family is fastest on a device, and writes a profile.

  tune.py                                 every family, ten minutes
  tune.py matmul/panel conv/correlate --budget 120
  tune.py --strategy grid --device cuda:1 --output mine.json
  CLTORCH_PROFILE=mine.json python train.py

Every candidate runs in a child process with a timeout and is checked against NumPy: a driver that crashes, hangs or computes wrongly costs
one candidate. A candidate's time is compared with that of the default beside it, in turns, so that a busy machine slows both. What looks best is
measured again in fresh processes, and kept only where it is faster beyond noise: a profile never makes a family slower than its default.
"""
from __future__ import annotations

import argparse
import json
import math
import os
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

if __name__ == "__main__":  # run as a file of a checkout: the package lies beside tools/
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tqdm import tqdm

import cltorch
from cltorch.codegen import broken, families, tunables
from cltorch.core import dispatch
from cltorch.runtime import tuning
from cltorch.runtime.device import Device
from cltorch.tools.tune_pairs import Child, Ratios, RejectedError, paired

Numbers = dict[str, Any]
CHILD = (sys.executable, "-m", "cltorch.tools.tune_workloads")
SEARCH, CONFIRM = 7, 15  # rounds of default and candidate
STEP = 0.98  # of the best time: what a candidate must beat to be the next start
LAST = 0.35  # share of the time that is kept for the last measurement


class Space:
    """The numbers that a family may have on a device."""

    def __init__(self, dev: Device, family: str, seed: int) -> None:
        self.dev, self.family, self.random = dev, family, random.Random(seed)
        self.base = dict(dispatch.tuned(dev, family))
        self.legal = {name: legal for name, (_, _, legal) in tunables(family).items() if sum(self._allowed({name: value}) for value in legal) > 1}
        self.seen: set[tuple] = {self._key({})}

    def _key(self, numbers: Numbers) -> tuple:
        return tuple(sorted(numbers.items()))

    def _allowed(self, numbers: Numbers) -> bool:
        return not broken(self.family, self.dev.strategy, {**self.base, **numbers}, dispatch.limits(self.dev))

    def _fresh(self, numbers: Numbers) -> bool:
        if self._key(numbers) in self.seen or not self._allowed(numbers):
            return False
        self.seen.add(self._key(numbers))
        return True

    def neighbours(self, best: Numbers) -> list[Numbers]:
        """What differs from ``best`` in one number, in random order. A default that is named counts: a planner may choose otherwise by itself."""
        found = [{**best, name: value} for name, legal in self.legal.items() for value in legal]
        self.random.shuffle(found)
        return found

    def next(self, best: Numbers) -> Numbers | None:
        """A neighbour that wasn't tried; then any that wasn't; None where hardly any are left."""
        for numbers in self.neighbours(best):
            if self._fresh(numbers):
                return numbers
        for _ in range(200):
            numbers = {name: self.random.choice(legal) for name, legal in self.legal.items()}
            if self._fresh(numbers):
                return numbers
        return None


class Tuned(NamedTuple):
    """What came of a family. ``numbers`` is empty where the default stays; ``candidates`` were run, ``same`` of them launched what was known already."""

    numbers: Numbers
    last: Ratios | None
    candidates: int
    same: int
    rejected: dict[str, str]
    verdict: str


class Tuner:
    """Searches one family. ``command``: what starts a child."""

    def __init__(self, dev: Device, family: str, seconds: float, timeout: float, command: tuple[str, ...], seed: int,
                 tick: Callable[[], object] = lambda: None) -> None:
        self.space, self.family, self.command, self.timeout, self.tick = Space(dev, family, seed), family, command, timeout, tick
        self.end = time.monotonic() + seconds
        self.search_end = self.end - LAST * seconds
        self.candidates = self.same = 0
        self.rejected: dict[str, str] = {}
        self.folder = tempfile.TemporaryDirectory(prefix="cltorch-tune-")

    def child(self, numbers: Numbers | None) -> Child:
        """A process with these numbers, None for the default's."""
        left = max(1.0, self.end - time.monotonic())
        if numbers is None:
            return Child(self.command, "", max(self.timeout, left))
        path = Path(self.folder.name) / "candidate.json"
        path.write_text(json.dumps({"families": {self.family: numbers}}), encoding="utf-8")
        return Child(self.command, str(path), min(self.timeout, left))

    def run(self) -> Tuned:
        with self.folder:
            with self.child(None) as default:
                if not default.first["used"]:
                    return self._result({}, None, f"strategy {self.space.dev.strategy} does not use it")
                best = self._search(default)
            if not best:
                return self._result({}, None, "the default stays: nothing that was tried is faster")
            last = self._confirm(best)
        if last is None:
            return self._result({}, None, "the default stays: the best candidate failed when it was measured again")
        if last.better():
            return self._result(best, last, "tuned")
        return self._result({}, last, "the default stays: the best candidate, measured again, is not faster beyond noise")

    def _result(self, numbers: Numbers, last: Ratios | None, verdict: str) -> Tuned:
        return Tuned(numbers, last, self.candidates, self.same, self.rejected, verdict)

    def _search(self, default: Child) -> Numbers:
        best: Numbers = {}
        speed, known = 1.0, {default.first["kernels"]}
        while time.monotonic() < self.search_end:
            numbers = self.space.next(best)
            if numbers is None:
                break
            ratio = self._try(default, numbers, known)
            if ratio < speed * STEP:
                best, speed = numbers, ratio
            self.tick()
        return best

    def _try(self, default: Child, numbers: Numbers, known: set[str]) -> float:
        """The candidate's time over the default's; infinite for one that is no use."""
        self.candidates += 1
        try:
            with self.child(numbers) as candidate:
                if candidate.first["kernels"] in known:
                    self.same += 1
                    return math.inf
                known.add(candidate.first["kernels"])
                return paired(default, candidate, SEARCH, self.search_end).median
        except RejectedError as error:
            if default.process.poll() is not None:
                raise
            self.rejected[text_of(numbers)] = str(error)
            return math.inf

    def _confirm(self, best: Numbers) -> Ratios | None:
        """Two pairs of fresh processes: where their memory lies decides too."""
        rows: list[list[float]] = []
        try:
            for share in (0.5, 1.0):
                until = self.end - (1 - share) * (self.end - time.monotonic())
                with self.child(None) as default, self.child(best) as candidate:
                    rows += paired(default, candidate, CONFIRM, until).rows
        except RejectedError as error:
            self.rejected[text_of(best)] = str(error)
            return None
        return Ratios(rows)


def text_of(numbers: Numbers) -> str:
    return ", ".join(f"{name}={value}" for name, value in numbers.items())


def described(family: str, found: Tuned) -> Iterator[str]:
    """What a person wants to know about a family."""
    counts = f"{found.candidates} candidates, {found.same} the same kernels, {len(found.rejected)} rejected"
    yield f"{family:20} {found.verdict}{' with ' + text_of(found.numbers) if found.numbers else ''}"
    if found.last is not None:
        yield f"{'':20} {found.last}"
    if found.candidates:
        yield f"{'':20} {counts}"
    for numbers, why in found.rejected.items():
        yield f"{'':20} rejected {numbers}: {why}"


def stored(path: Path, dev: Device) -> dict[str, Any]:
    """What an earlier run for this device wrote there: {"families": ..., "measured": ...}."""
    if not path.exists():
        return {"families": {}, "measured": {}}
    profile = tuning.read(path)
    if not tuning.fits(profile, dev):
        raise SystemExit(f"{path} holds the numbers of another device or strategy: choose another --output")
    return profile


def store(path: Path, dev: Device, family: str, found: Tuned, arguments: argparse.Namespace) -> None:
    """Adds a family to the profile, or takes it out. Nothing that was measured is lost when the tool is interrupted."""
    profile = stored(path, dev)
    profile["families"].pop(family, None)
    if found.numbers:
        profile["families"][family] = found.numbers
    profile["measured"][family] = {"when": datetime.now(timezone.utc).isoformat(timespec="seconds"), "cltorch": cltorch.__version__,
                                   "driver": dev.driver_version, "candidates": found.candidates, "result": found.verdict,
                                   "speed": str(found.last or "")}
    match = tuning.exactly(dev) if not arguments.match else {**dict(arguments.match), "strategy": dev.strategy}
    tuning.save(path, dev, profile["families"], profile["measured"], arguments.level, match)


def condition(text: str) -> tuple[str, str]:
    name, equals, pattern = text.partition("=")
    if not equals or name not in tuning.MATCHED:
        raise argparse.ArgumentTypeError(f"{text!r}: attribute=pattern was expected; the attributes are {', '.join(tuning.MATCHED)}")
    return name, pattern


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", metavar="FAMILY", help="kernel families (default: all that the strategy uses)")
    parser.add_argument("--device", default="cuda", help="device string (default: cuda, the first OpenCL device)")
    parser.add_argument("--strategy", choices=("wide", "grid"), help="default: the device's own")
    parser.add_argument("--budget", type=float, default=600, help="seconds for everything (default 600)")
    parser.add_argument("--timeout", type=float, default=60, help="seconds after which a candidate counts as hung (default 60)")
    parser.add_argument("--output", type=Path, help="the profile (default: cltorch-<device>-<strategy>.json); families that it has already are kept")
    parser.add_argument("--level", choices=tuning.LEVELS, default="device", help="how exactly the profile fits, for one that is shipped")
    parser.add_argument("--match", type=condition, action="append", metavar="ATTRIBUTE=PATTERN", help="what the profile fits instead of exactly this device")
    parser.add_argument("--seed", type=int, default=0, help="of the order in which candidates are tried")
    parser.add_argument("--list", action="store_true", help="names the families with their tunables and ends")
    arguments = parser.parse_args(argv)
    unknown = [family for family in arguments.families if family not in families()]
    if unknown:
        parser.error(f"no kernel families with tunables: {', '.join(unknown)}; --list names them")
    return arguments


def listed() -> None:
    """Prints each family's tunables: the defaults of wide and grid, and the legal values."""
    for family in families():
        texts = [f"{name} {wide} or {grid}, of {', '.join(map(str, legal))}" for name, (wide, grid, legal) in tunables(family).items()]
        print(f"{family:20} {'; '.join(texts)}")


def main(argv: list[str] | None = None, command: tuple[str, ...] = CHILD) -> int:
    arguments = parse(argv)
    if arguments.list:
        listed()
        return 0
    os.environ.pop("CLTORCH_PROFILE", None)
    if arguments.strategy:
        os.environ["CLTORCH_STRATEGY"] = arguments.strategy
    dev = cltorch.empty(0, device=arguments.device)._dev
    output = arguments.output or Path(f"cltorch-{re.sub('[^A-Za-z0-9]+', '-', dev.name).strip('-')}-{dev.strategy}.json")
    stored(output, dev)
    wanted, end, failed = arguments.families or list(families()), time.monotonic() + arguments.budget, 0
    print(f"{dev.name}, {dev.platform_name} {dev.driver_version}, strategy {dev.strategy}: {len(wanted)} families in {arguments.budget:.0f} s")
    with tqdm(total=len(wanted), unit="family", disable=None) as bar:
        for done, family in enumerate(wanted):
            bar.set_postfix_str(family)
            seconds = max(1.0, end - time.monotonic()) / (len(wanted) - done)
            tuner = Tuner(dev, family, seconds, arguments.timeout, (*command, family, arguments.device), arguments.seed, bar.refresh)
            try:
                found = tuner.run()
            except RejectedError as error:
                found, failed = Tuned({}, None, 0, 0, {}, f"can't be measured: its default fails: {error}"), failed + 1
            else:
                store(output, dev, family, found, arguments)
            bar.write("\n".join(described(family, found)))
            bar.update()
    kept = stored(output, dev)["families"]
    if kept:
        print(f"\n{len(kept)} tuned families are in {output}. To use them: CLTORCH_PROFILE={output.resolve()}")
    else:
        print("\nNo family gains beyond noise here: the defaults are right for this device, and no profile is needed.")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
