"""Pooling against PyTorch: every window shape, gradients, second order."""
from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import cltorch
from cltorch.ops import registry
from cltorch.testing import assert_close, gradgradcheck

torch = pytest.importorskip("torch")
F = registry.functions("functional")
CASES = [("max_pool2d", (2, 3, 7, 9), dict(kernel_size=2)), ("max_pool2d", (2, 7, 9), dict(kernel_size=3, stride=2, padding=1)),
         ("max_pool2d", (1, 2, 11, 10), dict(kernel_size=(3, 2), stride=(2, 1), padding=(1, 0), dilation=(2, 3), ceil_mode=True)),
         ("max_pool2d", (2, 1, 5, 5), dict(kernel_size=3, stride=2, ceil_mode=True)), ("max_pool1d", (2, 3, 11), dict(kernel_size=3, stride=2, padding=1)),
         ("avg_pool2d", (2, 3, 7, 9), dict(kernel_size=2)), ("avg_pool2d", (2, 3, 7, 9), dict(kernel_size=3, stride=2, padding=1)),
         ("avg_pool2d", (2, 7, 9), dict(kernel_size=3, stride=2, padding=1, count_include_pad=False)),
         ("avg_pool2d", (1, 2, 8, 8), dict(kernel_size=3, stride=2, padding=1, ceil_mode=True)),
         ("avg_pool2d", (1, 2, 8, 7), dict(kernel_size=3, stride=2, divisor_override=5)), ("avg_pool1d", (2, 3, 10), dict(kernel_size=4, stride=3, padding=2)),
         ("adaptive_avg_pool2d", (2, 3, 7, 9), dict(output_size=(3, 4))), ("adaptive_avg_pool2d", (2, 3, 7, 9), dict(output_size=1)),
         ("adaptive_avg_pool2d", (3, 5, 5), dict(output_size=(None, 7))), ("adaptive_avg_pool1d", (2, 3, 10), dict(output_size=4)),
         ("adaptive_max_pool2d", (2, 3, 7, 9), dict(output_size=(3, 4))), ("adaptive_max_pool1d", (2, 3, 10), dict(output_size=4))]


@pytest.mark.parametrize("name, shape, options", CASES, ids=[f"{c[0]}-{k}" for k, c in enumerate(CASES)])
def test_against_pytorch(name: str, shape: tuple[int, ...], options: dict[str, Any], device: Any) -> None:
    array = np.random.default_rng(0).standard_normal(shape).astype("f")
    theirs, ours = torch.tensor(array, requires_grad=True), cltorch.tensor(array, device=device, requires_grad=True)
    want, got = getattr(torch.nn.functional, name)(theirs, **options), F[name](ours, **options)
    assert tuple(got.shape) == tuple(want.shape)
    assert_close(got, want.detach().numpy(), dtype=cltorch.float32)
    weight = np.random.default_rng(1).standard_normal(want.shape).astype("f")
    want.backward(torch.tensor(weight))
    got.backward(cltorch.tensor(weight, device=device))
    assert_close(ours.grad, theirs.grad.numpy(), dtype=cltorch.float32)
    small = cltorch.tensor(array.astype(np.float64), device=device, requires_grad=True)
    if small.numel() <= 200:
        assert gradgradcheck(lambda t: F[name](t, **options), (small,))


@pytest.mark.parametrize("name", ["max_pool2d", "adaptive_max_pool2d"])
def test_indices(name: str, device: Any) -> None:
    array = np.random.default_rng(0).integers(0, 4, (2, 3, 8, 8)).astype("f")
    argument = 2 if name == "max_pool2d" else 3
    _, want = getattr(torch.nn.functional, name)(torch.tensor(array), argument, return_indices=True)
    _, got = F[name](cltorch.tensor(array, device=device), argument, return_indices=True)
    assert got.dtype is cltorch.int64 and got.tolist() == want.tolist()


@pytest.mark.parametrize("options", [dict(kernel_size=3, stride=1, padding=1), dict(kernel_size=3, stride=2, padding=1), dict(kernel_size=2, stride=3),
                                     dict(kernel_size=(2, 3), stride=(1, 2), padding=(1, 1), dilation=(1, 5), ceil_mode=True)], ids=str)
