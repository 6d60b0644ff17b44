"""PyTorch reads what we write, and we read what PyTorch writes: every dtype, views, shared storages, modules', optimizers' states."""
from __future__ import annotations

import collections
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cltorch
from cltorch import nn, optim, serialization

torch = pytest.importorskip("torch", reason="PyTorch is the other side")
RNG = np.random.default_rng(3)
DTYPES = ["uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64", "bfloat16", "complex64", "complex128", "bool"]


def to_torch(obj: Any, **options: Any) -> Any:
    stream = io.BytesIO()
    serialization.save(obj, stream)
    stream.seek(0)
    return torch.load(stream, **options)


def from_torch(obj: Any, **options: Any) -> Any:
    stream = io.BytesIO()
    torch.save(obj, stream)
    stream.seek(0)
    return serialization.load(stream, **options)


def bits(t: Any) -> np.ndarray:
    """The stored bits of a tensor of either library."""
    if isinstance(t, cltorch.Tensor):
        return t.detach()._host()
    t = t.detach()
    return (t.contiguous().view(torch.int16).numpy().view(np.uint16) if t.dtype is torch.bfloat16 else t.numpy())


def same(a: Any, b: Any) -> None:
    """The same structure, types, attributes and bits on both sides."""
    if isinstance(a, (cltorch.Tensor, torch.Tensor)):
        assert type(a).__name__ == type(b).__name__
        assert str(a.dtype) == str(b.dtype)
        assert tuple(a.shape) == tuple(b.shape)
        assert a.requires_grad == b.requires_grad
        np.testing.assert_array_equal(bits(a), bits(b))
    elif isinstance(a, dict):
        assert type(a) is type(b)
        assert list(a) == list(b)
        for key in a:
            same(a[key], b[key])
        if hasattr(b, "_metadata"):
            assert a._metadata == b._metadata
    elif isinstance(a, (list, tuple)) and type(a).__name__ != "Size":
        assert type(a) is type(b)
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            same(x, y)
    elif type(a).__module__.partition(".")[0] in ("torch", "cltorch"):
        assert repr(a) == repr(b)
    else:
        assert type(a) is type(b)
        np.testing.assert_array_equal(a, b)


def both(make: Any) -> None:
    """What ``make`` gives with either module survives both ways."""
    mine, theirs = make(cltorch), make(torch)
    same(to_torch(mine), theirs)
    same(to_torch(mine, weights_only=True), theirs)
    same(from_torch(theirs), mine)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (7,), (2, 0), (3, 4)], ids=str)
def test_every_dtype(dtype: str, shape: tuple[int, ...]) -> None:
    values = RNG.integers(0, 100, shape)
    both(lambda m: m.tensor(values).to(getattr(m, dtype)))


CASES: dict[str, Any] = {
    "transposed": lambda m: m.arange(6).reshape(2, 3).t(),
    "slice": lambda m: m.arange(20)[3:11],
    "strided": lambda m: m.arange(24).reshape(4, 6)[1:, ::2],
    "expanded": lambda m: m.tensor([[1.0], [2.0]]).expand(2, 5),
    "grad": lambda m: m.tensor([1.0, 2.0], requires_grad=True),
    "parameter": lambda m: m.nn.Parameter(m.ones(2, 3)),
    "frozen": lambda m: m.nn.Parameter(m.ones(2), requires_grad=False),
    "nested": lambda m: {"a": [m.ones(2), (m.zeros(1), {"x": m.tensor(3)})], "n": None, "t": True, "f": 1.5, "i": -7, "s": "text", "big": 2 ** 70, "c": 1j},
    "sizes": lambda m: [m.Size([1, 2]), m.device("cpu"), m.float32, m.bfloat16, m.bool, m.complex64],
    "device_index": lambda m: m.device("cuda", 1),
    "ordered": lambda m: collections.OrderedDict(b=m.ones(1), a=m.zeros(1)),
    "counter": lambda m: collections.Counter("hello"),
    "bytes": lambda m: [b"ab\xff", bytearray(b"xyz"), {1, 2}],
    "many": lambda m: [m.tensor([i]) for i in range(30)],
}


@pytest.mark.parametrize("name", CASES)
def test_both_ways(name: str) -> None:
    both(CASES[name])


