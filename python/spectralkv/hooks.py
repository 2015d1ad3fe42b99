"""What a program may put between the model and a draw: logits processors and stopping criteria."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.intc]
Scores = NDArray[np.single]
LEAST = np.float32(-1e30)  # what -infinity, for a token that is banned, becomes: the core takes finite logits
Shape = Callable[[Ids, Scores], Scores]  # what _core.Generation takes


class LogitsProcessor(Protocol):
    """Gives the logits [n_vocab] to draw from, of the tokens so far and the logits after them, which it may change."""

    def __call__(self, input_ids: Ids, scores: Scores, /) -> Scores: ...


class StoppingCriteria(Protocol):
    """Says whether to stop, of the tokens so far and the logits after them."""

    def __call__(self, input_ids: Ids, logits: Scores, /) -> bool: ...


class LogitsProcessorList(list[LogitsProcessor]):
    """Processors that follow each other: each gets the tokens so far and the logits [n_vocab] of the one before it."""

    def __call__(self, input_ids: Ids, scores: Scores) -> Scores:
        for processor in self:
            scores = processor(input_ids, scores)
        return scores


class StoppingCriteriaList(list[StoppingCriteria]):
    """Criteria of which one is enough."""

    def __call__(self, input_ids: Ids, logits: Scores) -> bool:
        return any(bool(stopping(input_ids, logits)) for stopping in self)


class MinTokensLogitsProcessor:
    """No end token before so many tokens were generated."""

    def __init__(self, min_tokens: int, token_eos: int) -> None:
        self.min_tokens, self.token_eos = min_tokens, token_eos
        self.prompt_tokens: int | None = None

    def __call__(self, input_ids: Ids, scores: Scores) -> Scores:
        if self.prompt_tokens is None:
            self.prompt_tokens = len(input_ids)
        if len(input_ids) - self.prompt_tokens < self.min_tokens:
            scores[self.token_eos] = -np.inf
        return scores


class Stopped(Exception):
    """A stopping criterion was met: the generation ends before this draw."""


def _callable(name: str, value: Any, kind: type) -> Any:
    if value is None or callable(value):
        return value
    if isinstance(value, Sequence) and all(callable(item) for item in value):
        return kind(value)
    raise TypeError(f"[python] {name} must be a function of tokens and logits, or several, not {value!r}")


def shape_of(logits_processor: Any, stopping_criteria: Any) -> Shape | None:
    """What _core.Generation takes as `shape`; Stopped comes out of its next() when a criterion is met."""
    processor = _callable("logits_processor", logits_processor, LogitsProcessorList)
    criteria = _callable("stopping_criteria", stopping_criteria, StoppingCriteriaList)
    if processor is None and criteria is None:
        return None

    def shape(input_ids: Ids, scores: Scores) -> Scores:
        if criteria is not None and criteria(input_ids, scores):
            raise Stopped
        if processor is None:
            return scores
        made = np.ascontiguousarray(processor(input_ids, scores), dtype=np.float32)
        if made.shape != scores.shape:
            raise ValueError(f"[python] logits_processor gave an array {made.shape}, not {scores.shape}")
        return np.maximum(made, LEAST)  # NaN stays, and is an error

    return shape
