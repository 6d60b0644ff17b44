"""Probed extras: what a device can do is found out by trying, in a child process, once for each driver version."""
from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from processes import ROOT, run_python

from cltorch.runtime import device as runtime
from cltorch.runtime import platforms, probe_checks, probes

PLANTED = """
import os, time
from cltorch.runtime import probes
plant = lambda check: probes.Probe(check, "subgroups", "")
probes.PROBES.update(aborts=plant(lambda bench: os.abort()), hangs=plant(lambda bench: time.sleep(60)), refuses=plant(lambda bench: "too old"),
                     exits=plant(lambda bench: os._exit(3)), mistaken=plant(lambda bench: 1 / 0), fine=plant(lambda bench: ""))
probes.child()
"""


@pytest.fixture(params=range(len(runtime.devices())), ids=lambda i: str(runtime.devices()[i].spec))
def dev(request: pytest.FixtureRequest) -> runtime.Device:
    return runtime.devices()[request.param]


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and a process that knows nothing yet."""
    monkeypatch.setenv("CLTORCH_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(probes, "_known", {})
    return tmp_path


@pytest.fixture
def no_children(monkeypatch: pytest.MonkeyPatch) -> Any:
    def forbid() -> None:
        monkeypatch.setattr(subprocess, "run", lambda *args, **keywords: pytest.fail("a child process was started"))
    return forbid


def test_every_probe_answers(dev: runtime.Device) -> None:
    answers = probes.results(dev)
    assert list(answers) == list(probes.PROBES)
    for name, answer in answers.items():
        assert answer == "yes" or answer.startswith("no: "), (name, answer)
        assert "ended the process" not in answer, (name, answer)
        assert probes.has(dev, name) == (answer == "yes")


def test_probes_and_sources_belong_together() -> None:
    assert {path.stem for path in (ROOT / "kernels" / "probe").glob("*.cl")} == {probe.kernel for probe in probes.PROBES.values()}
    assert all(probe.means and probe_checks.source_of(probe.kernel) for probe in probes.PROBES.values())


def test_nothing_is_probed_unasked() -> None:
    done = run_python("import sys, cltorch; cltorch.ones(3, device='cuda').sum().item(); print(sys.modules['cltorch.runtime.probes']._known)")
    assert done.stdout.strip() == "{}", done.stderr


def test_remembered_on_disk(fresh: Path, monkeypatch: pytest.MonkeyPatch, no_children: Any) -> None:
    dev = runtime.devices()[0]
    first = probes.results(dev)
    kept = json.loads(probes.path(probes.identity(dev)).read_text())
    assert kept["device"]["driver_version"] == dev.driver_version
    monkeypatch.setattr(probes, "_known", {})
    no_children()
    assert probes.results(dev) == first


@pytest.mark.parametrize("what", ["driver", "source", "torn file"])
def test_asked_again(what: str, fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new driver, a changed probe or a file that can't be read mean a new probe."""
    dev = runtime.devices()[0]
    probes.has(dev, "subgroups")
    key = probes.identity(dev)
    assert probes._load(key)
    if what == "driver":
        key = (*key[:-1], "another version")
    elif what == "source":
        monkeypatch.setattr(probes, "fingerprint", lambda name: "another text")
    else:
        probes.path(key).write_text("{")
    assert not probes._load(key)


def test_cpu_shares_the_answers(no_children: Any) -> None:
    engine = runtime.host().engine
    assert engine is not None
    probes.results(engine)
    no_children()
    assert probes.results(runtime.host()) == probes.results(engine)


def test_crashes_and_hangs_are_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe that ends or stops its process costs its own answer only."""
    monkeypatch.setattr(probes, "COMMAND", PLANTED)
    monkeypatch.setattr(probes, "SECONDS", 8)
    key = probes.identity(runtime.devices()[0])
    answers = probes._probe(key, ["fine", "aborts", "refuses", "exits", "hangs"])
    assert answers["fine"] == "yes"
    assert answers["refuses"] == "no: too old"
    assert answers["aborts"].startswith("no: the driver ended the process with status ")
    assert answers["exits"] == "no: the driver ended the process with status 3"
    assert answers["hangs"] == "no: the driver did not answer within 8 seconds"


def test_a_mistake_in_a_probe_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "COMMAND", PLANTED)
    with pytest.raises(RuntimeError, match=r"(?s)a probe failed in Python.*ZeroDivisionError"):
        probes._probe(probes.identity(runtime.devices()[0]), ["mistaken"])


@pytest.mark.parametrize(("name", "right", "wrong"), [
    ("local_atomics", "atomic_add(&bins[x % BINS], 1)", "bins[0] = 1"),
    ("half_arithmetic", "product + c[i]", "product - c[i]"),
    ("command_buffers", "factor * out[i]", "2 * out[i]"),
    ("subgroups", "sub_group_scan_inclusive_add(value)", "value"),
])
def test_wrong_results_are_no(dev: runtime.Device, name: str, right: str, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that builds a probe and computes wrongly gets a "no": here the kernel is what is wrong."""
    if not probes.has(dev, name) and name != "local_atomics":
        pytest.skip(f"{dev.name} has no {name}: {probes.results(dev)[name]}")
    source = probe_checks.source_of(name)
    assert right in source
    monkeypatch.setattr(probe_checks, "source_of", lambda kernel: source.replace(right, wrong))
    found = next(entry for entry in platforms.survey() if entry.device == dev.cl_device)
    answer = probes.judge(probe_checks.Bench(found), probes.PROBES[name])
    assert answer.startswith("no: ")
    assert "wrong" in answer or "gave" in answer or "not rounded" in answer


def test_switched_off_by_name(monkeypatch: pytest.MonkeyPatch, no_children: Any) -> None:
    dev = runtime.devices()[0]
    before = probes.results(dev)
    monkeypatch.setenv("CLTORCH_DISABLE", "subgroups, local_atomics")
    no_children()
    off = probes.results(dev)
    assert off == {**before, "subgroups": "off: CLTORCH_DISABLE", "local_atomics": "off: CLTORCH_DISABLE"}
    assert not probes.has(dev, "subgroups")


def test_names_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    dev = runtime.devices()[0]
    with pytest.raises(ValueError, match="there is no probe 'telepathy'; the probes are subgroups, "):
        probes.has(dev, "telepathy")
    monkeypatch.setenv("CLTORCH_DISABLE", "subgroup")
    with pytest.raises(ValueError, match="CLTORCH_DISABLE: there is no probe 'subgroup'"):
        probes.results(dev)
