"""LongBench's scores of an answer, from 0 to 1, as its own programme computes them (Bai et al. 2023, arXiv 2308.14508).

qa_f1: F1 of words, SQuAD's normalisation (Rajpurkar et al. 2016). rouge_l: F of the longest common subsequence (Lin
2004), by the package `rouge`, whose variant LongBench uses. code_similarity: 2 M / T of matching blocks (Ratcliff and
Obershelp), rounded to whole percents, which is what fuzzywuzzy gives where no further package speeds it up.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_COMMENT_MARKS = ("`", "#", "//")


def _words(text: str) -> list[str]:
    """Lower case, without punctuation and articles, cut at white space."""
    return re.sub(r"\b(?:a|an|the)\b", " ", text.lower().translate(_PUNCTUATION)).split()


def qa_f1(answer: str, truth: str) -> float:
    """F1 of the bags of words."""
    ours, theirs = _words(answer), _words(truth)
    shared = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * shared / (len(ours) + len(theirs)) if shared else 0.0


def rouge_l(answer: str, truth: str) -> float:
    """The package's F of ROUGE-L; 0 where it cannot score: for an answer without words, or one that is too deep for its
    recursion."""
    from rouge import Rouge

    try:
        return float(Rouge(metrics=["rouge-l"]).get_scores(answer, truth)[0]["rouge-l"]["f"])
    except (ValueError, RecursionError):
        return 0.0


def _share_of_numbers(answer: str, right: str) -> float:
    """How many of the whole numbers in the answer are the right one."""
    numbers = re.findall(r"\d+", answer)
    return numbers.count(right) / len(numbers) if numbers else 0.0


def count(answer: str, truth: str) -> float:
    """The share of the answer's numbers that are the true count."""
    return _share_of_numbers(answer, truth)


def retrieval(answer: str, truth: str) -> float:
    """The share of the answer's numbers that are the number of the true paragraph, "Paragraph 12". ValueError where the
    truth names none."""
    found = re.search(r"Paragraph (\d+)", truth)
    if found is None:
        raise ValueError(f"[eval] expected an answer like 'Paragraph 12' in the data, got {truth!r}")
    return _share_of_numbers(answer, found[1])


def classification(answer: str, truth: str, classes: Sequence[str]) -> float:
    """One over the number of classes that the answer names, if the true one is among them. A class whose name is part
    of the true one's does not count; as in LongBench's programme the list is walked while it shrinks, so the name
    behind one that was taken out is passed over."""
    named = [name for name in classes if name in answer]
    at = 0
    while at < len(named):
        if named[at] in truth and named[at] != truth:
            del named[at]
        at += 1
    return 1 / len(named) if truth in named else 0.0


def code_similarity(answer: str, truth: str) -> float:
    """Of the true line and the first line of the answer that holds no mark of a comment or of a code fence."""
    lines = answer.lstrip("\n").split("\n")
    line = next((line for line in lines if not any(mark in line for mark in _COMMENT_MARKS)), "")
    if not line or not truth:
        return 0.0
    return round(100 * SequenceMatcher(None, line, truth).ratio()) / 100
