"""Random state: a counter-based generator per device. One seed gives the same numbers on every device and strategy.

Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011) numbers each draw by (seed, offset); a kernel takes
both as arguments, so drawing never waits for the device.
"""
from __future__ import annotations

import os
import threading
from collections.abc import Callable

import numpy as np

from ..dtype import uint8 as _uint8
from ..runtime.device import Device, devices, get, host
from ..runtime.spec import device
from .storage import from_bytes
from .tensor import Tensor, make

DEFAULT_SEED = 67280421310721  # PyTorch's


class _Recorder:
    """While a graph is captured: who gives out the places in the streams instead."""

    draw: Callable[[Generator, int], tuple[int, int]] | None = None


def recorded_by(draw: Callable[[Generator, int], tuple[int, int]] | None) -> None:
    """``reserve`` asks ``draw`` from now on; None ends that."""
    _Recorder.draw = staticmethod(draw) if draw else None


class Generator:
    """A stream of random numbers for one device. ``manual_seed``, ``seed``, ``initial_seed``, ``get_state``, ``set_state``."""

    def __init__(self, device: str | device = "cpu") -> None:
        self.device = _spec(device)
        self._seed, self._offset = DEFAULT_SEED, 0
        self._lock = threading.Lock()

    def manual_seed(self, seed: int) -> Generator:
        """Restarts the stream. The seed is taken modulo 2^64."""
        self._seed, self._offset = int(seed) & (1 << 64) - 1, 0
        return self

    def seed(self) -> int:
        """Restarts the stream from the system's entropy; returns the seed."""
        self.manual_seed(int.from_bytes(os.urandom(8), "little"))
        return self._seed

    def initial_seed(self) -> int:
        return self._seed

    def reserve(self, count: int) -> tuple[int, int]:
        """(seed, offset) for a kernel that draws ``count`` blocks of four 32-bit numbers; moves the stream past them."""
        if _Recorder.draw is not None:
            return _Recorder.draw(self, count)
        with self._lock:
            offset = self._offset
            self._offset += count
        return self._seed, offset

    def get_state(self) -> Tensor:
        """The state as a uint8 tensor of 16 bytes on "cpu" (not interchangeable with PyTorch's)."""
        data = np.array([self._seed, self._offset], np.uint64).view(np.uint8)
        return make(from_bytes(data, host().spec), _uint8, (16,), (1,), 0, False)

    def set_state(self, state: Tensor) -> Generator:
        if state.numel() != 16 or state.dtype is not _uint8:
            raise RuntimeError("Generator.set_state: expected the 16-byte uint8 tensor that get_state gave")
        self._seed, self._offset = (int(n) for n in state._host().view(np.uint64))
        return self


def _spec(value: str | device) -> device:
    return value if isinstance(value, device) else device(value)


_defaults: dict[Device, Generator] = {}
_seed = DEFAULT_SEED


def default_generator(dev: Device) -> Generator:
    """The generator that operators on a device use when none is given."""
    found = _defaults.get(dev)
    if found is None:
        found = _defaults[dev] = Generator(dev.spec).manual_seed(_seed)
    return found


def generator_for(dev: Device, generator: Generator | None) -> Generator:
    """The given generator, or the device's own. RuntimeError where it belongs to another kind of device."""
    if generator is None:
        return default_generator(dev)
    if generator.device.type != dev.type:
        raise RuntimeError(f"Expected a '{dev.type}' device type for generator but found '{generator.device.type}'")
    return generator


def manual_seed(seed: int) -> Generator:
    """Seeds every device; returns the "cpu" generator.

    One seed gives the same results on every device, driver and strategy: integers, uniform numbers, bernoulli, permutations and dropout masks
    bit for bit, normal and exponential numbers within 2 units in the last place. The numbers are not PyTorch's. Sums, products and
    gradients repeat bit for bit on one device with one driver; between devices they differ by rounding.
    """
    global _seed
    _seed = int(seed)
    for generator in _defaults.values():
        generator.manual_seed(_seed)
    return default_generator(host())


def seed() -> int:
    """Seeds every device from the system's entropy; returns the seed."""
    value = int.from_bytes(os.urandom(8), "little")
    manual_seed(value)
    return value


def initial_seed() -> int:
    return default_generator(host()).initial_seed()


def get_rng_state() -> Tensor:
    return default_generator(host()).get_state()


def set_rng_state(state: Tensor) -> None:
    default_generator(host()).set_state(state)


def device_generators() -> list[Generator]:
    """The default generators of all OpenCL devices."""
    return [default_generator(dev) for dev in devices()]


def generator_of(spec: device) -> Generator:
    return default_generator(get(spec.type, spec.index))


