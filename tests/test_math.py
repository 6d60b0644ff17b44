"""What the function library means where it isn't a matter of digits: conversions, integers, division, NaN, complex numbers, random words."""
from __future__ import annotations

import math
import zlib

import numpy as np
import pytest
from function_runner import BOTH, Functions, run

import cltorch
from cltorch.codegen import ctype

INTEGERS = {"i8": "int8", "i16": "int16", "i32": "int32", "i64": "int64", "u8": "uint8"}
SPECIAL = np.array([0.0, -0.0, 1.5, -1.5, 2.5, -0.5, 7, -7, np.inf, -np.inf, np.nan, 1e-40, -3e38], np.float32)


def _whole(name: str, count: int = 400) -> np.ndarray:
    limits = np.iinfo(name)
    edges = [limits.min, limits.max, 0, 1, 2, 3, 5, 7, *([-1, -2, -3, -7] if limits.min else [])]
    rng = np.random.default_rng(3)
    return np.concatenate([np.array(edges), rng.integers(limits.min, limits.max, count, endpoint=True, dtype=name)]).astype(name)


def _all_pairs(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.meshgrid(values, values)
    return x.ravel(), y.ravel()


# -- halves and casts -----------------------------------------------------------------------------------------------------


def _bfloat(x: np.ndarray) -> np.ndarray:
    bits = x.view(np.uint32).astype(np.uint64)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(x), np.uint16(0x7FC0), rounded)


@pytest.mark.parametrize("wide", BOTH)
def test_every_half_is_loaded_exactly(device: cltorch.device, wide: bool) -> None:
    bits = np.arange(65536, dtype=np.uint16)
    got = Functions(device, {"load": "x"}, ("float16",), "float32", wide)("load", bits.view(np.float16))
    np.testing.assert_array_equal(got, bits.view(np.float16).astype(np.float32))
    got = Functions(device, {"load": "x"}, ("bfloat16",), "float32", wide)("load", bits)
    np.testing.assert_array_equal(got, (bits.astype(np.uint32) << 16).view(np.float32))


@pytest.mark.parametrize("wide", BOTH)
def test_halves_are_rounded_to_nearest_even(device: cltorch.device, wide: bool) -> None:
    rng = np.random.default_rng(1)
    ties = (np.arange(65536, dtype=np.uint32) << 13).view(np.float32) * np.float32(2.0) ** -112  # every tie between halves, subnormals too
    x = np.concatenate([rng.integers(0, 2**32, 20000, dtype=np.uint32).view(np.float32), ties, SPECIAL,
                        np.array([65504, 65519.99, 65520, 65536, 2.9802322e-8, 2.98023242e-8], np.float32)])
    x = x[np.isnan(x) | np.isinf(x) | (np.abs(x) >= np.finfo(np.float32).tiny)]
    with np.errstate(over="ignore"):
        want = x.astype(np.float16)
    got = Functions(device, {"store": "x"}, ("float32",), "float16", wide)("store", x)
    np.testing.assert_array_equal(got, want)
    got = Functions(device, {"store": "x"}, ("float32",), "bfloat16", wide)("store", x)
    np.testing.assert_array_equal(got, _bfloat(x))
    half = ctype("float16")
    np.testing.assert_array_equal(run(device, half.round("x"), x, wide=wide), want.astype(np.float32))


@pytest.mark.parametrize("target", INTEGERS.values())
def test_float_to_integer_truncates_and_is_defined_outside(device: cltorch.device, target: str) -> None:
    t, source = ctype(target), ctype("float32")
    limits = np.iinfo(target)
    inside = np.array([0.0, -0.9, 0.9, 1.5, 99.99, min(limits.max, 1e6)], np.float32)
    got = run(device, t.cast(source, "x"), inside, out=target)
    np.testing.assert_array_equal(got, np.trunc(inside).astype(target))
    lowest = limits.min if target in ("int32", "int64") else 0
    outside = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30], np.float32)
    np.testing.assert_array_equal(run(device, t.cast(source, "x"), outside, out=target), np.full(5, lowest, target))


def test_casts_wrap_and_truth_is_not_zero(device: cltorch.device) -> None:
    x = np.array([300, -129, 65536, -1, 0], np.int32)
    assert run(device, ctype("uint8").cast(ctype("int32"), "x"), x, dtype="int32", out="uint8").tolist() == [44, 127, 0, 255, 0]
    truth = run(device, ctype("bool").cast(ctype("float32"), "x"), SPECIAL, out="bool")
    assert truth.tolist() == [v != 0 for v in SPECIAL.tolist()]
    z = np.array([0, 1j, 2, complex(0, math.nan)], np.complex64)
    assert run(device, ctype("bool").cast(ctype("complex64"), "x"), z, dtype="complex64", out="bool").tolist() == [False, True, True, True]


