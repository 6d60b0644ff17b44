"""gradcheck and gradgradcheck: gradients by backward against central differences of the function itself.

Source: https://docs.pytorch.org/docs/stable/generated/torch.autograd.gradcheck.gradcheck.html
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from .core.autograd import grad
from .core.data import tensor
from .core.modes import enable_grad, no_grad
from .core.tensor import Tensor
from .dtype import complex64, complex128, dtype, float32, float64
from .utils.data.seeding import host_rng

_STEPS = {float64: (1e-6, 1e-5, 1e-3), float32: (5e-3, 5e-3, 2e-2)}  # eps, atol, rtol: a step must stand out from rounding
_STEPS.update({complex128: _STEPS[float64], complex64: _STEPS[float32]})


class GradcheckError(RuntimeError):
    """The gradient of backward is not the function's slope."""


class _Limits(NamedTuple):
    eps: float
    atol: float
    rtol: float
    nondet_tol: float


def _outputs(function: Callable, inputs: Sequence[Any]) -> list[Tensor]:
    """The differentiable outputs."""
    result = function(*inputs)
    listed = result if isinstance(result, (tuple, list)) else (result,)
    return [o for o in listed if isinstance(o, Tensor) and (o.dtype.is_floating_point or o.dtype.is_complex)]


def _checked_inputs(inputs: Any) -> tuple[list[Any], list[int], dtype]:
    listed = list(inputs) if isinstance(inputs, (tuple, list)) else [inputs]
    chosen = [i for i, x in enumerate(listed) if isinstance(x, Tensor) and x.requires_grad]
    if not chosen:
        raise ValueError("gradcheck expects at least one input tensor to require gradient, but none of them have requires_grad=True.")
    for i in chosen:
        if listed[i].dtype not in _STEPS:
            raise ValueError(f"gradcheck: input {i} is {listed[i].dtype}; differences need float64 (or float32, less sharply)")
        if not listed[i].is_leaf:
            listed[i].retain_grad()
    kinds = {listed[i].dtype for i in chosen}
    return listed, chosen, float32 if kinds & {float32, complex64} else float64


def _at(inputs: list[Any], i: int, values: np.ndarray) -> list[Any]:
    """The inputs with other values in place of the i-th; the same kind of leaf."""
    moved = tensor(values, dtype=inputs[i].dtype, device=inputs[i].device)
    return [*inputs[:i], moved, *inputs[i + 1:]]


def _evaluate(function: Callable, inputs: list[Any]) -> list[np.ndarray]:
    with no_grad():
        return [o.detach()._host().copy() for o in _outputs(function, inputs)]


def _units(t: Tensor) -> Iterator[tuple[int, complex]]:
    """Every direction in which a tensor can move: (flat index, 1 or 1j)."""
    directions = (1.0, 1j) if t.dtype.is_complex else (1.0,)
    return ((k, d) for k in range(t.numel()) for d in directions)


def _numerical(function: Callable, inputs: list[Any], i: int, eps: float) -> list[np.ndarray]:
    """Per output the matrix of slopes: a row per real number of the input, a column per real number of the output."""
    base = inputs[i].detach()._host()
    rows: list[list[np.ndarray]] = []
    for k, direction in _units(inputs[i]):
        ends = []
        for sign in (1, -1):
            values = base.copy()
            values.reshape(-1)[k] += (sign * eps * direction) if inputs[i].dtype.is_complex else sign * eps
            ends.append(_evaluate(function, _at(inputs, i, values)))
        rows.append([_as_reals((up - down) / (2 * eps)) for up, down in zip(*ends, strict=True)])
    return [np.stack(column) for column in zip(*rows, strict=True)]


def _as_reals(values: np.ndarray) -> np.ndarray:
    flat = np.ascontiguousarray(values).reshape(-1)
    return flat.view(flat.real.dtype) if flat.dtype.kind == "c" else flat


def _one_hot(t: Tensor, k: int, direction: complex) -> Tensor:
    seed = np.zeros(t.shape, t.dtype.np)
    seed.reshape(-1)[k] = direction if t.dtype.is_complex else 1
    return tensor(seed, dtype=t.dtype, device=t.device)


def _backward(output: Tensor, wanted: list[Tensor], seed: Tensor) -> list[np.ndarray]:
    if not output.requires_grad:
        return [np.zeros(x.shape, x.dtype.np) for x in wanted]
    found = grad([output], wanted, [seed], retain_graph=True, allow_unused=True)
    return [np.zeros(x.shape, x.dtype.np) if g is None else g.detach()._host() for g, x in zip(found, wanted, strict=True)]


def _analytical(output: Tensor, wanted: list[Tensor], nondet_tol: float) -> list[np.ndarray]:
    """Per input the matrix of slopes by backward, in the layout of ``_numerical``."""
    columns: list[list[np.ndarray]] = []
    for k, direction in _units(output):
        seed = _one_hot(output, k, direction)
        found, again = (_backward(output, wanted, seed) for _ in range(2))
        for a, b in zip(found, again, strict=True):
            if a.shape != b.shape or np.abs(a - b).max(initial=0) > nondet_tol:
                raise GradcheckError("Backward is not reentrant: the same graph and gradient gave different results in two runs. "
                                     "Give nondet_tol= if that is expected.")
        columns.append([_as_reals(g) for g in found])
    if not columns:
        return [np.zeros((len(list(_units(x))), 0)) for x in wanted]
    return [np.stack(rows, 1) for rows in zip(*columns, strict=True)]


