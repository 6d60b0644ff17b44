"""Bad input: the exception PyTorch raises, a sentence that says what was wrong, and everything works afterwards."""
from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cltorch as torch
from cltorch import nn

F = nn.functional


def on(device: Any, *shape: int, dtype: Any = None) -> torch.Tensor:
    return torch.ones(*shape, device=device, dtype=dtype or torch.float32)


def freed(device: Any) -> None:
    x = on(device, 2).requires_grad_()
    y = (x * x).sum()
    y.backward()
    y.backward()


def wrong_keys(device: Any) -> None:
    nn.Linear(2, 3).load_state_dict({"weight": torch.zeros(3, 2), "extra": torch.zeros(1)})


def wrong_size(device: Any) -> None:
    nn.Linear(2, 3).load_state_dict({"weight": torch.zeros(3, 5), "bias": torch.zeros(3)})


# what is done wrong, the exception, words of its sentence
TABLE: list[tuple[str, Callable[[Any], Any], type[Exception], str]] = [
    ("add shapes", lambda d: on(d, 2, 3) + on(d, 2, 4), RuntimeError, r"size of tensor a \(3\) must match the size of tensor b \(4\).*dimension 1"),
    ("matmul shapes", lambda d: on(d, 2, 3) @ on(d, 4, 5), RuntimeError, r"2x3 and 4x5"),
    ("bmm shapes", lambda d: torch.bmm(on(d, 2, 3, 4), on(d, 2, 5, 6)), RuntimeError, r"batch|size"),
    ("mm dtypes", lambda d: torch.mm(on(d, 2, 2), on(d, 2, 2, dtype=torch.int64)), RuntimeError, r"dtype"),
    ("reshape", lambda d: on(d, 6).reshape(4, 2), RuntimeError, r"shape '\[4, 2\]' is invalid for input of size 6"),
    ("view of a transpose", lambda d: on(d, 2, 3).t().view(6), RuntimeError, r"view size is not compatible"),
    ("two unknowns", lambda d: on(d, 6).reshape(-1, -1), RuntimeError, r"only one dimension can be inferred"),
    ("cat shapes", lambda d: torch.cat([on(d, 2, 3), on(d, 2, 4)]), RuntimeError, r"[Ss]izes of tensors must match"),
    ("cat of nothing", lambda d: torch.cat([]), (RuntimeError, ValueError), r"non-empty"),  # type: ignore[list-item]
    ("stack shapes", lambda d: torch.stack([on(d, 2), on(d, 3)]), RuntimeError, r"stack expects each tensor to be equal size"),
    ("dim", lambda d: on(d, 2).sum(3), IndexError, r"Dimension out of range \(expected to be in range of \[-1, 0\], but got 3\)"),
    ("dim twice", lambda d: on(d, 2, 2).sum((0, 0)), RuntimeError, r"appears multiple times"),
    ("index", lambda d: on(d, 3)[5], IndexError, r"index 5 is out of bounds for dimension 0 with size 3"),
    ("too many indices", lambda d: on(d, 3)[0, 0], IndexError, r"too many indices"),
    ("list index", lambda d: on(d, 3)[[0, 7]], IndexError, r"index 7 is out of bounds for dimension 0 with size 3"),
    ("negative step", lambda d: on(d, 3)[::-1], ValueError, r"step must be greater than zero"),
    ("expand", lambda d: on(d, 2).expand(3, 4), RuntimeError, r"expand"),
    ("permute", lambda d: on(d, 2, 2).permute(0, 0), RuntimeError, r"permute|dims"),
    ("devices", lambda d: torch.ones(2) + on(d, 2), RuntimeError, r"same device.*cpu.*cuda|same device.*cuda.*cpu"),
    ("matmul devices", lambda d: torch.ones(2, 2) @ on(d, 2, 2), RuntimeError, r"same device"),
    ("device string", lambda d: torch.ones(2, device="cudda"), RuntimeError, r"device type at start of device string: cudda"),
    ("device index", lambda d: torch.ones(2, device="cuda:99"), RuntimeError, r"invalid device ordinal|99"),
    ("negative device index", lambda d: torch.device("cuda:-1"), RuntimeError, r"[Ii]nvalid device string|negative"),
    ("ragged", lambda d: torch.tensor([[1, 2], [3]]), ValueError, r"expected sequence"),
    ("text", lambda d: torch.tensor(["a"]), TypeError, r"str"),
    ("negative size", lambda d: torch.zeros(-2, device=d), RuntimeError, r"negative dimension -2"),
    ("scalar of many", lambda d: on(d, 2).item(), RuntimeError, r"2 elements cannot be converted to Scalar"),
    ("truth of many", lambda d: bool(on(d, 2)), RuntimeError, r"Boolean value of Tensor with more than one value is ambiguous"),
    ("truth of none", lambda d: bool(on(d, 0)), RuntimeError, r"no values is ambiguous"),
    ("len of 0-d", lambda d: len(torch.tensor(1.0)), TypeError, r"len\(\) of a 0-d tensor"),
    ("numpy with grad", lambda d: torch.ones(2).requires_grad_().numpy(), RuntimeError, r"detach\(\)"),
    ("numpy of cuda", lambda d: on(d, 2).numpy(), TypeError, r"\.cpu\(\)"),
    ("integer grad", lambda d: on(d, 2, dtype=torch.int64).requires_grad_(), RuntimeError, r"only Tensors of floating point and complex dtype"),
    ("leaf in place", lambda d: on(d, 2).requires_grad_().add_(1), RuntimeError, r"leaf Variable"),
    ("expanded in place", lambda d: on(d, 1).expand(3).add_(1), RuntimeError, r"single memory location"),
    ("in place dtype", lambda d: on(d, 2, dtype=torch.int64).add_(0.5), RuntimeError, r"can't be cast"),
    ("in place shape", lambda d: on(d, 2).add_(on(d, 2, 2)), RuntimeError, r"broadcast shape"),
    ("freed graph", freed, RuntimeError, r"backward through the graph a second time"),
    ("bool minus", lambda d: on(d, 2, dtype=torch.bool) - on(d, 2, dtype=torch.bool), RuntimeError, r"not supported"),
    ("bit operation on floats", lambda d: torch.bitwise_and(on(d, 2), on(d, 2)), RuntimeError, r"bitwise_and"),
    ("mean of integers", lambda d: on(d, 2, dtype=torch.int64).mean(), RuntimeError, r"floating point or complex"),
    ("max of nothing", lambda d: on(d, 0).max(), (RuntimeError, IndexError), r"numel\(\) == 0|non-zero size|identity"),  # type: ignore[list-item]
    ("wrong type", lambda d: on(d, 2) + "a", TypeError, r""),
    ("linear", lambda d: F.linear(on(d, 2, 3), on(d, 4, 5)), RuntimeError, r"2x3|shapes"),
    ("conv channels", lambda d: F.conv2d(on(d, 1, 3, 8, 8), on(d, 4, 2, 3, 3)), RuntimeError, r"channels"),
    ("conv kernel too large", lambda d: F.conv2d(on(d, 1, 1, 2, 2), on(d, 1, 1, 3, 3)), RuntimeError, r"[Kk]ernel size can't be greater"),
    ("layer_norm shape", lambda d: F.layer_norm(on(d, 2, 3), (4,)), RuntimeError, r"normalized_shape"),
    ("cross_entropy batch", lambda d: F.cross_entropy(on(d, 2, 3), torch.zeros(3, dtype=torch.int64, device=d)), ValueError, r"batch_size"),
    ("dropout p", lambda d: F.dropout(on(d, 2), p=1.5), ValueError, r"between 0 and 1"),
    ("module keys", wrong_keys, RuntimeError, r"Missing key\(s\) in state_dict: \"bias\".*Unexpected key\(s\) in state_dict: \"extra\""),
    ("module sizes", wrong_size, RuntimeError, r"size mismatch for weight"),
    ("no parameters", lambda d: torch.optim.SGD([], lr=0.1), ValueError, r"empty parameter list"),
    ("learning rate", lambda d: torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=-1), ValueError, r"[Ii]nvalid learning rate"),
    ("batch size", lambda d: torch.utils.data.DataLoader([1, 2], batch_size=0), ValueError, r"batch_size"),
    ("missing file", lambda d: torch.load("/nonexistent/model.pt"), FileNotFoundError, r"model.pt"),
    ("attribute", lambda d: nn.Linear(1, 1).wieght, AttributeError, r"'Linear' object has no attribute 'wieght'"),
    ("module in Sequential", lambda d: nn.Sequential(3), TypeError, r"Module"),
    ("dtype argument", lambda d: torch.zeros(2, dtype="float32"), TypeError, r"dtype"),
    ("arange step", lambda d: torch.arange(0, 5, -1), RuntimeError, r"bound"),
    ("integer power", lambda d: on(d, 2, dtype=torch.int64) ** -1, RuntimeError, r"negative integer powers"),
]