# -- integers -------------------------------------------------------------------------------------------------------------


def _python(function, x: np.ndarray, y: np.ndarray) -> list[int]:
    limits = np.iinfo(x.dtype)
    span = int(limits.max) - int(limits.min) + 1
    return [(function(int(a), int(b)) - int(limits.min)) % span + int(limits.min) for a, b in zip(x, y, strict=True)]


def _trunc_divide(a: int, b: int) -> int:
    return 0 if b == 0 else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def _power(a: int, b: int) -> int:
    if b >= 0:
        return pow(a, b, 1 << 64)
    return 1 if a == 1 else (-1 if b % 2 else 1) if a == -1 else 0


WHOLE = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "max": max, "min": min,
    "floor_divide": lambda a, b: a // b if b else 0, "remainder": lambda a, b: a % b if b else a, "trunc_divide": _trunc_divide,
    "fmod": lambda a, b: a - _trunc_divide(a, b) * b, "gcd": math.gcd, "lcm": math.lcm, "pow": _power,
}


@pytest.fixture(scope="module", params=INTEGERS)
def whole(request: pytest.FixtureRequest, device: cltorch.device) -> tuple[str, Functions, np.ndarray, np.ndarray]:
    name = INTEGERS[request.param]
    functions = Functions(device, {f: f"{f}_{request.param}(x, y)" for f in (*WHOLE, "shift_left", "shift_right")}, (name, name), name, True)
    return name, functions, *_all_pairs(_whole(name, 30))


@pytest.mark.parametrize("function", WHOLE)
def test_integers_follow_python_modulo_their_width(function: str, whole: tuple) -> None:
    _, functions, x, y = whole
    assert functions(function, x, y).tolist() == _python(WHOLE[function], x, y)


def test_shifts_beyond_the_width_empty_the_number(whole: tuple) -> None:
    name, functions, x, _ = whole
    bits = np.iinfo(name).bits
    for by in (0, 1, bits - 1, bits, bits + 3, *([-1] if np.iinfo(name).min else [])):
        y = np.full_like(x, by)
        inside = 0 <= by < bits
        assert functions("shift_left", x, y).tolist() == _python(lambda a, b, inside=inside: a << b if inside else 0, x, y)
        assert functions("shift_right", x, y).tolist() == [int(a) >> (by if inside else bits) for a in x]


@pytest.mark.parametrize("suffix", INTEGERS)
def test_one_integer(device: cltorch.device, suffix: str) -> None:
    name = INTEGERS[suffix]
    x = _whole(name)
    wanted = {"neg": lambda a, b: -a, "abs": lambda a, b: abs(a), "sign": lambda a, b: (a > 0) - (a < 0),
              "popcount": lambda a, b: (a & (2 ** np.iinfo(name).bits - 1)).bit_count(), "floor": lambda a, b: a}
    functions = Functions(device, {f: f"{f}_{suffix}(x)" for f in wanted}, (name,), name, True)
    for function, reference in wanted.items():
        assert functions(function, x).tolist() == _python(reference, x, x), function


# -- floats: NaN, signs, division -----------------------------------------------------------------------------------------


def _same(got: np.ndarray, want: np.ndarray) -> None:
    """Equal, NaN to NaN, and zeros of the same sign."""
    np.testing.assert_array_equal(got, want)
    zero = (want == 0) & (np.abs(want) == 0)
    np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(want[zero]))


@pytest.mark.parametrize("wide", BOTH)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pairs_of_floats(device: cltorch.device, dtype: str, wide: bool) -> None:
    torch = pytest.importorskip("torch")
    s = ctype(dtype).s
    names = {"max": "maximum", "min": "minimum", "fmax": "fmax", "fmin": "fmin", "fmod": "fmod", "remainder": "remainder",
             "floor_divide": "floor_divide", "copysign": "copysign", "heaviside": "heaviside", "xlogy": "xlogy", "nextafter": "nextafter"}
    values = np.concatenate([SPECIAL[:-2], np.array([3, -3, 1e10, 0.1, -0.1, 5e-3])]).astype(dtype)
    x, y = _all_pairs(values)
    functions = Functions(device, {f: f"{f}_{s}(x, y)" for f in names}, (dtype, dtype), dtype, wide)
    for function, name in names.items():
        want = getattr(torch, name)(torch.tensor(x), torch.tensor(y)).numpy()
        got = functions(function, x, y)
        if function == "xlogy":
            np.testing.assert_allclose(got, want, rtol=1e-6)
        else:
            np.testing.assert_array_equal(got, want, err_msg=function)


