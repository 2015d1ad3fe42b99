"""What the growth checks share: a copy of the tree, the row of CONTRIBUTING's table, and the tests of the copy."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from common import ROOT, finish, project_files, read


def named_files(kind: str, name: str) -> set[Path]:
    """Those that CONTRIBUTING's table names for a kind of growth."""
    rows = re.findall(rf"^\| {re.escape(kind)} \| (.*) \|$", read(Path("CONTRIBUTING.md")), re.MULTILINE)
    return {Path(path.replace("NAME", name)) for path in re.findall(r"`([^`]+/[^`]+)`", rows[0] if rows else "")}


def changed_files(tree: Path, before: list[Path]) -> set[Path]:
    """Files of the copy that are new or other than the project's."""
    now = {path.relative_to(tree) for path in tree.rglob("*") if path.is_file()}
    return {path for path in now if path not in before or (ROOT / path).read_bytes() != (tree / path).read_bytes()}


def run(tree: Path, *command: object) -> str:
    """In the copy; what it printed when it failed, or nothing. A compiler cache finds what it had of the project."""
    environment = os.environ | {"CCACHE_BASEDIR": str(tree), "CCACHE_NOHASHDIR": "1"}
    words = [str(word) for word in command]
    result = subprocess.run(words, cwd=tree, env=environment, capture_output=True, text=True, errors="replace")
    return "" if result.returncode == 0 else f"{' '.join(words)}\n{result.stdout[-8000:]}{result.stderr[-4000:]}"


def faults(tree: Path, kind: str, name: str, add: Callable[[Path], None], tests: dict[str, str]) -> Iterator[str]:
    files = project_files()
    for path in files:
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, tree / path)
    add(tree)
    changed, named = changed_files(tree, files), named_files(kind, name)
    for path in sorted(changed ^ named):
        yield f"{path} {'is touched but not in' if path in changed else 'is not touched but in'} CONTRIBUTING's row"
    build = tree / "build" / "tests"
    options = ["-DSPECTRALKV_TESTS=ON", "-DSPECTRALKV_CUDA=OFF", "-DSPECTRALKV_WERROR=ON", "-DSPECTRALKV_CCACHE=ON"]
    ninja = ["-G", "Ninja"] if shutil.which("ninja") else []
    jobs = len(os.sched_getaffinity(0))
    said = run(tree, "cmake", "-S", tree, "-B", build, *ninja, *options) or run(
        tree, "cmake", "--build", build, "--parallel", jobs, "--target", *tests
    )
    if said:
        yield said
        return
    for target, wanted in tests.items():
        if said := run(tree, build / target, f"--gtest_filter={wanted}", "--gtest_brief=1"):
            yield said


def check(kind: str, name: str, add: Callable[[Path], None], tests: dict[str, str]) -> None:
    """Adds NAME to a copy of the tree, compares what that touched with CONTRIBUTING's row, builds and tests the copy.

    kind: as the table has it. tests: program and GoogleTest filter."""
    parser = argparse.ArgumentParser(description=f"Adds {kind} to a copy of the project, and tests the copy.")
    parser.add_argument("folder", nargs="?", type=Path, help="a new folder for the copy and its build, which stay")
    options = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="spectralkv-growth-") as scratch:
        tree = (options.folder or Path(scratch) / "tree").resolve()
        tree.mkdir(parents=True)
        found = list(faults(tree, kind, name, add, tests))
    finish(f"growth, {kind}", found, f"added as documented, {time.monotonic() - start:.0f} s")