def test_tied_storages() -> None:
    for convert, m in ((to_torch, cltorch), (from_torch, torch)):
        base = m.arange(6, dtype=m.float32)
        back = convert({"a": base, "b": base[2:], "c": base.reshape(2, 3).t()})
        back["b"][0] = 99.0
        assert back["a"][2].item() == 99.0
        assert back["c"][2, 0].item() == 99.0


def test_other_types_over_one_storage() -> None:
    base = cltorch.tensor([1.0, 2.0])
    back = to_torch([base, base.view(cltorch.int32)])
    assert back[1].dtype is torch.int32
    back[1][0] = 0
    assert back[0].tolist() == [0.0, 2.0]


def test_lazily_conjugated_and_negated() -> None:
    z = torch.tensor([1 + 2j, 3 - 4j])
    same(from_torch(z.conj()), cltorch.tensor([1 - 2j, 3 + 4j]))
    same(from_torch(z.conj().imag), cltorch.tensor([-2.0, 4.0]))


def test_old_versions_of_the_archive() -> None:
    stream = io.BytesIO()
    torch.save({"w": torch.ones(3)}, stream)
    older = io.BytesIO()
    with zipfile.ZipFile(stream) as source, zipfile.ZipFile(older, "w") as target:
        for name in source.namelist():
            if name.endswith(("data.pkl", "data/0", "version")):
                target.writestr(name, source.read(name))
    older.seek(0)
    assert serialization.load(older)["w"].tolist() == [1.0, 1.0, 1.0]
    legacy = io.BytesIO()
    torch.save(torch.ones(2), legacy, _use_new_zipfile_serialization=False)
    legacy.seek(0)
    with pytest.raises(RuntimeError, match=r"before version 1\.6"):
        serialization.load(legacy)


@pytest.mark.parametrize("make, text", [
    (lambda: torch.ones(2, dtype=torch.uint16), "torch.uint16"), (lambda: torch.eye(2).to_sparse(), "_rebuild_sparse_tensor"),
    (lambda: torch.nn.Linear(1, 1), "torch.nn.modules.linear.Linear, which cltorch does not load; in PyTorch, save model.state_dict()"),
    (lambda: torch.ones(2, dtype=torch.float8_e5m2), "torch.float8_e5m2"),
])
def test_what_only_pytorch_has(make: Any, text: str) -> None:
    for weights_only in (True, False):
        with pytest.raises(serialization.UnpicklingError, match=text):
            from_torch(make(), weights_only=weights_only)


def test_protocols_and_numpy() -> None:
    stream = io.BytesIO()
    torch.save({"w": torch.arange(3), "n": np.float64(2.5), "a": np.arange(4, dtype=np.int16), "d": torch.float16}, stream, pickle_protocol=4)
    stream.seek(0)
    back = serialization.load(stream)
    assert (back["w"].tolist(), back["n"], back["a"].tolist(), back["d"]) == ([0, 1, 2], 2.5, [0, 1, 2, 3], cltorch.float16)
    same(from_torch([np.float32(1.5), np.ones((2, 2), np.complex64)]), [np.float32(1.5), np.ones((2, 2), np.complex64)])


def test_cuda_tensors_go_where_they_are_told(device: cltorch.device) -> None:
    there = cltorch.arange(3, device=device)
    assert to_torch(there, map_location="cpu").tolist() == [0, 1, 2]


def test_files(tmp_path: Path) -> None:
    serialization.save({"x": cltorch.ones(2)}, tmp_path / "ours.pt")
    assert torch.load(tmp_path / "ours.pt")["x"].tolist() == [1.0, 1.0]
    assert torch.load(tmp_path / "ours.pt", mmap=True)["x"].tolist() == [1.0, 1.0]
    torch.save({"x": torch.ones(2)}, tmp_path / "theirs.pt")
    assert serialization.load(tmp_path / "theirs.pt")["x"].tolist() == [1.0, 1.0]
    with open(tmp_path / "theirs.pt", "rb") as stream:
        assert serialization.load(stream)["x"].tolist() == [1.0, 1.0]


