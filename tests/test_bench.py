"""The benchmark: its cases run and mean the same in every library, its files and its page hold everything. Nothing here depends on time."""
from __future__ import annotations

import copy
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cltorch
from cltorch.tools import bench, bench_dispatch, bench_ops, bench_start
from cltorch.tools.benchmarks import contestants as people
from cltorch.tools.benchmarks import report, results, start, table, tried
from cltorch.tools.benchmarks.case import FULL, SCALES, TINY, Case, Input, Mode
from cltorch.tools.benchmarks.contestants import Cltorch, Contestant, Numpy, find_devices
from cltorch.tools.benchmarks.environment import busy, describe, environment
from cltorch.tools.benchmarks.measure import Entry, Plan, Race, schedule
from cltorch.tools.benchmarks.results import Row, Run, Shares

CASES = [case for build in bench.SUITES.values() for case in build(TINY)]
CALLS = [case for case in CASES if case.call and not case.drawn]
ONE_ROUND = Plan(seconds=0.0, sample=0.0, fewest=1, most=1, warm=1)


def name_of(case: Case) -> str:
    return "-".join(case.key).replace(" ", "_")


def numbers(result: Any) -> np.ndarray:
    if isinstance(result, tuple):
        return np.concatenate([numbers(part).reshape(-1) for part in result])
    if not isinstance(result, (cltorch.Tensor, np.ndarray, np.generic)):
        result = result.detach().float().cpu().numpy()
    return np.asarray(result.detach().to(cltorch.float32).cpu().numpy() if isinstance(result, cltorch.Tensor) else result, np.float32)


def compute(contestant: Contestant, case: Case) -> np.ndarray:
    return numbers(contestant.prepare(case)())


