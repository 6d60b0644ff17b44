"""Replays through cl_khr_command_buffer: bit for bit what launches one by one give, and launches one by one where a driver doesn't have it."""
from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyopencl as cl
import pytest
from fake_opencl import FakeDevice, FakePlatform, opencl_error

import cltorch as torch
from cltorch import cuda, nn, optim
from cltorch.core import capture
from cltorch.errors import LaunchError
from cltorch.nn import functional as F
from cltorch.runtime import command_buffer, probes, segments
from cltorch.runtime.command_buffer import CommandBuffer
from cltorch.runtime.device import Device, get
from cltorch.runtime.graph import Launch, Recording
from cltorch.runtime.program import build
from cltorch.runtime.segments import STEADY, Segment

ADD = "__kernel void add(__global float *x, float a) { int i = get_global_id(0); x[i] = x[i] * 0.5f + a; }"
REPLAYS = 3 * STEADY


@pytest.fixture
def dev() -> Device:
    return get("cuda")


@pytest.fixture
def buffered(dev: Device, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Graphs of launches that aren't joined, replayed by command buffers; each of them is released in the end."""
    answer = probes.answer(dev, "command_buffers")
    if answer != "yes":
        pytest.skip(f"{dev.name} has no command buffers: {answer}")
    monkeypatch.setenv("CLTORCH_COMMAND_BUFFERS", "1")
    for name in ("JOINED_AFTER", "ALL_JOINED_AFTER"):
        monkeypatch.setattr(capture, name, 1 << 30)
    made, released, release = [0], [0], CommandBuffer.release

    class Counted(CommandBuffer):
        def __init__(self, *args: Any) -> None:
            made[0] += 1
            super().__init__(*args)

        def release(self) -> None:
            release(self)
            released[0] += 1

    monkeypatch.setattr(segments, "CommandBuffer", Counted)
    yield
    gc.collect()
    assert made[0] == released[0] > 0
    torch.cuda.synchronize()


def segments_of(recording: Recording) -> list[Segment]:
    return [step for step in recording.steps if isinstance(step, Segment)]


def in_buffers(recording: Recording) -> int:
    """How many launches of a recording its command buffers hold."""
    return sum(len(part.held) - 1 for segment in segments_of(recording) for part in segment.parts if isinstance(part, CommandBuffer))


# training


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 16), nn.Tanh(), nn.Linear(16, 1)).to("cuda")


def trained(make: Callable, how: str) -> tuple[list[float], list[Any], Any]:
    """Losses and parameters after training with a rate that changes now and then, by launches, a captured graph or a compiled step."""
    model = network()
    optimizer = make(model.parameters())
    schedule = optim.lr_scheduler.StepLR(optimizer, STEADY + 3, 0.5)
    torch.manual_seed(5)
    data = [(torch.randn(8, 5).to("cuda"), torch.randn(8, 1).to("cuda")) for _ in range(4)]

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    losses = [step(*data[0]).item()]
    schedule.step()
    run, recording = step, None
    if how == "compiled":
        run = torch.compile(step, fullgraph=True)
    elif how == "graph":
        x, y = (t.clone() for t in data[0])
        graph = cuda.CUDAGraph()
        with cuda.graph(graph):
            loss = step(x, y)
        recording = graph._capture.recording

        def run(new_x: Any, new_y: Any) -> Any:
            x.copy_(new_x)
            y.copy_(new_y)
            graph.replay()
            return loss

    kept = []  # results that live on: the next call's lie elsewhere
    for k in range(REPLAYS):
        value = run(*data[k % len(data)])
        kept.append(value + 0 if how == "graph" else value)
        if k % 5 == 0:
            kept[-1].item()
        schedule.step()
    if how == "compiled":
        recording = next(plan for plan in run.plans.values() if not isinstance(plan, int)).capture.recording
    return losses + [v.item() for v in kept], [p.tolist() for p in model.parameters()], recording


