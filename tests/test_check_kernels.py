"""The Oclgrind check: it finds what it must, and no template of kernels/ can be forgotten."""
from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from cltorch.codegen import kernel_root
from cltorch.dtype import float32
from cltorch.tools import check_kernels, kernel_cases
from cltorch.tools.check_kernels import Outcome, messages, report
from cltorch.tools.kernel_cases import Case

TOOL = Path(check_kernels.__file__)
needs_oclgrind = pytest.mark.skipif(shutil.which("oclgrind") is None, reason=check_kernels.HINT)
CASE = Case("case", float32, "dense", lambda make: ())
RACE = """
Write-write data race at global memory address 0x1000000000000
\tKernel: planted

\tFirst entity:  Global(1,0,0) Local(1,0,0) Group(0,0,0)

OCLGRIND FATAL ERROR (./src/plugins/Uninitialized.cpp:1805)
Unsupported instruction: freeze
\tKernel: grid

Invalid read of size 4 at global memory address 0x2000000000008
\tKernel: rows
"""


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(TOOL), *arguments], capture_output=True, text=True, check=False, env={**os.environ, **environment})


@needs_oclgrind
def test_planted_mistakes_are_found() -> None:
    done = run("--plant")
    assert done.returncode == 1, done.stdout + done.stderr
    rows = {tuple(line.split()[:2]): line.split()[4:] for line in done.stdout.splitlines() if line.startswith("planted/") and ":" not in line}
    kinds = [*check_kernels.KINDS, check_kernels.OTHER]
    for strategy in check_kernels.STRATEGIES:
        found = {name: dict(zip(kinds, map(int, rows[name, strategy]), strict=True)) for name in kernel_cases.PLANTED}
        assert found["planted/write"]["invalid write"] and found["planted/read"]["invalid read"]
        assert found["planted/race"]["race"] and found["planted/local_race"]["race"]
        assert found["planted/uninitialised"]["uninitialised"]
        assert not any(found["planted/correct"].values())


@needs_oclgrind
def test_correct_kernels_pass() -> None:
    done = run("--quick", "--only", "tril [")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "movement/tri" in done.stdout and ": 0 reports, 0 failed" in done.stdout


@needs_oclgrind
def test_an_unknown_case_is_an_error() -> None:
    done = run("--quick", "--only", "no such case")
    assert done.returncode == 1 and "no case" in done.stderr


def test_without_oclgrind(tmp_path: Path) -> None:
    done = run(PATH=str(tmp_path))
    assert done.returncode == 2 and "apt-get install oclgrind" in done.stderr


def test_messages_are_read() -> None:
    assert Counter(message.kind for message in messages(RACE)) == {"race": 1, "other": 1, "invalid read": 1}
    assert messages("") == []


def test_templates_are_listed_from_the_folder() -> None:
    listed = check_kernels.templates()
    assert {"reduce/rows", "pointwise/map", "reduce/accumulator"} <= set(listed) and not any(name.startswith("common/") for name in listed)
    assert len(listed) == sum(1 for p in kernel_root().rglob("*.mako") if p.parent.name != "common")
    assert "reduce/accumulator" in check_kernels.parts("reduce/rows")


def test_a_forgotten_template_is_an_error(capsys: pytest.CaptureFixture) -> None:
    seen = {"reduce/rows": {"launches": 1, "entries": {"rows": 1}, "messages": []}}
    assert report([Outcome(CASE, "wide", "", seen)], [], ["reduce/rows", "reduce/accumulator"]) == 0
    assert report([Outcome(CASE, "wide", "", seen)], [], ["reduce/rows", "conv/new"]) == 1
    assert "NOT REACHED conv/new" in capsys.readouterr().out


def test_failures_and_complaints_are_errors(capsys: pytest.CaptureFixture) -> None:
    seen = {"reduce/rows": {"launches": 1, "entries": {"rows": 1}, "messages": [("race", "Write-write data race")]}}
    assert report([Outcome(CASE, "wide", "", seen)], [], []) == 1
    assert report([Outcome(CASE, "wide", "", seen)], ["conv"], []) == 0
    assert report([Outcome(CASE, "grid", "took over 5 s", {})], [], []) == 1
    text = capsys.readouterr().out
    assert "reduce/rows (wide), case [float32, dense]" in text and "FAILED (grid) case [float32, dense]: took over 5 s" in text


def test_every_operator_has_a_case() -> None:
    """Cases come from the declarations: each operator that declares samples, and each pointwise one, in every layout; --quick leaves dense ones out."""
    for quick, layouts in ((False, {*kernel_cases.LAYOUTS}), (True, {*kernel_cases.LAYOUTS} - {"dense"})):
        names = {(case.name, case.layout) for case in kernel_cases.cases(quick)}
        for op in kernel_cases.registry.table():
            if op.form == "pointwise" or op.samples is not None:
                assert {(op.name, layout) for layout in layouts} == {(name, layout) for name, layout in names if name == op.name}
    assert len(kernel_cases.cases(quick=False)) > 2 * len(kernel_cases.cases(quick=True))
