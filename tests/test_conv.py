"""conv2d and its gradients against PyTorch: shapes, strides, padding, dilation, groups, types, layouts, both kernel strategies' edges."""
from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from oracle import F, Input, same, values

import cltorch
from cltorch import codegen
from cltorch.dtype import by_name
from cltorch.ops import convolution, convolution_launch, convolution_winograd, gemm_plan

torch = pytest.importorskip("torch")


def conv(library: Any, *args: Any, **options: Any) -> Any:
    return F(library).conv2d(*args, **options)


# image, weight, options
CASES = [
    ((2, 3, 7, 6), (4, 3, 3, 3), {}),
    ((2, 3, 7, 6), (4, 3, 3, 2), {"padding": (2, 1)}),
    ((1, 1, 28, 28), (8, 1, 3, 3), {}),
    ((3, 8, 13, 11), (70, 8, 3, 3), {"padding": 1}),
    ((2, 5, 12, 17), (7, 5, 3, 2), {"stride": 2, "padding": 1}),
    ((2, 4, 11, 19), (6, 4, 2, 3), {"stride": (3, 2), "padding": 2, "dilation": 2}),
    ((2, 4, 12, 12), (6, 4, 3, 3), {"stride": 2, "dilation": 2}),
    ((2, 4, 9, 9), (6, 4, 2, 2), {"stride": 3}),
    ((2, 4, 9, 9), (6, 4, 1, 1), {"stride": 2}),
    ((2, 6, 9, 8), (4, 6, 1, 1), {}),
    ((2, 6, 5, 4), (4, 6, 5, 4), {}),
    ((2, 6, 9, 8), (9, 2, 3, 3), {"groups": 3, "padding": 1}),
    ((2, 8, 9, 8), (8, 1, 3, 3), {"groups": 8, "padding": 1}),
    ((2, 4, 9, 8), (8, 1, 3, 3), {"groups": 4, "stride": 2}),
    ((2, 3, 9, 8), (4, 3, 4, 3), {"padding": "valid"}),
    ((2, 3, 9, 8), (4, 3, 3, 5), {"padding": "same", "dilation": (2, 1)}),
    ((3, 7, 6), (4, 3, 3, 3), {}),
    ((1, 2, 3, 70), (3, 2, 2, 40), {}),
    ((1, 1, 40, 40), (2, 1, 23, 21), {"padding": 3}),
    ((1, 40, 4, 4), (33, 40, 3, 3), {"padding": 1}),
]


@pytest.mark.parametrize("image, weight, options", CASES, ids=str)
def test_forward_and_gradients(image: tuple, weight: tuple, options: dict) -> None:
    same(lambda lib, x, w, b: conv(lib, x, w, b, **options), values(image), values(weight, seed=1), values(weight[:1], seed=2), scale=20)


