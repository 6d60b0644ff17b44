"""Contractions of more than two indices or operands, built on matmul: inner, tensordot, einsum, kron, chain_matmul, multi_dot.

Source: https://docs.pytorch.org/docs/stable/torch.html#blas-and-lapack-operations
"""
from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from ..core.tensor import Tensor
from ..dtype import NUMERIC, bfloat16, float16
from ..shape import normalize_dim
from .linalg import matmul
from .registry import composite

BLAS = NUMERIC
EXACT = NUMERIC - {float16, bfloat16}  # generated tests of chains of products: halves are rounded after each
Label = str | int  # a letter; or, for a dimension under an ellipsis, its place counted from the right


@composite("inner", method=True, dtypes=BLAS, ref=np.inner,
           samples=lambda make: [((make(2, 3), make(4, 3)), {}), ((make(3), make(3)), {}), ((make(2, 2, 3), make(3)), {}), ((make(), make(3)), {})])
def inner(input, other, *, out=None):
    """Sums of products along both last dimensions. Shapes (*a, n), (*b, n) to (*a, *b); a 0-d operand multiplies. Source: torch.inner."""
    if not input.shape or not other.shape:
        result = input * other
    else:
        if input.shape[-1] != other.shape[-1]:
            raise RuntimeError("inner() the last dimension must match on both input tensors but got shapes "
                               f"{list(input.shape)} and {list(other.shape)}")
        result = tensordot(input, other, ([-1], [-1]))
    return result if out is None else out.copy_(result)


@composite("tensordot", dtypes=BLAS, ref=lambda a, b, dims=2: np.tensordot(a, b, dims),
           samples=lambda make: [((make(2, 3, 4), make(3, 4, 5)), dict(dims=2)), ((make(2, 3), make(4)), dict(dims=0)),
                                 ((make(2, 3, 4), make(4, 2)), dict(dims=([0, 2], [1, 0])))])
def tensordot(a, b, dims=2, out=None):
    """Sums over ``dims``: the last of ``a`` with the first of ``b``, or two lists of dims. Shapes: a's other dims, then b's. Source: torch.tensordot."""
    if isinstance(dims, int):
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        if dims > min(a.dim(), b.dim()):
            raise RuntimeError(f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}")
        left, right = list(range(a.dim() - dims, a.dim())), list(range(dims))
    else:
        left, right = ([d] if isinstance(d, int) else list(d) for d in (dims.tolist() if isinstance(dims, Tensor) else dims))
    if len(left) != len(right):
        raise RuntimeError(f"both dimension lists should have same length, got {len(left)} and {len(right)}")
    for x, y in zip(left, right, strict=True):
        if a.shape[x] != b.shape[y]:
            raise RuntimeError(f"contracted dimensions need to match, but first has size {a.shape[x]} in dim {x} and second has size "
                               f"{b.shape[y]} in dim {y}")
    left, right = [normalize_dim(d, a.dim()) for d in left], [normalize_dim(d, b.dim()) for d in right]
    rows, columns = [d for d in range(a.dim()) if d not in left], [d for d in range(b.dim()) if d not in right]
    height, width, depth = (prod(t.shape[d] for d in group) for t, group in ((a, rows), (b, columns), (a, left)))
    result = matmul(a.permute(*rows, *left).reshape(height, depth), b.permute(*right, *columns).reshape(depth, width))
    result = result.reshape(*[a.shape[d] for d in rows], *[b.shape[d] for d in columns])
    return result if out is None else out.copy_(result)


@composite("kron", method=True, ref=np.kron,
           samples=lambda make: [((make(2, 3), make(4, 5)), {}), ((make(3), make(2, 2)), {}), ((make(2, 1, 2), make(3)), {}), ((make(), make(3)), {})])
def kron(input, other, *, out=None):
    """Blocks of ``other`` times each element of ``input``; the shorter shape is padded with ones in front. Source: torch.kron."""
    rank = max(input.dim(), other.dim())
    a, b = ([1] * (rank - t.dim()) + list(t.shape) for t in (input, other))
    spread = [n for size in a for n in (size, 1)], [n for size in b for n in (1, size)]
    result = (input.reshape(spread[0]) * other.reshape(spread[1])).reshape([x * y for x, y in zip(a, b, strict=True)])
    return result if out is None else out.copy_(result)


