"""The calls that check_kernels.py makes: one per operator from its declaration, and expressions for what declarations don't sample.

Shapes are empty, one element, prime; operands are contiguous behind an offset or strided views, in memory that nothing else initialised.
"""
from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

import cltorch
from cltorch import optim
from cltorch.core import capture, dispatch, lazy, relayout
from cltorch.core.tensor import Tensor
from cltorch.dtype import ALL, FLOATING, NUMERIC, bool_, dtype, float32
from cltorch.ops import registry
from cltorch.runtime import program
from cltorch.tools.benchmarks.case import TINY
from cltorch.tools.benchmarks.limits import limits

Shape = tuple[int, ...]
LAYOUTS = ("offset", "view", "dense")


class Make:
    """``make(3, 5)`` is a random tensor of the case's dtype and layout, the same in every run; floating ones require gradients."""

    def __init__(self, name: str, d: dtype, layout: str) -> None:
        self.rng = np.random.default_rng(zlib.crc32(name.encode()))
        self.d, self.layout = d, layout
        self.leaves: list[Tensor] = []

    def __call__(self, *shape: int, low: float = -2, high: float = 2, dtype: Any = None) -> Tensor:
        d = dtype or self.d
        t = self.place(cltorch.tensor(self.values(shape, d, low, high), dtype=d, device="cuda"))
        if d.is_floating_point or d.is_complex:
            self.leaves.append(t.requires_grad_())
        return t

    def values(self, shape: Shape, d: dtype, low: float, high: float) -> np.ndarray:
        if d is bool_:
            return self.rng.random(shape) < 0.5
        if d.is_integral:
            least = max(int(np.ceil(low)), 0 if not d.is_signed else -100)
            return self.rng.integers(least, max(int(np.floor(high)), least), shape, endpoint=True)
        values = self.rng.uniform(low, high, shape)
        return values + 1j * self.rng.uniform(low, high, shape) if d.is_complex else values

    def place(self, t: Tensor) -> Tensor:
        """The tensor in this case's layout. Its neighbours in memory stay uninitialised: who reads them is found out."""
        if self.layout == "dense":
            return t
        if self.layout == "offset":
            memory = cltorch.empty(t.numel() + 5, dtype=t.dtype, device=t.device)
            return memory[3:-2].copy_(t.reshape(-1)).reshape(t.shape)
        shape = tuple(t.shape) or (1,)
        memory = cltorch.empty((*shape[:-1], 2 * shape[-1] + 3), dtype=t.dtype, device=t.device)
        seen = memory[..., 3::2][..., :shape[-1]].copy_(t.reshape(shape))
        return seen if t.shape else seen[0]

    def index(self, limit: int, *shape: int) -> Tensor:
        """int64 numbers from 0 to below ``limit``."""
        return self(*shape, low=0, high=limit - 1, dtype=cltorch.int64)


class Case(NamedTuple):
    """``work(make)`` returns the results (tensors, or tuples of them) to compute and to differentiate."""

    name: str
    dtype: dtype
    layout: str
    work: Callable[[Make], Any]

    def __str__(self) -> str:
        return f"{self.name} [{self.dtype.name}, {self.layout}]"


class Row(NamedTuple):
    """An expression over x (one of the shapes), ``make``, ``index`` and all operators by name."""

    text: str
    shapes: Sequence[Shape]
    dtypes: frozenset[dtype] = FLOATING


