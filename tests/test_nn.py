"""Module: registration, the tree, hooks, moving and casting, printing, copying; containers and helpers of nn.utils."""
from __future__ import annotations

import copy
import pickle
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest

import cltorch
from cltorch import nn
from cltorch.testing import assert_close


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.middle = nn.Sequential(nn.ReLU(), nn.Linear(4, 4))
        self.last = nn.Linear(4, 2, bias=False)
        self.scale = nn.Parameter(cltorch.ones(1))
        self.register_buffer("offset", cltorch.zeros(2))
        self.register_buffer("scratch", cltorch.zeros(2), persistent=False)

    def forward(self, x: cltorch.Tensor, double: bool = False) -> cltorch.Tensor:
        y = self.last(self.middle(self.first(x))) * self.scale + self.offset
        return y * 2 if double else y


NAMES = ["scale", "first.weight", "first.bias", "middle.1.weight", "middle.1.bias", "last.weight"]


def test_tree() -> None:
    net = Net()
    assert [n for n, _ in net.named_parameters()] == NAMES
    assert [n for n, _ in net.named_parameters(recurse=False)] == ["scale"]
    assert [n for n, _ in net.named_parameters(prefix="net")][:2] == ["net.scale", "net.first.weight"]
    assert [n for n, _ in net.named_buffers()] == ["offset", "scratch"]
    assert len(list(net.parameters())) == len(NAMES)
    assert len(list(net.buffers())) == 2
    assert [n for n, _ in net.named_children()] == ["first", "middle", "last"]
    assert list(net.children()) == [net.first, net.middle, net.last]
    assert [n for n, _ in net.named_modules()] == ["", "first", "middle", "middle.0", "middle.1", "last"]
    assert next(iter(net.modules())) is net
    assert net.get_submodule("middle.1") is net.middle[1]
    assert net.get_submodule("") is net
    assert net.get_parameter("middle.1.bias") is net.middle[1].bias
    assert net.get_buffer("offset") is net.offset


@pytest.mark.parametrize("call", ["get_submodule", "get_parameter", "get_buffer"])
def test_missing_members(call: str) -> None:
    net = Net()
    with pytest.raises(AttributeError, match="no attribute `nothing`"):
        getattr(net, call)("middle.nothing")
    with pytest.raises(AttributeError, match="is not"):
        getattr(net, call)("training")


def test_set_submodule() -> None:
    net = Net()
    net.set_submodule("middle.1", nn.Tanh())
    assert isinstance(net.middle[1], nn.Tanh)
    net.set_submodule("extra", nn.ReLU())
    assert isinstance(net.extra, nn.ReLU)
    with pytest.raises(AttributeError, match="no attribute"):
        net.set_submodule("middle.new", nn.ReLU(), strict=True)
    with pytest.raises(ValueError, match=r"is not an nn\.Module"):
        net.set_submodule("first", 3)


def test_shared_members_appear_once() -> None:
    shared = nn.Linear(2, 2)
    net = nn.ModuleList([shared, shared])
    assert len(list(net.parameters())) == 2
    assert len(list(net.named_parameters(remove_duplicate=False))) == 4
    assert len(list(net.modules())) == 2
    assert len(list(net.children())) == 1
    tied = nn.Module()
    tied.a = nn.Parameter(cltorch.ones(2))
    tied.b = tied.a
    assert [n for n, _ in tied.named_parameters()] == ["a"]
    assert list(tied.state_dict()) == ["a", "b"]


def test_attributes() -> None:
    m = nn.Module()
    m.weight = nn.Parameter(cltorch.ones(2))
    assert "weight" not in m.__dict__
    assert "weight" in dir(m)
    m.weight = nn.Parameter(cltorch.zeros(2))
    assert m.weight.tolist() == [0, 0]
    with pytest.raises(TypeError, match="cannot assign"):
        m.weight = cltorch.ones(2)
    m.weight = None
    assert m.weight is None
    assert list(m.parameters()) == []
    m.register_buffer("state", cltorch.ones(2))
    m.state = cltorch.zeros(3)
    assert next(iter(m.buffers())).shape == (3,)
    with pytest.raises(TypeError, match="as buffer 'state'"):
        m.state = 3
    m.child = nn.ReLU()
    with pytest.raises(TypeError, match="as child module 'child'"):
        m.child = 3
    del m.child
    with pytest.raises(AttributeError, match="'Module' object has no attribute 'child'"):
        _ = m.child
    m.state = nn.Parameter(cltorch.ones(1))
    assert list(m.buffers()) == []
    m.note = "plain"
    m.note = nn.Linear(1, 1)
    assert isinstance(m.note, nn.Linear)


