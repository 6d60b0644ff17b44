"""The ``reduction`` form: a declaration of map, combine, identity and finish becomes an operator over any dims of any strided tensor."""
from __future__ import annotations

import functools
from collections import namedtuple
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ..core import dispatch
from ..core.pointwise import BOOLEAN, FLOAT, REAL, SAME, constant
from ..core.tensor import TYPE_NAMES, Tensor
from ..dtype import CATEGORY_BOOL, CATEGORY_COMPLEX, CATEGORY_FLOAT, CATEGORY_INT, bfloat16, bool_, dtype, float16, float32, int64, uint8
from ..shape import Size, normalize_dim, normalize_dims
from .reduce_plan import MOST_LAUNCHERS, Launcher, Spec, launcher, run
from .registry import ACCUMULATE, INDEX, kernel_op

KINDS = {CATEGORY_BOOL: "bool", CATEGORY_INT: "int", CATEGORY_FLOAT: "float", CATEGORY_COMPLEX: "complex"}
NUMPY_NAMES = {"axis": "dim", "keepdims": "keepdim"}  # keywords that PyTorch takes too
Expression = str | dict[str, str]


def summing(d: dtype) -> dtype:
    """The type that sums of ``d`` are kept in: float32 for halves, int64 for integers and bool."""
    if d in (float16, bfloat16):
        return float32
    return d if d.category >= CATEGORY_FLOAT else int64


def comparing(d: dtype) -> dtype:
    """The type that maxima of ``d`` are kept in: float32 for halves."""
    return float32 if d in (float16, bfloat16) else d


def spread(g: Tensor, shape: Size, dim: Any = None, keepdim: bool = False) -> Tensor:
    """A reduction's result or gradient seen in the shape of its input."""
    if not keepdim:
        dims = normalize_dims(dim, len(shape))
        g = g.reshape([1 if d in dims else n for d, n in enumerate(shape)])  # type: ignore[attr-defined]
    return g.expand(shape)  # type: ignore[attr-defined]


def reduced_size(shape: Size, dim: Any) -> int:
    """How many elements each result comes from."""
    return Size(shape[d] for d in normalize_dims(dim, len(shape))).numel()


def axes(reference: Callable) -> Callable:
    """A NumPy reduction that is called with PyTorch's ``dim``, ``keepdim`` and ``dtype``."""
    def called(x: np.ndarray, dim: Any = None, keepdim: bool = False, dtype: Any = None, **options: Any) -> np.ndarray:
        axis = tuple(dim) if isinstance(dim, (list, tuple)) and len(dim) else dim if isinstance(dim, int) else None
        if x.ndim == 0:
            axis = None
        return reference(x, axis=axis, keepdims=keepdim, **options)

    return called


def check_dims_nonempty(name: str, x: Tensor, dim: Any, dims: tuple[int, ...], whole: type[Exception] = RuntimeError) -> None:
    """PyTorch's errors for reductions without an identity over nothing."""
    if x.numel() or (all(x.shape[d] for d in dims) and (dim is not None or not x.shape)):
        return
    if dim is None or (isinstance(dim, (tuple, list)) and not dim):
        how = " Specify the reduction dim with the 'dim' argument." if whole is RuntimeError else ""
        raise whole(f"{name}(): Expected reduction dim to be specified for input.numel() == 0.{how}")
    empty = next(d for d in dims if not x.shape[d])
    raise IndexError(f"{name}(): Expected reduction dim {empty} to have non-zero size.")