TABLE = ((0, 3), (1, 1), (7, 13))
LONG = (*TABLE, (2, 521), (521, 2))
ROWS = (
    Row("x.sum(0), x.sum(1), x.sum(), x.prod(1), x.mean(0)", (*TABLE, (2, 131), (131, 2), (5, 7, 3, 2)), NUMERIC - {cltorch.uint8}),
    Row("x.sum((0, 2)), x.sum((1, 3)), x.transpose(0, 3).sum((0, 2)), x.flip(0).sum(0)", ((3, 5, 7, 2), (1, 11, 1, 13))),
    Row("x.sum(), x.argmax()", ((32771,),)),
    Row("x.sum(1)", ((67, 496),)),
    Row("x.detach().sum(0), x.detach().var(0), x.detach().argmax(0)", ((2311, 3),)),
    Row("x.var(0), x.std(1), var_mean(x, 1), std_mean(x)", ((1, 2), (7, 13), (131, 5))),
    Row("x.amax(0), x.amin(1), x.argmax(1), x.argmin(0), x.max(0), x.min(1)", ((1, 1), (7, 13), (2, 131), (131, 2))),
    Row("x.norm(), x.norm(1, 0), x.norm(0, 1), x.norm(float('inf'), 0), x.norm(float('-inf'), 1), x.norm(3, 1)", ((1, 1), (7, 13), (131, 5))),
    Row("x.median(), x.median(1), x.nanmedian(), x.nanmedian(0)", ((1, 1), (7, 13))),
    Row("x @ make(1031, 2), x.relu() @ make(1031, 3) + 1", ((5, 1031),)),  # in parts of k
    Row("softmax(x, 0), softmax(x, 1), log_softmax(x, 0), log_softmax(x, 1)", LONG),
    Row("softmax(x, 1), log_softmax(x, 1)", ((3, 131, 5),)),
    Row("layer_norm(x, x.shape[1:], make(*x.shape[1:]), make(*x.shape[1:])), layer_norm(x, x.shape[1:])", (*TABLE, (3, 257), (131, 5))),
    Row("batch_norm(x, None, None, make(x.shape[1]), make(x.shape[1]), True)", ((5, 7), (2, 3, 5), (131, 3), (3, 5, 7, 11), (2, 2, 131))),
    Row("batch_norm(x, make(x.shape[1]).detach(), make(x.shape[1], low=0.5).detach(), make(x.shape[1]), None, False)", ((5, 7), (2, 3, 5))),
    Row("conv2d(x, make(5, 3, 3, 2), make(5)), conv2d(x, make(2, 3, 2, 3), None, 2, 1, 2)", ((1, 3, 7, 5), (2, 3, 5, 7))),
    Row("conv2d(x, make(6, 2, 3, 3), make(6), 1, 1, 1, 2), conv2d(x, make(1, 4, 1, 1))", ((1, 4, 5, 7), (2, 4, 3, 11))),
    Row("conv2d(x, make(19, 2, 3, 3), None, (1, 2), 1)", ((1, 2, 5, 7),)),
    # Large enough for conv/winograd, and too large to simulate strategy grid.
    Row("conv2d(x.detach(), make(43, 48, 3, 3).detach(), make(43).detach(), 1, 1) if x._dev.strategy == 'wide' else x.detach()", ((3, 48, 8, 8),),
        frozenset({float32})),
    Row("avg_pool2d(x, 3, 2, 1), avg_pool2d(x, 2), adaptive_avg_pool2d(x, (3, 2)), max_pool2d(x, 3, 2, 1)", ((1, 1, 7, 5), (2, 3, 5, 11))),
    Row("adaptive_max_pool2d(x, (3, 2)), max_pool2d(x, 2, return_indices=True)", ((1, 1, 7, 5), (2, 3, 5, 11))),
    Row("avg_pool1d(x, 3), adaptive_avg_pool1d(x, 3), adaptive_max_pool1d(x, 3)", ((2, 3, 11),)),
    Row("cross_entropy(x, index(x.shape[1], x.shape[0])), nll_loss(log_softmax(x, 1), index(x.shape[1], x.shape[0]))", ((1, 1), (7, 13), (3, 1031))),
    Row("cross_entropy(x, index(5, 2, 3), make(5, low=0.5).detach(), label_smoothing=0.1, reduction='none')", ((2, 5, 3),)),
    Row("cross_entropy(x, index(5, 7), make(5, low=0.5).detach(), ignore_index=2), cross_entropy(x, softmax(make(7, 5), 1).detach())", ((7, 5),)),
    Row("nll_loss(x, index(5, 2, 3), make(5, low=0.5).detach(), reduction='sum'), nll_loss(x, index(5, 2, 3), reduction='none')", ((2, 5, 3),)),
    Row("ctc_loss(log_softmax(x, 2), make(2, 3, low=1, high=4, dtype=int64), tensor([9, 7]), tensor([3, 2]))", ((9, 2, 5),)),
    Row("multi_margin_loss(x, index(5, 7)), multilabel_margin_loss(x, index(5, 7, 5)), kl_div(x, softmax(make(7, 5), 1))", ((7, 5),)),
    Row("x.cumsum(0), x.cumsum(1), x.cumprod(1)", LONG, NUMERIC - {cltorch.uint8}),
    Row("x.logcumsumexp(0), x.cummax(1), x.cummin(0)", ((1, 1), (7, 13), (3, 1031))),
    Row("cumsum(x, 0), x.cummax(0)", ((4099,), (2, 2311))),
    Row("x.sort(), x.sort(0, True), x.argsort(), x.topk(1)", ((1, 1), (7, 13), (131, 5)), ALL - registry.COMPLEX),
    Row("x.sort(), x.topk(3), x.kthvalue(5)", ((2311,), (4099,), (3, 1031))),
    Row("x.unique(), x.unique_consecutive(), x.round().unique(return_inverse=True, return_counts=True)", ((0,), (1,), (131,))),
    Row("x.histc(7), searchsorted(x.sort()[0], make(11)), bucketize(x, make(5).sort()[0]), isin(x, make(3))", ((1,), (37,))),
    Row("x @ make(x.shape[1], 3), x @ make(11, x.shape[1]).t(), x.t() @ make(x.shape[0], 5), x @ make(x.shape[1]), x[0] @ make(x.shape[1])",
        ((1, 1), (5, 7), (3, 67)), NUMERIC),
    Row("x @ make(31, 37), x.t() @ make(37, 31)", ((37, 31),), NUMERIC),
    Row("x @ make(257, 131), make(131, 257) @ x.t()", ((1, 257),)),
    Row("x.t() @ make(6, 521)", ((6, 13),)),  # an operand whose rows are copied for several panels
    Row("bmm(x, make(x.shape[0], x.shape[2], 3)), x @ make(x.shape[2], 5), baddbmm(make(1, 5), x, make(x.shape[0], x.shape[2], 5))",
        ((0, 5, 7), (1, 1, 1), (3, 5, 7))),
    Row("x.t().contiguous(), x.clone().t_(), x.to(float32).t().clone()", (*TABLE, (37, 41)), ALL),
    Row("tiled(lambda: (x.transpose(0, 2).contiguous(), x.permute(1, 2, 0).contiguous()))", ((11, 2, 13), (37, 3, 67)), ALL),
    Row("x.permute(2, 0, 1).contiguous(), x.flip(0, 2), x.roll(2, 1), x.tril(), x.triu(1), cat([x, x[:1], x[:0]], 0), cat([x, x], 2)",
        ((1, 1, 1), (3, 5, 7), (2, 37, 41)), ALL),
    Row("x[1:, ::2] + x[0, 3], x.expand(3, 7, 13) * x[:, :1], x + x.mean(), x.clone().zero_(), x[3] - x.t()[5, 0]", ((7, 13),), NUMERIC),
    Row("strided(x, lambda v: v.mul_(2)), strided(x, lambda v: v.copy_(x[0, 0])), x.clone()[:, 1:].add_(x[:, 1:])", ((7, 13), (2, 3)), NUMERIC),
    Row("chain(x)", ((0,), (1,), (37,), (8209,), (3, 5, 7))),
    Row("far(lambda: (x.t() + 1, x[1:, ::2] * 2, strided(x, lambda v: v.add_(1))))", ((7, 13),), ALL - {bool_}),
    Row("x.clone().index_add_(0, index(7, 5), make(5, 3)), x.index_copy(0, tensor([2, 0]).cuda(), make(2, 3)), x.index_fill(1, index(3, 1), 2)",
        ((7, 3),)),
    Row("x.index_put((index(7, 5),), make(5, 3), True), x.clone().put_(tensor([3, 20, 0, 11]).cuda(), make(4)),"
        "x[index(7, 2, 3), index(3, 3)], x[:, index(3, 4)]", ((7, 3),)),
    Row("x.scatter_reduce(0, index(7, 5, 3), make(5, 3), 'amax'), x.clone().scatter_add_(1, index(3, 7, 2), make(7, 2)), x.gather(1, index(3, 7, 2))",
        ((7, 3),)),
    Row("x.masked_scatter(x > 0, make(x.numel())), x[x > 0], (x > 0).nonzero(), x.take(index(x.numel(), 5)), one_hot(index(5, 7), 5), bincount(index(5, 37))",
        ((7, 3), (1, 1), (131, 2))),
    Row("embedding(index(7, 5, 2), x), embedding_bag(index(7, 5, 2), x), embedding_bag(index(7, 9), x, tensor([0, 4]).cuda(), mode='max')", ((7, 3),)),
    Row("rand(37, device='cuda', dtype=d), randn(37, device='cuda', dtype=d), rand(0, device='cuda'), randperm(131, device='cuda'), normal(x, x.abs())",
        ((1,), (37,))),
    Row("x.detach().clone().bernoulli_(0.3), x.detach().clone().exponential_(), x.detach().clone().uniform_(), x.detach().clone().normal_(),"
        "x.detach().clone().cauchy_(), x.detach().clone().geometric_(0.3), x.detach().clone().log_normal_(), x.detach().clone().random_(5)",
        ((0,), (1,), (1031,))),
    Row("bernoulli(softmax(x, 0)), multinomial(softmax(x, 0).detach(), 1), dropout(x), alpha_dropout(x, training=True), gumbel_softmax(x)", ((1,), (37,))),
    Row("randint(3, 7, (37,), device='cuda'), arange(37, device='cuda'), linspace(0, 1, 37, device='cuda'), logspace(0, 1, 5, device='cuda'),"
        "eye(5, 7, device='cuda'), tril_indices(5, 3, device='cuda'), full((3,), 2, device='cuda')", ((1,),), frozenset({float32})),
    Row("scaled_dot_product_attention(x, x, x, is_causal=True), scaled_dot_product_attention(x, make(3, 2, 11, 5), make(3, 2, 11, 7))",
        ((3, 2, 13, 5), (3, 2, 1, 5))),
    Row("scaled_dot_product_attention(x, x, x, is_causal=True), scaled_dot_product_attention(x, make(1, 7, 3), make(7, 2), make(17, 7) > 0)", ((1, 17, 3),)),
    Row("scaled_dot_product_attention(x, x, x, is_causal=True)", ((1, 17, 9),)),
    Row("scaled_dot_product_attention(x, make(2, 7, 3), make(2, 7, 2), dropout_p=0.3)", ((2, 17, 3),)),
    Row("clip(x, 2.0), clip(x, 1.0, float('inf'))", ((1, 1), (7, 13), (1031, 3))),
    Row("replayed(lambda v: ((v * 2).sum(), v.cumsum(0), v @ v.t(), v.softmax(1)), x.detach())", ((5, 7),)),
    Row("measured(x)", ((1,),), frozenset({float32})),
    Row("(x * 2 + x).sum(0), (x * 3).sum(1), (x > 0).sum(), (x * x).var(1), (x * 2).argmax(1), softmax(x * 2, 0), log_softmax(x * x, 1),"
        "layer_norm(x * 2, x.shape[1:])", (*TABLE, (3, 131)), frozenset({float32, cltorch.float16})),
    Row("batch_norm(x * 2, None, None, make(x.shape[1]), make(x.shape[1]), True).relu() * 2", ((5, 7), (2, 3, 5)), frozenset({float32})),
    Row("(x @ make(x.shape[1], 3)).relu() * 2, (x.t() @ make(x.shape[0], 5)).tanh() + 1, (x @ make(x.shape[1])).exp()", ((5, 7), (3, 67)),
        frozenset({float32, cltorch.float16})),
    Row("(x @ make(31, 37)).relu() * 2, (x.t() @ make(37, 31)).exp(), linear(x, make(35, 31), make(35)).relu()", ((37, 31),), frozenset({float32})),
    Row("conv2d(x, make(5, 3, 3, 2), make(5)).relu() * 2, conv2d(x, make(2, 3, 2, 3), None, 2, 1, 2).exp()", ((1, 3, 7, 5),), frozenset({float32})),
    Row("past_caches(lambda v: (v * v + v, cat([v, v * 2]), cat([v * 3, v], 1)), x.detach())", (*TABLE, (3, 521)), NUMERIC),
)


