"""Prompts that have a text in front and one behind: by the tokens that models for it have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
# What stands in front of other files of a project.
_REPOSITORY = ("fim_rep_token_id", ("<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"))
_FILE = ("fim_sep_token_id", ("<|file_sep|>",))
# All that is looked up in a model file's metadata.
METADATA_KEYS = frozenset(f"tokenizer.ggml.{key}" for key in (*sum(_KEYS, ()), _REPOSITORY[0], _FILE[0]))
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


def _mark(metadata: Mapping[str, Any], tokenizer: _core.Tokenizer, key: str, names: tuple[str, ...]) -> list[int]:
    """The one token, that the file names or of a known name; none where the vocabulary has none."""
    value = str(metadata.get(f"tokenizer.ggml.{key}", ""))
    if value.isdecimal() and int(value) < tokenizer.n_vocab:
        return [int(value)]
    for name in names:
        ids = tokenizer.encode(name.encode(), False, True)
        if len(ids) == 1 and tokenizer.is_control(ids[0]):
            return ids
    return []


def project_prompt(
    metadata: Mapping[str, Any],
    tokenizer: _core.Tokenizer,
    texts: tuple[str, str, str],
    others: Sequence[tuple[str, str]],
    room: int,
    suffix_first: bool,
) -> list[int]:
    """As llama-server's /infill has it. texts: the prefix, the suffix, and how the middle begins; others: names and
    contents of files that are looked at as well. What has no room, in tokens, is left out: of the others what comes
    first, of the prefix its beginning, of the suffix, which keeps a quarter, its end. ValueError as infill_prompt's."""
    marks = _ids(metadata, tokenizer)
    if marks is None:
        raise ValueError("[python] the model's vocabulary has no tokens for infill (fim_prefix and the like)")
    before, after = (tokenizer.encode(text.encode(), False, False) for text in texts[:2])
    middle = tokenizer.encode(texts[2].encode(), False, True)
    begin = [tokenizer.bos] if tokenizer.add_bos and tokenizer.bos >= 0 else []
    room -= len(marks) + len(begin) + len(middle)
    if room < 1:
        raise ValueError("[python] the text that the middle begins with leaves no room")
    after = after[: max(room // 4, room - len(before))]
    before = before[max(len(before) - (room - len(after)), 0) :]
    room -= len(before) + len(after)

    repository, file = (_mark(metadata, tokenizer, *row) for row in (_REPOSITORY, _FILE))

    def named(name: str) -> list[int]:
        return [*file, *tokenizer.encode(f"{name}\n".encode(), False, False)]

    project = [*repository, *tokenizer.encode(b"myproject\n", False, False)] if repository else []
    for name, content in others:
        project += named(name) if file else tokenizer.encode(b"\n\n--- snippet ---\n\n", False, False)
        project += tokenizer.encode(content.encode(), False, False)
    if file:
        project += named("filename")
    head, tail = [marks[0], *before, *middle], [marks[1], *after]
    project = project[max(len(project) - room, 0) :]
    return [*project, *begin, *(tail + head if suffix_first else head + tail), marks[2]]
