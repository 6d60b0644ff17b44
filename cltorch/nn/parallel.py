"""One module on several devices: the batch is split, each device computes its part, results and gradients come together on one of them.

Devices may be unequal, of different vendors, and "cpu" may be among them. Copies go through the host. ``weights`` splits the batch by
the devices' speed: numbers, or "auto" to measure them with the first batch.
"""
from __future__ import annotations

import contextlib
import itertools
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..core.lazy import realize
from ..core.modes import is_grad_enabled, no_grad, set_grad_enabled
from ..core.random import default_generator
from ..core.tensor import Tensor
from ..ops import registry
from ..runtime.device import devices as _opencl_devices
from ..runtime.device import get
from ..runtime.spec import CHOSEN, current_index, device
from .modules.module import Module

__all__ = ["DataParallel", "data_parallel", "gather", "measure_weights", "parallel_apply", "replicate", "scatter"]
_cat, _stack = registry.find("cat").function, registry.find("stack").function
Places = Sequence["int | str | device"]


def _place(given: int | str | device | None) -> device:
    """A device as these functions take it: an index, a name, -1 for "cpu" as in PyTorch."""
    if given == -1:
        return device("cpu")
    spec = device("cuda") if given is None else device(given)
    return get(spec.type, spec.index).spec


def _places(given: Places | None) -> list[device]:
    """The devices of ``device_ids``: all OpenCL devices where None."""
    return [dev.spec for dev in _opencl_devices()] if given is None else [_place(one) for one in given]


