"""Chains: pointwise operators are recorded and launched together when somebody needs the result.

Flush points, all of which end in ``realize`` here: an operator that isn't pointwise asks for a buffer (dispatch.buffer), the host
reads, an assignment into part of a storage, ``cuda.synchronize`` or a recorded event, a capture boundary, the end of backward, a chain that reached
``LIMIT``, an operator on memory shared with NumPy, and every operator under CLTORCH_EAGER=1.
"""
from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, cast
from weakref import ref

from .. import config
from ..codegen.fusion import CONSTANT, DENSE, SHIFTED, SINGLE, STRIDED, UNIT, Chain, Computed, Continued, Step, computed, continued, render_chain
from ..runtime import program
from ..runtime.device import LAUNCHERS, Device
from ..shape import collapse, contiguous_strides
from .storage import Read, Storage, Value

MOST_DEFERRED = 2  # launches that may be put off: the gradient to a layer's input is, and that to its weights until it is added to what is there
LIMIT = 24  # steps and leaves of one chain: keeps kernel arguments under 1024 bytes and compilation short
STREAMED = 1 << 27  # bytes that go through a processor's caches in a launch from which on its results aren't there when they are read again
FEW = 1 << 21  # elements; fewer than these are not so many bytes, whatever one operator's types
EAGER = bool(config.get("EAGER"))
_getrefcount = sys.getrefcount
_kernels: dict[Device, dict[tuple, Any]] = {}
_computed: dict[Device, dict[tuple, Computed]] = {}
_continued: dict[Device, dict[tuple, Continued]] = {}
_singles: dict[Device, dict[tuple, Any]] = {}  # by instruction and operand types: chains of one operator


class Deferred:
    """The launch of a matrix product or convolution, put off until its result is needed: pointwise operators on it that were recorded by then are
    computed by the same kernel. It stands where a pending value has its instruction.

    ``launch(type, results)``: the type that the kernel writes (a dtype, or Continued) and the arguments for the type's ``results``. The pending
    value's ``args`` are the realised Values that it reads, which therefore stay as they are.
    """

    __slots__ = ("compute", "id", "launch", "result")
    expression, parameters, name = "x", ("x",), "product"

    def __init__(self, d: Any, launch: Callable[[Any, list[Any]], None]) -> None:
        self.id, self.compute, self.result, self.launch = -16 - d.index, d, d, launch


class _Walk:
    """The steps, leaves and scalars of a chain in launch order, and the key that names its kernel."""

    __slots__ = ("key", "leaf_index", "leaves", "numbers", "product", "shape", "step_index", "steps")

    def __init__(self) -> None:
        self.product: int | None = None  # the step whose launch was put off
        self.steps: list[Value] = []
        self.step_index: dict[int, int] = {}
        self.leaves: list[tuple[Value, Any, int, tuple | None]] = []  # value, dtype, offset, strides (None: dense)
        self.leaf_index: dict[int, int] = {}
        self.numbers: list[Any] = []
        self.key: list[int] = []
        self.shape: tuple | None = None

    def visit(self, value: Value) -> int:
        """Appends a pending value after everything it depends on; returns its step number (recursion depth is bounded by LIMIT)."""
        found = self.step_index.get(id(value))
        if found is not None:
            return found
        instruction = value.instruction
        if type(instruction) is Deferred:
            self.product = len(self.steps)
        key: list[int] = [instruction.id]
        numbers: list[Any] = []
        for arg in () if type(instruction) is Deferred else value.args:
            kind = type(arg)
            if kind is Value:
                if self.product is not None and type(arg.instruction) is Deferred and arg is not self.steps[self.product]:
                    realize(arg)  # a launch has one product
                if arg.block is None:
                    key.append(self.visit(arg))
                else:
                    leaf = self.leaf_index.get(id(arg))
                    if leaf is None:
                        leaf = self.leaf_index[id(arg)] = len(self.leaves)
                        self.leaves.append((arg, arg.dtype, 0, None))
                    key.append(1000 + leaf)
            elif kind is Read:
                key.append(1000 + len(self.leaves))
                self.leaves.append((arg.value, arg.dtype, arg.offset, arg.strides))
            else:
                key.append(-1)
                numbers.append(arg)
        if instruction.compute.is_complex:
            for number in (*numbers, *value.scalars):
                number = complex(number)
                self.numbers += (number.real, number.imag)
        else:
            self.numbers += numbers
            self.numbers += value.scalars
        if value.shape is not None:
            self.shape = value.shape
        self.key += key
        self.key.append(-2)
        index = self.step_index[id(value)] = len(self.steps)
        self.steps.append(value)
        return index


