"""What keeps a goal's row below its goal: shares of what the same run measured, as text, in the file and on the page. Numbers are made up, none is timed."""
from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import cltorch
from cltorch.tools import bench
from cltorch.tools.benchmarks import arithmetic, limits, results, table
from cltorch.tools.benchmarks.bounds import bounds, remark
from cltorch.tools.benchmarks.case import TINY, Case, Input, Mode
from cltorch.tools.benchmarks.contestants import Cltorch, Torch
from cltorch.tools.benchmarks.counter import counted
from cltorch.tools.benchmarks.measure import Plan, Race
from cltorch.tools.benchmarks.results import Row, Run

OURS, RIVAL = {"label": "cuda:0", "kind": "CPU", "driver": "1"}, {"label": "torch cpu", "kind": "CPU"}
MEASURED = {"copy": 20e9, limits.READ: 40e9, limits.WRITE: 25e9, limits.ARITHMETIC: 100e9, limits.LITTLE_LAUNCH: 1e-6, limits.LAUNCH: 1e-5}


def row(name: str, seconds: float, who: str = "cuda:0", **more: Any) -> Row:
    more = {"moved": 0.0, "flops": 0.0, "goal": 1.0, "beside": MEASURED, **more}
    return Row("goals", name, "float32", who, "THROUGHPUT", seconds=[seconds] * 3, returned=[more.pop("returned", 0.0)] * 3, **more)


def says(seconds: float, theirs: float, same: bool = True, **more: Any) -> tuple[str, float]:
    text, most = remark(row("x", seconds, **more), row("x", theirs, "torch cpu", **more), same)
    return text, pytest.approx(most)


@pytest.mark.parametrize(("moved", "written", "name", "seconds"), [
    (2e9, 1e9, "copy bandwidth", 0.1), (4e9, 0, "read bandwidth", 0.1), (2.5e9, 2.5e9, "write bandwidth", 0.1), (4e9, 1.0, "read bandwidth", 0.1),
    (3e9, 1e9, "bandwidth", 0.1 + 1 / 40), (3e9, 2e9, "bandwidth", 0.1 + 1 / 25)])
def test_bytes_take_what_their_directions_take(moved: float, written: float, name: str, seconds: float) -> None:
    (bound,) = bounds(row("x", 1.0, moved=moved, written=written))
    assert bound.name == name and bound.seconds == pytest.approx(seconds, rel=1e-6)


def test_the_nearest_limit_is_named_with_the_ratio_that_it_allows() -> None:
    assert says(0.125, 0.1125, flops=10e9, moved=2e9, goal=1.05) == ("80 % of multiply-add peak, at most 1.12 x", 1.125)
    assert says(0.125, 0.1125, flops=5e9, moved=2e9, written=1e9) == ("80 % of copy bandwidth, at most 1.12 x", 1.125)
    assert says(0.11, 0.103, moved=4e9, goal=1.05) == ("91 % of read bandwidth (rival 97 %), at most 1.03 x", 1.03)
    assert says(0.095, 0.0945, moved=4e9)[0] == "105 % of read bandwidth (rival 106 %), at most 1.00 x"


def test_limits_are_measured_in_the_rounds_of_a_goal(device: cltorch.device) -> None:
    x = Input((8, 8))
    wanted = Case("goals", "x", lambda t, x: x * x, (x,), moved=2.0, written=1.0, flops=1.0, goal=1.0)
    plain = wanted._replace(name="y", goal=0.0)
    race = Race([Cltorch(str(device))], Plan(seconds=0.0, sample=0.0, fewest=2, most=2), [*bench.operators.memory(TINY)[:1], *limits.limits(TINY), wanted, plain])
    (mine,) = race.run(wanted)
    assert set(mine.beside) == {"copy", limits.ARITHMETIC, limits.LITTLE_LAUNCH, limits.LAUNCH} and min(mine.beside.values()) > 0 and mine.launches == 1
    assert all(len(standard.row.seconds) == 2 for standard in race.standards.values())
    assert not race.run(plain)[0].beside
    for moved, written, name in ((3.0, 1.0, limits.READ), (3.0, 2.0, limits.WRITE)):
        assert ("limits", name, "float32") in limits.compared(wanted._replace(moved=moved, written=written))


def test_launches_are_a_sum() -> None:
    assert says(95e-6, 90e-6, launches=9, little=1) == ("launches: 8 x 10 µs + 1 x 1 µs = 81 µs of 95 µs", 90 / 81)
    assert says(5e-6, 4e-6, launches=4, little=4)[0] == "launches: 4 x 1 µs = 4 µs of 5 µs"


def test_a_part_of_a_step_by_itself_bounds_it(device: cltorch.device) -> None:
    assert says(20e-3, 29e-3, flops=1e9, goal=1.5, beside={**MEASURED, limits.PRODUCTS: 16e-3})[0] == "80 % of what its products alone take, at most 1.81 x"
    (step,) = [case for case in bench.SUITES["goals"](TINY) if case.name == "step of GPT, compiled"]
    (alone,) = [case for case in limits.limits(TINY) if case.key in limits.compared(step) and case.name == limits.PRODUCTS]
    assert all(t.shape and t.isfinite().all().item() for t in Cltorch(str(device)).prepare(alone)())


def test_what_reaches_no_limit_says_so() -> None:
    assert says(0.2, 0.1, flops=10e9) == ("no limit reached: 50 % of multiply-add peak (rival 100 %)", 0)
    assert says(0.2, 0.1, same=False, flops=10e9) == ("no limit reached: 50 % of multiply-add peak", 0)
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
    assert bounds(row("x", 1.0, moved=1.0, flops=1.0, launches=1, beside={})) == []


def made_up() -> Run:
    rows = [row("sum", 0.11, moved=4e9, goal=1.05), row("sum", 0.103, "torch cpu", moved=4e9, goal=1.05), row("exp", 0.1), row("exp", 0.2, "torch cpu"),
            row("sort", 0.2, moved=4e9), row("sort", 0.1, "torch cpu", moved=4e9)]
    return Run({"when": ""}, [OURS, RIVAL], rows)


def test_table_says_what_limits_rows_and_what_was_tried() -> None:
    text = table.goal_table(made_up(), OURS, RIVAL, {("goals", "sum", "float32"): "streams.", ("goals", "exp", "float32"): "nothing."})
    lines = [line for line in text.splitlines() if line.startswith(("sum", "exp", "sort"))]
    assert lines[0].endswith("0.94 x  1.05 x  below: 91 % of read bandwidth (rival 97 %), at most 1.03 x") and lines[1].endswith("2.00 x     1 x")
    assert lines[2].endswith("below: no limit reached: 50 % of read bandwidth (rival 100 %)") and lines[3] == "sum: streams." and "nothing." not in text
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
