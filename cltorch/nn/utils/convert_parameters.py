"""Parameters as one vector, and back."""
from __future__ import annotations

from collections.abc import Iterable

from ...core.tensor import Tensor
from ...ops import registry

cat = registry.functions("torch")["cat"]


def _one_device(parameters: list[Tensor]) -> list[Tensor]:
    devices = {str(p.device) for p in parameters}
    if len(devices) > 1:
        raise TypeError(f"Found two parameters on different devices, this is currently not supported: {sorted(devices)}")
    return parameters


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All parameters flattened behind one another. TypeError where they are on different devices."""
    return cat([p.reshape(-1) for p in _one_device(list(parameters))])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Makes slices of ``vec`` the data of the parameters, in order. TypeError where ``vec`` is no tensor."""
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected torch.Tensor, but got: {type(vec).__name__}")
    start = 0
    for p in _one_device(list(parameters)):
        p.data = vec[start:start + p.numel()].view_as(p).data
        start += p.numel()
