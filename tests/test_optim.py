"""Optimizers: trajectories and states against PyTorch, groups, saving, hooks, many tensors in few launches."""
from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import numpy as np
import pytest

import cltorch
from cltorch import nn, optim
from cltorch.core import dispatch
from cltorch.ops import multi_tensor
from cltorch.testing import assert_close

SHAPES = [(3, 4), (5,), (2, 3, 4), (), (1, 7)]
CASES: list[tuple[str, dict[str, Any]]] = [
    *[("SGD", options) for options in (
        {}, {"weight_decay": 0.1}, {"momentum": 0.9}, {"momentum": 0.9, "dampening": 0.5, "weight_decay": 0.01},
        {"momentum": 0.8, "nesterov": True}, {"maximize": True}, {"momentum": 0.9, "maximize": True, "weight_decay": 0.1})],
    *[(name, options) for name in ("Adam", "AdamW", "NAdam", "RAdam") for options in (
        {}, {"weight_decay": 0.1}, {"betas": (0.8, 0.9), "eps": 1e-3}, {"maximize": True})],
    *[(name, options) for name in ("Adam", "AdamW") for options in ({"amsgrad": True}, {"amsgrad": True, "weight_decay": 0.1})],
    *[(name, {"decoupled_weight_decay": True, "weight_decay": 0.1}) for name in ("NAdam", "RAdam")],
    *[("RMSprop", options) for options in (
        {}, {"momentum": 0.9}, {"centered": True}, {"centered": True, "momentum": 0.5, "weight_decay": 0.1}, {"maximize": True})],
    *[("Adagrad", options) for options in ({}, {"lr_decay": 0.1, "weight_decay": 0.1}, {"initial_accumulator_value": 0.5, "maximize": True})],
    *[("Adadelta", options) for options in ({}, {"rho": 0.8, "weight_decay": 0.1}, {"maximize": True})],
    *[("Adamax", options) for options in ({}, {"weight_decay": 0.1}, {"maximize": True})],
]
IDS = [f"{name}-{'-'.join(f'{k}={v}' for k, v in options.items()) or 'default'}" for name, options in CASES]
RULES = sorted({name for name, _ in CASES})


def arrays(shapes: list[tuple[int, ...]], seed: int, dtype: Any = np.float32) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.uniform(-1, 1, shape), dtype) for shape in shapes]


def parameters(shapes: list[tuple[int, ...]] = SHAPES, device: Any = "cuda", dtype: Any = np.float32) -> list[cltorch.Tensor]:
    return [cltorch.tensor(a, device=device).requires_grad_() for a in arrays(shapes, 0, dtype)]


def set_gradients(params: list, step: int, make: Any) -> None:
    for p, g in zip(params, arrays([tuple(p.shape) for p in params], 100 + step, np.float32), strict=True):
        p.grad = make(g).to(p.dtype)


def on_device(array: np.ndarray) -> cltorch.Tensor:
    return cltorch.tensor(array, device="cuda")


def numpy(t: Any) -> np.ndarray:
    return t.detach().cpu().numpy()


