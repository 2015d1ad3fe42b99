"""What the growth checks share: a copy of the tree, the row of CONTRIBUTING's table, and the tests of the copy."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from common import ROOT, finish, project_files, read


def named_files(kind: str, name: str) -> set[Path]:
    """Those that CONTRIBUTING's table names for a kind of growth."""
    rows = re.findall(rf"^\| {re.escape(kind)} \| (.*) \|$", read(Path("CONTRIBUTING.md")), re.MULTILINE)
    return {Path(path.replace("NAME", name)) for path in re.findall(r"`([^`]+/[^`]+)`", rows[0] if rows else "")}


def insert_behind(path: Path, pattern: str, line: str) -> None:
    """Writes `line` behind the last one of a file that the pattern finds."""
    lines = path.read_text(encoding="utf-8").splitlines()
    found = [at for at, text in enumerate(lines) if re.search(pattern, text)]
    if not found:
        sys.exit(f"growth: {path} has no line like {pattern!r}")
    lines.insert(found[-1] + 1, line)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def changed_files(tree: Path, before: list[Path]) -> set[Path]:
    """Files of the copy that are new or other than the project's."""
    now = {path.relative_to(tree) for path in tree.rglob("*") if path.is_file()}
    return {path for path in now if path not in before or (ROOT / path).read_bytes() != (tree / path).read_bytes()}


def run(tree: Path, *command: object) -> subprocess.CompletedProcess[str]:
    """In the copy. A compiler cache finds what it had of the project."""
    environment = os.environ | {"CCACHE_BASEDIR": str(tree), "CCACHE_NOHASHDIR": "1"}
    words = [str(word) for word in command]
    return subprocess.run(words, cwd=tree, env=environment, capture_output=True, text=True, errors="replace")


def failure(result: subprocess.CompletedProcess[str]) -> str:
    """What a command printed when it failed, or nothing."""
    said = f"{' '.join(result.args)}\n{result.stdout[-8000:]}{result.stderr[-4000:]}"
    return "" if result.returncode == 0 else said


def test_faults(tree: Path, program: Path, wanted: str) -> Iterator[str]:
    """Of a program's tests that a filter selects. Each part of the filter must select one."""
    for part in wanted.split(":"):
        listed = run(tree, program, "--gtest_list_tests", f"--gtest_filter={part}")
        if said := failure(listed):
            yield said
        elif not re.search(r"^  \S", listed.stdout, re.MULTILINE):
            yield f"{program.name} has no test {part}"
    if said := failure(run(tree, program, f"--gtest_filter={wanted}", "--gtest_brief=1")):
        yield said


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
    for command in (
        ["cmake", "-S", tree, "-B", build, *ninja, *options],
        ["cmake", "--build", build, "--parallel", jobs, "--target", *tests],
    ):
        if said := failure(run(tree, *command)):
            yield said
            return
    for target, wanted in tests.items():
        [program] = [path for path in build.rglob(target) if path.is_file()]
        yield from test_faults(tree, program, wanted)


def check(kind: str, name: str, add: Callable[[Path], None], tests: dict[str, str]) -> None:
    """Adds NAME to a copy of the tree, compares what that touched with CONTRIBUTING's row, builds and tests the copy.

    kind: as the table has it. tests: program and GoogleTest filter."""
    parser = argparse.ArgumentParser(description=f"Adds {kind} to a copy of the project, and tests the copy.")
    parser.add_argument("--cuda", action="store_true", help="also the tests of the CUDA sources on the host (minutes)")
    parser.add_argument("folder", nargs="?", type=Path, help="a new folder for the copy and its build, which stay")
    options = parser.parse_args()
    if options.cuda:
        tests = tests | {"test_cuda_host": "*"}
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="spectralkv-growth-") as scratch:
        tree = (options.folder or Path(scratch) / "tree").resolve()
        tree.mkdir(parents=True)
        found = list(faults(tree, kind, name, add, tests))
    finish(f"growth, {kind}", found, f"added as documented, {time.monotonic() - start:.0f} s")
