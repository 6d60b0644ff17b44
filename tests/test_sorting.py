"""Sorting, selecting, counting, searching against PyTorch: all types, NaN, ties, long and many rows, gradients, errors."""

from __future__ import annotations

import numpy as np
import pytest
from oracle import ALL_TYPES, DEVICE, Input, host, raises_alike, same, torch, values

import cltorch

REAL = [d for d in ALL_TYPES if not d.startswith("complex")]
SHAPES = [(), (1,), (0,), (7,), (3, 5), (2, 33, 3), (40, 40), (0, 4), (3, 0), (5, 1500)]


def special(shape: tuple[int, ...], dtype: str, seed: int = 0) -> np.ndarray:
    """Values with ties and, for floats, NaN, infinities and both zeros."""
    x = values(shape, dtype, seed, low=-2, high=2)
    if "float" in dtype and x.size > 6:
        x.reshape(-1)[[0, 2, 3, 5, 6]] = [np.nan, -0.0, 0.0, np.inf, -np.inf]
    return x


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("dtype", REAL)
def test_sort(dtype: str, descending: bool) -> None:
    for shape in SHAPES:
        x = Input(special(shape, dtype), dtype, grad=False)
        same(lambda t, x: tuple(t.sort(x, stable=True, descending=descending)), x)
        if len(shape) > 1:
            same(lambda t, x: tuple(x.sort(dim=0, stable=True, descending=descending)), x)
            same(lambda t, x: tuple(x.transpose(0, 1).sort(stable=True, dim=0, descending=descending)), x)


@pytest.mark.parametrize("n", [31, 32, 33, 255, 257, 1024, 1025, 4097, 20011])
@pytest.mark.parametrize("dtype", ["float32", "int64", "float16", "bool", "float64", "uint8", "int16"])
def test_long_rows(n: int, dtype: str) -> None:
    for rows in (1, 3):
        x = Input(special((rows, n), dtype), dtype, grad=False)
        same(lambda t, x: tuple(x.sort(stable=True)) + tuple(x.sort(stable=True, descending=True)), x)


def test_sort_gradient() -> None:
    distinct = np.random.default_rng(0).permutation(60).reshape(3, 4, 5).astype(np.float32)
    for function in (
        lambda t, x: x.sort(1).values,
        lambda t, x: t.sort(x, descending=True)[0],
        lambda t, x: t.msort(x),
        lambda t, x: x.topk(2, 1)[0],
        lambda t, x: x.kthvalue(2, 0)[0],
        lambda t, x: x.kthvalue(1, keepdim=True).values,
        lambda t, x: x.topk(3, largest=False).values,
    ):
        same(function, distinct, second=True)
        same(function, Input(distinct, layout="transposed"))


def test_argsort_and_named_results() -> None:
    x = Input(values((3, 50)), grad=False)
    same(lambda t, x: (x.argsort(stable=True), t.argsort(x, dim=0, stable=True, descending=True), x.msort()), x)
    result = cltorch.tensor([2.0, 1.0], device=DEVICE).sort()
    assert result.values.tolist() == [1, 2] and result.indices.tolist() == [1, 0] and repr(result).startswith("torch.return_types.sort(")


def test_out() -> None:
    x = cltorch.tensor([3.0, 1.0, 2.0], device=DEVICE)
    out = cltorch.empty(0, device=DEVICE), cltorch.empty(0, dtype=cltorch.int64, device=DEVICE)
    cltorch.sort(x, out=out)
    assert out[0].tolist() == [1, 2, 3] and out[1].tolist() == [1, 2, 0]
    cltorch.topk(x, 1, out=out)
    assert out[0].tolist() == [3] and out[1].tolist() == [0]


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("dtype", [d for d in REAL if d != "bool"])
def test_topk_values(dtype: str, largest: bool) -> None:
    for shape, k in (((7,), 3), ((3, 50), 5), ((2, 3000), 10), ((1, 40000), 40), ((30, 600), 1), ((4, 2000), 300), ((3, 5), 0), ((), 1), ((5, 3), 3)):
        x = Input(special(shape, dtype), dtype, grad=False)
        same(lambda t, x, k=k: x.topk(k, largest=largest).values, x)
        got = cltorch.topk(x.on(cltorch)[1], k, largest=largest)
        if shape:
            again = np.take_along_axis(host(x.on(cltorch)[1]), host(got.indices), -1)
            np.testing.assert_array_equal(again, host(got.values))


def test_topk_of_distinct_values_and_other_dims() -> None:
    x = np.random.default_rng(0).permutation(90000).astype(np.float32)
    same(lambda t, x: tuple(x.topk(17)) + tuple(x.view(300, 300).topk(5, 0)) + tuple(x.view(300, 300).topk(150, 1, False)), Input(x, grad=False))


def test_ties_keep_their_order() -> None:
    x = cltorch.zeros(5000, device=DEVICE)
    assert x.sort().indices.tolist() == list(range(5000)) and x.sort(descending=True).indices.tolist() == list(range(5000))
    assert x.topk(20).indices.tolist() == list(range(20))


@pytest.mark.parametrize("dtype", [d for d in REAL if d != "bool"])
def test_kthvalue(dtype: str) -> None:
    x = Input(special((4, 9), dtype), dtype, grad=False)
    same(lambda t, x: (x.kthvalue(3).values, x.kthvalue(2, 0, True).values, x[0, 0].kthvalue(1)[0]), x)


