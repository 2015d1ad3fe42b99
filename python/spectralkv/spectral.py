"""eOptShrink: the low-rank part of a noisy block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectralkv import _core


@dataclass(frozen=True)
class EOptShrink:
    """What eOptShrink finds in a block [n, d]; singular values carry the block's unit."""

    rank: int
    edge: float  # bulk edge of the noise, a squared singular value
    singular_values: NDArray[np.float64]  # [min(n, d)] as observed, descending
    shrunken: NDArray[np.float64]  # [rank]
    u: NDArray[np.float32]  # [rank, n], a unit vector a row
    v: NDArray[np.float32]  # [rank, d], a unit vector a row
    imputed: NDArray[np.float64]  # [min(n, d) - rank] squared singular values of the noise alone

    def low_rank(self) -> NDArray[np.float32]:
        """The low-rank part, float32 [n, d]: the sum of shrunken[i] u_i v_i^T."""
        weighted = self.u.T.astype(np.float64) * self.shrunken
        return np.asarray(weighted @ self.v.astype(np.float64), dtype=np.float32)


def eoptshrink(block: ArrayLike, loss: str = "frobenius") -> EOptShrink:
    """eOptShrink of a block [n, d], converted to float32 (arXiv 2207.03466, rank rule of arXiv 2605.02905).

    loss: "frobenius", "operator", "nuclear" or "truncate". Raises ValueError for NaN, infinity, an empty block or an
    unknown loss.
    """
    array = np.ascontiguousarray(block, dtype=np.float32)
    if array.ndim != 2:
        raise ValueError(f"[spectral] the block must have 2 dimensions, not {array.ndim}")
    return EOptShrink(**_core.eoptshrink(array, loss))
