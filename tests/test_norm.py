"""Softmax and normalisations against PyTorch: values, gradients, second gradients, layouts, running statistics."""
from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from side_by_side import close, compare, ours, random, torch

import cltorch
from cltorch.ops.registry import functions

FLOATS = ["float16", "bfloat16", "float32", "float64"]
SHAPES = [(), (1,), (5,), (0, 3), (3, 0), (64, 10), (3, 1000), (5, 3000), (700, 33), (4, 7, 9), (2, 40, 300), (2, 3, 4, 5)]


def functional(name: str) -> Any:
    return lambda t, *args, **kwargs: getattr(t.nn.functional, name)(*args, **kwargs)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_every_dim(name: str, shape: tuple[int, ...], device: Any) -> None:
    x = random(shape, low=-10, high=10)
    for dim in range(max(len(shape), 1)):
        compare(name, x, dim, device=device, grad=True, tolerance=1e-5)


@pytest.mark.parametrize("d", FLOATS)
def test_softmax_dtypes(d: str, device: Any) -> None:
    x = random((6, 50), d, low=-4, high=4)
    for name in ("softmax", "log_softmax"):
        for dim in (0, 1):
            compare(name, x, dim, device=device, grad=True, tolerance={"float16": 4e-3, "bfloat16": 4e-2}.get(d))
        compare(name, x, 1, dtype=torch.float32, device=device)
        compare(name, x.mT, 1, device=device)
    compare("softmax", random((3, 4), "int32"), 1, dtype=torch.float64, device=device)


def test_softmax_second_order(device: Any) -> None:
    for name in ("softmax", "log_softmax"):
        for dim in (0, 1):
            compare(name, random((4, 3, 2), "float64"), dim, device=device, grad=True, second=True)


def test_softmax_of_long_rows_and_extremes(device: Any) -> None:
    x = random((2, 70000), low=-20, high=20)
    compare("softmax", x, 1, device=device, tolerance=1e-5)
    compare("log_softmax", x, 1, device=device, tolerance=1e-5)
    nan, inf = float("nan"), float("inf")
    y = torch.tensor([[1000, 1001, -1000], [-inf, 0, 1], [-inf, -inf, -inf], [nan, 0, 1], [inf, 0, 1]])
    for z, dim in ((y, 1), (y.mT.contiguous(), 0), (y.repeat(1, 30), 1)):
        compare("softmax", z, dim, device=device)
        compare("log_softmax", z, dim, device=device)


def test_softmax_errors_and_implicit_dim(device: Any) -> None:
    x = ours(random((2, 3)), device)
    with pytest.raises(IndexError):
        x.softmax(2)
    with pytest.raises(NotImplementedError):
        x.to(cltorch.int32).softmax(0)
    with pytest.warns(UserWarning, match="Implicit dimension choice for softmax"):
        assert functions("functional")["softmax"](x).sum(1).tolist() == pytest.approx([1, 1])
