#!/usr/bin/env bash
# Builds the C++ tests with the address and undefined-behaviour sanitizers and runs them: sanitize.sh [BUILD [WORD...]]
#
# With the word build it stops before it runs them; with the word rooms it leaves out the CUDA sources on the host, whose
# emulated threads take ten minutes under sanitizers.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
build=${1:-$root/build/sanitize}
words=" ${*:2} "
target=all
suite=()
case $words in *" rooms "*) target=room_tests suite=(--without cuda) ;; esac
mkdir -p "$(dirname "$build")"
cmake -S "$root" -B "$build" -DSPECTRALKV_SANITIZE=ON -DSPECTRALKV_TESTS=ON -DSPECTRALKV_CUDA=OFF -DCMAKE_BUILD_TYPE=Debug \
  -DCMAKE_CXX_FLAGS_DEBUG="-O1 -g1" >"$build.log" 2>&1 || { cat "$build.log"; exit 1; }
cmake --build "$build" --parallel "$(nproc)" --target "$target" >"$build.log" 2>&1 || { tail -n 60 "$build.log"; exit 1; }
case $words in *" build "*) exit 0 ;; esac
python3 "$root/tests/checks/cpp_suite.py" "$build" "${suite[@]}"
