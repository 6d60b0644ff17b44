"""F.multi_head_attention_forward, from linear, softmax, bmm and scaled_dot_product_attention."""
from __future__ import annotations

import math

from ..core.tensor import Tensor
from ..ops import registry
from ..ops.creation import zeros

_functions = registry.functions("functional")
linear, softmax, pad, dropout = (_functions[name] for name in ("linear", "softmax", "pad", "dropout"))
cat = registry.functions("torch")["cat"]
scaled_dot_product_attention = _functions["scaled_dot_product_attention"]


def additive_mask(mask: Tensor | None, name: str, like: Tensor) -> Tensor | None:
    """A bool mask as -inf where True; a floating one as it is. TypeError for other dtypes."""
    if mask is None or mask.is_floating_point():
        return mask
    if mask.dtype.name != "bool":
        raise TypeError(f"only bool and floating types of {name} are supported, got {mask.dtype}")
    return zeros(mask.shape, dtype=like.dtype, device=mask.device).masked_fill_(mask, -math.inf)


def _check_shapes(query: Tensor, key: Tensor, value: Tensor, width: int, heads: int, separate: bool) -> bool:
    """Whether there is a batch dimension. AssertionError, PyTorch's type, for shapes that don't fit."""
    if query.dim() not in (2, 3) or key.dim() != query.dim() or value.dim() != query.dim():
        raise AssertionError(f"query, key and value must all be 2-D (unbatched) or all 3-D (batched), "
                             f"got {query.dim()}-D, {key.dim()}-D and {value.dim()}-D")
    if query.shape[-1] != width:
        raise AssertionError(f"was expecting embedding dimension of {width}, but got {query.shape[-1]}")
    if width % heads:
        raise AssertionError(f"embed_dim {width} not divisible by num_heads {heads}")
    if separate and key.shape[:-1] != value.shape[:-1]:
        raise AssertionError(f"key's sequence and batch dims {tuple(key.shape[:-1])} do not match value's {tuple(value.shape[:-1])}")
    if not separate and key.shape != value.shape:
        raise AssertionError(f"key shape {tuple(key.shape)} does not match value shape {tuple(value.shape)}")
    return query.dim() == 3


def _project(inputs: tuple, weights: tuple, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Each input through its own weight, and its third of the bias."""
    biases = (None,) * 3 if bias is None else bias.chunk(3)
    return tuple(linear(x, w, b) for x, w, b in zip(inputs, weights, biases, strict=True))


def _project_packed(query: Tensor, key: Tensor, value: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Three projections through one weight: one product where the inputs are one tensor, two where key is value."""
    width = query.shape[-1]
    if query is key and key is value:
        return linear(query, weight, bias).chunk(3, -1)
    if key is value:
        w_q, w_kv = weight.split([width, 2 * width])
        b_q, b_kv = (None, None) if bias is None else bias.split([width, 2 * width])
        return (linear(query, w_q, b_q), *linear(key, w_kv, b_kv).chunk(2, -1))
    return _project((query, key, value), weight.chunk(3), bias)


def _merged_mask(attn_mask: Tensor | None, key_padding_mask: Tensor | None, batch: int, heads: int, target: int,
                 source: int) -> Tensor | None:
    """Both masks as one that is added to scores (batch, heads, target, source). RuntimeError for wrong shapes."""
    if attn_mask is not None:
        if tuple(attn_mask.shape) not in ((target, source), (batch * heads, target, source)):
            raise RuntimeError(f"The shape of attn_mask is {tuple(attn_mask.shape)}, but should be {(target, source)} or "
                               f"{(batch * heads, target, source)}.")
        attn_mask = attn_mask.view(1, 1, target, source) if attn_mask.dim() == 2 else attn_mask.view(batch, heads, target, source)
    if key_padding_mask is None:
        return attn_mask
    if tuple(key_padding_mask.shape) != (batch, source):
        raise AssertionError(f"expecting key_padding_mask shape of {(batch, source)}, but got {tuple(key_padding_mask.shape)}")
    padding = key_padding_mask.view(batch, 1, 1, source)
    return padding if attn_mask is None else attn_mask + padding


def _append(mask: Tensor | None) -> Tensor | None:
    """A mask with one more source position, which may be attended to."""
    return None if mask is None else pad(mask, (0, 1))


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout_p: float, causal: bool, need_weights: bool,
            average: bool) -> tuple[Tensor, Tensor | None]:
    """Attention over (batch, heads, length, width), and its weights where they are wanted."""
    if not need_weights:
        return scaled_dot_product_attention(q, k, v, mask, dropout_p, causal), None
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    weights = softmax(scores if mask is None else scores + mask, -1)
    if dropout_p > 0:
        weights = dropout(weights, dropout_p)
    return weights @ v, weights.mean(1) if average else weights


