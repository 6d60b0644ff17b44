"""Runs every kernel under the Oclgrind simulator, which sees out-of-bounds accesses, data races and uninitialised reads.

  check_kernels.py                     every operator and kernel, both strategies, every dtype
  check_kernels.py --quick             one dtype each: what CI runs
  check_kernels.py reduce conv/grid    only the cases that reach these families or templates

Memory is allocated exactly, so that nothing hides in the padding of a block. Exit status: 0 nothing found; 1 where Oclgrind reported,
a case failed, or a template of kernels/ was reached by no case; 2 where Oclgrind is not installed.
"""
from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

if __name__ == "__main__":  # run as a file of a checkout: the package lies beside tools/
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import pyopencl as cl

try:
    from tqdm import tqdm
except ImportError:  # the bar is a comfort
    tqdm = None

import cltorch
from cltorch.codegen import kernel_root
from cltorch.core import dispatch
from cltorch.core.tensor import Tensor
from cltorch.runtime.allocator import Allocator, Block
from cltorch.runtime.observe import Observer
from cltorch.tools import kernel_cases
from cltorch.tools.kernel_cases import Case, Make

HINT = "Oclgrind is not installed: apt-get install oclgrind (or build it: https://github.com/jrprice/Oclgrind)"
STRATEGIES = ("wide", "grid")
CHUNK = 30  # cases of one process: kernels are compiled once in each
# Oclgrind 21.10 can't follow the `freeze` that its optimiser inserts; unoptimised code has the source's own accesses, too.
SIMULATOR = ("--data-races", "--uninitialized", "--build-options", "-cl-opt-disable", "--max-errors", "100000", "--num-threads", "1",
             "--compute-units", "3", "--max-wgsize", "64")  # small groups: as hard to get right, and much quicker to simulate
KINDS = {"invalid read": "Invalid read", "invalid write": "Invalid write", "race": "data race", "uninitialised": "ninitialized value"}
OTHER = "other"


def templates() -> list[str]:
    """Every kernel template but the shared functions, as "family/name"."""
    root = kernel_root()
    return sorted(p.relative_to(root).with_suffix("").as_posix() for p in root.rglob("*.mako") if p.relative_to(root).parts[0] != "common")


def parts(name: str) -> set[str]:
    """The templates that a template includes, itself among them."""
    text = (kernel_root() / f"{name}.mako").read_text()
    named = [word if "/" in word else f"{name.rsplit('/', 1)[0]}/{word}" for word in re.findall(r'file="/?([\w/]+)\.mako"', text)]
    return {name}.union(*(parts(n) for n in named if (kernel_root() / f"{n}.mako").is_file()))


class Message(NamedTuple):
    """One complaint of Oclgrind."""

    kind: str
    text: str


def messages(log: str) -> list[Message]:
    """The complaints in a piece of Oclgrind's log: a line at the margin begins one, indented lines explain it."""
    blocks: list[list[str]] = []
    for line in log.splitlines():
        if line.strip() and not line.startswith(("\t", " ")) and not (blocks and "FATAL" in blocks[-1][0] and len(blocks[-1]) == 1):
            blocks.append([line])
        elif line.strip() and blocks:
            blocks[-1].append(line)
    return [Message(next((kind for kind, mark in KINDS.items() if mark in block[0]), OTHER), "\n".join(block)) for block in blocks]


# -- the child: runs cases in the simulator -----------------------------------------------------------------------------------


class Exact(Allocator):
    """Memory of exactly the wanted size, never used twice: an access beyond the end and a read of what nobody wrote are seen.

    Nothing is given back either: Oclgrind would remember of the next buffer at that address what the last one held.
    """

    def __init__(self, device: Any) -> None:
        super().__init__(device)
        self.kept: list[cl.Buffer] = []

    def allocate(self, nbytes: int) -> Block:
        mem = cl.Buffer(self.device.context, cl.mem_flags.READ_WRITE, max(nbytes, 1))
        self.kept.append(mem)
        return Block(self, self.sink, 0, nbytes, mem)


class Watcher(Observer):
    """Gives each complaint to the kernel that was running: waits for each launch and reads what the log gained."""

    def __init__(self, log: Path) -> None:
        self.log, self.place = log, 0
        self.found: dict[str, dict[str, Any]] = {}

    def after(self, kernel: Any, event: Any, global_size: tuple, local_size: tuple | None, args: tuple) -> None:
        event.wait()
        label = kernel.program.label
        known = label.startswith("planted/") or (kernel_root() / f"{label}.mako").is_file()
        self.note(label if known else "pointwise/map", kernel.name)

    def note(self, template: str, entry: str) -> None:
        entries = self.found.setdefault(template, {"launches": 0, "entries": {}, "messages": []})
        entries["launches"] += 1
        entries["entries"][entry] = entries["entries"].get(entry, 0) + 1
        entries["messages"] += self.gained()

    def gained(self) -> list[Message]:
        if not self.log.exists() or self.log.stat().st_size <= self.place:
            return []
        with self.log.open(errors="replace") as file:
            file.seek(self.place)
            text = file.read()
        self.place += len(text.encode())
        return messages(text)

    def take(self) -> dict[str, Any]:
        """What was found since the last call."""
        rest = self.gained()
        if rest:
            self.found.setdefault("(transfers)", {"launches": 0, "entries": {}, "messages": []})["messages"] += rest
        found, self.found = self.found, {}
        return found


def tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors(item)


def run(case: Case) -> None:
    """The case's results, and the gradients of what it made."""
    make = Make(case.name, case.dtype, case.layout)
    cltorch.manual_seed(0)
    results = list(tensors(case.work(make)))
    for result in results:
        dispatch.buffer(result)
    traced = [r for r in results if r.requires_grad]
    if traced:
        cltorch.autograd.backward(traced, [make(*r.shape, dtype=r.dtype).detach() for r in traced])
    for leaf in make.leaves:
        if leaf.grad is not None:
            dispatch.buffer(leaf.grad)
    cltorch.cuda.synchronize()


def attempt(case: Case) -> str:
    """Empty, or the error. A view that can't be had of a strided tensor is no error: PyTorch refuses it too."""
    try:
        run(case)
    except Exception as error:
        refused = case.layout == "view" and "view" in str(error)
        return "" if refused else f"{type(error).__name__}: {error}"
    return ""


def child(job: Path) -> None:
    """Runs the cases that a job file names; writes a line before and after each."""
    order = json.loads(job.read_text())
    dev = cltorch.empty(0, device="cuda")._dev
    dev.queue.finish()
    dev.allocator = Exact(dev)
    watcher = Watcher(Path(order["log"]))
    dev.watch(watcher)
    chosen = listed(order)
    with open(order["results"], "a") as out:
        for number in order["numbers"]:
            print(json.dumps({"number": number}), file=out, flush=True)
            start = time.perf_counter()
            error = attempt(chosen[number])
            seconds = time.perf_counter() - start
            print(json.dumps({"number": number, "error": error, "seconds": seconds, "found": watcher.take()}), file=out, flush=True)


def listed(order: dict[str, Any]) -> list[Case]:
    return kernel_cases.planted() if order["plant"] else kernel_cases.cases(order["quick"])


# -- the parent: jobs and the report --------------------------------------------------------------------------------------------


class Outcome(NamedTuple):
    """What one case did under one strategy."""

    case: Case
    strategy: str
    error: str
    found: dict[str, dict[str, Any]]
    seconds: float = 0.0


class Runner:
    """Runs cases in child processes under Oclgrind; a case that kills its process or never ends costs itself only."""

    def __init__(self, chosen: Sequence[Case], options: argparse.Namespace, folder: Path) -> None:
        self.cases, self.options, self.folder = chosen, options, folder

    def job(self, strategy: str, numbers: Sequence[int], name: str) -> list[Outcome]:
        """The outcomes of these cases, in as many processes as it takes."""
        left, outcomes, turn = list(numbers), [], 0
        while left:
            results = self.folder / f"{name}.{turn}.jsonl"
            why = self.process(strategy, left, results)
            records = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
            done = [r for r in records if "found" in r]
            outcomes += [Outcome(self.cases[r["number"]], strategy, r["error"], r["found"], r["seconds"]) for r in done]
            left = left[len(done):]
            if left:
                victims = left[:1] if records else left  # without a record the child did not even start
                outcomes += [Outcome(self.cases[number], strategy, why, {}) for number in victims]
                left, turn = left[len(victims):], turn + 1
        return outcomes

    def process(self, strategy: str, numbers: Sequence[int], results: Path) -> str:
        """Runs one child; returns why it ended early, if it did."""
        log, job = results.with_suffix(".log"), results.with_suffix(".job")
        job.write_text(json.dumps({"numbers": numbers, "log": str(log), "results": str(results), "quick": self.options.quick, "plant": self.options.plant}))
        environment = {k: v for k, v in os.environ.items() if not k.startswith("CLTORCH_")}
        environment |= {"CLTORCH_STRATEGY": strategy, "CLTORCH_CACHE_SIZE": "0"}
        command = ["oclgrind", *SIMULATOR, "--log", str(log), sys.executable, "-W", "ignore", __file__, "--child", str(job)]
        try:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", timeout=self.options.timeout, check=False)
        except subprocess.TimeoutExpired:
            return f"the process that ran it took over {self.options.timeout:g} s"
        return f"its process ended with status {done.returncode}: {(done.stdout + done.stderr).strip()[-400:]}"

    def all(self, numbers: Sequence[int]) -> list[Outcome]:
        strategies = STRATEGIES if self.options.strategy == "both" else (self.options.strategy,)
        chunks = [(s, numbers[k:k + CHUNK]) for k in range(0, len(numbers), CHUNK) for s in strategies]
        with ThreadPoolExecutor(self.options.jobs) as pool:
            waiting = [pool.submit(self.job, s, chunk, f"{s}{chunk[0]}") for s, chunk in chunks]
            return [outcome for future in progress(as_completed(waiting), len(waiting)) for outcome in future.result()]


