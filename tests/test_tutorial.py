"""A beginner's course in PyTorch, lesson by lesson: the same code runs with PyTorch and with cltorch, and shows the same."""
from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import ROOT

import cltorch

oracle = pytest.importorskip("torch", reason="PyTorch is the other side")


class Notebook:
    """One run of a lesson. ``torch`` is either library, ``device`` where it computes; what is shown is compared afterwards."""

    def __init__(self, torch: Any, device: str, folder: Path) -> None:
        self.torch, self.device, self.folder = torch, device, folder
        self.shown: list[tuple[str, Any]] = []

    def show(self, *things: Any) -> None:
        """What ``print`` would write, and for tensors their numbers too."""
        for thing in things:
            self.shown.append(("text", re.sub(r", device='cuda:0'", "", str(thing))))
            if isinstance(thing, self.torch.Tensor):
                self.value(thing)

    def value(self, *things: Any) -> None:
        """Numbers, compared to 1e-5."""
        for thing in things:
            if isinstance(thing, self.torch.Tensor):
                self.shown.append(("dtype", str(thing.dtype)))
                thing = thing.detach().cpu().numpy()
            self.shown.append(("value", np.array(thing)))

    def randn(self, *shape: int, seed: int = 0) -> Any:
        """The same random numbers for both libraries."""
        values = np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)
        return self.torch.from_numpy(values).to(self.device)

    def same_weights(self, model: Any) -> Any:
        """Gives a model weights that don't depend on the library."""
        state = {name: self.randn(*p.shape, seed=k) * 0.3 if p.is_floating_point() else p for k, (name, p) in enumerate(model.state_dict().items())}
        model.load_state_dict(state)
        return model.to(self.device)


LESSONS: dict[str, Callable[[Notebook], None]] = {}


def lesson(function: Callable[[Notebook], None]) -> Callable[[Notebook], None]:
    LESSONS[function.__name__] = function
    return function


# tensors

@lesson
def making_tensors(n: Notebook) -> None:
    torch, data = n.torch, [[1, 2], [3, 4]]
    x = torch.tensor(data, device=n.device)
    n.show(x, torch.from_numpy(np.array(data)), torch.as_tensor(np.array([1.5, 2])), torch.tensor(np.array(data, dtype=np.int16)))
    n.show(torch.ones_like(x), torch.zeros_like(x, dtype=torch.float32), torch.full_like(x, 7), x.new_zeros(2), x.new_tensor([1.5]))
    n.show(torch.rand_like(x, dtype=torch.float).shape, torch.rand(2, 3).dtype, torch.randn((2, 3)).shape, torch.randint(0, 9, (4,)).dtype)
    n.show(torch.ones((2, 3)), torch.zeros(2, 3), torch.empty(5, 3).shape, torch.full((2, 2), 3.14), torch.eye(3), torch.tensor(3), torch.tensor(2.5))
    n.show(torch.arange(10), torch.arange(1, 2, 0.25), torch.linspace(0, 1, 5), torch.logspace(0, 2, 3), torch.tensor([]), torch.Tensor([1, 2]))
    n.show(torch.tensor([True, False]), torch.tensor([1 + 2j]), torch.tensor([[1.0], [1e6]]), torch.tensor([1e-8, 1.0]), torch.arange(2000.0))
    torch.manual_seed(3)
    first = torch.rand(4)
    torch.manual_seed(3)
    n.show(bool((first == torch.rand(4)).all()), sorted(torch.randperm(5).tolist()))


@lesson
def attributes(n: Notebook) -> None:
    t = n.torch.rand(3, 4, device=n.device)
    n.show(f"Shape of tensor: {t.shape}", f"Datatype of tensor: {t.dtype}", t.size(), t.size(0), t.size(-1), t.ndim, t.dim(), t.numel(), len(t))
    n.show(t.device.type == n.device, t.is_contiguous(), t.T.is_contiguous(), t.stride(), t.T.stride(), t.requires_grad, t.is_leaf, t.grad, t.grad_fn)
    n.show(n.torch.is_tensor(t), isinstance(t, n.torch.Tensor), t.element_size(), t.layout, t.is_floating_point(), type(t.shape).__name__)
    rows, columns = t.shape
    n.show(rows, columns, t.shape[0] * 2, t.shape == (3, 4), tuple(t.shape), list(t.shape), t.shape.numel(), t.nelement())


