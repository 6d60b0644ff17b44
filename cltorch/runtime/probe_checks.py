"""What each probe does on a device: build its tiny kernel, run it, compare the result with NumPy's. Runs in the child that probes.py starts.

A check returns "" where the device can do it, else the reason why not; what OpenCL raises is a reason as well.
"""
from __future__ import annotations

import re
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyopencl as cl

from . import command_buffer, platforms
from .submission import Submission

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


def command_buffers(bench: Bench) -> str:
    """Two launches recorded in order by cl_khr_command_buffer, enqueued twice without waiting and released while they are pending."""
    reason = command_buffer.unfit(bench.device)
    if reason:
        return reason
    program, memory, factors = bench.build("command_buffers", CORE), bench.memory(np.ones(8, np.int32)), (3, 5)
    kernels = [cl.Kernel(program, "probe") for _ in factors]
    for kernel, factor in zip(kernels, factors, strict=True):
        kernel.set_args(memory, np.int32(factor))
    recorded, submission = command_buffer.CommandBuffer(bench.queue, [(kernel, (8,), (1,)) for kernel in kernels]), Submission(bench.queue)
    recorded.enqueue(submission)
    recorded.enqueue(submission)
    recorded.release()
    got, want, i = bench.read(memory, np.empty(8, np.int32)), np.ones(8, np.int32), np.arange(8, dtype=np.int32)
    for factor in factors * 2:
        want = factor * want + i
    return "" if np.array_equal(got, want) else f"two runs of a command buffer gave {got.tolist()}"


def brief(error: BaseException) -> str:
    """The first line of an error that says something, without the place in a temporary file."""
    lines = [line.strip() for line in str(error).splitlines()] or [type(error).__name__]
    said = next((line for line in lines if re.search(r"\berror\b", line, re.IGNORECASE)), lines[0])
    return re.sub(r"^.*?:\d+:\d+: (error: )?", "", said)[:200]
