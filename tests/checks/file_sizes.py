"""Checks that no source file has more than 500 lines, and tells the median."""

from __future__ import annotations

import statistics

from common import finish, project_files, read

LIMIT = 500
GENERATED = {"unicode_table.inl"}
SUFFIXES = (".h", ".cc", ".inl", ".def", ".cu", ".cuh", ".py", ".md", ".txt", ".cmake", ".sh")

if __name__ == "__main__":
    sizes = {p: read(p).count("\n") for p in project_files(*SUFFIXES) if p.name not in GENERATED}
    too_long = [f"{path} has {lines} lines, the limit is {LIMIT}" for path, lines in sizes.items() if lines > LIMIT]
    finish("file sizes", too_long, f"{len(sizes)} files, median {statistics.median(sizes.values()):.0f} lines")
