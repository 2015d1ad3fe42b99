"""A chat on a terminal: lines are edited, messages before come back, what is pasted is one message."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

BRACKETED = b"\x1b[?2004h"  # what a terminal is told when an edited line begins
LEFT, UP, PASTE, ALT_ENTER = "\x1b[D", "\x1b[A", "\x1b[200~{}\x1b[201~", "\x1b\r"


class Terminal:
    """What a person at a terminal does; answers are short."""

    def __init__(self, process: subprocess.Popen[bytes], side: int, prompt: bytes) -> None:
        self.process, self.side, self.prompt, self.seen = process, side, prompt, b""

    def wait_for(self, text: bytes, seconds: float = 60) -> None:
        """Reads until the text has come; what stands before it is forgotten."""
        end = time.monotonic() + seconds
        while text not in self.seen:
            assert time.monotonic() < end, self.seen
            if select.select([self.side], [], [], 0.5)[0]:
                self.seen += os.read(self.side, 65536)
        self.seen = self.seen.partition(text)[2]

    def type(self, keys: str) -> None:
        os.write(self.side, keys.encode())

    def say(self, keys: str) -> None:
        """Types, and waits for the next prompt."""
        self.type(keys)
        self.wait_for(self.prompt)

    def save(self, path: Path) -> list[str]:
        """What the user has said so far."""
        self.say(f"/save {path}\r")
        return [message["content"] for message in json.loads(path.read_text()) if message["role"] == "user"]


@contextmanager
def chat(model: str, term: str) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "spectralkv.cli", "run", "-m", model, "-cnv", "--temp", "0", "-n", "2"]
    with subprocess.Popen(
        [*command, "-c", "256"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=os.environ | {"TERM": term, "PROMPT_TOOLKIT_NO_CPR": "1"},
        start_new_session=True,
    ) as process:
        os.close(theirs)
        terminal = Terminal(process, ours, BRACKETED if term == "xterm" else b"> ")
        try:
            terminal.wait_for(b"/help lists the commands")
            terminal.wait_for(terminal.prompt)
            yield terminal
        finally:
            process.kill()
            os.close(ours)


def test_messages_are_edited(tiny_model: str, tmp_path: Path) -> None:
    with chat(tiny_model, "xterm") as terminal:
        terminal.say("helo" + LEFT + "l\r")
        assert terminal.save(tmp_path / "one.json") == ["hello"]
        terminal.say(PASTE.format("hello\nthe world") + "!\r")
        assert terminal.save(tmp_path / "two.json") == ["hello", "hello\nthe world!"]
        terminal.say("he" + ALT_ENTER + "there\r")
        assert terminal.save(tmp_path / "three.json")[2:] == ["he\nthere"]
        terminal.say("/reset\r")
        terminal.say("hold\r")
        terminal.say(UP + "er\r")
        assert terminal.save(tmp_path / "four.json") == ["hold", "holder"]
        terminal.type("\x04")
        assert terminal.process.wait(60) == 0


def test_ctrl_c_ends_a_chat_that_waits(tiny_model: str) -> None:
    with chat(tiny_model, "xterm") as terminal:
        terminal.type("\x03")
        assert terminal.process.wait(60) == 130


@pytest.mark.parametrize("term", ["dumb", ""])
def test_a_terminal_that_cannot_be_drawn_on(tiny_model: str, tmp_path: Path, term: str) -> None:
    with chat(tiny_model, term) as terminal:
        terminal.say("hello\nthe world\n")  # at once, as a paste comes
        assert terminal.save(tmp_path / "one.json") == ["hello\nthe world"]
        terminal.type("\x04")
        assert terminal.process.wait(60) == 0
