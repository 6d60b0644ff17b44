"""Launches: typed arguments, threads, errors, capture, and the observers behind CLTORCH_SYNC, CLTORCH_DEBUG and CLTORCH_DUMP."""
from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyopencl as cl
import pytest
from processes import run_python

from cltorch.core.joining import join_launches, plan_joins
from cltorch.errors import LaunchError
from cltorch.runtime import observe
from cltorch.runtime.device import Device, get
from cltorch.runtime.graph import Joined, Recording
from cltorch.runtime.launch import Kernel, signature
from cltorch.runtime.program import build
from cltorch.runtime.stream import Event, Stream, default_stream
from cltorch.runtime.submission import BURST, FLUSH, Submission

TYPES = ("char", "uchar", "short", "ushort", "int", "uint", "long", "ulong", "float")
ALL_TYPES = ("__kernel void every(__global double_or_float *out, " + ", ".join(f"{t} {t}_" for t in TYPES) + ", __local float *scratch) {"
             + " ".join(f"out[{i}] = {t}_;" for i, t in enumerate(TYPES)) + " }")
ADD = "__kernel void add(__global const float *x, __global float *y, int n, float a) { int i = get_global_id(0); if (i < n) y[i] = x[i] + a; }"


@pytest.fixture
def dev() -> Device:
    return get("cuda")


@pytest.fixture
def add(dev: Device) -> Kernel:
    return build(dev, ADD, "test/add").kernel("add")


@pytest.mark.parametrize("text,kinds", [
    ("__kernel void f(__global const float *x, const int n, unsigned int m, __local float *s, __constant int *t, ulong offset)",
     [None, np.int32, np.uint32, None, None, np.uint64]),
    ("kernel void f ( global float * restrict x , /* a, b */ float s // no, not this\n, unsigned char c)", [None, np.float32, np.uint8]),
    ("__kernel __attribute__((reqd_work_group_size(64, 1, 1)))\nvoid f(__global uchar *a,\n#line 3\n volatile __global int* b, double d)",
     [None, None, np.float64]),
    ("__kernel void other(int a) {}\n__kernel void f(void)", []),
    ("__kernel void f()", []),
])
def test_signatures(text: str, kinds: list) -> None:
    assert [a.scalar for a in signature(text + " { }", "f")] == kinds


def test_const_memory_is_not_written() -> None:
    arguments = signature("__kernel void f(__global const float *x, const __global int *y, __global float * const z, __constant int *c) {}", "f")
    assert [a.written for a in arguments] == [False, False, True, False] and [a.name for a in arguments] == ["x", "y", "z", "c"]


def test_every_scalar_type(dev: Device) -> None:
    text = ALL_TYPES.replace("double_or_float", "double" if dev.has_fp64 else "float")
    values = [-5, 250, -300, 65000, -70000, 4_000_000_000, -5_000_000_000, 10_000_000_000, 0.5]
    out = dev.allocator.allocate(8 * len(values))
    build(dev, text, "every").kernel("every")((1,), (1,), out.mem, *values, cl.LocalMemory(64))
    kind = np.float64 if dev.has_fp64 else np.float32
    np.testing.assert_allclose(dev.read(out.mem, np.dtype(kind).itemsize * len(values)).view(kind), values, rtol=1e-6)


def test_wrong_arguments(dev: Device, add: Kernel) -> None:
    block = dev.allocator.allocate(64)
    with pytest.raises(TypeError):
        add((1,), (1,), block.mem, block.mem, 1)
    with pytest.raises((TypeError, ValueError, RuntimeError, OverflowError)):
        add((1,), (1,), block.mem, block.mem, "one", 1.0)


def test_a_refused_launch_says_what_and_how(dev: Device, add: Kernel) -> None:
    block = dev.allocator.allocate(64)
    with pytest.raises(LaunchError) as caught:
        add((64,), (1 << 20,), block.mem, block.mem, 1, 1.0)
    for part in ("cuda:0", dev.name, "kernel add of test/add", "INVALID_WORK_GROUP_SIZE", "(64,)", "n:int32", "CLTORCH_SYNC=1"):
        assert part in str(caught.value)
    add((1,), (1,), block.mem, block.mem, 0, 1.0)
    add((1,), None, block.mem, block.mem, 0, 1.0)
    assert 0 < add.max_work_group_size <= dev.max_work_group_size


