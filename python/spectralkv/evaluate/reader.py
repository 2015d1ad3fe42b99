"""Greedy answers to many prompts through one cache; what prompts have in common is read once."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from spectralkv import _core
from spectralkv.chat import Marked, encode, format_chat
from spectralkv.evaluate.cache_types import CacheType

LEAST_SAVED = 64  # tokens that a saved state must spare, or it is not worth its writing


def chat_tokens(engine: _core.Engine, user: str, answer: str = "") -> list[int]:
    """Token ids of a user's message in the model's chat template, with the start of the answer. A model without a
    template gets the text as it is."""
    tokenizer = engine.tokenizer

    def piece(token: int) -> str:
        return tokenizer.piece(token, True).decode("utf-8", "replace") if token >= 0 else ""

    if not engine.chat_template:
        return list(tokenizer.encode_prompt((user + answer).encode(), False))
    messages = [{"role": "user", "content": user}]
    bos, eos = piece(tokenizer.bos), piece(tokenizer.eos)
    prompt = format_chat(engine.chat_template, messages, True, bos, eos, tokenizer=tokenizer)
    return list(encode(tokenizer, Marked(prompt + answer)))


def common_length(a: Sequence[int], b: Sequence[int]) -> int:
    """How many ids two lists have in common at their start."""
    most = min(len(a), len(b))
    return next((i for i in range(most) if a[i] != b[i]), most)


def branch_points(prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    """For each prompt the lengths, ascending, at which later prompts leave what it shares with them."""
    points: list[list[int]] = [[] for _ in prompts]
    for i in range(len(prompts) - 2, -1, -1):
        shared = common_length(prompts[i], prompts[i + 1])
        points[i] = [length for length in points[i + 1] if length < shared] + ([shared] if shared else [])
    return points


class Reader:
    """A session with one cache type that answers prompts of at most n_ctx tokens, answers included. stop: texts
    that end an answer, which then lacks them. ValueError for a cache type that the model cannot have.

    A compressed cache cannot go back into its sealed blocks, so its state is saved, in a temporary folder, where later
    prompts branch off. What a cache holds depends on its tokens alone: answers do not depend on any of this.
    """

    def __init__(
        self, engine: _core.Engine, cache: CacheType, n_ctx: int, n_batch: int = 512, stop: Sequence[str] = ()
    ) -> None:
        self._exact = cache.exact
        self._stop = list(stop)
        self._session = _core.Session(engine, n_ctx=n_ctx, n_batch=n_batch, type_k=cache.k, type_v=cache.v)

    def answers(self, prompts: Sequence[Sequence[int]], max_tokens: int) -> Iterator[str]:
        """The greedy continuation of each prompt, in order: up to an end token, a text of `stop`, max_tokens or the end
        of the context.
        Prompts with a long start in common should stand side by side."""
        points = branch_points(prompts)
        with tempfile.TemporaryDirectory(prefix="spectralkv-eval-") as folder:
            saved: list[tuple[int, Path]] = []  # lengths, ascending, and their states, of what was read last
            read: Sequence[int] = []
            for prompt, branches in zip(prompts, points, strict=True):
                shared = common_length(read, prompt)
                while saved and saved[-1][0] > shared:
                    saved.pop()[1].unlink()
                self._read(prompt, branches, saved, Path(folder))
                read = prompt
                yield self._continue(max_tokens)

    def _read(
        self, prompt: Sequence[int], branches: Sequence[int], saved: list[tuple[int, Path]], folder: Path
    ) -> None:
        """Makes the session hold the prompt; saves states at its branches."""
        at = self._session.keep_common(prompt)
        if saved and at < saved[-1][0]:
            at = saved[-1][0]
            self._session.load_state(saved[-1][1])
        if not self._exact:
            for length in branches:
                if at <= length < len(prompt) and length - (saved[-1][0] if saved else 0) >= LEAST_SAVED:
                    self._session.eval(prompt[at:length])
                    at, path = length, folder / f"{length}.state"
                    self._session.save_state(path)
                    saved.append((length, path))
        self._session.eval(prompt[at:])

    def _continue(self, max_tokens: int) -> str:
        generation = _core.Generation(
            self._session, _core.SamplingOptions(temperature=0), max_tokens=max_tokens, stop=self._stop
        )
        text = ""
        while (step := generation.next()) is not None:
            text += step.text
        return text

    def cache_report(self) -> dict[str, object]:
        """What the cache holds after the last answer; see _core.Session.cache_report."""
        return self._session.cache_report()
