"""Several devices in one program: tensors move between them, nothing else is shared, and one module runs on all of them.

The pair is "cuda:0" with the first device of another OpenCL implementation, where one is installed; else with "cpu", whose memory is NumPy's.
"""
from __future__ import annotations

import collections
import gc
from typing import Any

import numpy as np
import pytest

import cltorch as torch
from cltorch import cuda, nn
from cltorch.nn.parallel import data_parallel, gather, measure_weights, parallel_apply, replicate, scatter
from cltorch.runtime.device import devices

HOME = torch.device("cuda:0")
OTHER = next((dev.spec for dev in devices() if dev.platform_name + dev.driver_version != devices()[0].platform_name + devices()[0].driver_version),
             torch.device("cpu"))
PAIR = [HOME, OTHER]
IMPLEMENTATIONS = f"{HOME} ({devices()[0].platform_name}) and {OTHER}"
Point = collections.namedtuple("Point", "x y")
MIXED = [
    lambda a, b: a + b,
    lambda a, b: a @ b,
    lambda a, b: torch.cat([a, b]),
    lambda a, b: torch.stack([a, b]),
    lambda a, b: torch.where(a > 0, a, b),
    lambda a, b: a.add_(b),
    lambda a, b: torch.addmm(a, b, b),
    lambda a, b: nn.functional.linear(a, b),
    lambda a, b: nn.functional.mse_loss(a, b),
    lambda a, b: nn.functional.conv2d(a.reshape(1, 1, 4, 4), b.reshape(1, 1, 4, 4)),
    lambda a, b: a.gather(0, b.long()),
    lambda a, b: nn.functional.embedding(b.long(), a),
    lambda a, b: nn.functional.layer_norm(a, (4,), b[0]),
    lambda a, b: a.scatter(0, b.long(), a),
    lambda a, b: a.scatter(0, a.long(), b),
    lambda a, b: a.index_select(0, b[0].long()),
    lambda a, b: a.index_add(0, a[0].long(), b),
    lambda a, b: a.take(b.long()),
]


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Sequential(nn.Linear(12, 8), nn.ReLU()), nn.Linear(8, 3)).to(HOME)


def batch(rows: int = 13) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(2).standard_normal((rows, 6), np.float32)).to(HOME)


def gradients(module: nn.Module) -> dict[str, np.ndarray]:
    return {name: p.grad.numpy(force=True) for name, p in module.named_parameters()}