def strided(x: Tensor, write: Callable[[Tensor], Any]) -> Tensor:
    """What is left of x's copy after a write into a strided part of it."""
    copy = x.detach().clone()
    write(copy[1:, ::2])
    return copy


def chain(x: Tensor) -> tuple[Tensor, ...]:
    """Fused operators, two of whose intermediate results are wanted too."""
    y = (x * 2).exp()
    z = y + x.sum() * 0.5
    return y, z, (z * y).tanh() - x, (x > 0) & (y < 2)


def far(work: Callable[[], tuple]) -> tuple:
    """The kernels for views that reach beyond 2^31 elements, on small ones."""
    before, lazy._reach = lazy._reach, lambda walk, out: 1 << 31
    try:
        for result in (results := work()):
            lazy.realize(result.storage.value)
        return results
    finally:
        lazy._reach = before


def tiled(work: Callable[[], tuple]) -> tuple:
    """The kernel that copies by tiles, on tensors too small for it to pay."""
    before, relayout.SMALLEST = relayout.SMALLEST, 1
    try:
        return work()
    finally:
        relayout.SMALLEST = before


def clip(x: Tensor, norm: float, kind: float = 2.0) -> Tensor:
    """Gradient clipping, which no operator is declared for."""
    p = x.detach().clone().requires_grad_()
    (p * p).sum().backward()
    return cltorch.nn.utils.clip_grad_norm_([p], norm, kind)


