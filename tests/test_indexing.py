"""Indexing, gathering, scattering against PyTorch: every mix of subscripts, assignment, gradients (with repeated places), bounds, errors."""

from __future__ import annotations

import numpy as np
import pytest
from oracle import ALL_TYPES, DEVICE, F, Input, host, raises_alike, same, torch, values

import cltorch
from cltorch.testing import assert_close

I = np.array([2, 0, -1, 2])  # noqa: E741 - index vectors have short names here
J = np.array([[1, -2, 0, 3], [0, 0, 3, -4]])
ROW = np.array([True, False, True])
KEYS = {
    "int": (1,),
    "ints": (0, -1, 2),
    "slice": (slice(1, 3),),
    "step": (slice(None, None, 2), slice(1, None, 3)),
    "negative_slice": (slice(-2, -1), slice(-9, 9)),
    "empty_slice": (slice(2, 1),),
    "none": (None, 1, None),
    "dots": (..., 1),
    "dots_middle": (0, ..., slice(1, 3)),
    "dots_alone": (...,),
    "all": (slice(None),),
    "vector": (I,),
    "list": ([2, 0, 1],),
    "matrix": (J[:, :2] % 3,),
    "second": (slice(None), J),
    "third": (..., J),
    "pair": (I[:2], J[0, :2]),
    "adjacent": (slice(None), I, J[0]),
    "apart": (I % 3, slice(None), J[0]),
    "broadcast": (I[:, None], J[0]),
    "with_int": (0, slice(None), J[1]),
    "with_none": (I, None, J[0]),
    "none_between": (slice(None), None, I),
    "three": (I % 2, J[0], J[1]),
    "mask": (ROW,),
    "mask_list": ([True, False, True],),
    "mask_and_slice": (ROW, slice(1, 3)),
    "mask_second": (slice(None), np.array([True, False, True, True])),
    "mask_vector": (ROW, I[:2]),
    "mask_with_dots": (..., np.array([False, True, True, False, True])),
    "true": (True,),
    "false": (False,),
    "int_vector": (1, I % 4),
    "vector_int": (I, 1),
    "vector_dots": (I, ..., J[0]),
    "no_rows": (np.zeros(0, np.int64),),
    "no_mask": (np.zeros(3, bool),),
    "int32": (I.astype(np.int32),),
    "range": (range(2),),
    "list_and_list": ([0, 1], [1, 2]),
    "nested_list": ([[0, 1], [1, 2]],),
    "numpy_int": (np.int64(1), np.int32(-1)),
}


def keyed(t: object, key: tuple, tensors: bool) -> object:
    """The key with its arrays as the library's tensors (or left as arrays)."""
    place = {"device": DEVICE} if t is cltorch else {}
    return tuple(t.tensor(k, **place) if tensors and isinstance(k, np.ndarray) and k.ndim else k for k in key)


@pytest.mark.parametrize("tensors", [True, False])
@pytest.mark.parametrize("name", KEYS)
def test_reading(name: str, tensors: bool) -> None:
    same(lambda t, x: x[keyed(t, KEYS[name], tensors)], values((3, 4, 5)), second=tensors)


@pytest.mark.parametrize("layout", ["transposed", "sliced", "offset"])
@pytest.mark.parametrize("name", KEYS)
def test_reading_strided(name: str, layout: str) -> None:
    same(lambda t, x: x[keyed(t, KEYS[name], True)], Input(values((3, 4, 5)), layout=layout))


def test_bare_keys() -> None:
    same(
        lambda t, x: [x[1], x[-1], x[1:], x[None], x[...], x[[0, 2]], x[x > 0], x[x[:, 0, 0] > -9], x[[True, False, True]], x[()]], values((3, 4, 5))
    )
    same(lambda t, x: [x[...], x[None], x[()], x[True], x[False], x[x > -9]], values(()))
    same(lambda t, x: [x[t.tensor(1, device=x.device)], x[:, t.tensor(-1, device=x.device)]], values((3, 4)))


