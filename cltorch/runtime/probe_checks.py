"""What each probe does on a device: build its tiny kernel, run it, compare the result with NumPy's. Runs in the child that probes.py starts.

A check returns "" where the device can do it, else the reason why not; what OpenCL raises is a reason as well.
"""
from __future__ import annotations

import ctypes
import re
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyopencl as cl

from . import platforms

PACKAGE = Path(__file__).resolve().parent.parent
NEWEST = ("-cl-std=CL3.0", "-cl-std=CL2.0")  # the versions that have subgroups or C11 atomics
NO_CACHE: Any = False  # pyopencl's own, which would answer for the compiler
CORE = ("-cl-std=CL1.2",)


def source_of(name: str) -> str:
    """The OpenCL C of kernels/probe/<name>.cl, of a wheel or of a checkout."""
    places = [folder / "kernels" / "probe" / f"{name}.cl" for folder in (PACKAGE, PACKAGE.parent)]
    return next((place for place in places if place.exists()), places[0]).read_text(encoding="utf-8")


class Bench:
    """A context and a queue of one device, and the few commands that probes need."""

    def __init__(self, found: platforms.Found) -> None:
        self.found, self.device = found, found.device
        self.context = cl.Context([found.device])
        self.queue = cl.CommandQueue(self.context, found.device)

    def build(self, name: str, versions: Sequence[str], *options: str) -> Any:
        """The program, in the first of several language versions that builds. Raises cl.Error of the last."""
        *earlier, last = versions
        for version in earlier:
            try:
                return self._build(name, version, *options)
            except cl.Error:
                continue
        return self._build(name, last, *options)

    def _build(self, name: str, *options: str) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", cl.CompilerWarning)  # what a compiler remarks is no answer; what the kernel computes is
            return cl.Program(self.context, source_of(name)).build(list(options), devices=[self.device], cache_dir=NO_CACHE)

    def memory(self, array: np.ndarray) -> Any:
        return cl.Buffer(self.context, cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR, hostbuf=array)

    def read(self, buffer: Any, out: np.ndarray) -> np.ndarray:
        cl.enqueue_copy(self.queue, out, buffer)
        return out

    def run(self, kernel: Any, items: int, group: int, out: np.ndarray, *inputs: np.ndarray) -> np.ndarray:
        """``out`` after the kernel ran on a copy of it and of the inputs."""
        buffer = self.memory(out)
        kernel(self.queue, (items,), (group,), buffer, *map(self.memory, inputs))
        return self.read(buffer, np.empty_like(out))


def subgroups(bench: Bench) -> str:
    """get_sub_group_id, sums, scans and broadcasts of a whole group, whatever the subgroup's width."""
    program = bench.build("subgroups", (*NEWEST, *CORE))
    items = min(64, bench.device.max_work_group_size)
    rows = bench.run(program.probe, items, items, np.full((items, 5), -1, np.int32))
    number, value = rows[:, 0], 3 * np.arange(items) + 1
    for one in np.unique(number):
        inside = np.flatnonzero(number == one)
        inside = inside[np.argsort(rows[inside, 1])]
        mine = value[inside]
        want = np.stack([np.arange(len(mine)), np.full(len(mine), mine.sum()), np.cumsum(mine), np.full(len(mine), mine[0])], 1)
        if one < 0 or not np.array_equal(rows[inside, 1:], want):
            return f"wrong results in subgroup {one} of {len(mine)} work-items"
    return ""


def half_arithmetic(bench: Bench) -> str:
    """Products and sums in half, rounded at each step."""
    kernel = bench.build("half_arithmetic", CORE).probe
    a, b, c = np.random.default_rng(0).uniform(-4, 4, (3, 64)).astype(np.float16)
    got = bench.run(kernel, 64, 1, np.zeros(64, np.float16), a, b, c)
    return "" if np.array_equal(got, a * b + c) else "sums or products are not rounded to half"


