"""What to install where a package is missing that an extra would have brought."""

from __future__ import annotations

import importlib.metadata
import re


def install_hint(extra: str) -> str:
    """The pip command for what an extra names: it works wherever this package came from."""
    try:
        required = importlib.metadata.requires("spectralkv") or []
    except importlib.metadata.PackageNotFoundError:  # it runs from its sources
        required = []
    mark = re.compile(rf"""extra\s*==\s*["']{re.escape(extra)}["']""")
    names = [f"'{line.partition(';')[0].strip()}'" for line in required if mark.search(line)]
    return f"pip install {' '.join(names)}" if names else f"pip install '.[{extra}]' in the project's folder"
