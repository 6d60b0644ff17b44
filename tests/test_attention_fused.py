"""Attention's fused kernels: lengths beside the blocks' edges, masks of each kind with each stride, dropout, types, memory, and what takes the other way."""
from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from launched import Launched
from oracle import F, Input, same, values

import cltorch
from cltorch import codegen, cuda
from cltorch.ops import attention_launch
from cltorch.runtime.device import get
from cltorch.testing import assert_close

torch = pytest.importorskip("torch")
FUSED, COMPOSED = set(attention_launch.FAMILIES.values()), "attention/weights"


def attend(library: Any, *args: Any, **options: Any) -> Any:
    return F(library).scaled_dot_product_attention(*args, **options)


def heads(rows: int, keys: int, e: int = 8, ev: int = 8, batch: tuple = (2, 3)) -> list[np.ndarray]:
    return [values((*batch, n, c), seed=i, low=-1, high=1) for i, (n, c) in enumerate(((rows, e), (keys, e), (keys, ev)))]


def is_fused(launched: Launched) -> bool:
    return bool(FUSED & set(launched.labels)) and COMPOSED not in launched.labels


@pytest.mark.parametrize("rows, keys", [(16, 1), (17, 5), (64, 64), (65, 48), (70, 131), (129, 33)])
@pytest.mark.parametrize("causal", [False, True])
def test_lengths(rows: int, keys: int, causal: bool, launched: Launched) -> None:
    same(lambda lib, q, k, v: attend(lib, q, k, v, is_causal=causal), *heads(rows, keys), scale=20)
    assert is_fused(launched)


@pytest.mark.parametrize("e, ev", [(1, 1), (33, 5), (64, 63), (80, 130)])
def test_channels(e: int, ev: int, launched: Launched) -> None:
    same(lambda lib, q, k, v: attend(lib, q, k, v, is_causal=True), *heads(37, 50, e, ev, (2,)), scale=50)
    assert is_fused(launched)


@pytest.mark.parametrize("shape", [(70, 53), (1, 53), (70, 1), (2, 1, 70, 53), (3, 1, 1), (2, 3, 70, 53)], ids=str)
@pytest.mark.parametrize("layout", ["plain", "transposed", "sliced"])
def test_masks(shape: tuple, layout: str, launched: Launched) -> None:
    some = np.random.default_rng(0).random(shape) < 0.7
    for mask in (some, values(shape, seed=4), np.where(some, 0, -np.inf).astype(np.float32)):
        same(lambda lib, q, k, v, m: attend(lib, q, k, v, attn_mask=m), *heads(70, 53), Input(mask, layout=layout, grad=False), scale=20)
    assert is_fused(launched)


def test_rows_that_see_nothing_give_zeros_and_no_gradient(launched: Launched) -> None:
    seen = np.ones((70, 53), bool)
    seen[3] = seen[16:32] = seen[64:] = False
    for mask in (Input(seen), Input(np.where(seen, 0, -np.inf).astype(np.float32), grad=False)):
        same(lambda lib, q, k, v, m: attend(lib, q, k, v, attn_mask=m), *heads(70, 53), mask, scale=20)
    assert is_fused(launched)


@pytest.mark.parametrize("dtype, kind", [("float64", ""), ("float64", "bool"), ("float16", "float16"), ("bfloat16", "float32")])
def test_types(dtype: str, kind: str, launched: Launched) -> None:
    q, k, v = (Input(a, dtype) for a in heads(35, 35, batch=(2,)))
    more = (Input(values((35, 35), "bool" if kind == "bool" else "float32", seed=5), kind, grad=False),) if kind else ()
    same(lambda lib, q, k, v, *m: attend(lib, q, k, v, *m, is_causal=not m), q, k, v, *more, scale=100)
    assert is_fused(launched)


def test_shared_heads_and_broadcast_batches(launched: Launched) -> None:
    q, k, v = heads(20, 21, batch=(2, 6))
    for shape in ((20, 21), (2, 6, 20, 21), (2, 1, 20, 21)):
        same(lambda lib, q, k, v, m: attend(lib, q, k, v, attn_mask=m, enable_gqa=True), q, k[:, :2], v[:, :2], values(shape, seed=4) > 0, scale=20)
    same(lambda lib, q, k, v: attend(lib, q, k, v), q, k[0], v[:, :1], scale=20)
    same(lambda lib, q, k, v: attend(lib, q, k, v), q[0, 0], k, v, scale=20)
    assert is_fused(launched)


