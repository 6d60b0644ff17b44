"""Views against PyTorch: shapes, strides, storage sharing, gradients, errors."""

from __future__ import annotations

import numpy as np
import pytest
from oracle import DEVICE, Input, host, raises_alike, same, torch, values

import cltorch

VIEWS = {
    "view": lambda t, x: x.view(4, -1),
    "view_tuple": lambda t, x: x.view((2, 12)),
    "reshape": lambda t, x: t.reshape(x, (6, 4)),
    "reshape_args": lambda t, x: x.reshape(3, -1),
    "view_as": lambda t, x: x.view_as(x.new_empty(24)),
    "flatten": lambda t, x: x.flatten(),
    "flatten_some": lambda t, x: t.flatten(x, 1),
    "ravel": lambda t, x: x.ravel(),
    "unflatten": lambda t, x: x.unflatten(2, (2, -1)),
    "unsqueeze": lambda t, x: x.unsqueeze(-1),
    "unsqueeze_first": lambda t, x: t.unsqueeze(x, 0),
    "transpose": lambda t, x: x.transpose(0, 2),
    "swapaxes": lambda t, x: x.swapaxes(-1, 0),
    "permute": lambda t, x: x.permute(2, 0, 1),
    "permute_tuple": lambda t, x: t.permute(x, (1, -1, 0)),
    "permute_named": lambda t, x: x.permute(dims=(1, 2, 0)),
    "mT": lambda t, x: x.mT,
    "movedim": lambda t, x: x.movedim(0, -1),
    "moveaxis": lambda t, x: t.moveaxis(x, (0, 1), (2, 0)),
    "narrow": lambda t, x: x.narrow(1, 1, 2),
    "select": lambda t, x: x.select(2, -1),
    "diagonal": lambda t, x: x.diagonal(1, 0, 2),
    "unfold": lambda t, x: x.unfold(2, 2, 1),
    "unfold_step": lambda t, x: x.unfold(1, 2, 2),
    "expand": lambda t, x: x.unsqueeze(1).expand(-1, 5, -1, -1),
    "expand_new": lambda t, x: x.expand(2, 2, 3, 4),
    "broadcast_to": lambda t, x: t.broadcast_to(x, (3, 2, 3, 4)),
    "as_strided": lambda t, x: x.as_strided((2, 3), (12, 4), 1),
    "split": lambda t, x: x.split(2, 2),
    "split_sizes": lambda t, x: t.split(x, [1, 2, 1], -1),
    "chunk": lambda t, x: x.chunk(2, 1),
    "chunk_many": lambda t, x: x.chunk(5, 2),
    "tensor_split": lambda t, x: x.tensor_split(3, 2),
    "tensor_split_at": lambda t, x: x.tensor_split((1, 3), 2),
    "tensor_split_odd": lambda t, x: x.tensor_split((3, 1, 9), 2),
    "hsplit": lambda t, x: t.hsplit(x, 3),
    "vsplit": lambda t, x: t.vsplit(x, 2),
    "dsplit": lambda t, x: t.dsplit(x, [1, 2]),
    "unbind": lambda t, x: x.unbind(1),
    "iterate": lambda t, x: list(x),
    "split_with_sizes": lambda t, x: x.split_with_sizes([1, 3], 2),
    "atleast": lambda t, x: t.atleast_3d(x[0, 0]),
    "adjoint": lambda t, x: x.adjoint(),
    "real": lambda t, x: t.real(x),
    "basic_index": lambda t, x: x[1, :, 1:3],
    "step_index": lambda t, x: x[..., None, ::2],
    "int_index": lambda t, x: x[-1],
    "squeeze": lambda t, x: x[:, :1].squeeze(),
    "squeeze_dim": lambda t, x: x[:, :1].squeeze(1),
    "squeeze_dims": lambda t, x: x[:1, :1].squeeze((0, 1)),
    "several": lambda t, x: (x.transpose(0, 1) * 2)[1:].reshape(-1)[::3],
}


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("layout", ["plain", "offset"])
def test_view_matches(name: str, layout: str) -> None:
    x = Input(values((2, 3, 4)), layout=layout)
    same(VIEWS[name], x, second=name not in ("as_strided", "real"))


@pytest.mark.parametrize("name", [n for n in VIEWS if n not in ("as_strided", "view", "view_tuple", "view_as", "unflatten")])
@pytest.mark.parametrize("layout", ["transposed", "sliced"])
def test_strided_input(name: str, layout: str) -> None:
    same(VIEWS[name], Input(values((2, 3, 4)), layout=layout))


@pytest.mark.parametrize("name", VIEWS)
def test_strides_and_storage(name: str) -> None:
    ours = cltorch.arange(24.0, device=DEVICE).reshape(2, 3, 4)
    theirs = torch.arange(24.0).reshape(2, 3, 4)
    got, want = VIEWS[name](cltorch, ours), VIEWS[name](torch, theirs)
    for g, w in zip(got, want, strict=True) if isinstance(want, (list, tuple)) else [(got, want)]:
        if name not in ("several", "real"):
            assert g.untyped_storage() is ours.untyped_storage() and g.storage_offset() == w.storage_offset()
        assert [s for n, s in zip(g.shape, g.stride(), strict=True) if n > 1] == [s for n, s in zip(w.shape, w.stride(), strict=True) if n > 1]


