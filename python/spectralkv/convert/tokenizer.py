"""Finds a checkpoint's tokenizer and joins what its files say: vocabulary, special ids, chat templates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from spectralkv.convert.errors import ConvertError
from spectralkv.convert.forms import Each, Id, read_json_if_there
from spectralkv.convert.sentencepiece import is_sentencepiece, read_sentencepiece
from spectralkv.convert.tekken import read_tekken
from spectralkv.convert.tokenizer_json import added_tokens, read_document, read_tokenizer_json
from spectralkv.convert.vocabulary import BY_SCORE, BYTE_LEVEL, TokenType, Vocabulary

NAMED = ("bos", "eos", "unk", "pad")
# tokenizer_config.json: a token is named by its text, or by an object that has it.
SETTINGS: dict[str, Any] = {f"{name}_token": (str, {"content": str}) for name in NAMED} | {"tokenizer_class": str}
SETTINGS |= {"add_bos_token": bool, "add_eos_token": bool, "chat_template": (str, [{"name": str, "template": str}])}
# config.json and generation_config.json; ids beyond the vocabulary, and -1, stand for none.
IDS = {f"{name}_token_id": (int, [int]) for name in NAMED}
# Classes of transformers whose add_bos_token and add_eos_token override tokenizer.json's own post-processor.
LLAMA_CLASSES = ("LlamaTokenizer", "LlamaTokenizerFast", "CodeLlamaTokenizer", "CodeLlamaTokenizerFast")


def read_tokenizer(folder: Path, consolidated: bool) -> Vocabulary:
    """The vocabulary with everything around it. ConvertError when no file is understood, with what was found."""
    vocabulary, rules = _vocabulary(folder, consolidated)
    if vocabulary.model == BYTE_LEVEL and not vocabulary.merges:
        raise ConvertError(f"{vocabulary.source} lists no merges, which byte-level BPE needs")
    settings = read_json_if_there(folder / "tokenizer_config.json", SETTINGS)
    config = {} if consolidated else read_json_if_there(folder / "config.json", IDS)
    generation = read_json_if_there(folder / "generation_config.json", IDS)
    vocabulary = _with_ids(vocabulary, settings, config, generation)
    vocabulary = _with_added_ends(vocabulary, rules, settings)
    return replace(vocabulary, chat_templates=chat_templates(folder, settings))


def _vocabulary(folder: Path, consolidated: bool) -> tuple[Vocabulary, dict[str, Any]]:
    """The vocabulary, and the tokenizer.json behind it, empty if there is none."""
    tekken, fast, pieces = folder / "tekken.json", folder / "tokenizer.json", folder / "tokenizer.model"
    if not pieces.exists():
        pieces = next(iter(sorted(folder.glob("tokenizer.model.v*"), reverse=True)), pieces)
    if tekken.exists() and (consolidated or not fast.exists()):
        return read_tekken(tekken), {}
    if pieces.exists() and is_sentencepiece(pieces):  # its scores are the originals
        rules = read_document(fast) if fast.exists() else {}
        return _with_added(read_sentencepiece(pieces), rules, folder), rules
    if fast.exists():
        return read_tokenizer_json(fast), read_document(fast)
    found = sorted(path.name for path in folder.iterdir() if "token" in path.name or "vocab" in path.name)
    raise ConvertError(
        f"{folder} has no tokenizer that is understood: tokenizer.json, tokenizer.model (sentencepiece) or tekken.json;"
        f" there is {', '.join(found) or 'none of these'}"
    )


def _with_added(vocabulary: Vocabulary, rules: dict[str, Any], folder: Path) -> Vocabulary:
    """A sentencepiece vocabulary with the tokens that Hugging Face's files add behind it."""
    tokens, types, scores = list(vocabulary.tokens), list(vocabulary.types), list(vocabulary.scores)
    added = added_tokens(rules, folder / "tokenizer.json")
    for text, token in read_json_if_there(folder / "added_tokens.json", Each(Id)).items():
        if all(token != known for known, _, _ in added):
            added.append((token, text, TokenType.USER_DEFINED))
    for token, text, kind in sorted(added):
        if token > len(tokens):
            raise ConvertError(f"{folder}: added token {token} ({text!r}) leaves a gap behind {len(tokens)} tokens")
        if token == len(tokens):
            tokens.append(b"")
            types.append(TokenType.UNUSED)
            scores.append(0.0)
        if types[token] not in (TokenType.UNKNOWN, TokenType.CONTROL):
            tokens[token], types[token] = text.encode(), kind
    return replace(vocabulary, tokens=tuple(tokens), types=tuple(types), scores=tuple(scores))


