"""Parameter and Buffer: tensors that a Module registers when they are assigned to it."""
from __future__ import annotations

from typing import Any

from ..core.data import tensor
from ..core.tensor import Tensor


class _Owned(Tensor):
    """A tensor over another one's memory, of a class of its own. Results of operators on it are plain tensors."""

    def __new__(cls, data: Tensor | None = None, *args: Any, **kwargs: Any) -> Any:
        made = object.__new__(cls)
        made.data = tensor([]) if data is None else data.detach()
        return made


class Parameter(_Owned):
    """A tensor that a Module trains: ``Parameter(data, requires_grad=True)``. Shares ``data``'s memory, is a leaf."""

    def __init__(self, data: Tensor | None = None, requires_grad: bool = True) -> None:
        self.requires_grad = requires_grad

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()


class Buffer(_Owned):
    """A tensor that becomes a Module's buffer when assigned to it: ``Buffer(data, persistent=True)``."""

    def __init__(self, data: Tensor | None = None, *, persistent: bool = True) -> None:
        self.persistent = persistent