def test_whole_mask_of_many() -> None:
    same(lambda t, x: [x[x > 0], x[0, x[0] > 1], (x * 2)[..., x[0, 0] > 0]], values((30, 17, 23)))
    same(lambda t, x: x[x == 9], values((30, 40)))


@pytest.mark.parametrize("dtype", ALL_TYPES)
def test_every_dtype(dtype: str) -> None:
    def run(t: object, x: object) -> list:
        place = {"device": x.device}
        i, m = t.tensor([2, 0, 2], **place), t.tensor([True, False, True], **place)
        y = x.detach().clone()
        y[1] = 1
        y[m, 0] = x.detach()[m, 1]
        y[:, i] = x.detach()[:, :3]
        return [
            x[i],
            x[m],
            x[:, i],
            x.index_select(1, i),
            x.gather(0, i[None]),
            x.take(i),
            x.masked_select(m[:, None]),
            x.masked_fill(m[:, None], 1),
            y,
            x.index_fill(0, i, 1),
            x.scatter(1, i[:, None], x[:, :1]),
            x.index_copy(0, i[:2], x[:2]),
        ]

    same(run, Input(values((3, 4), dtype), dtype))


@pytest.mark.parametrize("dtype", [d for d in ALL_TYPES if d != "bool"])
def test_sums_in_every_dtype(dtype: str) -> None:
    def run(t: object, x: object) -> list:
        i = t.tensor([2, 0, 2], device=x.device)
        return [x.index_add(0, i, x), x.scatter_add(1, i[:, None].expand(3, 3), x[:, :3]), x.index_put((i,), x, accumulate=True)]

    same(run, Input(values((3, 4), dtype, low=0, high=3), dtype))


# assignment


@pytest.mark.parametrize("tensors", [True, False])
@pytest.mark.parametrize(
    "name",
    [
        n
        for n in KEYS
        if n
        not in (
            "vector",
            "matrix",
            "three",
            "pair",
            "second",
            "third",
            "adjacent",
            "apart",
            "broadcast",
            "with_none",
            "none_between",
            "vector_dots",
            "int32",
            "vector_int",
            "int_vector",
        )
    ],
)
def test_writing_values(name: str, tensors: bool) -> None:
    def run(t: object, x: object, y: object) -> list:
        key, base, other = keyed(t, KEYS[name], tensors), x * 1, x * 1
        base[key] = y[key] * 2
        other[key] = 7
        return [base, other]

    same(run, values((3, 4, 5)), values((3, 4, 5), seed=1))


@pytest.mark.parametrize("name", KEYS)
def test_writing_numbers(name: str) -> None:
    def run(t: object, x: object) -> list:
        key, base, seen = keyed(t, KEYS[name], True), x * 1, x.detach().clone().transpose(0, 2).contiguous().transpose(0, 2)
        base[key] = 3
        seen[key] = -1
        return [base * base, seen]

    same(run, values((3, 4, 5)))


def test_writing_broadcasts_and_converts() -> None:
    def run(t: object, x: object, y: object) -> list:
        a, b, c, d, e = (x * 1 for _ in range(5))
        a[1:] = y
        b[:, :, 1] = y[0]
        c[[0, 2], 1] = y
        d[x > 0] = y[0, 0]
        e[1] = y[0].half()
        return [a, b, c, d, e]

    same(run, values((3, 4, 5)), Input(values((1, 5), seed=2)[:, :1].repeat(5, 1)[:, :1]))


def test_writing_into_a_view_keeps_the_graph() -> None:
    def run(t: object, x: object, y: object) -> object:
        base = x * 1
        view = base[1:]
        view[:, 0] = y[:2]
        base[[0, 2], [1, 1]] = y[2:]
        view[view > 2] = 0
        return base * base + view.sum()

    same(run, values((3, 4)), values((4,), seed=1))


def test_writing_leaves_other_readers_alone() -> None:
    x = cltorch.arange(6.0, device=DEVICE)
    doubled, copy = x * 2, x.clone()
    x[cltorch.tensor([0, 1], device=DEVICE)] = 100.0
    x[4:] = -1
    assert doubled.tolist() == [0, 2, 4, 6, 8, 10] and copy.tolist() == [0, 1, 2, 3, 4, 5] and x.tolist() == [100, 100, 2, 3, -1, -1]


