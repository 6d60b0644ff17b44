"""The same cases on any devices, vendors and rival libraries, interleaved: a table, a JSON file, and a page that compares such files.

    bench.py --quick --device all --rival torch      two minutes at most
    bench.py memory gemm --device cuda:0 cuda:1 --json mine.json
    bench.py goals --rival torch                     what we want to reach against PyTorch, and how far we are
    bench.py --report mine.json yours.json --out page.html
"""
from __future__ import annotations

import argparse
import importlib
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # run as a file of a checkout: the package lies beside tools/
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cltorch.tools.benchmarks import operators
from cltorch.tools.benchmarks.case import SCALES, Case, Scale
from cltorch.tools.benchmarks.contestants import find_devices, find_rivals
from cltorch.tools.benchmarks.environment import busy, describe, environment, legend
from cltorch.tools.benchmarks.goals import goals
from cltorch.tools.benchmarks.limits import limits
from cltorch.tools.benchmarks.measure import Plan, Race
from cltorch.tools.benchmarks.results import Run, rivals_of
from cltorch.tools.benchmarks.table import goal_table, suite_table, summary
from cltorch.tools.benchmarks.training import train

SUITES: dict[str, Callable[[Scale], list[Case]]] = {
    "limits": limits, "launch": operators.launch, "memory": operators.memory, "gemm": operators.gemm, "bmm": operators.bmm, "ops": operators.ops,
    "train": train, "goals": goals}
QUICK_PLAN = Plan(seconds=0.05, sample=0.005, most=9, slow=0.7, limit=1.5, total=90.0, warm=8, steps=1)


def parser() -> argparse.ArgumentParser:
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("suites", nargs="*", metavar="SUITE", help=f"{', '.join(SUITES)} (default: all of them, with --quick all but goals)")
    parse.add_argument("--device", nargs="+", default=["cuda"], metavar="D", help='device strings, "cpu", or "all": every OpenCL device (default: cuda)')
    parse.add_argument("--rival", default="", metavar="R,R", help="libraries to run beside: torch, numpy, tinygrad")
    parse.add_argument("--quick", action="store_true", help="small cases; ends within two minutes")
    parse.add_argument("--only", default="", metavar="TEXT", help="cases whose name holds this text (and what they are compared with)")
    parse.add_argument("--size", type=int, default=0, metavar="N", help="elements of the memory-bound cases, rounded to whole rows")
    parse.add_argument("--seconds", type=float, default=0.0, metavar="S", help="of samples, per case and contestant (default: 0.5)")
    parse.add_argument("--rounds", type=int, default=0, metavar="N", help="samples per case and contestant, however long they take")
    parse.add_argument("--scale", choices=SCALES, default="", help=argparse.SUPPRESS)
    parse.add_argument("--json", type=Path, metavar="FILE", help="write every sample, with the environment")
    parse.add_argument("--report", type=Path, nargs="+", metavar="FILE", help="time nothing: make a page of these JSON files")
    parse.add_argument("--out", type=Path, metavar="PAGE", help="the page to write, its plots as PNG beside it (default for --report: bench.html)")
    return parse


def choose(options: argparse.Namespace) -> list[Case]:
    """The cases of the asked suites at the asked scale. ValueError for a suite that is none."""
    unknown = [name for name in options.suites if name not in SUITES]
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: no such suite; choose from {', '.join(SUITES)}")
    scale = SCALES[options.scale or ("quick" if options.quick else "full")]
    if options.size:
        scale = scale._replace(elements=max(1, options.size // (16 * scale.width)) * 16 * scale.width)
    names = [name for name in SUITES if name in options.suites] or [name for name in SUITES if name != "goals" or not options.quick]
    found = [case for name in names for case in SUITES[name](scale) if options.only in case.name]
    wanted = any(case.goal or case.limit for case in found)
    measures = [*(operators.memory(scale)[:1] if wanted or any(case.moved for case in found) else []), *(limits(scale) if wanted else [])]
    return [*(case for case in measures if all(case.key != other.key for other in found)), *found]


def race(options: argparse.Namespace, cases: Sequence[Case]) -> Run:
    """Time the cases; a table appears as each suite ends, the JSON file grows with each case."""
    rivals, missing = find_rivals([name.strip() for name in options.rival.split(",") if name.strip()])
    contestants = [*find_devices(options.device), *rivals]
    asked = {name: " ".join(value) if isinstance(value, list) else str(value) for name, value in vars(options).items() if value}
    run = Run(environment(asked), [describe(contestant) for contestant in contestants], missing=missing)
    print("\n".join([*legend(run.contestants), *(f"{name:14} {why}" for name, why in missing.items()), busy(run.environment), ""]), flush=True)
    racing = Race(contestants, plan_of(options), cases)
    with progress(cases) as bar:
        for i, case in enumerate(cases):
            bar.set_postfix_str(f"{case.suite}: {case.name}")
            run.rows += racing.run(case)
            bar.update()
            if options.json:
                run.save(options.json)
            if i + 1 == len(cases) or cases[i + 1].suite != case.suite:
                bar.clear()
                print(*tables(case.suite, cases, run), sep="\n", flush=True)
    return run


def tables(suite: str, cases: Sequence[Case], run: Run) -> list[str]:
    """A finished suite as text: goals against each rival."""
    first, rivals = run.contestants[0], rivals_of(run)
    if suite == "goals" and rivals:
        return [goal_table(run, first, rival, {case.key: case.tried for case in cases}) for rival in rivals]
    return [suite_table(suite, run.rows, first["label"])]


def plan_of(options: argparse.Namespace) -> Plan:
    plan = QUICK_PLAN if options.quick else Plan()
    plan = plan._replace(seconds=options.seconds or plan.seconds)
    return plan._replace(fewest=options.rounds, most=options.rounds, slow=math.inf, warm=8) if options.rounds else plan


def progress(cases: Sequence[Case]) -> Any:
    """A bar on stderr."""
    return load("tqdm").tqdm(total=len(cases), unit="case", file=sys.stderr, leave=False, dynamic_ncols=True)


def load(module: str) -> Any:
    """A library of the extra [bench]. SystemExit that says how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise SystemExit(f'{error}: pip install "cltorch[bench]"') from error


def main(argv: Sequence[str] | None = None) -> int:
    """Run or report. Returns the exit status: 0, 2 for a wrong argument."""
    parse = parser()
    options = parse.parse_args(argv)
    try:
        runs = options.report or [timed(options)]
        if options.report or options.out:
            page = load("cltorch.tools.benchmarks.report").write(runs, options.out or Path("bench.html"))
            print(f"written: {page} and its plots, {page.stem}-*.png")
    except (ValueError, RuntimeError) as error:
        parse.error(str(error))
    return 0


def timed(options: argparse.Namespace) -> Run:
    run = race(options, choose(options))
    if len(run.contestants) > 1:
        print(summary(run, run.contestants[0]["label"]))
    return run


if __name__ == "__main__":
    sys.exit(main())
