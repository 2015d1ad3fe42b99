#!/usr/bin/env bash
# Builds the CUDA backend on a machine with a GPU, tests it there and measures it; a short table last.
#
#   tests/cuda/check.sh [OUTPUT FOLDER]
#
# Needs a CUDA toolkit (nvcc 12 or newer, cuBLAS), a C++20 compiler and CMake 3.25; no network. What such a
# machine may lack is brought along and named by variables:
#   EIGEN   a folder that holds Eigen/Eigenvalues, or PyPI's wheel cmeel_eigen-*.whl
#   GTEST   a copy of GoogleTest's sources (Debian's libgtest-dev has them in /usr/src/googletest)
#   CMAKE   the program, where it is not on PATH (PyPI's wheel of cmake holds one)
#   MODEL   a GGUF file for the bench; without it the bench of the program is left out. A synthetic one of the
#           8B shape: python -m spectralkv.testing.synthetic --shape llama-3.1-8b --type Q8_0 model.gguf
#   JOBS    compilers at once (default: the processors)
# Every step has a time limit; together they stay under 10 minutes. Logs lie in the output folder (build/check).
set -uo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
out=${1:-$root/build/check}
build=$root/build/gpu
cmake=${CMAKE:-cmake}
jobs=${JOBS:-$(nproc)}
mkdir -p "$out" "$root/build"
table=$out/table.txt
: >"$table"

row() { printf '%-28s %-8s %6s s  %s\n' "$1" "$2" "$3" "${4:-}" | tee -a "$table"; }

# step NAME SECONDS COMMAND...: runs it with a limit, notes how it ended.
step() {
  local name=$1 limit=$2 start=$SECONDS
  shift 2
  timeout "$limit" "$@" >"$out/$name.log" 2>&1
  local code=$?
  if [ $code -eq 0 ]; then
    row "$name" ok $((SECONDS - start))
  else
    row "$name" "FAILED" $((SECONDS - start)) "exit code $code, see $out/$name.log"
    tail -n 15 "$out/$name.log"
  fi
  return $code
}

options=(-DSPECTRALKV_CUDA=ON -DSPECTRALKV_CUDA_ARCHITECTURES=native -DSPECTRALKV_CUDA_REPORT=ON -DCMAKE_BUILD_TYPE=Release)
case ${EIGEN:-} in
  *.whl) python3 -m zipfile -e "$EIGEN" "$out/eigen" && options+=("-DSPECTRALKV_EIGEN_HINT=$out/eigen/cmeel.prefix") ;;
  ?*) options+=("-DSPECTRALKV_EIGEN_DIR=$EIGEN") ;;
esac
prefix=$out/gtest
if [ -n "${GTEST:-}" ] && [ ! -d "$prefix" ]; then
  step gtest 120 bash -c '"$1" -S "$2" -B "$3/build" -DBUILD_GMOCK=OFF -DCMAKE_INSTALL_PREFIX="$3" &&
    "$1" --build "$3/build" --parallel "$4" --target install' _ "$cmake" "$GTEST" "$prefix" "$jobs"
fi
options+=("-DCMAKE_PREFIX_PATH=$prefix")

step configure 60 "$cmake" -S "$root" -B "$build" -DSPECTRALKV_TESTS=ON "${options[@]}" || exit 1
step build 400 "$cmake" --build "$build" --parallel "$jobs" --target spectralkv spectralkv_cuda test_cuda || exit 1
python3 "$root/tests/checks/cuda_resources.py" "$out/build.log" >"$out/resources.txt" 2>&1
row resources "$([ $? -eq 0 ] && echo ok || echo FAILED)" 0 "$(tail -n 1 "$out/resources.txt")"

test=$build/tests/cuda/test_cuda
status=0
step tests 180 "$test" || status=1
grep -q 'GPU: ' "$out/tests.log" || { row GPU NONE 0 "$(grep -m 1 -F '[cuda]' "$out/tests.log")"; exit 1; }
sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null || true)
small='CudaOps.*:*EveryType.ProductOf*/q4_*:*EveryType.ProductOf*/f16:*DeviceCache*'
if [ -n "$sanitizer" ]; then
  step memcheck 90 "$sanitizer" --error-exitcode 9 "$test" --gtest_filter="$small" || status=1
  step racecheck 90 "$sanitizer" --tool racecheck --error-exitcode 9 "$test" --gtest_filter='CudaOps.*:*ProductOfOneToken/q8_0' || status=1
else
  row memcheck left-out 0 "there is no compute-sanitizer"
fi
if "$cmake" --build "$build" --target help | grep -q cuda_attention; then
  step attention-build 120 "$cmake" --build "$build" --parallel "$jobs" --target cuda_attention &&
    step attention 60 "$(find "$build" -name cuda_attention -type f -perm -u+x | head -n 1)" && tail -n 20 "$out/attention.log"
fi
if [ -n "${MODEL:-}" ]; then
  step bench 120 "$build/spectralkv" bench -m "$MODEL" --device cuda -p 512 -n 128 -d 0,8192 -ctk eoptshrinkq:2 -ctk f16 -r 3 || status=1
  cat "$out/bench.log"
fi
printf '\n%s\n' "$(grep -m 1 'GPU: ' "$out/tests.log")"
cat "$table"
exit $status
