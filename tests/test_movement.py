"""Joining, repeating, turning, padding against PyTorch, with first and second gradients."""

from __future__ import annotations

import numpy as np
import pytest
from oracle import ALL_TYPES, DEVICE, F, Input, raises_alike, same, values

import cltorch

LAYOUTS = ["plain", "transposed", "sliced", "offset"]
ONE = {
    "flip": lambda t, x: x.flip(0, 2),
    "flip_list": lambda t, x: t.flip(x, [1]),
    "flip_named": lambda t, x: t.flip(x, dims=(0, -1)),
    "fliplr": lambda t, x: t.fliplr(x),
    "flipud": lambda t, x: x.flipud(),
    "roll": lambda t, x: x.roll(5),
    "roll_dims": lambda t, x: t.roll(x, (1, -2), (0, 2)),
    "roll_far": lambda t, x: x.roll(7, 1),
    "rot90": lambda t, x: x.rot90(),
    "rot90_back": lambda t, x: t.rot90(x, -1, (1, 2)),
    "rot180": lambda t, x: x.rot90(2, (0, 2)),
    "rot360": lambda t, x: x.rot90(4),
    "repeat": lambda t, x: x.repeat(2, 1, 3),
    "repeat_more": lambda t, x: x.repeat((2, 1, 1, 2)),
    "repeat_once": lambda t, x: x.repeat(1, 1, 1),
    "tile": lambda t, x: x.tile(2, 2),
    "tile_more": lambda t, x: t.tile(x, (2, 1, 1, 1)),
    "tril": lambda t, x: x.tril(),
    "tril_up": lambda t, x: t.tril(x, 1),
    "triu": lambda t, x: t.triu(x),
    "triu_low": lambda t, x: x.triu(-1),
    "triu_far": lambda t, x: x.triu(9),
    "diag_embed": lambda t, x: t.diag_embed(x),
    "diag_embed_dims": lambda t, x: x.diag_embed(-1, 0, 2),
    "diag": lambda t, x: x[0].diag(1),
    "diag_vector": lambda t, x: t.diag(x[0, 0], -1),
    "diagflat": lambda t, x: x.diagflat(),
    "repeat_interleave": lambda t, x: x.repeat_interleave(2),
    "repeat_interleave_dim": lambda t, x: x.repeat_interleave(3, dim=1),
    "combinations": lambda t, x: t.combinations(x[0, 0], 2),
    "combinations_more": lambda t, x: t.combinations(x[0, 0], 2, True),
    "select_scatter": lambda t, x: t.select_scatter(x, x[:, 0] * 2, 1, 2),
    "slice_scatter": lambda t, x: t.slice_scatter(x, x[:1] * 2, 0, 1),
    "diagonal_scatter": lambda t, x: t.diagonal_scatter(x[0], x[0, :, 0] * 2),
    "repeat_interleave_counts": lambda t, x: x.repeat_interleave(t.tensor([0, 2, 1], device=x.device), dim=1),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ONE)
def test_one_operand(name: str, layout: str) -> None:
    same(ONE[name], Input(values((2, 3, 4)), layout=layout), second=layout == "plain")


@pytest.mark.parametrize("dtype", ALL_TYPES)
def test_every_dtype(dtype: str) -> None:
    x = Input(values((3, 4), dtype), dtype)
    same(
        lambda t, x: [
            x.flip(1),
            x.tril(),
            x.triu(1),
            x.roll(1, 1),
            x.repeat(2, 2),
            t.cat([x, x], 1),
            t.stack([x, x]),
            x.diag_embed(),
            x[0].diag(),
            x.rot90(),
            F(t).pad(x, (1, 2)),
            x.repeat_interleave(2, 0),
        ],
        x,
    )


