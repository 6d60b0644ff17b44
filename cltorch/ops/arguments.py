"""How PyTorch lets sizes and dims be given: as separate integers, as one tuple, or by name."""
from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

from ..core.tensor import Tensor


def listed(args: Any) -> tuple[int, ...]:
    """Integers from ``(2, 3)``, ``((2, 3),)`` or ``5``. Raises TypeError for anything else."""
    if hasattr(args, "__index__"):
        return (operator.index(args),)
    if len(args) == 1 and not hasattr(args[0], "__index__"):
        args = args[0]
    return tuple([operator.index(n) for n in args])


def variadic(keyword: str) -> Callable[[Callable], Callable]:
    """Decorator for ``f(input, numbers, **options)``: callable as ``f(x, 2, 3)``, ``f(x, (2, 3))`` and ``f(x, keyword=(2, 3))``."""
    def wrap(function: Callable) -> Callable:
        @functools.wraps(function)
        def spread(input: Any, *args: Any, **options: Any) -> Any:
            if keyword in options:
                if args:
                    raise TypeError(f"{function.__name__}() got multiple values for argument '{keyword}'")
                args = (options.pop(keyword),)
            return function(input, listed(args), **options)

        return spread

    return wrap


def tensors_of(args: tuple) -> tuple:
    """Tensors given as ``f(a, b)`` or ``f([a, b])``."""
    return tuple(args[0]) if len(args) == 1 and isinstance(args[0], (list, tuple)) else args


def same_device(name: str, first: Tensor, *others: Tensor) -> None:
    """RuntimeError that names both devices where tensors of one operator are on different ones."""
    for other in others:
        if other._dev is not first._dev:
            raise RuntimeError(f"Expected all tensors to be on the same device, but found at least two devices, {first.device} and {other.device}! "
                               f"({name}: move one with .to(device))")
