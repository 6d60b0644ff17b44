"""Tensors print as PyTorch's do, character by character."""
from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import cltorch
from cltorch.core import printing

torch = pytest.importorskip("torch", reason="PyTorch is the oracle for its own format")
RNG = np.random.default_rng(7)

VALUES: dict[str, object] = {
    "empty": [], "empty_2d": np.empty((0, 3), np.float32), "empty_3d": np.empty((2, 0, 3), np.int64), "empty_bool": np.empty((0,), bool),
    "scalar": 1.5, "scalar_int": 3, "scalar_bool": True, "scalar_whole": 2.0, "scalar_complex": 1 + 2j, "scalar_small": 1e-9, "scalar_nan": math.nan,
    "whole": [1.0, 2.0, 3.0], "negative_whole": [-1.0, 20.0, 300.0], "mixed": [1.0, 2.5, -3.25], "zero": [0.0, -0.0], "tiny": [1e-5, 1.0],
    "wide_range": [1.0, 1e4], "wide_range_fraction": [0.5, 1e4], "huge": [1e9, 2e9], "huge_fraction": [1.5e9, 0.25], "limits": [1e-4, 1.0],
    "nan": [1.0, math.nan, 2.5], "inf": [math.inf, -math.inf, 1.0], "only_nan": [math.nan, math.inf], "inf_exponent": [math.inf, 1e-7, 3.0],
    "ints": [1, -20, 300], "bools": [True, False], "bool_matrix": [[True, False], [False, True]],
    "matrix": [[1.0, 2.0], [3.0, 4.0]], "cube": np.arange(24, dtype=np.float32).reshape(2, 3, 4), "four": np.arange(16).reshape(2, 2, 2, 2),
    "complex": [1 + 2j, -1.5 - 0.25j], "complex_whole": [1 + 2j, 3 - 4j], "complex_nan": [complex(math.nan, 1.0), complex(1.0, -math.inf)],
    "complex_mixed": [[1e5 + 1e-5j, 2j], [0j, -1 + 0.5j]],
    "long_line": RNG.standard_normal(50).astype(np.float32), "long_ints": np.arange(100), "wide_matrix": RNG.standard_normal((3, 40)).astype(np.float32),
    "summary": np.arange(2000, dtype=np.float32), "summary_2d": RNG.standard_normal((40, 50)).astype(np.float32), "summary_int": np.arange(10_000),
    "summary_tall": RNG.standard_normal((500, 3)).astype(np.float32), "summary_3d": np.arange(3000).reshape(10, 10, 30),
    "summary_complex": (RNG.standard_normal(1500) + 1j * RNG.standard_normal(1500)).astype(np.complex64), "summary_bool": RNG.standard_normal(1200) > 0,
    "summary_hidden_wide": np.concatenate([np.ones(600, np.float32), [1e9], np.ones(600, np.float32)]).astype(np.float32),
    "not_summary": np.arange(1000), "doubles": np.array([1.0, 1 / 3]), "int32": np.array([1, 2], np.int32), "bytes": np.array([1, 255], np.uint8),
    "complex128": np.array([1 + 1j, 0.1j]), "uint8_scalar": np.array(7, np.uint8),
}


def pair(value: object, dtype: str | None = None) -> tuple[cltorch.Tensor, torch.Tensor]:
    options = [{} if dtype is None else {"dtype": getattr(module, dtype)} for module in (cltorch, torch)]
    return cltorch.tensor(value, **options[0]), torch.tensor(value, **options[1])


@pytest.mark.parametrize("name", VALUES)
def test_prints_as_pytorch(name: str) -> None:
    mine, theirs = pair(VALUES[name])
    assert repr(mine) == repr(theirs)
    assert str(mine) == str(theirs)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "int8", "int16", "int32", "uint8", "bool", "complex64", "complex128"])
@pytest.mark.parametrize("value", [[], [0, 1, 100], [[1, 0], [3, 4]], 1], ids=str)
def test_every_dtype(dtype: str, value: object) -> None:
    mine, theirs = pair(value, dtype)
    assert repr(mine) == repr(theirs)


