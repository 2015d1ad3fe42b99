"""Log-probabilities of the tokens of a completion, in OpenAI's two shapes."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Sequence
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

    def start_answer(self, position: int) -> None:
        """What is added from here on starts at `position`, whatever the prompt's end was."""
        self.position, self._utf8 = position, _core.Utf8Stream()

    def take(self, end: int | None) -> list[TokenRecord]:
        """The records that start before the character `end`; all with None."""
        n = sum(1 for record in self.waiting if end is None or record.offset < end)
        taken, self.waiting = self.waiting[:n], self.waiting[n:]
        return taken


@dataclass(frozen=True)
class Echo:
    """The prompt as it is given out: its bytes, and what becomes of those that are no UTF-8."""

    data: bytes
    errors: str
    special: bool  # control tokens were parsed from it, so it holds their texts

    @property
    def text(self) -> str:
        return self.data.decode("utf-8", self.errors)


def _places(tokenizer: _core.Tokenizer, tokens: Sequence[int], echo: Echo) -> Iterator[tuple[bytes, int]]:
    """Each token's bytes in the echo, and where they start in characters. Tokens that the tokenizer added have none;
    nor has the space that it puts in front of a text."""
    decoder = codecs.getincrementaldecoder("utf-8")(echo.errors)
    at = place = 0
    lost = False  # behind a token that stands for text which it does not give back
    for token in tokens:
        data = tokenizer.piece(token, echo.special)
        start = at
        if at == 0 and data.startswith(b" ") and not echo.data.startswith(data):
            data = data[1:]
        if lost and data:
            start = max(echo.data.find(data, at), at)
        found = echo.data.startswith(data, start)
        lost = not found and not tokenizer.is_control(token)
        if not found:
            yield tokenizer.piece(token, False), place
            continue
        place += len(decoder.decode(echo.data[at:start]))
        yield data, place
        place += len(decoder.decode(data))
        at = start + len(data)


def add_prompt(recorder: Recorder, tokens: Sequence[int], logits: NDArray[np.float32], n_top: int, echo: Echo) -> None:
    """Records the tokens of a prompt. logits: float32 [n_tokens or more, n_vocab], row i predicts token i + 1."""
    places = _places(recorder.tokenizer, tokens, echo)
    for i, (token, (data, recorder.position)) in enumerate(zip(tokens, places, strict=True)):
        if i == 0:
            recorder.add(data, None, [])
            continue
        row = logits[i - 1].astype(np.float64)
        row -= row.max()
        row -= np.log(np.exp(row).sum())
        best = np.argsort(-row, kind="stable")[:n_top]
        recorder.add(data, float(row[token]), [(int(t), float(row[t])) for t in best])
    recorder.start_answer(len(echo.text))


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
