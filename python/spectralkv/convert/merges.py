"""Merges of a BPE vocabulary: how files write them, and whether every token can be reached through them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from spectralkv.convert.errors import ConvertError

Pair = tuple[str, str]


def read_merges(model: dict[str, Any], path: Path) -> list[Pair]:
    """Of tokenizer.json: "left right", or ["left", "right"] in newer files. Both and their union are tokens."""
    vocab = model["vocab"]
    pairs: list[Pair] = []
    for merge in model.get("merges") or []:
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if len(parts) != 2 or not all(parts):
            raise ConvertError(f"{path}: merge {len(pairs)} is {merge!r}, expected two texts")
        left, right = parts
        if lacking := next((text for text in (left, right, left + right) if text not in vocab), None):
            raise ConvertError(f"{path}: merge {len(pairs)} is {merge!r}, the vocabulary lacks {lacking!r}")
        pairs.append((left, right))
    return pairs


def bpe(symbols: list[str], ranks: dict[Pair, int]) -> list[str]:
    """Merges the pair of the lowest rank, the leftmost first, until there is none."""
    while len(symbols) > 1:
        ranked = [(ranks.get(pair, -1), i) for i, pair in enumerate(itertools.pairwise(symbols))]
        best = min((entry for entry in ranked if entry[0] >= 0), default=None)
        if best is None:
            break
        at = best[1]
        symbols = [*symbols[:at], symbols[at] + symbols[at + 1], *symbols[at + 2 :]]
    return symbols


def first_unreachable(tokens: Iterable[str], pairs: list[Pair]) -> str | None:
    """A token that merging its own characters does not give, or None. Only such tokens tell apart a tokenizer that
    takes whole words from the vocabulary before it merges from one that does not."""
    ranks = {pair: rank for rank, pair in reversed(list(enumerate(pairs)))}
    return next((token for token in tokens if bpe(list(token), ranks) != [token]), None)


def scores_of(pairs: list[Pair]) -> dict[str, float]:
    """A score for each token that a merge gives: the earlier its first merge, the higher."""
    scores: dict[str, float] = {}
    for rank, (left, right) in enumerate(pairs):
        scores.setdefault(left + right, -float(rank))
    return scores


def first_difference(vocab: dict[str, int], pairs: list[Pair]) -> str | None:
    """Why merging by score (any two neighbours that together are a token, the best token first) can differ from the
    merges, or None: a split of a token that is no merge, or merges of one token with another's between them."""
    known = set(pairs)
    made = dict.fromkeys(left + right for left, right in pairs)  # in their order: which is named is always the same
    last = ""
    closed: set[str] = set()
    for left, right in pairs:
        token = left + right
        if token != last:
            if token in closed:
                return f"the merges of {token!r} do not follow one another"
            closed.add(last)
            last = token
    for token in made:
        for cut in range(1, len(token)):
            left, right = token[:cut], token[cut:]
            atoms = (left in made or len(left) == 1) and (right in made or len(right) == 1)
            if atoms and left in vocab and right in vocab and (left, right) not in known:
                return f"{left!r} and {right!r} are tokens, as is {token!r}, but they are no merge"
    return None
