"""The cases of the suites launch, memory, gemm, bmm and ops. Each is written once, in PyTorch's API; rivals with another API name their form."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .case import Case, Input, Mode, Scale
from .training import dense


def everywhere(call: Callable[..., Any]) -> dict[str, Callable[..., Any]]:
    """A call that reads the same in every library: operators and shared method names."""
    return dict(call=call, numpy=call, tinygrad=call)


def launch(scale: Scale) -> list[Case]:
    """Overheads: what one small call costs the host, and how long until its result is there."""
    side = max(8, 64 // scale.shrink)
    a, b, bias = Input((side, side)), Input((side, side)), Input((side,))

    def case(name: str, call: Callable[..., Any], inputs: tuple[Input, ...], mode: Mode, **forms: Any) -> Case:
        return Case("launch", name, call, inputs, mode=mode, **forms)

    return [
        case("record a + b", lambda t, x, y: x + y, (a, b), Mode.RECORD),
        case("record a * 2.0", lambda t, x: x * 2.0, (a,), Mode.RECORD),
        case("record leaf + b, with its gradient", lambda t, x, y: x + y, (a._replace(grad=True), b), Mode.RECORD),
        case("view a.t()", lambda t, x: x.t(), (a,), Mode.RECORD, numpy=lambda t, x: x.T),
        case("launch a + b", lambda t, x, y: x + y, (a, b), Mode.LAUNCH, numpy=lambda t, x, y: x + y),
        case("launch a + bias (broadcast)", lambda t, x, y: x + y, (a, bias), Mode.LAUNCH, numpy=lambda t, x, y: x + y),
        case("launch chain of four", lambda t, x, y: (x + y).relu() * x + y, (a, b), Mode.LAUNCH,
             numpy=lambda t, x, y: np.maximum(x + y, 0) * x + y),
        case("launch a.sum()", lambda t, x: x.sum(), (a,), Mode.LAUNCH, numpy=lambda t, x: x.sum()),
        case("launch a @ b", lambda t, x, y: x @ y, (a, b), Mode.LAUNCH, numpy=lambda t, x, y: x @ y),
        case("launch and wait, a + b", lambda t, x, y: x + y, (a, b), Mode.ROUND_TRIP, numpy=lambda t, x, y: x + y, tinygrad=lambda t, x, y: x + y),
        case("launch and wait, a @ b", lambda t, x, y: x @ y, (a, b), Mode.ROUND_TRIP, numpy=lambda t, x, y: x @ y, tinygrad=lambda t, x, y: x @ y),
        Case("launch", "training step, 10-32-10, batch 16, SGD", mode=Mode.STEPS, build=lambda t, place: dense(t, place, 16, 10, 32)),
    ]


def memory(scale: Scale) -> list[Case]:
    """Bandwidth. The first case reads and writes once: it is the copy that shares are counted from (twice the operand, so that nobody skips it)."""
    n, width = scale.elements, scale.width
    flat, grid, size = Input((n,)), Input((n // width, width)), 4.0 * n
    half = Input((n,), "float16")
    return [
        Case("memory", "copy", inputs=(flat,), moved=2 * size, **everywhere(lambda t, x: x * 2.0)),
        Case("memory", "copy", inputs=(half,), moved=size, dtype="float16", **everywhere(lambda t, x: x * 2.0)),
        Case("memory", "add", inputs=(flat, flat), moved=3 * size, **everywhere(lambda t, x, y: x + y)),
        Case("memory", "triad a + 3 b", inputs=(flat, flat), moved=3 * size, **everywhere(lambda t, x, y: x + 3.0 * y)),
        Case("memory", "add to each row", inputs=(grid, Input((width,))), moved=2 * size, **everywhere(lambda t, x, y: x + y)),
        Case("memory", "transposed copy", lambda t, x: x.t().contiguous(), (grid,), 2 * size,
             numpy=lambda t, x: np.ascontiguousarray(x.T), tinygrad=lambda t, x: x.T.contiguous()),
        Case("memory", "sum", inputs=(flat,), moved=size, **everywhere(lambda t, x: x.sum())),
        Case("memory", "max", inputs=(flat,), moved=size, **everywhere(lambda t, x: x.max())),
        Case("memory", "sum over rows", inputs=(grid,), moved=size, **everywhere(lambda t, x: x.sum(1))),
        Case("memory", "sum over columns", inputs=(grid,), moved=size, **everywhere(lambda t, x: x.sum(0))),
    ]


def product(suite: str, name: str, d: str, left: tuple[int, ...], right: tuple[int, ...], call: Callable[..., Any]) -> Case:
    """left @ right, with the flops of (…, m, k) @ (…, k, n). NumPy knows no bfloat16."""
    forms = {"tinygrad": call} if d in ("float16", "bfloat16") else {"tinygrad": call, "numpy": call}
    return Case(suite, name, call, (Input(left, d), Input(right, d)), dtype=d, flops=2.0 * float(np.prod(left)) * right[-1], **forms)


def gemm(scale: Scale) -> list[Case]:
    """Square products by dtype and size, and the ones of a small network."""
    cases = [product("gemm", f"{n} x {n} x {n}", d, (n, n), (n, n), lambda t, x, y: x @ y) for d, sizes in scale.gemm.items() for n in sizes]
    rows, deep, wide = 64 // scale.shrink, 784 // scale.shrink, 512 // scale.shrink
    linear = Case("gemm", f"linear {rows} x {deep} x {wide}", lambda t, x, w: t.nn.functional.linear(x, w), (Input((rows, deep)), Input((wide, deep))),
                  flops=2.0 * rows * deep * wide, numpy=lambda t, x, w: x @ w.T, tinygrad=lambda t, x, w: x @ w.T)
    return [*cases, linear]


def bmm(scale: Scale) -> list[Case]:
    """Batches of small products: attention's and per-sample ones."""
    return [product("bmm", f"{b} of {m} x {k} x {n}", d, (b, m, k), (b, k, n), lambda t, x, y: x @ y)
            for d in scale.gemm if d in ("float32", "float16") for b, m, k, n in scale.bmm]


