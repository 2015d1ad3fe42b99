"""Recognises how a tokenizer.json splits text, by what it does and not by a model's name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from spectralkv.convert.errors import ConvertError

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# (steps before the byte-level one, its use_regex): the name in GGUF.
KNOWN = {
    ((), True): "gpt-2",
    ((("split", GPT2),), False): "gpt-2",
    ((("digits",),), True): "smollm",
    ((("split", LLAMA3),), False): "llama-bpe",
    ((("split", TEKKEN),), False): "tekken",
    ((("split", QWEN2),), False): "qwen2",
}
IGNORES_MERGES = {"gpt-2": False, "smollm": False, "llama-bpe": True, "tekken": True, "qwen2": False}


def byte_level_name(rules: Any, path: Path) -> str:
    """The name of a byte-level pre-tokenizer. ConvertError shows one that is not known."""
    steps = flat_steps(rules, "pretokenizers")
    last = steps[-1] if steps else {}
    if last.get("type") == "ByteLevel" and last.get("add_prefix_space") is not True:
        known = KNOWN.get((tuple(_step(step) for step in steps[:-1]), last.get("use_regex") is not False))
        if known:
            return known
    raise ConvertError(
        f"{path}: this pre-tokenizer is not known: {json.dumps(rules, ensure_ascii=False)}; known are those of "
        f"{', '.join(sorted(set(KNOWN.values())))}"
    )


def is_byte_level(rules: Any) -> bool:
    """Whether any step works on bytes: then the vocabulary is in the byte-level alphabet."""
    return any(step.get("type") == "ByteLevel" for step in flat_steps(rules, "pretokenizers"))


def flat_steps(rules: Any, member: str) -> list[dict[str, Any]]:
    """A pre-tokenizer or normalizer as a list of steps, sequences unrolled."""
    if rules is None:
        return []
    if rules.get("type") == "Sequence":
        return [step for part in rules.get(member) or [] for step in flat_steps(part, member)]
    return [rules]


def _step(step: dict[str, Any]) -> tuple[str, ...]:
    kind = step.get("type")
    if kind == "Digits" and step.get("individual_digits") is True:
        return ("digits",)
    isolated = step.get("behavior") == "Isolated" and step.get("invert") is False
    if kind == "Split" and isolated and isinstance(step.get("pattern"), dict):
        return ("split", str(step["pattern"].get("Regex")))
    return ("unknown",)
