"""Chains: what is recorded, when it runs, and that nobody can tell."""
from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from launched import Launched

import cltorch as torch
from cltorch.core import lazy
from cltorch.dtype import ALL
from cltorch.runtime.device import get
from cltorch.testing import assert_close

LAZY = pytest.mark.skipif(lazy.EAGER, reason="CLTORCH_EAGER=1 launches every operator alone")


def pending(t: torch.Tensor) -> bool:
    return t.storage.value.block is None


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts flushes of chains."""
    seen: list[int] = []
    general, single = lazy.flush, lazy._flush_one
    monkeypatch.setattr(lazy, "flush", lambda *a, **k: (seen.append(1), general(*a, **k))[1])

    def one(value: Any) -> bool:
        before = len(seen)
        done = single(value)
        if done and len(seen) == before:
            seen.append(1)
        return done

    monkeypatch.setattr(lazy, "_flush_one", one)
    return seen


@LAZY
def test_a_chain_is_one_launch(device: Any, launches: list[int]) -> None:
    a, b = torch.randn(100, device=device), torch.randn(100, device=device)
    torch.cuda.synchronize(device)
    a.tolist(), b.tolist()
    launches.clear()
    y = ((a + b) * a - b).relu() * 0.5 + b
    assert pending(y) and not launches
    y.tolist()
    assert len(launches) == 1


@LAZY
def test_values_that_live_on_are_written_by_the_same_launch(device: Any, launches: list[int]) -> None:
    a = torch.ones(50, device=device)
    a.tolist()
    launches.clear()
    kept = a * 2
    dropped = kept + 1
    y = dropped * 3
    del dropped
    y.tolist()
    assert len(launches) == 1 and not pending(kept)
    assert kept.tolist() == [2.0] * 50 and len(launches) == 1


@LAZY
@pytest.mark.parametrize("program", [lambda a, b: a + 3.0 * b, lambda a, b: a + a * b, lambda a, b: (a + b) * 2.0, lambda a, b: a * b + b,
                                     lambda a, b: (a - b).relu() + (a * b).exp()])
def test_only_what_somebody_holds_is_written(device: Any, monkeypatch: pytest.MonkeyPatch, program: Any) -> None:
    """Wherever a temporary stands among the operands: one that counts as wanted costs its memory and a store."""
    written: list[int] = []
    outputs = lazy._outputs
    monkeypatch.setattr(lazy, "_outputs", lambda walk, steps, dev: (written.append(len(steps)), outputs(walk, steps, dev))[1])
    a, b = torch.randn(100, device=device), torch.randn(100, device=device)
    a.tolist(), b.tolist()
    written.clear()
    program(a, b).tolist()
    assert written == [1]


def test_in_place_write_does_not_change_what_was_recorded(device: Any) -> None:
    x = torch.ones(4, device=device)
    y = x + 1
    x.mul_(10)
    x[0] = 7
    z = x + 1
    x[1:3] = -1
    assert y.tolist() == [2.0] * 4
    assert z.tolist() == [8.0, 11.0, 11.0, 11.0]
    assert x.tolist() == [7.0, -1.0, -1.0, 10.0]


def test_overlapping_assignment(device: Any) -> None:
    x = torch.arange(6, dtype=torch.float32, device=device)
    x[1:] = x[:-1] * 2
    assert x.tolist() == [0.0, 0.0, 2.0, 4.0, 6.0, 8.0]
    x[0] += 5
    assert x[0].item() == 5.0


def test_long_chains_are_cut(device: Any) -> None:
    x = torch.zeros(10, device=device)
    y = x
    for _ in range(1000):
        y = y + 1
    assert y.tolist() == [1000.0] * 10


def test_squaring_does_not_grow_without_bound(device: Any) -> None:
    x = torch.full((4,), 1.0, device=device)
    for _ in range(64):
        x = x * x
    assert x.tolist() == [1.0] * 4


@LAZY
def test_what_several_steps_read_counts_once(device: Any, launches: list[int]) -> None:
    """Not as often as there are ways to it: as a tree this one has more than twice LIMIT's nodes."""
    x, y = torch.randn(100, device=device), torch.randn(100, device=device)
    a, b = np.array(x.tolist()), np.array(y.tolist())
    launches.clear()
    d = (x - y).abs() + 0.1
    r = torch.where(d < 1, d * d * d * d, d * d + d) + d * d + d / (d + 1)
    assert not launches and pending(r) and r.storage.value.weight <= lazy.LIMIT
    e = abs(a - b) + 0.1
    want = np.where(e < 1, e ** 4, e * e + e) + e * e + e / (e + 1)
    assert_close(np.array(r.tolist()) / want, np.ones(100), dtype=torch.float32, scale=0.8)
    assert len(launches) == 1


