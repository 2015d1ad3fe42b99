"""Log-probabilities of the tokens of a completion, in OpenAI's two shapes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectralkv import _core


@dataclass(frozen=True)
class TokenRecord:
    """A token of the text: where it starts, in characters, and the natural-log probabilities at its place."""

    data: bytes
    offset: int
    logprob: float | None  # None for the first token of a prompt, which nothing predicts
    top: list[tuple[bytes, float]]

    @property
    def text(self) -> str:
        return self.data.decode("utf-8", errors="replace")


@dataclass
class Recorder:
    """Collects records and gives out those whose text has been given out, so that streams equal whole results."""

    tokenizer: _core.Tokenizer
    position: int = 0
    waiting: list[TokenRecord] = field(default_factory=list)
    _utf8: _core.Utf8Stream = field(default_factory=_core.Utf8Stream)

    def add(self, data: bytes, logprob: float | None, top: Iterable[tuple[int, float]]) -> None:
        named = [(self.tokenizer.piece(token, True), value) for token, value in top]
        self.waiting.append(TokenRecord(data, self.position, logprob, named))
        self.position += len(self._utf8.put(data))

    def take(self, end: int | None) -> list[TokenRecord]:
        """The records that start before the character `end`; all with None."""
        n = sum(1 for record in self.waiting if end is None or record.offset < end)
        taken, self.waiting = self.waiting[:n], self.waiting[n:]
        return taken


def add_prompt(recorder: Recorder, tokens: Sequence[int], logits: NDArray[np.float32], n_top: int) -> None:
    """Records the tokens of a prompt. logits: float32 [n_tokens or more, n_vocab], row i predicts token i + 1."""
    for i, token in enumerate(tokens):
        data = recorder.tokenizer.piece(token, False)
        if i == 0:
            recorder.add(data, None, [])
            continue
        row = logits[i - 1].astype(np.float64)
        row -= row.max()
        row -= np.log(np.exp(row).sum())
        best = np.argsort(-row, kind="stable")[:n_top]
        recorder.add(data, float(row[token]), [(int(t), float(row[t])) for t in best])


def completion_logprobs(records: Sequence[TokenRecord]) -> dict[str, Any]:
    """OpenAI's `logprobs` of a text completion."""
    tops: list[dict[str, float] | None] = []
    for record in records:
        if record.logprob is None:
            tops.append(None)
            continue
        top = {data.decode("utf-8", errors="replace"): value for data, value in record.top}
        tops.append(top | {record.text: record.logprob})
    return {
        "tokens": [record.text for record in records],
        "text_offset": [record.offset for record in records],
        "token_logprobs": [record.logprob for record in records],
        "top_logprobs": tops,
    }


def chat_logprobs(records: Sequence[TokenRecord]) -> dict[str, Any]:
    """OpenAI's `logprobs` of a chat completion."""

    def entry(data: bytes, value: float | None) -> dict[str, Any]:
        return {"token": data.decode("utf-8", errors="replace"), "logprob": value, "bytes": list(data)}

    return {
        "content": [
            entry(record.data, record.logprob) | {"top_logprobs": [entry(data, value) for data, value in record.top]}
            for record in records
        ]
    }
