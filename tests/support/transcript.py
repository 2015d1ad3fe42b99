"""Pages with commands and their outputs: what is in a page, what the commands print now, and whether that is the same.

A block of "console" has commands behind "$ " and below each what it prints, standard error too; "..." stands for any
text, on a line of its own for any lines. A block of "python" whose first line is a comment with a name is a file."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

MARK = "-- next command --"
PART = re.compile(r"(\d+(?:\.\d+)?|\.\.\.)")
FORMS = {"...": ".*", "1": r"(\d+(?:\.\d+)?)"}
TIMED = re.compile(r"time =|per second|peak memory|\| cpu ")  # every number of such a line is the machine's
MACHINE = re.compile(r"cpu \w+, \d+ threads?|cpu \w+ \| \d+")
TOLERANCE = 0.1  # of numbers with a point: sums in another order


@dataclass
class Command:
    text: str
    output: list[str] = field(default_factory=list)


def files_of(page: str) -> dict[str, str]:
    """The Python files of a page by their names."""
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    return {name[1]: block for block in blocks if (name := re.match(r"# (\w+\.py)\n", block))}


def commands_of(page: str) -> list[list[Command]]:
    """The commands of each block."""
    blocks = []
    for block in re.findall(r"^```console\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        commands: list[Command] = []
        for line in block.splitlines():
            if line.startswith("$ "):
                commands.append(Command(line[2:]))
            else:
                commands[-1].output.append(line)
        blocks.append(commands)
    return blocks


def run_block(commands: list[Command], folder: Path, environment: Mapping[str, str]) -> list[list[str]]:
    """What each command prints, in one shell."""
    script = "exec 2>&1\n" + "".join(f"{command.text}\necho '{MARK}'\n" for command in commands)
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=600
    )
    printed = done.stdout.decode("utf-8", "replace").split(f"{MARK}\n")
    return [text.splitlines() for text in printed[: len(commands)]]


def same_line(expected: str, got: str) -> bool:
    """Whether a line of the page is what was printed, but for what differs from one machine to another."""
    expected, got = (MACHINE.sub("cpu", line.rstrip()) for line in (expected, got))
    parts = PART.split(expected)  # text, number or "...", text, ...
    forms = [re.escape(part) if i % 2 == 0 else FORMS.get(part, FORMS["1"]) for i, part in enumerate(parts)]
    found = re.fullmatch("".join(forms), got)
    if found is None or TIMED.search(expected):
        return found is not None
    numbers = [part for part in parts[1::2] if part != "..."]
    return all(
        abs(float(a) - float(b)) <= TOLERANCE * abs(float(a)) if "." in a else a == b
        for a, b in zip(numbers, found.groups(), strict=True)
    )


def same_lines(expected: list[str], got: list[str]) -> bool:
    """The same of lines, with "..." for any number of them."""
    if not expected:
        return not got
    if expected[0] == "...":
        return any(same_lines(expected[1:], got[i:]) for i in range(len(got) + 1))
    return bool(got) and same_line(expected[0], got[0]) and same_lines(expected[1:], got[1:])