def local_atomics(bench: Bench) -> str:
    """atomic_add in local memory counts right and beats atomic_add in global memory by a quarter at least."""
    program = bench.build("local_atomics", CORE)
    group, rounds = min(64, bench.device.max_work_group_size), 256
    items = 4 * group
    want, x = np.zeros(64, np.int64), np.arange(1, items + 1, dtype=np.uint32)
    for _ in range(rounds):
        x ^= x << np.uint32(13)
        x ^= x >> np.uint32(17)
        x ^= x << np.uint32(5)
        want += np.bincount(x % 64, minlength=64)
    seconds = []
    for kernel in (program.in_local, program.in_global):
        got, best = _counted(bench, kernel, items, group, rounds)
        if not np.array_equal(got, want):
            return f"{kernel.function_name} counts wrong"
        seconds.append(best)
    ratio = seconds[1] / seconds[0]
    return "" if ratio >= 1.25 else f"local memory is only {ratio:.2f} times as fast as global memory"


def _counted(bench: Bench, kernel: Any, items: int, group: int, rounds: int) -> tuple[np.ndarray, float]:
    """The bins after one run, and the seconds of the best of five more."""
    kernel.set_scalar_arg_dtypes([None, np.int32])
    bins = bench.memory(np.zeros(64, np.int32))
    kernel(bench.queue, (items,), (group,), bins, rounds)
    got, best = bench.read(bins, np.empty(64, np.int32)), np.inf
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(4):
            kernel(bench.queue, (items,), (group,), bins, rounds)
        bench.queue.finish()
        best = min(best, time.perf_counter() - start)
    return got, best


def _float_sums(bench: Bench, name: str, versions: Sequence[str]) -> str:
    got = bench.run(bench.build(name, versions).probe, 256, 32 if bench.device.max_work_group_size >= 32 else 1, np.zeros(4, np.float32))
    want = np.arange(256.0).reshape(64, 4).sum(0)
    return "" if np.array_equal(got, want) else f"sums are {got.tolist()} instead of {want.tolist()}"


def float_atomics(bench: Bench) -> str:
    """atomic_fetch_add_explicit on atomic_float in global memory (cl_ext_float_atomics)."""
    return _float_sums(bench, "float_atomics", NEWEST)


def nvidia_float_atomics(bench: Bench) -> str:
    """atom.global.add.f32 as inline PTX."""
    return _driver(bench, "nvidia") or _float_sums(bench, "nvidia_float_atomics", CORE)


def _driver(bench: Bench, word: str) -> str:
    """Other compilers are not shown a vendor's inline assembly and builtins at all: some abort. For the vendor's own, the product decides."""
    return "" if word in platforms.clean(bench.found.platform.name).lower() else f"not a platform of {word}"


def _product(bench: Bench, kernel: Any, items: int, m: int, n: int, k: int) -> str:
    """Compare a matrix unit's product of small whole numbers, which is exact."""
    rng = np.random.default_rng(1)
    a, columns = rng.integers(-8, 9, (m, k)).astype(np.float16), rng.integers(-8, 9, (n, k)).astype(np.float16)
    got = bench.run(kernel, items, items, np.full((m, n), np.nan, np.float32), a, columns)
    want = a.astype(np.float32) @ columns.astype(np.float32).T
    return "" if np.array_equal(got, want) else f"{int((got != want).sum())} of {want.size} elements of a product are wrong"


def nvidia_mma(bench: Bench) -> str:
    """mma.sync.m16n8k8 of halves into floats as inline PTX (compute capability 7.5)."""
    return _driver(bench, "nvidia") or _product(bench, bench.build("nvidia_mma", CORE).probe, 32, 16, 8, 8)


def intel_matrix(bench: Bench) -> str:
    """intel_sub_group_f16_f16_matrix_mad_k16 with subgroups of 16 (Xe-HPC, Xe2) or 8 (Xe-HPG)."""
    if "cl_intel_subgroup_matrix_multiply_accumulate" not in bench.device.extensions:  # what says yes is the product below
        return "no cl_intel_subgroup_matrix_multiply_accumulate"
    reasons = []
    for width in (16, 8):
        try:
            kernel = bench.build("intel_matrix", (*NEWEST, *CORE), f"-DWIDTH={width}").probe
            reasons.append(_product(bench, kernel, width, 8, width, 16))
        except cl.Error as error:
            reasons.append(brief(error))
        if not reasons[-1]:
            return ""
    return f"subgroups of 16: {reasons[0]}; of 8: {reasons[1]}"


