"""Tests that every declared operator gets from its declaration: reference, dtypes, layouts, in place, out=, method, chains, gradients."""
from __future__ import annotations

import functools
import inspect
import zlib
from typing import Any

import numpy as np
import pytest

import cltorch
from cltorch.core import lazy
from cltorch.core.tensor import Tensor
from cltorch.dtype import ALL, bfloat16, bool_, complex64, decode, encode, float16, float32, float64, int32, uint8
from cltorch.errors import UnsupportedDtypeError
from cltorch.ops import registry
from cltorch.ops.registry import Operator
from cltorch.testing import assert_close

POINTWISE = [op for op in registry.table() if op.form == "pointwise"]
OTHERS = [op for op in registry.table() if op.form != "pointwise" and op.samples is not None]
CASES = [pytest.param(op, d, id=f"{op.name}-{d.name}") for op in POINTWISE for d in sorted(op.dtypes)]
KINDS = frozenset((float16, float32, uint8, int32, bool_, complex64))  # a composite launches other operators' kernels: one type of each kind shows it
SAMPLED = [pytest.param(op, d, id=f"{op.name}-{d.name}") for op in OTHERS
           for d in sorted(op.dtypes & KINDS if op.form == "composite" and op.dtypes & KINDS else op.dtypes)]


def supported(d: Any, device: Any) -> None:
    """Skips a dtype that the device can't hold (no cl_khr_fp64)."""
    try:
        cltorch.empty(0, dtype=d, device=device)
    except UnsupportedDtypeError as error:
        pytest.skip(str(error))


def random_array(rng: np.random.Generator, shape: tuple[int, ...], d: Any, low: float, high: float) -> np.ndarray:
    """Random values in [low, high] that the dtype holds exactly, as float64 / complex128 / int64 / bool."""
    if d is bool_:
        return rng.random(shape) < 0.5
    if d.is_integral:
        low_int = max(int(np.ceil(low)), 0 if not d.is_signed else -100)
        return rng.integers(low_int, max(int(np.floor(high)), low_int + 1), shape, endpoint=True)
    values = rng.uniform(low, high, shape)
    if d.is_complex:
        values = values + 1j * rng.uniform(low, high, shape)
        return values.astype(d.np).astype(np.complex128)
    return decode(encode(values, d), d).astype(np.float64)


def to_device(array: np.ndarray, d: Any, device: Any, grad: bool = False) -> Tensor:
    t = cltorch.tensor(np.asarray(array), dtype=d, device=device)
    return t.requires_grad_() if grad else t


def host(t: Tensor) -> np.ndarray:
    return t.detach().numpy(force=True)


