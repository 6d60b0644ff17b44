"""Tensors: making, converting, moving, sharing memory with NumPy, Python's protocols, views and storages."""
from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import cltorch as torch
from cltorch.dtype import TABLE


@pytest.mark.parametrize("data, d", [([1, 2], torch.int64), ([1.0, 2], torch.float32), ([True, False], torch.bool), ([1 + 2j], torch.complex64),
                                     (3, torch.int64), (2.5, torch.float32), ([], torch.float32), ([[], []], torch.float32),
                                     (np.float64(2), torch.float64), (np.array([1, 2], np.int16), torch.int16), ((1, 2.0), torch.float32)],
                         ids=str)
def test_inferred_dtypes(data: Any, d: Any) -> None:
    assert torch.tensor(data).dtype is d


def test_tensor_copies_and_accepts_tensors_inside() -> None:
    source = np.zeros(3)
    t = torch.tensor(source)
    source[0] = 5
    assert t.tolist() == [0.0, 0.0, 0.0]
    assert torch.tensor([torch.tensor(1.5), 2]).tolist() == [1.5, 2.0]


@pytest.mark.parametrize("source", TABLE, ids=lambda d: d.name)
def test_casts_among_all_dtypes(source: Any, device: Any) -> None:
    values = [0, 1, 3] if source.name != "bool" else [0, 1, 1]
    t = torch.tensor(values, device=device).to(source)
    for target in TABLE:
        got = t.to(target)
        want = [bool(v) for v in values] if target.name == "bool" else values
        assert got.dtype is target and got.tolist() == want, (source, target)


def test_conversion_methods(device: Any) -> None:
    t = torch.tensor([1.5, -2.5], device=device)
    assert t.int().tolist() == [1, -2] and t.long().dtype is torch.int64 and t.short().dtype is torch.int16
    assert t.half().dtype is torch.float16 and t.double().dtype is torch.float64 and t.bfloat16().dtype is torch.bfloat16
    assert t.bool().tolist() == [True, True] and t.byte().dtype is torch.uint8 and t.float() is t
    assert t.type() == "torch.cuda.FloatTensor" and torch.ones(1).type() == "torch.FloatTensor"
    assert t.type(torch.int32).dtype is torch.int32 and t.type_as(t.half()).dtype is torch.float16
    assert t.to(torch.ones(1, dtype=torch.int64)).device.type == "cpu"


def test_moving(device: Any) -> None:
    t = torch.arange(6).reshape(2, 3)
    moved = t.to(device)
    assert moved.device == device and moved.is_cuda and moved.cpu().tolist() == t.tolist()
    assert t.cuda().device.type == "cuda" and moved.to("cpu", torch.float32).dtype is torch.float32
    assert moved.t().cpu().tolist() == t.t().tolist()
    x = torch.ones(2, requires_grad=True)
    (x.to(device) * 3).sum().backward()
    assert x.grad.tolist() == [3.0, 3.0] and x.grad.device.type == "cpu"


def test_numpy_shares_memory_both_ways() -> None:
    array = np.arange(4, dtype=np.float32)
    t = torch.from_numpy(array)
    t.mul_(2)
    assert array.tolist() == [0.0, 2.0, 4.0, 6.0]
    array[0] = 9
    y = t + 1
    array[1] = -1
    assert y.tolist() == [10.0, 3.0, 5.0, 7.0] and t.tolist() == [9.0, -1.0, 4.0, 6.0]
    made = torch.zeros(3)
    view = made.numpy()
    made.add_(1)
    made[0] = 7
    assert view.tolist() == [7.0, 1.0, 1.0]
    view[2] = 5
    assert made.tolist() == [7.0, 1.0, 5.0] and (made * 2).tolist() == [14.0, 2.0, 10.0]
    del made
    assert view.tolist() == [7.0, 1.0, 5.0]


def test_numpy_memory_outlives_and_is_not_recycled() -> None:
    views = [torch.full((100,), float(k)).numpy() for k in range(5)]
    scratch = [torch.full((100,), -1.0) + 1 for _ in range(5)]
    assert [v[0] for v in views] == [0.0, 1.0, 2.0, 3.0, 4.0] and scratch[0][0].item() == 0.0


def test_from_numpy_of_strided_and_odd_arrays() -> None:
    base = np.arange(12, dtype=np.int32).reshape(3, 4)
    t = torch.from_numpy(base.T[1:, ::2])
    assert t.tolist() == base.T[1:, ::2].tolist()
    t.fill_(0)
    assert base[0, 1] == 0 and base[0, 0] == 0 and base[1, 1] == 5
    with pytest.raises(ValueError, match="negative"):
        torch.from_numpy(base[::-1])
    with pytest.raises(TypeError, match=r"can't convert np\.ndarray"):
        torch.from_numpy(np.array(["a"]))
    assert torch.from_numpy(np.array(3.0)).shape == ()