def test_writing_shares_memory_with_numpy() -> None:
    array = np.zeros(4, np.float32)
    x = cltorch.from_numpy(array)
    x[cltorch.tensor([1, 3])] = cltorch.tensor([5.0, 6.0])
    x[0] = 2
    np.testing.assert_array_equal(array, [2, 5, 0, 6])


# operators with an index


OPERATORS = {
    "index_select": lambda t, x, i: t.index_select(x, 1, i),
    "index_select_last": lambda t, x, i: x.index_select(-1, i.int()),
    "index_add": lambda t, x, i: x.index_add(1, i, x[:, [0, 1, 2, 0, 1, 2]], alpha=2),
    "index_add_first": lambda t, x, i: t.index_add(x, 0, i[:2] % 2, x * x),
    "index_copy": lambda t, x, i: x.index_copy(1, t.tensor([2, 0], device=x.device), x[:, :2] * 3),
    "index_fill": lambda t, x, i: x.index_fill(2, i, 4.0),
    "index_put": lambda t, x, i: x.index_put((i % 2, i), x[0, [0, 1, 2, 0, 1, 2]] * 2, accumulate=True),
    "gather": lambda t, x, i: x.gather(1, i.view(1, 3, 2).expand(2, 3, 2)),
    "gather_long": lambda t, x, i: t.gather(x, 2, i.expand(2, 3, 6)),
    "take": lambda t, x, i: t.take(x, i * 3),
    "take_negative": lambda t, x, i: x.take(-1 - i),
    "take_along_dim": lambda t, x, i: t.take_along_dim(x, i.view(1, 1, 6), 2),
    "take_along_flat": lambda t, x, i: t.take_along_dim(x, i),
    "scatter": lambda t, x, i: x.scatter(2, t.tensor([[[3, 1]]], device=x.device).expand(2, 3, 2), x[..., :2] * 2),
    "scatter_value": lambda t, x, i: x.scatter(1, i.view(1, 1, 6)[..., :4].expand(2, 1, 4), 5.0),
    "scatter_add": lambda t, x, i: x.scatter_add(1, i.view(1, 6, 1).expand(2, 6, 4)[:, :3], x),
    "scatter_reduce_add": lambda t, x, i: x.detach().scatter(1, i.view(1, 6, 1).expand(2, 6, 4)[:, :3], x.detach(), reduce="add"),
    "scatter_reduce_multiply": lambda t, x, i: x.detach().scatter(1, i.view(1, 6, 1).expand(2, 6, 4)[:, :3], x.detach(), reduce="multiply"),
    "put": lambda t, x, i: t.put(x, t.tensor([5, -1], device=x.device), x[0, 0, :2] * 2),
    "put_add": lambda t, x, i: t.put(x, i, x[0, 0, [0, 1, 2, 3, 0, 1]], True),
    "masked_fill": lambda t, x, i: x.masked_fill(x > 0, 2.0),
    "masked_fill_tensor": lambda t, x, i: x.masked_fill(x[0] > 0, t.tensor(2, device=x.device)),
    "masked_select": lambda t, x, i: x.masked_select(x > 0),
    "masked_select_spread": lambda t, x, i: t.masked_select(x, x[0, 0] > 0),
    "masked_scatter": lambda t, x, i: x.masked_scatter(x > 0, x.flip(0) * 2),
    "masked_scatter_spread": lambda t, x, i: x.masked_scatter(x[0] > 0, x * x),
}


@pytest.mark.parametrize("layout", ["plain", "transposed", "sliced"])
@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.filterwarnings("ignore")
def test_operator(name: str, layout: str) -> None:
    if name == "take_along_flat" and layout != "plain":
        pytest.skip("PyTorch refuses this layout")
    index = Input(np.array([2, 0, 1, 2, 2, 0]))
    same(OPERATORS[name], Input(values((2, 3, 4)), layout=layout), index, second=layout == "plain" and name not in ("masked_select_spread",))