def amd_wmma(bench: Bench) -> str:
    """__builtin_amdgcn_wmma_f32_16x16x16_f16_w32 (RDNA 3)."""
    return _driver(bench, "amd") or _product(bench, bench.build("amd_wmma", (*NEWEST, *CORE)).probe, 32, 16, 16, 16)


COMMAND_BUFFER_FUNCTIONS = {  # the arguments of cl_khr_command_buffer's functions; all but the first return a status
    "clCreateCommandBufferKHR": (ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p),
    "clCommandNDRangeKernelKHR": (*(ctypes.c_void_p,) * 4, ctypes.c_uint, *(ctypes.c_void_p,) * 3, ctypes.c_uint, *(ctypes.c_void_p,) * 3),
    "clFinalizeCommandBufferKHR": (ctypes.c_void_p,),
    "clEnqueueCommandBufferKHR": (ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p),
    "clReleaseCommandBufferKHR": (ctypes.c_void_p,),
}


def extension_functions(platform: Any) -> dict[str, Any]:
    """cl_khr_command_buffer's functions, as far as the platform has them. pyopencl wraps none, but links the loader that finds them."""
    loader = ctypes.CDLL("OpenCL" if sys.platform == "win32" else cl._cl.__file__)
    find = loader.clGetExtensionFunctionAddressForPlatform
    find.restype, find.argtypes = ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_char_p)
    found = {}
    for name, arguments in COMMAND_BUFFER_FUNCTIONS.items():
        address = find(platform.int_ptr, name.encode())
        if address:
            result = ctypes.c_void_p if name.startswith("clCreate") else ctypes.c_int
            found[name] = ctypes.CFUNCTYPE(result, *arguments)(address)
    return found


def command_buffers(bench: Bench) -> str:
    """One recorded launch, enqueued twice by cl_khr_command_buffer."""
    functions = extension_functions(bench.found.platform)
    missing = [name for name in COMMAND_BUFFER_FUNCTIONS if name not in functions]
    if missing:
        return f"the driver has no {missing[0]}"
    create, record, finalize, enqueue, release = (functions[name] for name in COMMAND_BUFFER_FUNCTIONS)
    kernel, memory = bench.build("command_buffers", CORE).probe, bench.memory(np.ones(8, np.int32))
    kernel.set_args(memory)
    queues, status, size = (ctypes.c_void_p * 1)(bench.queue.int_ptr), ctypes.c_int(0), (ctypes.c_size_t * 1)(8)
    recorded = create(1, queues, None, ctypes.byref(status))
    if status.value or not recorded:
        return f"clCreateCommandBufferKHR failed with status {status.value}"
    done = [record(recorded, None, None, kernel.int_ptr, 1, None, size, size, 0, None, None, None), finalize(recorded)]
    for _ in range(2):
        if not any(done):
            done.append(enqueue(0, None, recorded, 0, None, None))
            bench.queue.finish()
    release(recorded)
    if any(done):
        return f"recording, closing and enqueuing a command buffer gave the statuses {done}"
    got, i = bench.read(memory, np.empty(8, np.int32)), np.arange(8)
    return "" if np.array_equal(got, 3 * (3 + i) + i) else f"two runs of a command buffer gave {got.tolist()}"


def brief(error: BaseException) -> str:
    """The first line of an error that says something, without the place in a temporary file."""
    lines = [line.strip() for line in str(error).splitlines()] or [type(error).__name__]
    said = next((line for line in lines if re.search(r"\berror\b", line, re.IGNORECASE)), lines[0])
    return re.sub(r"^.*?:\d+:\d+: (error: )?", "", said)[:200]