def kept(shape: tuple, p: float, seed: int) -> np.ndarray:
    """What dropout multiplies weights (..., rows, keys) with: a seed's stream has whole blocks of four keys for each row."""
    *lines, keys = shape
    cltorch.manual_seed(seed)
    return F(cltorch).dropout(cltorch.ones(*lines, -(-keys // 4) * 4, device="cuda"), p)[..., :keys].numpy(force=True)


@pytest.mark.parametrize("rows, keys, options", [(17, 5, {}), (64, 64, {"is_causal": True}), (70, 131, {"is_causal": True}), (129, 33, {"e": 33, "ev": 7}),
                                                 (50, 70, {"mask": "bool"}), (35, 50, {"mask": "float32"}), (35, 50, {"dtype": "float64"}),
                                                 (35, 50, {"dtype": "float16"}), (40, 21, {"v": (3, 2, 3)}), (20, 21, {"enable_gqa": True})], ids=str)
@pytest.mark.parametrize("second", [False, True])
def test_dropout(rows: int, keys: int, options: dict, second: bool, launched: Launched) -> None:
    """The mask is of the seed, not of the strategy; gradients of both orders see the same one."""
    p, seed, batch = 0.25, 5, (2, 3)  # factors of 0 and 4/3
    options = dict(options)
    q, k, v = heads(rows, keys, options.pop("e", 8), options.pop("ev", 8), batch)
    dtype, more = options.pop("dtype", "float32"), ()
    if kind := options.pop("mask", None):
        more = (Input(values((rows, keys), kind, seed=4), kind, grad=False),)
    v = np.broadcast_to(v, (*options.pop("v", batch), keys, v.shape[-1])).copy()
    scores = (*v.shape[:-2], rows, keys)
    if options.get("enable_gqa"):
        k, v, scores = k[:, :1], v[:, :1], (2, 1, 3, rows, keys)
    factors = kept(scores, p, seed)

    def call(lib: Any, q: Any, k: Any, v: Any, mask: Any = None) -> Any:
        if lib is cltorch:
            lib.manual_seed(seed)
            return attend(lib, q, k, v, mask, dropout_p=p, **options)
        bias = lib.zeros(rows, keys, dtype=q.dtype)
        if mask is not None:
            bias = bias.masked_fill(~mask, -np.inf) if mask.dtype is lib.bool else mask
        if options.get("is_causal"):
            bias = bias.masked_fill(lib.ones(rows, keys).tril() == 0, -np.inf)
        weights = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5 + bias).softmax(-1)
        return (weights * lib.tensor(factors, dtype=q.dtype).reshape(*v.shape[:-3], -1, rows, keys)) @ v

    same(call, *[Input(a, dtype) for a in (q, k, v)], *more, scale=200 if second else 50, second=second)
    assert set(launched.labels) >= {attention_launch.FAMILIES[get("cuda").strategy], COMPOSED} if second else is_fused(launched)


def test_dropout_is_drawn_anew_by_each_call_and_each_replay(device: Any) -> None:
    q, k, v = (cltorch.from_numpy(a).to(device).requires_grad_() for a in heads(20, 20))

    def step() -> list[Any]:
        out = attend(cltorch, q, k, v, dropout_p=0.5)
        return [out, *cltorch.autograd.grad(out.sum(), (q, k, v))]

    cltorch.manual_seed(1)
    eager = [[t.tolist() for t in step()] for _ in range(3)]
    assert eager[0] != eager[1] != eager[2]
    graph = cuda.CUDAGraph()
    with cuda.graph(graph):
        results = step()
    cltorch.manual_seed(1)
    for was in eager:
        graph.replay()
        assert [t.tolist() for t in results] == was


@pytest.mark.parametrize("p", [1e-12, 0.1, 0.9, 1 - 1e-12, 1.0])
def test_as_many_weights_are_dropped_as_asked_for(p: float, device: Any) -> None:
    """With equal scores and the unit matrix as values the result is the weights."""
    q, v = cltorch.zeros(4, 100, 8, device=device), cltorch.eye(100, device=device).expand(4, 100, 100)
    cltorch.manual_seed(2)
    found = attend(cltorch, q, q, v, dropout_p=p).numpy(force=True)
    assert abs((found == 0).mean() - p) < 0.01
    rest = found[found != 0] * (100 * (1 - p))
    assert_close(rest, np.ones_like(rest), dtype=cltorch.float32, scale=0.8)
    assert p < 1 or not rest.size


def test_views_as_layers_make_them(launched: Launched) -> None:
    """(batch, position, heads * channels), split into heads by a view; the result's gradient is such a view, too."""
    def layer(lib: Any, x: Any) -> Any:
        q, k, v = (part.reshape(2, 27, 3, 4).transpose(1, 2) for part in x.split(12, -1))
        return attend(lib, q, k, v, is_causal=True).transpose(1, 2).reshape(2, 27, 12)

    same(layer, values((2, 27, 36), low=-1, high=1), scale=20)
    assert is_fused(launched)


@pytest.mark.parametrize("batch", [(2, 3), (1, 3), (2, 1), (2, 2, 3)])
def test_results_lie_as_the_queries_do(device: Any, batch: tuple) -> None:
    """Heads side by side in a row come out so: what a layer makes of the result and of its gradients copies nothing, as in PyTorch."""
    def gradients(t: Any, place: Any, length: int) -> tuple[Any, list[Any]]:
        rows = [t.ones(*batch[:-1], length, batch[-1], 8, device=place, requires_grad=True) for _ in range(3)]
        out = attend(t, *[x.transpose(-3, -2) for x in rows])
        return out, list(t.autograd.grad(out.sum(), rows))

    out, found = gradients(cltorch, device, 70)
    assert out.transpose(-3, -2).is_contiguous() and [x.is_contiguous() for x in found] == [True] * 3
    if len(batch) == 2:  # others PyTorch leaves to products
        out, found = gradients(torch, "cpu", 70)
        assert out.transpose(-3, -2).is_contiguous() and [x.is_contiguous() for x in found] == [True] * 3


@pytest.mark.parametrize("cut", ["chunk", "unbind", "swapped", "copied"])
@pytest.mark.parametrize("batch, heads, length, dtype", [(2, 4, 70, "float32"), (8, 4, 48, "float32"), (1, 1, 300, "float32"), (8, 2, 64, "float16")])
def test_thirds_of_one_tensor(batch: int, heads: int, length: int, dtype: str, cut: str, launched: Launched) -> None:
    """The gradients of queries, keys and values that are parts of one tensor lie as that does: bit for bit those of tensors by themselves, and there is
    nothing to copy to get them together."""
    cltorch.manual_seed(0)
    rows, width = cltorch.randn(batch, length, 3 * heads * 16, device="cuda:0").to(getattr(cltorch, dtype)), heads * 16
    weight = cltorch.randn(batch, length, width, device="cuda:0")

    def gradient(cut: str) -> Any:
        x = rows.clone().requires_grad_()
        if cut == "unbind":
            q, k, v = x.view(batch, length, 3, heads, 16).permute(2, 0, 3, 1, 4).unbind(0)
        else:
            parts = [x[..., n * width:(n + 1) * width].clone() for n in range(3)] if cut == "copied" else x.chunk(3, -1)
            q, k, v = (part.view(batch, length, heads, 16).transpose(1, 2) for part in (parts[::-1] if cut == "swapped" else parts))
        out = cltorch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(batch, length, width)
        return cltorch.autograd.grad((out * weight).sum(), x)[0]

    found = gradient(cut)
    copies = [name for name in launched.labels if "cat" in name]
    together = cut in ("chunk", "unbind") and dtype == "float32" and (batch > 2 or get("cuda").strategy == "grid")
    assert is_fused(launched) and (not copies if together else found.is_contiguous())
    if cut != "swapped":
        assert found.tolist() == gradient("copied").tolist()


def test_a_gradient_of_another_order(launched: Launched) -> None:
    """Its four batch dimensions can't be counted by three."""
    same(lambda lib, q, k, v: attend(lib, q, k, v).permute(3, 1, 0, 2, 4, 5).clone(memory_format=lib.contiguous_format) * 2,
         *heads(17, 18, batch=(2, 3, 2, 2)), scale=20)
    assert is_fused(launched)


def test_gradients_of_gradients_are_composed(launched: Launched) -> None:
    q, k, v = heads(17, 19, batch=(2,))
    for more in (v, np.stack([v, v[::-1], -v])):  # values of more batches than scores
        same(lambda lib, q, k, v: attend(lib, q, k, v, is_causal=True), q, k, more, scale=100, second=True)
    assert set(launched.labels) >= {attention_launch.FAMILIES[get("cuda").strategy], COMPOSED}


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_memory_grows_with_the_length(dropout: float, device: Any) -> None:
    def peak(length: int) -> int:
        q, k, v = (cltorch.randn(1, 1, length, 8, device=device).requires_grad_() for _ in range(3))
        cuda.synchronize()
        cuda.reset_peak_memory_stats()
        before = cuda.memory_allocated()
        attend(cltorch, q, k, v, dropout_p=dropout, is_causal=True).backward(cltorch.ones(1, 1, length, 8, device=device))
        cuda.synchronize()
        return cuda.max_memory_allocated() - before

    assert peak(2048) < 2.5 * peak(1024) < 1024 * 1024 * 4


def test_same_bits_from_run_to_run(device: Any) -> None:
    operands = [cltorch.from_numpy(a).to(device).requires_grad_() for a in heads(130, 130)]
    runs = [[t.numpy(force=True) for t in cltorch.autograd.grad(attend(cltorch, *operands, is_causal=True).sum(), operands)] for _ in range(3)]
    for again in runs[1:]:
        assert all((a == b).all() for a, b in zip(runs[0], again, strict=True))


def test_a_new_length_compiles_nothing(device: Any, launched: Launched) -> None:
    for rows, keys, batch in ((40, 40, (2, 3)), (131, 77, (5,)), (17, 300, (1, 2, 2))):
        attend(cltorch, *[cltorch.from_numpy(a).to(device) for a in heads(rows, keys, batch=batch)]).cpu()
    assert len({kernel.program.source for kernel in launched.kernels if kernel.program.label in FUSED}) == 1


@pytest.mark.parametrize("q, k, v, mask, why", [
    ((2, 3, 4), (2, 5, 4), (2, 5, 4), None, "few queries"), ((2, 30, 257), (2, 5, 257), (2, 5, 4), None, "many channels"),
    ((2, 30, 4), (2, 0, 4), (2, 0, 4), None, "no keys"), ((0, 30, 4), (0, 5, 4), (0, 5, 4), None, "no batch"),
    ((2, 30, 4), (2, 5, 3), (2, 5, 4), None, "sizes"), ((30, 4), (5, 4), (5, 4), (2, 30, 5), "mask's rank"),
    ((2, 1, 2, 1, 30, 4), (1, 2, 1, 2, 5, 4), (2, 2, 2, 2, 5, 4), None, "four batch dimensions")])
def test_what_the_plan_leaves_to_products(q: tuple, k: tuple, v: tuple, mask: tuple | None, why: str) -> None:
    def place(shape: tuple | None) -> Any:
        return None if shape is None else (shape, cltorch.empty(shape).stride())

    assert attention_launch.plan(*map(place, (q, k, v, mask))) is None, why


@pytest.mark.parametrize("vector_bytes", [16, 32, 64])
def test_blocks_of_queries_are_whole_panels(vector_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every number that a profile may set, on processors with any vectors. The rows of tiles are a profile's, or go with the number of registers."""
    family = attention_launch.FAMILIES["wide"]
    monkeypatch.setattr(attention_launch, "vector_bytes", lambda *_: vector_bytes)
    legal = {name: values for name, (_, _, values) in codegen.tunables(family).items()}
    checked = 0
    for queries, vectors in itertools.product(legal["QUERIES"], legal["NV"]):
        numbers = {**codegen.defaults(family, "wide"), "QUERIES": queries, "NV": vectors}
        if not codegen.broken(family, "wide", numbers, {}):
            monkeypatch.setattr(attention_launch.dispatch, "tuned", lambda *_, numbers=numbers: numbers)
            for given in ({}, {"MR": 4}):
                monkeypatch.setattr(attention_launch.dispatch, "given", lambda *_, given=given: given)
                tile = attention_launch._tile(get("cuda"), family, cltorch.float32)
                assert queries % (vectors * tile["VW"]) == 0 and tile["VW"] in legal["VW"]
                assert tile.get("MR") == (8 if vector_bytes == 64 and not given else None)
                assert not codegen.broken(family, "wide", {**numbers, **tile}, {})
            checked += 1
    assert checked > 10
