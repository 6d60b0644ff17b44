"""The base class of learning-rate schedules."""
from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from ..core.tensor import Tensor
from .optimizer import Optimizer

_ORDER = ("Detected call of `lr_scheduler.step()` before `optimizer.step()`. You should call them in the opposite order: "
          "`optimizer.step()` before `lr_scheduler.step()`. Failure to do this will result in skipping the first value of the learning "
          "rate schedule.")
_OVERRIDDEN = ("Seems like `optimizer.step()` has been overridden after learning rate scheduler initialization. Please, make sure to "
               "call `optimizer.step()` before `lr_scheduler.step()`.")
EPOCH_WARNING = "The epoch parameter in `scheduler.step()` was not necessary and is being deprecated: call `scheduler.step()` without it."


def set_option(group: dict[str, Any], name: str, value: Any) -> None:
    """Puts a number into a group; a tensor there is filled, so that whoever shares it sees the change."""
    if isinstance(group[name], Tensor):
        group[name].fill_(value)
    else:
        group[name] = value


def options(optimizer: Optimizer, name: str) -> list:
    """One option of every group; tensors are copied."""
    return [group[name].clone() if isinstance(group[name], Tensor) else group[name] for group in optimizer.param_groups]


def per_group(name: str, optimizer: Optimizer, value: Any) -> list:
    """A number for every group, from one or from a list. ValueError where the list has another length."""
    if not isinstance(value, (list, tuple)):
        return [value] * len(optimizer.param_groups)
    if len(value) != len(optimizer.param_groups):
        raise ValueError(f"{name} must have the same length as optimizer.param_groups. "
                         f"{name} has {len(value)} values, param_groups has {len(optimizer.param_groups)}.")
    return list(value)


class LRScheduler:
    """Base class: ``step()`` moves to the next epoch and sets every group's ``lr`` to what ``get_lr()`` gives.

    ``last_epoch`` other than -1 resumes; the groups must then hold ``initial_lr``.
    """

    _is_initial = False

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"].clone() if isinstance(group["lr"], Tensor) else group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(f"param 'initial_lr' is not specified in param_groups[{i}] when resuming scheduler with last_epoch >= 0: "
                               "load the optimizer's state first")
        self.base_lrs = options(optimizer, "initial_lr")
        self.last_epoch = last_epoch
        if not optimizer.__dict__.get("_has_schedulers"):
            optimizer._has_schedulers, optimizer._opt_called = True, False
        self._initial_step()

    def _initial_step(self) -> None:
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    def get_lr(self) -> list:
        """The groups' learning rates at ``last_epoch``, from those before."""
        raise NotImplementedError(f"{type(self).__name__} doesn't define get_lr")

    def get_last_lr(self) -> list:
        """The learning rates that the last ``step`` set."""
        return self._last_lr

    def step(self, epoch: int | None = None) -> None:
        """Moves to the next epoch. Warns where the optimizer made no step before the second call."""
        if self._step_count == 1:
            if not hasattr(self.optimizer.step, "_tells_schedulers"):
                warnings.warn(_OVERRIDDEN, UserWarning, stacklevel=2)
            elif not self.optimizer._opt_called:
                warnings.warn(_ORDER, UserWarning, stacklevel=2)
        self._step_count += 1
        if epoch is not None:
            warnings.warn(EPOCH_WARNING, UserWarning, stacklevel=2)
        self._update_lr(epoch)

    def _update_lr(self, epoch: int | None = None) -> None:
        if epoch is None:
            self.last_epoch += 1
            self._set_rates(self.get_lr())
        else:
            self.last_epoch = epoch
            self._set_rates(self._get_closed_form_lr() if hasattr(self, "_get_closed_form_lr") else self.get_lr())

    def _set_rates(self, rates: Sequence) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            set_option(group, "lr", rate)
        self._last_lr = options(self.optimizer, "lr")

    def _rates(self) -> list:
        return options(self.optimizer, "lr")

    def _scaled(self, factor: float) -> list:
        return [group["lr"] * factor for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer."""
        return {name: value for name, value in self.__dict__.items() if name not in ("optimizer", "_is_initial")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over what ``state_dict`` gave."""
        self.__dict__.update(state_dict)
