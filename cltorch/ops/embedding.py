"""Look-ups: embedding, embedding_bag, one_hot."""
from __future__ import annotations

from typing import Any

import numpy as np

from ..core.modes import no_grad
from ..core.tensor import Tensor
from ..dtype import int32, int64
from ..shape import contiguous_strides
from .addressing import Columns, Indexed, accumulate, addresses, put, take, zeros_like_shape
from .arguments import same_device
from .compaction import mask_indices
from .creation import filled, full
from .indexing import select_along
from .registry import composite
from .tape import taped
from .ternary import choose
from .views import reshape


def _rows(weight: Tensor, index: Tensor) -> tuple[Tensor, Columns]:
    address = addresses([Indexed(index, weight.shape[0], weight._strides[0], 0)], index.shape, wrap=False)
    return address, Columns(inner_sizes=weight.shape[1:], inner_strides=weight._strides[1:])


def _lookup(weight: Tensor, index: Tensor, padding_idx: int | None, by_frequency: bool) -> Tensor:
    shape = weight.shape
    out = take(weight, *_rows(weight, index), (*index.shape, *shape[1:]))

    def rule(g: Tensor, index: Tensor) -> Tensor:
        return _spread(_weighted(g, index, shape[0], padding_idx, by_frequency), shape, index)

    return taped("Embedding", out, (weight, rule), index=index)


def _weighted(g: Tensor, index: Tensor, rows: int, padding_idx: int | None, by_frequency: bool) -> Tensor:
    """g without the padding's part, and divided by how often each row was looked up."""
    spread = (*index.shape, *[1] * (g.dim() - index.dim()))
    if padding_idx is not None:
        g = g.masked_fill(reshape(index == padding_idx, spread), 0)
    if by_frequency:
        flat = reshape(index, -1)
        counts = _spread(filled((flat.shape[0],), 1, g.dtype, g._dev), (rows,), flat)
        g = g / reshape(select_along(counts, 0, flat), spread)
    return g


def _spread(g: Tensor, shape: tuple[int, ...], index: Tensor) -> Tensor:
    """Zeros of ``shape`` with g's rows added at index: the adjoint of the look-up."""
    out = zeros_like_shape(g, shape)
    address = addresses([Indexed(index, shape[0], contiguous_strides(tuple(shape))[0], 0)], index.shape)
    accumulate(out, address, Columns(inner_sizes=tuple(shape[1:]), inner_strides=contiguous_strides(tuple(shape[1:]))), g.contiguous())
    return taped("EmbeddingDenseBackward", out, (g, lambda gg: _lookup(gg, index, None, False)))


def _checked(name: str, input: Tensor, weight: Tensor, padding_idx: int | None, sparse: bool) -> int | None:
    if not isinstance(input, Tensor) or input.dtype not in (int32, int64):
        raise RuntimeError(f"Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, Int; but got "
                           f"{input.dtype if isinstance(input, Tensor) else type(input).__name__} instead ({name})")
    if sparse:
        raise NotImplementedError(f"{name}: sparse=True gives sparse gradients, which cltorch doesn't have; the dense gradient of sparse=False is the same sum")
    same_device(name, input, weight)
    rows = weight.shape[0]
    if padding_idx is not None and not -rows <= padding_idx < rows:
        raise AssertionError(f"padding_idx must be within num_embeddings: {padding_idx} is outside [{-rows}, {rows})")
    return padding_idx % rows if padding_idx is not None else None


def _renormalise(weight: Tensor, index: Tensor, max_norm: float, norm_type: float) -> None:
    """Scales the looked-up rows whose norm exceeds max_norm, in place."""
    with no_grad():
        rows = select_along(weight, 0, reshape(index, -1))
        norms = (rows.abs() ** norm_type).sum(1, keepdim=True) ** (1 / norm_type)
        scaled = choose(norms > max_norm, rows * (max_norm / (norms + 1e-7)), rows)
        address, columns = _rows(weight, reshape(index, -1))
        put(weight, address, columns, scaled.contiguous())


@composite("embedding", namespace="functional", ref=lambda index, weight: weight[index],
           samples=lambda make: [((make(2, 3, dtype=int64, low=0, high=4), make(5, 3)), {})])
def embedding(input: Tensor, weight: Tensor, padding_idx: int | None = None, max_norm: float | None = None, norm_type: float = 2.0,
              scale_grad_by_freq: bool = False, sparse: bool = False) -> Tensor:
    """weight's rows at the indices: (*, ) to (*, width). The padding row gets no gradient; max_norm first scales rows of weight in place.

    Gradients are dense and the same on every run. Raises NotImplementedError for sparse=True.
    """
    padding = _checked("embedding", input, weight, padding_idx, sparse)
    if max_norm is not None:
        _renormalise(weight.detach(), input, max_norm, norm_type)
    return _lookup(weight, input, padding, scale_grad_by_freq)


