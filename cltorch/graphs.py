"""CUDA graphs' names over recorded OpenCL launches. Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs"""
from __future__ import annotations

from typing import Any

from .core.capture import Capture, is_capturing
from .runtime.allocator import Pool
from .runtime.device import resolve

__all__ = ["CUDAGraph", "graph", "graph_pool_handle", "is_current_stream_capturing"]


def graph_pool_handle() -> Any:
    """Memory that several graphs may share, where they are replayed in the order of their capture."""
    return Pool()


def is_current_stream_capturing() -> bool:
    """Whether a graph is being captured."""
    return is_capturing()


class CUDAGraph:
    """The recorded work of one device. ``with cuda.graph(g): ...`` records, ``g.replay()`` runs it again with the tensors' content of then.

    While it is captured, work is not run: results have no content before the first replay, and nothing can be read (RuntimeError). Run the
    work once before, so that optimizers have their state. A replay continues the random streams, takes learning rates and counts steps as
    eager code does; other Python numbers keep their value. Tensors that were there before the capture are read and written as they are at the
    replay, which raises RuntimeError where one is gone. Source: torch.cuda.CUDAGraph. Differs: optimizers need no ``capturable``; copies from
    host memory are captured with their content.
    """

    def __init__(self, keep_graph: bool = False, device: Any = None) -> None:
        self._device, self._capture, self._ready = device, None, False

    def capture_begin(self, pool: Any = None, capture_error_mode: str = "global") -> None:
        """Record from now on. RuntimeError where this graph or another one is being captured, or this one holds work."""
        if self._capture is not None:
            raise RuntimeError("this graph holds captured work already: reset() it, or make another one")
        capture = Capture(resolve(self._device), pool)
        capture.begin()
        self._capture = capture

    def capture_end(self) -> None:
        """End the recording. RuntimeError where none is in progress, or it holds what can't be replayed."""
        if self._capture is None or self._ready:
            raise RuntimeError("capture_end() without capture_begin()")
        try:
            self._capture.end()
        except BaseException:
            self._capture = None
            raise
        self._ready = True

    def abandon(self) -> None:
        """End the recording and forget it: tensors have their content of before again."""
        if self._capture is not None and not self._ready:
            self._capture.abort()
            self._capture = None

    def replay(self) -> None:
        """Run the recorded work on the current stream. Doesn't wait."""
        if not self._ready:
            raise RuntimeError("the graph holds no captured work: capture it with cuda.graph(...) first")
        self._capture.replay()

    def reset(self) -> None:
        """Forget the recorded work and give its memory back."""
        self.abandon()
        self._capture, self._ready = None, False

    def pool(self) -> Any:
        """The memory that this graph's results live in, for another graph's capture."""
        if self._capture is None:
            raise RuntimeError("the graph has no memory before its capture")
        return self._capture.pool


class graph:  # noqa: N801 - PyTorch's name
    """``with cuda.graph(g):`` records the block into ``g``. An exception in the block ends the capture and undoes what it changed."""

    def __init__(self, cuda_graph: CUDAGraph, pool: Any = None, stream: Any = None, capture_error_mode: str = "global") -> None:
        self._graph, self._pool = cuda_graph, pool

    def __enter__(self) -> None:
        self._graph.capture_begin(self._pool)

    def __exit__(self, kind: Any, *_: object) -> None:
        if kind is None:
            self._graph.capture_end()
        else:
            self._graph.abandon()
