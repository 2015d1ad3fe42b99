"""Embeddings beside running requests: a session of its own reads texts in pieces, so that nobody waits for long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import anyio
import numpy as np
from anyio import to_thread
from numpy.typing import NDArray
from starlette.types import Receive

from spectralkv import _core
from spectralkv.embeddings import pool
from spectralkv.serve.clients import while_connected
from spectralkv.serve.errors import ApiError

PIECE = 128  # tokens that are read at a time; between them requests go on


def scaled(rows: NDArray[np.float32], norm: int) -> NDArray[np.float32]:
    """By llama.cpp's numbers: -1 as they are, 0 the largest to 32760, else to length 1 by that norm, 2: Euclid's.
    rows: [..., n_embd]; zeros stay."""
    if norm < 0:
        return rows
    wide = np.abs(rows.astype(np.float64))
    largest = wide.max(axis=-1, keepdims=True)
    if norm == 0:
        length = largest / 32760
    else:  # of numbers of at most 1, whose powers are in range
        length = largest * ((wide / np.where(largest == 0, 1, largest)) ** norm).sum(axis=-1, keepdims=True) ** (
            1 / norm
        )
    return np.asarray(rows / np.where(length == 0, 1, length), dtype=np.float32)


class Embedder:
    """pooling: none, mean, cls or last. most_waiting: requests; more are refused. seconds: of a request."""

    def __init__(self, engine: _core.Engine, n_ctx: int, pooling: str, most_waiting: int, seconds: float) -> None:
        self.pooling = pooling
        self._engine, self._n_ctx = engine, n_ctx
        self._most_waiting, self._seconds = most_waiting, seconds
        self._session: _core.Session | None = None
        self._reading = threading.Lock()  # a text whose client went away may still be in its last piece
        self._limiter = anyio.CapacityLimiter(1)

    def _read(self, tokens: Sequence[int], check: Callable[[], None]) -> NDArray[np.float32]:
        """The hidden states of a text, float32 [n, n_embd]."""
        with self._reading:
            if self._session is None:
                self._session = _core.Session(
                    self._engine, n_ctx=self._n_ctx, n_batch=PIECE, type_k="f16", type_v="f16"
                )
            self._session.reset()
            rows = []
            for at in range(0, len(tokens), PIECE):
                check()
                rows.append(self._session.eval_hidden(tokens[at : at + PIECE]))
            return np.concatenate(rows)

    async def embed(self, texts: Sequence[Sequence[int]], norm: int, receive: Receive) -> list[NDArray[np.float32]]:
        """Of each text of token ids: [n_embd], or [n, n_embd] without pooling. Empty where the client went away.
        ApiError when too many wait, or it takes too long."""
        if self._limiter.statistics().tasks_waiting >= self._most_waiting:
            raise ApiError(503, "as many requests for embeddings wait as may; try again later", code="overloaded")
        gone, end = threading.Event(), time.monotonic() + self._seconds
        made: list[NDArray[np.float32]] = []
        failure: list[ApiError] = []

        def check() -> None:
            if gone.is_set() or time.monotonic() > end:
                raise ApiError(408, "the time of the request ran out", "timeout", "timeout")

        def run() -> list[NDArray[np.float32]]:
            return [scaled(pool(self._read(tokens, check), self.pooling), norm) for tokens in texts]

        async def work(_: anyio.CancelScope) -> None:
            try:
                made.extend(await to_thread.run_sync(run, abandon_on_cancel=True, limiter=self._limiter))
            except ApiError as error:
                failure.append(error)

        try:
            await while_connected(receive, work)
        finally:
            gone.set()
        if failure:
            raise failure[0]
        return made