def test_writes_through_views() -> None:
    for library, place in ((cltorch, {"device": DEVICE}), (torch, {})):
        x = library.zeros(3, 4, **place)
        before = x._version
        x.t()[1].fill_(2)
        x[1:].view(-1)[::3] += 1
        x.narrow(1, 3, 1).zero_()
        x.diagonal().add_(10)
        assert x._version > before
        if library is cltorch:
            got = host(x)
    np.testing.assert_array_equal(got, host(x))


@pytest.mark.parametrize(
    "write",
    [
        lambda t, x, y: x[0].copy_(y),
        lambda t, x, y: x.t()[1:3].mul_(2),
        lambda t, x, y: x.view(-1)[2:5].add_(y[:3]),
        lambda t, x, y: x.diagonal().copy_(y[:3]),
        lambda t, x, y: x.select(1, 2).zero_(),
        lambda t, x, y: x.unsqueeze(0)[0, 1].sub_(y),
    ],
)
def test_gradient_through_written_views(write: object) -> None:
    def run(t: object, x: object, y: object) -> object:
        base = x * 1
        write(t, base, y)
        return base * base

    same(run, Input(values((3, 4))), Input(values((4,))))


@pytest.mark.parametrize("shape", [(), (0, 3), (3, 0), (1,), (1, 1)])
def test_small_shapes(shape: tuple[int, ...]) -> None:
    for function in (
        lambda t, x: x.reshape(-1),
        lambda t, x: x.flatten(),
        lambda t, x: x.squeeze(),
        lambda t, x: x.unsqueeze(0),
        lambda t, x: t.atleast_2d(x),
        lambda t, x: x.expand(2, *x.shape),
        lambda t, x: x.ravel(),
    ):
        same(function, values(shape))


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool", "float16", "complex64"])
def test_in_place_forms(dtype: str) -> None:
    def run(t: object, x: object) -> list:
        out = []
        for change in (lambda y: y.unsqueeze_(0), lambda y: y.transpose_(0, 1), lambda y: y.squeeze_(), lambda y: y.t_()):
            y = x.clone()
            assert change(y) is y
            out.append(y)
        return out

    same(run, Input(values((3, 1), dtype), dtype))


def test_complex_parts() -> None:
    z = Input(values((3, 4), "complex64"))
    same(lambda t, x: (x.real, x.imag, t.view_as_real(x)), z, second=False)
    same(lambda t, x: t.view_as_complex(x), values((3, 2)))
    same(lambda t, x: (x.H, x.mH, x.T), z)
    for library, place in ((cltorch, {"device": DEVICE}), (torch, {})):
        x = library.zeros(3, dtype=library.complex64, **place)
        x.real = library.ones(3, **place)
        x.imag.fill_(2)
        np.testing.assert_array_equal(host(x), np.full(3, 1 + 2j, np.complex64))


def test_pairs_gradient_at_an_odd_place() -> None:
    """A gradient that begins at an odd element can't be seen as pairs where it lies."""
    z = cltorch.zeros(3, dtype=cltorch.complex64, device="cuda", requires_grad=True)
    cltorch.view_as_real(z).backward(cltorch.arange(7.0, device="cuda")[1:].view(3, 2))
    assert z.grad.tolist() == [1 + 2j, 3 + 4j, 5 + 6j]


@pytest.mark.parametrize(
    "old, new", [("float32", "int32"), ("float32", "uint8"), ("int16", "int64"), ("int64", "float32"), ("complex64", "float32"), ("uint8", "bool")]
)
def test_view_as_dtype(old: str, new: str) -> None:
    x = values((2, 8), old)
    same(lambda t, y: y.view(getattr(t, new)), Input(x.astype(bool).astype(np.uint8) if new == "bool" else x, grad=False))


