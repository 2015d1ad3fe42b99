#!/usr/bin/env bash
# Builds core, binary and C++ tests with warnings as errors, then looks for weak symbols: werror.sh [BUILD]
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
build=${1:-$root/build/werror}
mkdir -p "$(dirname "$build")"
cmake -S "$root" -B "$build" -DSPECTRALKV_WERROR=ON -DSPECTRALKV_TESTS=ON -DSPECTRALKV_CUDA=OFF >"$build.log" 2>&1 || { cat "$build.log"; exit 1; }
cmake --build "$build" --parallel "$(nproc)" >"$build.log" 2>&1 || { tail -n 60 "$build.log"; exit 1; }
echo "werror: no warnings"
python3 "$root/tests/checks/weak_symbols.py" "$build"
