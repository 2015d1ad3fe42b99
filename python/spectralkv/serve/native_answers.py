"""Steps of the scheduler made into the results and chunks of llama-server's own completions."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

from spectralkv import _core
from spectralkv.serve.answers import Answers, Choice, Piece, Result, timings
from spectralkv.serve.bodies import NativeSampling
from spectralkv.serve.worker import Job, Step


def bytes_of(raw: bytes | bytearray, text: str) -> int:
    """How many bytes of raw the text is of that it begins with, where U+FFFD stands for bytes that are no character."""
    if "\ufffd" not in text:
        return len(text.encode())
    place = 0
    for _ in text:
        window = bytes(raw[place : place + 4])  # which has all of one character
        try:
            first = window.decode()[:1]
        except UnicodeDecodeError as error:
            first = window[: error.start].decode()[:1]
            place += 0 if first else error.end
        place += len(first.encode())
    return place


class NativeChoice(Choice):
    """One answer as it grows, with its tokens and how it ended. n_probs: of each token; None: no probabilities.
    longest_ms: from the first token, once there is a line break; 0: no bound. cancel: ends it then."""

    def __init__(
        self,
        index: int,
        tokenizer: _core.Tokenizer,
        stop: Sequence[str],
        n_probs: int | None,
        longest_ms: int,
        cancel: Callable[[], None],
    ) -> None:
        super().__init__(index, tokenizer, False, stop=stop)
        self.text, self.stop_type, self.truncated = "", "none", False
        self._n_probs = n_probs
        self._seconds = longest_ms / 1000
        self._began = 0.0
        self._late = False
        self._cancel = cancel
        self._n_told = 0  # tokens that were handed out
        self._tokens: list[tuple[int, int, Result]] = []  # each with its first byte's place, and its probabilities

    def take(self, step: Step) -> Piece:
        if self._late and step.reason == "cancelled":
            step = replace(step, reason="length")
        place = len(self._raw)
        piece = super().take(step)
        self.text += piece.text
        end = step.token is not None and self._tokenizer.is_end(step.token.token) and step.reason == "stop"
        if step.token is not None and not end:
            self._tokens.append((step.token.token, place, self._probabilities(step.token)))
            self._began = self._began or time.monotonic()
        if not step.reason and not self._late and self._is_late():
            self._late = True
            self._cancel()
        if step.reason:
            self.stop_type = "limit" if step.reason != "stop" else "eos" if end else "word"
            self.truncated = step.context_full
            if self.stop_type == "word":  # no tokens of it
                ends = bytes_of(self._raw, self.text)
                self._tokens = [row for row in self._tokens if row[1] < ends]
        return piece

    def _is_late(self) -> bool:
        """Whether it has taken longer than it may; then it ends with what it has."""
        return "\n" in self.text and 0 < self._seconds < time.monotonic() - self._began

    def _probabilities(self, token: _core.GeneratedToken) -> Result:
        if self._n_probs is None:
            return {}

        def entry(number: int, value: float) -> Result:
            data = self._tokenizer.piece(number, True)
            text = data.decode("utf-8", "replace")
            return {"id": number, "token": text, "bytes": list(data), "logprob": value}

        return entry(token.token, token.logprob) | {"top_logprobs": [entry(*row) for row in token.top]}

    def new_tokens(self) -> tuple[list[int], list[Result]]:
        """Tokens that were not handed out yet, and their probabilities."""
        rows, told = self._tokens[self._n_told :], len(self._tokens)
        self._tokens[self._n_told :] = [(token, place, {}) for token, place, _ in rows]  # which are not told again
        self._n_told = told
        return [token for token, _, _ in rows], [row for _, _, row in rows if row]


def _pick(result: Result, fields: Sequence[str]) -> Result:
    """The fields alone; "a/b" is the b of a, under that name."""
    picked: Result = {}
    for name in fields:
        value: Any = result
        *path, last = name.split("/")
        for part in path:
            value = value.get(part) if isinstance(value, dict) else None
        if isinstance(value, dict) and last in value:
            picked[last] = value[last]
    return picked


class NativeAnswers:
    """All answers to one request. prompts, settings: of each, what was read as text, and how it is drawn."""

    def __init__(
        self,
        answers: Answers,
        body: NativeSampling,
        model: str,
        prompts: Sequence[str],
        settings: Sequence[Result],
    ) -> None:
        self._answers, self._body, self._model = answers, body, model
        self._prompts, self._settings = prompts, settings

    async def _pieces(self) -> AsyncIterator[tuple[NativeChoice, Job, Piece]]:
        async for choice, piece in self._answers.pieces():
            assert isinstance(choice, NativeChoice)
            yield choice, self._answers.jobs[choice.index], piece

    def _head(self, choice: NativeChoice, job: Job, content: str, tokens: list[int], stop: bool) -> Result:
        return {
            "index": choice.index,
            "content": content,
            "tokens": tokens,
            "stop": stop,
            "id_slot": job.slot,
            "tokens_predicted": choice.timings.get("decoded_tokens", 0),
            "tokens_evaluated": job.prompt_tokens,
        }

    def _final(self, choice: NativeChoice, job: Job, content: str, tokens: list[int]) -> Result:
        decoded = choice.timings.get("decoded_tokens", 0)
        return {
            **self._head(choice, job, content, tokens, True),
            "model": self._model,
            "generation_settings": self._settings[choice.index],
            "prompt": self._prompts[choice.index],
            "has_new_line": "\n" in choice.text,
            "truncated": choice.truncated,
            "stop_type": choice.stop_type,
            "stopping_word": choice.stopping_word,
            "tokens_cached": job.prompt_tokens + max(decoded - 1, 0),
            "timings": timings(choice),
        }

    def _shown(self, result: Result) -> Result:
        fields = self._body.response_fields
        return _pick(result, fields) if fields else result

    async def collect(self) -> Result | list[Result]:
        """The whole result: one, or a list of as many as were asked for."""
        wholes: list[Result] = [{}] * len(self._answers.choices)
        async for choice, job, piece in self._pieces():
            if piece.reason:
                tokens, rows = choice.new_tokens()
                whole = self._final(choice, job, choice.text, tokens if self._body.return_tokens else [])
                wholes[choice.index] = self._shown(whole | ({"completion_probabilities": rows} if rows else {}))
        return wholes[0] if len(wholes) == 1 else wholes

    async def chunks(self) -> AsyncIterator[Result]:
        """Texts with their tokens as they come, and at the end of each answer its result, with no more of them."""
        async for choice, job, piece in self._pieces():
            tokens, rows = choice.new_tokens()
            if piece.text or tokens:
                chunk = self._head(choice, job, piece.text, tokens, False)
                chunk |= {"timings": timings(choice)} if self._body.timings_per_token else {}
                yield chunk | ({"completion_probabilities": rows} if rows else {})
            if piece.reason:
                yield self._shown(self._final(choice, job, "", []))
