#!/usr/bin/env bash
# Builds what run.sh needs on a machine that has no compiler, into build/first_contact: prepare.sh [ARCHITECTURES]
#
# The programs find their libraries beside themselves; cuBLAS of the same major version as the toolkit's must be on the
# other machine (PyTorch brings it).
set -euo pipefail
root=$(cd "$(dirname "$0")/../../.." && pwd)
build=$root/build/gpu
to=$root/build/first_contact
cmake -S "$root" -B "$build" -DCMAKE_BUILD_TYPE=Release -DSPECTRALKV_CUDA=ON -DSPECTRALKV_TESTS=ON \
  -DSPECTRALKV_CUDA_ARCHITECTURES="${1:-90-real}" >"$root/build/first_contact.log" 2>&1 || { tail "$root/build/first_contact.log"; exit 1; }
cmake --build "$build" --parallel "$(nproc)" --target spectralkv spectralkv_cuda test_cuda not_a_plugin cuda_attention \
  >>"$root/build/first_contact.log" 2>&1 || { tail -n 40 "$root/build/first_contact.log"; exit 1; }
mkdir -p "$to"
for name in spectralkv libspectralkv_cuda.so cuda_attention test_cuda libnot_a_plugin.so; do
  strip -o "$to/$name" "$(find "$build" -name "$name" -type f | head -n 1)"
done
du -sh "$to"