@lesson
def indexing(n: Notebook) -> None:
    torch = n.torch
    t = torch.arange(16, dtype=torch.float32, device=n.device).reshape(4, 4)
    n.show(t[0], t[:, 0], t[..., -1], t[1, 2], t[1:3, ::2], t[-1], t[:, None].shape, t[t > 9], t[[0, 2]], t[torch.tensor([0, 0, 3], device=n.device), 1])
    t[:, 1] = 0
    t[2] = torch.tensor([9.0, 8.0, 7.0, 6.0], device=n.device)
    t[t == 15] = -1
    t[0, 0] += 5
    n.show(t, t.diagonal(), torch.where(t > 5, t, torch.zeros_like(t)), t.nonzero()[:3], t.index_select(0, torch.tensor([1], device=n.device)))
    n.show(t.gather(1, torch.tensor([[0], [1], [2], [3]], device=n.device)), t.masked_fill(t < 3, 0), torch.take(t, torch.tensor([0, 5], device=n.device)))
    view = t[1]
    view.fill_(2)
    n.show(t, [row.sum().item() for row in t], t.tolist()[0])
    copy = t.clone()
    copy[0] = 0
    n.show(t[0], copy[0])


@lesson
def joining_and_shaping(n: Notebook) -> None:
    torch = n.torch
    t = torch.arange(6.0, device=n.device).view(2, 3)
    n.show(torch.cat([t, t, t], dim=1), torch.cat((t, t)), torch.stack([t, t]).shape, torch.stack((t, t), dim=-1), torch.vstack([t, t]), torch.hstack([t, t]))
    n.show(t.view(-1), t.view(3, -1), t.reshape(6, 1), t.T, t.t(), t.transpose(0, 1), t.flatten(), t.unsqueeze(0).shape, t.unsqueeze(0).squeeze(0).shape)
    x = torch.zeros(2, 1, 2, 1, 2, device=n.device)
    n.show(x.squeeze().shape, x.squeeze(1).shape, x.permute(4, 0, 1, 2, 3).shape, x.size(), t.repeat(2, 2), t.expand(2, 2, 3).shape, t.chunk(2), t.split(1))
    n.show(t.flip(0), t.roll(1, 1), torch.tril(torch.ones(3, 3)), torch.unbind(t)[1], t.movedim(0, 1).shape, t.swapaxes(0, 1).shape, torch.tile(t, (1, 2)))
    mesh = torch.meshgrid(torch.arange(2), torch.arange(3), indexing="ij")
    n.show(*mesh, torch.broadcast_to(t[0], (2, 3)), t.ravel().shape, t.narrow(1, 0, 2), t.contiguous().view(6), t.mT.contiguous().view(6))