def close(mine: np.ndarray, theirs: np.ndarray, case: Case) -> None:
    rough = case.dtype in ("float16", "bfloat16")
    np.testing.assert_allclose(mine, theirs, rtol=3e-2 if rough else 1e-4, atol=3e-2 if rough else 1e-4)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Every tiny case, once, on every device, through the command line."""
    file = tmp_path_factory.mktemp("bench") / "run.json"
    assert bench.main(["--scale", "tiny", "--rounds", "1", "--device", "all", "cpu", "--rival", "numpy", "--json", str(file)]) == 0
    return results.load(file)


@pytest.mark.parametrize("case", CALLS, ids=name_of)
def test_cases_mean_the_same_in_numpy(case: Case, device: cltorch.device) -> None:
    if case.numpy is None:
        pytest.skip("NumPy has no such operator")
    close(compute(Cltorch(str(device)), case), compute(Numpy(np, "numpy", "cpu", "numpy"), case), case)


@pytest.mark.parametrize("case", CALLS, ids=name_of)
def test_cases_mean_the_same_in_torch(case: Case, device: cltorch.device) -> None:
    torch = pytest.importorskip("torch")
    close(compute(Cltorch(str(device)), case), compute(people.Torch(torch, "torch", "cpu", "torch cpu"), case), case)


@pytest.mark.parametrize("case", [case for case in CASES if case.mode is Mode.STEPS and case.build], ids=name_of)
def test_training_cases_learn(case: Case, device: cltorch.device) -> None:
    step = Cltorch(str(device)).prepare(case)
    losses = [step()[0].item() for _ in range(30)]
    assert all(map(math.isfinite, losses)) and losses[-1] < losses[0]


def test_case_names_are_unique_and_show() -> None:
    for scale in SCALES.values():
        found = [case for build in bench.SUITES.values() for case in build(scale)]
        assert len({case.key for case in found}) == len(found)
        assert all(len(Row(*case.key, "", "", 0, 0).title) <= 41 for case in found)
        assert {case.suite for case in found} == set(bench.SUITES)


def test_every_case_ran_on_every_device(run: Run) -> None:
    labels = [str(d.spec) for d in people.runtime.devices()] + ["cpu", "numpy"]
    assert [who["label"] for who in run.contestants] == labels
    assert results.cases(run.rows) == [case.key for case in CASES]
    assert [(row.key, row.contestant) for row in run.rows] == [(case.key, label) for case in CASES for label in labels]
    lacking = {who["label"] for who in run.contestants if not who.get("fp64", True)}
    for row in run.rows:
        if row.contestant == "numpy" and not row.seconds:
            assert row.note == results.UNKNOWN
        elif row.dtype == "float64" and row.contestant in lacking:
            assert row.note.startswith("UnsupportedDtypeError") and not row.seconds
        else:
            assert not row.note and row.seconds and row.calls >= 1 and min(row.seconds) > 0, row


def test_environment_is_complete(run: Run) -> None:
    assert {"when", "os", "python", "cpu", "cores", "memory", "load", "cltorch", "commit", "versions", "variables", "options"} <= set(run.environment)
    assert {"pyopencl", "numpy", "mako"} <= set(run.environment["versions"])
    first = run.contestants[0]
    properties = cltorch.cuda.get_device_properties(0)
    assert (first["name"], first["driver"], first["opencl"]) == (properties.name, properties.driver_version, properties.opencl_version)
    assert isinstance(first["profiles"], list) and first["platform"] and first["strategy"] in ("wide", "grid")
    assert busy({"load": 9.0, "cores": 2}) and not busy({"load": 0.1, "cores": 2}) and not busy({"load": None, "cores": 2})


def test_json_round_trip(run: Run, tmp_path: Path) -> None:
    run.save(tmp_path / "again.json")
    assert results.load(tmp_path / "again.json") == run
    (tmp_path / "other.json").write_text(json.dumps({"schema": 99}))
    (tmp_path / "broken.json").write_text("{")
    for name in ("other", "broken", "absent"):
        with pytest.raises(ValueError, match=f"{name}.json is no file of bench.py"):
            results.load(tmp_path / f"{name}.json")


def test_table_fits_a_terminal(run: Run) -> None:
    for suite in bench.SUITES:
        text = table.suite_table(suite, run.rows, run.contestants[0]["label"])
        assert all(len(line) <= table.WIDTH for line in text.splitlines())
        assert all(row.title in text for row in run.rows if row.suite == suite)
    assert all(len(line) <= table.WIDTH for line in table.summary(run, "cuda:0").splitlines())


def test_page_holds_every_contestant_and_case(run: Run, tmp_path: Path) -> None:
    other = copy.deepcopy(run)
    other.contestants[0]["name"] = "GeForce <RTX> 9090"
    other.missing["tinygrad"] = "not installed"
    other.rows[0].note, other.rows[0].seconds = "OutOfMemoryError: no memory", []
    run.save(tmp_path / "one.json")
    other.save(tmp_path / "two.json")
    assert bench.main(["--report", str(tmp_path / "one.json"), str(tmp_path / "two.json"), "--out", str(tmp_path / "new" / "page.html")]) == 0
    page = (tmp_path / "new" / "page.html").read_text(encoding="utf-8")
    for row in run.rows:
        assert f"<td>{row.title}</td>" in page
    for text in ("GeForce &lt;RTX&gt; 9090", "tinygrad in two: not installed", "OutOfMemoryError: no memory", run.environment["cpu"], run.environment["when"][:10]):
        assert text in page
    _, _, names = report.merge([(run, "one"), (other, "two")])
    assert len(names) == 2 * len(run.contestants) == len(set(names)) and all(name.replace("<", "&lt;").replace(">", "&gt;") in page for name in names)
    assert page.count("data:image/png;base64,") == len(bench.SUITES) + 1
    text = re.sub(r"base64,[A-Za-z0-9+/=]+", "", page)  # any letters may occur in a picture
    assert "src=\"http" not in text and "href" not in text
    assert {path.name for path in (tmp_path / "new").glob("*.png")} == {f"page-{name}.png" for name in ("summary", *bench.SUITES)}


def test_report_without_any_time_says_so(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    Run(environment({}), [describe(Cltorch("cuda:0"))], [Row("memory", "copy", "float32", "cuda:0", "THROUGHPUT", 1.0, 0.0, note="failed")]).save(tmp_path / "empty.json")
    with pytest.raises(SystemExit):
        bench.main(["--report", str(tmp_path / "empty.json")])
    assert "nothing was measured" in capsys.readouterr().err


def test_missing_rival_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    monkeypatch.setitem(people.RIVALS, "no_such_library", lambda library: [])
    file = tmp_path / "run.json"
    assert bench.main(["launch", "--only", "record a + b", "--scale", "tiny", "--rounds", "1", "--rival", "no_such_library", "--json", str(file)]) == 0
    assert "no_such_library not installed" in capsys.readouterr().out
    assert "no_such_library" in results.load(file).missing


def test_rival_that_cannot_start_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(library: Any) -> list[Contestant]:
        raise RuntimeError("no usable devices")

    monkeypatch.setitem(people.RIVALS, "numpy", broken)
    assert people.find_rivals(["numpy"]) == ([], {"numpy": "installed, but it can't compute here (no usable devices)"})


@pytest.mark.parametrize(("arguments", "message"), [(["nonsense"], "no such suite"), (["--device", "cuda:99"], "cuda:99"), (["--rival", "jax9"], "is no rival")])
def test_wrong_arguments(arguments: list[str], message: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        bench.main(arguments)
    assert stopped.value.code == 2 and message in capsys.readouterr().err


def test_the_older_tools_are_suites_of_it(capsys: pytest.CaptureFixture) -> None:
    assert bench_ops.main(["--scale", "tiny", "--rounds", "1", "--only", "softmax", "--size", "4096"]) == 0
    text = capsys.readouterr().out
    assert "softmax" in text and "copy" in text and "LAUNCH" not in text
    assert bench_dispatch.main(["--scale", "tiny", "--rounds", "1", "--only", "record a + b"]) == 0
    assert "LAUNCH" in capsys.readouterr().out


class Failing(Contestant):
    """Fails at its n-th wait."""

    def __init__(self, fails_at: int) -> None:
        super().__init__(np, "failing", "cpu", "failing")
        self.left = fails_at

    def prepare(self, case: Case) -> Any:
        return lambda: None

    def wait(self) -> None:
        self.left -= 1
        if self.left <= 0:
            raise MemoryError("no more\nof it")


@pytest.mark.parametrize("fails_at", [1, 4, 8])
def test_a_failing_contestant_is_a_row_and_the_others_go_on(fails_at: int) -> None:
    case = Case("memory", "copy", inputs=(Input((8,)),), moved=64.0, numpy=lambda t, x: x * 2)
    race = Race([Failing(fails_at), Numpy(np, "numpy", "cpu", "numpy")], Plan(seconds=0.0, sample=0.0, fewest=9, most=9), [case])
    failed, fine = race.run(case)
    assert failed.note == "MemoryError: no more" and not failed.seconds
    assert not fine.note and len(fine.seconds) == 9


def test_what_takes_too_long_is_left_out() -> None:
    small, large = (Case("gemm", f"{n}", inputs=(Input((n, n)),) * 2, flops=2.0 * n ** 3, numpy=lambda t, x, y: x @ y) for n in (16, 64))
    race = Race([Numpy(np, "numpy", "cpu", "numpy")], ONE_ROUND._replace(limit=0.0), [small, large])
    assert race.run(small)[0].seconds and "a call" in race.run(large)[0].note
    late = Race([Numpy(np, "numpy", "cpu", "numpy")], ONE_ROUND._replace(total=1e-9), [small])
    assert late.run(small)[0].note.startswith("left out: the run's")


def test_a_late_run_leaves_out_who_used_more_than_its_share() -> None:
    ends = schedule(CASES, 100.0)
    assert list(ends) == [case.key for case in CASES] and sorted(ends.values()) == list(ends.values()) and 0 < min(ends.values()) < 80 < max(ends.values()) < 100
    case = Case("memory", "copy", inputs=(Input((8,)),), numpy=lambda t, x: x * 2)
    slow, quick = Numpy(np, "numpy", "cpu", "slow"), Numpy(np, "numpy", "cpu", "quick")
    race = Race([slow, quick], ONE_ROUND._replace(total=100.0), [case])
    race.used["slow"] = 60.0
    assert not any(row.note for row in race.run(case))
    race.ends[case.key] = 1e-9
    race.used["quick"] = -1.0
    assert [row.note for row in race.run(case)] == ["left out: it had used up its share of the run's 100 seconds", ""]


@pytest.mark.parametrize("mode", list(Mode), ids=lambda mode: mode.name)
def test_each_mode_settles_and_waits(mode: Mode) -> None:
    told: list[str] = []

    class Told(Contestant):
        def prepare(self, case: Case) -> Any:
            return lambda: told.append("call")

        def settle(self, result: Any) -> None:
            told.append("settle")

        def wait(self) -> None:
            told.append("wait")

    entry = Entry(Case("launch", "x", mode=mode), Told(np, "told", "cpu", "told"), ONE_ROUND)
    entry.call, entry.row.calls = entry.contestant.prepare(entry.case), 2
    entry.take()
    expected = {Mode.THROUGHPUT: "call settle call settle", Mode.LAUNCH: "call settle call settle", Mode.RECORD: "call call",
                Mode.ROUND_TRIP: "call settle wait call settle wait", Mode.STEPS: "call call settle"}
    assert told == (f"wait {expected[mode]} wait".split() if mode in expected else ["call"]) and len(entry.row.seconds) == 1


def test_figures_of_rows() -> None:
    def row(suite: str, name: str, who: str, seconds: float, moved: float = 0.0, flops: float = 0.0) -> Row:
        return Row(suite, name, "float32", who, "THROUGHPUT", moved, flops, 1, [seconds] * 3)

    copy_a, sum_a = row("memory", "copy", "a", 1.0, moved=2e9), row("memory", "sum", "a", 1.0, moved=1e9)
    small, large, copy_b = row("gemm", "1", "a", 1.0, flops=1e9), row("gemm", "2", "a", 1.0, flops=4e9), row("memory", "copy", "b", 0.25, moved=2e9)
    step = row("train", "MLP", "b", 0.5)
    shares = Shares([copy_a, sum_a, small, large, copy_b, step])
    assert shares.of(sum_a) == (50.0, "copy") and shares.of(small) == (25.0, "peak") and shares.of(large) == (100.0, "peak") and shares.of(step) is None
    assert copy_a.rate == (2.0, "GB/s") and large.rate == (4.0, "GFLOP/s") and step.rate == (2.0, "steps/s") and copy_a.spread == 0.0
    assert results.speedups([copy_a, copy_b], "a")["memory", "b"] == (pytest.approx(4.0), 1)
    assert [results.human_seconds(s) for s in (2.0, 0.0123, 1.5e-5, 2e-7)] == ["2 s", "12.3 ms", "15 µs", "200 ns"]
    assert [results.human_rate(r) for r in ((12345.6, "GFLOP/s"), (3.14159, "GB/s"), (1234.0, "GB/s"))] == ["12.3 TFLOP/s", "3.14 GB/s", "1234 GB/s"]


def test_describe_tells_devices_from_rivals() -> None:
    rival = describe(Numpy(np, "numpy", "cpu", "numpy"))
    assert rival["version"] == np.__version__ and "driver" not in rival
    assert [report.tidy(name) for name in ("pthread-skylake-avx512-Intel(R) Xeon(R) Processor", "cpu-haswell-AMD EPYC", "NVIDIA H100")] == [
        "Intel Xeon", "AMD EPYC", "NVIDIA H100"]
    assert [results.human_ratio(value) for value in (12.345, 0.5, 0.00234)] == ["12.35 x", "0.50 x", "0.0023 x"]
    assert report.display(rival) == f"numpy {np.__version__}"


def test_goals_are_printed_against_a_rival(run: Run) -> None:
    """Each goal has a line with both times, the ratio, the goal, and says where it isn't reached, and what was tried for those."""
    cases = bench.SUITES["goals"](TINY)
    rival = copy.deepcopy([row for row in run.rows if row.suite == "goals" and row.contestant == "cuda:0"])
    for row in rival:
        row.contestant, row.seconds = "rival", [1.1 * s for s in row.seconds]
    rival[-1].note, rival[-1].seconds = "RuntimeError: no", []
    both = Run(run.environment, [run.contestants[0], {"label": "rival", "kind": "CPU"}], [*run.rows, *rival])
    head, count, attempts = table.goal_table(both, *both.contestants, {case.key: case.tried for case in cases}).split("\n\n")
    lines = head.splitlines()[2:]
    assert len(lines) == len(cases) and all(len(line) <= table.GOALS_WIDTH for line in (*lines, *attempts.splitlines()))
    assert count.startswith(f"{sum('below: ' not in line for line in lines[:-1])} of {len(cases)} goals are reached")
    assert {case.tried for case in cases if case.goal > 1.1 and "softmax" in case.name} == {tried.ROWS} and tried.ROWS[:30] in " ".join(attempts.split())
    for case, line in zip(cases[:-1], lines, strict=False):
        assert line.startswith(case.name) and "1.10 x" in line
        if case.goal:
            assert ("below: " in line) == (case.goal > 1.1)
    assert lines[-1].endswith("RuntimeError: no")
    assert not table.goal_table(run, run.contestants[0], {"label": "numpy"}, {}).split("\n\n")[0].splitlines()[2:]  # NumPy has none of these calls


