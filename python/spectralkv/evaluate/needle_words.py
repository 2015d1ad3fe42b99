"""What needles are made of: words from the package wonderwords, numbers and UUIDs, all drawn from a given generator."""

from __future__ import annotations

import functools
import random
import uuid
from collections.abc import Callable

from spectralkv.extras import install_hint


@functools.cache
def word_lists() -> tuple[list[str], list[str]]:
    """Adjectives and nouns, sorted. ValueError, which says how to install it, without the package."""
    try:
        from wonderwords import RandomWord
    except ImportError:
        raise ValueError(
            f"[eval] keys made of words need the package wonderwords, which is not installed: {install_hint('eval')}"
        ) from None
    words = RandomWord()
    adjectives, nouns = (words.filter(include_categories=[name]) for name in ("adjectives", "nouns"))
    return sorted(set(adjectives)), sorted(set(nouns))


def words_version() -> str:
    """The version of wonderwords, which decides the words; empty where it is missing."""
    import importlib.metadata

    try:
        return importlib.metadata.version("wonderwords")
    except importlib.metadata.PackageNotFoundError:
        return ""


def random_word(rng: random.Random) -> str:
    """ "quiet-harbour"."""
    adjectives, nouns = word_lists()
    return f"{rng.choice(adjectives)}-{rng.choice(nouns)}"


def random_noun(rng: random.Random) -> str:
    """ "harbour"."""
    return rng.choice(word_lists()[1])


def random_number(rng: random.Random) -> str:
    """Seven digits."""
    return str(rng.randint(10**6, 10**7 - 1))


def random_uuid(rng: random.Random) -> str:
    """A UUID of version 4."""
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


MAKERS: dict[str, Callable[[random.Random], str]] = {
    "words": random_word,
    "nouns": random_noun,
    "numbers": random_number,
    "uuids": random_uuid,
}


def distinct(kind: str, n: int, rng: random.Random, taken: set[str]) -> list[str]:
    """n texts of a kind, none of them in `taken`, which they join."""
    found: list[str] = []
    while len(found) < n:
        text = MAKERS[kind](rng)
        if text not in taken:
            taken.add(text)
            found.append(text)
    return found
