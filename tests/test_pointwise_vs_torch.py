"""PyTorch as the oracle of every pointwise operator: values, result types, gradients, accepted types. The operators are found in the table."""
from __future__ import annotations

import warnings
import zlib
from typing import Any

import numpy as np
import pytest

import cltorch
from cltorch.core import lazy
from cltorch.core.tensor import Tensor
from cltorch.dtype import TABLE, bfloat16, bool_, complex64, complex128, decode, encode, float16, float32, float64, int32, uint8
from cltorch.ops import registry
from cltorch.ops.registry import Operator
from cltorch.testing import assert_close

torch = pytest.importorskip("torch")

HOMES = {"torch": torch, "functional": torch.nn.functional, "special": torch.special}
FILES = ("unary", "binary", "ternary", "special", "comparison", "complexes", "activation")


def oracle(op: Operator) -> Any:
    """PyTorch's function of the same name and namespace, or None."""
    for space in op.namespaces:
        found = getattr(HOMES.get(space), op.name, None)
        if found is not None:
            return found
    return None


def public(op: Operator) -> bool:
    written_here = op.form == "pointwise" or op.function.__module__.rsplit(".", 1)[-1] in FILES
    return written_here and oracle(op) is not None


OPS = [op for op in registry.table() if public(op)]
PLAIN = [op for op in OPS if op.form == "pointwise"]
SAMPLED = [op for op in OPS if op.form == "composite" and op.samples is not None]
HALF_STEPS = 8
HALVES = (float16, bfloat16)
WIDER = dict.fromkeys(("zeta", "erfcx", "log_ndtr", "ndtri"), HALVES)  # types taken here that PyTorch refuses
RANDOM = {"rrelu"}  # the two libraries draw different numbers


def cases(ops: list[Operator], dtypes: Any = TABLE) -> list[Any]:
    return [pytest.param(op, d, id=f"{op.namespaces[0]}.{op.name}-{d.name}") for op in ops for d in dtypes]


# Every type is tried forward and contiguous; elsewhere one of each kind of kernel is enough: building kernels is most of the tests' time.
FEW = (float32, complex64, int32, bool_)
SEVERAL = (uint8, int32, float16, float32, complex64, bool_)
INEXACT = (float16, float32, complex64)


def twin(d: Any) -> Any:
    return getattr(torch, d.name)


def to_torch(t: Any, grad: bool = False) -> Any:
    """The same tensor (bits, shape, strides don't matter) in PyTorch; other values are passed through."""
    if isinstance(t, (list, tuple)):
        return type(t)(to_torch(v, grad) for v in t)
    if not isinstance(t, Tensor):
        return t
    array = t.detach().numpy(force=True)
    other = torch.from_numpy(np.array(array)).to(twin(t.dtype))
    return other.requires_grad_() if grad and t.requires_grad else other


def values(t: Any) -> np.ndarray:
    """A PyTorch tensor's numbers."""
    t = torch.zeros_like(t) if t._is_zerotensor() else t.detach()
    return t.float().numpy() if t.dtype is torch.bfloat16 else t.resolve_conj().numpy()


def random_tensor(rng: np.random.Generator, shape: tuple[int, ...], d: Any, low: float, high: float, device: Any) -> Tensor:
    if d is bool_:
        array = rng.random(shape) < 0.5
    elif d.is_integral:
        floor = max(int(np.ceil(low)), 0 if not d.is_signed else -100)
        array = rng.integers(floor, max(int(np.floor(high)), floor + 1), shape, endpoint=True)
    else:
        array = rng.uniform(low, high, shape)
        if d.is_complex:
            array = array + 1j * rng.uniform(low, high, shape)
        array = decode(encode(array, d), d)
    return cltorch.tensor(np.asarray(array), dtype=d, device=device)


class Draw:
    """Random operands for one operator and type, the same in every run."""

    def __init__(self, op: Operator, d: Any, device: Any) -> None:
        self.op, self.d, self.device = op, d, device
        self.rng = np.random.default_rng(zlib.crc32(f"{op.name} {d.name}".encode()))

    def operands(self, shapes: list[tuple[int, ...]]) -> list[Tensor]:
        domain = self.op.domain
        bounds = [domain.get(name, (-2, 2)) if isinstance(domain, dict) else domain for name in self.op.engine.operands]
        return [random_tensor(self.rng, shape, self.d, low, high, self.device) for shape, (low, high) in zip(shapes, bounds, strict=True)]

    def __call__(self, *shape: int, low: float = -2, high: float = 2, dtype: Any = None) -> Tensor:
        """``make`` of an operator's samples."""
        return random_tensor(self.rng, shape, dtype or self.d, low, high, self.device)


