"""Matrix products: matmul and what PyTorch builds on it. Every one of them is a launch of ops/gemm.py that reads its operands through their strides.

Sources: https://docs.pytorch.org/docs/stable/torch.html#blas-and-lapack-operations and .../nn.functional.html#linear-functions
"""
from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from ..core.modes import modes
from ..core.pointwise import PROMOTE
from ..core.tensor import TYPE_NAMES, Tensor, alias
from ..dtype import ALL, NUMERIC, dtype, float32, float64
from ..runtime.device import Device
from ..shape import Size, broadcast_shapes, contiguous_strides
from .complexes import CORE, conjugate
from .gemm import Geometry, Number, Product, matrix, product
from .registry import composite, kernel_op, pointwise

BLAS = NUMERIC  # bool products raise, as PyTorch's do
C_NAMES = {"float32": "float", "float64": "double", "float16": "c10::Half", "bfloat16": "c10::BFloat16", "complex64": "c10::complex<float>",
           "complex128": "c10::complex<double>", "uint8": "unsigned char", "int8": "signed char", "int16": "short", "int32": "int",
           "int64": "long", "bool": "bool"}
LONG_DOT = 1 << 14  # elements from which a sum over all work-items beats one work-item


def _require_tensors(name: str, *named: tuple[str, Any]) -> None:
    for position, (parameter, value) in enumerate(named, 1):
        if not isinstance(value, Tensor):
            raise TypeError(f"{name}(): argument '{parameter}' (position {position}) must be Tensor, not {type(value).__name__}")


def _same_types(a: Tensor, b: Tensor) -> None:
    if a.dtype is not b.dtype:
        raise RuntimeError(f"expected m1 and m2 to have the same dtype, but got: {C_NAMES[a.dtype.name]} != {C_NAMES[b.dtype.name]}")


def _same_batch_types(a: Tensor, b: Tensor) -> None:
    if a.dtype is not b.dtype:
        raise RuntimeError(f"expected scalar type {TYPE_NAMES[a.dtype.name]} but found {TYPE_NAMES[b.dtype.name]}")


def _multiplicable(rows: int, inner: int, other: Sequence[int]) -> None:
    if inner != other[0]:
        raise RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({rows}x{inner} and {other[0]}x{other[1]})")


