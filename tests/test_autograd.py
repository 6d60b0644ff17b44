"""Autograd: accumulation, leaves, hooks, higher order, in-place writes and views, saved-tensor checks, Functions, depth."""
from __future__ import annotations

import gc
import threading
from typing import Any

import numpy as np
import pytest

import cltorch as torch
from cltorch.autograd import Function, gradcheck, gradgradcheck


def leaf(values: Any, device: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32, device=device, requires_grad=True)


def test_accumulates_over_calls_and_only_on_leaves(device: Any) -> None:
    x = leaf([1.0, 2.0], device)
    y = x * 3
    y.sum().backward()
    (x * 2).sum().backward()
    assert x.grad.tolist() == [5.0, 5.0]
    assert x.is_leaf and not y.is_leaf and y.grad is None
    assert not x.grad.requires_grad and x.grad.grad_fn is None


def test_retain_grad_and_backward_with_gradient(device: Any) -> None:
    x = leaf([1.0, 2.0], device)
    y = x * x
    y.retain_grad()
    (y * 2).backward(torch.tensor([1.0, 10.0], device=device))
    assert y.grad.tolist() == [2.0, 20.0]
    assert x.grad.tolist() == [4.0, 80.0]


def test_both_operands_get_gradients_of_their_own(device: Any) -> None:
    a, b = leaf([1.0], device), leaf([2.0], device)
    (a + b).backward()
    a.grad.zero_()
    assert b.grad.tolist() == [1.0]


def test_nonscalar_and_graphless_roots_raise(device: Any) -> None:
    x = leaf([1.0, 2.0], device)
    with pytest.raises(RuntimeError, match="grad can be implicitly created only for scalar outputs"):
        (x * 2).backward()
    with pytest.raises(RuntimeError, match="does not require grad and does not have a grad_fn"):
        torch.ones(1, device=device).backward()
    with pytest.raises(RuntimeError, match="Mismatch in shape"):
        (x * 2).backward(torch.ones(3, device=device))


def test_freed_graph_and_retain_graph(device: Any) -> None:
    x = leaf([3.0], device)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [12.0]
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()


def test_integers_cannot_require_grad(device: Any) -> None:
    with pytest.raises(RuntimeError, match="only Tensors of floating point and complex dtype can require gradients"):
        torch.tensor([1, 2], device=device, requires_grad=True)
    with pytest.raises(RuntimeError, match="only Tensors of floating point"):
        torch.ones(2, dtype=torch.int64, device=device).requires_grad_()


def test_grad_function(device: Any) -> None:
    x, w = leaf([2.0], device), leaf([5.0], device)
    y = (x ** 3 * w).sum()
    gx, gw = torch.autograd.grad(y, (x, w))
    assert gx.tolist() == [60.0] and gw.tolist() == [8.0]
    assert x.grad is None and w.grad is None
    unused = leaf([1.0], device)
    with pytest.raises(RuntimeError, match="not have been used in the graph"):
        torch.autograd.grad((x * 2).sum(), (x, unused))
    got = torch.autograd.grad((x * 2).sum(), (x, unused), allow_unused=True)
    assert got[1] is None


def test_double_and_triple_backward(device: Any) -> None:
    x = leaf([2.0], device)
    first, = torch.autograd.grad((x ** 4).sum(), x, create_graph=True)
    second, = torch.autograd.grad(first.sum(), x, create_graph=True)
    third, = torch.autograd.grad(second.sum(), x)
    assert (first.item(), second.item(), third.item()) == (32.0, 48.0, 48.0)
    first.sum().backward()
    assert x.grad.item() == 48.0


def test_hooks(device: Any) -> None:
    x = leaf([1.0], device)
    seen: list[float] = []
    handle = x.register_hook(lambda g: seen.append(g.item()))
    y = x * 2
    y.register_hook(lambda g: g * 10)
    y.sum().backward()
    assert seen == [20.0] and x.grad.item() == 20.0
    handle.remove()
    (x * 1).sum().backward()
    assert seen == [20.0]
    with pytest.raises(RuntimeError, match="doesn't require gradient"):
        torch.ones(1, device=device).register_hook(print)


def test_modes(device: Any) -> None:
    x = leaf([1.0], device)
    with torch.no_grad():
        y = x * 2
        assert not y.requires_grad and not torch.is_grad_enabled()
        with torch.enable_grad():
            assert (x * 2).requires_grad

    @torch.no_grad()
    def quiet() -> torch.Tensor:
        return x * 2

    assert not quiet().requires_grad and torch.is_grad_enabled()
    with torch.inference_mode():
        assert not (x * 2).requires_grad and torch.is_inference_mode_enabled()
    with torch.set_grad_enabled(False):
        assert not (x * 2).requires_grad
    assert torch.is_grad_enabled()


