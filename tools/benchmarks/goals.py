"""The suite goals: what cltorch on a processor wants to reach against PyTorch on the same processor, row by row, as PyTorch's time over ours."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from . import arithmetic, start, training, tried
from .case import Case, Input, Mode, Scale
from .limits import PRODUCTS

Call = Callable[..., Any]
REPLAYED = 32


def goal(ratio: float, name: str, call: Call, *inputs: Input, read: float | None = None, written: float = 0.0, **more: Any) -> Case:
    """A row. It reads its inputs once, unless ``read`` says how many bytes; ``written`` is the size of its results in fresh memory."""
    read = sum(given.nbytes for given in inputs) if read is None else read
    return Case("goals", name, call, inputs, moved=read + written, written=written, goal=ratio, **more)


def steps(ratio: float, name: str, build: Callable[[Any, Any], Callable[[], Any]], flops: float, part: str) -> Case:
    """``part``: what of the step is measured beside it (limits.py)."""
    return Case("goals", name, mode=Mode.STEPS, build=build, flops=flops, goal=ratio, tried=tried.STEPS, part=part)


def gradients(call: Call, count: int) -> Call:
    """The operator and its gradients with respect to the first ``count`` operands; the last one is the gradient of the result."""
    return lambda t, *x: t.autograd.grad(call(t, *x[:-1]), x[:count], x[-1])


def goals(scale: Scale) -> list[Case]:
    """The rows, in the order in which they are printed."""
    parts = host, started, products, memory_bound, normalised, indexed, images, attention, trained
    return [case for part in parts for case in part(scale)]


def started(scale: Scale) -> list[Case]:
    """The first compiled steps of new processes (at full size): PyTorch's compiler takes half a minute, bench_start.py measures it."""
    return [Case("goals", f"first compiled step of {model}, {'cold' if cold else 'warm'}", mode=Mode.START, limit=5.0 if cold else 0.3, tried=tried.START,
                 own=lambda dev, model=model, cold=cold: start.first_step(str(dev.spec), model, cold))
            for model in (start.MODELS if scale.shrink == 1 else ()) for cold in (True, False)]


