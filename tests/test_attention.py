"""Scaled dot product attention against PyTorch: shapes, masks, causality, shared heads, types, gradients of both orders."""
from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracle import F, Input, same, values

import cltorch

torch = pytest.importorskip("torch")


def attend(library: Any, *args: Any, **options: Any) -> Any:
    return F(library).scaled_dot_product_attention(*args, **options)


def heads(*shapes: tuple) -> list[np.ndarray]:
    return [values(s, seed=i, low=-1, high=1) for i, s in enumerate(shapes)]


SHAPES = [((3, 4), (5, 4), (5, 4)), ((2, 3, 4), (2, 5, 4), (2, 5, 7)), ((2, 3, 9, 8), (2, 3, 11, 8), (2, 3, 11, 8)),
          ((1, 2, 70, 33), (1, 2, 70, 33), (1, 2, 70, 33)),
          ((2, 3, 1, 9, 8), (2, 1, 4, 6, 8), (2, 1, 4, 6, 8)), ((2, 1, 1), (2, 1, 1), (2, 1, 1)), ((3, 6, 4), (6, 4), (6, 4))]


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"scale": 0.3}], ids=str)
def test_forward_and_gradients(shapes: tuple, options: dict) -> None:
    same(lambda lib, q, k, v: attend(lib, q, k, v, **options), *heads(*shapes), scale=20)


@pytest.mark.parametrize("shape", [(9, 11), (1, 11), (9, 1), (2, 1, 9, 11), (3, 1, 1), (2, 3, 9, 11)], ids=str)
def test_masks(shape: tuple) -> None:
    q, k, v = heads((2, 3, 9, 8), (2, 3, 11, 8), (2, 3, 11, 8))
    some = np.random.default_rng(0).random(shape) < 0.7
    same(lambda lib, q, k, v, m: attend(lib, q, k, v, attn_mask=m), q, k, v, some, scale=20)
    same(lambda lib, q, k, v, m: attend(lib, q, k, v, attn_mask=m), q, k, v, values(shape, seed=4), scale=20)
    same(lambda lib, q, k, v, m: attend(lib, q, k, v, attn_mask=m), q, k, v, Input(values(shape, seed=4), layout="transposed"), scale=20)
    minus = np.where(some, 0, -np.inf).astype(np.float32)
    same(lambda lib, q, k, v, m: attend(lib, q, k, v, attn_mask=m), q, k, v, Input(minus, grad=False), scale=20)


def test_queries_without_keys_give_zeros() -> None:
    none = np.ones((3, 5), bool)
    none[1] = False
    for mask in (Input(none), Input(np.where(none, 0, -np.inf).astype(np.float32), grad=False)):
        same(lambda lib, q, k, v, m: attend(lib, q, k, v, attn_mask=m), *heads((2, 3, 4), (2, 5, 4), (2, 5, 4)), mask, scale=10)


@pytest.mark.parametrize("shapes", [((2, 3, 4), (2, 0, 4), (2, 0, 4)), ((0, 3, 4), (0, 5, 4), (0, 5, 4)), ((2, 0, 4), (2, 5, 4), (2, 5, 4))], ids=str)
def test_empty(shapes: tuple) -> None:
    same(lambda lib, q, k, v: attend(lib, q, k, v), *heads(*shapes))


@pytest.mark.parametrize("options", [{}, {"is_causal": True}], ids=str)
def test_second_order(options: dict) -> None:
    same(lambda lib, q, k, v: attend(lib, q, k, v, **options), *heads((2, 3, 4), (2, 3, 4), (2, 3, 4)), scale=50, second=True)


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
@pytest.mark.parametrize("masked", [False, True])
def test_types(dtype: str, masked: bool) -> None:
    q, k, v = (Input(a, dtype) for a in heads((2, 9, 8), (2, 9, 8), (2, 9, 8)))
    more = (Input(values((9, 9), seed=5), dtype),) if masked else ()
    same(lambda lib, q, k, v, *m: attend(lib, q, k, v, *m, is_causal=not m), q, k, v, *more, scale=100)


