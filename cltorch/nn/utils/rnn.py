"""Helpers for sequences of different lengths."""
from __future__ import annotations

from collections.abc import Iterable

from ...core.tensor import Tensor
from ...ops import registry

_functions = registry.functions("torch")
full, stack = _functions["full"], _functions["stack"]


def pad_sequence(sequences: Tensor | Iterable[Tensor], batch_first: bool = False, padding_value: float = 0.0,
                 padding_side: str = "right") -> Tensor:
    """Sequences (L_i, *) as one tensor (L, N, *), or (N, L, *) with ``batch_first``; short ones are filled up on ``padding_side``.

    RuntimeError where the other dimensions differ; ValueError for an unknown side.
    """
    if padding_side not in ("right", "left"):
        raise ValueError(f'padding_side should be either "right" or "left", but got {padding_side!r}')
    if not isinstance(sequences, Iterable):
        raise RuntimeError(f"pad_sequence: Expected iterable for input sequences, but got arg of type: {type(sequences)}")
    listed = list(sequences)
    longest = max(s.shape[0] for s in listed)
    padded = []
    for s in listed:
        row = full((longest, *listed[0].shape[1:]), padding_value, dtype=listed[0].dtype, device=listed[0].device)
        where = slice(0, s.shape[0]) if padding_side == "right" else slice(longest - s.shape[0], longest)
        row[where] = s
        padded.append(row)
    return stack(padded, 0 if batch_first else 1)


def unpad_sequence(padded_sequences: Tensor, lengths: Tensor, batch_first: bool = False) -> list[Tensor]:
    """The sequences that ``pad_sequence`` padded on the right."""
    rows = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    return [row[:int(n)] for row, n in zip(rows, lengths.tolist(), strict=True)]
