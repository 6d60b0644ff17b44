"""Creation: constants, ranges, identity matrices, uninitialised memory, and the new_* and *_like forms.

Constants are pending fills, so that they fuse into what uses them. On a "cpu" without any OpenCL implementation the same tensors
are made through NumPy, so that they can still be printed, saved and moved.
"""
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import dtype as dtypes
from ..core import dispatch
from ..core.data import as_tensor, check_dtype, resolve, tensor
from ..core.pointwise import constant, wrap_int
from ..core.tensor import Tensor, alias
from ..core.view import as_strided
from ..dtype import bool_, dtype, encode, float32, float64, get_default_dtype, int64, of_number
from ..runtime.device import Device
from ..shape import Size, as_shape, contiguous_strides
from . import geometry
from .registry import composite, write_out

creation = {"differentiable": False}


def finish(t: Tensor, out: Tensor | None, requires_grad: bool) -> Tensor:
    """Puts a new tensor into ``out`` where given, and makes it a leaf."""
    if out is not None:
        t = write_out(t, out)
    if requires_grad:
        t.requires_grad = True
    return t


def filled(shape: tuple[int, ...], value: Any, d: dtype, dev: Device) -> Tensor:
    """A constant; through host memory where nothing can compute."""
    if dev.cl_device is None:
        number = wrap_int(int(value), d) if d.is_integral else value
        return dispatch.from_host(np.full(shape, encode(np.asarray(number), d)), d, dev)
    return constant(shape, value, d, dev)


def _shape(size: tuple, named: Any) -> Size:
    return as_shape(size if named is None else (named,))


def _constants(name: str, value: int) -> Callable:
    def function(*args: Any, size: Any = None, out: Tensor | None = None, dtype: dtype | None = None, layout: Any = None, device: Any = None,
                 pin_memory: bool = False, requires_grad: bool = False) -> Tensor:
        dev = resolve(device) if out is None or device is not None else out._dev
        d = check_dtype(dtype) or (out.dtype if out is not None else get_default_dtype())
        return finish(filled(_shape(args, size), value, d, dev), out, requires_grad)

    function.__name__, function.__doc__ = name, f"A tensor filled with {value}; sizes as integers or one tuple; of the default type unless given."
    return composite(name, **creation)(function)


zeros, ones = _constants("zeros", 0), _constants("ones", 1)


@composite("full", **creation)
def full(size: Any, fill_value: Any, *, out: Tensor | None = None, dtype: dtype | None = None, layout: Any = None, device: Any = None,
         pin_memory: bool = False, requires_grad: bool = False) -> Tensor:
    """A tensor of one number, of the number's type unless given. RuntimeError for an integer that the type can't hold."""
    if isinstance(fill_value, Tensor):
        d, fill_value = check_dtype(dtype) or fill_value.dtype, fill_value.item()
    else:
        d = check_dtype(dtype) or (out.dtype if out is not None else of_number(fill_value))
    return finish(filled(as_shape((size,)), _fitting(fill_value, d), d, resolve(device)), out, requires_grad)


def _fitting(value: Any, d: dtype) -> Any:
    if d.is_integral and isinstance(value, int) and wrap_int(int(value), d) != int(value) and not (int(value) < 0 and not d.is_signed):
        raise RuntimeError(f"value cannot be converted to type {d.name} without overflow: {value}")
    return value


@composite("empty", **creation)
def empty(*args: Any, size: Any = None, out: Tensor | None = None, dtype: dtype | None = None, layout: Any = None, device: Any = None,
          requires_grad: bool = False, pin_memory: bool = False, memory_format: Any = None) -> Tensor:
    """Uninitialised memory. memory_format is accepted and always row-major."""
    return finish(dispatch.empty(_shape(args, size), check_dtype(dtype) or get_default_dtype(), resolve(device)), out, requires_grad)


@composite("empty_strided", **creation)
def empty_strided(size: Any, stride: Any, *, dtype: dtype | None = None, layout: Any = None, device: Any = None, requires_grad: bool = False,
                  pin_memory: bool = False) -> Tensor:
    """Uninitialised memory with given strides."""
    shape, strides = as_shape((size,)), tuple(stride)
    reach = 0 if 0 in shape else 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    flat = dispatch.empty((reach,), check_dtype(dtype) or get_default_dtype(), resolve(device))
    return finish(as_strided(flat, shape, strides, 0), None, requires_grad)


