"""Hugging Face's tokenizer.json: byte-level BPE, and SentencePiece-like BPE with byte fallback."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from spectralkv._core import pretokenizers
from spectralkv.convert.errors import ConvertError
from spectralkv.convert.forms import Each, Id, check_form, read_json
from spectralkv.convert.merges import Pair, first_difference, first_unreachable, read_merges, scores_of
from spectralkv.convert.pretokenizers import Split, flat_steps, is_byte_level, known_split, name_of
from spectralkv.convert.vocabulary import BY_SCORE, BYTE_LEVEL, TokenType, Vocabulary

SPACE = "\u2581"
BYTE = re.compile(r"<0x[0-9A-F]{2}>")
TEXTS = ("type", "behavior", "prepend", "content", "prepend_scheme", "replacement")
FLAGS = ("invert", "individual_digits", "add_prefix_space", "use_regex", "split")
STEP: dict[str, Any] = {**dict.fromkeys(TEXTS, str), **dict.fromkeys(FLAGS, bool)}
STEP |= {"pattern": {"Regex": str, "String": str}, "single": [{"SpecialToken": {"id": str}}]}
STEP |= {"pretokenizers": [STEP], "normalizers": [STEP], "processors": [STEP]}
DOCUMENT = {
    "added_tokens": [{"id": Id, "content": str, "special": bool, "lstrip": bool, "rstrip": bool}],
    "normalizer": STEP,
    "pre_tokenizer": STEP,
    "post_processor": STEP,
    "model": {"type": str},
}
MODEL = {
    "vocab": Each(Id),
    "merges": [(str, [str])],
    "unk_token": str,
    "byte_fallback": bool,
    "ignore_merges": bool,
}


def read_tokenizer_json(path: Path) -> Vocabulary:
    """The vocabulary, without what tokenizer_config.json says. ConvertError shows a form that is not understood."""
    data = read_document(path)
    model = data.get("model") or {}
    if model.get("type", "BPE") != "BPE" or not model.get("vocab"):
        raise ConvertError(f"{path}: tokenizer model {model.get('type')!r} is not supported, expected BPE")
    check_form(model, MODEL, path, "model")
    for key in ("continuing_subword_prefix", "end_of_word_suffix", "dropout"):
        if model.get(key):
            raise ConvertError(f"{path}: BPE with {key} = {model[key]!r} is not supported")
    if is_byte_level(data.get("pre_tokenizer")):
        return _byte_level(data, model, path)
    if model.get("byte_fallback"):
        return _sentence_piece_like(data, model, path)
    shown = {key: data.get(key) for key in ("normalizer", "pre_tokenizer")}
    raise ConvertError(
        f"{path}: neither byte-level BPE nor BPE with byte fallback: {json.dumps(shown, ensure_ascii=False)}"
    )


def read_document(path: Path) -> dict[str, Any]:
    """The file's object, its form checked but for the model's own."""
    data = read_json(path)
    check_form(data, DOCUMENT, path)
    return data


def added_tokens(data: dict[str, Any], path: Path) -> list[tuple[int, str, TokenType]]:
    """Tokens beside the model's vocabulary: control tokens, and those that are always matched."""
    out = []
    for token in data.get("added_tokens") or []:
        if token.get("id") is None or not token.get("content"):
            raise ConvertError(f"{path}: an added token is damaged: {token!r}")
        out.append(
            (token["id"], token["content"], TokenType.CONTROL if token.get("special") else TokenType.USER_DEFINED)
        )
    return out


def space_notes(data: dict[str, Any]) -> list[str]:
    """Tokens that take white space with them, which GGUF cannot say."""
    takers = [
        token["content"] for token in data.get("added_tokens") or [] if token.get("lstrip") or token.get("rstrip")
    ]
    return [f"white space around {', '.join(takers[:4])} is kept; the original drops it"] if takers else []


def _lay_out(
    vocab: dict[str, int], added: list[tuple[int, str, TokenType]], path: Path
) -> tuple[list[bytes], list[TokenType]]:
    """Tokens by id, added ones over the model's; ids without a token become unused ones."""
    size = max([*vocab.values(), *(token for token, _, _ in added)], default=-1) + 1
    if size > 4 * (len(vocab) + len(added)) + 1000:
        raise ConvertError(f"{path}: ids go up to {size - 1} for {len(vocab) + len(added)} tokens")
    texts = [f"[PAD{i}]".encode() for i in range(size)]
    types = [TokenType.UNUSED] * size
    for token, text, kind in [*((token, text, TokenType.NORMAL) for text, token in vocab.items()), *added]:
        if types[token] != TokenType.UNUSED and texts[token] != text.encode():
            raise ConvertError(f"{path}: token {token} is both {texts[token].decode()!r} and {text!r}")
        texts[token], types[token] = text.encode(), kind
    return texts, types


def _byte_level(data: dict[str, Any], model: dict[str, Any], path: Path) -> Vocabulary:
    normalizer = flat_steps(data.get("normalizer"), "normalizers")
    composes = [step.get("type") for step in normalizer] == ["NFC"]
    if normalizer and not composes:
        shown = json.dumps(normalizer)
        raise ConvertError(f"{path}: a byte-level tokenizer with a normalizer other than NFC is not supported: {shown}")
    split = known_split(data["pre_tokenizer"], path)
    ignore_merges = bool(model.get("ignore_merges"))
    pre = name_of(split, ignore_merges)
    vocab, pairs = model["vocab"], read_merges(model, path)
    added = added_tokens(data, path)
    plain = set(vocab) - {text for _, text, _ in added}
    who = f"tokenizers that split like {pre}"
    _check_ignore_merges(ignore_merges, pretokenizers()[pre][0], who, plain, pairs, path)
    _check_digits(split, pairs, path)
    texts, types = _lay_out(vocab, added, path)
    notes = [*space_notes(data), *([split.note] if split.note else [])]
    if composes:  # GGUF cannot say so, and llama.cpp does not either
        notes.append("the original composes characters (NFC) before it splits a text; here a text is taken as it is")
    return Vocabulary(
        source=str(path),
        model=BYTE_LEVEL,
        pre=pre,
        tokens=tuple(texts),
        types=tuple(types),
        merges=tuple(f"{left} {right}" for left, right in pairs),
        notes=tuple(notes),
    )