def ops(scale: Scale) -> list[Case]:
    """Operators of networks: pointwise, normalisation, convolution, attention, indexing, sorting."""
    return pointwise(scale) + network(scale) + indexing(scale)


def pointwise(scale: Scale) -> list[Case]:
    n = scale.elements
    flat, size = Input((n,)), 4.0 * n
    return [
        Case("ops", "exp", lambda t, x: x.exp(), (flat,), 2 * size, numpy=lambda t, x: np.exp(x), tinygrad=lambda t, x: x.exp()),
        Case("ops", "tanh", lambda t, x: x.tanh(), (flat,), 2 * size, numpy=lambda t, x: np.tanh(x), tinygrad=lambda t, x: x.tanh()),
        Case("ops", "gelu", lambda t, x: t.nn.functional.gelu(x), (flat,), 2 * size, tinygrad=lambda t, x: x.gelu()),
        Case("ops", "chain of six", lambda t, x, y: ((x + y) * x - y).relu() * 0.5 + y, (flat, flat), 3 * size,
             numpy=lambda t, x, y: np.maximum((x + y) * x - y, 0) * 0.5 + y, tinygrad=lambda t, x, y: ((x + y) * x - y).relu() * 0.5 + y),
        Case("ops", "chain of six", lambda t, x, y: ((x + y) * x - y).relu() * 0.5 + y, (Input((n,), "float16"),) * 2, 1.5 * size, dtype="float16"),
        Case("ops", "where", lambda t, x, y: t.where(x > 0, x, y), (flat, flat), 3 * size,
             numpy=lambda t, x, y: np.where(x > 0, x, y), tinygrad=lambda t, x, y: (x > 0).where(x, y)),
    ]


def network(scale: Scale) -> list[Case]:
    n, width = scale.elements, scale.width
    grid, size = Input((n // width, width)), 4.0 * n
    batch, channels, side = scale.image
    image, pixels = Input((batch, channels, side, side)), float(batch * channels * side * side)
    sequence = Input(scale.attention)
    b, heads, length, depth = scale.attention
    kernel = Input((channels, channels, 3, 3))
    return [
        Case("ops", "softmax", lambda t, x: x.softmax(1), (grid,), 2 * size, tinygrad=lambda t, x: x.softmax(1)),
        Case("ops", "layer_norm", lambda t, x, w: t.nn.functional.layer_norm(x, (width,), w, w), (grid, Input((width,))), 2 * size),
        Case("ops", "batch_norm", lambda t, x, w: t.nn.functional.batch_norm(x, None, None, w, w, training=True), (image, Input((channels,))), 8 * pixels),
        Case("ops", f"conv2d 3x3 {batch}x{channels}x{side}x{side}", lambda t, x, w: t.nn.functional.conv2d(x, w, padding=1), (image, kernel),
             flops=2.0 * pixels * channels * 9, tinygrad=lambda t, x, w: x.conv2d(w, padding=1)),
        Case("ops", f"conv2d 1x1 {batch}x{channels}x{side}x{side}", lambda t, x, w: t.nn.functional.conv2d(x, w),
             (image, Input((channels, channels, 1, 1))), flops=2.0 * pixels * channels, tinygrad=lambda t, x, w: x.conv2d(w)),
        Case("ops", "max_pool2d 2x2", lambda t, x: t.nn.functional.max_pool2d(x, 2), (image,), 5 * pixels, tinygrad=lambda t, x: x.max_pool2d(2)),
        Case("ops", f"attention {b}x{heads}x{length}x{depth}, causal", lambda t, q, k, v: t.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True),
             (sequence,) * 3, flops=4.0 * b * heads * length * length * depth,
             tinygrad=lambda t, q, k, v: q.scaled_dot_product_attention(k, v, is_causal=True)),
    ]


def indexing(scale: Scale) -> list[Case]:
    n, width = scale.elements // 4, scale.width
    rows = n // width
    grid, ids, size = Input((rows, width)), Input((rows,), "int64", rows), 4.0 * n
    return [
        Case("ops", "embedding", lambda t, x, i: t.nn.functional.embedding(i, x), (grid, ids), 2 * size, numpy=lambda t, x, i: x[i]),
        Case("ops", "gather", lambda t, x, i: x.gather(1, i), (grid, Input((rows, width), "int64", width)), 16.0 * n,
             numpy=lambda t, x, i: np.take_along_axis(x, i, 1)),
        Case("ops", "index_add", lambda t, x, i: x.index_add(0, i, x), (grid, ids), 4 * size),
        Case("ops", "cumsum", lambda t, x: x.cumsum(1), (grid,), 2 * size, numpy=lambda t, x: x.cumsum(1), tinygrad=lambda t, x: x.cumsum(1)),
        Case("ops", "argmax", lambda t, x: x.argmax(1), (grid,), size, numpy=lambda t, x: x.argmax(1), tinygrad=lambda t, x: x.argmax(1)),
        Case("ops", "sort rows", lambda t, x: x.sort(1)[0], (grid,), numpy=lambda t, x: np.sort(x, 1)),
        Case("ops", "top 10 of rows", lambda t, x: x.topk(10, 1)[0], (grid,)),
    ]