def _with_ids(
    vocabulary: Vocabulary, settings: dict[str, Any], config: dict[str, Any], generation: dict[str, Any]
) -> Vocabulary:
    """bos, eos, unknown and padding: tokenizer_config.json names texts, the other two name ids."""
    ids = {text: i for i, text in reversed(list(enumerate(vocabulary.tokens)))}

    def named(key: str) -> int | None:
        value = settings.get(f"{key}_token")
        text = value.get("content") if isinstance(value, dict) else value
        if text is None:
            return None
        if text.encode() not in ids:
            raise ConvertError(f"{vocabulary.source} lacks {text!r}, which tokenizer_config.json names as {key}_token")
        return ids[text.encode()]

    def listed(source: dict[str, Any], key: str) -> list[int]:
        value = source.get(f"{key}_token_id")
        values = value if isinstance(value, list) else [] if value is None else [value]
        return [token for token in values if 0 <= token < len(vocabulary.tokens)]

    def first(key: str, own: int | None) -> int | None:
        tokens = [named(key), *listed(generation, key), *listed(config, key), own]
        return next((token for token in tokens if token is not None), None)

    ends = [first("eos", vocabulary.eos), *listed(generation, "eos"), *listed(config, "eos")]
    more_eos = tuple(dict.fromkeys(token for token in ends if token is not None))
    types = list(vocabulary.types)
    bos = first("bos", vocabulary.bos)
    for token in (*more_eos, bos):
        if token is not None and types[token] in (TokenType.NORMAL, TokenType.USER_DEFINED):
            types[token] = TokenType.CONTROL
    return replace(
        vocabulary,
        types=tuple(types),
        merges=_without_special(vocabulary, types),
        bos=bos,
        eos=ends[0],
        more_eos=more_eos,
        unknown=vocabulary.unknown if vocabulary.unknown is not None else named("unk"),
        padding=first("pad", vocabulary.padding),
    )


def _without_special(vocabulary: Vocabulary, types: list[TokenType]) -> tuple[str, ...]:
    """Merges by score, where they are listed, know ordinary tokens only. Those of a special token's text are never
    asked for: every text has been cut at it before."""
    if vocabulary.model != BY_SCORE or not vocabulary.merges:
        return vocabulary.merges
    ordinary = (TokenType.NORMAL, TokenType.USER_DEFINED)
    plain = {text.decode() for text, kind in zip(vocabulary.tokens, types, strict=True) if kind in ordinary}
    pairs = [(merge, *merge.split(" ")) for merge in vocabulary.merges]
    return tuple(merge for merge, left, right in pairs if {left, right, left + right} <= plain)


def _with_added_ends(vocabulary: Vocabulary, rules: dict[str, Any], settings: dict[str, Any]) -> Vocabulary:
    """Whether a text gets bos in front and eos behind."""
    add_bos, add_eos = vocabulary.add_bos, vocabulary.add_eos
    if rules:
        add_bos, add_eos = _post_processor(vocabulary, rules.get("post_processor"))
    overrides = not rules or settings.get("tokenizer_class") in LLAMA_CLASSES
    if overrides:
        add_bos = bool(settings.get("add_bos_token", add_bos))
        add_eos = bool(settings.get("add_eos_token", add_eos))
    for add, token, name in ((add_bos, vocabulary.bos, "bos"), (add_eos, vocabulary.eos, "eos")):
        if add and token is None:
            raise ConvertError(f"{vocabulary.source}: texts shall get the {name} token, but no file names it")
    return replace(vocabulary, add_bos=add_bos, add_eos=add_eos)


def _post_processor(vocabulary: Vocabulary, rules: Any) -> tuple[bool, bool]:
    """(bos in front, eos behind) of tokenizer.json's post_processor. ConvertError for any other template."""
    steps = (rules.get("processors") or []) if rules and rules.get("type") == "Sequence" else [rules] if rules else []
    templates = [step for step in steps if step.get("type") == "TemplateProcessing"]
    unknown = [step for step in steps if step.get("type") not in ("TemplateProcessing", "ByteLevel")]
    if unknown or len(templates) > 1:
        raise ConvertError(f"{vocabulary.source}: this post_processor is not understood: {rules!r}")
    if not templates:
        return False, False
    parts = [_part(part) for part in templates[0].get("single") or []]

    def text_of(token: int | None) -> bytes | None:
        return None if token is None else vocabulary.tokens[token]

    bos, eos = text_of(vocabulary.bos), text_of(vocabulary.eos)
    for add_bos in (False, True):
        for add_eos in (False, True):
            if parts == [*([bos] if add_bos else []), "text", *([eos] if add_eos else [])]:
                return add_bos, add_eos
    raise ConvertError(
        f"{vocabulary.source}: the post_processor puts {parts!r} together; expected bos {bos!r}, text, eos {eos!r}"
    )


def _part(part: dict[str, Any]) -> str | bytes | None:
    """What stands at one place of a template: "text", a special token's own text, or None for neither."""
    if part.get("SpecialToken"):
        return str(part["SpecialToken"].get("id")).encode()
    return "text" if "Sequence" in part else None


def chat_templates(folder: Path, settings: dict[str, Any]) -> dict[str, str]:
    """By name: of chat_template.jinja, else of tokenizer_config.json, which has one text or a list of named ones."""
    file = folder / "chat_template.jinja"
    if file.exists():
        try:
            return {"default": file.read_text(encoding="utf-8")}
        except UnicodeDecodeError as error:
            raise ConvertError(f"{file} is no UTF-8: {error}") from error
    given = settings.get("chat_template")
    if given is None:
        return {}
    if isinstance(given, str):
        return {"default": given}
    for entry in given:
        if entry.get("name") is None or entry.get("template") is None:
            raise ConvertError(f"{folder / 'tokenizer_config.json'}: an entry of chat_template lacks name or template")
    return {entry["name"]: entry["template"] for entry in given}
