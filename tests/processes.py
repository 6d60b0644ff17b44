"""Tests that need a Python process of their own, or none of the helpers that compile."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cltorch.runtime import builders
from cltorch.runtime.device import Device

ROOT = Path(__file__).resolve().parent.parent


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own."""
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=240,
                          env={**os.environ, "PYTHONPATH": str(ROOT), **environment})


def stalled_pool(dev: Device, monkeypatch: pytest.MonkeyPatch) -> builders.Pool:
    """The device's pool from now on, with a helper that never comes to anything until ``ready`` is 0: then this process compiles."""
    pool = builders.Pool(builders.place(dev))
    pool.threads = pool.ready = 1
    monkeypatch.setitem(builders.POOLS, pool.where, pool)
    return pool
