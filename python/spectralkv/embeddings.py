"""Embeddings: hidden states of a text, one for each token or put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectralkv import _core


def pool(hidden: NDArray[np.float32], pooling: str) -> NDArray[np.float32]:
    """hidden: [n, n_embd]."""
    if pooling == "mean":
        return np.asarray(hidden.mean(axis=0, dtype=np.float64), dtype=np.float32)
    if pooling == "cls":
        return np.asarray(hidden[0])
    if pooling == "last":
        return np.asarray(hidden[-1])
    return hidden


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of Euclidean length 1; zeros stay."""
    length = np.linalg.norm(rows.astype(np.float64), axis=-1, keepdims=True)
    return np.asarray(rows / np.where(length == 0, 1, length), dtype=np.float32)


def embeddings_of(
    session: _core.Session,
    tokenize: Callable[[bytes], list[int]],
    most: int,
    pooling: str,
    texts: str | Sequence[str],
    normalize: bool,
    truncate: bool,
) -> tuple[list[Any], int]:
    """A list for each text, and how many tokens they have together. most: tokens of a text. The session is empty
    afterwards."""
    given = [texts] if isinstance(texts, str) else texts
    if isinstance(given, (bytes, bytearray)) or not all(isinstance(text, str) for text in given):
        raise TypeError("[python] input must be a str or several")
    made, total = [], 0
    for i, text in enumerate(given):
        tokens = tokenize(text.encode("utf-8", "surrogateescape"))
        if truncate:
            tokens = tokens[:most]
        if not tokens:
            raise ValueError(f"[python] input[{i}] has no tokens")
        session.reset()
        try:
            pooled = pool(session.eval_hidden(tokens), pooling)
        finally:
            session.reset()
        total += len(tokens)
        made.append((_unit(pooled) if normalize else pooled).tolist())
    return made, total
