"""Launches of a graph, next to each other, that its device enqueues as one: a command buffer, where the driver has them.

The arguments in a command buffer are those of when it was recorded. Where one was bound anew since, the buffer is recorded again before the next
replay; a launch that gets another argument every few replays (the numbers of random draws and of optimizer steps, a compiled function's
arguments) is enqueued by itself, between the buffers of those around it.
"""
from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pyopencl as cl

from .. import config
from ..config import debug
from . import probes
from .command_buffer import CommandBuffer
from .device import Device
from .graph import Launch, Recording
from .submission import Submission

STEADY = 16  # replays: an argument that stays the same for fewer costs more, recorded again and again, than its launch by itself


def buffer_launches(recording: Recording) -> None:
    """From now on neighbours of a recording, as far as they aren't joined, are enqueued by command buffers. Nothing changes where they aren't wanted."""
    if not wanted(recording.device):
        return
    steps: list[Any] = []
    for alone, run in itertools.groupby(recording.steps, key=lambda step: isinstance(step, Launch)):
        launches: list[Any] = list(run)
        steps += [Segment(recording.device, launches)] if alone and len(launches) > 1 else launches
    recording.steps = steps


def wanted(device: Device) -> bool:
    """Whether a device's replays use command buffers: GPUs' where a probe gave right results, others' where the user asks for it."""
    asked = config.get("COMMAND_BUFFERS")
    if asked is False or (asked == "" and device.strategy != "grid"):
        return False
    answer = probes.answer(device, "command_buffers")
    if answer != "yes":
        debug(1, f"{device.spec} replays graphs without command buffers: {answer}")
    return answer == "yes"


class Segment:
    """A run of launches. ``parts`` are enqueued in its place: command buffers, and the launches that are ``outside`` of them.

    ``rebound`` takes the ids of launches that got another argument; ``changed`` has the replay in which that was last so.
    """

    __slots__ = ("changed", "device", "launches", "outside", "parts", "queue", "rebound", "replays")

    def __init__(self, device: Device, launches: Sequence[Launch]) -> None:
        self.device, self.launches, self.queue = device, launches, None
        self.parts: list[Launch | CommandBuffer] = []
        self.outside: set[int] = set()
        self.rebound: set[int] = set()
        self.changed: dict[int, int] = {}
        self.replays = 0
        for launch in launches:
            launch.rebound = self.rebound

    def enqueue(self, submission: Submission) -> None:
        """A command buffer belongs to the queue of the first replay: other streams get the launches one by one."""
        if self.queue is None or (self.rebound and self.queue is submission.queue):
            self._record(submission.queue)
        for step in self.parts if self.queue is submission.queue else self.launches:
            step.enqueue(submission)
        self.replays += 1

    def _record(self, queue: Any) -> None:
        self.outside |= {number for number in self.rebound if self.replays - self.changed.get(number, -STEADY) < STEADY}
        self.changed |= dict.fromkeys(self.rebound, self.replays)
        self.rebound.clear()
        self._release()
        self.queue, self.parts = queue, []
        for steady, run in itertools.groupby(self.launches, key=lambda launch: id(launch) not in self.outside):
            launches = list(run)
            self.parts += self._recorded(launches) if steady and len(launches) > 1 else launches

    def _recorded(self, launches: list[Launch]) -> Sequence[Launch | CommandBuffer]:
        """The launches as one command buffer; themselves where the driver refuses, for it may have no room for so many."""
        try:
            return [CommandBuffer(self.queue, [(launch.bound.recorded(), launch.global_size, launch.local_size) for launch in launches])]
        except cl.Error as error:
            debug(1, f"{self.device.spec} enqueues {len(launches)} launches one by one: {error}")
            return launches

    def _release(self) -> None:
        """The driver keeps a buffer that is still pending until it has run. A lost device's is left alone: its driver may never answer."""
        parts, self.parts = self.parts, []
        if not self.device.lost:
            for part in parts:
                if isinstance(part, CommandBuffer):
                    part.release()

    def __del__(self) -> None:
        self._release()
