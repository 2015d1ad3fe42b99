"""RULER's retrieval tasks (Hsieh et al. 2024, arXiv 2404.06654), and copying of objects: what is hidden in a text, and
what is asked for.

A sample is a context of n units (sentences, or distractor needles) with needles between them, and one or more questions
about it. The words of needles, questions and answer prefixes are RULER's, because they decide what a score means.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice, pairwise

from spectralkv.evaluate.needle_words import distinct
from spectralkv.evaluate.scoring import field_match, string_match_all

NOISE = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."
NEEDLE = "One of the special magic {kind} for {key} is: {value}."
ASK_ONE = (
    "A special magic {kind} is hidden within the following text. Make sure to memorize it. I will quiz you about the "
    "{kind} afterwards.\n{context}\nWhat is the special magic {kind} for {query} mentioned in the provided text?"
)
ASK_MANY = (
    "Some special magic {kind} are hidden within the following text. Make sure to memorize it. I will quiz you about "
    "the {kind} afterwards.\n{context}\nWhat are all the special magic {kind} for {query} mentioned in the provided "
    "text?"
)
BEGIN_ONE = " The special magic {kind} for {query} mentioned in the provided text is"
BEGIN_MANY = " The special magic {kind} for {query} mentioned in the provided text are"
TRACE = (
    "Memorize and track the chain(s) of variable assignment hidden in the following text.\n\n{context}\n"
    "Question: Find all variables that are assigned the value {query} in the text above."
)
BEGIN_TRACE = (
    " Answer: According to the chain(s) of variable assignment in the text above, {n} variables are assigned the value "
    "{query}, they are: "
)
COPY = (
    "A JSON object is hidden within the following text. Make sure to memorize it. I will ask you for it afterwards.\n"
    "{context}\nRepeat the JSON object of record {record} mentioned in the provided text, with all of its {n} fields."
)
RECORD = '{{"record": {record},'  # how it begins, and the answer
BEGIN_COPY = " The JSON object of record {record} mentioned in the provided text is: "
HOPS = 4
EXAMPLE_UNITS = 5  # of the worked example in front of a trace


@dataclass(frozen=True)
class Task:
    """A row of the table. haystack: "noise" (repeated sentences), "text" (the user's file; noise without one) or
    "needles" (distractors). key, value: kinds of needle_words. n_fields: of the object to copy, where that is the task.
    max_tokens: room for the answer, which ends behind `stop`, if it comes to that. score: of a cleaned answer by what
    was expected."""

    haystack: str
    key: str = "words"
    value: str = "numbers"
    n_keys: int = 1
    n_values: int = 1
    n_queries: int = 1
    n_fields: int = 0
    max_tokens: int = 128
    least_length: int = 256
    stop: tuple[str, ...] = ()
    score: Callable[[str, Sequence[str]], float] = string_match_all


def _copy(n_fields: int) -> Task:
    """Room for 16 tokens a field."""
    return Task("text", "nouns", n_fields=n_fields, max_tokens=16 * n_fields, stop=("}",), score=field_match)


TRACKING = "vt"
TASKS: dict[str, Task] = {
    "niah_single_1": Task("noise"),
    "niah_single_2": Task("text"),
    "niah_single_3": Task("text", value="uuids"),
    "niah_multikey_1": Task("text", n_keys=4),
    "niah_multikey_2": Task("needles"),
    "niah_multikey_3": Task("needles", key="uuids", value="uuids"),
    "niah_multivalue": Task("text", n_values=4),
    "niah_multiquery": Task("text", n_keys=4, n_queries=4),
    TRACKING: Task("noise", max_tokens=30, least_length=1024),
    "copy_json_10": _copy(10),
    "copy_json_30": _copy(30),
}


@dataclass(frozen=True)
class Question:
    """The user's message, how the answer begins, what it must hold, and the depth in percent of what is asked for
    (None where it lies in several places)."""

    user: str
    begin: str
    expected: tuple[str, ...]
    depth: float | None


@dataclass(frozen=True)
class Sample:
    """questions(n): the questions about a context of n units."""

    questions: Callable[[int], list[Question]]
    first_depth: float  # of the needle that comes first, in percent


class Haystack:
    """Units of text to hide needles in, as many as are asked for, always the same ones."""

    def __init__(self, units: Sequence[str], joiner: str) -> None:
        self._units, self.joiner = units, joiner

    def units(self, n: int) -> list[str]:
        """The first n; from the start again where there are less."""
        return list(islice(cycle(self._units), n))


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, white space made single. ValueError when there are none."""
    sentences = [part for part in re.split(r"(?<=[.!?])\s+", re.sub(r"\s+", " ", text).strip()) if part]
    if not sentences:
        raise ValueError("[eval] the haystack's file holds no text")
    return sentences


def make_haystack(task: Task, text: Sequence[str], n_most: int, seed: str) -> Haystack:
    """text: sentences of the user's file, empty without one. n_most: units that will be asked for, at most."""
    if task.haystack == "needles":
        rng, taken = random.Random(f"{seed}/haystack"), set[str]()
        keys = distinct(task.key, n_most, rng, taken)
        values = distinct(task.value, n_most, rng, taken)
        pairs = zip(keys, values, strict=True)
        return Haystack([NEEDLE.format(kind=task.value, key=key, value=value) for key, value in pairs], "\n")
    if task.haystack == "text" and text:
        return Haystack(text, " ")
    return Haystack([NOISE], "\n")


def insert(units: Sequence[str], needles: Sequence[tuple[float, str]]) -> list[str]:
    """The units with each needle (depth in percent, text) in front of the unit at its depth; needles that meet there
    keep their order."""
    out = list(units)
    for depth, text in sorted(needles, key=lambda needle: needle[0])[::-1]:
        out.insert(round(depth / 100 * len(units)), text)
    return out


def listing(keys: Sequence[str]) -> str:
    """ "a", or "a, b, and c"."""
    return keys[0] if len(keys) == 1 else ", ".join(keys[:-1]) + ", and " + keys[-1]


def make_sample(
    name: str, haystack: Haystack, depths: Sequence[float], number: int, n_questions: int, seed: str
) -> Sample:
    """Sample `number` of a task. depths: the grid, in percent; the first needle takes depth number mod their count,
    the others draw from the rest. n_questions: how many of the keys are asked for, one after the other."""
    rng = random.Random(f"{seed}/{number}")
    if name == TRACKING:
        return _make_trace(haystack, rng)
    task = TASKS[name]
    if task.n_fields:
        return _make_copy(task, haystack, depths[number % len(depths)], rng)
    n_keys = max(task.n_keys, n_questions) if task.haystack == "needles" else task.n_keys
    own = depths[number % len(depths)]
    others = rng.sample([depth for depth in depths if depth != own], n_keys * task.n_values - 1)
    places = [own, *others]
    taken: set[str] = set()
    keys = distinct(task.key, n_keys, rng, taken)
    values = [distinct(task.value, task.n_values, rng, taken) for _ in keys]
    needles = [
        (places[i * task.n_values + j], NEEDLE.format(kind=task.value, key=key, value=value))
        for i, key in enumerate(keys)
        for j, value in enumerate(values[i])
    ]
    one = task.n_queries * task.n_values == 1
    kind = task.value[:-1] if one else task.value

    def questions(n: int) -> list[Question]:
        context = haystack.joiner.join(insert(haystack.units(n), needles))
        asked = []
        for first in range(n_questions):
            query = listing(keys[first : first + task.n_queries])
            asked.append(
                Question(
                    (ASK_ONE if one else ASK_MANY).format(kind=kind, context=context, query=query),
                    (BEGIN_ONE if one else BEGIN_MANY).format(kind=kind, query=query),
                    tuple(value for some in values[first : first + task.n_queries] for value in some),
                    places[first] if one else None,
                )
            )
        return asked

    return Sample(questions, min(places))


def _chain(rng: random.Random) -> tuple[str, list[str], list[str]]:
    """A value, the variables that get it, and the statements that give it."""
    names: list[str] = []
    while len(names) < HOPS + 1:
        name = "".join(rng.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=5))
        if name not in names:
            names.append(name)
    value = str(rng.randint(10000, 99999))
    statements = [f"VAR {names[0]} = {value}"]
    statements += [f"VAR {name} = VAR {before} " for before, name in pairwise(names)]
    return value, names, statements


