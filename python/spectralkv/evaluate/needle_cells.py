"""Cells of the needle evaluation: the questions of one task at one length, as prompts in an order that saves reading."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from spectralkv import _core
from spectralkv.evaluate.needle_tasks import TASKS, Sample, make_haystack, make_sample
from spectralkv.evaluate.reader import chat_tokens


@dataclass(frozen=True)
class Prompt:
    """One question: its tokens, answer room left out, and what a record will hold of it."""

    tokens: list[int]
    fields: dict[str, Any]

    @property
    def key(self) -> str:
        return str(self.fields["key"])


def largest_fit(fits: Callable[[int], bool], guess: int) -> int:
    """The largest n >= 1 that fits, where fits(n) is true up to some n and false from there, looked for around the
    guess, which is at least 1; 0 when 1 does not fit."""
    step = 1
    if fits(guess):
        low, high = guess, guess + step
        while fits(high):
            low, step = high, 2 * step
            high = low + step
    else:
        low, high = guess - step, guess
        while low > 0 and not fits(low):
            high, step = low, 2 * step
            low = high - step
        low = max(low, 0)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


class CellMaker:
    """Makes the prompts of any task and length for one model. text: sentences of the user's file, empty without one.
    depths: the grid in percent. n_questions: keys asked for about each text, where a task has several."""

    def __init__(
        self, engine: _core.Engine, text: Sequence[str], depths: Sequence[float], n_questions: int, seed: int
    ) -> None:
        self._engine, self._text, self._depths = engine, text, depths
        self._n_questions, self._seed = n_questions, seed

    def prompts(self, name: str, length: int, n_samples: int) -> list[Prompt]:
        """All questions of a cell. ValueError when the length has no room for the task."""
        task = TASKS[name]
        seed = f"{self._seed}/{name}/{length}"
        haystack = make_haystack(task, self._text, length, seed)
        asked = min(self._n_questions, task.n_keys) if task.n_keys > 1 else self._n_questions
        if task.n_queries > 1 or (task.n_keys == 1 and task.haystack != "needles"):
            asked = 1
        samples = [make_sample(name, haystack, self._depths, i, asked, seed) for i in range(n_samples)]
        found: list[Prompt] = []
        guess = max(1, length // 32)
        # What lies before the first needle is common to all: those with a late one can go on from those with an early
        # one.
        for number in sorted(range(n_samples), key=lambda i: (samples[i].first_depth, i)):
            guess, some = self._fill(name, length, number, samples[number], guess)
            found += some
        return found

    def _fill(self, name: str, length: int, number: int, sample: Sample, guess: int) -> tuple[int, list[Prompt]]:
        """The sample's prompts with as many units as fit, and how many those are."""
        room = length - TASKS[name].max_tokens

        def prompts(n: int) -> list[Prompt]:
            made = []
            for index, question in enumerate(sample.questions(n)):
                tokens = chat_tokens(self._engine, question.user, question.begin)
                fields = {
                    "key": f"{name}/{length}/{number}/{index}",
                    "task": name,
                    "length": length,
                    "sample": number,
                    "question": index,
                    "depth": question.depth,
                    "n_tokens": len(tokens),
                    "prompt": question.user,
                    "begin": question.begin,
                    "expected": list(question.expected),
                }
                made.append(Prompt(tokens, fields))
            return made

        def fits(n: int) -> bool:
            return all(len(prompt.tokens) <= room for prompt in prompts(n))

        n = largest_fit(fits, guess)
        if n == 0:
            raise ValueError(
                f"[eval] {name} does not fit into {length} tokens of this model, {TASKS[name].max_tokens} of them for "
                "the answer: give greater --lengths"
            )
        return n, prompts(n)
