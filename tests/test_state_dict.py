"""state_dict and load_state_dict: contents, messages, versions, hooks, exchange with PyTorch."""
from __future__ import annotations

import re
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest

import cltorch
from cltorch import nn
from cltorch.testing import assert_close


def net(hidden: int = 4) -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, 2))


KEYS = ["0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked", "3.weight", "3.bias"]


def test_contents() -> None:
    model = net()
    state = model.state_dict()
    assert list(state) == KEYS
    assert isinstance(state, OrderedDict)
    assert state._metadata == OrderedDict({"": {"version": 1}, "0": {"version": 1}, "1": {"version": 2}, "2": {"version": 1}, "3": {"version": 1}})
    assert not state["0.weight"].requires_grad
    assert type(state["0.weight"]) is cltorch.Tensor
    state["0.bias"].fill_(7)
    assert model[0].bias.tolist() == [7] * 4
    assert model.state_dict(keep_vars=True)["0.weight"] is model[0].weight
    assert list(model.state_dict(prefix="net.")) == [f"net.{k}" for k in KEYS]
    destination: dict = {}
    assert model.state_dict(destination=destination) is destination


def test_round_trip() -> None:
    a, b = net(), net()
    a(cltorch.ones(5, 3))
    weight = b[0].weight
    result = b.load_state_dict(a.state_dict())
    assert repr(result) == "<All keys matched successfully>"
    assert result.missing_keys == result.unexpected_keys == []
    assert b[0].weight is weight
    assert b[0].weight.requires_grad
    for key, value in a.state_dict().items():
        assert_close(b.state_dict()[key], value, rtol=0, atol=0)
    x = cltorch.ones(2, 3)
    assert_close(a.eval()(x), b.eval()(x), rtol=0, atol=0)


def test_loading_moves_and_casts() -> None:
    a, b = net(), net().to("cuda").half()
    b.load_state_dict(a.state_dict())
    assert b[0].weight.device.type == "cuda"
    assert_close(b[0].weight.float().cpu(), a[0].weight, rtol=1e-3, atol=1e-4)


def test_messages() -> None:
    model, state = net(), net(5).state_dict()
    del state["3.bias"]
    state["extra.weight"] = cltorch.ones(1)
    state["0.more"] = cltorch.ones(1)
    expected = (
        'Error(s) in loading state_dict for Sequential:\n\tMissing key(s) in state_dict: "3.bias". \n\t'
        'Unexpected key(s) in state_dict: "extra.weight", "0.more". \n\t'
        "size mismatch for 0.weight: copying a param with shape torch.Size([5, 3]) from checkpoint, the shape in current model is torch.Size([4, 3]).")
    with pytest.raises(RuntimeError, match=re.escape(expected)):
        model.load_state_dict(state)
    with pytest.raises(RuntimeError, match=r"size mismatch for 1\.running_mean") as caught:
        model.load_state_dict(state, strict=False)
    assert "Missing" not in str(caught.value)


def test_messages_are_torchs() -> None:
    torch = pytest.importorskip("torch")

    def message(n: Any, ones: Any) -> str:
        model = n.Sequential(n.Linear(3, 4), n.Linear(4, 2))
        state = n.Sequential(n.Linear(3, 5), n.Linear(5, 2)).state_dict()
        del state["1.bias"]
        state["x.y"] = ones(1)
        with pytest.raises(RuntimeError) as caught:
            model.load_state_dict(state)
        return str(caught.value)

    assert message(nn, cltorch.ones) == message(torch.nn, torch.ones)


def test_not_strict() -> None:
    model, state = net(), net().state_dict()
    del state["3.bias"]
    state["other"] = cltorch.ones(1)
    result = model.load_state_dict(state, strict=False)
    assert result.missing_keys == ["3.bias"]
    assert result.unexpected_keys == ["other"]
    assert repr(result) == "_IncompatibleKeys(missing_keys=['3.bias'], unexpected_keys=['other'])"


def test_nothing_but_tensors_and_mappings() -> None:
    with pytest.raises(TypeError, match="Expected state_dict to be dict-like"):
        net().load_state_dict([("0.weight", 1)])
    state = dict(net().state_dict())
    state["0.bias"] = 3
    with pytest.raises(RuntimeError, match="expected a tensor"):
        net().load_state_dict(state)


def test_assign() -> None:
    model, state = net(), net().state_dict()
    frozen = model[3].weight.requires_grad_(False)
    model.load_state_dict(state, assign=True)
    assert model[0].weight.storage is state["0.weight"].storage
    assert isinstance(model[0].weight, nn.Parameter)
    assert model[0].weight.requires_grad
    assert not model[3].weight.requires_grad
    assert model[3].weight is not frozen
    assert model[1].running_mean is state["1.running_mean"]


def test_older_batch_norm() -> None:
    model, state = nn.BatchNorm1d(2), nn.BatchNorm1d(2).state_dict()
    del state["num_batches_tracked"]
    with pytest.raises(RuntimeError, match="num_batches_tracked"):
        model.load_state_dict(state)
    state._metadata = OrderedDict({"": {"version": 1}})
    model.load_state_dict(state)


def test_extra_state() -> None:
    class Counting(nn.Linear):
        seen = 0

        def get_extra_state(self) -> Any:
            return {"seen": self.seen}

        def set_extra_state(self, state: Any) -> None:
            self.seen = state["seen"]

    a, b = nn.Sequential(Counting(1, 1)), nn.Sequential(Counting(1, 1))
    a[0].seen = 5
    assert a.state_dict()["0._extra_state"] == {"seen": 5}
    b.load_state_dict(a.state_dict())
    assert b[0].seen == 5
    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "0._extra_state"'):
        b.load_state_dict(nn.Sequential(nn.Linear(1, 1)).state_dict())
    with pytest.raises(RuntimeError, match=r'Unexpected key\(s\) in state_dict: "0._extra_state"'):
        nn.Sequential(nn.Linear(1, 1)).load_state_dict(a.state_dict())


def test_hooks() -> None:
    model, seen = net(), []
    model.register_state_dict_pre_hook(lambda m, prefix, keep_vars: seen.append(("save", prefix)))
    model[0].register_state_dict_post_hook(lambda m, state, prefix, metadata: state.__delitem__(prefix + "bias"))
    state = model.state_dict()
    assert "0.bias" not in state
    assert seen == [("save", "")]

    def rename(module: Any, state: dict, prefix: str, *rest: Any) -> None:
        state[prefix + "bias"] = cltorch.ones(4)

    model[0].register_load_state_dict_pre_hook(rename)
    handle = model.register_load_state_dict_post_hook(lambda m, keys: seen.append(list(keys.missing_keys)))
    model.load_state_dict(state)
    assert model[0].bias.tolist() == [1] * 4
    assert seen[-1] == []
    handle.remove()
    model.register_load_state_dict_post_hook(lambda m, keys: keys)
    with pytest.raises(RuntimeError, match="return None"):
        model.load_state_dict(state)


def test_torch_loads_ours_and_we_load_torchs() -> None:
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    ours = net()
    theirs.load_state_dict({k: torch.from_numpy(v.numpy().copy()) for k, v in ours.state_dict().items()})
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    assert_close(ours(cltorch.from_numpy(x)), theirs(torch.from_numpy(x)).detach().numpy(), rtol=1e-4, atol=1e-5)
    ours.load_state_dict({k: cltorch.from_numpy(v.numpy().copy()) for k, v in theirs.state_dict().items()})
    assert_close(ours.eval()(cltorch.from_numpy(x)), theirs.eval()(torch.from_numpy(x)).detach().numpy(), rtol=1e-4, atol=1e-5)
