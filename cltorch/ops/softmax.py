"""Softmax and log-softmax along any dim, with kernels of their own for both directions."""
from __future__ import annotations

import math
import warnings
from functools import partial
from typing import Any

import numpy as np

from ..core import dispatch
from ..core.tensor import TYPE_NAMES, Tensor
from ..dtype import dtype
from ..shape import normalize_dim
from .complexes import CORE
from .reduction import amax
from .reduction_form import summing
from .registry import FLOATING, composite, kernel_op, write_out
from .unary import exp, log

LONG = 1 << 16  # elements of a row from which few rows are cut among work-items


def _launch(stage: str, logarithm: bool, inputs: list[Tensor], dim: int, out: dtype) -> Tensor:
    """The kernel over contiguous forms of the inputs: x, and for the gradient the result too."""
    x, dev = inputs[0].contiguous(), inputs[0]._dev
    dispatch.numel_32("softmax", x)
    result = dispatch.empty(x.shape, out, dev)
    if not x.numel():
        return result
    shape = x.shape or (1,)
    n, inner = shape[dim], math.prod(shape[dim + 1:])
    outer = x.numel() // (n * inner)
    groups, local, threads = _plan(dev, outer, n, inner)
    kind, source = dispatch.source(x)
    kernel = dispatch.kernel(dev, "norm/softmax", stage=stage, log=logarithm, dtype=kind, out=out, acc=summing(out), columns=inner > 1, WG=local[0])
    arguments: list[Any] = [dispatch.buffer(result), *source, x.offset]
    others = [t.contiguous() for t in inputs[1:]]
    for t in others:
        arguments += (dispatch.buffer(t), t.offset)
    kernel(groups, local, *arguments, outer, n, inner, threads)
    return result


def _plan(dev: Any, outer: int, n: int, inner: int) -> tuple[tuple[int], tuple[int], int]:
    """Global size, local size, work-items a row."""
    if dev.strategy == "wide":
        tasks = outer * -(-inner // dispatch.tuned(dev, "norm/softmax")["TILE"])
        return (min(dispatch.groups(dev, outer * n * inner * 4)[0][0], tasks),), (1,), 1
    width = dispatch.work_group(dev, "norm/softmax")
    threads = min(width, 1 << max(-(-n // 4) - 1, 0).bit_length()) if inner == 1 else 1
    return (min(-(-outer * inner * threads // width), dev.compute_units * 64) * width,), (width,), threads


def _forward(logarithm: bool, input: Tensor, dim: int, wanted: dtype | None) -> Tensor:
    out = wanted or input.dtype
    d = normalize_dim(dim, input.ndim)
    n = input.shape[d] if input.shape else 1
    if n >= LONG and input.numel() // n < dispatch.groups(input._dev, input.numel())[0][0]:
        return _of_few_long_rows(logarithm, input, d, out)
    return _launch("forward", logarithm, [input], d, out)


def _of_few_long_rows(logarithm: bool, input: Tensor, dim: int, out: dtype) -> Tensor:
    """By reductions, which cut a row among work-items."""
    x = input.to(summing(out))
    shifted = x - amax(x, dim, True)
    total = exp(shifted).sum(dim, True)
    return (shifted - log(total) if logarithm else exp(shifted) / total).to(out)


# gradients: kernels whose own gradients are written with tensors


def _backward(logarithm: bool, value: Tensor, result: Tensor, dim: int) -> Tensor:
    return _launch("backward", logarithm, [value.to(result.dtype), result], normalize_dim(dim, result.ndim), result.dtype)


_softmax_gradient = kernel_op(
    "softmax_gradient(value, result, dim)", dtypes=FLOATING, forward=partial(_backward, False),
    grad=dict(value=lambda g, result, dim: _softmax_gradient(g, result, dim),
              result=lambda g, value, result, dim: g * (value - (value * result).sum(dim, True)) - value * (g * result).sum(dim, True)), **CORE)

_log_softmax_gradient = kernel_op(
    "log_softmax_gradient(value, result, dim)", dtypes=FLOATING, forward=partial(_backward, True),
    grad=dict(value=lambda g, result, dim: g - (g * exp(result)).sum(dim, True),
              result=lambda g, value, result, dim: -g * exp(result) * value.sum(dim, True)), **CORE)

_softmax = kernel_op(
    "softmax(input, dim, dtype)", dtypes=FLOATING, forward=partial(_forward, False),
    grad=dict(input=lambda g, out, dim: _softmax_gradient(g, out, dim)), **CORE)

_log_softmax = kernel_op(
    "log_softmax(input, dim, dtype)", dtypes=FLOATING, forward=partial(_forward, True),
    grad=dict(input=lambda g, out, dim: _log_softmax_gradient(g, out, dim)), **CORE)


# the public functions


def _samples(make):
    return [((make(3, 4), 0), {}), ((make(3, 4), -1), {}), ((make(2, 3, 4), 1), {}), ((make(), 0), {})]


def _reference(x, dim):
    e = np.exp(x - x.max(dim, keepdims=True)) if x.ndim else np.ones(())
    return e / e.sum(dim, keepdims=True) if x.ndim else e


def _implicit_dim(name: str, rank: int, level: int) -> int:
    warnings.warn(f"Implicit dimension choice for {name} has been deprecated. Change the call to include dim=X as an argument.", stacklevel=level + 1)
    return 0 if rank in (0, 1, 3) else 1


def _declare(name: str, operator: Any, reference: Any, meaning: str) -> tuple[Any, Any]:
    """The function of torch (and method), and that of nn.functional, whose dim may be missing."""
    def apply(input: Tensor, dim: int, wanted: dtype | None) -> Tensor:
        if wanted is not None and not input.dtype.is_floating_point:
            input = input.to(wanted)
        if not input.dtype.is_floating_point:
            raise NotImplementedError(f"{name}: not implemented for '{TYPE_NAMES[input.dtype.name]}'; give a floating dtype=")
        return operator(input, dim, wanted)

    @composite(name, namespace="torch,special", method=True, dtypes=FLOATING, samples=_samples, ref=reference)
    def function(input, dim, dtype=None, *, out=None):
        result = apply(input, dim, dtype)
        return result if out is None else write_out(result, out)

    @composite(name, namespace="functional", dtypes=FLOATING, samples=_samples, ref=reference)
    def functional(input, dim=None, _stacklevel=3, dtype=None):
        return apply(input, _implicit_dim(name, input.ndim, _stacklevel) if dim is None else dim, dtype)

    for f in (function, functional):
        f.__name__ = f.__qualname__ = name
        f.__doc__ = f"{meaning} along ``dim``, computed in ``dtype`` if given. Shape: any, kept."
    return function, functional


softmax, functional_softmax = _declare("softmax", _softmax, _reference, "exp(x) / sum(exp(x))")
log_softmax, functional_log_softmax = _declare("log_softmax", _log_softmax, lambda x, dim: np.log(_reference(x, dim)), "x - log(sum(exp(x)))")
