"""What a benchmark case is: inputs, a call in PyTorch's API, and how its time is taken."""
from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from math import prod
from typing import Any, NamedTuple

BYTES = {"float64": 8, "int64": 8, "float32": 4, "float16": 2, "bfloat16": 2}


class Mode(Enum):
    """When a call's result is computed, and whether the clock stops before or after the device has finished."""

    THROUGHPUT = "each result launched; the clock stops when the device has finished them all"
    LAUNCH = "each result launched; the clock stops before the device has finished: the host's share"
    RECORD = "nothing launched: the host's cost of a pointwise call whose result nobody asked for yet"
    ROUND_TRIP = "each result launched and waited for"
    STEPS = "training steps: only the last one's loss and parameters are asked for, then waited for"
    START = "a process of its own, which says how long its first training step took"


class Input(NamedTuple):
    """A seeded operand: normal numbers, or with ``below`` integers in [0, below)."""

    shape: tuple[int, ...]
    dtype: str = "float32"
    below: int = 0
    grad: bool = False

    @property
    def nbytes(self) -> int:
        return BYTES[self.dtype] * prod(self.shape)


class Case(NamedTuple):
    """``call(library, *inputs)`` is in PyTorch's API; ``numpy`` and ``tinygrad`` are the same in theirs, None where they have no such operator.

    ``moved`` is the bytes that one call must read and write at least, ``written`` those of them that it writes, ``flops`` its floating-point
    operations; 0 where that says little. ``build(library, place)`` makes the call of a training case instead, which returns (loss, *parameters), and
    ``own(device)`` that of a case which only OpenCL devices have. ``goal`` is the ratio of a rival's time over ours that we want to reach, ``limit``
    the seconds that we want to stay below; 0 where there is none; ``tried`` says what was tried for rows of its kind. ``drawn``: the result is random.
    ``part``: the case of the suite limits that is a part of this one, timed by itself.
    """

    suite: str
    name: str
    call: Callable[..., Any] | None = None
    inputs: tuple[Input, ...] = ()
    moved: float = 0.0
    flops: float = 0.0
    dtype: str = "float32"
    mode: Mode = Mode.THROUGHPUT
    numpy: Callable[..., Any] | None = None
    tinygrad: Callable[..., Any] | None = None
    build: Callable[[Any, Any], Callable[[], Any]] | None = None
    goal: float = 0.0
    limit: float = 0.0
    tried: str = ""
    drawn: bool = False
    written: float = 0.0
    own: Callable[[Any], Callable[[], Any]] | None = None
    part: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        return self.suite, self.name, self.dtype


class Scale(NamedTuple):
    """How large the cases of a run are. ``elements`` counts those of a memory-bound operand, ``width`` the columns of its 2-d views."""

    elements: int
    width: int
    gemm: dict[str, tuple[int, ...]]  # dtype -> sizes of the square products
    bmm: tuple[tuple[int, int, int, int], ...]  # (batch, m, k, n)
    image: tuple[int, int, int]  # batch, channels, side
    attention: tuple[int, int, int, int]  # batch, heads, length, width of a head
    shrink: int  # training: 1 is the model as described, more divides widths and batches


FULL = Scale(1 << 24, 4096,
             {"float32": (64, 128, 256, 512, 1024, 2048, 4096), "float16": (256, 1024, 2048), "bfloat16": (256, 1024, 2048), "float64": (256, 1024, 2048)},
             ((64, 128, 128, 128), (256, 64, 64, 64), (8, 512, 512, 512), (512, 1, 128, 128)), (16, 64, 32), (4, 8, 512, 64), 1)
QUICK = Scale(1 << 22, 1024, {"float32": (64, 256, 768), "float16": (512,)}, ((64, 64, 64, 64),), (8, 32, 16), (2, 4, 128, 32), 1)
TINY = Scale(1 << 10, 32, {"float32": (8,), "float16": (8,), "float64": (8,)}, ((2, 3, 4, 5),), (1, 2, 6), (1, 2, 8, 4), 16)
SCALES = {"full": FULL, "quick": QUICK, "tiny": TINY}
