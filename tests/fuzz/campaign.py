"""Fuzzes every target with libFuzzer, guided by coverage: executions, coverage and findings of each as a table.

`python tests/fuzz/campaign.py [SECONDS] [TARGET...]` (60 seconds a target, all of them) builds build/libfuzzer with
clang++ and the address and undefined-behaviour sanitizers, and goes on from the inputs of earlier runs, which stay in
build/libfuzzer/corpus. An input that ends a target is kept beside them, and fails the campaign. Targets in Python
(templates, requests) run in this interpreter, which must have the package and atheris.

Kernels of instruction sets are left out of this build, because the sanitizers' checks in them take clang minutes; the
build of tests/checks/sanitize.sh, which tests/checks/fuzz.sh uses, has them.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "checks"))
from common import ROOT, finish

HERE = ROOT / "tests" / "fuzz"
BUILD = ROOT / "build" / "libfuzzer"
PYTHON = sorted(path.name.removesuffix("_fuzz.py") for path in HERE.glob("*_fuzz.py"))
TARGETS = sorted([*PYTHON, *(path.name.removesuffix("_fuzz.cc") for path in HERE.glob("*_fuzz.cc"))])
LONGEST = {
    "gguf": 16384,
    "model": 65536,
    "vocab": 32768,
    "state": 131072,
    "calibration": 8192,
}  # bytes of an input; others: 4096
MEMORY = 2048  # MiB


def build(targets: list[str]) -> None:
    BUILD.mkdir(parents=True, exist_ok=True)
    # A processor that CMakeLists.txt does not know gets the plain kernels alone.
    processor = ["-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=plain"]
    flags = [
        "-DCMAKE_BUILD_TYPE=Debug",
        "-DCMAKE_CXX_FLAGS_DEBUG=-O1 -g1",
        "-DCMAKE_CXX_FLAGS=-fsanitize=fuzzer-no-link",
    ]
    options = [f"-DSPECTRALKV_{name}=ON" for name in ("TESTS", "SANITIZE", "LIBFUZZER", "CCACHE")]
    compiler = os.environ.get("CLANGXX", "clang++")
    configure = [
        "cmake",
        "-S",
        str(ROOT),
        "-B",
        str(BUILD),
        f"-DCMAKE_CXX_COMPILER={compiler}",
        "-DSPECTRALKV_CUDA=OFF",
    ]
    names = [f"fuzz_{target}" for target in targets]
    make = ["cmake", "--build", str(BUILD), "--parallel", str(os.cpu_count()), "--target", *names]
    for command in ([*configure, *processor, *flags, *options], make):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            sys.exit(f"{done.stdout[-6000:]}\ncampaign: the targets do not build")


def last_number(pattern: str, text: str) -> int:
    return int((re.findall(pattern, text) or ["0"])[-1])


def run(target: str, seconds: int, scratch: str) -> tuple[str, list[str]]:
    """A row of the table, and the inputs that ended the target."""
    program, corpus = [str(BUILD / "tests" / "fuzz" / f"fuzz_{target}")], BUILD / "corpus" / target
    if target in PYTHON:
        program = [sys.executable, str(HERE / f"{target}_fuzz.py")]
    seeds, found = BUILD / "seeds" / target, BUILD / "findings"
    for folder in (corpus, found):
        folder.mkdir(parents=True, exist_ok=True)
    subprocess.run([*program, "--begin", seeds], check=True)
    before = set(found.iterdir())
    command = [*program, f"-max_total_time={seconds}", f"-dict={seeds}.dict", f"-artifact_prefix={found}/{target}-"]
    command += [
        f"-max_len={LONGEST.get(target, 4096)}",
        f"-rss_limit_mb={MEMORY}",
        "-timeout=20",
        "-report_slow_units=60",  # they are no findings, and a busy machine has many
        "-print_final_stats=1",
    ]
    done = subprocess.run(
        [*command, corpus, seeds],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env={**os.environ, "TMPDIR": scratch},
    )
    (BUILD / f"{target}.log").write_text(done.stderr)
    kept = sorted(str(path) for path in set(found.iterdir()) - before)
    if done.returncode and not kept:
        kept.append(f"ended with {done.returncode}, see {BUILD / target}.log")
    executions = last_number(r"number_of_executed_units:\s*(\d+)", done.stderr)
    coverage, features = (last_number(rf"{name}: (\d+)", done.stderr) for name in ("cov", "ft"))
    inputs = last_number(r"corp: (\d+)/", done.stderr)
    return f"{target:12}{executions:12,}{coverage:9,}{features:10,}{inputs:8,}{len(kept):10}", kept


def main() -> None:
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    targets = sys.argv[2:] or TARGETS
    if unknown := sorted(set(targets) - set(TARGETS)):
        sys.exit(f"campaign: no target {', '.join(unknown)}; there are {', '.join(TARGETS)}")
    if set(targets) & set(PYTHON) and importlib.util.find_spec("atheris") is None:
        targets = [target for target in targets if target not in PYTHON]
        print(f"campaign: without {', '.join(PYTHON)}, which need atheris: pip install atheris")
    if compiled := [target for target in targets if target not in PYTHON]:
        build(compiled)
    print(f"{'target':12}{'executions':>12}{'edges':>9}{'features':>10}{'corpus':>8}{'findings':>10}")
    faults = []
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # targets write a file for each input
    with tempfile.TemporaryDirectory(prefix="spectralkv-fuzz-", dir=memory) as scratch:
        for target in targets:
            row, kept = run(target, seconds, scratch)
            print(row, flush=True)
            faults += [f"{target}: {path}" for path in kept]
    finish("campaign", faults, f"{len(targets)} targets, {seconds} s each, nothing found")


if __name__ == "__main__":
    main()
