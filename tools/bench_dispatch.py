"""Where each microsecond of host time goes: recording, flushing, launching, replaying a training step. Prints a table."""
from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import cltorch
from cltorch.core.dispatch import buffer


def cost(call: Callable[[], object], count: int, rounds: int, dev: cltorch.device) -> tuple[float, float]:
    """Median and spread (max - min) of microseconds a call, the device idle at the start of each round."""
    for _ in range(min(count, 200)):
        call()
    samples = []
    for _ in range(rounds):
        cltorch.accelerator.synchronize(dev)
        start = time.perf_counter()
        for _ in range(count):
            call()
        samples.append((time.perf_counter() - start) / count * 1e6)
    cltorch.accelerator.synchronize(dev)
    return statistics.median(samples), max(samples) - min(samples)


def training_step(dev: cltorch.device) -> Callable[[], object]:
    """A step of the tutorial's little network: 10-32-1, batch 16, SGD."""
    model = cltorch.nn.Sequential(cltorch.nn.Linear(10, 32), cltorch.nn.ReLU(), cltorch.nn.Linear(32, 1)).to(dev)
    optimizer = cltorch.optim.SGD(model.parameters(), lr=1e-3)
    x, y = cltorch.randn(16, 10, device=dev), cltorch.randn(16, 1, device=dev)

    def step() -> None:
        optimizer.zero_grad()
        cltorch.nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()

    return step


def cases(dev: cltorch.device) -> list[tuple[str, Callable[[], object], int]]:
    a, b = cltorch.randn(64, 64, device=dev), cltorch.randn(64, 64, device=dev)
    bias = cltorch.randn(64, device=dev)
    leaf = cltorch.randn(64, 64, device=dev, requires_grad=True)
    return [
        ("record a + b", lambda: a + b, 5000),
        ("record a * 2.0", lambda: a * 2.0, 5000),
        ("record a.relu()", lambda: a.relu(), 5000),
        ("record leaf + b, with its gradient node", lambda: leaf + b, 5000),
        ("realised a + b", lambda: buffer(a + b), 3000),
        ("realised a + bias (broadcast)", lambda: buffer(a + bias), 3000),
        ("realised chain of four", lambda: buffer((a + b).relu() * a + b), 2000),
        ("view a.t()", lambda: a.t(), 5000),
        ("a.sum()", lambda: buffer(a.sum()), 1000),
        ("a @ b", lambda: buffer(a @ b), 1000),
        ("training step, 10-32-1, batch 16, SGD", training_step(dev), 100),
    ]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda", help="device string (default: cuda, the first OpenCL device)")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args(argv)
    dev = cltorch.device(arguments.device)
    print(f"{cltorch.cuda.get_device_name(dev) if dev.type == 'cuda' else 'cpu'}, host microseconds a call, median of {arguments.rounds} rounds\n")
    print(f"{'what':45} {'us':>9} {'spread':>9}")
    for name, call, count in cases(dev):
        median, spread = cost(call, count, arguments.rounds, dev)
        print(f"{name:45} {median:9.2f} {spread:9.2f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
