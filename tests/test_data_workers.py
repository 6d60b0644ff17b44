"""The DataLoader's worker processes: order, shared memory, seeds, failures, and that nothing is left behind."""
from __future__ import annotations

import collections
import gc
import os
import pickle
import random
import signal
import subprocess
import sys
import textwrap
import time
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cltorch
from cltorch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, get_worker_info, transport

ROOT = Path(__file__).resolve().parent.parent
Pair = collections.namedtuple("Pair", "left right")


class Rows(Dataset):
    """Row i is (i, i, ...); big enough that batches go through shared memory."""

    def __init__(self, count: int = 12, width: int = 3000) -> None:
        self.count, self.width = count, width

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        return cltorch.tensor([float(index)] * self.width), index


class Mixed(Rows):
    def __getitem__(self, index: int) -> dict:
        return {"half": cltorch.tensor([index, 0.5], dtype=cltorch.bfloat16), "pair": Pair(index, "text"), "array": np.arange(index, index + 3),
                "empty": cltorch.tensor([]), "scalar": cltorch.tensor(True), "long": "x" * 30_000}


class Raising(Rows):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def __getitem__(self, index: int) -> int:
        if index == 5:
            raise self.error
        return index


class NeedsTwo(Exception):  # noqa: N818 - its constructor is the point
    def __init__(self, one: int, two: int) -> None:
        super().__init__(one, two)


class Dying(Rows):
    def __getitem__(self, index: int) -> int:
        if index == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return index


class Sleeping(Rows):
    def __getitem__(self, index: int) -> int:
        time.sleep(60)
        return index


class Draws(Rows):
    def __getitem__(self, index: int) -> tuple[float, float, int, int]:
        info = get_worker_info()
        assert info is not None
        return random.random(), float(np.random.random()), info.id, info.seed


class Shards(IterableDataset):
    """Each worker takes every num_workers-th number."""

    def __iter__(self) -> Any:
        info = get_worker_info()
        first, step = (0, 1) if info is None else (info.id, info.num_workers)
        return iter(range(first, 10, step))


class Kernels(Rows):
    def __getitem__(self, index: int) -> cltorch.Tensor:
        return cltorch.tensor([1.0, 2.0]) * index


def mark(worker_id: int) -> None:
    get_worker_info().dataset.count = 100 + worker_id


def counts(batch: list) -> int:
    return get_worker_info().dataset.count


def refuse(worker_id: int) -> None:
    raise LookupError("no such worker")


def segments() -> set[str]:
    folder = Path("/dev/shm")
    return {p.name for p in folder.glob("clt_*")} if folder.is_dir() else set()


@pytest.fixture(autouse=True)
def nothing_left() -> Any:
    before = segments()
    yield
    gc.collect()
    deadline = time.monotonic() + 10
    while (active_children() or not segments() <= before) and time.monotonic() < deadline:
        time.sleep(0.02)  # a killed process's segments are removed by Python's resource tracker, when it sees that all are gone
    assert not active_children()
    assert segments() <= before


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_order_and_content(workers: int) -> None:
    loader = DataLoader(Rows(), batch_size=5, num_workers=workers)
    rows, indices = zip(*loader, strict=True)
    assert [i.tolist() for i in indices] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11]]
    assert all(r.shape == (len(i), 3000) and (r[:, 0].tolist() == i.tolist()) and (r[:, -1].tolist() == i.tolist())
               for r, i in zip(rows, indices, strict=True))
    assert len(loader) == 3


def test_spawn_and_options() -> None:
    loader = DataLoader(Rows(), batch_size=4, num_workers=2, multiprocessing_context="spawn", prefetch_factor=1, shuffle=True, timeout=60, drop_last=True)
    seen = [i for _, indices in loader for i in indices.tolist()]
    assert sorted(seen) == list(range(12))
    assert sorted(b.shape[0] for b, _ in DataLoader(Rows(), batch_size=5, num_workers=2, in_order=False)) == [2, 5, 5]


def test_every_kind_of_content() -> None:
    batches = list(DataLoader(Mixed(4), batch_size=2, num_workers=1))
    last = batches[-1]
    assert last["half"].dtype is cltorch.bfloat16
    assert last["half"].float().tolist() == [[2.0, 0.5], [3.0, 0.5]]
    assert type(last["pair"]) is Pair
    assert last["pair"].left.tolist() == [2, 3]
    assert last["array"].tolist() == [[2, 3, 4], [3, 4, 5]]
    assert last["empty"].shape == (2, 0)
    assert last["scalar"].tolist() == [True, True]
    assert last["long"] == ["x" * 30_000] * 2
    plain = next(iter(DataLoader(Mixed(1), batch_size=None, num_workers=1)))
    assert plain["array"].tolist() == [0, 1, 2]
    last["half"] += 1


