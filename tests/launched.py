"""What a device launches while a test looks: conftest.py's fixture ``launched``."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cltorch.runtime.launch import Kernel
from cltorch.runtime.observe import Observer


class Launched(Observer):
    """Kernels in the order of their launches, and the largest work-group of each."""

    def __init__(self) -> None:
        self.kernels: list[Kernel] = []
        self.groups: dict[Kernel, int] = {}

    def before(self, kernel: Kernel, global_size: tuple, local_size: tuple | None, args: tuple) -> None:
        self.kernels.append(kernel)
        self.groups[kernel] = max(self.groups.get(kernel, 1), int(np.prod(local_size or (1,))))

    @property
    def names(self) -> list[str]:
        return [kernel.name for kernel in self.kernels]

    @property
    def labels(self) -> list[str]:
        """Templates, and the operators of chains."""
        return [kernel.program.label for kernel in self.kernels]

    def by(self, call: Callable[[], Any]) -> list[str]:
        """The labels of what a call launches."""
        self.kernels.clear()
        call()
        return self.labels
