"""Learning-rate schedules: the very numbers of PyTorch, resuming, warnings, errors."""
from __future__ import annotations

import copy
import inspect
import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest

import cltorch
from cltorch import optim
from cltorch.optim import lr_scheduler

S = Any  # the module lr_scheduler, ours or PyTorch's


def halve(epoch: int) -> float:
    return 0.5 ** epoch


class Decay:
    def __init__(self, rate: float) -> None:
        self.rate = rate

    def __call__(self, epoch: int) -> float:
        return self.rate ** epoch


SCHEDULES: dict[str, Callable[[S, Any], Any]] = {
    "lambda": lambda s, o: s.LambdaLR(o, lambda e: 0.95 ** e),
    "lambda per group": lambda s, o: s.LambdaLR(o, [halve, Decay(0.9)]),
    "multiplicative": lambda s, o: s.MultiplicativeLR(o, lambda e: 0.9),
    "step": lambda s, o: s.StepLR(o, 3, gamma=0.3),
    "multistep": lambda s, o: s.MultiStepLR(o, [2, 5, 5, 11], gamma=0.5),
    "constant": lambda s, o: s.ConstantLR(o, factor=0.25, total_iters=4),
    "linear": lambda s, o: s.LinearLR(o, start_factor=0.2, end_factor=0.9, total_iters=7),
    "exponential": lambda s, o: s.ExponentialLR(o, 0.87),
    "polynomial": lambda s, o: s.PolynomialLR(o, total_iters=9, power=1.7),
    "cosine": lambda s, o: s.CosineAnnealingLR(o, T_max=6, eta_min=0.01),
    "restarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, T_0=3, T_mult=2, eta_min=0.001),
    "restarts equal": lambda s, o: s.CosineAnnealingWarmRestarts(o, T_0=4),
    "cyclic": lambda s, o: s.CyclicLR(o, 0.01, 0.1, step_size_up=3, step_size_down=5),
    "cyclic triangular2": lambda s, o: s.CyclicLR(o, [0.01, 0.02], [0.1, 0.3], step_size_up=4, mode="triangular2"),
    "cyclic exp_range": lambda s, o: s.CyclicLR(o, 0.01, 0.1, step_size_up=3, mode="exp_range", gamma=0.98),
    "cyclic own": lambda s, o: s.CyclicLR(o, 0.01, 0.1, step_size_up=3, scale_fn=lambda x: 1 / x, scale_mode="cycle", cycle_momentum=False),
    "one cycle": lambda s, o: s.OneCycleLR(o, 0.5, total_steps=30),
    "one cycle linear": lambda s, o: s.OneCycleLR(o, [0.5, 0.2], epochs=6, steps_per_epoch=5, anneal_strategy="linear", pct_start=0.4),
    "one cycle three": lambda s, o: s.OneCycleLR(o, 0.5, total_steps=30, three_phase=True, cycle_momentum=False),
    "sequential": lambda s, o: s.SequentialLR(o, [s.ConstantLR(o, 0.1, 3), s.LinearLR(o, 0.3, 1.0, 4), s.ExponentialLR(o, 0.9)], [3, 9]),
    "warmup cosine": lambda s, o: s.SequentialLR(o, [s.LinearLR(o, 0.01, 1.0, 5), s.CosineAnnealingLR(o, 20)], milestones=[5]),
    "chained": lambda s, o: s.ChainedScheduler([s.ConstantLR(o, 0.1, 4), s.ExponentialLR(o, 0.9)]),
    "nested": lambda s, o: s.SequentialLR(
        o, [s.SequentialLR(o, [s.ConstantLR(o, 0.5, 2), s.StepLR(o, 2)], [2]), s.ExponentialLR(o, 0.8)], [6]),
}
RULES = {"SGD": {"momentum": 0.9}, "Adam": {}}


def our_optimizer(rule: str = "SGD") -> Any:
    groups = [{"params": [cltorch.zeros(2).requires_grad_()]}, {"params": [cltorch.zeros(1).requires_grad_()], "lr": 0.7}]
    return getattr(optim, rule)(groups, lr=0.3, **RULES[rule])


