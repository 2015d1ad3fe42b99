"""Checks that objects compiled for one instruction set define no weak symbol: weak_symbols.py BUILD.

The linker keeps one of several weak definitions, perhaps the one with instructions that the CPU at hand lacks.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from common import finish


def objects(build: Path) -> list[Path]:
    return sorted((build / "CMakeFiles" / "room_simd.dir" / "cpp" / "simd").glob("kernels_*.o"))


def faults(build: Path) -> Iterator[str]:
    found = objects(build)
    if not found:
        yield f"{build} holds no simd objects: build the project there first"
    for path in found:
        lines = subprocess.run(["nm", "-C", str(path)], capture_output=True, text=True, check=True).stdout.splitlines()
        for line in lines:
            kind, _, symbol = line[17:].partition(" ")  # behind the address
            if kind in {"W", "V", "u"}:
                yield f"{path.name} defines {symbol} as weak ({kind})"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: weak_symbols.py BUILD")
    folder = Path(sys.argv[1])
    finish("weak symbols", faults(folder), f"none in {', '.join(path.name for path in objects(folder))}")