@pytest.mark.parametrize("wrong, error, words", [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_table(wrong: Callable[[Any], Any], error: type[Exception], words: str, device: Any) -> None:
    with pytest.raises(error, match=f"(?s){words}"):
        wrong(device)
    x = torch.arange(4, dtype=torch.float32, device=device, requires_grad=True)
    (x * x).sum().backward()
    assert x.grad.tolist() == [0.0, 2.0, 4.0, 6.0]


def test_allocation_larger_than_the_device(device: Any) -> None:
    before = torch.cuda.memory_allocated(device)
    with pytest.raises(torch.cuda.OutOfMemoryError, match=r"(?i)memory|alloc"):
        torch.empty(1 << 46, dtype=torch.uint8, device=device)
    assert torch.cuda.memory_allocated(device) == before
    assert torch.ones(3, device=device).sum().item() == 3.0


def run_without_opencl(code: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Runs code in a process that finds no OpenCL implementation."""
    empty = tmp_path / "no-vendors"
    empty.mkdir(exist_ok=True)
    environment = {**os.environ, "OCL_ICD_VENDORS": str(empty), "CLTORCH_DEVICES": "-PoCL", "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)


def test_without_opencl_tensors_are_made_printed_saved_and_loaded(tmp_path: Path) -> None:
    code = (f"import cltorch as t\na = t.tensor([1.5, 2]); print(a, t.cuda.is_available())\nt.save({{'a': a}}, r'{tmp_path}/a.pt')\n"
            f"print(t.load(r'{tmp_path}/a.pt')['a'].tolist(), t.zeros(2, 2).shape, a.numpy())\n")
    done = run_without_opencl(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "tensor([1.5000, 2.0000]) False" in done.stdout and "[1.5, 2.0]" in done.stdout


def test_without_opencl_an_operator_says_what_to_install(tmp_path: Path) -> None:
    done = run_without_opencl("import cltorch as t\n(t.tensor([1.5]) + 1).tolist()", tmp_path)
    assert done.returncode != 0
    assert "NoOpenCLError" in done.stderr and "pip install" in done.stderr


@pytest.mark.parametrize("d", [torch.float64, torch.complex128], ids=repr)
def test_a_device_without_fp64_is_named(d: Any, device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    dev = torch.ones(1, device=device)._dev
    monkeypatch.setattr(dev, "has_fp64", False)
    for attempt in (lambda: torch.ones(2, dtype=d, device=device), lambda: torch.ones(2, device=device).to(d), lambda: torch.ones(2, dtype=d).to(device)):
        with pytest.raises(RuntimeError, match=r"cuda:0 \(.*\).*cl_khr_fp64"):
            attempt()
    assert torch.ones(2, device=device).sum().item() == 2.0