def test_same_record_order_and_alignment(tmp_path: Path) -> None:
    names = []
    for module, folder in ((serialization, cltorch), (torch, torch)):
        path = tmp_path / f"{folder.__name__}.pt"
        module.save({"a": folder.ones(3), "b": folder.zeros(2)}, path)
        with zipfile.ZipFile(path) as z:
            names.append([n.partition("/")[2] for n in z.namelist()])
    assert names[0] == names[1]


# networks


def network(m: Any) -> Any:
    return m.nn.Sequential(m.nn.Conv2d(1, 4, 3, padding=1), m.nn.BatchNorm2d(4), m.nn.ReLU(), m.nn.MaxPool2d(2), m.nn.Flatten(), m.nn.Linear(64, 10),
                           m.nn.LayerNorm(10), m.nn.Dropout(0.1), m.nn.Linear(10, 3))


def test_state_dicts_of_modules() -> None:
    mine, theirs = network(cltorch), network(torch)
    theirs.load_state_dict(to_torch(mine.state_dict()))
    same(mine.state_dict(), theirs.state_dict())
    torch.manual_seed(1)
    other = network(torch)
    mine.load_state_dict(from_torch(other.state_dict()))
    same(mine.state_dict(), other.state_dict())
    x = RNG.standard_normal((2, 1, 8, 8)).astype(np.float32)
    mine.eval()
    theirs.eval()
    theirs.load_state_dict(to_torch(mine.state_dict()))
    got, wanted = mine(cltorch.tensor(x)), theirs(torch.tensor(x))
    np.testing.assert_allclose(got.detach().numpy(), wanted.detach().numpy(), rtol=1e-5, atol=1e-5)


def test_tied_weights_of_modules() -> None:
    for convert, m in ((to_torch, cltorch), (from_torch, torch)):
        net = m.nn.Sequential(m.nn.Linear(3, 3), m.nn.Linear(3, 3))
        net[1].weight = net[0].weight
        state = convert(net.state_dict())
        state["0.weight"][0, 0] = 42.0
        assert state["1.weight"][0, 0].item() == 42.0


@pytest.mark.parametrize("name, options", [("SGD", {"momentum": 0.9}), ("Adam", {}), ("AdamW", {"weight_decay": 0.1}), ("RMSprop", {}), ("Adagrad", {})])
def test_states_of_optimizers(name: str, options: dict) -> None:
    start, x = RNG.standard_normal((3, 2)).astype(np.float32), RNG.standard_normal((4, 2)).astype(np.float32)

    def trained(m: Any, o: Any) -> Any:
        layer = m.nn.Linear(2, 3)
        with m.no_grad():
            layer.weight.copy_(m.tensor(start))
            layer.bias.zero_()
        optimizer = getattr(o, name)(layer.parameters(), lr=0.1, **options)
        for _ in range(2):
            step(m, layer, optimizer)
        return layer, optimizer

    def step(m: Any, layer: Any, optimizer: Any) -> None:
        optimizer.zero_grad()
        (layer(m.tensor(x)) ** 2).sum().backward()
        optimizer.step()

    (mine, my_optimizer), (theirs, their_optimizer) = trained(cltorch, optim), trained(torch, torch.optim)
    their_optimizer.load_state_dict(to_torch(my_optimizer.state_dict()))
    my_optimizer.load_state_dict(from_torch(their_optimizer.state_dict()))
    for m, layer, optimizer in ((cltorch, mine, my_optimizer), (torch, theirs, their_optimizer)):
        step(m, layer, optimizer)
    for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-4, atol=1e-5)
    assert nn.Linear is not torch.nn.Linear


def test_checkpoint_of_a_training_run(tmp_path: Path) -> None:
    def checkpoint(m: Any) -> dict:
        return {"epoch": 3, "model": m.nn.Linear(2, 2).state_dict(), "losses": [0.5, 0.25], "best": m.tensor(0.25), "args": {"lr": 1e-3, "name": "run"}}
    serialization.save(checkpoint(cltorch), tmp_path / "a.pt")
    theirs = torch.load(tmp_path / "a.pt", weights_only=True)
    assert (theirs["epoch"], theirs["losses"], theirs["args"]) == (3, [0.5, 0.25], {"lr": 1e-3, "name": "run"})
    torch.save(checkpoint(torch), tmp_path / "b.pt")
    assert list(serialization.load(tmp_path / "b.pt")["model"]) == ["weight", "bias"]
