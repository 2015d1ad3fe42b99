"""RULER's scores, which of the expected texts an answer holds (Hsieh et al. 2024, arXiv 2404.06654), and that of copied
objects."""

from __future__ import annotations

import re
from collections.abc import Sequence

FIELD = re.compile(r'"([^"]*)"\s*:\s*(\d+)')  # of an object of whole numbers


def clean_answer(text: str) -> str:
    """The answer without white space at its ends, control characters made line feeds, as RULER reads it."""
    return re.sub(r"[\x00-\x1f]", "\n", text.strip()).strip()


def string_match_all(answer: str, expected: Sequence[str]) -> float:
    """The share of the expected texts that the answer holds, upper and lower case alike."""
    held = answer.lower()
    return sum(text.lower() in held for text in expected) / len(expected)


def string_match_part(answer: str, expected: Sequence[str]) -> float:
    """1 when the answer holds any of the expected texts, else 0."""
    held = answer.lower()
    return float(any(text.lower() in held for text in expected))


def field_match(answer: str, expected: Sequence[str]) -> float:
    """The share of right fields in the first object of an answer, which may end before its brace does: of as many as
    it has or should have, whichever is more, so that it is 1 for the whole object alone. expected: each field as JSON
    has it."""
    given = set(FIELD.findall(answer.partition("}")[0]))
    wanted = {found for field in expected for found in FIELD.findall(field)}
    return len(given & wanted) / max(len(given), len(wanted))
