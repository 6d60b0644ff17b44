"""Streams and events.

A stream is an in-order queue of its own. The current stream belongs to the device, for all threads. Entering or leaving a stream
orders the new queue after the old one: pointwise chains are launched when somebody needs them or the stream is waited for, perhaps
on another stream than the one they were recorded on, and memory is reused across streams, so a program must not depend on ``wait_stream`` for being right.
"""
from __future__ import annotations

import threading
import time
from typing import Any

import pyopencl as cl

from ..errors import LaunchError
from .device import Device, resolve

LANES = 32  # streams of one device share this many queues, in turn
_MAKING = threading.Lock()


def order(dev: Device, first: Any, then: Any) -> None:
    """What is enqueued on the queue ``then`` of ``dev`` from now on starts after what is on ``first`` now. Doesn't wait."""
    if first is not then:
        marker = cl.enqueue_marker(first)
        first.flush()
        dev.submission.enqueue_on(then, cl.enqueue_barrier, wait_for=[marker])


class Stream:
    """A queue of a device. PyTorch's ``cuda.Stream``; ``priority`` is kept but OpenCL 1.2 has none.

    Source: torch.cuda.Stream. Differs: streams are ordered where one is left for another, so they don't overlap.
    """

    def __init__(self, device: Any = None, priority: int = 0, *, _lane: tuple[Device, int, Any] | None = None) -> None:
        self.priority = priority
        self._device, self.stream_id, self._queue = _lane or _next_lane(resolve(device))

    @property
    def device(self) -> Any:
        return self._device.spec

    @property
    def queue(self) -> Any:
        """The OpenCL queue, with everything on it that was launched so far. What the caller enqueues there is kept in order with what follows."""
        home = self._device.submission.home
        if home is not None and home.queue is self._queue:
            home.retire()
        return self._handed_over

    @property
    def _handed_over(self) -> Any:
        self._device.hand_over()
        return self._queue

    @property
    def device_index(self) -> int:
        return self._device.index

    @property
    def cuda_stream(self) -> int:
        """The address of the OpenCL queue."""
        return self.queue.int_ptr

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and self._queue is other._queue

    def __hash__(self) -> int:
        return hash((self._device.index, self.stream_id))

    def __repr__(self) -> str:
        return f"<cltorch.cuda.Stream device={self.device} stream_id={self.stream_id}>"

    def query(self) -> bool:
        """Whether everything given to this stream has ended. Gives an idle driver a millisecond to say so."""
        self._launch_recorded()
        marker = cl.enqueue_marker(self._handed_over)
        self._handed_over.flush()
        deadline = time.perf_counter() + 1e-3
        while not has_ended(marker, self._device):
            if time.perf_counter() > deadline:
                return False
            time.sleep(0)
        return True

    def synchronize(self) -> None:
        """Wait for everything given to this stream."""
        self._launch_recorded()
        self._device.guard("finish the work of a stream", self._handed_over.finish)

    def _launch_recorded(self) -> None:
        """Recorded operators belong to the current stream."""
        if self._handed_over is self._device.queue:
            self._device.launch_recorded()

    def wait_event(self, event: Event) -> None:
        """Later work on this stream starts after the event."""
        event.wait(self)

    def wait_stream(self, stream: Stream) -> None:
        """Later work on this stream starts after what is enqueued on the other one now."""
        if stream._device is not self._device:
            stream.synchronize()
        else:
            order(self._device, stream._handed_over, self._handed_over)

    def record_event(self, event: Event | None = None) -> Event:
        """Record an event (a new one by default) and return it."""
        event = Event() if event is None else event
        event.record(self)
        return event


def _next_lane(dev: Device) -> tuple[Device, int, Any]:
    """A new queue, or, after LANES of them, the one that was handed out longest ago."""
    with _MAKING:
        if len(dev.lanes) < LANES:
            lane = len(dev.lanes) + 1, dev.new_queue()
            dev.queues.append(lane[1])
        else:
            lane = dev.lanes.pop(0)
        dev.lanes.append(lane)
        return dev, *lane


def default_stream(device: Any = None) -> Stream:
    """The stream that a device starts with."""
    dev = resolve(device)
    return Stream(_lane=(dev, 0, dev.queues[0]))


def current_stream(device: Any = None) -> Stream:
    """The stream that launches on the device go to."""
    return resolve(device).stream or default_stream(device)


