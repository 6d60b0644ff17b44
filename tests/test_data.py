"""Datasets, samplers, collate and the DataLoader in one process."""
from __future__ import annotations

import collections
import pickle
from typing import Any

import numpy as np
import pytest

import cltorch
from cltorch.testing import assert_close
from cltorch.utils import data
from cltorch.utils.data import DataLoader


class Squares(data.Dataset):
    def __init__(self, count: int) -> None:
        self.count = count

    def __getitem__(self, index: int) -> tuple[int, int]:
        if not 0 <= index < self.count:
            raise IndexError(index)
        return index, index * index

    def __len__(self) -> int:
        return self.count


class Batched(Squares):
    def __getitems__(self, indices: list[int]) -> list[tuple[int, int]]:
        return [(-i, i) for i in indices]


class Stream(data.IterableDataset):
    def __init__(self, *items: Any) -> None:
        self.items = items

    def __iter__(self) -> Any:
        return iter(self.items)


class SizedStream(Stream):
    def __len__(self) -> int:
        return len(self.items)


Point = collections.namedtuple("Point", "x y")


# datasets


def test_tensor_dataset() -> None:
    x, y = cltorch.arange(6).reshape(3, 2), cltorch.tensor([7, 8, 9])
    dataset = data.TensorDataset(x, y)
    assert len(dataset) == 3
    assert [t.tolist() for t in dataset[1]] == [[2, 3], 8]
    with pytest.raises(AssertionError, match=r"Size mismatch between tensors.*\[3, 2\]"):
        data.TensorDataset(x, y[:2])


def test_concat_chain_stack_subset() -> None:
    joined = Squares(2) + Squares(3)
    assert isinstance(joined, data.ConcatDataset)
    assert [joined[i] for i in range(5)] == [(0, 0), (1, 1), (0, 0), (1, 1), (2, 4)]
    assert joined[-1] == (2, 4)
    assert list(Stream(1, 2) + Stream(3)) == [1, 2, 3]
    assert len(data.ChainDataset([SizedStream(1, 2), SizedStream(3)])) == 3
    stacked, named = data.StackDataset(Squares(2), [5, 6]), data.StackDataset(a=Squares(2), b=[5, 6])
    assert stacked[1] == ((1, 1), 6)
    assert named[0] == {"a": (0, 0), "b": 5}
    assert stacked.__getitems__([1, 0]) == [((1, 1), 6), ((0, 0), 5)]
    assert named.__getitems__([1]) == [{"a": (1, 1), "b": 6}]
    subset = data.Subset(Batched(9), [8, 4, 2])
    assert (len(subset), subset[0], subset.__getitems__([1, 2])) == (3, (8, 64), [(-4, 4), (-2, 2)])