def test_shared_heads() -> None:
    q, k, v = heads((2, 6, 9, 8), (2, 2, 11, 8), (2, 2, 11, 8))
    same(lambda lib, q, k, v: attend(lib, q, k, v, enable_gqa=True), q, k, v, scale=20)
    for shape in ((9, 11), (2, 6, 9, 11), (2, 1, 9, 11)):
        same(lambda lib, q, k, v, m: attend(lib, q, k, v, attn_mask=m, enable_gqa=True), q, k, v, values(shape, seed=4) > 0, scale=20)


def test_views_as_layers_make_them() -> None:
    """(batch, position, heads * channels), split into heads by a view."""
    def layer(lib: Any, x: Any) -> Any:
        q, k, v = (part.reshape(2, 7, 3, 4).transpose(1, 2) for part in x.split(12, -1))
        return attend(lib, q, k, v, is_causal=True).transpose(1, 2).reshape(2, 7, 12)

    same(layer, values((2, 7, 36), low=-1, high=1), scale=20)


def test_dropout_drops_weights_and_keeps_their_mean(device: Any) -> None:
    q = cltorch.zeros(1, 4, 8, device=device)
    v = cltorch.ones(1, 400, 8, device=device)
    got = attend(cltorch, q, cltorch.zeros(1, 400, 8, device=device), v, dropout_p=0.5).cpu().numpy()
    assert abs(got - 1).max() < 0.4 and (got != 1).any()
    assert not attend(cltorch, q, cltorch.zeros(1, 400, 8, device=device), v, dropout_p=1.0).cpu().numpy().any()


ERRORS = [
    (((2, 3, 4), (2, 5, 4), (2, 6, 4)), {}, "Expected size for first two dimensions of batch2 tensor to be: [2, 5] but got: [2, 6]."),
    (((2, 3, 4), (2, 5, 3), (2, 5, 4)), {}, "Expected size for first two dimensions of batch2 tensor to be: [2, 4] but got: [2, 3]."),
    (((4,), (5, 4), (5, 4)), {}, "but got query.dim: 1 key.dim: 2 and value.dim: 2 instead."),
    (((2, 3, 4), (2, 5, 4), (2, 5, 4)), {"dropout_p": 1.5}, "dropout probability has to be between 0 and 1, but got 1.5"),
    (((1, 4, 3, 4), (1, 2, 5, 4), (1, 2, 5, 4)), {}, "The size of tensor a (4) must match the size of tensor b (2) at non-singleton dimension 1"),
    (((2, 3, 4), (2, 5, 4), (2, 5, 4)), {"attn_mask": (3, 6)}, "The size of tensor a (5) must match the size of tensor b (6) at non-singleton dimension 2"),
    (((3, 4), (5, 4), (5, 4)), {"attn_mask": (2, 3, 5)}, "output with shape [3, 5] doesn't match the broadcast shape [2, 3, 5]"),
    (((2, 3, 4), (2, 5, 4), (2, 5, 4)), {"attn_mask": (3, 5), "is_causal": True}, "Explicit attn_mask should not be set when is_causal=True"),
]


@pytest.mark.parametrize("shapes, options, text", ERRORS, ids=range(len(ERRORS)))
def test_errors_have_the_sentences_of_pytorch(shapes: tuple, options: dict, text: str, device: Any) -> None:
    for library, place in ((cltorch, {"device": device}), (torch, {})):
        given = {name: library.ones(v, **place) if name == "attn_mask" else v for name, v in options.items()}
        with pytest.raises(RuntimeError) as error:
            attend(library, *[library.ones(s, **place) for s in shapes], **given)
        assert text in str(error.value), library.__name__


def test_types_must_agree(device: Any) -> None:
    for library, place in ((cltorch, {"device": device}), (torch, {})):
        q, k = library.ones(2, 3, 4, **place), library.ones(2, 5, 4, **place)
        with pytest.raises(RuntimeError, match=r"query.dtype: float key.dtype: double and value.dtype: float instead"):
            attend(library, q, k.double(), k)
        with pytest.raises(RuntimeError, match="Expected attn_mask dtype to be bool or float or to match query dtype"):
            attend(library, q, k, k, attn_mask=library.ones(3, 5, dtype=library.int64, **place))