@pytest.mark.parametrize("include", [True, False])
@pytest.mark.parametrize("op", ["sum", "prod", "mean", "amax", "amin"])
@pytest.mark.parametrize("dtype", ["float32", "int64", "float16", "int32", "uint8"])
@pytest.mark.filterwarnings("ignore")
def test_scatter_reduce(op: str, include: bool, dtype: str) -> None:
    index = Input(np.array([[0, 2, 0, 0], [1, 1, 3, 1]]))
    x, src = (Input(values((2, 4), dtype, seed=k, low=1, high=3), dtype) for k in (0, 1))
    same(lambda t, x, s, i: x.scatter_reduce(1, i, s, op, include_self=include), x, src, index)
    if op != "sum":
        same(lambda t, x, s, i: x.index_reduce(0, i[0, :2] % 2, s, op, include_self=include), x, src, index, gradient=False)


def test_extremes_with_nan() -> None:
    x = np.array([1.0, np.nan, 3.0], np.float32)
    same(
        lambda t, y, i: (y.scatter_reduce(0, i, y.flip(0), "amax"), y.scatter_reduce(0, i, y.flip(0), "amin")),
        Input(x, grad=False),
        Input(np.array([0, 2, 0])),
    )


def test_index_gradient_is_the_same_on_every_run() -> None:
    rng = np.random.default_rng(0)
    index, grads = cltorch.tensor(rng.integers(0, 50, 20000), device=DEVICE), []
    weight = cltorch.tensor(rng.standard_normal((20000, 3)), dtype=cltorch.float32, device=DEVICE)
    for _ in range(3):
        x = cltorch.zeros(50, 3, device=DEVICE, requires_grad=True)
        (x[index] * weight).sum().backward()
        grads.append(host(x.grad))
    assert (grads[0] == grads[1]).all() and (grads[0] == grads[2]).all()
    want = np.zeros((50, 3))
    np.add.at(want, host(index), host(weight).astype(np.float64))
    np.testing.assert_allclose(grads[0], want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "int32", "bool", "float16", "complex64"])
def test_nonzero(dtype: str) -> None:
    for shape in ((), (0,), (7,), (3, 4), (2, 0), (40, 50, 7)):
        x = values(shape, dtype, low=-1, high=1)
        x = x * (np.abs(x) > 0.5) if dtype != "bool" else x
        same(lambda t, x: [x.nonzero(), t.nonzero(x, as_tuple=True) if x.dim() else x, t.argwhere(x) if x.dim() else x], Input(x, grad=False))


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
def test_empty(shape: tuple[int, ...]) -> None:
    empty = Input(np.zeros(0, np.int64))
    same(
        lambda t, x, i: [
            x[i],
            x[:, None][..., None],
            x[x > 0],
            x.masked_select(x > 0),
            x.masked_fill(x > 0, 1),
            x.index_select(0, i),
            x.take(i),
            x.index_add(0, i, x[:0]),
        ],
        values(shape),
        empty,
    )


# embedding, one_hot


@pytest.mark.parametrize("options", [{}, {"padding_idx": 1}, {"padding_idx": -1}, {"scale_grad_by_freq": True}])
def test_embedding(options: dict) -> None:
    same(lambda t, w, i: F(t).embedding(i, w, **options), values((5, 3)), Input(np.array([[4, 1, 1], [0, 4, 4]])), second=not options)


def test_embedding_max_norm() -> None:
    same(lambda t, w, i: [F(t).embedding(i, w, max_norm=1.5), w], Input(values((5, 3)), grad=False), Input(np.array([4, 1, 1])))
    same(lambda t, w, i: [F(t).embedding(i, w, max_norm=1.0, norm_type=1.0), w], Input(values((5, 3)), grad=False), Input(np.array([0])))


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_embedding_bag(mode: str) -> None:
    same(lambda t, w, i: F(t).embedding_bag(i, w, mode=mode), values((5, 3)), Input(np.array([[4, 1, 1], [0, 4, 4]])))
    same(
        lambda t, w, i, o: F(t).embedding_bag(i, w, o, mode=mode), values((5, 3)), Input(np.array([4, 1, 1, 0, 4, 2])), Input(np.array([0, 2, 2, 5]))
    )
    same(
        lambda t, w, i, o: F(t).embedding_bag(i, w, o, mode=mode, include_last_offset=True),
        values((5, 3)),
        Input(np.array([4, 1, 0])),
        Input(np.array([0, 1, 3])),
    )
    same(lambda t, w, i: F(t).embedding_bag(i, w, mode=mode, padding_idx=1), values((5, 3)), Input(np.array([[4, 1, 1], [0, 4, 4]])))
    if mode == "sum":
        same(
            lambda t, w, i, s: F(t).embedding_bag(i, w, mode=mode, per_sample_weights=s),
            values((5, 3)),
            Input(np.array([[4, 1], [0, 4]])),
            values((2, 2)),
        )


