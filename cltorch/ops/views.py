"""Views: other shapes of the same memory. Nothing is copied, except by reshape, flatten and ravel where no view has the shape."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core import view as core_view
from ..core.autograd import Like, OperatorNode, edge
from ..core.modes import modes
from ..core.pointwise import assign, constant
from ..core.tensor import Tensor, alias
from ..core.view import view_of
from ..dtype import COMPLEX, dtype
from ..shape import broadcast_shapes, contiguous_strides, infer_shape, view_strides
from . import geometry
from .arguments import listed, tensors_of, variadic
from .registry import composite, view

METHOD_ONLY = "tensor"


def embed(g: Tensor, shape: tuple[int, ...], window: geometry.Geometry) -> Tensor:
    """Zeros of ``shape`` with ``g`` in a window of it (a geometry over the contiguous zeros whose elements don't overlap)."""
    out = constant(shape, 0, g.dtype, g._dev)
    assign(alias(out, *window), g)
    if modes.grad and g._rg:
        def rule(gg: Tensor) -> Tensor:
            return through(gg.contiguous(), window)
        out._fn, out._rg = OperatorNode("EmbedBackward0", [edge(g)], {}, [(rule, ("g",), None)], [Like(g)]), True
    return out


def through(x: Tensor, window: geometry.Geometry) -> Tensor:
    """The window of a contiguous tensor: embed's adjoint."""
    shape = x.shape
    return view_of(x, window[0], window[1], x.offset + window[2], "WindowBackward0", lambda g: embed(g, shape, window), ("g",))


def window_of(rule: Callable, shape: tuple[int, ...], *arguments: Any) -> geometry.Geometry:
    """What a view shows of a contiguous tensor of ``shape``."""
    return rule(shape, contiguous_strides(shape), 0, *arguments)


# one tensor to one view

transpose = view(
    "transpose(input, dim0, dim1)", geometry=geometry.transpose, grad=lambda g, dim0, dim1: g.transpose(dim0, dim1), ref=np.swapaxes, inplace=True,
    samples=lambda make: [((make(2, 3, 4), 0, -1), {}), ((make(3, 2), 0, 1), {})], aliases=("swapaxes", "swapdims"))

t = view("t(input)", geometry=geometry.matrix_transpose, grad=lambda g: g.t(), ref=np.transpose, inplace=True,
         samples=lambda make: [((make(2, 3),), {}), ((make(3),), {}), ((make(),), {})])

permute = view(
    "permute(input, *dims)", geometry=geometry.permute, grad=lambda g, dims: g.permute(geometry.inverse(dims, g.dim())),
    ref=lambda x, dims: np.transpose(x, dims), samples=lambda make: [((make(2, 3, 4), (2, 0, -2)), {}), ((make(), ()), {})])

expand = view(
    "expand(input, *size)", geometry=geometry.expand, grad=lambda g: g, namespace=METHOD_ONLY,
    ref=lambda x, size: np.broadcast_to(x, [n if n >= 0 else x.shape[k - len(size)] for k, n in enumerate(size)]),
    samples=lambda make: [((make(3, 1), (2, 3, 4)), {}), ((make(3, 1), (-1, 4)), {}), ((make(), (2,)), {}), ((make(1, 3), (0, 3)), {})])

squeeze = view(
    "squeeze(input, dim=None)", geometry=geometry.squeeze, grad=lambda g, from_shape: g.reshape(from_shape), inplace=True,
    ref=lambda x, dim=None: x.reshape(geometry.squeeze(x.shape, x.strides, 0, dim)[0]),
    samples=lambda make: [((make(1, 3, 1),), {}), ((make(1, 3, 1), 0), {}), ((make(1, 3, 1), 1), {}), ((make(1, 3, 1), (0, -1)), {}), ((make(),), {})])

unsqueeze = view(
    "unsqueeze(input, dim)", geometry=geometry.unsqueeze, grad=lambda g, from_shape: g.reshape(from_shape), ref=np.expand_dims, inplace=True,
    samples=lambda make: [((make(2, 3), 1), {}), ((make(2, 3), -1), {}), ((make(), 0), {})])

narrow = view(
    "narrow(input, dim, start, length)", geometry=geometry.narrow,
    grad=lambda g, from_shape, dim, start, length: embed(g, from_shape, window_of(geometry.narrow, from_shape, dim, start, length)),
    ref=lambda x, dim, start, length: np.take(x, np.arange(length) + start % max(x.shape[dim], 1), dim),
    samples=lambda make: [((make(3, 5), 1, 1, 3), {}), ((make(3, 5), 0, -2, 2), {}), ((make(3, 5), -1, 2, 0), {})])

select = view(
    "select(input, dim, index)", geometry=geometry.select,
    grad=lambda g, from_shape, dim, index: embed(g, from_shape, window_of(geometry.select, from_shape, dim, index)),
    ref=lambda x, dim, index: np.take(x, index, dim), samples=lambda make: [((make(3, 4), 0, 1), {}), ((make(3, 4), -1, -1), {}), ((make(2), 0, 0), {})])

diagonal = view(
    "diagonal(input, offset=0, dim1=0, dim2=1)", geometry=geometry.diagonal,
    grad=lambda g, from_shape, offset, dim1, dim2: embed(g, from_shape, window_of(geometry.diagonal, from_shape, offset, dim1, dim2)),
    ref=np.diagonal, samples=lambda make: [((make(3, 4),), {}), ((make(3, 4), 1), {}), ((make(3, 4), -2), {}), ((make(2, 3, 4), 1, 0, -1), {}),
                                           ((make(2, 2), 5), {})])


def _unfold_gradient(g: Tensor, from_shape: tuple[int, ...], dimension: int, size: int, step: int) -> Tensor:
    """Windows may overlap, the k-th elements of all windows do not: one scatter for each place in the window."""
    if not from_shape:
        return g.sum(-1) if size else g.new_zeros(from_shape)
    shape, strides, offset = window_of(geometry.unfold, from_shape, dimension, size, step)
    total = g.new_zeros(from_shape)
    for k in range(size):
        total = total + embed(g.select(-1, k), from_shape, (shape[:-1], strides[:-1], offset + k * strides[-1]))
    return total


unfold = view(
    "unfold(input, dimension, size, step)", geometry=geometry.unfold, grad=_unfold_gradient, namespace=METHOD_ONLY,
    ref=lambda x, dimension, size, step: np.lib.stride_tricks.sliding_window_view(x, size, dimension).take(
        np.arange(0, x.shape[dimension] - size + 1, step), dimension % x.ndim),
    samples=lambda make: [((make(7), 0, 3, 2), {}), ((make(2, 6, 3), 1, 2, 1), {}), ((make(4, 5), -1, 5, 3), {})])


@composite("as_strided", method=True)
def as_strided(input: Tensor, size: Any, stride: Any, storage_offset: int | None = None) -> Tensor:
    """A view with any sizes and strides inside the input's memory. RuntimeError where it would reach outside.

    Its gradient expects that no element is shown twice.
    """
    return core_view.as_strided(input, listed(size), listed(stride), storage_offset)


# shapes of the same elements


def reshaped(x: Tensor, target: tuple[int, ...], strides: tuple[int, ...]) -> Tensor:
    shape = x.shape
    return view_of(x, target, strides, x.offset, "ViewBackward0", lambda g: g.reshape(shape), ("g",))


def _reshape(x: Tensor, target: tuple[int, ...]) -> Tensor:
    if x.plain:
        return reshaped(x, target, contiguous_strides(target))
    strides = view_strides(x.shape, x._strides, target)
    if strides is None:
        return reshaped(x.contiguous(), target, contiguous_strides(target))
    return reshaped(x, target, strides)


@composite("reshape", method=True, samples=lambda make: [((make(2, 6), (3, -1)), {}), ((make(4, 3).t(), (2, 6)), {}), ((make(1), ()), {}),
                                                         ((make(0, 3), (3, 0)), {})], ref=np.reshape)
@variadic("shape")
def reshape(input: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The elements in row-major order as ``shape`` (one size may be -1): a view where one exists, else a copy. RuntimeError where they don't fit."""
    return _reshape(input, infer_shape(shape, input.shape.numel()))


@composite("view", namespace=METHOD_ONLY, method=True, samples=lambda make: [((make(2, 6), (3, -1)), {}), ((make(6), (2, 3)), {})], ref=np.reshape)
def view_method(input: Tensor, *shape: Any, size: Any = None, dtype: dtype | None = None) -> Tensor:
    """A view with another shape (RuntimeError where only a copy has it) or, given a dtype, of the same bytes as that type (no gradient)."""
    if size is not None:
        shape = (size,)
    given = dtype if dtype is not None else shape[0] if len(shape) == 1 else None
    if isinstance(given, _DTYPE):
        return _reinterpret(input, given)
    target = infer_shape(listed(shape), input.shape.numel())
    return reshaped(input, target, geometry.strides_for(input.shape, input._strides, target))


_DTYPE = dtype


def _reinterpret(x: Tensor, d: dtype) -> Tensor:
    old, new = x.dtype.itemsize, d.itemsize
    if d is x.dtype:
        return view_of(x, x.shape, x._strides, x.offset, "ViewBackward0", lambda g: g, ("g",))
    if old == new:
        return view_of(x, x.shape, x._strides, x.offset, "ViewBackward0", d=d)
    if not x.shape or x._strides[-1] != 1:
        raise RuntimeError(f"self.size(-1) must be contiguous, and self.dim() not 0, to view {x.dtype} as {d} (different element sizes)")
    if old > new:
        ratio = old // new
        return view_of(x, (*x.shape[:-1], x.shape[-1] * ratio), (*[s * ratio for s in x._strides[:-1]], 1), x.offset * ratio, "ViewBackward0", d=d)
    ratio = new // old
    if x.shape[-1] % ratio or x.offset % ratio or any(s % ratio for s in x._strides[:-1]):
        raise RuntimeError(f"self.size(-1), self.storage_offset() and self.stride() must be divisible by {ratio} to view {x.dtype} as {d} (different "
                           f"element sizes), but got shape {list(x.shape)}, stride {list(x._strides)}, offset {x.offset}")
    return view_of(x, (*x.shape[:-1], x.shape[-1] // ratio), (*[s // ratio for s in x._strides[:-1]], 1), x.offset // ratio, "ViewBackward0", d=d)


@composite("view_as", namespace=METHOD_ONLY, method=True)
def view_as(input: Tensor, other: Tensor) -> Tensor:
    """A view with the shape of another tensor."""
    return view_method(input, other.shape)


@composite("reshape_as", namespace=METHOD_ONLY, method=True)
def reshape_as(input: Tensor, other: Tensor) -> Tensor:
    """The elements in the shape of another tensor; a view where possible."""
    return reshape(input, other.shape)


@composite("expand_as", namespace=METHOD_ONLY, method=True)
def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """The input seen in the shape of another tensor, repeated without a copy."""
    return expand(input, other.shape)


@composite("flatten", method=True, ref=lambda x, start_dim=0, end_dim=-1: x.reshape(geometry.flattened(x.shape, start_dim, end_dim)),
           samples=lambda make: [((make(2, 3, 4),), {}), ((make(2, 3, 4), 1), {}), ((make(2, 3, 4), 0, 1), {}), ((make(),), {})])
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dimensions start_dim to end_dim as one; a view where possible."""
    target = geometry.flattened(input.shape, start_dim, end_dim)
    return input if len(target) == len(input.shape) else _reshape(input, target)


@composite("ravel", method=True, ref=np.ravel, samples=lambda make: [((make(2, 3).t(),), {})])
def ravel(input: Tensor) -> Tensor:
    """The elements as one dimension; contiguous."""
    return _reshape(input, (input.shape.numel(),)).contiguous()


@composite("unflatten", method=True, samples=lambda make: [((make(2, 6), 1, (2, -1)), {}), ((make(6), 0, (3, 2)), {})],
           ref=lambda x, dim, sizes: x.reshape(geometry.unflattened(x.shape, dim, sizes)))
def unflatten(input: Tensor, dim: int, sizes: Any) -> Tensor:
    """Dimension ``dim`` as several (one may be -1)."""
    target = geometry.unflattened(input.shape, dim, sizes)
    return reshaped(input, target, geometry.strides_for(input.shape, input._strides, target))


@composite("movedim", method=True, aliases=("moveaxis",), ref=np.moveaxis,
           samples=lambda make: [((make(2, 3, 4), 0, 2), {}), ((make(2, 3, 4), (0, -1), (1, 0)), {})])
def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    """The dimensions ``source`` at the places ``destination``, the others in order."""
    return permute(input, geometry.moved(input.dim(), source, destination))


@composite("adjoint", method=True, ref=lambda x: np.conj(np.swapaxes(x, -2, -1)), samples=lambda make: [((make(2, 3, 4),), {})])
def adjoint(input: Tensor) -> Tensor:
    """The conjugated matrices transposed."""
    swapped = transpose(input, -2, -1)
    return swapped.conj() if input.dtype.is_complex else swapped


# broadcasting


@composite("broadcast_to", method=True, ref=np.broadcast_to, samples=lambda make: [((make(3, 1), (2, 3, 4)), {})])
def broadcast_to(input: Tensor, size: Any) -> Tensor:
    """The input seen as ``size``, repeated along new and size-1 dimensions without a copy."""
    return expand(input, size)


@composite("broadcast_tensors", ref=np.broadcast_arrays, samples=lambda make: [((make(3, 1), make(4)), {})])
def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors expanded to their common shape."""
    given = tensors_of(tensors)
    shape = broadcast_shapes(*[x.shape for x in given])
    return tuple([x if x.shape == shape else expand(x, shape) for x in given])


def _at_least(rank: int, shape_of: Callable[[tuple[int, ...]], tuple[int, ...]]) -> Callable:
    def function(*tensors: Any) -> Any:
        """The inputs with at least that many dimensions, as views."""
        given = tensors_of(tensors)
        out = tuple([x if x.dim() >= rank else _reshape(x, shape_of(x.shape)) for x in given])
        return out[0] if len(tensors) == 1 and isinstance(tensors[0], Tensor) else out

    function.__name__ = f"atleast_{rank}d"
    return function


atleast_1d = composite("atleast_1d", ref=np.atleast_1d, samples=lambda make: [((make(),), {}), ((make(2, 3),), {})])(_at_least(1, lambda s: (1,)))
atleast_2d = composite("atleast_2d", ref=np.atleast_2d, samples=lambda make: [((make(),), {}), ((make(3),), {})])(
    _at_least(2, lambda s: (1, *s) if s else (1, 1)))
atleast_3d = composite("atleast_3d", ref=np.atleast_3d, samples=lambda make: [((make(),), {}), ((make(3),), {}), ((make(2, 3),), {})])(
    _at_least(3, lambda s: (1, 1, 1) if not s else (1, *s, 1) if len(s) == 1 else (*s, 1)))


# complex numbers as pairs


def _part(x: Tensor, which: int) -> Tensor:
    scaled = tuple([2 * s for s in x._strides])
    d, factor = x.dtype, (1, 1j)[which]
    return view_of(x, x.shape, scaled, 2 * x.offset + which, "RealBackward0" if which == 0 else "ImagBackward0",
                   lambda g: g.to(d) if which == 0 else g.to(d) * factor, ("g",), d=x.dtype.to_real)


@composite("real", ref=np.real, samples=lambda make: [((make(3),), {})])
def real(input: Tensor) -> Tensor:
    """The real parts, as a view; a real tensor itself."""
    return _part(input, 0) if input.dtype.is_complex else input


@composite("imag", dtypes=COMPLEX, ref=np.imag, samples=lambda make: [((make(3),), {})])
def imag(input: Tensor) -> Tensor:
    """The imaginary parts, as a view. RuntimeError for a real tensor."""
    if not input.dtype.is_complex:
        raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")
    return _part(input, 1)


@composite("view_as_real", dtypes=COMPLEX, samples=lambda make: [((make(2, 3),), {})], ref=lambda x: np.stack((x.real, x.imag), -1))
def view_as_real(input: Tensor) -> Tensor:
    """A view of complex numbers as pairs: one more dimension of size 2. RuntimeError for a real tensor."""
    if not input.dtype.is_complex:
        raise RuntimeError("view_as_real is only supported for complex tensors")
    return view_of(input, (*input.shape, 2), (*[2 * s for s in input._strides], 1), 2 * input.offset, "ViewAsRealBackward0",
                   lambda g: view_as_complex(g.clone() if g.offset % 2 else g.contiguous()), ("g",), d=input.dtype.to_real)


@composite("view_as_complex")
def view_as_complex(input: Tensor) -> Tensor:
    """A view of pairs (last dimension 2) as complex numbers. RuntimeError where the pairs don't lie together in memory."""
    if input.dtype.name not in ("float32", "float64"):
        raise RuntimeError(f"view_as_complex is only supported for float and double tensors, but got a tensor of {input.dtype}")
    if not input.shape or input.shape[-1] != 2:
        raise RuntimeError("Tensor must have a last dimension of size 2")
    if input._strides[-1] != 1 or input.offset % 2 or any(s % 2 for s in input._strides[:-1]):
        raise RuntimeError("Tensor must have a last dimension with stride 1, and even strides and offset, to be viewed as complex: use contiguous()")
    return view_of(input, input.shape[:-1], tuple([s // 2 for s in input._strides[:-1]]), input.offset // 2, "ViewAsComplexBackward0",
                   lambda g: view_as_real(g), ("g",), d=input.dtype.to_complex)


# properties


def _reversed(self: Tensor) -> Tensor:
    return permute(self, tuple(range(self.dim() - 1, -1, -1)))


def _matrix(self: Tensor) -> Tensor:
    if self.dim() < 2:
        raise RuntimeError(f"tensor.mT is only supported on matrices or batches of matrices. Got {self.dim()}-D tensor.")
    return transpose(self, -2, -1)


def _hermitian(self: Tensor) -> Tensor:
    if self.dim() not in (0, 2):
        raise RuntimeError(f"tensor.H is only supported on matrices (2-D tensors). Got {self.dim()}-D tensor.")
    return adjoint(self) if self.shape else self


for _name, _getter in (("T", _reversed), ("mT", _matrix), ("H", _hermitian), ("mH", adjoint)):
    setattr(Tensor, _name, property(_getter))


def _assign_part(function: Callable) -> Callable:
    def setter(self: Tensor, value: Any) -> None:
        part = function(self)
        part.copy_(value) if isinstance(value, Tensor) else part.fill_(value)

    return setter


Tensor.real = property(real, _assign_part(real))  # type: ignore[attr-defined]
Tensor.imag = property(imag, _assign_part(imag))  # type: ignore[attr-defined]