def _reshaped(t: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A fresh product in another shape of the same size."""
    return alias(t, shape, contiguous_strides(shape), 0)


def _row(v: Tensor) -> Tensor:
    return matrix(v, (1, v.shape[0]), (0, v._strides[0]))


def _column(v: Tensor) -> Tensor:
    return matrix(v, (v.shape[0], 1), (v._strides[0], 0))


def _adjoint(t: Tensor) -> Tensor:
    """The conjugated transpose of the last two dimensions, differentiable."""
    return conjugate(t).transpose(-1, -2)


# -- matmul ---------------------------------------------------------------------------------------------------------------------


def _check_matmul(a: Tensor, b: Tensor) -> None:
    """PyTorch's sentences: they differ by which of its functions matmul would have called."""
    if not a.shape or not b.shape:
        raise RuntimeError(f"both arguments to matmul need to be at least 1D, but they are {a.dim()}D and {b.dim()}D")
    if a.dim() <= 2 and b.dim() == 1:
        (_check_dot if a.dim() == 1 else _check_mv)(a, b)
        return
    (_same_batch_types if a.dim() > 2 and b.dim() > 2 else _same_types)(a, b)
    k = b.shape[max(b.dim() - 2, 0)]
    if a.shape[-1] != k:
        if a.dim() > 2 and b.dim() > 2:
            raise RuntimeError(f"Expected size for first two dimensions of batch2 tensor to be: [{a.shape[0]}, {a.shape[-1]}] but got: "
                               f"[{b.shape[0]}, {b.shape[-2]}].")
        rows = a.numel() // max(a.shape[-1], 1)
        _multiplicable(rows, a.shape[-1], b.shape[-2:] if b.dim() > 1 else (k, 1))


@lru_cache(maxsize=4096)
def _matmul_of(dev: Device, d: dtype, a: tuple, a_steps: tuple, b: tuple, b_steps: tuple) -> Product:
    """The product for operands of these shapes and strides, vectors included. Checks the shapes."""
    left = (a, a_steps) if len(a) > 1 else ((1, *a), (0, *a_steps))
    right = (b, b_steps) if len(b) > 1 else ((*b, 1), (*b_steps, 0))
    shape = broadcast_shapes(left[0][:-2], right[0][:-2]) + (left[0][-2:-1] if len(a) > 1 else ()) + (right[0][-1:] if len(b) > 1 else ())
    return Product(dev, d, left, right, None, shape)


def _matmul(input: Tensor, other: Tensor) -> Tensor:
    _require_tensors("matmul", ("input", input), ("other", other))
    _check_matmul(input, other)
    return _matmul_of(input._dev, input.dtype, input.shape, input._strides, other.shape, other._strides)(input, other)


def _matmul_left(g: Tensor, input_shape: tuple[int, ...], other: Tensor) -> Tensor:
    if other.dim() == 1:
        return g.unsqueeze(-1) * conjugate(other)
    if len(input_shape) == 1:
        return matmul(conjugate(other), g.unsqueeze(-1)).squeeze(-1)
    return matmul(g, _adjoint(other))


def _matmul_right(g: Tensor, input: Tensor, other_shape: tuple[int, ...]) -> Tensor:
    if input.dim() == 1:
        left = conjugate(input)
        return g * left if len(other_shape) == 1 else left.unsqueeze(-1) * g.unsqueeze(-2)
    if len(other_shape) == 1:
        return matmul(_adjoint(input.reshape(-1, input.shape[-1])), g.reshape(-1))
    if len(other_shape) == 2 and input.dim() > 2:  # one tall product instead of a batch of products and its sum
        return matmul(_adjoint(input.reshape(-1, input.shape[-1])), g.reshape(-1, g.shape[-1]))
    return matmul(_adjoint(input), g)


MATMUL_SHAPES = [((2, 3), (3, 4)), ((3,), (3,)), ((3,), (3, 4)), ((2, 3), (3,)), ((2, 5, 3), (3, 4)), ((5, 3), (2, 3, 4)), ((2, 1, 5, 3), (4, 3, 2)),
                 ((3,), (2, 3, 4)), ((2, 5, 3), (3,)), ((0, 3), (3, 4)), ((2, 0), (0, 4)), ((33, 70), (70, 41))]

matmul = kernel_op(
    "matmul(input, other)", dtypes=BLAS, forward=_matmul, ref=np.matmul, grad=dict(input=_matmul_left, other=_matmul_right),
    namespace="torch, linalg", dunders={"__matmul__": "xy", "__rmatmul__": "yx"},
    samples=lambda make: [((make(*a), make(*b)), {}) for a, b in MATMUL_SHAPES])


def _mm(input: Tensor, mat2: Tensor) -> Tensor:
    _require_tensors("mm", ("input", input), ("mat2", mat2))
    for name, t in (("self", input), ("mat2", mat2)):
        if t.dim() != 2:
            raise RuntimeError(f"{name} must be a matrix")
    _same_types(input, mat2)
    _multiplicable(*input.shape, mat2.shape)
    return product(input, mat2)


mm = kernel_op(
    "mm(input, mat2)", dtypes=BLAS, forward=_mm, ref=np.matmul,
    grad=dict(input=lambda g, mat2: mm(g, _adjoint(mat2)), mat2=lambda g, input: mm(_adjoint(input), g)),
    samples=lambda make: [((make(2, 3), make(3, 4)), {}), ((make(0, 3), make(3, 2)), {}), ((make(40, 30), make(30, 50)), {})])


def _check_batches(a: Tensor, b: Tensor) -> None:
    for name, t in (("batch1", a), ("batch2", b)):
        if t.dim() != 3:
            raise RuntimeError(f"{name} must be a 3D tensor")
    _same_batch_types(a, b)
    if b.shape[:2] != (a.shape[0], a.shape[2]):
        raise RuntimeError(f"Expected size for first two dimensions of batch2 tensor to be: [{a.shape[0]}, {a.shape[2]}] but got: "
                           f"[{b.shape[0]}, {b.shape[1]}].")


def _bmm(input: Tensor, mat2: Tensor) -> Tensor:
    _require_tensors("bmm", ("input", input), ("mat2", mat2))
    _check_batches(input, mat2)
    return product(input, mat2)


bmm = kernel_op(
    "bmm(input, mat2)", dtypes=BLAS, forward=_bmm, ref=np.matmul,
    grad=dict(input=lambda g, mat2: bmm(g, _adjoint(mat2)), mat2=lambda g, input: bmm(_adjoint(input), g)),
    samples=lambda make: [((make(2, 3, 4), make(2, 4, 5)), {}), ((make(0, 3, 4), make(0, 4, 5)), {}), ((make(3, 20, 40), make(3, 40, 33)), {})])


def _check_mv(a: Tensor, v: Tensor) -> None:
    if a.dim() != 2 or v.dim() != 1:
        raise RuntimeError(f"vector + matrix @ vector expected, got 1, {a.dim()}, {v.dim()}")
    if a.shape[1] != v.shape[0]:
        raise RuntimeError(f"size mismatch, got input ({a.shape[0]}), mat ({a.shape[0]}x{a.shape[1]}), vec ({v.shape[0]})")
    if a.dtype is not v.dtype:
        names = TYPE_NAMES[a.dtype.name], TYPE_NAMES[v.dtype.name]
        raise RuntimeError(f"addmv input tensors must have the same dtype, but got {names[1]}, {names[0]}, and {names[1]}")


def _mv(input: Tensor, vec: Tensor) -> Tensor:
    _require_tensors("mv", ("input", input), ("vec", vec))
    _check_mv(input, vec)
    return _reshaped(product(input, _column(vec)), (input.shape[0],))


mv = kernel_op(
    "mv(input, vec)", dtypes=BLAS, forward=_mv, ref=np.matmul,
    grad=dict(input=lambda g, vec: g.unsqueeze(-1) * conjugate(vec), vec=lambda g, input: mv(_adjoint(input), g)),
    samples=lambda make: [((make(2, 3), make(3)), {}), ((make(3, 0), make(0)), {}), ((make(40, 30), make(30)), {})])


def _check_dot(a: Tensor, b: Tensor) -> None:
    if a.dim() != 1 or b.dim() != 1:
        raise RuntimeError(f"1D tensors expected, but got {a.dim()}D and {b.dim()}D tensors")
    if a.dtype is not b.dtype:
        raise RuntimeError(f"dot : expected both vectors to have same dtype, but found {TYPE_NAMES[a.dtype.name]} and {TYPE_NAMES[b.dtype.name]}")
    if a.shape != b.shape:
        raise RuntimeError(f"inconsistent tensor size, expected tensor [{a.shape[0]}] and src [{b.shape[0]}] to have the same number of "
                           f"elements, but got {a.shape[0]} and {b.shape[0]} elements respectively")


def _dot(input: Tensor, tensor: Tensor) -> Tensor:
    _require_tensors("dot", ("input", input), ("tensor", tensor))
    _check_dot(input, tensor)
    if input.shape[0] >= LONG_DOT and input.dtype in (float32, float64):
        return (input * tensor).sum()
    return _reshaped(product(_row(input), _column(tensor)), ())


dot = kernel_op(
    "dot(input, tensor)", dtypes=BLAS, forward=_dot, ref=np.dot,
    grad=dict(input=lambda g, tensor: g * conjugate(tensor), tensor=lambda g, input: g * conjugate(input)),
    samples=lambda make: [((make(5), make(5)), {}), ((make(0), make(0)), {}), ((make(100), make(100)), {})])


@composite("vdot", method=True, dtypes=BLAS, ref=np.vdot, samples=lambda make: [((make(5), make(5)), {}), ((make(0), make(0)), {})])
def vdot(input, other, *, out=None):
    """The dot product of two vectors, the first one conjugated. Shapes (n,), (n,) to (). Source: torch.vdot."""
    _require_tensors("vdot", ("input", input), ("other", other))
    return dot(conjugate(input), other, out=out)


# -- products added to something ----------------------------------------------------------------------------------------------


def _expandable(t: tuple[int, ...], shape: tuple[int, ...]) -> None:
    """RuntimeError in PyTorch's words unless a tensor of shape ``t`` expands to ``shape``."""
    lead = len(shape) - len(t)
    for axis, size in reversed(list(enumerate(t))):
        if lead < 0 or size not in (1, shape[axis + lead]):
            raise RuntimeError(f"The expanded size of the tensor ({shape[max(axis + lead, 0)]}) must match the existing size ({size}) at "
                               f"non-singleton dimension {max(axis + lead, 0)}.  Target sizes: {list(shape)}.  Tensor sizes: {list(t)}")


def _same_sum_types(add: Tensor, other: Tensor) -> None:
    if add.dtype is not other.dtype:
        raise RuntimeError(f"self and mat2 must have the same dtype, but got {TYPE_NAMES[add.dtype.name]} and {TYPE_NAMES[other.dtype.name]}")


def _times(t: Tensor, factor: Number) -> Tensor:
    return t if factor == 1 else t * conjugate(factor)


def _addmm(input: Tensor, mat1: Tensor, mat2: Tensor, beta: Number = 1, alpha: Number = 1) -> Tensor:
    _require_tensors("addmm", ("input", input), ("mat1", mat1), ("mat2", mat2))
    for name, t in (("mat1", mat1), ("mat2", mat2)):
        if t.dim() != 2:
            raise RuntimeError(f"{name} must be a matrix, got {t.dim()}-D tensor")
    _multiplicable(*mat1.shape, mat2.shape)
    _expandable(input.shape, (mat1.shape[0], mat2.shape[1]))
    _same_sum_types(input, mat2)
    _same_types(mat1, mat2)
    return product(mat1, mat2, input, alpha, beta)


addmm = kernel_op(
    "addmm(input, mat1, mat2, *, beta=1, alpha=1)", dtypes=BLAS, forward=_addmm, inplace=True,
    ref=lambda x, a, b, beta=1, alpha=1: beta * x + alpha * (a @ b),
    grad=dict(input=lambda g, beta: _times(g, beta), mat1=lambda g, mat2, alpha: _times(mm(g, _adjoint(mat2)), alpha),
              mat2=lambda g, mat1, alpha: _times(mm(_adjoint(mat1), g), alpha)),
    samples=lambda make: [((make(2, 4), make(2, 3), make(3, 4)), {}), ((make(4), make(2, 3), make(3, 4)), dict(beta=3, alpha=2)),
                          ((make(2, 1), make(2, 0), make(0, 4)), dict(beta=2)), ((make(40, 50), make(40, 30), make(30, 50)), dict(alpha=3))])


def _baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, beta: Number = 1, alpha: Number = 1) -> Tensor:
    _require_tensors("baddbmm", ("input", input), ("batch1", batch1), ("batch2", batch2))
    _check_batches(batch1, batch2)
    _expandable(input.shape, (*batch1.shape[:2], batch2.shape[2]))
    _same_sum_types(input, batch2)
    return product(batch1, batch2, input, alpha, beta)


