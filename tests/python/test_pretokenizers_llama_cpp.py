"""Tokens beside llama.cpp's, where there is one (see conftest.py): every pre-tokenizer, and what files leave open."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFWriter
from support.splits import (
    ALIASES,
    BYTE,
    CONTROL,
    NORMAL,
    SPLITS,
    UNKNOWN,
    byte_level_vocabulary,
    corpus,
    every_character,
    texts,
)

from spectralkv import _core

SIDE = Path(__file__).resolve().parents[1] / "support" / "llama_cpp_tokens.py"


def llama_cpp_tokens(
    python: str, paths: list[Path], given: list[str], folder: Path, special: bool = True
) -> list[list[list[int]] | None]:
    """Of each file the tokens of each text as llama.cpp makes them, None for a file that it refuses."""
    out = folder / "theirs.npz"
    request = {"vocabularies": [str(path) for path in paths], "texts": given, "special": special, "out": str(out)}
    subprocess.run([python, str(SIDE)], input=json.dumps(request), text=True, check=True)
    with np.load(out) as arrays:
        return [
            None
            if f"ids{i}" not in arrays
            else [part.tolist() for part in np.split(arrays[f"ids{i}"], arrays[f"ends{i}"][:-1])]
            for i in range(len(paths))
        ]


def write_byte_level(path: Path, pre: str | None, bos: bool = True, typed: bool = True, **flags: bool) -> Path:
    tokens, types, merges = byte_level_vocabulary()
    writer = GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    if pre is not None:
        writer.add_tokenizer_pre(pre)
    writer.add_token_list([token.encode() for token in tokens])
    if typed:
        writer.add_token_types(types)
    writer.add_token_merges([" ".join(merge) for merge in merges])
    if bos:
        writer.add_bos_token_id(tokens.index("<|start|>"))
    writer.add_eos_token_id(tokens.index("<|end|>"))
    finish(writer, flags)
    return path


def finish(writer: GGUFWriter, flags: dict[str, bool]) -> None:
    for name, value in flags.items():
        writer.add_bool(f"tokenizer.ggml.{name}", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def check_same(path: Path, given: list[str], expected: list[list[int]] | None, special: bool = True) -> None:
    """expected: llama.cpp's tokens, which loads what ours does."""
    assert expected is not None, path
    own = _core.Tokenizer.from_file(path)
    for text, ids in zip(given, expected, strict=True):
        got = own.encode(text.encode(), True, special)
        assert got == ids, (path, text, [own.piece(i, True) for i in ids], [own.piece(i, True) for i in got])


@pytest.mark.parametrize("name", SPLITS)
def test_splits(name: str, llama_cpp_python: str, tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    path = write_byte_level(tmp_path / "v.gguf", name)
    for special in (True, False):
        given = list(texts(f"{name} {special}", 1500))
        [expected] = llama_cpp_tokens(llama_cpp_python, [path], given, tmp_path, special)
        check_same(path, given, expected, special)


@pytest.mark.parametrize("name", SPLITS)
def test_every_character(name: str, llama_cpp_python: str, tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    path = write_byte_level(tmp_path / "v.gguf", name)
    given = list(every_character(32, step=5))
    [expected] = llama_cpp_tokens(llama_cpp_python, [path], given, tmp_path)
    check_same(path, given, expected)


def test_every_name(llama_cpp_python: str, tmp_path: Path) -> None:
    """Of names that share a split too: the split, whole words before merges, BOS where a file does not say it."""
    pytest.importorskip("tokenizers")
    names = [*SPLITS, *(alias for listed in ALIASES.values() for alias in listed.split())]
    assert sorted(names) == sorted(_core.pretokenizers())
    given = [*texts("names", 100), " unmerged x", "unmerged"]
    paths = [write_byte_level(tmp_path / f"{name}.gguf", name) for name in names]
    for path, expected in zip(paths, llama_cpp_tokens(llama_cpp_python, paths, given, tmp_path), strict=True):
        check_same(path, given, expected)


def test_what_byte_level_files_leave_open(llama_cpp_python: str, tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    paths = [
        write_byte_level(tmp_path / "no_pre.gguf", None),
        write_byte_level(tmp_path / "empty_pre.gguf", ""),
        write_byte_level(tmp_path / "no_bos.gguf", "llama-bpe", bos=False),
        write_byte_level(tmp_path / "bos.gguf", "qwen2", add_bos_token=True),
        write_byte_level(tmp_path / "not_bos.gguf", "llama-bpe", add_bos_token=False),
        write_byte_level(tmp_path / "eos.gguf", "tekken", add_eos_token=True),
        write_byte_level(tmp_path / "sep.gguf", "gpt-2", add_sep_token=True),
        write_byte_level(tmp_path / "untyped.gguf", "gpt-2", typed=False),
    ]
    given = [*texts("open", 200), "a<|end|> b"]
    for path, expected in zip(paths, llama_cpp_tokens(llama_cpp_python, paths, given, tmp_path), strict=True):
        check_same(path, given, expected)
    for path in paths:
        assert ("'tokenizer.ggml.pre' is missing" in _core.Tokenizer.from_file(path).warning) == ("pre" in path.stem)


def test_names_that_nobody_knows(llama_cpp_python: str, tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    path = write_byte_level(tmp_path / "v.gguf", "qwen9")
    assert llama_cpp_tokens(llama_cpp_python, [path], ["a"], tmp_path) == [None]
    with pytest.raises(ValueError, match="unknown pre-tokenizer 'qwen9', there are default, "):
        _core.Tokenizer.from_file(path)


def write_scored(path: Path, named: bool, typed: bool = True, **flags: bool) -> Path:
    """A SentencePiece-like vocabulary: bytes, characters and parts of words with scores."""
    rng = random.Random(5)
    words = " ".join(corpus()).replace("\n", " ").replace(" ", " \u2581").split()
    parts = {word[:n] for word in rng.choices(words, k=4000) for n in range(1, 7)}
    parts |= set("".join(texts("characters", 100))) - set(" <")
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *sorted(parts - {"\0"})]
    writer = GGUFWriter(path, "llama")
    writer.add_tokenizer_model("llama")
    writer.add_token_list([token.encode() for token in tokens])
    writer.add_token_scores([-rng.choice(range(1000)) for _ in tokens])
    if typed:
        writer.add_token_types([UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * (len(tokens) - 259)])
    if named:
        writer.add_bos_token_id(2)
        writer.add_eos_token_id(1)
    finish(writer, flags)
    return path


def test_what_scored_files_leave_open(llama_cpp_python: str, tmp_path: Path) -> None:
    paths = [
        write_scored(tmp_path / "nothing.gguf", False),
        write_scored(tmp_path / "untyped.gguf", False, typed=False),
        write_scored(tmp_path / "named.gguf", True, add_eos_token=True),
        write_scored(tmp_path / "no_bos.gguf", False, add_bos_token=False, add_space_prefix=False),
    ]
    for special in (True, False):
        given = [*texts("scored", 1000), "a</s>b <s> c", "<unk>"]
        theirs = llama_cpp_tokens(llama_cpp_python, paths, given, tmp_path, special)
        for path, expected in zip(paths, theirs, strict=True):
            check_same(path, given, expected, special)
