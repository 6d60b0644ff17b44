"""safetensors files: every type that the format has, the same bytes as the library's own writers, and refusals."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cltorch
from cltorch.testing import assert_close

pytest.importorskip("safetensors", reason="the optional extra cltorch[safetensors]")
from cltorch.serialization import safetensors as st

DTYPES = [cltorch.bool, cltorch.uint8, cltorch.int8, cltorch.int16, cltorch.int32, cltorch.int64, cltorch.float16, cltorch.bfloat16, cltorch.float32,
          cltorch.float64, cltorch.complex64]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_round_trip(dtype: cltorch.dtype, tmp_path: Path) -> None:
    tensors = {"a": cltorch.tensor([[1, 0, 1], [0, 1, 1]], dtype=dtype), "empty": cltorch.zeros(0, 3, dtype=dtype), "scalar": cltorch.ones((), dtype=dtype),
               "turned": cltorch.tensor([[1, 0], [1, 1]], dtype=dtype).t()}
    st.save_file(tensors, tmp_path / "x.safetensors", {"format": "pt"})
    back = st.load_file(tmp_path / "x.safetensors")
    assert set(back) == set(tensors)
    for name, t in tensors.items():
        assert_close(back[name], t, rtol=0, atol=0)
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


def test_devices(device: cltorch.device) -> None:
    data = st.save({"w": cltorch.ones(2, device=device, requires_grad=True)})
    assert st.load(data, device="cuda:0")["w"].device == device
    assert st.load(data)["w"].device.type == "cpu"


def test_both_ways_with_torch() -> None:
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("safetensors.torch")
    data = st.save({"b": cltorch.tensor([1.5, -2.0], dtype=cltorch.bfloat16), "f": cltorch.ones(3)}, {"note": "x"})
    loaded = theirs.load(data)
    assert loaded["b"].dtype is torch.bfloat16
    assert (loaded["b"].tolist(), loaded["f"].tolist()) == ([1.5, -2.0], [1.0, 1.0, 1.0])
    assert json.loads(data[8:8 + int.from_bytes(data[:8], "little")])["__metadata__"] == {"note": "x"}
    back = st.load(theirs.save({"b": torch.tensor([1.5], dtype=torch.bfloat16), "i": torch.arange(3)}))
    assert (back["b"].dtype, back["i"].tolist()) == (cltorch.bfloat16, [0, 1, 2])
    with pytest.raises(RuntimeError, match="'u' is of type U16, which cltorch does not have"):
        st.load(theirs.save({"u": torch.ones(2, dtype=torch.uint16)}))


def shared() -> dict[str, cltorch.Tensor]:
    base = cltorch.arange(4)
    return {"all": base, "part": base[:2]}


@pytest.mark.parametrize("call, error, text", [
    (lambda: st.save({"x": 3}), ValueError, "'x' is a int; only tensors"),
    (lambda: st.save({"z": cltorch.ones(1, dtype=cltorch.complex128)}), ValueError, "does not have"),
    (lambda: st.save(shared()), RuntimeError, "'all' and 'part' share memory.*clone"),
    (lambda: st.load(b"nothing"), RuntimeError, "not a safetensors file"),
    (lambda: st.load(st.save({"x": cltorch.ones(3)})[:-4]), RuntimeError, "damaged"),
    (lambda: st.load(np.int64(1 << 40).tobytes() + b"{}"), RuntimeError, "damaged"),
])
def test_refusals(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
