"""The suite train: whole steps (zero_grad, forward, backward, optimizer) of four small models on synthetic data, in PyTorch's API."""
from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from . import arithmetic
from .case import Case, Mode, Scale

CLASSES, VOCABULARY = 10, 64


def train(scale: Scale) -> list[Case]:
    """Steps of four models as PyTorch's users write them."""
    k = scale.shrink
    return [case(name, build, k) for name, build in (
        (f"MLP 784-512-512-10, batch {64 // k}, SGD", mlp), (f"CNN 28x28, batch {max(2, 32 // k)}, Adam", cnn),
        (f"ResNet 32x32, batch {max(2, 16 // k)}, SGD", resnet), (f"GPT 4x128, context {64 // k}, batch {max(2, 8 // k)}, AdamW", gpt))]


def case(name: str, build: Callable[[Any, Any, int], Callable[[], Any]], k: int) -> Case:
    return Case("train", name, mode=Mode.STEPS, build=lambda t, place: build(t, place, k))


def images(t: Any, place: Any, *shape: int) -> tuple[Any, Any]:
    """A batch of normal numbers and class labels; one seed, the same for every library."""
    numbers = np.random.default_rng(0)
    x = numbers.standard_normal(shape, np.float32)
    return t.tensor(x, device=place), t.tensor(numbers.integers(0, CLASSES, shape[0]), device=place)


def stepper(t: Any, model: Any, optimizer: Any, loss_of: Callable[[], Any]) -> Callable[[], Any]:
    """A training step that returns the loss and the parameters, so that the caller can wait for them."""
    parameters = list(model.parameters())

    def step() -> tuple[Any, ...]:
        optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        optimizer.step()
        return loss.detach(), *parameters

    return step


def classify(t: Any, model: Any, optimizer: Any, x: Any, y: Any) -> Callable[[], Any]:
    return stepper(t, model, optimizer, lambda: t.nn.functional.cross_entropy(model(x), y))


