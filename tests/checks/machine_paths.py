"""Checks that no file names a place that only one machine has: absolute paths of a home or a work folder."""

from __future__ import annotations

import re
from collections.abc import Iterator

from common import finish, project_files, read

# Written in pieces, so that this file passes its own check.
PLACES = re.compile(
    r"(?<![\w.~])/(?:" + "|".join(["wo" + "rk/", "ro" + "ot/", "ho" + "me/", "Us" + "ers/", "mn" + "t/"]) + ")"
)
BINARY = (".npz", ".npy", ".gguf", ".png", ".bin")


def faults() -> Iterator[str]:
    for path in project_files():
        if path.name.endswith(BINARY):
            continue
        for number, line in enumerate(read(path).splitlines(), 1):
            if PLACES.search(line):
                yield f"{path}:{number}: {line.strip()[:100]}"


if __name__ == "__main__":
    finish("machine paths", faults(), "none")