# the like and new forms


def _like(name: str, value: int) -> Callable:
    def function(input: Tensor, *, dtype: dtype | None = None, layout: Any = None, device: Any = None, requires_grad: bool = False,
                 pin_memory: bool = False, memory_format: Any = None) -> Tensor:
        dev = input._dev if device is None else resolve(device)
        return finish(filled(input.shape, value, check_dtype(dtype) or input.dtype, dev), None, requires_grad)

    function.__name__, function.__doc__ = name, f"A tensor of the input's shape, type and device, filled with {value}; contiguous."
    return composite(name, **creation)(function)


zeros_like, ones_like = _like("zeros_like", 0), _like("ones_like", 1)


@composite("full_like", **creation)
def full_like(input: Tensor, fill_value: Any, *, dtype: dtype | None = None, layout: Any = None, device: Any = None, requires_grad: bool = False,
              pin_memory: bool = False, memory_format: Any = None) -> Tensor:
    """A tensor of the input's shape, type and device, filled with one number; contiguous."""
    return full(input.shape, fill_value, dtype=dtype or input.dtype, device=input._dev if device is None else device, requires_grad=requires_grad)


@composite("empty_like", **creation)
def empty_like(input: Tensor, *, dtype: dtype | None = None, layout: Any = None, device: Any = None, requires_grad: bool = False,
               pin_memory: bool = False, memory_format: Any = None) -> Tensor:
    """Uninitialised memory of the input's shape, type and device; contiguous."""
    return empty(input.shape, dtype=dtype or input.dtype, device=input._dev if device is None else device, requires_grad=requires_grad)


def _new(name: str, make: Callable) -> Callable:
    def method(self: Tensor, *args: Any, size: Any = None, dtype: dtype | None = None, device: Any = None, requires_grad: bool = False,
               layout: Any = None, pin_memory: bool = False) -> Tensor:
        return make(_shape(args, size), dtype=dtype or self.dtype, device=self._dev if device is None else device, requires_grad=requires_grad)

    method.__name__, method.__doc__ = name, "A new tensor with this tensor's type and device unless given."
    return composite(name, namespace="tensor", method=True, **creation)(method)


new_zeros, new_ones, new_empty = _new("new_zeros", zeros), _new("new_ones", ones), _new("new_empty", empty)


@composite("new_full", namespace="tensor", method=True, **creation)
def new_full(self: Tensor, size: Any, fill_value: Any, *, dtype: dtype | None = None, device: Any = None, requires_grad: bool = False,
             layout: Any = None, pin_memory: bool = False) -> Tensor:
    """A new tensor of one number, with this tensor's type and device unless given."""
    return full(size, fill_value, dtype=dtype or self.dtype, device=self._dev if device is None else device, requires_grad=requires_grad)


@composite("new_tensor", namespace="tensor", method=True, **creation)
def new_tensor(self: Tensor, data: Any, *, dtype: dtype | None = None, device: Any = None, requires_grad: bool = False, layout: Any = None,
               pin_memory: bool = False) -> Tensor:
    """A copy of data with this tensor's type and device unless given."""
    place = self._dev if device is None else device
    if isinstance(data, Tensor):
        return finish(data.detach().to(dtype=dtype or self.dtype, device=place, copy=True), None, requires_grad)
    return tensor(data, dtype=dtype or self.dtype, device=place, requires_grad=requires_grad)


@composite("scalar_tensor", **creation)
def scalar_tensor(s: Any, *, dtype: dtype | None = None, layout: Any = None, device: Any = None, pin_memory: bool = False,
                  requires_grad: bool = False) -> Tensor:
    """A 0-d tensor, of the default type unless given."""
    return full((), s, dtype=dtype or get_default_dtype(), device=device, requires_grad=requires_grad)


@composite("asarray", **creation)
def asarray(obj: Any, *, dtype: dtype | None = None, device: Any = None, copy: bool | None = None, requires_grad: bool = False) -> Tensor:
    """Anything tensor-like as a tensor, sharing memory where it can unless copy is true; ValueError where copy=False can't hold."""
    out = as_tensor(obj, dtype, device)
    if copy:
        out = out.detach().clone()
    elif copy is False and not isinstance(obj, (Tensor, np.ndarray)):
        raise ValueError(f"can't alias arbitrary sequence or type {type(obj).__name__}; use copy=None")
    return finish(out, None, True) if requires_grad else out