# -- chains of matrices ---------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def chain_order(sizes: tuple[int, ...]) -> dict[tuple[int, int], int]:
    """Where to split the product of matrices first..last (matrix i is sizes[i] by sizes[i + 1]) so that it takes the fewest multiplications."""
    count = len(sizes) - 1
    cost, split = {(i, i): 0 for i in range(count)}, {}
    for length in range(1, count):
        for first in range(count - length):
            last = first + length
            cost[first, last], split[first, last] = min(
                (cost[first, s] + cost[s + 1, last] + sizes[first] * sizes[s + 1] * sizes[last + 1], s) for s in range(first, last))
    return split


def _chain(matrices: Sequence[Tensor]) -> Tensor:
    split = chain_order((matrices[0].shape[0], *[t.shape[1] for t in matrices]))

    def part(first: int, last: int) -> Tensor:
        if first == last:
            return matrices[first]
        middle = split[first, last]
        return matmul(part(first, middle), part(middle + 1, last))

    return part(0, len(matrices) - 1)


@composite("chain_matmul", dtypes=EXACT, ref=lambda *a: np.linalg.multi_dot(a),
           samples=lambda make: [((make(2, 3), make(3, 4), make(4, 2)), {})])
def chain_matmul(*matrices, out=None):
    """The product of two or more matrices (one is returned itself) in the cheapest order. Source: torch.chain_matmul."""
    if not matrices:
        raise RuntimeError("chain_matmul(): Expected one or more matrices")
    for t in matrices:
        if t.dim() != 2:
            raise RuntimeError(f"chain_matmul(): Expected 2-D matrices, got a {t.dim()}-D tensor")
    result = _chain(matrices)
    return result if out is None else out.copy_(result)


@composite("multi_dot", namespace="linalg", dtypes=EXACT, ref=np.linalg.multi_dot,
           samples=lambda make: [(([make(2, 3), make(3, 4), make(4, 5)],), {}), (([make(3), make(3, 4), make(4)],), {}), (([make(2, 3), make(3, 2)],), {})])
def multi_dot(tensors, *, out=None):
    """The product of two or more matrices in the cheapest order; the first and the last may be vectors. Source: torch.linalg.multi_dot."""
    if len(tensors) < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {len(tensors)}")
    first, last = tensors[0], tensors[-1]
    matrices = list(tensors)
    for place, t in ((0, first), (-1, last)):
        if t.dim() == 1:
            matrices[place] = t.unsqueeze(-1 if place else 0)
    for i, t in enumerate(matrices):
        if t.dim() != 2:
            raise RuntimeError(f"multi_dot(): tensor {i} must be 2D but got {tensors[i].dim()}D")
        if i and matrices[i - 1].shape[1] != t.shape[0]:
            raise RuntimeError(f"multi_dot(): tensors {i - 1} and {i} with shapes {list(tensors[i - 1].shape)} and {list(tensors[i].shape)} "
                               "cannot be multiplied")
    result = _chain(matrices)
    result = result.reshape(result.shape[first.dim() == 1:2 - (last.dim() == 1)])
    return result if out is None else out.copy_(result)


# -- einsum ---------------------------------------------------------------------------------------------------------------------


def _subscripts(text: str, start: int) -> list[str]:
    """Letters and "..." of one operand. RuntimeError in PyTorch's words for anything else."""
    found = re.findall(r"\.\.\.|.", text.replace(" ", ""))
    for place, token in enumerate(found):
        if token != "..." and not (token.isascii() and token.isalpha()):
            raise RuntimeError(f"einsum(): invalid subscript given at index {start + place} in the equation string, subscripts must be in [a-zA-Z]")
    if found.count("...") > 1:
        raise RuntimeError("einsum(): found '.' for operand 0 for which an ellipsis was already found")
    return found


