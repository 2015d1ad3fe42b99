"""The C++ tests: found in the sources, built once, each program run once for the tests that are wanted."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

TEST = re.compile(r"^(TEST|TEST_F|TEST_P)\(\s*(\w+)\s*,\s*(\w+)\s*\)", re.MULTILINE)
PROBE = "cmake_minimum_required(VERSION 3.18)\nproject(probe CXX)\nfind_package(GTest REQUIRED)\n"
PROGRAMS = {"cuda": "tests/cpp/cuda/test_cuda_host"}  # elsewhere it is test_ROOM


class Case(NamedTuple):
    """A test as its macro names it; one of TEST_P stands for all of its parameters."""

    room: str
    suite: str
    name: str

    def __str__(self) -> str:
        return f"{self.room}.{self.suite}.{self.name}"


class Outcome(NamedTuple):
    skipped: bool
    failures: list[str]  # what each failed parameter says


def find_cases(root: Path) -> list[Case]:
    """Every test of tests/cpp, by room and file."""
    cases = []
    for path in sorted((root / "tests" / "cpp").glob("*/**/*.cc")):
        room = path.relative_to(root / "tests" / "cpp").parts[0]
        cases += [Case(room, suite, name) for _, suite, name in TEST.findall(path.read_text(encoding="utf-8"))]
    return cases


def case_of(room: str, suite: str, name: str) -> Case:
    """From GoogleTest's names, which put the instance before the suite and the parameter behind the test."""
    return Case(room, suite.rpartition("/")[2], name.partition("/")[0])


def run(*command: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)


def tool(name: str) -> str | None:
    """cmake or ninja: beside the interpreter (PyPI's), else the system's."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)


class CannotBuild(Exception):
    """What the machine lacks."""


class Crash(Exception):
    """A program that ended before its tests did."""


class CppTests:
    """The programs of one build folder and what their tests said."""

    def __init__(self, root: Path, scratch: Path, build: Path | None = None, **environment: str) -> None:
        """scratch: an empty folder. environment: variables that the programs see."""
        self.root, self.scratch, self.environment = root, scratch, os.environ | environment
        self.build_folder = build or root / "build" / "tests"
        self.jobs = len(os.sched_getaffinity(0))
        self._built: str | None = None  # what went wrong
        self._runs: dict[str, list[Future[dict[Case, Outcome]]]] = {}

    @property
    def failed(self) -> bool:
        return bool(self._built)

    def build(self) -> str:
        """Builds at the first call. What went wrong, or nothing; CannotBuild where cmake or GoogleTest is missing."""
        if self._built is None:
            self._built = self._build()
        return self._built

    def _build(self) -> str:
        cmake, ninja = tool("cmake"), tool("ninja")
        if not cmake:
            raise CannotBuild("no cmake (it comes with pip install '.[test]')")
        generator = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"] if ninja else []
        (self.scratch / "CMakeLists.txt").write_text(PROBE)
        if run(cmake, "-S", self.scratch, "-B", self.scratch / "build", *generator).returncode != 0:
            raise CannotBuild("no GoogleTest (Debian: libgtest-dev), so the C++ tests were not built")
        if not uses_ninja(self.build_folder):
            generator = []  # a developer's own choice: keep it
        options = ["-DSPECTRALKV_TESTS=ON", "-DSPECTRALKV_CUDA=OFF", "-DCMAKE_BUILD_TYPE=Release"]
        options += ["-USPECTRALKV_EIGEN_DIR", *eigen_hint()]
        if os.environ.get("CI"):
            options.append("-DSPECTRALKV_WERROR=ON")  # here, not for users: other compilers warn of other things
        for command in (
            [cmake, "-S", self.root, "-B", self.build_folder, *generator, *options],
            [cmake, "--build", self.build_folder, "--parallel", self.jobs],
        ):
            result = run(*command)
            if result.returncode != 0:
                return result.stdout[-8000:] + result.stderr[-4000:]
        return ""

    def program(self, room: str) -> Path:
        return self.build_folder / PROGRAMS.get(room, f"test_{room}")

    def compiled(self, room: str) -> set[Case]:
        """What the program of a room holds."""
        cases, suite = set(), ""
        for line in run(self.program(room), "--gtest_list_tests").stdout.splitlines():
            if line.startswith("  "):
                cases.add(case_of(room, suite, line.split()[0]))
            elif "." in line:
                suite = line.split()[0].removesuffix(".")
        return cases

    def start(self, wanted: Iterable[Case]) -> None:
        """At the first call: lets the programs run these tests, each in as many parts as there are processors."""
        if self._runs:
            return
        pool = ThreadPoolExecutor(self.jobs)
        for room, cases in itertools.groupby(sorted(wanted), key=lambda case: case.room):
            tests = ":".join(f"{c.suite}.{c.name}:*/{c.suite}.{c.name}/*" for c in cases)
            self._runs[room] = [pool.submit(self._run, room, tests, part) for part in range(self.jobs)]

    def _run(self, room: str, tests: str, part: int) -> dict[Case, Outcome]:
        report = self.scratch / f"{room}-{part}.json"
        places = {"GTEST_TOTAL_SHARDS": str(self.jobs), "GTEST_SHARD_INDEX": str(part)}
        command = [self.program(room), f"--gtest_filter={tests}", f"--gtest_output=json:{report}"]
        result = run(*command, env=self.environment | places, errors="replace")
        outcomes = read_report(room, report) if report.exists() else {}
        if result.returncode != 0 and not any(outcome.failures for outcome in outcomes.values()):
            said = result.stdout[-4000:] + result.stderr[-8000:]
            raise Crash(f"{self.program(room)} ended with exit code {result.returncode}\n{said}")
        return outcomes

    def outcome(self, case: Case) -> Outcome:
        """Of all parameters of a test; Crash when a part of its program gave no results."""
        parts = [found for part in self._runs[case.room] if (found := part.result().get(case))]
        failures = [text for part in parts for text in part.failures]
        return Outcome(all(part.skipped for part in parts), failures)


def read_report(room: str, report: Path) -> dict[Case, Outcome]:
    """GoogleTest's JSON."""
    outcomes: dict[Case, Outcome] = {}
    for suite in json.loads(report.read_text(encoding="utf-8", errors="replace"))["testsuites"]:
        for test in suite["testsuite"]:
            case = case_of(room, suite["name"], test["name"])
            before = outcomes.get(case, Outcome(True, []))
            texts = [f"{suite['name']}.{test['name']}: {failure['failure']}" for failure in test.get("failures", [])]
            outcomes[case] = Outcome(before.skipped and test["result"] == "SKIPPED", before.failures + texts)
    return outcomes


def uses_ninja(build: Path) -> bool:
    """Whether an earlier run set the folder up for Ninja; True when there was none."""
    cache = build / "CMakeCache.txt"
    return not cache.exists() or "CMAKE_GENERATOR:INTERNAL=Ninja" in cache.read_text()


def eigen_hint() -> list[str]:
    """PyPI's Eigen, where it is installed and Debian's may be missing."""
    for folder in sys.path:
        if (Path(folder) / "cmeel.prefix" / "include" / "eigen3").is_dir():
            return [f"-DSPECTRALKV_EIGEN_HINT={Path(folder) / 'cmeel.prefix'}"]
    return []
