"""Bad input: the exception PyTorch raises, a sentence that says what was wrong, and everything works afterwards."""
from __future__ import annotations

import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import run_python

import cltorch as torch
from cltorch import nn

F = nn.functional


def on(device: Any, *shape: int, dtype: Any = None) -> torch.Tensor:
    return torch.ones(*shape, device=device, dtype=dtype or torch.float32)


def leaf(device: Any) -> torch.Tensor:
    return on(device, 3).requires_grad_()


def chosen(device: Any, *indices: Any) -> torch.Tensor:
    return torch.tensor(indices, device=device)


def write_leaf(device: Any) -> None:
    leaf(device)[0] = 1.0


def write_saved(device: Any) -> None:
    y = leaf(device).exp()
    y.add_(1)
    y.sum().backward()


def write_operand(device: Any) -> None:
    factor = on(device, 3)
    y = leaf(device) * factor
    factor.add_(1)
    y.sum().backward()


def wrong_gradient(device: Any) -> None:
    leaf(device).grad = on(device, 2)


def freed(device: Any) -> None:
    x = on(device, 2).requires_grad_()
    y = (x * x).sum()
    y.backward()
    y.backward()


def wrong_keys(device: Any) -> None:
    nn.Linear(2, 3).load_state_dict({"weight": torch.zeros(3, 2), "extra": torch.zeros(1)})


def wrong_size(device: Any) -> None:
    nn.Linear(2, 3).load_state_dict({"weight": torch.zeros(3, 5), "bias": torch.zeros(3)})


def wrong_optimizer_state(device: Any) -> None:
    small, large = nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    torch.optim.SGD(small.parameters(), lr=0.1).load_state_dict(torch.optim.SGD(large.parameters(), lr=0.1).state_dict())


def same_parameter_twice(device: Any) -> None:
    weight = nn.Linear(1, 1).weight
    torch.optim.SGD([{"params": [weight]}, {"params": [weight]}], lr=0.1)


