"""Scaled dot product attention: one kernel that keeps no scores and one for its gradients, where its plan (attention_launch.py) takes the shapes;
else a product, a kernel that scales, masks and normalises the scores, and another product. So are the gradients of gradients.

Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.scaled_dot_product_attention.html
"""
from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core import dispatch
from ..core.autograd import needs_grad, undo_broadcast
from ..core.modes import modes
from ..core.random import generator_for
from ..core.tensor import Tensor
from ..dtype import FLOATING, bfloat16, bool_, float16
from ..shape import broadcast_shapes, broadcast_strides, collapse
from . import attention_launch
from .attention_launch import Dropout
from .creation import filled
from .linalg import C_NAMES, matmul
from .random import dropout as drop
from .random import dropout_at
from .registry import composite, kernel_op

CORE = {"namespace": "core", "method": False}


def _mask_arguments(mask: Tensor, shape: tuple[int, ...]) -> tuple:
    """The mask's memory, first element, and its strides as if it were (outer, inner, rows, columns), with the size of inner."""
    steps = broadcast_strides(tuple(mask.shape), mask._strides, shape)
    sizes, (batch,) = collapse(shape[:-2], steps[:-2])
    if len(sizes) > 2:
        return _mask_arguments(mask.expand(shape).contiguous(), shape)  # type: ignore[attr-defined]
    outer = batch[-2] if len(sizes) > 1 else 0
    return dispatch.buffer(mask), mask.offset, outer, batch[-1], *steps[-2:], sizes[-1]