@pytest.mark.parametrize("make, error, text", [
    (lambda: data.Dataset()[0], NotImplementedError, "must define __getitem__"),
    (lambda: len(data.Dataset()), TypeError, "has no len"),
    (lambda: iter(data.IterableDataset()), NotImplementedError, "must define __iter__"),
    (lambda: data.ConcatDataset([]), AssertionError, "datasets should not be an empty iterable"),
    (lambda: data.ConcatDataset([Stream()]), AssertionError, "ConcatDataset does not support IterableDataset"),
    (lambda: data.ConcatDataset([Squares(2)])[-3], ValueError, "absolute value of index should not exceed dataset length"),
    (lambda: data.ConcatDataset([Squares(2)])[2], IndexError, "out of range"),
    (lambda: list(data.ChainDataset([Squares(2)])), AssertionError, "ChainDataset only supports IterableDataset"),
    (lambda: data.StackDataset(), ValueError, "At least one dataset should be passed"),
    (lambda: data.StackDataset(Squares(1), a=Squares(1)), ValueError, "both types are given"),
    (lambda: data.StackDataset(Squares(1), Squares(2)), ValueError, "Size mismatch between datasets"),
    (lambda: data.random_split(Squares(5), [2, 2]), ValueError, "Sum of input lengths does not equal the length of the input dataset"),
    (lambda: data.random_split(Squares(5), [1.5, -0.5]), ValueError, "Fraction at index 0 is not between 0 and 1"),
    (lambda: data.RandomSampler(Squares(0)), ValueError, "num_samples should be a positive integer value, but got num_samples=0"),
    (lambda: data.RandomSampler(Squares(2), replacement=1), TypeError, "replacement should be a boolean value"),
    (lambda: data.BatchSampler([1], 0, False), ValueError, "batch_size should be a positive integer value, but got batch_size=0"),
    (lambda: data.BatchSampler([1], 1, 1), ValueError, "drop_last should be a boolean value, but got drop_last=1"),
    (lambda: data.WeightedRandomSampler([1.0], 0), ValueError, "num_samples should be a positive integer"),
    (lambda: data.WeightedRandomSampler([1.0], 1, 1), ValueError, "replacement should be a boolean value"),
    (lambda: data.WeightedRandomSampler([[1.0]], 1), ValueError, "1d sequence but given weights have shape"),
    (lambda: list(data.WeightedRandomSampler([0.0, 0.0], 1)), RuntimeError, "invalid distribution"),
    (lambda: list(data.WeightedRandomSampler([1.0, 0.0], 2, False)), RuntimeError, "without replacement"),
])
def test_refusals(make: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()


def test_random_split() -> None:
    parts = data.random_split(Squares(10), [7, 3], cltorch.Generator().manual_seed(1))
    again = data.random_split(Squares(10), [0.7, 0.3], cltorch.Generator().manual_seed(1))
    assert [len(p) for p in parts] == [7, 3]
    assert [p.indices for p in parts] == [p.indices for p in again]
    assert sorted(parts[0].indices + parts[1].indices) == list(range(10))
    assert [len(p) for p in data.random_split(Squares(11), [0.5, 0.25, 0.25])] == [6, 3, 2]
    with pytest.warns(UserWarning, match=r"Length of split at index \d is 0"):
        assert [len(p) for p in data.random_split(Squares(2), [0.9, 0.05, 0.05])] == [2, 0, 0]


# samplers


def test_samplers_orders() -> None:
    generator = cltorch.Generator().manual_seed(3)
    assert list(data.SequentialSampler(Squares(4))) == [0, 1, 2, 3]
    sampler = data.RandomSampler(Squares(50), generator=generator)
    first, second = list(sampler), list(sampler)
    assert first != second
    assert sorted(first) == sorted(second) == list(range(50))
    generator.manual_seed(3)
    assert list(sampler) == first
    assert sorted(data.RandomSampler(Squares(3), num_samples=6)) == [0, 0, 1, 1, 2, 2]
    drawn = list(data.RandomSampler(Squares(5), replacement=True, num_samples=200))
    assert len(drawn) == 200
    assert set(drawn) == set(range(5))
    assert sorted(data.SubsetRandomSampler([4, 2, 9])) == [2, 4, 9]
    assert list(data.BatchSampler(range(5), 2, False)) == [[0, 1], [2, 3], [4]]
    assert list(data.BatchSampler(range(5), 2, True)) == [[0, 1], [2, 3]]
    assert [len(data.BatchSampler(range(5), 2, drop)) for drop in (False, True)] == [3, 2]


def test_default_generator_follows_manual_seed() -> None:
    orders = []
    for _ in range(2):
        cltorch.manual_seed(11)
        orders.append([list(data.RandomSampler(Squares(20))) for _ in range(2)])
    assert orders[0] == orders[1]
    assert orders[0][0] != orders[0][1]


def test_weighted_sampler_follows_weights() -> None:
    drawn = list(data.WeightedRandomSampler(cltorch.tensor([1.0, 0.0, 3.0]), 4000))
    counts = collections.Counter(drawn)
    assert counts[1] == 0
    assert 0.7 < counts[2] / 4000 < 0.8
    assert sorted(data.WeightedRandomSampler([0.1, 0.2, 0.7], 3, replacement=False)) == [0, 1, 2]


# collate


def same(a: Any, b: Any) -> bool:
    """Whether a result has the structure, types and values of PyTorch's."""
    if isinstance(a, cltorch.Tensor):
        return repr(a) == repr(b)
    if isinstance(a, dict):
        return type(a) is type(b) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


BATCHES: dict[str, Any] = {
    "ints": [1, 2],
    "floats": [1.0, 2.0],
    "bools": [True, False],
    "mixed_numbers": [1, 2.5],
    "strings": ["a", "b"],
    "bytes": [b"a", b"b"],
    "pairs": [(1, 2.0), (3, 4.0)],
    "lists": [[1, "a"], [2, "b"]],
    "dicts": [{"a": 1, "b": (2,)}, {"a": 3, "b": (4,)}],
    "points": [Point(1, 2.0), Point(3, 4.0)],
    "arrays": [np.ones((2, 3), np.float32), np.zeros((2, 3), np.float32)],
    "numpy_scalars": [np.float64(1), np.float64(2)],
    "arrays_0d": [np.array(1), np.array(2)],
    "ordered": [collections.OrderedDict(a=1), collections.OrderedDict(a=2)],
    "defaults": [collections.defaultdict(int, a=1), collections.defaultdict(int, a=2)],
    "int32": [np.int32(1), np.int32(2)],
    "nested": [{"x": [(1, "q"), {"y": np.arange(3)}]}, {"x": [(2, "r"), {"y": np.arange(3)}]}],
    "empty_tuples": [(), ()],
    "uint8": [np.uint8(1), np.uint8(2)],
}


@pytest.mark.parametrize("name", BATCHES)
def test_collate_as_pytorch(name: str) -> None:
    torch_data = pytest.importorskip("torch.utils.data")
    assert same(data.default_collate(BATCHES[name]), torch_data.default_collate(BATCHES[name]))
    assert same(data.default_convert(BATCHES[name]), torch_data.default_convert(BATCHES[name]))


def test_collate_tensors(device: cltorch.device) -> None:
    rows = [cltorch.arange(6, dtype=cltorch.float32).reshape(2, 3)[:, i] for i in range(3)]
    assert_close(data.default_collate(rows), np.arange(6, dtype=np.float32).reshape(2, 3).T)
    halves = [cltorch.tensor([1.5, -2.0], dtype=cltorch.bfloat16)] * 2
    assert data.default_collate(halves).dtype is cltorch.bfloat16
    assert data.default_collate(halves).float().tolist() == [[1.5, -2.0]] * 2
    there = data.default_collate([r.to(device) for r in rows])
    assert there.device == device
    weights = cltorch.ones(2, requires_grad=True)
    data.default_collate([weights, weights]).sum().backward()
    assert weights.grad.tolist() == [2.0, 2.0]
    batch = data.default_collate([rows[0], rows[1]])
    batch[0, 0] = 99.0
    assert rows[0][0].item() == 0.0


@pytest.mark.parametrize("batch, error, text", [
    ([object()], TypeError, "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found <class 'object'>"),
    ([None, None], TypeError, "found <class 'NoneType'>"),
    ([np.array(["a"])], TypeError, "dtype <U1"),
    ([[1, 2], [1]], RuntimeError, "each element in list of batch should be of equal size"),
    ([cltorch.ones(2), cltorch.ones(3)], RuntimeError, "stack expects each tensor to be equal size"),
    ([np.ones(2), np.ones(3)], RuntimeError, "to be equal size, but got \\[2\\] at entry 0 and \\[3\\] at entry 1"),
    ([{"a": 1}, {"b": 1}], KeyError, "a"),
    ([], IndexError, "out of range"),
])
def test_collate_refuses(batch: list, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        data.default_collate(batch)


# DataLoader


def values(loader: Any) -> list:
    return [batch[0].tolist() if isinstance(batch, list) else batch for batch in loader]


def test_batches() -> None:
    loader = DataLoader(Squares(5), batch_size=2)
    assert values(loader) == [[0, 1], [2, 3], [4]]
    assert len(loader) == 3
    dropped = DataLoader(Squares(5), batch_size=2, drop_last=True)
    assert (values(dropped), len(dropped)) == ([[0, 1], [2, 3]], 2)
    assert values(DataLoader(Batched(3), batch_size=3)) == [[0, -1, -2]]
    assert values(DataLoader(Squares(4), sampler=[3, 1], batch_size=2)) == [[3, 1]]
    assert values(DataLoader(Squares(4), batch_sampler=[[0], [3, 2]])) == [[0], [3, 2]]
    unbatched = DataLoader(Squares(3), batch_size=None)
    assert (list(unbatched), len(unbatched)) == ([[0, 0], [1, 1], [2, 4]], 3)
    assert list(DataLoader(Squares(4), 2, collate_fn=len)) == [2, 2]
    assert [b.tolist() for b in DataLoader([np.float32(i) for i in range(3)], 2)] == [[0, 1], [2]]


def test_shuffle_and_generator() -> None:
    loader = DataLoader(Squares(30), batch_size=30, shuffle=True, generator=cltorch.Generator().manual_seed(5))
    first, second = values(loader), values(loader)
    assert first != second
    assert sorted(first[0]) == list(range(30))
    loader.generator.manual_seed(5)
    assert values(loader) == first


def test_streams() -> None:
    assert values(DataLoader(Stream((1, 0), (2, 0), (3, 0)), batch_size=2)) == [[1, 2], [3]]
    assert values(DataLoader(Stream((1, 0), (2, 0), (3, 0)), batch_size=2, drop_last=True)) == [[1, 2]]
    assert list(DataLoader(Stream(1, 2), batch_size=None)) == [1, 2]
    assert [len(DataLoader(SizedStream(1, 2, 3), 2, drop_last=drop)) for drop in (False, True)] == [2, 1]
    assert len(DataLoader(SizedStream(1, 2, 3), None)) == 3
    with pytest.raises(TypeError, match="has no len"):
        len(DataLoader(Stream(1)))


@pytest.mark.parametrize("options, error, text", [
    ({"num_workers": -1}, ValueError, "num_workers option should be non-negative"),
    ({"timeout": -1}, ValueError, "timeout option should be non-negative"),
    ({"prefetch_factor": 2}, ValueError, "prefetch_factor option could only be specified in multiprocessing"),
    ({"num_workers": 1, "prefetch_factor": 0}, ValueError, "prefetch_factor option should be positive"),
    ({"persistent_workers": True}, ValueError, "persistent_workers option needs num_workers > 0"),
    ({"sampler": [1], "shuffle": True}, ValueError, "sampler option is mutually exclusive with shuffle"),
    ({"batch_sampler": [[1]], "batch_size": 2}, ValueError, "batch_sampler option is mutually exclusive"),
    ({"batch_sampler": [[1]], "drop_last": True}, ValueError, "batch_sampler option is mutually exclusive"),
    ({"batch_size": None, "drop_last": True}, ValueError, "batch_size=None option disables auto-batching"),
    ({"batch_size": 0}, ValueError, "batch_size should be a positive integer value, but got batch_size=0"),
    ({"batch_size": 1.5}, ValueError, "batch_size should be a positive integer value"),
    ({"multiprocessing_context": "spawn"}, ValueError, "multiprocessing_context can only be used with multi-process loading"),
    ({"num_workers": 1, "multiprocessing_context": "thread"}, ValueError, "should specify a valid start method"),
    ({"num_workers": 1, "multiprocessing_context": "fork"}, ValueError, "OpenCL does not survive a fork"),
    ({"num_workers": 1, "multiprocessing_context": 3}, TypeError, "valid context object"),
])
def test_options_that_exclude_each_other(options: dict, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        DataLoader(Squares(4), **options)


@pytest.mark.parametrize("options", [{"shuffle": True}, {"sampler": [1]}, {"batch_sampler": [[1]]}], ids=str)
def test_streams_take_no_order(options: dict) -> None:
    with pytest.raises(ValueError, match="DataLoader with IterableDataset: expected unspecified"):
        DataLoader(Stream(1), **options)
    DataLoader(Stream(1), shuffle=False)


def test_attributes_are_fixed() -> None:
    loader = DataLoader(Squares(4), pin_memory=True)
    with pytest.raises(ValueError, match="batch_size attribute should not be set"):
        loader.batch_size = 3
    assert values(pickle.loads(pickle.dumps(loader))) == values(loader)
    assert data.get_worker_info() is None


def test_errors_of_the_dataset_pass_through() -> None:
    with pytest.raises(IndexError, match="9"):
        list(DataLoader(Squares(4), sampler=[9]))
    loader = DataLoader(Squares(4), batch_size=2, collate_fn=lambda batch: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        next(iter(loader))


def test_batches_of_tensors_are_rows(device: cltorch.device) -> None:
    x, y = cltorch.arange(24, dtype=cltorch.bfloat16).reshape(6, 2, 2), cltorch.arange(12).reshape(2, 6).t()
    for place in ("cpu", device):
        dataset = data.TensorDataset(x.to(place), y.to(place))
        for source, order in ((dataset, [4, 0, -1]), (data.Subset(data.Subset(dataset, [5, 4, 3]), [2, 0]), [1, 0])):
            fast = next(iter(DataLoader(source, batch_size=3, sampler=order)))
            slow = data.default_collate([source[i] for i in order])
            for a, b in zip(fast, slow, strict=True):
                assert (a.device, a.is_contiguous()) == (b.device, True)
                assert_close(a, b, rtol=0, atol=0)
        with pytest.raises(IndexError):
            next(iter(DataLoader(dataset, sampler=[6])))
    weights = cltorch.ones(3, 2, requires_grad=True)
    next(iter(DataLoader(data.TensorDataset(weights), batch_size=2)))[0].sum().backward()
    assert weights.grad.tolist() == [[1.0, 1.0], [1.0, 1.0], [0.0, 0.0]]