class Reduction:
    """A declared reduction: chooses types and expressions, and runs the kernels."""

    def __init__(self, name: str, out: str, map: Expression, combine: Expression, identity: Any, finish: str, mapped: str,
                 empty: Any, scalars: tuple[str, ...], accumulator: Callable[[dtype], dtype]) -> None:
        self.name, self.out, self.map, self.combine, self.identity = name, out, map, combine, identity
        self.finish, self.mapped, self.empty, self.scalars, self.accumulator = finish, mapped, empty, scalars, accumulator
        self.specs: dict[tuple[dtype, dtype], Spec] = {}
        self.launchers: dict[tuple, Launcher] = {}

    def result(self, source: dtype, wanted: dtype | None) -> dtype:
        """The type of the result."""
        if wanted is not None:
            return wanted
        if self.out == BOOLEAN:
            return uint8 if source is uint8 else bool_
        if self.out == ACCUMULATE:
            return source if source.category >= CATEGORY_FLOAT else int64
        if self.out == INDEX:
            return int64
        return source.to_real if self.out == REAL else source

    def spec(self, source: dtype, target: dtype) -> Spec:
        found = self.specs.get((source, target))
        if found is None:
            mapped = {"": source, "bool": bool_, "real": source.to_real}[self.mapped]
            acc = self.accumulator(target)
            found = self.specs[source, target] = Spec(
                source, acc, ((target, self.finish),), map=_of_kind(self.map, source), mapped=mapped,
                combine=_of_kind(self.combine, acc), identity=self.identity, scalars=self.scalars)
        return found

    def reduce(self, x: Tensor, dim: Any = None, keepdim: bool = False, wanted: dtype | None = None, scalars: tuple = ()) -> Tensor:
        if not isinstance(x, Tensor):
            raise TypeError(f"{self.name}(): argument 'input' must be Tensor, not {type(x).__name__}")
        if type(dim) is list:
            dim = tuple(dim)
        key = (x.dtype, x._dev, x.shape, x._strides, dim, keepdim, wanted)
        found = self.launchers.get(key)
        if found is not None:
            return found(x, scalars)[0]
        dims = normalize_dims(dim, len(x.shape))
        target = self.result(x.dtype, wanted)
        if x.numel() == 0:
            return self._of_nothing(x, dim, dims, keepdim, target)
        if len(self.launchers) >= MOST_LAUNCHERS:
            self.launchers.clear()
        found = self.launchers[key] = launcher(x, self.spec(x.dtype, target), dims, bool(keepdim))
        return found(x, scalars)[0]

    def _of_nothing(self, x: Tensor, dim: Any, dims: tuple[int, ...], keepdim: bool, target: dtype) -> Tensor:
        if self.empty is None:
            check_dims_nonempty(self.name, x, dim, dims)
        shape = Size(1 if d in dims else n for d, n in enumerate(x.shape) if keepdim or d not in dims)
        return constant(shape, self.empty or 0, target, x._dev)


def _of_kind(expression: Expression, d: dtype) -> str:
    if isinstance(expression, str):
        return expression
    return expression.get(KINDS[d.category], expression["float"])


def default_samples(make: Callable) -> list[tuple[tuple, dict]]:
    """No dim, one, several, negative, kept; a 0-d tensor and one with a dim of size 1."""
    return [((make(3, 4),), {}), ((make(2, 3, 4),), dict(dim=1)), ((make(2, 3, 4),), dict(dim=(0, -1))),
            ((make(2, 3, 4),), dict(dim=-1, keepdim=True)), ((make(),), {}), ((make(4, 1),), dict(dim=1))]


def one_dim_samples(make: Callable) -> list[tuple[tuple, dict]]:
    """For operators that take a single dim."""
    return [((make(3, 4),), {}), ((make(2, 3, 4),), dict(dim=1)), ((make(2, 3, 4),), dict(dim=-1, keepdim=True)), ((make(),), {})]


