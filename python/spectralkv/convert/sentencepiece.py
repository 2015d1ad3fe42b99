"""Google's sentencepiece model files: read straight from their protocol buffer."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from spectralkv.convert.errors import ConvertError
from spectralkv.convert.vocabulary import BY_SCORE, TokenType, Vocabulary

PIECES, TRAINER, NORMALIZER = 1, 2, 3  # fields of the model
PIECE_TEXT, PIECE_SCORE, PIECE_TYPE = 1, 2, 3
MODEL_TYPE, SUFFIX_SPACES, UNK_ID, BOS_ID, EOS_ID, PAD_ID = 3, 24, 40, 41, 42, 43  # of the trainer
CHAR_MAP, DUMMY_PREFIX, REMOVE_SPACES, ESCAPE_SPACES = 2, 3, 4, 5  # of the normalizer
BPE = 2


class Field(NamedTuple):
    number: int
    value: int | bytes  # a varint; 4, 8 or any number of bytes


def fields(data: bytes) -> Iterator[Field]:
    """The fields of a message; ValueError when it is cut or no protocol buffer."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = 0
        for shift in range(0, 70, 7):
            if at >= len(data):
                raise ValueError("a number is cut")
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("a number has more than 64 bits")

    while at < len(data):
        tag = varint()
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            yield Field(number, varint())
            continue
        length = {1: 8, 5: 4}.get(wire, -1) if wire != 2 else varint()
        if length < 0 or at + length > len(data):
            raise ValueError(f"field {number} is cut or of unknown kind {wire}")
        yield Field(number, data[at : at + length])
        at += length


def is_sentencepiece(path: Path) -> bool:
    """Whether the file begins like one; Llama 3's tokenizer.model, for one, is a list of tokens in text."""
    with open(path, "rb") as file:
        start = file.read(2)
    return start[:1] == b"\x0a"  # field 1, the first piece


def read_sentencepiece(path: Path) -> Vocabulary:
    """The vocabulary of a BPE model. ConvertError for Unigram, and for normalisers that change text."""
    try:
        return _read(path)
    except (ValueError, struct.error, UnicodeDecodeError) as error:
        if isinstance(error, ConvertError):
            raise
        raise ConvertError(f"{path} is no sentencepiece model: {error}") from error


def _read(path: Path) -> Vocabulary:
    tokens: list[bytes] = []
    scores: list[float] = []
    types: list[TokenType] = []
    trainer: dict[int, int] = {}
    normalizer: dict[int, int] = {}
    for number, value in fields(path.read_bytes()):
        if not isinstance(value, bytes):
            continue
        if number == PIECES:
            text, score, kind = b"", 0.0, int(TokenType.NORMAL)
            for part in fields(value):
                if part.number == PIECE_TEXT and isinstance(part.value, bytes):
                    text = part.value
                elif part.number == PIECE_SCORE and isinstance(part.value, bytes):
                    score = struct.unpack("<f", part.value)[0]
                elif part.number == PIECE_TYPE and isinstance(part.value, int):
                    kind = part.value
            tokens.append(text)
            scores.append(score)
            types.append(TokenType(kind))
        elif number == TRAINER:
            trainer = _numbers(value)
        elif number == NORMALIZER:
            normalizer = _numbers(value)
    if not tokens:
        raise ConvertError(f"{path} holds no tokens")
    _check(path, trainer, normalizer)

    def special(field: int, default: int) -> int | None:
        token = trainer.get(field, default)
        return token if token < len(tokens) else None  # -1 is a huge number here

    unknown = special(UNK_ID, 0)
    return Vocabulary(
        source=str(path),
        model=BY_SCORE,
        pre="default",
        tokens=tuple(tokens),
        types=tuple(types),
        scores=tuple(scores),
        bos=special(BOS_ID, 1),
        eos=special(EOS_ID, 2),
        unknown=unknown,
        padding=special(PAD_ID, (1 << 64) - 1),
        add_bos=True,  # the file does not say; so do Llama and Mistral, and tokenizer_config.json may correct it
        add_space_prefix=bool(normalizer.get(DUMMY_PREFIX, 1)),
    )


def _numbers(message: bytes) -> dict[int, int]:
    """The fields that are numbers, and the length of those that are bytes."""
    return {number: value if isinstance(value, int) else len(value) for number, value in fields(message)}


def _check(path: Path, trainer: dict[int, int], normalizer: dict[int, int]) -> None:
    if trainer.get(MODEL_TYPE, 1) != BPE:
        names = {1: "Unigram", 3: "Word", 4: "Char"}
        kind = names.get(trainer.get(MODEL_TYPE, 1), "unknown")
        raise ConvertError(f"{path}: a sentencepiece model of type {kind} is not supported, expected BPE")
    if trainer.get(SUFFIX_SPACES):
        raise ConvertError(f"{path}: spaces as suffixes are not supported")
    if normalizer.get(CHAR_MAP):
        raise ConvertError(f"{path}: a normaliser that changes characters is not supported, expected identity")
    if normalizer.get(REMOVE_SPACES, 1):
        raise ConvertError(f"{path}: a normaliser that removes repeated spaces is not supported")
    if not normalizer.get(ESCAPE_SPACES, 1):
        raise ConvertError(f"{path}: spaces that are not written as U+2581 are not supported")
