"""Random numbers: one seed, one stream on every device and strategy; distributions by their moments and by Kolmogorov and Smirnov; dropout."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from oracle import DEVICE, F, host

import cltorch
import cltorch.autograd
from cltorch.ops.random_host import host_draw, words

N = 100_000
FLOATS = ["float32", "float64", "float16", "bfloat16"]


def sample(function: Callable, dtype: str = "float32", n: int = N) -> np.ndarray:
    return host(function(cltorch.empty(n, dtype=getattr(cltorch, dtype), device=DEVICE))).astype(np.float64)


def normal_cdf(x: np.ndarray) -> np.ndarray:
    return np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in x])


def distance(x: np.ndarray, cdf: Callable) -> float:
    """Kolmogorov and Smirnov's statistic, scaled: above 2 about once in 1500 tries (the seeds are fixed)."""
    x = np.sort(x)
    steps, expected = np.arange(len(x) + 1) / len(x), cdf(x)
    return max(np.abs(expected - steps[:-1]).max(), np.abs(expected - steps[1:]).max()) * math.sqrt(len(x))


def test_philox_words_match_the_reference() -> None:
    """Known answers of Philox4x32-10 for a zero key and counter, from the Random123 distribution's test vectors."""
    assert [hex(w) for w in words(0, 0, 1)[0]] == ["0x6627e8d5", "0xe169c58d", "0xbc57ac4c", "0x9b00dbd8"]


@pytest.mark.parametrize("dtype", FLOATS)
def test_numbers_match_the_host(dtype: str) -> None:
    """The device's numbers are the host's: uniform ones bit for bit, whatever the strategy."""
    d = getattr(cltorch, dtype)
    for kind, a, b, exact in (("uniform_", 0.0, 1.0, True), ("normal_", 0.5, 2.0, False), ("exponential_", 2.0, 0.0, False)):
        generator = cltorch.Generator(DEVICE).manual_seed(1234567890123)
        got = getattr(cltorch.empty(1003, dtype=d, device=DEVICE), kind)(*((a,) if kind == "exponential_" else (a, b)), generator=generator)
        want = cltorch.from_numpy(np.ascontiguousarray(host_draw(kind[:-1], 1003, d, 1234567890123, 0, a, b))).to(d)
        if exact or dtype in ("float16", "bfloat16"):
            np.testing.assert_array_equal(host(got), host(want))
        else:
            np.testing.assert_allclose(host(got), host(want), rtol=1e-5, atol=1e-6)


def test_strategies_agree() -> None:
    """The same bits in another process with the other strategy, on either device."""
    script = (
        "import cltorch, hashlib; cltorch.manual_seed(3); d = {'device': %r};"
        "parts = [cltorch.rand(1001, **d), cltorch.randint(7, (999,), **d), cltorch.randperm(500, **d), cltorch.randn(333, **d),"
        "cltorch.randint(0, 1 << 40, (55,), **d), cltorch.bernoulli(cltorch.full((77,), 0.3, **d)), cltorch.empty(40, **d).exponential_(),"
        "cltorch.dropout(cltorch.ones(1003, **d), 0.4, True)];"
        "print(hashlib.sha256(b''.join(p.numpy(force=True).tobytes() for p in parts)).hexdigest())"
    )
    found = set()
    for strategy in ("wide", "grid"):
        for device in ("cuda", "cpu"):
            environment = {**os.environ, "CLTORCH_STRATEGY": strategy, "PYTHONPATH": str(Path(cltorch.__file__).parent.parent)}
            done = subprocess.run([sys.executable, "-c", script % device], env=environment, capture_output=True, text=True, timeout=100)
            assert done.returncode == 0, done.stderr
            found.add(done.stdout)
    assert len(found) == 1


def test_seeds() -> None:
    def draws() -> list:
        return [
            cltorch.rand(5, device=DEVICE).tolist(),
            cltorch.randn(3, device=DEVICE).tolist(),
            cltorch.randint(9, (4,), device=DEVICE).tolist(),
            cltorch.randperm(6, device=DEVICE).tolist(),
            cltorch.rand(2).tolist(),
        ]

    cltorch.manual_seed(1)
    first, second = draws(), draws()
    cltorch.manual_seed(1)
    assert draws() == first and draws() == second and first != second
    cltorch.manual_seed(2)
    assert draws() != first