def test_modes_belong_to_threads(device: Any) -> None:
    seen: list[bool] = []
    with torch.no_grad():
        thread = threading.Thread(target=lambda: seen.append(torch.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_detach_shares_memory(device: Any) -> None:
    x = leaf([1.0, 2.0], device)
    d = x.detach()
    assert not d.requires_grad and d.is_leaf
    d[0] = 5.0
    assert x.tolist() == [5.0, 2.0]


def test_leaf_written_in_place_raises(device: Any) -> None:
    x = leaf([1.0, 2.0], device)
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad is being used in an in-place operation"):
        x.add_(1)
    with pytest.raises(RuntimeError, match="a view of a leaf Variable that requires grad"):
        x[0] = 3.0
    with torch.no_grad():
        x.add_(1)
    assert x.tolist() == [2.0, 3.0]


def test_in_place_on_nonleaf(device: Any) -> None:
    x = leaf([1.0, 2.0], device)
    y = x * 2
    y.mul_(3)
    y.sum().backward()
    assert x.grad.tolist() == [6.0, 6.0]


def test_version_check_names_the_operator(device: Any) -> None:
    x = leaf([1.0, 2.0], device)
    y = x.exp()
    z = (y * 2).sum()
    y.add_(1)
    with pytest.raises(RuntimeError, match=r"modified by an inplace operation.*ExpBackward0"):
        (y.sum() + z).backward()


def test_write_through_a_view(device: Any) -> None:
    w = leaf([1.0, 2.0, 3.0], device)
    x = torch.zeros(2, 3, device=device)
    x[0] = w * 2
    x[1, 1:] = w[1:] ** 2
    x.sum().backward()
    assert w.grad.tolist() == [2.0, 2.0 + 4.0, 2.0 + 6.0]


def test_view_of_a_changed_base(device: Any) -> None:
    w = leaf([1.0, 2.0], device)
    base = w * 1
    view = base[0:1]
    base.mul_(10)
    view.sum().backward()
    assert w.grad.tolist() == [10.0, 0.0]


def test_in_place_on_a_view_reaches_the_base(device: Any) -> None:
    w = leaf([[1.0, 2.0], [3.0, 4.0]], device)
    base = w * 1
    base.t()[0].mul_(5)
    base.sum().backward()
    assert w.grad.tolist() == [[5.0, 1.0], [5.0, 1.0]]


def test_broadcast_gradients(device: Any) -> None:
    a, b = leaf(np.ones((3, 1)), device), leaf(np.ones((1, 4)), device)
    (a * b).sum().backward()
    assert a.grad.shape == (3, 1) and b.grad.shape == (1, 4)
    assert a.grad.tolist() == [[4.0]] * 3 and b.grad.tolist() == [[3.0] * 4]


def test_mixed_dtypes_give_gradients_in_the_operand_dtype(device: Any) -> None:
    x = torch.ones(3, dtype=torch.float16, device=device, requires_grad=True)
    (x * torch.ones(3, device=device)).sum().backward()
    assert x.grad.dtype is torch.float16


def test_deep_chain_runs_and_is_freed_without_recursion(device: Any) -> None:
    x = leaf([1.0], device)
    y = x
    for _ in range(100_000):
        y = y + 0.0
    y.backward()
    assert x.grad.item() == 1.0
    z = x
    for _ in range(100_000):
        z = z + 0.0
    del z
    gc.collect()


class Cube(Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x * x * x

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> torch.Tensor:
        x, = ctx.saved_tensors
        return g * 3 * x * x


def test_function(device: Any) -> None:
    x = leaf([2.0], device)
    y = Cube.apply(x)
    y.sum().backward()
    assert x.grad.item() == 12.0
    assert "CubeBackward" in repr(y.grad_fn)
    x64 = torch.tensor([1.5, -0.5], dtype=torch.float64, device=device, requires_grad=True)
    assert gradcheck(Cube.apply, (x64,)) and gradgradcheck(Cube.apply, (x64,))


class Split(Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
        ctx.scale = scale
        mask = x > 0
        ctx.mark_non_differentiable(mask)
        return x * scale, mask

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor, unused: Any) -> tuple[torch.Tensor, None]:
        return g * ctx.scale, None


def test_function_with_several_outputs(device: Any) -> None:
    x = leaf([2.0, -1.0], device)
    y, mask = Split.apply(x, 4.0)
    assert not mask.requires_grad
    y.sum().backward()
    assert x.grad.tolist() == [4.0, 4.0]


def test_anomaly_names_the_operator(device: Any) -> None:
    x = leaf([0.0], device)
    with torch.autograd.detect_anomaly(), pytest.raises(RuntimeError, match=r"returned nan values"):
        (x.sqrt() * 0.0).sum().backward()


def test_gradcheck_finds_a_wrong_gradient(device: Any) -> None:
    class Wrong(Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            return x * 2

        @staticmethod
        def backward(ctx: Any, g: torch.Tensor) -> torch.Tensor:
            return g * 3

    x = torch.ones(2, dtype=torch.float64, device=device, requires_grad=True)
    assert not gradcheck(Wrong.apply, (x,), raise_exception=False)


def test_training_memory_is_flat(device: Any) -> None:
    gc.collect()  # what earlier tests left in cycles must not be freed between the two readings
    w = torch.randn(64, 64, device=device, requires_grad=True)
    x = torch.randn(32, 64, device=device)
    used = []
    for step in range(1000):
        loss = ((x * 1.5) @ w).relu().mean()
        loss.backward()
        with torch.no_grad():
            w -= 0.01 * w.grad
        w.grad = None
        if step in (20, 999):
            del loss
            torch.cuda.synchronize(device)
            used.append((torch.cuda.memory_allocated(device), torch.cuda.memory_reserved(device)))
    assert used[0] == used[1]


def test_retained_gradient_is_what_hooks_left(device: Any) -> None:
    x = leaf([1.0, 2.0], device)
    y = x * 2
    y.retain_grad()
    y.register_hook(lambda g: g * 10)
    y.sum().backward()
    assert y.grad.tolist() == [10.0, 10.0] and x.grad.tolist() == [20.0, 20.0]