def _live(walk: _Walk, roots: tuple[Value, ...]) -> list[int]:
    """Steps whose value somebody outside this chain still holds: they are written by the same launch.

    A reference from anything but the chain's own ``args`` tuples means a tensor, or another chain, wants the value. Counting too many
    only writes a result nobody reads; counting too few only recomputes it later: both are correct.
    """
    if len(walk.steps) == 1:
        return [0]
    inside = _inner_references(walk)
    wanted = {walk.step_index[id(r)] for r in roots}
    return [k for k, value in enumerate(walk.steps) if k in wanted or _getrefcount(value) - inside[k] > _BASE]


def _inner_references(walk: _Walk) -> list[int]:
    """How often the chain's own steps read each step. (In a function of its own: a loop's variable would hold the last operand.)"""
    counts = [0] * len(walk.steps)
    for value in walk.steps:
        for arg in value.args:
            if type(arg) is Value and arg.block is None:
                counts[walk.step_index[id(arg)]] += 1
    return counts


def _calibrate() -> int:
    """References that a walk itself holds on a step nobody else wants, on this interpreter."""
    walk, nobody = _Walk(), cast(Any, None)
    for _ in range(2):
        walk.steps.append(Value(None, nobody, nobody, 1))
    counts = [_getrefcount(value) for k, value in enumerate(walk.steps) if k >= 0]
    return counts[0]


_BASE = _calibrate()


@lru_cache(maxsize=8192)
def _layouts(shape: tuple[int, ...], leaves: tuple[tuple[Any, bool], ...],
             out: tuple[int, ...] | None) -> tuple[int, tuple[int, ...], list[int], list[tuple], tuple]:
    """Rank, sizes, layout and strides of each leaf, and (layout, strides) of a strided output. ``leaves``: (strides, None where dense; whether it
    starts behind an offset); ``out``: the output's strides."""
    dense = contiguous_strides(shape)
    rows = [dense if strides is None else strides for strides, _ in leaves]
    sizes, strides = collapse(shape, *rows, dense if out is None else out)
    plain = len(sizes) == 1
    codes = [_layout(s, leaf, plain) for s, leaf in zip(strides, leaves, strict=False)]
    last = strides[-1]
    out_code = DENSE if out is None else (UNIT if last[-1] == 1 else STRIDED)
    if plain and out_code != STRIDED and max(codes, default=0) <= SINGLE and (out is None or last[-1] == 1):
        return 0, (), codes, [()] * len(codes), (DENSE if out is None else SHIFTED, ())
    return len(sizes), sizes, codes, [s if c >= UNIT else () for s, c in zip(strides, codes, strict=False)], (out_code, last)


def _layout(strides: tuple[int, ...], leaf: tuple[Any, bool], plain: bool) -> int:
    if leaf[0] is None:
        return DENSE
    if not any(strides):
        return SINGLE
    if plain and strides[0] == 1:
        return SHIFTED if leaf[1] else DENSE
    return UNIT if strides[-1] == 1 else CONSTANT if strides[-1] == 0 else STRIDED