def products(scale: Scale) -> list[Case]:
    def product(ratio: float, name: str, left: tuple[int, ...], right: tuple[int, ...], call: Call = lambda t, a, b: a @ b, d: str = "float32") -> Case:
        a, columns = Input(left, d), right[-1] if len(right) > 1 else 1
        return goal(ratio, name, call, a, Input(right, d), dtype=d, written=a.nbytes / left[-1] * columns, flops=arithmetic.product(*left, columns),
                    tried=tried.PRODUCTS)

    k = scale.shrink
    square = {n: (n // k, n // k) for n in (256, 512, 1024, 2048, 4096)}
    batch = (64 // k, 128 // k, 128 // k)
    learned = Input(batch, grad=True)
    return [
        *(product(0.9 if n <= 512 else 1.05, f"product {n}", square[n], square[n]) for n in square),
        product(1.05, "64 products of 128", batch, batch),
        product(1.05, "linear 1024", square[1024], square[1024], lambda t, x, w: t.nn.functional.linear(x, w)),
        product(0.9, "product 16 x 4096 x 4096", (16 // min(k, 8), 4096 // k), square[4096]),
        product(0.9, "matrix-vector 4096", square[4096], (4096 // k,)),
        product(1.0, "product 1024", square[1024], square[1024], d="float64"),
        goal(1.0, "64 products of 128, with gradients", gradients(lambda t, a, b: a.bmm(b), 2), learned, learned, Input(batch),
             read=5 * learned.nbytes, written=3 * learned.nbytes, flops=3 * arithmetic.product(*batch, batch[2]), tried=tried.PRODUCTS),
    ]


def memory_bound(scale: Scale) -> list[Case]:
    n, width = scale.elements, 1024 // scale.shrink
    flat, grid = Input((n,)), Input((n // width, width))

    def unary(ratio: float, name: str, call: Call, *inputs: Input, **more: Any) -> Case:
        return goal(ratio, name, call, *(inputs or (flat,)), **{"written": flat.nbytes, "tried": tried.POINTWISE, **more})

    def reduced(name: str, by: Call) -> list[Case]:
        return [unary(1, f"{name}{where}", call, grid, written=4.0 * left, tried=tried.REDUCTIONS) for where, left, call in (
            (" of all", 1, lambda t, x: by(x)), (" over dim 0", width, lambda t, x: by(x, 0)), (" over dim 1", n // width, lambda t, x: by(x, 1)))]

    return [
        unary(4, "add 16 M", lambda t, x, y: x + y, flat, flat), unary(4, "mul 16 M", lambda t, x, y: x * y, flat, flat),
        unary(4, "copy 16 M", lambda t, x: x[1:].clone()), unary(4, "cast 16 M to float16", lambda t, x: x.half(), written=flat.nbytes / 2),
        unary(4, "cat 2 x 8 M", lambda t, x, y: t.cat([x, y]), Input((n // 2,)), Input((n // 2,))),
        *(unary(4, f"{name} 16 M", call) for name, call in (
            ("exp", lambda t, x: x.exp()), ("tanh", lambda t, x: x.tanh()), ("gelu", lambda t, x: t.nn.functional.gelu(x)),
            ("silu", lambda t, x: t.nn.functional.silu(x)))),
        unary(25, "chain of six 16 M", lambda t, x, y: ((x + y) * x - y).relu() * 0.5 + y, flat, flat),
        *reduced("sum", lambda x, *d: x.sum(*d)), *reduced("mean", lambda x, *d: x.mean(*d)), *reduced("max", lambda x, *d: x.amax(*d)),
        *(unary(2, f"{name} 16 M", call, read=read, drawn=True, tried=tried.RANDOM) for name, read, call in (
            ("randn", 0, lambda t, x: t.randn_like(x)), ("rand", 0, lambda t, x: t.rand_like(x)),
            ("dropout", flat.nbytes, lambda t, x: t.nn.functional.dropout(x, 0.5)))),
    ]


def normalised(scale: Scale) -> list[Case]:
    n, width = scale.elements, 1024 // scale.shrink
    shape = (n // width // 4, width)
    rows, weight = Input(shape, grad=True), Input((width,), grad=True)
    classes = Input((shape[0],), "int64", width)
    batch, channels, side = scale.image
    image, scales = Input((batch, channels, side, side), grad=True), Input((channels,), grad=True)

    def both(name: str, call: Call, *inputs: Input, **more: Any) -> Case:
        """Forward its operand is read and a result written; backward the gradient and operand or result are read, and a gradient written."""
        size = inputs[0].nbytes
        return goal(1.5, name, call, *inputs, **{"read": 3 * size, "written": 2 * size, "tried": tried.ROWS, **more})

    return [
        both("softmax, with gradient", gradients(lambda t, x: x.softmax(1), 1), rows, Input(shape)),
        both("log_softmax, with gradient", gradients(lambda t, x: x.log_softmax(1), 1), rows, Input(shape)),
        both("layer_norm, with gradients", gradients(lambda t, x, w, b: t.nn.functional.layer_norm(x, (width,), w, b), 3), rows, weight, weight, Input(shape)),
        both("batch_norm, with gradients", gradients(lambda t, x, w, b: t.nn.functional.batch_norm(x, None, None, w, b, training=True), 3),
             image, scales, scales, Input(image.shape)),
        both("cross_entropy, with gradient", lambda t, x, y: t.autograd.grad(t.nn.functional.cross_entropy(x, y), x), rows, classes,
             read=2 * rows.nbytes, written=rows.nbytes),
    ]


def indexed(scale: Scale) -> list[Case]:
    n, width = scale.elements // 4, 1024 // scale.shrink
    rows = n // width
    grid, ids, learned = Input((rows, width)), Input((rows,), "int64", rows), Input((rows, width), grad=True)
    size = grid.nbytes
    return [
        goal(1, "transposed copy 16 M", lambda t, x: x.t().contiguous(), Input((scale.elements // width, width)), written=4 * size, tried=tried.MOVES),
        goal(1, "gather", lambda t, x, i: x.gather(1, i), grid, Input((rows, width), "int64", width), written=size, tried=tried.MOVES),
        goal(1, "index_select", lambda t, x, i: x.index_select(0, i), grid, ids, written=size, tried=tried.MOVES),
        goal(1, "embedding, with gradient", lambda t, x, i, g: t.autograd.grad(t.nn.functional.embedding(i, x), x, g), learned, ids, grid,
             written=2 * size, tried=tried.EMBEDDING),
        *(goal(1, f"cumsum over dim {dim}", lambda t, x, dim=dim: x.cumsum(dim), grid, written=size, tried=tried.SCANS) for dim in (1, 0)),
        goal(1, "sort rows", lambda t, x: x.sort(1)[0], grid, written=size, tried=tried.SORTING),
        goal(1, "top 10 of rows", lambda t, x: x.topk(10, 1)[0], grid, written=40.0 * rows, tried=tried.SORTING),
    ]


def images(scale: Scale) -> list[Case]:
    batch, channels, side = scale.image
    shape = (batch, channels, side, side)
    image, learned = Input(shape), Input(shape, grad=True)
    half = Input((batch, channels, side // 2, side // 2))

    def convolved(ratio: float, name: str, size: int, out: Input | None = None, apart: bool = False, **options: Any) -> Case:
        groups = channels if apart else 1

        def call(t: Any, x: Any, w: Any) -> Any:
            return t.nn.functional.conv2d(x, w, groups=groups, **options)

        kernel, stride = Input((channels, channels // groups, size, size), grad=out is not None), options.get("stride", 1)
        given, result = image.nbytes, image.nbytes // stride ** 2
        flops = arithmetic.product(result // 4, channels // groups * size * size)
        if out:
            return goal(ratio, name, gradients(call, 2), learned, kernel, out, read=3 * given, written=2 * given, flops=3 * flops, tried=tried.CONVOLUTIONS)
        return goal(ratio, name, call, image, kernel, written=result, flops=flops, tried=tried.CONVOLUTIONS)

    def pooled(name: str) -> list[Case]:
        def call(t: Any, x: Any) -> Any:
            return getattr(t.nn.functional, name)(x, 2)

        size = image.nbytes
        return [goal(1, name, call, image, written=size / 4, tried=tried.POOLING),
                goal(1, f"{name}, with gradient", gradients(call, 1), learned, half, written=1.25 * size, tried=tried.POOLING)]

    return [
        convolved(0.8, "conv2d 3x3", 3, padding=1), convolved(0.8, "conv2d 3x3, with gradients", 3, image, padding=1),
        convolved(0.8, "conv2d 1x1", 1), convolved(0.8, "conv2d 3x3, stride 2", 3, padding=1, stride=2),
        convolved(0.8, "conv2d 3x3, depthwise", 3, padding=1, apart=True), *pooled("max_pool2d"), *pooled("avg_pool2d"),
    ]


def attention(scale: Scale) -> list[Case]:
    shape = (8 // min(scale.shrink, 4), 8 // min(scale.shrink, 4), 256 // scale.shrink, 64 // scale.shrink)

    def call(t: Any, q: Any, k: Any, v: Any) -> Any:
        return t.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)

    size, flops = Input(shape).nbytes, arithmetic.attention(shape[0] * shape[1], *shape[2:])
    return [goal(1, "attention, causal", call, *[Input(shape)] * 3, written=size, flops=flops, tried=tried.ATTENTION),
            goal(1, "attention, causal, with gradients", gradients(call, 3), *[Input(shape, grad=True)] * 3, Input(shape),
                 read=8 * size, written=4 * size, flops=3 * flops, tried=tried.ATTENTION)]


def trained(scale: Scale) -> list[Case]:
    """Steps of the suite train's models: as they are, compiled by cltorch, compiled by both (at full size: PyTorch's compiler takes half a minute a step)."""
    k = scale.shrink

    def tutorial(t: Any, place: Any, k: int) -> Callable[[], Any]:
        return training.dense(t, place, 16, 10, 32)

    models: Sequence[tuple[str, Callable[[Any, Any, int], Callable[[], Any]], float, float, float, str]] = (
        ("MLP 10-32-10", tutorial, training.dense_flops(16, 10, 32), 0.7, 3, ""), ("MLP 784-512-512-10", training.mlp, training.mlp_flops(k), 1, 1.5, ""),
        ("CNN", training.cnn, training.cnn_flops(k), 1, 1, ""), ("ResNet", training.resnet, training.resnet_flops(k), 1, 1, ""),
        ("GPT", training.gpt, training.gpt_flops(k), 1, 1.5, PRODUCTS))

    def compiled(t: Any, step: Callable[[], Any], both: bool) -> Callable[[], Any]:
        return t.compile(step) if both or t.__name__ == "cltorch" else step

    eager = [steps(ratio, f"step of {name}", lambda t, place, build=build: build(t, place, k), flops, part)
             for name, build, flops, ratio, _, part in models]
    return [*eager, *(steps(1.0 if both else ratio, f"step of {name}, {'both ' if both else ''}compiled",
                            lambda t, place, build=build, both=both: compiled(t, build(t, place, k), both), flops, part)
                      for both in (False, True)[:1 if k > 1 else 2] for name, build, flops, _, ratio, part in models)]


def host(scale: Scale) -> list[Case]:
    small = Input((64 // scale.shrink, 64 // scale.shrink))
    rows = [Case("goals", name, lambda t, x, y: x * y, (small, small), mode=mode, limit=limit, tried=tried.HOST)
            for name, mode, limit in (("record a * b", Mode.RECORD, 3e-6), ("launch a * b", Mode.LAUNCH, 10e-6))]

    def replayed(t: Any, place: Any) -> Callable[[], Any]:
        """A graph as a training loop's later steps replay it; a library without graphs on this device makes its products one by one."""
        matrices = [t.ones(256 // scale.shrink, 256 // scale.shrink, device=place) for _ in range(2)]

        def work() -> Any:
            for _ in range(REPLAYED):
                result = t.mm(*matrices)
            return result

        run = t.compile(work) if t.__name__ == "cltorch" else work
        for _ in range(40):
            run()
        return run

    return [*rows, Case("goals", f"replay {REPLAYED} launches", build=replayed, mode=Mode.LAUNCH, limit=REPLAYED * 3e-6, tried=tried.HOST)]
