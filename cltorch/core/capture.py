"""Capture: what a piece of a program launches, as a graph that can be replayed, and what has to advance from one replay to the next.

A storage that was there before the capture keeps its memory: what the captured work put into other memory is copied back at the end of each
replay. Memory made in between comes from a pool that lives as long as the graph. Draws of random numbers and the numbers of optimizer steps
(learning rate, step counts) are bound anew before each replay, from the same places that eager code takes them from.
"""
from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from sys import getrefcount
from typing import Any, NamedTuple
from weakref import ref

from ..runtime import device as devices
from ..runtime.allocator import Pool
from ..runtime.device import Device
from ..runtime.graph import Advancing, Launch, Recording, Refusal
from ..runtime.segments import buffer_launches
from ..shape import contiguous_strides
from . import random
from .joining import Plan, join_launches, plan_joins
from .lazy import flush, launch_recorded, move_out, realize
from .storage import Read, Storage, Value
from .tensor import UNIQUE, Tensor, isolate

# Replays: building the joined kernels takes as long as building their members did, which a graph that is used once need not wait for. Little launches
# save more than half of their time, others a tenth.
JOINED_AFTER, ALL_JOINED_AFTER = 4, 32
BUFFERED_AFTER = 2  # command buffers of what isn't joined take the time of a replay or two


class _State:
    """``active``: the capture in progress. ``steering``: takes the updates of optimizers in hand while a capture or a replay runs."""

    active: Capture | None = None
    steering: Capture | _Steps | None = None


STATE = _State()


