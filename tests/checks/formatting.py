"""Checks layout and types: clang-format, ruff and mypy of the test extra, whatever the machine has installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from common import ROOT, finish, project_files


def tool(name: str) -> str:
    """The program beside the interpreter (the pinned one), else the machine's."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    return found or sys.exit(f"formatting: {name} is missing: pip install '.[test]'")


def faults() -> Iterator[str]:
    sources = [str(path) for path in project_files(".h", ".cc", ".cu", ".cuh")]
    commands = {
        "clang-format": [tool("clang-format"), "--dry-run", "-Werror", *sources],
        "ruff check": [tool("ruff"), "check", "--quiet", "."],
        "ruff format": [tool("ruff"), "format", "--check", "--quiet", "."],
        "mypy": [tool("mypy"), "-p", "spectralkv"],  # as installed, where the generated stubs are
    }
    for name, command in commands.items():
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if result.returncode != 0:
            yield f"{name} finds faults\n{(result.stdout + result.stderr).strip()}"


if __name__ == "__main__":
    finish("formatting", faults(), "clang-format, ruff check, ruff format and mypy agree")
