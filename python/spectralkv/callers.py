"""Where a warning points: at the program that uses the package."""

from __future__ import annotations

import sys


def callers_level() -> int:
    """The stacklevel, for a function that calls this one, of the first frame outside of the package."""
    level, frame = 1, sys._getframe(1)
    while frame.f_globals.get("__name__", "").partition(".")[0] == "spectralkv" and frame.f_back is not None:
        level, frame = level + 1, frame.f_back
    return level