def _rows(n: int, count: int, weights: Sequence[float] | None) -> list[int]:
    """How many of n rows each device gets, in order. Without weights as Tensor.chunk; with them at least one while there is one."""
    if weights is None:
        size = -(-n // count) or 1
        return [min(size, n - start) for start in range(0, max(n, 1), size)]
    if n <= count:
        return [1] * n or [0]
    bounds = [round(n * sum(weights[:i + 1]) / sum(weights)) for i in range(count)]
    for i in range(count):  # at least one row for each device before and after
        bounds[i] = min(max(bounds[i], (bounds[i - 1] if i else 0) + 1), n - (count - 1 - i))
    return [high - low for low, high in zip([0, *bounds], bounds, strict=False)]


def _check_weights(weights: Any, count: int) -> list[float] | None:
    if weights is None:
        return None
    checked = [] if isinstance(weights, str) else [float(w) for w in weights]
    if len(checked) != count or not all(0 < w < float("inf") for w in checked):
        raise ValueError(f"weights must be {count} positive numbers, one for each device, but got {weights!r}")
    return checked


def _is_namedtuple(value: Any) -> bool:
    return isinstance(value, tuple) and hasattr(value, "_fields")


def scatter(inputs: Any, target_gpus: Places, dim: int = 0, weights: Sequence[float] | None = None) -> Any:
    """``inputs`` with every tensor in it split along ``dim`` over the devices: a tuple for a tensor, else a list; other objects repeat.

    ``weights`` (one positive number for each device) gives their shares. The split is recorded for autograd. ValueError for other weights.
    """
    places = _places(target_gpus)
    return _scatter(inputs, places, dim, _check_weights(weights, len(places)))


def _scatter(obj: Any, places: list[device], dim: int, weights: list[float] | None) -> Any:
    if isinstance(obj, Tensor):
        parts = obj.split(_rows(obj.shape[dim], len(places), weights), dim)  # type: ignore[attr-defined]
        return tuple(part.to(place) for part, place in zip(parts, places, strict=False))

    def columns(items: Any) -> Iterator[tuple]:
        return zip(*(_scatter(item, places, dim, weights) for item in items), strict=False)

    if _is_namedtuple(obj):
        return [type(obj)(*row) for row in columns(obj)]
    if isinstance(obj, tuple) and obj:
        return list(columns(obj))
    if isinstance(obj, list) and obj:
        return [list(row) for row in columns(obj)]
    if isinstance(obj, dict) and obj:
        return [type(obj)(row) for row in columns(obj.items())]
    return [obj for _ in places]


def _scatter_arguments(inputs: tuple, kwargs: dict, places: list[device], dim: int, weights: list[float] | None) -> tuple[list, list]:
    """Positional and keyword arguments for each device that gets a part."""
    args = list(_scatter(inputs, places, dim, weights)) if inputs else []
    named = list(_scatter(kwargs, places, dim, weights)) if kwargs else []
    count = max(len(args), len(named), 1)
    return args + [()] * (count - len(args)), named + [{}] * (count - len(named))


def gather(outputs: Sequence[Any], target_device: int | str | device, dim: int = 0) -> Any:
    """The devices' results as one on ``target_device``: tensors are joined along ``dim``, also in lists, tuples and dicts. Recorded for autograd.

    Tensors without dimensions become a vector, with PyTorch's warning. ValueError for dicts of different lengths.
    """
    return _gather(list(outputs), _place(target_device), dim)


def _gather(outputs: list, place: device, dim: int) -> Any:
    first = outputs[0]
    if isinstance(first, Tensor):
        return _join([output.to(place) for output in outputs], dim)
    if first is None:
        return None
    if isinstance(first, dict):
        if any(len(output) != len(first) for output in outputs):
            raise ValueError("All dicts must have the same number of keys")
        return type(first)((key, _gather([output[key] for output in outputs], place, dim)) for key in first)
    parts = (_gather(list(column), place, dim) for column in zip(*outputs, strict=True))
    return type(first)._make(parts) if _is_namedtuple(first) else type(first)(parts)


def _join(parts: list[Tensor], dim: int) -> Tensor:
    if dim == 0 and all(part.dim() == 0 for part in parts):
        warnings.warn("Was asked to gather along dimension 0, but all input tensors were scalars; will instead unsqueeze and return a vector.",
                      stacklevel=2)
        return _stack(parts)
    return _cat(parts, dim)


def replicate(network: Module, devices: Places, detach: bool = False) -> list[Module]:
    """Copies of a module on the devices. Their parameters are results of the module's own, which receive the gradients (not if ``detach``).

    On the device where the module is, its parameters and buffers are used themselves: running statistics are updated there, as in PyTorch.
    """
    return [_replica(network, place, detach) for place in _places(devices)]


def _replica(network: Module, place: device, detach: bool) -> Module:
    copies: dict[Tensor, Tensor] = {}
    replicas = {module: _shell(module) for module in network.modules()}
    for module, replica in replicas.items():
        replica._modules.update((name, child and replicas[child]) for name, child in module._modules.items())
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            copy = tensor
            if tensor is not None:
                if tensor not in copies:
                    copies[tensor] = (tensor.detach() if detach or not tensor.requires_grad else tensor).to(place)
                copy = copies[tensor]
            if name in module._buffers or copy is None:
                (replica._buffers if name in module._buffers else replica._parameters)[name] = copy
            else:
                replica.__dict__[name] = copy  # no leaf, so no parameter
    return replicas[network]


def _shell(module: Module) -> Module:
    """A module of the same class with the same plain attributes and nothing registered."""
    shell = module.__new__(type(module))
    shell.__dict__.update(module.__dict__, _parameters={}, _buffers={}, _modules={})
    return shell


def parallel_apply(modules: Sequence[Callable], inputs: Sequence[Any], kwargs_tup: Sequence[dict] | None = None,
                   devices: Places | None = None) -> list[Any]:
    """Each module with its inputs, on its device, in a thread of its own; the results in order. An error names the replica and the device."""
    count = len(modules)
    for what, given in (("inputs", inputs), ("kwargs_tup", kwargs_tup), ("devices", devices)):
        if given is not None and len(given) != count:
            raise AssertionError(f"The number of modules {count} is not equal to the number of {what} {len(given)}")
    places = [None] * count if devices is None else _places(devices)
    workers = [_Worker(*job) for job in zip(modules, inputs, kwargs_tup or [{}] * count, places, itertools.count(), strict=False)]
    if count == 1:
        workers[0].run()
    else:
        threads = [threading.Thread(target=worker.run) for worker in workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return [worker.answer() for worker in workers]


class _Worker:
    """One replica's call. A thread starts with default modes, so the caller's are taken along."""

    def __init__(self, module: Callable, inputs: Any, kwargs: dict, place: device | None, index: int) -> None:
        self.module, self.inputs, self.kwargs, self.place, self.index = module, inputs, kwargs, place, index
        self.grad, self.result, self.error = is_grad_enabled(), None, None

    def run(self) -> None:
        arguments = self.inputs if isinstance(self.inputs, (list, tuple)) else (self.inputs,)
        try:
            with set_grad_enabled(self.grad), _current(self.place):
                self.result = self.module(*arguments, **self.kwargs)
                for tensor in _tensors(self.result):
                    realize(tensor.storage.value)  # so that this device works while others are waited for
        except Exception as error:  # raised again by answer(), in the caller's thread
            self.error = error

    def answer(self) -> Any:
        if self.error is None:
            return self.result
        message = f"Caught {type(self.error).__name__} in replica {self.index} on device {self.place}.\n{self.error}"
        try:
            error = type(self.error)(message)
        except TypeError:  # an exception that takes other arguments
            error = RuntimeError(message)
        raise error from self.error


@contextlib.contextmanager
def _current(place: device | None) -> Iterator[None]:
    """"cuda" means this device within the block."""
    before = current_index()
    if place is not None and place.type == "cuda":
        CHOSEN.current = place.index or 0
    try:
        yield
    finally:
        CHOSEN.current = before


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tensors(item)


def data_parallel(module: Module, inputs: Any, device_ids: Places | None = None, output_device: int | str | device | None = None, dim: int = 0,
                  module_kwargs: dict | None = None, weights: Sequence[float] | None = None) -> Any:
    """``module(*inputs)`` with the batch split over the devices (all where None); the result is on ``output_device`` (the first; -1: "cpu").

    The module's parameters and buffers must be on the first device: RuntimeError names both devices otherwise.
    """
    inputs = inputs if isinstance(inputs, tuple) else () if inputs is None else (inputs,)
    places = _places(device_ids)
    if not places:
        return module(*inputs, **(module_kwargs or {}))
    _check_home(module, places[0])
    args, named = _scatter_arguments(inputs, module_kwargs or {}, places, dim, _check_weights(weights, len(places)))
    used = places[:len(args)]
    if len(places) == 1:
        return module(*args[0], **named[0])
    outputs = parallel_apply(replicate(module, used, not is_grad_enabled()), args, named, used)
    return gather(outputs, places[0] if output_device is None else output_device, dim)


def _check_home(module: Module, home: device) -> None:
    for tensor in itertools.chain(module.parameters(), module.buffers()):
        if tensor.device != home:
            raise RuntimeError(f"module must have its parameters and buffers on device {home} (device_ids[0]) but found one of them on device: "
                               f"{tensor.device}")


def measure_weights(module: Module, inputs: Any, device_ids: Places | None = None, dim: int = 0, module_kwargs: dict | None = None) -> list[float]:
    """Each device's share of a batch, by the time its forward takes for an equal part: positive numbers whose sum is 1.

    The module's buffers and the random state stay as they were. Takes four passes on each device, the first with its compilation.
    """
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    places = _places(device_ids)
    with no_grad():
        args, named = _scatter_arguments(inputs, module_kwargs or {}, places, dim, None)
        speeds = [_speed(module, *job) for job in zip(places, args, named, strict=False)]
    speeds += [min(speeds)] * (len(places) - len(speeds))  # too few rows for the others
    return [speed / sum(speeds) for speed in speeds]


def _speed(module: Module, place: device, args: Any, kwargs: dict) -> float:
    """Passes a second: the best of three after a first one."""
    replica = _replica(module, place, detach=True)
    for part in replica.modules():
        part._buffers.update((name, buffer if buffer is None else buffer.clone()) for name, buffer in part._buffers.items())
    dev = get(place.type, place.index)
    generator = default_generator(dev)
    state, seconds = generator.get_state(), []
    for _ in range(4):
        start = time.perf_counter()
        with _current(place):
            for tensor in _tensors(replica(*args, **kwargs)):
                realize(tensor.storage.value)
        dev.synchronize()
        seconds.append(time.perf_counter() - start)
    generator.set_state(state)
    return 1 / max(min(seconds[1:]), 1e-9)


class DataParallel(Module):
    """``DataParallel(module)(x)``: splits x along ``dim`` over the devices, runs a replica of the module on each, joins the results.

    ``device_ids``: the devices (indices, names or devices; all OpenCL devices where None), the first holds the module. ``output_device``: where
    results go (the first). Gradients add up in the module's own parameters; ``state_dict`` names begin with "module.", as in PyTorch.
    Beyond PyTorch: devices may differ, "cpu" may be among them, and ``weights`` gives each device's share of the batch: positive numbers, or
    "auto" to measure them with the first batch (``measure_weights``). RuntimeError where the module is not on the first device, ValueError for
    other weights.
    """

    def __init__(self, module: Module, device_ids: Places | None = None, output_device: int | str | device | None = None, dim: int = 0,
                 weights: Sequence[float] | str | None = None) -> None:
        super().__init__()
        self.module, self.dim = module, dim
        self.device_ids = _places(device_ids)
        self.weights = weights if isinstance(weights, str) and weights == "auto" else _check_weights(weights, len(self.device_ids))
        if self.device_ids:
            self.output_device = self.device_ids[0] if output_device is None else _place(output_device)
        if len(self.device_ids) == 1:
            self.module.to(self.device_ids[0])

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        if not self.device_ids:
            return self.module(*inputs, **kwargs)
        if self.weights == "auto":
            _check_home(self.module, self.device_ids[0])
            self.weights = measure_weights(self.module, inputs, self.device_ids, self.dim, kwargs)
        return data_parallel(self.module, inputs, self.device_ids, self.output_device, self.dim, kwargs, self.weights)