def same(got: dict[str, np.ndarray], want: dict[str, np.ndarray]) -> None:
    assert list(got) == list(want)
    for name in want:
        np.testing.assert_allclose(got[name], want[name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_two_implementations_are_here() -> None:
    if OTHER.type == "cpu":
        pytest.skip(f"one OpenCL implementation is installed: these tests pair {IMPLEMENTATIONS}, which is the same driver")
    assert devices()[OTHER.index].platform_name + devices()[OTHER.index].driver_version != devices()[0].platform_name + devices()[0].driver_version


# Moving


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int64", "uint8", "bool", "complex64"])
def test_tensors_move(dtype: str) -> None:
    values = torch.arange(24).reshape(4, 6).to(getattr(torch, dtype)).to(HOME)
    for x in (values, values.T, values[1:, ::2], values[2, 3], values[:0]):
        there = x.to(OTHER)
        assert (there.device, there.dtype, there.shape) == (OTHER, x.dtype, x.shape)
        back = there.to(HOME)
        assert back.device == HOME
        assert there.tolist() == back.tolist() == x.tolist()


def test_pending_and_later_work_stay_apart() -> None:
    """What is recorded on one device is computed before it leaves; what happens later there does not reach the copy."""
    x = torch.ones(5, device=HOME)
    y = (x * 3 + 1).to(OTHER)
    x.fill_(7)
    y.add_(1)
    assert y.tolist() == [5] * 5
    assert x.tolist() == [7] * 5
    x.copy_(y)
    assert x.tolist() == [5] * 5
    assert x.device == HOME


def test_gradients_travel_back() -> None:
    x, w = (torch.ones(3, device=place, requires_grad=True) for place in PAIR)
    ((x * 2).to(OTHER) * w * 5).sum().backward()
    assert (x.grad.device, x.grad.tolist()) == (HOME, [10] * 3)
    assert (w.grad.device, w.grad.tolist()) == (OTHER, [10] * 3)


@pytest.mark.parametrize("index", range(len(MIXED)))
def test_errors_name_both_devices(index: int) -> None:
    a, b = torch.ones(4, 4, device=HOME), torch.ones(4, 4, device=OTHER)
    with pytest.raises(RuntimeError) as caught:
        MIXED[index](a, b)
    assert str(HOME) in str(caught.value)
    assert str(OTHER) in str(caught.value)


def test_memory_is_each_devices_own() -> None:
    if OTHER.type == "cpu":
        pytest.skip("one OpenCL implementation is installed; cuda.memory_allocated counts OpenCL devices only")
    gc.collect()  # what earlier tests left behind would go while this one counts
    before = [cuda.memory_allocated(place) for place in PAIR]
    kept = torch.zeros(1 << 16, device=OTHER) + 1
    kept.sum().item()
    after = [cuda.memory_allocated(place) for place in PAIR]
    assert after[0] == before[0]
    assert after[1] - before[1] >= 1 << 18


def test_random_state_is_each_devices_own() -> None:
    def draw(place: Any) -> list:
        return torch.rand(4, device=place).tolist()

    torch.manual_seed(5)
    first = draw(HOME)
    for _ in range(3):
        draw(HOME)
    assert draw(OTHER) == first  # its stream is at its start
    torch.manual_seed(5)
    cuda.manual_seed(6)  # the current device's alone
    assert draw(OTHER) == first
    assert draw(HOME) != first


# Splitting a batch


@pytest.mark.parametrize("weights", [None, [1, 1], [3, 1], [1, 50], "auto"])
def test_data_parallel_is_the_module(weights: Any) -> None:
    """Result and gradients are those of the module on its own device, whatever the split."""
    net, x = network(), batch()
    y = net(x)
    (y ** 2).sum().backward()
    want = gradients(net)
    net.zero_grad()
    wrapped = nn.DataParallel(net, PAIR, weights=weights)
    got = wrapped(x)
    assert got.device == HOME
    np.testing.assert_allclose(got.numpy(force=True), y.numpy(force=True), rtol=1e-5, atol=1e-6)
    (got ** 2).sum().backward()
    same(gradients(net), want)
    if weights == "auto":
        assert sum(wrapped.weights) == pytest.approx(1)
        assert all(0 < weight < 1 for weight in wrapped.weights)


def test_both_devices_compute() -> None:
    seen = []

    class Note(nn.Module):
        def forward(self, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
            seen.append((str(x.device), str(scale.device), len(x), cuda.current_device()))
            return x * scale

    x = batch(8)
    y = nn.DataParallel(Note(), PAIR, weights=[3, 1])(x, scale=torch.full((8, 1), 2.0))
    np.testing.assert_array_equal(y.numpy(force=True), 2 * x.numpy(force=True))
    assert sorted(seen) == sorted([(str(HOME), str(HOME), 6, 0), (str(OTHER), str(OTHER), 2, OTHER.index or 0)])
    assert cuda.current_device() == 0


@pytest.mark.parametrize("rows", [0, 1, 2, 3])
@pytest.mark.parametrize("weights", [None, [1, 9]])
def test_few_rows(rows: int, weights: Any) -> None:
    net, x = network(), batch(rows)
    np.testing.assert_allclose(nn.DataParallel(net, PAIR, weights=weights)(x).numpy(force=True), net(x).numpy(force=True), rtol=1e-5, atol=1e-6)


def test_training_on_both_is_training_on_one() -> None:
    losses, states = [], []
    for wrap in (lambda net: net, lambda net: nn.DataParallel(net, PAIR, weights=[2, 1])):
        net = network()
        model, x = wrap(net), batch(30)
        target = x[:, :3].sin()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        for _ in range(15):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(x), target)
            loss.backward()
            optimizer.step()
        losses.append(loss.item())
        states.append({name: value.numpy(force=True) for name, value in net.state_dict().items()})
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    for name, value in states[0].items():
        np.testing.assert_allclose(states[1][name], value, rtol=1e-3, atol=1e-4)


def test_running_statistics_come_from_the_first_device() -> None:
    norm, x = nn.BatchNorm1d(6).to(HOME), batch(12)
    alone = nn.BatchNorm1d(6).to(HOME)
    alone(x[:6])
    nn.DataParallel(norm, PAIR)(x)
    assert norm.num_batches_tracked.item() == 1
    np.testing.assert_allclose(norm.running_mean.numpy(force=True), alone.running_mean.numpy(force=True), rtol=1e-6)


def test_measuring_leaves_no_trace() -> None:
    net = nn.Sequential(nn.BatchNorm1d(6), nn.Dropout(0.5)).to(HOME)
    states = [torch.cuda.get_rng_state(HOME).tolist(), torch.get_rng_state().tolist()]
    before = {name: value.tolist() for name, value in net.state_dict().items()}
    measured = measure_weights(net, batch(10), PAIR)
    assert sum(measured) == pytest.approx(1)
    assert before == {name: value.tolist() for name, value in net.state_dict().items()}
    assert states == [torch.cuda.get_rng_state(HOME).tolist(), torch.get_rng_state().tolist()]


def test_state_dict_has_the_prefix() -> None:
    net = network()
    wrapped = nn.DataParallel(net, PAIR)
    assert list(wrapped.state_dict()) == ["module." + name for name in net.state_dict()]
    wrapped.load_state_dict({"module." + name: value * 0 for name, value in net.state_dict().items()})
    assert all(not p.any().item() for p in net.parameters())
    assert wrapped.module is net


def test_structures_are_split_and_joined() -> None:
    x = batch(4)
    inputs = {"list": [x, 5], "point": Point(x, x * 2), "none": None, "text": "abc"}
    first, second = scatter(inputs, PAIR)
    assert [part["point"].x.device for part in (first, second)] == PAIR
    assert isinstance(second["point"], Point)
    assert (second["list"][1], second["text"], second["none"]) == (5, "abc", None)
    joined = gather([{"a": Point(part["point"].x, (part["list"][0], None))} for part in (first, second)], HOME)
    np.testing.assert_array_equal(joined["a"].x.numpy(force=True), x.numpy(force=True))
    assert joined["a"].y[1] is None
    assert isinstance(scatter(x, PAIR), tuple)
    assert [part.shape[1] for part in scatter(x, PAIR, dim=1)] == [3, 3]
    assert gather(scatter(x, PAIR), -1).device == torch.device("cpu")
    with pytest.raises(ValueError, match="All dicts must have the same number of keys"):
        gather([{"a": x}, {}], HOME)


def test_scalars_become_a_vector() -> None:
    with pytest.warns(UserWarning, match="Was asked to gather along dimension 0, but all input tensors were scalars"):
        joined = gather([torch.tensor(1.0, device=HOME), torch.tensor(2.0, device=OTHER)], HOME)
    assert joined.tolist() == [1, 2]


def test_replicas() -> None:
    """Parameters of a replica are results of the module's own; shared modules and parameters stay shared; lists of parameters work."""
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = self.second = nn.Linear(6, 6)
            self.items = nn.ParameterList([nn.Parameter(torch.ones(6)), nn.Parameter(torch.ones(6))])
            self.note = "kept"

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(self.first(x)) * self.items[0] + sum(self.items)

    net, x = Tied().to(HOME), batch(6)
    here, there = replicate(net, PAIR)
    assert there.first is there.second
    assert (there.note, there.first.weight.device, here.first.weight.device) == ("kept", OTHER, HOME)
    assert list(there.parameters()) == []
    assert there.first.weight.grad_fn is not None
    assert replicate(net, PAIR, detach=True)[1].first.weight.grad_fn is None
    net(x).sum().backward()
    want = gradients(net)
    net.zero_grad()
    nn.DataParallel(net, PAIR)(x).sum().backward()
    same(gradients(net), want)


def test_modes_reach_the_replicas() -> None:
    net = network()
    with torch.no_grad():
        assert not nn.DataParallel(net, PAIR)(batch()).requires_grad
    dropped = nn.DataParallel(nn.Dropout(0.5), PAIR)
    assert (dropped(torch.ones(1000, device=HOME)) == 0).sum().item() > 300
    assert dropped.eval()(torch.ones(10, device=HOME)).tolist() == [1] * 10


def test_functional_form() -> None:
    net, x = network(), batch()
    y = data_parallel(net, x, PAIR, output_device=OTHER, weights=[1, 2])
    assert y.device == OTHER
    np.testing.assert_allclose(y.numpy(force=True), net(x).numpy(force=True), rtol=1e-5, atol=1e-6)
    assert data_parallel(net, x, [0]).device == HOME
    assert data_parallel(net, x).shape == (13, 3)
    assert nn.DataParallel(nn.Linear(6, 2), [OTHER])(batch()).device == OTHER


def test_mistakes() -> None:
    net, x = network(), batch()
    with pytest.raises(RuntimeError) as caught:
        nn.DataParallel(net, [OTHER, HOME])(x)
    assert str(caught.value) == (f"module must have its parameters and buffers on device {OTHER} (device_ids[0]) but found one of them on device: {HOME}")
    for wrong in ([1], [1, -1], [1, 0], "fast"):
        with pytest.raises(ValueError, match="weights must be 2 positive numbers, one for each device, but got "):
            nn.DataParallel(net, PAIR, weights=wrong)
    with pytest.raises(RuntimeError, match=f"(?s)Caught RuntimeError in replica 0 on device {HOME}.*mat1"):
        nn.DataParallel(net, PAIR)(x[:, :5])
    with pytest.raises(KeyError, match=f"in replica 0 on device {HOME}"):
        nn.DataParallel(_Fails(), PAIR)(x)
    with pytest.raises(AssertionError, match="The number of modules 1 is not equal to the number of inputs 2"):
        parallel_apply([net], [x, x])


class _Fails(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise KeyError("lost")


def test_many_rounds_from_threads() -> None:
    """Threads record, compile and launch at once, time after time."""
    net, x = network(), batch(64)
    wrapped = nn.DataParallel(net, PAIR)
    want = net(x).numpy(force=True)
    for _ in range(40):
        np.testing.assert_allclose(wrapped(x).numpy(force=True), want, rtol=1e-5, atol=1e-6)
