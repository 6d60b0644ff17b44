"""The hot path: a kernel handle made once, typed arguments, one enqueue.

The quick path is chosen when a kernel is made or when something starts to watch its device, never by a test in each call:
``Kernel.launch`` is pyopencl's own typed call, at once, in the calling thread or with a CPU's next launches (submission.py), unless the device has
observers (CLTORCH_SYNC, CLTORCH_DEBUG=2, CLTORCH_DUMP, the profiler), a recorder (graph capture) or copies of host memory to keep in step.
"""
from __future__ import annotations

import math
import re
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pyopencl as cl

from ..errors import BuildError
from . import faults
from .observe import memory_of
from .submission import Line, Submission

if TYPE_CHECKING:
    from .program import Program

BUILD_LOCK = threading.RLock()  # some drivers crash when two threads compile in one context, at a build or at a first launch
SCALARS = {
    "char": np.int8, "uchar": np.uint8, "short": np.int16, "ushort": np.uint16, "int": np.int32, "uint": np.uint32,
    "long": np.int64, "ulong": np.uint64, "float": np.float32, "double": np.float64, "unsigned": np.uint32,
    "unsigned char": np.uint8, "unsigned short": np.uint16, "unsigned int": np.uint32, "unsigned long": np.uint64,
}
QUALIFIERS = {"const", "__const", "restrict", "__restrict", "volatile", "__private", "private"}


class Argument:
    """One parameter of a kernel's signature: ``scalar`` is a NumPy type, or None for memory; ``written`` where it isn't const; ``type`` the words
    of its type without qualifiers, a pointer's with its address space."""

    __slots__ = ("local", "name", "scalar", "type", "written")

    def __init__(self, text: str, entry: str) -> None:
        words = re.findall(r"\w+|\*", text)
        self.name = words[-1] if words else ""
        self.local = "__local" in words or "local" in words
        pointer = "*" in words
        self.written = pointer and "const" not in words[:words.index("*")] and "__constant" not in words
        self.type = " ".join(word for word in words[:-1] if word not in QUALIFIERS | {"*"})
        self.scalar = None if pointer else SCALARS.get(self.type)
        if not pointer and self.scalar is None:
            raise BuildError(f"kernel {entry}: argument {text.strip()!r} is neither memory nor a number of a known type "
                             f"({', '.join(SCALARS)})")


def signature(source: str, entry: str) -> list[Argument]:
    """The arguments of ``__kernel void entry(...)`` as the source declares them. Raises BuildError where it doesn't."""
    text = re.sub(r"//[^\n]*|/\*.*?\*/|^[ \t]*#[^\n]*", " ", source, flags=re.DOTALL | re.MULTILINE)
    match = re.search(rf"\b(?:__kernel|kernel)\b[^;{{}}]*?\bvoid\s+{re.escape(entry)}\s*\(([^)]*)\)", text)
    if match is None:
        raise BuildError(f"the source has no kernel {entry!r}: expected '__kernel void {entry}(...)'")
    return [Argument(part, entry) for part in match[1].split(",") if part.strip() not in ("", "void")]


