"""Running sums, products and extremes against PyTorch."""
from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from side_by_side import compare, ours, random, torch

import cltorch

NAMES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64", "complex64", "complex128"]
SHAPES = [(), (1,), (0,), (31,), (33,), (1000,), (70001,), (3, 4), (0, 3), (3, 0), (5, 40000), (40000, 3), (700, 520), (4, 33, 7), (2, 3, 4, 5)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_dim(shape: tuple[int, ...], device: Any) -> None:
    x = random(shape)
    for dim in range(max(len(shape), 1)):
        compare("cumsum", x, dim, device=device)
        compare("cummax", x.round(decimals=1), dim, device=device)
        compare("cumprod", x * 0.5 + 1, dim, device=device, tolerance=1e-3 if max(shape, default=0) > 100 else 1e-5)
        if max(shape, default=0) < 2000:
            compare("logcumsumexp", x, dim, device=device, tolerance=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_dtypes(name: str, device: Any) -> None:
    x = random((6, 9), name, low=-3, high=3)
    loose = {"float16": 2e-2, "bfloat16": 1e-1}.get(name)
    for dim in (0, 1):
        compare("cumsum", x, dim, device=device, tolerance=loose)
        compare("cumprod", x, dim, device=device, tolerance=loose)
        if not name.startswith("complex"):
            compare("cummin", x, dim, device=device)
            compare("cummax", x, dim, device=device)
    compare("diff", x, device=device, tolerance=loose)
    if not name.startswith("complex"):
        compare("cumsum", x, 0, dtype=torch.float64, device=device)


def test_nan_and_ties(device: Any) -> None:
    nan, inf = float("nan"), float("inf")
    x = torch.tensor([[1, 1, 3, 3, 2, 3], [nan, 5, nan, 7, 8, nan], [-inf, -inf, 0, -inf, inf, inf]])
    for y in (x, x.mT, x.repeat(1, 20)):
        for dim in (0, 1):
            compare("cummax", y, dim, device=device)
            compare("cummin", y, dim, device=device)
    compare("logcumsumexp", torch.tensor([-inf, -inf, 0, 1, -inf, 100.0]), 0, device=device)


@pytest.mark.parametrize("form", ["transposed", "strided", "broadcast", "offset"])
def test_layouts(form: str, device: Any) -> None:
    x = random((40, 30))
    y = dict(transposed=lambda: x.mT, strided=lambda: x[:, 1::2], broadcast=lambda: x[:, :1].expand(40, 7), offset=lambda: x[3:, 2:])[form]()
    for dim in (0, 1):
        compare("cumsum", y, dim, device=device)
        compare("cummax", y, dim, device=device)


@pytest.mark.parametrize("name", ["cumsum", "cumprod", "logcumsumexp", "cummax", "cummin"])
def test_gradients(name: str, device: Any) -> None:
    for shape in ((4, 3), (7,), ()):
        x = random(shape, "float64")
        for dim in range(max(len(shape), 1)):
            compare(name, x, dim, device=device, grad=True, second=name not in ("cummax", "cummin", "logcumsumexp"))


def test_product_gradient_with_zeros(device: Any) -> None:
    x = random((4, 5), "float64")
    x[1, 2] = x[3, 0] = x[3, 4] = 0
    compare("cumprod", x, 1, device=device, grad=True, second=True)
    compare("cumprod", x, 0, device=device, grad=True)
    compare("cumprod", random((3, 4), "complex128"), 1, device=device, grad=True)


def test_long_sum_is_accurate(device: Any) -> None:
    x = np.random.default_rng(0).random((1 << 22,), dtype=np.float32)
    exact = np.cumsum(x, dtype=np.float64)
    for shape in ((-1,), (-1, 2)):
        got = cltorch.tensor(x.reshape(shape), device=device).cumsum(0).numpy(force=True)
        want = exact if shape == (-1,) else np.cumsum(x.reshape(shape), 0, dtype=np.float64)
        assert np.max(np.abs(got - want) / want) < 3e-7


@pytest.mark.parametrize("n", [5, 100])
def test_infinite_sums(n: int, device: Any) -> None:
    x = random((3, n))
    x[0, 3], x[1, 1], x[1, 2], x[2, 2] = float("inf"), float("-inf"), float("inf"), float("nan")
    for dim, y in ((1, x), (0, x.mT), (1, x.flip(1))):
        compare("cumsum", y, dim, device=device)


def test_diff(device: Any) -> None:
    x = random((5, 6))
    for options in (dict(n=2), dict(dim=0, n=3), dict(n=9), dict(n=0), dict(dim=0, n=1)):
        compare("diff", x, device=device, **options)
    compare(lambda t, a, b, c: t.diff(a, prepend=b, append=c), x, random((5, 2), seed=1), random((5, 1), seed=2), device=device, grad=True)


def test_in_place_out_and_errors(device: Any) -> None:
    x = ours(random((3, 4)), device)
    want = x.cumsum(1).tolist()
    out = cltorch.empty(0, device=device)
    cltorch.cumsum(x, 1, out=out)
    assert out.tolist() == want
    assert x.cumsum_(1) is x and x.tolist() == want
    with pytest.raises(IndexError):
        x.cumsum(2)
    assert type(x.cummax(0)).__name__ == "cummax"
