"""Capture and replay: cuda.CUDAGraph and compile give what eager code gives, bit for bit, and refuse what they can't repeat."""
from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import stalled_pool

import cltorch as torch
from cltorch import cuda, nn, optim
from cltorch.core import capture, lazy
from cltorch.core.capture import JOINED_AFTER, STATE
from cltorch.core.random import default_generator
from cltorch.nn import functional as F
from cltorch.runtime import builders
from cltorch.runtime.device import get
from cltorch.runtime.graph import Joined, Launch

STEPS = 6
PLACES = ("cuda", "cpu")


@pytest.fixture(autouse=True)
def _nothing_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CLTORCH_BUILDERS", "0")  # joined kernels are there when they are planned
    yield
    assert STATE.active is None and STATE.steering is None


def batches(place: str, *shape: int, classes: int = 0) -> list[tuple[Any, Any]]:
    torch.manual_seed(5)
    made = [(torch.randn(*shape), torch.randint(0, classes, (shape[0],)) if classes else torch.randn(shape[0], 1)) for _ in range(STEPS)]
    return [(x.to(place), y.to(place)) for x, y in made]


def network(place: str, dropout: float = 0.2) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Dropout(dropout), nn.Linear(7, 1)).to(place)


def draw_on_the_host() -> int:
    """What a data loader's seed is made of."""
    return default_generator(get("cuda")).reserve(1)[0] % 7


def step_of(model: nn.Module, optimizer: Any, loss: Callable = F.mse_loss) -> Callable:
    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        value = loss(model(x), y)
        value.backward()
        optimizer.step()
        return value

    return step


def contents(model: nn.Module) -> dict[str, Any]:
    return {name: t.tolist() for name, t in model.state_dict().items()}


# graphs


def test_work_is_recorded_and_not_run(device: Any) -> None:
    x = torch.arange(4.0, device=device)
    graph = cuda.CUDAGraph()
    with cuda.graph(graph):
        assert cuda.is_current_stream_capturing()
        y = x * 2 + 1
        x += 10
    assert not cuda.is_current_stream_capturing() and x.tolist() == [0, 1, 2, 3]
    graph.replay()
    assert y.tolist() == [1, 3, 5, 7] and x.tolist() == [10, 11, 12, 13]
    x.copy_(torch.ones(4, device=device))
    graph.replay()
    assert y.tolist() == [3, 3, 3, 3] and x.tolist() == [11, 11, 11, 11]
    graph.reset()
    with pytest.raises(RuntimeError, match="no captured work"):
        graph.replay()


def test_what_shares_memory_with_a_graphs_tensors_keeps_its_content(device: Any) -> None:
    x = torch.zeros(3, device=device)
    graph = cuda.CUDAGraph()
    with cuda.graph(graph):
        x += 1
        y = x * 10
    graph.replay()
    copied, result, pending = x.clone(), y.clone(), x * 5
    graph.replay()
    assert copied.tolist() == [1, 1, 1] and result.tolist() == [10, 10, 10] and pending.tolist() == [5, 5, 5]
    assert x.tolist() == [2, 2, 2] and y.tolist() == [20, 20, 20]
    y.mul_(0)
    graph.replay()
    assert y.tolist() == [30, 30, 30]
    copied, pending = x.clone(), x * 5
    x.copy_(torch.zeros(3, device=device))  # x has other memory now, and its copy alone the graph's
    graph.replay()
    assert copied.tolist() == [3, 3, 3] and pending.tolist() == [15, 15, 15] and x.tolist() == [1, 1, 1] and y.tolist() == [10, 10, 10]


def test_a_copy_made_inside_is_another_tensor(device: Any) -> None:
    x = torch.ones(3, device=device)
    graph = cuda.CUDAGraph()
    with cuda.graph(graph):
        copies = [x.clone() for _ in range(3)]
        y = x + 1
    for k in range(3):
        x.fill_(float(k))
        graph.replay()
        assert [c.tolist() for c in copies] == [[k] * 3] * 3 and y.tolist() == [k + 1] * 3
        copies[0].add_(10)
        assert copies[1].tolist() == x.tolist() == [k] * 3