@lesson
def arithmetic(n: Notebook) -> None:
    torch = n.torch
    t = torch.tensor([[1.0, 2.0], [3.0, 4.0]], device=n.device)
    y1, y2, y3 = t @ t.T, t.matmul(t.T), torch.empty_like(t)
    torch.matmul(t, t.T, out=y3)
    n.show(y1, y2, y3)
    z1, z2, z3 = t * t, t.mul(t), torch.empty_like(t)
    torch.mul(t, t, out=z3)
    n.show(z1, z2, z3, t + 1, 1 + t, t - 0.5, 2 / t, t / 2, t // 2, t % 2, t ** 2, 2 ** t, -t, abs(-t), t > 2, t == t.T, ~(t > 2))
    n.show(torch.add(t, t, alpha=10), torch.sub(t, 1), t.div(3), t.pow(0.5), t.sqrt(), t.clamp(2, 3), t.round(), t.sign())
    n.show(t.mm(t), torch.bmm(t[None], t[None]), t.mv(t[0]), t[0].dot(t[1]), torch.outer(t[0], t[1]), torch.einsum("ij,kj->ik", t, t), t[0] @ t)
    n.value(t.exp(), t.log(), t.sin(), t.softmax(dim=1), torch.sigmoid(t), t.tanh(), n.randn(5, 2, 3) @ n.randn(3, 4), torch.linalg.norm(t))
    n.show(t.sum(), t.sum(dim=0), t.sum(1, keepdim=True), t.mean(), t.std(), t.var(dim=1), t.prod(), t.max(), t.min(), t.argmax(), t.argmax(dim=1))
    n.show(t.cumsum(0), t.max(dim=1).values, torch.max(t, 1), t.norm(), t.any(), t.all(), t.median(), t.sort(descending=True)[0], t.topk(1), t.unique())
    n.show(torch.allclose(t, t + 1e-9), torch.equal(t, t.clone()), torch.maximum(t, t.T), t.relu())


@lesson
def single_elements_and_in_place(n: Notebook) -> None:
    t = n.torch.tensor([[1.0, 2.0], [3.0, 4.5]], device=n.device)
    total = t.sum()
    n.show(total, total.item(), type(total.item()).__name__, float(total), int(total), bool(total > 3), f"{total:.2f}", f"{t.mean().item():>8.3f}")
    t.add_(5)
    t.mul_(2).sub_(1).div_(4)
    t += 1
    t *= t
    n.show(t, t.t_(), t.copy_(t.new_ones(2, 2)), t.zero_(), t.fill_(3), t.clamp_(max=2), t.neg_(), t.squeeze_().shape)


@lesson
def bridge_with_numpy(n: Notebook) -> None:
    torch = n.torch
    t = torch.ones(5)
    a = t.numpy()
    t.add_(1)
    n.show(t, a, a.dtype)
    b = np.ones(5)
    u = torch.from_numpy(b)
    np.add(b, 1, out=b)
    u *= 3
    n.show(b, u, np.asarray(u), np.sum(u.numpy()), torch.tensor(b).dtype, torch.as_tensor(b).sum())
    moved = t.clone().to(n.device)
    moved += 1
    n.show(moved.cpu().numpy(), t, moved.detach().cpu().numpy().shape, torch.tensor([np.float32(1), np.float32(2)]), u.tolist())
    n.show(torch.utils.dlpack.from_dlpack(t) if hasattr(torch.utils, "dlpack") else t, np.from_dlpack(t))


@lesson
def dtypes_and_casting(n: Notebook) -> None:
    torch = n.torch
    t = torch.tensor([1.7, -2.5, 0.0], device=n.device)
    n.show(t.int(), t.long(), t.short(), t.bool(), t.double(), t.half(), t.type(torch.int8), str(t.bfloat16()), t.abs().byte(), t.to("cpu"))
    n.show((torch.tensor([1]) + 0.5).dtype, (torch.tensor([1]) / 2).dtype, (torch.tensor([1]) // 2).dtype, (torch.tensor([True]) + 1).dtype)
    n.show((torch.ones(2, dtype=torch.uint8) + torch.ones(2, dtype=torch.int8)).dtype, (torch.ones(2) + torch.tensor(1.0, dtype=torch.float64)).dtype)
    n.show((torch.ones(2, dtype=torch.float16) + torch.ones(2)).dtype, torch.result_type(torch.tensor([1]), 1.5))
    n.show(torch.promote_types(torch.int32, torch.float16), torch.tensor([1, 2]).dtype, torch.tensor([1.0]).dtype, torch.get_default_dtype(), torch.finfo(torch.float32).eps, torch.iinfo(torch.int8).max)
    n.show(torch.tensor([1, 2], dtype=torch.float), torch.tensor(2.0).to(torch.tensor(1)), t.type().replace("cuda.", ""), torch.is_floating_point(t), t.to(torch.complex64))
    n.show(torch.FloatTensor([1, 2]), torch.LongTensor([3]), torch.tensor([3.0]).type(torch.DoubleTensor).dtype)


@lesson
def devices(n: Notebook) -> None:
    torch = n.torch
    device = torch.device(n.device)
    t = torch.ones(2, 2).to(device)
    n.show(t.device.type == n.device, t.is_cuda == (n.device == "cuda"), t.cpu().device, t.to(device, torch.float64).dtype, torch.ones(2, device=device).sum())
    n.show(torch.device("cuda:1"), torch.device("cuda", 1).index, repr(torch.device("cuda:1")), str(torch.device("cuda")))
    n.show(type(torch.cuda.is_available()).__name__, torch.device("cpu").type, t.to("cpu").add(1), t.to(t).device == t.device)
    with torch.device(n.device):
        n.show(torch.zeros(2).device.type == n.device)


# automatic differentiation

@lesson
def gradients(n: Notebook) -> None:
    torch = n.torch
    x, y = torch.ones(5, device=n.device), torch.zeros(3, device=n.device)
    w, b = n.randn(5, 3).requires_grad_(), n.randn(3).requires_grad_(True)
    z = torch.matmul(x, w) + b
    loss = torch.nn.functional.binary_cross_entropy_with_logits(z, y)
    n.show(z.grad_fn.name(), loss.requires_grad, w.is_leaf, z.is_leaf, w.grad)
    loss.backward()
    n.value(loss, w.grad, b.grad)
    with torch.no_grad():
        n.show((torch.matmul(x, w) + b).requires_grad)
    n.show(z.detach().requires_grad, (z * 2).requires_grad, torch.is_grad_enabled(), w.grad.requires_grad)
    a = torch.tensor([2.0, 3.0], requires_grad=True, device=n.device)
    q = 3 * a ** 3
    n.show(a, q.detach(), q.sum().detach())
    q.backward(gradient=torch.tensor([1.0, 1.0], device=n.device))
    n.show(a.grad, a.grad == 9 * a ** 2)
    (a * a).sum().backward()
    n.show(a.grad)
    a.grad.zero_()
    n.show(a.grad)
    a.grad = None
    with torch.enable_grad():
        (a.exp() / a).mean().backward()
    n.value(a.grad)


@lesson
def jacobian_products(n: Notebook) -> None:
    torch = n.torch
    inp = torch.eye(4, 5, device=n.device, requires_grad=True)
    out = (inp + 1).pow(2).t()
    out.backward(torch.ones_like(out), retain_graph=True)
    n.show(f"First call\n{inp.grad}")
    out.backward(torch.ones_like(out), retain_graph=True)
    n.show(f"Second call\n{inp.grad}")
    inp.grad.zero_()
    out.backward(torch.ones_like(out))
    n.show(f"Call after zeroing gradients\n{inp.grad}")
    x = torch.tensor(3.0, requires_grad=True, device=n.device)
    first, = torch.autograd.grad(x ** 4, x, create_graph=True)
    second, = torch.autograd.grad(first, x)
    n.show(first.detach(), second, first.requires_grad)


@lesson
def graph_control(n: Notebook) -> None:
    torch = n.torch
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True, device=n.device)
    y = x * 2
    y.retain_grad()
    seen: list[Any] = []
    handle = y.register_hook(lambda g: seen.append(g.clone()) or g * 10)
    y.sum().backward()
    handle.remove()
    n.show(x.grad, y.grad, seen[0])
    frozen = torch.nn.Linear(2, 2)
    for p in frozen.parameters():
        p.requires_grad = False
    n.show([p.requires_grad for p in frozen.parameters()], frozen(torch.ones(1, 2)).requires_grad)

    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, v):
            ctx.save_for_backward(v)
            return v * 2

        @staticmethod
        def backward(ctx, g):
            v, = ctx.saved_tensors
            return g * 2 + 0 * v

    x.grad = None
    Double.apply(x).sum().backward()
    n.show(x.grad)
    with torch.inference_mode():
        n.show((x * 2).requires_grad)
    with pytest.raises(RuntimeError, match="second time"):
        loss = (x * x).sum()
        loss.backward()
        loss.backward()


@lesson
def polynomial_by_hand_and_by_autograd(n: Notebook) -> None:
    torch = n.torch
    x = torch.linspace(-3.0, 3.0, 200, device=n.device)
    y = torch.sin(x)
    weights = [torch.full((), value, device=n.device, requires_grad=True) for value in (0.1, 0.5, -0.2, 0.05)]
    for _ in range(50):
        a, b, c, d = weights
        loss = (a + b * x + c * x ** 2 + d * x ** 3 - y).pow(2).sum()
        loss.backward()
        with torch.no_grad():
            for w in weights:
                w -= 1e-5 * w.grad
                w.grad = None
    n.value(loss, *weights)
    n.show(f"Result: y = {weights[0].item():.3f} + {weights[1].item():.3f} x")


# data

@lesson
def datasets_and_loaders(n: Notebook) -> None:
    torch = n.torch
    from_data = torch.utils.data

    class Squares(from_data.Dataset):
        def __init__(self, count, transform=None, target_transform=None):
            self.numbers, self.transform, self.target_transform = np.arange(count, dtype=np.float32), transform, target_transform

        def __len__(self):
            return len(self.numbers)

        def __getitem__(self, index):
            x, y = self.numbers[index], int(self.numbers[index]) % 3
            return (self.transform(x) if self.transform else x), (self.target_transform(y) if self.target_transform else y)

    plain = Squares(10)
    changed = Squares(10, transform=lambda x: torch.tensor([x, x * x]),
                      target_transform=lambda y: torch.zeros(3).scatter_(0, torch.tensor(y), value=1))
    n.show(len(changed), changed[3], plain[2])
    for x, y in from_data.DataLoader(changed, batch_size=4):
        n.show(x, y, x.shape)
    x, y = next(iter(from_data.DataLoader(plain, batch_size=3)))
    n.show(x, y, x.dtype, y.dtype, len(from_data.DataLoader(plain, batch_size=3)), len(from_data.DataLoader(plain, batch_size=3, drop_last=True)))
    shuffled = from_data.DataLoader(plain, batch_size=4, shuffle=True)
    n.show(sorted(v for x, _ in shuffled for v in x.tolist()), len(shuffled.dataset))
    pairs = from_data.TensorDataset(torch.arange(6.0).view(3, 2), torch.tensor([0, 1, 0]))
    train, test = from_data.random_split(pairs, [2, 1])
    n.show(pairs[1], len(train), len(test), list(from_data.DataLoader(pairs, batch_size=2))[1], from_data.Subset(pairs, [2])[0])
    n.show(next(iter(from_data.DataLoader([{"a": 1, "b": "x"}, {"a": 2, "b": "y"}], batch_size=2))))


# models

def network(n: Notebook) -> Any:
    nn = n.torch.nn

    class NeuralNetwork(nn.Module):
        def __init__(self):
            super().__init__()
            self.flatten = nn.Flatten()
            self.linear_relu_stack = nn.Sequential(nn.Linear(4 * 4, 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 3))

        def forward(self, x):
            return self.linear_relu_stack(self.flatten(x))

    return n.same_weights(NeuralNetwork())


@lesson
def modules(n: Notebook) -> None:
    nn = n.torch.nn
    model = network(n)
    n.show(model, f"Model structure: {model}\n")
    for name, parameter in model.named_parameters():
        n.show(f"Layer: {name} | Size: {parameter.size()}")
        n.value(parameter[:2])
    x = n.randn(3, 4, 4)
    logits = model(x)
    probabilities = nn.Softmax(dim=1)(logits)
    n.value(logits, probabilities, probabilities.sum())
    n.show(probabilities.argmax(1), [name for name, _ in model.named_children()], list(model.state_dict()), sum(p.numel() for p in model.parameters()))
    flat = nn.Flatten()(x)
    hidden = nn.Linear(16, 20).to(n.device)(flat)
    n.show(flat.size(), hidden.size(), (nn.ReLU()(hidden) >= 0).all(), model.training, model.eval().training, model.train().training)
    model.zero_grad()
    n.show(model.linear_relu_stack[0], model.linear_relu_stack[1:3], next(model.parameters()).requires_grad, nn.Dropout(0.25), nn.ModuleList([nn.ReLU()]))
    n.show(type(next(model.parameters())).__name__, nn.Linear(2, 1, bias=False).bias, nn.Identity()(x) is x)


@lesson
def convolutional_network(n: Notebook) -> None:
    torch, nn, functional = n.torch, n.torch.nn, n.torch.nn.functional

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.conv2, self.norm = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5, padding=2), nn.BatchNorm2d(6)
            self.pool, self.drop = nn.MaxPool2d(2, 2), nn.Dropout(0.5)
            self.fc1, self.fc2 = nn.Linear(16 * 3 * 3, 24), nn.Linear(24, 10)

        def forward(self, x):
            x = self.pool(functional.relu(self.norm(self.conv1(x))))
            x = functional.max_pool2d(functional.relu(self.conv2(x)), 2)
            x = functional.relu(self.fc1(torch.flatten(x, 1)))
            return functional.log_softmax(self.fc2(self.drop(x)), dim=1)

    net = n.same_weights(Net())
    net.eval()
    n.show(net)
    with torch.no_grad():
        net.norm.running_var.fill_(1.5)
    x = n.randn(2, 1, 16, 16)
    out = net(x)
    loss = functional.nll_loss(out, torch.tensor([3, 7], device=n.device))
    net.zero_grad()
    loss.backward()
    n.value(out, loss, net.conv1.bias.grad, net.conv2.weight.grad, net.norm.weight.grad, net.fc1.weight.grad)
    n.show(len(list(net.parameters())), net.conv1.weight.size(), loss.grad_fn is not None)


