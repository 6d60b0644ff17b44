"""What the smallest devices allow: no fp64, 256 work-items a group, 32 KiB of local memory, 1024 bytes of kernel arguments, one
allocation of limited size; and the other end, an offset beyond 2^31 elements."""
from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

import implementations
import numpy as np
import pytest
from conftest import COMMENT, GROUP
from launched import Launched
from test_ops import OTHERS, POINTWISE, Make, flat_outputs

import cltorch
from cltorch import cuda
from cltorch.core.tensor import Tensor
from cltorch.dtype import float32, uint8
from cltorch.ops import convolution_launch, gemm, gemm_plan, linalg
from cltorch.runtime.device import Device, get

ARGUMENTS = 64  # of an operator's kernel; an optimizer's update takes twice as many
BIG = (1 << 31) + 64


def run_operators(d: Any, device: Any) -> None:
    """Every operator that takes ``d``."""
    for op in (*POINTWISE, *OTHERS):
        if d not in op.dtypes or op.name in implementations.ALWAYS_DOUBLE:
            continue
        make = Make(op, d, device)
        samples = op.samples(make) if op.form != "pointwise" else [([make(7) for _ in op.engine.operands], {})]
        for args, kwargs in samples:
            result = op.function(*args, **kwargs)
            for out in flat_outputs(result):
                if isinstance(out, Tensor):
                    out.cpu()


def test_kernels_fit_the_smallest_devices(device: Any, launched: Launched) -> None:
    """The groups of operators' launches; conftest.py looks at the text, the arguments and the local memory of every kernel that any test builds."""
    run_operators(float32, device)
    assert len(launched.groups) > 20
    for kernel, group in launched.groups.items():
        where = f"{kernel.name} of {kernel.program.label}"
        assert not re.search(r"double|fp64", COMMENT.sub("", kernel.program.source)), where
        assert len(kernel.arguments) <= ARGUMENTS, where
        assert group <= min(GROUP, kernel.max_work_group_size), where


def test_an_allocation_beyond_the_maximum_names_the_sizes(device: Any) -> None:
    dev = get("cuda")
    with pytest.raises(cuda.OutOfMemoryError, match=f"{dev.max_alloc} bytes"):
        cltorch.empty(dev.max_alloc + 4096, dtype=uint8, device=device)
    assert cltorch.ones(3, device=device).sum().item() == 3


def fits(dev: Device) -> bool:
    pages = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    return dev.max_alloc > BIG + (1 << 20) and min(dev.global_mem_size, pages or dev.global_mem_size) > 4 * BIG


@pytest.fixture
def tail(device: Any) -> Iterator[Tensor]:
    """Views that begin 2^31 elements into their storage, holding 0 to 39."""
    dev = get("cuda")
    if not fits(dev):
        pytest.skip(f"{dev.name} can't hold {BIG} bytes in one allocation, or too little memory is free")
    whole = cltorch.empty(BIG, dtype=uint8, device=device)
    view = whole[(1 << 31) + 8:(1 << 31) + 48]
    view.copy_(cltorch.arange(40, dtype=uint8, device=device))
    yield view
    del whole, view
    cuda.empty_cache()


def test_offsets_beyond_two_to_the_31(tail: Tensor, device: Any) -> None:
    want = np.arange(40, dtype=np.uint8)
    grid, square = tail.view(5, 8), want.reshape(5, 8)
    assert tail.storage_offset() == (1 << 31) + 8
    rows = cltorch.tensor([4, 0], device=device)
    checks = {
        "read": (tail, want), "pointwise": (tail + 1, want + 1), "strided": (tail[3::4], want[3::4]), "transposed": (grid.t().contiguous(), square.T),
        "sum": (tail.sum(), want.sum()), "column sums": (grid.sum(0), square.sum(0)), "argmax": (grid.argmax(1), square.argmax(1)),
        "cumsum": (tail.cumsum(0), want.cumsum()), "sort": (tail.sort(descending=True).values, want[::-1]),
        "rows": (grid[rows], square[[4, 0]]), "gather": (grid.index_select(1, rows), square[:, [4, 0]]),
        "mask": (tail[tail > 30], want[want > 30]), "cat": (cltorch.cat([tail, tail]), np.concatenate([want, want])),
        "matmul": (grid @ grid.t(), square @ square.T), "flip": (tail.flip(0), want[::-1]), "float": (tail.float(), want.astype(np.float32)),
    }
    for name, (got, expected) in checks.items():
        np.testing.assert_array_equal(got.numpy(force=True), expected, err_msg=name)


