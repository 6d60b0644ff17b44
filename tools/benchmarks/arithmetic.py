"""How many floating-point operations cases need at least: products, convolutions and attention; what is done once for each element isn't counted."""
from __future__ import annotations

from collections.abc import Sequence
from math import prod

Product = tuple[int, int, int]  # (m, k, n)


def product(*sizes: float) -> float:
    """Of (batch, m, k, n), or (m, k, n)."""
    return 2.0 * prod(sizes)


def attention(batch: float, length: int, width: int) -> float:
    """Causal: a query meets its own key and those before it, once for its score and once for its value."""
    return 4.0 * batch * width * length * (length + 1) / 2


def step(products: Sequence[Product], more: float = 0.0, input_grad: bool = False) -> float:
    """Of a training step: a product's gradients are two products like it; the first one's input has none unless ``input_grad``.
    ``more``: what else the forward pass computes."""
    forward = [product(*sizes) for sizes in products]
    return 3 * (sum(forward) + more) - (0 if input_grad else forward[0])
