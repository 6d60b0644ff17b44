"""Little launches in the calling thread: which they are, their order with the others, and what turns them off."""
from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import numpy as np
import pyopencl as cl
import pytest
from fake_opencl import FakeDevice, FakePlatform
from processes import run_python

from cltorch.runtime import inline, platforms, program
from cltorch.runtime.device import Device, get, host
from cltorch.runtime.graph import Recording
from cltorch.runtime.launch import Kernel
from cltorch.runtime.program import build
from cltorch.runtime.stream import Event, Stream, default_stream, stream
from cltorch.runtime.submission import LITTLE_BYTES, Submission

STEP = """
__kernel void step_(__global float *x, int n, float a)
{ if (get_global_id(0)) return; float s = x[0]; for (int i = 0; i < n; i++) s = s * 0.5f + a; x[0] = s; }
"""
LITTLE, LARGE = (1,), (8,)


@pytest.fixture
def dev() -> Device:
    found = get("cuda")
    found.allocator  # noqa: B018 - opens the device
    if found.submission.home is None or found.observers or found.strategy != "wide":
        pytest.skip("this device has nothing to run launches in the calling thread")
    found.synchronize()
    return found


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Where launches went, in order."""
    went: list[str] = []
    add, submit = Submission.add, Kernel.submit

    def added(self: Submission, *launch: object) -> None:
        before = len(went)
        add(self, *launch)
        if len(went) == before:
            went.append("here")

    monkeypatch.setattr(Submission, "add", added)
    monkeypatch.setattr(Kernel, "submit", lambda self, *launch: (went.append("queue"), submit(self, *launch))[1])
    return went


@contextlib.contextmanager
def busy(dev: Device) -> Iterator[None]:
    """The queue has something to do until the block ends."""
    gate = cl.UserEvent(dev.context)
    dev.submission.enqueue_on(dev.submission.home.queue, cl.enqueue_barrier, wait_for=[gate])
    try:
        yield
    finally:
        gate.set_status(cl.command_execution_status.COMPLETE)


def step(dev: Device, size: tuple, mem: object, n: int, a: float) -> None:
    build(dev, STEP, "test/step").kernel("step_")(size, (1,), mem, n, a)


def value(dev: Device, mem: object) -> float:
    return float(dev.read(mem, 4).view(np.float32)[0])


def test_little_launches_run_here_while_the_queue_is_idle(dev: Device, ran: list[str]) -> None:
    block = dev.allocator.allocate(4)
    dev.fill(block.mem, np.float32(0), 4)
    step(dev, LITTLE, block.mem, 1, 1.0)
    assert ran == ["here"] and dev.submission.home.last is None  # nothing is under way
    with busy(dev):
        step(dev, LARGE, block.mem, 1, 1.0)
        step(dev, LITTLE, block.mem, 1, 1.0)
        assert ran == ["here", "queue", "queue"]
    assert value(dev, block.mem) == 1.75
    step(dev, LITTLE, block.mem, 1, 0.0)
    assert ran[3:] == ["here"] and value(dev, block.mem) == 0.875


def test_both_names_of_the_processor_share_the_line(dev: Device, ran: list[str]) -> None:
    if host().context is not dev.context:
        pytest.skip("the first device isn't the CPU")
    block, other = dev.allocator.allocate(4), host().allocator.allocate(4)
    dev.fill(block.mem, np.float32(0), 4)
    step(host(), LITTLE, other.mem, 1, 1.0)
    host().write(other.mem, np.zeros(1, np.float32))
    with busy(dev):
        step(host(), LITTLE, other.mem, 1, 1.0)
    assert ran == ["here", "queue"]
    dev.synchronize()
    step(host(), LITTLE, other.mem, 1, 1.0)
    assert ran[2:] == ["here"] and value(host(), other.mem) == 1.5


def test_work_is_in_order_however_it_is_run(dev: Device) -> None:
    """Launches of both kinds, copies of all sizes, streams, events and waits, at random: the sums come out as in one queue."""
    numbers = np.random.default_rng(0)
    count = LITTLE_BYTES // 2  # twice the little bytes
    block, other = dev.allocator.allocate(4 * count), dev.allocator.allocate(4 * count)
    dev.fill(block.mem, np.float32(0), 4 * count)
    side, expected = Stream(), 0.0
    for _ in range(300):
        kind, a = numbers.integers(8), float(numbers.integers(1, 64))
        if kind < 2:
            step(dev, LITTLE, block.mem, 1, a)
        elif kind < 4:
            step(dev, LARGE, block.mem, 1, a)
        elif kind == 4:
            with stream(side):
                step(dev, (LITTLE, LARGE)[numbers.integers(2)], block.mem, 1, a)
        elif kind == 5:
            nbytes = int(numbers.choice([4, LITTLE_BYTES, 4 * count]))
            dev.copy(other.mem, block.mem, nbytes)
            step(dev, LARGE, block.mem, 1, 0.0)
            dev.copy(block.mem, other.mem, nbytes)
            continue
        elif kind == 6:
            event = Event()
            event.record()
            side.wait_event(event)
            continue
        else:
            dev.write(block.mem, np.float32([a]), blocking=bool(numbers.integers(2)))
            expected = a
            if numbers.integers(2):
                assert value(dev, block.mem) == np.float32(expected)
            continue
        expected = float(np.float32(np.float32(expected) * np.float32(0.5)) + np.float32(a))
        if not numbers.integers(6):
            assert value(dev, block.mem) == expected
    assert value(dev, block.mem) == expected


def test_threads_at_once(dev: Device) -> None:
    """Each thread's own chain is in order, whatever the others have on the queue."""
    wrong: list[float] = []

    def work(seed: int) -> None:
        numbers, block, expected = np.random.default_rng(seed), dev.allocator.allocate(4), np.float32(0)
        dev.fill(block.mem, np.float32(0), 4)
        for _ in range(200):
            a = np.float32(numbers.integers(1, 64))
            step(dev, (LITTLE, LARGE)[numbers.integers(2)], block.mem, 1, float(a))
            expected = np.float32(expected * np.float32(0.5) + a)
            if not numbers.integers(4) and value(dev, block.mem) != expected:
                wrong.append(float(expected))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_replay_changes_sides(dev: Device) -> None:
    """Arguments that were bound while a launch ran on one side are there when it runs on the other."""
    block = dev.allocator.allocate(4)
    dev.fill(block.mem, np.float32(0), 4)
    dev.recorder = recorded = Recording(dev)
    try:
        step(dev, LITTLE, block.mem, 1, 1.0)
    finally:
        dev.recorder = None
    (launch,) = recorded.entries
    for k, on_the_queue in enumerate((False, True, True, False, True, False)):
        dev.fill(block.mem, np.float32(0), 4)
        launch.bind(2, float(k))
        with busy(dev) if on_the_queue else contextlib.nullcontext():
            recorded.enqueue()
        assert value(dev, block.mem) == k


