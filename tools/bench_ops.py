"""What operators reach on a device: time, GB/s or GFLOP/s, and the share of the device's own copy bandwidth. ``--rival torch`` adds PyTorch."""
from __future__ import annotations

import argparse
import importlib
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import cltorch


class Case(NamedTuple):
    name: str
    call: Callable[[Any, Any], Any]  # (library, inputs) -> result
    shapes: tuple[tuple[int, ...], ...]
    moved: float  # bytes read and written, 0 for arithmetic-bound cases
    flops: float = 0.0


def pointwise(n: int) -> list[Case]:
    size = 4.0 * n
    return [
        Case("copy", lambda t, x: x[0] * 1.0, ((n,),), 2 * size),
        Case("add", lambda t, x: x[0] + x[1], ((n,), (n,)), 3 * size),
        Case("exp", lambda t, x: x[0].exp(), ((n,),), 2 * size),
        Case("tanh", lambda t, x: x[0].tanh(), ((n,),), 2 * size),
        Case("gelu", lambda t, x: t.nn.functional.gelu(x[0]), ((n,),), 2 * size),
        Case("chain of six", lambda t, x: ((x[0] + x[1]) * x[0] - x[1]).relu() * 0.5 + x[1], ((n,), (n,)), 3 * size),
        Case("sum", lambda t, x: x[0].sum(), ((n,),), size),
        Case("sum over rows", lambda t, x: x[0].sum(1), ((n // 4096, 4096),), size),
        Case("sum over columns", lambda t, x: x[0].sum(0), ((n // 4096, 4096),), size),
        Case("softmax", lambda t, x: x[0].softmax(1), ((n // 1024, 1024),), 2 * size),
        Case("transposed copy", lambda t, x: x[0].t().contiguous(), ((4096, n // 4096),), 2 * size),
    ]


def products() -> list[Case]:
    out = [Case(f"matmul {n}", lambda t, x: x[0] @ x[1], ((n, n), (n, n)), 0.0, 2.0 * n ** 3) for n in (64, 256, 512, 1024, 2048)]
    out.append(Case("bmm 64 x 128", lambda t, x: x[0].bmm(x[1]), ((64, 128, 128),) * 2, 0.0, 2.0 * 64 * 128 ** 3))
    out.append(Case("linear 64 x 784 x 512", lambda t, x: t.nn.functional.linear(x[0], x[1]), ((64, 784), (512, 784)), 0.0, 2.0 * 64 * 784 * 512))
    out.append(Case("conv2d 3x3 16x64x32x32", lambda t, x: t.nn.functional.conv2d(x[0], x[1], padding=1), ((16, 64, 32, 32), (64, 64, 3, 3)), 0.0,
                    2.0 * 16 * 64 * 64 * 9 * 32 * 32))
    return out


class Runner:
    """Times one library on one device; results stay fresh, nothing is read in between."""

    def __init__(self, library: Any, place: Any, case: Case) -> None:
        self.library, self.case = library, case
        library.manual_seed(0)
        self.inputs = [library.randn(*shape, device=place) for shape in case.shapes]
        self.place = place

    def finish(self, result: Any) -> None:
        if self.library is cltorch:
            cltorch.core.dispatch.buffer(result)
            cltorch.accelerator.synchronize(self.place)

    def seconds(self) -> float:
        start = time.perf_counter()
        self.finish(self.case.call(self.library, self.inputs))
        return time.perf_counter() - start


def measure(runners: list[Runner], rounds: int) -> list[float]:
    """Median seconds of each runner, interleaved."""
    for runner in runners:
        runner.seconds()
        runner.seconds()
    samples: list[list[float]] = [[] for _ in runners]
    for _ in range(rounds):
        for runner, kept in zip(runners, samples, strict=True):
            kept.append(runner.seconds())
    return [statistics.median(kept) for kept in samples]


def row(case: Case, seconds: list[float], copy: float) -> str:
    rate = case.moved / seconds[0] / 1e9 if case.moved else case.flops / seconds[0] / 1e9
    unit = "GB/s" if case.moved else "GFLOP/s"
    share = f"{100 * rate / copy:5.0f} %" if case.moved and copy else "       "
    rival = f"{seconds[1] / seconds[0]:8.2f}" if len(seconds) > 1 else ""
    return f"{case.name:36} {seconds[0] * 1e3:9.3f} ms {rate:9.1f} {unit:8} {share} {rival}"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda", help="device string (default: cuda, the first OpenCL device)")
    parser.add_argument("--size", type=int, default=1 << 24, help="elements of the memory-bound cases")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--rival", default="", help="torch: PyTorch on the CPU beside it; the last column is its time over ours")
    parser.add_argument("--only", default="", help="cases whose name holds this text")
    arguments = parser.parse_args(argv)
    place = cltorch.device(arguments.device)
    rival = importlib.import_module(arguments.rival) if arguments.rival else None
    print(f"{cltorch.cuda.get_device_name(place) if place.type == 'cuda' else 'cpu'}, {arguments.size} elements, float32, "
          f"median of {arguments.rounds} interleaved rounds\n")
    print(f"{'operator':36} {'time':>12} {'rate':>18}  of copy {'rival/ours' if rival else ''}")
    copy = 0.0
    for case in pointwise(arguments.size) + products():
        if arguments.only not in case.name and not case.name.startswith("copy"):
            continue
        runners = [Runner(cltorch, place, case)] + ([Runner(rival, "cpu", case)] if rival else [])
        seconds = measure(runners, arguments.rounds)
        copy = copy or case.moved / seconds[0] / 1e9
        print(row(case, seconds, copy))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