baddbmm = kernel_op(
    "baddbmm(input, batch1, batch2, *, beta=1, alpha=1)", dtypes=BLAS, forward=_baddbmm, inplace=True,
    ref=lambda x, a, b, beta=1, alpha=1: beta * x + alpha * (a @ b),
    grad=dict(input=lambda g, beta: _times(g, beta), batch1=lambda g, batch2, alpha: _times(bmm(g, _adjoint(batch2)), alpha),
              batch2=lambda g, batch1, alpha: _times(bmm(_adjoint(batch1), g), alpha)),
    samples=lambda make: [((make(2, 3, 5), make(2, 3, 4), make(2, 4, 5)), dict(beta=2)), ((make(5), make(2, 3, 4), make(2, 4, 5)), dict(alpha=3))])


@composite("addbmm", method=True, inplace=True, dtypes=BLAS, ref=lambda x, a, b, beta=1, alpha=1: beta * x + alpha * (a @ b).sum(0),
           samples=lambda make: [((make(3, 5), make(2, 3, 4), make(2, 4, 5)), dict(beta=2, alpha=3))])
def addbmm(input, batch1, batch2, *, beta=1, alpha=1):
    """beta * input + alpha * the sum over b of batch1[b] @ batch2[b]. Shapes (n, p), (b, n, m), (b, m, p). Source: torch.addbmm."""
    _require_tensors("addbmm", ("input", input), ("batch1", batch1), ("batch2", batch2))
    for name, t in (("batch1", batch1), ("batch2", batch2)):
        if t.dim() != 3:
            raise RuntimeError(f"{name} must be a 3D tensor")
    if batch1.shape[0] != batch2.shape[0]:
        raise RuntimeError(f"batch1 and batch2 must have same number of batches, got {batch1.shape[0]} and {batch2.shape[0]}")
    _check_batches(batch1, batch2)
    b, n, m = batch1.shape
    return addmm(input, batch1.transpose(0, 1).reshape(n, b * m), batch2.reshape(b * m, batch2.shape[2]), beta=beta, alpha=alpha)