def test_threads_do_not_mix_arguments(dev: Device, add: Kernel) -> None:
    x = dev.allocator.allocate(4)
    dev.fill(x.mem, np.float32(0), 4)
    outs = [[dev.allocator.allocate(4) for _ in range(200)] for _ in range(4)]

    def work(k: int) -> None:
        for i, out in enumerate(outs[k]):
            add((1,), (1,), x.mem, out.mem, 1, float(1000 * k + i))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    got = [[dev.read(out.mem, 4).view(np.float32)[0] for out in row] for row in outs]
    assert got == [[1000 * k + i for i in range(200)] for k in range(4)]


FIRST = """#line 1 "first"
typedef float E;
typedef struct { E value; } held;
#define DOUBLE(x) ((x) + (x))
static inline __attribute__((always_inline)) E change(E x) { const held h = {DOUBLE(x)}; return h.value; }
__kernel __attribute__((reqd_work_group_size(1, 1, 1)))
#line 9
void put(__global E *restrict out, const uint n, const float by, const long more)
{
  for (uint i = get_global_id(0); i < n; i += get_global_size(0)) out[i] = change(out[i]) * by + (float)more;
}
"""
SECOND = """#line 1 "second"
typedef int E;
#define DOUBLE(x) ((x) * (x))
static E change(E x) { return DOUBLE(x); }
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void other(__global int *p) { p[0] = 7; }
__kernel __attribute__((reqd_work_group_size(1, 1, 1)))
void put(__global E *out, __global const int *from)
{
  out[get_group_id(1) * get_num_groups(0) + get_group_id(0)] = change(from[0]) + get_group_id(0) * 10 + get_local_id(0) + get_local_size(0);
}
"""


def test_joined_launches_do_what_their_members_do(dev: Device) -> None:
    """Sources that define the same names otherwise; a member called twice; memory and one number bound anew; negative and fractional numbers."""
    if dev.strategy != "wide":
        pytest.skip("a GPU's launches are not joined")
    first, second = (build(dev, text, "member").kernel("put") for text in (FIRST, SECOND))
    x, y, z = (dev.allocator.allocate(16) for _ in range(3))
    recorded = Recording(dev)
    recorded.launch(first, (2,), (1,), (x.mem, 4, 0.5, -3))
    recorded.launch(second, (2, 2), (1, 1), (y.mem, z.mem))
    recorded.launch(first, (1,), (1,), (x.mem, 3, 0.25, 1 << 20))
    once, _, again = recorded.entries
    join_launches(recorded, plan_joins(recorded, {(id(once), 2)}, every=False))
    assert [type(step) for step in recorded.steps] == [Joined]

    def replayed() -> tuple[list[float], list[int]]:
        dev.write(x.mem, np.array([1, 2, 3, 4], np.float32))
        dev.write(z.mem, np.array([5], np.int32))
        recorded.enqueue()
        return list(dev.read(x.mem, 16).view(np.float32)), list(dev.read(y.mem, 16).view(np.int32))

    high = float(1 << 20)
    assert replayed() == ([high - 1, high - 0.5, high, 1], [26, 36, 26, 36])
    once.bind(2, 4.5)
    y = dev.allocator.allocate(16)
    recorded.entries[1].bind(0, y.mem)
    assert replayed() == ([high + 3, high + 7.5, high + 12, 33], [26, 36, 26, 36])
    assert again.seats[1] is None


SHARE = """#line 1 "share"
__kernel __attribute__((reqd_work_group_size(1, 1, 1)))
void share(__global const int *restrict from, __global int *restrict to, const uint n, const uint turns)
{
  const uint count = get_global_size(0) * get_global_size(1) * get_global_size(2);
  const uint me = (get_global_id(2) * get_global_size(1) + get_global_id(1)) * get_global_size(0) + get_global_id(0);
  for (uint i = me; i < n; i += count) {
    int value = from[(i * 7 + 3) % n];
    for (uint turn = 0; turn < turns; turn++) value = value * 3 + 1;
    to[i] = value;
  }
}
"""


