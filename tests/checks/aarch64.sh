#!/usr/bin/env bash
# Cross-compiles for 64-bit ARM and runs that under qemu: aarch64.sh [BUILD]
#
# The contract tests of the kernels, of linalg and those of kv that compare kernels, with every instruction set for ARM;
# then a tiny model through the program. Debian's g++-aarch64-linux-gnu, qemu-user, googletest and libeigen3-dev are enough.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
build=${1:-$root/build/aarch64}
compiler=$(command -v aarch64-linux-gnu-g++ || true)
qemu=$(command -v qemu-aarch64 || command -v qemu-aarch64-static || true)
missing=()
[ -n "$compiler" ] || missing+=(aarch64-linux-gnu-g++)
[ -n "$qemu" ] || missing+=(qemu-aarch64)
[ -f /usr/src/googletest/CMakeLists.txt ] || missing+=(/usr/src/googletest)
if [ ${#missing[@]} -gt 0 ]; then echo "aarch64: nothing was tested, not found: ${missing[*]}"; exit 0; fi

start=$SECONDS
mkdir -p "$build"
log=$build/build.log
cross=(-DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_CXX_COMPILER="$compiler")
quiet() { "$@" >"$log" 2>&1 || { tail -n 60 "$log"; exit 1; }; }
if [ ! -f "$build/gtest/lib/libgtest.a" ]; then
  quiet cmake -S /usr/src/googletest -B "$build/gtest-build" "${cross[@]}" -DBUILD_GMOCK=OFF -DCMAKE_INSTALL_LIBDIR=lib \
    -DCMAKE_INSTALL_PREFIX="$build/gtest"
  quiet cmake --build "$build/gtest-build" --target install
fi
quiet cmake -S "$root" -B "$build" "${cross[@]}" -DCMAKE_CROSSCOMPILING_EMULATOR="$qemu;-L;/usr/aarch64-linux-gnu" \
  -DGTest_DIR="$build/gtest/lib/cmake/GTest" -DSPECTRALKV_CUDA=OFF -DSPECTRALKV_WERROR=ON -DSPECTRALKV_TESTS=ON \
  -DSPECTRALKV_CCACHE=ON
quiet cmake --build "$build" --parallel "$(nproc)" --target spectralkv test_simd test_linalg test_kv
echo "aarch64: built in $((SECONDS - start)) s"

export QEMU_LD_PREFIX=/usr/aarch64-linux-gnu
run() { # run CPU SET ROOM [gtest options]
  local set=$2 room=$3
  local before=$SECONDS
  SPECTRALKV_SIMD=$set "$qemu" -cpu "$1" "$build/test_$room" --gtest_brief=1 "${@:4}" >"$log" 2>&1 || { tail -n 60 "$log"; exit 1; }
  echo "aarch64: test_$room, $1${set:+, $set}: $(tail -n 1 "$log"), $((SECONDS - before)) s"
}
# One run has the tests of every set; those of plain code say nothing about ARM and take a minute.
run max "" simd --gtest_filter='-*/scalar'
run max "" linalg
run neoverse-n1 "" simd --gtest_filter='Dispatch.*:*Tiles*/dotprod'
run cortex-a53 "" simd --gtest_filter='Dispatch.*:*Tiles*/neon'
kernels='Codecs/*ScoreAndMixEqual*:*Dense.MatchesDoubles*'
run max "" kv --gtest_filter="$kernels"
run max neon kv --gtest_filter="$kernels"

# What the program chooses by itself, on processors with all of it, without the matrix product, and without both, and that each set can be named.
model=$build/tiny.gguf
python3 "$root/tests/checks/tiny_gguf.py" "$model"
text() { SPECTRALKV_SIMD=$2 "$qemu" -cpu "$1" "$build/spectralkv" run -m "$model" -p abc -n 16 --temp 0 2>"$log"; }
sets() { text "$1" none || grep -o 'have .*' "$log"; }
for case in "max:have i8mm, dotprod, neon, scalar" "neoverse-n1:have dotprod, neon, scalar" "cortex-a53:have neon, scalar"; do
  cpu=${case%%:*} wanted=${case#*:} found=$(sets "${case%%:*}" || true)
  [ "$found" = "$wanted" ] || { echo "aarch64: on $cpu the program says '$found', not '$wanted'" >&2; exit 1; }
done
wanted=$(text max scalar)
for set in "" neon dotprod i8mm; do
  found=$(text max "$set")
  [ "$found" = "$wanted" ] || { echo "aarch64: with ${set:-its own choice} a model says '$found', not '$wanted'" >&2; exit 1; }
done
echo "aarch64: a model says the same with every set; all in $((SECONDS - start)) s"
