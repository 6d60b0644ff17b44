"""What ``list_devices --check`` runs on each device, in a child process: a driver that crashes or hangs is reported, not suffered.

The child prints one line before and one after each check, so that the parent knows at which one it died.
"""
from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

import cltorch
from cltorch.dtype import ALL
from cltorch.errors import UnsupportedDtypeError
from cltorch.runtime import device as runtime
from cltorch.runtime import program

SECONDS = 300  # for a device that builds every kernel anew
MARK = "cltorch-check "
CHILD = "import sys; from cltorch.tools import self_test; self_test.child(int(sys.argv[1]))"
ATOMICS = """
__kernel void atomics(__global int *counts, const int rounds) {
    __local int mine;
    if (get_local_id(0) == 0) mine = 0;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int i = 0; i < rounds; i++) { atomic_inc(&mine); atomic_max(&counts[1], (int)get_global_id(0)); }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (get_local_id(0) == 0) atomic_add(&counts[0], mine);
    int seen = counts[2], now;
    while ((now = atomic_cmpxchg(&counts[2], seen, seen + 1)) != seen) seen = now;
}
"""
GROUPS, ITEMS, ROUNDS = 8, 16, 5


def round_trip(dev: runtime.Device, d: cltorch.dtype) -> str:
    """Every stored bit pattern of a small array comes back, also through a kernel that copies."""
    shown = [True, False, True] if d.name == "bool" else [0, 1, 100] if not d.is_floating_point and not d.is_complex else [0.0, -1.5, 1024.0]
    x = cltorch.tensor(shown, dtype=d, device=dev.spec)
    back = (x.tolist(), cltorch.cat([x, x])[3:].tolist(), cltorch.where(x == x, x, x).tolist())
    return "" if back == (shown,) * 3 else f"{shown} came back as {back}"


def gemm(dev: runtime.Device) -> str:
    """A product of odd sizes, large enough for the blocked kernels, against NumPy."""
    generator = np.random.default_rng(0)
    a, b = (generator.standard_normal(shape, np.float32) for shape in ((131, 257), (257, 67)))
    got = (cltorch.from_numpy(a).to(dev.spec) @ cltorch.from_numpy(b).to(dev.spec)).cpu().numpy()
    error = float(np.abs(got - a.astype(np.float64) @ b).max())
    return "" if error < 1e-3 else f"off by {error:.3g}"


def reduction(dev: runtime.Device) -> str:
    """Sums over everything, rows and columns, and a maximum with its place."""
    x = np.arange(3 * 10007, dtype=np.float32).reshape(3, 10007) % 101
    t = cltorch.from_numpy(x).to(dev.spec)
    got = (t.sum().item(), t.sum(0).tolist(), t.sum(1).tolist(), int(t[0].argmax().item()))
    return "" if got == (x.sum(dtype=np.float64), x.sum(0).tolist(), x.sum(1).tolist(), int(x[0].argmax())) else f"wrong sums: {got[0]}, {got[2]}, {got[3]}"


def atomics(dev: runtime.Device) -> str:
    """Integer atomics on local and on global memory."""
    block = dev.allocator.allocate(12)
    dev.fill(block.mem, np.int32(0), 12)
    kernel = program.build(dev, ATOMICS, "check/atomics").kernel("atomics")
    items = min(ITEMS, kernel.max_work_group_size)
    kernel((GROUPS * items,), (items,), block.mem, ROUNDS)
    got, total = dev.read(block.mem, 12).view(np.int32).tolist(), GROUPS * items
    return "" if got == [total * ROUNDS, total - 1, total] else f"counted {got} instead of {[total * ROUNDS, total - 1, total]}"


def checks() -> dict[str, Callable[[runtime.Device], str]]:
    """Name -> check; a check returns what is wrong."""
    table: dict[str, Callable[[runtime.Device], str]] = {
        f"{d.name} load and store": lambda dev, d=d: round_trip(dev, d) for d in sorted(ALL, key=lambda d: d.index)}
    return {**table, "GEMM": gemm, "reduction": reduction, "integer atomics": atomics}


def child(index: int) -> None:
    """Run every check on cuda:index."""
    dev = runtime.get("cuda", index)
    for name, check in checks().items():
        print(f"{MARK}{name}", flush=True)
        print(f"{MARK}{name}\t{attempt(check, dev)}", flush=True)


def attempt(check: Callable[[runtime.Device], str], dev: runtime.Device) -> str:
    """"passed", "no: ..." where the device can't and says so, "failed: ..."."""
    try:
        wrong = check(dev)
    except UnsupportedDtypeError:
        return "no: the device has no fp64"
    except Exception as error:
        return f"failed: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return f"failed: {wrong}" if wrong else "passed"


def run(index: int, command: str = CHILD, seconds: float = SECONDS) -> dict[str, str]:
    """The results on cuda:index by check. A child that dies or hangs fails the check that it was at."""
    paths = [str(Path(cltorch.__file__).resolve().parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    try:
        done = subprocess.run([sys.executable, "-c", command, str(index)], env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
                              capture_output=True, timeout=seconds, stdin=subprocess.DEVNULL, check=False)
        said, ending = done.stdout, _ending(done.returncode, done.stderr.decode(errors="replace"))
    except subprocess.TimeoutExpired as late:
        said, ending = late.stdout or b"", f"the driver did not answer within {seconds:g} seconds"
    results = _results(said.decode(errors="replace"), ending)
    if ending and all(not text.startswith("failed") for text in results.values()):
        results["the process"] = f"failed: {ending}"
    return results


def _results(text: str, ending: str) -> dict[str, str]:
    results = {}
    for line in text.splitlines():
        if line.startswith(MARK):
            name, _, result = line[len(MARK):].partition("\t")
            results[name] = result or f"failed: {ending or 'the process ended here'}"
    return results


def _ending(status: int, errors: str) -> str:
    """How a process ended, in words; empty where it ended well."""
    if status == 0:
        return ""
    if status < 0:
        return f"the driver crashed ({signal.Signals(-status).name})"
    return f"the process ended with status {status}: {(errors.strip().splitlines() or [''])[-1]}"
