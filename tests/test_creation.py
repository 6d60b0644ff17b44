"""Creation against PyTorch: values, inferred types, options, errors; and all of it where no OpenCL implementation exists."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from oracle import ALL_TYPES, DEVICE, Input, compare, raises_alike, same, torch, values

import cltorch

MADE = {
    "zeros": lambda t, **k: t.zeros(2, 3, **k),
    "zeros_tuple": lambda t, **k: t.zeros((2, 3), **k),
    "zeros_size": lambda t, **k: t.zeros(size=(2, 3), **k),
    "zeros_0d": lambda t, **k: t.zeros((), **k),
    "zeros_empty": lambda t, **k: t.zeros(0, 3, **k),
    "ones": lambda t, **k: t.ones([4], **k),
    "full": lambda t, **k: t.full((2, 2), 3, **k),
    "full_0d": lambda t, **k: t.full((), 1, **k),
    "arange": lambda t, **k: t.arange(5, **k),
    "arange_from": lambda t, **k: t.arange(2, 9, **k),
    "arange_step": lambda t, **k: t.arange(1, 10, 3, **k),
    "arange_down": lambda t, **k: t.arange(9, 0, -2, **k),
    "arange_none": lambda t, **k: t.arange(3, 3, **k),
    "arange_named": lambda t, **k: t.arange(start=1, end=8, step=2, **k),
    "linspace": lambda t, **k: t.linspace(0, 10, 5, **k),
    "linspace_one": lambda t, **k: t.linspace(3, 7, 1, **k),
    "linspace_none": lambda t, **k: t.linspace(3, 7, steps=0, **k),
    "linspace_down": lambda t, **k: t.linspace(9, 1, 6, **k),
    "eye": lambda t, **k: t.eye(3, **k),
    "eye_wide": lambda t, **k: t.eye(2, 4, **k),
    "eye_tall": lambda t, **k: t.eye(4, m=2, **k),
    "eye_none": lambda t, **k: t.eye(0, **k),
    "logspace": lambda t, **k: t.logspace(0, 2, 3, **k),
    "scalar_tensor": lambda t, **k: t.scalar_tensor(3, **k),
}
NOT_COMPLEX = {n for n in MADE if n.startswith("arange")}
NOT_BOOL = NOT_COMPLEX | {n for n in MADE if n.startswith(("linspace", "logspace"))}


@pytest.mark.parametrize("name", MADE)
def test_every_dtype(name: str) -> None:
    make = MADE[name]
    compare(make(cltorch, device=DEVICE), make(torch), 2)
    for dtype in ALL_TYPES:
        if not (dtype.startswith("complex") and name in NOT_COMPLEX) and not (dtype == "bool" and name in NOT_BOOL):
            compare(make(cltorch, device=DEVICE, dtype=getattr(cltorch, dtype)), make(torch, dtype=getattr(torch, dtype)), 2, dtype)


@pytest.mark.parametrize("args", [(0.5,), (0, 1, 0.1), (1, 2.5), (-1.0, 1.0, 0.25), (5, 0, -0.5), (0, 1e-3, 1e-5), (1000000, 1000003.5)])
def test_arange_of_floats(args: tuple) -> None:
    compare(cltorch.arange(*args, device=DEVICE), torch.arange(*args))
    compare(cltorch.arange(*args, dtype=cltorch.float64, device=DEVICE), torch.arange(*args, dtype=torch.float64))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "float16", "complex64", "uint8"])
def test_spaces(dtype: str) -> None:
    for start, end, steps in ((0, 1, 7), (-5, 5, 100), (3, 3, 4), (0, 255, 256), (1, 0, 33)):
        if dtype != "uint8" or start >= 0:
            compare(
                cltorch.linspace(start, end, steps, dtype=getattr(cltorch, dtype), device=DEVICE),
                torch.linspace(start, end, steps, dtype=getattr(torch, dtype)),
                10 if dtype == "float16" else 4,
            )  # PyTorch's steps are halves themselves
    if dtype.startswith("float"):
        compare(
            cltorch.logspace(-2, 2, 9, 2.0, dtype=getattr(cltorch, dtype), device=DEVICE),
            torch.logspace(-2, 2, 9, 2.0, dtype=getattr(torch, dtype)),
            4,
        )


@pytest.mark.parametrize("dtype", ["int64", "int32", "int16", "int8", "uint8"])
def test_integers_are_exact(dtype: str) -> None:
    rng = np.random.default_rng(3)
    low, high = (-(1 << 61), 1 << 61) if dtype == "int64" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    for steps in (1, 2, 3, 49, 99, 300):
        start, end = map(int, rng.integers(low, high, 2))
        exact = [math.trunc(Fraction(start) + Fraction(end - start, max(steps - 1, 1)) * i) for i in range(steps)]
        for place in (DEVICE, "cpu"):
            assert cltorch.linspace(start, end, steps, dtype=getattr(cltorch, dtype), device=place).tolist() == exact


@pytest.mark.parametrize("start, end, step", [(0, 1e-3, 1e-8), (0, 1e5, 0.7), (-3.3, 1e3, 0.01), (1e6, 1e6 + 3.5, 1)])
def test_float32_is_a_double_rounded(start: float, end: float, step: float) -> None:
    """But for one in 2^20, next to the middle of two floats."""
    x = cltorch.arange(start, end, step, device=DEVICE).cpu().numpy()
    wanted = (start + np.arange(len(x)) * step).astype(np.float32)
    assert (x != wanted).mean() < 1e-4 and (np.abs(x - wanted) <= np.spacing(np.abs(wanted)) + 1e-14 * max(abs(start), abs(end))).all()


def test_ends_are_exact() -> None:
    assert cltorch.linspace(-3e38, 3e38, 2, device=DEVICE).tolist() == [float(np.float32(-3e38)), float(np.float32(3e38))]
    x = cltorch.linspace(0.1, 0.7, 1001, device=DEVICE)
    assert x[0].item() == np.float32(0.1) and x[-1].item() == np.float32(0.7)
    assert cltorch.arange(1 << 20, device=DEVICE)[-1].item() == (1 << 20) - 1


@pytest.mark.parametrize("value", [True, 3, 2.5, 1 + 2j])
def test_full_infers_the_type(value: object) -> None:
    compare(cltorch.full((2,), value, device=DEVICE), torch.full((2,), value))
    for name in ("linspace", "full_like"):
        if name == "full_like":
            compare(cltorch.full_like(cltorch.zeros(2, device=DEVICE), abs(value)), torch.full_like(torch.zeros(2), abs(value)))


def test_default_dtype() -> None:
    for library in (cltorch, torch):
        library.set_default_dtype(library.float64)
    try:
        for name in ("zeros", "ones", "linspace", "eye", "logspace"):
            compare(MADE[name](cltorch, device=DEVICE), MADE[name](torch), 2)
        compare(cltorch.arange(0, 1, 0.25, device=DEVICE), torch.arange(0, 1, 0.25))
        compare(cltorch.full((1,), 1.5, device=DEVICE), torch.full((1,), 1.5))
    finally:
        for library in (cltorch, torch):
            library.set_default_dtype(library.float32)


@pytest.mark.parametrize("dtype", ALL_TYPES)
def test_like_and_new(dtype: str) -> None:
    def run(t: object, x: object) -> list:
        other = t.int32
        return [
            t.zeros_like(x),
            t.ones_like(x),
            t.full_like(x, 1),
            t.zeros_like(x, dtype=other),
            t.ones_like(x.t()),
            x.new_zeros(2, 2),
            x.new_ones((3,)),
            x.new_full((2,), 1),
            x.new_tensor([1, 0]),
            x.new_zeros(2, dtype=other),
            x.new_tensor([[1]], dtype=other),
            x.new_empty(0, 2),
            x.new_zeros(size=(1,)),
        ]

    same(run, Input(values((2, 3), dtype), dtype, grad=False))


def test_options() -> None:
    x = cltorch.zeros(2, device=DEVICE, requires_grad=True)
    assert x.requires_grad and x.is_leaf and x.device == cltorch.device("cuda:0")
    assert cltorch.zeros(2).device == cltorch.device("cpu")
    assert cltorch.ones_like(x).device == x.device and cltorch.ones_like(x, device="cpu", requires_grad=True).requires_grad
    assert cltorch.empty(2, 3, pin_memory=False, memory_format=cltorch.contiguous_format).shape == (2, 3)
    assert cltorch.zeros(2, layout=cltorch.strided).tolist() == [0, 0]
    assert cltorch.empty_strided((2, 3), (1, 2), device=DEVICE).stride() == (1, 2) and cltorch.empty_like(x).shape == (2,)


@pytest.mark.parametrize(
    "make",
    [
        lambda out: cltorch.zeros(2, 2, out=out),
        lambda out: cltorch.ones((2, 2), out=out),
        lambda out: cltorch.full((2, 2), 7, out=out),
        lambda out: cltorch.arange(4, out=out),
        lambda out: cltorch.linspace(0, 1, 5, out=out),
        lambda out: cltorch.eye(3, out=out),
    ],
)
def test_out(make: object) -> None:
    out = cltorch.full((1,), 9.0)
    assert make(out) is out
    assert out.dtype is cltorch.float32 and 9 not in out.reshape(-1).tolist()


def test_triangle_indices() -> None:
    for row, col, offset in ((3, 4, 0), (4, 3, 1), (3, 3, -2), (0, 2, 0), (2, 5, 9)):
        compare(cltorch.tril_indices(row, col, offset, device=DEVICE), torch.tril_indices(row, col, offset))
        compare(
            cltorch.triu_indices(row, col, offset=offset, dtype=cltorch.int32, device=DEVICE),
            torch.triu_indices(row, col, offset=offset, dtype=torch.int32),
        )


def test_asarray() -> None:
    array = np.arange(3.0)
    shared = cltorch.asarray(array)
    array[0] = 5
    assert shared[0].item() == 5 and cltorch.asarray(array, copy=True)[0].item() == 5
    assert cltorch.asarray([1, 2], dtype=cltorch.float32).tolist() == [1, 2]


ERRORS = [
    (RuntimeError, lambda t, x: t.zeros(-1)),
    (TypeError, lambda t, x: t.zeros("a")),
    (TypeError, lambda t, x: t.zeros(2.5)),
    (TypeError, lambda t, x: t.zeros(2, dtype="float")),
    (RuntimeError, lambda t, x: t.arange(0, 5, 0)),
    (RuntimeError, lambda t, x: t.arange(0, 5, -1)),
    (RuntimeError, lambda t, x: t.arange(5, 0)),
    (RuntimeError, lambda t, x: t.linspace(0, 1, -1)),
    (RuntimeError, lambda t, x: t.eye(-1)),
    (RuntimeError, lambda t, x: t.full((2,), 300, dtype=t.uint8)),
    (RuntimeError, lambda t, x: t.zeros(2, dtype=t.int32, requires_grad=True)),
    (RuntimeError, lambda t, x: t.zeros(2, device="nowhere")),
    (TypeError, lambda t, x: t.arange()),
    (RuntimeError, lambda t, x: t.arange(float("inf"))),
    (RuntimeError, lambda t, x: t.zeros(2, out=t.zeros(2, dtype=t.int32), dtype=t.float32)),
]


@pytest.mark.parametrize("case", range(len(ERRORS)))
def test_errors(case: int) -> None:
    kind, function = ERRORS[case]
    raises_alike(kind, function, Input(values((2,)), grad=False))


WITHOUT_OPENCL = """
import warnings
import cltorch, numpy as np
assert not cltorch.cuda.is_available() if hasattr(cltorch, "cuda") else True
made = [cltorch.zeros(2, 3), cltorch.ones(2, dtype=cltorch.bfloat16), cltorch.full((2,), 7), cltorch.eye(3), cltorch.arange(4), cltorch.arange(0, 1, 0.25),
        cltorch.linspace(0, 1, 5), cltorch.tensor([1, 2]), cltorch.from_numpy(np.ones(3)), cltorch.zeros_like(cltorch.ones(2)),
        cltorch.rand(3), cltorch.randn(4),
        cltorch.randint(5, (3,)), cltorch.tril_indices(2, 2), cltorch.empty(0)]
print([t.tolist() for t in made])
print(made[0], made[0].T.shape, made[4].reshape(2, 2)[1, 0].item())
try:
    made[0] + 1
    print((made[0] + 1).tolist())
except RuntimeError as error:
    print("says:", error)
"""


def test_without_any_opencl(tmp_path: Path) -> None:
    environment = {**os.environ, "OCL_ICD_VENDORS": str(tmp_path / "none"), "PYTHONPATH": str(Path(cltorch.__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-c", WITHOUT_OPENCL], env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("[[[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]], [1.0, 1.0], [7, 7]")
    assert lines[-1].startswith("says:") and "install" in lines[-1]
