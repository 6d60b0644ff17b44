"""How exact the function library is: errors in units in the last place against NumPy or mpmath, over the whole range of the type.

Ours (float32 in strategy wide) keeps the limit its comment states. Where a function is the driver's the limit is OpenCL's own
(section 7.4 of the OpenCL 1.2 specification), never less than ours.
"""
from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from function_runner import BOTH, Functions

mpmath = pytest.importorskip("mpmath")

Span = tuple[float, float]
ALL_BITS: Span = (math.nan, math.nan)  # every bit pattern is as likely
EDGES = [0.0, -0.0, math.inf, -math.inf, math.nan, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 1e-45, -1e-45, 1e-40, 1.1754944e-38, 3.4028235e38,
         -3.4028235e38, 88.7, 89.0, 89.4, -87.3, -103.9, -104.0, 1e-10, 0.25, 1.5, 1e5, 1e10, 8388609.0, 16777216.0]


class Case(NamedTuple):
    """``ours``: the limit of our float32 code; ``driver``: OpenCL's limit of the built-in, 0 where we never call it."""

    name: str
    spans: tuple[Span, ...]
    ours: float
    driver: float
    numpy: Callable | None = None
    mp: Callable | None = None
    edges: bool = True
    call: str = "{name}_{s}(x)"


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -x))


def _mp_sigmoid(x: object) -> object:
    return 1 / (1 + mpmath.exp(-x))


def _softplus(x: object) -> object:
    return x + mpmath.log1p(mpmath.exp(-x)) if x > 0 else mpmath.log1p(mpmath.exp(x))


def _sinc(x: object) -> object:
    return mpmath.sinpi(x) / (mpmath.pi * x) if x else 1


def _erfcx(x: object) -> object:
    return mpmath.exp(x * x) * mpmath.erfc(x)


CASES = [
    Case("exp", (ALL_BITS, (-104, 89), (-1, 1)), 1, 3, np.exp, mpmath.exp),
    Case("exp2", (ALL_BITS, (-151, 129), (-1, 1)), 1, 3, np.exp2, lambda x: mpmath.mpf(2) ** x),
    Case("expm1", (ALL_BITS, (-20, 89), (-1.2, 1.2)), 1.5, 3, np.expm1, mpmath.expm1),
    Case("log", (ALL_BITS, (0, 4), (0.7, 1.5), (0, 1e-37)), 1, 3, np.log, mpmath.log),
    Case("log2", (ALL_BITS, (0, 4), (0.7, 1.5)), 2, 3, np.log2, lambda x: mpmath.log(x, 2)),
    Case("log10", (ALL_BITS, (0, 4), (0.7, 1.5)), 2, 3, np.log10, mpmath.log10),
    Case("log1p", (ALL_BITS, (-1, 4), (-0.4, 0.5)), 1, 2, np.log1p, mpmath.log1p),
    Case("sigmoid", (ALL_BITS, (-100, 20), (-2, 2)), 2.5, 6, _sigmoid, _mp_sigmoid),
    Case("softplus", (ALL_BITS, (-100, 20), (-2, 2)), 2, 6, lambda x: np.logaddexp(0, x), _softplus),
    Case("logsigmoid", (ALL_BITS, (-100, 20), (-2, 2)), 2, 6, lambda x: -np.logaddexp(0, -x), lambda x: -_softplus(-x)),
    Case("mish", ((-80, 80), (-2, 2)), 4, 12, None, lambda x: x * mpmath.tanh(_softplus(x)), edges=False),
    Case("tanh", (ALL_BITS, (-10, 10), (-1, 1)), 2, 5, np.tanh, mpmath.tanh),
    Case("sinh", (ALL_BITS, (-90, 90), (-2, 2)), 2.5, 4, np.sinh, mpmath.sinh),
    Case("cosh", (ALL_BITS, (-90, 90), (-2, 2)), 2, 4, np.cosh, mpmath.cosh),
    Case("asinh", (ALL_BITS, (-90, 90), (-2, 2)), 2, 4, np.arcsinh, mpmath.asinh),
    Case("acosh", (ALL_BITS, (1, 90), (1, 1.01)), 2.5, 4, np.arccosh, mpmath.acosh),
    Case("atanh", (ALL_BITS, (-1, 1), (-0.6, 0.6)), 2, 5, np.arctanh, mpmath.atanh),
    Case("sin", (ALL_BITS, (-10, 10), (-1e3, 1e3), (-1e6, 1e6)), 2, 4, np.sin, mpmath.sin),
    Case("cos", (ALL_BITS, (-10, 10), (-1e3, 1e3), (-1e6, 1e6)), 2, 4, np.cos, mpmath.cos),
    Case("tan", (ALL_BITS, (-10, 10), (-1e3, 1e3), (-1e6, 1e6)), 3, 5, np.tan, mpmath.tan),
    Case("sinc", ((-0.9, 0.9), (0.01, 0.1)), 3, 6, np.sinc, _sinc, edges=False),
    Case("asin", (ALL_BITS, (-1, 1), (0.45, 0.55)), 2, 4, np.arcsin, mpmath.asin),
    Case("acos", (ALL_BITS, (-1, 1), (0.45, 0.55), (0.99, 1)), 2, 4, np.arccos, mpmath.acos),
    Case("atan", (ALL_BITS, (-1, 1), (-10, 10)), 2, 5, np.arctan, mpmath.atan),
    Case("sqrt", (ALL_BITS, (0, 4)), 0.5, 3, np.sqrt, mpmath.sqrt),
    Case("rsqrt", (ALL_BITS, (0, 4)), 2, 4, lambda x: 1 / np.sqrt(x), lambda x: 1 / mpmath.sqrt(x)),
    Case("cbrt", (ALL_BITS, (-10, 10), (0, 1e-38)), 1, 2, np.cbrt, lambda x: math.copysign(1, x) * mpmath.cbrt(abs(x))),
    Case("erf", ((-4, 4), (-1, 1)), 2, 16, None, mpmath.erf),
    Case("gelu", ((0, 14), (0, 1)), 2, 0, None, lambda x: x * mpmath.ncdf(x), edges=False),
    Case("gelu_slope", ((0, 14), (0, 1)), 2, 0, None, lambda x: mpmath.ncdf(x) + x * mpmath.npdf(x), edges=False),
    Case("erfc", ((-4, 10.2), (-1, 1)), 4, 16, None, mpmath.erfc),
    Case("erfcx", ((-3, 10), (10, 1e5)), 16, 0, None, _erfcx, edges=False),
    Case("erfinv", ((-1, 1), (0.999, 1)), 3, 5, None, mpmath.erfinv, edges=False),
    Case("lgamma", ((0.01, 3), (3, 100)), 8, 8, None, mpmath.loggamma, edges=False),
    Case("trigamma", ((0.01, 100),), 4, 0, None, lambda x: mpmath.psi(1, x), edges=False),
    Case("i0", ((-60, 60),), 16, 0, None, lambda x: mpmath.besseli(0, x), edges=False),
    Case("i0e", ((-60, 60),), 16, 0, None, lambda x: mpmath.besseli(0, x) * mpmath.exp(-abs(x)), edges=False),
    Case("i1", ((-60, 60),), 16, 0, None, lambda x: mpmath.besseli(1, x), edges=False),
    Case("i1e", ((-60, 60),), 16, 0, None, lambda x: mpmath.besseli(1, x) * mpmath.exp(-abs(x)), edges=False),
    Case("zeta", ((0.01, 100),), 8, 0, None, lambda x: mpmath.zeta(mpmath.mpf(2.5), x), edges=False, call="zeta_{s}(2.5f, x)"),
    Case("ndtri", ((0.001, 0.999), (0, 1e-30)), 8, 0, None, lambda x: mpmath.sqrt(2) * mpmath.erfinv(2 * x - 1), edges=False),
    Case("log_ndtr", ((-30, -1),), 8, 0, None, lambda x: mpmath.log(mpmath.ncdf(x)), edges=False),
]
NAMES = [case.name for case in CASES]
OURS_IN_GRID = {case.name for case in CASES if case.driver == 0 or case.name == "erfinv"}