def test_without_room_in_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_room", lambda: 0)
    packet = transport.pack({"x": cltorch.arange(5000)}, "clt_test")
    assert packet.segment is None
    assert transport.unpack(packet)["x"].tolist() == list(range(5000))


def test_same_batches_as_without_workers() -> None:
    results = []
    for workers in (0, 2):
        cltorch.manual_seed(4)
        loader = DataLoader(TensorDataset(cltorch.arange(100), cltorch.arange(100) * 2), batch_size=7, shuffle=True, num_workers=workers)
        results.append([[t.tolist() for t in batch] for batch in loader])
    assert results[0] == results[1]


def test_kernels_run_in_workers() -> None:
    assert [b.tolist() for b in DataLoader(Kernels(2), num_workers=1)] == [[[0.0, 0.0]], [[1.0, 2.0]]]


def test_persistent_workers_and_abandoned_epochs() -> None:
    loader = DataLoader(Rows(), batch_size=2, num_workers=2, persistent_workers=True)
    assert [i.tolist()[0] for _, i in loader] == [0, 2, 4, 6, 8, 10]
    pids = {p.pid for p in active_children()}
    iterator = iter(loader)
    next(iterator)
    assert [i.tolist()[0] for _, i in loader] == [0, 2, 4, 6, 8, 10]
    assert {p.pid for p in active_children()} == pids
    del loader, iterator


def test_iterator_left_half_way() -> None:
    for batch, _ in DataLoader(Rows(40), batch_size=2, num_workers=2):
        assert batch.shape == (2, 3000)
        break


def test_streams_are_shared_out() -> None:
    assert [b.tolist() for b in DataLoader(Shards(), batch_size=2, num_workers=2)] == [[0, 2], [1, 3], [4, 6], [5, 7], [8], [9]]
    assert [b.tolist() for b in DataLoader(Shards(), batch_size=2, num_workers=2, drop_last=True)] == [[0, 2], [1, 3], [4, 6], [5, 7]]
    loader = DataLoader(Shards(), batch_size=4, num_workers=3, persistent_workers=True)
    assert [sorted(x for b in loader for x in b.tolist()) for _ in range(2)] == [list(range(10))] * 2


def test_seeds() -> None:
    def draw(seed: int) -> list:
        loader = DataLoader(Draws(8), batch_size=1, num_workers=2, generator=cltorch.Generator().manual_seed(seed))
        return [[x.item() for x in batch] for batch in loader]
    first = draw(1)
    assert first == draw(1)
    assert first != draw(2)
    assert len({row[0] for row in first}) == len({row[1] for row in first}) == 8
    assert {row[3] - row[2] for row in first} == {first[0][3]}


def test_worker_init_fn_and_info() -> None:
    loader = DataLoader(Rows(4), batch_size=1, num_workers=2, worker_init_fn=mark, collate_fn=counts)
    assert list(loader) == [100, 101, 100, 101]
    with pytest.raises(LookupError, match=r"(?s)while starting DataLoader worker process \d.*no such worker"):
        list(DataLoader(Rows(4), num_workers=2, worker_init_fn=refuse))


@pytest.mark.parametrize("error, raised", [
    (KeyError("missing"), KeyError), (ValueError("bad value"), ValueError), (NeedsTwo(1, 2), RuntimeError), (StopIteration(), StopIteration),
    (FileNotFoundError(2, "gone"), FileNotFoundError)], ids=lambda e: getattr(e, "__name__", type(e).__name__))
def test_exceptions_come_back(error: Exception, raised: type[Exception]) -> None:
    loader = DataLoader(Raising(error), batch_size=2, num_workers=2)
    iterator = iter(loader)
    assert [next(iterator).tolist() for _ in range(2)] == [[0, 1], [2, 3]]
    if raised is StopIteration:
        with pytest.raises(StopIteration, match="Caught StopIteration"):
            next(iterator)
        return
    with pytest.raises(raised, match=r"(?s)Caught \w+ in DataLoader worker process 0.*Original Traceback.*in __getitem__.*raise self.error"):
        next(iterator)
    assert next(iterator).tolist() == [6, 7]


