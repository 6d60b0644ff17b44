"""The suite limits: what a device can do at most, by kernels that do nothing else (kernels/benchmark), and what a GPT's step takes for its products alone.
Rows below their goals are compared with it."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyopencl as cl

import cltorch
from cltorch.core import dispatch
from cltorch.dtype import NAMES, dtype
from cltorch.runtime.device import Device

from . import training
from .arithmetic import Product
from .case import Case, Mode, Scale
from .results import COPY

FAMILY, CHAINS = "benchmark/limits", 12
GROUP = 64  # work-items of a GPU's group
PRODUCTS = "products of a GPT step"
READ, WRITE, ARITHMETIC, LITTLE_LAUNCH, LAUNCH, WAIT = (
    "read only", "write only", "multiply and add", "empty launch, one work-item", "empty launch, all compute units", "empty launch, and wait")


def limits(scale: Scale) -> list[Case]:
    """Bandwidth one way, arithmetic in registers, and what a launch costs. The copy of the suite memory is the bandwidth both ways."""
    n = scale.elements

    def case(name: str, own: Callable[[Device], Callable[[], Any]], **more: Any) -> Case:
        return Case("limits", name, own=own, **more)

    return [
        case(READ, lambda dev: read_all(dev, n), moved=4.0 * n), case(WRITE, lambda dev: write_all(dev, n), moved=4.0 * n, written=4.0 * n),
        *(case(ARITHMETIC, lambda dev, d=d: multiply_adds(dev, NAMES[d], 4 * n), dtype=d, flops=2.0 * CHAINS * 4 * n) for d in ("float32", "float64")),
        case(LITTLE_LAUNCH, lambda dev: nothing(dev, 1, 1)), case(LAUNCH, lambda dev: nothing(dev, *work_items(dev))),
        case(WAIT, lambda dev: nothing(dev, *work_items(dev)), mode=Mode.ROUND_TRIP),
        case(PRODUCTS, lambda dev: products(dev, training.gpt_products(scale.shrink)), mode=Mode.STEPS),
    ]


def compared(case: Case) -> list[tuple[str, str, str]]:
    """The keys of what a goal's row is compared with: what moves bytes as it does, computes as it does, launches, and is a part of it."""
    read = case.moved - case.written
    directions = [READ] if read > case.written else [WRITE] if read < case.written else []
    own = [("limits", name, "float32") for name in (*directions, LITTLE_LAUNCH, LAUNCH, *([case.part] if case.part else []))]
    return [*own, *([COPY] if case.moved else []), *([("limits", ARITHMETIC, case.dtype)] if case.flops else [])]


def work_items(dev: Device) -> tuple[int, int]:
    """(all, of a group): what keeps every compute unit busy."""
    group = 1 if dev.strategy == "wide" else min(GROUP, dev.max_work_group_size)
    return 8 * dev.compute_units * group, group


def lanes_of(dev: Device, d: dtype) -> int:
    """Numbers in a vector: as many as fit a processor's registers; a GPU's work-items are lanes themselves."""
    widths = {"float32": cl.device_info.NATIVE_VECTOR_WIDTH_FLOAT, "float64": cl.device_info.NATIVE_VECTOR_WIDTH_DOUBLE}
    return max(1, dev.cl_device.get_info(widths[d.name])) if dev.strategy == "wide" else 1


def launcher(dev: Device, entry: str, d: dtype, lanes: int, *arguments: Any, size: tuple[int, int]) -> Callable[[], Any]:
    """A launch of one of the kernels as a call without arguments; tensors among its arguments are kept."""
    kernel = dispatch.kernel(dev, FAMILY, entry, dtype=d, lanes=lanes)
    bound = [dispatch.buffer(given) if isinstance(given, cltorch.Tensor) else given for given in arguments]

    def launch(kept: Any = arguments) -> tuple:
        kernel((size[0],), (size[1],), *bound)
        return ()

    return launch


def read_all(dev: Device, n: int) -> Callable[[], Any]:
    lanes, size = max(4, lanes_of(dev, cltorch.float32)), work_items(dev)
    sums = cltorch.empty(size[0] * lanes, device=dev.spec)
    return launcher(dev, "read_all", cltorch.float32, lanes, cltorch.ones(n, device=dev.spec), sums, n // lanes, size=size)


def write_all(dev: Device, n: int) -> Callable[[], Any]:
    lanes = max(4, lanes_of(dev, cltorch.float32))
    return launcher(dev, "write_all", cltorch.float32, lanes, cltorch.empty(n, device=dev.spec), 1.0, n // lanes, size=work_items(dev))


def multiply_adds(dev: Device, d: dtype, total: int) -> Callable[[], Any]:
    """CHAINS multiplications and additions for each of ``total``."""
    lanes, size = lanes_of(dev, d), work_items(dev)
    sums = cltorch.empty(size[0] * lanes, dtype=d, device=dev.spec)
    return launcher(dev, "multiply_adds", d, lanes, sums, max(1, total // (size[0] * lanes)), size=size)


def nothing(dev: Device, items: int, group: int) -> Callable[[], Any]:
    return launcher(dev, "nothing", cltorch.float32, 1, cltorch.empty(1, device=dev.spec), size=(items, group))


def products(dev: Device, layers: Sequence[Product]) -> Callable[[], Any]:
    """Those of a training step of linear layers, whose gradients are two products each, as one graph."""
    operands = [[cltorch.randn(*shape, device=dev.spec) for shape in ((m, k), (n, k), (m, n))] for m, k, n in layers]
    return cltorch.compile(lambda: tuple(y for x, w, g in operands for y in (x @ w.t(), g @ w, g.t() @ x)))
