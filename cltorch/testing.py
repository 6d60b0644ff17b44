"""Comparing tensors, checking gradients, making inputs. The tolerances by dtype live here and nowhere else.

Source: https://docs.pytorch.org/docs/stable/testing.html
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .core.data import tensor
from .core.tensor import Tensor
from .dtype import bfloat16, complex64, complex128, decode, dtype, encode, float16, float32, float64, from_numpy_dtype
from .gradient_check import GradcheckError, gradcheck, gradgradcheck
from .utils.data.seeding import host_rng

TOLERANCES: dict[dtype, tuple[float, float]] = {  # rtol, atol: PyTorch's; every other type is compared exactly
    float16: (1e-3, 1e-5),
    bfloat16: (1.6e-2, 1e-5),
    float32: (1.3e-6, 1e-5),
    float64: (1e-7, 1e-7),
    complex64: (1.3e-6, 1e-5),
    complex128: (1e-7, 1e-7),
}


class _Rules(NamedTuple):
    rtol: float | None
    atol: float | None
    dtype: dtype | None
    scale: float
    equal_nan: bool
    check_device: bool
    check_dtype: bool
    check_stride: bool
    msg: str | Callable[[str], str] | None


def assert_close(actual: Any, expected: Any, rtol: float | None = None, atol: float | None = None, dtype: dtype | None = None, *,
                 scale: float = 1.0, equal_nan: bool | None = None, check_device: bool = True, check_dtype: bool = True,
                 check_layout: bool = True, check_stride: bool = False, allow_subclasses: bool = True,
                 msg: str | Callable[[str], str] | None = None) -> None:
    """Raises AssertionError unless |actual - expected| <= atol + rtol * |expected| everywhere, with equal shapes, dtypes and devices.

    Takes tensors, NumPy arrays, numbers, and sequences and mappings of them. Differs from PyTorch: ``expected`` may be of another of these
    kinds than ``actual`` (then only shape and values count); ``dtype`` is the type whose tolerance holds when ``expected`` is a more
    exact reference (NaN then equals NaN); ``scale`` widens the tolerance by a factor.
    """
    if (rtol is None) != (atol is None):
        raise ValueError(f"assert_close: give both rtol and atol or neither, got rtol={rtol} and atol={atol}")
    rules = _Rules(rtol, atol, dtype, scale, dtype is not None if equal_nan is None else equal_nan, check_device, check_dtype, check_stride, msg)
    _compare(actual, expected, rules, "")


def _compare(actual: Any, expected: Any, rules: _Rules, where: str) -> None:
    if isinstance(actual, Mapping) and isinstance(expected, Mapping):
        if set(actual) != set(expected):
            _fail(f"The keys of the mappings do not match: {sorted(map(str, actual))} != {sorted(map(str, expected))}", where, rules)
        for key in actual:
            _compare(actual[key], expected[key], rules, f"{where}[{key!r}]")
    elif _is_sequence(actual) and _is_sequence(expected):
        if len(actual) != len(expected):
            _fail(f"The length of the sequences do not match: {len(actual)} != {len(expected)}", where, rules)
        for i, pair in enumerate(zip(actual, expected, strict=True)):
            _compare(*pair, rules, f"{where}[{i}]")
    elif actual is None or expected is None:
        if actual is not expected:
            _fail(f"None mismatch: {actual} is not {expected}", where, rules)
    else:
        _compare_values(actual, expected, rules, where)


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _fail(text: str, where: str, rules: _Rules) -> None:
    if where:
        text += f"\n\nThe failure occurred for item {where}"
    if callable(rules.msg):
        text = rules.msg(text)
    raise AssertionError(rules.msg if isinstance(rules.msg, str) else text)


def _host(value: Any) -> tuple[np.ndarray, dtype | None]:
    """The numbers of a value, and their type (None for a Python number, which takes any)."""
    if isinstance(value, Tensor):
        return decode(value.detach()._host(), value.dtype), value.dtype
    if isinstance(value, (bool, int, float, complex)):
        return np.asarray(value), None
    try:
        array = np.asarray(value)
        return array, from_numpy_dtype(array.dtype)
    except (TypeError, ValueError) as error:
        raise TypeError(f"assert_close: can't compare a {type(value).__name__}: {error}") from error


def _check_attributes(actual: Any, expected: Any, rules: _Rules, where: str) -> None:
    if not (isinstance(actual, Tensor) and isinstance(expected, Tensor)):
        return
    for name, wanted in (("device", rules.check_device), ("dtype", rules.check_dtype and rules.dtype is None), ("stride", rules.check_stride)):
        a, e = (getattr(t, name)() if name == "stride" else getattr(t, name) for t in (actual, expected))
        if wanted and a != e:
            _fail(f"The values for attribute '{name}' do not match: {a} != {e}.", where, rules)


def _tolerance(rules: _Rules, a_type: dtype | None, e_type: dtype | None) -> tuple[float, float]:
    if rules.rtol is not None and rules.atol is not None:
        return rules.rtol, rules.atol
    exact = a_type is not None and not (a_type.is_floating_point or a_type.is_complex)
    if rules.dtype is not None:
        types = [] if exact else [rules.dtype, a_type]
    else:
        types = [a_type, e_type] if a_type or e_type else [float64]
    found = [TOLERANCES.get(t, (0.0, 0.0)) for t in types if t is not None] or [(0.0, 0.0)]
    return max(r for r, _ in found) * rules.scale, max(a for _, a in found) * rules.scale


def _compare_values(actual: Any, expected: Any, rules: _Rules, where: str) -> None:
    a, a_type = _host(actual)
    e, e_type = _host(expected)
    if a.shape != e.shape:
        _fail(f"The values for attribute 'shape' do not match: {list(a.shape)} != {list(e.shape)}.", where, rules)
    _check_attributes(actual, expected, rules, where)
    rtol, atol = _tolerance(rules, a_type, e_type)
    if rules.dtype is not None and a_type is not None:  # the reference as the tested type can hold it: overflow to inf, wrap-around
        with np.errstate(all="ignore"):
            e = decode(encode(e, a_type), a_type)
    text = _difference(a, e, rtol, atol, rules.equal_nan)
    if text:
        _fail(text, where, rules)


def _wide(x: np.ndarray) -> np.ndarray:
    return x.astype({"c": np.complex128, "f": np.float64}.get(x.dtype.kind, x.dtype if x.dtype == np.uint64 else np.int64))


def _difference(a: np.ndarray, e: np.ndarray, rtol: float, atol: float, equal_nan: bool) -> str:
    """What is wrong, empty if nothing."""
    a, e = _wide(a), _wide(e)
    with np.errstate(all="ignore"):
        error = np.abs(a - e)
        close = (a == e) | (error <= atol + rtol * np.abs(e)) & np.isfinite(a) & np.isfinite(e)
        if equal_nan:
            close |= np.isnan(a) & np.isnan(e)
        if close.all():
            return ""
        relative = error / np.abs(e)
    if a.ndim == 0:
        return (f"Scalars are not close!\n\nExpected {e.item()} but got {a.item()}.\n"
                f"Absolute difference: {error.item()} (up to {atol} allowed)\nRelative difference: {relative.item()} (up to {rtol} allowed)")
    wrong = a.size - int(close.sum())
    lines = [f"Mismatched elements: {wrong} / {a.size} ({wrong / a.size:.1%})"]
    for name, values, limit in (("absolute", error, atol), ("relative", relative, rtol)):
        at = tuple(int(i) for i in np.unravel_index(np.argmax(np.where(close, -1.0, np.nan_to_num(values, nan=np.inf))), values.shape))
        lines.append(f"Greatest {name} difference: {values[at]} at index {at} (up to {limit} allowed): {a[at]} where {e[at]} was expected")
    return "Tensor-likes are not close!\n\n" + "\n".join(lines)


def make_tensor(*shape: Any, dtype: dtype, device: Any = None, low: float | None = None, high: float | None = None,
                requires_grad: bool = False, noncontiguous: bool = False, exclude_zero: bool = False) -> Tensor:
    """A tensor of uniform random numbers in [low, high): by default [-9, 9), [0, 10) for uint8 and [0, 2) for bool.

    Drawn on the host from the default generator: equal on every device, not PyTorch's numbers. ValueError where low is not below high.
    """
    sizes = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], Sequence) else shape
    default_low, default_high = (0, 2) if dtype.name == "bool" else (0, 10) if not dtype.is_signed else (-9, 9)
    first, last = default_low if low is None else low, default_high if high is None else high
    if not first < last:
        raise ValueError(f"make_tensor: low must be below high, got low={first} and high={last}")
    doubled = (*sizes[:-1], 2 * sizes[-1]) if noncontiguous and sizes else sizes
    values = _draw(doubled, dtype, first, last)
    if exclude_zero:
        values = np.where(values == 0, 1 if dtype.category < 2 else np.finfo(np.float32).tiny if dtype is not float16 else 2.0 ** -14, values)
    out = tensor(np.asarray(values), dtype=dtype, device=device)
    if noncontiguous and sizes:
        out = out[..., ::2]
    return out.requires_grad_() if requires_grad else out


def _draw(shape: tuple[int, ...], d: dtype, low: float, high: float) -> np.ndarray:
    rng = host_rng(None)
    if d.is_complex:
        return rng.uniform(low, high, shape) + 1j * rng.uniform(low, high, shape)
    if d.is_floating_point:
        return rng.uniform(low, high, shape)
    return rng.integers(int(np.ceil(low)), int(np.ceil(high)), shape)


__all__ = ["TOLERANCES", "GradcheckError", "assert_close", "gradcheck", "gradgradcheck", "make_tensor"]