def test_local_exception_types() -> None:
    with pytest.raises(RuntimeError, match="Caught RuntimeError in DataLoader worker process"):
        list(DataLoader(Rows(2), num_workers=1, collate_fn=raise_local))


def raise_local(batch: list) -> None:
    class Local(Exception):  # noqa: N818
        pass

    raise Local("can't travel")


def test_killed_worker_is_an_error() -> None:
    iterator = iter(DataLoader(Dying(), batch_size=2, num_workers=2))
    with pytest.raises(RuntimeError, match=r"DataLoader worker \(pid\(s\) \d+\) exited unexpectedly: killed by SIGKILL"):
        list(iterator)
    with pytest.raises(RuntimeError, match="workers have ended"):
        next(iterator)


def test_killed_from_outside() -> None:
    iterator = iter(DataLoader(Sleeping(), batch_size=2, num_workers=2))
    os.kill(active_children()[0].pid, signal.SIGTERM)
    with pytest.raises(RuntimeError, match=r"exited unexpectedly: killed by SIGTERM"):
        next(iterator)


def test_timeout() -> None:
    started = time.monotonic()
    with pytest.raises(RuntimeError, match="DataLoader timed out after 1 seconds"):
        list(DataLoader(Sleeping(), num_workers=1, timeout=1))
    assert time.monotonic() - started < 30


def test_what_cannot_be_sent() -> None:
    with pytest.raises(pickle.PicklingError, match=r"could not send its collate_fn to the worker processes.*num_workers=0"):
        iter(DataLoader(Rows(), num_workers=1, collate_fn=lambda batch: batch))
    with pytest.raises(pickle.PicklingError, match=r"could not send its dataset to the worker processes"):
        iter(DataLoader([(i for i in range(3))], num_workers=1))


def grows(batch: list) -> cltorch.Tensor:
    return cltorch.ones(3, requires_grad=True) * 2


def test_graphs_do_not_travel() -> None:
    with pytest.raises(RuntimeError, match="detach"):
        list(DataLoader(Rows(1), num_workers=1, collate_fn=grows))


# whole programs


def run(source: str, tmp_path: Path, **options: Any) -> subprocess.Popen:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(source))
    return subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env={**os.environ, "PYTHONPATH": str(ROOT)}, **options)


def test_script_without_guard_says_so(tmp_path: Path) -> None:
    process = run("""
        import cltorch
        from cltorch.utils.data import DataLoader, TensorDataset
        for batch in DataLoader(TensorDataset(cltorch.ones(4, 2)), num_workers=2):
            print(batch)
        """, tmp_path)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert out == ""
    assert 'if __name__ == "__main__":' in err.splitlines()[-1]
    assert err.count("RuntimeError: this worker process imported a script") <= 2


def test_clean_end_of_a_script(tmp_path: Path) -> None:
    process = run("""
        import cltorch
        from cltorch.utils.data import DataLoader, Dataset
        class Own(Dataset):
            def __len__(self): return 6
            def __getitem__(self, i): return cltorch.full((5000,), float(i))
        if __name__ == "__main__":
            kept = iter(DataLoader(Own(), num_workers=2, persistent_workers=True))
            print(next(kept).mean().item(), next(kept).mean().item())
        """, tmp_path)
    assert process.communicate(timeout=120) == ("0.0 1.0\n", "")


SLOW = """
    import time
    from cltorch.utils.data import DataLoader, Dataset
    class Slow(Dataset):
        def __len__(self): return 100
        def __getitem__(self, i):
            time.sleep(0.2)
            return i
    if __name__ == "__main__":
        from multiprocessing import active_children
        for batch in DataLoader(Slow(), num_workers=2):
            print(*[p.pid for p in active_children()], flush=True)
    """


def gone(pid: int) -> bool:
    """Whether a process has ended (a zombie counts)."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (ProcessLookupError, FileNotFoundError):
        return True


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=str)
def test_no_process_outlives_its_parent(how: signal.Signals, tmp_path: Path) -> None:
    process = run(SLOW, tmp_path, start_new_session=True)
    pids = [int(word) for word in process.stdout.readline().split()]
    assert len(pids) == 2
    if how is signal.SIGINT:
        os.killpg(process.pid, how)  # as a terminal does
    else:
        process.send_signal(how)
    process.communicate(timeout=60)
    assert process.returncode != 0
    deadline = time.monotonic() + 20
    while not all(map(gone, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert all(map(gone, pids))