@pytest.mark.parametrize("seed", range(40))
def test_random_tensors(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 8, rng.integers(0, 4)))
    scale = 10.0 ** rng.integers(-6, 9)
    values = (rng.standard_normal(shape) * scale).astype(np.float32)
    if seed % 3 == 0:
        values = np.round(values)
    if seed % 4 == 0:
        values = np.where(rng.random(shape) < 0.2, np.nan, values).astype(np.float32)
    mine, theirs = pair(values)
    assert repr(mine) == repr(theirs)


OPTIONS: list[dict[str, object]] = [
    {"precision": 2}, {"precision": 8}, {"linewidth": 40}, {"linewidth": 200}, {"edgeitems": 1}, {"threshold": 5}, {"threshold": 5, "edgeitems": 1},
    {"sci_mode": True}, {"sci_mode": False}, {"profile": "short"}, {"profile": "full"}, {"profile": "short", "precision": 6}]


@pytest.fixture
def restore() -> None:
    yield
    cltorch.set_printoptions(profile="default")
    torch.set_printoptions(profile="default")


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", ["mixed", "tiny", "whole", "matrix", "cube", "long_line", "wide_matrix", "complex", "summary_2d", "inf", "ints", "scalar"])
def test_options(options: dict[str, object], name: str, restore: None) -> None:
    cltorch.set_printoptions(**options)
    torch.set_printoptions(**options)
    mine, theirs = pair(VALUES[name])
    assert repr(mine) == repr(theirs)


def test_options_are_restored_and_checked() -> None:
    before = printing.get_printoptions()
    with printing.printoptions(precision=1):
        assert repr(cltorch.tensor([0.25])) == "tensor([0.2])"
    assert printing.get_printoptions() == before
    with pytest.raises(ValueError, match="profile must be one of"):
        cltorch.set_printoptions(profile="loud")


def test_gradients_are_told() -> None:
    for module in (cltorch, torch):
        x = module.tensor([1.0, 2.0], requires_grad=True)
        assert repr(x) == "tensor([1., 2.], requires_grad=True)"
        assert repr(x * 2) == "tensor([2., 4.], grad_fn=<MulBackward0>)"
        assert repr((x * 2).detach()) == "tensor([2., 4.])"


@pytest.mark.parametrize("length", range(8, 16))
def test_suffixes_wrap_where_pytorch_wraps(length: int) -> None:
    for dtype in ("float64", "int32"):
        mine, theirs = pair(np.linspace(0, 1, length), dtype)
        assert repr(mine) == repr(theirs)
        if dtype == "float64":
            assert repr(mine.requires_grad_()) == repr(theirs.requires_grad_())


def test_device_is_told(device: cltorch.device) -> None:
    x = cltorch.tensor([1.0, 2.0], device=device)
    assert repr(x) == "tensor([1., 2.], device='cuda:0')"
    assert repr(cltorch.tensor([1], dtype=cltorch.int8, device=device)) == "tensor([1], device='cuda:0', dtype=torch.int8)"


def test_default_dtype_changes_the_suffix() -> None:
    try:
        for module in (cltorch, torch):
            module.set_default_dtype(module.float64)
        for value, dtype in itertools.product(([1.0, 2.0], []), ("float32", "float64", "complex64", "complex128")):
            mine, theirs = pair(value, dtype)
            assert repr(mine) == repr(theirs)
    finally:
        for module in (cltorch, torch):
            module.set_default_dtype(module.float32)


@pytest.mark.parametrize("shape", [(2000,), (3, 100_000), (400, 500), (5, 4, 30_000), (2, 2, 2, 2, 20_000)], ids=str)
def test_large_summaries_read_only_edges(shape: tuple[int, ...], device: cltorch.device) -> None:
    values = RNG.standard_normal(shape).astype(np.float32)
    theirs = repr(torch.from_numpy(values))
    assert repr(cltorch.from_numpy(values)) == theirs
    on_device = repr(cltorch.tensor(values, device=device)).replace(",\n       device=", ", device=")
    assert on_device == theirs[:-1] + ", device='cuda:0')"


def test_views_print_their_own_elements() -> None:
    values = np.arange(4000, dtype=np.float32).reshape(40, 100)
    mine, theirs = cltorch.tensor(values), torch.tensor(values)
    for view in (lambda t: t.t(), lambda t: t[::2, 5:], lambda t: t[3], lambda t: t[:, 7], lambda t: t[:2, :3].t()):
        assert repr(view(mine)) == repr(view(theirs))
