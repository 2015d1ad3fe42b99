"""TurboQuant's parts: codebooks, rotations and the quantisers of whole vectors (arXiv 2504.19874)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectralkv import _core


def _rows(x: ArrayLike) -> NDArray[np.float32]:
    array = np.ascontiguousarray(x, dtype=np.float32)
    if array.ndim != 2:
        raise ValueError(f"[quant] the vectors must be [n, d], not of {array.ndim} dimensions")
    return array


def lloyd_max(d: int, bits: int) -> tuple[NDArray[np.float32], float]:
    """Levels, float32 [2^bits] ascending, and distortion of the codebook for a coordinate of a random unit vector of d
    dimensions; d = 0: for a standard normal number. ValueError for d or bits (1 to 8) out of range."""
    return _core.lloyd_max(d, bits)


def rotation(kind: str, d: int, seed: int = 0) -> NDArray[np.float32]:
    """An orthogonal matrix Pi, float32 [d, d]: y = Pi x. kind: "haar", or "hadamard" for d a power of two; ValueError
    otherwise. The same numbers on every machine."""
    return _core.rotation(kind, d, seed)


def turboquant(
    x: ArrayLike, bits: int, rotation: str = "haar", seed: int = 0, scale: str = "norm"
) -> NDArray[np.float32]:
    """What the mean-square quantiser makes of vectors [n, d], in their own unit. scale: "norm" (the paper's),
    "least_squares", "unbiased" or "length" (decoded rows as long as x). ValueError for NaN, infinity and arguments out
    of range."""
    return _core.turboquant(_rows(x), bits, rotation, seed, scale)


def turboquant_ip(x: ArrayLike, bits: int, rotation: str = "haar", seed: int = 0) -> NDArray[np.float32]:
    """What the inner-product quantiser makes of vectors [n, d]: unbiased inner products, more variance. For comparison
    only. ValueError as turboquant."""
    return _core.turboquant_ip(_rows(x), bits, rotation, seed)
