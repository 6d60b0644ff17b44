"""What tune.py measures for each kernel family: inputs, the call, and NumPy's answer. As a program it is the child process of tune.py.

The child checks every workload of a family against NumPy, prints one line of JSON (``kernels``: a fingerprint of what it launched; ``used``:
whether the family was among it; or ``error``), and then times all workloads once for each line it reads: {"seconds": [...]}.
"""
from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import cltorch
from cltorch.core import dispatch
from cltorch.core.tensor import Tensor
from cltorch.nn import functional as F
from cltorch.runtime.observe import Observer

ROUND = 0.01  # seconds of calls that make one measurement of a workload


class Workload(NamedTuple):
    inputs: Callable[[np.random.Generator], list[np.ndarray]]
    call: Callable[..., Any]  # over the inputs as tensors -> a tensor, or several
    reference: Callable[..., Any]  # over the inputs in float64 -> the same as arrays
    tolerance: float = 2e-4  # of the largest number of the result


def normal(*shapes: tuple[int, ...]) -> Callable[[np.random.Generator], list[np.ndarray]]:
    return lambda rng: [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]


def numbered(most: int, *shapes: tuple[int, ...], dtype: Any = np.int32) -> Callable[[np.random.Generator], list[np.ndarray]]:
    return lambda rng: [rng.integers(0, most, shape).astype(dtype) for shape in shapes]


# -- NumPy's answers --------------------------------------------------------------------------------------------------------------


def softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    return softmax(q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])) @ v


def attention_gradient_reference(q: np.ndarray, k: np.ndarray, v: np.ndarray, g: np.ndarray) -> np.ndarray:
    weights, scale = softmax(q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])), 1 / np.sqrt(q.shape[-1])
    change = g @ v.swapaxes(-1, -2)
    return weights * (change - (weights * change).sum(-1, keepdims=True)) @ k * scale


def patches(x: np.ndarray, side: int) -> np.ndarray:
    """(n, c, h, w, side, side) for a padding that keeps h and w."""
    p = side // 2
    return np.lib.stride_tricks.sliding_window_view(np.pad(x, ((0, 0), (0, 0), (p, p), (p, p))), (side, side), axis=(2, 3))