def in_torch(function: Any, args: Any, kwargs: Any) -> tuple[Any, Exception | None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function(*args, **kwargs), None
    except (RuntimeError, TypeError, ValueError) as error:
        return None, error


def coarser(*dtypes: Any) -> Any:
    """The type whose tolerance holds: the least exact floating or complex one."""
    order = [bfloat16, float16, complex64, float32, complex128, float64]
    inexact = [d for d in order if d in dtypes]
    return inexact[0] if inexact else dtypes[0]


def compare(got: Any, want: Any, d: Any, op: Operator | None = None) -> None:
    """Equal within the coarser type's tolerance; PyTorch rounds at each step of a formula in halves where one kernel rounds once."""
    if not isinstance(got, Tensor):
        assert got == want
        return
    assert got.dtype.name == str(want.dtype).removeprefix("torch.")
    assert tuple(got.shape) == tuple(want.shape)
    stepwise = op is not None and d in HALVES and (op.form == "composite" or "special" in op.namespaces)
    assert_close(got, values(want), dtype=coarser(got.dtype, d), scale=HALF_STEPS if stepwise else 1)


LAYOUTS = {"vector": lambda k: (19,), "scalar": lambda k: (), "empty": lambda k: (0, 2), "broadcast": lambda k: ((3, 1, 4), (2, 1), (4,))[k]}


@pytest.mark.parametrize("op, d", cases(PLAIN))
def test_values_and_types(op: Operator, d: Any, device: Any) -> None:
    draw, count = Draw(op, d, device), len(op.engine.operands)
    for name, layout in LAYOUTS.items():
        if name in ("scalar", "broadcast") and d not in FEW:
            continue
        operands = draw.operands([layout(k) for k in range(count)])
        want, error = in_torch(oracle(op), to_torch(operands), {})
        if error is not None:
            pytest.skip(f"PyTorch: {error}")
        compare(op.function(*operands), want, d, op)


@pytest.mark.parametrize("op", PLAIN, ids=repr)
def test_transposed_and_sliced(op: Operator, device: Any) -> None:
    d = next(d for d in FEW if d in op.dtypes)
    operands = [t.t()[1:, ::2] for t in Draw(op, d, device).operands([(5, 6)] * len(op.engine.operands))]
    want, error = in_torch(oracle(op), to_torch(operands), {})
    if error is not None:
        pytest.skip(f"PyTorch: {error}")
    compare(op.function(*operands), want, d, op)


@pytest.mark.parametrize("op", PLAIN, ids=repr)
def test_accepts_the_same_types(op: Operator, device: Any) -> None:
    """Each type PyTorch takes is taken, and each one it refuses raises RuntimeError."""
    for d in TABLE:
        operands = Draw(op, d, device).operands([(3,)] * len(op.engine.operands))
        _, error = in_torch(oracle(op), to_torch(operands), {})
        if error is None:
            op.function(*operands)
        elif d not in WIDER.get(op.name, ()):
            with pytest.raises(RuntimeError):
                op.function(*operands)


@pytest.mark.parametrize("op, d", cases([op for op in PLAIN if len(op.engine.operands) == 2], SEVERAL))
def test_number_operand(op: Operator, d: Any, device: Any) -> None:
    """A Python number on either side, of every category, wherever PyTorch takes one."""
    taken = 0
    for number in (True, 1, 2.5, 1 + 2j):
        for left in (False, True):
            (tensor,) = Draw(op, d, device).operands([(7,), (7,)])[left:][:1]
            args = (number, tensor) if left else (tensor, number)
            want, error = in_torch(oracle(op), to_torch(args), {})
            if error is None and want.dtype is not torch.complex32:
                taken += 1
                compare(op.function(*args), want, d)
    if not taken:
        pytest.skip("PyTorch takes no number here")


def check_gradients(op: Operator, args: Any, kwargs: Any, d: Any) -> None:
    """The gradient of every floating operand for a random incoming gradient. Halves round at each operator of a formula: wider tolerance."""
    args = [a.detach().clone() if isinstance(a, Tensor) else a for a in args]
    leaves = [t for t in args if isinstance(t, Tensor) and (t.dtype.is_floating_point or t.dtype.is_complex)]
    for t in leaves:
        t.requires_grad_()
    theirs = to_torch(list(args), grad=True)
    their_leaves = [t for t in theirs if isinstance(t, torch.Tensor) and t.requires_grad]
    out, error = in_torch(oracle(op), theirs, kwargs)
    if error is not None or not isinstance(out, torch.Tensor) or not out.requires_grad:
        pytest.skip("no gradient in PyTorch")
    weight = decode(encode(np.random.default_rng(5).uniform(0.5, 1.5, tuple(out.shape)), d.to_real), d.to_real)
    _, error = in_torch(out.backward, (torch.from_numpy(np.asarray(weight)).to(out.dtype),), {})
    if error is not None:
        pytest.skip(f"no gradient in PyTorch: {error}")
    got = op.function(*args, **kwargs)
    got.backward(cltorch.tensor(weight, dtype=got.dtype, device=got.device))
    for mine, other in zip(leaves, their_leaves, strict=True):
        if other.grad is None:
            continue
        want = values(other.grad)
        assert mine.grad is not None and tuple(mine.grad.shape) == want.shape
        assert mine.grad.dtype is mine.dtype
        size = max(1.0, float(np.abs(want).max(initial=0)))
        assert_close(mine.grad.numpy(force=True) / size, want / size, dtype=d, scale=HALF_STEPS if d in HALVES else 1)


@pytest.mark.parametrize("op, d", cases([op for op in PLAIN if op.differentiable], INEXACT))
def test_gradients(op: Operator, d: Any, device: Any) -> None:
    shapes = [(3, 4) if k == 0 else (4,) for k in range(len(op.engine.operands))]
    operands = Draw(op, d, device).operands(shapes)
    _, error = in_torch(oracle(op), to_torch(operands), {})
    if error is not None:
        pytest.skip(f"PyTorch: {error}")
    check_gradients(op, operands, {}, d)


def sample_list(op: Operator, d: Any, device: Any) -> list[Any]:
    return op.samples(Draw(op, d, device))


@pytest.mark.parametrize("op, d", cases(SAMPLED))
def test_composite_values(op: Operator, d: Any, device: Any) -> None:
    if op.name in RANDOM:
        pytest.skip("random")
    for args, kwargs in sample_list(op, d, device):
        want, error = in_torch(oracle(op), to_torch(args), kwargs)
        if error is not None or getattr(want, "dtype", None) is torch.complex32:
            continue
        compare(op.function(*args, **kwargs), want, d, op)


@pytest.mark.parametrize("op, d", cases([op for op in SAMPLED if op.differentiable], INEXACT))
def test_composite_gradients(op: Operator, d: Any, device: Any) -> None:
    for args, kwargs in sample_list(op, d, device):
        want, error = in_torch(oracle(op), to_torch(args), kwargs)
        if error is None and want.dtype is not torch.complex32:
            check_gradients(op, args, kwargs, d)


# kinks, poles, infinities and NaN: PyTorch's subgradients

KINKS = [-4.0, -3.0, -2.0, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 7.0]
UNARY_KINKS = ["abs", "sign", "sgn", "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "hardtanh", "hardsigmoid", "hardswish", "hardshrink",
               "softshrink", "floor", "ceil", "trunc", "round", "frac", "sqrt", "sinc", "nan_to_num", "square", "softplus", "logsigmoid",
               "sigmoid", "tanh", "silu", "gelu", "mish"]


def both(name: str) -> tuple[Any, Any]:
    functional = torch.nn.functional
    mine = registry.find(name, "torch" if any(op.name == name and "torch" in op.namespaces for op in registry.table()) else "functional").function
    return mine, getattr(torch, name, None) or getattr(functional, name)


@pytest.mark.parametrize("name", UNARY_KINKS)
def test_subgradients_at_kinks(name: str, device: Any) -> None:
    mine, theirs = both(name)
    x = cltorch.tensor(KINKS, device=device, requires_grad=True)
    y = torch.tensor(KINKS, requires_grad=True)
    a, b = mine(x), theirs(y)
    compare(a, b, float32)
    a.sum().backward()
    b.sum().backward()
    compare(x.grad, y.grad, float32)


PAIRS = ["maximum", "minimum", "fmax", "fmin", "hypot", "atan2", "copysign", "pow", "xlogy", "logaddexp"]


@pytest.mark.parametrize("name", PAIRS)
def test_subgradients_at_ties(name: str, device: Any) -> None:
    mine, theirs = both(name)
    left, right = np.meshgrid([-1.0, 0.0, 1.0, 2.0], [-1.0, 0.5, 0.0, 1.0, 2.0])
    ours = [cltorch.tensor(v.ravel(), dtype=float32, device=device, requires_grad=True) for v in (left, right)]
    other = [torch.tensor(v.ravel(), dtype=torch.float32, requires_grad=True) for v in (left, right)]
    a, b = mine(*ours), theirs(*other)
    compare(a, b, float32)
    a.backward(cltorch.ones_like(a))
    b.backward(torch.ones_like(b))
    for x, y in zip(ours, other, strict=True):
        compare(x.grad, y.grad, float32)


@pytest.mark.parametrize("low, high", [(-1.0, 1.0), (2.0, 1.0), (None, 1.0), (0.0, None)])
def test_clamp_at_its_bounds(low: Any, high: Any, device: Any) -> None:
    x, y = cltorch.tensor(KINKS, device=device, requires_grad=True), torch.tensor(KINKS, requires_grad=True)
    for wrap, other in ((lambda v: v, lambda v: v), (lambda v: None if v is None else cltorch.tensor(v, device=device),
                                                     lambda v: None if v is None else torch.tensor(v))):
        x.grad = y.grad = None
        a, b = x.clamp(wrap(low), wrap(high)), y.clamp(other(low), other(high))
        compare(a, b, float32)
        a.sum().backward()
        b.sum().backward()
        compare(x.grad, y.grad, float32)


SPECIAL = [float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 1.5, -2.5]
SPECIAL_OPS = ["isnan", "isinf", "isfinite", "isposinf", "isneginf", "sign", "signbit", "nan_to_num", "relu", "abs", "floor", "round", "exp", "log",
               "sqrt", "rsqrt", "reciprocal", "sigmoid", "tanh", "log1p", "expm1", "erf", "atan", "sinh", "cosh", "softplus", "logsigmoid",
               "logical_not", "square", "trunc", "frac", "exp2", "log2", "log10", "lgamma", "digamma", "asinh", "acosh", "atanh", "erfc", "erfinv"]


@pytest.mark.parametrize("name", SPECIAL_OPS)
def test_special_values(name: str, device: Any) -> None:
    mine, theirs = both(name)
    compare(mine(cltorch.tensor(SPECIAL, device=device)), theirs(torch.tensor(SPECIAL)), float32)


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "maximum", "minimum", "fmax", "fmin", "atan2", "hypot", "pow", "eq", "lt", "copysign",
                                  "remainder", "fmod", "floor_divide", "heaviside", "logaddexp", "xlogy", "nextafter"])
