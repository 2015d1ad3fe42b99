"""Completions: the steps of a generation made into OpenAI's result and chunk dicts."""

from __future__ import annotations

import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from spectralkv import _core
from spectralkv.callers import callers_level
from spectralkv.hooks import Stopped
from spectralkv.logprobs import Recorder, TokenRecord, chat_logprobs, completion_logprobs
from spectralkv.tool_calls import Tools, ToolText

Result = dict[str, Any]


@dataclass
class Piece:
    """New text that is final, and the records of its tokens; the last piece says why the generation ended."""

    text: str
    records: list[TokenRecord]
    finish_reason: str | None = None


@dataclass
class Run:
    """One generation on its way. `guard` gives the lock of the model and raises when the model was closed; `ended` is
    called with it, when the generation has ended."""

    generation: _core.Generation
    tokenizer: _core.Tokenizer
    guard: Callable[[], AbstractContextManager[None]]
    n_prompt: int
    recorder: Recorder | None = None  # when log-probabilities are asked for
    prefix: str = ""  # the prompt, when it is echoed
    start: int = 0  # the place of the answer's first character, by which its records are counted
    ended: Callable[[], None] = lambda: None
    strip: bool = False  # the first text loses the space that a tokenizer puts in front
    n_generated: int = field(default=0, init=False)

    def pieces(self) -> Iterator[Piece]:
        """Gives pieces with text, then one last piece with the reason. Holds the lock only while it computes."""
        given = self.start
        prompt = self.recorder.take(None) if self.recorder else []  # its records, when it is echoed
        if self.prefix or prompt:
            yield Piece(self.prefix, prompt)
        last_is_end = False
        while True:
            with self.guard():
                try:
                    step = self.generation.next()
                    reason, text = self.generation.reason, step.text if step is not None else ""
                except Stopped:
                    step, reason, text = None, "stop", self.generation.rest()
                if reason:
                    self.ended()
            if step is not None:
                last_is_end = reason == "stop" and self.tokenizer.is_end(step.token)
                if not last_is_end:
                    self.n_generated += 1
                    if self.recorder:
                        self.recorder.add(step.bytes, step.logprob, step.top)
                given += len(step.text)
            if text and self.strip:
                self.strip, text = False, text.removeprefix(" ")
            if reason:
                break
            if text:
                yield Piece(text, self.recorder.take(given) if self.recorder else [])
        if self.generation.context_full:
            message = "the context is full: the answer ends here (a larger n_ctx allows more)"
            warnings.warn(message, stacklevel=callers_level())
        cut = (
            reason == "stop" and step is not None and not last_is_end
        )  # a stop text and what follows it are not given out
        yield Piece(text, self.recorder.take(given if cut else None) if self.recorder else [], reason)

    def usage(self) -> Result:
        """Tokens of prompt and completion; the end token does not count."""
        return {
            "prompt_tokens": self.n_prompt,
            "completion_tokens": self.n_generated,
            "total_tokens": self.n_prompt + self.n_generated,
        }


def _head(prefix: str, kind: str, model: str) -> Result:
    return {"id": f"{prefix}-{uuid.uuid4()}", "object": kind, "created": int(time.time()), "model": model}


def _join(pieces: Sequence[Piece]) -> Piece:
    records = [record for piece in pieces for record in piece.records]
    return Piece("".join(piece.text for piece in pieces), records, pieces[-1].finish_reason)


def complete(run: Run, model: str) -> Result:
    """The whole result of a text completion."""
    whole = _join(list(run.pieces()))
    return _head("cmpl", "text_completion", model) | {"choices": [_text_choice(run, whole)], "usage": run.usage()}


def stream(run: Run, model: str) -> Iterator[Result]:
    """The chunks of a text completion; their texts joined are the text of the whole result. The last one has the reason
    alone, as llama-cpp-python's."""
    head = _head("cmpl", "text_completion", model)
    for piece in run.pieces():
        if piece.text or piece.records:
            yield head | {"choices": [_text_choice(run, Piece(piece.text, piece.records))]}
        if piece.finish_reason is not None:
            yield head | {"choices": [_text_choice(run, Piece("", [], piece.finish_reason)) | {"logprobs": None}]}


def _text_choice(run: Run, piece: Piece) -> Result:
    return {
        "text": piece.text,
        "index": 0,
        "logprobs": completion_logprobs(piece.records) if run.recorder else None,
        "finish_reason": piece.finish_reason,
    }


@dataclass(frozen=True)
class Calls:
    """The tools of a chat; as_function: asked for as `functions`, so a call is given as a `function_call`."""

    tools: Tools
    as_function: bool

    @property
    def reason(self) -> str:
        return "function_call" if self.as_function else "tool_calls"

    def message(self, content: str, calls: list[Result]) -> Result:
        """What a message has where there are calls."""
        if self.as_function:
            return {"content": content or None, "function_call": calls[0]["function"]}
        return {"content": content or None, "tool_calls": calls}

    def deltas(self, calls: list[Result]) -> Iterator[Result]:
        if self.as_function:
            yield {"function_call": calls[0]["function"]}
            return
        for i, call in enumerate(calls):
            yield {"tool_calls": [{"index": i, **call}]}


def complete_chat(run: Run, model: str, calls: Calls | None = None) -> Result:
    """The whole result of a chat completion."""
    whole = _join(list(run.pieces()))
    message: Result = {"role": "assistant", "content": whole.text}
    if calls is not None:
        content, made = calls.tools.parse(whole.text)
        if made:
            message |= calls.message(content, made)
            whole.finish_reason = calls.reason
    choice = {
        "index": 0,
        "message": message,
        "logprobs": chat_logprobs(whole.records) if run.recorder else None,
        "finish_reason": whole.finish_reason,
    }
    return _head("chatcmpl", "chat.completion", model) | {"choices": [choice], "usage": run.usage()}


def stream_chat(run: Run, model: str, calls: Calls | None = None) -> Iterator[Result]:
    """The chunks of a chat completion: first the role, then the content, then calls, at the end the reason."""
    head = _head("chatcmpl", "chat.completion.chunk", model)
    split = ToolText(calls.tools) if calls is not None else None

    def chunk(delta: Result, records: Sequence[TokenRecord] = (), reason: str | None = None) -> Result:
        logprobs = chat_logprobs(records) if run.recorder and records else None
        return head | {"choices": [{"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": reason}]}

    yield chunk({"role": "assistant"})
    for piece in run.pieces():
        text, reason = piece.text, piece.finish_reason
        made: list[Result] = []
        if split is not None:
            text = split.put(text)
            if reason is not None:
                rest, made = split.finish()
                text += rest
        if text or piece.records:
            yield chunk({"content": text}, piece.records)
        if calls is not None and made:
            reason = calls.reason
            for delta in calls.deltas(made):
                yield chunk(delta)
        if reason is not None:
            yield chunk({}, reason=reason)
