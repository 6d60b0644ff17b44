"""Scaled dot product attention, from products and a softmax.

Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.scaled_dot_product_attention.html
"""
from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core.tensor import Tensor
from ..dtype import FLOATING, bool_
from . import creation, ternary
from .registry import composite, find


def _causal(rows: int, columns: int, like: Tensor) -> Tensor:
    """True where a query may look at a key: itself and those before it."""
    positions = creation.arange(rows, device=like.device).unsqueeze(1)
    return creation.arange(columns, device=like.device).unsqueeze(0) <= positions


def _reference(query: np.ndarray, key: np.ndarray, value: np.ndarray, is_causal: bool = False, scale: float | None = None) -> np.ndarray:
    scores = query @ np.swapaxes(key, -1, -2) * (scale or 1 / math.sqrt(query.shape[-1]))
    if is_causal:
        scores = np.where(np.tril(np.ones(scores.shape[-2:], bool)), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ value


def _samples(make: Any) -> list:
    return [((make(2, 3, 4), make(2, 5, 4), make(2, 5, 6)), {}), ((make(2, 2, 3, 4), make(2, 2, 3, 4), make(2, 2, 3, 4)), dict(is_causal=True, scale=0.3))]


def _check(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None, is_causal: bool) -> None:
    if not query.dtype is key.dtype is value.dtype:
        raise RuntimeError(f"Expected query, key, and value to have the same dtype, but got query.dtype: {query.dtype} key.dtype: {key.dtype} "
                           f"and value.dtype: {value.dtype} instead.")
    if min(query.dim(), key.dim(), value.dim()) < 2:
        raise RuntimeError(f"Expected query, key, and value to all be at least 2 dimensional, but got query.dim: {query.dim()}, key.dim: {key.dim()} and "
                           f"value.dim: {value.dim()} instead.")
    if attn_mask is not None and is_causal:
        raise RuntimeError("_scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True")


@composite("scaled_dot_product_attention", namespace="functional", dtypes=FLOATING, samples=_samples, ref=_reference)
def scaled_dot_product_attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):
    """softmax(query keyᵀ · scale + mask) value.

    Shapes: query (..., L, E), key (..., S, E), value (..., S, Ev) -> (..., L, Ev); ``attn_mask`` broadcasts to (..., L, S): bool (True takes part)
    or added. ``scale`` defaults to 1/sqrt(E). ``enable_gqa`` repeats key and value heads to the query's number. Raises RuntimeError for differing
    dtypes, for fewer than two dims, and for a mask together with ``is_causal``.
    """
    _check(query, key, value, attn_mask, is_causal)
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
        value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = (query * factor) @ key.transpose(-2, -1)
    mask = _causal(query.shape[-2], key.shape[-2], query) if is_causal else attn_mask
    if mask is not None:
        scores = ternary.where(mask, scores, -math.inf) if mask.dtype is bool_ else scores + mask
    weights = scores.softmax(-1)
    if dropout_p > 0.0:
        weights = find("dropout", "functional").function(weights, dropout_p)
    return weights @ value