def reduction(signature: str, *, dtypes: Iterable[dtype], out: str = SAME, map: Expression = "x", combine: Expression, identity: Any = 0,
              finish: str = "a", mapped: str = "", empty: Any = None, scalars: Sequence[str] = (), accumulator: Callable[[dtype], dtype] = summing,
              grad: dict[str, Callable] | None = None, ref: Callable | None = None,
              samples: Callable | None = default_samples, **options: Any) -> Callable:
    """Declares a reduction; returns its function. The signature's ``dim``, ``keepdim`` and ``dtype`` mean what they do in PyTorch.

    ``map`` is over x, ``combine`` over a (earlier) and b (later), ``finish`` over a and n, the number of elements; strings, or dicts by
    kind of type (float, int, bool, complex). ``mapped``: "bool" or "real" where map's type isn't x's. ``identity``: a number, "lowest"
    or "highest". ``empty``: the result over no elements; None raises PyTorch's error. ``scalars``: keyword-only parameters that the
    expressions use. ``ref`` takes axis and keepdims as NumPy's reductions do.
    """
    name = signature[:signature.index("(")]
    engine = Reduction(name, out, map, combine, identity, finish, mapped, empty, tuple(scalars), accumulator)

    def forward(input: Tensor, dim: Any = None, keepdim: bool = False, **named: Any) -> Tensor:
        numbers = tuple([float(named[s]) for s in engine.scalars]) if engine.scalars else ()
        return engine.reduce(input, dim, keepdim, named.get("dtype"), numbers)

    return kernel_op(signature, forward=forward, dtypes=dtypes, grad=grad, ref=axes(ref) if ref else None, samples=samples, synonyms=NUMPY_NAMES, **options)


def numpy_names(function: Callable) -> Callable:
    """Decorator: also takes ``axis`` for dim and ``keepdims`` for keepdim."""
    @functools.wraps(function)
    def renamed(*args: Any, **named: Any) -> Any:
        for other, own in NUMPY_NAMES.items():
            if other in named:
                named[own] = named.pop(other)
        return function(*args, **named)

    return renamed


class Extreme:
    """Values and places of the largest or smallest elements along one dim, or of the whole tensor."""

    def __init__(self, name: str, order: Expression, identity: str) -> None:
        self.name, self.order, self.identity = name, order, identity
        self.specs: dict[tuple[dtype, bool], Spec] = {}

    def spec(self, d: dtype, values: bool) -> Spec:
        found = self.specs.get((d, values))
        if found is None:
            outputs = ((d, "a"), (int64, "index")) if values else ((int64, "index"),)
            found = self.specs[d, values] = Spec(d, comparing(d), outputs, kind="pair", combine=_of_kind(self.order, d), identity=self.identity)
        return found

    def find(self, x: Tensor, dim: int | None, keepdim: bool, values: bool, whole: type[Exception] = RuntimeError) -> tuple[Tensor, ...]:
        """(values, indices), or (indices,) only. Raises IndexError where there is nothing to choose from."""
        dims = tuple(range(x.ndim)) if dim is None else (normalize_dim(dim, x.ndim),) if x.shape else ()
        spec = self.spec(x.dtype, values)
        if x.numel() == 0:
            check_dims_nonempty(self.name, x, dim, dims, whole)
            shape = Size(1 if d in dims else n for d, n in enumerate(x.shape) if keepdim or d not in dims)
            return tuple(dispatch.empty(shape, d, x._dev) for d in spec.outputs)
        return run(x, spec, dims, keepdim)


def named_result(name: str, fields: str) -> type:
    """A tuple type with named fields that prints as PyTorch's ``torch.return_types``."""
    base = namedtuple(name, fields)  # type: ignore[misc]

    def text(self: Any) -> str:
        parts = ",\n".join(f"{field}={value!r}" for field, value in zip(self._fields, self, strict=True))
        return f"torch.return_types.{name}(\n{parts})"

    return type(name, (base,), {"__slots__": (), "__repr__": text})


def refuse_complex(name: str, x: Tensor) -> None:
    """NotImplementedError: complex numbers have no order."""
    if x.dtype.is_complex:
        raise NotImplementedError(f"{name}() is not implemented for '{TYPE_NAMES[x.dtype.name]}': complex numbers have no order")


__all__ = ["ACCUMULATE", "BOOLEAN", "FLOAT", "INDEX", "REAL", "SAME", "Extreme", "Reduction", "Spec", "axes", "comparing", "default_samples",
           "named_result", "numpy_names", "one_dim_samples", "reduced_size", "reduction", "refuse_complex", "run", "spread", "summing"]