JOINED = {
    "cat": lambda t, x, y, z: t.cat([x, y, z]),
    "cat_dim": lambda t, x, y, z: t.cat((x, y, z), dim=1),
    "cat_last": lambda t, x, y, z: t.concat([x, y, z], -1),
    "stack": lambda t, x, y, z: t.stack([x, y, z]),
    "stack_last": lambda t, x, y, z: t.stack((x, y, z), -1),
    "hstack": lambda t, x, y, z: t.hstack([x, y, z]),
    "vstack": lambda t, x, y, z: t.vstack([x, y, z]),
    "dstack": lambda t, x, y, z: t.dstack([x, y, z]),
    "column_stack": lambda t, x, y, z: t.column_stack([x[0], y[0], z[0]]),
    "block_diag": lambda t, x, y, z: t.block_diag(x[0], y[0, 0], z[0, 0, 0]),
    "vectors": lambda t, x, y, z: (
        t.hstack([x[0, 0], y[0, 0]]),
        t.vstack([x[0, 0], y[0, 0]]),
        t.dstack([x[0, 0], y[0, 0]]),
        t.column_stack([x[0, 0], y[0, 0]]),
    ),
    "cartesian_prod": lambda t, x, y, z: t.cartesian_prod(x[0, 0], y[0, 0]),
    "meshgrid": lambda t, x, y, z: t.meshgrid(x[0, 0], y[0, :, 0], indexing="ij"),
    "meshgrid_xy": lambda t, x, y, z: t.meshgrid(x[0, 0], y[0, :, 0], z[0, 0], indexing="xy"),
    "same_twice": lambda t, x, y, z: t.cat([x, x, y]),
}


@pytest.mark.parametrize("name", JOINED)
def test_joining(name: str) -> None:
    same(
        JOINED[name],
        values((2, 3, 4)),
        Input(values((2, 3, 4), seed=1), layout="transposed"),
        Input(values((2, 3, 4), seed=2), layout="sliced"),
        second=True,
    )


@pytest.mark.parametrize("count", [1, 2, 3, 5, 16, 17, 40])
@pytest.mark.parametrize("dim", [0, 1])
def test_cat_of_many(count: int, dim: int) -> None:
    shapes = [(k % 3 + 1, 5) if dim == 0 else (5, k % 4) for k in range(count)]
    same(lambda t, *xs: t.cat(xs, dim), *[values(s, seed=k) for k, s in enumerate(shapes)])


def test_cat_of_long_rows() -> None:
    same(lambda t, x, y: (t.cat([x, y]), t.cat([x, y[:, :1]], 1)), values((70, 1001)), values((70, 1001), seed=1))


def test_cat_promotes_and_skips_empty_vectors() -> None:
    same(lambda t, x, y: t.cat([x, y]), Input(values((2, 3), "int32")), Input(values((1, 3), "float16")))
    same(lambda t, x, y: t.cat([x, y, x], 1), values((0,)), values((2, 3)))
    same(lambda t, x, y: t.cat([x, y], 1), values((0, 2)), values((0, 5)))
    same(lambda t, x: t.cat([x]), values((0,)))


def test_cat_out() -> None:
    x = cltorch.arange(6.0, device=DEVICE).reshape(2, 3)
    out = cltorch.empty(0, device=DEVICE)
    assert cltorch.cat([x, x], out=out) is out
    assert out.tolist() == [[0, 1, 2], [3, 4, 5]] * 2


PADS = [
    ((1, 2), "constant", 0.0),
    ((1, 2, 0, 3), "constant", 2.5),
    ((-1, 2), "constant", None),
    ((1, -2, -1, 0, 1, 1), "constant", 1.0),
    ((0, 0), "constant", 3.0),
    ((2, 1), "reflect", None),
    ((2, 3), "replicate", None),
    ((3, 2), "circular", None),
    ((1, 0, 2, 1), "reflect", None),
    ((1, 2, 3, 1), "replicate", None),
    ((1, 2, 1, 0), "circular", None),
    ((2, 0), "reflect", None),
]


@pytest.mark.parametrize("pad, mode, value", PADS)
def test_pad(pad: tuple[int, ...], mode: str, value: float | None) -> None:
    same(lambda t, x: F(t).pad(x, pad, mode, value), values((1, 2, 3, 4) if len(pad) > 2 else (2, 3, 4)), second=True)


def test_blocks_and_shuffles() -> None:
    same(lambda t, x: F(t).unfold(x, (2, 3), 1, (1, 0), 2), values((2, 3, 5, 6)), second=True)
    same(lambda t, x: F(t).unfold(x, 2, dilation=2), values((3, 5, 6)))
    same(lambda t, x: F(t).fold(x, (4, 5), (2, 2), padding=1, stride=(2, 1)), values((2, 12, 18)), second=True)
    same(lambda t, x: F(t).pixel_shuffle(x, 2), values((2, 8, 3, 4)))
    same(lambda t, x: t.pixel_unshuffle(x, 2), values((8, 4, 6)))
    same(lambda t, x: F(t).channel_shuffle(x, 2), values((1, 4, 2, 2)), gradient=False)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (2, 0), (0, 2), (3, 0, 2)])