@composite("addmv", method=True, inplace=True, dtypes=BLAS, ref=lambda x, a, v, beta=1, alpha=1: beta * x + alpha * (a @ v),
           samples=lambda make: [((make(3), make(3, 4), make(4)), dict(beta=2, alpha=3)), ((make(1), make(3, 4), make(4)), {})])
def addmv(input, mat, vec, *, beta=1, alpha=1):
    """beta * input + alpha * mat @ vec. Shapes (n,) or (1,), (n, m), (m,). Source: torch.addmv."""
    _require_tensors("addmv", ("input", input), ("mat", mat), ("vec", vec))
    _check_mv(mat, vec)
    if input.shape not in ((), (1,), (mat.shape[0],)):
        raise RuntimeError(f"size mismatch, got input ({input.shape[0]}), mat ({mat.shape[0]}x{mat.shape[1]}), vec ({vec.shape[0]})")
    return addmm(input.unsqueeze(-1), mat, vec.unsqueeze(-1), beta=beta, alpha=alpha).squeeze(-1)


@composite("outer", method=True, aliases=("ger",), ref=np.outer, samples=lambda make: [((make(3), make(4)), {}), ((make(0), make(2)), {})])
def outer(input, vec2, *, out=None):
    """input[i] * vec2[j]. Shapes (n,), (m,) to (n, m); types promote. Source: torch.outer."""
    _vector("outer", "self", input)
    _vector("outer", "vec2", vec2)
    result = input.unsqueeze(1) * vec2
    return result if out is None else out.copy_(result)


