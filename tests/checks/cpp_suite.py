"""Runs the C++ tests that a folder holds, a part a processor: cpp_suite.py BUILD [ROOM...] [--without ROOM]

With --other-sets: those of the rooms that compute (or those given), once with each instruction set that this machine
has and would not choose by itself; the one that it chooses is what every other run of the tests has.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from common import ROOT, finish

sys.path.insert(0, str(ROOT / "tests"))
from support.cpp_tests import Case, CppTests, Crash, find_cases

COMPUTING = {"simd", "linalg", "spectral", "quant", "kv", "engine", "embed"}
# They count bytes or damage files, which no instruction set changes, and take long.
OF_NO_SET = {"CacheMemory", "HostileModel", "StateFile"}


def other_sets(build: Path) -> list[str]:
    """What the program names when it is asked for a set that there is not, best first, without the best."""
    with tempfile.TemporaryDirectory() as folder:
        model = str(Path(folder) / "tiny.gguf")
        subprocess.run([sys.executable, str(ROOT / "tests" / "checks" / "tiny_gguf.py"), model], check=True)
        command = [str(build / "spectralkv"), "run", "-m", model, "-p", "a", "-n", "1"]
        said = subprocess.run(command, capture_output=True, text=True, env={"SPECTRALKV_SIMD": "none"}).stderr
    found = re.search(r"this processor and build have ([\w, ]+)", said)
    return found[1].strip().split(", ")[1:] if found else sys.exit(f"instruction sets: the program says {said}")


def faults(build: Path, cases: list[Case], **environment: str) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as scratch:
        tests = CppTests(ROOT, Path(scratch), build, **environment)
        tests.start(cases)
        for case in cases:
            try:
                yield from tests.outcome(case).failures
            except Crash as crash:
                yield f"{case}: {crash}"
                return


def main() -> None:
    parser = argparse.ArgumentParser(description="Runs the C++ tests of a build folder.")
    parser.add_argument("build", type=Path)
    parser.add_argument("rooms", nargs="*")
    parser.add_argument("--without", metavar="ROOM", help="leave this one out")
    parser.add_argument("--other-sets", action="store_true")
    options = parser.parse_args()
    rooms = set(options.rooms) or (COMPUTING if options.other_sets else None)
    cases = [case for case in find_cases(ROOT) if rooms is None or case.room in rooms]
    cases = [case for case in cases if case.room != options.without]
    if options.other_sets:
        cases = [case for case in cases if case.suite not in OF_NO_SET]
    for name in other_sets(options.build) if options.other_sets else [""]:
        start = time.monotonic()
        found = list(faults(options.build, cases, **({"SPECTRALKV_SIMD": name} if name else {})))
        label = f"C++ tests, {name}" if name else "C++ tests"
        finish(label, found, f"{len(cases)} of them, no failure, {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