ERRORS = [
    (RuntimeError, lambda t, x: x.t().view(-1)),
    (RuntimeError, lambda t, x: x.view(5)),
    (RuntimeError, lambda t, x: x.reshape(-1, -1)),
    (RuntimeError, lambda t, x: x.reshape(5, -1)),
    (RuntimeError, lambda t, x: x.view(-2, 2)),
    (IndexError, lambda t, x: x.transpose(0, 2)),
    (IndexError, lambda t, x: x.unsqueeze(4)),
    (IndexError, lambda t, x: x.squeeze(3)),
    (RuntimeError, lambda t, x: x.permute(0)),
    (RuntimeError, lambda t, x: x.permute(0, 0)),
    (RuntimeError, lambda t, x: x.expand(4)),
    (RuntimeError, lambda t, x: x.expand(4, 4)),
    (RuntimeError, lambda t, x: x.expand(-1, 3, 4)),
    (RuntimeError, lambda t, x: x.narrow(0, 2, 2)),
    (IndexError, lambda t, x: x.narrow(0, 5, 1)),
    (RuntimeError, lambda t, x: x.narrow(0, 0, -1)),
    (IndexError, lambda t, x: x.select(0, 3)),
    (IndexError, lambda t, x: x[3]),
    (RuntimeError, lambda t, x: x.unfold(0, 4, 1)),
    (RuntimeError, lambda t, x: x.unfold(0, 2, 0)),
    (RuntimeError, lambda t, x: x.split([1, 1])),
    (RuntimeError, lambda t, x: x.split(-1)),
    (RuntimeError, lambda t, x: x.split(0)),
    (RuntimeError, lambda t, x: x.chunk(0)),
    (RuntimeError, lambda t, x: x.as_strided((9,), (9,))),
    (RuntimeError, lambda t, x: x.diagonal(0, 1, 1)),
    (RuntimeError, lambda t, x: x[0, 0].unbind()),
    (RuntimeError, lambda t, x: x.flatten(1, 0)),
    (RuntimeError, lambda t, x: x.unflatten(0, (2, 2))),
    (RuntimeError, lambda t, x: x[None].t()),
    (TypeError, lambda t, x: x.reshape("a")),
    (TypeError, lambda t, x: iter(x[0, 0])),
    (RuntimeError, lambda t, x: t.imag(x)),
    (RuntimeError, lambda t, x: t.view_as_real(x)),
    (RuntimeError, lambda t, x: t.view_as_complex(x)),
    (RuntimeError, lambda t, x: x[0].mT),
    (RuntimeError, lambda t, x: x.tensor_split(0)),
    (RuntimeError, lambda t, x: t.hsplit(x, 3)),
    (RuntimeError, lambda t, x: t.broadcast_tensors(x, x.t())),
    (RuntimeError, lambda t, x: x.movedim((0, 1), (0,))),
    (RuntimeError, lambda t, x: x.t().view(t.float64)),
    (RuntimeError, lambda t, x: x.requires_grad_().transpose_(0, 1)),
]


@pytest.mark.parametrize("case", range(len(ERRORS)))
def test_errors(case: int) -> None:
    kind, function = ERRORS[case]
    raises_alike(kind, function, Input(values((3, 4)), grad=False))


def test_view_error_names_the_fix() -> None:
    with pytest.raises(RuntimeError, match=r"view size is not compatible.*Use \.reshape"):
        cltorch.zeros(3, 4, device=DEVICE).t().view(12)


def test_reshape_copies_only_when_it_must() -> None:
    x = cltorch.zeros(4, 6, device=DEVICE)
    assert x.t().reshape(2, 3, 4).untyped_storage() is x.untyped_storage()
    assert x.t().reshape(24).untyped_storage() is not x.untyped_storage()
    assert x[:, ::2].reshape(4, 3, 1).untyped_storage() is x.untyped_storage()


def test_broadcast_tensors() -> None:
    same(lambda t, x, y, z: t.broadcast_tensors(x, y, z), values((3, 1)), values((4,)), values(()))


def test_less_common_forms() -> None:
    def run(t: object, x: object) -> list:
        grown, shrunk, strided = x.detach().clone(), x.detach().clone(), x.detach().clone()
        shrunk.resize_(2, 3)
        grown.resize_((4, 5))
        strided.as_strided_((2, 2), (1, 2))
        filled, tall = x * 1, t.cat([x, x, x])
        filled.fill_diagonal_(5)
        tall.fill_diagonal_(2, wrap=True)
        return [shrunk, grown.view(-1)[:12], strided, filled, tall, x.sum_to_size(3, 1), x.sum_to_size((4,)), reversed(x), t.narrow_copy(x, 1, 1, 2)]

    same(run, values((3, 4)))
    same(lambda t, i: t.unravel_index(i, (3, 4, 5)), np.array([[7, 59], [0, 23]]))
    raises_alike(RuntimeError, lambda t, x: x.sum_to_size(2), values((3, 4)))
    raises_alike(RuntimeError, lambda t, x: x.resize_(2), values((3, 4)))


@pytest.mark.parametrize("write", [lambda x, v, w: x.mul_(w), lambda x, v, w: v.add_(w[:2]), lambda x, v, w: x.copy_(w * 2),
                                   lambda x, v, w: x.__setitem__(slice(0, 2), w[1:])], ids=["base", "view", "copy", "index"])
def test_views_made_before_the_base_required_a_gradient(write: object) -> None:
    def run(t: object, device: str) -> list[object]:
        x = t.ones(3, device=device) + 1
        v, u, dead = x[:2], x.view(1, 3)[:, 1:], [x[k % 3] for k in range(40)]
        dead.clear()
        w = t.tensor([1.0, 2.0, 3.0], requires_grad=True, device=device)
        write(x, v, w)
        (v * v).sum().backward(retain_graph=True)
        (u * 3).sum().backward()
        return [v.requires_grad, u.requires_grad, w.grad.tolist(), u.tolist(), len(x._views or []) if t is cltorch else 0]

    assert run(cltorch, DEVICE) == run(torch, "cpu")