def _check_shapes(wanted: list[Tensor], grads: list[np.ndarray]) -> None:
    for i, (x, g) in enumerate(zip(wanted, grads, strict=True)):
        if tuple(x.shape) != g.shape:
            raise GradcheckError(f"backward gave input {i} a gradient of shape {g.shape}; its own is {tuple(x.shape)}")


def _compare(numerical: np.ndarray, analytical: np.ndarray, limits: _Limits, what: str) -> None:
    if not np.allclose(analytical, numerical, limits.rtol, limits.atol):
        worst = np.abs(analytical - numerical).max()
        raise GradcheckError(f"Jacobian mismatch for {what}: they differ by up to {worst:g} (allowed: atol {limits.atol:g}, rtol {limits.rtol:g})\n"
                             f"numerical:\n{numerical}\nanalytical:\n{analytical}\n")


def _slow(function: Callable, inputs: list[Any], chosen: list[int], limits: _Limits) -> None:
    outputs, wanted = _outputs(function, inputs), [inputs[i] for i in chosen]
    analytical = [_analytical(o, wanted, limits.nondet_tol) for o in outputs]
    for position, i in enumerate(chosen):
        if inputs[i].numel() == 0:
            continue
        for j, slopes in enumerate(_numerical(function, inputs, i, limits.eps)):
            _compare(slopes, analytical[j][position], limits, f"output {j} with respect to input {i}")


def _direction(t: Tensor, rng: np.random.Generator) -> np.ndarray:
    values = rng.standard_normal(t.shape)
    if t.dtype.is_complex:
        values = values + 1j * rng.standard_normal(t.shape)
    return np.asarray(values / max(1.0, np.sqrt(np.sum(np.abs(values) ** 2))), t.dtype.np)


def _fast(function: Callable, inputs: list[Any], chosen: list[int], limits: _Limits) -> None:
    """One random direction of each input against one random weighting of each output."""
    rng, outputs, wanted = host_rng(None), _outputs(function, inputs), [inputs[i] for i in chosen]
    weights = [_direction(o, rng) for o in outputs]
    grads = [_backward(o, wanted, tensor(w, dtype=o.dtype, device=o.device)) for o, w in zip(outputs, weights, strict=True)]
    for found in grads:
        _check_shapes(wanted, found)
    for position, i in enumerate(chosen):
        step, base = _direction(inputs[i], rng), inputs[i].detach()._host()
        up, down = (_evaluate(function, _at(inputs, i, np.asarray(base + sign * limits.eps * step, base.dtype))) for sign in (1, -1))
        for j, weight in enumerate(weights):
            slope = np.vdot(weight, (up[j] - down[j]) / (2 * limits.eps)).real
            _compare(np.asarray(slope), np.asarray(np.vdot(grads[j][position], step).real), limits, f"output {j} with respect to input {i}")


def gradcheck(func: Callable[..., Any], inputs: Tensor | Sequence[Any], *, eps: float | None = None, atol: float | None = None,
              rtol: float | None = None, raise_exception: bool = True, nondet_tol: float = 0.0, fast_mode: bool = False) -> bool:
    """Whether backward through ``func`` agrees with central differences for every input that requires a gradient.

    Use float64 inputs where the device has them; float32 is checked with a coarser step and tolerances (the defaults follow the type).
    Raises GradcheckError, or gives False with ``raise_exception=False``. PyTorch's forward-mode and batched checks don't exist here.
    """
    listed, chosen, kind = _checked_inputs(inputs)
    given = [default if value is None else value for value, default in zip((eps, atol, rtol), _STEPS[kind], strict=True)]
    try:
        (_fast if fast_mode else _slow)(func, listed, chosen, _Limits(*given, nondet_tol))
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def gradgradcheck(func: Callable[..., Any], inputs: Tensor | Sequence[Any], grad_outputs: Tensor | Sequence[Tensor] | None = None, *,
                  eps: float | None = None, atol: float | None = None, rtol: float | None = None, raise_exception: bool = True,
                  nondet_tol: float = 0.0, fast_mode: bool = False) -> bool:
    """``gradcheck`` of the gradient of ``func``: second derivatives. Random ``grad_outputs`` unless given."""
    listed, chosen, _ = _checked_inputs(inputs)
    if grad_outputs is None:
        rng = host_rng(None)
        seeds = [tensor(_direction(o, rng), dtype=o.dtype, device=o.device, requires_grad=True) for o in _outputs(func, listed)]
    else:
        seeds = list(grad_outputs) if isinstance(grad_outputs, (tuple, list)) else [grad_outputs]

    def first_gradient(*args: Any) -> tuple[Tensor, ...]:
        own, weights = list(args[:len(listed)]), list(args[len(listed):])
        for i in chosen:
            own[i] = own[i].detach().requires_grad_() if not own[i].requires_grad else own[i]
        outputs = _outputs(func, own)
        found = grad(outputs, [own[i] for i in chosen], weights, create_graph=True, allow_unused=True)
        return tuple(g for g in found if g is not None)

    return gradcheck(enable_grad()(first_gradient), [*listed, *seeds], eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception,
                     nondet_tol=nondet_tol, fast_mode=fast_mode)
