#!/usr/bin/env bash
# Builds the C++ tests with the thread sanitizer and runs them: tsan.sh [BUILD [ROOM...]]
#
# Without rooms it runs all but the CUDA sources on the host, whose emulated device takes its threads one after the other. A
# race is told with both places, and fails the check. Kernels of instruction sets are left out, as in tests/fuzz/campaign.py:
# they have no threads, and take the compiler minutes.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
build=${1:-$root/build/tsan}
rooms=("${@:2}")
mkdir -p "$(dirname "$build")"
cmake -S "$root" -B "$build" -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=plain -DSPECTRALKV_TESTS=ON -DSPECTRALKV_CUDA=OFF \
  -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG="-O1 -g1 -fsanitize=thread" >"$build.log" 2>&1 || { cat "$build.log"; exit 1; }
cmake --build "$build" --parallel "$(nproc)" --target room_tests >"$build.log" 2>&1 || { tail -n 60 "$build.log"; exit 1; }
# The sanitizer of some compilers does not start where addresses are more random than it knows.
fixed=()
if setarch "$(uname -m)" -R true 2>/dev/null; then fixed=(setarch "$(uname -m)" -R); fi
[ ${#rooms[@]} -gt 0 ] || rooms=(--without cuda)
"${fixed[@]}" python3 "$root/tests/checks/cpp_suite.py" "$build" "${rooms[@]}"