def test_special_pairs(name: str, device: Any) -> None:
    mine, theirs = both(name)
    left, right = np.meshgrid(SPECIAL, SPECIAL)
    a = mine(*[cltorch.tensor(v.ravel(), dtype=float32, device=device) for v in (left, right)])
    b = theirs(*[torch.tensor(v.ravel(), dtype=torch.float32) for v in (left, right)])
    compare(a, b, float32)


@pytest.mark.parametrize("d", [d for d in TABLE if d.is_integral], ids=lambda d: d.name)
@pytest.mark.parametrize("name", ["floor_divide", "remainder", "fmod", "bitwise_left_shift", "bitwise_right_shift", "pow", "gcd", "lcm", "mul", "add",
                                  "sub"])
def test_integers(name: str, d: Any, device: Any) -> None:
    """Signs, wrapping, shifts past the width, negative exponents."""
    mine, theirs = both(name)
    info = cltorch.iinfo(d)
    numbers = [v for v in (-7, -3, -2, -1, 1, 2, 3, 7, 9, 70, info.max) if v >= info.min]
    left, right = (v.ravel() for v in np.meshgrid(numbers, numbers))
    if name in ("lcm", "pow"):
        keep = (np.abs(left) < 10) & (np.abs(right) < 10)
        left, right = left[keep], right[keep]
    if name.endswith("shift"):
        left, right = np.concatenate([left, left]), np.concatenate([right, np.resize([0, 1, 7, 8, 15, 31, 63], right.size)])
    a = mine(*[cltorch.tensor(v, dtype=d, device=device) for v in (left, right)])
    b = theirs(*[torch.tensor(v, dtype=twin(d)) for v in (left, right)])
    compare(a, b, d)


