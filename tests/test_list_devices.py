"""The device lister, as a user runs it."""
from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import cltorch
from cltorch import cuda
from cltorch.tools import list_devices

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
