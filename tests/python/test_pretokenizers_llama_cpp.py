"""Every pre-tokenizer's tokens beside llama.cpp's, where there is one (see conftest.py), on files that this writes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFWriter
from support.splits import (
    SPLITS,
    byte_level_vocabulary,
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


def write_byte_level(path: Path, pre: str | None, **keys: bool) -> Path:
    tokens, types, merges = byte_level_vocabulary()
    writer = GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    if pre is not None:
        writer.add_tokenizer_pre(pre)
    writer.add_token_list([token.encode() for token in tokens])
    writer.add_token_types(types)
    writer.add_token_merges([" ".join(merge) for merge in merges])
    writer.add_bos_token_id(tokens.index("<|start|>"))
    writer.add_eos_token_id(tokens.index("<|end|>"))
    for name, value in keys.items():
        writer.add_bool(f"tokenizer.ggml.{name}", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def check_same(own: Any, given: list[str], expected: list[list[int]], special: bool, name: str) -> None:
    for text, ids in zip(given, expected, strict=True):
        got = own.encode(text.encode(), True, special)
        assert got == ids, (name, text, [own.piece(i, True) for i in ids], [own.piece(i, True) for i in got])


@pytest.mark.parametrize("name", SPLITS)
def test_byte_level(name: str, llama_cpp_python: str, tmp_path: Path) -> None:
    """Tokens, whole words before merges, and BOS where the file does not say it."""
    pytest.importorskip("tokenizers")
    path = write_byte_level(tmp_path / "v.gguf", name)
    own = _core.Tokenizer.from_file(path)
    for special in (True, False):
        given = list(texts(f"{name} {special}"))
        [expected] = llama_cpp_tokens(llama_cpp_python, [path], given, tmp_path, special)
        assert expected is not None
        check_same(own, given, expected, special, name)


@pytest.mark.parametrize("name", SPLITS)
def test_every_character(name: str, llama_cpp_python: str, tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    path = write_byte_level(tmp_path / "v.gguf", name)
    own = _core.Tokenizer.from_file(path)
    given = [line for text in every_character() for line in text.splitlines(keepends=True)]
    [expected] = llama_cpp_tokens(llama_cpp_python, [path], given, tmp_path)
    assert expected is not None
    check_same(own, given, expected, True, name)