# ranges


def _number(value: Any) -> Any:
    return value.item() if isinstance(value, (Tensor, np.generic)) else value


def sequence(n: int, half_way: int, start: float, end: float, step: float, d: dtype, dev: Device) -> Tensor:
    """start + i * step up to half_way, end - (n - 1 - i) * step from there, in a floating type."""
    if n == 0 or dev.cl_device is None:
        i = np.arange(n)
        return dispatch.from_host(encode(np.where(i < half_way, start + i * step, end - (n - 1 - i) * step), d), d, dev)
    out = dispatch.empty((n,), d, dev)
    numbers = (start, end, step) if d is float64 else (*_pair(start), *_pair(end), *_pair(step))
    kernel = dispatch.kernel(dev, "creation/sequence", dtype=d, work=float64 if d is float64 else float32)
    kernel(*dispatch.groups(dev, n), dispatch.buffer(out), n, half_way, *numbers)
    return out


def _pair(number: float) -> tuple[float, float]:
    """A double as the sum of two floats: what the first leaves, in the second (none where the first is infinite)."""
    with np.errstate(over="ignore"):
        high = float(np.float32(number))
    return high, number - high if math.isfinite(high) else 0.0


def integers(n: int, start: int, change: int, parts: int, d: dtype, dev: Device) -> Tensor:
    """start + i * change / parts, rounded towards zero, in an integer type: exact."""
    step, rest = divmod(change, parts)
    if n == 0 or dev.cl_device is None:
        i = np.arange(n)
        whole, more = np.divmod(i * rest, parts)
        values = start + i * step + whole
        return dispatch.from_host(encode(values + ((values < 0) & (more != 0)), d), d, dev)
    out = dispatch.empty((n,), d, dev)
    dispatch.kernel(dev, "creation/integers", dtype=d)(*dispatch.groups(dev, n), dispatch.buffer(out), n, start, step, rest, parts)
    return out


