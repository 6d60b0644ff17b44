"""assert_close, gradcheck and make_tensor themselves."""
from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import cltorch
from cltorch import autograd
from cltorch.testing import TOLERANCES, GradcheckError, assert_close, gradcheck, gradgradcheck, make_tensor

T = cltorch.tensor


@pytest.mark.parametrize("actual, expected", [
    (T([1.0, 2.0]), T([1.0, 2.0 + 1e-6])), (T([1.0, math.inf]), T([1.0, math.inf])), (T([1, 2]), np.array([1, 2])), (1.0, 1.0 + 1e-9), (T(2.0), 2.0),
    ([T([1.0]), 2], [np.array([1.0]), 2]), ({"a": T([1.0])}, {"a": T([1.0])}), (T([1 + 1j]), np.array([1 + 1j])), (T([]), T([])), (None, None),
    (T([True, False]), np.array([True, False])), (T([1.5], dtype=cltorch.bfloat16), T([1.508], dtype=cltorch.bfloat16)),
], ids=str)
def test_close(actual: Any, expected: Any) -> None:
    assert_close(actual, expected)


@pytest.mark.parametrize("actual, expected, options, text", [
    (T([1.0, 2.0]), T([1.0, 3.0]), {}, r"Mismatched elements: 1 / 2 \(50.0%\)\nGreatest absolute difference: 1.0 at index \(1,\)"),
    (T(1.0), T(2.0), {}, "Scalars are not close!\n\nExpected 2.0 but got 1.0."),
    (T([1.0]), T([1.0, 2.0]), {}, r"attribute 'shape' do not match: \[1\] != \[2\]"),
    (T([1.0]), T([1]), {}, "attribute 'dtype' do not match: torch.float32 != torch.int64"),
    (T([[1.0, 2.0]]), T([[1.0], [2.0]]).t(), {"check_stride": True}, "attribute 'stride' do not match"),
    (T([math.nan]), T([math.nan]), {}, "Mismatched elements: 1 / 1"),
    (T([math.inf]), T([-math.inf]), {}, "not close"),
    (T([1, 2]), T([1, 3]), {}, "not close"),
    ([T([1.0])], [T([1.0]), T([1.0])], {}, "length of the sequences do not match: 1 != 2"),
    ({"a": 1}, {"b": 1}, {}, "keys of the mappings do not match"),
    ({"a": [1, 2]}, {"a": [1, 3]}, {}, r"occurred for item \['a'\]\[1\]"),
    (None, T([1.0]), {}, "None mismatch"),
    (T([1.0]), T([2.0]), {"msg": "own words"}, "^own words$"),
    (T([1.0]), T([2.0]), {"msg": lambda text: "own " + text}, "^own Tensor-likes"),
])
def test_not_close(actual: Any, expected: Any, options: dict, text: str) -> None:
    with pytest.raises(AssertionError, match=text):
        assert_close(actual, expected, **options)


def test_device_counts(device: cltorch.device) -> None:
    there = T([1.0], device=device)
    with pytest.raises(AssertionError, match="attribute 'device' do not match: cuda:0 != cpu"):
        assert_close(there, T([1.0]))
    assert_close(there, T([1.0]), check_device=False)


def test_arguments_of_assert_close() -> None:
    with pytest.raises(ValueError, match="give both rtol and atol or neither"):
        assert_close(1.0, 1.0, rtol=1e-3)
    with pytest.raises(TypeError, match="can't compare a object"):
        assert_close(object(), 1.0)
    assert_close(T([1.0]), T([1.1]), rtol=0.0, atol=0.2)
    assert_close(T([math.nan]), T([math.nan]), equal_nan=True)
    assert_close(T([1.0]), T([1.0 + 1e-4]), scale=100)
    with pytest.raises(AssertionError):
        assert_close(T([1.0]), T([1.0 + 1e-4]))


@pytest.mark.parametrize("dtype", sorted(TOLERANCES, key=lambda d: d.index), ids=lambda d: d.name)
def test_reference_of_higher_precision(dtype: cltorch.dtype) -> None:
    reference = np.array([1 / 3, 1e3, -2.5e-2, math.nan])
    assert_close(T(reference, dtype=dtype), reference, dtype=dtype)
    rtol, _ = TOLERANCES[dtype]
    with pytest.raises(AssertionError):
        assert_close(T(reference * (1 + 4 * rtol + 1e-3), dtype=dtype), reference, dtype=dtype)


def test_reference_in_the_tested_type() -> None:
    assert_close(T([math.inf], dtype=cltorch.float16), np.array([1e6]), dtype=cltorch.float16)
    assert_close(T([-128], dtype=cltorch.int8), np.array([128]), dtype=cltorch.int8)
    assert_close(T([5]), np.array([5]), dtype=cltorch.float16)


# gradcheck


def leaf(*shape: int, dtype: cltorch.dtype = cltorch.float64, low: float = 0.5, high: float = 2.0, device: Any = None) -> cltorch.Tensor:
    return make_tensor(*shape, dtype=dtype, low=low, high=high, requires_grad=True, device=device)