def replayed(work: Callable, x: Tensor) -> Any:
    """The results of a graph whose little launches have become one."""
    run = cltorch.compile(work, fullgraph=True)
    return [run(x) for _ in range(capture.JOINED_AFTER + 2)][-1]


def past_caches(work: Callable[[Tensor], Any], x: Tensor) -> Any:
    """The results of work whose results go past a processor's caches."""
    before = lazy.STREAMED
    try:
        lazy.STREAMED = 1
        results = work(x)
        for t in results:
            dispatch.buffer(t)
    finally:
        lazy.STREAMED = before
    return results


def measured(x: Tensor) -> tuple:
    """The kernels that bench.py compares operators with."""
    for case in limits(TINY):
        if case.dtype == "float32" and case.own is not None:
            case.own(x._dev)()
    return ()


def scope() -> dict[str, Any]:
    """The names that expressions use."""
    names = {name: f for space in ("special", "linalg", "functional", "torch") for name, f in registry.functions(space).items()}
    names["batch_norm"] = registry.functions("functional")["batch_norm"]
    own = {"strided": strided, "chain": chain, "far": far, "tiled": tiled, "clip": clip, "replayed": replayed, "past_caches": past_caches, "measured": measured}
    return names | own | {"tensor": cltorch.tensor, "float32": float32, "int64": cltorch.int64}


