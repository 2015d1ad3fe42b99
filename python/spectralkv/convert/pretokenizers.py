"""Recognises how a tokenizer.json splits text, by what it does and not by a model's name."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from spectralkv._core import pretokenizers
from spectralkv.convert.errors import ConvertError

SPACE = r"\s*[\r\n]+|\s+(?!\S)|\s+"
CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
OTHERS = r" ?[^\s\p{L}\p{N}]+"
HEADS, TAILS = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
LEAD = r"[^\r\n\p{L}\p{N}]?"
GPT2 = rf"'s|'t|'re|'ve|'m|'ll|'d| ?\p{{L}}+| ?\p{{N}}+|{OTHERS}|\s+(?!\S)|\s+"
LLAMA3 = rf"{CONTRACTIONS}|{LEAD}\p{{L}}+|\p{{N}}{{1,3}}|{OTHERS}[\r\n]*|{SPACE}"
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
QWEN35 = QWEN2.replace(r"\p{L}+", r"[\p{L}\p{M}]+").replace(r"[^\s\p{L}\p{N}]", r"[^\s\p{L}\p{M}\p{N}]")
SEED_CODER = rf"{CONTRACTIONS}|{LEAD}\p{{L}}+|\p{{N}}{{1}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{SPACE}"
TEKKEN = rf"{LEAD}{HEADS}*{TAILS}+|{LEAD}{HEADS}+{TAILS}*|\p{{N}}|{OTHERS}[\r\n/]*|{SPACE}"
GPT4O = (
    rf"{LEAD}{HEADS}*{TAILS}+{CONTRACTIONS}?|{LEAD}{HEADS}+{TAILS}*{CONTRACTIONS}?|\p{{N}}{{1,3}}|{OTHERS}[\r\n/]*"
    rf"|{SPACE}"
)
DEEPSEEK3 = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|"""
    + SPACE
)
# The letters that have a case, listed: this is the SHA-256 of the expression.
DEEPSEEK_LETTERS = "38fd0b5eb7e66ecf05e5e89dd0272208b64a6d60fa009c4ea1be70e7b7e739d5"
DEEPSEEK_SIGNS = "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+"
EAST_ASIAN = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
HAN_AND_KANA = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
BLOOM = " ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+"


@dataclass(frozen=True)
class Split:
    """Names in GGUF that split like this: the first, unless another has the ignore_merges of the file."""

    names: tuple[str, ...]
    note: str = ""  # what GGUF's rule, llama.cpp's, does otherwise
    digits_apart: bool = False  # GGUF's rule leaves digits together, which no merge may join then


CASES = (
    "GGUF's rule for this splits capital letters outside ASCII, and marks, in another way than the original; here they "
    "are split as in llama.cpp"
)
ASCII_THOUSANDS = "digits outside ASCII are not grouped by thousands in a GGUF file"
# (steps before the byte-level one, its use_regex): how it is called. CR and LF in expressions stand as \r and \n.
KNOWN = {
    ((), True): Split(("gpt-2",)),
    ((("split", GPT2),), False): Split(("gpt-2",)),
    ((("digits",),), True): Split(("smollm",)),
    ((("digits",), ("split", GPT2)), False): Split(("smollm",)),
    ((("split", LLAMA3),), False): Split(("llama-bpe", "smaug-bpe")),
    ((("split", r"\p{N}{1,3}"), ("split", LLAMA3.replace("{1,3}", "+"))), False): Split(("minicpm5",)),
    ((("split", TEKKEN),), False): Split(("tekken",), CASES),
    ((("split", GPT4O),), False): Split(("gpt-4o",), CASES),
    ((("split", QWEN2),), False): Split(("qwen2",)),
    ((("split", QWEN35),), False): Split(("qwen35",)),
    ((("split", SEED_CODER),), False): Split(("seed-coder",)),
    (
        (
            ("split", r"[\r\n]"),
            ("split", DEEPSEEK_LETTERS),
            ("split", DEEPSEEK_SIGNS),
            ("split", r"\s+$"),
            ("split", EAST_ASIAN),
            ("digits",),
        ),
        False,
    ): Split(("deepseek-llm",), digits_apart=True),
    (
        (
            ("split", r"[\r\n]"),
            ("split", r"\s?\p{L}+"),
            ("split", r"\s?\p{P}+"),
            ("split", EAST_ASIAN),
            ("digits",),
        ),
        False,
    ): Split(("deepseek-coder",)),
    ((("split", r"\p{N}{1,3}"), ("split", HAN_AND_KANA), ("split", DEEPSEEK3)), False): Split(("deepseek-v3",)),
    ((("split", BLOOM),), False): Split(("bloom",)),
    ((("split", BLOOM), ("digits",)), False): Split(("viking",)),
    ((("split", r"\p{N}+"), ("split", r"(?=(\d{3})+(?!\d))")), False): Split(("superbpe",), ASCII_THOUSANDS),
}


def known_split(rules: Any, path: Path) -> Split:
    """How a byte-level pre-tokenizer is called. ConvertError shows one that is not known, and says what to do."""
    steps = flat_steps(rules, "pretokenizers")
    last = steps[-1] if steps else {}
    if last.get("type") == "ByteLevel" and last.get("add_prefix_space") is not True:
        known = KNOWN.get((tuple(_step(step) for step in steps[:-1]), last.get("use_regex") is not False))
        if known:
            return known
    names = sorted({name for split in KNOWN.values() for name in split.names})
    raise ConvertError(
        f"{path}: this pre-tokenizer is not known: {json.dumps(rules, ensure_ascii=False)}; known are those of "
        f"{', '.join(names)}. A GGUF file of this model, its publisher's or from llama.cpp's converter, runs where "
        "docs/models.md has its tokenizer.ggml.pre"
    )


def name_of(split: Split, ignore_merges: bool) -> str:
    """The name whose rule has this ignore_merges, else the first."""
    return next((name for name in split.names if pretokenizers()[name][0] == ignore_merges), split.names[0])


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
        pattern = str(step["pattern"].get("Regex")).replace("\r", r"\r").replace("\n", r"\n")
        digest = sha256(pattern.encode("utf-8", "surrogatepass")).hexdigest()
        return ("split", DEEPSEEK_LETTERS if digest == DEEPSEEK_LETTERS else pattern)
    return ("unknown",)
