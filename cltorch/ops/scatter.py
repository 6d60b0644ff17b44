"""Writing element by element along one dimension: scatter, scatter_add, scatter_reduce, index_reduce. Repeated places combine in a fixed order."""
from __future__ import annotations

from typing import Any

import numpy as np

from ..core.data import tensor
from ..core.tensor import Tensor
from ..dtype import int64
from ..shape import normalize_dim
from .addressing import Columns, Indexed, accumulate_lines, addresses, put
from .arguments import same_device
from .indexing import check_gather, gather_addresses, pick
from .registry import composite, write_out
from .tape import overwritten
from .ternary import choose

REDUCTIONS = {"sum": "sum", "add": "sum", "prod": "prod", "multiply": "prod", "mean": "mean", "amax": "amax", "amin": "amin"}


def _source(name: str, x: Tensor, d: int, index: Tensor, src: Tensor) -> Tensor:
    """src as far as index reaches. RuntimeError where it is smaller or of another type or device."""
    same_device(name, x, src)
    if src.dtype is not x.dtype:
        raise RuntimeError(f"{name}(): Expected self.dtype to be equal to src.dtype, got {x.dtype} and {src.dtype}")
    if src.dim() != index.dim() or any(n > m for n, m in zip(index.shape, src.shape, strict=True)):
        raise RuntimeError(f"Expected index {list(index.shape)} to be no larger than self {list(x.shape)} apart from dimension {d} and to be no larger size "
                           f"than src {list(src.shape)}")
    return src if src.shape == index.shape else src[tuple([slice(n) for n in index.shape])]


def zeroed(g: Tensor, d: int, index: Tensor) -> Tensor:
    """g with zeros at the scattered places."""
    return scatter_(g.clone(), d, index, 0)


@composite("scatter_", namespace="tensor", method=True)
def scatter_(input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None, reduce: str | None = None) -> Tensor:
    """input[.., index[i], ..] = src[i] along ``dim``, in place (reduce: "add", "multiply"). Which of repeated places stays is not defined."""
    if reduce is not None:
        return _reduced(input, dim, index, value if src is None else src, reduce)
    d, given = normalize_dim(dim, input.dim()), value if src is None else src
    check_gather("scatter", input, d, index)
    if not isinstance(given, Tensor):
        given = tensor(given, dtype=input.dtype, device=input._dev)
    else:
        given = _source("scatter", input, d, index, given).contiguous()
    if index.numel() == 0:
        return input
    address = gather_addresses(input.shape, input._strides, d, index)
    return overwritten("scatter_", input, lambda t: put(t, address, Columns(), given), (input, lambda g: zeroed(g, d, index)),
                       (given, lambda g: pick(g, d, index)), index=index)


def _reduced(x: Tensor, dim: int, index: Tensor, src: Any, reduce: str) -> Tensor:
    if reduce not in ("add", "multiply"):
        raise RuntimeError("reduce argument must be either add or multiply.")
    if not isinstance(src, Tensor):
        src = tensor(src, dtype=x.dtype, device=x._dev).expand(index.shape)
    return scatter_reduce_(x, dim, index, src, "sum" if reduce == "add" else "prod")