def torch_optimizer(torch: Any, rule: str = "SGD") -> Any:
    groups = [{"params": [torch.zeros(2, requires_grad=True)]}, {"params": [torch.zeros(1, requires_grad=True)], "lr": 0.7}]
    return getattr(torch.optim, rule)(groups, lr=0.3, **RULES[rule])


def snapshot(optimizer: Any) -> list:
    return [(g["lr"], g.get("momentum"), g.get("betas")) for g in optimizer.param_groups]


def trace(scheduler: Any, optimizer: Any, steps: int) -> list:
    seen = [snapshot(optimizer)]
    for _ in range(steps):
        optimizer.step()
        scheduler.step()
        seen.append((snapshot(optimizer), scheduler.get_last_lr()))
    return seen


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", SCHEDULES)
def test_rates_are_exactly_torchs(name: str, rule: str) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = our_optimizer(rule), torch_optimizer(torch, rule)
    mine = SCHEDULES[name](lr_scheduler, ours)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = SCHEDULES[name](torch.optim.lr_scheduler, theirs)
    assert trace(mine, ours, 29) == trace(reference, theirs, 29)


@pytest.mark.parametrize("name", SCHEDULES)
def test_resumed_from_a_state_dict(name: str) -> None:
    whole, first, second = our_optimizer(), our_optimizer(), our_optimizer()
    expected = trace(SCHEDULES[name](lr_scheduler, whole), whole, 20)
    a = SCHEDULES[name](lr_scheduler, first)
    trace(a, first, 8)
    b = SCHEDULES[name](lr_scheduler, second)
    second.load_state_dict(first.state_dict())
    b.load_state_dict(copy.deepcopy(a.state_dict()))
    assert trace(b, second, 12)[1:] == expected[9:]


@pytest.mark.parametrize("name", ["step", "multistep", "constant", "linear", "exponential", "polynomial", "cosine", "lambda", "restarts"])
def test_jump_to_an_epoch(name: str) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = our_optimizer(), torch_optimizer(torch)
    mine, reference = SCHEDULES[name](lr_scheduler, ours), SCHEDULES[name](torch.optim.lr_scheduler, theirs)
    ours.step()
    theirs.step()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for epoch in (5, 2, 8):
            mine.step(epoch)
            reference.step(epoch)
            assert snapshot(ours) == snapshot(theirs)


@pytest.mark.parametrize("name", lr_scheduler.__all__)
def test_signatures_match_torch(name: str) -> None:
    torch = pytest.importorskip("torch")
    mine, theirs = (inspect.signature(getattr(m, name)).parameters.values() for m in (lr_scheduler, torch.optim.lr_scheduler))
    assert [(p.name, p.default) for p in mine] == [(p.name, p.default) for p in theirs]


def test_every_schedule_of_torch_is_here() -> None:
    torch = pytest.importorskip("torch")
    assert set(torch.optim.lr_scheduler.__all__) == set(lr_scheduler.__all__)


@pytest.mark.parametrize("options", [
    {}, {"mode": "max"}, {"patience": 1, "factor": 0.5}, {"threshold": 0.1, "threshold_mode": "abs", "patience": 1},
    {"cooldown": 3, "patience": 0}, {"min_lr": [0.1, 0.2], "patience": 0, "factor": 0.3}, {"mode": "max", "threshold_mode": "abs", "patience": 2}])
def test_plateau_matches_torch(options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = our_optimizer(), torch_optimizer(torch)
    mine = lr_scheduler.ReduceLROnPlateau(ours, **options)
    reference = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, **options)
    for i in range(60):
        metric = math.cos(i / 5) + (0.01 * i if i % 3 else 0)
        mine.step(metric)
        reference.step(metric)
        assert snapshot(ours) == snapshot(theirs)
        assert mine.get_last_lr() == reference.get_last_lr()
    again = lr_scheduler.ReduceLROnPlateau(our_optimizer(), **options)
    again.load_state_dict(mine.state_dict())
    assert (again.best, again.num_bad_epochs) == (mine.best, mine.num_bad_epochs)


def test_plateau_takes_a_tensor() -> None:
    optimizer = our_optimizer()
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
    scheduler.step(cltorch.tensor(1.0))
    scheduler.step(cltorch.tensor(1.0))
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.03)


