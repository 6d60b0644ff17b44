"""Thread-local gradient modes."""
from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any


class _Modes(threading.local):
    grad = True
    inference = False
    anomaly = False


modes = _Modes()


class _Switch:
    """A context manager and decorator that sets one mode and restores it."""

    def __init__(self, **settings: bool) -> None:
        self._settings = settings
        self._saved: list[dict[str, bool]] = []

    def __enter__(self) -> None:
        self._saved.append({name: getattr(modes, name) for name in self._settings})
        modes.__dict__.update(self._settings)

    def __exit__(self, *exc: object) -> None:
        modes.__dict__.update(self._saved.pop())

    def __call__(self, function: Callable) -> Callable:
        settings = self._settings

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with _Switch(**settings):
                return function(*args, **kwargs)

        return wrapped


def _decorates(switch: type) -> type:
    """Lets ``@no_grad`` stand without brackets, as PyTorch does."""
    def new(cls: type, *args: Any, **kwargs: Any) -> Any:
        if cls.__name__ in ("no_grad", "enable_grad", "inference_mode") and len(args) == 1 and callable(args[0]):
            return cls()(args[0])
        return object.__new__(cls)

    setattr(switch, "__new__", new)  # noqa: B010 - an assignment would need the overloads of object.__new__
    return switch


@_decorates
class no_grad(_Switch):  # noqa: N801 - PyTorch's name
    """Operators inside record no gradient. Context manager and decorator."""

    def __init__(self) -> None:
        super().__init__(grad=False)


@_decorates
class enable_grad(_Switch):  # noqa: N801 - PyTorch's name
    """Operators inside record gradients, also within ``no_grad``. Context manager and decorator."""

    def __init__(self) -> None:
        super().__init__(grad=True)


@_decorates
class inference_mode(_Switch):  # noqa: N801 - PyTorch's name
    """As ``no_grad``; its tensors are ordinary ones here, so they may be used in autograd later (PyTorch forbids that)."""

    def __init__(self, mode: bool = True) -> None:
        super().__init__(grad=not mode, inference=mode)


class set_grad_enabled(_Switch):  # noqa: N801 - PyTorch's name
    """Sets the gradient mode at once, as a function call; as a context manager it also restores the mode."""

    def __init__(self, mode: bool) -> None:
        super().__init__(grad=bool(mode))
        self._before = modes.grad
        modes.grad = bool(mode)

    def __enter__(self) -> None:
        self._saved.append({"grad": self._before})
        modes.grad = self._settings["grad"]

    def __call__(self, function: Callable) -> Callable:
        modes.grad = self._before
        return super().__call__(function)


def is_grad_enabled() -> bool:
    return modes.grad


def is_inference_mode_enabled() -> bool:
    return modes.inference
