"""PyTorch as the oracle: the same function runs on both libraries, and results, types and gradients are compared."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import cltorch
import cltorch.autograd
from cltorch.core.tensor import Tensor
from cltorch.ops import registry
from cltorch.testing import assert_close

torch = pytest.importorskip("torch")
DEVICE = "cuda"
ALL_TYPES = ("float32", "float64", "float16", "bfloat16", "uint8", "int8", "int16", "int32", "int64", "bool", "complex64", "complex128")
FLOAT_TYPES = ("float32", "float64", "float16", "bfloat16")


def F(library: Any) -> Any:  # noqa: N802 - its usual name
    """A library's nn.functional."""
    return SimpleNamespace(**registry.functions("functional")) if library is cltorch else torch.nn.functional


def values(shape: tuple[int, ...], dtype: str = "float32", seed: int = 0, low: float = -3, high: float = 3) -> np.ndarray:
    """Random values that the dtype holds exactly, in a type that NumPy has."""
    rng = np.random.default_rng(seed + 1000 * len(shape) + sum(shape))
    if dtype == "bool":
        return rng.random(shape) < 0.5
    if dtype.startswith("complex"):
        return (rng.integers(-8, 8, shape) / 4 + 1j * rng.integers(-8, 8, shape) / 4).astype(dtype)
    if "int" in dtype:
        return rng.integers(0 if dtype == "uint8" else int(low), int(high) + 1, shape).astype(dtype)
    exact = rng.integers(int(low * 16), int(high * 16) + 1, shape) / 16
    return exact.astype("float32" if dtype == "bfloat16" else dtype)


class Input:
    """An operand: values, the dtype, and how it lies in memory ("plain", "transposed", "sliced", "offset")."""

    def __init__(self, array: Any, dtype: str | None = None, layout: str = "plain", grad: bool = True) -> None:
        self.array = np.asarray(array)
        self.dtype = dtype or self.array.dtype.name
        self.layout, self.grad = layout, grad and (self.dtype.startswith(("float", "bfloat", "complex")))

    def on(self, library: Any) -> tuple[Any, Any]:
        """(leaf or None, operand) for a library."""
        place = {"device": DEVICE} if library is cltorch else {}
        dtype = getattr(library, self.dtype)
        array = {
            "plain": lambda a: a,
            "transposed": lambda a: a.T,
            "sliced": lambda a: np.repeat(a, 2, -1) if a.ndim else a,
            "offset": lambda a: np.concatenate([a[:1], a]) if a.ndim else a,
        }[self.layout](self.array)
        leaf = library.tensor(np.ascontiguousarray(array), dtype=dtype, **place)
        if self.grad:
            leaf.requires_grad_()
        if self.layout == "transposed" and self.array.ndim:
            return leaf, leaf.permute(*range(self.array.ndim - 1, -1, -1))
        if self.layout == "sliced" and self.array.ndim:
            return leaf, leaf[..., ::2]
        if self.layout == "offset" and self.array.ndim and self.array.shape[0]:
            return leaf, leaf[1:]
        return leaf, leaf


def flat(result: Any) -> list[Any]:
    return [v for part in result for v in flat(part)] if isinstance(result, (tuple, list)) and not hasattr(result, "numel") else [result]


def host(t: Any) -> np.ndarray:
    """Values of either library's tensor, exactly, in a type that NumPy has."""
    if isinstance(t, Tensor):
        return t.detach().numpy(force=True)
    t = t.detach().resolve_conj().resolve_neg()
    return (t.float() if t.dtype == torch.bfloat16 else t).numpy()


def compare(got: Any, want: Any, scale: float = 1.0, where: str = "") -> None:
    """Equal types, shapes and (within the dtype's tolerance) values."""
    if not hasattr(want, "numel"):
        assert got == want, where
        return
    assert str(got.dtype) == str(want.dtype), f"{where}: {got.dtype} instead of {want.dtype}"
    assert tuple(got.shape) == tuple(want.shape), f"{where}: {tuple(got.shape)} instead of {tuple(want.shape)}"
    assert_close(host(got), host(want), dtype=got.dtype, scale=scale, msg=lambda text: f"{where}: {text}")


def same(function: Callable, *inputs: Any, scale: float = 1.0, gradient: bool = True, second: bool = False) -> None:
    """Runs ``function(library, *tensors)`` on both libraries and compares results and the gradients of a weighted sum of them."""
    operands = [i if isinstance(i, Input) else Input(i) for i in inputs]
    ours, theirs = ([o.on(library) for o in operands] for library in (cltorch, torch))
    got = function(cltorch, *[t for _, t in ours])
    want = function(torch, *[t for _, t in theirs])
    outputs = list(zip(flat(got), flat(want), strict=True))
    for k, (g, w) in enumerate(outputs):
        compare(g, w, scale, f"output {k}")
    if not gradient:
        return
    tracked = [(g, w) for g, w in outputs if hasattr(w, "requires_grad") and w.requires_grad]
    for g, w in tracked:
        assert g.requires_grad and (g.grad_fn is None) == (w.grad_fn is None)
    if not tracked:
        return
    weights = [values(tuple(w.shape), str(w.dtype).removeprefix("torch."), seed=7) for _, w in tracked]
    leaves = [(a[0], b[0]) for a, b, o in zip(ours, theirs, operands, strict=True) if o.grad]
    first = _gradients(cltorch, [g for g, _ in tracked], weights, [a for a, _ in leaves], second)
    other = _gradients(torch, [w for _, w in tracked], weights, [b for _, b in leaves], second)
    for k, (g, w) in enumerate(zip(first, other, strict=True)):
        if w is None or g is None:  # no path: one library says None where the other gives zeros
            assert all(t is None or not host(t).any() for t in (g, w)), f"gradient {k}: {g} instead of {w}"
        else:
            compare(g, w, scale, f"gradient {k}")


def _gradients(library: Any, outputs: list[Any], weights: list[np.ndarray], leaves: list[Any], second: bool) -> list[Any]:
    place = {"device": DEVICE} if library is cltorch else {}
    given = [library.tensor(w, dtype=o.dtype, **place) for w, o in zip(weights, outputs, strict=True)]
    if second:
        for w in given:
            w.requires_grad_()
    grads = library.autograd.grad(outputs, leaves, given, allow_unused=True, create_graph=second)
    if not second:
        return list(grads)
    squares = [(g * g).sum() for g in grads if g is not None and g.requires_grad]
    total = squares[0]
    for s in squares[1:]:
        total = total + s
    return [*grads, *library.autograd.grad(total, [*leaves, *given], allow_unused=True)]


def raises_alike(kind: Any, function: Callable, *inputs: Any) -> None:
    """Both libraries refuse; ours with an exception of this kind (or one of these)."""
    operands = [i if isinstance(i, Input) else Input(i) for i in inputs]
    with pytest.raises(Exception):  # noqa: B017 - whatever the oracle raises
        function(torch, *[o.on(torch)[1] for o in operands])
    with pytest.raises(kind):
        result = function(cltorch, *[o.on(cltorch)[1] for o in operands])
        for t in flat(result):
            if isinstance(t, Tensor):
                t.numpy(force=True)
