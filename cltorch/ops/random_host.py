"""The same random numbers through NumPy, for a "cpu" on a machine without OpenCL: integers, masks and uniform numbers bit for bit, others closely."""
from __future__ import annotations

import numpy as np

from ..dtype import dtype, float64

REAL_KINDS = ("uniform", "normal", "exponential")
_KEEP = {"float16": 0xFFE00000, "bfloat16": 0xFF000000}


def words(seed: int, offset: int, blocks: int) -> np.ndarray:
    """Blocks offset, offset + 1, ... of Philox4x32-10: (blocks, 4) uint32, as ``philox_at(seed, 0, offset + i)`` gives them."""
    low = np.uint64(0xFFFFFFFF)
    counter = np.arange(blocks, dtype=np.uint64) + np.uint64(offset)
    a, b, c, d = counter & low, counter >> np.uint64(32), np.zeros_like(counter), np.zeros_like(counter)
    k, m = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(10):
        p, q = a * np.uint64(0xD2511F53), c * np.uint64(0xCD9E8D57)
        a, b, c, d = (q >> np.uint64(32)) ^ b ^ np.uint64(k), q & low, (p >> np.uint64(32)) ^ d ^ np.uint64(m), p & low
        k, m = (k + 0x9E3779B9) & 0xFFFFFFFF, (m + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack([a, b, c, d], 1).astype(np.uint32)


def _unit(w: np.ndarray, d: dtype) -> np.ndarray:
    """Uniform numbers in [0, 1)."""
    if d is float64:
        pairs = w.reshape(-1, 2).astype(np.uint64)
        return (((pairs[:, 0] << np.uint64(32)) | pairs[:, 1]) >> np.uint64(11)).astype(np.float64) * 2.0 ** -53
    kept = w.reshape(-1) & np.uint32(_KEEP.get(d.name, 0xFFFFFFFF))
    return (kept >> np.uint32(8)).astype(np.float32) * np.float32(2.0 ** -24)


def _exponential(w: np.ndarray, d: dtype) -> np.ndarray:
    flat = w.reshape(-1, 2).astype(np.float64) if d is float64 else w.reshape(-1).astype(np.float64)
    u = flat[:, 0] * 2.0 ** -32 + flat[:, 1] * 2.0 ** -64 + 2.0 ** -65 if d is float64 else flat * 2.0 ** -32 + 2.0 ** -33
    return -np.log(u)


def _normal(w: np.ndarray, d: dtype) -> np.ndarray:
    parts = w.reshape(-1, 4) if d is float64 else w.reshape(-1, 2)
    first, turn = (parts[:, :2], parts[:, 2]) if d is float64 else (parts[:, 0], parts[:, 1])
    radius, angle = np.sqrt(2 * _exponential(first, d)), turn.astype(np.float64) * (2 * np.pi / 2 ** 32)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).reshape(-1)


def host_draw(kind: str, n: int, d: dtype, seed: int, offset: int, a: float, b: float) -> np.ndarray:
    """n numbers of a kind, as ops/random.py's ``draw`` names them; "long" is "integer" from 64 bits."""
    per = 2 if kind == "long" or (d is float64 and kind in REAL_KINDS) else 4
    w = words(seed, offset, -(-n // per))
    if kind == "uniform":
        unit = _unit(w, d)
        return (unit.dtype.type(a) + unit * unit.dtype.type(b - a))[:n]
    if kind == "normal":
        return (a + _normal(w, d) * b)[:n]
    if kind == "exponential":
        return (_exponential(w, d) / a)[:n]
    if kind == "bernoulli":
        return w.reshape(-1)[:n].astype(np.uint64) < np.uint64(round(a * 4294967296.0))
    if kind == "integer":
        return ((w.reshape(-1)[:n].astype(np.uint64) * np.uint64(b)) >> np.uint64(32)).astype(np.int64) + int(a)
    pairs = w.reshape(-1, 2)[:n].astype(np.uint64)
    whole = (pairs[:, 0] << np.uint64(32)) | pairs[:, 1]
    return (whole % np.uint64(b) if b else whole).astype(np.int64) + int(a)