def _labels(tokens: list[str], rank: int, operand: int) -> list[Label]:
    """One label a dimension."""
    letters = len(tokens) - ("..." in tokens)
    if letters > rank or ("..." not in tokens and letters != rank):
        raise RuntimeError(f"einsum(): the number of subscripts in the equation ({letters}) "
                           f"{'does not match' if '...' not in tokens else 'is more than'} the number of dimensions ({rank}) for operand {operand}"
                           f"{' and no ellipsis was given' if '...' not in tokens else ''}")
    out: list[Label] = []
    for token in tokens:
        out += range(rank - letters - 1, -1, -1) if token == "..." else [token]
    return out


class _Equation:
    """Parsed subscripts: ``inputs`` one list of labels an operand, ``output`` the result's labels."""

    def __init__(self, equation: str, operands: Sequence[Tensor]) -> None:
        sides = equation.split("->")
        texts = sides[0].split(",")
        if len(texts) != len(operands):
            few = "fewer" if len(operands) < len(texts) else "more"
            raise RuntimeError(f"einsum(): {few} operands were provided than specified in the equation")
        starts = np.cumsum([0] + [len(t) + 1 for t in texts])
        self.inputs = [_labels(_subscripts(text, int(starts[i])), t.dim(), i) for i, (text, t) in enumerate(zip(texts, operands, strict=True))]
        self.sizes: dict[Label, int] = {}
        for i, (labels, t) in enumerate(zip(self.inputs, operands, strict=True)):
            for label, size in zip(labels, t.shape, strict=True):
                seen = self.sizes.setdefault(label, size)
                if size not in (seen, 1) and seen != 1:
                    raise RuntimeError(f"einsum(): subscript {label} has size {size} for operand {i} which does not broadcast with previously "
                                       f"seen size {seen}")
                self.sizes[label] = size if seen == 1 else seen
        dots: list[Label] = sorted((label for label in self.sizes if isinstance(label, int)), reverse=True)  # type: ignore[type-var]
        self.output = self._explicit(sides[1], dots) if len(sides) > 1 else dots + self._implicit()

    def _implicit(self) -> list[Label]:
        counts = [label for labels in self.inputs for label in labels]
        return sorted(label for label in self.sizes if isinstance(label, str) and counts.count(label) == 1)

    def _explicit(self, text: str, dots: list[Label]) -> list[Label]:
        tokens = _subscripts(text, 0)
        for token in tokens:
            if token != "..." and token not in self.sizes:
                raise RuntimeError(f"einsum(): output subscript {token} does not appear in the equation for any input operand")
            if tokens.count(token) > 1:
                raise RuntimeError(f"einsum(): output subscript {token} appears more than once in the output")
        return [label for token in tokens for label in (dots if token == "..." else [token])]


def _unrepeat(t: Tensor, labels: list[Label]) -> tuple[Tensor, list[Label]]:
    """The diagonal over each label that appears twice."""
    for label in list(dict.fromkeys(labels)):
        while labels.count(label) > 1:
            first = labels.index(label)
            second = labels.index(label, first + 1)
            if t.shape[first] != t.shape[second]:
                raise RuntimeError(f"einsum(): subscript {label} is repeated for operand but the sizes don't match, {t.shape[second]} != "
                                   f"{t.shape[first]}")
            t = t.diagonal(0, first, second)
            labels = [name for i, name in enumerate(labels) if i not in (first, second)] + [label]
    return t, labels


def _sum_over(t: Tensor, labels: list[Label], gone: set[Label]) -> tuple[Tensor, list[Label]]:
    dims = [i for i, label in enumerate(labels) if label in gone]
    if not dims:
        return t, labels
    return t.sum(dims, dtype=t.dtype), [label for label in labels if label not in gone]


def _arranged(t: Tensor, labels: list[Label], *groups: list[Label]) -> Tensor:
    """Dimensions in the order of the groups."""
    return t.permute([labels.index(label) for group in groups for label in group])


