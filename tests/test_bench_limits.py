"""What keeps a goal's row below its goal: shares of what the same run measured, as text, in the file and on the page. Numbers are made up, none is timed."""
from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import cltorch
from cltorch.tools import bench
from cltorch.tools.benchmarks import arithmetic, limits, results, table
from cltorch.tools.benchmarks.bounds import Limits, remark
from cltorch.tools.benchmarks.case import TINY, Case, Mode
from cltorch.tools.benchmarks.contestants import Cltorch, Torch
from cltorch.tools.benchmarks.counter import counted
from cltorch.tools.benchmarks.results import COPY, Row, Run

OURS, RIVAL = {"label": "cuda:0", "kind": "CPU", "driver": "1"}, {"label": "torch cpu", "kind": "CPU"}


def row(name: str, seconds: float, who: str = "cuda:0", suite: str = "goals", dtype: str = "float32", **more: Any) -> Row:
    more = {"moved": 0.0, "flops": 0.0, "goal": 1.0 if suite == "goals" else 0.0, **more}
    return Row(suite, name, dtype, who, "THROUGHPUT", seconds=[seconds] * 3, returned=[more.pop("returned", 0.0)] * 3, **more)


# 20 GB/s copied, 40 read, 25 written, 100 GFLOP/s, a launch 10 us, one with little work 1 us
MEASURED = [row("copy", 1.0, suite=COPY[0], moved=20e9, written=10e9), row(limits.READ, 1.0, suite="limits", moved=40e9),
            row(limits.WRITE, 1.0, suite="limits", moved=25e9, written=25e9), row(limits.ARITHMETIC, 1.0, suite="limits", flops=100e9),
            row(limits.LITTLE_LAUNCH, 1e-6, suite="limits"), row(limits.LAUNCH, 1e-5, suite="limits")]
FOUND = Limits(MEASURED, "cuda:0")


def says(seconds: float, theirs: float, same: bool = True, **more: Any) -> tuple[str, float]:
    text, most = remark(row("x", seconds, **more), row("x", theirs, "torch cpu", **more), FOUND, same)
    return text, pytest.approx(most)


@pytest.mark.parametrize(("moved", "written", "name", "seconds"), [
    (2e9, 1e9, "copy bandwidth", 0.1), (4e9, 0, "read bandwidth", 0.1), (2.5e9, 2.5e9, "write bandwidth", 0.1), (4e9, 1.0, "read bandwidth", 0.1),
    (3e9, 1e9, "memory bandwidth", 0.1 + 1 / 40), (3e9, 2e9, "memory bandwidth", 0.1 + 1 / 25)])
def test_bytes_take_what_their_directions_take(moved: float, written: float, name: str, seconds: float) -> None:
    (bound,) = FOUND.bounds(row("x", 1.0, moved=moved, written=written))
    assert bound.name == name and bound.seconds == pytest.approx(seconds, rel=1e-6)


def test_the_nearest_limit_is_named_with_the_ratio_that_it_allows() -> None:
    assert says(0.125, 0.1125, flops=10e9, moved=2e9, goal=1.05) == ("80 % of multiply-add peak, at most 1.12 x", 1.125)
    assert says(0.125, 0.1125, flops=5e9, moved=2e9, written=1e9) == ("80 % of copy bandwidth, at most 1.12 x", 1.125)
    assert says(0.11, 0.103, moved=4e9, goal=1.05) == ("91 % of read bandwidth (rival 97 %), at most 1.03 x", 1.03)
    assert says(0.095, 0.0945, moved=4e9)[0] == "105 % of read bandwidth (rival 106 %), at most 1.00 x"


def test_a_limit_is_what_its_quicker_samples_reach() -> None:
    disturbed = row(limits.ARITHMETIC, 1.0, suite="limits", flops=100e9)
    disturbed.seconds = [1.0, 1.0, 3.0, 4.0, 5.0]
    assert Limits([disturbed], "cuda:0").arithmetic == {"float32": 100e9}


def test_launches_are_a_sum() -> None:
    assert says(95e-6, 90e-6, launches=9, little=1) == ("launches: 8 x 10 µs + 1 x 1 µs = 81 µs of 95 µs", 90 / 81)
    assert says(5e-6, 4e-6, launches=4, little=4)[0] == "launches: 4 x 1 µs = 4 µs of 5 µs"


def test_what_reaches_no_limit_says_so() -> None:
    assert says(0.2, 0.1, flops=10e9) == ("no limit reached: 50 % of multiply-add peak", 0)
    assert says(0.2, 0.1, flops=10e9, returned=0.19) == ("no limit reached: 50 % of multiply-add peak, host calls 95 %", 0)
    assert says(0.2, 0.1) == ("no limit reached", 0)
    assert says(30e-6, 20e-6, launches=9, little=9)[0] == "no limit reached: launches 30 %"


def test_what_somebody_surpasses_is_no_limit() -> None:
    """Caches are quicker than memory; a rival on another processor says nothing of ours."""
    assert says(0.05, 0.04, moved=4e9)[0] == "no limit reached: 200 % of read bandwidth (rival 250 %), caches"
    assert says(0.125, 0.05, moved=4e9, launches=1)[0] == "no limit reached: 80 % of read bandwidth (rival 200 %), caches"
    assert says(0.12, 0.05, same=False, moved=4e9)[0] == "83 % of read bandwidth, at most 0.50 x"