def test_a_queue_that_was_given_away_gets_everything(dev: Device, ran: list[str]) -> None:
    home = dev.submission.home
    block = dev.allocator.allocate(4)
    try:
        assert default_stream().queue is home.queue  # the caller may enqueue on it what the line doesn't know of
        step(dev, LITTLE, block.mem, 1, 1.0)
        assert ran == ["queue"]
    finally:
        home.last = None


@pytest.fixture
def fresh(dev: Device, tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """The OpenCL devices that programs are compiled for, without the disk cache."""
    monkeypatch.setenv("CLTORCH_CACHE_SIZE", "0")
    targets: list[object] = []
    real = program._compile
    monkeypatch.setattr(program, "_compile", lambda *what: (targets.append(what[-1]), real(*what))[1])
    yield targets


def test_one_compilation_serves_both(dev: Device, fresh: list[object]) -> None:
    block = dev.allocator.allocate(8)
    kernel = build(dev, STEP + "// both", "test/both").kernel("step_")
    dev.fill(block.mem, np.float32(0), 4)
    kernel(LITTLE, (1,), block.mem, 1, 1.0)
    kernel(LARGE, (1,), block.mem, 1, 1.0)
    assert value(dev, block.mem) == 1.5 and fresh == [dev.cl_device]


def test_a_binary_that_the_second_driver_refuses(dev: Device, fresh: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inline, "relabelled", lambda *_: b"not a binary")
    block = dev.allocator.allocate(4)
    dev.fill(block.mem, np.float32(0), 4)
    kernel = build(dev, STEP + "// refused", "test/refused").kernel("step_")
    kernel(LITTLE, (1,), block.mem, 1, 1.0)
    kernel(LITTLE, (1,), block.mem, 1, 1.0)
    assert value(dev, block.mem) == 1.5 and fresh == [dev.cl_device, dev.inline_device]


def test_the_same_bits(dev: Device) -> None:
    text = """__kernel void fill_(__global float *x, int n) { if (get_global_id(0)) return;
    for (int i = 0; i < n; i++) x[i] = exp(sin(i * 0.37f)) / (1.0f + i) + sqrt(i + 0.1f); }"""
    blocks = [dev.allocator.allocate(4096) for _ in range(2)]
    for block, size in zip(blocks, (LITTLE, LARGE), strict=True):
        build(dev, text, "test/fill").kernel("fill_")(size, (1,), block.mem, 1024)
    here, there = (dev.read(block.mem, 4096).tobytes() for block in blocks)
    assert here == there


SHOW = """
from cltorch.runtime.device import get
import cltorch
dev = get("cuda")
x = cltorch.ones(3, device="cuda")
print(dev.name.partition("-")[0], dev.submission.home is not None, (x + x).tolist())
"""


@pytest.mark.parametrize("choice,expected", [({}, "pthread True"), ({"CLTORCH_INLINE": "0"}, "pthread False"), ({"POCL_DEVICES": "pthread"}, "pthread False"),
                                             ({"POCL_DEVICES": "basic"}, "basic False"), ({"CLTORCH_DEVICES": "basic"}, "basic False")])
def test_a_users_choice_stays(dev: Device, choice: dict[str, str], expected: str) -> None:
    if "POCL_DEVICES" not in choice and dev.platform_name != "Portable Computing Language":
        pytest.skip("not PoCL")
    done = run_python(SHOW, **choice)
    assert done.stdout.strip() == f"{expected} [2.0, 2.0, 2.0]", done.stderr


def test_a_processor_that_is_shown_twice_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    twins = FakePlatform("Portable Computing Language", FakeDevice("basic-EPYC", "CPU"), FakeDevice("pthread-EPYC", "CPU"), FakeDevice("basic-Xeon", "CPU"))
    monkeypatch.setattr(platforms, "platforms", lambda: [twins])
    first, other = platforms.usable()
    assert (first.facts.name, first.inline) == ("pthread-EPYC", twins.devices[0]) and (other.facts.name, other.inline) == ("basic-Xeon", None)
    (skipped,) = (entry for entry in platforms.survey() if entry.skip)
    assert skipped.spare and skipped.skip == "pthread-EPYC without threads, for its little launches"
    assert [e.facts.name for e in platforms.select(platforms.survey(), "basic-epyc")] == ["basic-EPYC"]
    monkeypatch.setenv("CLTORCH_INLINE", "0")
    assert [(e.facts.name, e.inline) for e in platforms.usable()] == [("pthread-EPYC", None), ("basic-Xeon", None)]
