"""Shared fixtures, and the options that choose where tests run.

The device under test is "cuda", the first OpenCL device (PoCL on a machine without a GPU). ``--device`` puts another implementation
first and ``--strategy`` forces the kernels' strategy, so the same tests run everywhere; CLTORCH_EAGER launches every operator alone.
"""
from __future__ import annotations

import functools
import math
import os
import re
from collections.abc import Generator, Iterator
from typing import Any

import few_threads  # noqa: F401 - before NumPy and PyTorch
import implementations
import numpy as np
import pytest
from launched import Launched

import cltorch
from cltorch.errors import UnsupportedDtypeError
from cltorch.runtime import program
from cltorch.runtime.device import devices, get

COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/|^[ \t]*#line[^\n]*", re.DOTALL | re.MULTILINE)
GROUP, LOCAL_MEMORY, ARGUMENT_BYTES, ARGUMENTS = 256, 32 << 10, 1024, 128  # of the smallest devices
NO_FP64 = "has no double precision (cl_khr_fp64)"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", choices=[*implementations.TABLE, "all"], help="the OpenCL implementation to test; all: each that is here")
    parser.addoption("--strategy", choices=[*implementations.STRATEGIES, "both"], help="the kernels' strategy; both: one after the other")


def pytest_configure(config: pytest.Config) -> None:
    """In the controller and in every worker, before a device is looked for."""
    device, strategy = config.getoption("device"), config.getoption("strategy")
    if device == "all" or strategy == "both":
        implementations.make_visible(os.environ)
        return
    try:
        implementations.choose(device, strategy, os.environ)
    except LookupError as error:
        raise pytest.UsageError(str(error)) from error


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    device, strategy = config.getoption("device"), config.getoption("strategy")
    if device != "all" and strategy != "both":
        return None
    return implementations.run_each(implementations.runs(device, strategy), config.invocation_params.args)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reasons = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", ())]
    tested, terminal = tested_implementation(), terminalreporter
    terminal.section("OpenCL implementations")
    if not devices():
        terminal.line("tested   nothing: no OpenCL device was found")
    elif tested is None:
        terminal.line(f"tested   {devices()[0].name} ({devices()[0].platform_name}, strategy {devices()[0].strategy})")
    for line in implementations.summary(tested, devices()[0].strategy if devices() else "", sum(NO_FP64 in r for r in reasons)):
        terminal.line(line)


@functools.cache
def tested_implementation() -> str | None:
    """The implementation of "cuda:0"; None for one without a name here, or without any device."""
    first = devices()[0].cl_device if devices() else None
    return next((implementations.name_of(e) for e in implementations.platforms.survey() if e.device == first), None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """A test that needs double precision is skipped on a device without it, by the device's own words. A test that was asked for with
    another dtype isn't: there the error would be cltorch's."""
    try:
        return (yield)
    except UnsupportedDtypeError as error:
        if devices()[0].has_fp64 or NO_FP64 not in str(error) or _has_another_dtype(item):
            raise
        pytest.skip(str(error))


def _has_another_dtype(item: pytest.Item) -> bool:
    parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    if getattr(parameters.get("op"), "name", "") in implementations.ALWAYS_DOUBLE:
        return False
    dtypes = [value for value in parameters.values() if isinstance(value, cltorch.dtype)]
    return bool(dtypes) and not any(d.name in ("float64", "complex128") for d in dtypes)


@pytest.fixture(scope="session")
def device() -> cltorch.device:
    """The OpenCL device that operators are tested on."""
    return cltorch.device("cuda", 0)


@pytest.fixture(scope="session", autouse=True)
def _every_kernel_is_as_it_should_be() -> Generator[None]:
    """What is asked of each kernel that the tests built: no built-in function that runtime/builtins.py lacks (it would be slow to compile, and all after
    it), declared groups where ``state_groups`` finds them, no double precision but where the memory of an argument is, and what the smallest devices allow."""
    yield
    for dev in devices():
        assert "header" in dev.disabled or "pocl_header" not in dev.quirks, f"{dev.name}: CLTORCH_DEBUG=1 names the kernel"
        for kernel in dev.kernels:
            if "\n#line" in kernel.program.source:  # from a template
                assert sum(8 if a.scalar is None else np.dtype(a.scalar).itemsize for a in kernel.arguments) <= ARGUMENT_BYTES, kernel.program.label
                assert len(kernel.arguments) <= ARGUMENTS and kernel.local_mem_size <= min(LOCAL_MEMORY, dev.local_mem_size), kernel.program.label
        for source, _ in dev.programs:
            text = COMMENT.sub("", source)
            groups = [math.prod(map(int, size.split(","))) for size in re.findall(r"reqd_work_group_size\(([\d, ]+)\)", text)]
            assert program.state_groups(source).count("__builtin_unreachable()") == len(groups) and max(groups, default=1) <= GROUP, source
            assert "double" not in text or any(re.search(r"\bdouble\d*\s*\*", head) for head in re.findall(r"__kernel[^{]*", text)), source


@pytest.fixture
def launched() -> Iterator[Launched]:
    seen, dev = Launched(), get("cuda")
    dev.watch(seen)
    yield seen
    dev.unwatch(seen)


@pytest.fixture(autouse=True)
def _seed() -> None:
    cltorch.manual_seed(0)