@pytest.mark.parametrize("wide", BOTH)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_float(device: cltorch.device, dtype: str, wide: bool) -> None:
    s = ctype(dtype).s
    x = np.concatenate([SPECIAL, np.array([0.5, 1.5, 2.5, -2.5, 0.49999997, 8388609, 2147483648.5])]).astype(dtype)
    with np.errstate(all="ignore"):
        wanted = {"floor": np.floor(x), "ceil": np.ceil(x), "trunc": np.trunc(x), "round": np.rint(x), "abs": np.abs(x), "neg": -x,
                  "sign": np.where(np.isnan(x), 0, np.sign(x)), "frac": x - np.trunc(x)}
    functions = Functions(device, {f: f"{f}_{s}(x)" for f in wanted}, (dtype,), dtype, wide)
    for function, want in wanted.items():
        _same(functions(function, x), want) if function != "sign" else np.testing.assert_array_equal(functions(function, x), want)
    tests = {"isnan": np.isnan(x), "isinf": np.isinf(x), "isfinite": np.isfinite(x), "signbit": np.signbit(x)}
    functions = Functions(device, {f: f"{f}_{s}(x)" for f in tests}, (dtype,), "bool", wide)
    for function, want in tests.items():
        if function == "signbit":
            want = np.where(np.isnan(x), functions(function, x), want)
        np.testing.assert_array_equal(functions(function, x), want, err_msg=function)


def test_clamp_nan_to_num_isclose_and_less(device: cltorch.device) -> None:
    x, y = _all_pairs(SPECIAL)
    nan = math.nan
    np.testing.assert_array_equal(run(device, "nan_to_num_f32(x, 9.0f, 1.0f, -1.0f)", SPECIAL),
                                  np.nan_to_num(SPECIAL, nan=9, posinf=1, neginf=-1))
    assert run(device, "clamp_f32(x, -1.0f, 1.0f)", np.array([-5, 0.5, 5, nan], np.float32)).tolist()[:3] == [-1, 0.5, 1]
    assert np.isnan(run(device, "clamp_f32(x, -1.0f, 1.0f)", np.array([nan], np.float32)))[0]
    with np.errstate(all="ignore"):
        want = np.isclose(x, y, rtol=0.5, atol=0.1, equal_nan=True)
    np.testing.assert_array_equal(run(device, "isclose_f32(x, y, 0.5f, 0.1f, 1)", x, y, out="bool"), want)
    less = run(device, "less_f32(x, y)", x, y, out="bool")
    np.testing.assert_array_equal(less, (x < y) | (~np.isnan(x) & np.isnan(y)))


# -- complex --------------------------------------------------------------------------------------------------------------

COMPLEX = ("exp expm1 log log2 log10 log1p sqrt sin cos tan sinh cosh tanh asin acos atan asinh acosh atanh sigmoid reciprocal "
           "sgn rsqrt exp2 conj neg").split()


@pytest.mark.parametrize("wide", BOTH)
@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_functions(device: cltorch.device, dtype: str, wide: bool) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(5)
    z = (rng.normal(size=600) + 1j * rng.normal(size=600)) * rng.choice([0.01, 1, 3, 10], 600)
    cuts = np.array([2, -2, complex(-2, -0.0), complex(2, -0.0), 2j, -2j, 1, -1, 0.5])
    z = np.concatenate([z, cuts]).astype(dtype)
    s = ctype(dtype).s
    functions = Functions(device, {f: f"{f}_{s}(x)" for f in COMPLEX}, (dtype,), dtype, wide)
    bound = 64 * np.finfo(dtype).eps
    for function in COMPLEX:
        want = getattr(torch, function)(torch.tensor(z.astype(np.complex128))).resolve_conj().numpy()
        finite = np.isfinite(want)
        got, want = functions(function, z)[finite], want[finite]
        error = np.abs(got - want) / np.maximum(np.abs(want), 1e-30)
        assert error.max() < bound, (function, z[finite][error.argmax()], error.max())