@composite("scatter_add_", namespace="tensor", method=True)
def scatter_add_(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """input[.., index[i], ..] += src[i] along ``dim``, in place; the same on every run."""
    d = normalize_dim(dim, input.dim())
    check_gather("scatter_add", input, d, index)
    given = _source("scatter_add", input, d, index, src).contiguous()
    if index.numel() == 0:
        return input
    address = gather_addresses(input.shape, input._strides, d, index)
    return overwritten("scatter_add_", input, lambda t: accumulate_lines(t, address, index.shape, d, given), (input, lambda g: g),
                       (given, lambda g: pick(g, d, index)), index=index)


@composite("scatter_reduce_", namespace="tensor", method=True)
def scatter_reduce_(input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True) -> Tensor:
    """input's elements combined with src's that fall on them (sum, prod, mean, amax, amin), in place; include_self=False leaves out what was there.

    Differentiable; prod divides by the factors, so a factor of zero has no finite gradient.
    """
    d, op = normalize_dim(dim, input.dim()), _reduction("scatter_reduce", reduce)
    check_gather("scatter_reduce", input, d, index)
    if op == "sum" and include_self:
        return scatter_add_(input, dim, index, src)
    given = _source("scatter_reduce", input, d, index, src).contiguous()
    if index.numel() == 0:
        return input
    address, old = gather_addresses(input.shape, input._strides, d, index), input.detach().clone()
    rules = _Rules(old, given.detach(), lambda t: pick(t, d, index), lambda t, s: scatter_add_(t, d, index, s), lambda t: zeroed(t, d, index), op, include_self)
    out = overwritten("scatter_reduce_", input, lambda t: accumulate_lines(t, address, index.shape, d, given, op, include_self),
                      (input, lambda g: rules.of_self(g)), (given, lambda g: rules.of_source(g)), index=index)
    rules.result = out.detach().clone() if out._rg else None
    return out


def _reduction(name: str, reduce: str) -> str:
    if reduce not in ("sum", "prod", "mean", "amax", "amin"):
        raise RuntimeError(f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce} ({name}).")
    return reduce


class _Rules:
    """Gradients of a reduction by index: ``pick`` reads at the places, ``add(t, s)`` adds s there, ``clear`` zeroes them."""

    def __init__(self, old: Tensor, source: Tensor, pick: Any, add: Any, clear: Any, op: str, include: bool) -> None:
        self.old, self.source, self.pick, self.add, self.clear, self.op, self.include = old, source, pick, add, clear, op, include
        self.result: Tensor | None = None

    def of_self(self, g: Tensor) -> Tensor:
        if not self.include:
            return self.clear(g)
        if self.op == "mean":
            return g / self._counts()
        if self.op == "prod":
            return g * self.result / self.old
        return g * (self.old == self.result) / self._ties()

    def of_source(self, g: Tensor) -> Tensor:
        if self.op == "sum":
            return self.pick(g)
        if self.op == "mean":
            return self.pick(g / self._counts())
        if self.op == "prod":
            return self.pick(g * self.result) / self.source
        return self.pick(g / self._ties()) * (self.source == self.pick(self.result))

    def _counts(self) -> Tensor:
        """How many numbers went into each mean (at least 1)."""
        ones = self.source.new_ones(self.source.shape)
        start = self.old.new_ones(self.old.shape) if self.include else self.old.new_zeros(self.old.shape)
        counts = self.add(start, ones)
        return choose(counts == 0, 1, counts)

    def _ties(self) -> Tensor:
        """Among how many equal extremes a gradient is divided (at least 1)."""
        start = (self.old == self.result).to(self.old.dtype) if self.include else self.old.new_zeros(self.old.shape)
        ties = self.add(start, (self.source == self.pick(self.result)).to(self.old.dtype))
        return choose(ties == 0, 1, ties)


def _functional(name: str, in_place: Any, doc: str, **declared: Any) -> Any:
    def function(input: Tensor, dim: int, index: Tensor, *args: Any, out: Tensor | None = None, **options: Any) -> Tensor:
        result = in_place(input.clone(), dim, index, *args, **options)
        return result if out is None else write_out(result, out)

    function.__name__, function.__doc__ = name, doc
    return composite(name, method=True, **declared)(function)


def _scatter_reference(x: np.ndarray, dim: int, index: np.ndarray, src: Any) -> np.ndarray:
    out = x.copy()
    np.put_along_axis(out, index, src, dim)
    return out


scatter = _functional("scatter", scatter_, "A copy with copy[.., index[i], ..] = src[i] (or a value) along ``dim``.", ref=_scatter_reference,
                      samples=lambda make: [((make(3, 4), 1, make(3, 1, dtype=int64, low=0, high=3), make(3, 1)), {}),
                                            ((make(3, 4), 0, make(1, 4, dtype=int64, low=0, high=2), 1), {})])
scatter_add = _functional("scatter_add", scatter_add_, "A copy with copy[.., index[i], ..] += src[i] along ``dim``; the same on every run.",
                          samples=lambda make: [((make(3, 4), 1, make(3, 5, dtype=int64, low=0, high=3), make(3, 5)), {})])
scatter_reduce = _functional("scatter_reduce", scatter_reduce_, "A copy combined with src's elements by index: sum, prod, mean, amax, amin.")


@composite("index_reduce_", namespace="tensor", method=True)
def index_reduce_(input: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True) -> Tensor:
    """input's slices at an index vector combined with source's (prod, mean, amax, amin), in place. Differentiable as scatter_reduce_."""
    d = normalize_dim(dim, input.dim())
    shape = [1] * source.dim()
    shape[d] = index.shape[0]
    return scatter_reduce_(input, dim, index.to(int64).reshape(shape).expand(source.shape), source, reduce, include_self=include_self)


index_reduce = _functional("index_reduce", index_reduce_, "A copy whose slices at an index vector are combined with source's: prod, mean, amax, amin.")


def tally_addresses(index: Tensor, size: int) -> Tensor:
    """Addresses into a vector of ``size`` elements."""
    return addresses([Indexed(index, size, 1, 0)], index.shape, wrap=False)
