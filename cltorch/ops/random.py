"""Random numbers: filling, sampling, permutations, dropout.

Every number comes from Philox4x32-10 by its place in the generator's stream, so one seed gives the same integers, uniforms, masks and permutations on
every device, and normal numbers made by the same arithmetic. They are not PyTorch's numbers.
"""
from __future__ import annotations

import math
from typing import Any

from ..core import dispatch
from ..core.data import check_dtype, resolve
from ..core.pointwise import inplace
from ..core.random import Generator, generator_for
from ..core.tensor import Tensor
from ..dtype import COMPLEX, FLOATING, dtype, encode, float32, float64, get_default_dtype, int64
from ..runtime.device import Device
from ..shape import as_shape
from .creation import creation, filled, finish
from .random_host import REAL_KINDS, host_draw
from .registry import composite, kernel_op, write_out
from .views import view_as_complex

LARGEST = {"float16": 2048, "bfloat16": 256, "float32": 1 << 24, "float64": 1 << 53, "uint8": 256, "int8": 128, "int16": 1 << 15, "int32": 1 << 31,
           "int64": (1 << 63) - 1, "bool": 2}
SHORT_RANGE = 1 << 24  # up to here one 32-bit word gives an integer evenly enough (within 2^-8 of its share)


def draw(kind: str, shape: tuple[int, ...], d: dtype, dev: Device, generator: Generator | None, a: float, b: float = 0.0) -> Tensor:
    """A fresh tensor of random numbers: uniform (low, high), normal (mean, deviation), exponential (rate), bernoulli (probability), or
    integer (low, how many; 0 stands for 2^64)."""
    n = as_shape((shape,)).numel()
    if kind == "integer" and not 0 < b <= SHORT_RANGE:
        kind = "long"
    blocks = -(-n // (2 if kind == "long" or (d is float64 and kind in REAL_KINDS) else 4))
    seed, offset = generator_for(dev, generator).reserve(blocks)
    if dev.cl_device is None:
        return dispatch.from_host(encode(host_draw(kind, n, d, seed, offset, a, b).reshape(shape), d), d, dev)
    out = dispatch.empty(shape, d, dev)
    if n:
        dispatch.numel_32(kind, out)
        numbers = (float(a), float(b)) if kind in REAL_KINDS else (threshold(a), 0) if kind == "bernoulli" else (int(b), int(a))
        kernel = dispatch.kernel(dev, "random/fill", dtype=d, kind=kind)
        kernel(*dispatch.groups(dev, n), dispatch.buffer(out), n, seed, offset, *numbers)
    return out


def threshold(p: float) -> int:
    """How many of the 2^32 words stand for an event of probability p."""
    return round(p * 4294967296.0)


def _place(dtype: Any, device: Any, out: Tensor | None) -> tuple[dtype, Device]:
    dev = resolve(device) if out is None or device is not None else out._dev
    return check_dtype(dtype) or (out.dtype if out is not None else get_default_dtype()), dev


def _floating(name: str, d: dtype) -> None:
    if not (d.is_floating_point or d.is_complex):
        raise NotImplementedError(f"\"{name}\" not implemented for '{d.name}': random numbers of this kind need a floating type")


def _normal(shape: tuple[int, ...], d: dtype, dev: Device, generator: Generator | None, mean: float = 0.0, std: float = 1.0) -> Tensor:
    if d in COMPLEX:
        parts = draw("normal", (*shape, 2), d.to_real, dev, generator, 0.0, std * math.sqrt(0.5))
        return view_as_complex(parts) + mean
    return draw("normal", shape, d, dev, generator, mean, std)


def _uniform(shape: tuple[int, ...], d: dtype, dev: Device, generator: Generator | None, low: float = 0.0, high: float = 1.0) -> Tensor:
    if d in COMPLEX:
        return view_as_complex(draw("uniform", (*shape, 2), d.to_real, dev, generator, low, high))
    return draw("uniform", shape, d, dev, generator, low, high)


def _creator(name: str, fill: Any, doc: str) -> Any:
    def function(*args: Any, size: Any = None, generator: Generator | None = None, out: Tensor | None = None, dtype: dtype | None = None,
                 layout: Any = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False) -> Tensor:
        d, dev = _place(dtype, device, out)
        _floating(name, d)
        return finish(fill(as_shape(args if size is None else (size,)), d, dev, generator), out, requires_grad)

    function.__name__, function.__doc__ = name, doc
    return composite(name, **creation)(function)


rand = _creator("rand", _uniform, "Uniform numbers in [0, 1). NotImplementedError for integer types.")
randn = _creator("randn", _normal, "Standard normal numbers (complex: of variance 1 in all). NotImplementedError for integer types.")


def _like(name: str, fill: Any) -> Any:
    def function(input: Tensor, *, generator: Generator | None = None, dtype: dtype | None = None, layout: Any = None, device: Any = None,
                 requires_grad: bool = False, memory_format: Any = None) -> Tensor:
        d, dev = check_dtype(dtype) or input.dtype, input._dev if device is None else resolve(device)
        _floating(name, d)
        return finish(fill(input.shape, d, dev, generator), None, requires_grad)

    function.__name__, function.__doc__ = name, f"As {name[:-5]}, with another tensor's shape, type and device."
    return composite(name, **creation)(function)


rand_like, randn_like = _like("rand_like", _uniform), _like("randn_like", _normal)


def _integers(shape: tuple[int, ...], d: dtype, dev: Device, generator: Generator | None, low: int, high: int) -> Tensor:
    """Integers in [low, high) as type d, by 64-bit words."""
    if high <= low:
        raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
    return draw("integer", shape, d, dev, generator, low, high - low)


@composite("randint", **creation)
def randint(*args: Any, low: int = 0, high: int | None = None, size: Any = None, generator: Generator | None = None, out: Tensor | None = None,
            dtype: dtype | None = None, layout: Any = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False) -> Tensor:
    """``randint(high, size)``, ``randint(low, high, size)``: integers in [low, high), int64 unless given. RuntimeError for an empty range."""
    given = list(args)
    if given and not isinstance(given[-1], int) and size is None:
        size = given.pop()
    if len(given) == 2:
        low, high = given
    elif given:
        low, high = (low, given[0]) if high is None else (given[0], high)
    if high is None or size is None:
        raise TypeError("randint() takes (high, size) or (low, high, size)")
    dev = resolve(device) if out is None or device is not None else out._dev
    d = check_dtype(dtype) or (out.dtype if out is not None else int64)
    return finish(_integers(as_shape((size,)), d, dev, generator, low, high), out, requires_grad)


@composite("randint_like", **creation)
def randint_like(input: Tensor, low: int, high: int | None = None, *, dtype: dtype | None = None, layout: Any = None, device: Any = None,
                 requires_grad: bool = False, memory_format: Any = None) -> Tensor:
    """As randint, with another tensor's shape, type and device."""
    low, high = (0, low) if high is None else (low, high)
    dev = input._dev if device is None else resolve(device)
    return finish(_integers(input.shape, check_dtype(dtype) or input.dtype, dev, None, low, high), None, requires_grad)


@composite("randperm", **creation)
def randperm(n: int, *, generator: Generator | None = None, out: Tensor | None = None, dtype: dtype | None = None, layout: Any = None, device: Any = None,
             requires_grad: bool = False, pin_memory: bool = False) -> Tensor:
    """A random order of 0 .. n-1: the stable order of n random 64-bit words. RuntimeError for a negative n."""
    if n < 0:
        raise RuntimeError(f"n must be non-negative, got {n}")
    dev = resolve(device) if out is None or device is not None else out._dev
    d = check_dtype(dtype) or (out.dtype if out is not None else int64)
    keys = draw("integer", (n,), int64, dev, generator, 0, 0)
    return finish(keys.argsort(stable=True).to(d), out, requires_grad)  # type: ignore[attr-defined]


@composite("normal", differentiable=False)
def normal(mean: Any = 0.0, std: Any = 1.0, size: Any = None, *, generator: Generator | None = None, out: Tensor | None = None,
           dtype: dtype | None = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Normal numbers: ``mean`` and ``std`` as tensors (elementwise) or numbers with ``size``. RuntimeError for a negative std."""
    if not isinstance(std, Tensor) and std < 0.0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")
    if isinstance(mean, Tensor) or isinstance(std, Tensor):
        like = (mean if isinstance(mean, Tensor) else std) + (std if isinstance(std, Tensor) else 0.0) * 0
        result = draw("normal", like.shape, like.dtype, like._dev, generator, 0.0, 1.0) * std + mean
        return write_out(result, out) if out is not None else result
    if size is None:
        raise TypeError("normal() needs size where mean and std are numbers")
    d, dev = _place(dtype, device, out)
    return finish(_normal(as_shape((size,)), d, dev, generator, mean, std), out, requires_grad)


@composite("bernoulli", method=True, differentiable=False)
def bernoulli(input: Tensor, p: float | None = None, *, generator: Generator | None = None, out: Tensor | None = None) -> Tensor:
    """1 with the probability that each element (or ``p``) gives, else 0, in the input's type. NotImplementedError for integers without p."""
    if p is None:
        _floating("bernoulli", input.dtype)
        result = (draw("uniform", input.shape, input.dtype, input._dev, generator, 0.0, 1.0) < input).to(input.dtype)
    else:
        result = draw("bernoulli", input.shape, input.dtype, input._dev, generator, _probability("bernoulli", p))
    return write_out(result, out) if out is not None else result


def _probability(name: str, p: float) -> float:
    if not 0.0 <= p <= 1.0:
        raise RuntimeError(f"{name}_ expects p to be in [0, 1], but got p={p}")
    return float(p)


@composite("multinomial", method=True, differentiable=False)
def multinomial(input: Tensor, num_samples: int, replacement: bool = False, *, generator: Generator | None = None, out: Tensor | None = None) -> Tensor:
    """Indices drawn with the probabilities of each row (they need not sum to one): int64, (num_samples) or (rows, num_samples).

    RuntimeError for more samples than categories without replacement, and for probabilities that are negative, infinite or all zero: the host
    waits for that check.
    """
    if not 1 <= input.dim() <= 2:
        raise RuntimeError("prob_dist must be 1 or 2 dim")
    _floating("multinomial", input.dtype)
    if num_samples <= 0:
        raise RuntimeError("cannot sample n_sample <= 0 samples")
    if not replacement and num_samples > input.shape[-1]:
        raise RuntimeError("cannot sample n_sample > prob_dist.size(-1) samples without replacement")
    weights = input.detach().to(float64 if input.dtype is float64 else float32)
    if not ((weights >= 0) & (weights < math.inf)).all().item():
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    result = _with_replacement(weights, num_samples, generator) if replacement else _without_replacement(weights, num_samples, generator)
    return write_out(result, out) if out is not None else result


def _with_replacement(weights: Tensor, count: int, generator: Generator | None) -> Tensor:
    """Uniform numbers looked up in the running sums. The last category with a weight bounds what rounding could push further."""
    total = weights.cumsum(-1)  # type: ignore[attr-defined]
    if not (total[..., -1] > 0).all().item():
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
    wanted = draw("uniform", (*weights.shape[:-1], count), total.dtype, weights._dev, generator, 0.0, 1.0) * total[..., -1:]
    last = total.searchsorted(total[..., -1:].contiguous())
    return total.searchsorted(wanted, right=True).minimum(last)


def _without_replacement(weights: Tensor, count: int, generator: Generator | None) -> Tensor:
    """The categories whose exponential waiting times, at a rate of their weight, end first."""
    waits = draw("exponential", weights.shape, weights.dtype, weights._dev, generator, 1.0)
    return (weights / waits).topk(count, dim=-1)[1]  # type: ignore[attr-defined]


def _method(name: str, make: Any, doc: str) -> None:
    """Registers an in-place filling method: ``make(self, *arguments, generator) -> Tensor`` of self's shape and type."""
    def method(self: Tensor, *args: Any, generator: Generator | None = None, **options: Any) -> Tensor:
        return inplace(self, make(self, *args, generator=generator, **options).detach(), name)

    method.__name__, method.__doc__ = name, doc
    composite(name, method=True, namespace="method", differentiable=False)(method)


def _uniform_like(t: Tensor, from_: float = 0.0, to: float = 1.0, *, generator: Generator | None = None, **named: float) -> Tensor:
    low = named.get("from", from_)
    if low > to:
        raise RuntimeError(f"uniform_ expects to return a [from, to) range, but found from={low} > to={to}")
    _floating("uniform_", t.dtype)
    return _uniform(t.shape, t.dtype, t._dev, generator, low, to)


def _normal_like(t: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    if std < 0:
        raise RuntimeError(f"normal_ expects std >= 0.0, but found std={std}")
    _floating("normal_", t.dtype)
    return _normal(t.shape, t.dtype, t._dev, generator, mean, std)


def _exponential_like(t: Tensor, lambd: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    if lambd <= 0.0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={lambd}")
    _floating("exponential_", t.dtype)
    return draw("exponential", t.shape, t.dtype, t._dev, generator, lambd)


def _bernoulli_like(t: Tensor, p: Any = 0.5, *, generator: Generator | None = None) -> Tensor:
    if isinstance(p, Tensor):
        return (draw("uniform", t.shape, float32, t._dev, generator, 0.0, 1.0) < p).to(t.dtype)
    return draw("bernoulli", t.shape, t.dtype, t._dev, generator, _probability("bernoulli", p))


def _random_like(t: Tensor, from_: int | None = None, to: int | None = None, *, generator: Generator | None = None, **named: int) -> Tensor:
    first = named.get("from", from_)
    if first is not None and to is None:
        first, to = 0, first
    return _integers(t.shape, t.dtype, t._dev, generator, first or 0, LARGEST[t.dtype.name] if to is None else to)


def _open_uniform(t: Tensor, generator: Generator | None) -> Tensor:
    """Uniform numbers in (0, 1]."""
    return 1 - draw("uniform", t.shape, float64 if t.dtype is float64 else float32, t._dev, generator, 0.0, 1.0)


def _cauchy_like(t: Tensor, median: float = 0.0, sigma: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    return (median + sigma * (math.pi * (_open_uniform(t, generator) - 0.5)).tan()).to(t.dtype)


def _geometric_like(t: Tensor, p: float, *, generator: Generator | None = None) -> Tensor:
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p}")
    return (_open_uniform(t, generator).log() / math.log1p(-p)).ceil().clamp(min=1).to(t.dtype)


def _log_normal_like(t: Tensor, mean: float = 1.0, std: float = 2.0, *, generator: Generator | None = None) -> Tensor:
    return _normal_like(t, mean, std, generator=generator).exp()


_method("uniform_", _uniform_like, "Fills with uniform numbers in [from, to).")
_method("normal_", _normal_like, "Fills with normal numbers.")
_method("exponential_", _exponential_like, "Fills with exponential numbers of rate lambd.")
_method("bernoulli_", _bernoulli_like, "Fills with 1 at probability p (a number or tensor), else 0.")
_method("random_", _random_like, "Fills with integers in [from, to); without bounds, up to what the type counts exactly.")
_method("cauchy_", _cauchy_like, "Fills with Cauchy numbers.")
_method("geometric_", _geometric_like, "Fills with the number of trials until the first success.")
_method("log_normal_", _log_normal_like, "Fills with numbers whose logarithm is normal.")


# dropout


def _drop(input: Tensor, p: float, seed: int, offset: int) -> Tensor:
    x = input.contiguous()
    out = dispatch.empty(x.shape, x.dtype, x._dev)
    n = x.numel()
    dispatch.numel_32("dropout", x)
    kernel = dispatch.kernel(x._dev, "random/keep", dtype=x.dtype)
    kernel(*dispatch.groups(x._dev, n), dispatch.buffer(out), dispatch.buffer(x), x.offset, n, seed, offset, threshold(p), 1.0 / (1.0 - p))
    return out


dropout_at = kernel_op(
    "dropout_at(input, p, seed, offset)", forward=_drop, dtypes=FLOATING | COMPLEX, method=False, namespace="core", out=False,
    grad=dict(input=lambda g, p, seed, offset: dropout_at(g, p, seed, offset)), doc="dropout with the mask of a place in a random stream")


def _check_probability(p: float) -> None:
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def _finish_dropout(input: Tensor, result: Tensor, in_place: bool) -> Tensor:
    return inplace(input, result, "dropout_") if in_place else result


@composite("dropout", namespace="functional,torch", differentiable=False)
def dropout(input, p=0.5, training=True, inplace=False):
    """Zeroes each element with probability p and scales the others by 1/(1-p). The mask is not stored: backward draws it again.

    ValueError for p outside [0, 1].
    """
    _check_probability(p)
    if not training or p == 0.0 or input.numel() == 0:
        return input
    if p == 1.0:
        return _finish_dropout(input, input * 0.0, inplace)
    generator = generator_for(input._dev, None)
    return _finish_dropout(input, dropout_at(input, float(p), *generator.reserve(-(-input.numel() // 4))), inplace)


def _channel_mask(input: Tensor, p: float) -> Tensor:
    shape = (*input.shape[:2], *(1,) * (input.dim() - 2))
    return draw("bernoulli", shape, input.dtype, input._dev, None, 1.0 - p)


def _channel_dropout(name: str, dims: tuple[int, ...], batched: int) -> Any:
    def function(input, p=0.5, training=True, inplace=False):
        _check_probability(p)
        if input.dim() not in dims:
            raise RuntimeError(f"{name}: Expected {dims[0]}D or {dims[-1]}D input, but received a {input.dim()}D input.")
        if not training or p == 0.0:
            return input
        x = input if input.dim() == batched else input.unsqueeze(0)
        result = x * (_channel_mask(x, p) * (1.0 / (1.0 - p))) if p < 1.0 else x * 0.0
        return _finish_dropout(input, result.reshape(input.shape), inplace)

    function.__name__, function.__doc__ = name, "Zeroes whole channels of (N, C, ...) with probability p and scales the others by 1/(1-p)."
    return composite(name, namespace="functional", differentiable=False)(function)


dropout1d = _channel_dropout("dropout1d", (2, 3), 3)
dropout2d = _channel_dropout("dropout2d", (3, 4), 4)
dropout3d = _channel_dropout("dropout3d", (4, 5), 5)
_ALPHA = -1.7580993408473766  # selu's limit for large negative numbers


def _alpha(input: Tensor, keep: Tensor, p: float) -> Tensor:
    scale = 1.0 / math.sqrt((1.0 - p) * (1.0 + p * _ALPHA * _ALPHA)) if p < 1.0 else 0.0
    return (input * keep + (1 - keep) * _ALPHA) * scale - scale * _ALPHA * p


@composite("alpha_dropout", namespace="functional,torch", differentiable=False)
def alpha_dropout(input, p=0.5, training=False, inplace=False):
    """Dropout that keeps mean and variance of selu's outputs."""
    _check_probability(p)
    if not training or p == 0.0:
        return input
    return _finish_dropout(input, _alpha(input, draw("bernoulli", input.shape, input.dtype, input._dev, None, 1.0 - p), p), inplace)


@composite("feature_alpha_dropout", namespace="functional,torch", differentiable=False)
def feature_alpha_dropout(input, p=0.5, training=False, inplace=False):
    """alpha_dropout of whole channels."""
    _check_probability(p)
    if not training or p == 0.0:
        return input
    return _finish_dropout(input, _alpha(input, _channel_mask(input, p), p), inplace)


@composite("feature_dropout", differentiable=False)
def feature_dropout(input, p=0.5, train=True):
    """Zeroes whole channels of (N, C, ...) with probability p and scales the others by 1/(1-p)."""
    _check_probability(p)
    if not train or p == 0.0:
        return input
    return input * (_channel_mask(input, p) * (1.0 / (1.0 - p))) if p < 1.0 else input * 0.0


@composite("gumbel_softmax", namespace="functional", differentiable=False)
def gumbel_softmax(logits, tau=1, hard=False, eps=1e-10, dim=-1):
    """A sample from the Gumbel-softmax distribution; ``hard`` gives one-hot vectors with the soft gradient."""
    noise = -draw("exponential", logits.shape, logits.dtype, logits._dev, None, 1.0).log()
    soft = ((logits + noise) / tau).softmax(dim)
    if not hard:
        return soft
    index = soft.max(dim, keepdim=True)[1]
    return filled(soft.shape, 0.0, soft.dtype, soft._dev).scatter(dim, index, 1.0) - soft.detach() + soft


