"""Initial values: distributions, bounds, exact forms, errors, and the layers' own choices against PyTorch's."""
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import cltorch
from cltorch import nn
from cltorch.nn import init
from cltorch.testing import assert_close

SHAPE = (60, 50, 3, 3)
FAN_IN, FAN_OUT = 450, 540


def drawn(fill: Callable, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    t = cltorch.empty(*shape, device="cuda")
    assert fill(t) is t
    return t.cpu().numpy().astype(np.float64)


def is_uniform(x: np.ndarray, low: float, high: float) -> None:
    width = high - low
    assert low <= x.min() < low + 0.01 * width
    assert high - 0.01 * width < x.max() <= high
    assert abs(x.mean() - (low + high) / 2) < 0.02 * width
    assert abs(x.std() - width / math.sqrt(12)) < 0.02 * width


def is_normal(x: np.ndarray, mean: float, std: float) -> None:
    z = (x - mean) / std
    noise = max(0.03, 4 / math.sqrt(z.size))
    assert abs(z.mean()) < noise
    assert abs(z.std() - 1) < noise
    assert abs((np.abs(z) < 1).mean() - 0.683) < 0.02
    assert 3 < np.abs(z).max() < 7


BOUND = {"xavier": math.sqrt(6 / (FAN_IN + FAN_OUT)), "kaiming": math.sqrt(2) * math.sqrt(3 / FAN_IN)}


@pytest.mark.parametrize(("fill", "low", "high"), [
    (lambda t: init.uniform_(t), 0, 1), (lambda t: init.uniform_(t, -3, 2), -3, 2),
    (lambda t: init.xavier_uniform_(t), -BOUND["xavier"], BOUND["xavier"]), (lambda t: init.xavier_uniform_(t, 2.0), -2 * BOUND["xavier"], 2 * BOUND["xavier"]),
    (lambda t: init.kaiming_uniform_(t), -BOUND["kaiming"], BOUND["kaiming"]),
    (lambda t: init.kaiming_uniform_(t, a=math.sqrt(5)), -1 / math.sqrt(FAN_IN), 1 / math.sqrt(FAN_IN)),
    (lambda t: init.kaiming_uniform_(t, mode="fan_out", nonlinearity="linear"), -math.sqrt(3 / FAN_OUT), math.sqrt(3 / FAN_OUT)),
])
def test_uniform_forms(fill: Callable, low: float, high: float) -> None:
    is_uniform(drawn(fill), low, high)


@pytest.mark.parametrize(("fill", "mean", "std"), [
    (lambda t: init.normal_(t), 0, 1), (lambda t: init.normal_(t, 2, 0.5), 2, 0.5),
    (lambda t: init.xavier_normal_(t, 1.5), 0, 1.5 * math.sqrt(2 / (FAN_IN + FAN_OUT))),
    (lambda t: init.kaiming_normal_(t, nonlinearity="relu"), 0, math.sqrt(2 / FAN_IN)),
    (lambda t: init.kaiming_normal_(t, mode="fan_out", a=1), 0, math.sqrt(1 / FAN_OUT)),
])
def test_normal_forms(fill: Callable, mean: float, std: float) -> None:
    is_normal(drawn(fill), mean, std)


def test_truncated_normal() -> None:
    x = drawn(lambda t: init.trunc_normal_(t, mean=1.0, std=2.0, a=0.0, b=2.5))
    assert x.min() >= 0
    assert x.max() <= 2.5
    z = np.random.default_rng(0).normal(1, 2, 2_000_000)
    z = z[(z >= 0) & (z <= 2.5)]
    assert abs(x.mean() - z.mean()) < 0.02
    assert abs(x.std() - z.std()) < 0.02
    with pytest.warns(UserWarning, match="mean is more than 2 std"):
        init.trunc_normal_(cltorch.empty(3), mean=10.0)


def test_constants_and_patterns() -> None:
    assert (drawn(lambda t: init.constant_(t, 2.5)) == 2.5).all()
    assert (drawn(init.ones_) == 1).all()
    assert (drawn(init.zeros_) == 0).all()
    assert (drawn(init.eye_, (3, 5)) == np.eye(3, 5)).all()
    w = drawn(lambda t: init.dirac_(t), (4, 3, 3, 3))
    x = np.random.default_rng(0).normal(size=(3, 3))
    assert w.sum() == 3
    assert [w[i, i, 1, 1] for i in range(3)] == [1, 1, 1]
    assert x.shape == (3, 3)
    assert drawn(lambda t: init.dirac_(t, groups=2), (4, 2, 3)).sum() == 4


@pytest.mark.parametrize("shape", [(6, 6), (3, 8), (8, 3), (4, 3, 2)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    q = drawn(lambda t: init.orthogonal_(t, gain=2.0), shape).reshape(shape[0], -1) / 2
    product = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
    assert_close(product, np.eye(len(product)), rtol=1e-4, atol=1e-5)


def test_sparse() -> None:
    x = drawn(lambda t: init.sparse_(t, 0.3, std=0.1), (50, 40))
    assert ((x == 0).sum(0) == 15).all()
    is_normal(x[x != 0], 0, 0.1)


def test_gain_matches_torch() -> None:
    torch = pytest.importorskip("torch")
    for name in ("linear", "conv2d", "conv_transpose3d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"):
        assert init.calculate_gain(name) == torch.nn.init.calculate_gain(name)
    assert init.calculate_gain("leaky_relu", 0.3) == torch.nn.init.calculate_gain("leaky_relu", 0.3)


def test_gradients_are_not_recorded() -> None:
    p = nn.Parameter(cltorch.empty(4, 5))
    for fill in (init.uniform_, init.normal_, init.xavier_normal_, init.kaiming_uniform_, init.orthogonal_, init.eye_, init.trunc_normal_, init.ones_):
        fill(p)
        assert p.is_leaf
        assert p.requires_grad


def test_the_seed_decides() -> None:
    def draw() -> list:
        cltorch.manual_seed(3)
        return init.xavier_uniform_(cltorch.empty(3, 3)).tolist()

    assert draw() == draw()


@pytest.mark.parametrize(("message", "act"), [
    ("Unsupported nonlinearity", lambda: init.calculate_gain("odd")),
    ("not a valid number", lambda: init.calculate_gain("leaky_relu", True)),
    ("fewer than 2 dimensions", lambda: init.xavier_uniform_(cltorch.empty(3))),
    ("Mode odd not supported", lambda: init.kaiming_normal_(cltorch.empty(3, 3), mode="odd")),
    ("Only tensors with 2 dimensions", lambda: init.eye_(cltorch.empty(3))),
    ("3, 4, or 5 dimensions", lambda: init.dirac_(cltorch.empty(3, 3))),
    ("divisible by groups", lambda: init.dirac_(cltorch.empty(3, 3, 3), groups=2)),
    ("2 or more dimensions", lambda: init.orthogonal_(cltorch.empty(3))),
    ("Only tensors with 2 dimensions", lambda: init.sparse_(cltorch.empty(3), 0.1)),
])
def test_bad_arguments(message: str, act: Callable) -> None:
    with pytest.raises(ValueError, match=message):
        act()


def test_empty_tensors_warn() -> None:
    with pytest.warns(UserWarning, match="no-op"):
        init.kaiming_uniform_(cltorch.empty(0, 3))


@pytest.mark.parametrize(("name", "args"), [
    ("Linear", (200, 300)), ("Bilinear", (20, 30, 40)), ("Conv2d", (30, 40, 3)), ("Embedding", (300, 100)), ("MultiheadAttention", (64, 4)),
    ("MultiheadAttention", (64, 4, 0.0, True, True)), ("BatchNorm2d", (30,)), ("LayerNorm", (30,)), ("GroupNorm", (2, 30)), ("PReLU", (7,)),
    ("TransformerEncoderLayer", (64, 4, 128))])
def test_layers_start_as_torchs_do(name: str, args: tuple) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    ours, theirs = getattr(nn, name)(*args), getattr(torch.nn, name)(*args)
    wanted = {k: v.detach().numpy() for k, v in theirs.named_parameters()}
    for key, p in ours.named_parameters():
        a, b = p.detach().cpu().numpy(), wanted[key]
        noise: Any = 6 / math.sqrt(a.size)
        assert abs(a.mean() - b.mean()) <= noise * max(a.std(), b.std(), 1e-12)
        assert abs(a.std() - b.std()) <= noise * max(a.std(), b.std())
        if b.std() and a.size > 1000 and name != "Embedding" and not key.startswith("bias_"):
            assert abs(np.abs(a).max() / np.abs(b).max() - 1) < 0.05
