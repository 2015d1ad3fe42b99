"""docs/models.md names every pre-tokenizer with what it does, and tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

from spectralkv import _core


def table(page: str, heading: str) -> list[list[str]]:
    """The cells of the rows of the first table behind a heading."""
    lines = page.partition(heading)[2].split("\n|", 1)[1].split("\n\n", 1)[0].split("\n")
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_pre_tokenizers(root: Path) -> None:
    page = (root / "docs" / "models.md").read_text(encoding="utf-8")
    listed = {
        name: (whole == "yes", bos == "yes")
        for _, names, whole, bos in table(page, "## Pre-tokenizers")
        for name in re.findall("`([^`]+)`", names)
    }
    assert listed == _core.pretokenizers()
    assert f"{len(listed)} of the names" in (root / "README.md").read_text(encoding="utf-8")


def test_families(root: Path) -> None:
    rows = table((root / "docs" / "models.md").read_text(encoding="utf-8"), "## Families")
    assert len(rows) > 5
    for family, _, _, state, _, tests in rows:
        named = re.findall(r"`(\w+\.py)::(\w+)`", tests)
        assert named or not state.startswith("runs"), family
        for file, function in named:
            assert f"\ndef {function}(" in (root / "tests" / "python" / file).read_text(encoding="utf-8"), family
