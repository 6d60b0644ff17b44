"""The wheel: pure, with the kernels, the stubs and the tools inside, and it works where no checkout is."""
from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ("import cltorch, pathlib; here = pathlib.Path(cltorch.__file__).resolve(); print(here)\n"
           "x = cltorch.ones(3, device='cuda', requires_grad=True)\n((x * 2).exp().sum()).backward()\nprint(x.grad.tolist())\n")


def run(*command: object, **options: object) -> str:
    """A command's output. AssertionError with all it printed where it fails."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "COVERAGE_PROCESS_START")}
    environment.update(options.pop("extra", {}))  # type: ignore[call-overload]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False, env=environment, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for needed in ("build", "hatchling"):
        pytest.importorskip(needed, reason=f"{needed} is not installed: the extra [test] brings it")
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    return next(folder.glob("*.whl"))


def test_wheel_is_pure_and_complete(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for template in filter(Path.is_file, (ROOT / "kernels").rglob("*")):
        assert f"cltorch/{template.relative_to(ROOT).as_posix()}" in names
    for tool in ("list_devices", "self_test", "show_kernel", "bench", "bench_dispatch", "bench_ops", "bench_start", "check_kernels", "kernel_cases", "tune", "tune_pairs", "tune_workloads"):
        assert f"cltorch/tools/{tool}.py" in names
    for part in (ROOT / "tools" / "benchmarks").glob("[!_]*.*"):
        assert f"cltorch/tools/benchmarks/{part.name}" in names
    assert {"cltorch/py.typed", "cltorch/__init__.pyi"} <= names
    assert not any(name.startswith(("tests/", "examples/", "kernels/", "tools/")) for name in names)


def test_wheel_works_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    """Unpacked into a folder of its own (the dependencies come from this environment), run from elsewhere."""
    site = tmp_path / "site"
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", site, wheel)
    lines = run(sys.executable, "-c", PROGRAM, cwd=tmp_path, extra={"PYTHONPATH": str(site)}).splitlines()
    assert Path(lines[0]).is_relative_to(site)
    assert lines[1].startswith("[14.77")
    assert "cuda:0" in run(sys.executable, "-c", "from cltorch.tools.list_devices import main; raise SystemExit(main([]))", cwd=tmp_path,
                           extra={"PYTHONPATH": str(site)})


def test_bare_checkout_works(tmp_path: Path) -> None:
    lines = run(sys.executable, "-c", PROGRAM, cwd=tmp_path, extra={"PYTHONPATH": str(ROOT)}).splitlines()
    assert Path(lines[0]).is_relative_to(ROOT)


@pytest.mark.parametrize("tool", ["list_devices", "bench", "bench_dispatch", "bench_ops", "bench_start", "show_kernel", "tune", "check_kernels"])
def test_tools_are_scripts_and_modules(tool: str, tmp_path: Path) -> None:
    for command in ([ROOT / "tools" / f"{tool}.py"], ["-m", f"cltorch.tools.{tool}"]):
        assert "usage" in run(sys.executable, *command, "--help", cwd=tmp_path, extra={"PYTHONPATH": str(ROOT)})