def _vector(name: str, parameter: str, t: Any) -> None:
    if t.dim() != 1:
        raise RuntimeError(f"{name}: Expected 1-D argument {parameter}, but got {t.dim()}-D")


_addr = pointwise(
    "addr(input, column, row, *, beta=1, alpha=1)", dtypes=ALL, out=PROMOTE, cl="add(mul(beta, input), mul(mul(alpha, column), row))",
    grad=dict(input=lambda g, beta: _times(g, beta), column=lambda g, row, alpha: g * conjugate(row * alpha),
              row=lambda g, column, alpha: g * conjugate(column * alpha)),
    ref=lambda x, a, b, beta=1, alpha=1: beta * x + alpha * a * b, inplace=False, **CORE)


@composite("addr", method=True, inplace=True, ref=lambda x, a, b, beta=1, alpha=1: beta * x + alpha * np.outer(a, b), dtypes=BLAS,
           samples=lambda make: [((make(3, 4), make(3), make(4)), dict(beta=2, alpha=3)), ((make(4), make(3), make(4)), {})])
def addr(input, vec1, vec2, *, beta=1, alpha=1):
    """beta * input + alpha * outer(vec1, vec2). Shapes (n, m) or one that expands to it, (n,), (m,). Source: torch.addr."""
    _require_tensors("addr", ("input", input), ("vec1", vec1), ("vec2", vec2))
    _vector("addr", "vec1", vec1)
    _vector("addr", "vec2", vec2)
    _expandable(input.shape, (vec1.shape[0], vec2.shape[0]))
    for name, value in (("beta", beta), ("alpha", alpha)):
        if isinstance(value, float) and not (input.is_floating_point() or input.is_complex()):
            raise RuntimeError(f"For integral input tensors, argument {name} must not be a floating point number.")
    column = vec1.unsqueeze(1)
    if beta == 0:
        return column * vec2 if alpha == 1 else column * vec2 * alpha
    return _addr(input, column, vec2, beta=beta, alpha=alpha)