def test_complex_arithmetic(device: cltorch.device) -> None:
    rng = np.random.default_rng(6)
    x, y = ((rng.normal(size=200) + 1j * rng.normal(size=200)).astype(np.complex64) for _ in range(2))
    wanted = {"add": x + y, "sub": x - y, "mul": x * y, "div": x / y, "pow": np.power(x, y)}
    functions = Functions(device, {f: f"{f}_c64(x, y)" for f in wanted}, ("complex64", "complex64"), "complex64", True)
    for function, want in wanted.items():
        np.testing.assert_allclose(functions(function, x, y), want, rtol=1e-4 if function == "pow" else 1e-5)
    big = np.array([1e30 + 1e30j, 1e-30 + 1e-30j, 3e38 + 0j], np.complex64)
    np.testing.assert_allclose(run(device, "div_c64(x, x)", big, dtype="complex64"), 1, rtol=1e-6)
    np.testing.assert_allclose(run(device, "abs_c64(x)", big, dtype="complex64", out="float32"), np.abs(big.astype(complex)), rtol=1e-6)
    np.testing.assert_allclose(run(device, "angle_c64(x)", x, dtype="complex64", out="float32"), np.angle(x), rtol=1e-5)
    assert run(device, "eq_c64(x, x)", x, dtype="complex64", out="bool").all()
    assert not run(device, "ne_c64(x, x)", x, dtype="complex64", out="bool").any()


# -- random words ---------------------------------------------------------------------------------------------------------

KNOWN_ANSWERS = [  # (key, counter) -> words, from the authors' test vectors
    ((0, 0), (0, 0, 0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 4, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    ((0xA4093822, 0x299F31D0), (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
]


@pytest.mark.parametrize("wide", BOTH)
@pytest.mark.parametrize(("key", "counter", "words"), KNOWN_ANSWERS)
def test_philox_known_answers(device: cltorch.device, key: tuple, counter: tuple, words: tuple, wide: bool) -> None:
    call = f"philox((uint2){key}, (uint4){counter})"
    for part, word in zip("xyzw", words, strict=True):
        assert run(device, f"as_int({call}.{part})", np.zeros(1, np.int32), dtype="int32", wide=wide).view(np.uint32)[0] == word


def _words(device: cltorch.device, expression: str, dtype: str, count: int, wide: bool = True) -> np.ndarray:
    index = np.arange(count, dtype=np.int32)
    return Functions(device, {"draw": expression}, ("int32",), dtype, wide)("draw", index)


@pytest.mark.parametrize("wide", BOTH)
@pytest.mark.parametrize(("dtype", "checksum"), [("float32", 161774313), ("float64", 3715123961)])
def test_normal_numbers_are_the_same_bits_on_every_device(device: cltorch.device, dtype: str, checksum: int, wide: bool) -> None:
    """The checksums are those of PoCL 3.0, PoCL 3.1 and Intel's CPU runtime."""
    t = ctype(dtype)
    draw = f"({{ {t.c} b; const {t.c} a = normal_pair_{t.s}(philox_at(1234, 5, (ulong)x), &b); a + b; }})"
    assert zlib.crc32(_words(device, draw, dtype, 65536, wide).tobytes()) == checksum


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_distributions(device: cltorch.device, dtype: str) -> None:
    t = ctype(dtype)
    count = 100_000
    words = "philox_at(42, 0, (ulong)x)"
    normal = _words(device, f"({{ {t.c} b; normal_pair_{t.s}({words}, &b); }})", dtype, count)
    assert abs(normal.mean()) < 0.015 and abs(normal.std() - 1) < 0.01 and abs((normal**3).mean()) < 0.04
    assert abs((normal**4).mean() - 3) < 0.12 and 3.8 < np.abs(normal).max() < 6
    uniform = _words(device, f"({{ uint4 w = {words}; uniform_{t.s}(w.x, w.y); }})", dtype, count)
    assert uniform.min() >= 0 and uniform.max() < 1
    counts = np.histogram(uniform, 50, (0, 1))[0]
    assert ((counts - count / 50) ** 2 / (count / 50)).sum() < 85.4  # chi squared, 49 degrees of freedom, one in a thousand
    exponential = _words(device, f"({{ uint4 w = {words}; exponential_{t.s}(w.x, w.y); }})", dtype, count)
    assert exponential.min() >= 0 and abs(exponential.mean() - 1) < 0.02 and np.isfinite(exponential).all()
