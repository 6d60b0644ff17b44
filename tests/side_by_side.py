"""The same call in PyTorch and here: results, dtypes, gradients and second gradients compared, for operands of any strides."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import cltorch
import cltorch.autograd
from cltorch.core.tensor import Tensor

torch = pytest.importorskip("torch")
TOLERANCE = {"float16": 2e-3, "bfloat16": 1.6e-2, "float32": 3e-6, "float64": 1e-9, "complex64": 3e-6, "complex128": 1e-9}


def type_name(d: Any) -> str:
    return str(d).split(".")[-1]


def random(shape: tuple[int, ...], dtype: str = "float32", low: float = -2, high: float = 2, seed: int = 0) -> Any:
    """A PyTorch tensor of random numbers."""
    rng = np.random.default_rng([seed, *shape])
    if dtype == "bool":
        return torch.from_numpy(np.asarray(rng.random(shape) < 0.5))
    if dtype.startswith(("int", "uint")):
        return torch.from_numpy(np.asarray(rng.integers(max(0, low) if dtype == "uint8" else low, high + 1, shape))).to(getattr(torch, dtype))
    values = rng.uniform(low, high, shape)
    if dtype.startswith("complex"):
        values = values + 1j * rng.uniform(low, high, shape)
    return torch.from_numpy(np.asarray(values)).to(getattr(torch, dtype))


def ours(value: Any, device: Any, grad: bool = False) -> Any:
    """A PyTorch tensor or dtype (also inside tuples) as one of ours; strides stay as they are."""
    if isinstance(value, (list, tuple)):
        return type(value)(ours(v, device, grad) for v in value)
    if isinstance(value, torch.dtype):
        return getattr(cltorch, type_name(value))
    if not isinstance(value, torch.Tensor):
        return value
    d, base = getattr(cltorch, type_name(value.dtype)), value.detach()
    reach = 1 + sum((n - 1) * s for n, s in zip(base.shape, base.stride(), strict=True)) if base.numel() else 0
    flat = torch.as_strided(base, (reach,), (1,)) if reach else base.reshape(-1)
    half = value.dtype is torch.bfloat16
    memory = cltorch.tensor(np.array((flat.view(torch.int16) if half else flat).numpy()), device=device)
    memory = memory.view(cltorch.bfloat16) if half else memory
    out = cltorch.as_strided(memory, tuple(base.shape), tuple(base.stride())) if reach else memory.reshape(tuple(base.shape))
    return out.detach().requires_grad_() if grad and (d.is_floating_point or d.is_complex) else out.detach()


def host(t: Any) -> np.ndarray:
    t = t.detach()
    if isinstance(t, Tensor):
        return np.asarray(t.numpy(force=True))
    return np.asarray(t.float().numpy() if t.dtype is torch.bfloat16 else t.resolve_conj().numpy())


def close(got: Any, want: Any, tolerance: float | None = None) -> None:
    """Same structure, shapes, dtypes and (within the dtype's tolerance, relative to the largest number) values."""
    if isinstance(want, (tuple, list)):
        assert len(got) == len(want)
        for g, w in zip(got, want, strict=True):
            close(g, w, tolerance)
        return
    if not isinstance(want, torch.Tensor):
        assert got == want
        return
    name = type_name(want.dtype)
    assert got.dtype.name == name, (got.dtype, want.dtype)
    a, b = host(got), host(want)
    assert a.shape == b.shape, (a.shape, b.shape)
    limit = TOLERANCE.get(name, 0) if tolerance is None else tolerance
    finite = np.abs(b[np.isfinite(b)])
    np.testing.assert_allclose(a, b, rtol=limit, atol=limit * (float(finite.max()) if finite.size else 0), equal_nan=True)


def flat(value: Any) -> list[Any]:
    return [v for part in value for v in flat(part)] if isinstance(value, (tuple, list)) else [value]


def resolve(name: str | Callable, module: Any, space: str) -> Callable:
    if callable(name):
        return lambda *args, **kwargs: name(module, *args, **kwargs)
    for part in space.split(".") if space else ():
        module = getattr(module, part)
    return getattr(module, name)


def compare(name: str | Callable, *args: Any, device: Any, space: str = "", grad: bool = False, second: bool = False,
            tolerance: float | None = None, **kwargs: Any) -> None:
    """Calls ``torch.name`` (or ``torch.<space>.name``, or ``name(module, ...)``) on both sides and compares everything."""
    def needed(t: Any) -> bool:
        return grad and (t.is_floating_point() or t.is_complex())

    theirs = [a.detach().requires_grad_(needed(a)) if isinstance(a, torch.Tensor) else a for a in args]
    mine = [ours(a, device, grad) for a in args]
    want = resolve(name, torch, space)(*theirs, **kwargs)
    got = resolve(name, cltorch, space)(*mine, **{k: ours(v, device) for k, v in kwargs.items()})
    close(got, want, tolerance)
    if not grad:
        return
    outputs = [(g, w) for g, w in zip(flat(got), flat(want), strict=True) if isinstance(w, torch.Tensor) and w.requires_grad]
    inputs = [(a, b) for a, b in zip(flat(mine), flat(theirs), strict=True) if isinstance(b, torch.Tensor) and b.requires_grad]
    assert outputs and all(g.requires_grad for g, _ in outputs)
    chained = compare_gradients(outputs, inputs, device, second, tolerance)
    if second and chained:
        compare_gradients(chained, inputs, device, False, tolerance and 4 * tolerance)


def compare_gradients(outputs: list, inputs: list, device: Any, create: bool, tolerance: float | None) -> list:
    """Compares d(outputs) / d(inputs) under random weights; returns the pairs of gradients that can be differentiated again."""
    weights = [random(tuple(w.shape), type_name(w.dtype), 0.5, 1.5, seed=k + 1) for k, (_, w) in enumerate(outputs)]
    wanted = torch.autograd.grad([w for _, w in outputs], [b for _, b in inputs], weights, create_graph=create, allow_unused=True)
    got = cltorch.autograd.grad([g for g, _ in outputs], [a for a, _ in inputs], [ours(w, device) for w in weights], create_graph=create,
                                allow_unused=True)
    present = [(g, w) for g, w in zip(got, wanted, strict=True) if w is not None]
    close([g for g, _ in present], [w for _, w in present], tolerance and 4 * tolerance)
    return [(g, w) for g, w in present if w.requires_grad and g.requires_grad]
