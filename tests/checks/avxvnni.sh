#!/usr/bin/env bash
# Whether the set avxvnni is what it says, on a machine whose processor lacks AVX-VNNI: avxvnni.sh [BUILD]
#
# Its object in BUILD (build/tests) holds vpdpbusd in VEX encoding on 256 bits and no vpmaddubsw. Where the processor has
# AVX-512 VNNI the same source is compiled for that instead, which is the same instruction in another encoding, and test_simd,
# test_linalg and test_kv run with it. No emulator at hand has AVX-VNNI (Debian 12's qemu 7.2 has not).
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$(realpath "${1:-$root/build/tests}")
compiler=${CXX:-c++}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
flags=(-std=c++20 -I"$root/cpp" -O1 -ffp-contract=off -mavx2 -mfma -mf16c) # -O1: a third of the time, the same results

object=$build/CMakeFiles/room_simd.dir/cpp/simd/kernels_avxvnni.cc.o
for needed in "$object" "$build/libspectralkv_core.a" "$build/test_kv"; do
  [ -f "$needed" ] || { echo "avxvnni: no $needed: build the project and its tests there first" >&2; exit 1; }
done
objdump -d --no-show-raw-insn "$object" >"$work/vex.s"
vex=$(grep -c '{vex} vpdpbusd .*%ymm' "$work/vex.s" || true)
other=$(grep -cE 'vpmaddubsw|zmm|%ymm(1[6-9]|2[0-9]|3[01])' "$work/vex.s" || true)
echo "avxvnni: $vex vpdpbusd on 256 bits, $other instructions of another set"
[ "$vex" -ge 100 ] && [ "$other" = 0 ] || { echo "avxvnni: that is not what the set says" >&2; exit 1; }

if ! grep -qw avx512_vnni /proc/cpuinfo 2>/dev/null; then
  echo "avxvnni: no AVX-512 VNNI here, so its results were not looked at"
  exit 0
fi
"$compiler" "${flags[@]}" -mavx512vl -mavx512vnni -c "$root/cpp/simd/kernels_avxvnni.cc" -o "$work/evex.o"
cat >"$work/dispatch.cc" <<'CODE'
#include "simd/dispatch.h"
namespace spectralkv {
std::vector<const simd::Kernels*> usable_kernels() {
  return {simd::kernels_avxvnni(), simd::kernels_avx2(), simd::kernels_scalar()};
}
const simd::Kernels& kernels() { return *usable_kernels().front(); }
}  // namespace spectralkv
CODE
"$compiler" "${flags[@]}" -c "$work/dispatch.cc" -o "$work/dispatch.o"
for room in simd linalg kv; do
  folder=$build/CMakeFiles/test_$room.dir
  if [ -d "$folder/Unity" ]; then folder=$folder/Unity; fi # beside it may lie objects of an earlier build without
  mapfile -t tests < <(find "$folder" -name '*.o')
  # What the two objects have is not taken from the archive.
  "$compiler" -o "$work/test_$room" "${tests[@]}" "$work/evex.o" "$work/dispatch.o" "$build/libspectralkv_core.a" \
    -lgtest -lgtest_main -pthread -ldl
  "$work/test_$room" --gtest_brief=1 >"$work/log" || { tail -n 40 "$work/log"; exit 1; }
  echo "avxvnni: test_$room passes with it, $(tail -n 1 "$work/log")"
done
