"""Builds the C++ tests and runs them with ctest."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROBE = "cmake_minimum_required(VERSION 3.18)\nproject(probe CXX)\nfind_package(GTest REQUIRED)\n"


def tool(name):
    """cmake, ctest or ninja: beside the interpreter (PyPI's), else the system's."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)


def run(*command, **options):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)


def test_cpp(root, tmp_path):
    cmake, ctest, ninja = (tool(name) for name in ("cmake", "ctest", "ninja"))
    if not (cmake and ctest):
        pytest.skip("no cmake (it comes with pip install '.[test]')")
    generator = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"] if ninja else []
    (tmp_path / "CMakeLists.txt").write_text(PROBE)
    if run(cmake, "-S", tmp_path, "-B", tmp_path / "build", *generator).returncode != 0:
        pytest.skip("no GoogleTest (Debian: libgtest-dev), so the C++ tests were not built")

    build = root / "build" / "tests"
    if not uses_ninja(build):
        generator = []  # a developer's own choice: keep it
    jobs = str(len(os.sched_getaffinity(0)))
    options = [
        "-DSPECTRALKV_TESTS=ON",
        "-DSPECTRALKV_CUDA=OFF",
        "-DCMAKE_BUILD_TYPE=Release",
        "-USPECTRALKV_EIGEN_DIR",
        *eigen_hint(),
    ]
    if os.environ.get("CI"):
        options.append("-DSPECTRALKV_WERROR=ON")  # here, not for users: other compilers warn of other things
    for command in (
        [cmake, "-S", root, "-B", build, *generator, *options],
        [cmake, "--build", build, "--parallel", jobs],
        [ctest, "--test-dir", build, "--output-on-failure", "--no-tests=error", "-j", jobs],
    ):
        result = run(*command)
        print(result.stdout[-4000:])
        assert result.returncode == 0, result.stdout[-8000:] + result.stderr[-4000:]


def uses_ninja(build):
    """Whether an earlier run set the folder up for Ninja; True when there was none."""
    cache = build / "CMakeCache.txt"
    return not cache.exists() or "CMAKE_GENERATOR:INTERNAL=Ninja" in cache.read_text()


def eigen_hint():
    """PyPI's Eigen, where it is installed and Debian's may be missing."""
    for folder in sys.path:
        if (Path(folder) / "cmeel.prefix" / "include" / "eigen3").is_dir():
            return [f"-DSPECTRALKV_EIGEN_HINT={Path(folder) / 'cmeel.prefix'}"]
    return []
