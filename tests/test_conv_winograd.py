"""Winograd's way to convolve (kernels/conv/winograd.mako), forced upon shapes of every kind: results, gradients, error, bounds, and where it is chosen."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from oracle import Input, same, values
from test_conv import conv

import cltorch
from cltorch import codegen
from cltorch.ops import convolution_launch, convolution_winograd
from cltorch.ops.convolution_sums import Axis, Correlation, Image
from cltorch.runtime.device import Device, get

torch = pytest.importorskip("torch")
ROOM = convolution_winograd.Room.from_numbers(codegen.defaults(convolution_winograd.FAMILY, "wide"))
Force = Callable[[bool], None]


@pytest.fixture
def dev() -> Device:
    found = get("cuda")
    if found.strategy != "wide":
        pytest.skip("Winograd's way is one of strategy wide")
    return found


@pytest.fixture
def force(dev: Device, monkeypatch: pytest.MonkeyPatch) -> Iterator[Force]:
    """A function that has every convolution of 3 x 3 computed in Winograd's way, or none."""
    plan = convolution_winograd.plan

    def decide(everywhere: bool) -> None:
        def always(*problem: Any) -> Any:
            cut = plan(*problem)
            return cut and cut._replace(cost=0)

        monkeypatch.setattr(convolution_winograd, "plan", always if everywhere else lambda *problem: None)
        convolution_launch._correlation.cache_clear()

    decide(True)
    yield decide
    convolution_launch._correlation.cache_clear()


# image, weight, options
CASES = [
    ((2, 3, 8, 8), (4, 3, 3, 3), {"padding": 1}),
    ((1, 5, 7, 9), (7, 5, 3, 3), {}),
    ((3, 8, 13, 11), (70, 8, 3, 3), {"padding": 1}),
    ((1, 1, 3, 3), (1, 1, 3, 3), {}),
    ((1, 2, 1, 1), (3, 2, 3, 3), {"padding": 2}),
    ((5, 3, 4, 5), (13, 3, 3, 3), {"padding": 2}),
    ((1, 4, 33, 35), (6, 4, 3, 3), {"padding": (0, 2)}),
    ((1, 2, 4, 300), (3, 2, 3, 3), {"padding": (2, 1)}),
    ((2, 6, 9, 34), (10, 3, 3, 3), {"groups": 2, "padding": 1}),
    ((4, 7, 6), (5, 4, 3, 3), {"padding": "same"}),
    ((9, 37, 5, 6), (41, 37, 3, 3), {"padding": 1}),
]


@pytest.mark.parametrize("image, weight, options", CASES, ids=str)
def test_forward_and_gradients(image: tuple, weight: tuple, options: dict, force: Force) -> None:
    same(lambda lib, x, w, b: conv(lib, x, w, b, **options), values(image), values(weight, seed=1), values(weight[:1], seed=2), scale=20)


def test_second_order(force: Force) -> None:
    same(lambda lib, x, w, b: conv(lib, x, w, b, padding=1), values((2, 3, 6, 5), low=-1, high=1), values((4, 3, 3, 3), seed=1, low=-1, high=1),
         values((4,), seed=2), scale=100, second=True)


@pytest.mark.parametrize("layouts", [("transposed", "sliced", "sliced"), ("sliced", "offset", "plain"), ("offset", "transposed", "offset")], ids=str)
def test_layouts(layouts: tuple[str, ...], force: Force) -> None:
    same(lambda lib, x, w, b: conv(lib, x, w, b, padding=1), *[Input(values(shape, seed=seed), layout=layout) for seed, (shape, layout) in enumerate(
        zip(((3, 4, 7, 18), (5, 4, 3, 3), (5,)), layouts, strict=True))], scale=10)


@pytest.mark.parametrize("register", [16, 64])
def test_processors_with_other_vector_registers(register: int, force: Force, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolution_winograd, "vector_bytes", lambda dev, family: register)
    for image, weight, options in (CASES[2], CASES[7], CASES[10]):
        same(lambda lib, x, w, b, options=options: conv(lib, x, w, b, **options), values(image), values(weight, seed=1), values(weight[:1], seed=2), scale=20)


