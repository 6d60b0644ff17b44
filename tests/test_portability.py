"""CONTRIBUTING's table of portability pitfalls is true, and what no other test checks of it."""
from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyopencl as cl
import pytest
from fake_opencl import opencl_error
from processes import run_python

from cltorch import config
from cltorch.errors import LaunchError
from cltorch.runtime.device import get
from cltorch.runtime.launch import Kernel
from cltorch.runtime.program import build

ROOT = Path(__file__).resolve().parent.parent
TEMPLATES = sorted((ROOT / "kernels").rglob("*.mako"))
UNPORTABLE = {
    "printf": r"\bprintf\b", "a variadic macro": r"__VA_ARGS__|#define\s+\w+\([^)]*\.\.\.", "convert_half": r"\bconvert_half", "native_ functions": r"\bnative_\w+\(",
    "half_ functions": r"\bhalf_(cos|divide|exp|exp2|exp10|log|log2|log10|powr|recip|rsqrt|sin|sqrt|tan)\(", "subgroups": r"\bsub_group",
    "inline without static": r"(?<!static )\binline[ \t]+[\w$]", "a queue on the device": r"\benqueue_kernel\b", "generic pointers of 2.x": r"\bto_global\(|\bto_local\(",
    "float atomics": r"\batomic_fetch_add|\batomic_float\b", "fast math": r"-cl-(fast-relaxed-math|finite-math-only|unsafe-math)",
}


def rows() -> list[tuple[int, str]]:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    section = text[text.index("## Portability"):]
    return [(int(n), line) for n, line in re.findall(r"^\| (\d+) \|(.*)$", section, re.MULTILINE)]


def test_all_28_pitfalls_are_listed() -> None:
    assert [n for n, _ in rows()] == list(range(1, 29))


@pytest.mark.parametrize("row", rows(), ids=lambda row: str(row[0]))
def test_what_the_table_names_exists(row: tuple[int, str]) -> None:
    named = re.findall(r"`((?:cltorch|kernels|tests|tools)/[\w/.]*)(?:::(\w+))?`", row[1])
    for file, test in named:
        path = ROOT / file
        assert path.exists(), file
        assert not test or f"def {test}(" in path.read_text(), (file, test)
    assert named


def code(path: Path) -> str:
    """A template without its comments."""
    text = re.sub(r"<%doc>.*?</%doc>|/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)
    return re.sub(r"^\s*##.*$|//[^\n]*", "", text, flags=re.MULTILINE)


@pytest.mark.parametrize("what", UNPORTABLE)
def test_kernels_avoid_what_some_compilers_lack(what: str) -> None:
    sources = [*TEMPLATES, ROOT / "cltorch/runtime/program.py"]
    assert [path.name for path in sources if re.search(UNPORTABLE[what], code(path))] == []


def test_kernels_with_barriers_declare_their_work_group() -> None:
    """Where compilers see it, it is a promise that the group fits; other kernels may be launched in smaller groups (Kernel._smaller_group)."""
    loose = re.compile(r"""\s*(?:void|\$\{one\}|\$\{"__attribute__\(\(reqd_work_group_size\(1, 1, 1\)\)\)" if wide else ""\})""")
    wrong = [path.name for path in TEMPLATES for kernel in code(path).split("__kernel")[1:] if "barrier(" in kernel and loose.match(kernel)]
    assert wrong == []


PUT = "__kernel void put(__global int *x) { x[get_global_id(0)] = (int)get_local_size(0); }"


def test_a_kernel_that_allows_smaller_groups_than_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    dev = get("cuda")
    block, limit = dev.allocator.allocate(256), min(64, dev.max_work_group_size)
    kernel = build(dev, PUT, "test/put").kernel("put")
    kernel((limit,), (1,), block.mem)  # from now on ``launch`` stays what it is
    real = kernel.launch

    def launch(queue: object, global_size: tuple, local_size: tuple, *args: object) -> object:
        if local_size[0] > limit // 4:
            raise opencl_error(cl.status_code.INVALID_WORK_GROUP_SIZE, "clEnqueueNDRangeKernel")
        return real(queue, global_size, local_size, *args)

    monkeypatch.setattr(Kernel, "max_work_group_size", property(lambda self: limit // 4))
    monkeypatch.setattr(kernel, "launch", launch)
    kernel((limit,), (limit,), block.mem)
    assert dev.read(block.mem, 4 * limit).view(np.int32).tolist() == [limit // 4] * limit
    kernel.program.source = "// reqd_work_group_size\n" + PUT
    with pytest.raises(LaunchError, match="INVALID_WORK_GROUP_SIZE"):
        kernel((limit,), (limit,), block.mem)
    kernel.program.source = PUT


@pytest.mark.skipif(config.get("DEBUG") >= 2, reason="CLTORCH_DEBUG=2 times launches")
def test_queues_are_in_order_and_do_not_profile() -> None:
    dev = get("cuda")
    assert dev.queues[0].properties == 0 and dev.new_queue().properties == 0
    assert dev.new_queue(profiling=True).properties == cl.command_queue_properties.PROFILING_ENABLE


def test_a_process_may_end_with_work_pending() -> None:
    done = run_python("""
import cltorch
from cltorch.runtime.device import get
x = cltorch.ones(300, 300, device="cuda")
kept = [x @ x for _ in range(20)] + [(x + 1).exp()]
event = cltorch.cuda.Event()
event.record()
side = cltorch.cuda.Stream()
get("cuda").write(get("cuda").allocator.allocate(400).mem, __import__("numpy").zeros(100, "float32"), blocking=False)
""")
    assert done.returncode == 0 and done.stderr == "", done.stderr
