"""Exceptions that name the operator, the device, the data type and the fix. Each is also the type PyTorch raises."""
from __future__ import annotations


class NoOpenCLError(RuntimeError):
    """No OpenCL implementation was found where a kernel had to run."""


class UnsupportedDtypeError(RuntimeError):
    """The device can't compute in the data type (float64 and complex128 need cl_khr_fp64)."""


class TemplateError(RuntimeError):
    """A kernel template failed to render: names the template, its line and the cause."""


class BuildError(RuntimeError):
    """The driver's compiler refused a kernel."""


class LaunchError(RuntimeError):
    """The driver refused or lost a launch."""


class DeviceLostError(LaunchError):
    """The device was reset, crashed or taken away: it refuses all work until the process starts again. Other devices go on."""


class OutOfMemoryError(RuntimeError):
    """An allocation failed after the caches were freed."""