def test_mixed_layouts_in_one_chain(device: Any) -> None:
    rng = np.random.default_rng(0)
    a, b, c = rng.standard_normal((5, 7)).astype("f"), rng.standard_normal((7, 5)).astype("f"), rng.standard_normal(7).astype("f")
    got = (torch.tensor(a, device=device) + torch.tensor(b, device=device).t()) * torch.tensor(c, device=device) - torch.tensor(2.0, device=device)
    np.testing.assert_allclose(got.cpu().numpy(), (a + b.T) * c - 2, rtol=1e-6, atol=1e-6)
    same = torch.tensor(a, device=device)
    np.testing.assert_allclose((same + same.t()[:5, :5] if False else same + same).cpu().numpy(), a + a)


def test_two_views_of_one_tensor_are_two_leaves(device: Any) -> None:
    a = torch.arange(9, dtype=torch.float32, device=device).reshape(3, 3)
    b = torch.arange(9, 18, dtype=torch.float32, device=device).reshape(3, 3)
    host = np.arange(9, dtype="f").reshape(3, 3)
    assert (a.t() + a.t()).tolist() == (host.T + host.T).tolist()
    assert (a.t() + b.t()).tolist() == (host.T + host.T + 9).tolist()
    assert (a.t() + a).tolist() == (host.T + host).tolist()


def test_no_compilation_for_new_sizes_and_scalars(device: Any) -> None:
    def step(n: int, scale: float) -> None:
        ((torch.ones(n, device=device) * scale + 1).relu() * torch.ones(1, device=device)).tolist()

    step(10, 0.5)
    step(1, 0.25)  # one element is an element-aligned operand, not a broadcast one: a layout of its own
    before = sum(len(kernels) for kernels in lazy._kernels.values())
    for n in (1, 100, 5000, 70000):
        step(n, n / 3)
    assert sum(len(kernels) for kernels in lazy._kernels.values()) == before


def test_random_programs_match_numpy(device: Any) -> None:
    rng = np.random.default_rng(3)
    for _ in range(30):
        hosts = [rng.uniform(0.5, 1.5, (4, 6)) for _ in range(3)]
        tensors = [torch.tensor(h, dtype=torch.float32, device=device) for h in hosts]
        for _ in range(12):
            i, j = rng.integers(0, len(hosts), 2)
            kind = rng.integers(0, 5)
            if kind == 0:
                hosts.append(hosts[i] + hosts[j])
                tensors.append(tensors[i] + tensors[j])
            elif kind == 1:
                hosts.append(hosts[i] * 0.5)
                tensors.append(tensors[i] * 0.5)
            elif kind == 2:
                hosts[i] = hosts[i] - 0.25
                tensors[i] = tensors[i].clone()
                tensors[i].sub_(0.25)
            elif kind == 3:
                hosts[j] = hosts[j].copy()
                hosts[j][1:3] = hosts[i][0:2]
                tensors[j] = tensors[j].clone()
                tensors[j][1:3] = tensors[i][0:2]
            else:
                hosts.append(np.maximum(hosts[i], hosts[j]))
                tensors.append(torch.maximum(tensors[i], tensors[j]))
        for h, t in zip(hosts, tensors, strict=True):
            np.testing.assert_allclose(t.cpu().numpy(), h, rtol=1e-4, atol=1e-4)


@LAZY
def test_synchronisation_launches_what_was_recorded(device: Any) -> None:
    x = torch.ones(1000, device=device)
    y, total = x * 2, torch.zeros(1000, device=device)
    total += y
    assert pending(y) and pending(total)
    torch.cuda.synchronize(device)
    assert not pending(y) and not pending(total) and total.tolist() == [2.0] * 1000
    for wait in (torch.cuda.Event().record, torch.cuda.current_stream(device).synchronize, torch.cuda.current_stream(device).query):
        z = y + 1
        wait()
        assert not pending(z)