def expressions() -> Iterator[Case]:
    names = scope()
    for row in ROWS:
        code = compile(f"({row.text})", row.text, "eval")
        for shape in row.shapes:
            for d in sorted(row.dtypes):
                def work(make: Make, code: Any = code, shape: Shape = shape, d: dtype = d) -> Any:
                    return eval(code, names | {"x": make(*shape), "make": make, "index": make.index, "d": d})
                yield from both(f"{row.text.split(', ')[0]} {shape}", d, work)


def both(name: str, d: dtype, work: Callable[[Make], Any]) -> list[Case]:
    return [Case(name, d, layout, work) for layout in LAYOUTS]


def pointwise() -> Iterator[Case]:
    for op in registry.table():
        if op.form == "pointwise":
            for d in sorted(op.dtypes):
                yield from both(op.name, d, lambda make, op=op: [_pointwise(op, make, shape) for shape in ((37,), (), (0, 3))])


def _pointwise(op: registry.Operator, make: Make, shape: Shape) -> Any:
    domain = op.domain if isinstance(op.domain, dict) else dict.fromkeys(op.engine.operands, op.domain)
    bounds = [domain.get(name, (-2, 2)) for name in op.engine.operands]
    return op.function(*[make(*shape, low=low, high=high) for low, high in bounds])