@pytest.mark.parametrize("how", ["graph", "compiled"])
@pytest.mark.parametrize("make", [lambda p: optim.Adam(p, lr=0.01), lambda p: optim.SGD(p, lr=0.05, momentum=0.9)], ids=["Adam", "SGD"])
def test_training_is_the_same(buffered: None, make: Callable, how: str) -> None:
    losses, weights, _ = trained(make, "launches")
    replayed, replayed_weights, recording = trained(make, how)
    assert replayed == losses and replayed_weights == weights
    launches = sum(isinstance(entry, Launch) for entry in recording.entries)
    assert launches / 3 < in_buffers(recording) < launches  # dropout's draws, at least, are outside


def test_rates_that_stay_are_in_the_buffer(buffered: None) -> None:
    """SGD's numbers change with the rate alone; Adam's at each step."""
    outside = []
    for make in (lambda p: optim.SGD(p, lr=0.05, momentum=0.9), lambda p: optim.Adam(p, lr=0.01)):
        recording = trained(make, "graph")[2]
        updates = {id(entry) for entry in recording.entries if isinstance(entry, Launch) and entry.kernel.name == "update"}
        outside.append(any(updates & segment.outside for segment in segments_of(recording)))
    assert outside == [False, True]


# recordings


def recorded(dev: Device, count: int = 4, numbers: int = 64) -> tuple[Recording, Any]:
    """Launches on one block of memory, filled with zeros."""
    kernel, block = build(dev, ADD, "test/add").kernel("add"), dev.allocator.allocate(4 * numbers)
    dev.fill(block.mem, np.float32(0), 4 * numbers)
    recording = Recording(dev)
    for k in range(count):
        recording.launch(kernel, (numbers,), (1,), (block.mem, float(k)))
    segments.buffer_launches(recording)
    return recording, block


def after(value: float, numbers: list[float]) -> float:
    for number in numbers:
        value = float(np.float32(np.float32(value) * np.float32(0.5)) + np.float32(number))
    return value


def test_launches_run_in_order_again_and_again(dev: Device, buffered: None) -> None:
    recording, block = recorded(dev)
    for _ in range(20):
        recording.enqueue()
    (segment,) = recording.steps
    assert isinstance(segment, Segment) and in_buffers(recording) == 4 and len(segment.parts) == 1
    assert set(dev.read(block.mem, 256).view(np.float32)) == {after(0, [0, 1, 2, 3] * 20)}


def test_an_argument_that_is_bound_now_and_then_is_recorded_anew(dev: Device, buffered: None) -> None:
    recording, block = recorded(dev)
    value, numbers = 0.0, [0.0, 1.0, 2.0, 3.0]
    for k in range(3 * STEADY):
        if k and k % STEADY == 0:
            numbers[2] = float(k)
            recording.entries[2].bind(1, numbers[2])
        recording.enqueue()
        value = after(value, numbers)
        assert set(dev.read(block.mem, 256).view(np.float32)) == {np.float32(value)} and in_buffers(recording) == 4


def test_an_argument_that_is_bound_often_leaves_the_buffer(dev: Device, buffered: None) -> None:
    recording, block = recorded(dev, count=6)
    other = dev.allocator.allocate(256)
    memory = {id(block): 0.0, id(other): 0.0}
    dev.fill(other.mem, np.float32(0), 256)
    for k in range(STEADY):
        recording.entries[2].bind(1, float(k))
        target = (block, other)[k % 2]
        recording.entries[3].bind(0, target.mem)
        recording.enqueue()
        memory[id(block)] = after(memory[id(block)], [0, 1, k])
        memory[id(target)] = after(memory[id(target)], [3])
        memory[id(block)] = after(memory[id(block)], [4, 5])
        for at in (block, other):
            assert set(dev.read(at.mem, 256).view(np.float32)) == {np.float32(memory[id(at)])}
    (segment,) = segments_of(recording)
    assert [type(part) is Launch for part in segment.parts] == [False, True, True, False] and in_buffers(recording) == 4


