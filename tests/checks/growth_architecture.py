"""Adds a scratch architecture to a copy of the project, as CONTRIBUTING's table of growth says, and tests it there.

growth_architecture.py [FOLDER]: the copy and its build stay in FOLDER, a new one; without it they go. The scratch is
Llama with rows of q and k as Hugging Face has them, a bias behind attention and its own key for the epsilon of norms.
It must need the files that the table names, no more and no fewer, and pass what every row passes.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from common import ROOT, finish, project_files, read

NAME = "scratchllama"
TESTS = "*EveryArchitecture*:Architectures.*"
SOURCE = """// Llama with halves for RoPE, a bias behind attention and a key of its own.
#include "model/architectures.h"
#include "model/decoder.h"

namespace spectralkv::arch {
namespace {

ModelConfig read_config(const Gguf& file, const std::string& prefix) {
  ModelConfig config = read_sizes(file, prefix);
  config.rms_eps = read_epsilon(file, prefix + "norm_epsilon");
  config.rope = read_rope(file, prefix, config.head_dim);
  return config;
}

LayerWeights load_layer(WeightLoader& from, const std::string& prefix) {
  from.require(prefix + "attn_output.bias");
  LayerWeights layer;
  layer.attn_norm = from.vector(prefix + "attn_norm", "e");
  layer.q = from.linear_of_halves(prefix + "attn_q", "qe");
  layer.k = from.linear_of_halves(prefix + "attn_k", "ke");
  layer.v = from.linear(prefix + "attn_v", "ke");
  layer.o = from.linear(prefix + "attn_output", "eq");
  load_gated_feed_forward(from, prefix, layer);
  return layer;
}

std::unique_ptr<Model> load(const Gguf& file, const ModelConfig& config, Backend& backend) {
  return make_decoder(config, load_weights(file, config, backend, load_layer));
}

}  // namespace

extern const Architecture NAME = {"NAME", "scratch", read_config, load};

}  // namespace spectralkv::arch
"""


def replace_once(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    if text.count(old) != 1:
        sys.exit(f"growth: {path} has {text.count(old)} of {old!r}, expected one")
    path.write_text(text.replace(old, new), encoding="utf-8")


def add_architecture(tree: Path) -> None:
    """Writes the new file and the lines in the two tables, in a copy of the project."""
    (tree / f"cpp/model/arch/{NAME}.cc").write_text(SOURCE.replace("NAME", NAME), encoding="utf-8")
    table = tree / "cpp/model/architectures.cc"
    replace_once(table, "extern const Architecture llama,", f"extern const Architecture {NAME}, llama,")
    replace_once(table, "    &arch::llama,\n", f"    &arch::llama,\n    &arch::{NAME},\n")
    llama = '      {"llama", {}, {}},\n'
    row = f'      {{"{NAME}", {{"attn_output"}}, {{{{"norm_epsilon", 1e-5f}}}}}},\n'
    replace_once(tree / "tests/support/tiny_model.h", llama, llama + row)


def files_of_the_table(kind: str) -> set[str]:
    """What CONTRIBUTING's table says to touch, for this name."""
    rows = [line for line in read(Path("CONTRIBUTING.md")).splitlines() if line.startswith(f"| {kind} |")]
    if len(rows) != 1:
        sys.exit(f"growth: CONTRIBUTING.md has {len(rows)} rows of growth for {kind!r}, expected one")
    return {name.replace("NAME", NAME) for name in re.findall(r"`([^`]+)`", rows[0])}


def copy_project(tree: Path) -> None:
    for path in project_files():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, tree / path)


def touched(tree: Path) -> set[str]:
    """Files of the copy that the project has not, or has otherwise."""
    files = (path.relative_to(tree) for path in tree.rglob("*") if path.is_file())
    return {str(p) for p in files if not (ROOT / p).is_file() or (ROOT / p).read_bytes() != (tree / p).read_bytes()}


def build_and_test(tree: Path) -> Iterator[str]:
    build = tree / "build"
    launcher = ["-DCMAKE_CXX_COMPILER_LAUNCHER=ccache"] if shutil.which("ccache") else []
    options = ["-DSPECTRALKV_TESTS=ON", "-DSPECTRALKV_CUDA=OFF", "-DSPECTRALKV_WERROR=ON", *launcher]
    ninja = ["-G", "Ninja"] if shutil.which("ninja") else []
    jobs = str(len(os.sched_getaffinity(0)))
    # So that the compiler cache finds what it had in another folder.
    environment = os.environ | {"CCACHE_BASEDIR": str(tree), "CCACHE_NOHASHDIR": "1"}
    for command in (
        ["cmake", "-S", str(tree), "-B", str(build), *ninja, *options],
        ["cmake", "--build", str(build), "--parallel", jobs, "--target", "test_engine"],
        [str(build / "test_engine"), f"--gtest_filter={TESTS}"],
    ):
        result = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
        if result.returncode != 0:
            yield f"{' '.join(command)}\n{(result.stdout + result.stderr)[-4000:]}"
            return
    if f"EveryArchitecture.LogitsDoNotDependOnBatchesAndThreads/{NAME}" not in result.stdout:
        yield f"the tests did not run for {NAME}"


def faults(tree: Path) -> Iterator[str]:
    copy_project(tree)
    add_architecture(tree)
    named, needed = files_of_the_table("an architecture"), touched(tree)
    for path in sorted(named ^ needed):
        yield f"{path} {'is touched but not in' if path in needed else 'is not touched but in'} CONTRIBUTING's row"
    yield from build_and_test(tree)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="spectralkv-growth-") as scratch:
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else f"{scratch}/tree").resolve()
        folder.mkdir(parents=True)
        found = list(faults(folder))
    finish("growth", found, "an architecture is one file and its rows")
