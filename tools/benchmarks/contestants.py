"""Who takes part: cltorch on a device, or a rival library. Each turns a case into a call, launches its result and waits for it."""
from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

import cltorch
from cltorch.core import dispatch
from cltorch.runtime import builders
from cltorch.runtime import device as runtime

from .case import Case, Input
from .counter import counted


class Contestant:
    """A library at a place. ``label`` is unique in a run; ``kind`` is the processor's, where it is known."""

    kind: str | None = None
    measures_limits = False  # whether it runs cases that only OpenCL devices have

    def __init__(self, library: Any, name: str, place: Any, label: str) -> None:
        self.library, self.name, self.place, self.label = library, name, place, label

    def knows(self, case: Case) -> bool:
        """Whether this library has such an operator."""
        return case.own is None or self.measures_limits

    def prepare(self, case: Case) -> Callable[[], Any]:
        """The case as a call without arguments, its inputs in place."""
        if case.build is not None:
            self.library.manual_seed(0)
            return case.build(self.library, self.place)
        operands = [self.tensor(given, values(given, seed)) for seed, given in enumerate(case.inputs)]
        return partial(case.call, self.library, *operands)

    def tensor(self, given: Input, array: np.ndarray) -> Any:
        found = self.library.tensor(array, device=self.place)
        found = found if given.below else found.to(getattr(self.library, given.dtype))
        return found.requires_grad_() if given.grad else found

    def settle(self, result: Any) -> None:
        """Launch what the result still lacks. Eager libraries have nothing to do."""

    def wait(self) -> None:
        """Return when the device has finished."""

    def compiled(self) -> bool:
        """Return when nothing is compiled beside the calls any more. Whether something was, which the next call uses."""
        return False

    def launches(self, call: Callable[[], Any]) -> tuple[int, int]:
        """(of one call, those of them with little work), where a library tells."""
        return 0, 0


class Cltorch(Contestant):
    measures_limits = True

    def __init__(self, spec: str) -> None:
        place = cltorch.device(spec)
        self.device = runtime.get(place.type, place.index)
        super().__init__(cltorch, "cltorch", self.device.spec, str(self.device.spec))

    def prepare(self, case: Case) -> Callable[[], Any]:
        return case.own(self.device) if case.own is not None else super().prepare(case)

    def settle(self, result: Any) -> None:
        if isinstance(result, tuple):
            for each in result:
                dispatch.buffer(each)
        else:
            dispatch.buffer(result)

    def wait(self) -> None:
        self.device.synchronize()

    def compiled(self) -> bool:
        return builders.wait()

    def launches(self, call: Callable[[], Any]) -> tuple[int, int]:
        with counted(self.device) as counter:
            self.settle(call())
            self.wait()
        return counter.launches, counter.little


class Torch(Contestant):
    @property
    def kind(self) -> str:
        return "CPU" if self.place == "cpu" else "GPU"

    def wait(self) -> None:
        if self.place != "cpu":
            self.library.cuda.synchronize(self.place)


class Numpy(Contestant):
    def knows(self, case: Case) -> bool:
        return case.numpy is not None

    def prepare(self, case: Case) -> Callable[[], Any]:
        operands = [values(given, seed).astype(given.dtype) for seed, given in enumerate(case.inputs)]
        return lambda: case.numpy(np, *operands)


class Tinygrad(Contestant):
    """tinygrad plans a graph again at each call unless it is jitted; its own benchmarks are, so are these."""

    def knows(self, case: Case) -> bool:
        return case.tinygrad is not None

    def prepare(self, case: Case) -> Callable[[], Any]:
        operands = [self.library.Tensor(values(given, seed)).cast(given.dtype).realize() for seed, given in enumerate(case.inputs)]
        jitted = self.library.TinyJit(lambda *x: case.tinygrad(self.library, *x).realize())
        return lambda: jitted(*operands)

    def wait(self) -> None:
        self.library.Device[self.place].synchronize()


def values(given: Input, seed: int) -> np.ndarray:
    """The same numbers for every library."""
    numbers = np.random.default_rng(seed)
    return numbers.integers(0, given.below, given.shape) if given.below else numbers.standard_normal(given.shape, np.float32)


def torch_places(torch: Any) -> list[Torch]:
    places = ["cpu"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return [Torch(torch, "torch", place, f"torch {place}") for place in places]


RIVALS: dict[str, Callable[[Any], Sequence[Contestant]]] = {
    "torch": torch_places,
    "numpy": lambda library: [Numpy(library, "numpy", "cpu", "numpy")],
    "tinygrad": lambda library: [Tinygrad(library, "tinygrad", library.Device.DEFAULT, f"tinygrad {library.Device.DEFAULT}")],
}


def find_rivals(names: Sequence[str]) -> tuple[list[Contestant], dict[str, str]]:
    """The rivals that can be used, and why the others can't. ValueError for a name that is none."""
    found: list[Contestant] = []
    missing: dict[str, str] = {}
    for name in names:
        if name not in RIVALS:
            raise ValueError(f"{name!r} is no rival: choose from {', '.join(RIVALS)}")
        try:
            found += RIVALS[name](importlib.import_module(name))
        except ImportError as error:
            missing[name] = f"not installed ({error})"
        except (RuntimeError, OSError) as error:  # tinygrad looks for a compiler or a driver when it is asked for its device
            missing[name] = f"installed, but it can't compute here ({error})"
    return found, missing


def find_devices(names: Sequence[str]) -> list[Cltorch]:
    """cltorch on each named device, once; "all" is every OpenCL device. RuntimeError for one that isn't there."""
    specs = [spec for name in names for spec in ([str(d.spec) for d in runtime.devices()] if name == "all" else [name])]
    found = {contestant.label: contestant for contestant in map(Cltorch, specs)}
    if not found:
        raise RuntimeError("no OpenCL device was found: tools/list_devices.py says what to install")
    return list(found.values())