def set_stream(stream: Stream) -> None:
    """Launch on ``stream`` from now on, after what the stream before it still has to do."""
    dev = stream._device
    order(dev, dev.queue, stream._handed_over)
    dev.stream, dev.queue = stream, stream._handed_over


class StreamContext:
    """``with stream(s):`` launches on s inside, on the former stream afterwards; ``stream(None)`` does nothing."""

    def __init__(self, stream: Stream | None) -> None:
        self.stream = stream

    def __enter__(self) -> Stream | None:
        if self.stream is not None:
            self._before = current_stream(self.stream._device.spec)
            set_stream(self.stream)
        return self.stream

    def __exit__(self, *error: object) -> None:
        if self.stream is not None:
            set_stream(self._before)


def stream(stream: Stream | None) -> StreamContext:
    """A context manager that makes ``stream`` the current one."""
    return StreamContext(stream)


def has_ended(event: Any, dev: Any) -> bool:
    """Whether a command of ``dev`` is over. Raises LaunchError where it failed."""
    status = event.command_execution_status
    if status < 0:
        dev.guard("finish a command", event.wait)
        raise LaunchError(f"a command on {dev.spec} failed with OpenCL error {status}")
    return status == cl.command_execution_status.COMPLETE


class Event:
    """A point in a stream's work. PyTorch's ``cuda.Event``.

    With ``enable_timing`` a second, profiling queue stamps the moment when the stream gets there, so that ordinary launches don't
    pay for profiling: the stamp is late by the hand-over from one queue to the other (under 1 us on PoCL).
    Source: torch.cuda.Event. Differs: ``interprocess`` raises.
    """

    def __init__(self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False, external: bool = False) -> None:
        if interprocess:
            raise RuntimeError("an OpenCL event can't be shared with another process: leave interprocess=False")
        self.enable_timing = enable_timing
        self._event: Any = None
        self._stamp: Any = None
        self._device: Device | None = None

    def record(self, stream: Stream | None = None) -> None:
        """Mark the end of what was given to the stream (the current one by default) until now."""
        stream = current_stream() if stream is None else stream
        stream._launch_recorded()
        self._device = stream._device
        self._event = cl.enqueue_marker(stream._handed_over)
        stream._handed_over.flush()
        if self.enable_timing:
            clock = _clock(stream._device)
            self._stamp = cl.enqueue_marker(clock, wait_for=[self._event])
            clock.flush()

    def wait(self, stream: Stream | None = None) -> None:
        """Later work on the stream (the current one by default) starts after the event. Doesn't wait on the host."""
        if self._event is None:
            return
        stream = current_stream() if stream is None else stream
        if stream._device is not self._device:
            self.synchronize()
        else:
            stream._device.submission.enqueue_on(stream._handed_over, cl.enqueue_barrier, wait_for=[self._event])

    def query(self) -> bool:
        """Whether the event has happened; true where it was never recorded."""
        return all(event is None or has_ended(event, self._device) for event in (self._event, self._stamp))

    def synchronize(self) -> None:
        """Wait for the event on the host."""
        for event in (self._event, self._stamp):
            if event is not None and self._device is not None:
                self._device.guard("finish what an event waits for", event.wait)

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds from this event to ``end_event``, by the device's clock. Both must be recorded with timing, and over."""
        if not (self.enable_timing and end_event.enable_timing):
            raise ValueError("elapsed_time: both events must be created with enable_timing=True")
        if self._stamp is None or end_event._stamp is None:
            raise ValueError("elapsed_time: both events must be recorded first")
        if self._device is not end_event._device:
            raise ValueError("elapsed_time: the events were recorded on different devices, whose clocks can't be compared")
        if not (self.query() and end_event.query()):
            raise RuntimeError("elapsed_time: both events must be over; call synchronize() on the later one first")
        return (end_event._stamp.profile.end - self._stamp.profile.end) * 1e-6

    def __repr__(self) -> str:
        return f"<cltorch.cuda.Event {'not recorded' if self._event is None else 'recorded on ' + str(self._device and self._device.spec)}>"


_clocks: dict[int, Any] = {}


def _clock(dev: Device) -> Any:
    """The profiling queue of a device's context; nothing but markers runs on it."""
    found = _clocks.get(dev.context.int_ptr)
    if found is None:
        found = _clocks[dev.context.int_ptr] = dev.new_queue(profiling=True)
    return found
