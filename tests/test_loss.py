"""Losses over classes against PyTorch: one fused pass, weights, ignored and wrong targets, smoothing, gradients of both orders."""
from __future__ import annotations

from typing import Any

import pytest
from side_by_side import compare, ours, random, torch

import cltorch
from cltorch.ops.registry import functions


def nn(name: str) -> Any:
    return lambda t, *args, **kwargs: (functions("functional")[name] if t is cltorch else getattr(t.nn.functional, name))(*args, **kwargs)


def classes(shape: tuple[int, ...], count: int) -> Any:
    return random(shape, "int64", 0, count - 1, seed=9)


SHAPES = [(4, 3), (64, 10), (5, 3000), (20000, 7), (3, 4, 5), (2, 6, 20, 30), (2, 50, 3, 2), (7,)]


def example(shape: tuple[int, ...]) -> tuple[Any, Any, Any]:
    """Scores, targets, class weights."""
    count = shape[1] if len(shape) > 1 else shape[0]
    return random(shape, low=-5, high=5), classes(() if len(shape) == 1 else (shape[0], *shape[2:]), count), random((count,), low=0.2, seed=3)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_cross_entropy(shape: tuple[int, ...], device: Any) -> None:
    x, t, w = example(shape)
    for reduction in ("mean", "sum", "none"):
        compare(nn("cross_entropy"), x, t, reduction=reduction, device=device, grad=True, tolerance=1e-5)
    compare(nn("cross_entropy"), x, t, weight=w, label_smoothing=0.1, device=device, grad=True, tolerance=1e-5)


@pytest.mark.parametrize("shape", [(9, 5), (3, 4, 6)], ids=str)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_weights_ignored_smoothing_and_probabilities(shape: tuple[int, ...], reduction: str, device: Any) -> None:
    x, t, w = example(shape)
    for weight, smoothing in ((None, 0.0), (None, 0.2), (w, 0.0), (w, 0.2)):
        compare(nn("cross_entropy"), x, t, weight=weight, ignore_index=1, reduction=reduction, label_smoothing=smoothing,
                device=device, grad=True,
                tolerance=1e-5)
        compare(nn("cross_entropy"), x, random(shape, seed=5).softmax(1), weight=weight, reduction=reduction, label_smoothing=smoothing,
                device=device, grad=True,
                tolerance=1e-5)
    compare(nn("nll_loss"), x, t, weight=w, ignore_index=1, reduction=reduction, device=device, grad=True, tolerance=1e-5)


@pytest.mark.parametrize("d", ["float16", "bfloat16", "float64"])
def test_dtypes(d: str, device: Any) -> None:
    x, t = random((6, 5), d), classes((6,), 5)
    compare(nn("cross_entropy"), x, t, device=device, grad=True, tolerance={"float16": 5e-3, "bfloat16": 5e-2}.get(d))
    compare(nn("nll_loss"), x, t, device=device, grad=True, tolerance={"float16": 5e-3, "bfloat16": 5e-2}.get(d))


def test_second_order(device: Any) -> None:
    x, w = random((4, 3, 2), "float64"), random((3,), "float64", low=0.2, seed=3)
    for reduction in ("mean", "sum", "none"):
        for options in (dict(), dict(label_smoothing=0.3), dict(weight=w, ignore_index=2, label_smoothing=0.1)):
            compare(nn("cross_entropy"), x, classes((4, 2), 3), reduction=reduction, device=device, grad=True, second=True, **options)


def test_layouts_and_extremes(device: Any) -> None:
    x, t = random((6, 8)), classes((8,), 6)
    compare(nn("cross_entropy"), x.mT, t, device=device, grad=True, tolerance=1e-5)
    compare(nn("cross_entropy"), x[:, 1:7:2].mT, t[2:5], device=device, grad=True, tolerance=1e-5)
    inf = float("inf")
    y = torch.tensor([[1000.0, 0, -1000], [-inf, 0, 1], [5, 5, 5]])
    for target in ([0, 1, 2], [1, 2, 0]):
        compare(nn("cross_entropy"), y, torch.tensor(target), reduction="none", device=device, grad=True)
    compare(nn("cross_entropy"), y, torch.tensor([-100, -100, -100]), device=device)
    compare(nn("cross_entropy"), torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), device=device)
    compare(nn("cross_entropy"), torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), reduction="sum", device=device)


def test_target_out_of_bounds(device: Any) -> None:
    x, good = ours(random((4, 3)), device), ours(torch.tensor([0, 1, 2, 0]), device)
    for bad in ([0, 1, 2, 12], [0, -1, 2, 1]):
        target = ours(torch.tensor(bad), device)
        loss = functions("functional")["cross_entropy"](x, target)
        with pytest.raises(IndexError, match=f"Target {12 if 12 in bad else -1} is out of bounds"):
            loss.item()
        assert functions("functional")["cross_entropy"](x, good).item() > 0


@pytest.mark.parametrize("call", [
    lambda f, t: f(t.ones(2, 3), t.zeros(3, dtype=t.int64)), lambda f, t: f(t.ones(2, 3), t.zeros(2)),
    lambda f, t: f(t.ones(2, 3, 4), t.zeros(2, 5, dtype=t.int64)),
    lambda f, t: f(t.ones(2, 3), t.zeros(2, dtype=t.int64), reduction="median"), lambda f, t: f(t.ones(2, 3), t.zeros(2, dtype=t.int64), label_smoothing=1.5)])
def test_errors(call: Any) -> None:
    with pytest.raises((RuntimeError, ValueError)) as theirs:
        call(torch.nn.functional.cross_entropy, torch)
    with pytest.raises(theirs.type):
        call(functions("functional")["cross_entropy"], cltorch)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_ctc_loss(reduction: str, device: Any) -> None:
    x = random((12, 4, 6), "float64").log_softmax(2)
    labels = torch.tensor([[1, 2, 2, 3], [4, 4, 4, 4], [5, 1, 0, 0], [2, 0, 0, 0]])
    spans, sizes = torch.tensor([12, 10, 7, 1]), torch.tensor([4, 4, 2, 0])
    compare(nn("ctc_loss"), x, labels, spans, sizes, reduction=reduction, device=device, grad=True)
    flat = torch.cat([row[:n] for row, n in zip(labels, sizes, strict=True)])
    compare(nn("ctc_loss"), x, flat, (12, 10, 7, 1), (4, 4, 2, 0), reduction=reduction, device=device, grad=True)
    compare(nn("ctc_loss"), x.roll(1, 2), labels, torch.tensor([12, 5, 7, 3]), sizes, blank=0, reduction=reduction, zero_infinity=True,
            device=device, grad=True)
    compare(nn("ctc_loss"), x[:, 0], labels[0], torch.tensor(12), torch.tensor(4), blank=5, reduction=reduction, device=device, grad=True)