def _make_trace(haystack: Haystack, rng: random.Random) -> Sample:
    """A chain of assignments at random places, in order, behind a worked example of the same kind."""
    example, chain = _chain(rng), _chain(rng)
    places = [sorted(100 * rng.random() for _ in statements) for _, _, statements in (example, chain)]

    def ask(made: tuple[str, list[str], list[str]], depths: Sequence[float], n: int) -> tuple[str, str]:
        value, names, statements = made
        units = insert(haystack.units(n), list(zip(depths, statements, strict=True)))
        context = haystack.joiner.join(units)
        return TRACE.format(context=context, query=value), BEGIN_TRACE.format(n=len(names), query=value)

    def questions(n: int) -> list[Question]:
        shown, shown_begin = ask(example, places[0], EXAMPLE_UNITS)
        user, begin = ask(chain, places[1], n)
        front = f"{shown}{shown_begin}{' '.join(example[1])}\n\n"
        return [Question(front + user, begin, tuple(chain[1]), None)]

    return Sample(questions, 0.0)


def _make_copy(task: Task, haystack: Haystack, depth: float, rng: random.Random) -> Sample:
    """An object of names and numbers of three digits at a depth, all of which is asked for but the record's number."""
    record = rng.randint(1000, 9999)
    names = distinct(task.key, task.n_fields, rng, {"record"})
    fields = tuple(f'"{name}": {rng.randint(100, 999)}' for name in names)
    front = RECORD.format(record=record)
    hidden = [(depth, f"{front} {', '.join(fields)}}}")]

    def questions(n: int) -> list[Question]:
        context = haystack.joiner.join(insert(haystack.units(n), hidden))
        user = COPY.format(context=context, record=record, n=task.n_fields)
        return [Question(user, BEGIN_COPY.format(record=record) + front, fields, depth)]

    return Sample(questions, depth)
