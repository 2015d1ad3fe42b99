"""What the checks share: the project's folder, its files, and how a result is told."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def project_files(*suffixes: str) -> list[Path]:
    """Files that git tracks or would track, relative to the project; with suffixes, those that end in one of them."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    paths = [Path(name) for name in sorted(set(names)) if (ROOT / name).is_file()]
    return [path for path in paths if not suffixes or path.name.endswith(suffixes)]


def read(path: Path) -> str:
    return (ROOT / path).read_text(encoding="utf-8", errors="replace")


def finish(name: str, faults: Iterable[str], passed: str) -> None:
    """Prints the faults and exits with 1, or says what was found right."""
    lines = list(faults)
    for line in lines:
        print(f"{name}: {line}", file=sys.stderr)
    if lines:
        sys.exit(1)
    print(f"{name}: {passed}")