@lesson
def losses(n: Notebook) -> None:
    torch, nn = n.torch, n.torch.nn
    x, y = n.randn(4, 3).requires_grad_(), n.randn(4, 3, seed=5)
    classes = torch.tensor([0, 2, 1, 1], device=n.device)
    for loss in (nn.MSELoss(), nn.L1Loss(), nn.SmoothL1Loss(), nn.HuberLoss(delta=0.5), nn.BCEWithLogitsLoss(), nn.KLDivLoss(reduction="batchmean")):
        x.grad = None
        value = loss(x, y.softmax(1))
        value.backward()
        n.value(value, x.grad)
        n.show(loss)
    for loss in (nn.CrossEntropyLoss(), nn.CrossEntropyLoss(label_smoothing=0.1), nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2, 3], device=n.device))):
        x.grad = None
        value = loss(x, classes)
        value.backward()
        n.value(value, x.grad)
    n.value(nn.NLLLoss()(nn.LogSoftmax(dim=1)(x), classes), nn.BCELoss()(torch.sigmoid(x), y.sigmoid()), nn.functional.cross_entropy(x, y.softmax(1)))


# training

OPTIMIZERS = {"SGD": dict(lr=0.05), "SGD momentum": dict(lr=0.05, momentum=0.9, weight_decay=1e-3), "SGD nesterov": dict(lr=0.05, momentum=0.9, nesterov=True),
              "Adam": dict(lr=1e-2), "AdamW": dict(lr=1e-2), "RMSprop": dict(lr=1e-3), "Adagrad": dict(lr=1e-2)}


