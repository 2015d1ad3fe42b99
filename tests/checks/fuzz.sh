#!/usr/bin/env bash
# Runs every target of tests/fuzz with the driver that needs no libFuzzer: fuzz.sh [BUILD [SECONDS]]; SECONDS are for all (60).
#
# BUILD is that of sanitize.sh. Targets in Python run where the package is installed. Where there is clang 14 or newer with
# libFuzzer, the GGUF reader is fuzzed with it as well; tests/fuzz/campaign.py does that with all of them, for as long as one
# likes.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
build=${1:-$root/build/sanitize}
targets=("$root"/tests/fuzz/*_fuzz.cc)
targets=("${targets[@]##*/}")
scripts=("$root"/tests/fuzz/*_fuzz.py)
seconds=$((${2:-60} / (${#targets[@]} + ${#scripts[@]} + 1)))
[ -f "$build/CMakeCache.txt" ] || { echo "fuzz: $build is no build of sanitize.sh" >&2; exit 1; }
build=$(cd "$build" && pwd)
cmake --build "$build" --parallel "$(nproc)" --target fuzz >"$build.log" 2>&1 || { tail -n 60 "$build.log"; exit 1; }
cd "$build"
for target in "${targets[@]%_fuzz.cc}"; do
  "tests/fuzz/fuzz_$target" "$seconds" >"$build.log" 2>&1 || { tail -n 60 "$build.log"; exit 1; }
  echo "fuzz: $target: $(tail -n 1 "$build.log")"
done
for script in "${scripts[@]}"; do
  target=$(basename "$script" _fuzz.py)
  python3 -c 'import spectralkv' 2>/dev/null || { echo "fuzz: $target: the package is not installed"; continue; }
  python3 "$script" "$seconds" >"$build.log" 2>&1 || { tail -n 60 "$build.log"; exit 1; }
  echo "fuzz: $target: $(tail -n 1 "$build.log")"
done

clang=
for name in clang++ clang++-{14..21}; do
  version=$("$name" -dumpversion 2>/dev/null | cut -d. -f1) || continue
  if [ "${version:-0}" -ge 14 ]; then clang=$name; fi
done
[ -n "$clang" ] || { echo "fuzz: no clang 14 or newer, so nothing ran with libFuzzer"; exit 0; }
cd "$root"
"$clang" -std=c++20 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -I cpp -I tests \
  tests/fuzz/gguf_fuzz.cc tests/fuzz/gguf_structure.cc tests/fuzz/libfuzzer.cc cpp/gguf/*.cc cpp/tensor/dtype.cc cpp/base/*.cc -o "$build/gguf_fuzz" 2>"$build.log" ||
  { grep -q libclang_rt.fuzzer "$build.log" && echo "fuzz: $clang has no libFuzzer" && exit 0; tail -n 30 "$build.log"; exit 1; }
mkdir -p "$build/corpus"
"$build/gguf_fuzz" -max_total_time="$seconds" -max_len=4096 -rss_limit_mb=2048 -artifact_prefix="$build/" "$build/corpus" \
  >"$build.log" 2>&1 || { tail -n 60 "$build.log"; exit 1; }
echo "fuzz: gguf with libFuzzer: $(tail -n 1 "$build.log")"