def test_writes_beyond_two_to_the_31(tail: Tensor, device: Any) -> None:
    want = np.arange(40, dtype=np.uint8)
    tail += 2
    tail[::5] = 7
    tail[cltorch.tensor([1, 2], device=device)] = 9
    tail.view(5, 8)[:, 3].fill_(11)
    want += 2
    want[::5] = 7
    want[[1, 2]] = 9
    want.reshape(5, 8)[:, 3] = 11
    np.testing.assert_array_equal(tail.numpy(force=True), want)


def test_a_step_beyond_two_to_the_31(tail: Tensor) -> None:
    """A launch whose last element lies 2^31 elements behind its first."""
    whole = tail._base
    assert whole is not None
    ends = whole.as_strided((2, 3), ((1 << 31) + 8, 1))
    whole[:3] = 5
    np.testing.assert_array_equal((ends + 1).numpy(force=True), [[6, 6, 6], [1, 2, 3]])
    np.testing.assert_array_equal(ends.contiguous().numpy(force=True), [[5, 5, 5], [0, 1, 2]])
    np.testing.assert_array_equal(ends.sum(1).numpy(force=True), [15, 3])


def test_long_work_is_cut_for_watchdogs() -> None:
    """Slices of whole tiles that cover all rows, each below the bound unless one tile is above it."""
    for count, each, step in ((1, 1, 1), (1000, 1 << 20, 128), (7, 1 << 40, 2), (16384, 16384 ** 2, 128), (5, 0, 4)):
        slices = gemm_plan.bounded(count, each, step)
        assert [first for first, _ in slices] == [sum(rows for _, rows in slices[:i]) for i in range(len(slices))]
        assert sum(rows for _, rows in slices) == count and all(rows * each <= gemm_plan.MOST or rows <= step for _, rows in slices)
        assert all(rows % step == 0 for _, rows in slices[:-1])


def test_products_and_convolutions_in_slices(device: Any, launched: Launched, monkeypatch: pytest.MonkeyPatch) -> None:
    if get("cuda").strategy != "grid":
        pytest.skip("only launches on GPUs are cut: no watchdog looks at a CPU")
    caches = (gemm.prepared, linalg._matmul_of, convolution_launch._correlation, convolution_launch._weight_gradient)
    a, b, c = (cltorch.randn(s, device=device) for s in ((3, 70, 40), (40, 50), (70, 50)))
    x, w, bias = (cltorch.randn(s, device=device) for s in ((5, 4, 6, 7), (6, 2, 3, 3), (6,)))

    def results() -> list[np.ndarray]:
        launched.kernels.clear()
        found = (a @ b, cltorch.baddbmm(c, a, b.expand(3, 40, 50), beta=0.5, alpha=2), a.mT.contiguous().mT @ b,
                 cltorch.nn.functional.conv2d(x, w, bias, padding=1, groups=2))
        leaf = w.detach().requires_grad_()
        cltorch.nn.functional.conv2d(x, leaf, bias, padding=1, groups=2).sum().backward()
        return [t.cpu().numpy() for t in (*found, leaf.grad)]

    whole, few = results(), len(launched.kernels)
    monkeypatch.setattr(gemm_plan, "MOST", 40000)
    try:
        for cache in caches:
            cache.cache_clear()
        parts = results()
        assert len(launched.kernels) > few + 6
        for one, other in zip(whole[:-1], parts[:-1], strict=True):
            np.testing.assert_array_equal(one, other)
        cltorch.testing.assert_close(cltorch.from_numpy(parts[-1]), cltorch.from_numpy(whole[-1]))  # sums of slices are rounded, too
    finally:
        for cache in caches:
            cache.cache_clear()