def test_buffers_by_assignment() -> None:
    m = nn.Module()
    m.kept = nn.Buffer(cltorch.ones(2))
    m.scratch = nn.Buffer(cltorch.ones(2), persistent=False)
    assert [n for n, _ in m.named_buffers()] == ["kept", "scratch"]
    assert list(m.state_dict()) == ["kept"]


@pytest.mark.parametrize(("error", "message", "act"), [
    (KeyError, "contain", lambda m: m.register_parameter("a.b", None)),
    (KeyError, "empty string", lambda m: m.register_buffer("", None)),
    (KeyError, "already exists", lambda m: m.register_parameter("training", None)),
    (KeyError, "already exists", lambda m: m.add_module("forward", nn.ReLU())),
    (TypeError, "should be a string", lambda m: m.register_parameter(1, None)),
    (TypeError, "is not a Module subclass", lambda m: m.add_module("x", 3)),
    (TypeError, "cannot assign", lambda m: m.register_parameter("x", cltorch.ones(1))),
    (TypeError, "cannot assign", lambda m: m.register_buffer("x", 3)),
    (ValueError, "training mode is expected to be boolean", lambda m: m.train(1)),
    (NotImplementedError, 'missing the required "forward" function', lambda m: m(1)),
    (TypeError, "only accepts floating point or complex", lambda m: m.to(cltorch.int32)),
    (TypeError, "takes a device, a dtype or a tensor", lambda m: m.to("cpu", 3)),
])
def test_wrong_use(error: type[Exception], message: str, act: Any) -> None:
    with pytest.raises(error, match=message):
        act(nn.Module())


def test_assignment_before_init() -> None:
    class Early(nn.Module):
        def __init__(self, value: Any) -> None:
            self.x = value

    for value, kind in ((nn.Parameter(cltorch.ones(1)), "parameters"), (nn.Linear(1, 1), "module"), (nn.Buffer(cltorch.ones(1)), "buffer")):
        with pytest.raises(AttributeError, match=rf"cannot assign {kind} before Module.__init__\(\) call"):
            Early(value)


def test_non_leaf_parameters_are_refused() -> None:
    m = nn.Module()
    made = nn.Parameter(cltorch.ones(2))
    made.__dict__["_fn"] = (made * 2).grad_fn
    with pytest.raises(ValueError, match="Cannot assign non-leaf Tensor"):
        m.register_parameter("x", made)


def test_train_eval_apply_requires_grad_zero_grad() -> None:
    net, seen = Net(), []
    assert net.eval() is net
    assert not any(m.training for m in net.modules())
    net.train()
    assert all(m.training for m in net.modules())
    assert net.apply(lambda m: seen.append(type(m).__name__)) is net
    assert seen == ["Linear", "ReLU", "Linear", "Sequential", "Linear", "Net"]
    net.requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())
    net.requires_grad_()
    net(cltorch.ones(2, 3)).sum().backward()
    assert net.scale.grad is not None
    net.zero_grad(set_to_none=False)
    assert net.scale.grad.tolist() == [0]
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())


def test_calling_passes_keywords() -> None:
    net, x = Net(), cltorch.ones(2, 3)
    assert_close(net(x, double=True), net(x) * 2)


# Moving and casting


def test_to_device_and_dtype_keeps_the_parameter_objects() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    before = list(net.parameters())
    net(cltorch.ones(3, 2)).sum().backward()
    assert net.to("cuda", cltorch.float16) is net
    assert all(a is b for a, b in zip(net.parameters(), before, strict=True))
    assert {(p.device.type, p.dtype) for p in net.parameters()} == {("cuda", cltorch.float16)}
    assert net[0].weight.grad.dtype is cltorch.float16
    assert net[0].weight.grad.device.type == "cuda"
    assert net[1].num_batches_tracked.dtype is cltorch.int64
    assert net[1].num_batches_tracked.device.type == "cuda"
    assert net.cpu()[0].weight.device.type == "cpu"
    for name in ("float", "half", "bfloat16"):
        wanted = {"float": "float32", "half": "float16"}.get(name, name)
        assert getattr(net, name)()[0].weight.dtype is getattr(cltorch, wanted)
    assert net.to(cltorch.zeros(1, device="cuda"))[0].weight.device.type == "cuda"
    assert net[0].weight.dtype is cltorch.float32
    assert net.to(dtype=cltorch.float16, device="cpu")[0].bias.dtype is cltorch.float16
    assert net.type(cltorch.float32)[1].num_batches_tracked.dtype is cltorch.float32
    assert net.share_memory() is net
    assert net.to_empty(device="cuda")[0].weight.shape == (2, 2)