def run(optimizer: Any, params: list, steps: range, make: Any) -> None:
    for step in steps:
        set_gradients(params, step, make)
        optimizer.step()


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_trajectory_and_state_match_torch(name: str, options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = parameters(), [torch.tensor(a, requires_grad=True) for a in arrays(SHAPES, 0)]
    mine, reference = getattr(optim, name)(ours, lr=0.05, **options), getattr(torch.optim, name)(theirs, lr=0.05, foreach=False, **options)
    run(mine, ours, range(12), on_device)
    run(reference, theirs, range(12), torch.from_numpy)
    for p, q in zip(ours, theirs, strict=True):
        assert_close(p, numpy(q), rtol=2e-5, atol=2e-6)
    state, wanted = mine.state_dict(), reference.state_dict()
    assert {**wanted["param_groups"][0], "foreach": None} == state["param_groups"][0]
    for key, values in wanted["state"].items():
        assert list(values) == list(state["state"].get(key, {}))
        for entry, value in values.items():
            got = state["state"][key][entry]
            assert tuple(got.shape) == tuple(value.shape)
            assert str(got.dtype) == str(value.dtype)
            assert_close(got, value.numpy(), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", RULES)
def test_signature_defaults_and_repr_match_torch(name: str) -> None:
    torch = pytest.importorskip("torch")
    mine, theirs = getattr(optim, name), getattr(torch.optim, name)
    assert [(p.name, p.default, p.kind) for p in inspect.signature(mine).parameters.values()] == \
        [(p.name, p.default, p.kind) for p in inspect.signature(theirs).parameters.values()]
    a = mine([{"params": parameters([(2,)])}, {"params": parameters([(3,)]), "lr": 0.5}], lr=0.25)
    b = theirs([{"params": [torch.zeros(2, requires_grad=True)]}, {"params": [torch.zeros(3, requires_grad=True)], "lr": 0.5}], lr=0.25)
    assert a.defaults == b.defaults
    assert repr(a) == repr(b)


@pytest.mark.parametrize("name", RULES)
def test_torch_continues_from_our_state_and_we_from_torchs(name: str) -> None:
    torch = pytest.importorskip("torch")
    options = {"momentum": 0.9} if name in ("SGD", "RMSprop") else {}
    ours, theirs = parameters(), [torch.tensor(a, requires_grad=True) for a in arrays(SHAPES, 0)]
    mine, reference = getattr(optim, name)(ours, lr=0.05, **options), getattr(torch.optim, name)(theirs, lr=0.05, foreach=False, **options)
    run(mine, ours, range(4), on_device)
    to_torch = _convert(mine.state_dict(), lambda t: torch.from_numpy(numpy(t).copy()))
    reference.load_state_dict(to_torch)
    with torch.no_grad():
        for p, q in zip(theirs, ours, strict=True):
            p.copy_(torch.from_numpy(numpy(q).copy()))
    run(reference, theirs, range(4, 8), torch.from_numpy)
    run(mine, ours, range(4, 8), on_device)
    for p, q in zip(ours, theirs, strict=True):
        assert_close(p, numpy(q), rtol=2e-5, atol=2e-6)
    again = [cltorch.tensor(numpy(q), device="cuda").requires_grad_() for q in theirs]
    third = getattr(optim, name)(again, lr=1.0, **options)
    third.load_state_dict(_convert(reference.state_dict(), lambda t: cltorch.from_numpy(t.numpy())))
    run(reference, theirs, range(8, 11), torch.from_numpy)
    run(third, again, range(8, 11), on_device)
    for p, q in zip(again, theirs, strict=True):
        assert_close(p, numpy(q), rtol=2e-5, atol=2e-6)


def _convert(value: Any, tensor: Any) -> Any:
    if isinstance(value, dict):
        return {k: _convert(v, tensor) for k, v in value.items()}
    if isinstance(value, list):
        return [_convert(v, tensor) for v in value]
    return tensor(value) if hasattr(value, "detach") else value


@pytest.mark.parametrize("name", RULES)
def test_state_survives_saving_copying_and_pickling(name: str) -> None:
    params = parameters()
    first = getattr(optim, name)(params, lr=0.1)
    run(first, params, range(3), on_device)
    copies = [cltorch.tensor(numpy(p), device="cuda").requires_grad_() for p in params]
    second = getattr(optim, name)(copies, lr=0.7)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert second.param_groups[0]["lr"] == 0.1
    together = copy.deepcopy((params, first))
    pickled = pickle.loads(pickle.dumps((params, first)))
    for optimizer, ps in ((first, params), (second, copies), (together[1], together[0])):
        run(optimizer, ps, range(3, 6), on_device)
    for p, q, r in zip(params, copies, together[0], strict=True):
        assert_close(q, p, rtol=0, atol=0)
        assert_close(r, p, rtol=0, atol=0)
    assert pickled[1].param_groups[0]["lr"] == 0.1


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float16", 4e-3), ("bfloat16", 4e-2)])
@pytest.mark.parametrize("name", ["SGD", "AdamW"])
def test_other_dtypes(name: str, dtype: str, tolerance: float, device: Any) -> None:
    d = getattr(cltorch, dtype)
    if dtype == "float64" and not dispatch_device(device).has_fp64:
        pytest.skip("no double precision on this device")
    params = [p.detach().to(d).requires_grad_() for p in parameters()]
    exact = [cltorch.tensor(numpy(p.double().cpu()).astype(np.float64)).requires_grad_() for p in params]
    options = {"momentum": 0.9} if name == "SGD" else {}
    run(getattr(optim, name)(params, lr=0.01, **options), params, range(5), lambda g: on_device(g).to(d))
    run(getattr(optim, name)(exact, lr=0.01, **options), exact, range(5),
        lambda g: cltorch.tensor(numpy(on_device(g).to(d).double().cpu())))
    for p, q in zip(params, exact, strict=True):
        assert p.dtype is d
        assert_close(p.double().cpu(), q.detach(), rtol=tolerance, atol=tolerance)


def dispatch_device(device: Any) -> Any:
    return cltorch.zeros(1, device=device)._dev


@pytest.mark.parametrize("count", [1, 8, 9, 30, 70])
def test_many_tensors_of_many_sizes(count: int) -> None:
    shapes = [(1 + 37 * i % 101, 1 + i % 5) for i in range(count)]
    shapes[count // 2] = (40_000,)
    params = parameters(shapes)
    run(optim.Adam(params, lr=0.1), params, range(2), on_device)
    for p, start, g0, g1 in zip(params, arrays(shapes, 0), arrays(shapes, 100), arrays(shapes, 101), strict=True):
        assert_close(p, adam(start, [g0, g1], 0.1), rtol=1e-5, atol=1e-6)


def adam(p: np.ndarray, gradients: list[np.ndarray], lr: float) -> np.ndarray:
    p, m, v = p.astype(np.float64), 0.0, 0.0
    for t, g in enumerate(gradients, 1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g.astype(np.float64) ** 2
        p = p - lr * (m / (1 - 0.9 ** t)) / (np.sqrt(v / (1 - 0.999 ** t)) + 1e-8)
    return p


def test_launches_do_not_grow_with_parameters_and_new_numbers_compile_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    params = parameters([(11,)] * 28)
    optimizer = optim.AdamW(params, lr=0.1)
    run(optimizer, params, range(2), on_device)
    launches, built = [], []
    real, render = dispatch.kernel, dispatch.render
    monkeypatch.setattr(dispatch, "render", lambda *a, **k: built.append(a) or render(*a, **k))
    launch = multi_tensor.Update._launch
    monkeypatch.setattr(multi_tensor.Update, "_launch", lambda *a: launches.append(a) or launch(*a))
    set_gradients(params, 5, on_device)
    optimizer.param_groups[0].update(lr=0.033, weight_decay=0.2, betas=(0.7, 0.8))
    optimizer.step()
    assert len(launches) == 1
    assert built == []
    assert real is dispatch.kernel


def test_views_transposed_and_empty_parameters() -> None:
    base = arrays([(4, 6)], 3)[0]
    storage = cltorch.tensor(base, device="cuda")
    transposed, sliced = storage.t().requires_grad_(), cltorch.tensor(base, device="cuda")[1:3].detach().requires_grad_()
    empty = cltorch.zeros(0, 3, device="cuda").requires_grad_()
    params = [transposed, sliced, empty]
    g = arrays([(6, 4), (2, 6), (0, 3)], 5)
    for p, x in zip(params, g, strict=True):
        p.grad = cltorch.tensor(x, device="cuda")
    optim.SGD(params, lr=0.5, momentum=0.9).step()
    assert_close(transposed, base.T - 0.5 * g[0])
    assert_close(storage, base - 0.5 * g[0].T)
    assert_close(sliced, base[1:3] - 0.5 * g[1])


def test_expanded_and_transposed_gradients() -> None:
    p = cltorch.zeros(3, 4, device="cuda").requires_grad_()
    p.grad = cltorch.ones(4, 3, device="cuda").t()
    q = cltorch.zeros(3, 4, device="cuda").requires_grad_()
    q.grad = cltorch.ones(1, device="cuda").expand(3, 4)
    optim.SGD([p, q], lr=1.0).step()
    assert p.sum().item() == q.sum().item() == -12


def test_memory_shared_with_numpy_is_updated_before_step_returns() -> None:
    array = np.ones(5, np.float32)
    p = cltorch.from_numpy(array).requires_grad_()
    p.grad = cltorch.ones(5)
    optim.SGD([p], lr=0.25).step()
    assert (array == 0.75).all()


def test_in_place_step_bumps_the_version() -> None:
    p = cltorch.ones(3, device="cuda").requires_grad_()
    loss = (p * p).sum()
    p.grad = cltorch.ones(3, device="cuda")
    optim.SGD([p], lr=0.1).step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_pending_readers_of_the_old_value_keep_it() -> None:
    p = cltorch.ones(3, device="cuda").requires_grad_()
    before = p.detach() + 1
    p.grad = cltorch.ones(3, device="cuda")
    optim.SGD([p], lr=1.0).step()
    assert before.tolist() == [2, 2, 2]
    assert p.tolist() == [0, 0, 0]


def test_parameters_without_gradient_are_skipped_and_count_their_own_steps() -> None:
    a, b = parameters([(2,), (2,)])
    optimizer = optim.Adam([a, b], lr=0.1)
    start = numpy(b).copy()
    a.grad = cltorch.ones(2, device="cuda")
    optimizer.step()
    assert_close(b, start)
    assert b not in optimizer.state
    b.grad = cltorch.ones(2, device="cuda")
    optimizer.step()
    assert (optimizer.state[a]["step"], optimizer.state[b]["step"]) == (2, 1)
    assert_close(b, start - 0.1)


def test_two_devices_and_two_dtypes_in_one_group() -> None:
    params = [cltorch.ones(2, device="cuda"), cltorch.ones(2), cltorch.ones(2, device="cuda", dtype=cltorch.float16)]
    for p in params:
        p.requires_grad_()
        p.grad = cltorch.ones_like(p)
    optim.SGD(params, lr=0.5, momentum=0.9).step()
    assert [p.tolist() for p in params] == [[0.5, 0.5]] * 3


def test_complex_parameters() -> None:
    p = cltorch.tensor([1 + 2j, 3 - 1j], device="cuda").requires_grad_()
    p.grad = cltorch.tensor([1j, 1 + 1j], device="cuda")
    optim.Adam([p], lr=0.1).step()
    torch = pytest.importorskip("torch")
    q = torch.tensor([1 + 2j, 3 - 1j], requires_grad=True)
    q.grad = torch.tensor([1j, 1 + 1j])
    torch.optim.Adam([q], lr=0.1).step()
    assert_close(p, q.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_closure_is_evaluated_with_gradients_and_its_loss_returned() -> None:
    p = cltorch.ones(2, device="cuda").requires_grad_()
    optimizer = optim.SGD([p], lr=0.1)

    def closure() -> cltorch.Tensor:
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    with cltorch.no_grad():
        assert optimizer.step(closure).item() == 2
    assert_close(p, np.full(2, 0.8, np.float32))


def test_zero_grad() -> None:
    p = cltorch.ones(2, device="cuda").requires_grad_()
    optimizer = optim.SGD([p], lr=0.1)
    p.grad = cltorch.ones(2, device="cuda")
    optimizer.zero_grad(set_to_none=False)
    assert p.grad.tolist() == [0, 0]
    optimizer.zero_grad()
    assert p.grad is None


def test_groups_have_their_own_options_and_can_be_added() -> None:
    a, b = parameters([(2,), (2,)])
    optimizer = optim.SGD([{"params": [a]}], lr=0.1, momentum=0.5)
    optimizer.add_param_group({"params": b, "lr": 1.0})
    starts = [numpy(p).copy() for p in (a, b)]
    for p in (a, b):
        p.grad = cltorch.ones(2, device="cuda")
    optimizer.step()
    assert_close(a, starts[0] - 0.1)
    assert_close(b, starts[1] - 1.0)
    assert optimizer.param_groups[1]["momentum"] == 0.5


def test_named_parameters_are_kept_with_their_groups() -> None:
    a, b = parameters([(2,), (2,)])
    optimizer = optim.SGD([("first", a), ("second", b)], lr=0.1)
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == ["first", "second"]
    with pytest.raises(ValueError, match="with/without names"):
        optimizer.add_param_group({"params": parameters([(3,)])})


def _leaf() -> cltorch.Tensor:
    return cltorch.ones(2).requires_grad_()


@pytest.mark.parametrize(("error", "message", "make"), [
    (ValueError, "empty parameter list", lambda: optim.SGD([], lr=0.1)),
    (TypeError, "iterable of Tensors or dicts", lambda: optim.SGD(_leaf(), lr=0.1)),
    (TypeError, "can only optimize Tensors", lambda: optim.SGD([1.0], lr=0.1)),
    (TypeError, "ordered collections", lambda: optim.SGD([{"params": {_leaf()}}], lr=0.1)),
    (ValueError, "can't optimize a non-leaf Tensor", lambda: optim.SGD([_leaf() * 2], lr=0.1)),
    (ValueError, "Invalid learning rate", lambda: optim.SGD([_leaf()], lr=-1)),
    (ValueError, "Invalid momentum", lambda: optim.SGD([_leaf()], lr=1, momentum=-1)),
    (ValueError, "Nesterov momentum requires", lambda: optim.SGD([_leaf()], lr=1, nesterov=True)),
    (ValueError, "Invalid beta parameter at index 1", lambda: optim.Adam([_leaf()], betas=(0.9, 1.0))),
    (ValueError, "Invalid epsilon", lambda: optim.Adam([_leaf()], eps=-1)),
    (ValueError, "Invalid weight_decay", lambda: optim.AdamW([_leaf()], weight_decay=-1)),
    (ValueError, "Invalid rho", lambda: optim.Adadelta([_leaf()], rho=2)),
    (NotImplementedError, "differentiable=True", lambda: optim.Adam([_leaf()], differentiable=True)),
])
def test_bad_arguments(error: type[Exception], message: str, make: Any) -> None:
    with pytest.raises(error, match=message):
        make()


def test_a_parameter_belongs_to_one_group_once() -> None:
    p = _leaf()
    optimizer = optim.SGD([p], lr=0.1)
    with pytest.raises(ValueError, match="more than one parameter group"):
        optimizer.add_param_group({"params": [p]})
    with pytest.raises(ValueError, match="duplicate parameters"):
        optim.SGD([p, p], lr=0.1)


def test_wrong_state_dicts() -> None:
    optimizer = optim.SGD(parameters([(2,), (2,)]), lr=0.1)
    with pytest.raises(ValueError, match="different number of parameter groups"):
        optimizer.load_state_dict({"state": {}, "param_groups": []})
    with pytest.raises(ValueError, match="doesn't match the size"):
        optimizer.load_state_dict({"state": {}, "param_groups": [{"params": [0]}]})


def test_tensor_learning_rate() -> None:
    p = cltorch.ones(2, device="cuda").requires_grad_()
    p.grad = cltorch.ones(2, device="cuda")
    optim.SGD([p], lr=cltorch.tensor(0.5)).step()
    assert p.tolist() == [0.5, 0.5]


def test_step_hooks_and_own_optimizers() -> None:
    class Down(optim.Optimizer):
        def __init__(self, params: Any, amount: float) -> None:
            super().__init__(params, {"amount": amount})

        @cltorch.no_grad()
        def step(self, closure: Any = None) -> str:
            for group in self.param_groups:
                for p in group["params"]:
                    p.sub_(group["amount"])
            return "done"

    p, seen = _leaf(), []
    optimizer = Down([p], 0.5)
    before = optimizer.register_step_pre_hook(lambda o, args, kwargs: seen.append("before"))
    optimizer.register_step_post_hook(lambda o, args, kwargs: seen.append("after"))
    assert optimizer.step() == "done"
    before.remove()
    optimizer.step()
    assert seen == ["before", "after", "after"]
    assert p.tolist() == [0, 0]
    rule = optim.SGD([_leaf()], lr=0.1)
    rule.register_step_pre_hook(lambda o, args, kwargs: seen.append("rule"))
    rule.step()
    assert seen[-1] == "rule"


@pytest.mark.parametrize("p", [2.0, 1.0, 3.0, 0.0, float("inf")])
def test_norm_of_many_tensors(p: float) -> None:
    shapes = [(3, 5), (70_001,), (), (0, 2), *[(17,)] * 120]
    values = arrays(shapes, 7)
    flat = np.concatenate([v.reshape(-1) for v in values]).astype(np.float64)
    got = multi_tensor.norm([on_device(v) for v in values], p)
    want = np.count_nonzero(flat) if p == 0 else np.linalg.norm(flat, p)
    assert_close(got, np.float32(want), rtol=1e-5, atol=1e-6)


def test_norm_of_halves_views_and_nan() -> None:
    values = arrays([(40, 30)], 8)[0]
    t = on_device(values)
    want = np.sqrt((values.astype(np.float64) ** 2).sum())
    assert_close(multi_tensor.norm([t.t()]), np.float32(want), rtol=1e-5, atol=1e-6)
    assert_close(multi_tensor.norm([t.half() * 100]), np.float32(100 * want), rtol=1e-2, atol=1e-2)
    t[3, 4] = float("nan")
    for p in (2.0, float("inf")):
        assert np.isnan(multi_tensor.norm([t], p).item())


@pytest.mark.parametrize("max_norm", [0.5, 1e6])
@pytest.mark.parametrize("norm_type", [2.0, float("inf"), 1.0])
def test_clip_grad_norm_matches_torch(max_norm: float, norm_type: float) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = parameters(), [torch.tensor(a, requires_grad=True) for a in arrays(SHAPES, 0)]
    set_gradients(ours, 1, on_device)
    set_gradients(theirs, 1, torch.from_numpy)
    got = nn.utils.clip_grad_norm_(ours, max_norm, norm_type)
    want = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
    assert_close(got, want.numpy(), rtol=1e-5, atol=1e-6)
    for p, q in zip(ours, theirs, strict=True):
        assert_close(p.grad, q.grad.numpy(), rtol=1e-5, atol=1e-6)


def test_clip_grad_norm_edge_cases() -> None:
    p = _leaf()
    assert nn.utils.clip_grad_norm_([p], 1.0).item() == 0
    p.grad = cltorch.tensor([float("inf"), 1.0])
    with pytest.raises(RuntimeError, match="non-finite"):
        nn.utils.clip_grad_norm_([p], 1.0, error_if_nonfinite=True)


def test_clip_grad_value() -> None:
    p = _leaf()
    p.grad = cltorch.tensor([3.0, -7.0])
    nn.utils.clip_grad_value_([p], 0.5)
    assert p.grad.tolist() == [0.5, -0.5]