def test_goals_that_are_reached_need_no_remark() -> None:
    assert says(0.1, 0.1, moved=4e9) == says(0.1, 0.1, moved=4e9, goal=0.0) == ("", 0)
    assert says(2e-6, 1.0, goal=0.0, limit=3e-6, launches=1) == ("", 0)
    assert says(4e-6, 1.0, goal=0.0, limit=3e-6, launches=3, little=3)[0] == "launches: 3 x 1 µs = 3 µs of 4 µs"
    assert Limits([], "cuda:0").bounds(row("x", 1.0, moved=1.0, flops=1.0, launches=1)) == []


def made_up() -> Run:
    rows = [row("sum", 0.11, moved=4e9, goal=1.05), row("sum", 0.103, "torch cpu", moved=4e9, goal=1.05), row("exp", 0.1), row("exp", 0.2, "torch cpu"),
            row("sort", 0.2, moved=4e9), row("sort", 0.1, "torch cpu", moved=4e9)]
    return Run({"when": ""}, [OURS, RIVAL], [*MEASURED, *rows])


def test_table_says_what_limits_rows_and_what_was_tried() -> None:
    text = table.goal_table(made_up(), OURS, RIVAL, {("goals", "sum", "float32"): "streams.", ("goals", "exp", "float32"): "nothing."})
    lines = [line for line in text.splitlines() if line.startswith(("sum", "exp", "sort"))]
    assert lines[0].endswith("0.94 x  1.05 x  below: 91 % of read bandwidth (rival 97 %), at most 1.03 x") and lines[1].endswith("2.00 x     1 x")
    assert lines[2].endswith("below: no limit reached: 50 % of read bandwidth") and lines[3] == "sum: streams." and "nothing." not in text
    assert "1 of 3 goals are reached. 1 of the others are near a limit; 1 of these would miss their goals even at 100 % of it." in text
    assert all(len(line) <= table.GOALS_WIDTH for line in text.splitlines())


def test_the_file_and_the_page_have_it(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    assert bench.main(["goals", "--only", "matrix-vector", "--scale", "tiny", "--rounds", "1", "--json", str(file)]) == 0
    run, rows = results.load(file), made_up().rows
    mine = next(found for found in run.rows if found.suite == "goals")
    assert mine.launches >= 1 and mine.goal == 0.9 and 0 < mine.written < mine.moved and len(mine.returned) == len(mine.seconds)
    assert {found.case for found in run.rows if found.suite == "limits"} == {case.name for case in limits.limits(TINY)}
    run.rows, run.contestants = rows, [run.contestants[0], {**RIVAL, "library": "torch", "version": "1", "name": "torch on cpu"}]
    run.save(file)
    assert results.load(file) == run
    assert bench.main(["--report", str(file), "--out", str(tmp_path / "page.html")]) == 0
    page = re.sub(r"base64,[A-Za-z0-9+/=]+", "", (tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "<b>0.94 x (1.05 x)</b><small>not reached: 91 % of read bandwidth (rival 97 %), at most 1.03 x (torch cpu over cuda:0)</small>" in page
    assert "<b>2.00 x (1 x)</b><small>reached (torch cpu over cuda:0)</small>" in page


@pytest.mark.parametrize("case", [case for case in bench.SUITES["goals"](TINY) if case.flops and "attention" not in case.name and "GPT" not in case.name
                                  and "compiled" not in case.name and "vector" not in case.name], ids=lambda case: case.name)
def test_flops_are_those_that_torch_counts(case: Case) -> None:
    torch = pytest.importorskip("torch")
    counter = pytest.importorskip("torch.utils.flop_counter").FlopCounterMode(display=False)
    call = Torch(torch, "torch", "cpu", "torch cpu").prepare(case)
    with counter:
        call()
    assert counter.get_total_flops() == case.flops


def test_attention_counts_the_pairs_that_a_causal_query_sees() -> None:
    assert arithmetic.attention(2, 3, 5) == 2 * (1 + 2 + 3) * 5 * 2 * 2
    assert arithmetic.step([(1, 2, 3), (1, 3, 4)]) == 2 * 2 * 6 + 3 * 2 * 12


def test_launches_are_counted_one_by_one_and_in_a_replay(device: cltorch.device) -> None:
    case = Case("goals", "x", build=lambda t, place: step(t, place), mode=Mode.STEPS)

    def step(t: Any, place: Any) -> Any:
        x = t.ones(8, 8, device=place)
        run = t.compile(lambda: (x @ x).cumsum(0))
        run()
        return run

    contestant = Cltorch(str(device))
    assert contestant.launches(lambda: cltorch.ones(4, device=device).cumsum(0)) >= (1, 0)
    launches, little = contestant.launches(contestant.prepare(case))
    assert launches >= 1 and 0 <= little <= launches
    with counted(contestant.device) as counter:
        pass
    assert counter.launches == 0 and not contestant.device.observers