class Capture:
    """The recorded work of one device, and its replay.

    ``begin`` and ``end`` enclose the work, which is recorded and not run; ``abort`` instead of ``end`` leaves everything as it was at ``begin``.
    """

    def __init__(self, dev: Device, pool: Pool | None = None) -> None:
        self.dev, self.pool = dev, pool or Pool()
        self.recording = Recording(dev)
        self.drawn: dict[random.Generator, int] = {}
        self.streams: dict[random.Generator, tuple[int, int]] = {}  # seed and offset of the last replay
        self._draws = self.replays = 0
        self._plans: list[Plan] = []  # of joined launches, while their kernels are compiled
        self.updates: list[Callable[[], None]] = []
        self.applied: list[list[tuple[Launch, int]]] = []
        self.checks: list[Callable[[], None]] = []
        self.homes: list[_Home] = []
        self._ended: list[Any] = []  # weak references of homes whose storage is no more
        self.results: list[Storage] = []  # made inside: kept as long as the graph that writes them
        self._before: list[_Place] = []
        self._numbers: list[tuple[dict, dict]] = []

    # recording

    def begin(self) -> None:
        """RuntimeError where a capture is in progress already, or the device can't be recorded."""
        dev = self.dev
        if STATE.active is not None:
            raise RuntimeError("a graph is being captured already: captures can't be nested")
        if dev.staged:
            raise RuntimeError(f"{dev.spec} can't be captured: its kernels work on copies of host memory")
        if gc.get_freeze_count():
            raise RuntimeError("a graph can't be captured after gc.freeze(), which hides tensors from it: call gc.unfreeze() before")
        dev.launch_recorded()
        dev.synchronize()
        self._before = self._storages()
        self._kept = [block for block in gc.get_objects() if type(block) is dev.allocator.block_type and block.allocator is dev.allocator]
        random.recorded_by(self.draw)
        self._outer, dev.allocator.pool = dev.allocator.pool, self.pool
        for other in devices.everyone():
            if other.cl_device is not None:
                other.recorder = self.recording if other is dev else Refusal(other, dev)
        STATE.active = STATE.steering = self

    def _storages(self) -> list[_Place]:
        """Every storage of the device with its content, each realised and the only one in its memory (no copy on write is pending).

        Where storages share a value, those that the capture made leave it, and the one that was there before stays.
        """
        known = {id(place.storage()) for place in self._before}
        live = [o for o in gc.get_objects() if type(o) is Storage and o.device is self.dev]
        live.sort(key=lambda storage: id(storage) not in known)
        seen: set[int] = set()
        found = []
        for storage in live:
            realize(storage.value)
            if id(storage.value) in seen:
                isolate(storage)
            seen.add(id(storage.value))
            found.append(_Place(ref(storage), storage.value.block, ref(storage.value)))
        return found

    def _leave(self) -> None:
        for other in devices.everyone():
            if other.cl_device is not None:
                other.recorder = None
        self.dev.allocator.pool = self._outer
        STATE.active = STATE.steering = None
        random.recorded_by(None)
        for state, numbers in reversed(self._numbers):
            state.update(numbers)
        self._numbers = []

    def end(self) -> None:
        """Ends the recording. RuntimeError for random numbers that no recorded kernel draws, and from pending work that can't be recorded."""
        try:
            launch_recorded(self.dev, {id(storage): (block, value) for storage, block, value in self._moved()})
            self._copy_back()
            self._storages()
        except BaseException:
            self.abort()
            raise
        self._leave()
        self.checks, self.dev.checks = self.dev.checks, []
        self._tags = [(entry, position, *tag.source) for entry, position, tag in self.recording.advancing()]
        seen = {(id(generator), first) for _, _, capture, generator, _, first in self._tags if capture is self}
        self._find_storages()
        steered = {(id(launch), p) for launches in self.applied for launch, first in launches for p in range(first, len(launch.args))}
        self._live = steered | {(id(entry), position) for entry, position, *_ in self._tags}
        if len(seen) != self._draws:
            raise RuntimeError("random numbers were drawn on the host while a graph was captured: each replay would see the same ones")

    def _find_storages(self) -> None:
        """The storages whose memory the graph uses, those that it writes marked. Those of before are not kept alive: their owner may end them."""
        places = self.recording.places()
        written = {mem for mem, uses in places.items() if any(entry.writes(position) for entry, position in uses)}
        before = {id(place.block) for place in self._before}
        for storage in [o for o in gc.get_objects() if type(o) is Storage and o.device is self.dev]:
            block = storage.value.block
            if block is not None and block.touched and block.mem.int_ptr in places:
                self.homes.append(_Home(storage, block.mem.int_ptr in written, self._ended))
                if id(block) not in before:
                    self.results.append(storage)
        self._kept = [block for block in self._kept if block.touched and block.mem.int_ptr in places]
        self._before = []

    def abort(self) -> None:
        """Ends the recording and forgets it: every storage has its content of before again."""
        self._leave()
        self.dev.checks.clear()
        self.dev.recorded = []
        for storage, block, _ in self._moved():
            storage.value = Value(block, self.dev, storage.value.dtype, storage.value.numel)
        self._before, self._kept = [], []
        self.recording = Recording(self.dev)

    def _moved(self) -> list[tuple[Storage, Any, Any]]:
        """Storages with other content than at the begin, where they had it, and a weak reference to the value that it was."""
        found = ((place.storage(), place.block, place.value) for place in self._before)
        return [(storage, block, value) for storage, block, value in found if storage is not None and storage.value.block is not block]

    def _copy_back(self) -> None:
        """Storages that are in other memory yet move back. Who holds what was there keeps it elsewhere."""
        moved = self._moved()
        for storage, block, value in moved:
            old = value()
            if old is not None and old.block is block and storage.nbytes:
                move_out(old, storage.nbytes)
        for storage, block, _ in moved:
            if storage.nbytes:
                self.dev.copy(block.mem, realize(storage.value).mem, storage.nbytes)
            storage.value = Value(block, self.dev, storage.value.dtype, storage.value.numel)

    # what advances

    def draw(self, generator: random.Generator, count: int) -> tuple[int, int]:
        """A place in a generator's stream, counted from where the stream is when a replay begins."""
        first = self.drawn.get(generator, 0)
        self.drawn[generator] = first + count
        seed, offset = Advancing(generator._seed), Advancing(generator._offset + first)
        seed.source, offset.source = (self, generator, 0, first), (self, generator, 1, first)
        self._draws += 1
        return seed, offset

    def update(self, step: Callable[[], None], states: Sequence[dict]) -> None:
        """Records an optimizer's update of some parameters; ``states`` are theirs, whose numbers are put back: a replay counts, not this.

        RuntimeError where the update makes state: that would be made anew by each replay.
        """
        names = [set(state) for state in states]
        self._numbers += [(state, {name: value for name, value in state.items() if not isinstance(value, Tensor)}) for state in states]
        step()
        if names != [set(state) for state in states]:
            for state, before in zip(states, names, strict=True):
                for name in set(state) - before:
                    del state[name]
            raise RuntimeError("an optimizer made its state while a graph was captured: run one step before the capture")
        self.updates.append(step)

    def apply(self, run: Callable[[], None], scalars: Sequence[float]) -> None:
        """Records one rule's launches, and where its numbers are bound: the last arguments of its kernels."""
        mark = len(self.recording.entries)
        run()
        launches = [e for e in self.recording.entries[mark:] if isinstance(e, Launch) and e.kernel.name == "update"]
        self.applied.append([(launch, len(launch.args) - len(scalars)) for launch in launches])

    # replaying

    def gone(self) -> bool:
        """Whether a tensor that the graph uses is no more."""
        return bool(self._ended)

    def replay(self) -> None:
        """Enqueues the recorded work. RuntimeError where a tensor that it uses is gone."""
        if STATE.active is not None:
            raise RuntimeError("a graph can't be replayed while one is captured")
        for home in self.homes:  # a network has hundreds, all of which are as they were
            storage = home.storage()
            if storage is None or storage.value.block is not home.block or (home.written and getrefcount(storage.value) > UNIQUE):
                home.settle()
        for generator, count in self.drawn.items():
            self.streams[generator] = generator.reserve(count)
        for entry, position, capture, generator, which, first in self._tags:  # a backward draws what its forward's graph drew
            number = capture.streams[generator][which] + which * first
            if entry.args[position] != number:
                entry.bind(position, number)
        if self.updates:
            STATE.steering = _Steps(self.applied)
            try:
                for update in self.updates:
                    update()
            finally:
                STATE.steering = None
        self.replays += 1
        if self.replays == BUFFERED_AFTER:
            buffer_launches(self.recording)
        if self.replays in (JOINED_AFTER, ALL_JOINED_AFTER):
            self._plans = plan_joins(self.recording, self._live, self.replays == ALL_JOINED_AFTER)
        if self._plans and all(plan.kernel.is_built for plan in self._plans):
            join_launches(self.recording, self._plans)
            buffer_launches(self.recording)
            self._plans = []
        self.recording.enqueue()
        if self.checks and not self.dev.checks:
            self.dev.checks.extend(self.checks)


