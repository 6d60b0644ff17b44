"""How soon a new process has trained one step, and how much memory training takes: cltorch with an empty kernel cache, then with a filled one.

    bench_start.py                                  the MLP, the CNN, the ResNet and the GPT of bench.py's suite train
    bench_start.py mlp --rival torch                PyTorch beside it, as it is and under torch.compile

Each line is a process of its own, on the first OpenCL device. "first step" begins when the model is made and ends when the device has finished; "memory" is
what the process grew by, at its highest, over the steps that follow a first small product (which loads the library's own code). cltorch's helper
processes, which compile kernels that no cache has, aren't counted; they end after ten seconds without work.
"""
from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # run as a file of a checkout: the package lies beside tools/
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cltorch.tools.benchmarks.results import human_seconds
from cltorch.tools.benchmarks.start import MODELS, measure


def line(name: str, found: dict[str, float] | str) -> str:
    if isinstance(found, str):
        return f"{name:34} {found}"
    memory = f"{found['memory'] / 2**20:.0f} MiB" if found["memory"] else "unknown"
    return f"{name:34} {human_seconds(found['import']):>9} {human_seconds(found['first']):>11} {human_seconds(found['later']):>11} {memory:>9}"


def report(model: str, rivals: Sequence[str], shrink: int) -> None:
    """Cold before warm, eager before compiled; the rivals the same way."""
    print(f"{model:34} {'import':>9} {'first step':>11} {'later step':>11} {'memory':>9}")
    for library in ("cltorch", *rivals):
        for compiled in (False, True):
            with tempfile.TemporaryDirectory() as folder:
                for state in ("cold", "warm"):
                    name = f"{library}{', compiled' if compiled else ''}, {state}"
                    print(line(name, measure(library, "cuda", model, compiled, shrink, folder)), flush=True)
    print()


def main(argv: Sequence[str] | None = None) -> int:
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("models", nargs="*", metavar="MODEL", help=f"{', '.join(MODELS)} (default: all)")
    parse.add_argument("--rival", default="", choices=["", "torch"], help="torch: PyTorch's steps, as they are and under torch.compile")
    parse.add_argument("--shrink", type=int, default=1, metavar="N", help="divide widths and batches (default: 1)")
    options = parse.parse_args(argv)
    unknown = [name for name in options.models if name not in MODELS]
    if unknown:
        parse.error(f"{', '.join(unknown)}: no such model; choose from {', '.join(MODELS)}")
    for model in options.models or MODELS:
        report(model, [options.rival] if options.rival else [], options.shrink)
    return 0


if __name__ == "__main__":
    sys.exit(main())