def test_tensor_rates_are_filled_in_place() -> None:
    rate = cltorch.tensor(0.5)
    optimizer = optim.SGD([cltorch.zeros(1).requires_grad_()], lr=rate)
    scheduler = lr_scheduler.ExponentialLR(optimizer, 0.5)
    optimizer.step()
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] is rate
    assert rate.item() == 0.25
    assert scheduler.get_last_lr()[0].item() == 0.25


def test_warning_about_the_order() -> None:
    optimizer = our_optimizer()
    scheduler = lr_scheduler.StepLR(optimizer, 2)
    with pytest.warns(UserWarning, match=r"`lr_scheduler.step\(\)` before `optimizer.step\(\)`"):
        scheduler.step()
    scheduler.step()


def test_warning_about_a_step_that_was_replaced() -> None:
    optimizer = our_optimizer()
    scheduler = lr_scheduler.StepLR(optimizer, 2)
    optimizer.step = lambda: None
    with pytest.warns(UserWarning, match="has been overridden"):
        scheduler.step()


def test_no_warning_in_the_right_order() -> None:
    optimizer = our_optimizer()
    scheduler = lr_scheduler.StepLR(optimizer, 2)
    optimizer.step()
    scheduler.step()


@pytest.mark.parametrize(("error", "message", "make"), [
    (TypeError, "is not an Optimizer", lambda o: lr_scheduler.StepLR(object(), 2)),
    (KeyError, "initial_lr", lambda o: lr_scheduler.StepLR(o, 2, last_epoch=3)),
    (ValueError, "Expected 2 lr_lambdas", lambda o: lr_scheduler.LambdaLR(o, [halve])),
    (TypeError, "should be a function", lambda o: lr_scheduler.MultiplicativeLR(o, 0.5)),
    (ValueError, "between 0 and 1", lambda o: lr_scheduler.ConstantLR(o, 2.0)),
    (ValueError, "Starting multiplicative factor", lambda o: lr_scheduler.LinearLR(o, 0.0)),
    (ValueError, "Ending multiplicative factor", lambda o: lr_scheduler.LinearLR(o, 0.5, 2.0)),
    (ValueError, "T_0", lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 0)),
    (ValueError, "total_steps OR", lambda o: lr_scheduler.OneCycleLR(o, 0.1)),
    (ValueError, "positive integer total_steps", lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=-1)),
    (ValueError, "pct_start", lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=3, pct_start=2.0)),
    (ValueError, "anneal_strategy", lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=3, anneal_strategy="x")),
    (ValueError, "same length", lambda o: lr_scheduler.OneCycleLR(o, [0.1], total_steps=3)),
    (ValueError, "Factor should be", lambda o: lr_scheduler.ReduceLROnPlateau(o, factor=1.0)),
    (ValueError, "mode middle is unknown", lambda o: lr_scheduler.ReduceLROnPlateau(o, mode="middle")),
    (ValueError, "mode is invalid", lambda o: lr_scheduler.CyclicLR(o, 0.1, 0.2, mode="x")),
    (ValueError, "at least one scheduler", lambda o: lr_scheduler.SequentialLR(o, [], [])),
    (ValueError, "one more than the number of milestone", lambda o: lr_scheduler.SequentialLR(o, [lr_scheduler.StepLR(o, 1)], [1])),
    (ValueError, "same optimizer", lambda o: lr_scheduler.ChainedScheduler([lr_scheduler.StepLR(our_optimizer(), 1)], o)),
    (ValueError, "ReduceLROnPlateau", lambda o: lr_scheduler.ChainedScheduler([lr_scheduler.ReduceLROnPlateau(o)])),
])
def test_bad_arguments(error: type[Exception], message: str, make: Callable[[Any], Any]) -> None:
    with pytest.raises(error, match=message):
        make(our_optimizer())


def test_too_many_steps_of_one_cycle() -> None:
    optimizer = our_optimizer()
    scheduler = lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=3)
    with pytest.raises(ValueError, match="Tried to step 4 times"):
        trace(scheduler, optimizer, 5)