def test_generators() -> None:
    generator = cltorch.Generator(DEVICE).manual_seed(5)
    state = generator.get_state()
    a = cltorch.rand(7, device=DEVICE, generator=generator)
    b = cltorch.rand(7, device=DEVICE, generator=generator)
    generator.set_state(state)
    assert cltorch.rand(7, device=DEVICE, generator=generator).tolist() == a.tolist() != b.tolist()
    assert generator.initial_seed() == 5
    with pytest.raises(RuntimeError):
        cltorch.rand(2, generator=generator)  # a generator of another device
    with pytest.raises(RuntimeError):
        cltorch.randperm(3, generator=cltorch.Generator(DEVICE))


@pytest.mark.parametrize("dtype", FLOATS)
def test_uniform(dtype: str) -> None:
    for low, high in ((0.0, 1.0), (-2.0, 3.0)):
        x = sample(lambda t, low=low, high=high: t.uniform_(low, high), dtype)
        assert low <= x.min() and (x.max() < high if dtype in ("float32", "float64") or low == 0 else x.max() <= high)
        assert distance((x - low) / (high - low), lambda v: v) < (2 if dtype not in ("float16", "bfloat16") else 4)
        assert abs(x.mean() - (low + high) / 2) < 0.02 and abs(x.var() - (high - low) ** 2 / 12) < 0.03


@pytest.mark.parametrize("dtype", FLOATS)
def test_normal(dtype: str) -> None:
    x = sample(lambda t: t.normal_(), dtype)
    assert abs(x.mean()) < 0.012 and abs(x.std() - 1) < 0.012
    assert distance(x[:20000], normal_cdf) < 2
    assert abs((x**4).mean() - 3) < 0.15 and abs((x**3).mean()) < 0.06
    y = sample(lambda t: t.normal_(10, 0.5), dtype)
    assert abs(y.mean() - 10) < 0.02 and abs(y.std() - 0.5) < 0.01
    assert abs(np.corrcoef(x[:-1], x[1:])[0, 1]) < 0.012


@pytest.mark.parametrize("dtype", FLOATS)
def test_exponential(dtype: str) -> None:
    x = sample(lambda t: t.exponential_(2.0), dtype)
    assert x.min() >= 0 and np.isfinite(x).all() and abs(x.mean() - 0.5) < 0.01
    assert distance(x, lambda v: 1 - np.exp(-2 * v)) < (2 if dtype in ("float32", "float64") else 4)


def test_other_distributions() -> None:
    cauchy = sample(lambda t: t.cauchy_(1, 2))
    assert distance(cauchy, lambda v: np.arctan((v - 1) / 2) / math.pi + 0.5) < 2
    assert distance(np.log(sample(lambda t: t.log_normal_(0, 1)))[:20000], normal_cdf) < 2
    for dtype in ("float32", "int64"):
        geometric = sample(lambda t: t.geometric_(0.3), dtype)
        assert geometric.min() == 1 and abs(geometric.mean() - 1 / 0.3) < 0.05 and abs((geometric == 1).mean() - 0.3) < 0.01


@pytest.mark.parametrize("dtype", ["float32", "int64", "uint8", "bool", "float16"])
def test_bernoulli(dtype: str) -> None:
    for p in (0.0, 0.2, 1.0):
        x = sample(lambda t, p=p: t.bernoulli_(p), dtype)
        assert set(np.unique(x)) <= {0, 1} and abs(x.mean() - p) < 0.01
    chances = cltorch.linspace(0, 1, 5, device=DEVICE).repeat_interleave(20000)
    means = host(cltorch.bernoulli(chances)).reshape(5, -1).mean(1)
    np.testing.assert_allclose(means, [0, 0.25, 0.5, 0.75, 1], atol=0.015)
    assert abs(host(cltorch.empty(N, device=DEVICE).bernoulli_(cltorch.tensor(0.25, device=DEVICE))).mean() - 0.25) < 0.01


@pytest.mark.parametrize("dtype", ["int64", "int32", "int16", "uint8", "int8", "float32", "float16"])
def test_integers(dtype: str) -> None:
    d = getattr(cltorch, dtype)
    x = host(cltorch.randint(3, 13, (N,), dtype=d, device=DEVICE)).astype(np.int64)
    counts = np.bincount(x - 3, minlength=10)
    assert len(counts) == 10 and ((counts - N / 10) ** 2 / (N / 10)).sum() < 30
    assert host(cltorch.randint(-4, -3, (5,), dtype=d, device=DEVICE)).tolist() == [-4] * 5 if dtype != "uint8" else True
    y = host(cltorch.randint_like(cltorch.zeros(100, dtype=d, device=DEVICE), 5))
    assert y.dtype == d.np and 0 <= y.min() and y.max() < 5