def test_moved_parameters_still_train() -> None:
    net = nn.Linear(2, 1).to("cuda")
    net(cltorch.ones(1, 2, device="cuda")).sum().backward()
    assert net.weight.grad.device.type == "cuda"


# Hooks


def test_forward_hooks() -> None:
    layer, seen = nn.Linear(2, 2), []
    x = cltorch.ones(1, 2)
    plain = layer(x)
    pre = layer.register_forward_pre_hook(lambda m, args: (args[0] * 2,))
    post = layer.register_forward_hook(lambda m, args, out: out + 1)
    layer.register_forward_hook(lambda m, args, out: seen.append(args[0].tolist()))
    layer.register_forward_hook(lambda m, args, out: seen.append("first"), prepend=True)
    assert_close(layer(x), layer.forward(x * 2) + 1)
    assert seen == ["first", [[2.0, 2.0]]]
    pre.remove()
    post.remove()
    assert_close(layer(x), plain)
    with layer.register_forward_pre_hook(lambda m, args: x * 0):
        assert_close(layer(x), layer.bias.unsqueeze(0).detach())
    assert_close(layer(x), plain)


def test_forward_hooks_with_keywords() -> None:
    net, x = Net(), cltorch.ones(1, 3)
    plain = net(x)
    handle = net.register_forward_pre_hook(lambda m, args, kwargs: (args, {"double": True}), with_kwargs=True)
    net.register_forward_hook(lambda m, args, kwargs, out: out if kwargs["double"] else None, with_kwargs=True)
    assert_close(net(x), plain * 2)
    handle.remove()
    net.register_forward_pre_hook(lambda m, args, kwargs: 3, with_kwargs=True)
    with pytest.raises(RuntimeError, match="must return None or a tuple"):
        net(x)


def test_hooks_that_are_always_called() -> None:
    class Broken(nn.Module):
        def forward(self) -> None:
            raise ValueError("broken")

    m, seen = Broken(), []
    m.register_forward_hook(lambda m, args, out: seen.append("usual"))
    m.register_forward_hook(lambda m, args, out: seen.append(out), always_call=True)
    with pytest.raises(ValueError, match="broken"):
        m()
    assert seen == [None]


def test_full_backward_hooks() -> None:
    layer, seen = nn.Linear(2, 1, bias=False), []
    with cltorch.no_grad():
        layer.weight.fill_(3)
    x = cltorch.ones(1, 2, requires_grad=True)
    layer.register_full_backward_pre_hook(lambda m, out: (out[0] * 2,))
    handle = layer.register_full_backward_hook(lambda m, inputs, out: seen.append((inputs[0].tolist(), out[0].tolist())))
    layer(x).sum().backward()
    assert seen == [([[6.0, 6.0]], [[2.0]])]
    assert x.grad.tolist() == [[6, 6]]
    assert layer.weight.grad.tolist() == [[2, 2]]
    handle.remove()
    layer.register_full_backward_hook(lambda m, inputs, out: (inputs[0] * 10,))
    x.grad = None
    layer(x).sum().backward()
    assert x.grad.tolist() == [[60, 60]]
    assert len(seen) == 1


def test_full_backward_hook_without_input_gradient() -> None:
    layer, seen = nn.Linear(2, 1), []
    layer.register_full_backward_hook(lambda m, inputs, out: seen.append((inputs, out[0].tolist())))
    layer(cltorch.ones(1, 2)).sum().backward()
    assert seen == [((None,), [[1.0]])]


def test_backward_hook_of_wrong_length() -> None:
    layer = nn.Linear(2, 1)
    layer.register_full_backward_hook(lambda m, inputs, out: (None, None))
    with pytest.raises(RuntimeError, match="returned 2 gradients"):
        layer(cltorch.ones(1, 2, requires_grad=True)).sum().backward()