@pytest.mark.parametrize("image, weight, options", [CASES[i] for i in (1, 5, 6, 9, 10, 11)], ids=str)
def test_second_order(image: tuple, weight: tuple, options: dict) -> None:
    same(lambda lib, x, w, b: conv(lib, x, w, b, **options), values(image, low=-1, high=1), values(weight, seed=1, low=-1, high=1),
         values(weight[:1], seed=2), scale=100, second=True)


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
@pytest.mark.parametrize("options", [{"padding": 1}, {"stride": 2, "groups": 2}], ids=str)
def test_types(dtype: str, options: dict) -> None:
    groups = options.get("groups", 1)

    def rounded_once(lib: Any, *operands: Any) -> Any:
        """PyTorch's 16-bit convolutions round partial sums on some processors (those without AVX-512): it gets float32."""
        if lib is cltorch or dtype == "float64":
            return conv(lib, *operands, **options)
        return conv(lib, *[t.float() for t in operands], **options).to(operands[0].dtype)

    same(rounded_once, Input(values((2, 4, 9, 8)), dtype), Input(values((6, 4 // groups, 3, 3), seed=1), dtype), Input(values((6,), seed=2), dtype), scale=3)


@pytest.mark.parametrize("dtype", ["int64", "int32", "int8", "uint8"])
def test_integers(dtype: str) -> None:
    same(lambda lib, x, w: conv(lib, x, w, None, padding=1), values((2, 3, 6, 5), dtype), values((4, 3, 3, 3), dtype, seed=1))


@pytest.mark.parametrize("layouts", list(itertools.product(("transposed", "sliced", "offset"), repeat=2)), ids=str)
def test_layouts(layouts: tuple[str, str]) -> None:
    same(lambda lib, x, w: conv(lib, x, w, None, padding=1), Input(values((3, 4, 7, 6)), layout=layouts[0]),
         Input(values((5, 4, 3, 3), seed=1), layout=layouts[1]), scale=10)


def test_bias_is_optional_and_may_be_strided() -> None:
    same(lambda lib, x, w, b: conv(lib, x, w, b), values((1, 2, 5, 5)), values((3, 2, 2, 2), seed=1), Input(values((3,), seed=2), layout="sliced"))


def test_empty_batches_and_channels(device: Any) -> None:
    for image, weight in (((0, 3, 5, 5), (4, 3, 3, 3)), ((1, 0, 5, 5), (4, 0, 3, 3))):
        x, w = cltorch.zeros(image, device=device, requires_grad=True), cltorch.zeros(weight, device=device, requires_grad=True)
        out = cltorch.conv2d(x, w, cltorch.ones(4, device=device))
        assert tuple(out.shape) == (image[0], 4, 3, 3)
        assert (out.detach().cpu().numpy() == 1).all()
        out.sum().backward()
        assert x.grad.shape == x.shape and w.grad.shape == w.shape and not w.grad.cpu().numpy().any()


def test_results_repeat_bit_for_bit(device: Any) -> None:
    x, w = (cltorch.tensor(values(s, seed=3) * 0.37, device=device) for s in ((4, 8, 20, 20), (16, 8, 3, 3)))
    w.requires_grad_()
    results = []
    for _ in range(3):
        w.grad = None
        out = cltorch.conv2d(x, w, padding=1)
        (out * out).sum().backward()
        results.append((out.detach().cpu().numpy(), w.grad.cpu().numpy()))
    for a, b in results[1:]:
        assert np.array_equal(a, results[0][0]) and np.array_equal(b, results[0][1])


def test_a_gradient_is_freed_of_what_it_does_not_need(device: Any) -> None:
    x, w = cltorch.zeros(1, 1, 4, 4, device=device), cltorch.zeros(1, 1, 2, 2, device=device, requires_grad=True)
    out = cltorch.conv2d(x, w)
    assert out.requires_grad and out.grad_fn is not None
    out.sum().backward()
    assert x.grad is None


ERRORS = [
    ((1, 3, 5, 5), (4, 2, 3, 3), {},
     "Given groups=1, weight of size [4, 2, 3, 3], expected input[1, 3, 5, 5] to have 2 channels, but got 3 channels instead"),
    ((5, 5), (4, 3, 3, 3), {}, "Expected 3D (unbatched) or 4D (batched) input to conv2d, but got input of size: [5, 5]"),
    ((1, 3, 5, 5), (4, 3, 7, 7), {},
     "Calculated padded input size per channel: (5 x 5). Kernel size: (7 x 7). Kernel size can't be greater than actual input size"),
    ((1, 3, 5, 5), (4, 3, 3, 3), {"stride": 0}, "non-positive stride is not supported"),
    ((1, 3, 5, 5), (4, 3, 3, 3), {"padding": -1}, "negative padding is not supported"),
    ((1, 3, 5, 5), (4, 3, 3, 3), {"dilation": 0}, "dilation should be greater than zero, but got [0, 0]"),
    ((1, 4, 5, 5), (3, 2, 3, 3), {"groups": 2}, "expected weight to be divisible by 2 at dimension 0"),
    ((1, 3, 5, 5), (4, 3, 3, 3), {"groups": 0}, "non-positive groups is not supported"),
    ((1, 3, 5, 5), (4, 3, 3, 3), {"padding": "same", "stride": 2}, "padding='same' is not supported for strided convolutions"),
    ((1, 3, 5, 5), (4, 3, 3, 3), {"padding": "odd"}, "Invalid padding string: 'odd'"),
    ((1, 3, 5, 5), (4, 3, 3, 3), {"stride": (1, 2, 3)},
     "expected stride to be a single integer value or a list of 2 values to match the convolution dimensions, but got stride=[1, 2, 3]"),
]


@pytest.mark.parametrize("image, weight, options, text", ERRORS, ids=lambda v: str(v)[:30])
def test_errors_have_the_sentences_of_pytorch(image: tuple, weight: tuple, options: dict, text: str, device: Any) -> None:
    with pytest.raises(RuntimeError) as ours:
        cltorch.conv2d(cltorch.ones(image, device=device), cltorch.ones(weight, device=device), **options)
    assert text in str(ours.value)
    with pytest.raises(RuntimeError) as theirs:
        torch.conv2d(torch.ones(image), torch.ones(weight), **options)
    assert text in str(theirs.value)


def test_operands_must_agree(device: Any) -> None:
    x, w = cltorch.ones(1, 3, 5, 5, device=device), cltorch.ones(4, 3, 3, 3, device=device)
    for weight, bias, text in ((w.double(), None, "expected scalar type Float but found Double"),
                               (w, cltorch.ones(4, device=device, dtype=cltorch.float64), r"Input type \(float\) and bias type \(double\)"),
                               (w, cltorch.ones(5, device=device), "expected bias to be 1-dimensional with 4 elements")):
        with pytest.raises(RuntimeError, match=text):
            cltorch.conv2d(x, weight, bias)
    with pytest.raises(NotImplementedError):
        cltorch.conv2d(x.bool(), w.bool())
    with pytest.raises(TypeError):
        cltorch.conv2d(x, 2)


@pytest.mark.parametrize("axis", [(3, 26, 1, 0, 1), (7, 112, 2, -3, 1), (3, 1000, 1, -1, 1), (1, 5, 2, 0, 1), (0, 4, 1, 0, 1)])
@pytest.mark.parametrize("channels, rows", [(1, 32), (512, 512), (1, 1)])
def test_tiles_stay_within_their_bounds(axis: tuple, channels: int, rows: int) -> None:
    axes = (convolution_launch.Axis(*axis),) * 2
    room = convolution_launch.Room.from_numbers(codegen.defaults("conv/correlate", "wide"))
    for register in (16, 32, 64):
        cut = convolution_launch.tiling(axes, channels, rows, 4, 2, 4, register, room)
        t = dict(cut.tunables)
        flat, channel = convolution_launch.window(axes, cut.th, cut.tw)
        wide = t["NV"] * t["VW"]
        padded = min(-(-flat // wide), cut.th * -(-cut.tw // wide)) * wide
        assert channel * cut.block <= t["STAGE"] and cut.tiles * t["MR"] * padded <= t["SUMS"]


@pytest.mark.parametrize("axis", [(3, 26, 1, 0, 1), (7, 112, 2, -3, 1), (3, 1000, 1, -1, 1), (1, 5, 2, 0, 1)])
@pytest.mark.parametrize("channels, rows", [(1, 32), (512, 512), (3, 19), (1, 1)])
def test_shares_of_a_gradient_to_weights_stay_within_their_bounds(axis: tuple, channels: int, rows: int) -> None:
    axes = (convolution_launch.Axis(*axis),) * 2
    numbers = codegen.defaults("conv/weights", "wide")
    for register in (16, 32, 64):
        cut = convolution_launch.share(axes, channels, rows, 4, 1, 2, 4, register, convolution_launch.Room.from_numbers(numbers))
        t = dict(cut.tunables)
        flat, channel = convolution_launch.window(axes, cut.th, cut.tw)
        held = min(channels, -(-cut.deep // (axis[0] * axis[0])) + 1)
        assert channel * held <= t["STAGE"] + channel and cut.deep <= numbers["TAPS"]
        if cut.lanes == "rows":
            assert cut.high % (t["R"] * t["VW"]) == 0 and cut.high < rows + t["R"] * t["VW"]
            assert cut.th * cut.tw * cut.high <= t["GRAD"] and cut.high // t["VW"] * cut.deep <= numbers["PAIRS"]
        else:
            assert -(-flat // t["VW"]) * t["VW"] * cut.high <= t["GRAD"] and cut.high * cut.deep <= numbers["PAIRS"]
        assert cut.lanes == "outputs" or rows > 1


def test_another_tile_only_where_it_is_worth_a_program() -> None:
    """Tiles of 8 x 2 also where 16 x 1 is a little cheaper by the estimate; 16 x 1 where it is clearly so."""
    room = convolution_launch.Room.from_numbers(codegen.defaults("conv/correlate", "wide"))

    def chosen(count: int, stride: int, channels: int, **more: object) -> tuple[tuple[int, int], float]:
        axes = (convolution_launch.Axis(3, count, stride, -1, 1),) * 2
        cut = convolution_launch.tiling.__wrapped__(axes, channels, 64, 16, 2, 4, 64, room._replace(**more))
        return (dict(cut.tunables)["MR"], dict(cut.tunables)["NV"]), cut.cost

    for shape, expected in (((8, 2, 32), (8, 2)), ((8, 1, 64), (16, 1))):
        tile, cost = chosen(*shape)
        usual, other = (chosen(*shape, side=side)[1] for side in (gemm_plan.Side(8, 2), gemm_plan.Side(16, 1)))
        assert tile == expected and other < usual and (other < 0.95 * usual) == (expected == (16, 1))
        assert cost == (other if expected == (16, 1) else usual)


@pytest.mark.parametrize("register", [16, 32, 64])
@pytest.mark.parametrize("lanes", ["rows", "outputs"])
@pytest.mark.parametrize("name", ["float32", "float64", "float16", "int32"])
def test_both_ways_to_the_gradient_of_weights(lanes: str, name: str, register: int, device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Strides, rows that are no whole vectors, images narrower and wider than vectors, gradients whose columns don't lie side by side."""
    fitting = convolution_launch.SumTile.fitting
    monkeypatch.setattr(convolution_launch.SumTile, "fitting", lambda *a: [tile for tile in fitting(64, *a[1:]) if tile.lanes == lanes])
    monkeypatch.setattr(convolution_launch, "vector_bytes", lambda dev, family: register)
    convolution_launch.share.cache_clear()
    convolution_launch._weight_gradient.cache_clear()
    numbers = np.random.default_rng(0)
    for (n, c, m, h, w), k, stride in (((2, 3, 21, 9, 7), 3, 1), ((3, 2, 33, 6, 45), (2, 3), 2), ((1, 5, 3, 40, 5), 1, 2), ((2, 1, 16, 5, 36), 3, (3, 2))):
        k, stride = (k, k) if isinstance(k, int) else k, (stride, stride) if isinstance(stride, int) else stride
        size = [(side + 2 - kernel) // step + 1 for side, kernel, step in zip((h, w), k, stride, strict=True)]
        image, grad = numbers.integers(-4, 5, (n, c, h, w)), numbers.integers(-4, 5, (n, m, *size))
        want = torch.nn.grad.conv2d_weight(torch.tensor(image).double(), (m, c, *k), torch.tensor(grad).double(), stride, 1).numpy()
        d = by_name(name)
        x, plain = cltorch.tensor(image, device=device, dtype=d), cltorch.tensor(grad, device=device, dtype=d)
        for g in (plain, plain.transpose(2, 3).contiguous().transpose(2, 3)):
            got = convolution.convolution_weight(g, x, k, stride, (-1, -1), (1, 1), 1)
            np.testing.assert_array_equal(got.double().numpy(force=True), want)  # sums of small integers are exact
    convolution_launch.share.cache_clear()
    convolution_launch._weight_gradient.cache_clear()


@pytest.mark.parametrize("register", [16, 32, 64])
def test_processors_with_other_vector_registers(register: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (convolution_launch, convolution_winograd):
        monkeypatch.setattr(module, "vector_bytes", lambda dev, family: register)
    caches = (convolution_launch._correlation, convolution_launch._weight_gradient)
    for cache in caches:
        cache.cache_clear()
    for image, weight, options in (CASES[3], CASES[5], CASES[12]):
        same(lambda lib, x, w, b, options=options: conv(lib, x, w, b, **options), values(image), values(weight, seed=1), values(weight[:1], seed=2), scale=20)
    for cache in caches:
        cache.cache_clear()