def test_small_shapes(shape: tuple[int, ...]) -> None:
    same(
        lambda t, x: (x.flip(tuple(range(x.dim()))), x.roll(1), x.repeat(*[2] * max(x.dim(), 1)), t.stack([x, x], -1), x.repeat_interleave(2)),
        values(shape),
    )
    if len(shape) > 1:
        same(lambda t, x: (x.tril(), x.triu(1), F(t).pad(x, (1, 1))), values(shape))


def test_in_place_triangles() -> None:
    def run(t: object, x: object) -> object:
        y = x * 1
        assert y.tril_(1) is y
        y.t().triu_(-1)
        return y

    same(run, values((4, 4)))


ERRORS = [
    (RuntimeError, lambda t, x: t.cat([])),
    (RuntimeError, lambda t, x: t.cat([x, x[0]])),
    (RuntimeError, lambda t, x: t.cat([x, x[:, :1]])),
    (RuntimeError, lambda t, x: t.cat([x[0, 0], x[0, 0]])),
    (IndexError, lambda t, x: t.cat([x, x], 2)),
    (TypeError, lambda t, x: t.cat([x, 1])),
    (RuntimeError, lambda t, x: t.stack([x, x[0]])),
    (RuntimeError, lambda t, x: t.stack([])),
    (IndexError, lambda t, x: t.stack([x], 5)),
    (RuntimeError, lambda t, x: x.repeat(2)),
    (RuntimeError, lambda t, x: x.repeat(2, -1)),
    (IndexError, lambda t, x: x.flip(2)),
    (RuntimeError, lambda t, x: x.flip(0, 0)),
    (RuntimeError, lambda t, x: x.roll((1, 2))),
    (RuntimeError, lambda t, x: x.rot90(1, (0, 0))),
    (RuntimeError, lambda t, x: x[0].tril()),
    (RuntimeError, lambda t, x: x[None].diag()),
    (RuntimeError, lambda t, x: F(t).pad(x, (1,))),
    (RuntimeError, lambda t, x: x[0].fliplr()),
    (RuntimeError, lambda t, x: F(t).pad(x, (1,) * 6)),
    (RuntimeError, lambda t, x: F(t).pad(x[None], (4, 0), "reflect")),
    (NotImplementedError, lambda t, x: F(t).pad(x[None], (1, 1), "mirror")),
    (RuntimeError, lambda t, x: F(t).pad(x, (-3, -3))),
    (RuntimeError, lambda t, x: x.repeat_interleave(-1)),
    (RuntimeError, lambda t, x: x.repeat_interleave(t.tensor([1, 2], device=x.device), 0)),
    (RuntimeError, lambda t, x: t.meshgrid(x, x, indexing="ij")),
    (RuntimeError, lambda t, x: t.meshgrid(x[0], indexing="ab")),
    (RuntimeError, lambda t, x: F(t).pixel_shuffle(x[None], 2)),
    (RuntimeError, lambda t, x: x.diag_embed(0, 1, 1)),
]


@pytest.mark.parametrize("case", range(len(ERRORS)))
def test_errors(case: int) -> None:
    kind, function = ERRORS[case]
    raises_alike(kind, function, Input(values((3, 4)), grad=False))


def test_large_flip_and_triangle_match_numpy() -> None:
    x = np.arange(300 * 401, dtype=np.int32).reshape(300, 401)
    ours = cltorch.from_numpy(x).to(DEVICE)
    np.testing.assert_array_equal(ours.t().flip(0).numpy(force=True), x.T[::-1])
    np.testing.assert_array_equal(ours.tril(-7).numpy(force=True), np.tril(x, -7))


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "uint8", "complex128"])
def test_contiguous_copies_of_transposed_tensors(dtype: str) -> None:
    x = Input(values((7, 65, 203), dtype), dtype)
    same(lambda t, x: [x.transpose(0, 2).contiguous(), x.transpose(1, 2).contiguous(), x.permute(1, 2, 0).contiguous()], x)
    same(lambda t, x: x[1:, ::2].transpose(1, 2).contiguous(), x)
    same(lambda t, x: x[:, None].expand(7, 3, 65, 203).transpose(-1, -2).contiguous(), x, gradient=False)
    same(lambda t, x: x.view(7, 65, 7, 29).permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2).contiguous(), x)