def test_the_same_argument_again_changes_nothing(dev: Device, buffered: None) -> None:
    recording, block = recorded(dev)
    recording.enqueue()
    (before,) = segments_of(recording)[0].parts
    recording.entries[1].bind(0, block.mem)
    recording.enqueue()
    assert segments_of(recording)[0].parts == [before]


def test_other_streams_get_the_launches_one_by_one(dev: Device, buffered: None) -> None:
    recording, block = recorded(dev)
    value = 0.0
    for k in range(6):
        recording.entries[0].bind(1, float(k))
        if k % 2:
            with cuda.stream(cuda.Stream()):
                recording.enqueue()
        else:
            recording.enqueue()
        value = after(value, [k, 1, 2, 3])
        cuda.synchronize()
        assert set(dev.read(block.mem, 256).view(np.float32)) == {np.float32(value)}


def test_a_graph_may_go_while_it_is_pending(dev: Device, buffered: None) -> None:
    """With its memory, which the driver holds until then; what is launched next waits for it."""
    for _ in range(5):
        recording, block = recorded(dev, count=8, numbers=1 << 16)
        for _ in range(3):
            recording.enqueue()
        del recording
        gc.collect()
        small, x = build(dev, ADD, "test/add").kernel("add"), dev.read(block.mem, 4).view(np.float32)[0]
        small((1,), (1,), block.mem, 0.0)
        assert dev.read(block.mem, 4).view(np.float32)[0] == np.float32(x) / 2 == np.float32(after(0, list(range(8)) * 3)) / 2


def test_a_little_launch_waits_for_a_command_buffer(dev: Device, buffered: None) -> None:
    """Also where it would run in the calling thread."""
    recording, block = recorded(dev, count=8, numbers=1 << 18)
    small = build(dev, ADD, "test/add").kernel("add")
    value = 0.0
    for _ in range(4):
        recording.enqueue()
        small((1,), (1,), block.mem, 0.25)
        value = after(value, [*range(8), 0.25])
    assert dev.read(block.mem, 4).view(np.float32)[0] == np.float32(value)


# drivers