def test_joined_launches_are_shared_in_order(dev: Device) -> None:
    """Each launch reads what all work-items of the one before it wrote, many times over; replays follow each other without a wait."""
    if dev.strategy != "wide":
        pytest.skip("a GPU's launches are not joined")
    kernel, n = build(dev, SHARE, "share").kernel("share"), 2048
    x, y = (dev.allocator.allocate(4 * n) for _ in range(2))
    sizes = [(16,), (1,), (3, 5), (2, 3, 4), (64,), (2,)] * 6
    turns = [1, 40, 0, 3, 200, 1] * 6

    def work() -> None:
        for k, (size, many) in enumerate(zip(sizes, turns, strict=True)):
            kernel(size, (1,) * len(size), *((x.mem, y.mem) if k % 2 == 0 else (y.mem, x.mem)), n, many)

    dev.recorder = recorded = Recording(dev)
    try:
        work()
    finally:
        dev.recorder = None
    results = []
    for every in (None, False, True):
        dev.write(x.mem, np.arange(n, dtype=np.int32))
        if every is None:
            for _ in range(40):
                work()
        else:
            join_launches(recorded, plan_joins(recorded, set(), every))
            for _ in range(40):
                recorded.enqueue()
        results.append(dev.read(x.mem, 4 * n).tobytes())
    assert [type(step) for step in recorded.steps] == [Joined] and recorded.steps[0].workers > 1
    assert results[1] == results[0] == results[2]


def test_recording_instead_of_launching(dev: Device, add: Kernel) -> None:
    x, y = dev.allocator.allocate(4), dev.allocator.allocate(4)
    dev.fill(x.mem, np.float32(1), 4)
    dev.fill(y.mem, np.float32(0), 4)
    dev.recorder = recorded = Recording(dev)
    try:
        add((1,), (1,), x.mem, y.mem, 1, 1.0)
        dev.copy(x.mem, y.mem, 4)
        add((1,), (1,), x.mem, y.mem, 1, 10.0)
        with pytest.raises(RuntimeError, match="while a graph is captured"):
            dev.read(y.mem, 4)
        with pytest.raises(RuntimeError, match="while a graph is captured"):
            dev.synchronize()
    finally:
        dev.recorder = None
    assert dev.read(y.mem, 4).view(np.float32)[0] == 0 and len(recorded.entries) == 3
    recorded.enqueue()
    assert dev.read(y.mem, 4).view(np.float32)[0] == 12
    add((1,), (1,), x.mem, y.mem, 1, 100.0)
    assert dev.read(y.mem, 4).view(np.float32)[0] == 102


class Log(observe.Observer):
    def __init__(self) -> None:
        self.seen: list[tuple] = []

    def before(self, kernel: Kernel, *launch: object) -> None:
        self.seen.append(("before", kernel.name, *launch))

    def after(self, kernel: Kernel, event: object, *launch: object) -> None:
        self.seen.append(("after", kernel.name, *launch))


def test_observers_see_launches_and_leave_no_trace(dev: Device, add: Kernel) -> None:
    log, block = Log(), dev.allocator.allocate(64)
    add((1,), (1,), block.mem, block.mem, 1, 1.0)
    dev.watch(log)
    add((2,), (1,), block.mem, block.mem, 1, 1.0)
    dev.unwatch(log)
    add((3,), (1,), block.mem, block.mem, 1, 1.0)
    launch = ("add", (2,), (1,), (block.mem, block.mem, 1, 1.0))
    assert log.seen == [("before", *launch), ("after", *launch)] and (add.launch != add._watched or dev.observers)


def test_debug_and_sync_print_each_launch() -> None:
    code = f"""
from cltorch.runtime.device import get
from cltorch.runtime.program import build
dev = get("cuda")
block = dev.allocator.allocate(1 << 20)
build(dev, {ADD!r}, "test/add").kernel("add")((4,), (1,), block.mem, block.mem, 4, 1.0)
print(len(dev.observers))
"""
    done = run_python(code, CLTORCH_DEBUG="2", CLTORCH_SYNC="1")
    assert done.stdout == "2\n", done.stderr
    assert "cuda:0 is " in done.stderr and "cuda:0 test/add:add (4,)/(1,)" in done.stderr and " us " in done.stderr and "GB/s" in done.stderr


def test_a_dumped_launch_repeats_itself(tmp_path: Path) -> None:
    code = f"""
import numpy as np
from cltorch.runtime.device import get
from cltorch.runtime.program import build
dev = get("cuda")
x, y = dev.allocator.allocate(16), dev.allocator.allocate(16)
dev.write(x.mem, np.arange(4, dtype=np.float32))
build(dev, {ADD!r}, "test/add").kernel("add")((4,), (1,), x.mem, y.mem, 4, 41.0)
"""
    assert run_python(code, CLTORCH_DUMP=str(tmp_path)).returncode == 0
    assert {path.suffix for path in tmp_path.iterdir()} == {".cl", ".py", ".npz"}
    script = next(tmp_path.glob("*.py"))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "add ran in" in done.stdout and "[41.0, 42.0, 43.0, 44.0]" in done.stdout, done.stderr