def test_what_nobody_holds_is_never_launched(device: Any, launches: list[int]) -> None:
    x = torch.ones(1000, device=device)
    torch.cuda.synchronize(device)
    launches.clear()
    x * 3
    torch.cuda.synchronize(device)
    assert len(launches) == lazy.EAGER


def test_the_list_of_recorded_storages_stays_short(device: Any) -> None:
    x = torch.ones(10, device=device)
    for _ in range(20000):
        x = x + 1
    assert len(x._dev.recorded) <= 4096


@pytest.mark.parametrize("n", [1, 31, 255, 256, 257, 4096, 10_003])
def test_large_results_go_past_the_caches(device: Any, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit what smaller ones are: every type, several results of one launch, parts of a tensor, joined parts and rows."""
    dtypes = [d for d in ALL if get("cuda").has_fp64 or d.name not in ("float64", "complex128")]

    def work() -> list[Any]:
        torch.manual_seed(1)
        found = []
        for d in dtypes:
            x = torch.randint(0, 100, (n + 3,), device=device).to(d)
            y = x[:n] * x[3:]
            z = y + y
            found += [z, y, torch.cat([x[:n], z]), torch.cat([y.reshape(1, n), z.reshape(1, n), x[1:n + 1].reshape(1, n)], 1)]
        found.append(torch.nn.functional.gelu(torch.randn(n, device=device).exp() - 1))
        return [t.cpu().numpy().tobytes() if t.dtype is not torch.bfloat16 else t.float().cpu().numpy().tobytes() for t in found]

    plain = work()
    monkeypatch.setattr(lazy, "STREAMED", 1)
    monkeypatch.setattr(lazy, "FEW", 1)
    assert work() == plain


def test_whether_results_go_past_the_caches_depends_on_what_is_read_too(device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    n = 4099
    x, y, one = torch.rand(n, device=device), torch.rand(n + 1, device=device), torch.ones(1, device=device)
    small = x.to(torch.uint8)
    for t in (small, one):
        lazy.realize(t.storage.value)
    seen: list[bool] = []
    build = lazy._build
    monkeypatch.setattr(lazy, "_build", lambda *a: (seen.append(a[-1]), build(*a))[1])
    monkeypatch.setattr(lazy, "_kernels", {})
    monkeypatch.setattr(lazy, "_singles", {})
    monkeypatch.setattr(lazy, "STREAMED", 10 * n)  # a result's bytes count twice
    monkeypatch.setattr(lazy, "FEW", 1)
    cases = [(lambda: x.half(), False), (lambda: small.float(), False), (lambda: x > y[1:], True), (lambda: x * one, True), (lambda: x + y[1:], True)]
    for call, past in cases:
        lazy.realize(call().storage.value)
        assert seen.pop() is (past and x._dev.strategy == "wide") and not seen


@pytest.mark.parametrize("d", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
def test_copies_of_halves_keep_every_bit(device: Any, d: Any) -> None:
    """NaNs with a payload and signalling ones, too: they are moved as the integers that they are."""
    bits = torch.arange(-(1 << 15), 1 << 15, dtype=torch.int16, device=device)
    halves = bits.view(d)
    for seen, wanted in ((halves[1:], bits[1:]), (halves.reshape(256, 256).t(), bits.reshape(256, 256).t()), (halves[::3], bits[::3])):
        assert seen.clone(memory_format=torch.contiguous_format).view(torch.int16).tolist() == wanted.tolist()


@LAZY
@pytest.mark.parametrize("shape, dim", [((5,), None), ((40_000,), None), ((3, 70_001), 1), ((700, 130), 1), ((700, 130), 0), ((2, 300, 5), 1), ((4, 6, 8, 3), (0, 2))])
def test_reductions_compute_a_chain_on_their_way(device: Any, launches: list[int], shape: tuple[int, ...], dim: Any) -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    x, y, factor = torch.tensor(a, device=device), torch.tensor(b, device=device), torch.tensor(1.5, device=device)
    wide = a.astype(np.float64) * b + 1.5
    launches.clear()
    chain = x * y + factor
    for got, want in ((chain.sum(dim), wide.sum(dim)), ((x * y + factor).amax(() if dim is None else dim), wide.max(dim)),
                      ((x * y + factor).var(dim), wide.var(dim, ddof=1)), ((x > y).sum(dim), (a > b).sum(dim))):
        assert not launches
        assert_close(got, np.asarray(want), dtype=torch.float32, scale=8)
        launches.clear()  # reading launches what was recorded
    assert pending(chain) and chain.mean().item() == pytest.approx(wide.mean(), rel=1e-5, abs=1e-6)
    assert not pending(chain), "the second kernel that needs a chain finds it in memory"


@LAZY
def test_what_somebody_holds_is_not_computed_twice(device: Any) -> None:
    x = torch.randn(100, device=device)
    inner = x * 2
    total = (inner + 1).sum()
    assert not pending(inner) and total.item() == pytest.approx(x.numpy(force=True).astype(np.float64).sum() * 2 + 100, rel=1e-5)


@LAZY
def test_a_norm_writes_the_chain_that_it_computes(device: Any) -> None:
    x, y = torch.randn(20, 33, device=device), torch.randn(20, 33, device=device)
    total = x + y
    out = torch.nn.functional.layer_norm(total, (33,))
    assert not pending(total)
    np.testing.assert_array_equal(total.numpy(force=True), x.numpy(force=True) + y.numpy(force=True))
    np.testing.assert_array_equal(out.numpy(force=True), torch.nn.functional.layer_norm(total, (33,)).numpy(force=True))


@LAZY
def test_a_chain_on_the_way_reads_what_was_there_when_it_was_recorded(device: Any) -> None:
    x = torch.ones(1000, device=device)
    chain = x * 3
    x.mul_(5)
    assert chain.sum().item() == 3000 and x.sum().item() == 5000 and chain.tolist() == [3.0] * 1000


@pytest.mark.parametrize("d", [torch.float32, torch.float16, torch.int32, torch.complex64], ids=str)
@pytest.mark.parametrize("m, k, n", [(3, 5, 4), (1, 300, 70), (70, 300, 1), (16, 1000, 40), (33, 70, 41), (70, 64, 512), (130, 600, 260)])
def test_products_with_a_chain_equal_operators_alone(device: Any, d: Any, m: int, k: int, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    a, b, c = (torch.tensor(rng.integers(-3, 4, s), device=device).to(d) for s in ((m, k), (k, n), (m, n)))
    bias = torch.tensor(rng.integers(-3, 4, n), device=device).to(d)

    def results() -> list[np.ndarray]:
        held = a @ b
        outs = [(a @ b) * 2 + c, held * c, held, torch.addmm(bias, a, b) * 3, (b.t() @ a.t()) * 5, (a @ b)[1:] * 2, (a @ b) * bias, (a @ b) + (c @ c.t()) @ c,
                a @ b * (a @ b), (a[None] @ torch.stack([b, b + b])) * 2]
        return [t.numpy(force=True) for t in outs]

    fused = results()
    monkeypatch.setattr(lazy, "EAGER", True)
    for got, want in zip(fused, results(), strict=True):
        np.testing.assert_array_equal(got, want)


@LAZY
def test_a_product_and_what_follows_are_one_launch(device: Any, launched: Launched) -> None:
    functional = torch.nn.functional
    x, w, b = torch.randn(64, 100, device=device), torch.randn(100, 100, device=device, requires_grad=True), torch.randn(100, device=device)

    def realise(t: torch.Tensor) -> None:
        lazy.realize(t.storage.value)

    def labels(call: Any) -> set[str]:
        return {label.split("/")[0] for label in launched.by(call)}

    assert labels(lambda: realise(functional.linear(x, w, b).relu() + x)) == {"matmul"}
    hidden = functional.linear(x, w, b)
    out = functional.gelu(hidden)
    assert labels(lambda: realise(out)) == {"matmul"} and not pending(hidden) and not pending(out), "what somebody holds is written by the same launch"
    assert labels(lambda: functional.linear(x, w, b)) == set(), "a product that nobody holds is never launched"
    assert labels(lambda: realise((x @ w)[:, :50] * 2)) == {"matmul", "mul"}, "a chain over part of it reads it from memory"


@LAZY
def test_few_launches_are_put_off(device: Any) -> None:
    x = torch.randn(8, 8, device=device)
    y = [x @ x for _ in range(lazy.MOST_DEFERRED + 3)]
    assert [pending(t) for t in y] == [False] * 3 + [True] * lazy.MOST_DEFERRED
    torch.cuda.synchronize(device)
    assert not any(map(pending, y))


def test_a_product_reads_what_was_there_when_it_was_recorded(device: Any) -> None:
    x, w = torch.ones(4, 3, device=device), torch.ones(3, 5, device=device)
    y, z = x @ w, torch.zeros(4, 5, device=device)
    w.mul_(2)
    x[0] = 7
    z[:, 1:] = y[:, 1:]
    assert y.tolist() == [[3.0] * 5] * 4 and z[:, 1:].tolist() == [[3.0] * 4] * 4
    x[:, :] = x @ torch.ones(3, 3, device=device)
    assert x.tolist() == [[21.0] * 3] + [[3.0] * 3] * 3


@LAZY
def test_gradients_are_added_by_the_launch_that_computes_them(device: Any, launched: Launched) -> None:
    x, w = torch.randn(40, 30, device=device), torch.randn(30, 50, device=device, requires_grad=True)
    weight = x.numpy(force=True).sum(0, dtype=np.float64)[:, None].repeat(50, 1)
    gradient = torch.ones(40, 50, device=device)
    gradient.tolist()
    for times in (1, 2):
        labels = launched.by(lambda: (x @ w).backward(gradient))
        assert {label.split("/")[0] for label in labels} == {"matmul"} and not pending(w.grad), "a product isn't put off where nothing goes on from it"
        assert_close(w.grad, times * weight, dtype=torch.float32, scale=4)
    y = torch.randn(100, device=device, requires_grad=True)
    for _ in range(2):
        (y.detach() * y).tanh().backward(torch.ones(100, device=device))
        assert pending(y.grad)
        before = y.detach().numpy(force=True).astype(np.float64)
    assert launched.by(lambda: lazy.realize(y.grad.storage.value)) == ["fill+mul+tanh+tanh_backward+mul+fill+mul+tanh+tanh_backward+mul+add"]
    assert_close(y.grad, 2 * before / np.cosh(before * before) ** 2, dtype=torch.float32)


@pytest.mark.parametrize("d", [torch.float32, torch.float16, torch.int32], ids=str)
@pytest.mark.parametrize("image, weight, stride, padding, groups", [
    ((2, 3, 9, 11), (5, 3, 3, 3), 1, 1, 1), ((4, 32, 16, 16), (32, 32, 3, 3), 1, 1, 1), ((2, 8, 15, 17), (12, 8, 3, 3), 2, 1, 1),
    ((2, 8, 15, 17), (8, 1, 3, 3), 1, 1, 8), ((2, 16, 8, 8), (24, 16, 1, 1), 1, 0, 1), ((2, 4, 6, 6), (5, 4, 6, 6), 1, 0, 1)])
def test_convolutions_with_a_chain_equal_operators_alone(device: Any, d: Any, image: tuple[int, ...], weight: tuple[int, ...], stride: int, padding: int,
                                                         groups: int, launched: Launched, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x, w, b = (torch.tensor(rng.integers(-2, 3, s), device=device).to(d) for s in (image, weight, weight[:1]))

    def conv() -> torch.Tensor:
        return torch.nn.functional.conv2d(x, w, b, stride, padding, 1, groups)

    def results() -> list[np.ndarray]:
        held = conv()
        outs = [conv() * 2 + held, held, conv().abs() * b[:, None, None]]
        if d is not torch.int32:
            g = torch.ones_like(x).requires_grad_()
            torch.nn.functional.conv2d(g * x, w, b, stride, padding, 1, groups).sum().backward()
            outs.append(g.grad)
        return [t.numpy(force=True) for t in outs]

    fused = results()
    monkeypatch.setattr(lazy, "EAGER", True)
    for got, want in zip(fused, results(), strict=True):
        np.testing.assert_array_equal(got, want)
    monkeypatch.undo()
    if not lazy.EAGER:
        labels = launched.by(lambda: lazy.realize((conv() * 2).storage.value))
        assert {label.split("/")[0] for label in labels} <= {"conv", "matmul"}