def test_a_driver_without_them_gets_launches_and_it_is_said(dev: Device, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CLTORCH_COMMAND_BUFFERS", "1")
    monkeypatch.setenv("CLTORCH_DEBUG", "1")
    if probes.answer(dev, "command_buffers") == "yes":
        monkeypatch.setenv("CLTORCH_DISABLE", "command_buffers")
    recording, block = recorded(dev)
    assert recording.steps is recording.entries
    assert f"replays graphs without command buffers: {probes.answer(dev, 'command_buffers')}" in capsys.readouterr().err
    recording.enqueue()
    assert set(dev.read(block.mem, 256).view(np.float32)) == {after(0, [0, 1, 2, 3])}


@pytest.mark.parametrize("text, wanted", [(None, {"wide": False, "grid": True}), ("1", {"wide": True, "grid": True}), ("0", {"wide": False, "grid": False})])
def test_who_gets_them(text: str | None, wanted: dict[str, bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "answer", lambda device, name: "yes")
    monkeypatch.delenv("CLTORCH_COMMAND_BUFFERS", raising=False)
    if text is not None:
        monkeypatch.setenv("CLTORCH_COMMAND_BUFFERS", text)
    devices: Any = {strategy: SimpleNamespace(spec="cuda:0", strategy=strategy) for strategy in wanted}
    assert {strategy: segments.wanted(device) for strategy, device in devices.items()} == wanted


def test_a_refused_recording_is_launched_one_by_one(dev: Device, buffered: None, monkeypatch: pytest.MonkeyPatch,
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    recorded(dev)[0].enqueue()
    monkeypatch.setenv("CLTORCH_DEBUG", "1")
    finalize = command_buffer._functions(dev.cl_device.platform)["clFinalizeCommandBufferKHR"]
    monkeypatch.setitem(command_buffer._functions(dev.cl_device.platform), "clFinalizeCommandBufferKHR", lambda handle: finalize(handle) or -5)
    recording, block = recorded(dev)
    recording.enqueue()
    assert "4 launches one by one: clFinalizeCommandBufferKHR failed: OUT_OF_RESOURCES" in capsys.readouterr().err and not in_buffers(recording)
    assert set(dev.read(block.mem, 256).view(np.float32)) == {after(0, [0, 1, 2, 3])}


def test_a_refused_replay_is_an_error(dev: Device, buffered: None, monkeypatch: pytest.MonkeyPatch) -> None:
    recording, _ = recorded(dev)
    recording.enqueue()
    (part,) = segments_of(recording)[0].parts
    assert isinstance(part, CommandBuffer)
    enqueue, part._enqueue = part._enqueue, lambda *_: int(cl.status_code.OUT_OF_HOST_MEMORY)
    with pytest.raises(LaunchError, match=r"replay a graph: clEnqueueCommandBufferKHR failed: OUT_OF_HOST_MEMORY"):
        recording.enqueue()
    part._enqueue = enqueue
    recording.enqueue()


def test_a_lost_devices_buffers_are_left_alone() -> None:
    class Fake(CommandBuffer):
        def __init__(self) -> None:
            self.released = False

        def release(self) -> None:
            self.released = True

    for lost in ("its driver went away", ""):
        buffer, device = Fake(), SimpleNamespace(lost=lost)
        segment = Segment(device, [])  # type: ignore[arg-type]
        segment.parts.append(buffer)
        del segment
        assert buffer.released is not bool(lost)


def of_version(*number: int) -> Any:
    return [SimpleNamespace(name=command_buffer.NAME, version=number[0] << 22 | number[1] << 12 | number[2])]


@pytest.mark.parametrize("device, reason", [
    (FakeDevice("A", extensions="cl_khr_fp64 cl_khr_command_buffer_mutable_dispatch"), "no cl_khr_command_buffer"),
    (FakeDevice("A", extensions="cl_khr_command_buffer", extensions_with_version=of_version(0, 9, 5)), "version 0.9.5 of cl_khr_command_buffer"),
    (FakeDevice("A", extensions="cl_khr_command_buffer", extensions_with_version=[]), "an unknown version of cl_khr_command_buffer"),
    (FakeDevice("A", extensions="cl_khr_command_buffer", platform=FakePlatform("P"), extensions_with_version=of_version(1, 0, 0)),
     "the driver has no clCreateCommandBufferKHR"),
], ids=["none", "version", "unknown", "functions"])
def test_unfit_devices(device: Any, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_buffer, "_functions", lambda platform: {})
    assert command_buffer.unfit(device).startswith(reason)


def test_a_device_of_opencl_1_says_no_version() -> None:
    device = FakeDevice("A", extensions="cl_khr_command_buffer", extensions_with_version=None)
    device.fails = {"extensions_with_version": opencl_error(cl.status_code.INVALID_VALUE, "clGetDeviceInfo")}
    assert command_buffer.unfit(device).startswith("an unknown version")


@pytest.mark.parametrize("version, simultaneous, required, reason", [
    ((0, 9, 0), True, 0, ""), ((0, 9, 0), False, 0, "a command buffer can't be enqueued again while it is pending"),
    ((1, 0, 0), False, 0, ""), ((1, 0, 0), True, 2, "its queues need the properties 0x2"),
])
def test_what_a_queue_must_do(version: tuple[int, ...], simultaneous: bool, required: int, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = {command_buffer.CAPABILITIES: 4 * simultaneous, command_buffer.REQUIRED_QUEUE_PROPERTIES: required}
    monkeypatch.setattr(command_buffer, "_functions", lambda platform: dict.fromkeys(command_buffer.FUNCTIONS))
    monkeypatch.setattr(command_buffer, "_ask", lambda device, what: told[what])
    device = FakeDevice("A", extensions="cl_khr_command_buffer", platform=FakePlatform("P"), extensions_with_version=of_version(*version))
    assert command_buffer.unfit(device) == reason