def _launch(stage: str, scores: Tensor, more: tuple, mask: Any, scale: float, causal: bool) -> Tensor:
    dispatch.numel_32("scaled_dot_product_attention", scores)
    dev, shape = scores._dev, scores.shape
    out = dispatch.empty(shape, scores.dtype, dev)
    if not out.numel():
        return out
    rows, columns = shape[-2], shape[-1]
    lines = out.numel() // columns
    threads = width = 1
    if dev.strategy == "wide":
        groups = min(dispatch.groups(dev, out.numel() * 8)[0][0], lines)
    else:
        width = dispatch.work_group(dev, "attention/weights")
        threads = min(width, 1 << max(-(-columns // 4) - 1, 0).bit_length())
        groups = min(-(-lines * threads // width), dev.compute_units * 64)
    kernel = dispatch.kernel(dev, "attention/weights", stage=stage, dtype=scores.dtype, mask=mask, WG=width)
    kernel((groups * width,), (width,), dispatch.buffer(out), dispatch.buffer(scores), scores.offset, *more, lines, rows, columns, float(scale),
           int(causal), threads)
    return out


def _weights(scores: Tensor, mask: Tensor | None, scale: float, causal: bool) -> Tensor:
    more = () if mask is None else _mask_arguments(mask, tuple(scores.shape))
    return _launch("forward", scores.contiguous(), more, None if mask is None else mask.dtype, scale, causal)  # type: ignore[attr-defined]


def _weights_gradient(value: Tensor, result: Tensor, scale: float, causal: bool) -> Tensor:
    y = result.contiguous()  # type: ignore[attr-defined]
    return _launch("backward", value.contiguous(), (dispatch.buffer(y), y.offset), None, scale, causal)  # type: ignore[attr-defined]


weights_gradient = kernel_op(
    "attention_weights_gradient(value, result, scale, causal)", dtypes=FLOATING, forward=_weights_gradient, out=False, **CORE,
    grad=dict(value=lambda g, result, scale, causal: weights_gradient(g, result, scale, causal),
              result=lambda g, value, result, scale:
                  (g * (value - (value * result).sum(-1, True)) - value * (g * result).sum(-1, True)) * scale))

weights = kernel_op(
    "attention_weights(scores, mask, scale, causal)", dtypes=FLOATING, forward=_weights, out=False, **CORE,
    grad=dict(scores=lambda g, out, scale, causal: weights_gradient(g, out, scale, causal),
              mask=lambda g, out, causal: weights_gradient(g, out, 1.0, causal)))


def _fused_gradients(g0: Tensor, parts: list[Tensor], mask: Tensor | None, scale: float, causal: bool, dropout: Dropout | None, out0: Tensor,
                     out1: Tensor) -> list[Tensor]:
    q, k, v = parts
    if modes.grad:
        return _gradients_as_tensors(g0, q, k, v, mask, scale, causal, dropout)
    found = attention_launch.backward(g0, q, k, v, mask, out0, out1, scale, causal, dropout)
    return [undo_broadcast(d, t.shape) for d, t in zip(found, parts, strict=True)]  # before they are rounded to halves


def _gradients_as_tensors(g: Tensor, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float, causal: bool,
                          dropout: Dropout | None) -> list[Tensor]:
    """The same in differentiable operators, for gradients of gradients."""
    answers = weights(matmul(q, k.transpose(-2, -1)), mask, scale, causal)
    to_kept, kept = matmul(g, v.transpose(-2, -1)), answers
    if dropout is not None:
        factors = _factors(to_kept, dropout)
        to_kept, kept = to_kept * factors, answers * factors
    to_scores = weights_gradient(undo_broadcast(to_kept, answers.shape), answers, scale, causal)
    return [matmul(to_scores, k), matmul(to_scores.transpose(-2, -1), q), matmul(kept.transpose(-2, -1), g)]


def _factors(like: Tensor, dropout: Dropout) -> Tensor:
    """What the fused kernels multiply weights with, of the shape (..., rows, keys) of another tensor: their rows in the stream are of whole blocks."""
    *lines, keys = like.shape
    ones = filled((*lines, -(-keys // 4) * 4), 1.0, like.dtype, like._dev)
    return dropout_at(ones, *dropout)[..., :keys]


fused = kernel_op("scaled_dot_product_attention(parts, mask, scale, causal, dropout)", dtypes=FLOATING, out=False, grad=dict(parts=_fused_gradients),
                  forward=lambda parts, mask, scale, causal, dropout: attention_launch.forward(*parts, mask, scale, causal, dropout), **CORE)


def _reference(query: np.ndarray, key: np.ndarray, value: np.ndarray, is_causal: bool = False, scale: float | None = None) -> np.ndarray:
    scores = query @ np.swapaxes(key, -1, -2) * (scale or 1 / math.sqrt(query.shape[-1]))
    if is_causal:
        scores = np.where(np.tril(np.ones(scores.shape[-2:], bool)), scores, -np.inf)
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True) @ value


def _samples(make: Any) -> list:
    return [((make(2, 3, 4), make(2, 5, 4), make(2, 5, 6)), {}), ((make(2, 2, 3, 4), make(2, 2, 3, 4), make(2, 2, 3, 4)), dict(is_causal=True, scale=0.3))]


def _check(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float, causal: bool) -> None:
    if not query.dtype is key.dtype is value.dtype:
        names = [C_NAMES[t.dtype.name] for t in (query, key, value)]
        raise RuntimeError("Expected query, key, and value to have the same dtype, but got query.dtype: {} key.dtype: {} and value.dtype: {} "
                           "instead.".format(*names))
    if min(query.dim(), key.dim(), value.dim()) < 2:
        raise RuntimeError(f"Expected query, key, and value to all be  at least 2 dimensional, but got query.dim: {query.dim()} key.dim: {key.dim()} and "
                           f"value.dim: {value.dim()} instead.")
    if not 0 <= dropout <= 1:
        raise RuntimeError(f"dropout probability has to be between 0 and 1, but got {dropout}")
    if mask is None:
        return
    if causal:
        raise RuntimeError("_scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True")
    if mask.dtype is not bool_ and mask.dtype.name != "float32" and mask.dtype is not query.dtype:
        raise RuntimeError(f"Expected attn_mask dtype to be bool or float or to match query dtype, but got attn_mask.dtype: {C_NAMES[mask.dtype.name]} and  "
                           f"query.dtype: {C_NAMES[query.dtype.name]} instead.")


def _composed(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float, causal: bool, dropout: float) -> Tensor:
    if query.dtype in (float16, bfloat16):  # scores and weights in float: rounded once
        mask = mask if mask is None or mask.dtype is bool_ else mask.float()  # type: ignore[attr-defined]
        parts = [t.float() for t in (query, key, value)]  # type: ignore[attr-defined]
        return _composed(*parts, mask, scale, causal, dropout).to(query.dtype)  # type: ignore[attr-defined]
    scores = matmul(query, key.transpose(-2, -1))
    if mask is not None:
        whole = broadcast_shapes(scores.shape, mask.shape)
        if whole != scores.shape:
            raise RuntimeError(f"output with shape {list(scores.shape)} doesn't match the broadcast shape {list(whole)}: attn_mask has more dimensions "
                               "than query and key give")
    answers = weights(scores, mask, scale, causal)
    if dropout > 0.0:
        answers = drop(answers, dropout)
    return matmul(answers, value)


def _grouped(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> tuple:
    """Query heads as (key heads, queries of one key head), so that keys and values broadcast instead of being repeated."""
    heads, shared = query.shape[-3], key.shape[-3]
    if min(query.dim(), key.dim(), value.dim()) < 3 or heads % shared or value.shape[-3] != shared:
        raise RuntimeError(f"scaled_dot_product_attention: with enable_gqa the number of query heads must be a multiple of the key and value heads, got "
                           f"{list(query.shape)}, {list(key.shape)} and {list(value.shape)}")
    if mask is not None and mask.dim() > 2:
        mask = mask.unflatten(-3, (shared, heads // shared)) if mask.shape[-3] == heads else mask.unsqueeze(-3)  # type: ignore[attr-defined]
    return query.unflatten(-3, (shared, heads // shared)), key.unsqueeze(-3), value.unsqueeze(-3), mask  # type: ignore[attr-defined]


@composite("scaled_dot_product_attention", namespace="functional", dtypes=FLOATING, samples=_samples, ref=_reference)
def scaled_dot_product_attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):
    """softmax(query keyᵀ · scale + mask) value.

    Shapes: query (..., L, E), key (..., S, E), value (..., S, Ev) -> (..., L, Ev); ``attn_mask`` broadcasts to (..., L, S): bool (True takes part)
    or added; a query that no key may answer gives zeros. ``dropout_p``: of the weights, by a mask that isn't stored: gradients draw it again. ``scale``
    defaults to 1/sqrt(E). With ``enable_gqa`` several query heads share a key head.
    Raises RuntimeError for differing dtypes, for fewer than two dims, and for a mask together with ``is_causal``.
    """
    _check(query, key, value, attn_mask, dropout_p, is_causal)
    if enable_gqa:
        query, key, value, attn_mask = _grouped(query, key, value, attn_mask)
    factor = 1 / math.sqrt(max(query.shape[-1], 1)) if scale is None else scale
    plan = None if needs_grad((attn_mask,)) or dropout_p == 1.0 else attention_launch.planned(query, key, value, attn_mask)
    if plan is None:
        out = _composed(query, key, value, attn_mask, factor, is_causal, dropout_p)
    else:
        dropout = Dropout(dropout_p, *generator_for(query._dev, None).reserve(plan.blocks)) if dropout_p else None
        out = fused([query, key, value], attn_mask, factor, is_causal, dropout)[0]
    return out.flatten(-4, -3) if enable_gqa else out
