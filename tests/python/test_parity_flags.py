"""llama.cpp's options, a stored list of them, beside the table of `help llama.cpp` and the page that has it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from spectralkv.cli import main

COMMAND = [sys.executable, "-m", "spectralkv.cli"]


def run(*args: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    result = subprocess.run([*COMMAND, *args], capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == status, result.stderr
    return result


@pytest.fixture(scope="module")
def table() -> str:
    return run("help", "llama.cpp").stdout


def peers(root: Path) -> dict[str, list[list[str]]]:
    """By command, the names of each option of llama.cpp."""
    found: dict[str, list[list[str]]] = {}
    for line in (root / "tests" / "support" / "llama_cpp_flags.txt").read_text().splitlines():
        if line.startswith("["):
            rows = found.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            rows.append(line.split())
    return found


def ours(table: str) -> dict[str, list[tuple[list[str], str, str]]]:
    """By command, names, kind and note of each row."""
    found: dict[str, list[tuple[list[str], str, str]]] = {}
    for line in table.splitlines():
        if line.startswith("## "):
            rows = found.setdefault(line.split("`")[1].split()[1], [])
        elif line.startswith("| `"):
            names, kind, note = (part.strip() for part in re.split(r"(?<!\\)\|", line)[1:4])
            rows.append((re.findall(r"`([^`]+)`", names), kind, note))
    return found


def test_the_page_has_the_table(table: str, root: Path) -> None:
    page = (root / "docs" / "llama-cpp.md").read_text()
    assert page[page.index("## `spectralkv run`") :] == table


def test_no_option_of_llama_cpp_is_missing(table: str, root: Path) -> None:
    rows = ours(table)
    for command, options in peers(root).items():
        here = {name for names, kind, _ in rows[command] if kind != "not llama.cpp's" for name in names}
        theirs = {name for option in options for name in option} - {"-h", "--help", "--usage"}
        assert theirs <= here, (command, theirs - here)


def test_what_is_said_to_be_theirs_is(table: str, root: Path) -> None:
    rows, known = ours(table), peers(root)
    shared = {name for option in known["run"] for name in option}
    for command, options in rows.items():
        theirs = {name for option in known[command] for name in option} | (shared if command == "perplexity" else set())
        for names, kind, note in options:
            assert (kind == "not llama.cpp's") == theirs.isdisjoint(names), (command, names, kind)
            assert note or kind == "same", (command, names)


def test_every_kind_of_option_does_what_the_table_says(
    tiny_model: str, table: str, capfd: pytest.CaptureFixture[str]
) -> None:
    def log(*args: str, status: int = 0) -> str:
        assert main(args) == status
        return capfd.readouterr().err

    base = ["run", "-m", tiny_model, "-p", "hello", "-n", "1", "-no-cnv", "-c", "64"]
    told = log(*base, "--mlock", "-fa", "on", "--no-mmap", "-tb", "3", "-fa")
    assert "note: --mlock, -fa, --mmap and -tb have no effect here" in told
    for names, kind, note in ours(table)["run"]:
        for name in names if kind == "refused" else []:
            told = log("run", name, "x", status=2)
            assert f"option '{name}' is not supported: {note.replace(chr(92), '')}" in told