# Copying


def test_copies_and_pickles_are_equal_and_apart() -> None:
    net = Net()
    net.first.weight.requires_grad_(False)
    x = cltorch.ones(1, 3)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert type(other.scale) is nn.Parameter
        assert not other.first.weight.requires_grad
        assert other.first.bias.requires_grad
        assert_close(other(x), net(x))
        with cltorch.no_grad():
            other.scale.fill_(5)
        assert net.scale.item() == 1
    shared = nn.ModuleList([net.first, net.first])
    copied = copy.deepcopy(shared)
    assert copied[0] is copied[1]


def test_parameter() -> None:
    p = nn.Parameter(cltorch.tensor([1.0, 2.0]))
    assert isinstance(p, cltorch.Tensor)
    assert p.requires_grad
    assert p.is_leaf
    assert repr(p) == "Parameter containing:\ntensor([1., 2.], requires_grad=True)"
    assert type(p * 2) is cltorch.Tensor
    assert not nn.Parameter(cltorch.ones(1), requires_grad=False).requires_grad
    assert type(copy.deepcopy(p)) is nn.Parameter
    assert nn.Parameter().shape == (0,)
    base = cltorch.zeros(2)
    nn.Parameter(base).data.fill_(3)
    assert base.tolist() == [3, 3]
    with pytest.raises(RuntimeError, match="floating point"):
        nn.Parameter(cltorch.tensor([1]))


# Containers