# bags


def _bags(input: Tensor, offsets: Tensor | None, include_last: bool) -> tuple[Tensor, np.ndarray]:
    """The indices as one vector, and where each bag starts (and the last one ends). The host reads the offsets."""
    if input.dim() == 2:
        if offsets is not None:
            raise ValueError("if input is 2D, then offsets has to be None, as input is treated is a mini-batch of fixed length sequences.")
        return reshape(input, -1), np.arange(input.shape[0] + 1) * input.shape[1]
    if input.dim() != 1:
        raise ValueError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension {input.dim()}")
    if offsets is None or offsets.dim() != 1:
        raise ValueError("offsets has to be a 1D Tensor for 1D input")
    starts = np.asarray(offsets.tolist(), np.int64)
    if starts.size and (starts[0] != 0 or starts.max() > input.shape[0]):
        raise ValueError(f"offsets have to start with 0 and not to exceed the input's length {input.shape[0]}, got {starts.tolist()}")
    return input, starts if include_last else np.append(starts, input.shape[0])


@composite("embedding_bag", namespace="functional")
def embedding_bag(input: Tensor, weight: Tensor, offsets: Tensor | None = None, max_norm: float | None = None, norm_type: float = 2.0,
                  scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False, per_sample_weights: Tensor | None = None,
                  include_last_offset: bool = False, padding_idx: int | None = None) -> Tensor:
    """Sums, means or maxima of weight's rows over bags of indices: rows of a 2-d input, or between the offsets of a 1-d one (read by the host)."""
    if mode not in ("sum", "mean", "max"):
        raise ValueError(f"mode has to be one of sum, mean or max, got {mode!r}")
    if per_sample_weights is not None and mode != "sum":
        raise NotImplementedError(f"embedding_bag: per_sample_weights was not None. per_sample_weights is only supported for mode='sum' (got mode={mode!r})")
    index, edges = _bags(input, offsets, include_last_offset)
    bag = np.repeat(np.arange(len(edges) - 1, dtype=np.int64), np.diff(edges))
    weights = None if per_sample_weights is None else reshape(per_sample_weights, -1)
    rows = embedding(index, weight, None, max_norm, norm_type, scale_grad_by_freq, sparse)
    if weights is not None:
        rows = rows * weights.unsqueeze(1)
    return _reduced_bags(rows, index, bag, len(edges) - 1, mode, None if padding_idx is None else padding_idx % weight.shape[0])


def _reduced_bags(rows: Tensor, index: Tensor, bag: np.ndarray, bags: int, mode: str, padding: int | None) -> Tensor:
    where = index.new_tensor(bag, dtype=int64)
    if padding is not None:
        kept = mask_indices(index != padding)[0]
        rows, where = select_along(rows, 0, kept), select_along(where, 0, kept)
    out = filled((bags, rows.shape[1]), 0, rows.dtype, rows._dev)
    if rows.shape[0] == 0:
        return out
    if mode == "max":
        return out.scatter_reduce(0, where.unsqueeze(1).expand(rows.shape), rows, "amax", include_self=False)
    total = out.index_add(0, where, rows)
    if mode == "sum":
        return total
    counts = filled((bags,), 0, rows.dtype, rows._dev).index_add(0, where, filled((where.shape[0],), 1, rows.dtype, rows._dev))
    return total / choose(counts == 0, 1, counts).unsqueeze(1)


@composite("one_hot", namespace="functional", differentiable=False)
def one_hot(tensor: Any, num_classes: int = -1) -> Tensor:
    """(*) class numbers to (*, num_classes) zeros and ones (int64); -1 counts the classes. Waits for the device, to check the numbers."""
    if tensor.dtype is not int64:
        raise RuntimeError(f"one_hot is only applicable to index tensor of type LongTensor, got {tensor.dtype}.")
    if tensor.numel() == 0 and num_classes <= 0:
        raise RuntimeError("Can not infer total number of classes from empty tensor.")
    if num_classes == 0 or num_classes < -1:
        raise RuntimeError(f"num_classes should be positive, got {num_classes}")
    low, high = (int(tensor.min().item()), int(tensor.max().item())) if tensor.numel() else (0, -1)
    if low < 0:
        raise RuntimeError(f"Class values must be non-negative, got {low}.")
    if 0 < num_classes <= high:
        raise RuntimeError(f"Class values must be smaller than num_classes: {high} with {num_classes} classes.")
    classes = high + 1 if num_classes == -1 else num_classes
    out = full((*tensor.shape, classes), 0, dtype=int64, device=tensor._dev)
    return out if out.numel() == 0 else out.scatter_(-1, tensor.unsqueeze(-1), 1)