class NoSuperInit(nn.Module):
    def __init__(self) -> None:
        self.layer = nn.Linear(1, 1)


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
    ("text", lambda d: torch.tensor(["a"]), ValueError, r"too many dimensions 'str'"),
    ("number and text", lambda d: torch.tensor([1, "a"]), TypeError, r"invalid data type 'str'"),
    ("tensor of None", lambda d: torch.tensor([1, None]), RuntimeError, r"Could not infer dtype of NoneType"),
    ("integer too large", lambda d: torch.tensor([300], dtype=torch.uint8, device=d), RuntimeError, r"uint8 without overflow.*300"),
    ("nan as integer", lambda d: torch.tensor(float("nan"), dtype=torch.int32), RuntimeError, r"int32 without overflow"),
    ("complex as float", lambda d: torch.tensor([1j], dtype=torch.float32), TypeError, r"must be real number, not complex"),
    ("empty device string", lambda d: torch.device(""), RuntimeError, r"device string"),
    ("half a device string", lambda d: torch.device("cuda:"), RuntimeError, r"Invalid device string: 'cuda:'"),
    ("device index in words", lambda d: nn.Linear(1, 1).to("cuda:first"), RuntimeError, r"Invalid device string: 'cuda:first'"),
    ("opencl index", lambda d: torch.ones(2, device="opencl:99"), RuntimeError, r"invalid device ordinal.*99"),
    ("moving to nowhere", lambda d: on(d, 2).to("gpu"), RuntimeError, r"Expected one of cpu, cuda.* device string: gpu"),
    ("moving a module nowhere", lambda d: nn.Linear(1, 1).to("gpu"), RuntimeError, r"device string: gpu"),
    ("device of a number", lambda d: torch.device(3.5), TypeError, r"float"),
    ("module devices", lambda d: nn.Linear(2, 2)(on(d, 1, 2)), RuntimeError, r"same device"),
    ("where devices", lambda d: torch.where(on(d, 2) > 0, on(d, 2), torch.ones(2)), RuntimeError, r"same device"),
    ("cat devices", lambda d: torch.cat([on(d, 2), torch.ones(2)]), RuntimeError, r"same device"),
    ("batched products", lambda d: on(d, 2, 3, 4) @ on(d, 3, 4, 5), RuntimeError, r"size of tensor a \(2\) must match.*b \(3\)"),
    ("dot sizes", lambda d: torch.dot(on(d, 2), on(d, 3)), RuntimeError, r"2.*3"),
    ("split sizes", lambda d: on(d, 4).split([1, 2]), RuntimeError, r"split_with_sizes.*4.*\[1, 2\]"),
    ("narrow", lambda d: on(d, 4).narrow(0, 3, 2), RuntimeError, r"start \(3\).*length \(2\).*exceeds dimension size \(4\)"),
    ("transpose dim", lambda d: on(d, 3).transpose(0, 1), IndexError, r"Dimension out of range.*got 1"),
    ("topk", lambda d: on(d, 4).topk(5), RuntimeError, r"out of range"),
    ("copy shapes", lambda d: on(d, 2).copy_(on(d, 3)), RuntimeError, r"size.*tensor.*2.*3"),
    ("assigned shape", lambda d: on(d, 2, 2).__setitem__(0, on(d, 3)), RuntimeError, r"shape|size"),
    ("assigned index", lambda d: on(d, 2).__setitem__(5, 1.0), IndexError, r"index 5 is out of bounds"),
    ("mask shape", lambda d: on(d, 3)[chosen(d, True, False)], IndexError, r"shape of the mask \[2\].*indexed tensor \[3\]"),
    ("index of floats", lambda d: on(d, 3)[chosen(d, 1.0)], IndexError, r"long, int, byte or bool"),
    ("indices that don't broadcast", lambda d: on(d, 3, 3)[[0, 1], [0, 1, 2]], IndexError, r"shape mismatch.*\[2\].*\[3\]"),
    ("index in a tensor", lambda d: on(d, 3)[chosen(d, 4)].tolist(), IndexError, r"index 4 is out of bounds for dimension 0 with size 3"),
    ("gather index", lambda d: on(d, 3).gather(0, chosen(d, 4)).tolist(), RuntimeError, r"index 4 is out of bounds for dimension 0 with size 3"),
    ("index_select index", lambda d: on(d, 3).index_select(0, chosen(d, 4)).tolist(), IndexError, r"index 4 is out of bounds"),
    ("embedding index", lambda d: F.embedding(chosen(d, 3), on(d, 3, 2)).tolist(), IndexError, r"index 3 is out of bounds|out of range"),
    ("gather index dtype", lambda d: on(d, 3).gather(0, on(d, 1)), RuntimeError, r"dtype int32.*int64 for index"),
    ("scatter dtypes", lambda d: on(d, 3).scatter_(0, chosen(d, 0), chosen(d, 1)), RuntimeError, r"self.dtype to be equal to src.dtype"),
    ("negative size", lambda d: torch.zeros(-2, device=d), RuntimeError, r"negative dimension -2"),
    ("scalar of many", lambda d: on(d, 2).item(), RuntimeError, r"2 elements cannot be converted to Scalar"),
    ("float of many", lambda d: float(on(d, 2)), ValueError, r"only one element tensors"),
    ("float of complex", lambda d: float(torch.tensor(1j, device=d)), RuntimeError, r"without overflow"),
    ("iterating 0-d", lambda d: iter(on(d, 1)[0]), TypeError, r"0-d tensor"),
    ("text in a tensor", lambda d: "a" in on(d, 2), RuntimeError, r"only supports Tensor or scalar"),
    ("truth of many", lambda d: bool(on(d, 2)), RuntimeError, r"Boolean value of Tensor with more than one value is ambiguous"),
    ("truth of none", lambda d: bool(on(d, 0)), RuntimeError, r"no values is ambiguous"),
    ("len of 0-d", lambda d: len(torch.tensor(1.0)), TypeError, r"len\(\) of a 0-d tensor"),
    ("numpy with grad", lambda d: torch.ones(2).requires_grad_().numpy(), RuntimeError, r"detach\(\)"),
    ("numpy of cuda", lambda d: on(d, 2).numpy(), TypeError, r"\.cpu\(\)"),
    ("integer grad", lambda d: on(d, 2, dtype=torch.int64).requires_grad_(), RuntimeError, r"only Tensors of floating point and complex dtype"),
    ("leaf in place", lambda d: on(d, 2).requires_grad_().add_(1), RuntimeError, r"leaf Variable"),
    ("leaf written by index", write_leaf, RuntimeError, r"leaf Variable that requires grad"),
    ("view of a leaf in place", lambda d: leaf(d).view(3).mul_(2), RuntimeError, r"view of a leaf Variable that requires grad"),
    ("leaf copied into", lambda d: leaf(d).copy_(on(d, 3)), RuntimeError, r"leaf Variable that requires grad"),
    ("out= with grad", lambda d: torch.add(on(d, 3), 1, out=leaf(d)), RuntimeError, r"don't support automatic differentiation"),
    ("saved result in place", write_saved, RuntimeError, r"modified by an inplace operation"),
    ("saved operand in place", write_operand, RuntimeError, r"modified by an inplace operation"),
    ("backward of many", lambda d: (leaf(d) * 2).backward(), RuntimeError, r"grad can be implicitly created only for scalar outputs"),
    ("backward without grad", lambda d: on(d, 3).sum().backward(), RuntimeError, r"does not require grad and does not have a grad_fn"),
    ("gradient shape", lambda d: (leaf(d) * 2).backward(on(d, 2)), RuntimeError, r"[Mm]ismatch in shape|shape"),
    ("grad of an unused tensor", lambda d: torch.autograd.grad(leaf(d).sum(), leaf(d)), RuntimeError, r"not have been used in the graph"),
    ("assigned gradient", wrong_gradient, RuntimeError, r"size.*\[2\].*\[3\]"),
    ("requires_grad of a result", lambda d: (leaf(d) * 2).requires_grad_(False), RuntimeError, r"requires_grad flags of leaf variables"),
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
    ("conv bias", lambda d: F.conv2d(on(d, 1, 1, 5, 5), on(d, 2, 1, 3, 3), on(d, 3)), RuntimeError, r"bias"),
    ("conv padding", lambda d: F.conv2d(on(d, 1, 1, 5, 5), on(d, 2, 1, 3, 3), padding=-1), RuntimeError, r"negative padding"),
    ("conv groups", lambda d: nn.Conv2d(3, 8, 3, groups=2), ValueError, r"divisible by groups"),
    ("pool window", lambda d: F.max_pool2d(on(d, 1, 1, 2, 2), 5), RuntimeError, r"too small"),
    ("batch norm channels", lambda d: nn.BatchNorm2d(3).to(d)(on(d, 2, 4, 3, 3)), RuntimeError, r"should contain 4 elements not 3"),
    ("batch norm of one", lambda d: nn.BatchNorm1d(3).to(d)(on(d, 1, 3)), ValueError, r"more than 1 value per channel"),
    ("linear dtype", lambda d: nn.Linear(3, 2).to(d)(on(d, 2, 3, dtype=torch.int64)), RuntimeError, r"same dtype"),
    ("embedding dtype", lambda d: F.embedding(on(d, 2), on(d, 3, 2)), RuntimeError, r"scalar types: Long, Int"),
    ("mse shapes", lambda d: F.mse_loss(on(d, 2), on(d, 2), reduction="avg"), ValueError, r"avg is not a valid value for reduction"),
    ("bce shapes", lambda d: F.binary_cross_entropy(on(d, 2), on(d, 3)), ValueError, r"target size.*\[3\].*input size.*\[2\]"),
    ("softmax dim", lambda d: F.softmax(on(d, 2), dim=2), IndexError, r"Dimension out of range.*got 2"),
    ("one_hot class", lambda d: F.one_hot(chosen(d, 0, 5), 3), RuntimeError, r"smaller than num_classes"),
    ("cross_entropy class", lambda d: F.cross_entropy(on(d, 2, 3), chosen(d, 0, 3)).item(), IndexError, r"Target 3 is out of bounds"),
    ("cross_entropy dtype", lambda d: F.cross_entropy(on(d, 2, 3), chosen(d, 0, 1).int()), RuntimeError, r"target dtype.*Long or Byte.*int32"),
    ("layer_norm shape", lambda d: F.layer_norm(on(d, 2, 3), (4,)), RuntimeError, r"normalized_shape"),
    ("cross_entropy batch", lambda d: F.cross_entropy(on(d, 2, 3), torch.zeros(3, dtype=torch.int64, device=d)), ValueError, r"batch_size"),
    ("dropout p", lambda d: F.dropout(on(d, 2), p=1.5), ValueError, r"between 0 and 1"),
    ("module keys", wrong_keys, RuntimeError, r"Missing key\(s\) in state_dict: \"bias\".*Unexpected key\(s\) in state_dict: \"extra\""),
    ("module sizes", wrong_size, RuntimeError, r"size mismatch for weight"),
    ("state of another module", lambda d: nn.Sequential(nn.Linear(2, 2)).load_state_dict(nn.Linear(2, 2).state_dict()), RuntimeError,
     r"Error\(s\) in loading state_dict for Sequential:.*Missing key\(s\).*\"0.weight\", \"0.bias\".*Unexpected key\(s\).*\"weight\", \"bias\""),
    ("state that is a list", lambda d: nn.Linear(2, 2).load_state_dict([1]), TypeError, r"dict-like"),
    ("state of numbers", lambda d: nn.Linear(2, 2, bias=False).load_state_dict({"weight": 3}), RuntimeError, r"parameter named \"weight\""),
    ("optimizer state", wrong_optimizer_state, ValueError, r"doesn't match the size of optimizer's group"),
    ("optimizer of results", lambda d: torch.optim.SGD([leaf(d) * 2], lr=0.1), ValueError, r"can't optimize a non-leaf Tensor"),
    ("optimizer of a tensor", lambda d: torch.optim.SGD(leaf(d), lr=0.1), TypeError, r"iterable of Tensors or dicts"),
    ("parameter twice", same_parameter_twice, ValueError, r"more than one parameter group"),
    ("scheduler without optimizer", lambda d: torch.optim.lr_scheduler.StepLR(3, 1), TypeError, r"int is not an Optimizer"),
    ("parameter from a tensor", lambda d: setattr(nn.Linear(1, 1), "weight", on(d, 1, 1)), TypeError, r"as parameter 'weight'"),
    ("layer before super().__init__()", lambda d: NoSuperInit(), AttributeError, r"before Module.__init__\(\) call"),
    ("module without forward", lambda d: nn.Module()(on(d, 1)), NotImplementedError, r"missing the required \"forward\" function"),
    ("module to integers", lambda d: nn.Linear(1, 1).to(torch.int64), TypeError, r"floating point or complex"),
    ("missing submodule", lambda d: nn.Linear(1, 1).get_submodule("x"), AttributeError, r"Linear has no attribute `x`"),
    ("no parameters", lambda d: torch.optim.SGD([], lr=0.1), ValueError, r"empty parameter list"),
    ("learning rate", lambda d: torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=-1), ValueError, r"[Ii]nvalid learning rate"),
    ("batch size", lambda d: torch.utils.data.DataLoader([1, 2], batch_size=0), ValueError, r"batch_size"),
    ("dataset sizes", lambda d: torch.utils.data.TensorDataset(on(d, 2), on(d, 3)), AssertionError, r"Size mismatch"),
    ("uneven samples", lambda d: next(iter(torch.utils.data.DataLoader([torch.ones(2), torch.ones(3)], batch_size=2))), RuntimeError, r"equal size"),
    ("split of a dataset", lambda d: torch.utils.data.random_split([1, 2, 3], [1, 1]), ValueError, r"[Ss]um of input lengths"),
    ("folder that isn't there", lambda d: torch.save({}, "/nonexistent/model.pt"), RuntimeError, r"(?i)parent directory.*does not exist"),
    ("missing file", lambda d: torch.load("/nonexistent/model.pt"), FileNotFoundError, r"model.pt"),
    ("attribute", lambda d: nn.Linear(1, 1).wieght, AttributeError, r"'Linear' object has no attribute 'wieght'"),
    ("module in Sequential", lambda d: nn.Sequential(3), TypeError, r"Module"),
    ("dtype argument", lambda d: torch.zeros(2, dtype="float32"), TypeError, r"dtype"),
    ("unknown argument", lambda d: torch.zeros(2, dtyp=3), TypeError, r"zeros\(\) got an unexpected keyword argument 'dtyp'"),
    ("missing argument", lambda d: torch.full((2,)), TypeError, r"full\(\) missing 1 required"),
    ("randint limits", lambda d: torch.randint(5, 2, (3,)), RuntimeError, r"from"),
    ("einsum sizes", lambda d: torch.einsum("ij,jk->ik", on(d, 2, 3), on(d, 4, 5)), RuntimeError, r"einsum"),
    ("bits of floats", lambda d: ~on(d, 2), TypeError, r"only implemented on integer and Boolean-type"),
    ("bitwise_not of floats", lambda d: torch.bitwise_not(on(d, 2)), NotImplementedError, r"bitwise_not.*not implemented for 'Float'"),
    ("order of complex", lambda d: on(d, 2, dtype=torch.complex64) < 1, RuntimeError, r"not implemented for 'ComplexFloat'"),
    ("division of integers in place", lambda d: chosen(d, 1, 2).div_(2), RuntimeError, r"result type Float can't be cast to the desired output type Long"),
    ("out= dtype", lambda d: torch.add(on(d, 2), 1.5, out=chosen(d, 1, 2)), RuntimeError, r"result type Float can't be cast"),
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