def _check_digits(split: Split, pairs: list[Pair], path: Path) -> None:
    """Digits that the original takes one by one stay apart where GGUF's rule leaves them together."""
    joined = (left + right for left, right in pairs if split.digits_apart)
    if odd := next((text for text in joined if any(digit in text for digit in "0123456789")), None):
        raise ConvertError(
            f"{path}: the merge {odd!r} joins digits, which GGUF's {split.names[0]} does not keep apart: the tokens "
            "would be others"
        )


def _check_ignore_merges(given: bool, expected: bool, who: str, plain: set[str], pairs: list[Pair], path: Path) -> None:
    """Whether whole words are taken from the vocabulary before merging is not in GGUF: it must make no difference."""
    if given == expected:
        return
    if odd := first_unreachable(sorted(plain), pairs):
        raise ConvertError(
            f"{path}: ignore_merges is {given}, {who} have {expected}, and token {odd!r} shows the difference"
        )


def _sentence_piece_like(data: dict[str, Any], model: dict[str, Any], path: Path) -> Vocabulary:
    prefix, scheme = _space_prefix(data, path)
    vocab, pairs = model["vocab"], read_merges(model, path)
    added = added_tokens(data, path)
    texts, types = _lay_out(vocab, added, path)
    for text, token in vocab.items():
        if BYTE.fullmatch(text):
            types[token] = TokenType.BYTE
    plain = {text for text, token in vocab.items() if types[token] == TokenType.NORMAL}
    who = "tokenizers with byte fallback"
    _check_ignore_merges(bool(model.get("ignore_merges")), False, who, plain, pairs, path)
    unknown = vocab.get(model.get("unk_token") or "")
    if unknown is not None:
        types[unknown] = TokenType.UNKNOWN
    scores = _scores(vocab, pairs, texts, types)
    notes = space_notes(data)
    if scheme:
        notes.append(
            f"spaces in front are those of Metaspace's {scheme!r}; a key of spectralkv's says so, which llama.cpp does "
            "not read: there a space more stands behind special tokens, or before a text's own"
        )
    difference = first_difference(vocab, pairs)
    if difference:
        notes.append(
            f"no scores can say these merges: {difference}; they are written too, and spectralkv follows them, "
            "llama.cpp the scores"
        )
    return Vocabulary(
        source=str(path),
        model=BY_SCORE,
        pre="default",
        tokens=tuple(texts),
        types=tuple(types),
        scores=tuple(scores),
        merges=_listed(vocab, pairs, types, path) if difference else (),
        unknown=unknown,
        add_space_prefix=prefix,
        prepend_scheme=scheme,
        notes=tuple(notes),
    )


def _scores(vocab: dict[str, int], pairs: list[Pair], texts: list[bytes], types: list[TokenType]) -> list[float]:
    """By id; a token of several characters that no merge gives is never reached: its type says so."""
    made = scores_of(pairs)
    scores = [0.0] * len(texts)
    for text, token in vocab.items():
        if types[token] != TokenType.NORMAL:
            continue
        if text in made:
            scores[token] = made[text]
        elif len(text) > 1:
            types[token] = TokenType.UNUSED
    return scores


def _listed(vocab: dict[str, int], pairs: list[Pair], types: list[TokenType], path: Path) -> tuple[str, ...]:
    """The merges as GGUF lists them."""
    for left, right in pairs:
        if TokenType.BYTE in {types[vocab[text]] for text in (left, right, left + right)}:
            raise ConvertError(f"{path}: the merge of {left!r} and {right!r} merges bytes, which is not supported")
    return tuple(f"{left} {right}" for left, right in pairs)


def _space_prefix(data: dict[str, Any], path: Path) -> tuple[bool, str]:
    """Whether a space is put in front of a text, and Metaspace's scheme where that says of which; ConvertError for any
    other treatment of spaces than U+2581."""
    steps = flat_steps(data.get("normalizer"), "normalizers")
    before = flat_steps(data.get("pre_tokenizer"), "pretokenizers")
    replaces = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    prepends = {"type": "Prepend", "prepend": SPACE}
    if not before and steps in ([prepends, replaces], [replaces]):
        return prepends in steps, ""
    if not steps and len(before) == 1 and before[0].get("type") == "Metaspace":
        space = before[0]
        scheme = space.get("prepend_scheme", "always" if space.get("add_prefix_space", True) else "never")
        known = scheme in ("always", "first", "never") and space.get("replacement") == SPACE
        if known and space.get("split") is False:
            return scheme != "never", scheme if scheme != "never" else ""
    shown = {key: data.get(key) for key in ("normalizer", "pre_tokenizer")}
    raise ConvertError(
        f"{path}: this treatment of spaces is not understood: {json.dumps(shown, ensure_ascii=False)}; understood are "
        f"Prepend and Replace of {SPACE!r}, and Metaspace without split"
    )
