"""Finding devices: drivers that fail, duplicates, emulators, empty platforms, CLTORCH_DEVICES, Intel's runtime, the quirk table."""
from __future__ import annotations

import os
import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pyopencl as cl
import pytest
from fake_opencl import FakeDevice, FakePlatform, found, opencl_error
from processes import run_python

from cltorch.runtime import intel, platforms, quirks
from cltorch.runtime.device import Device, device, get
from cltorch.runtime.facts import Facts
from cltorch.runtime.program import build

if sys.version_info >= (3, 11):
    import tomllib
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> list[FakePlatform]:
    """The platforms of this machine, for a test to fill."""
    there: list[FakePlatform] = []
    monkeypatch.setattr(platforms, "platforms", lambda: there)
    monkeypatch.setattr(platforms, "FAILURES", {})
    monkeypatch.delenv("CLTORCH_DEVICES", raising=False)
    return there


def names(entries: list[platforms.Found]) -> list[str]:
    return [entry.facts.name for entry in entries]


@pytest.mark.parametrize("error", [opencl_error(cl.status_code.OUT_OF_HOST_MEMORY, "clGetDeviceIDs"), RuntimeError("no such symbol"),
                                   UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")])
def test_a_driver_that_fails_costs_one_warning(machine: list[FakePlatform], error: Exception) -> None:
    machine += [FakePlatform("Broken\0 ", error=error), FakePlatform("Good", FakeDevice("fine"))]
    with pytest.warns(UserWarning, match="the OpenCL driver 'Broken' failed while its devices were listed") as caught:
        assert names(platforms.usable()) == ["fine"]
    assert len(caught) == 1 and str(error) in str(caught[0].message)
    assert names(platforms.usable()) == ["fine"]  # and no further warning


@pytest.mark.parametrize("name", [*Facts._fields[2:-2]])
def test_a_property_that_fails_costs_one_warning(machine: list[FakePlatform], name: str) -> None:
    broken = FakeDevice("broken")
    broken.fails = {name: opencl_error(cl.status_code.INVALID_VALUE, "clGetDeviceInfo")}
    machine.append(FakePlatform("Half", broken, FakeDevice("whole")))
    with pytest.warns(UserWarning, match="'Half' failed .* INVALID_VALUE") as caught:
        assert names(platforms.usable()) == ["whole"]
    assert len(caught) == 1


def test_a_platform_without_a_name(machine: list[FakePlatform]) -> None:
    class Nameless(FakePlatform):
        @property
        def name(self) -> str:
            raise opencl_error(cl.status_code.INVALID_PLATFORM, "clGetPlatformInfo")

        @name.setter
        def name(self, value: str) -> None:
            assert value

    machine.append(Nameless("x", FakeDevice("d")))
    with pytest.warns(UserWarning, match="a.* driver whose name can't be read .*INVALID_PLATFORM.* failed"):
        assert platforms.survey() == []
    assert "whose name can't be read" in platforms.nothing_found()


def test_a_loader_that_fails_costs_one_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise opencl_error(cl.status_code.OUT_OF_HOST_MEMORY, "clGetPlatformIDs")

    monkeypatch.setattr(platforms.cl, "get_platforms", fail)
    monkeypatch.setattr(platforms, "FAILURES", {})
    with pytest.warns(UserWarning, match="the OpenCL loader failed"):
        assert platforms.platforms.__wrapped__() == []


def test_empty_platforms_pass_without_a_word(machine: list[FakePlatform]) -> None:
    machine += [FakePlatform("Clover", error=opencl_error(cl.status_code.DEVICE_NOT_FOUND, "clGetDeviceIDs")), FakePlatform("Empty")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert platforms.survey() == []


def test_a_fpga_emulator_only_on_demand(machine: list[FakePlatform], monkeypatch: pytest.MonkeyPatch) -> None:
    machine += [FakePlatform("Intel(R) FPGA Emulation Platform", FakeDevice("Intel(R) FPGA Emulation Device", "accelerator")),
                FakePlatform("Intel(R) OpenCL", FakeDevice("Xeon", "CPU"))]
    (emulator,) = (entry for entry in platforms.survey() if entry.skip)
    assert names(platforms.chosen()) == ["Xeon"] and "emulator" in emulator.skip
    for text, chosen in {"intel": ["Xeon"], "fpga": [emulator.facts.name], "xeon,fpga": ["Xeon", emulator.facts.name], "1": []}.items():
        monkeypatch.setenv("CLTORCH_DEVICES", text)
        assert names(platforms.chosen()) == chosen


@pytest.mark.parametrize("properties,reason", [
    (dict(available=False), "isn't available"), (dict(compiler_available=False), "no compiler"), (dict(endian_little=False), "big-endian"),
    (dict(version="OpenCL 1.1 Mesa"), "OpenCL 1.1, and 1.2 is needed"), (dict(profile="EMBEDDED_PROFILE"), "64-bit integers"),
])
def test_what_kernels_cannot_run_on_is_skipped(machine: list[FakePlatform], properties: dict, reason: str) -> None:
    machine.append(FakePlatform("P", FakeDevice("odd", **properties), FakeDevice("good", version="OpenCL 3.0", profile="FULL_PROFILE"),
                                FakeDevice("small", profile="EMBEDDED_PROFILE", extensions="cles_khr_int64")))
    good, small, odd = platforms.survey()
    assert (good.skip, small.skip) == ("", "") and reason in odd.skip and platforms.select([odd], "odd") == []


def test_order_and_the_same_gpu_twice(machine: list[FakePlatform]) -> None:
    machine += [FakePlatform("Portable Computing Language", FakeDevice("pthread-AMD EPYC", "CPU"), FakeDevice("CUDA-RTX 4090", "discrete GPU")),
                FakePlatform("rusticl", FakeDevice("AMD Radeon RX 7900 XTX (radeonsi, navi31) \0", "discrete GPU")), FakePlatform("Mesa CPU", FakeDevice("llvmpipe", "CPU", extensions="")),
                FakePlatform("Intel", FakeDevice("UHD 770", "integrated GPU")), FakePlatform("AMD", FakeDevice("gfx1100", "discrete GPU", board="AMD Radeon RX 7900 XTX")),
                FakePlatform("NVIDIA CUDA", FakeDevice("RTX 4090", "discrete GPU"))]
    survey = platforms.survey()
    assert names([e for e in survey if not e.skip]) == ["gfx1100", "RTX 4090", "UHD 770", "pthread-AMD EPYC", "llvmpipe"]
    assert {e.facts.name: e.skip for e in survey if e.skip} == {
        "CUDA-RTX 4090": "the same GPU under NVIDIA CUDA", "AMD Radeon RX 7900 XTX (radeonsi, navi31)": "the same GPU under AMD"}
    assert names(platforms.select(survey, "rusticl")) == ["AMD Radeon RX 7900 XTX (radeonsi, navi31)"]  # a spare driver, asked for by name
    assert names(platforms.select(survey, "gpu,-rtx,-intel")) == ["gfx1100"]


def test_two_cards_of_one_kind_are_two_devices(machine: list[FakePlatform]) -> None:
    machine.append(FakePlatform("NVIDIA CUDA", FakeDevice("H100", "discrete GPU"), FakeDevice("H100", "discrete GPU")))
    assert names(platforms.usable()) == ["H100", "H100"]


def test_the_bus_address_tells_cards_apart(machine: list[FakePlatform]) -> None:
    machine += [FakePlatform("NVIDIA CUDA", FakeDevice("H100", "discrete GPU", bus=(0, 1, 0))),
                FakePlatform("Portable Computing Language", FakeDevice("CUDA-H100", "discrete GPU")), FakePlatform("NVIDIA (remote)", FakeDevice("H100", "discrete GPU", bus=(0, 2, 0)), FakeDevice("H100", "discrete GPU", bus=(0, 1, 0)))]
    assert [e.skip for e in platforms.survey()] == ["", "", *["the same GPU under NVIDIA CUDA"] * 2]


@pytest.mark.parametrize("text,chosen", [
    ("", "abc"), ("1", "b"), ("2,0", "ca"), ("gpu", "ab"), ("-cpu", "ab"), ("cpu,gpu", "cab"), ("gpu,-0", "b"), ("9", ""), ("nothing", ""),
    (" B , 1 ", "b"), ("acme", "a"), ("-acme", "bc"), ("discrete", "a"), ("platform two", "b"), ("integrated,0", "ba"), ("- cpu", "ab"), (",", "abc"),
])
def test_selection(text: str, chosen: str) -> None:
    entries = [found("a", "discrete GPU", "one", vendor="ACME Inc. "), found("b", "integrated GPU", "platform two", vendor=""),
               found("c", "CPU", "three", vendor="")]
    assert "".join(names(platforms.select(entries, text))) == chosen


def test_selection_of_this_machines_devices() -> None:
    code = "from cltorch.runtime.device import devices; print([d.name for d in devices()])"
    everything = eval(run_python(code, CLTORCH_DEVICES="").stdout)
    assert eval(run_python(code, CLTORCH_DEVICES=",".join(str(i) for i in reversed(range(len(everything))))).stdout) == everything[::-1]
    assert eval(run_python(code, CLTORCH_DEVICES="-0").stdout) == everything[1:]


def test_intels_runtime_is_announced_only_where_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OCL_ICD_VENDORS", raising=False)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with intel.announced():
        assert "OCL_ICD_VENDORS" not in os.environ
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libintelocl.so").touch()
    with intel.announced():
        assert "OCL_ICD_VENDORS" not in os.environ  # its other libraries are missing
    monkeypatch.setattr(intel, "_preload", lambda folder: True)
    monkeypatch.setattr(intel, "SYSTEM", tmp_path / "system")
    intel.SYSTEM.mkdir()
    (intel.SYSTEM / "other.icd").write_text("libother.so\n")
    (intel.SYSTEM / "broken.icd").write_text("/opt/x/libintelocl.so\n")
    with intel.announced():
        folder = Path(os.environ["OCL_ICD_VENDORS"])
        assert {path.name: path.read_text() for path in folder.iterdir()} == {
            "intel-cpu.icd": f"{tmp_path}/lib/libintelocl.so\n", "other.icd": "libother.so\n"}
    assert "OCL_ICD_VENDORS" not in os.environ and not folder.exists()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib came with Python 3.11")
def test_the_intel_extra_names_every_package_that_is_preloaded() -> None:
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["intel"]
    named = {re.match(r"[\w-]+", requirement)[0] for requirement in extra}
    assert {"intel-opencl-rt", *intel.NEEDED.values()} == named


@pytest.mark.parametrize("quirk", quirks.TABLE, ids=lambda quirk: quirk.name)
def test_quirks_are_complete(quirk: quirks.Quirk) -> None:
    assert quirk.disables and quirk.disables <= set(quirks.FEATURES) and quirk.reason
    file, _, test = quirk.evidence.partition("::")
    assert quirk.evidence.startswith("https://") or f"def {test}(" in (ROOT / file).read_text()
    assert not quirk.applies(found("RTX 4090", platform="NVIDIA CUDA").facts)


def test_every_feature_is_switched_off_by_a_quirk() -> None:
    assert set(quirks.FEATURES) == set().union(*(quirk.disables for quirk in quirks.TABLE))


def test_llvmpipe_gets_small_work_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLTORCH_STRATEGY", raising=False)
    made = Device(device("cuda", 0), found("llvmpipe (LLVM 15.0.6, 256 bits)", "CPU", "rusticl"))
    assert (made.strategy, made.quirks) == ("grid", {"llvmpipe_loops"})
    monkeypatch.setenv("CLTORCH_STRATEGY", "wide")
    assert Device(device("cuda", 0), found("llvmpipe", "CPU", "rusticl")).strategy == "wide"


LOOP = "__kernel void count(__global const int *x, __global int *out, int n) { int c = 0; for (int i = 0; i < n; i++) c += x[i & 3]; out[0] = c; }"


def test_long_loops_run_to_their_end() -> None:
    """The evidence for llvmpipe_loops: where this finds loops cut short, the quirk is in force."""
    dev = get("cuda")
    x, out = dev.allocator.allocate(16), dev.allocator.allocate(4)
    dev.fill(x.mem, np.int32(1), 16)
    build(dev, LOOP, "test/count").kernel("count")((1,), (1,), x.mem, out.mem, 100_000)
    turns = int(dev.read(out.mem, 4).view(np.int32)[0])
    assert turns == (65535 if "llvmpipe_loops" in dev.quirks else 100_000)
