"""The suite goals: what cltorch on a processor wants to reach against PyTorch on the same processor, row by row, as PyTorch's time over ours."""
from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from . import training
from .case import Case, Input, Mode, Scale
from .results import UNKNOWN, Row, human_ratio, human_seconds
from .table import WIDTH

Call = Callable[..., Any]
MISSED = "   not reached"

# What keeps rows below their goals, measured on two cores of an AMD EPYC 7003 (16 vector registers of 32 bytes), PyTorch 2.13.0.
HOST = ("Python: PyTorch's own call of this operator takes 2.8 to 4.5 us on this processor. A launch of little work runs in the calling thread "
        "(runtime/inline.py): 1.3 us for the driver's call, 1.0 for its arguments, the rest the chain's look-up; tools/bench_dispatch.py shows the parts.")
PEAK = ("arithmetic: in the same minute the inner loop alone, its operands in the first cache, reached 130 to 192 GFLOP/s (the clock varies), PyTorch "
        "134 to 180, products of 2048 here 125 to 153: 1.05 times PyTorch is that peak. What lies between is memory: six rows of a at a time, sums "
        "that wait there between blocks of k. Tried: tiles of 4 x 24 (the same), 12 x 8 (two thirds), blocks of 128 to 512 (256 is best), copies of a "
        "(no gain for whole rows).")
SMALL = ("handing over: in a row without waits products of 256 reach 98 to 108 GFLOP/s, 64 of 128 reach 110, as PyTorch; a sample of the table waits for the "
         "driver's threads to wake and to report. Tried: one launch instead of two (in use), other shares of a work-item.")
MEMORY = ("memory: the bytes at the machine's copy bandwidth (24 to 34 GB/s). What the goal counts on is PyTorch's page faults for fresh memory, half as "
          "many for half the bytes (cast). Tried: two, four, eight streams in ranges or pages (no gain where something is written). In use: results of 48 "
          "MiB and more go past the caches (copy 6.6 to 5.1 ms, mul 8.5 to 7.8, no gain for half the bytes).")
READS = ("memory: 64 MB at 28 to 35 GB/s, PyTorch 35: one pass on both sides. Tried: prefetching 1 to 8 KB ahead (5 %), four streams (a third quicker than "
         "one, in use).")
ROWS = ("memory and exponentials: 16 MB in and out on both sides, each row read twice. PyTorch's time has two levels (7 and 17 ms for softmax), without and "
        "with page faults for its results. Tried: lanes in registers and interleaved exponentials (a quarter to a third quicker, in use).")
MOVES = "memory: rows of 4 KB or single elements moved once on both sides. Tried: 64-bit places (in use)."
SORTED = ("the gradient is summed in the order of sorted indices, so that it is the same on every run: 2.7 of 4.9 ms, after filling with zeros in 0.6. "
          "Sorting itself takes 0.06 ms.")
CONVOLUTION = ("arithmetic: 94 GFLOP/s for 3x3, 56 strided, 67 for 1x1, where PyTorch (oneDNN) reaches 114, 73 and 72. Patches are staged for each "
               "work-item, strided ones element by element. Not tried: Winograd.")
STEPS = ("arithmetic: the GPT's products are 2.4 GFLOP, 16 ms at this processor's 150 GFLOP/s, of 22 ms; the MLP's 0.2 GFLOP, 1.4 of 1.6 ms. Eager steps "
         "also wait for Python, which takes longer than the kernels in the smallest. In use: all launches of a graph as one (MLP 1.92 to 1.57 ms, GPT "
         "27.2 to 22.2), little launches in the calling thread (the tutorial's eager step: 680 to 620 us).")


REPLAYED = 32


def goal(ratio: float, name: str, call: Call | None, *inputs: Input, **more: Any) -> Case:
    return Case("goals", name, call, inputs, goal=ratio, **more)


def steps(ratio: float, name: str, build: Callable[[Any, Any], Callable[[], Any]]) -> Case:
    return goal(ratio, name, None, mode=Mode.STEPS, build=build, cause=STEPS)


def gradients(call: Call, count: int) -> Call:
    """The operator and its gradients with respect to the first ``count`` operands; the last one is the gradient of the result."""
    return lambda t, *x: t.autograd.grad(call(t, *x[:-1]), x[:count], x[-1])


def goals(scale: Scale) -> list[Case]:
    """The rows, in the order in which they are printed."""
    return [*host(scale), *products(scale), *memory_bound(scale), *normalised(scale), *indexed(scale), *images(scale), *attention(scale), *trained(scale)]


def products(scale: Scale) -> list[Case]:
    def product(ratio: float, name: str, left: tuple[int, ...], right: tuple[int, ...], call: Call = lambda t, a, b: a @ b, d: str = "float32") -> Case:
        small = max(left) <= 512 // scale.shrink
        return goal(ratio, name, call, Input(left, d), Input(right, d), dtype=d, cause=SMALL if small else PEAK)

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
        goal(1.0, "64 products of 128, with gradients", gradients(lambda t, a, b: a.bmm(b), 2), learned, learned, Input(batch), cause=SMALL),
    ]