def flush(roots: tuple[Value, ...], out: tuple[Any, int, tuple[int, ...], tuple[int, ...]] | None = None, walk: _Walk | None = None,
          home: Any = None) -> Any:
    """Launches what the roots need. All have the same number of elements. ``out`` = (block, offset, shape, strides): the one root goes
    straight into a strided view of existing memory and stays unrealised itself. ``walk``: the roots', where somebody has made it. ``home``: the
    block for the one root of a chain without a product. Returns the kernel, or for a product what goes on from it."""
    if walk is None:
        walk = _Walk()
        for root in roots:
            walk.visit(root)
    if walk.product is not None:
        kind = _flush_product(walk, roots) if out is None else None
        if kind is not None:
            return kind
        realize(walk.steps[walk.product])
        return flush(roots, out)
    first = roots[0]
    dev = first.device
    if out is None:
        written = _live(walk, roots)
        target = None
    else:
        written = [walk.step_index[id(first)]]
        target = (out[1], out[3])
        walk.shape = out[2]
    rank, sizes, codes, strides, out_layout = _arranged(walk, out and out[3])
    large = first.numel >= 1 << 31 or bool((rank or out is not None) and _reach(walk, out) >= 1 << 31)
    streamed = rank == 0 and out is None and first.numel >= FEW and streams(
        dev, first.numel * sum([walk.steps[k].dtype.itemsize for k in written]),
        first.numel * sum([leaf[1].itemsize for leaf, code in zip(walk.leaves, codes, strict=True) if code != SINGLE]))
    key = (*_signature(walk, codes), -3, *written, rank, out_layout[0], large, streamed)
    cache = _kernels.get(dev)
    if cache is None:
        cache = _kernels[dev] = {}
    kernel = cache.get(key)
    if kernel is None:
        kernel = cache[key] = _build(walk, dev, codes, written, out_layout[0], rank, large, streamed)
    blocks = [out[0]] if out is not None else _outputs(walk, written, dev)
    if home is not None:
        blocks[written.index(walk.step_index[id(first)])] = home
    _launch(kernel, dev, first.numel, blocks, walk, codes, sizes, strides, target, out_layout)
    if out is None:
        for k, block in zip(written, blocks, strict=True):
            settle(walk.steps[k], block)
    return kernel


def _flush_product(walk: _Walk, roots: tuple[Value, ...]) -> Continued | None:
    """Launches a product with the chain on its result; None where operands are strided, which a product's kernel doesn't read."""
    codes = _flat_codes(walk)
    if codes is None or roots[0].numel >= 1 << 31:
        return None
    written = _live(walk, roots)
    product = walk.steps[cast(int, walk.product)]  # behind _live: this would count as somebody who wants it
    dev, key = product.device, (*_signature(walk, codes), -3, *written)
    known = _continued.setdefault(dev, {})
    kind = known.get(key)
    if kind is None:
        kind = known[key] = continued(_chain(walk, dev, codes, written), product.dtype)
    blocks = _outputs(walk, written, dev)
    product.instruction.launch(kind, [*[block.mem for block in blocks], *_inline_arguments(walk, codes)])
    for k, block in zip(written, blocks, strict=True):
        settle(walk.steps[k], block)
    return kind


def settle(value: Value, block: Any) -> None:
    """A pending value lies in memory from now on."""
    value.block = block
    value.args = value.scalars = ()
    value.instruction = value.shape = None


def streams(dev: Device, written: int, read: int) -> bool:
    """Whether results of so many bytes go past the device's caches, where so many others are read. Through the caches, results are read before they are
    written."""
    return read + 2 * written >= STREAMED and dev.strategy == "wide"


def _reach(walk: _Walk, out: tuple | None) -> int:
    shape = walk.shape or ()
    far = [leaf[2] + sum((n - 1) * s for n, s in zip(shape, leaf[3], strict=True)) for leaf in walk.leaves if leaf[3] is not None]
    if out is not None:
        far.append(out[1] + sum((n - 1) * s for n, s in zip(out[2], out[3], strict=True)))
    return max(far, default=0)