def batches(n: Notebook) -> Any:
    data = n.torch.utils.data.TensorDataset(n.randn(40, 4, 4), (n.randn(40, 4, 4).sum((1, 2)) > 0).long())
    return n.torch.utils.data.DataLoader(data, batch_size=10)


def train_loop(n: Notebook, loader: Any, model: Any, loss_fn: Any, optimizer: Any) -> None:
    model.train()
    for batch, (x, y) in enumerate(loader):
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if batch % 2 == 0:
            n.value(loss.item())
            n.show(f"[{batch * len(x):>5d}/{len(loader.dataset):>5d}]")


def evaluate(n: Notebook, loader: Any, model: Any, loss_fn: Any) -> float:
    model.eval()
    test_loss, correct = 0.0, 0.0
    with n.torch.no_grad():
        for x, y in loader:
            prediction = model(x)
            test_loss += loss_fn(prediction, y).item()
            correct += (prediction.argmax(1) == y).type(n.torch.float).sum().item()
    n.show(f"Accuracy: {100 * correct / len(loader.dataset):>0.1f}%")
    n.value(test_loss / len(loader))
    return test_loss


@lesson
def training(n: Notebook) -> None:
    for name, options in OPTIMIZERS.items():
        model, loss_fn = network(n), n.torch.nn.CrossEntropyLoss()
        optimizer = getattr(n.torch.optim, name.split()[0])(model.parameters(), **options)
        for epoch in range(2):
            n.show(f"Epoch {epoch + 1}\n-------------------------------")
            train_loop(n, batches(n), model, loss_fn, optimizer)
        evaluate(n, batches(n), model, loss_fn)
        n.value(*model.parameters())


