"""Reductions against PyTorch: every layout class, dtype, dim and error, and the accuracy of long sums."""
from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from side_by_side import compare, ours, random, torch

import cltorch
from cltorch.ops import reduce_plan
from cltorch.ops.reduction_form import reduction
from cltorch.ops.registry import FLOATING

NAMES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64", "complex64", "complex128"]
REALS = [n for n in NAMES if n[0] != "c"]
FLOATS = ["float16", "bfloat16", "float32", "float64"]
SHAPES = [(), (1,), (17,), (1000,), (3, 4), (64, 49), (3, 2000), (3001, 3), (70, 1100), (5, 1, 7), (8, 40, 33), (2, 3, 4, 5), (64, 10, 3)]


def subsets(n: int) -> list[tuple[int, ...]]:
    return [dims for k in range(1, n + 1) for dims in itertools.combinations(range(n), k)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_subset_of_dims(shape: tuple[int, ...], device: Any) -> None:
    x = random(shape, low=-3, high=5)
    for dims in [None, *subsets(len(shape))]:
        for keep in (False, True):
            compare("sum", x, dim=dims, keepdim=keep, device=device)
            compare("var_mean", x, dim=dims, keepdim=keep, correction=0, device=device)


@pytest.mark.parametrize("shape", [(7, 5), (130, 70), (3, 4, 50), (33, 2, 3, 4)], ids=str)
@pytest.mark.parametrize("form", ["transposed", "strided", "broadcast", "offset", "permuted"])
def test_layouts(shape: tuple[int, ...], form: str, device: Any) -> None:
    x = random(shape, low=1, high=9).round()  # away from zero, where a mean has a relative error to speak of
    x = dict(transposed=lambda: x.mT, strided=lambda: x[..., 1::2], broadcast=lambda: x[..., :1, None, :].expand(*x.shape[:-1], 3, x.shape[-1]),
             offset=lambda: x[1:, 1:], permuted=lambda: x.permute(*range(1, x.ndim), 0))[form]()
    for dims in subsets(x.ndim):
        compare("sum", x, dim=dims, device=device)
        compare("var_mean", x, dim=dims, device=device, correction=0, tolerance=1e-5)
    for dim in range(x.ndim):
        compare("max", x, dim=dim, device=device)
    compare("argmax", x, device=device)


@pytest.mark.parametrize("shape", [(70, 512), (33, 1040), (1029, 64), (40, 4096)], ids=str)
def test_short_rows_four_at_a_time(shape: tuple[int, ...], device: Any) -> None:
    for name in ("float32", "float16", "int64", "complex64"):
        x = random(shape, name, low=1, high=3)
        for view in (x, x[1:]):
            compare("sum", view, dim=1, device=device, tolerance=2e-3 if name == "float16" else 1e-5)
    x = random(shape, "float32", low=-3, high=3)
    compare("amax", x, dim=1, device=device)
    compare("vector_norm", x, 3, space="linalg", dim=1, device=device, tolerance=1e-5)


@pytest.mark.parametrize("shape", [(512, 128), (600, 131), (1029, 160), (3, 300, 100), (200, 1025)], ids=str)
def test_strips_of_columns(shape: tuple[int, ...], device: Any) -> None:
    """What fits into the caches is shared out by columns: one launch, the last strip narrower."""
    x = random(shape, low=1, high=9)
    for dim in range(len(shape) - 1):
        compare("sum", x, dim=dim, device=device)
        compare("var_mean", x, dim=dim, device=device, correction=0, tolerance=1e-5)
        compare("max", x, dim=dim, device=device)
    two_cores = reduce_plan._Device(wide=True, groups=8, compute_units=2, tile=1024, rows=1, columns=1, merge=1)
    plan = reduce_plan.geometry(tuple(x.shape), x.stride(), (len(shape) - 2,), False, two_cores)
    assert plan is not None and plan.template == "columns" and plan.merge is None and 2 <= plan.groups[0] <= 8


@pytest.mark.parametrize("count", [4096, 8191, 16385, 70_001])
def test_long_runs_in_four_pieces(count: int, device: Any) -> None:
    """The first of equals in whichever piece; every element once."""
    x = random((count,), "float32", low=1, high=3)
    compare("sum", x, device=device, tolerance=1e-5)
    compare("var_mean", x, device=device, tolerance=1e-5)
    steps = torch.arange(count) % 997
    compare("sum", steps, device=device)
    compare("argmax", steps, device=device)
    compare("sum", x.repeat(2).view(2, -1)[:, ::2], dim=1, device=device, tolerance=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_dtypes_of_sums(name: str, device: Any) -> None:
    x = random((5, 300), name, low=-3, high=3)
    for dim in (None, 0):
        compare("sum", x, dim=dim, device=device)
    compare("count_nonzero", x, dim=1, device=device)
    compare("any", x, device=device)
    compare("all", x, dim=1, device=device)
    compare("prod", x[:, :5], dim=1, device=device, tolerance=None if name not in ("float16", "bfloat16") else 2e-2)
    if name in FLOATS or name.startswith("complex"):
        compare("mean", x, dim=1, device=device)


def test_wanted_dtypes(device: Any) -> None:
    for name, wanted in (("float32", torch.float64), ("float16", torch.float32), ("float32", torch.int32), ("int32", torch.float32), ("bool", torch.float64)):
        compare("sum", random((5, 300), name, low=-3, high=3), dim=1, dtype=wanted, device=device)


@pytest.mark.parametrize("name", REALS)
def test_dtypes_of_extremes(name: str, device: Any) -> None:
    x = random((7, 90), name, low=-40, high=40)
    compare("amax", x, dim=1, device=device)
    compare("aminmax", x, device=device)
    compare("min", x, dim=1, keepdim=True, device=device)
    if name != "bool":
        compare("argmax", x, dim=0, device=device)


def test_first_of_equals_and_nan(device: Any) -> None:
    nan, inf = float("nan"), float("inf")
    rows = torch.tensor([[1, 3, 3, 2], [nan, 5, nan, 7], [-inf, -inf, -inf, -inf], [inf, 1, inf, nan]])
    for x in (rows, rows.mT.contiguous().mT, rows.repeat_interleave(50, 1), rows.repeat(1, 400)):
        for dim in (0, 1):
            compare("max", x, dim=dim, device=device)
            compare("min", x, dim=dim, device=device)
            compare("amax", x, dim=dim, device=device)
        compare("argmin", x, device=device)
    compare("nansum", rows, dim=1, device=device)
    compare("nanmean", rows, dim=1, device=device)


def test_empty(device: Any) -> None:
    for shape, dim in (((0,), None), ((0, 3), 0), ((0, 3), 1), ((3, 0), 0), ((2, 0, 4), (0, 1))):
        x = torch.zeros(shape)
        for name in ("sum", "mean", "any", "all", "nansum"):
            compare(name, x, **({} if dim is None else {"dim": dim}), device=device)
    for name in ("max", "argmax", "amax"):
        compare(name, torch.zeros(3, 0), dim=0, device=device)
    compare("prod", torch.zeros(0), device=device)


@pytest.mark.parametrize("call", [
    lambda t: t.zeros(0, 3).amax(0), lambda t: t.zeros(0, 3).amax(), lambda t: t.zeros(0, 3).max(0), lambda t: t.zeros(0, 3).max(),
    lambda t: t.zeros(0, 3).argmax(), lambda t: t.zeros(0, 3).argmax(0), lambda t: t.ones(3, dtype=t.int32).mean(),
    lambda t: t.ones(3).sum(3), lambda t: t.ones(3, 3).sum((0, -2)), lambda t: t.ones(3).mean(dtype=t.int32),
    lambda t: t.ones(2, dtype=t.bool).argmax(), lambda t: t.ones(3, dtype=t.complex64).amax(), lambda t: t.ones(3, dtype=t.complex64).max(),
    lambda t: t.zeros(0, 3).aminmax(), lambda t: t.ones(3, dtype=t.int32).var(), lambda t: t.zeros(0, 3).median(0)])
def test_errors(call: Any) -> None:
    with pytest.raises((RuntimeError, IndexError)) as theirs:
        call(torch)
    with pytest.raises(theirs.type) as mine:
        call(cltorch)
    if "not implemented" not in f"{theirs.value} {mine.value}":
        assert str(mine.value).split(":")[0].split("(")[0] == str(theirs.value).split(":")[0].split("(")[0]


@pytest.mark.parametrize("name, options", [
    ("sum", {}), ("sum", dict(dim=(0, 2))), ("mean", dict(dim=1, keepdim=True)), ("prod", {}), ("prod", dict(dim=1)), ("nansum", dict(dim=0)),
    ("amax", dict(dim=(0, 1))), ("amin", dict(dim=2)), ("max", {}), ("max", dict(dim=1)), ("min", dict(dim=-1, keepdim=True)),
    ("var", {}), ("std", dict(dim=(0, 2), correction=0)), ("var_mean", dict(dim=1)), ("logsumexp", dict(dim=(0, 1))), ("median", {}),
    ("median", dict(dim=1)), ("nanmean", {})])
def test_gradients(name: str, options: dict, device: Any) -> None:
    x = random((3, 4, 2), "float64").round(decimals=1)
    compare(name, x, device=device, grad=True, second=True, **options)


def test_product_with_zeros(device: Any) -> None:
    for zeros in ([(0, 1)], [(0, 1), (0, 2)], [(1, 0), (2, 2)]):
        x = random((3, 4), "float64")
        for at in zeros:
            x[at] = 0
        compare("prod", x, device=device, grad=True)
        compare("prod", x, dim=1, device=device, grad=True)


def test_complex_gradients(device: Any) -> None:
    x = random((3, 4), "complex128")
    for name in ("sum", "mean", "prod"):
        compare(name, x, device=device, grad=True)


@pytest.mark.parametrize("shape, dim", [((1 << 24,), 0), ((1 << 22, 4), 0), ((4, 1 << 22), 1), ((1 << 14, 1 << 10), 0)], ids=str)
def test_long_sums_are_accurate(shape: tuple[int, ...], dim: int, device: Any) -> None:
    x = np.random.default_rng(0).random(shape, dtype=np.float32)
    exact = x.sum(dim, dtype=np.float64)
    got = cltorch.tensor(x, device=device).sum(dim).numpy(force=True)
    assert np.max(np.abs(got - exact) / exact) < 1e-6


def test_variance_far_from_zero(device: Any) -> None:
    x = 10000 + np.random.default_rng(0).standard_normal((64, 30000)).astype(np.float32)
    for dim in (0, 1, (0, 1)):
        got = cltorch.tensor(x, device=device).var(dim).numpy(force=True)
        np.testing.assert_allclose(got, x.astype(np.float64).var(dim, ddof=1), rtol=2e-5)


def test_same_result_every_time(device: Any) -> None:
    x = ours(random((300, 5000)), device)
    first = [x.sum().item(), x.sum(0).tolist(), x.mean(1).tolist(), x.std().item()]
    assert [x.sum().item(), x.sum(0).tolist(), x.mean(1).tolist(), x.std().item()] == first


def test_more_dims_than_kernels_address(device: Any) -> None:
    x = random((2, 3, 2, 3, 2, 3, 2, 3, 2))
    for dims in ((0, 2, 4, 6, 8), (1, 3, 5, 7), (0, 3, 4, 7)):
        compare("sum", x, dim=dims, device=device)
        compare("amax", x.permute(*reversed(range(9))), dim=dims, device=device)


def test_named_tuples_and_out(device: Any) -> None:
    x = ours(random((3, 4)), device)
    result = x.max(1)
    assert type(result).__name__ == "max" and result.values is result[0] and result.indices is result[1]
    assert repr(result).startswith("torch.return_types.max(\nvalues=tensor(")
    out = cltorch.empty(3, device=device)
    assert cltorch.sum(x, 1, out=out) is out
    values, indices = cltorch.empty(0, device=device), cltorch.empty(0, dtype=cltorch.int64, device=device)
    cltorch.max(x, 1, out=(values, indices))
    assert indices.tolist() == result.indices.tolist()


def test_form_takes_scalars_and_finish(device: Any) -> None:
    declared = reduction("scaled_power_sum_under_test(input, dim=None, keepdim=False, *, p=2.0)", dtypes=FLOATING, map="pow(abs(x), p)",
                         combine="a + b", finish="a * n * p", scalars=("p",), empty=0, method=False, namespace="core", samples=None)
    x = random((30, 5))
    got = declared(ours(x, device), 0, p=3.0)
    np.testing.assert_allclose(got.numpy(force=True), (x.abs() ** 3).sum(0).numpy() * 30 * 3, rtol=1e-5)


def test_numpy_names_of_arguments(device: Any) -> None:
    x = random((3, 4, 5))
    for name in ("sum", "mean", "std", "amax", "argmax", "max", "any"):
        compare(name, x, axis=1, keepdims=True, device=device)
    compare("dist", x, x[0], device=device)
    compare("logsumexp", x, 1, device=device, space="special")