# -- layers' functions ----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _linear_of(dev: Device, d: dtype, input: Geometry, weight: Geometry, bias: Geometry | None) -> Product:
    """The product for operands of this geometry. Checks the shapes."""
    (shape, steps), (w, w_steps) = input, weight
    if not shape or not w:
        raise RuntimeError(f"both arguments to linear need to be at least 1D, but they are {len(shape)}D and {len(w)}D")
    if len(w) > 2 or (len(w) == 1 and bias is not None):
        raise RuntimeError(f"mat2 must be a matrix, got {len(w)}-D tensor")
    k, n = shape[-1], 1 if len(w) == 1 else w[0]
    rows = prod(shape[:-1])
    _multiplicable(rows, k, (w[-1], n))
    if bias is not None:
        _expandable(bias[0], (rows, n))
    left = input if len(shape) > 1 else ((1, *shape), (0, *steps))
    right = (w[::-1], w_steps[::-1]) if len(w) > 1 else ((*w, 1), (*w_steps, 0))
    return Product(dev, d, left, right, bias, Size((*shape[:-1], *w[:-1])))


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    _require_tensors("linear", ("input", input), ("weight", weight))
    if input.dtype is not weight.dtype:
        _same_types(input, weight)
    if bias is not None and bias.dtype is not weight.dtype:
        _same_sum_types(bias, weight)
    added = None if bias is None else (tuple(bias.shape), bias._strides)
    found = _linear_of(input._dev, input.dtype, (tuple(input.shape), input._strides), (tuple(weight.shape), weight._strides), added)
    return found(input, weight, bias)


def _linear_input(g: Tensor, weight: Tensor) -> Tensor:
    if not modes.grad and len(g.shape) > 1 and len(weight.shape) == 2:
        return product(g, conjugate(weight))
    return g.unsqueeze(-1) * conjugate(weight) if weight.dim() == 1 else matmul(g, conjugate(weight))


def _linear_weight(g: Tensor, input: Tensor, weight_shape: tuple[int, ...]) -> Tensor:
    if len(input.shape) == 2 == len(weight_shape):
        return mm(g.t(), conjugate(input)) if modes.grad else product(matrix(g, g.shape[::-1], g._strides[::-1]), conjugate(input))
    rows = conjugate(input).reshape(-1, input.shape[-1])
    if len(weight_shape) == 1:
        return matmul(g.reshape(-1), rows)
    return mm(g.reshape(-1, g.shape[-1]).transpose(0, 1), rows)


linear = kernel_op(
    "linear(input, weight, bias=None)", dtypes=BLAS, forward=_linear, namespace="functional", method=False, out=False,
    ref=lambda x, w, b=0: x @ w.T + b, grad=dict(input=_linear_input, weight=_linear_weight, bias=lambda g: g),
    samples=lambda make: [((make(2, 3), make(4, 3), make(4)), {}), ((make(2, 3), make(4, 3)), {}), ((make(3), make(4, 3), make(4)), {}),
                          ((make(2, 5, 3), make(4, 3), make(4)), {}), ((make(2, 3), make(3)), {}), ((make(0, 3), make(4, 3), make(4)), {}),
                          ((make(60, 70), make(33, 70), make(33)), {})])


@composite("bilinear", namespace="functional", ref=lambda x, y, w, b=0: np.einsum("...i,oij,...j->...o", x, w, y) + b, dtypes=BLAS,
           samples=lambda make: [((make(5, 3), make(5, 4), make(2, 3, 4), make(2)), {}), ((make(2, 5, 3), make(2, 5, 4), make(6, 3, 4)), {})])
def bilinear(input1, input2, weight, bias=None):
    """input1 @ weight[o] @ input2 + bias[o]. Shapes (*, i), (*, j), (o, i, j), (o,) to (*, o). Source: nn.functional.bilinear."""
    for dim, (a, b) in enumerate(zip(input1.shape[:-1], input2.shape[:-1], strict=False)):
        if a != b:
            raise RuntimeError(f"bilinear(): input batch dimensions do not match at dim {dim}: got {a} and {b}")
    for name, size, wanted in (("input1", input1.shape[-1], weight.shape[1]), ("input2", input2.shape[-1], weight.shape[2])):
        if size != wanted:
            raise RuntimeError(f"bilinear(): {name} size does not match weight size: got {size} but expected {wanted}")
    if bias is not None and bias.shape[0] != weight.shape[0]:
        raise RuntimeError(f"bilinear(): bias size does not match weight size: got {bias.shape[0]} but expected {weight.shape[0]}")
    if input1.dtype.itemsize == 2 and input1.is_floating_point():  # three factors: rounded once
        return bilinear(input1.float(), input2.float(), weight.float(), None if bias is None else bias.float()).to(input1.dtype)
    left, right = input1.reshape(-1, input1.shape[-1]), input2.reshape(-1, input2.shape[-1])
    out = (matmul(left, weight) * right).sum(-1, dtype=left.dtype).t()
    return (out if bias is None else out + bias).reshape(*input1.shape[:-1], weight.shape[0])
