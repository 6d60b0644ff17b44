"""Tuned numbers: what templates declare, which profile wins, what is refused, and that kernels and planners follow."""
from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import run_python

from cltorch import codegen, float32, float64
from cltorch.core import dispatch
from cltorch.ops import convolution_launch, gemm_plan
from cltorch.runtime import tuning
from cltorch.runtime.device import Device, get
from cltorch.tools import tune, tune_pairs, tune_workloads

CACHES = (tuning._fitting, dispatch._profiles, dispatch.given, dispatch.tuned, dispatch.work_group)


@pytest.fixture
def dev() -> Device:
    return get("cuda")


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A function (file name, content) that adds a profile to the shipped ones, which are none at first."""
    folder = tmp_path / "profiles"
    folder.mkdir()
    monkeypatch.setattr(tuning, "FOLDER", folder)
    monkeypatch.delenv("CLTORCH_PROFILE", raising=False)

    def add(name: str, **content: Any) -> Path:
        path = folder / name
        path.write_text(json.dumps(content))
        forget()
        return path

    forget()
    yield add
    monkeypatch.undo()
    forget()


def forget() -> None:
    for cache in CACHES:
        cache.cache_clear()


def own(path: Path, monkeypatch: pytest.MonkeyPatch, **content: Any) -> Path:
    """A profile of the user's, in force."""
    path.write_text(json.dumps(content))
    monkeypatch.setenv("CLTORCH_PROFILE", str(path))
    forget()
    return path


# what templates declare


@pytest.mark.parametrize("family", codegen.families())
def test_defaults_are_legal_and_meet_the_constraints(family: str) -> None:
    large = {"work_group": 256, "local_bytes": 32 * 1024}
    for strategy in ("wide", "grid"):
        values = codegen.defaults(family, strategy)
        assert values and all(value in codegen.tunables(family)[name][2] for name, value in values.items())
        assert codegen.broken(family, strategy, values, large) == ""


def test_constraints_name_what_is_not_met() -> None:
    limits = {"work_group": 256, "local_bytes": 32 * 1024}
    tile = codegen.defaults("matmul/grid", "grid")
    assert codegen.broken("matmul/grid", "grid", tile | {"TM": 128, "TN": 128}, limits) == "TM // RM * (TN // RN) <= work_group"
    assert codegen.broken("matmul/grid", "grid", tile, limits | {"local_bytes": 4096}) == "not LOCAL or TK * (TM + TN + 2) * 4 <= local_bytes"
    assert codegen.broken("matmul/grid", "grid", tile | {"LOCAL": 0}, limits | {"local_bytes": 4096}) == ""
    assert codegen.broken("reduce/rows", "wide", {"LANES": 64, "WG": 64}, limits) == "WG == 1 or not wide"
    assert codegen.broken("reduce/rows", "grid", {"LANES": 64, "WG": 256}, limits | {"work_group": 128}) == "WG <= work_group"


# which profile wins


