"""Adds a scratch weight type to a copy of the project, as CONTRIBUTING.md says, and runs the tests over all types.

growth_weight_type.py [--cuda] [FOLDER]: the copy and its build stay in FOLDER; without it they go. --cuda: also the
tests of the CUDA sources on the host, which take minutes to build. The type has a table of levels, as none of ours has;
its files must be the ones that CONTRIBUTING's row names, no more and no fewer.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from common import ROOT, finish, project_files, read

NAME = "t4_0"

DEFINITION = """\
// t4_0: 32 values as places in a table of 16 levels under one f16 scale.
//
// Block of 18 bytes: d (f16), then 16 bytes of codes. Byte i holds the code of value i in its low half and that of
// value i + 16 in its high half. A value is d * level(code).
#ifdef X
X(t4_0, 999, 32, 18, 999, f16)
#else

struct __attribute__((packed)) skv_block_t4_0 {
  static constexpr skv_form kForm{.bits = 8, .group = 32, .offset = 128};
  uint16_t d;  // f16 scale
  uint8_t qs[16];
};

SKV_HD static inline int skv_level_t4_0(int code) {
  const int8_t levels[16] = {-127, -99, -79, -63, -48, -34, -21, -10, 0, 10, 21, 34, 48, 63, 82, 106};
  return levels[code];
}

SKV_HD static inline void skv_decode_t4_0(const void* row, float* __restrict out, int64_t n) {
  const skv_block_t4_0* block = (const skv_block_t4_0*)row;
  for (; n > 0; n -= 32, out += 32, ++block) {
    const float d = skv_f16_to_f32(block->d);
    for (int i = 0; i < 16; ++i) out[i] = d * (float)skv_level_t4_0(block->qs[i] & 15);
    for (int i = 0; i < 16; ++i) out[i + 16] = d * (float)skv_level_t4_0(block->qs[i] >> 4);
  }
}

SKV_HD static inline void skv_codes(const skv_block_t4_0& block, uint8_t* __restrict codes) {
  skv_nibbles(block.qs, codes);
  for (int i = 0; i < 32; ++i) codes[i] = (uint8_t)(skv_level_t4_0(codes[i]) + 128);
}

SKV_HD static inline void skv_scales(const skv_block_t4_0& block, uint16_t* coarse, uint8_t*) {
  coarse[0] = block.d;
}

#ifdef SKV_ENCODER
// Scales that lay the extreme value on each level or between two, of either sign; the one that loses least.
SKV_ENCODER void spectralkv::encode_t4_0(const float* in, void* row, int64_t n) {
  using namespace encode;
  auto* block = static_cast<skv_block_t4_0*>(row);
  for (; n > 0; n -= 32, in += 32, ++block) {
    float extreme = 0, least = INFINITY;
    for (int i = 0; i < 32; ++i) extreme = std::fmax(extreme, std::fabs(in[i]));
    for (int place = -140; place <= 140; place += 2) {
      const uint16_t half = place == 0 ? 0 : skv_f32_to_f16(extreme / static_cast<float>(place));
      const float d = skv_f16_to_f32(half);
      int codes[32];
      float error = 0;
      for (int i = 0; i < 32; ++i) {
        float best = INFINITY;
        for (int code = 0; code < 16; ++code) {
          const float miss = in[i] - d * static_cast<float>(skv_level_t4_0(code));
          if (miss * miss < best) best = miss * miss, codes[i] = code;
        }
        error += best;
      }
      if (!(error < least)) continue;
      least = error;
      block->d = half;
      pack_nibbles(codes, block->qs);
    }
  }
}
#endif
#endif
"""


def insert_behind(path: Path, pattern: str, line: str) -> None:
    """Writes `line` behind the last one that the pattern finds."""
    lines = path.read_text().splitlines()
    at = max(i for i, text in enumerate(lines) if re.search(pattern, text))
    path.write_text("\n".join([*lines[: at + 1], line, *lines[at + 1 :]]) + "\n")


def add_weight_type(tree: Path) -> None:
    """What somebody who adds the type writes."""
    (tree / "cpp/formats" / f"{NAME}.inl").write_text(DEFINITION)
    insert_behind(tree / "cpp/formats/list.def", r"^#include", f'#include "formats/{NAME}.inl"')
    insert_behind(tree / "tests/cpp/formats/encode_test.cc", r'^    \{"q\w+", ', f'    {{"{NAME}", 6.6e-3}},')


def named_files() -> set[Path]:
    """Those of CONTRIBUTING's row."""
    row = next(line for line in read(Path("CONTRIBUTING.md")).splitlines() if line.startswith("| a GGUF weight type |"))
    return {Path(name.replace("NAME", NAME)) for name in re.findall(r"`([^`]+/[^`]+)`", row)}


def changed_files(tree: Path, before: list[Path]) -> set[Path]:
    """Files of the copy that are new or other than the project's, its build aside."""
    now = {path.relative_to(tree) for path in tree.rglob("*") if path.is_file()}
    now = {path for path in now if path.parts[0] != "build"}
    return {
        path
        for path in now | set(before)
        if path not in before or (ROOT / path).read_bytes() != (tree / path).read_bytes()
    }


def run(*command: str | Path, tree: Path) -> subprocess.CompletedProcess[str]:
    # So that the compiler cache finds what it had in another folder.
    environment = os.environ | {"CCACHE_BASEDIR": str(tree), "CCACHE_NOHASHDIR": "1"}
    return subprocess.run([str(part) for part in command], cwd=tree, env=environment, capture_output=True, text=True)


def faults(tree: Path, rooms: list[str]) -> Iterator[str]:
    files = project_files()
    for path in files:
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, tree / path)
    add_weight_type(tree)
    changed, named = changed_files(tree, files), named_files()
    for path in sorted(changed ^ named):
        yield f"{path} {'is touched but not in' if path in changed else 'is not touched but in'} CONTRIBUTING's row"
    build = tree / "build"
    launcher = ["-DCMAKE_CXX_COMPILER_LAUNCHER=ccache"] if shutil.which("ccache") else []
    options = ["-DSPECTRALKV_TESTS=ON", "-DSPECTRALKV_CUDA=OFF", "-DSPECTRALKV_WERROR=ON", *launcher]
    ninja = ["-G", "Ninja"] if shutil.which("ninja") else []
    targets = [f"test_{room}" for room in rooms]
    jobs = str(len(os.sched_getaffinity(0)))
    for command in (
        ["cmake", "-S", tree, "-B", build, *ninja, *options],
        ["cmake", "--build", build, "--parallel", jobs, "--target", *targets],
    ):
        result = run(*command, tree=tree)
        if result.returncode != 0:
            yield (result.stdout + result.stderr)[-4000:]
            return
    for target in targets:
        [program] = [path for path in build.rglob(target) if path.is_file()]
        result = run(program, tree=tree)
        if result.returncode != 0:
            yield f"{target}\n{result.stdout[-4000:]}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuda", action="store_true")
    parser.add_argument("folder", nargs="?", type=Path)
    given = parser.parse_args()
    rooms = ["formats", "simd", "linalg", *(["cuda_host"] if given.cuda else [])]
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        found = list(faults((given.folder or Path(temporary)).resolve(), rooms))
    took = f"{time.monotonic() - start:.0f} s"
    finish(
        "growth", found, f"a weight type in {len(named_files())} files, tests of {', '.join(rooms)} passed in {took}"
    )
