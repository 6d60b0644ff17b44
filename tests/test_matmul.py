"""Matrix products against PyTorch and NumPy: every rank, layout, type and kernel, epilogues, gradients, errors."""
from __future__ import annotations

import itertools
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from launched import Launched
from oracle import FLOAT_TYPES, F, Input, same, values

import cltorch
from cltorch.core import dispatch
from cltorch.dtype import COMPLEX, NUMERIC, by_name, complex64, decode, float16, float32, float64, int8, int64
from cltorch.ops import gemm, gemm_plan, linalg
from cltorch.runtime.device import get
from cltorch.testing import assert_close

torch = pytest.importorskip("torch")
TYPES = sorted(d.name for d in NUMERIC)
# one of each way: single elements, vectors, dots, small ones, panels read in place, packed panels, edges, several blocks along k
SIZES = [(1, 1, 1), (1, 1, 37), (3, 5, 2), (17, 19, 23), (64, 64, 64), (65, 67, 130), (40, 33, 300), (1, 300, 70), (300, 1, 70), (5, 200, 33), (128, 10, 64),
         (10, 128, 64), (130, 70, 40), (40, 300, 1), (300, 300, 300), (100, 130, 530)]


def operand(device: Any, shape: tuple, dtype: Any, layout: str, seed: int) -> tuple[np.ndarray, Any]:
    """Small exact numbers, and the tensor of them that lies in memory as named."""
    d = dtype
    whole = {"plain": shape, "transposed": (*shape[:-2], shape[-1], shape[-2]), "strided": tuple(2 * n for n in shape),
             "offset": (shape[0] + 1, *shape[1:])}[layout]
    rng = np.random.default_rng(seed)
    numbers = rng.integers(0 if d.name == "uint8" else -4, 5, whole)
    if d.is_complex:
        numbers = numbers + 1j * rng.integers(-4, 5, whole)
    array = numbers if d.is_integral else numbers / 4
    held = cltorch.tensor(array.astype(np.complex128 if d.is_complex else np.float64), device=device, dtype=d)
    if layout == "transposed":
        return np.swapaxes(array, -1, -2), held.transpose(-1, -2)
    if layout == "strided":
        pick = (slice(None, None, 2),) * len(shape)
        return array[pick], held[pick]
    return (array[1:], held[1:]) if layout == "offset" else (array, held)


def check(got: Any, want: np.ndarray, scale: float = 1) -> None:
    d = got.dtype
    assert_close(got, want.astype(d.np) if d.is_integral else want, dtype=d, scale=scale)