def test_long_rows(options: dict[str, Any], device: Any) -> None:
    array = np.random.default_rng(0).integers(0, 4, (2, 4, 401)).astype("f")
    array[0, 1:3, 7:40] = -np.inf
    array[1, 2, ::17] = np.nan
    want, places = torch.nn.functional.max_pool2d(torch.tensor(array), return_indices=True, **options)
    got, where = F["max_pool2d"](cltorch.tensor(array, device=device), return_indices=True, **options)
    assert np.array_equal(got.numpy(force=True), want.numpy(), equal_nan=True)
    numbers = ~np.isnan(want.numpy())
    assert np.array_equal(where.numpy(force=True)[numbers], places.numpy()[numbers])
    if "dilation" not in options:
        want = torch.nn.functional.avg_pool2d(torch.tensor(array).nan_to_num(neginf=0), **options)
        assert_close(F["avg_pool2d"](cltorch.tensor(array, device=device).nan_to_num(neginf=0), **options), want.numpy(), dtype=cltorch.float32)


def test_nan_wins(device: Any) -> None:
    x = cltorch.tensor([[[1.0, float("nan"), 3.0, 2.0]]], device=device)
    got = F["max_pool1d"](x, 2)
    assert np.isnan(got[0, 0, 0].item()) and got[0, 0, 1].item() == 3.0


@pytest.mark.parametrize("d", [cltorch.float16, cltorch.bfloat16, cltorch.float64], ids=repr)
def test_dtypes_and_strides(d: Any, device: Any) -> None:
    x = cltorch.arange(48, dtype=cltorch.float32, device=device).to(d).reshape(2, 4, 6).transpose(1, 2)
    assert F["max_pool2d"](x, 2)[0].tolist() == [[7.0, 19.0], [9.0, 21.0], [11.0, 23.0]]
    assert F["avg_pool2d"](x, 2)[0].tolist() == [[3.5, 15.5], [5.5, 17.5], [7.5, 19.5]]
    base = cltorch.arange(60, dtype=cltorch.float32, device=device).to(d)[12:].reshape(2, 4, 6)
    assert F["max_pool2d"](base, (4, 6)).reshape(-1).tolist() == [35.0, 59.0]


def test_bad_windows(device: Any) -> None:
    x = cltorch.ones(1, 1, 4, 4, device=device)
    for wrong in (dict(kernel_size=2, padding=2), dict(kernel_size=0), dict(kernel_size=6), dict(kernel_size=(1, 2, 3))):
        with pytest.raises(RuntimeError, match="max_pool2d"):
            F["max_pool2d"](x, **wrong)


@pytest.mark.parametrize("d", ["int64", "int32", "uint8", "int8"])
def test_integers_have_maxima(d: str, device: Any) -> None:
    array = np.random.default_rng(0).integers(0, 100, (2, 3, 7, 5)).astype(d)
    got = F["max_pool2d"](cltorch.tensor(array, device=device), 3, 2, 1)
    assert str(got.dtype) == f"torch.{d}" and got.tolist() == torch.nn.functional.max_pool2d(torch.tensor(array), 3, 2, 1).tolist()


def test_many_windows_over_one_place_add_up_in_order(device: Any) -> None:
    """Overlapping windows share their gradient; the same bits each time."""
    array = np.random.default_rng(0).standard_normal((9, 17, 19)).astype("f")
    for name, options in (("max_pool2d", {"kernel_size": 5, "stride": 1, "padding": 2}), ("avg_pool2d", {"kernel_size": 5, "stride": 2, "padding": 1})):
        theirs = torch.tensor(array, requires_grad=True)
        (getattr(torch.nn.functional, name)(theirs, **options) ** 2).sum().backward()
        found = []
        for _ in range(2):
            ours = cltorch.tensor(array, device=device, requires_grad=True)
            (F[name](ours, **options) ** 2).sum().backward()
            found.append(ours.grad.cpu().numpy())
        assert np.array_equal(*found)
        assert_close(found[0], theirs.grad.numpy(), dtype=cltorch.float32, scale=4)