def convolution(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    return np.einsum("nchwyx,mcyx->nmhw", patches(x, w.shape[-1]), w, optimize=True)


def weight_gradient(x: np.ndarray, w: np.ndarray, g: np.ndarray) -> np.ndarray:
    return np.einsum("nchwyx,nmhw->mcyx", patches(x, w.shape[-1]), g, optimize=True)


def depthwise(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    return np.einsum("nchwyx,cyx->nchw", patches(x, w.shape[-1]), w[:, 0], optimize=True)


def depthwise_weight_gradient(x: np.ndarray, w: np.ndarray, g: np.ndarray) -> np.ndarray:
    return np.einsum("nchwyx,nchw->cyx", patches(x, w.shape[-1]), g, optimize=True)[:, None]


def batch_norm_gradient(x: np.ndarray, g: np.ndarray) -> np.ndarray:
    axes = tuple(d for d in range(x.ndim) if d != 1)
    mean, rstd = x.mean(axes, keepdims=True), 1 / np.sqrt(x.var(axes, keepdims=True) + 1e-5)
    normal_ = (x - mean) * rstd
    return rstd * (g - g.mean(axes, keepdims=True) - normal_ * (g * normal_).mean(axes, keepdims=True))


def layer_norm(x: np.ndarray) -> np.ndarray:
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)


def cross_entropy(x: np.ndarray, target: np.ndarray) -> np.ndarray:
    logs = np.log(softmax(x, 1))
    return -np.take_along_axis(logs, target.astype(np.int64)[:, None], 1).mean()


def ctc_loss(logs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Sum over the batch of -log p(labels); all sequences have full length, blank is 0."""
    steps, batch, _ = logs.shape
    states = np.zeros((batch, 2 * labels.shape[1] + 1), np.int64)
    states[:, 1::2] = labels
    skips = np.zeros(states.shape, bool)
    skips[:, 2:] = (states[:, 2:] != 0) & (states[:, 2:] != states[:, :-2])
    emitted = [np.take_along_axis(logs[t], states, 1) for t in range(steps)]
    alpha = np.full(states.shape, -1e30)
    alpha[:, :2] = emitted[0][:, :2]
    for t in range(1, steps):
        one, two = np.full_like(alpha, -1e30), np.full_like(alpha, -1e30)
        one[:, 1:], two[:, 2:] = alpha[:, :-1], alpha[:, :-2]
        alpha = np.logaddexp(np.logaddexp(alpha, one), np.where(skips, two, -1e30)) + emitted[t]
    return -np.logaddexp(alpha[:, -1], alpha[:, -2]).sum()


# -- calls ------------------------------------------------------------------------------------------------------------------------


def gradient(function: Callable[..., Tensor], leaf: Tensor, *others: Tensor, weights: Tensor) -> Tensor:
    leaf = leaf.detach().requires_grad_()
    return cltorch.autograd.grad(function(leaf, *others), leaf, weights)[0]


def attention_gradient(q: Tensor, k: Tensor, v: Tensor, g: Tensor) -> Tensor:
    return gradient(F.scaled_dot_product_attention, q, k, v, weights=g)


def conv2d_gradient(x: Tensor, w: Tensor, g: Tensor) -> Tensor:
    return gradient(lambda w: F.conv2d(x, w, padding=w.shape[-1] // 2, groups=x.shape[1] // w.shape[1]), w, weights=g)


def ctc(logs: Tensor, labels: Tensor) -> Tensor:
    steps, batch, _ = logs.shape
    return F.ctc_loss(logs, labels, [steps] * batch, [labels.shape[1]] * batch, reduction="sum")


def ctc_inputs(rng: np.random.Generator) -> list[np.ndarray]:
    scores = rng.standard_normal((60, 16, 32))
    return [np.log(softmax(scores)).astype(np.float32), rng.integers(1, 32, (16, 20)).astype(np.int64)]


def adamw_step(*tensors: Tensor) -> list[Tensor]:
    """A step on copies, so that every call does the same."""
    half = len(tensors) // 2
    params = [t.clone().requires_grad_() for t in tensors[:half]]
    for p, g in zip(params, tensors[half:], strict=True):
        p.grad = g
    cltorch.optim.AdamW(params, lr=0.01, weight_decay=0.1).step()
    return [p.detach() for p in params]


def adamw_reference(*arrays: np.ndarray) -> list[np.ndarray]:
    half = len(arrays) // 2
    return [p * (1 - 0.01 * 0.1) - 0.01 * g / (np.abs(g) + 1e-8) for p, g in zip(arrays[:half], arrays[half:], strict=True)]


def total_norm(*gradients: Tensor) -> Tensor:
    return cltorch.nn.utils.get_total_norm(gradients)


SIZES = ((300, 300), (1000,), (64, 33, 3), (7,))
PRODUCTS = (Workload(normal((512, 512), (512, 512)), lambda a, b: a @ b, np.matmul),
            Workload(normal((100, 700), (700, 300)), lambda a, b: a @ b, np.matmul),
            Workload(normal((8, 130, 70), (8, 70, 90)), lambda a, b: a.bmm(b), np.matmul))
FUSED_ATTENTION = (Workload(normal(*[(4, 4, 200, 64)] * 3), F.scaled_dot_product_attention, attention),
                   Workload(normal(*[(2, 2, 67, 16)] * 4), attention_gradient, attention_gradient_reference))
CONVOLUTIONS = (Workload(normal((4, 32, 28, 28), (64, 32, 5, 5)), lambda x, w: F.conv2d(x, w, padding=2), convolution),
                Workload(normal((4, 32, 57, 57), (64, 32, 3, 3)), lambda x, w: F.conv2d(x, w, stride=2, padding=1),
                         lambda x, w: convolution(x, w)[..., ::2, ::2]),
                Workload(normal((2, 3, 57, 61), (20, 3, 5, 5)), lambda x, w: F.conv2d(x, w, padding=2), convolution))
SQUARES = (Workload(normal((4, 64, 32, 32), (64, 64, 3, 3)), lambda x, w: F.conv2d(x, w, padding=1), convolution),
           Workload(normal((2, 160, 14, 14), (100, 160, 3, 3)), lambda x, w: F.conv2d(x, w, padding=1), convolution))
CONVOLUTION_GRADIENTS = (Workload(normal((4, 32, 28, 28), (64, 32, 3, 3), (4, 64, 28, 28)), conv2d_gradient, weight_gradient, 1e-3),
                         Workload(normal((2, 3, 57, 61), (20, 3, 5, 5), (2, 20, 57, 61)), conv2d_gradient, weight_gradient, 1e-3))
DEPTHWISE = (Workload(normal((8, 64, 57, 57), (64, 1, 3, 3)), lambda x, w: F.conv2d(x, w, padding=1, groups=64), depthwise),
             Workload(normal((4, 48, 28, 28), (48, 1, 5, 5), (4, 48, 28, 28)), conv2d_gradient, depthwise_weight_gradient, 1e-3))
SORTED = (lambda x: x.sort(1), lambda x: (np.sort(x, 1), np.argsort(x, 1, kind="stable")))

WORKLOADS: dict[str, tuple[Workload, ...]] = {
    "attention/block": FUSED_ATTENTION,
    "attention/panel": FUSED_ATTENTION,
    "attention/weights": (Workload(normal(*[(40, 8, 15, 32)] * 3), F.scaled_dot_product_attention, attention),
                          Workload(normal((16, 10, 16), *[(16, 167, 16)] * 2), F.scaled_dot_product_attention, attention)),
    "conv/correlate": CONVOLUTIONS,
    "conv/direct": DEPTHWISE,
    "conv/grid": CONVOLUTIONS + CONVOLUTION_GRADIENTS,
    "conv/weights": CONVOLUTION_GRADIENTS,
    "conv/winograd": SQUARES,
    "cumulative/scan": (Workload(normal((300, 1000)), lambda x: x.cumsum(1), lambda x: x.cumsum(1)),
                        Workload(normal((1000, 301)), lambda x: x.cumsum(0), lambda x: x.cumsum(0)),
                        Workload(normal((1 << 18,)), lambda x: x.cumsum(0), lambda x: x.cumsum(0))),
    "indexing/compact": (Workload(numbered(2, (1 << 19,), dtype=np.bool_), lambda x: x.nonzero(), lambda x: np.argwhere(x)),
                         Workload(numbered(2, (317, 91), dtype=np.bool_), lambda x: x.nonzero(), lambda x: np.argwhere(x))),
    "loss/cross_entropy": (
        Workload(lambda rng: [*normal((1000, 500))(rng), rng.integers(0, 500, 1000)], F.cross_entropy, cross_entropy),
        Workload(lambda rng: [*normal((4, 21, 61, 67))(rng), rng.integers(0, 21, (4, 61, 67))], F.cross_entropy, cross_entropy)),
    "loss/ctc": (Workload(ctc_inputs, ctc, ctc_loss),),
    "matmul/dot": (Workload(normal((16, 784), (512, 784)), lambda x, w: F.linear(x, w), lambda x, w: x @ w.T),
                   Workload(normal((1, 1000), (900, 1000)), lambda x, w: F.linear(x, w), lambda x, w: x @ w.T)),
    "matmul/grid": PRODUCTS,
    "matmul/panel": (*PRODUCTS, Workload(normal((300, 200), (400, 200)), lambda a, b: a @ b.t(), lambda a, b: a @ b.T)),
    "matmul/small": (Workload(normal((40, 20), (20, 37)), lambda a, b: a @ b, np.matmul),
                     Workload(normal((30, 8, 9), (30, 9, 11)), lambda a, b: a.bmm(b), np.matmul)),
    "movement/transpose": (Workload(normal((1000, 1024)), lambda x: x.t().contiguous(), lambda x: x.T, 0),
                           Workload(numbered(256, (3, 501, 403), dtype=np.uint8), lambda x: x.permute(0, 2, 1).contiguous(),
                                    lambda x: x.transpose(0, 2, 1), 0)),
    "norm/batch": (Workload(normal((16, 32, 28, 28), (16, 32, 28, 28)),
                            lambda x, g: gradient(lambda x: F.batch_norm(x, None, None, training=True), x, weights=g), batch_norm_gradient),
                   Workload(normal((500, 300), (500, 300)),
                            lambda x, g: gradient(lambda x: F.batch_norm(x, None, None, training=True), x, weights=g), batch_norm_gradient)),
    "norm/layer": (Workload(normal((1000, 512)), lambda x: F.layer_norm(x, (512,)), layer_norm),
                   Workload(normal((300, 77)), lambda x: F.layer_norm(x, (77,)), layer_norm)),
    "norm/softmax": (Workload(normal((500, 1000)), lambda x: x.softmax(1), softmax),
                     Workload(normal((20, 30, 401)), lambda x: x.softmax(1), lambda x: softmax(x, 1)),
                     Workload(normal((1000, 33)), lambda x: x.softmax(1), softmax)),
    "optim/norm": (Workload(normal(*SIZES), total_norm, lambda *g: np.sqrt(sum((x * x).sum() for x in g))),),
    "optim/update": (Workload(normal(*SIZES, *SIZES), adamw_step, adamw_reference),),
    "reduce/columns": (Workload(normal((1000, 1000)), lambda x: x.sum(0), lambda x: x.sum(0)),
                       Workload(normal((30000, 10)), lambda x: x.sum(0), lambda x: x.sum(0)),
                       Workload(normal((50, 60, 77)), lambda x: x.sum(1), lambda x: x.sum(1))),
    "reduce/merge": (Workload(normal((1 << 20,)), lambda x: x.sum(), lambda x: x.sum()),
                     Workload(normal((3, 200001)), lambda x: x.sum(1), lambda x: x.sum(1))),
    "reduce/rows": (Workload(normal((1 << 20,)), lambda x: x.sum(), lambda x: x.sum()),
                    Workload(normal((1000, 1000)), lambda x: x.sum(1), lambda x: x.sum(1)),
                    Workload(normal((3000, 70)), lambda x: x.var(1), lambda x: x.var(1, ddof=1))),
    "sorting/radix": (Workload(normal((1, 100000)), *SORTED, 0), Workload(normal((2, 30011)), *SORTED, 0)),
    "sorting/rows": (Workload(normal((300, 900)), *SORTED, 0), Workload(normal((2000, 31)), *SORTED, 0)),
}


# -- the child --------------------------------------------------------------------------------------------------------------------


class Launches(Observer):
    """A fingerprint of what is launched: sources, sizes, numbers."""

    def __init__(self) -> None:
        self.digest, self.labels = hashlib.sha256(), set[str]()

    def before(self, kernel: Any, global_size: tuple, local_size: tuple | None, args: tuple) -> None:
        self.labels.add(kernel.program.label)
        numbers = [a for a in args if isinstance(a, (int, float))]
        self.digest.update(f"{kernel.program.source}{kernel.name}{global_size}{local_size}{numbers}".encode())


def realised(result: Any) -> list[Tensor]:
    results = list(result) if isinstance(result, (tuple, list)) else [result]
    for t in results:
        dispatch.buffer(t)
    return results


def complaint(workload: Workload, arrays: list[np.ndarray], tensors: list[Tensor]) -> str:
    """What is wrong with a result, or ""."""
    answers = workload.reference(*[a.astype(np.float64) if a.dtype == np.float32 else a for a in arrays])
    for result, answer in zip(realised(workload.call(*tensors)), answers if isinstance(answers, (tuple, list)) else [answers], strict=True):
        found, answer = result.cpu().numpy(), np.asarray(answer)
        if found.shape != answer.shape:
            return f"shape {found.shape} instead of {answer.shape}"
        off, allowed = np.abs(found.astype(np.float64) - answer).max(initial=0), workload.tolerance * np.abs(answer).max(initial=0)
        if not off <= allowed:
            return f"a result is off by {off:.3g}, where {allowed:.3g} is allowed"
    return ""


class Timer:
    """Seconds a call of one workload; how many calls make a measurement is found at the start."""

    def __init__(self, workload: Workload, tensors: list[Tensor], place: Any) -> None:
        self.call, self.tensors, self.place, self.count = workload.call, tensors, place, 1
        self()
        self.count = max(1, min(2000, round(ROUND / self())))

    def __call__(self) -> float:
        cltorch.accelerator.synchronize(self.place)
        start = time.perf_counter()
        for _ in range(self.count):
            realised(self.call(*self.tensors))
        cltorch.accelerator.synchronize(self.place)
        return (time.perf_counter() - start) / self.count


def prepare(family: str, place: Any) -> tuple[dict[str, Any], list[Timer]]:
    """The child's first line, and the timers of a family that computes rightly."""
    dev, seen, rng, timers = cltorch.empty(0, device=place)._dev, Launches(), np.random.default_rng(0), []
    for workload in WORKLOADS[family]:
        arrays = workload.inputs(rng)
        tensors = realised([cltorch.from_numpy(a).to(place, copy=True) for a in arrays])
        dev.watch(seen)
        wrong = complaint(workload, arrays, tensors)
        dev.unwatch(seen)
        if wrong:
            return {"error": wrong}, []
        timers.append(Timer(workload, tensors, place))
    return {"kernels": seen.digest.hexdigest(), "used": family in seen.labels}, timers


def main(argv: list[str] | None = None) -> int:
    family, place = sys.argv[1:] if argv is None else argv
    first, timers = prepare(family, cltorch.device(place))
    print(json.dumps(first), flush=True)
    for _ in sys.stdin if timers else ():
        print(json.dumps({"seconds": [timer() for timer in timers]}), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
