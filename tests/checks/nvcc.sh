#!/usr/bin/env bash
# Compiles the CUDA sources where nvcc exists: nvcc.sh
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
nvcc=$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null || true)
mapfile -t sources < <(find "$root/cuda" -name '*.cu' 2>/dev/null | sort)
if [ ${#sources[@]} -eq 0 ]; then echo "nvcc: there are no CUDA sources"; exit 0; fi
if [ -z "$nvcc" ]; then echo "nvcc: not found, the CUDA sources were not compiled"; exit 0; fi
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
for source in "${sources[@]}"; do
  "$nvcc" -std=c++20 -I "$root/cpp" -I "$root" -I "$root/cuda" -c "$source" -o "$out/$(basename "$source").o"
done
echo "nvcc: ${#sources[@]} files compile"
