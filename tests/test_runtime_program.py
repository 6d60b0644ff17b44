"""Building kernels: errors that a person can use, the disk cache and everything that can be wrong with it."""
from __future__ import annotations

import importlib.util
import os
import re
import stat
import struct
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from processes import run_python

from cltorch.codegen import fusion
from cltorch.dtype import float16, float32
from cltorch.errors import BuildError
from cltorch.runtime import builtins, processor, program
from cltorch.runtime.device import Device, devices, get, host
from cltorch.runtime.program import build, cache_key
from cltorch.store import Store, default_folder, pack, unpack

SOURCE = "__kernel void put(__global float *x, int n, float value) {{ x[n] = value + {}; }}"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty disk cache, and no memory of earlier builds."""
    monkeypatch.setenv("CLTORCH_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("CLTORCH_DUMP", raising=False)
    monkeypatch.setattr(program, "STORE", Store())
    forget()
    return tmp_path / "kernels"


@pytest.fixture
def dev() -> Device:
    return get("cuda")


def forget() -> None:
    """As if the process had just started."""
    for known in (*devices(), host()):
        known.programs.clear()
    program._SHARED.clear()


def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the programs that really were compiled."""
    names: list[str] = []
    real = program._compile

    def counted(dev: Device, source: str, name: str, options: tuple, target: object) -> object:
        names.append(name)
        return real(dev, source, name, options, target)

    monkeypatch.setattr(program, "_compile", counted)
    return names


def run(dev: Device, text: str, name: str = "put") -> float:
    block = dev.allocator.allocate(4)
    build(dev, text, name).kernel("put")((1,), (1,), block.mem, 0, 1.0)
    return float(dev.read(block.mem, 4).view(np.float32)[0])


def test_programs_and_kernels_are_made_once(dev: Device, folder: Path) -> None:
    text = SOURCE.format(1)
    made = build(dev, text, "put")
    assert build(dev, text) is made and made.kernel("put") is made.kernel("put")
    assert build(dev, text, options=("-DX=1",)) is not made


