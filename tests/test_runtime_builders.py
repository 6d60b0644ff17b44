"""Kernels compiled by other processes: launches, copies and fills wait in line for them, results are the same, failures cost nothing."""
from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from processes import run_python, stalled_pool

import cltorch as torch
from cltorch.errors import BuildError
from cltorch.runtime import builders, platforms, program
from cltorch.runtime.builders import POOLS, Pool
from cltorch.runtime.device import Device, get
from cltorch.runtime.program import build
from cltorch.store import Store
from cltorch.testing import assert_close

SCALE = """__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void scale(__global const float *x, __global float *y, int n, float by)
{{ for (int i = 0; i < n; i++) y[i] = x[i] * by + {}; }}"""
STEPS = """
import cltorch as torch
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(7, 9), torch.nn.GELU(), torch.nn.LayerNorm(9), torch.nn.Linear(9, 3)).to("cuda")
optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
x, y = torch.randn(5, 7, device="cuda"), torch.tensor([0, 1, 2, 0, 1], device="cuda")
def step():
    optimizer.zero_grad()
    loss = torch.nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.detach()
step = {}(step)
print([step().item().hex() for _ in range(3)])
"""


@pytest.fixture
def dev(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    """A device whose compiler takes one kernel at a time, and an empty disk cache."""
    dev = get("cuda")
    if "one_compiler" not in dev.disabled:
        pytest.skip("kernels for this device are compiled in this process")
    monkeypatch.setenv("CLTORCH_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("CLTORCH_BUILDERS", "1")
    monkeypatch.setattr(program, "STORE", Store())
    return dev


@pytest.fixture
def pool(dev: Device, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    pool = stalled_pool(dev, monkeypatch)
    yield pool
    pool.ready = 0
    dev.synchronize()


@pytest.mark.parametrize("how", ["", "torch.compile"])
def test_helpers_compile_what_waits(dev: Device, tmp_path: Path, how: str) -> None:
    told = [run_python(STEPS.format(how), CLTORCH_DEBUG="1", CLTORCH_BUILDERS=count, CLTORCH_CACHE_DIR=str(tmp_path / count)) for count in "02"]
    alone, helped = told
    assert alone.stdout == helped.stdout != "", helped.stderr
    assert "another process compiled" in helped.stderr and "another process compiled" not in alone.stderr
    assert len(list((tmp_path / "2" / "kernels").iterdir())) == len(list((tmp_path / "0" / "kernels").iterdir()))
    assert "compiling" not in run_python(STEPS.format(how), CLTORCH_DEBUG="1", CLTORCH_CACHE_DIR=str(tmp_path / "2")).stderr


def test_everything_keeps_its_order(dev: Device, pool: Pool) -> None:
    host = np.arange(8, dtype=np.float32)
    x, y, z = (dev.allocator.allocate(32) for _ in range(3))
    dev.write(x.mem, host)
    kernel = build(dev, SCALE.format(0.25), "test/scale", later=True).kernel("scale")
    kernel((1,), (1,), x.mem, y.mem, 8, 2.0)
    assert not kernel.is_built and len(dev.submission.waiting) == 1
    dev.write(x.mem, host + 1)                            # a copy of the array, and after the launch that reads x
    dev.copy(z.mem, y.mem, 32)
    dev.fill(y.mem, np.float32(7), 16)
    ready = build(dev, SCALE.format(0), "test/ready").kernel("scale")
    ready((1,), (1,), x.mem, x.mem, 8, 10.0)              # a kernel that is built, behind the others
    assert ready.is_built and len(dev.submission.waiting) == 5
    pool.ready = 0
    wanted = host * 2 + 0.25
    np.testing.assert_array_equal(dev.read(z.mem, 32).view(np.float32), wanted)
    np.testing.assert_array_equal(dev.read(y.mem, 32).view(np.float32), [7] * 4 + list(wanted[4:]))
    np.testing.assert_array_equal(dev.read(x.mem, 32).view(np.float32), (host + 1) * 10)
    assert not dev.submission.waiting and kernel.is_built


def test_new_memory_does_not_wait(dev: Device, pool: Pool) -> None:
    block = dev.allocator.allocate(32)
    build(dev, SCALE.format(0.5), "test/scale", later=True).kernel("scale")((1,), (1,), block.mem, block.mem, 8, 2.0)
    dev.allocator.request(1 << 20)
    assert len(dev.submission.waiting) == 1


def test_what_is_freed_may_be_used_again(dev: Device, pool: Pool) -> None:
    x = torch.arange(1000.0, device="cuda")
    results = []
    for i in range(3):
        y = (x * 1.5 - i).tanh().clamp(min=0.125)         # a chain that no test before this one had
        results.append(y.sum())
        del y
        torch.full((1000,), 9.0, device="cuda").add_(1)   # memory that the launches in line still read
    pool.ready = 0
    for i, result in enumerate(results):
        wanted = np.clip(np.tanh(np.arange(1000, dtype=np.float64) * 1.5 - i), 0.125, None).sum()
        assert_close(result, wanted, dtype=torch.float32)


def test_an_error_comes_when_the_program_is_needed(dev: Device, pool: Pool) -> None:
    block = dev.allocator.allocate(32)
    dev.fill(block.mem, np.float32(1), 32)
    wrong = build(dev, SCALE.format("nothing_like_this"), "test/wrong", later=True).kernel("scale")
    wrong((1,), (1,), block.mem, block.mem, 8, 2.0)
    build(dev, SCALE.format(0.75), "test/right", later=True).kernel("scale")((1,), (1,), block.mem, block.mem, 8, 2.0)
    pool.ready = 0
    with pytest.raises(BuildError, match=r"(?s)could not build test/wrong.*nothing_like_this"):
        dev.synchronize()
    assert dev.read(block.mem, 4).view(np.float32)[0] == 2.75
    with pytest.raises(BuildError, match="nothing_like_this"):
        build(dev, SCALE.format("nothing_like_this"), "test/wrong")


def test_who_needs_a_program_at_once_does_not_wait_for_helpers(dev: Device, pool: Pool) -> None:
    assert build(dev, SCALE.format(1.25), "test/now").kernel("scale").is_built and not pool.jobs


def jobs_of(dev: Device, number: float, count: int) -> list[program.Program]:
    """Programs that wait for their compilation."""
    return [build(dev, SCALE.format(number + i), "test/jobs", later=True) for i in range(count)]


@pytest.fixture
def real(dev: Device, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    """A pool without threads so far."""
    pool = Pool(builders.place(dev))
    monkeypatch.setitem(POOLS, pool.where, pool)
    monkeypatch.setattr(builders._State, "broken", False)
    yield pool


def test_the_longest_program_comes_first(dev: Device, real: Pool) -> None:
    real.threads = builders.MOST  # as if helpers were at work
    for space in (2, 300, 40, 300):
        build(dev, SCALE.format(f"{700 + len(real.jobs)}{' ' * space}"), "test/long", later=True)
    first, second, third, fourth = list(real.jobs)
    assert [real._next() for _ in range(4)] == [second, fourth, third, first] and not real.jobs
    assert real.begun == {first, second, third, fourth}


def soon(holds: Callable[[], bool]) -> bool:
    """Whether it comes true within a minute."""
    deadline = time.monotonic() + 60
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_a_helper_ends_when_it_has_nothing_to_do(dev: Device, real: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builders, "IDLE", 0.3)
    before = set(builders._State.helpers)
    made = jobs_of(dev, 100, 3)
    assert soon(lambda: all(each.built.is_ready for each in made)) and all(each.built.binary for each in made)
    helper, = builders._State.helpers - before
    assert soon(lambda: real.threads == 0) and helper.process.poll() is not None and real.ready == 0
    assert all(each.cl_program for each in (*made, *jobs_of(dev, 200, 1)))


@pytest.mark.parametrize("boot", ["raise SystemExit(1)", "import sys; sys.stdout.write('no pickle'); sys.stdout.flush()"])
def test_a_helper_that_fails(dev: Device, real: Pool, monkeypatch: pytest.MonkeyPatch, boot: str) -> None:
    monkeypatch.setattr(builders, "BOOT", boot)
    made = jobs_of(dev, 300 if "Exit" in boot else 400, 3)
    assert soon(lambda: builders._State.broken) and builders.most() == 0
    assert soon(lambda: all(each.built.is_ready for each in made)) and not any(each.built.binary for each in made)
    assert all(each.cl_program for each in made)


def test_a_helper_dies_at_work(dev: Device, real: Pool) -> None:
    made = jobs_of(dev, 500, 2)
    assert soon(lambda: real.ready)
    for helper in list(builders._State.helpers):
        helper.process.kill()
    made += jobs_of(dev, 600, 2)
    assert all(each.cl_program for each in made)


def test_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builders._State, "broken", False)
    monkeypatch.delenv("CLTORCH_BUILDERS", raising=False)
    monkeypatch.setattr(builders.os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert builders.most() == builders.MOST
    monkeypatch.setattr(builders.os, "sched_getaffinity", lambda _: {3}, raising=False)
    assert builders.most() == 0
    monkeypatch.setenv("CLTORCH_BUILDERS", "5")
    assert builders.most() == 5
    monkeypatch.setattr(builders.sys, "frozen", True, raising=False)
    assert builders.most() == 0


def test_finding_the_device_again() -> None:
    dev = get("cuda")
    assert platforms.find(dev.platform_name, dev.name, dev.version) == dev.cl_device
    with pytest.raises(LookupError, match="no device nothing"):
        platforms.find(dev.platform_name, "nothing", dev.version)