def memory_bound(scale: Scale) -> list[Case]:
    n, width = scale.elements, 1024 // scale.shrink
    flat, grid = Input((n,)), Input((n // width, width))

    def unary(ratio: float, name: str, call: Call, *inputs: Input, **more: Any) -> Case:
        return goal(ratio, name, call, *(inputs or (flat,)), **{"cause": MEMORY, **more})

    return [
        unary(4, "add 16 M", lambda t, x, y: x + y, flat, flat), unary(4, "mul 16 M", lambda t, x, y: x * y, flat, flat),
        unary(4, "copy 16 M", lambda t, x: x[1:].clone()), unary(4, "cast 16 M to float16", lambda t, x: x.half()),
        unary(4, "cat 2 x 8 M", lambda t, x, y: t.cat([x, y]), Input((n // 2,)), Input((n // 2,))),
        *(unary(4, f"{name} 16 M", call) for name, call in (
            ("exp", lambda t, x: x.exp()), ("tanh", lambda t, x: x.tanh()), ("gelu", lambda t, x: t.nn.functional.gelu(x)),
            ("silu", lambda t, x: t.nn.functional.silu(x)))),
        unary(25, "chain of six 16 M", lambda t, x, y: ((x + y) * x - y).relu() * 0.5 + y, flat, flat),
        *(unary(1, f"{name}{where}", call, grid, cause=READS) for name, by in (
            ("sum", lambda x, *d: x.sum(*d)), ("mean", lambda x, *d: x.mean(*d)), ("max", lambda x, *d: x.amax(*d)))
          for where, call in ((" of all", lambda t, x, by=by: by(x)), (" over dim 0", lambda t, x, by=by: by(x, 0)),
                              (" over dim 1", lambda t, x, by=by: by(x, 1)))),
        *(unary(2, f"{name} 16 M", call, drawn=True) for name, call in (
            ("randn", lambda t, x: t.randn_like(x)), ("rand", lambda t, x: t.rand_like(x)), ("dropout", lambda t, x: t.nn.functional.dropout(x, 0.5)))),
    ]


def normalised(scale: Scale) -> list[Case]:
    n, width = scale.elements, 1024 // scale.shrink
    shape = (n // width // 4, width)
    rows, weight = Input(shape, grad=True), Input((width,), grad=True)
    classes = Input((shape[0],), "int64", width)
    batch, channels, side = scale.image
    image, scales = Input((batch, channels, side, side), grad=True), Input((channels,), grad=True)
    return [
        goal(1.5, "softmax, with gradient", gradients(lambda t, x: x.softmax(1), 1), rows, Input(shape), cause=ROWS),
        goal(1.5, "log_softmax, with gradient", gradients(lambda t, x: x.log_softmax(1), 1), rows, Input(shape), cause=ROWS),
        goal(1.5, "layer_norm, with gradients", gradients(lambda t, x, w, b: t.nn.functional.layer_norm(x, (width,), w, b), 3), rows, weight, weight,
             Input(shape), cause=ROWS),
        goal(1.5, "batch_norm, with gradients", gradients(lambda t, x, w, b: t.nn.functional.batch_norm(x, None, None, w, b, training=True), 3),
             image, scales, scales, Input(image.shape), cause=ROWS),
        goal(1.5, "cross_entropy, with gradient", lambda t, x, y: t.autograd.grad(t.nn.functional.cross_entropy(x, y), x), rows, classes, cause=ROWS),
    ]


def indexed(scale: Scale) -> list[Case]:
    n, width = scale.elements // 4, 1024 // scale.shrink
    rows = n // width
    grid, ids, learned = Input((rows, width)), Input((rows,), "int64", rows), Input((rows, width), grad=True)
    return [
        goal(1, "transposed copy 16 M", lambda t, x: x.t().contiguous(), Input((scale.elements // width, width))),
        goal(1, "gather", lambda t, x, i: x.gather(1, i), grid, Input((rows, width), "int64", width), cause=MOVES),
        goal(1, "index_select", lambda t, x, i: x.index_select(0, i), grid, ids, cause=MOVES),
        goal(1, "embedding, with gradient", lambda t, x, i, g: t.autograd.grad(t.nn.functional.embedding(i, x), x, g), learned, ids, grid,
             cause=SORTED),
        goal(1, "cumsum over dim 1", lambda t, x: x.cumsum(1), grid, cause=READS), goal(1, "cumsum over dim 0", lambda t, x: x.cumsum(0), grid),
        goal(1, "sort rows", lambda t, x: x.sort(1)[0], grid), goal(1, "top 10 of rows", lambda t, x: x.topk(10, 1)[0], grid),
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

        kernel = Input((channels, channels // groups, size, size), grad=out is not None)
        return goal(ratio, name, gradients(call, 2), learned, kernel, out, cause=CONVOLUTION) if out else \
            goal(ratio, name, call, image, kernel, cause=CONVOLUTION)

    def pooled(name: str) -> list[Case]:
        def call(t: Any, x: Any) -> Any:
            return getattr(t.nn.functional, name)(x, 2)

        return [goal(1, name, call, image), goal(1, f"{name}, with gradient", gradients(call, 1), learned, half)]

    return [
        convolved(0.8, "conv2d 3x3", 3, padding=1), convolved(0.8, "conv2d 3x3, with gradients", 3, image, padding=1),
        convolved(0.8, "conv2d 1x1", 1), convolved(0.8, "conv2d 3x3, stride 2", 3, padding=1, stride=2),
        convolved(0.8, "conv2d 3x3, depthwise", 3, padding=1, apart=True), *pooled("max_pool2d"), *pooled("avg_pool2d"),
    ]


def attention(scale: Scale) -> list[Case]:
    shape = (8 // min(scale.shrink, 4), 8 // min(scale.shrink, 4), 256 // scale.shrink, 64 // scale.shrink)

    def call(t: Any, q: Any, k: Any, v: Any) -> Any:
        return t.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)

    return [goal(1, "attention, causal", call, *[Input(shape)] * 3),
            goal(1, "attention, causal, with gradients", gradients(call, 3), *[Input(shape, grad=True)] * 3, Input(shape))]


def trained(scale: Scale) -> list[Case]:
    """Steps of the suite train's models: as they are, compiled by cltorch, compiled by both (at full size: PyTorch's compiler takes half a minute a step)."""
    k = scale.shrink

    def tutorial(t: Any, place: Any, k: int) -> Callable[[], Any]:
        return training.dense(t, place, 16, 10, 32)

    models: Sequence[tuple[str, Callable[[Any, Any, int], Callable[[], Any]], float, float]] = (
        ("MLP 10-32-10", tutorial, 0.7, 3), ("MLP 784-512-512-10", training.mlp, 1, 1.5), ("CNN", training.cnn, 1, 1),
        ("ResNet", training.resnet, 1, 1), ("GPT", training.gpt, 1, 1.5))

    def compiled(t: Any, step: Callable[[], Any], both: bool) -> Callable[[], Any]:
        return t.compile(step) if both or t.__name__ == "cltorch" else step

    eager = [steps(ratio, f"step of {name}", lambda t, place, build=build: build(t, place, k)) for name, build, ratio, _ in models]
    return [*eager, *(steps(1.0 if both else ratio, f"step of {name}, {'both ' if both else ''}compiled",
                            lambda t, place, build=build, both=both: compiled(t, build(t, place, k), both))
                      for both in (False, True)[:1 if k > 1 else 2] for name, build, _, ratio in models)]


def host(scale: Scale) -> list[Case]:
    small = Input((64 // scale.shrink, 64 // scale.shrink))
    rows = [Case("goals", name, lambda t, x, y: x * y, (small, small), mode=mode, limit=limit, cause=HOST)
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

    return [*rows, Case("goals", f"replay {REPLAYED} launches", build=replayed, mode=Mode.LAUNCH, limit=REPLAYED * 3e-6, cause=HOST)]


def goal_table(cases: Sequence[Case], rows: Sequence[Row], ours: str, rival: str) -> str:
    """A line for each goal: our time, the rival's, the ratio, the goal, and whether it is reached; then what keeps rows below theirs."""
    timed = {(row.key, row.contestant): row for row in rows if row.note != UNKNOWN}
    lines = [f"GOALS: the time of {rival} over ours ({ours})", f"{'':41} {'ours':>9} {'spread':>7} {'rival':>9} {'spread':>7} {'ratio':>9} {'goal':>9}"]
    causes: dict[str, list[str]] = {}
    for case in cases:
        if (case.goal or case.limit) and (case.key, ours) in timed and (case.key, rival) in timed:
            line = _line(case, timed[case.key, ours], timed[case.key, rival])
            lines.append(line)
            if line.endswith(MISSED):
                causes.setdefault(case.cause or "no cause is known; compare the spread.", []).append(case.name)
    if causes:
        lines += ["", "WHAT KEEPS ROWS BELOW THEIR GOALS (as measured on two cores of an AMD EPYC 7003)"]
        lines += [textwrap.fill(f"{', '.join(names)}: {cause}", WIDTH, subsequent_indent="    ") for cause, names in causes.items()]
    return "\n".join(lines) + "\n"


def _line(case: Case, mine: Row, other: Row) -> str:
    title = f"{mine.title[:41]:41}"
    if mine.note or other.note:
        return f"{title} {mine.note or other.note}"
    ratio = other.median / mine.median
    reached = ratio >= case.goal if case.goal else mine.median <= case.limit
    wanted = f"{case.goal:g} x" if case.goal else f"< {human_seconds(case.limit)}"
    times = " ".join(f"{human_seconds(row.median):>9} {100 * row.spread:>5.0f} %" for row in (mine, other))
    return f"{title} {times} {human_ratio(ratio):>9} {wanted:>9}{'' if reached else MISSED}"