def test_blocks_of_channels_and_of_rows(force: Force, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where private memory is small, channels are summed in blocks, which are transformed again for the next rows."""
    monkeypatch.setattr(convolution_winograd.Room, "of", lambda dev: ROOM._replace(tiled=16384, sums=16384))
    x, w = values((2, 170, 14, 14)), values((150, 170, 3, 3), seed=1)
    cut = convolution_winograd.sharing(14, 14, 170, 150, 2, 1, 2, 8, False, ROOM._replace(tiled=16384, sums=16384))
    assert cut is not None and cut.block < 170 and cut.tiles < cut.share
    same(lambda lib, x, w: conv(lib, x, w, None, padding=1), x, w, scale=100)


def test_no_channels_and_empty_batches(force: Force, device: Any) -> None:
    for image, weight in (((0, 3, 5, 5), (4, 3, 3, 3)), ((1, 0, 5, 5), (4, 0, 3, 3))):
        out = cltorch.conv2d(cltorch.zeros(image, device=device), cltorch.zeros(weight, device=device), cltorch.ones(4, device=device))
        assert tuple(out.shape) == (image[0], 4, 3, 3) and (out.cpu().numpy() == 1).all()


@pytest.mark.parametrize("shape", [(4, 16, 32, 16), (4, 64, 16, 64), (2, 256, 14, 64), (1, 512, 7, 512)], ids=str)
def test_error_against_float64(shape: tuple, force: Force, device: Any) -> None:
    """At most four times that of the direct sum, the largest and the root mean square."""
    images, channels, side, rows = shape
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(s).astype(np.float32) for s in ((images, channels, side, side), (rows, channels, 3, 3)))
    exact = torch.nn.functional.conv2d(torch.from_numpy(x).double(), torch.from_numpy(w).double(), padding=1).numpy()
    errors = []
    for quick in (True, False):
        force(quick)
        errors.append(cltorch.conv2d(cltorch.tensor(x, device=device), cltorch.tensor(w, device=device), padding=1).cpu().numpy() - exact)
    (most, mean), (direct_most, direct_mean) = ((np.abs(e).max(), np.sqrt((e ** 2).mean())) for e in errors)
    assert 0 < most <= 4 * direct_most and mean <= 4 * direct_mean


@pytest.mark.parametrize("height, width", [(32, 32), (7, 7), (1, 1), (3, 1000), (225, 224)])
@pytest.mark.parametrize("channels, rows, images", [(1, 32, 4), (512, 512, 1), (16, 1, 64)])
def test_shares_stay_within_their_bounds(height: int, width: int, channels: int, rows: int, images: int) -> None:
    for lanes, many in ((4, False), (8, False), (16, True)):
        cut = convolution_winograd.sharing(height, width, channels, rows, images, 1, 2, lanes, many, ROOM)
        assert cut is not None
        t = dict(cut.tunables)
        squares = -(-cut.high * cut.wide // (t["NV"] * lanes)) * t["NV"] * lanes
        run = min(cut.high, -(-height // 2))
        assert 16 * cut.block * squares <= ROOM.tiled and 16 * cut.tiles * t["MR"] * squares <= ROOM.sums
        assert (2 * run + 2) * 2 * (cut.wide + 1 + lanes) <= ROOM.stage and 0 < cut.tiles <= cut.share <= -(-rows // t["MR"])


def chosen(dev: Device, channels: int, side: int, rows: int, images: int = 16, taps: int = 3, step: int = 1, stride: int = 1) -> str:
    """The kernel of a convolution that keeps its image's size."""
    image = Image((images, channels, side, side), (channels * side * side, side * side, side, 1), channels)
    axis = Axis(taps, side // stride, stride, -(taps // 2) * step, step)
    steps = (0, 0, channels * taps * taps, taps * taps, taps, 1)
    return convolution_launch._correlation(dev, cltorch.float32, Correlation(image, steps, None, (axis, axis), 1, rows, (0,) * 6)).__module__.rsplit("_")[-1]


def test_where_it_is_chosen(dev: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """By shape: where there are channels enough on both sides, forward and for the gradient to the input, whose taps go backwards."""
    for module in (convolution_launch, convolution_winograd):
        monkeypatch.setattr(module, "vector_bytes", lambda dev, family: 32)
    convolution_launch._correlation.cache_clear()
    for channels, side, rows in ((16, 32, 16), (64, 32, 64), (32, 16, 32), (128, 16, 128), (64, 8, 64), (256, 14, 256)):
        assert chosen(dev, channels, side, rows) == chosen(dev, channels, side, rows, step=-1) == "winograd"
    for channels, side, rows in ((3, 32, 64), (1, 28, 8), (64, 32, 1), (4, 32, 4)):
        assert chosen(dev, channels, side, rows) == "launch"
    for other in ({"taps": 5}, {"stride": 2}, {"step": 2}):
        assert chosen(dev, 64, 32, 64, **other) == "launch"
    convolution_launch._correlation.cache_clear()