@pytest.mark.parametrize("name", TYPES)
def test_every_way_in_every_type(name: str, device: Any) -> None:
    d = by_name(name)
    for number, (m, n, k) in enumerate(SIZES[:-1] if d is not float32 else SIZES):
        a, x = operand(device, (m, k), d, ("plain", "transposed")[number % 2], 2 * number)
        b, y = operand(device, (k, n), d, ("plain", "transposed")[number // 2 % 2], 2 * number + 1)
        check(x @ y, a @ b)


@pytest.mark.parametrize("vector_bytes", [16, 32, 64])
def test_tiles_for_any_vector_registers(vector_bytes: int, device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of this machine, narrower and wider ones: several vectors a tile, tiles at the edges, two blocks of k."""
    monkeypatch.setattr(gemm, "vector_bytes", lambda *_: vector_bytes)
    for d in (float32, float16, complex64, int64):
        for m, n, k in ((13, 70 + vector_bytes, 33), (61, 140 + vector_bytes, 290)):  # no other test's sizes: launches are kept by them
            a, x = operand(device, (m, k), d, "plain", 1)
            b, y = operand(device, (k, n), d, "plain", 2)
            check(x @ y, a @ b, scale=8)


@pytest.fixture
def launched(launched: Launched) -> Iterator[Launched]:
    """No launch that another test prepared, and none is left for others."""
    gemm.prepared.cache_clear()
    yield launched
    gemm.prepared.cache_clear()


@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize("name", ["float32", "float64", "float16", "bfloat16", "complex64", "int8", "int64"])
def test_deep_products_of_few_tiles_are_summed_in_parts(name: str, local: bool, device: Any, launched: Launched,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    """By GPUs, with what comes behind and beside them; through local memory or without."""
    monkeypatch.setattr(gemm, "through_local_memory", lambda dev: local)
    d, dev = by_name(name), get("cuda")
    for (batch, m, n, k), left, right in (((1, 5, 7, 1031), "plain", "transposed"), ((1, 16, 18, 800), "transposed", "offset"), ((3, 4, 2, 513), "strided", "plain")):
        a, x = operand(device, (batch, m, k), d, left, 1)
        b, y = operand(device, (batch, k, n), d, right, 2)
        c, z = operand(device, (batch, m, n), d, "transposed", 3)
        check(cltorch.baddbmm(z, x, y, beta=2, alpha=3) * 2, (2 * c + 3 * (a @ b)) * 2, scale=8)
        check(x[0] @ y[0], a[0] @ b[0], scale=8)
    if dev.strategy == "grid" and dev.compute_units > 1:
        assert [name for name in launched.names if name.startswith("grid")] == ["grid_part", "grid_fold"] * 6


def test_parts_of_k_fill_a_gpu_and_no_more() -> None:
    unit = gemm_plan.Layout(True, False)

    def chosen(m: int, n: int, k: int, batch: int = 1) -> tuple[int, int]:
        found = gemm_plan.plan("grid", m, n, k, batch, float32, unit, unit, units=64)
        return dict(found.tunables)["TM"], found.parts

    assert chosen(4096, 4096, 4096) == (128, 1)
    assert chosen(512, 512, 512) == (32, 1)  # two parts would write as much as they read
    assert chosen(512, 512, 8192) == (128, 8)
    assert chosen(64, 64, 1 << 16) == (64, 128)
    assert chosen(64, 64, 1 << 16, batch=256) == (64, 1)
    assert chosen(1, 4096, 4096) == (16, 4)
    assert chosen(1 << 10, 1 << 10, 1 << 20)[1] == 1  # in launches by rows


def test_who_multiplies_without_local_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def device(vendor: str, kind: str, in_main_memory: bool) -> Any:
        return SimpleNamespace(vendor=vendor, kind=kind, local_mem_is_global=in_main_memory)

    numbers: dict[str, int] = {}
    monkeypatch.setattr(gemm_plan.dispatch, "given", lambda *_: numbers)
    assert gemm_plan.through_local_memory(device("NVIDIA Corporation", "discrete GPU", False))
    assert gemm_plan.through_local_memory(device("GenuineIntel", "CPU", True))
    assert not gemm_plan.through_local_memory(device("ARM", "integrated GPU", True))
    assert not gemm_plan.through_local_memory(device("Intel(R) Corporation", "discrete GPU", False))
    numbers["LOCAL"] = 1
    assert gemm_plan.through_local_memory(device("Intel(R) Corporation", "discrete GPU", False))


@pytest.mark.parametrize(("m", "n", "k", "left", "way"), [(800, 520, 90, "plain", "panel_packed"), (800, 72, 640, "plain", "panel_half"),
                                                          (260, 1030, 510, "transposed", "panel_packed")])
def test_what_would_be_gathered_again_and_again_is_packed(m: int, n: int, k: int, left: str, way: str, device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large operands, where a row of b's panel is a single cache line."""
    plain = gemm_plan.Layout(True, False)
    assert gemm_plan.plan("wide", m, n, k, 1, float32, plain if left == "plain" else gemm_plan.Layout(False, True), plain, 32).way == way
    monkeypatch.setattr(gemm, "vector_bytes", lambda *_: 32)
    a, x = operand(device, (m, k), float32, left, 1)
    b, y = operand(device, (k, n), float32, "plain", 2)
    check(x @ y, a @ b, scale=8)


@pytest.mark.parametrize("layouts", list(itertools.product(("plain", "transposed", "strided", "offset"), repeat=2)), ids="-".join)
def test_layouts(layouts: tuple[str, str], device: Any) -> None:
    for d in (float32, float16, int64):
        for m, n, k in ((7, 9, 5), (40, 70, 33), (130, 64, 64)):
            a, x = operand(device, (m, k), d, layouts[0], 1)
            b, y = operand(device, (k, n), d, layouts[1], 2)
            check(x @ y, a @ b)


BATCHES = [((3,), (3,)), ((2, 1), (1, 3)), ((4, 1, 2), (3, 1)), ((2, 3), (1, 3)), ((), (2, 2)), ((2, 1, 2), (2, 1)), ((2, 2, 2), (2, 2, 2))]


@pytest.mark.parametrize("left, right", BATCHES)
@pytest.mark.parametrize("m, n, k", [(3, 4, 5), (20, 70, 40)])
def test_batches_broadcast(left: tuple, right: tuple, m: int, n: int, k: int) -> None:
    same(lambda lib, a, b: lib.matmul(a, b), values((*left, m, k)), values((*right, k, n), seed=1), scale=50)


def test_batches_of_permuted_views_are_not_copied(device: Any) -> None:
    a, x = operand(device, (2, 9, 4, 8), float32, "plain", 1)  # (batch, position, head, channel), as attention splits its heads
    b, y = operand(device, (2, 11, 4, 8), float32, "plain", 2)
    got = x.transpose(1, 2) @ y.permute(0, 2, 3, 1)
    check(got, a.transpose(0, 2, 1, 3) @ b.transpose(0, 2, 3, 1))
    _, z = operand(device, (3, 8), float32, "plain", 3)
    assert (z.expand(5, 3, 8) @ z.expand(5, 3, 8).mT).shape == (5, 3, 3)


RANKS = [((3,), (3,)), ((3,), (3, 4)), ((2, 3), (3,)), ((2, 3), (3, 4)), ((2, 5, 3), (3,)), ((3,), (2, 3, 4)), ((2, 5, 3), (3, 4)), ((5, 3), (2, 3, 4)),
         ((2, 5, 3), (2, 3, 4)), ((0, 3), (3, 2)), ((2, 0), (0, 3)), ((2, 3), (3, 0)), ((0, 2, 3), (0, 3, 4)), ((0,), (0,))]


@pytest.mark.parametrize("a, b", RANKS, ids=str)
def test_ranks(a: tuple, b: tuple) -> None:
    same(lambda lib, x, y: lib.matmul(x, y), values(a), values(b, seed=1), scale=4)


@pytest.mark.parametrize("a, b", [r for r in RANKS if 0 not in r[0] + r[1]], ids=str)
def test_second_order(a: tuple, b: tuple) -> None:
    same(lambda lib, x, y: lib.matmul(x, y), values(a, low=-1, high=1), values(b, seed=1, low=-1, high=1), scale=20, second=True)


@pytest.mark.parametrize("dtype", ["complex64", "complex128", "float16", "bfloat16"])
def test_gradients_in_other_types(dtype: str) -> None:
    same(lambda lib, x, y: lib.matmul(x, y), Input(values((3, 4), dtype), dtype), Input(values((4, 2), dtype, seed=1), dtype), scale=4)


def test_operators_and_methods(device: Any) -> None:
    a, b = cltorch.tensor(values((2, 3)), device=device), cltorch.tensor(values((3, 4)), device=device)
    want = (a @ b).cpu().numpy()
    for got in (a.matmul(b), a.mm(b), cltorch.mm(a, b), cltorch.linalg.matmul(a, b), cltorch.matmul(a, b, out=cltorch.empty(2, 4, device=device))):
        assert np.array_equal(got.cpu().numpy(), want)
    for wrong in (lambda: a @ 2, lambda: 2 @ a, lambda: cltorch.matmul(a, 2), lambda: cltorch.mm(a, None)):
        with pytest.raises(TypeError):
            wrong()


def test_nan_and_infinity_stay_where_they_belong(device: Any) -> None:
    for m, n, k in ((5, 6, 7), (40, 70, 150), (150, 10, 100)):
        a, b = values((m, k)), values((k, n), seed=1)
        a[m // 2, 1], b[2, n // 2] = np.nan, np.inf
        b[b == 0] = 1
        got = (cltorch.tensor(a, device=device) @ cltorch.tensor(b, device=device)).cpu().numpy()
        assert np.isnan(got[m // 2]).all() and not np.isnan(np.delete(np.delete(got, m // 2, 0), n // 2, 1)).any()


def test_integers_wrap_in_their_own_type(device: Any) -> None:
    a = np.full((20, 50), 100, np.int8)
    got = (cltorch.tensor(a, device=device) @ cltorch.tensor(a.T.copy(), device=device)).cpu().numpy()
    assert got.dtype == np.int8 and np.array_equal(got, a @ a.T)
    big = np.full((3, 40), 2 ** 60 + 1, np.int64)
    got = (cltorch.tensor(big, device=device) @ cltorch.tensor(big.T.copy(), device=device)).cpu().numpy()
    assert np.array_equal(got, big @ big.T)


def test_halves_are_summed_in_float(device: Any) -> None:
    a = cltorch.full((4, 5000), 0.01, dtype=float16, device=device)
    want = 5000 * float(np.float16(0.01)) ** 2
    for got in (a @ a.t(), a @ cltorch.full((5000, 64), 0.01, dtype=float16, device=device)):
        assert abs(decode(got._host(), float16).astype(np.float64) - want).max() < 0.001


def test_results_repeat_bit_for_bit(device: Any) -> None:
    a, b = (cltorch.tensor(np.random.default_rng(s).normal(size=(190, 333)).astype(np.float32), device=device) for s in (1, 2))
    first = (a @ b.t()).cpu().numpy()
    assert all(np.array_equal((a @ b.t()).cpu().numpy(), first) for _ in range(5))


# sums of products and other things


@pytest.mark.parametrize("add", [(20, 70), (70,), (20, 1), (1,), ()], ids=str)
@pytest.mark.parametrize("factors", [{}, {"beta": 2, "alpha": 0.5}, {"beta": 0}, {"alpha": 3}], ids=str)
def test_addmm(add: tuple, factors: dict) -> None:
    same(lambda lib, c, a, b: lib.addmm(c, a, b, **factors), values(add), values((20, 33), seed=1), values((33, 70), seed=2), scale=50)


def test_addmm_without_beta_ignores_nan(device: Any) -> None:
    nan = cltorch.full((2, 4), float("nan"), device=device)
    got = cltorch.addmm(nan, cltorch.ones(2, 3, device=device), cltorch.ones(3, 4, device=device), beta=0)
    assert (got.cpu().numpy() == 3).all()


def test_other_sums() -> None:
    same(lambda lib, c, a, b: lib.baddbmm(c, a, b, beta=2, alpha=3), values((2, 3, 5)), values((2, 3, 4), seed=1), values((2, 4, 5), seed=2), scale=5)
    same(lambda lib, c, a, b: lib.addbmm(c, a, b, beta=2, alpha=3), values((3, 5)), values((2, 3, 4), seed=1), values((2, 4, 5), seed=2), scale=5)
    same(lambda lib, c, a, v: lib.addmv(c, a, v, beta=2, alpha=3), values((3,)), values((3, 4), seed=1), values((4,), seed=2), scale=5)
    same(lambda lib, c, u, v: lib.addr(c, u, v, beta=2, alpha=3), values((3, 4)), values((3,), seed=1), values((4,), seed=2))
    same(lambda lib, u, v: lib.outer(u, v), values((3,)), values((4,), seed=1))
    same(lambda lib, u, v: lib.dot(u, v), values((100,)), values((100,), seed=1), scale=4)
    same(lambda lib, u, v: lib.vdot(u, v), values((9,), "complex64"), values((9,), "complex64", seed=1))
    same(lambda lib, u, v: lib.dot(u, v), values((40000,)), values((40000,), seed=1), scale=100)
    same(lambda lib, a, b: lib.inner(a, b), values((2, 3, 5)), values((4, 5), seed=1), scale=5)
    same(lambda lib, a, b: lib.kron(a, b), values((2, 3)), values((4, 1, 5), seed=1))
    same(lambda lib, a, b: lib.tensordot(a, b, dims=([0, 2], [2, 0])), values((2, 3, 4)), values((4, 5, 2), seed=1), scale=5)
    same(lambda lib, *a: lib.linalg.multi_dot(a), values((3, 50)), values((50, 2), seed=1), values((2, 40), seed=2), scale=50)


def test_in_place_sums(device: Any) -> None:
    c, a, b = (cltorch.tensor(values(s), device=device) for s in ((2, 4), (2, 3), (3, 4)))
    storage, want = c.storage, cltorch.addmm(c, a, b).cpu().numpy()
    assert c.addmm_(a, b) is c and c.storage is storage and np.array_equal(c.cpu().numpy(), want)


@pytest.mark.parametrize("dtype", FLOAT_TYPES)
@pytest.mark.parametrize("shape", [(3,), (2, 3), (64, 3), (4, 5, 3), (2, 4, 5, 3)], ids=str)
def test_linear(shape: tuple, dtype: str) -> None:
    inputs = [Input(values(s, seed=i), dtype) for i, s in enumerate((shape, (6, 3), (6,)))]
    same(lambda lib, x, w, b: F(lib).linear(x, w, b), *inputs, scale=4)


@pytest.mark.parametrize("batch, inputs, outputs", [(64, 784, 512), (64, 512, 10), (1, 200, 300), (200, 30, 40), (7, 1, 9)])
def test_linear_of_a_network(batch: int, inputs: int, outputs: int) -> None:
    low = {"low": -1, "high": 1}
    inputs = [values(s, seed=i, **low) for i, s in enumerate(((batch, inputs), (outputs, inputs), (outputs,)))]
    same(lambda lib, x, w, b: F(lib).linear(x, w, b), *inputs, scale=50)


def test_linear_of_other_ranks_and_second_order() -> None:
    same(lambda lib, x, w: F(lib).linear(x, w), values((2, 3)), values((3,), seed=1))
    same(lambda lib, x, w: F(lib).linear(x, w), values((3,)), values((3,), seed=1))
    same(lambda lib, x, w, b: F(lib).linear(x, w, b), values((2, 4, 3)), values((5, 3), seed=1), values((5,), seed=2), scale=20, second=True)
    inputs = [values(s, seed=i) for i, s in enumerate(((2, 4, 3), (2, 4, 5), (6, 3, 5), (6,)))]
    same(lambda lib, x, y, w, b: F(lib).bilinear(x, y, w, b), *inputs, scale=20)


def test_linear_with_bias_is_one_product_and_no_copy(device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    kernel = dispatch.kernel

    def counted(dev: Any, template: str, entry: str | None = None, **params: Any) -> Any:
        found = kernel(dev, template, entry, **params)

        def launch(*args: Any) -> None:
            calls.append(f"{template}:{found.name}")
            found(*args)
        return launch

    monkeypatch.setattr(dispatch, "kernel", counted)
    gemm.prepared.cache_clear()
    linalg._linear_of.cache_clear()
    x, w, b = (cltorch.tensor(values(s), device=device) for s in ((64, 784), (512, 784), (512,)))
    held = [F(cltorch).linear(x, w, b)]
    held.append(F(cltorch).linear(cltorch.tensor(values((40, 64, 100))[:, :, ::1], device=device), cltorch.tensor(values((100, 300)), device=device).t(), None))
    cltorch.cuda.synchronize(device)
    gemm.prepared.cache_clear()
    linalg._linear_of.cache_clear()
    assert all(name.startswith("matmul/") for name in calls)
    assert len([name for name in calls if "pack" not in name.split(":")[1] or "panel" in name.split(":")[1]]) == 2


EQUATIONS = [("ij,jk", (2, 3), (3, 4)), ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)), ("...ij,...kj->...ik", (2, 1, 3, 4), (5, 2, 4)),
             ("ij,ij->i", (2, 3), (2, 3)), ("ij,kl->ijkl", (2, 3), (4, 5)), ("iij->j", (3, 3, 2)), ("ij->", (2, 3)),
             ("bhqd,bhkd->bhqk", (2, 3, 4, 5), (2, 3, 6, 5)), ("ij,j->i", (2, 3), (3,)), ("ab,bc,cd->ad", (2, 3), (3, 4), (4, 5)),
             ("ij,j", (2, 1), (3,)), ("aBc->Bac", (2, 3, 4)), ("i...,j...->ij...", (2, 3), (4, 3)), ("ba,dca->bdc", (2, 3), (4, 5, 3))]


@pytest.mark.parametrize("case", EQUATIONS, ids=lambda c: c[0])
def test_einsum(case: tuple) -> None:
    equation, *shapes = case
    same(lambda lib, *a: lib.einsum(equation, *a), *[values(s, seed=i) for i, s in enumerate(shapes)], scale=20)


def test_einsum_of_lists_and_halves() -> None:
    same(lambda lib, a, b: lib.einsum(a, [0, 1], b, [1, 2], [2, 0]), values((2, 3)), values((3, 4), seed=1))
    same(lambda lib, a, b: lib.einsum(a, [..., 0], b, [..., 0], [...]), values((2, 3)), values((2, 3), seed=1))
    same(lambda lib, a, b: lib.einsum("ij,jk->ki", a, b), Input(values((2, 3)), "bfloat16"), Input(values((3, 4), seed=1), "bfloat16"), scale=2)


# plans: pure, legal, within bounds


def test_plans_are_legal_and_bounded() -> None:
    flags = (False, True)
    for m, n, k, d in itertools.product((1, 7, 64, 1000), (1, 30, 512), (1, 20, 700), (float32, float64, float16, int8, *sorted(COMPLEX))):
        for row_a, column_a, row_b, column_b in itertools.product(flags, repeat=4):
            a, b = gemm_plan.Layout(row_a or k == 1, column_a or m == 1), gemm_plan.Layout(row_b or n == 1, column_b or k == 1)
            for vectors in (16, 32, 64):
                chosen = gemm_plan.plan("wide", m, n, k, 1, d, a, b, vectors)
                t = dict(chosen.tunables)
                if chosen.way in ("panel_direct", "panel_local"):
                    assert t["NV"] * t["VW"] <= (m if chosen.swap else n)
                if chosen.way == "panel_direct":
                    assert a.column if chosen.swap else b.row
                if chosen.way.startswith("panel"):
                    down, across = -(-m // t["MR"]), -(-n // (t["NV"] * t["VW"]))
                    for units, most in itertools.product((1, 2, 64), (8, 128, 192)):
                        tiles, panels = gemm_plan.shared(down, across, units, chosen.way, row_a, row_b, {**t, "TILES": most}, vector_bytes=vectors)
                        assert 1 <= tiles <= down and 1 <= panels <= across and tiles * panels <= most
                        assert tiles <= gemm_plan.ROWS or (row_a and chosen.way == "panel_local")
            for group, units in ((1, 1), (64, 4), (256, 2), (1024, 80)):
                chosen = gemm_plan.plan("grid", m, n, k, 1, d, a, b, group=group, units=units)
                t = dict(chosen.tunables)
                assert 1 <= chosen.parts <= max(1, k // gemm_plan.DEPTH)
                assert t["TM"] // t["RM"] * (t["TN"] // t["RN"]) <= group
                assert t["TK"] * (t["TM"] + t["TN"] + 2) * max(d.itemsize, 4) <= gemm_plan.LOCAL_BYTES


@pytest.mark.parametrize("local", [1, 0])
@pytest.mark.parametrize("side, each", [(64, 4), (16, 1), (8, 8)])
def test_blocks_for_gpus_of_every_size(side: int, each: int, local: int, device: Any) -> None:
    """The tiles that only a large device would choose."""
    a, x = operand(device, (70, 37), float32, "plain", 1)
    b, y = operand(device, (37, 65), float32, "plain", 2)
    dev = x._dev
    tile = {"TM": side, "TN": side, "TK": 8, "RM": each, "RN": each, "LOCAL": local}
    kernel = dispatch.kernel(dev, "matmul/grid", way="grid", dtype=float32, out=float32, **tile)
    out = cltorch.zeros(70, 65, device=device)
    items = side // each
    c = (dispatch.buffer(out), 0, 65, 1, 0, 0)
    operands = (dispatch.buffer(x), 0, 37, 1, 0, 0, dispatch.buffer(y), 0, 65, 1, 0, 0)
    kernel((-(-65 // side) * items, -(-70 // side) * items, 1), (items, items, 1), *operands, *c, *c, 70, 65, 37, 1, 1.0, 0.0, 0)
    check(out, a @ b)


# errors


def _pair(a: tuple, b: tuple, other: str = "float32") -> tuple:
    return Input(np.ones(a, np.float32)), Input(np.ones(b), other)


ERRORS = [
    ("matmul", _pair((2, 3), (4, 5)), "mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"),
    ("mm", _pair((2, 3), (3, 5), "float64"), "expected m1 and m2 to have the same dtype, but got: float != double"),
    ("mm", _pair((3,), (3, 5)), "self must be a matrix"),
    ("matmul", _pair((3,), (4,)), "inconsistent tensor size, expected tensor [3] and src [4] to have the same number of elements"),
    ("matmul", _pair((2, 3), (4,)), "size mismatch, got input (2), mat (2x3), vec (4)"),
    ("matmul", _pair((3,), (4, 5)), "mat1 and mat2 shapes cannot be multiplied (1x3 and 4x5)"),
    ("matmul", _pair((2, 2, 3), (3, 3, 4)), "The size of tensor a (2) must match the size of tensor b (3) at non-singleton dimension 0"),
    ("matmul", _pair((2, 2, 3), (2, 4, 4)), "Expected size for first two dimensions of batch2 tensor to be: [2, 3] but got: [2, 4]."),
    ("bmm", _pair((2, 2, 3), (3, 3, 4)), "Expected size for first two dimensions of batch2 tensor to be: [2, 3] but got: [3, 3]."),
    ("bmm", _pair((2, 3), (2, 4, 4)), "batch1 must be a 3D tensor"),
    ("bmm", _pair((2, 2, 3), (2, 3, 4), "float64"), "expected scalar type Float but found Double"),
    ("mv", _pair((3,), (3,)), "vector + matrix @ vector expected, got 1, 1, 1"),
    ("dot", _pair((3, 3), (3,)), "1D tensors expected, but got 2D and 1D tensors"),
    ("dot", _pair((3,), (3,), "float64"), "dot : expected both vectors to have same dtype, but found Float and Double"),
    ("inner", _pair((2, 3), (2, 4)), "inner() the last dimension must match on both input tensors but got shapes [2, 3] and [2, 4]"),
    ("outer", _pair((2, 2), (3,)), "outer: Expected 1-D argument self, but got 2-D"),
]


def _raises(function: Any, inputs: tuple, text: str) -> None:
    for library in (cltorch, torch):
        with pytest.raises(RuntimeError) as error:
            function(library, *[i.on(library)[1] for i in inputs])
        assert text in str(error.value), library.__name__


@pytest.mark.parametrize("name, inputs, text", ERRORS, ids=lambda v: v if isinstance(v, str) and len(v) < 10 else "")
def test_errors_have_the_sentences_of_pytorch(name: str, inputs: tuple, text: str) -> None:
    _raises(lambda lib, *a: getattr(lib, name)(*a), inputs, text)


def test_more_errors(device: Any) -> None:
    ones = tuple(Input(np.ones(s, np.float32)) for s in ((3, 3), (2, 3), (3, 5)))
    _raises(lambda lib, c, a, b: lib.addmm(c, a, b), ones, "The expanded size of the tensor (5) must match the existing size (3) at non-singleton dimension 1.")
    _raises(lambda lib, c, a, b: F(lib).linear(c, a, b), ones, "The expanded size of the tensor")
    _raises(lambda lib, a: lib.einsum("ij,jk", a), ones[:1], "fewer operands were provided than specified in the equation")
    _raises(lambda lib, a, b: lib.einsum("ij,jk", a, b), (ones[1], ones[1]), "does not broadcast with previously seen size")
    _raises(lambda lib, a: lib.einsum("ii->ij", a), ones[:1], "output subscript j does not appear in the equation for any input operand")
    _raises(lambda lib, a: lib.linalg.multi_dot([a]), ones[:1], "expected at least 2 tensors but got 1")
    for name, shapes in (("mm", ((2, 3), (3, 2))), ("bmm", ((1, 2, 3), (1, 3, 2))), ("mv", ((2, 3), (3,))), ("dot", ((3,), (3,)))):
        with pytest.raises(NotImplementedError, match="not implemented for 'Bool'"):
            getattr(cltorch, name)(*[cltorch.ones(s, dtype=cltorch.bool, device=device) for s in shapes])
    with pytest.raises(RuntimeError, match="both arguments to matmul need to be at least 1D, but they are 0D and 1D"):
        cltorch.matmul(cltorch.ones((), device=device), cltorch.ones(3, device=device))
    with pytest.raises(RuntimeError, match="same device"):
        cltorch.ones(2, 3) @ cltorch.ones(3, 2, device=device)




@pytest.mark.parametrize("register", [16, 32])
def test_processors_with_other_vector_registers(register: int, device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gemm, "vector_bytes", lambda dev, family: register)
    for cache in (gemm.prepared, linalg._matmul_of):
        cache.cache_clear()
    for m, n, k in ((70, 65, 40), (40, 300, 70), (5, 200, 33), (1, 300, 70), (300, 1, 70)):
        for layouts in (("plain", "plain"), ("plain", "transposed"), ("transposed", "plain")):
            a, x = operand(device, (m, k), float32, layouts[0], 1)
            b, y = operand(device, (k, n), float32, layouts[1], 2)
            check(x @ y, a @ b)
    for cache in (gemm.prepared, linalg._matmul_of):
        cache.cache_clear()
