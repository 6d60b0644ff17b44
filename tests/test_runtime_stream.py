"""Streams, events, profiles of launches."""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cltorch.runtime.device import Device, device, get, host
from cltorch.runtime.profile import Profile
from cltorch.runtime.program import build
from cltorch.runtime.stream import LANES, Event, Stream, current_stream, default_stream, set_stream, stream

SPIN = """
__kernel void spin(__global float *x, int n, float a)
{ if (get_global_id(0)) return; float s = x[0]; for (int i = 0; i < n; i++) s = s * 0.5f + a; x[0] = s; }
"""


@pytest.fixture
def dev() -> Device:
    return get("cuda")


def spin(dev: Device, mem: object, n: int, a: float) -> None:
    build(dev, SPIN, "test/spin").kernel("spin")((8,), (1,), mem, n, a)  # never in the calling thread


def value(dev: Device, mem: object) -> float:
    return float(dev.read(mem, 4).view(np.float32)[0])


def test_streams_nest_and_come_back(dev: Device) -> None:
    first, second = Stream(), Stream("cuda:0", priority=-1)
    assert current_stream() == default_stream() != first and dev.queue is dev.queues[0]
    with stream(first) as inside:
        assert inside is first and current_stream() == first and dev.queue is first.queue
        with stream(second):
            assert current_stream("cuda") == second
        with stream(None):
            assert current_stream() == first
        assert current_stream(0) == first
    assert current_stream() == default_stream() and first.device == device("cuda:0") and first.device_index == 0
    assert len({first, second, first}) == 2 and "stream_id" in repr(first) and first.cuda_stream != second.cuda_stream
    with pytest.raises(ValueError, match="Expected a cuda device"):
        Stream("cpu")


def test_work_is_ordered_across_streams(dev: Device) -> None:
    block = dev.allocator.allocate(4)
    dev.fill(block.mem, np.float32(0), 4)
    side = Stream()
    for _ in range(20):
        spin(dev, block.mem, 200_000, 1.0)      # long: ends at 2.0
        with stream(side):
            spin(dev, block.mem, 1, 10.0)       # 2 / 2 + 10
        spin(dev, block.mem, 1, 0.0)            # 11 / 2
        assert value(dev, block.mem) == 5.5


def test_queries_and_waits(dev: Device) -> None:
    block, side = dev.allocator.allocate(4), Stream()
    event = Event()
    assert event.query() and "not recorded" in repr(event)
    event.wait(), event.synchronize()
    spin(dev, block.mem, 60_000_000, 1.0)
    event.record()
    side.wait_event(event)
    side.wait_stream(current_stream())
    assert not event.query() and not side.query() and not current_stream().query()
    side.synchronize()
    assert event.query() and side.query()
    assert side.record_event().query() in (True, False) and side.record_event(event) is event
    event.synchronize()
    assert "recorded on cuda:0" in repr(event)


def test_elapsed_time(dev: Device) -> None:
    block = dev.allocator.allocate(4)
    start, middle, end = (Event(enable_timing=True) for _ in range(3))
    spin(dev, block.mem, 1, 1.0)
    start.record()
    spin(dev, block.mem, 40_000_000, 1.0)
    middle.record()
    end.record()
    with pytest.raises(RuntimeError, match="must be over"):
        start.elapsed_time(end)
    end.synchronize()
    assert start.elapsed_time(middle) > 5 * middle.elapsed_time(end) >= 0
    assert start.elapsed_time(end) == pytest.approx(start.elapsed_time(middle) + middle.elapsed_time(end))


def test_elapsed_time_refuses() -> None:
    timed, plain = Event(enable_timing=True), Event()
    with pytest.raises(ValueError, match="enable_timing=True"):
        timed.elapsed_time(plain)
    with pytest.raises(ValueError, match="recorded first"):
        timed.elapsed_time(Event(enable_timing=True))
    with pytest.raises(RuntimeError, match="another process"):
        Event(interprocess=True)


def test_queues_are_bounded(dev: Device) -> None:
    streams = [Stream() for _ in range(2 * LANES + 3)]
    assert len(set(streams)) <= LANES and len(dev.queues) <= LANES + 1
    set_stream(streams[0])
    set_stream(default_stream())
    assert dev.queue is dev.queues[0]


def test_profile(dev: Device, tmp_path: Path) -> None:
    block = dev.allocator.allocate(4)
    spin(dev, block.mem, 10, 0.0)
    queues = list(dev.queues)
    with Profile() as profile:
        for _ in range(3):
            spin(dev, block.mem, 100_000, 1.0)
        build(host(), SPIN, "test/spin").kernel("spin")((1,), (1,), host().allocator.allocate(4).mem, 10, 1.0)
    spin(dev, block.mem, 10, 0.0)
    assert dev.queues == queues and dev.queue is queues[0] and [launch.device for launch in profile.launches] == ["cuda:0"] * 3 + ["cpu"]
    assert all(launch.end >= launch.start >= launch.queued for launch in profile.launches) and profile.launches[0].nbytes == 512
    ((kernel, calls, seconds, _),) = profile.totals()
    assert (kernel, calls) == ("test/spin:spin", 4) and 0 < seconds < 1
    assert "test/spin:spin" in profile.table() and "100.0%" in profile.table()
    profile.export_chrome_trace(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert len(events) == 4 and all(event["ph"] == "X" and event["ts"] >= 0 for event in events)
