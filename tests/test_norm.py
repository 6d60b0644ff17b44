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


def nn(name: str) -> Any:
    return lambda t, *args, **kwargs: (functions("functional")[name] if t is cltorch else getattr(t.nn.functional, name))(*args, **kwargs)


@pytest.mark.parametrize("lead, shape", [((5,), (7,)), ((3, 4), (10,)), ((2,), (3, 40)), ((600,), (33,)), ((3,), (5000,)), ((), (6,))], ids=str)
def test_layer_norm(lead: tuple, shape: tuple, device: Any) -> None:
    x, w, b = random((*lead, *shape)), random(shape, seed=1), random(shape, seed=2)
    for parts in ((), (w,), (w, b), (None, b)):
        compare(nn("layer_norm"), x, shape, *parts, device=device, grad=True, tolerance=2e-5)
    compare(nn("layer_norm"), x.mT.contiguous().mT if x.ndim > 1 else x, shape, w, b, 1e-2, device=device, tolerance=1e-5)


def test_layer_norm_dtypes_and_second_order(device: Any) -> None:
    for d in ("float16", "bfloat16", "float64"):
        x, w, b = random((4, 20), d), random((20,), d, seed=1), random((20,), d, seed=2)
        compare(nn("layer_norm"), x, (20,), w, b, device=device, grad=True, tolerance={"float16": 5e-3, "bfloat16": 5e-2}.get(d))
    x, w, b = random((3, 5), "float64"), random((5,), "float64", seed=1), random((5,), "float64", seed=2)
    for parts in ((), (w, b)):
        compare(nn("layer_norm"), x, (5,), *parts, device=device, grad=True, second=True)


def test_far_from_zero(device: Any) -> None:
    x = 30000 + np.random.default_rng(0).standard_normal((64, 200)).astype(np.float32)
    exact = (x - x.mean(1, dtype=np.float64, keepdims=True)) / x.astype(np.float64).std(1, keepdims=True)
    got = functions("functional")["layer_norm"](cltorch.tensor(x, device=device), (200,), eps=0.0).numpy(force=True)
    np.testing.assert_allclose(got, exact, atol=2e-3)
    exact = (x - x.mean(0, dtype=np.float64)) / x.astype(np.float64).std(0)
    got = functions("functional")["batch_norm"](cltorch.tensor(x, device=device), None, None, training=True, eps=0.0).numpy(force=True)
    np.testing.assert_allclose(got, exact, atol=4e-3)


@pytest.mark.parametrize("shape", [(8, 5), (300, 70), (4, 3, 7, 7), (2, 40, 9), (16, 1, 30, 30), (2, 3, 2, 2, 2), (64, 600)], ids=str)
def test_batch_norm_training(shape: tuple, device: Any) -> None:
    c = (shape[1],)
    x, w, b = random(shape), random(c, seed=1), random(c, seed=2)
    for parts in ((None, None), (w, None), (w, b)):
        compare(nn("batch_norm"), x, None, None, *parts, training=True, device=device, grad=True, tolerance=3e-5)
    mean, var = random(c, seed=3), random(c, seed=4, low=1)
    theirs = [mean.clone(), var.clone()]
    mine = [ours(mean, device), ours(var, device)]
    torch.nn.functional.batch_norm(x, *theirs, w, b, True, 0.3)
    functions("functional")["batch_norm"](ours(x, device), *mine, ours(w, device), ours(b, device), True, 0.3)
    close(mine, theirs, 1e-5)
    compare(nn("batch_norm"), x, mean, var, w, b, device=device, tolerance=1e-5)