def test_wide_integers() -> None:
    x = host(cltorch.randint(-(1 << 62), 1 << 62, (N,), device=DEVICE))
    assert distance(x / 2.0**63 + 0.5, lambda v: v) < 2
    y = host(cltorch.empty(N, dtype=cltorch.int32, device=DEVICE).random_())
    assert y.min() >= 0 and y.max() > 1 << 30
    z = host(cltorch.empty(N, dtype=cltorch.float32, device=DEVICE).random_(7))
    assert set(np.unique(z)) == set(range(7))
    assert set(np.unique(host(cltorch.empty(1000, dtype=cltorch.uint8, device=DEVICE).random_(250, 256)))) <= set(range(250, 256))


def test_permutations() -> None:
    for n in (0, 1, 2, 33, 5000):
        assert sorted(cltorch.randperm(n, device=DEVICE).tolist()) == list(range(n))
    assert cltorch.randperm(5, dtype=cltorch.int32, device=DEVICE).dtype is cltorch.int32
    firsts = [cltorch.randperm(4, device=DEVICE)[0].item() for _ in range(200)]
    assert len(set(firsts)) == 4


def test_creation_forms() -> None:
    x = cltorch.zeros(3, 4, dtype=cltorch.float64, device=DEVICE)
    for made in (cltorch.rand_like(x), cltorch.randn_like(x), cltorch.normal(x, 1.0), cltorch.normal(0.0, x + 1), cltorch.normal(x, x + 1)):
        assert made.shape == (3, 4) and made.dtype is cltorch.float64 and made.device == x.device and len(set(made.reshape(-1).tolist())) == 12
    assert cltorch.normal(2.0, 3.0, (4, 5), device=DEVICE).shape == (4, 5)
    assert cltorch.rand((2, 3), requires_grad=True).requires_grad and cltorch.randn(2, 3, out=cltorch.empty(0)).shape == (2, 3)
    assert cltorch.rand(2, 0, device=DEVICE).tolist() == [[], []] and cltorch.rand((), device=DEVICE).shape == ()
    z = host(cltorch.randn(N, dtype=cltorch.complex64, device=DEVICE))
    assert abs(z.var() - 1) < 0.02 and abs((z.real * z.imag).mean()) < 0.01
    assert cltorch.rand(3, dtype=cltorch.complex128, device=DEVICE).dtype is cltorch.complex128


def test_in_place_forms_fill_views_and_keep_leaves_safe() -> None:
    base = cltorch.zeros(4, 6, device=DEVICE)
    base.t()[1:3].uniform_(1, 2)
    filled = host(base)[:, 1:3]
    assert ((filled >= 1) & (filled < 2)).all() and (host(base) != 0).sum() == 8 and len(np.unique(filled)) == 8
    leaf = cltorch.zeros(3, device=DEVICE, requires_grad=True)
    with pytest.raises(RuntimeError):
        leaf.normal_()
    with cltorch.no_grad():
        assert leaf.normal_() is leaf and leaf.requires_grad


def test_multinomial() -> None:
    weights = cltorch.tensor([[0.0, 1.0, 3.0, 0.0], [5.0, 0.0, 0.0, 5.0]], device=DEVICE)
    drawn = host(cltorch.multinomial(weights, 20000, replacement=True))
    np.testing.assert_allclose(np.bincount(drawn[0], minlength=4) / 20000, [0, 0.25, 0.75, 0], atol=0.015)
    np.testing.assert_allclose(np.bincount(drawn[1], minlength=4) / 20000, [0.5, 0, 0, 0.5], atol=0.015)
    once = host(cltorch.stack([cltorch.multinomial(cltorch.tensor([1.0, 2.0, 7.0], device=DEVICE), 2) for _ in range(500)]))
    assert (once[:, 0] != once[:, 1]).all() and abs((once[:, 0] == 2).mean() - 0.7) < 0.07
    assert cltorch.multinomial(weights, 2).shape == (2, 2) and sorted(cltorch.multinomial(weights[1].half(), 2).tolist()) == [0, 3]


# dropout


@pytest.mark.parametrize("dtype", FLOATS)
def test_dropout(dtype: str) -> None:
    x = cltorch.full((N,), 2.0, dtype=getattr(cltorch, dtype), device=DEVICE)
    y = host(F(cltorch).dropout(x, 0.25)).astype(np.float64)
    kept = y != 0
    assert abs(kept.mean() - 0.75) < 0.01 and np.allclose(y[kept], 2 / 0.75, rtol=1e-2)


def test_dropout_edges() -> None:
    x = cltorch.randn(50, device=DEVICE)
    dropout = F(cltorch).dropout
    assert dropout(x, 0.5, training=False) is x
    np.testing.assert_array_equal(host(dropout(x, 0.0)), host(x))
    assert not host(dropout(x, 1.0)).any()
    y = x.clone()
    assert dropout(y, 0.5, inplace=True) is y and (host(y) == 0).any()
    assert dropout(cltorch.zeros(0, device=DEVICE), 0.5).shape == (0,)
    for p in (-0.1, 1.1):
        with pytest.raises(ValueError):
            dropout(x, p)
    assert not np.array_equal(host(dropout(x, 0.5)), host(dropout(x, 0.5)))


