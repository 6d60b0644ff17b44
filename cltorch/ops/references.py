"""NumPy forms of functions that NumPy lacks: what the declarations' ``ref`` needs. Slow and plain, for tests only."""
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np


def elementwise(function: Callable[..., float]) -> Callable[..., np.ndarray]:
    """A function of Python floats as one of arrays; NaN where it is undefined."""
    def guarded(*values: float) -> float:
        try:
            return function(*values)
        except (ValueError, OverflowError):
            return math.nan

    return np.vectorize(guarded, otypes=[np.float64])


erf = elementwise(math.erf)
erfc = elementwise(math.erfc)
lgamma = elementwise(math.lgamma)


def _erfinv(y: float) -> float:
    """Newton's method on erf, from a start in the right tail."""
    if abs(y) >= 1:
        return math.copysign(math.inf, y) if abs(y) == 1 else math.nan
    x = math.copysign(math.sqrt(-math.log1p(-abs(y))), y)
    for _ in range(60):
        x -= (math.erf(x) - y) * math.exp(x * x) * math.sqrt(math.pi) / 2
    return x


def _hurwitz(s: float, q: float) -> float:
    """sum over k >= 0 of (q + k) ** -s: a few terms, then Euler-Maclaurin."""
    if s == 1:
        return math.inf
    if s < 1 or q <= 0:
        return math.nan
    total = sum((q + k) ** -s for k in range(12))
    a = q + 12
    total += a ** (1 - s) / (s - 1) + a ** -s / 2
    rising, power = s, a ** (-s - 1)
    for k, bernoulli in enumerate((1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730), 1):
        total += bernoulli * rising * power / math.factorial(2 * k)
        rising *= (s + 2 * k - 1) * (s + 2 * k)
        power /= a * a
    return total


def _digamma(x: float) -> float:
    """Reflection for the left half, recurrence up to 12, then the asymptotic series."""
    if x == 0:
        return math.copysign(math.inf, -math.copysign(1, x))
    if x < 0:
        return math.nan if x == math.floor(x) else _digamma(1 - x) - math.pi / math.tan(math.pi * x)
    total = 0.0
    while x < 12:
        total -= 1 / x
        x += 1
    inverse = 1 / (x * x)
    tail = inverse * (1 / 12 - inverse * (1 / 120 - inverse * (1 / 252 - inverse * (1 / 240 - inverse / 132))))
    return total + math.log(x) - 0.5 / x - tail


erfinv = elementwise(_erfinv)
digamma = elementwise(_digamma)
zeta = elementwise(_hurwitz)


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-np.asarray(x)))


def softplus(x: Any) -> Any:
    return np.logaddexp(0, x)


def normal_cdf(x: Any) -> Any:
    return 0.5 * erfc(-np.asarray(x, np.float64) / math.sqrt(2))


def real_sign(x: Any) -> Any:
    """-1, 0 or 1; 0 for NaN, as PyTorch has it on CPUs."""
    x = np.asarray(x)
    return ((x > 0).astype(np.int8) - (x < 0).astype(np.int8)).astype(x.dtype)


def trunc_divide(a: Any, b: Any) -> Any:
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype.kind in "fc" or b.dtype.kind in "fc":
        return np.trunc(a / b)
    return real_sign(a) * real_sign(b) * (abs(a) // abs(b))


def integer_power(base: Any, exponent: Any) -> Any:
    """NumPy's power, and for integers with a negative exponent the truncated quotient 1 / base ** -exponent."""
    base, exponent = np.asarray(base), np.asarray(exponent)
    if base.dtype.kind in "fc" or exponent.dtype.kind in "fc":
        return np.power(base, exponent)
    positive = np.power(base.astype(np.int64), abs(exponent.astype(np.int64)))
    inverse = np.where(base == 1, 1, np.where(base == -1, positive, 0))
    return np.where(exponent < 0, inverse, positive)


def _bessel(order: int, x: float) -> float:
    """The modified Bessel function of the first kind by its power series (|x| < 30)."""
    term = total = (x / 2) ** order
    for k in range(1, 80):
        term *= x * x / 4 / (k * (k + order))
        total += term
    return total


i0 = elementwise(lambda x: _bessel(0, x))
i1 = elementwise(lambda x: _bessel(1, x))