@lesson
def learning_rates(n: Notebook) -> None:
    torch = n.torch
    schedulers = torch.optim.lr_scheduler
    for make in (lambda o: schedulers.StepLR(o, step_size=2, gamma=0.1), lambda o: schedulers.ExponentialLR(o, gamma=0.9),
                 lambda o: schedulers.CosineAnnealingLR(o, T_max=5), lambda o: schedulers.MultiStepLR(o, [1, 3]),
                 lambda o: schedulers.LambdaLR(o, lambda e: 0.95 ** e), lambda o: schedulers.OneCycleLR(o, max_lr=1.0, total_steps=8)):
        model = network(n)
        stack = model.linear_relu_stack
        optimizer = torch.optim.SGD([{"params": stack[0].parameters(), "lr": 0.5}, {"params": stack[2].parameters()}], lr=0.1)
        scheduler = make(optimizer)
        for _ in range(6):
            model(n.randn(2, 4, 4)).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
            scheduler.step()
            n.value(scheduler.get_last_lr(), [g["lr"] for g in optimizer.param_groups])
    plateau = schedulers.ReduceLROnPlateau(optimizer, patience=1)
    for loss in (1.0, 0.5, 0.6, 0.7, 0.8):
        plateau.step(loss)
        n.value(optimizer.param_groups[0]["lr"])