class Kernel:
    """One kernel of a program on one device. ``kernel(global_size, local_size, *args)`` enqueues it and returns at once.

    Arguments are cl.Buffer objects, Python numbers and cl.LocalMemory, in the kernel's own order; ``local_size`` may be None.
    Raises LaunchError where the driver refuses, DeviceLostError where the device is gone, OutOfMemoryError.
    """

    __slots__ = ("__weakref__", "_cl_kernel", "arguments", "device", "enter", "inline", "launch", "lock", "name", "program", "warm")

    def __init__(self, program: Program, entry: str) -> None:
        self.program, self.device, self.name = program, program.device, entry
        self.arguments = signature(program.source, entry)
        self._cl_kernel: Any = None
        self.inline = self._first_inline
        self.lock = threading.Lock()
        self.warm = False
        self.choose()
        self.device.kernels.append(self)

    def __call__(self, global_size: tuple, local_size: tuple | None, *args: Any) -> None:
        self.enter(self.device.submission, self, global_size, local_size, args)

    def submit(self, queue: Any, global_size: tuple, local_size: tuple | None, args: tuple) -> Any:
        """Hand a launch to the driver. Returns its event, None where a recorder took it."""
        try:
            with self.lock:
                return self.launch(queue, global_size, local_size, *args)
        except cl.Error as error:
            smaller = self._smaller_group(error, global_size, local_size)
        return self.submit(queue, global_size, smaller, args)

    def again(self, error: cl.Error, line: Line, global_size: tuple, local_size: tuple | None, args: tuple) -> None:
        """After a launch in the calling thread failed: once more where a smaller group may help."""
        smaller = self._smaller_group(error, global_size, local_size)
        try:
            line.run(self.inline, global_size, smaller, *args)
        except cl.Error as second:
            raise self._failure(second, global_size, smaller) from second

    def _smaller_group(self, error: cl.Error, global_size: tuple, local_size: tuple | None) -> tuple:
        """What to launch in after an error. Raises what the error means where a smaller group doesn't help."""
        fitted = self._fitted(error, local_size)
        if fitted is None:
            raise self._failure(error, global_size, local_size) from error
        return fitted

    def _fitted(self, error: cl.Error, local_size: tuple | None) -> tuple | None:
        """Where the device would allow a group but this kernel's registers don't: one that fits. Kernels with barriers declare their size."""
        if error.code != cl.status_code.INVALID_WORK_GROUP_SIZE or local_size is None or "reqd_work_group_size" in self.program.source:
            return None
        most = self.max_work_group_size
        if not most < math.prod(local_size) <= self.device.max_work_group_size:
            return None
        fitted = list(local_size)
        while math.prod(fitted) > most:
            largest = fitted.index(max(fitted))
            if fitted[largest] % 2:
                return None
            fitted[largest] //= 2
        return tuple(fitted)

    @property
    def is_built(self) -> bool:
        return self.program.built.is_ready

    @property
    def cl_kernel(self) -> Any:
        """The kernel object for the device's queues."""
        if self._cl_kernel is None:
            self._cl_kernel = self.new_handle()
        return self._cl_kernel

    def new_handle(self, inline: bool = False) -> Any:
        """A kernel object of its own: graph capture binds arguments to it that nobody else changes. ``inline``: for the calling thread."""
        try:
            handle = cl.Kernel(self.program.inline_program if inline else self.program.cl_program, self.name)
            handle.set_scalar_arg_dtypes([argument.scalar for argument in self.arguments])
        except (cl.Error, TypeError) as error:
            raise BuildError(f"kernel {self.name} of {self.program.label}: {error}") from error
        return handle

    def choose(self) -> None:
        """Pick the path of ``__call__``: bare, first launch, or watched. Bare launches wait in line for the compiler; on a CPU they may run in this
        thread or wait for each other."""
        device = self.device
        bare = device.recorder is None and not device.observers and not device.staged
        if bare and not self.is_built:
            self.enter = Submission.hold
        elif bare and device.strategy == "wide" and (self.warm or device.submission.home is not None):
            self.enter = Submission.add
        else:
            self.enter = Submission.at_once
        if not bare:
            self.launch = self._watched
        else:
            self.launch = self.cl_kernel if self.warm else self._first

    @property
    def max_work_group_size(self) -> int:
        """CL_KERNEL_WORK_GROUP_SIZE: what this kernel's registers and local memory allow."""
        return self.cl_kernel.get_work_group_info(cl.kernel_work_group_info.WORK_GROUP_SIZE, self.device.cl_device)

    @property
    def local_mem_size(self) -> int:
        """CL_KERNEL_LOCAL_MEM_SIZE: the bytes of local memory that a group of this kernel takes."""
        return self.cl_kernel.get_work_group_info(cl.kernel_work_group_info.LOCAL_MEM_SIZE, self.device.cl_device)

    def _first(self, queue: Any, global_size: tuple, local_size: tuple | None, *args: Any) -> Any:
        """Some drivers generate code at the first launch, and PoCL 3.1 fails an assertion where two threads do."""
        with BUILD_LOCK:
            event = self.cl_kernel(queue, global_size, local_size, *args)
            self.warm = True
            self.choose()
            if not self.program.built.generated:
                event.wait()
        return event

    def _first_inline(self, queue: Any, global_size: tuple, local_size: tuple | None, *args: Any) -> Any:
        with BUILD_LOCK:
            self.inline = self.new_handle(inline=True)
            return self.inline(queue, global_size, local_size, *args)

    def _watched(self, queue: Any, global_size: tuple, local_size: tuple | None, *args: Any) -> Any:
        device = self.device
        if device.recorder is not None:
            device.recorder.launch(self, global_size, local_size, args)
            return None
        for observer in device.observers:
            observer.before(self, global_size, local_size, args)
        if device.staged:
            for arg in memory_of(args):
                device.push(arg)
        event = (self.cl_kernel if self.warm else self._first)(queue, global_size, local_size, *args)
        if device.staged:
            written = (arg for argument, arg in zip(self.arguments, args, strict=True) if argument.written)
            for arg in memory_of(tuple(written)):
                device.pull(arg)
        for observer in device.observers:
            observer.after(self, event, global_size, local_size, args)
        return event

    def _failure(self, error: Any, global_size: tuple, local_size: tuple | None) -> RuntimeError:
        what = " ".join(f"{a.name}:{'memory' if a.scalar is None else a.scalar.__name__}" for a in self.arguments)
        allowed = "" if faults.means_lost(error) else f" The kernel allows {self.max_work_group_size} work-items a group."
        return self.device.failure(f"run kernel {self.name} of {self.program.label}", error,
                                   f" Global size {global_size}, local size {local_size}, arguments {what}.{allowed}")
