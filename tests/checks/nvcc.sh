#!/usr/bin/env bash
# Builds the CUDA backend where nvcc exists, warnings as errors: nvcc.sh [BUILD [ARCHITECTURES]]
#
# One architecture (90-real) unless told otherwise; all that are delivered: nvcc.sh build/cuda "80-real;89-real;90".
# Then it reports the kernels' registers and spills, and on a machine without a driver that the program says so.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
build=${1:-$root/build/cuda}
architectures=${2:-90-real}
nvcc=$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null || true)
if [ -z "$nvcc" ]; then echo "nvcc: not found, the CUDA sources were not compiled"; exit 0; fi
# What only the host executor reads must not be asked of a device.
if grep -l SPECTRALKV_HOST_ "$root"/tests/cpp/cuda/*_test.cc | grep -v _host_test.cc; then
  echo "nvcc: these tests are compiled for a device and name variables of the host executor" >&2
  exit 1
fi
mkdir -p "$(dirname "$build")"
log=$build.nvcc.log
cmake -S "$root" -B "$build" -DSPECTRALKV_CUDA=ON -DSPECTRALKV_WERROR=ON -DSPECTRALKV_NVCC="$nvcc" \
  -DSPECTRALKV_CUDA_ARCHITECTURES="$architectures" -DSPECTRALKV_CUDA_REPORT=ON >"$log" 2>&1 || { cat "$log"; exit 1; }
find "$build" -path '*cuda_objects.dir*' -name '*.cu.o' -delete # so that the report has all kernels
start=$SECONDS
cmake --build "$build" --parallel "$(nproc)" --target spectralkv spectralkv_cuda >"$log" 2>&1 || { tail -n 60 "$log"; exit 1; }
library=$build/libspectralkv_cuda.so
echo "nvcc: $architectures in $((SECONDS - start)) s, $(($(stat -c %s "$library") / 1024)) KiB"
python3 "$root/tests/checks/cuda_resources.py" "$log"
cuobjdump=$(command -v cuobjdump || ls "$(dirname "$(readlink -f "$nvcc")")/cuobjdump" 2>/dev/null || true)
if [ -n "$cuobjdump" ]; then
  python3 "$root/tests/checks/cuda_sass.py" "$cuobjdump" "$library" >"$build.sass.log" || exit 1
  tail -n 1 "$build.sass.log"
else
  echo "nvcc: no cuobjdump (PyPI: nvidia-cuda-cuobjdump, nvidia-cuda-nvdisasm), the machine code was not looked at"
fi

exported=$(nm -D --defined-only "$library" | awk '$2 != "A" { print $3 }' | sort | tr '\n' ' ')
[ "$exported" = "spectralkv_plugin_abi spectralkv_plugin_make " ] || { echo "nvcc: the library exports $exported" >&2; exit 1; }
if ! ldconfig -p | grep -q 'libcuda\.so\.1'; then
  model=$(mktemp -d)
  trap 'rm -rf "$model"' EXIT
  python3 "$root/tests/checks/tiny_gguf.py" "$model/tiny.gguf"
  ask() { "$build/spectralkv" run -m "$model/tiny.gguf" -p a -n 1 "$@" >"$log" 2>&1 </dev/null; }
  ask --device cuda && { echo "nvcc: --device cuda went well without a driver" >&2; exit 1; }
  grep -q '^error: .*no NVIDIA driver was found' "$log" || { cat "$log"; exit 1; }
  ask -ngl -1 || { cat "$log"; exit 1; }
  grep -q '^warning: the model runs on the CPU.*no NVIDIA driver was found' "$log" || { cat "$log"; exit 1; }
  echo "nvcc: without a driver -ngl -1 warns and --device cuda refuses, each with the reason"
fi
