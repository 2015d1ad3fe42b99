"""docs/first-hour.md: its commands are run, and print what it says."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

pytest.importorskip("starlette")
pytest.importorskip("llguidance")

from support import transcript
from support.serving import free_port
from support.transcript import Command, same_line, same_lines


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl, which the page's commands use")
@pytest.mark.usefixtures("demo_model")
def test_every_output_is_true(root: Path, tmp_path: Path) -> None:
    page = (root / "docs" / "first-hour.md").read_text()
    programs, work = tmp_path / "programs", tmp_path / "work"
    programs.mkdir()
    work.mkdir()
    for name, words in {"spectralkv": "-m spectralkv.cli ", "python": ""}.items():
        (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} {words}"$@"\n')
        (programs / name).chmod(0o755)
    for name, text in transcript.files_of(page).items():
        (work / name).write_text(text)
    environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "CHECKOUT": str(root)}
    port, wrong = str(free_port()), []
    for block in transcript.commands_of(page):
        commands = [Command(command.text.replace("8080", port), command.output) for command in block]
        for command, got in zip(commands, transcript.run_block(commands, work, environment), strict=True):
            if not same_lines(command.output, got):
                wrong.append("\n".join([f"$ {command.text}", *got, "-- the page has --", *command.output]))
    assert not wrong, "\n\n".join(wrong)


def test_what_counts_as_the_same() -> None:
    assert same_line("total time = 12.5 ms / 3 tokens", "total time = 9.75 ms / 4 tokens")
    assert same_line("cpu avx512, 2 threads", "cpu avx2, 16 threads")
    assert same_line("PPL = 1.50 of 12...", "PPL = 1.52 of 12 and more")
    assert not same_line("PPL = 1.50", "PPL = 1.80")
    assert not same_line("12 tokens", "13 tokens")
    assert not same_line("yes", "no")
    assert same_lines(["a", "...", "d"], ["a", "b", "c", "d"])
    assert not same_lines(["a", "...", "d"], ["a", "b"])
    assert not same_lines(["a"], ["a", "b"])