def _outputs(walk: _Walk, written: list[int], dev: Device) -> list[Any]:
    allocate = dev.allocator.allocate
    return [allocate(v.numel * v.dtype.itemsize) for v in (walk.steps[k] for k in written)]


ONE_GROUP, TWO_GROUPS = ((1,), (1,)), ((2,), (1,))


def groups(dev: Device, n: int, wanted: int = 128) -> tuple[tuple[int], tuple[int]]:
    """Global and local size for n independent elements: few fat work-items on CPUs, a grid-stride grid on GPUs in groups of ``wanted``."""
    if dev.strategy == "wide":
        return ((dev.wide_groups,), (1,)) if n >= 32768 else TWO_GROUPS if n >= 8192 else ONE_GROUP
    local = min(dev.max_work_group_size, wanted)
    return (min(-(-n // local), dev.compute_units * 64) * local,), (local,)


def _launch(kernel: Any, dev: Device, numel: int, blocks: list[Any], walk: _Walk, codes: list[int], sizes: tuple[int, ...],
            strides: list[tuple] | None, target: tuple | None, out_layout: tuple) -> None:
    args: list[Any] = [block.mem for block in blocks]
    args += [leaf[0].block.mem for leaf in walk.leaves]
    args.append(numel)
    if strides is not None:
        args += sizes
        for leaf, code, steps in zip(walk.leaves, codes, strides, strict=True):
            if code != DENSE:
                args.append(leaf[2])
                if code >= UNIT:
                    args += steps
        if target is not None:
            if out_layout[0] != DENSE:
                args.append(target[0])
            args += out_layout[1]
    args += walk.numbers
    global_size, local_size = groups(dev, numel)
    kernel(global_size, local_size, *args)


def _sources(key: list[int]) -> list[list[tuple[str, int]]]:
    """What each step's operands read, decoded from a walk's key (the key alone decides the kernel's text)."""
    steps: list[list[tuple[str, int]]] = []
    start = True
    for code in key:
        if start:
            steps.append([])
            start = False
        elif code == -2:
            start = True
        else:
            steps[-1].append(("scalar", 0) if code == -1 else ("leaf", code - 1000) if code >= 1000 else ("step", code))
    return steps


def _build(walk: _Walk, dev: Device, codes: list[int], written: list[int], out_layout: int, rank: int, large: bool, streamed: bool) -> Any:
    chain = _chain(walk, dev, codes, written, out_layout, rank, large, streamed)
    return program.build(dev, render_chain(chain, dev.strategy), "+".join(v.instruction.name for v in walk.steps), later=True).kernel("map")


def _chain(walk: _Walk, dev: Device, codes: list[int], written: list[int], out_layout: int = DENSE, rank: int = 0, large: bool = False,
           streamed: bool = False) -> Chain:
    """A walk as what code is generated from. Raises where the device lacks one of its types."""
    sources = _sources(walk.key)
    steps = [Step(v.instruction.expression, v.instruction.parameters, (*source, *[("scalar", 0)] * len(v.scalars)),
                  v.instruction.compute, v.instruction.result)
             for v, source in zip(walk.steps, sources, strict=True)]
    if walk.product is not None:
        steps[walk.product] = steps[walk.product]._replace(sources=(("product", 0),))
    leaves = tuple((leaf[1], code) for leaf, code in zip(walk.leaves, codes, strict=True))
    for d in {*(leaf[0] for leaf in leaves), *(v.instruction.compute for v in walk.steps), *(v.dtype for v in walk.steps)}:
        dev.require(d)
    return Chain(tuple(steps), leaves, tuple(written), out_layout, rank, large, streamed)


def computed_on_the_way(value: Value) -> tuple[Computed, list[Any]] | None:
    """A pending value as what the kernel that needs it computes from its chain's operands, and the arguments for that; None where it was
    written to memory instead: strided operands, or intermediate values that somebody holds."""
    walk = _Walk()
    walk.visit(value)
    last = len(walk.steps) - 1
    codes = None if walk.product is not None or value.numel >= 1 << 31 or (last and _live(walk, (value,)) != [last]) else _flat_codes(walk)
    if codes is None:
        if type(value.instruction) is not Deferred:
            flush((value,), None, walk)
        return None
    dev, key = value.device, _signature(walk, codes)
    known = _computed.setdefault(dev, {})
    found = known.get(key)
    if found is None:
        found = known[key] = computed(_chain(walk, dev, codes, [last]))
    return found, _inline_arguments(walk, codes)


def _flat_codes(walk: _Walk) -> list[int] | None:
    """The leaves' layouts where all of them are read by the element number alone."""
    rank, _, codes, _, _ = _arranged(walk, None)
    return None if rank else codes


def _arranged(walk: _Walk, out: tuple[int, ...] | None) -> tuple[int, tuple[int, ...], list[int], list[tuple] | None, tuple]:
    """``_layouts`` of a walk's leaves; ``out``: a strided output's strides."""
    if walk.shape is None:
        return 0, (), [DENSE] * len(walk.leaves), None, (DENSE, ())
    return _layouts(walk.shape, tuple([(leaf[3], leaf[2] != 0) for leaf in walk.leaves]), out)


def _signature(walk: _Walk, codes: list[int]) -> tuple[int, ...]:
    """What a chain's code depends on, but for what it writes: instructions, what reads what, the leaves' types and layouts."""
    return (*walk.key, *[leaf[1].index * 8 + code for leaf, code in zip(walk.leaves, codes, strict=True)])


def _inline_arguments(walk: _Walk, codes: list[int]) -> list[Any]:
    """What a kernel that computes the chain itself is given for it: codegen.fusion.Inlined."""
    places = [leaf[2] for leaf, code in zip(walk.leaves, codes, strict=True) if code != DENSE]
    return [*[leaf[0].block.mem for leaf in walk.leaves], *places, *walk.numbers]


def _flush_one(value: Value) -> bool:
    """The quick way for a single operator on element-aligned operands, realised or one a product; False where the general way is needed."""
    instruction = value.instruction
    key = [instruction.id]
    memory, numbers = [], []
    product = arg = None
    for arg in value.args:
        if type(arg) is Value:
            if arg.block is not None:
                memory.append(arg.block.mem)
                key.append(arg.dtype.index)
            elif product is None and type(arg.instruction) is Deferred:
                product = arg
                key.append(arg.instruction.id)
            else:
                return False
        elif type(arg) is Read:
            return False
        else:
            numbers.append(arg)
            key.append(-1)
    arg = None  # it may hold the product
    n = value.numel
    if instruction.compute.is_complex or n >= 1 << 31 or (n >= FEW and value.device.strategy == "wide" if product is None else _getrefcount(product) > _BARE):
        return False
    dev = value.device
    singles = _singles.get(dev)
    if singles is None:
        singles = _singles[dev] = {}
    found = singles.get(tuple(key))
    if found is None:
        fused, product = product is not None, None  # which would count as wanted
        found = flush((value,))
        if len(set(map(id, memory))) == len(memory) and fused == (type(found) is Continued):  # an operand given twice is one leaf there
            singles[tuple(key)] = found
        return True
    block = dev.allocator.allocate(n * value.dtype.itemsize)
    if product is None:
        global_size, local_size = groups(dev, n)
        found.enter(dev.submission, found, global_size, local_size, (block.mem, *memory, n, *numbers, *value.scalars))  # found(...), a call less
    else:
        product.instruction.launch(found, [block.mem, *memory, *numbers, *value.scalars])
    settle(value, block)
    return True


def _bare() -> int:
    """References to a product that ``_flush_one`` counts where nobody else wants it."""
    value = Value(None, cast(Any, None), None, 1, args=(Value(None, cast(Any, None), None, 1),))
    product = value.args[0]
    return _getrefcount(product)


_BARE = _bare()


def realize(value: Value) -> Any:
    """The block that holds the value, launching its chain first where it is pending."""
    if value.block is None:
        if value.numel == 0:
            value.block = value.device.allocator.allocate(0)
            value.args, value.instruction = (), None
        elif type(value.instruction) is Deferred:
            block = value.device.allocator.allocate(value.numel * value.dtype.itemsize)
            value.instruction.launch(value.dtype, [block.mem])
            settle(value, block)
        elif not _flush_one(value):
            flush((value,))
    return value.block


def put_off(value: Value) -> None:
    """Notes a deferred value. A few at a time wait on a device: what nobody built on by then had better start."""
    waiting = value.device.deferred
    waiting.append(ref(value))
    if len(waiting) > MOST_DEFERRED:
        oldest = waiting.pop(0)()
        if oldest is not None:
            realize(oldest)


def start(value: Value) -> None:
    """Launches a product, or one operator on it: where nothing will go on from it for long, and it would hold the memory that it reads."""
    if value.block is None and (type(value.instruction) is Deferred or any(type(arg) is Value and type(arg.instruction) is Deferred for arg in value.args)):
        realize(value)


def remember(storage: Storage, dev: Device) -> None:
    """Notes that a storage's content was recorded only, for ``launch_recorded``."""
    dev.recorded.append(ref(storage))
    if len(dev.recorded) > dev.recorded_limit:
        sift(dev)


def sift(dev: Device) -> None:
    """Forgets what no longer waits. The list may double until the next time, so a record costs a constant."""
    dev.recorded = [entry for entry in dev.recorded if _waits(entry())]
    dev.recorded_limit = 1024 + 2 * len(dev.recorded)


def _waits(storage: Storage | None) -> bool:
    return storage is not None and storage.value.block is None


def launch_recorded(dev: Device, homes: Mapping[int, tuple[Any, Any]] = MappingProxyType({})) -> None:
    """Launches every recorded operator of a device whose result somebody still holds. ``homes``: by a storage's id the block that its content had better
    lie in, and a weak reference to the value that is there."""
    waiting, dev.recorded = dev.recorded, []
    for entry in waiting:
        storage = entry()
        if storage is not None:
            home = homes.get(id(storage))
            if home is None or not _realize_at(storage, *home):
                realize(storage.value)


def _realize_at(storage: Storage, block: Any, before: Any) -> bool:
    """Launches a storage's pending chain into a block that it may read, at its own elements; False where it reads others. Who else holds what
    ``before`` refers to, the value that is there, finds it in other memory."""
    value = storage.value
    if value.block is not None or not value.numel:
        return False
    walk = _Walk()
    walk.visit(value)
    old = before()
    if walk.product is not None or any(leaf[0] is old and leaf[3] is not None for leaf in walk.leaves):
        return False
    if old is not None and old.block is block:
        mine = sum(leaf[0] is old for leaf in walk.leaves) + sum(arg is old for step in walk.steps for arg in step.args)
        if _getrefcount(old) - mine > _HELD:
            move_out(old, storage.nbytes)
    flush((value,), None, walk, block)
    return True


def move_out(value: Value, nbytes: int) -> None:
    """A realised value lies in other memory from now on: its block is to be written."""
    dev, block = value.device, value.block
    value.block = dev.allocator.allocate(nbytes)
    dev.copy(value.block.mem, block.mem, nbytes)


def _held() -> int:
    """References to a value that a function counts whose variable is the only one."""
    value = Value(None, cast(Any, None), None, 1)
    return _getrefcount(value)


_HELD = _held()
LAUNCHERS.append(launch_recorded)