@composite("arange", **creation)
def arange(*args: Any, start: Any = None, end: Any = None, step: Any = None, out: Tensor | None = None, dtype: dtype | None = None, layout: Any = None,
           device: Any = None, pin_memory: bool = False, requires_grad: bool = False) -> Tensor:
    """Numbers from start (0) up to, not including, end, by step (1): int64 when all are integers, else the default type.

    Raises RuntimeError for a step of 0 or of the wrong sign. Values are as good as computed in double precision and rounded, on every device.
    """
    given = (None, *args) if len(args) == 1 else args
    first, last, by = (_number(p if p is not None else k) for p, k in zip((*given, None, None, None)[:3], (start, end, step), strict=True))
    first, by = 0 if first is None else first, 1 if by is None else by
    if last is None:
        raise TypeError("arange() needs an end")
    if by == 0:
        raise RuntimeError("step must be nonzero")
    if (last - first) * by < 0:
        raise RuntimeError(f"upper bound and lower bound inconsistent with step sign: start {first}, end {last}, step {by}")
    whole = all(isinstance(v, int) for v in (first, last, by))
    if not whole and not all(math.isfinite(v) for v in (first, last)):
        raise RuntimeError(f"unsupported range: {first} -> {last}")
    d = check_dtype(dtype) or (out.dtype if out is not None else int64 if whole else get_default_dtype())
    if d.is_complex or d is bool_:
        raise NotImplementedError(f"\"arange\" not implemented for {d}")
    n = -((first - last) // by) if whole else math.ceil((last - first) / by)
    dev = resolve(device)
    made = integers(max(n, 0), int(first), int(by), 1, d, dev) if d.is_integral else sequence(max(n, 0), n, float(first), 0.0, float(by), d, dev)
    return finish(made, out, requires_grad)


@composite("range", **creation)
def inclusive_range(start: Any = 0, end: Any = None, step: Any = 1, **options: Any) -> Tensor:
    """Like arange, end included, of the default type (deprecated in PyTorch)."""
    options["dtype"] = options.get("dtype") or get_default_dtype()
    n = math.floor((end - start) / step) + 1
    return arange(start, start + step * (n - 0.5), step, **options)


def _steps(steps: int, name: str) -> int:
    if steps < 0:
        raise RuntimeError(f"number of steps must be non-negative, got {steps} ({name})")
    return steps


def _linear(start: Any, end: Any, steps: int, d: dtype, dev: Device) -> Tensor:
    if d.is_complex or isinstance(start, complex) or isinstance(end, complex):
        part = d.to_real
        ramp = _linear(0.0, 1.0, steps, part, dev)
        return ramp.to(d) * (end - start) + start
    if d.is_integral:
        return integers(steps, int(start), int(end) - int(start), max(steps - 1, 1), d, dev)
    step = (end - start) / (steps - 1) if steps > 1 else 0.0
    return sequence(steps, (steps + 1) // 2 if steps > 1 else 1, float(start), float(end), float(step), d, dev)


@composite("linspace", **creation)
def linspace(start: Any, end: Any, steps: int, *, out: Tensor | None = None, dtype: dtype | None = None, layout: Any = None, device: Any = None,
             pin_memory: bool = False, requires_grad: bool = False) -> Tensor:
    """``steps`` evenly spaced numbers from start to end, both included. RuntimeError for a negative number of steps.

    In an integer type exact and rounded towards zero, where PyTorch steps in double precision: ``linspace(0, 2, 99, dtype=int64)[49]`` is 1, not 0.
    """
    first, last = _number(start), _number(end)
    d = check_dtype(dtype) or (out.dtype if out is not None else _spaced_dtype(first, last))
    return finish(_linear(first, last, _steps(steps, "linspace"), d, resolve(device)), out, requires_grad)


def _spaced_dtype(first: Any, last: Any) -> dtype:
    return dtypes.default_complex() if isinstance(first, complex) or isinstance(last, complex) else get_default_dtype()


@composite("logspace", **creation)
def logspace(start: Any, end: Any, steps: int, base: float = 10.0, *, out: Tensor | None = None, dtype: dtype | None = None, layout: Any = None,
             device: Any = None, pin_memory: bool = False, requires_grad: bool = False) -> Tensor:
    """base to the power of ``steps`` evenly spaced exponents from start to end, both included."""
    first, last, dev = _number(start), _number(end), resolve(device)
    d = check_dtype(dtype) or (out.dtype if out is not None else _spaced_dtype(first, last))
    work = d if d.is_complex else float64 if dev.has_fp64 else float32
    powers = base ** _linear(first, last, _steps(steps, "logspace"), work, dev)
    return finish(powers.to(d), out, requires_grad)


# matrices


@composite("eye", **creation)
def eye(n: int, m: int | None = None, *, out: Tensor | None = None, dtype: dtype | None = None, layout: Any = None, device: Any = None,
        pin_memory: bool = False, requires_grad: bool = False) -> Tensor:
    """An n x m (n x n) matrix with ones on the diagonal. RuntimeError for negative sizes."""
    shape = as_shape((n, n if m is None else m))
    d, dev = check_dtype(dtype) or (out.dtype if out is not None else get_default_dtype()), resolve(device)
    if dev.cl_device is None:
        return finish(dispatch.from_host(encode(np.eye(*shape), d), d, dev), out, requires_grad)
    made = filled(shape, 0, d, dev)
    window = geometry.diagonal(shape, contiguous_strides(shape), 0)
    if shape.numel():
        dispatch.assign(alias(made, *window), constant(window[0], 1, d, dev))
    return finish(made, out, requires_grad)


def _triangle(name: str, indices: Callable) -> Callable:
    def function(row: int, col: int, offset: int = 0, *, dtype: dtype = int64, device: Any = None, layout: Any = None) -> Tensor:
        shape = as_shape((row, col))
        return dispatch.from_host(np.stack(indices(shape[0], offset, shape[1])).astype(dtype.np), dtype, resolve(device))

    function.__name__, function.__doc__ = name, "Row and column numbers of a triangle's elements, as a 2 x n tensor; made on the host."
    return composite(name, **creation)(function)


tril_indices, triu_indices = _triangle("tril_indices", np.tril_indices), _triangle("triu_indices", np.triu_indices)
