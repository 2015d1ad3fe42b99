"""Prompts that have a text in front and one behind: by the tokens that models for it have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from spectralkv import _core

_KEYS = (
    ("fim_pre_token_id", "prefix_token_id"),
    ("fim_suf_token_id", "suffix_token_id"),
    ("fim_mid_token_id", "middle_token_id"),
)
_NAMES = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    ("<\uff5cfim\u2581begin\uff5c>", "<\uff5cfim\u2581hole\uff5c>", "<\uff5cfim\u2581end\uff5c>"),
    ("\u2581<PRE>", "\u2581<SUF>", "\u2581<MID>"),
    ("<PRE>", "<SUF>", "<MID>"),
    ("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"),
)
_MARK = "\u263a"  # stands in front of a text that shall not get a space


def _ids(metadata: Mapping[str, Any], tokenizer: _core.Tokenizer) -> tuple[int, int, int] | None:
    """The tokens before the prefix, the suffix and the middle: those that the file names, else those of known names."""
    keyed = []
    for keys in _KEYS:
        values = [metadata[f"tokenizer.ggml.{key}"] for key in keys if f"tokenizer.ggml.{key}" in metadata]
        keyed += values[:1]
    if len(keyed) == 3 and all(str(value).isdecimal() and int(value) < tokenizer.n_vocab for value in keyed):
        return int(keyed[0]), int(keyed[1]), int(keyed[2])
    for names in _NAMES:
        found = [tokenizer.encode(name.encode(), False, True) for name in names]
        if all(len(ids) == 1 and tokenizer.is_control(ids[0]) for ids in found):
            return found[0][0], found[1][0], found[2][0]
    return None


def infill_prompt(
    metadata: Mapping[str, Any],
    tokenizer: _core.Tokenizer,
    encode: Callable[[bytes], list[int]],
    prefix: list[int],
    suffix: str,
    suffix_first: bool,
) -> list[int]:
    """The prompt for what stands between `prefix`, token ids, and a text; encode: of text alone. ValueError where the
    vocabulary has no tokens for it."""
    marks = _ids(metadata, tokenizer)
    if marks is None:
        raise ValueError("[python] suffix: the model's vocabulary has no tokens for infill (fim_prefix and the like)")
    mark, marked = encode(_MARK.encode()), encode((_MARK + suffix).encode("utf-8", "surrogateescape"))
    behind = marked[len(mark) :] if marked[: len(mark)] == mark else encode(suffix.encode("utf-8", "surrogateescape"))
    before, after = [marks[0], *prefix], [marks[1], *(behind if suffix else [])]
    begin = [tokenizer.bos] if tokenizer.add_bos and tokenizer.bos >= 0 else []
    return [*begin, *(after + before if suffix_first else before + after), marks[2]]