# saving

@lesson
def saving_weights_and_checkpoints(n: Notebook) -> None:
    torch = n.torch
    model, loss_fn, file = network(n), torch.nn.CrossEntropyLoss(), n.folder / "checkpoint.pt"
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    train_loop(n, batches(n), model, loss_fn, optimizer)
    torch.save(model.state_dict(), n.folder / "weights.pt")
    torch.save({"epoch": 1, "model_state_dict": model.state_dict(), "optimizer_state_dict": optimizer.state_dict(), "loss": 0.25}, file)
    train_loop(n, batches(n), model, loss_fn, optimizer)
    fresh = type(model)().to(n.device)
    n.show(fresh.load_state_dict(torch.load(n.folder / "weights.pt", weights_only=True)))
    n.value(*fresh.state_dict().values())
    again = torch.optim.Adam(fresh.parameters(), lr=1.0)
    checkpoint = torch.load(file, map_location=n.device)
    fresh.load_state_dict(checkpoint["model_state_dict"])
    again.load_state_dict(checkpoint["optimizer_state_dict"])
    n.show(sorted(checkpoint), checkpoint["epoch"], checkpoint["loss"], again.param_groups[0]["lr"])
    train_loop(n, batches(n), fresh, loss_fn, again)
    n.value(*fresh.parameters())
    n.value(*model.parameters())
    with pytest.raises(RuntimeError, match=r"Missing key\(s\) in state_dict"):
        fresh.load_state_dict({})
    torch.save([torch.arange(3), {"names": ["a", "b"]}, 1.5], n.folder / "mixed.pt")
    n.show(torch.load(n.folder / "mixed.pt"))


# the comparison

def run(name: str, torch: Any, device: str, folder: Path) -> list[tuple[str, Any]]:
    folder.mkdir()
    notebook = Notebook(torch, device, folder)
    LESSONS[name](notebook)
    return notebook.shown