class Draw:
    """Random operands for one operator and dtype, the same in every run."""

    def __init__(self, op: Operator, d: Any, device: Any) -> None:
        self.op, self.d, self.device = op, d, device
        self.rng = np.random.default_rng(zlib.crc32(f"{op.name}{d.name}".encode()))
        self.operands = op.engine.operands

    def bounds(self, name: str) -> tuple[float, float]:
        domain = self.op.domain
        return domain.get(name, (-2, 2)) if isinstance(domain, dict) else domain

    def arrays(self, shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
        return [random_array(self.rng, s, self.d, *self.bounds(n)) for n, s in zip(self.operands, shapes, strict=True)]

    def reference(self, arrays: list[np.ndarray]) -> np.ndarray:
        ref = self.op.ref or getattr(np, self.op.name)
        with np.errstate(all="ignore"):
            return np.asarray(ref(*[compute(a, self.op, self.d) for a in arrays]))


def compute(a: np.ndarray, op: Operator, d: Any) -> np.ndarray:
    """The array in the type that the reference computes in: integers stay integers unless the operator answers in floating point."""
    if op.rule == registry.FLOAT and a.dtype.kind in "iub":
        return a.astype(np.float64)
    return a.astype(np.int64) if a.dtype.kind in "iu" else a


def tolerance_dtype(op: Operator, d: Any, got: Tensor) -> Any:
    """The coarser of input and result precision."""
    if d.is_floating_point or d.is_complex:
        return d
    return got.dtype


@pytest.mark.parametrize("op, d", CASES)
def test_forward_matches_reference(op: Operator, d: Any, device: Any) -> None:
    supported(d, device)
    draw = Draw(op, d, device)
    count = len(draw.operands)
    layouts = [[(37,)] * count, [(0, 3)] * count]
    if d is first_dtype(op):  # single elements and broadcasting are the launch's business, not the type's: one type shows them
        layouts += [[()] * count, [(3, 1, 5) if k % 2 else (4, 1) for k in range(count)]]
    for shapes in layouts:
        arrays = draw.arrays(shapes)
        got = op.function(*[to_device(a, d, device) for a in arrays])
        want = wrap(draw.reference(arrays), got.dtype)
        assert tuple(got.shape) == want.shape
        assert_close(got, want, dtype=tolerance_dtype(op, d, got))


def first_dtype(op: Operator) -> Any:
    """The type for checks that one type suffices for."""
    return float32 if float32 in op.dtypes else sorted(op.dtypes)[0]


def wrap(values: np.ndarray, d: Any) -> np.ndarray:
    """Integer references wrap as the dtype does."""
    return values.astype(d.np) if d.is_integral and values.dtype.kind in "iu" else values


@pytest.mark.parametrize("op", POINTWISE, ids=repr)
def test_strided_and_offset_operands(op: Operator, device: Any) -> None:
    d = first_dtype(op)
    draw = Draw(op, d, device)
    arrays = draw.arrays([(6, 5)] * len(draw.operands))
    tensors = [to_device(a, d, device) for a in arrays]
    want = host(op.function(*[to_device(a.T[1:, ::2].copy(), d, device) for a in arrays]))
    got = op.function(*[t.t()[1:, ::2] for t in tensors])
    np.testing.assert_array_equal(host(got), want)


@pytest.mark.parametrize("op", POINTWISE, ids=repr)
def test_undeclared_dtypes_raise(op: Operator, device: Any) -> None:
    for d in sorted(ALL - op.dtypes):
        if d.name == "complex128" or (op.rule == registry.FLOAT and d.category < float32.category):
            continue
        arrays = [np.ones(3)] * len(op.engine.operands)
        with pytest.raises(RuntimeError):
            op.function(*[to_device(a, d, device) for a in arrays])


@pytest.mark.parametrize("op", [op for op in POINTWISE if op.method], ids=repr)
def test_method_is_the_function(op: Operator, device: Any) -> None:
    d = first_dtype(op)
    draw = Draw(op, d, device)
    tensors = [to_device(a, d, device) for a in draw.arrays([(7,)] * len(draw.operands))]
    for name in (op.name, *op.aliases):
        np.testing.assert_array_equal(host(getattr(tensors[0], name)(*tensors[1:])), host(op.function(*tensors)))


@pytest.mark.parametrize("op", [op for op in POINTWISE if "torch" in op.namespaces], ids=repr)
def test_out_argument(op: Operator, device: Any) -> None:
    d = first_dtype(op)
    draw = Draw(op, d, device)
    tensors = [to_device(a, d, device) for a in draw.arrays([(2, 3)] * len(draw.operands))]
    want = op.function(*tensors)
    out = cltorch.empty(2, 3, dtype=want.dtype, device=device)
    assert op.function(*tensors, out=out) is out
    np.testing.assert_array_equal(host(out), host(want))
    wide = cltorch.zeros(3, 2, dtype=want.dtype, device=device).t()
    op.function(*tensors, out=wide)
    np.testing.assert_array_equal(host(wide), host(want))


@pytest.mark.parametrize("op", [op for op in POINTWISE if op.inplace is not None], ids=repr)
def test_in_place_keeps_storage_and_bumps_version(op: Operator, device: Any) -> None:
    d = first_dtype(op)
    draw = Draw(op, d, device)
    tensors = [to_device(a, d, device) for a in draw.arrays([(4, 5)] * len(draw.operands))]
    want = host(op.function(*tensors)).astype(d.np)
    base = cltorch.zeros(5, 6, dtype=d, device=device)
    base.t()[1:5].copy_(tensors[0])
    view, storage = base.t()[1:5], base.storage
    before = base._version
    op.inplace(view, *tensors[1:])
    assert view.storage is storage and base._version > before
    np.testing.assert_array_equal(host(base).T[1:5], want)
    assert not host(base).T[0].any() and not host(base).T[5:].any()


@pytest.mark.parametrize("op", [op for op in POINTWISE if float32 in op.dtypes], ids=repr)
def test_chain_equals_operators_alone(op: Operator, device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = Draw(op, float32, device)
    tensors = [to_device(a, float32, device) for a in draw.arrays([(33,)] * len(draw.operands))]

    def chain() -> np.ndarray:
        prepared = [t * 0.5 for t in tensors]
        return host(op.function(*prepared).to(float32) + 0.25)

    fused = chain()
    monkeypatch.setattr(lazy, "EAGER", True)
    np.testing.assert_array_equal(fused, chain())


def finite_difference(ref: Any, arrays: list[np.ndarray], k: int, weight: np.ndarray) -> np.ndarray:
    """d(sum(weight * ref)) / d arrays[k] by central differences in float64 on the host."""
    out, step = np.zeros_like(arrays[k]), 1e-6
    flat = arrays[k].reshape(-1)
    for i in range(flat.size):
        keep = flat[i]
        sides = []
        for sign in (1, -1):
            flat[i] = keep + sign * step
            sides.append(float((weight * ref(*arrays)).sum()))
        flat[i] = keep
        out.reshape(-1)[i] = (sides[0] - sides[1]) / (2 * step)
    return out


@pytest.mark.parametrize("op", [op for op in POINTWISE if op.differentiable and float32 in op.dtypes], ids=repr)
def test_gradient_matches_finite_differences(op: Operator, device: Any) -> None:
    draw = Draw(op, float32, device)
    shapes = [(3, 4) if k == 0 else (4,) for k in range(len(draw.operands))]
    arrays = draw.arrays(shapes)
    tensors = [to_device(a, float32, device, grad=name in op.gradient) for a, name in zip(arrays, draw.operands, strict=True)]
    result = op.function(*tensors)
    weight = draw.rng.uniform(0.5, 1.5, result.shape)
    result.backward(to_device(weight, float32, device))
    ref = op.ref or getattr(np, op.name)
    for k, (name, t) in enumerate(zip(draw.operands, tensors, strict=True)):
        if name in op.gradient:
            want = finite_difference(ref, [a.astype(np.float64) for a in arrays], k, weight)
            scale = max(1.0, float(np.abs(want).max()))
            assert_close(host(t.grad) / scale, want / scale, dtype=float16 if scale > 100 else float32, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("op", [op for op in POINTWISE if op.differentiable and float64 in op.dtypes], ids=repr)
def test_second_order_gradient(op: Operator, device: Any) -> None:
    supported(float64, device)
    draw = Draw(op, float64, device)
    arrays = draw.arrays([(5,)] * len(draw.operands))
    tensors = [to_device(a, float64, device, grad=name in op.gradient) for a, name in zip(arrays, draw.operands, strict=True)]
    assert cltorch.testing.gradgradcheck(op.function, tensors, raise_exception=True)


class Make:
    """``make(*shape)`` of a sample list: random tensors of the dtype under test, and their reference arrays."""

    def __init__(self, op: Operator, d: Any, device: Any, grad: bool = False) -> None:
        self.rng = np.random.default_rng(zlib.crc32(f"{op.name}{d.name}".encode()))
        self.d, self.device, self.grad = d, device, grad

    def __call__(self, *shape: int, low: float = -2, high: float = 2, dtype: Any = None) -> Tensor:
        d = dtype or self.d
        array = random_array(self.rng, shape, d, low, high)
        return to_device(array, d, self.device, self.grad and (d.is_floating_point or d.is_complex))


def as_reference(value: Any) -> Any:
    if isinstance(value, Tensor):
        array = host(value)
        kind = {"f": np.float64, "c": np.complex128, "i": np.int64, "u": np.int64, "b": np.bool_}[array.dtype.kind]
        return array.astype(kind)
    if type(value) in (list, tuple):
        return type(value)(as_reference(v) for v in value)
    return value


def roundings(op: Operator, d: Any) -> float:
    """In 16-bit types a composite rounds after each of its operators, where the reference rounds once: up to four half units add up."""
    return 4.0 if op.form == "composite" and d in (float16, bfloat16) else 1.0


def flat_outputs(value: Any) -> list[Any]:
    return [v for part in value for v in flat_outputs(part)] if isinstance(value, (tuple, list)) else [value]


@pytest.mark.parametrize("op, d", [c for c in SAMPLED if c.values[0].ref is not None])
def test_sampled_forward(op: Operator, d: Any, device: Any) -> None:
    supported(d, device)
    for args, kwargs in op.samples(Make(op, d, device)):
        got = op.function(*args, **kwargs)
        with np.errstate(all="ignore"):
            want = op.ref(*as_reference(list(args)), **{k: as_reference(v) for k, v in kwargs.items()})
        for g, w in zip(flat_outputs(got), flat_outputs(want), strict=True):
            if isinstance(g, Tensor):
                w = wrap(np.asarray(w), g.dtype)
                assert tuple(g.shape) == w.shape
                assert_close(g, w, dtype=tolerance_dtype(op, d, g), scale=roundings(op, d))
            else:
                assert g == w


@pytest.mark.parametrize("op", [op for op in OTHERS if op.form != "composite" and op.ref is not None and float32 in op.dtypes], ids=repr)
def test_sampled_forward_of_pending_operands(op: Operator, device: Any) -> None:
    """A kernel that computes a chain on its way finds the same as one that reads it from memory."""
    def pending(value: Any) -> Any:
        if isinstance(value, Tensor) and value.dtype is float32:
            return value * 2 * 0.5
        return type(value)(map(pending, value)) if type(value) in (list, tuple) else value

    for args, kwargs in op.samples(Make(op, float32, device)):
        plain, chained = (flat_outputs(op.function(*operands, **kwargs)) for operands in (args, pending(args)))
        for p, c in zip(plain, chained, strict=True):
            if isinstance(p, Tensor):
                assert_close(c, host(p), dtype=p.dtype)


@pytest.mark.parametrize("op", [op for op in OTHERS if op.differentiable and op.form != "composite" and float64 in op.dtypes], ids=repr)
def test_sampled_gradient(op: Operator, device: Any) -> None:
    supported(float64, device)
    for args, kwargs in op.samples(Make(op, float64, device, grad=True)):
        inputs = [t for a in args for t in (a if isinstance(a, (list, tuple)) else [a]) if isinstance(t, Tensor) and t.requires_grad]
        if not inputs or sum(t.numel() for t in inputs) > 60 or any(t.numel() == 0 for t in inputs):
            continue
        call = functools.partial(_rebuild_call, op.function, args, kwargs)
        assert cltorch.testing.gradcheck(call, inputs, raise_exception=True)


def _rebuild_call(function: Any, args: tuple, kwargs: dict, *inputs: Tensor) -> Any:
    """The sample's call with its differentiable inputs replaced."""
    queue = list(inputs)

    def swap(value: Any) -> Any:
        if isinstance(value, Tensor):
            return queue.pop(0) if value.requires_grad else value
        if type(value) in (list, tuple):
            return type(value)(swap(v) for v in value)
        return value

    result = function(*[swap(a) for a in args], **kwargs)
    outputs = [o for o in flat_outputs(result) if isinstance(o, Tensor) and o.requires_grad]
    return tuple(outputs)


@pytest.mark.parametrize("op", registry.table(), ids=lambda op: f"{op.namespaces[0]}.{op.name}")
def test_declaration_is_complete(op: Operator) -> None:
    """Every operator can be tested from its declaration, and says what it is."""
    assert op.function.__doc__
    assert inspect.signature(op.function)
    if op.form == "pointwise":
        assert op.ref is not None or hasattr(np, op.name), f"{op.name} needs ref="