def mlp(t: Any, place: Any, k: int) -> Callable[[], Any]:
    return dense(t, place, 64 // k, 784, 512 // k, 512 // k)


def dense(t: Any, place: Any, batch: int, *widths: int) -> Callable[[], Any]:
    """A network of these layers and ten classes, trained with SGD."""
    nn, layers = t.nn, []
    for narrow, wide in itertools.pairwise(widths):
        layers += [nn.Linear(narrow, wide), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(widths[-1], CLASSES)).to(place)
    return classify(t, model, t.optim.SGD(model.parameters(), lr=0.01, momentum=0.9), *images(t, place, batch, widths[0]))


def mlp_flops(k: int) -> float:
    return dense_flops(64 // k, 784, 512 // k, 512 // k)


def dense_flops(batch: int, *widths: int) -> float:
    return arithmetic.step([(batch, narrow, wide) for narrow, wide in itertools.pairwise((*widths, CLASSES))])


def cnn(t: Any, place: Any, k: int) -> Callable[[], Any]:
    nn, wide = t.nn, 32 // k
    model = nn.Sequential(nn.Conv2d(1, wide, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(wide, 2 * wide, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                          nn.Flatten(), nn.Linear(2 * wide * 49, 128 // k), nn.ReLU(), nn.Linear(128 // k, CLASSES)).to(place)
    return classify(t, model, t.optim.Adam(model.parameters(), lr=1e-3), *images(t, place, max(2, 32 // k), 1, 28, 28))


def cnn_flops(k: int) -> float:
    batch, wide = max(2, 32 // k), 32 // k
    return arithmetic.step([(batch * 784, 9, wide), (batch * 196, 9 * wide, 2 * wide), (batch, 2 * wide * 49, 128 // k), (batch, 128 // k, CLASSES)])


def residual(t: Any, narrow: int, wide: int, stride: int) -> Any:
    """Two 3x3 convolutions around a shortcut (He et al. 2016)."""
    nn = t.nn

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(narrow, wide, 3, stride, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU(),
                                      nn.Conv2d(wide, wide, 3, 1, 1, bias=False), nn.BatchNorm2d(wide))
            self.shortcut = nn.Identity() if narrow == wide else nn.Sequential(nn.Conv2d(narrow, wide, 1, stride, bias=False), nn.BatchNorm2d(wide))

        def forward(self, x: Any) -> Any:
            return t.nn.functional.relu(self.body(x) + self.shortcut(x))

    return Residual()


def resnet(t: Any, place: Any, k: int) -> Callable[[], Any]:
    """Three stages of one block, 16 to 64 channels, as for CIFAR."""
    nn, wide = t.nn, 16 // min(k, 4)
    stages = [residual(t, wide, wide, 1), residual(t, wide, 2 * wide, 2), residual(t, 2 * wide, 4 * wide, 2)]
    model = nn.Sequential(nn.Conv2d(3, wide, 3, 1, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU(), *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                          nn.Linear(4 * wide, CLASSES)).to(place)
    side = 32 if k == 1 else 8
    return classify(t, model, t.optim.SGD(model.parameters(), lr=0.01, momentum=0.9), *images(t, place, max(2, 16 // k), 3, side, side))


def resnet_flops(k: int) -> float:
    batch, wide, pixels = max(2, 16 // k), 16 // min(k, 4), (32 if k == 1 else 8) ** 2
    products = [(batch * pixels, 27, wide), (batch * pixels, 9 * wide, wide), (batch * pixels, 9 * wide, wide)]
    for narrow, size in ((wide, pixels // 4), (2 * wide, pixels // 16)):
        products += [(batch * size, 9 * narrow, 2 * narrow), (batch * size, 18 * narrow, 2 * narrow), (batch * size, narrow, 2 * narrow)]
    return arithmetic.step([*products, (batch, 4 * wide, CLASSES)])


def transformer_block(t: Any, width: int, heads: int) -> Any:
    nn, functional = t.nn, t.nn.functional

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

        def forward(self, x: Any) -> Any:
            batch, length, _ = x.shape
            q, k, v = (part.view(batch, length, heads, -1).transpose(1, 2) for part in self.qkv(self.norm1(x)).chunk(3, dim=2))
            seen = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(seen.transpose(1, 2).reshape(batch, length, width))
            return x + self.mlp(self.norm2(x))

    return Block()


def gpt(t: Any, place: Any, k: int) -> Callable[[], Any]:
    """A decoder of four layers, 128 wide, over 64 characters of context."""
    nn, width, context, batch = t.nn, 128 // k, 64 // k, max(2, 8 // k)
    ids = t.tensor(np.random.default_rng(0).integers(0, VOCABULARY, (batch, context + 1)), device=place)
    token, position = nn.Embedding(VOCABULARY, width), nn.Embedding(context, width)
    body = nn.Sequential(*(transformer_block(t, width, 4) for _ in range(4)), nn.LayerNorm(width), nn.Linear(width, VOCABULARY, bias=False))
    model = nn.ModuleList([token, position, body]).to(place)
    x, y, places = ids[:, :-1], ids[:, 1:].reshape(-1), t.arange(context, device=place)
    optimizer = t.optim.AdamW(model.parameters(), lr=1e-3)
    return stepper(t, model, optimizer, lambda: t.nn.functional.cross_entropy(body(token(x) + position(places)).flatten(0, 1), y))


def gpt_products(k: int) -> list[arithmetic.Product]:
    """Of its layers' forward pass: those for q, k and v, the one behind attention, the two of the MLP, and the one to the vocabulary."""
    width, rows = 128 // k, max(2, 8 // k) * (64 // k)
    return [*[(rows, width, 3 * width), (rows, width, width), (rows, width, 4 * width), (rows, 4 * width, width)] * 4, (rows, width, VOCABULARY)]


def gpt_flops(k: int) -> float:
    return arithmetic.step(gpt_products(k), more=4 * arithmetic.attention(max(2, 8 // k), 64 // k, 128 // k), input_grad=True)