def test_goals_that_are_seconds_of_new_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of kernels is empty for a cold start, filled for a warm one; no rival is asked, and a failure is its row's note."""
    seen: list[tuple[str, str, int]] = []

    def measured(library: str, place: str, model: str, compiled: bool, shrink: int, folder: str) -> dict[str, float] | str:
        assert (library, compiled, shrink) == ("cltorch", True, 1)
        seen.append((place, model, len(list(Path(folder).iterdir()))))
        (Path(folder) / "kernel").touch()
        return {"first": 6.0 if model == "resnet" else 0.2} if model != "cnn" else "no driver"

    monkeypatch.setattr(start, "measure", measured)
    cases = [case for case in bench.SUITES["goals"](FULL) if case.mode is Mode.START]
    ours, rival = find_devices(["cuda"])[0], Numpy(np, "numpy", "cpu", "rival")
    race = Race([ours, rival], ONE_ROUND, cases)
    run = Run({}, [describe(ours), describe(rival)], [row for case in cases for row in race.run(case)])
    assert {place for place, _, _ in seen} == {ours.label} and [count for _, model, count in seen if model == "gpt"] == [0, 0, 1]
    head, count, attempts = table.goal_table(run, *run.contestants, {case.key: case.tried for case in cases}).split("\n\n")
    lines = [" ".join(line.split()) for line in head.splitlines()[2:]]
    assert lines == [f"first compiled step of {text}" for text in (
        "mlp, cold 200 ms 0 % < 5 s", "mlp, warm 200 ms 0 % < 300 ms", "cnn, cold RuntimeError: no driver", "cnn, warm RuntimeError: no driver",
        "resnet, cold 6 s 0 % < 5 s below: the compiler's time", "resnet, warm 6 s 0 % < 300 ms below: the compiler's time",
        "gpt, cold 200 ms 0 % < 5 s", "gpt, warm 200 ms 0 % < 300 ms")]
    assert count.startswith("4 of 8 goals are reached.") and "30 programs" in attempts


def test_starts_are_timed_in_processes_of_their_own(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert bench_start.main(["mlp", "--shrink", "16"]) == 0
    head, *lines = capsys.readouterr().out.strip().splitlines()
    assert head.split() == ["mlp", "import", "first", "step", "later", "step", "memory"]
    assert [line.split("  ")[0] for line in lines] == ["cltorch, cold", "cltorch, warm", "cltorch, compiled, cold", "cltorch, compiled, warm"]
    assert all(re.search(r"  [\d.]+ \w+ +[\d.]+ \w+ +[\d.]+ \w+ +(\d+ MiB|unknown)$", line) for line in lines), lines
    assert bench_start.line("x", start.measure("no_such_library", "", "mlp", False, 16, "")).endswith("No module named 'no_such_library'")
    with pytest.raises(SystemExit):
        bench_start.main(["transformer"])