def progress(jobs: Iterable[Any], total: int) -> Iterable[Any]:
    return jobs if tqdm is None else tqdm(jobs, total=total, unit=f" x {CHUNK} cases", desc="under Oclgrind", disable=None)


def reached(outcomes: Iterable[Outcome]) -> set[str]:
    """The templates whose kernels ran, and what they include."""
    return set().union(*(parts(name) for o in outcomes for name in o.found if (kernel_root() / f"{name}.mako").is_file()))


def belongs(template: str, families: Sequence[str]) -> bool:
    return not families or template in families or template.split("/")[0] in families


class Line(NamedTuple):
    """A row of the report."""

    template: str
    strategy: str
    cases: int
    launches: int
    counts: Counter


def lines(outcomes: Sequence[Outcome], families: Sequence[str]) -> list[Line]:
    """The report by kernel and strategy."""
    table: dict[tuple[str, str], Line] = {}
    for o in outcomes:
        for template, seen in o.found.items():
            if belongs(template, families):
                line = table.get((template, o.strategy), Line(template, o.strategy, 0, 0, Counter()))
                line.counts.update(kind for kind, _ in seen["messages"])
                table[template, o.strategy] = line._replace(cases=line.cases + 1, launches=line.launches + seen["launches"])
    return [table[key] for key in sorted(table)]


def print_table(rows: Sequence[Line]) -> None:
    width = max((len(row.template) for row in rows), default=6)
    columns = (*KINDS, OTHER)
    print(f"{'kernel':{width}}  strategy  cases  launches  " + "  ".join(columns))
    for row in rows:
        print(f"{row.template:{width}}  {row.strategy:8}  {row.cases:5}  {row.launches:8}  " + "  ".join(f"{row.counts[c]:{len(c)}}" for c in columns))


def examples(outcomes: Sequence[Outcome], families: Sequence[str]) -> Iterator[str]:
    """The first complaint of each kind about each kernel and place, with the case that met it."""
    seen = set()
    for o in outcomes:
        for template, found in o.found.items():
            for kind, text in found["messages"] if belongs(template, families) else ():
                key = template, o.strategy, kind, *re.findall(r"At line \d+", text)
                if key not in seen:
                    seen.add(key)
                    yield f"{template} ({o.strategy}), {o.case}:\n{text}\n"


def report(outcomes: Sequence[Outcome], families: Sequence[str], expected: Iterable[str]) -> int:
    """Prints what was found. Returns the exit status."""
    rows = lines(outcomes, families)
    for text in examples(outcomes, families):
        print(text)
    print_table(rows)
    failed = [o for o in outcomes if o.error]
    for (error, strategy), same in groupby(sorted(failed, key=lambda o: (o.error, o.strategy)), key=lambda o: (o.error, o.strategy)):
        print(f"FAILED ({strategy}) {', '.join(str(o.case) for o in same)}: {error}")
    missing = sorted(set(expected) - reached(outcomes))
    for template in missing:
        print(f"NOT REACHED {template}: no case launches it; add one to tools/kernel_cases.py")
    total = sum(sum(row.counts.values()) for row in rows)
    slow = sorted(outcomes, key=lambda o: -o.seconds)[:5]
    print("slowest: " + ", ".join(f"{o.case} ({o.strategy}) {o.seconds:.1f} s" for o in slow))
    print(f"{len(outcomes)} cases, {sum(row.launches for row in rows)} launches: {total} reports, {len(failed)} failed cases, "
          f"{len(missing)} templates not reached")
    return int(bool(total or failed or missing))


def check(options: argparse.Namespace) -> int:
    """Runs the wanted cases and reports."""
    chosen = listed(vars(options))
    numbers = [k for k, case in enumerate(chosen) if options.only in str(case)]
    if not numbers:
        print(f"no case's name contains {options.only!r}", file=sys.stderr)
        return 1
    expected = [] if options.plant or options.only or options.strategy != "both" else [t for t in templates() if belongs(t, options.families)]
    with tempfile.TemporaryDirectory() as folder:
        return report(Runner(chosen, options, Path(folder)).all(numbers), options.families, expected)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", metavar="FAMILY", help="a folder of kernels/ or a template in one; all")
    parser.add_argument("--strategy", choices=(*STRATEGIES, "both"), default="both")
    parser.add_argument("--quick", action="store_true", help="each case in one dtype")
    parser.add_argument("--only", default="", metavar="TEXT", help="only the cases whose name contains it")
    parser.add_argument("--timeout", type=float, default=900, help="seconds that a process of some cases may take; 900")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at once; one for each core")
    parser.add_argument("--plant", action="store_true", help=argparse.SUPPRESS)  # kernels with mistakes: the test of this check
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.child:
        child(options.child)
        return 0
    if shutil.which("oclgrind") is None:
        print(HINT, file=sys.stderr)
        return 2
    return check(options)


if __name__ == "__main__":
    sys.exit(main())
