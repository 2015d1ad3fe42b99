"""Steps of the scheduler made into OpenAI's results and chunks."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from spectralkv import _core
from spectralkv.logprobs import Recorder, TokenRecord, chat_logprobs, completion_logprobs
from spectralkv.serve.errors import ApiError, bare
from spectralkv.serve.tools import Tools, ToolText
from spectralkv.serve.worker import Inbox, Job, Step

Result = dict[str, Any]
FINGERPRINT = f"spectralkv-{_core.version}"


@dataclass
class Piece:
    """What is new of one answer: text, the records of its tokens, calls; the last piece has the reason."""

    text: str
    records: list[TokenRecord]
    calls: list[Result] = field(default_factory=list)
    reason: str | None = None


class Choice:
    """One answer as it grows. prefix: the prompt, when it is echoed. stop: texts that end it; which one did is
    stopping_word."""

    def __init__(
        self,
        index: int,
        tokenizer: _core.Tokenizer,
        records: bool,
        tools: Tools | None = None,
        prefix: str = "",
        stop: Sequence[str] = (),
    ) -> None:
        self.index, self.prefix = index, prefix
        self.stopping_word = ""
        self.n_generated = 0
        self.strip = False  # the first text loses the space that a tokenizer puts in front
        self.timings: dict[str, Any] = {}
        self._tokenizer = tokenizer
        self._recorder = Recorder(tokenizer, len(prefix)) if records else None
        self._tools = ToolText(tools) if tools else None
        self._given = len(prefix)
        self._stop = stop
        self._raw = bytearray()  # of all tokens, what is held back and what is cut included

    def take(self, step: Step) -> Piece:
        """The next step. ApiError when the answer failed."""
        self.timings = step.timings or self.timings
        end = step.reason == "stop" and step.token is not None and self._tokenizer.is_end(step.token.token)
        if step.token is not None and not end:
            self.n_generated += 1
            self._raw += step.token.bytes
            if self._recorder:
                self._recorder.add(step.token.bytes, step.token.logprob, step.token.top)
        self._given += len(step.text)
        if step.reason in ("cancelled", "error") or (step.reason == "deadline" and self.n_generated == 0):
            raise _failure(step)
        cut = step.reason == "stop" and not end  # a stop text and what follows it are not given out
        if cut:
            behind = self._raw.decode("utf-8", "replace")[self._given - len(self.prefix) :]
            self.stopping_word = next((word for word in self._stop if behind.startswith(word)), "")
        all_text = step.reason and not cut
        records = self._recorder.take(None if all_text else self._given) if self._recorder else []
        piece = Piece(step.text, records)
        if piece.text and self.strip:
            self.strip, piece.text = False, piece.text.removeprefix(" ")
        if step.reason:
            piece.reason = "length" if step.reason == "deadline" else step.reason
        if self._tools:
            piece.text = self._tools.put(piece.text)
            if step.reason:
                rest, piece.calls = self._tools.finish()
                piece.text += rest
                if piece.calls:
                    piece.reason = "tool_calls"
        return piece


def _failure(step: Step) -> ApiError:
    if step.reason == "deadline":
        return ApiError(408, "the time of the request ran out before its first token", "timeout", "timeout")
    if step.reason == "cancelled":
        return ApiError(503, "the server is ending")
    wrong_mask = "no token that could be sampled" in step.error or step.error.startswith("[grammar]")
    return ApiError(400 if wrong_mask else 500, bare(step.error))


class Answers:
    """All answers to one request: choices and jobs have one order."""

    def __init__(self, model: str, choices: Sequence[Choice], jobs: Sequence[Job], inbox: Inbox, n_prompt: int) -> None:
        self.choices, self.jobs = choices, jobs
        self._inbox, self._n_prompt = inbox, n_prompt
        self._model, self._created = model, int(time.time())

    async def pieces(self) -> AsyncIterator[tuple[Choice, Piece]]:
        async for index, step in self._inbox.steps(len(self.jobs)):
            choice = self.choices[index]
            piece = choice.take(step)
            if piece.text or piece.records or piece.calls or piece.reason:
                yield choice, piece

    def usage(self) -> Result:
        n = sum(choice.n_generated for choice in self.choices)
        cached = max((choice.timings.get("cached_tokens", 0) for choice in self.choices), default=0)
        return {
            "prompt_tokens": self._n_prompt,
            "completion_tokens": n,
            "total_tokens": self._n_prompt + n,
            "prompt_tokens_details": {"cached_tokens": min(cached, self._n_prompt)},
        }

    def head(self, prefix: str, kind: str) -> Result:
        return {
            "id": f"{prefix}-{uuid.uuid4()}",
            "object": kind,
            "created": self._created,
            "model": self._model,
            "system_fingerprint": FINGERPRINT,
        }

    async def collect(self) -> list[Piece]:
        """Each answer whole, when all have ended."""
        wholes = [Piece(choice.prefix, []) for choice in self.choices]
        async for choice, piece in self.pieces():
            whole = wholes[choice.index]
            whole.text += piece.text
            whole.records += piece.records
            whole.calls += piece.calls
            whole.reason = piece.reason or whole.reason
        return wholes


def timings(choice: Choice) -> Result:
    """As llama-server has them."""
    took = choice.timings
    cached, decoded = took.get("cached_tokens", 0), took.get("decoded_tokens", 0)
    read, again = took.get("prompt_tokens", 0) - cached, max(decoded - 1, 0)  # the first token comes of the prompt
    prompt_s, decode_s = took.get("prompt_s", 0.0), took.get("decode_s", 0.0)

    def rates(name: str, n: int, steps: int, seconds: float) -> Result:
        return {
            f"{name}_n": n,
            f"{name}_ms": seconds * 1000,
            f"{name}_per_token_ms": seconds * 1000 / steps if steps else 0.0,
            f"{name}_per_second": steps / seconds if seconds > 0 else 0.0,
        }

    return {
        "cache_n": cached,
        "queue_ms": took.get("queue_s", 0.0) * 1000,
        **rates("prompt", read, read, prompt_s),
        **rates("predicted", decoded, again, decode_s),
    }


# ---- text completions


def _text_choice(choice: Choice, piece: Piece, records: bool) -> Result:
    return {
        "index": choice.index,
        "text": piece.text,
        "logprobs": completion_logprobs(piece.records) if records else None,
        "finish_reason": piece.reason,
    }


async def complete_text(answers: Answers, records: bool) -> Result:
    """The whole result of a text completion."""
    wholes = await answers.collect()
    return answers.head("cmpl", "text_completion") | {
        "choices": [_text_choice(c, whole, records) for c, whole in zip(answers.choices, wholes, strict=True)],
        "usage": answers.usage(),
        "timings": timings(answers.choices[0]),
    }


async def stream_text(answers: Answers, records: bool, usage: bool) -> AsyncIterator[Result]:
    """The chunks of a text completion."""
    head = answers.head("cmpl", "text_completion") | ({"usage": None} if usage else {})
    for choice in answers.choices:
        if choice.prefix:
            yield head | {"choices": [_text_choice(choice, Piece(choice.prefix, []), records)]}
    async for choice, piece in answers.pieces():
        chunk = head | {"choices": [_text_choice(choice, piece, records)]}
        yield chunk | ({"timings": timings(choice)} if piece.reason else {})
    if usage:
        yield head | {"choices": [], "usage": answers.usage()}


# ---- chats


async def complete_chat(answers: Answers, records: bool) -> Result:
    """The whole result of a chat completion."""
    choices = []
    for choice, whole in zip(answers.choices, await answers.collect(), strict=True):
        message: Result = {"role": "assistant", "content": whole.text}
        if whole.calls:
            message |= {"content": whole.text or None, "tool_calls": whole.calls}
        choices.append(
            {
                "index": choice.index,
                "message": message,
                "logprobs": chat_logprobs(whole.records) if records else None,
                "finish_reason": whole.reason,
            }
        )
    return answers.head("chatcmpl", "chat.completion") | {
        "choices": choices,
        "usage": answers.usage(),
        "timings": timings(answers.choices[0]),
    }


async def stream_chat(answers: Answers, records: bool, usage: bool) -> AsyncIterator[Result]:
    """The chunks of a chat completion: of each answer first the role, then content and calls, at the end the reason."""
    head = answers.head("chatcmpl", "chat.completion.chunk") | ({"usage": None} if usage else {})

    def chunk(choice: Choice, delta: Result, of: Sequence[TokenRecord] = (), reason: str | None = None) -> Result:
        logprobs = chat_logprobs(of) if records and of else None
        made = {"index": choice.index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return head | {"choices": [made]}

    for choice in answers.choices:
        yield chunk(choice, {"role": "assistant", "content": ""})
    async for choice, piece in answers.pieces():
        if piece.text or piece.records:
            yield chunk(choice, {"content": piece.text}, piece.records)
        for i, call in enumerate(piece.calls):
            yield chunk(choice, {"tool_calls": [{"index": i, **call}]})
        if piece.reason:
            yield chunk(choice, {}, reason=piece.reason) | {"timings": timings(choice)}
    if usage:
        yield head | {"choices": [], "usage": answers.usage()}