# result types

SCALARS = [True, 2, 1.5, 1j]


def small(d: Any, shape: tuple[int, ...], device: Any) -> Tensor:
    return cltorch.ones(shape, dtype=d, device=device)


@pytest.mark.parametrize("a", TABLE, ids=lambda d: d.name)
@pytest.mark.parametrize("name", ["add", "mul", "div", "eq", "pow", "where"])
def test_promotion(name: str, a: Any, device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """All twelve types against all twelve, with dimensions and without, and against Python numbers. Nothing is launched: types only."""
    monkeypatch.setattr(lazy, "EAGER", False)
    mine, theirs = both(name)
    choice, their_choice = cltorch.ones(2, dtype=bool_, device=device), torch.ones(2, dtype=torch.bool)
    partners = [small(b, shape, device) for b in TABLE for shape in ((2,), ())] + SCALARS
    for shape in ((2,), ()):
        first = small(a, shape, device)
        for partner in partners:
            for args in ((first, partner), (partner, first)):
                given = (choice, *args) if name == "where" else args
                expected = (their_choice, *to_torch(args)) if name == "where" else to_torch(args)
                want, error = in_torch(theirs, expected, {})
                if error is None and want.dtype is not torch.complex32:
                    got = mine(*given)
                    assert got.dtype.name == str(want.dtype).removeprefix("torch."), (args, want.dtype)


@pytest.mark.parametrize("number", [np.float32(2.5), np.float64(2.5), np.int64(2), np.bool_(True), np.complex64(1 + 2j)], ids=repr)
def test_numpy_scalars(number: Any, device: Any) -> None:
    """They count as Python numbers, on either side of an operator."""
    x, y = cltorch.tensor([1.5, -2.0], device=device), torch.tensor([1.5, -2.0])
    for ours, other in ((x + number, y + number.item()), (number * x, number.item() * y), (x / number, y / number.item())):
        compare(ours, other, float32)
    assert (x == number).tolist() == (y == number.item()).tolist()


# errors in PyTorch's words

ERRORS = {
    "b - b": "two bool tensors", "-b": "on a bool tensor is not supported", "+b": "The `\\+` operator", "1 - b": "with a bool tensor",
    "b - 1": "with a bool tensor", "f - b": "with a bool tensor", "i ** -1": "negative integer powers", "i.pow(-2)": "negative integer powers",
    "c < c": "lt", "t.maximum(c, c)": "complex", "f & 1": "not implemented", "f << 1": "not implemented", "i << f": "not implemented",
    "i // 0": "ZeroDivisionError", "i % 0": "ZeroDivisionError", "t.sign(c)": "torch.sgn", "t.floor(c)": "floor",
    "t.add(i, i, alpha=1.5)": "alpha must not be", "t.add(i, i, alpha=True)": "Boolean alpha", "t.add(f, f, alpha=1j)": "alpha must not be",
    "t.clamp(i)": "At least one", "t.clamp(c, 0, 1)": "complex", "t.heaviside(f, i)": "different dtypes", "t.lerp(f, f.double(), 0.5)": "expected dtype",
    "t.addcdiv(i, i, i)": "Integer division", "t.isclose(f, f.double())": "did not match", "t.isclose(f, f, rtol=-1)": "greater than or equal",
    "t.div(f, f, rounding_mode='x')": "rounding_mode", "t.where(i, f, f)": "boolean tensor", "t.complex(f, f.double())": "scalar type",
    "i.add_(1.5)": "can't be cast", "f.add_(f.new_ones(3))": "output with shape", "b.add_(1)": "can't be cast", "i.sin_()": "can't be cast",
    "t.gcd(f, f)": "not implemented", "F.relu(b)": "Boolean", "F.softshrink(f, -1.0)": "lambda", "F.glu(f)": "Halving",
    "F.gelu(f, approximate='x')": "approximate", "F.prelu(f, f.new_ones(2))": "Mismatch", "F.celu(f, 0)": "alpha cannot be 0",
    "F.rrelu(f, 0.5, 0.1)": "Lower bound",
    "F.hardtanh(f, 1.0, -1.0)": "min_val cannot be greater", "f + 'x'": "unsupported operand", "t.add(f, 'x')": "must be Tensor",
}


def numbers(library: Any, device: Any) -> dict[str, Any]:
    where = {"device": device} if library is cltorch else {}
    data = {"b": [True], "i": [3], "f": [1.5], "c": [1 + 1j]}
    return {"t": library, "F": library.nn.functional, **{name: library.tensor(v, **where) for name, v in data.items()}}


@pytest.mark.parametrize("text", ERRORS)
def test_errors(text: str, device: Any) -> None:
    """The exception type that PyTorch raises, a sentence that says the same, and afterwards everything still works."""
    with pytest.raises((RuntimeError, TypeError, ValueError)) as caught:
        eval(text, numbers(torch, "cpu"))
    kind = next(k for k in (ValueError, TypeError, RuntimeError) if isinstance(caught.value, k))
    names = numbers(cltorch, device)
    with pytest.raises(kind, match=ERRORS[text]):
        eval(text, names)
    assert (names["f"] + 1).tolist() == [2.5]