def test_a_frozen_heap_is_refused(device: Any) -> None:
    gc.freeze()
    try:
        with pytest.raises(RuntimeError, match=r"gc\.freeze"), cuda.graph(cuda.CUDAGraph()):
            pass
    finally:
        gc.unfreeze()


def test_storages_that_trade_their_memory(device: Any) -> None:
    a, b, c = (torch.full((3,), float(v), device=device) for v in (1, 2, 3))
    c.copy_(a)  # shares a's value until one is written
    graph = cuda.CUDAGraph()
    with cuda.graph(graph):
        kept = a.clone()
        a.copy_(b)
        b.copy_(kept)
        c.add_(1)
    for _ in range(3):
        graph.replay()
    assert (a.tolist(), b.tolist(), c.tolist()) == ([2, 2, 2], [1, 1, 1], [4, 4, 4])


def test_random_streams_go_on_as_in_eager_code(device: Any) -> None:
    x = torch.ones(50, device=device)
    graph = cuda.CUDAGraph()
    with cuda.graph(graph):
        results = torch.rand(7, device=device), torch.randn(5, device=device), F.dropout(x), torch.randint(0, 9, (4,), device=device)
    torch.manual_seed(3)
    replayed = []
    for _ in range(3):
        graph.replay()
        replayed.append([r.tolist() for r in results])
    after = torch.rand(2, device=device).tolist()
    torch.manual_seed(3)
    for was in replayed:
        eager = torch.rand(7, device=device), torch.randn(5, device=device), F.dropout(x), torch.randint(0, 9, (4,), device=device)
        assert [r.tolist() for r in eager] == was
    assert torch.rand(2, device=device).tolist() == after and replayed[0] != replayed[1]


OPTIMIZERS = sorted(name for name in optim.__all__ if isinstance(getattr(optim, name), type) and issubclass(getattr(optim, name), optim.Optimizer)
                    and name != "Optimizer")