def _sample(case: Case, dtype: type, count: int) -> np.ndarray:
    rng = np.random.default_rng(zlib.crc32(case.name.encode()))
    bits = np.uint32 if dtype is np.float32 else np.uint64
    parts = []
    for low, high in case.spans:
        if math.isnan(low):
            parts.append(rng.integers(0, np.iinfo(bits).max, count, dtype=bits, endpoint=True).view(dtype))
        else:
            parts.append(rng.uniform(low, high, count).astype(dtype))
    return np.concatenate([*parts, np.array(EDGES if case.edges else [], dtype)])


def _ulps(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """Distance of ``got`` from the more exact ``want`` in spacings of got's type at the result; equal after rounding is 0 off."""
    with np.errstate(all="ignore"):
        rounded = want.astype(got.dtype)
        spacing = np.spacing(np.minimum(np.abs(rounded), np.nextafter(np.finfo(got.dtype).max, 0)))
        error = np.abs(got.astype(want.dtype) - want) / spacing.astype(want.dtype)
    same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
    return np.where(np.isfinite(error), error, np.where(same, 0, np.inf)).astype(np.float64)


def _mp_reference(function: Callable, x: np.ndarray, kind: type) -> np.ndarray:
    with mpmath.workprec(200):
        values = [function(mpmath.mpf(float(v))) for v in x]
        return np.array([float(v) if kind is np.float64 else np.longdouble(mpmath.nstr(v, 25)) for v in values])


def _report(case: Case, x: np.ndarray, got: np.ndarray, want: np.ndarray, limit: float, keeps_subnormals: bool) -> None:
    error = _ulps(got, want)
    if not keeps_subnormals:
        tiny = np.finfo(got.dtype).tiny
        error[(np.abs(want) < 2 * tiny) | (np.abs(x) < tiny)] = 0
    worst = int(error.argmax())
    assert error[worst] <= limit, (f"{case.name}({x[worst]!r}) is {got[worst]!r}, {want[worst]!r} was expected: {error[worst]:.2f} ulp, "
                                   f"the limit is {limit}; {(error > limit).sum()} of {error.size} are beyond it")


@pytest.fixture(scope="module", params=BOTH)
def single(request: pytest.FixtureRequest, device: object) -> Functions:
    return Functions(device, {c.name: c.call.format(name=c.name, s="f32") for c in CASES}, ("float32",), "float32", request.param)


@pytest.fixture(scope="module", params=BOTH)
def double(request: pytest.FixtureRequest, device: object) -> Functions:
    return Functions(device, {c.name: c.call.format(name=c.name, s="f64") for c in CASES}, ("float64",), "float64", request.param)


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_float32(case: Case, single: Functions) -> None:
    x = _sample(case, np.float32, 4000 if case.numpy else 150)
    with np.errstate(all="ignore"):
        want = case.numpy(x.astype(np.float64)) if case.numpy else _mp_reference(case.mp, x[np.isfinite(x)], np.float64)
    x = x if case.numpy else x[np.isfinite(x)]
    limit = case.ours if single.wide or case.name in OURS_IN_GRID else max(case.ours, case.driver)
    _report(case, x, single(case.name, x), want, limit, keeps_subnormals=single.wide or single.dev.kind == "CPU")


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_float64(case: Case, double: Functions) -> None:
    spans = tuple(span for span in case.spans if not math.isnan(span[0]))
    x = _sample(case._replace(spans=spans, edges=False), np.float64, 60)
    want = _mp_reference(case.mp, x, np.longdouble)
    _report(case, x, double(case.name, x), want, max(case.ours, case.driver, 5), keeps_subnormals=True)


EDGE_NAMES = ("exp", "exp2", "expm1", "log", "log1p", "tanh", "sigmoid", "sqrt")


@pytest.mark.parametrize("name", EDGE_NAMES)
def test_float64_at_the_edges(name: str, double: Functions) -> None:
    """Overflow, subnormal results, infinities, NaN and the poles."""
    case = CASES[NAMES.index(name)]
    x = np.array([*EDGES, 5e-324, -5e-324, 1e-310, 1.7976931348623157e308, 709.78, 709.79, -708.4, -744.4, -745.13, -745.2, 1023.9, 1024, -1074,
                  -1075.1, 1e-17, -1e-17, 3e-9, 22.5, 1e300])
    with np.errstate(all="ignore"):
        want = case.numpy(x)
    _report(case, x, double(name, x), want, 4, keeps_subnormals=True)


PAIRS = {
    "pow": (np.power, (((0, 10), (-20, 20)), ((0.9, 1.1), (-700, 700)), ((-10, 10), (-3, 3)), ((0, 1e-38), (-1.5, 1.5)), (ALL_BITS, ALL_BITS)), 3, 16),
    "atan2": (np.arctan2, (((-1, 1), (-1, 1)), ((-10, 10), (-1, 1)), (ALL_BITS, ALL_BITS)), 3, 6),
    "hypot": (np.hypot, (((-1, 1), (-1, 1)), ((0, 1e-38), (0, 1e-38)), ((0, 2e38), (0, 2e38)), (ALL_BITS, ALL_BITS)), 2, 4),
    "fmod": (np.fmod, (((-100, 100), (-3, 3)), (ALL_BITS, ALL_BITS)), 0, 0),
    "log_add_exp": (np.logaddexp, (((-100, 100), (-100, 100)), ((0, 3), (0, 3))), 2, 6),
}


@pytest.fixture(scope="module", params=BOTH)
def pairs(request: pytest.FixtureRequest, device: object) -> Functions:
    return Functions(device, {name: f"{name}_f32(x, y)" for name in PAIRS}, ("float32", "float32"), "float32", request.param)


@pytest.mark.parametrize("name", PAIRS)
def test_two_arguments(name: str, pairs: Functions) -> None:
    reference, spans, ours, driver = PAIRS[name]
    case = Case(name, (), ours, driver)
    first = [_sample(case._replace(spans=(span[0],), edges=False), np.float32, 4000) for span in spans]
    second = [_sample(case._replace(spans=(span[1],), edges=False, name=name + "2"), np.float32, 4000) for span in spans]
    grid = np.meshgrid(np.array(EDGES, np.float32), np.array(EDGES, np.float32))
    x, y = (np.concatenate([*parts, edges.ravel()]) for parts, edges in zip((first, second), grid, strict=True))
    with np.errstate(all="ignore"):
        want = reference(x.astype(np.float64), y.astype(np.float64))
    on_cpu = pairs.wide or pairs.dev.kind == "CPU"
    keep = slice(None) if on_cpu else (np.abs(x) >= np.finfo(np.float32).tiny) & (np.abs(y) >= np.finfo(np.float32).tiny)
    _report(case, x[keep], pairs(name, x[keep], y[keep]), want[keep], ours if pairs.wide else max(ours, driver), on_cpu)
