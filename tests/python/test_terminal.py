"""What files say is shown, not obeyed; output that nobody takes is told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFWriter

from spectralkv import _core
from spectralkv.terminal import complain, for_terminal

RED, WINDOW = "\x1b[31m", "\x1b]0;title\x07"
ODD = f"{RED}{WINDOW}\x9b1m\u202e\u2066\x7f\r"


def command(*args: object, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[bytes]:
    words = [sys.executable, "-m", "spectralkv.cli", *map(str, args)]
    return subprocess.run(words, stdout=stdout, stderr=subprocess.PIPE, timeout=120)


def obeyed(data: bytes) -> set[str]:
    """Characters of an output that a terminal would obey."""
    text = data.decode("utf-8", "replace")
    return {c for c in text if (ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160 or c in "\u202e\u2066"}


def test_escapes() -> None:
    assert for_terminal(ODD) == "\\x1b[31m\\x1b]0;title\\x07\\x9b1m\\u{202e}\\u{2066}\\x7f\\x0d"
    for text in ("plain\n\ttext", "café 東京 \U0001f600", "\u00a0—…", "caf\udce9", ""):
        assert for_terminal(text) == text


def test_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert complain(ValueError(f"a tensor '{ODD}'")) == 1
    assert not obeyed(capsys.readouterr().err.encode())


def test_files_that_say_odd_things(tmp_path: Path) -> None:
    """In names, keys, values, the architecture, and the template."""
    path = tmp_path / "odd.gguf"
    writer = GGUFWriter(path, f"arch{ODD}")
    writer.add_string(f"key{ODD}", f"value{ODD}")
    writer.add_tokenizer_model(f"model{ODD}")
    writer.add_token_list([f"token{ODD}"])
    writer.add_string("tokenizer.chat_template", f"{{{{ '{ODD}' }}}}")
    writer.add_tensor(f"tensor{ODD}"[:60], np.zeros((4, 32), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ValueError, match="architecture") as refused:
        _core.Engine(str(path))
    assert not obeyed(str(refused.value).encode())
    for words in (
        ["inspect", path, "--tensors"],
        ["inspect", path, "--tensors", "--json"],
        ["inspect", path, "--check"],
        ["run", "-m", path, "-p", "x"],
        ["tokenize", "-m", path, "-p", "x"],
        ["quantize", path, tmp_path / "out.gguf", "Q8_0"],
        ["quantize", "--dry-run", path, tmp_path / "out.gguf", "Q8_0"],
    ):
        result = command(*words)
        assert not obeyed(result.stdout + result.stderr), words
        assert result.stdout or result.stderr


def test_messages_of_a_template(make_tiny: object, capfd: pytest.CaptureFixture[str]) -> None:
    path = make_tiny(chat_template="{{ raise_exception('" + ODD + "') }}")  # type: ignore[operator]
    result = command("run", "-m", path, "-p", "x", "-n", "1")
    assert result.returncode == 1 and b"\\x1b[31m" in result.stderr
    assert not obeyed(result.stderr)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_output(tiny_model: str) -> None:
    with open("/dev/full", "wb") as full:
        for words in (["eval", "--help"], ["quantize", "--dry-run", tiny_model, "Q8_0"], ["inspect", tiny_model]):
            result = command(*words, stdout=full.fileno())
            assert result.returncode == 1, words
            assert b"No space left on device" in result.stderr and b"Traceback" not in result.stderr
