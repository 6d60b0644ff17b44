"""The device lister, as a user runs it."""
from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_opencl import found

import cltorch
from cltorch import cuda
from cltorch.runtime import diagnose, platforms, probes
from cltorch.runtime.device import get
from cltorch.tools import list_devices, self_test

SCRIPT = Path(__file__).resolve().parent.parent / "tools" / "list_devices.py"


def run(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The tool as a plain file, from somewhere else."""
    return subprocess.run([sys.executable, str(SCRIPT), *args], cwd=Path(__file__).parent, capture_output=True, text=True, check=False,
                          env={**os.environ, **environment})


def test_table(capsys: pytest.CaptureFixture) -> None:
    assert list_devices.main([]) == 0
    text = capsys.readouterr().out
    for part in ("cuda:0  " + cuda.get_device_name(), "one allocation at most", "work-group", "local memory", "fp64", "strategy", '"cpu" tensors'):
        assert part in text


def test_json(capsys: pytest.CaptureFixture) -> None:
    assert list_devices.main(["--json", "--matrix"]) == 0
    data = json.loads(capsys.readouterr().out)
    first = data["devices"][0]
    properties = cuda.get_device_properties(0)
    assert first["cuda"] == "cuda:0" and first["skipped"] == "" and first["name"] == properties.name
    assert (first["memory"], first["max_allocation"], first["fp64"]) == (properties.total_memory, properties.max_allocation, properties.has_fp64)
    assert data["matrix"][0]["float16"] == "yes" and data["matrix"][0]["complex128"] == ("yes" if properties.has_fp64 else "no")


def test_matrix(capsys: pytest.CaptureFixture) -> None:
    assert list_devices.main(["--matrix"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * cuda.device_count() + 12 - (cuda.device_count() - 1) and "failed" not in "".join(lines)
    assert any(line.split() == ["bfloat16", *["yes"] * cuda.device_count()] for line in lines)


def test_a_dtype_that_does_not_work_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    dev = cltorch.runtime.device.get("cuda")
    before, dev.has_fp64 = dev.has_fp64, False
    try:
        assert list_devices.attempt(dev, cltorch.float64) == "no" and list_devices.attempt(dev, cltorch.float32) == "yes"
    finally:
        dev.has_fp64 = before


def test_as_a_plain_script() -> None:
    done = run()
    assert done.returncode == 0 and done.stdout.startswith("cuda:0"), done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="the loader reads the registry there")
def test_without_opencl(tmp_path: Path) -> None:
    done = run(OCL_ICD_VENDORS=str(tmp_path / "nothing"))
    assert done.returncode == 1 and done.stdout == "" and 'pip install "cltorch[pocl]"' in done.stderr
    done = run("--json", OCL_ICD_VENDORS=str(tmp_path / "nothing"))
    assert done.returncode == 1 and json.loads(done.stdout) == {"devices": []}


def test_nothing_selected() -> None:
    done = run(CLTORCH_DEVICES="no such device")
    assert done.returncode == 1 and "not selected by CLTORCH_DEVICES" in done.stdout and "selects none" in done.stderr


def test_verbose(capsys: pytest.CaptureFixture) -> None:
    assert list_devices.main(["--verbose"]) == 0
    text = capsys.readouterr().out
    for part in ("kernel arguments (bytes)", "quirk", *probes.PROBES, "profile", *sorted(get("cuda").extensions)[:3]):
        assert part in text, part
    assert all(len(line) <= list_devices.WIDTH or " " not in line[18:] for line in text.splitlines() if "http" not in line and line.startswith("     "))
    assert list_devices.main(["--verbose", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)["devices"][0]
    assert set(first["probes"]) == set(probes.PROBES) and first["limits"]["max_parameter_size"] >= 1024 and {"tuned_profiles", "quirks_in_force"} <= set(first)


def test_verbose_gives_the_reason_of_a_quirk() -> None:
    entry = found("llvmpipe", "CPU", "rusticl")
    row = list_devices.describe(entry, verbose=True)
    text = " ".join(" ".join(list_devices.detail_lines(row)).split())
    assert "llvmpipe_loops: it ends a work-item's loops after 65535 turns" in text and "so its kernels use the grid strategy" in text
    assert "tools/tune.py measures one" in text and row["skipped"] == "not selected by CLTORCH_DEVICES"


def test_check(capsys: pytest.CaptureFixture) -> None:
    assert list_devices.main(["--check"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == cuda.device_count() and lines[0].startswith("cuda:0  " + cuda.get_device_name()) and "checks passed" in lines[0]


@pytest.mark.parametrize("name", self_test.checks())
def test_each_check_passes_or_names_fp64(name: str) -> None:
    dev = get("cuda")
    needs_fp64 = name.split()[0] in ("float64", "complex128")
    assert self_test.attempt(self_test.checks()[name], dev) == ("no: the device has no fp64" if needs_fp64 and not dev.has_fp64 else "passed")


CRASH = "import os, signal; print('{mark}first'); print('{mark}first\tpassed'); print('{mark}second', flush=True); {end}"


@pytest.mark.parametrize("end,said", [
    ("os.kill(os.getpid(), signal.SIGSEGV)", "the driver crashed (SIGSEGV)"), ("import time; time.sleep(60)", "did not answer within 2 seconds"),
    ("raise SystemExit('no more memory')", "status 1: no more memory"), ("pass", "the process ended here"),
])
def test_a_driver_that_crashes_or_hangs_fails_the_check_it_was_at(end: str, said: str) -> None:
    results = self_test.run(0, CRASH.format(mark=self_test.MARK, end=end), 2)
    assert results["first"] == "passed" and results["second"].startswith("failed: ") and said in results["second"]


def test_a_process_that_does_not_even_start() -> None:
    assert self_test.run(0, "raise SystemExit('cannot import')") == {"the process": "failed: the process ended with status 1: cannot import"}


def test_failed_checks_are_named_and_change_the_exit_status(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    results = {"int8 load and store": "passed", "float64 load and store": "no: the device has no fp64", "GEMM": "failed: off by 3"}
    monkeypatch.setattr(self_test, "run", lambda index: results)
    assert list_devices.main(["--check"]) == 1
    text = capsys.readouterr().out
    assert "1 of 3 checks failed (without float64: it has no fp64)" in text and "FAILED        GEMM: off by 3" in text
    assert list_devices.main(["--check", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["check"][0]["checks"] == results


def test_the_device_that_serves_another_shows_only_when_asked_for(capsys: pytest.CaptureFixture) -> None:
    dev = get("cuda")
    if dev.inline_device is None:
        pytest.skip("no launch of this device runs in the calling thread")
    list_devices.main([])
    text = capsys.readouterr().out
    assert f"little launches in the calling thread (as {dev.inline_device.name})" in text and "(skipped)" not in text
    list_devices.main(["--json", "--verbose"])
    rows = json.loads(capsys.readouterr().out)["devices"]
    assert [row["skipped"] for row in rows if row["name"] == dev.inline_device.name] == [f"{dev.name} without threads, for its little launches"]


def test_wrong_results_are_described() -> None:
    dev = get("cuda")
    assert self_test.attempt(lambda dev: "off by 3", dev) == "failed: off by 3"
    assert self_test.attempt(lambda dev: raising(), dev) == "failed: RuntimeError: two lines"


def raising() -> str:
    raise RuntimeError("two\n lines")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file system with nothing in it."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platforms, "FAILURES", {})
    monkeypatch.delenv("OCL_ICD_VENDORS", raising=False)
    (tmp_path / diagnose.VENDORS).mkdir(parents=True)
    (tmp_path / "dev/dri").mkdir(parents=True)
    return tmp_path


def test_no_driver_is_registered(root: Path) -> None:
    (said,) = diagnose.findings(root)
    assert "holds no .icd file" in said and 'pip install "cltorch[pocl]"' in said


def test_an_icd_file_whose_library_is_missing(root: Path) -> None:
    folder = root / diagnose.VENDORS
    (folder / "amd.icd").write_text("libnobody-has-this.so.1\n")
    (folder / "fine.icd").write_text("libc.so.6\n")
    (folder / "hollow.icd").write_text("\n")
    first, second = diagnose.findings(root)
    assert "amd.icd names libnobody-has-this.so.1, which can't be loaded" in first and "cannot open shared object file" in first
    assert "hollow.icd is empty" in second


def test_a_library_that_crashes_or_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnose, "LOAD", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert diagnose.load_error("x") == "the process that loads it dies of signal 11"
    monkeypatch.setattr(diagnose, "LOAD", "import time; time.sleep(60)")
    monkeypatch.setattr(diagnose, "SECONDS", 1)
    assert diagnose.load_error("x") == "it does not load within 1 seconds"


def test_ocl_icd_vendors_that_hides_everything(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCL_ICD_VENDORS", str(root / "nothing"))
    (said,) = diagnose.findings(root)
    assert "doesn't exist, and hides every driver" in said


def test_no_permission(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / diagnose.VENDORS / "fine.icd").write_text("libc.so.6\n")
    (root / "dev/dri/renderD128").touch()
    (root / "dev/kfd").touch()
    monkeypatch.setattr(diagnose.os, "access", lambda path, mode: False)
    dri, kfd = diagnose.findings(root)
    assert "renderD128 may not be opened" in dri and "usermod -aG" in dri and "/dev/kfd" in kfd


def test_a_container_without_nvidias_driver(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / diagnose.VENDORS / "fine.icd").write_text("libc.so.6\n")
    (root / "dev/nvidia0").touch()
    monkeypatch.setattr(diagnose, "load_error", lambda library: "no such file" if "nvidia" in library else "")
    (said,) = diagnose.findings(root)
    assert "libnvidia-opencl.so.1 is missing: install" in said
    (root / ".dockerenv").touch()
    (said,) = diagnose.findings(root)
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility" in said
    monkeypatch.setattr(diagnose, "load_error", lambda library: "")
    (said,) = diagnose.findings(root)
    assert "not registered" in said and "nvidia.icd" in said
    (root / diagnose.VENDORS / "nvidia.icd").write_text("libnvidia-opencl.so.1\n")
    assert diagnose.findings(root) == []


def test_a_driver_that_failed_is_named_first(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platforms, "FAILURES", {"the OpenCL driver 'X'": "RuntimeError: out of luck"})
    assert diagnose.findings(root)[0].startswith("the OpenCL driver 'X' failed while its devices were listed: RuntimeError: out of luck")
    assert "out of luck" in list_devices.nothing(False) and "What was found instead" in list_devices.nothing(False)