def _pair(a: Tensor, la: list[Label], b: Tensor, lb: list[Label], keep: set[Label]) -> tuple[Tensor, list[Label]]:
    """Two operands contracted; labels outside ``keep`` are summed."""
    gone = (set(la) | set(lb)) - keep
    uneven = {x for x in set(la) & set(lb) & gone if a.shape[la.index(x)] != b.shape[lb.index(x)]}  # size 1 against n: sum each alone
    a, la = _sum_over(a, la, (gone - set(lb)) | uneven)
    b, lb = _sum_over(b, lb, (gone - set(la)) | uneven)
    shared = [x for x in la if x in lb and x in keep]
    inner = [x for x in la if x in lb and x not in keep]
    left, right = [x for x in la if x not in lb], [x for x in lb if x not in la]
    labels = shared + left + right
    if not inner:
        a, b = _arranged(a, la, shared, left), _arranged(b, lb, shared, right)
        return a.reshape(*a.shape, *[1] * len(right)) * b.reshape(*b.shape[:len(shared)], *[1] * len(left), *b.shape[len(shared):]), labels
    a, b = _arranged(a, la, shared, left, inner), _arranged(b, lb, shared, inner, right)
    s = len(shared)
    heights, depth, widths = a.shape[s:s + len(left)], prod(a.shape[s + len(left):]), b.shape[s + len(inner):]
    product = matmul(a.reshape(*a.shape[:s], prod(heights), depth), b.reshape(*b.shape[:s], depth, prod(widths)))
    return product.reshape(*product.shape[:s], *heights, *widths), labels


def _from_sublists(args: tuple) -> tuple[str, list[Tensor]]:
    """``einsum(a, [0, 1], b, [1, 2], [0, 2])`` as an equation."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

    def text(sublist: Sequence[Any]) -> str:
        for x in sublist:
            if x is not Ellipsis and not 0 <= x < 52:
                raise RuntimeError(f"einsum(): expected subscripts to be within the range [0, 52), but got {x}")
        return "".join("..." if x is Ellipsis else letters[x] for x in sublist)

    operands, lists = list(args[:len(args) // 2 * 2:2]), args[1:len(args) // 2 * 2:2]
    return ",".join(map(text, lists)) + (f"->{text(args[-1])}" if len(args) % 2 else ""), operands


def _einsum_samples(make: Any) -> list:
    return [(("ij,jk->ik", make(2, 3), make(3, 4)), {}), (("ij,kj", make(2, 3), make(4, 3)), {}), (("ii->i", make(3, 3)), {}), (("ii", make(3, 3)), {}),
            (("bij,bjk->bik", make(2, 3, 4), make(2, 4, 2)), {}), (("...ij,...jk->...ik", make(2, 1, 3, 4), make(2, 4, 5)), {}),
            (("i,j->ij", make(2), make(3)), {}), (("ij->ji", make(2, 3)), {}), (("ijk->j", make(2, 3, 4)), {}),
            (("bhqd,bhkd->bhqk", make(2, 2, 3, 4), make(2, 2, 5, 4)), {}), (("ab,bc,cd->ad", make(2, 3), make(3, 4), make(4, 2)), {}),
            (("bn,anm,bm->ba", make(2, 3), make(5, 3, 4), make(2, 4)), {}), (("ijk,jl->ikl", make(2, 3, 4), make(3, 5)), {})]


@composite("einsum", dtypes=EXACT, ref=np.einsum, samples=_einsum_samples)
def einsum(*args):
    """``einsum(equation, *operands)`` or with sublists; operands are contracted from left to right, each pair by one matmul. Source: torch.einsum."""
    if not args or len(args) < 2:
        raise ValueError("einsum(): must specify the equation string and at least one operand, or at least one operand and its subscripts list")
    equation, operands = (args[0], list(args[1:])) if isinstance(args[0], str) else _from_sublists(args)
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = list(operands[0])
    parsed = _Equation(equation, operands)
    terms = [_unrepeat(t, labels) for t, labels in zip(operands, parsed.inputs, strict=True)]
    result, labels = terms[0]
    for i in range(1, len(terms)):
        keep = set(parsed.output).union(*[later for _, later in terms[i + 1:]])
        result, labels = _pair(result, labels, *terms[i], keep)
    result, labels = _sum_over(result, labels, set(labels) - set(parsed.output))
    return _arranged(result, labels, parsed.output)


__all__ = ["chain_matmul", "chain_order", "einsum", "inner", "kron", "multi_dot", "tensordot"]