def test_sequential() -> None:
    layers = [nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)]
    net = nn.Sequential(*layers)
    assert len(net) == 3
    assert list(net) == layers
    assert net[-1] is layers[2]
    assert type(net[:2]) is nn.Sequential
    assert list(net[:2]) == layers[:2]
    assert_close(net(cltorch.ones(1, 2)), layers[2](layers[1](layers[0](cltorch.ones(1, 2)))))
    net.append(nn.Tanh()).insert(1, nn.Dropout(0.5))
    assert [type(m).__name__ for m in net] == ["Linear", "Dropout", "ReLU", "Linear", "Tanh"]
    del net[1]
    del net[-1:]
    assert list(net) == layers
    assert list(net.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    net[1] = nn.Tanh()
    assert isinstance(net[1], nn.Tanh)
    assert isinstance(net.pop(1), nn.Tanh)
    assert len(net) == 2
    net.extend([nn.ReLU(), nn.ReLU()])
    assert len(net + nn.Sequential(nn.ReLU())) == 5
    assert len(net * 2) == 8
    named = nn.Sequential(OrderedDict(a=nn.ReLU(), b=nn.Tanh()))
    assert isinstance(named.b, nn.Tanh)
    assert list(named[1:]._modules) == ["b"]
    twice = nn.Sequential(layers[1], layers[1])
    assert len(twice[:]) == 2
    with pytest.raises(IndexError, match="out of range"):
        _ = net[9]
    with pytest.raises(AssertionError, match="should be of type"):
        net.insert(0, 3)


def test_module_list() -> None:
    modules = nn.ModuleList([nn.Linear(1, 1), nn.ReLU()])
    modules += [nn.Tanh()]
    modules.append(nn.ReLU()).insert(0, nn.Sigmoid())
    assert [type(m).__name__ for m in modules] == ["Sigmoid", "Linear", "ReLU", "Tanh", "ReLU"]
    assert type(modules[1:3]) is nn.ModuleList
    assert len(modules + nn.ModuleList([nn.ReLU()])) == 6
    modules[0] = nn.Tanh()
    del modules[1:3]
    assert [n for n, _ in modules.named_children()] == ["0", "1", "2"]
    with pytest.raises(TypeError, match="iterable"):
        modules.extend(3)
    with pytest.raises(NotImplementedError):
        modules(1)


def test_module_dict() -> None:
    modules = nn.ModuleDict({"a": nn.Linear(1, 1), "b": nn.ReLU()})
    modules["c"] = nn.Tanh()
    modules.update([("d", nn.Sigmoid())])
    assert list(modules) == list(modules.keys()) == ["a", "b", "c", "d"]
    assert "b" in modules
    assert isinstance(modules.pop("b"), nn.ReLU)
    del modules["c"]
    assert [k for k, _ in modules.items()] == ["a", "d"]
    assert len(modules) == len(list(modules.values())) == 2
    assert list(modules.state_dict()) == ["a.weight", "a.bias"]
    modules.clear()
    assert len(modules) == 0
    with pytest.raises(ValueError, match="length 3"):
        modules.update([(1, 2, 3)])


def test_parameter_list() -> None:
    params = nn.ParameterList([cltorch.ones(2), nn.Parameter(cltorch.zeros(1))])
    params.append(cltorch.ones(3)).extend([cltorch.ones(4)])
    params += ["note"]
    assert [type(p).__name__ for p in params] == ["Parameter"] * 4 + ["str"]
    assert len(list(params.parameters())) == 4
    assert params[-2].shape == (4,)
    assert len(params[1:3]) == 2
    assert params.pop(0).shape == (2,)
    assert [tuple(p.shape) for p in list(params)[:3]] == [(1,), (3,), (4,)]
    assert list(params.state_dict()) == ["0", "1", "2"]
    params[0] = cltorch.ones(7)
    assert params[0].shape == (7,)
    with pytest.raises(IndexError):
        _ = params[10]
    with pytest.raises(TypeError, match="iterable"):
        params.extend(cltorch.ones(2))
    with pytest.raises(RuntimeError, match="should not be called"):
        params()


def test_parameter_dict() -> None:
    params = nn.ParameterDict({"a": cltorch.ones(2)})
    params["b"] = cltorch.ones(3)
    params.update({"c": nn.Parameter(cltorch.ones(4))})
    assert list(params) == ["a", "b", "c"]
    assert all(isinstance(p, nn.Parameter) for p in params.values())
    assert params.get("z") is None
    assert params.setdefault("d", cltorch.ones(5)).shape == (5,)
    assert params.popitem()[0] == "d"
    assert params.pop("a").shape == (2,)
    assert list(params.copy().keys()) == ["b", "c"]
    assert list(params.state_dict()) == ["b", "c"]
    with pytest.raises(KeyError):
        _ = params["a"]
    with pytest.raises(TypeError, match="not a string"):
        params[1] = cltorch.ones(1)


# Layers without PyTorch


def test_dropout_keeps_the_mean_and_scales() -> None:
    x = cltorch.ones(100, 100, device="cuda")
    layer = nn.Dropout(0.25)
    out = layer(x).cpu().numpy()
    assert set(np.unique(out)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs(out.mean() - 1) < 0.03
    assert layer.eval()(x) is x or (layer(x) == x).all().item()
    rows = nn.Dropout2d(0.5)(cltorch.ones(40, 50, 3, 3, device="cuda")).cpu().numpy().reshape(2000, 9)
    assert (rows.min(1) == rows.max(1)).all()
    for bad in (-0.1, 1.5):
        with pytest.raises(ValueError, match="between 0 and 1"):
            nn.Dropout(bad)


def test_embedding_from_pretrained() -> None:
    table = cltorch.arange(6).reshape(3, 2).float()
    layer = nn.Embedding.from_pretrained(table)
    assert not layer.weight.requires_grad
    assert layer(cltorch.tensor([2, 0])).tolist() == [[4, 5], [0, 1]]
    assert nn.Embedding.from_pretrained(table, freeze=False).weight.requires_grad
    assert nn.Embedding(3, 2, padding_idx=-1).weight[2].tolist() == [0, 0]
    with pytest.raises(AssertionError, match="within num_embeddings"):
        nn.Embedding(3, 2, padding_idx=3)
    with pytest.raises(AssertionError, match="2-dimensional"):
        nn.Embedding.from_pretrained(cltorch.ones(2))


@pytest.mark.parametrize(("error", "message", "make"), [
    (ValueError, "divisible by groups", lambda: nn.Conv2d(3, 4, 3, groups=2)),
    (ValueError, "positive integer", lambda: nn.Conv2d(3, 4, 3, groups=0)),
    (ValueError, "padding_mode must be one of", lambda: nn.Conv2d(3, 4, 3, padding_mode="odd")),
    (ValueError, "Invalid padding string", lambda: nn.Conv2d(3, 4, 3, padding="odd")),
    (ValueError, "strided convolutions", lambda: nn.Conv2d(3, 4, 3, padding="same", stride=2)),
    (ValueError, "expected a number or 2 numbers", lambda: nn.Conv2d(3, 4, (1, 2, 3))),
    (ValueError, "expected 4D input", lambda: nn.BatchNorm2d(3)(cltorch.ones(2, 3))),
    (ValueError, "expected 2D or 3D input", lambda: nn.BatchNorm1d(3)(cltorch.ones(2))),
    (ValueError, "divisible by num_groups", lambda: nn.GroupNorm(2, 3)),
    (ValueError, "in1_features must be > 0", lambda: nn.Bilinear(0, 1, 1)),
    (ValueError, "max_val must be larger", lambda: nn.Hardtanh(1.0, 0.0)),
    (ValueError, "3D or 4D", lambda: nn.Softmax2d()(cltorch.ones(2))),
    (ValueError, "p == 1 and p == 2", lambda: nn.MultiMarginLoss(p=3)),
    (ValueError, "greater than 0", lambda: nn.TripletMarginLoss(margin=0)),
    (TypeError, "tuple of ints", lambda: nn.Unflatten(1, (1.5,))),
    (AssertionError, "divisible by num_heads", lambda: nn.MultiheadAttention(5, 2)),
    (RuntimeError, "relu/gelu", lambda: nn.TransformerEncoderLayer(4, 2, activation="tanh")),
    (NotImplementedError, "sparse gradients", lambda: nn.Embedding(3, 2, sparse=True)),
])
def test_bad_layers(error: type[Exception], message: str, make: Any) -> None:
    with pytest.raises(error, match=message):
        make()


def test_bad_attention_inputs() -> None:
    layer, x = nn.MultiheadAttention(4, 2), cltorch.ones(3, 2, 4)
    with pytest.raises(AssertionError, match="embedding dimension of 4"):
        layer(cltorch.ones(3, 2, 5), x, x)
    with pytest.raises(RuntimeError, match="shape of attn_mask"):
        layer(x, x, x, attn_mask=cltorch.zeros(2, 2))
    with pytest.raises(AssertionError, match="key_padding_mask shape"):
        layer(x, x, x, key_padding_mask=cltorch.zeros(3, 3))
    with pytest.raises(RuntimeError, match="Need attn_mask"):
        layer(x, x, x, is_causal=True)
    with pytest.raises(TypeError, match="only bool and floating"):
        layer(x, x, x, attn_mask=cltorch.zeros(3, 3, dtype=cltorch.int32))


def test_deprecated_reduction_flags() -> None:
    with pytest.warns(UserWarning, match="reduction='sum'"):
        assert nn.MSELoss(size_average=False).reduction == "sum"
    with pytest.warns(UserWarning, match="reduction='none'"):
        assert nn.MSELoss(reduce=False).reduction == "none"


# nn.utils


def test_parameters_as_a_vector() -> None:
    params = [nn.Parameter(cltorch.ones(2, 3)), nn.Parameter(cltorch.zeros(4))]
    vector = nn.utils.parameters_to_vector(params)
    assert vector.tolist() == [1.0] * 6 + [0.0] * 4
    nn.utils.vector_to_parameters(cltorch.arange(10).float(), params)
    assert params[0].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert params[1].tolist() == [6, 7, 8, 9]
    with pytest.raises(TypeError, match=r"expected torch\.Tensor"):
        nn.utils.vector_to_parameters([1.0], params)
    with pytest.raises(TypeError, match="different devices"):
        nn.utils.parameters_to_vector([params[0], cltorch.ones(1, device="cuda")])


@pytest.mark.parametrize("batch_first", [False, True])
def test_pad_sequence(batch_first: bool) -> None:
    sequences = [cltorch.ones(2, 3), cltorch.ones(4, 3) * 2, cltorch.ones(1, 3) * 3]
    padded = nn.utils.rnn.pad_sequence(sequences, batch_first, padding_value=-1)
    rows = padded if batch_first else padded.transpose(0, 1)
    assert rows.shape == (3, 4, 3)
    assert rows[:, :, 0].tolist() == [[1, 1, -1, -1], [2, 2, 2, 2], [3, -1, -1, -1]]
    back = nn.utils.rnn.unpad_sequence(padded, cltorch.tensor([2, 4, 1]), batch_first)
    assert [b.shape[0] for b in back] == [2, 4, 1]
    left = nn.utils.rnn.pad_sequence(sequences, True, padding_side="left")
    assert left[0, :, 0].tolist() == [0, 0, 1, 1]
    with pytest.raises(ValueError, match="padding_side"):
        nn.utils.rnn.pad_sequence(sequences, padding_side="top")