def test_batch_norm_dtypes_and_second_order(device: Any) -> None:
    for d in ("float16", "bfloat16", "float64"):
        for shape in ((6, 4), (3, 4, 5)):
            x, w, b = random(shape, d), random((4,), d, seed=1), random((4,), d, seed=2)
            compare(nn("batch_norm"), x, None, None, w, b, training=True, device=device, grad=True, tolerance={"float16": 6e-3, "bfloat16": 6e-2}.get(d))
    x, w, b = random((4, 3, 2), "float64"), random((3,), "float64", seed=1), random((3,), "float64", seed=2)
    compare(nn("batch_norm"), x, None, None, w, b, training=True, device=device, grad=True, second=True)
    mean, var = random((3,), "float64", seed=3).float(), random((3,), "float64", seed=4, low=1).float()
    compare(lambda t, x, w, b, m, v: nn("batch_norm")(t, x, m, v, w, b), x.float(), w.float(), b.float(), mean, var, device=device, tolerance=1e-5)


def test_instance_and_group_norm(device: Any) -> None:
    for shape in ((3, 4, 9), (2, 6, 5, 5)):
        c = (shape[1],)
        x, w, b = random(shape), random(c, seed=1), random(c, seed=2)
        compare(nn("instance_norm"), x, None, None, w, b, device=device, grad=True, tolerance=3e-5)
        compare(nn("instance_norm"), x, device=device, grad=True, tolerance=3e-5)
        compare(nn("group_norm"), x, 2, w, b, device=device, grad=True, tolerance=3e-5)
        compare(nn("group_norm"), x, shape[1], device=device, tolerance=1e-5)
        mean, var = random(c, seed=3), random(c, seed=4, low=1)
        theirs, mine = [mean.clone(), var.clone()], [ours(mean, device), ours(var, device)]
        torch.nn.functional.instance_norm(x, *theirs, w, b)
        functions("functional")["instance_norm"](ours(x, device), *mine, ours(w, device), ours(b, device))
        close(mine, theirs, 1e-5)
        compare(nn("instance_norm"), x, mean, var, w, b, use_input_stats=False, device=device, tolerance=1e-5)


def test_other_normalisations(device: Any) -> None:
    x, y = random((4, 6)), random((4, 6), seed=1)
    compare(nn("rms_norm"), x, (6,), y[0], device=device, grad=True, tolerance=1e-5)
    compare(nn("rms_norm"), random((3, 4, 5)), (4, 5), None, 1e-3, device=device, grad=True, tolerance=1e-5)
    compare(nn("local_response_norm"), random((2, 7, 4)), 5, 0.1, 0.75, 2.0, device=device, grad=True, tolerance=1e-5)
    compare(nn("local_response_norm"), random((2, 3, 4, 4)), 4, device=device, grad=True, tolerance=1e-5)
    for p in (2.0, 1.0, 3.0):
        compare(nn("normalize"), x, p, device=device, grad=True, tolerance=1e-5)
        compare(nn("pairwise_distance"), x, y, p, device=device, grad=True, tolerance=1e-5)
    compare(nn("cosine_similarity"), x, y, device=device, grad=True, tolerance=1e-5)
    compare(nn("cosine_similarity"), random((2, 4, 6)), y, -1, device=device, grad=True, tolerance=1e-5)


@pytest.mark.parametrize("call", [
    lambda f, t: f("layer_norm")(t.ones(2, 3), (4,)), lambda f, t: f("layer_norm")(t.ones(2, 3), (3,), t.ones(2)),
    lambda f, t: f("group_norm")(t.ones(2, 3, 4), 2), lambda f, t: f("batch_norm")(t.ones(1, 3), None, None, training=True),
    lambda f, t: f("batch_norm")(t.ones(2, 3), t.zeros(2), t.ones(2)), lambda f, t: f("instance_norm")(t.ones(2, 3, 1)),
    lambda f, t: f("rms_norm")(t.ones(2, 3), (4,)), lambda f, t: f("local_response_norm")(t.ones(2, 3), 2)])
def test_errors(call: Any) -> None:
    with pytest.raises((RuntimeError, ValueError)) as theirs:
        call(lambda name: getattr(torch.nn.functional, name), torch)
    with pytest.raises(theirs.type) as mine:
        call(lambda name: functions("functional")[name], cltorch)
    assert str(mine.value)[:25] == str(theirs.value)[:25]