@pytest.mark.parametrize("dtype", REAL)
def test_unique(dtype: str) -> None:
    for shape in ((), (1,), (0,), (40,), (6, 7), (3000,)):
        x = values(shape, dtype, low=-2, high=2)
        same(
            lambda t, x: [x.unique(), *t.unique(x, return_inverse=True), *x.unique(return_counts=True), *x.unique(True, True, True)],
            Input(x, dtype, grad=False),
        )
        if shape:
            same(lambda t, x: [x.unique_consecutive(), *t.unique_consecutive(x, True, True)], Input(np.sort(x, -1), dtype, grad=False))


def test_unique_of_slices() -> None:
    x = np.random.default_rng(0).integers(0, 2, (30, 3, 2))
    for dim in (0, 1, 2, -1):
        same(lambda t, x, dim=dim: [x.unique(dim=dim), *x.unique(dim=dim, return_inverse=True, return_counts=True)], Input(x))
        same(lambda t, x, dim=dim: [x.unique_consecutive(dim=dim), *x.unique_consecutive(True, True, dim)], Input(x))


def test_bincount() -> None:
    x = Input(values((500,), "int64", low=0, high=9))
    same(lambda t, x: [x.bincount(), t.bincount(x, minlength=20), x.int().bincount(), x[:0].bincount(), x[:0].bincount(minlength=3)], x)
    same(lambda t, x, w: [x.bincount(w), x.bincount(w.double(), 12), x.bincount(w.int())], x, Input(values((500,)), grad=False))


def test_histc() -> None:
    x = Input(values((1000,)), grad=False)
    same(lambda t, x: [t.histc(x, 10, -2, 2), x.histc(7), t.histc(x.double(), 5, 0, 0), t.histc(x[:0], 4), t.histc(x * 0 + 1, 4)], x)


@pytest.mark.parametrize("dtype", ["float32", "int64", "float16", "int32", "float64", "uint8"])
def test_searchsorted(dtype: str) -> None:
    rows, queries = np.sort(values((3, 40), dtype, low=-3, high=3), -1), values((3, 11), dtype, seed=1, low=-4, high=4)
    same(
        lambda t, b, v: [
            t.searchsorted(b, v),
            t.searchsorted(b, v, right=True),
            t.searchsorted(b[0], v, side="right"),
            t.searchsorted(b[1].contiguous(), v[0], out_int32=True),
            t.bucketize(v, b[2].contiguous()),
            t.bucketize(v, b[2].contiguous(), right=True),
            t.searchsorted(b[0], v[:, :0]),
        ],
        Input(rows, dtype, grad=False),
        Input(queries, dtype, grad=False),
    )
    same(lambda t, b: [t.searchsorted(b[0], 1), t.bucketize(2, b[0])], Input(rows, dtype, grad=False))
    same(
        lambda t, b, v: t.searchsorted(b, v, sorter=b.argsort(stable=True)),
        Input(values((3, 40), dtype, seed=2), dtype, grad=False),
        Input(queries, dtype, grad=False),
    )


def test_searchsorted_of_mixed_types() -> None:
    same(
        lambda t, b, v: [
            t.searchsorted(b, v),
            t.searchsorted(b, v.int()),
            t.searchsorted(b.long(), v),
            t.bucketize(v.half(), b),
            t.searchsorted(b.long(), 1.5),
        ],
        Input(np.arange(5.0), "float32", grad=False),
        Input(values((6,)), grad=False),
    )


def test_searchsorted_with_nan() -> None:
    same(lambda t, b: t.searchsorted(b, b), Input(np.array([1, 2, np.nan, np.nan], np.float32), grad=False))


def test_isin() -> None:
    x, y = Input(values((4, 5), "int64")), Input(np.array([1, -2, 3]))
    same(
        lambda t, x, y: [
            t.isin(x, y),
            t.isin(x, y, invert=True),
            t.isin(x, 2),
            t.isin(2, y),
            t.isin(x.float(), y.float()),
            t.isin(x, y[:0]),
            t.isin(x[:0], y),
        ],
        x,
        y,
    )


ERRORS = [
    (IndexError, lambda t, x: x.sort(2)),
    (NotImplementedError, lambda t, x: t.complex(x, x).sort()),
    (RuntimeError, lambda t, x: x.topk(5)),
    (RuntimeError, lambda t, x: x.topk(-1)),
    (RuntimeError, lambda t, x: x.kthvalue(0)),
    (RuntimeError, lambda t, x: x.kthvalue(5)),
    (RuntimeError, lambda t, x: t.bincount(x)),
    (RuntimeError, lambda t, x: t.bincount(t.tensor([-1], device=x.device))),
    (RuntimeError, lambda t, x: t.bincount(t.tensor([1], device=x.device), minlength=-1)),
    (RuntimeError, lambda t, x: t.bincount(t.tensor([1], device=x.device), x[0])),
    (RuntimeError, lambda t, x: t.histc(x, 0)),
    (RuntimeError, lambda t, x: t.histc(x, 5, 3, 1)),
    (RuntimeError, lambda t, x: t.searchsorted(x, x[:2])),
    (RuntimeError, lambda t, x: t.bucketize(x, x)),
    (RuntimeError, lambda t, x: t.searchsorted(x[0], x, side="middle")),
    (IndexError, lambda t, x: x.unique(dim=2)),
]


@pytest.mark.parametrize("case", range(len(ERRORS)))
def test_errors(case: int) -> None:
    kind, function = ERRORS[case]
    raises_alike(kind, function, Input(values((3, 4)), grad=False))
    assert torch is not None
