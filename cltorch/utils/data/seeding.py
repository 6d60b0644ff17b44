"""Random numbers drawn on the host from cltorch's generators, without a kernel: for samplers, splits and workers' seeds."""
from __future__ import annotations

import random

import numpy as np

from ...core.random import Generator, default_generator, manual_seed
from ...runtime.device import host


def _entropy(generator: Generator | None) -> np.random.SeedSequence:
    """Takes one draw from the generator (by default the "cpu" one); the next call gets other numbers."""
    return np.random.SeedSequence((generator or default_generator(host())).reserve(1))


def host_rng(generator: Generator | None) -> np.random.Generator:
    return np.random.default_rng(_entropy(generator))


def draw_seed(generator: Generator | None) -> int:
    """A non-negative 63-bit seed."""
    return int(_entropy(generator).generate_state(1, np.uint64)[0] >> np.uint64(1))


def seed_process(seed: int) -> None:
    """Seeds Python's, NumPy's global and cltorch's generators."""
    random.seed(seed)
    manual_seed(seed)
    np.random.seed(np.random.SeedSequence(seed).generate_state(4))  # users' datasets draw from the global one