def test_one_hot() -> None:
    for shape in ((4,), (2, 3), ()):
        x = Input(values(shape, "int64", low=0, high=3))
        same(lambda t, x: [F(t).one_hot(x, 5), F(t).one_hot(x)], x)


# errors


ERRORS = [
    (IndexError, lambda t, x, i: x[3]),
    (IndexError, lambda t, x, i: x[0, -5]),
    (IndexError, lambda t, x, i: x[0, 0, 0]),
    (IndexError, lambda t, x, i: x[..., 0, 0, 0]),
    (ValueError, lambda t, x, i: x[::-1]),
    (ValueError, lambda t, x, i: x[::0]),
    (IndexError, lambda t, x, i: x[0.5]),
    (IndexError, lambda t, x, i: x["a"]),
    (IndexError, lambda t, x, i: x[x]),
    (IndexError, lambda t, x, i: x[[0, 3]]),
    (IndexError, lambda t, x, i: x[[0, 1], [0, 1, 2]]),
    (IndexError, lambda t, x, i: x[t.ones(2, dtype=t.bool, device=x.device)]),
    (IndexError, lambda t, x, i: x[0, 0][0]),
    (IndexError, lambda t, x, i: x[np.array([7])]),
    (IndexError, lambda t, x, i: x[i + 3]),
    (IndexError, lambda t, x, i: x[:, i - 9]),
    (IndexError, lambda t, x, i: x.take(i + 20)),
    (IndexError, lambda t, x, i: x.index_select(0, i + 3)),
    (RuntimeError, lambda t, x, i: x.gather(0, i[None] + 3)),
    (RuntimeError, lambda t, x, i: x.gather(0, i[None] - 5)),
    (RuntimeError, lambda t, x, i: x.scatter(0, i[None] + 9, 1.0)),
    (IndexError, lambda t, x, i: x.index_select(0, i - 9)),
    (IndexError, lambda t, x, i: x.index_add(0, i + 3, x[[0, 1]])),
    (IndexError, lambda t, x, i: F(t).embedding(i + 3, x)),
    (RuntimeError, lambda t, x, i: x.gather(0, i)),
    (RuntimeError, lambda t, x, i: x.gather(0, i[None].float())),
    (RuntimeError, lambda t, x, i: x.index_select(0, i.float())),
    (IndexError, lambda t, x, i: x.index_select(2, i)),
    (IndexError, lambda t, x, i: x.index_select(0, i[None])),
    (RuntimeError, lambda t, x, i: x.scatter(0, i[None], x.double())),
    (RuntimeError, lambda t, x, i: x.scatter(0, i[None], x[:, :1])),
    (RuntimeError, lambda t, x, i: x.index_add(0, i, x)),
    (RuntimeError, lambda t, x, i: x.masked_fill(x, 1)),
    (RuntimeError, lambda t, x, i: x.masked_select(x)),
    (RuntimeError, lambda t, x, i: x.masked_select(x[:, :3] > 0)),
    (RuntimeError, lambda t, x, i: x.scatter_reduce(0, i[None], x, "median")),
    (RuntimeError, lambda t, x, i: x.__setitem__(0, x)),
    (RuntimeError, lambda t, x, i: x.__setitem__([0, 1], x)),
    (RuntimeError, lambda t, x, i: x.requires_grad_().__setitem__(0, 1)),
    (RuntimeError, lambda t, x, i: x.put_(i, x)),
    (RuntimeError, lambda t, x, i: x.masked_scatter(x > -9, x[0])),
    (RuntimeError, lambda t, x, i: x.__setitem__(i, x[:2].double())),
    (RuntimeError, lambda t, x, i: F(t).one_hot(i, 0)),
    (RuntimeError, lambda t, x, i: F(t).one_hot(x)),
    (RuntimeError, lambda t, x, i: F(t).one_hot(i - 5)),
    (RuntimeError, lambda t, x, i: F(t).one_hot(i + 5, 3)),
    (RuntimeError, lambda t, x, i: t.zeros(1, device=x.device).expand(3).index_fill_(0, i, 1)),
]


