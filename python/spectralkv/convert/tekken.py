"""Mistral's tekken.json: byte sequences by rank, special tokens in front of them."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from spectralkv.convert.errors import ConvertError
from spectralkv.convert.forms import Id, read_json
from spectralkv.convert.pretokenizers import CASES, TEKKEN
from spectralkv.convert.vocabulary import BYTE_LEVEL, TokenType, Vocabulary

# Those of files that do not list theirs.
OLD_SPECIALS: tuple[str, ...] = ("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]")
OLD_SPECIALS += ("[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]")
OLD_SPECIALS += ("[PREFIX]", "[MIDDLE]", "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]")
MOST_SPECIAL = 1 << 20
DOCUMENT = {
    "config": {"pattern": str, "default_num_special_tokens": int, "default_vocab_size": int},
    "vocab": [{"rank": int, "token_bytes": str}],
    "special_tokens": [{"rank": Id, "token_str": str}],
}


def byte_alphabet() -> list[str]:
    """The printable character that byte-level BPE writes for each byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    names = {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}
    return [names[byte] for byte in range(256)]


def read_tekken(path: Path) -> Vocabulary:
    """The vocabulary. ConvertError for a pattern that is not tekken's, and for damaged entries."""
    data = read_json(path, DOCUMENT)
    config = data.get("config") or {}
    if config.get("pattern") != TEKKEN:
        raise ConvertError(f"{path}: this pattern is not tekken's: {config.get('pattern')!r}")
    n_special, n_all = config.get("default_num_special_tokens"), config.get("default_vocab_size")
    if n_special is None or n_all is None or not 0 < n_special < n_all:
        raise ConvertError(f"{path}: {n_all!r} tokens with {n_special!r} special ones make no sense")
    if n_special > MOST_SPECIAL:
        raise ConvertError(f"{path}: {n_special} special tokens are absurd")
    words = _words(data, path)[: n_all - n_special]
    specials, types = _specials(data, n_special, path)
    alphabet = byte_alphabet()

    def spelled(word: bytes) -> str:
        return "".join(alphabet[byte] for byte in word)

    ids = {text: i for i, text in enumerate(specials)}
    return Vocabulary(
        source=str(path),
        model=BYTE_LEVEL,
        pre="tekken",
        tokens=tuple(text.encode() for text in [*specials, *map(spelled, words)]),
        types=(*types, *(TokenType.NORMAL,) * len(words)),
        merges=tuple(f"{spelled(left)} {spelled(right)}" for left, right in merges_of(words)),
        bos=ids.get("<s>"),
        eos=ids.get("</s>"),
        unknown=ids.get("<unk>"),
        padding=ids.get("<pad>"),
        add_bos="<s>" in ids,
        notes=(CASES,),
    )


def _words(data: dict[str, Any], path: Path) -> list[bytes]:
    words = []
    for rank, entry in enumerate(data.get("vocab") or []):
        try:
            word = base64.b64decode(entry["token_bytes"], validate=True)
        except (KeyError, TypeError, ValueError) as error:
            raise ConvertError(f"{path}: token {rank} is damaged: {entry!r}") from error
        if entry.get("rank") != rank or not word:
            raise ConvertError(f"{path}: token {rank} has rank {entry.get('rank')!r}, expected them in order")
        words.append(word)
    if [word for word in words[:256] if len(word) == 1] != words[:256] or len(words) < 256:
        raise ConvertError(f"{path}: the first 256 tokens must be the single bytes")
    return words


def _specials(data: dict[str, Any], n: int, path: Path) -> tuple[list[str], list[TokenType]]:
    """Those that the file names (older files: a list that every version shares), then unnamed ones up to n."""
    named = data.get("special_tokens")
    if named is None:
        named = [{"rank": i, "token_str": text} for i, text in enumerate(OLD_SPECIALS)]
    texts = [f"<SPECIAL_{i}>" for i in range(n)]
    for entry in named:
        rank, text = entry.get("rank"), entry.get("token_str")
        if rank is None or text is None:
            raise ConvertError(f"{path}: a special token is damaged: {entry!r}")
        if rank < n:
            texts[rank] = text
    return texts, [TokenType.CONTROL] * n


def merges_of(words: list[bytes]) -> list[tuple[bytes, bytes]]:
    """Merges that give what tekken's own algorithm gives: it joins the two neighbours that together are the word of the
    lowest rank. So every split of a word into two words is a merge, in the order of the words."""
    ranks = {word: rank for rank, word in enumerate(words)}
    merges = []
    for word in words:
        cuts = [(word[:cut], word[cut:]) for cut in range(1, len(word))]
        found = [pair for pair in cuts if pair[0] in ranks and pair[1] in ranks]
        merges += sorted(found, key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))
    return merges
