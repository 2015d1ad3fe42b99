"""RULER's scores: which of the expected texts an answer holds (Hsieh et al. 2024, arXiv 2404.06654)."""

from __future__ import annotations

import re
from collections.abc import Sequence


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
