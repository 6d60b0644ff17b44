"""Shared fixtures. The device under test is "cuda" (the first OpenCL device: PoCL on a machine without a GPU); CLTORCH_STRATEGY and
CLTORCH_EAGER choose how it computes, so the same tests run both ways."""
from __future__ import annotations

import pytest

import cltorch


@pytest.fixture(scope="session")
def device() -> cltorch.device:
    """The OpenCL device that operators are tested on."""
    return cltorch.device("cuda", 0)


@pytest.fixture(autouse=True)
def _seed() -> None:
    cltorch.manual_seed(0)
