"""Texts are UTF-8, whatever an editor saved them as: the command line and the evaluations say so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from spectralkv.evaluate.texts import read_text

TEXT = "Größe und café, 東京.\n" * 30
OTHERS = {"utf-16": "UTF-16", "utf-16-le": "UTF-16", "utf-32": "UTF-32", "utf-16-be": "UTF-16"}


def command(*args: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "spectralkv.cli", *map(str, args)]
    return subprocess.run(words, capture_output=True, text=True, timeout=120)


def test_the_command_line(tiny_model: str, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"

    def ids(data: bytes) -> list[int]:
        path.write_bytes(data)
        result = command("tokenize", "-m", tiny_model, "-f", path, "--ids")
        assert result.returncode == 0 and result.stderr == "", result.stderr
        return list(json.loads(result.stdout))

    plain = ids(TEXT.encode())
    assert ids(TEXT.encode("utf-8-sig")) == plain
    for encoding, name in OTHERS.items():
        path.write_bytes(TEXT.encode(encoding))
        result = command("perplexity", "-m", tiny_model, "-f", path, "-c", 64)
        assert result.returncode == 1 and f"'{path}' is a text in {name}" in result.stderr
    path.write_bytes("café ".encode("latin-1") * 100)
    result = command("perplexity", "-m", tiny_model, "-f", path, "-c", 64)
    assert result.returncode == 0
    assert "warning: " in result.stderr and "is no UTF-8 text: 100 bytes are of no character" in result.stderr


def test_evaluations(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(TEXT.encode("utf-8-sig"))
    assert read_text(path) == TEXT
    for data, words in (
        (TEXT.encode("utf-16"), "a text in UTF-16, expected UTF-8"),
        (TEXT.encode("utf-32"), "a text in UTF-32"),
        (b"a\0b\0", "NUL bytes"),
        (b"caf\xe9 ", "is no UTF-8 text"),
    ):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=words):
            read_text(path)