@pytest.mark.parametrize("name", [*OPTIMIZERS, "SGD momentum"])
def test_steps_and_rates_advance_for_every_optimizer(device: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name not in ("SGD momentum", "Adam"):  # the same kernels joined with another update: 2 s of compiling each
        monkeypatch.setattr(capture, "JOINED_AFTER", 1 << 30)
    data = batches("cuda", 8, 5)
    options = dict(momentum=0.9, dampening=0.1) if "momentum" in name else {}
    ended = []
    for captured in (False, True):
        model = network("cuda")
        optimizer = getattr(optim, name.split()[0])(model.parameters(), lr=0.05, **options)
        schedule = optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
        step, graph = step_of(model, optimizer), cuda.CUDAGraph()
        x, y = (t.clone() for t in data[0])
        for number, (new_x, new_y) in enumerate(data):
            if number == 1 and captured:
                with cuda.graph(graph):
                    step(x, y)
            if number == 0 or not captured:
                step(new_x, new_y)
            else:
                x.copy_(new_x)
                y.copy_(new_y)
                graph.replay()
            schedule.step()
        ended.append((contents(model), [{k: v.tolist() for k, v in s.items()} for s in optimizer.state_dict()["state"].values()]))
    assert ended[0] == ended[1]


def test_a_failed_capture_leaves_everything_as_it_was(device: Any) -> None:
    model = network("cuda")
    optimizer = optim.Adam(model.parameters())
    x, y = batches("cuda", 8, 5)[0]
    step = step_of(model, optimizer)
    step(x, y)
    before, counted = contents(model), optimizer.state_dict()["state"][0]["step"].item()
    for wrong in (lambda: step(x, y).item(), lambda: bool((x > 0).all()), lambda: x.cpu() + 1):
        graph = cuda.CUDAGraph()
        with pytest.raises(RuntimeError, match="captured"), cuda.graph(graph):
            step(x, y)
            wrong()
        with pytest.raises(RuntimeError, match="no captured work"):
            graph.replay()
    assert contents(model) == before and optimizer.state_dict()["state"][0]["step"].item() == counted
    step(x, y)
    assert contents(model) != before


def test_errors(device: Any) -> None:
    x = torch.ones(3, device=device)
    graph = cuda.CUDAGraph()
    with pytest.raises(RuntimeError, match="without capture_begin"):
        graph.capture_end()
    with pytest.raises(RuntimeError, match="no memory"):
        graph.pool()
    with pytest.raises(RuntimeError, match="being captured already"), cuda.graph(graph), cuda.graph(cuda.CUDAGraph()):
        pass
    with cuda.graph(graph):
        y = x + 1
    with pytest.raises(RuntimeError, match="holds captured work already"), cuda.graph(graph):
        pass
    with pytest.raises(RuntimeError, match="while one is captured"), cuda.graph(cuda.CUDAGraph()):
        graph.replay()
    del x
    with pytest.raises(RuntimeError, match="is gone"):
        graph.replay()
    assert (torch.ones(2, device=device) + 1).tolist() == [2, 2] and y.shape == (3,)


def test_an_optimizer_must_have_its_state_before(device: Any) -> None:
    model = network("cuda")
    optimizer = optim.Adam(model.parameters())
    x, y = batches("cuda", 8, 5)[0]
    step = step_of(model, optimizer)
    with pytest.raises(RuntimeError, match="run one step before"), cuda.graph(cuda.CUDAGraph()):
        step(x, y)
    assert not any(optimizer.state.values())
    step(x, y)
    assert optimizer.state_dict()["state"][0]["step"].item() == 1


def test_index_errors_of_replays_are_raised(device: Any) -> None:
    table, index = torch.arange(5.0, device=device), torch.tensor([1, 2], device=device)
    table[index].tolist()
    graph = cuda.CUDAGraph()
    with cuda.graph(graph):
        y = table[index]
    graph.replay()
    assert y.tolist() == [1, 2]
    for _ in range(2):
        index.copy_(torch.tensor([0, 7], device=device))
        graph.replay()
        with pytest.raises(IndexError, match="index 7 is out of bounds for dimension 0 with size 5"):
            y.tolist()
        index.copy_(torch.tensor([4, 0], device=device))
        graph.replay()
        assert y.tolist() == [4, 0]


@pytest.mark.parametrize("count", [3, 40])
def test_little_launches_become_one(count: int, device: Any) -> None:
    """With several joined kernels where one would have too many arguments; random numbers and an optimizer's advance in them."""
    dev = get("cuda")
    if dev.strategy != "wide":
        pytest.skip("a GPU's launches are handed over by the device itself")

    def run(compiled: bool) -> tuple[list[float], list[Any], Any]:
        torch.manual_seed(2)
        weights = [torch.rand(5, device=device, requires_grad=True) for _ in range(count)]
        optimizer = optim.SGD(weights, 0.1, momentum=0.9)
        schedule = optim.lr_scheduler.ExponentialLR(optimizer, 0.5)

        def step() -> Any:
            optimizer.zero_grad()
            loss = sum((torch.rand(5, device=device) * w).cumsum(0).sum() for w in weights)
            loss.backward()
            optimizer.step()
            return loss

        work = torch.compile(step, fullgraph=True) if compiled else step
        losses = []
        for _ in range(JOINED_AFTER + 3):
            losses.append(work().item())
            schedule.step()
        return losses, [w.tolist() for w in weights], work

    eager, wanted, _ = run(False)
    losses, weights, work = run(True)
    assert losses == eager and weights == wanted
    recording = next(plan for plan in work.plans.values() if not isinstance(plan, int)).capture.recording
    joined = [step for step in recording.steps if isinstance(step, Joined)]
    assert len(recording.steps) < len(recording.entries) / 2 and (len(joined) > 1) == (count > 3)


def test_launches_are_joined_when_the_kernel_is_there(device: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Until then replays go on as they are."""
    dev = get("cuda")
    if "one_compiler" not in dev.disabled or dev.strategy != "wide":
        pytest.skip("nothing is joined here, or this process compiles")
    monkeypatch.setenv("CLTORCH_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("CLTORCH_BUILDERS", "1")
    x = torch.zeros(5, device=device)

    def step() -> Any:
        x.add_(1)
        return x.cumsum(0) * x.cumsum(0)

    run = torch.compile(step, fullgraph=True)
    results = [run().tolist() for _ in range(JOINED_AFTER)]
    pool = stalled_pool(dev, monkeypatch)
    results += [run().tolist() for _ in range(3)]
    recording = next(plan for plan in run.plans.values() if not isinstance(plan, int)).capture.recording
    assert len(pool.jobs) == 1 and recording.steps is recording.entries
    pool.ready = 0
    assert builders.wait() and not builders.wait()
    results += [run().tolist() for _ in range(3)]
    assert any(isinstance(step, Joined) for step in recording.steps)
    assert results == [[(n * (i + 1)) ** 2 for i in range(5)] for n in range(1, len(results) + 1)]


def test_graphs_may_share_a_pool(device: Any) -> None:
    x = torch.ones(1000, device=device)
    first, second = cuda.CUDAGraph(), cuda.CUDAGraph()
    with cuda.graph(first, pool=cuda.graph_pool_handle()):
        y = (x + 1).sum()
    with cuda.graph(second, pool=first.pool()):
        z = y * 2
    first.replay()
    second.replay()
    assert z.item() == 4000


def test_memory_is_flat(device: Any) -> None:
    model = network("cuda")
    step = torch.compile(step_of(model, optim.Adam(model.parameters())), fullgraph=True)
    data = batches("cuda", 8, 5)
    for x, y in data:
        step(x, y)
    before = cuda.memory_reserved(), cuda.memory_allocated()
    for _ in range(50):
        for x, y in data:
            step(x, y)
    assert (cuda.memory_reserved(), cuda.memory_allocated()) == before


# compile


class Images(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Linear(48, 4)

    def forward(self, x: Any) -> Any:
        return self.head(F.max_pool2d(self.norm(self.conv(x)).relu(), 2).flatten(1))


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.block, self.head = nn.Embedding(11, 8), nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.Linear(8, 11)

    def forward(self, x: Any) -> Any:
        return self.head(self.block(self.table(x))[:, -1])


def image_data(place: str) -> list:
    return batches(place, 6, 1, 8, 8, classes=4)


def word_data(place: str) -> list:
    torch.manual_seed(2)
    return [(torch.randint(0, 11, (4, 5)).to(place), torch.randint(0, 11, (4,)).to(place)) for _ in range(STEPS)]


def fitted(make: Callable, data: list, place: str, loss: Callable, how: str) -> tuple:
    """Losses and parameters after training with a whole step compiled, with the loss compiled, with the module compiled, or eagerly."""
    torch.manual_seed(1)
    model = make().to(place)
    optimizer = optim.AdamW(model.parameters(), lr=0.01)
    step = step_of(model, optimizer, loss)
    if how == "step":
        step = torch.compile(step, fullgraph=True)
    elif how == "module":
        step = step_of(torch.compile(model, fullgraph=True), optimizer, loss)
    elif how == "loss":
        compiled = torch.compile(lambda x, y: loss(model(x), y), fullgraph=True)
        step = step_of(lambda x: x, optimizer, lambda x, y: compiled(x, y))
    losses = [step(x, y) for x, y in data]
    return [v.item() for v in losses], contents(model)


@pytest.mark.parametrize("how", ["step", "loss", "module"])
@pytest.mark.parametrize("make, data, loss", [(lambda: network("cpu"), lambda place: batches(place, 8, 5), F.mse_loss), (Images, image_data, F.cross_entropy),
                                              (Words, word_data, F.cross_entropy)], ids=["mlp", "cnn", "transformer"])
@pytest.mark.parametrize("place", PLACES)
def test_compiled_training_is_eager_training(device: Any, place: str, make: Callable, data: Callable, loss: Callable, how: str,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "JOINED_AFTER", 1 << 30)
    if how == "step" or make not in (Images, Words):  # others: the step's launches in other groups, 10 s of compiling each
        monkeypatch.setattr(capture, "ALL_JOINED_AFTER", 4)
    assert fitted(make, data(place), place, loss, "eager") == fitted(make, data(place), place, loss, how)


def test_a_function_without_a_module(device: Any) -> None:
    work = eval("lambda x: x * 3 + 1", {})
    assert work.__module__ is None
    run = torch.compile(work, fullgraph=True)
    assert [run(torch.ones(2, device=device)).tolist() for _ in range(3)] == [[4, 4]] * 3


def test_results_are_their_own(device: Any) -> None:
    @torch.compile(fullgraph=True)
    def work(x: Any, factor: float = 2.0) -> dict[str, Any]:
        y = x * factor
        return {"y": y, "parts": (y[1:], y.sum(), x, x[1:].view(2, 1)), "factor": factor}

    inputs = [torch.full((3,), float(k), device=device) for k in range(5)]
    results = [work(x) for x in inputs]
    for k, (x, found) in enumerate(zip(inputs, results, strict=True)):
        assert found["y"].tolist() == [2.0 * k] * 3 and found["parts"][0].tolist() == [2.0 * k] * 2 and found["parts"][1].item() == 6 * k
        assert found["parts"][2] is x and found["parts"][3].tolist() == [[k], [k]] and found["factor"] == 2.0
    results[3]["parts"][3].fill_(7)
    assert inputs[3].tolist() == [3, 7, 7]  # a view of its argument
    results[3]["y"].zero_()
    assert results[3]["parts"][0].tolist() == [0, 0] and results[4]["y"].tolist() == [8, 8, 8]  # views share their call's memory
    assert work(inputs[1], 5.0)["y"].tolist() == work(inputs[1], factor=5.0)["y"].tolist() == [5, 5, 5]
    assert work.__name__ == "work"


@pytest.mark.parametrize("size", [5, 50000])
def test_one_tensor_as_two_arguments(size: int, device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while the launches are joined, which by then name the same memory."""
    monkeypatch.setattr(capture, "ALL_JOINED_AFTER", JOINED_AFTER)
    work = torch.compile(lambda x, y: (x.cumsum(0), y.cumsum(0) * x, x.sum()), fullgraph=True)
    x, y = torch.arange(size, device=device), torch.arange(size, device=device) * 2
    for arguments in [(x, x)] * (JOINED_AFTER + 2) + [(x, y), (y, x), (y, y)]:
        assert [found.tolist() for found in work(*arguments)] == [wanted.tolist() for wanted in work.__wrapped__(*arguments)]


def test_what_was_there_before_is_kept_for_who_holds_it(device: Any) -> None:
    """Copies of tensors that the function writes in place afterwards, also as one tensor's content goes to another; recorded and launched."""
    size = 6
    w, v = torch.empty(size, device=device), torch.empty(size, device=device)

    def recorded() -> tuple[Any, ...]:
        old, double = w.clone(), w * 2
        w.add_(v).mul_(2)
        new = w.clone()
        v.add_(w)
        return old, double, new, v.flip(0)

    def launched() -> tuple[Any, ...]:
        old = w.clone()
        w.add_(1)
        return old, w.cumsum(0), v.clone(), v.add_(w).sum()

    def swapped() -> tuple[Any, ...]:
        old = w.clone()
        w.copy_(v)
        v.copy_(old)
        return old, w + v

    def reversed_() -> tuple[Any, ...]:
        w.copy_(w.flip(0) + v)
        v.view(2, 3).copy_((w.view(3, 2) * 2).t())
        return (w.clone(),)

    for function in (recorded, launched, swapped, reversed_):
        kinds = []
        for work in (function, torch.compile(function, fullgraph=True)):
            w.copy_(torch.arange(size, device=device))
            v.fill_(3)
            kinds.append([[t.tolist() for t in (*work(), w, v)] for _ in range(6)])
        assert kinds[0] == kinds[1], function.__name__


def test_what_moves_in_place_is_not_copied(device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Running statistics and counts, which are pending at the end, go by their own launches to where they were."""
    monkeypatch.setattr(lazy, "EAGER", False)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)).to(device)
    work = torch.compile(lambda x: model(x).sum(), fullgraph=True)
    for _ in range(3):
        work(torch.ones(2, 2, 4, 4, device=device))
    recording = next(plan for plan in work.plans.values() if not isinstance(plan, int)).capture.recording
    assert all(isinstance(entry, Launch) for entry in recording.entries) and model[1].num_batches_tracked.item() == 3


def test_strided_and_pending_arguments(device: Any) -> None:
    work = torch.compile(lambda x: x * 2, fullgraph=True)
    whole = torch.arange(12.0, device=device).view(3, 4)
    for _ in range(3):
        assert work(whole.t()).tolist() == (whole.t() * 2).tolist()
        assert work(whole[1:, 1:] + 1).tolist() == ((whole[1:, 1:] + 1) * 2).tolist()


def test_modes_shapes_and_flags_are_captured_anew(device: Any) -> None:
    model = network("cuda", dropout=0.5)
    compiled = torch.compile(model, fullgraph=True)
    x, short = (torch.randn(n, 5, device=device) for n in (64, 3))
    for _ in range(3):
        compiled.train()
        assert compiled(x).tolist() != compiled(x).tolist() and compiled(x).requires_grad
        compiled.eval()
        assert compiled(x).tolist() == compiled(x).tolist() == model(x).tolist()
        assert compiled(short).tolist() == model(short).tolist()
        with torch.no_grad():
            assert not compiled(x).requires_grad
    model.requires_grad_(False)
    assert not compiled(x).requires_grad and not compiled(x).requires_grad
    assert compiled._orig_mod is model and next(iter(compiled.state_dict())) == "_orig_mod.0.weight" and compiled.append == model.append


def test_gradients_of_arguments_and_accumulation(device: Any) -> None:
    model = network("cuda", dropout=0.0)
    compiled = torch.compile(model, fullgraph=True)
    x = torch.randn(4, 5, device=device, requires_grad=True)
    for scale in (1.0, 2.0, 3.0, 4.0):
        grads = []
        for run in (model, compiled):
            model.zero_grad()
            x.grad = None
            for _ in range(2):
                (run(x) * scale).sum().backward()
            grads.append([t.grad.tolist() for t in (x, *model.parameters())])
        assert grads[0] == grads[1]


def test_gradients_left_by_a_compiled_step(device: Any) -> None:
    """Zeroing and stepping outside: each call leaves its gradients in .grad, or adds to what is there."""
    ended = []
    for compiled in (False, True):
        model = network("cuda", dropout=0.0)
        optimizer = optim.SGD(model.parameters(), lr=0.1)

        def backward(x: Any, y: Any, model: nn.Module = model) -> None:
            F.mse_loss(model(x), y).backward()

        run = torch.compile(backward, fullgraph=True) if compiled else backward
        for turn in range(4):
            optimizer.zero_grad()
            for x, y in batches("cuda", 8, 5)[:turn + 1]:
                run(x, y)
            optimizer.step()
        ended.append((contents(model), [p.grad.tolist() for p in model.parameters()]))
    assert ended[0] == ended[1]


def test_a_forward_before_the_last_ones_backward(device: Any) -> None:
    model = network("cuda", dropout=0.0)
    compiled = torch.compile(model, fullgraph=True)
    xs = [torch.randn(4, 5, device=device) for _ in range(3)]
    want = torch.autograd.grad(sum(model(x).sum() * k for k, x in enumerate(xs)), list(model.parameters()))
    for _ in range(3):
        got = torch.autograd.grad(sum(compiled(x).sum() * k for k, x in enumerate(xs)), list(model.parameters()))
        assert [g.tolist() for g in got] == [g.tolist() for g in want]


@pytest.mark.parametrize("reason, work", [
    ("while a graph is captured", lambda x: x * x.sum().item()), ("while a graph is captured", lambda x: x + 1 if (x > 0).all() else x),
    ("while a graph is captured", lambda x: (x.cpu() + 1).to(x.device)), ("it writes into its arguments", lambda x: x.add_(1)),
    ("drawn on the host", lambda x: x * 0 + draw_on_the_host()),
], ids=["item", "branch", "device", "in place", "host draw"])
def test_what_cannot_be_captured_runs_eagerly_with_one_warning(device: Any, reason: str, work: Callable) -> None:
    want = [work(torch.full((3,), float(k), device=device)).tolist() for k in range(4)]
    run = torch.compile(work)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert [run(torch.full((3,), float(k), device=device)).tolist() for k in range(4)] == want
    assert len(seen) == 1 and "runs eagerly, because it can't be captured" in str(seen[0].message) and reason in str(seen[0].message)
    strict = torch.compile(work, fullgraph=True)
    strict(torch.ones(3, device=device))
    with pytest.raises(RuntimeError, match="fullgraph=True"):
        strict(torch.ones(3, device=device))
    assert run(torch.ones(3, device=device)).tolist() == work(torch.ones(3, device=device)).tolist()


def test_too_many_kinds_of_arguments(device: Any) -> None:
    run = torch.compile(lambda x, k: x + k)
    x = torch.zeros(2, device=device)
    with pytest.warns(UserWarning, match="more than 16 kinds"):
        assert [run(x, k).tolist() for k in range(18)] == [[k, k] for k in range(18)]


def test_errors_of_the_function_are_its_own(device: Any) -> None:
    def work(x: Any) -> Any:
        return x @ torch.ones(4, 2, device=device)

    run = torch.compile(work)
    assert run(torch.ones(3, 4, device=device)).shape == (3, 2)
    for _ in range(3):
        with pytest.raises(RuntimeError, match="cannot be multiplied"):
            run(torch.ones(3, 5, device=device))
    with pytest.raises(TypeError, match="expected a function or a module"):
        torch.compile(3)


def test_compiler_names(device: Any) -> None:
    calls = []

    def work(x: Any) -> Any:
        calls.append(torch.compiler.is_compiling())
        return x + 1

    run = torch.compile(work)
    x = torch.ones(2, device=device)
    for _ in range(5):
        run(x)
    assert calls == [False, True]
    torch.compiler.reset()
    for _ in range(5):
        run(x)
    assert calls == [False, True] * 2
    assert torch.compile(torch.compiler.disable(work)) is work and torch.compile(work, disable=True) is work


def test_parameters_and_arguments_among_the_results(device: Any) -> None:
    model = network("cuda", dropout=0.0)
    run = torch.compile(lambda x: (model(x), x, *model.parameters()), fullgraph=True)
    x = torch.randn(4, 5, device=device, requires_grad=True)
    for _ in range(4):
        y, same, *parameters = run(x)
        assert same is x and all(p is q for p, q in zip(parameters, model.parameters(), strict=True))
        assert y.tolist() == model(x).tolist() and y.requires_grad and len(run.plans) == 1


def test_graphed_callables(device: Any) -> None:
    x = torch.randn(4, 5, device=device, requires_grad=True)
    model, plain = network("cuda", dropout=0.0), network("cuda", dropout=0.0)
    graphed, work = cuda.make_graphed_callables((model, lambda x: (x * 2).sum()), ((x,), (x.detach(),)))
    assert graphed is model
    for _ in range(3):
        for run in (plain, graphed):
            run.zero_grad()
            run(x).sum().backward()
        assert [p.grad.tolist() for p in plain.parameters()] == [p.grad.tolist() for p in graphed.parameters()]
        assert work(x.detach()).item() == (x * 2).sum().item()
    with pytest.raises(ValueError, match="2 callables need as many"):
        cuda.make_graphed_callables((model, model), ((x,),))
    with pytest.raises(RuntimeError, match="can't be captured"):
        cuda.make_graphed_callables(lambda x: x.sum().item(), (x,))