class _Place(NamedTuple):
    """A storage and its value, weakly, and the value's block."""

    storage: Any
    block: Any
    value: Any


class _Home:
    """The memory in which a graph finds a storage's content, and leaves it."""

    __slots__ = ("block", "storage", "value", "written")

    def __init__(self, storage: Storage, written: bool, ended: list[Any]) -> None:
        self.storage, self.value = ref(storage, ended.append), ref(storage.value)
        self.block, self.written = storage.value.block, written

    def settle(self) -> None:
        """Before a replay, where the content isn't here or somebody else's content is, too: that is no longer so. RuntimeError where the storage is
        gone."""
        storage = self.storage()
        if storage is None:
            raise RuntimeError("the graph can't be replayed: a tensor that it reads or writes is gone. Keep it, and write into it in place")
        if storage.value.block is not self.block:
            self._bring_back(storage)
        else:
            self._own(storage, storage.value)

    def _own(self, storage: Storage, content: Value) -> None:
        """The memory is the storage's alone. Who else holds the value in it (copies that were never written, pending work that reads it) keeps
        today's content elsewhere."""
        dev = storage.device
        shared = self.value()
        if shared is not None and shared.block is self.block:
            move_out(shared, storage.nbytes)
        storage.value = Value(self.block, dev, content.dtype, content.numel)
        self.value = ref(storage.value)

    def _bring_back(self, storage: Storage) -> None:
        """An operator in place gave the storage a new value: into this memory with it, by the same launch where it can be."""
        content, dev = storage.value, storage.device
        self._own(storage, content)
        if content.block is None and content.numel and not _uses(content, self.block):
            shape = content.shape or (content.numel,)
            flush((content,), (self.block, 0, shape, contiguous_strides(shape)))
        elif storage.nbytes:
            dev.copy(self.block.mem, realize(content).mem, storage.nbytes)


class _Steps:
    """Binds the numbers of a replay's optimizer updates to the recorded launches, in the order of the capture."""

    def __init__(self, applied: list[list[tuple[Launch, int]]]) -> None:
        self.left: Iterator[list[tuple[Launch, int]]] = iter(applied)

    def apply(self, run: Callable[[], None], scalars: Sequence[float]) -> None:
        launches = next(self.left, None)
        if launches is None:
            raise RuntimeError("an optimizer's parameters are at different steps than when the graph was captured: capture it again")
        for launch, first in launches:
            for position, number in enumerate(scalars, first):
                if launch.args[position] != number:
                    launch.bind(position, number)


def _uses(value: Value, block: Any) -> bool:
    """Whether a pending value reads a block."""
    for arg in value.args:
        source = arg.value if type(arg) is Read else arg
        if type(source) is Value and (source.block is block or (source.block is None and _uses(source, block))):
            return True
    return False


def is_capturing() -> bool:
    return STATE.active is not None