def test_threads_may_launch_new_kernels_at_once(dev: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLTORCH_CACHE_DIR", str(tmp_path))
    block, errors = dev.allocator.allocate(4096), []

    def work(k: int) -> None:
        try:
            for i in range(4):
                text = f"__kernel void put(__global float *x) {{ x[{k}] += {i + 1}; }} // {k}"
                build(dev, text, "put").kernel("put")((1,), (1,), block.mem)
        except Exception as error:
            errors.append(error)

    dev.fill(block.mem, np.float32(0), 4096)
    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and dev.read(block.mem, 16).view(np.float32).tolist() == [10] * 4


@pytest.fixture
def submitted(dev: Device, add: Kernel, monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """The global sizes that reached the driver, in order, of a kernel that was launched before."""
    if dev.strategy != "wide" or dev.observers:
        pytest.skip("only bare launches on a CPU wait")
    block, seen, submit = dev.allocator.allocate(4), [], Kernel.submit
    monkeypatch.setattr(dev.submission, "line", None)  # as on a device without threads to spare the waking
    add((1,), (1,), block.mem, block.mem, 0, 0.0)
    dev.synchronize()
    monkeypatch.setattr(Kernel, "submit", lambda self, queue, size, *rest: (seen.append(size), submit(self, queue, size, *rest))[1])
    return seen


def test_launches_of_little_work_are_handed_over_together(dev: Device, add: Kernel, submitted: list[tuple]) -> None:
    block = dev.allocator.allocate(4)
    dev.fill(block.mem, np.float32(0), 4)
    for i in range(BURST - 1):
        add((1,), (1,), block.mem, block.mem, 1, 1.0)
        assert len(dev.submission.waiting) == i + 1 and not submitted
    add((1,), (1,), block.mem, block.mem, 1, 1.0)
    assert len(submitted) == BURST and not dev.submission.waiting
    add((1,), (1,), block.mem, block.mem, 1, 1.0)
    add((8,), (1,), block.mem, block.mem, 1, 1.0)  # work for every thread
    assert submitted[BURST:] == [(1,), (8,)]
    add((1,), (1,), block.mem, block.mem, 1, 1.0)
    assert dev.read(block.mem, 4).view(np.float32)[0] == BURST + 3


@pytest.mark.parametrize("ask", [
    lambda dev: dev.synchronize(), lambda dev: dev.queue, lambda dev: dev.launch_recorded(), lambda dev: dev.watch(Log()),
    lambda dev: setattr(dev, "recorder", Recording(dev)), lambda dev: Stream(dev.spec).wait_stream(default_stream(dev.spec)),
    lambda dev: Event().record()], ids=("synchronize", "queue", "launch_recorded", "watch", "recorder", "wait_stream", "record"))
def test_whatever_asks_the_queue_comes_after_what_waits(dev: Device, add: Kernel, submitted: list[tuple], ask: Callable) -> None:
    block = dev.allocator.allocate(4)
    add((1,), (1,), block.mem, block.mem, 1, 1.0)
    try:
        ask(dev)
        assert submitted == [(1,)] and not dev.submission.waiting
    finally:
        dev.recorder = None
        for observer in dev.observers:
            dev.unwatch(observer)


def test_a_launch_that_fails_while_others_wait(dev: Device, add: Kernel, submitted: list[tuple]) -> None:
    """Its error is raised where the launches are handed over; those behind it are not lost."""
    block = dev.allocator.allocate(4)
    dev.fill(block.mem, np.float32(0), 4)
    add((1,), (1,), block.mem, block.mem, 1, 1.0)
    add((1,), (2,), block.mem, block.mem, 1, 10.0)  # a group larger than the whole
    add((1,), (1,), block.mem, block.mem, 1, 100.0)
    with pytest.raises(LaunchError, match="run kernel add"):
        dev.synchronize()
    assert dev.read(block.mem, 4).view(np.float32)[0] == 101


class Flushed:
    """A queue that counts how often it is flushed, and a kernel that launches nothing."""

    count = 0

    def flush(self) -> None:
        self.count += 1

    def submit(self, queue: object, *launch: object) -> None:
        assert queue is self


def test_the_queue_is_flushed_every_so_often() -> None:
    queue = Flushed()
    submission = Submission(queue)
    for _ in range(2 * FLUSH + 1):
        submission.at_once(queue, (1,), None, ())  # type: ignore[arg-type]
    assert queue.count == 2