def test_cpu_and_cuda_of_one_processor_share_the_binary(dev: Device, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if host().context is not dev.context:
        pytest.skip("the first device isn't the CPU")
    names = compiled(monkeypatch)
    assert run(dev, SOURCE.format(2)) == run(host(), SOURCE.format(2)) == 3
    assert names == ["put"]


def test_the_disk_cache_saves_the_compiler(dev: Device, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = compiled(monkeypatch)
    assert run(dev, SOURCE.format(3)) == 4
    assert len(list(folder.iterdir())) == 1 and names == ["put"]
    forget()
    assert run(dev, SOURCE.format(3)) == 4
    assert names == ["put"] and len(list(folder.iterdir())) == 1


def clang_header() -> str:
    """The declarations that PyPI's PoCL gives to its compiler, without comments, one space for any."""
    package = importlib.util.find_spec("pocl_binary_distribution")
    if package is None or not package.submodule_search_locations:
        pytest.skip("PyPI's PoCL is not installed")
    text = next(Path(package.submodule_search_locations[0]).rglob("opencl-c.h")).read_text()
    return re.sub(r"\s+", " ", re.sub(r"//[^\n]*|/\*.*?\*/|^#[^\n]*", " ", text, flags=re.DOTALL | re.MULTILINE))


def test_declarations_are_those_of_clang() -> None:
    """All overloads of each function with their attributes: a missing one would convert its arguments to another's."""
    header: dict[str, set[str]] = {}
    for kind, attribute, name, parameters in re.findall(r"((?:unsigned )?\w+) __ovld (__cnfn |__conv |__purefn |)(\w+)\(([^)]*)\)", clang_header()):
        generic = name.startswith("atomic_") and "__" not in parameters  # an address space of OpenCL C 2.0
        if "half" not in kind + parameters and not generic:
            types = ", ".join(re.sub(r"(?<=\w) \w+$|(?<=\*)\w+$", "", p.strip()).replace(" *", "*") for p in parameters.split(","))
            header.setdefault(name, set()).add(f"{attribute}{kind} {name}({types})".replace("unsigned int", "uint").replace(" *", "*"))
    words = {"const": "__cnfn", "convergent": "__conv"}
    for name in builtins.TABLE:
        ours = {re.sub(r"^\w+", lambda m: words.get(m[0], m[0]), text).replace(" *", "*") for text in builtins.overloads(name, fp64=True)}
        assert ours == header[name], name


def test_short_declarations_save_the_compiler_a_megabyte(dev: Device, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "pocl_header" not in dev.quirks:
        pytest.skip(f"{dev.name} has no such quirk")
    builds: list[list[str]] = []
    monkeypatch.setattr(program, "quietly", lambda made, target, options, real=program.quietly: (options and builds.append(options)) or real(made, target, options))
    called = "__kernel void put(__global float *x, int n, float value) {{ x[n] = {}; }}"
    assert run(dev, called.format("sqrt(value + get_global_id(0)) + max(n, 5)")) == 6
    assert ["-D_OPENCL_H_" in options for options in builds] == [True] and "header" in dev.disabled
    monkeypatch.setattr(dev, "disabled", dev.disabled)  # as it is now, when this test has ended
    assert run(dev, called.format("mad(value, 2.0f, 3.0f)")) == 5  # which no kernel of ours calls
    assert ["-D_OPENCL_H_" in options for options in builds[1:]] == [True, False] and "header" not in dev.disabled
    assert run(dev, called.format("max(n, 7)")) == 7 and "-D_OPENCL_H_" not in builds[-1]


GROUP = """__kernel __attribute__((reqd_work_group_size(1, 1, 1)))
void put(__global float *x, int n, float value)
{
#pragma OPENCL FP_CONTRACT OFF
  for (int i = 0; i <= n; i++) x[i] = value + 2;
}"""


def machine_code(binary: bytes) -> bytes:
    """The executable sections of the shared library (ELF, 64 bits) that a binary of PoCL's holds."""
    library = memoryview(binary)[binary.index(b"\x7fELF"):]
    (sections,), size, count = struct.unpack_from("<Q", library, 40), *struct.unpack_from("<HH", library, 58)
    headers = [struct.unpack_from("<IIQQQQ", library, sections + k * size) for k in range(count)]
    return b"".join(bytes(library[offset:offset + nbytes]) for _, _, flags, _, offset, nbytes in headers if flags & 4)


def newest(folder: Path) -> bytes:
    return max(folder.iterdir(), key=lambda file: file.stat().st_mtime_ns).read_bytes()


def test_a_declared_group_is_compiled_without_loops_around_it(dev: Device, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "pocl_group_loop" not in dev.quirks:
        pytest.skip(f"{dev.name} has no such quirk")
    sizes = []
    for without in (frozenset[str](), frozenset({"group_loop"})):
        forget()
        monkeypatch.setattr(dev, "disabled", dev.disabled - without)
        assert run(dev, GROUP) == 3
        sizes.append(len(machine_code(newest(folder))))
    assert sizes[0] * 1.25 < sizes[1]


def test_loops_use_whole_vectors(dev: Device, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "pocl_loop_vectors" not in dev.quirks:
        pytest.skip(f"{dev.name} has no such quirk")
    step = fusion.Step("exp(x)", ("x",), (("leaf", 0),), float32, float32)
    source = fusion.render_chain(fusion.Chain((step,), ((float32, fusion.DENSE),), (0,), fusion.DENSE, 0, False), "wide")
    wide = []
    for without in (frozenset[str](), frozenset({"loop_vectors"})):
        forget()
        monkeypatch.setattr(dev, "disabled", dev.disabled - without)
        build(dev, source, "exp").kernel("map")
        wide.append(len(re.findall(rb"\x62[\x00-\xff][\x00-\xff][\x40-\x5f\xc0-\xdf]", machine_code(newest(folder)), re.DOTALL)))  # EVEX, 512 bits
    assert wide[0] > 10 * wide[1] + 100


def test_halves_are_converted_by_the_processor(dev: Device, folder: Path) -> None:
    if dev.platform_name != "Portable Computing Language" or "f16c" not in processor.instructions():
        pytest.skip(f"{dev.name} isn't PoCL on a processor with F16C")
    step = fusion.Step("x", ("x",), (("leaf", 0),), float32, float16)
    source = fusion.render_chain(fusion.Chain((step,), ((float32, fusion.DENSE),), (0,), fusion.DENSE, 0, False), "wide")
    found = []
    for text in (source, source.removeprefix(fusion.HALVES)):
        forget()
        build(dev, text, "cast").kernel("map")
        found.append(len(re.findall(rb"\xc4[\x00-\xff]\x7d\x1d", machine_code(newest(folder)), re.DOTALL)))  # vcvtps2ph of 256 bits
    assert found[0] >= 4 * found[1] + 4


def test_stores_past_the_caches_are_whole_vectors(dev: Device, folder: Path) -> None:
    if dev.platform_name != "Portable Computing Language" or "avx" not in processor.instructions():
        pytest.skip(f"{dev.name} isn't PoCL on a processor with AVX")
    step = fusion.Step("x + x", ("x",), (("leaf", 0),), float32, float32)
    source = fusion.render_chain(fusion.Chain((step,), ((float32, fusion.DENSE),), (0,), fusion.DENSE, 0, False, streamed=True), "wide")
    build(dev, source, "double").kernel("map")
    code = machine_code(newest(folder))
    assert re.search(rb"(\xc5|\xc4[\x00-\xff])[\x7c\xfc]\x2b|\x62[\x00-\xff]{3}\x2b", code, re.DOTALL)  # vmovntps of 256 or 512 bits
    assert not re.search(rb"[\x48-\x4f]\x0f\xc3", code)  # movnti, eight bytes
    assert b"\x0f\x18" in code  # the next block is asked for


def test_groups_are_stated_at_the_begin_of_kernels_that_declare_them() -> None:
    lines = program.state_groups(GROUP).split("\n")
    assert lines[4].startswith("if (get_local_size(0) != 1 || get_local_size(1) != 1 || get_local_size(2) != 1) __builtin_unreachable();")
    assert len(lines) == len(GROUP.split("\n")) and program.state_groups(SOURCE) == SOURCE


@pytest.mark.parametrize("damage", [
    lambda data: b"", lambda data: data[:len(data) // 2], lambda data: data[:-1] + bytes([data[-1] ^ 1]), lambda data: os.urandom(len(data)),
    lambda data: pack(b"not a binary"), lambda data: data + b"more",
], ids=["empty", "torn", "flipped", "noise", "refused", "longer"])
def test_a_damaged_file_is_a_miss(dev: Device, folder: Path, monkeypatch: pytest.MonkeyPatch, damage: object) -> None:
    assert run(dev, SOURCE.format(4)) == 5
    file = next(folder.iterdir())
    file.write_bytes(damage(file.read_bytes()))  # type: ignore[operator]
    forget()
    names = compiled(monkeypatch)
    assert run(dev, SOURCE.format(4)) == 5 and names == ["put"]
    forget()
    assert run(dev, SOURCE.format(4)) == 5 and names == ["put"]  # the good file took its place


def test_the_key_knows_the_driver_the_options_and_the_text(dev: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {cache_key(dev, "a", ()), cache_key(dev, "b", ()), cache_key(dev, "a", ("-DX",))}
    for name in ("driver_version", "name", "platform_name", "version"):
        before = getattr(dev, name)
        setattr(dev, name, "another")
        keys.add(cache_key(dev, "a", ()))
        setattr(dev, name, before)
    monkeypatch.setattr(sys, "byteorder", "middle")
    keys.add(cache_key(dev, "a", ()))
    assert len(keys) == 8


def test_old_files_go_when_the_folder_is_full(dev: Device, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLTORCH_CACHE_SIZE", "1")
    store = program.STORE
    folder.mkdir(parents=True)
    for i in range(12):
        store._write(folder / f"{i:02d}.bin", bytes(100_000))
        os.utime(folder / f"{i:02d}.bin", (i, i))
    names = sorted(path.name for path in folder.iterdir())
    assert "00.bin" not in names and "11.bin" in names and sum(path.stat().st_size for path in folder.iterdir()) <= 1 << 20


def test_size_zero_switches_the_cache_off(dev: Device, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLTORCH_CACHE_SIZE", "0")
    assert run(dev, SOURCE.format(5)) == 6 and not folder.exists()


def test_a_folder_that_cannot_be_written(dev: Device, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setenv("CLTORCH_DEBUG", "1")
    folder.parent.joinpath("kernels").write_text("a file where the folder should be")
    assert run(dev, SOURCE.format(6)) == 7 and run(dev, SOURCE.format(7)) == 8
    assert capsys.readouterr().err.count("can't be kept") == 1


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_read_only_folder(dev: Device, folder: Path) -> None:
    folder.mkdir()
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert run(dev, SOURCE.format(8)) == 9
    finally:
        folder.chmod(stat.S_IRWXU)


def test_a_full_disk_leaves_no_torn_file(dev: Device, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert run(dev, SOURCE.format(9)) == 10
    assert list(folder.iterdir()) == []


def test_two_processes_at_once(folder: Path) -> None:
    code = """
from test_runtime_program import SOURCE, run
from cltorch.runtime.device import get
assert [run(get("cuda"), SOURCE.format(20 + i)) for i in range(6)] == [21.0 + i for i in range(6)]
print("fine")
"""
    results: list[str] = []
    environment = {"CLTORCH_CACHE_DIR": str(folder.parent), "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.getcwd()])}
    threads = [threading.Thread(target=lambda: results.append(run_python(code, **environment).stdout)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == ["fine\n"] * 2
    assert len(list(folder.glob("*.bin"))) == 6 == len(list(folder.iterdir()))
    for file in folder.iterdir():
        unpack(file.read_bytes())


def test_default_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_folder() == Path("/somewhere/cltorch")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert default_folder() == Path.home() / ".cache" / "cltorch"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert default_folder() == Path.home() / "Library/Caches/cltorch"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", "/local")
    assert default_folder() == Path("/local/cltorch/Cache")


def test_a_build_error_shows_the_template_line(dev: Device, folder: Path) -> None:
    text = '#line 7 "reduce/rows.mako"\n__kernel void put(__global float *x) {\n    x[0] = missing_name;\n}\n'
    with pytest.raises(BuildError) as caught:
        build(dev, text, "reduce/rows")
    message = str(caught.value)
    for part in ("cuda:0", dev.name, "could not build reduce/rows", "missing_name", "rows.mako:8: x[0] = missing_name;", "CLTORCH_DUMP=folder"):
        assert part in message, message
    assert run(dev, SOURCE.format(10)) == 11  # and afterwards everything works


def test_build_errors_of_signatures(dev: Device, folder: Path) -> None:
    made = build(dev, SOURCE.format(11), "put")
    with pytest.raises(BuildError, match="no kernel 'get'"):
        made.kernel("get")
    with pytest.raises(BuildError, match="argument 'float4 v' is neither memory nor a number"):
        build(dev, "__kernel void put(float4 v) {}", "put").kernel("put")


def test_dumped_sources(dev: Device, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setenv("CLTORCH_DUMP", str(tmp_path / "dump"))
    monkeypatch.setenv("CLTORCH_DEBUG", "4")
    text = SOURCE.format(12)
    run(dev, text, "family/put<1>")
    (file,) = (tmp_path / "dump").iterdir()
    assert file.read_text() == text and file.name.startswith("family_put_1_")
    assert text in capsys.readouterr().err


def test_threads_build_one_program_once(dev: Device, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = compiled(monkeypatch)
    found: list[object] = []

    def work() -> None:
        found.append(build(dev, SOURCE.format(13), "put").kernel("put"))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names == ["put"] and len(set(map(id, found))) == 1


def test_warm_kernels_are_quick(dev: Device, folder: Path) -> None:
    """The cache must skip the compiler and the code generation at the first launch: far below a cold build, whatever the machine."""
    start = time.perf_counter()
    run(dev, SOURCE.format(14))
    cold = time.perf_counter() - start
    forget()
    start = time.perf_counter()
    run(dev, SOURCE.format(14))
    warm = time.perf_counter() - start
    assert warm < cold