def test_array_protocols() -> None:
    t = torch.tensor([[1.0, 2.0]])
    assert np.asarray(t).tolist() == [[1.0, 2.0]]
    assert np.from_dlpack(t).tolist() == [[1.0, 2.0]]
    shared = torch.from_dlpack(np.ones(3, np.float32))
    assert shared.tolist() == [1.0, 1.0, 1.0]
    assert float(np.sum(np.asarray(t))) == 3.0


def test_python_protocols(device: Any) -> None:
    t = torch.tensor([[1, 2], [3, 4]], device=device)
    assert len(t) == 2 and [row.tolist() for row in t] == [[1, 2], [3, 4]]
    assert 3 in t and 7 not in t
    assert int(t[0, 0]) == 1 and float(t[1, 1]) == 4.0 and [10, 20, 30][t[0, 0]] == 20
    assert f"{torch.tensor(1.23456):.2f}" == "1.23"
    assert (t == torch.tensor([[1, 0], [3, 0]], device=device)).tolist() == [[True, False], [True, False]]
    assert {t: 1}[t] == 1
    a, b = torch.tensor([1.0, 2.0])
    assert a.item() == 1.0 and b.item() == 2.0
    assert isinstance(t.shape, torch.Size) and repr(t.shape) == "torch.Size([2, 2])" and t.shape.numel() == 4


def test_copying_and_pickling(device: Any) -> None:
    t = torch.arange(6, dtype=torch.float32, device=device).reshape(2, 3).t()
    for made in (copy.deepcopy(t), pickle.loads(pickle.dumps(t)), t.clone()):
        assert made.tolist() == t.tolist() and made.dtype is t.dtype and made.device == t.device
        made[0, 0] = 100.0
    assert t[0, 0].item() == 0.0
    leaf = torch.ones(2, requires_grad=True)
    assert copy.deepcopy(leaf).requires_grad
    with pytest.raises(RuntimeError, match="graph leaves"):
        copy.deepcopy(leaf * 2)


def test_views_share_storage(device: Any) -> None:
    base = torch.zeros(3, 4, device=device)
    row, flat, turned = base[1], base.view(-1), base.t()
    row.add_(1)
    turned[0] = 5
    flat[-1] = 9
    assert base.tolist() == [[5, 0, 0, 0], [5, 1, 1, 1], [5, 0, 0, 9]]
    assert row.storage is base.storage and row.data_ptr() == base.data_ptr() + 16
    assert row._version == base._version == 3


def test_clones_are_independent(device: Any) -> None:
    a = torch.ones(4, device=device)
    b = a.clone()
    a.add_(1)
    b[0] = 5
    assert a.tolist() == [2.0] * 4 and b.tolist() == [5.0, 1.0, 1.0, 1.0]
    c = b.contiguous()
    assert c is b
    d = b.detach()
    d.zero_()
    assert b.tolist() == [0.0] * 4


def test_attributes(device: Any) -> None:
    t = torch.zeros(2, 3, dtype=torch.float64, device=device)
    assert (t.ndim, t.dim(), t.numel(), t.nelement(), t.element_size(), t.nbytes) == (2, 2, 6, 6, 8, 48)
    assert t.size() == (2, 3) and t.size(-1) == 3 and t.stride() == (3, 1) and t.t().stride(0) == 1
    assert t.is_contiguous() and not t.t().is_contiguous() and t.is_floating_point() and not t.is_complex()
    assert t.T.shape == (3, 2) and t[1:].storage_offset() == 3
    assert torch.is_tensor(t) and not torch.is_tensor([1])


def test_default_dtype_and_device(device: Any) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.tensor([1.0]).dtype is torch.float64 and (torch.tensor([1]) / 2).dtype is torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert (torch.tensor([1]) / 2).dtype is torch.float32
    with torch.device("cuda"):
        assert torch.zeros(2).is_cuda and torch.tensor([1]).is_cuda
    assert not torch.zeros(2).is_cuda


def test_old_constructors() -> None:
    assert torch.Tensor([1, 2]).dtype is torch.float32 and torch.Tensor(2, 3).shape == (2, 3)
    assert torch.LongTensor([1, 2]).dtype is torch.int64 and torch.FloatTensor(2).shape == (2,)
    assert isinstance(torch.zeros(1), torch.Tensor)


def test_large_tensors_use_the_same_kernels(device: Any) -> None:
    t = torch.ones(1 << 20, device=device)
    assert (t + t).sum().item() == 2 << 20