def _heads(x: Tensor, batch: int, heads: int) -> Tensor:
    """(length, batch, heads · width) as (batch, heads, length, width)."""
    return x.reshape(x.shape[0], batch, heads, -1).permute(1, 2, 0, 3)


def multi_head_attention_forward(
        query: Tensor, key: Tensor, value: Tensor, embed_dim_to_check: int, num_heads: int, in_proj_weight: Tensor | None,
        in_proj_bias: Tensor | None, bias_k: Tensor | None, bias_v: Tensor | None, add_zero_attn: bool, dropout_p: float,
        out_proj_weight: Tensor, out_proj_bias: Tensor | None, training: bool = True, key_padding_mask: Tensor | None = None,
        need_weights: bool = True, attn_mask: Tensor | None = None, use_separate_proj_weight: bool = False,
        q_proj_weight: Tensor | None = None, k_proj_weight: Tensor | None = None, v_proj_weight: Tensor | None = None,
        static_k: Tensor | None = None, static_v: Tensor | None = None, average_attn_weights: bool = True,
        is_causal: bool = False) -> tuple[Tensor, Tensor | None]:
    """The computation of MultiheadAttention. Shape: (L, N, E), (S, N, kdim), (S, N, vdim) → (L, N, E) and (N, L, S) or None.

    ``static_k`` and ``static_v`` are (N · heads, S, E / heads). ``is_causal`` says that ``attn_mask`` is the causal one: without
    weights to return and without padding it is then not read. RuntimeError for ``is_causal`` without ``attn_mask``, as in PyTorch.
    """
    batched = _check_shapes(query, key, value, embed_dim_to_check, num_heads, use_separate_proj_weight)
    if is_causal and attn_mask is None:
        raise RuntimeError("Need attn_mask if specifying the is_causal hint.")
    if not batched:
        once = {id(t): t.unsqueeze(1) for t in (query, key, value)}
        query, key, value = (once[id(t)] for t in (query, key, value))
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    causal = is_causal and not need_weights and key_padding_mask is None
    padding = additive_mask(key_padding_mask, "key_padding_mask", query)
    attn_mask = None if causal else additive_mask(attn_mask, "attn_mask", query)
    target, batch, width = query.shape
    if use_separate_proj_weight:
        q, k, v = _project((query, key, value), (q_proj_weight, k_proj_weight, v_proj_weight), in_proj_bias)
    else:
        q, k, v = _project_packed(query, key, value, in_proj_weight, in_proj_bias)
    if bias_k is not None and bias_v is not None:
        k, v = (cat((x, learned.expand(1, batch, -1))) for x, learned in ((k, bias_k), (v, bias_v)))
        padding, attn_mask = _append(padding), _append(attn_mask)
    q = _heads(q, batch, num_heads)
    k = _heads(k, batch, num_heads) if static_k is None else static_k.unflatten(0, (batch, num_heads))
    v = _heads(v, batch, num_heads) if static_v is None else static_v.unflatten(0, (batch, num_heads))
    if add_zero_attn:
        k, v = pad(k, (0, 0, 0, 1)), pad(v, (0, 0, 0, 1))
        padding, attn_mask = _append(padding), _append(attn_mask)
    mask = _merged_mask(attn_mask, padding, batch, num_heads, target, k.shape[2])
    out, weights = _attend(q, k, v, mask, dropout_p if training else 0.0, causal, need_weights, average_attn_weights)
    out = linear(out.permute(2, 0, 1, 3).reshape(target, batch, width), out_proj_weight, out_proj_bias)
    if batched:
        return out, weights
    return out.squeeze(1), None if weights is None else weights.squeeze(0)