FUNCTIONS: dict[str, tuple[Any, list[tuple[int, ...]]]] = {
    "cube": (lambda x: x * x * x, [(2, 3)]), "product": (lambda x, y: x * y, [(2, 1), (3,)]), "sum": (lambda x: x.sum(), [(4,)]),
    "several": (lambda x, y: (x + y, x * y), [(2,), (2,)]), "exp": (lambda x: cltorch.exp(x), [(3,)]), "scalar": (lambda x: x / 3, [()]),
    "unused": (lambda x, y: x * 2, [(2,), (2,)]), "empty": (lambda x: x * 2, [(0,)]), "view": (lambda x: x.t() * 2, [(2, 3)])}


@pytest.mark.parametrize("dtype", [cltorch.float64, cltorch.float32], ids=str)
@pytest.mark.parametrize("fast_mode", [False, True])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_right_gradients(name: str, fast_mode: bool, dtype: cltorch.dtype) -> None:
    function, shapes = FUNCTIONS[name]
    assert gradcheck(function, [leaf(*s, dtype=dtype) for s in shapes], fast_mode=fast_mode)


@pytest.mark.parametrize("name", ["cube", "product", "exp", "several"])
def test_right_second_gradients(name: str) -> None:
    function, shapes = FUNCTIONS[name]
    assert gradgradcheck(function, [leaf(*s) for s in shapes])
    assert gradgradcheck(function, [leaf(*s) for s in shapes], fast_mode=True)


@pytest.mark.parametrize("function", [lambda z: z * z, lambda z: z * z.conj(), lambda z: (z * z).real, lambda z: (1j * z).imag, lambda z: z.abs()],
                         ids=["square", "modulus", "real", "imag", "abs"])
def test_complex_gradients(function: Any) -> None:
    assert gradcheck(function, leaf(3, dtype=cltorch.complex128))


class Wrong(autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: cltorch.Tensor) -> cltorch.Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, g: cltorch.Tensor) -> cltorch.Tensor:
        (x,) = ctx.saved_tensors
        return g * x * 2.1


class Moody(Wrong):
    calls = 0

    @staticmethod
    def backward(ctx: Any, g: cltorch.Tensor) -> cltorch.Tensor:
        Moody.calls += 1
        (x,) = ctx.saved_tensors
        return g * x * 2 + 1e-4 * (Moody.calls % 2)


@pytest.mark.parametrize("fast_mode", [False, True])
def test_wrong_gradient_is_found(fast_mode: bool) -> None:
    with pytest.raises(GradcheckError, match="Jacobian mismatch for output 0 with respect to input 0"):
        gradcheck(Wrong.apply, leaf(3), fast_mode=fast_mode)
    assert gradcheck(Wrong.apply, leaf(3), raise_exception=False, fast_mode=fast_mode) is False
    assert gradcheck(Wrong.apply, leaf(3), rtol=0.2, fast_mode=fast_mode)


def test_unsteady_gradient_is_found() -> None:
    with pytest.raises(GradcheckError, match="not reentrant"):
        gradcheck(Moody.apply, leaf(3))
    assert gradcheck(Moody.apply, leaf(3), nondet_tol=1e-3, atol=1e-3)


def test_gradcheck_refuses() -> None:
    with pytest.raises(ValueError, match="expects at least one input tensor to require gradient"):
        gradcheck(lambda x: x * 2, T([1.0]))
    with pytest.raises(ValueError, match=r"input 0 is torch\.float16"):
        gradcheck(lambda x: x * 2, leaf(2, dtype=cltorch.float16))


# make_tensor


@pytest.mark.parametrize("dtype", [cltorch.float32, cltorch.float16, cltorch.bfloat16, cltorch.uint8, cltorch.int8, cltorch.int64, cltorch.bool,
                                   cltorch.complex64], ids=str)
def test_make_tensor(dtype: cltorch.dtype) -> None:
    made = make_tensor((40, 50), dtype=dtype)
    assert (made.shape, made.dtype) == ((40, 50), dtype)
    values = made.to(cltorch.complex128 if dtype.is_complex else cltorch.float64).numpy()
    low, high = (0, 2) if dtype is cltorch.bool else (0, 10) if dtype is cltorch.uint8 else (-9, 9)
    assert values.real.min() >= low
    assert values.real.max() <= high
    assert len(np.unique(values)) > 1


def test_make_tensor_options(device: cltorch.device) -> None:
    strided = make_tensor(3, 4, dtype=cltorch.float32, noncontiguous=True, device=device, requires_grad=True, low=1, high=2)
    assert (strided.shape, strided.is_contiguous(), strided.device, strided.requires_grad) == ((3, 4), False, device, True)
    assert (make_tensor(200, dtype=cltorch.int8, low=-1, high=2, exclude_zero=True) != 0).all()
    cltorch.manual_seed(3)
    first = make_tensor(5, dtype=cltorch.float32)
    cltorch.manual_seed(3)
    assert_close(first, make_tensor(5, dtype=cltorch.float32))
    with pytest.raises(ValueError, match="low must be below high"):
        make_tensor(3, dtype=cltorch.float32, low=2, high=1)