def sampled() -> Iterator[Case]:
    for op in registry.table():
        if op.form != "pointwise" and op.samples is not None:
            for d in sorted(op.dtypes):
                yield from both(op.name, d, lambda make, op=op: [op.function(*args, **kwargs) for args, kwargs in op.samples(make)])


def optimizers() -> Iterator[Case]:
    """Every optimizer, with the options that change what its kernel computes."""
    options: dict[str, tuple[dict, ...]] = {
        "SGD": ({}, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}), "Adam": ({}, {"amsgrad": True, "weight_decay": 0.1}),
        "RMSprop": ({}, {"momentum": 0.9, "centered": True})}
    for name in optim.__all__:
        made = getattr(optim, name)
        if isinstance(made, type) and issubclass(made, optim.Optimizer) and made is not optim.Optimizer:
            for chosen in options.get(name, ({},)):
                for d in sorted(FLOATING):
                    yield Case(f"{name} {chosen}", d, "offset", lambda make, made=made, chosen=chosen: _steps(made, chosen, make))


def _steps(made: type, chosen: dict, make: Make) -> list[Tensor]:
    parameters = [make(*shape) for shape in ((1,), (7, 13), (1031,), (0,))]
    optimizer = made(parameters, lr=0.1, **chosen)
    for _ in range(2):
        optimizer.zero_grad()
        for p in parameters:
            p.grad = make(*p.shape).detach()
        optimizer.step()
    make.leaves.clear()
    return [p.detach() for p in parameters]


def first(dtypes: frozenset[dtype]) -> dtype:
    """The type for checks that one type suffices for."""
    return float32 if float32 in dtypes else sorted(dtypes)[0]


def cases(quick: bool) -> list[Case]:
    """All of them; quick: each in one type, float32 where it can be, and not with dense operands (intermediate results are dense)."""
    found = [case for source in (expressions, pointwise, sampled, optimizers) for case in source()]
    if not quick:
        return found
    types: dict[str, set[dtype]] = {}
    for case in found:
        types.setdefault(case.name, set()).add(case.dtype)
    chosen = {name: first(frozenset(found)) for name, found in types.items()}
    return [case for case in found if case.dtype == chosen[case.name] and case.layout != "dense"]


def planted() -> list[Case]:
    """Kernels with one mistake each, to test the check."""
    return [Case(name, float32, "dense", lambda make, name=name: _plant(name)) for name in PLANTED]


PLANTED = {
    "planted/write": "a[i + 1] = i;",
    "planted/read": "if (i < 7) a[i] = b[i + 2];",
    "planted/race": "a[i / 2] = i;",
    "planted/local_race": "__local int s[8]; s[i] = i; a[i] = s[7 - i];",
    "planted/uninitialised": "int s[2]; s[i & 1] = i; a[i] = s[0];",
    "planted/correct": "a[i] = i;",
}


def _plant(name: str) -> tuple:
    """Launches one of them over 8 work-items and memory of 8 ints."""
    source = f"__kernel void planted(__global int *a, __global const int *b) {{ const int i = get_global_id(0); {PLANTED[name]} }}"
    a, b = (cltorch.zeros(8, dtype=cltorch.int32, device="cuda") for _ in range(2))
    memory = [lazy.realize(t.storage.value).mem for t in (a, b)]
    program.build(a._dev, source, name).kernel("planted")((8,), (8,), *memory)
    return ()