@pytest.mark.parametrize("case", range(len(ERRORS)))
def test_errors(case: int) -> None:
    kind, function = ERRORS[case]
    raises_alike(kind, function, Input(values((3, 4)), grad=False), Input(np.array([0, 1])))


def test_out_of_bounds_names_index_dimension_and_size_and_everything_still_works() -> None:
    x, i = cltorch.arange(3.0, device=DEVICE), cltorch.tensor([0, 5], device=DEVICE)
    with pytest.raises(IndexError, match="index 5 is out of bounds for dimension 0 with size 3"):
        x[[0, 5]]
    y = x[i]
    with pytest.raises(IndexError, match="index 5 is out of bounds for dimension 0 with size 3"):
        y.tolist()
    assert y.tolist() == [0, 0] and x[i[:1]].tolist() == [0]
    z = x[i]
    with pytest.raises(IndexError):
        cltorch.cuda.synchronize() if hasattr(cltorch, "cuda") else z._dev.synchronize()


def test_changed_index_is_noticed_by_backward() -> None:
    x, i = cltorch.zeros(3, device=DEVICE, requires_grad=True), cltorch.tensor([0, 1], device=DEVICE)
    y = x[i]
    i.fill_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_large_gather_matches_numpy() -> None:
    rng = np.random.default_rng(0)
    x, i = rng.standard_normal((3000, 65)).astype(np.float32), rng.integers(-3000, 3000, 5001)
    ours = cltorch.from_numpy(x).to(DEVICE)
    np.testing.assert_array_equal(host(ours[cltorch.from_numpy(i).to(DEVICE)]), x[i])
    np.testing.assert_array_equal(host(ours.t()[:, i]), x.T[:, i])
    assert torch is not None


@pytest.mark.parametrize("d", [0, 1, 2])
@pytest.mark.parametrize("op", ["sum", "prod", "amax", "amin", "mean"])
def test_lines_of_any_direction(d: int, op: str) -> None:
    rng = np.random.default_rng(0)
    shape, index_shape = [5, 70, 90], [5, 70, 90]
    shape[d], index_shape[d] = 7, 40
    index, x, source = rng.integers(0, 7, index_shape), rng.standard_normal(shape), rng.standard_normal(index_shape)
    for dtype in (cltorch.float32, cltorch.float16, cltorch.int64):
        ours = [cltorch.tensor(a * 3).to(dtype) for a in (x, source)]
        theirs = [torch.from_numpy((t.double() if dtype.is_floating_point else t).numpy()) for t in ours]  # it would round after each addition
        got, want = (a.mT.clone().mT.scatter_reduce(d, m.tensor(index).to(a.device), b, op)
                     for m, a, b in ((cltorch, *[t.to(DEVICE) for t in ours]), (torch, *theirs)))
        assert_close(got, want.numpy(), dtype=dtype, scale=4)


def test_accumulated_values_may_start_behind_an_offset(device: cltorch.device) -> None:
    """A contiguous part of a longer tensor: its first element isn't its memory's."""
    values, index = cltorch.arange(6.0, device=device)[3:], cltorch.tensor([0, 1, 1], device=device)
    for result in (cltorch.zeros(3, device=device).index_add_(0, index, values), cltorch.zeros(3, device=device).scatter_add_(0, index, values),
                   cltorch.zeros(3, device=device).index_put_((index,), values, accumulate=True)):
        assert result.tolist() == [3, 9, 0]