@pytest.mark.parametrize("change, error, words", [
    (lambda whole: whole[:len(whole) // 2], RuntimeError, r"truncated or damaged"),
    (lambda whole: b"", EOFError, r"empty"),
    (lambda whole: b"epoch,loss\n1,0.5\n", pickle.UnpicklingError, r"not a file that save wrote"),
    (lambda whole: whole.replace(b"weight", b"we\x00ght"), (RuntimeError, pickle.UnpicklingError), r"load: |state_dict"),
], ids=["truncated", "empty", "text", "altered"])
def test_unreadable_files(change: Callable[[bytes], bytes], error: type[Exception], words: str, tmp_path: Path) -> None:
    file, model = tmp_path / "model.pt", nn.Linear(30, 30)
    torch.save(model.state_dict(), file)
    whole = file.read_bytes()
    file.write_bytes(change(whole))
    with pytest.raises(error, match=words):
        model.load_state_dict(torch.load(file))
    file.write_bytes(whole)
    assert model.load_state_dict(torch.load(file)).missing_keys == []


def test_a_folder_and_forbidden_content(tmp_path: Path) -> None:
    with pytest.raises((IsADirectoryError, PermissionError)):
        torch.load(tmp_path)
    torch.save({"hook": print}, tmp_path / "code.pt")
    with pytest.raises(pickle.UnpicklingError, match=r"builtins\.print.*add_safe_globals"):
        torch.load(tmp_path / "code.pt")


def run_without_opencl(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs code in a process that finds no OpenCL implementation: the loader looks into an empty folder."""
    return run_python(code, OCL_ICD_VENDORS=str(folder / "no-drivers"))


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