def test_dropout_gradient_uses_the_same_mask() -> None:
    x = cltorch.randn(7, 31, device=DEVICE).t().requires_grad_()
    y = F(cltorch).dropout(x, 0.4)
    weight = cltorch.randn(31, 7, device=DEVICE).requires_grad_()
    (g,) = cltorch.autograd.grad(y, x, weight, create_graph=True)
    kept = host(y) != 0
    np.testing.assert_allclose(host(g), np.where(kept, host(weight) / 0.6, 0), rtol=1e-6)
    (gg,) = cltorch.autograd.grad(g.sum(), weight)
    np.testing.assert_allclose(host(gg), np.where(kept, 1 / 0.6, 0), rtol=1e-6)


@pytest.mark.parametrize(
    "name, shape", [("dropout1d", (40, 30, 5)), ("dropout2d", (40, 30, 5, 2)), ("dropout3d", (40, 30, 3, 2, 2)), ("dropout1d", (300, 5))]
)
def test_channel_dropout(name: str, shape: tuple[int, ...]) -> None:
    y = host(getattr(F(cltorch), name)(cltorch.ones(shape, device=DEVICE), 0.3))
    channels = y.reshape(*(shape[:2] if len(shape) > 2 else shape[:1]), -1)
    assert (
        (channels == channels[..., :1]).all() and abs((channels[..., 0] != 0).mean() - 0.7) < 0.06 and np.allclose(channels[channels != 0], 1 / 0.7)
    )


def test_alpha_dropout_keeps_moments() -> None:
    x = cltorch.randn(N, device=DEVICE)
    y = host(F(cltorch).alpha_dropout(x, 0.3, training=True))
    assert abs(y.mean()) < 0.02 and abs(y.std() - 1) < 0.02
    assert F(cltorch).alpha_dropout(x, 0.3) is x


def test_gumbel_softmax() -> None:
    logits = cltorch.log(cltorch.tensor([0.1, 0.2, 0.7], device=DEVICE)).expand(20000, 3)
    hard = host(F(cltorch).gumbel_softmax(logits, hard=True))
    np.testing.assert_allclose(hard.mean(0), [0.1, 0.2, 0.7], atol=0.015)
    leaf = cltorch.randn(5, 4, device=DEVICE).requires_grad_()
    soft = F(cltorch).gumbel_softmax(leaf, tau=0.5)
    np.testing.assert_allclose(host(soft.sum(-1)), 1, rtol=1e-5)
    F(cltorch).gumbel_softmax(leaf, hard=True)[:, 0].sum().backward()
    assert host(leaf.grad).any()


ERRORS = [
    (RuntimeError, lambda: cltorch.randint(5, 5, (2,))),
    (RuntimeError, lambda: cltorch.randperm(-1)),
    (RuntimeError, lambda: cltorch.empty(2).normal_(0, -1)),
    (RuntimeError, lambda: cltorch.empty(2).uniform_(1, 0)),
    (RuntimeError, lambda: cltorch.empty(2).exponential_(0)),
    (RuntimeError, lambda: cltorch.empty(2).geometric_(1.5)),
    (RuntimeError, lambda: cltorch.rand(2, dtype=cltorch.int64)),
    (RuntimeError, lambda: cltorch.multinomial(cltorch.ones(3), 4)),
    (RuntimeError, lambda: cltorch.empty(2).bernoulli_(2.0)),
    (RuntimeError, lambda: cltorch.multinomial(cltorch.tensor([1.0, -1.0]), 1)),
    (RuntimeError, lambda: cltorch.multinomial(cltorch.zeros(3), 1, True)),
    (RuntimeError, lambda: cltorch.multinomial(cltorch.ones(2, 2, 2), 1)),
    (RuntimeError, lambda: cltorch.normal(0.0, -1.0, (2,))),
    (RuntimeError, lambda: cltorch.rand(-1)),
    (RuntimeError, lambda: cltorch.empty(2, dtype=cltorch.int32).normal_()),
    (TypeError, lambda: cltorch.randint(5)),
    (RuntimeError, lambda: cltorch.multinomial(cltorch.ones(3), 0)),
]


@pytest.mark.parametrize("case", range(len(ERRORS)))
def test_errors(case: int) -> None:
    kind, function = ERRORS[case]
    with pytest.raises(kind):
        function()