@pytest.mark.parametrize("where", ["cpu", "cuda"])
@pytest.mark.parametrize("name", LESSONS)
def test_lesson(name: str, where: str, tmp_path: Path) -> None:
    wanted, got = run(name, oracle, "cpu", tmp_path / "theirs"), run(name, cltorch, where, tmp_path / "ours")
    assert [kind for kind, _ in got] == [kind for kind, _ in wanted]
    for k, ((kind, mine), (_, theirs)) in enumerate(zip(got, wanted, strict=True)):
        if kind == "value":
            np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5, err_msg=f"thing {k} that was shown, after {wanted[max(k - 2, 0):k]}")
        else:
            assert mine == theirs, f"thing {k} that was shown"


SCRIPT = """
import sys
import {library} as torch
nn = torch.nn
torch.manual_seed({seed})

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.embed = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Embedding(5, 6)
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(4 * 6 * 6, 6), nn.LayerNorm(6), nn.GELU())
        self.head = nn.Linear(6, 3)

    def forward(self, x, k):
        return self.head(self.body(torch.relu(self.norm(self.conv(x)))) + self.embed(k))

def step(net, optimizer, x, k):
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(net(x, k), torch.arange(4, device=x.device) % 3)
    loss.backward()
    optimizer.step()
    return loss.item()

net = Net().to("{device}")
optimizer = torch.optim.{optimizer}(net.parameters(), **{options})
"""
WRITE = """
x, k = torch.randn(4, 1, 6, 6).to("{device}"), torch.arange(4).to("{device}")
for _ in range(3):
    loss = step(net, optimizer, x, k)
saved = dict(epoch=3, loss=loss, model_state_dict=net.state_dict(), optimizer_state_dict=optimizer.state_dict(), x=x, k=k)
torch.save(saved, sys.argv[1])
net.eval()
with torch.no_grad():
    outputs = net(x, k).cpu()
net.train()
losses = [step(net, optimizer, x, k) for _ in range(3)]
torch.save(dict(outputs=outputs, losses=losses, weights=[p.detach().cpu() for p in net.parameters()]), sys.argv[2])
"""
READ = """
saved, wanted = torch.load(sys.argv[1], map_location="{device}"), torch.load(sys.argv[2])
net.load_state_dict(saved["model_state_dict"])
optimizer.load_state_dict(saved["optimizer_state_dict"])
net.eval()
with torch.no_grad():
    worst = (net(saved["x"], saved["k"]).cpu() - wanted["outputs"]).abs().max().item()
assert worst <= 1e-5, worst
net.train()
losses = [step(net, optimizer, saved["x"], saved["k"]) for _ in range(3)]
assert saved["epoch"] == 3 and max(abs(a - b) for a, b in zip(losses, wanted["losses"])) <= 1e-4, (losses, wanted["losses"])
print("worst", worst, "weights", max((p.detach().cpu() - w).abs().max().item() for p, w in zip(net.parameters(), wanted["weights"])))
"""


@pytest.mark.parametrize("optimizer, options", [("SGD", dict(lr=0.1, momentum=0.9)), ("Adam", dict(lr=1e-3))], ids=["SGD", "Adam"])
@pytest.mark.parametrize("writer, reader", [("cltorch", "torch"), ("torch", "cltorch")])
def test_a_checkpoint_continues_in_the_other_library(writer: str, reader: str, optimizer: str, options: dict, tmp_path: Path) -> None:
    """Two processes: one trains and saves, the other loads, gives the same outputs to 1e-5 and trains on alike."""
    for k, (library, task) in enumerate([(writer, WRITE), (reader, READ)]):
        code = (SCRIPT + task).format(library=library, seed=k, optimizer=optimizer, options=options, device="cuda" if library == "cltorch" else "cpu")
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "model.pt"), str(tmp_path / "results.pt")], cwd=ROOT, capture_output=True,
                              text=True, check=False, timeout=200)
        assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("worst")