def test_the_most_exact_profile_wins(dev: Device, shipped: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, columns = "reduce/rows", "reduce/columns"
    assert dict(dispatch.tuned(dev, rows)) == codegen.defaults(rows, dev.strategy) and not dispatch.given(dev, rows)
    shipped("a.json", level="architecture", match={"kind": ".*"}, families={rows: {"LANES": 32}, columns: {"TILE": 256}})
    shipped("b.json", level="strategy", match={"strategy": "wide|grid"}, families={rows: {"LANES": 16}, columns: {"TILE": 128}, "matmul/panel": {"KC": 64}})
    shipped("c.json", level="vendor", match={"vendor": ".*"}, families={columns: {"TILE": 2048}})
    shipped("d.json", level="vendor", match={"vendor": "nobody"}, families={"matmul/panel": {"KC": 512}})
    assert dispatch.tuned(dev, rows)["LANES"] == 32 and dispatch.tuned(dev, columns)["TILE"] == 256 and dispatch.tuned(dev, "matmul/panel")["KC"] == 64
    shipped("e.json", level="device", match=tuning.exactly(dev), families={rows: {"LANES": 128}})
    assert dispatch.tuned(dev, rows)["LANES"] == 128
    own(tmp_path / "own.json", monkeypatch, families={rows: {"LANES": 16.0}})
    assert dispatch.tuned(dev, rows)["LANES"] == 16 and dispatch.tuned(dev, columns)["TILE"] == 256
    assert type(dispatch.tuned(dev, rows)["LANES"]) is int
    assert dispatch.tuned(dev, rows) is dispatch.tuned(dev, rows)


def test_a_saved_profile_is_found_again(dev: Device, shipped: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "saved.json"
    tuning.save(path, dev, {"reduce/rows": {"LANES": 128}}, {"when": "today"})
    monkeypatch.setenv("CLTORCH_PROFILE", str(path))
    forget()
    assert dict(dispatch.given(dev, "reduce/rows")) == {"LANES": 128}
    found = tuning.read(path)
    assert found["measured"] == {"when": "today"} and found["driver"] == dev.driver_version and found["match"]["strategy"] == dev.strategy


def test_a_profile_of_another_device_is_left_alone(dev: Device, shipped: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own(tmp_path / "own.json", monkeypatch, match={"name": "another"}, families={"reduce/rows": {"LANES": 128}})
    assert not dispatch.given(dev, "reduce/rows")


# what is refused


@pytest.mark.parametrize("families, complaint", [
    ({"reduce/rows": {"LANES": 48}}, r"reduce/rows: LANES is one of \(16, 32, 64, 128\), got 48"),
    ({"reduce/rows": {"LANES": [64]}}, r"reduce/rows: LANES is one of .*, got \[64\]"),
    ({"reduce/rows": {"LANE": 64}}, "reduce/rows has no parameter 'LANE', but LANES, WG"),
    ({"reduce/row": {"LANES": 64}}, "there is no kernel family 'reduce/row'"),
    ({"matmul/panel": {"MR": 16, "NV": 16}}, r"matmul/panel with .* does not meet MR \* NV <= 64 on "),
])
def test_a_bad_number_is_an_error_that_names_the_file(dev: Device, shipped: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, families: dict,
                                                      complaint: str) -> None:
    path = own(tmp_path / "own.json", monkeypatch, families=families)
    with pytest.raises(ValueError, match=complaint) as caught:
        dispatch.given(dev, next(iter(families)))
    assert str(path) in str(caught.value)


def test_a_small_device_passes_over_what_its_vendor_s_profile_asks(dev: Device, shipped: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    content = dict(match={}, families={"sorting/radix": {"DIGIT": 8, "WG": 128}, "matmul/panel": {"KC": 64}})
    shipped("vendor.json", level="vendor", **content)
    monkeypatch.setattr(dispatch, "limits", lambda dev: {"work_group": 64, "local_bytes": 16 * 1024})
    assert not dispatch.given(dev, "sorting/radix") and dispatch.given(dev, "matmul/panel")
    shipped("device.json", level="device", **content)
    with pytest.raises(ValueError, match="does not meet"):
        dispatch.given(dev, "sorting/radix")


@pytest.mark.parametrize("text,complaint", [
    ("{", "can't be read"), ("[]", '"families"'), ('{"families": {"gemm": 3}}', '"families"'),
    ('{"families": {}, "match": {"colour": "red"}}', "colour"), ('{"families": {}, "level": "planet"}', "planet"),
])
def test_bad_profiles(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=complaint) as caught:
        tuning.read(path)
    assert str(path) in str(caught.value)


def test_shipped_profiles_are_legal() -> None:
    for path in tuning.FOLDER.glob("*.json"):
        profile = tuning.read(path)
        assert profile["measured"] and profile["driver"]
        for family, values in profile["families"].items():
            assert all(dispatch._legal(profile, family, name, value) == value for name, value in values.items())


# kernels and planners follow


SOURCES = """
import cltorch, numpy as np
from cltorch.runtime.observe import Observer
class Seen(Observer):
    text = ""
    def before(self, kernel, global_size, local_size, args):
        Seen.text += kernel.program.source
dev = cltorch.runtime.device.get("cuda")
dev.watch(Seen())
x = cltorch.arange(6000, dtype=cltorch.float32, device="cuda").reshape(60, 100)
assert np.allclose(x.sum(0).cpu().numpy(), np.arange(6000.0).reshape(60, 100).sum(0))
y = (x / 6000).cpu().numpy()
assert np.allclose(((x / 6000) @ (x / 6000).t()).cpu().numpy(), y @ y.T, rtol=1e-5)
print(Seen.text)
"""


def test_a_tuned_number_reaches_the_kernels(dev: Device, tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    path.write_text(json.dumps({"families": {"reduce/columns": {"TILE": 512}, "matmul/panel": {"KC": 64, "TILES": 64, "MR": 3, "NV": 1}}}))
    plain, done = run_python(SOURCES, CLTORCH_STRATEGY="wide", CLTORCH_PROFILE=""), run_python(SOURCES, CLTORCH_STRATEGY="wide", CLTORCH_PROFILE=str(path))
    assert done.returncode == plain.returncode == 0, done.stderr + plain.stderr
    for text in ("a0[512]", "k0 += 64", "V sums[192]"):
        assert text in done.stdout and text not in plain.stdout


def test_planners_follow_a_profile(dev: Device, shipped: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert gemm_plan.Side.of(dev, "matmul/panel") is None and gemm_plan.Block.of(dev, "matmul/grid") is None
    block = {"TM": 32, "TN": 64, "TK": 8, "RM": 2, "RN": 4}
    own(tmp_path / "own.json", monkeypatch, families={
        "matmul/panel": {"VW": 4, "MR": 5, "NV": 3}, "matmul/grid": block, "conv/grid": block, "conv/correlate": {"STAGE": 4096, "TAPS": 128}})
    side, given = gemm_plan.Side.of(dev, "matmul/panel"), gemm_plan.Block.of(dev, "matmul/grid")
    assert side == (5, 3) and gemm_plan.vector_bytes(dev, "matmul/panel") == 16 and given == tuple(block.values())
    unit = gemm_plan.Layout(True, False)
    for d, lanes in ((float32, 4), (float64, 2)):
        chosen = gemm_plan.plan("wide", 512, 512, 512, 1, d, unit, unit, 16, side=side)
        assert dict(chosen.tunables) == {"MR": 5, "NV": 3, "VW": lanes, "TILES": gemm_plan.MANY_TILES}
    narrow = dict(gemm_plan.plan("wide", 512, 8, 512, 1, float32, unit, unit, 16, side=side).tunables)
    assert narrow["NV"] * narrow["VW"] == 8
    assert dict(gemm_plan.plan("grid", 512, 512, 512, 1, float32, unit, unit, given=given).tunables) == block | {"LOCAL": 1}
    assert dict(gemm_plan.plan("grid", 16, 16, 512, 1, float32, unit, unit, given=given).tunables)["TM"] == 16
    room = convolution_launch.Room.of(dev, "conv/correlate")
    assert (room.stage, room.taps, room.sums) == (4 * 4096, 128, 4 * 12288) and room.side is None


# the tool


def child(script: str, timeout: float = 60) -> tune_pairs.Child:
    return tune_pairs.Child((sys.executable, "-c", script), "", timeout)


ANSWERS = """
import json, sys, time
print(json.dumps({"kernels": "same", "used": True}), flush=True)
for _ in sys.stdin:
    print(json.dumps({"seconds": [%s]}), flush=True)
"""


LAUNCHED = """
import json
import cltorch
from cltorch.tools import tune_workloads
for family in families:
    each = tune_workloads.WORKLOADS[family]
    for workloads in [each] if whole else [(one,) for one in each]:
        tune_workloads.WORKLOADS[family] = workloads
        found = tune_workloads.prepare(family, cltorch.device("cuda"))[0]
        if found.get("used", True):  # or an error
            print(json.dumps([family, found.get("error")]))
            break
"""


def test_every_family_has_a_workload_that_launches_it() -> None:
    """And every workload is right in strategy wide; in grid, which takes minutes to compile, those up to the first that launches the family."""
    left = set(codegen.families())
    assert left == set(tune_workloads.WORKLOADS)
    for strategy in ("wide", "grid"):
        done = run_python(f"families, whole = {sorted(left)}, {strategy == 'wide'}{LAUNCHED}", CLTORCH_STRATEGY=strategy, CLTORCH_PROFILE="")
        assert done.returncode == 0, done.stderr
        found = dict(map(json.loads, done.stdout.splitlines()))
        assert not any(found.values()), found
        left -= found.keys()
    assert left == set()


@pytest.mark.parametrize("script, why", [
    ("import os; os.abort()", "the process ended with -6"),
    ("raise SystemExit('the driver is lost')", "the process ended with 1: the driver is lost"),
    ("import time; time.sleep(60)", "no answer within 1 s"),
    ("print('a note of the driver\\n{\"error\": \"a result is off by 3\"}')", "a result is off by 3"),
    ("print('{\"kern')", "an answer was cut off"),
])
def test_a_candidate_that_fails_is_rejected(script: str, why: str) -> None:
    with pytest.raises(tune_pairs.RejectedError, match=why):
        child(script, 1 if "sleep" in script else 60)


def test_a_candidate_that_fails_later_is_rejected() -> None:
    with child("print('{}', flush=True); input(); import os; os.abort()") as candidate, pytest.raises(tune_pairs.RejectedError, match="ended with -6"):
        candidate.seconds()


def test_pairs_and_their_verdict() -> None:
    with child(ANSWERS % "0.02, 0.01") as default, child(ANSWERS % "0.01, 0.01") as candidate, child(ANSWERS % "0.08, 0.08") as slow:
        ratios = tune_pairs.paired(default, candidate, 5)
        assert ratios.rows == [[0.5, 1.0]] * 5 and ratios.better() and str(ratios).startswith("1.41x the default's speed")
        assert len(tune_pairs.paired(default, slow, 5).rows) == 2
    assert not tune_pairs.Ratios([[0.98], [0.99], [0.98]]).better()  # too little
    assert not tune_pairs.Ratios([[0.7], [1.2], [0.8], [1.3], [0.75]]).better()  # noise
    assert not tune_pairs.Ratios([[0.5, 1.3], [0.5, 1.31], [0.5, 1.29]]).better()  # one workload loses


def test_the_search_survives_bad_candidates(dev: Device, shipped: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default answers; candidates crash, hang or are quick, by their numbers."""
    script = """
import json, os, sys, time
profile = os.environ["CLTORCH_PROFILE"]
numbers = json.load(open(profile))["families"]["reduce/rows"] if profile else {"LANES": 64}
lanes = numbers.get("LANES", 64)
if lanes == 16: os.abort()
if lanes == 32: time.sleep(60)
print(json.dumps({"kernels": str(lanes), "used": True}), flush=True)
for _ in sys.stdin:
    print(json.dumps({"seconds": [1 / lanes]}), flush=True)
"""
    if dev.strategy == "grid":
        pytest.skip("LANES is a number of wide")
    found = tune.Tuner(dev, "reduce/rows", 30, 5, (sys.executable, "-c", script), 0).run()
    assert found.numbers == {"LANES": 128} and found.verdict == "tuned" and found.last is not None and found.last.median == 0.5
    assert sorted(found.rejected.values()) == ["no answer within 5 s", "the process ended with -6"] and found.candidates == 4 and found.same == 1


def test_candidates_meet_the_constraints(dev: Device, shipped: Any) -> None:
    space = tune.Space(dev, "matmul/grid", 0)
    tried = [space.next({}) for _ in range(40)]
    assert len({tuple(sorted(numbers.items())) for numbers in tried if numbers}) == 40
    assert any("TM" in numbers and numbers["TM"] == 128 for numbers in tried if numbers)
    for numbers in tried:
        assert numbers and not codegen.broken("matmul/grid", dev.strategy, {**codegen.defaults("matmul/grid", dev.strategy), **numbers}, dispatch.limits(dev))
    assert tune.Space(get("cuda"), "indexing/compact", 0).next({}) is None or dev.strategy == "grid"  # wide has no choice there


def test_tune_ends_in_time_and_writes_a_profile(dev: Device, shipped: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    path, start = tmp_path / "found.json", time.monotonic()
    assert tune.main(["reduce/columns", "--budget", "10", "--output", str(path)]) == 0
    assert time.monotonic() - start < 40
    text = capsys.readouterr().out
    assert "reduce/columns" in text and "candidates" in text and ("CLTORCH_PROFILE=" in text or "No family gains beyond noise" in text)
    found = tuning.read(path)
    assert found["measured"]["reduce/columns"]["driver"] == dev.driver_version == found["driver"]
    monkeypatch.setenv("CLTORCH_PROFILE", str(path))
    forget()
    assert dict(dispatch.given(dev, "reduce/columns")) == found["families"].get("reduce/columns", {})


def test_tune_lists_families_and_refuses_unknown_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert tune.main(["--list"]) == 0
    assert "matmul/panel" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        tune.main(["no/such"])
    assert "no/such; --list names them" in capsys.readouterr().err
