#!/usr/bin/env bash
# First contact with a machine that has a GPU, and perhaps neither network nor compiler: run.sh [PART...]
#
# Parts: env tests sanitize attention torch decode full ncu; all of them unless some are named. No part needs another, and
# none that fails or hangs stops one. README.md says what to bring and what the variables mean.
set -u
here=$(cd "$(dirname "$0")" && pwd)
programs=${PROGRAMS:-$here/../../../build/first_contact} out=${OUT:-/tmp/first_contact} budget=${BUDGET:-450}
work=$(mktemp -d)
models=${MODELS:-/dev/shm}
parts=" ${*:-env tests sanitize attention torch decode full ncu} "
mkdir -p "$out" "$work/logs"
for d in /usr/local/cuda/lib64 /usr/local/cuda/targets/x86_64-linux/lib \
  "$(python3 -c 'import site; print(site.getsitepackages()[0])' 2>/dev/null)"/nvidia/*/lib; do
  [ -d "$d" ] && libraries=${libraries:+$libraries:}$d
done
export LD_LIBRARY_PATH=${libraries:-}:$programs:${LD_LIBRARY_PATH:-} PATH=$PATH:/usr/local/cuda/bin PYTHONUNBUFFERED=1
export SPECTRALKV_TEST_LIBRARIES=$programs programs work

row() { printf '%-22s %-7s %4s s  %s\n' "$1" "$2" "$3" "${4:-}" | tee -a "$out/table.txt"; }
want() { case "$parts" in *" $1 "*) return 0 ;; esac; return 1; }
# step NAME LIMIT LOG COMMAND...: appends to the log; its limit is cut to what is left of the budget.
step() {
  local name=$1 limit=$2 log=$out/$3 start=$SECONDS left=$((budget - SECONDS)) code
  shift 3
  [ "$left" -lt "$limit" ] && limit=$left
  if [ "$limit" -lt 5 ]; then row "$name" SKIPPED 0 "no time is left"; return 1; fi
  printf '\n=== %s: %s\n' "$name" "$*" >>"$log"
  timeout -k 5 "$limit" "$@" >>"$log" 2>&1 </dev/null
  code=$?
  if [ $code -eq 0 ]; then row "$name" ok $((SECONDS - start)); elif [ $code -eq 77 ]; then row "$name" LEFT-OUT $((SECONDS - start)) "$(tail -n 1 "$log")"; else row "$name" FAILED $((SECONDS - start)) "exit code $code"; fi
  return $code
}
# one NAME TOOL SECONDS: a test in a process of its own, so that one that breaks its context takes no other along. It ends
# with the step that it belongs to.
one() {
  local name=$1 tool=$2 limit=$3 log code start=$SECONDS run=()
  log=$work/logs/$tool-$(echo "$name" | tr -c 'A-Za-z0-9\n' _).log
  [ "$tool" = none ] || run=(compute-sanitizer --tool "$tool" --error-exitcode 9 --print-limit 20)
  timeout --foreground -k 5 "$limit" "${run[@]}" "$programs/test_cuda" --gtest_filter="$name" >"$log" 2>&1 </dev/null
  code=$?
  grep -qi 'skipped' "$log" && code=77
  printf '%3d %4d s %-10s %s %s\n' $code $((SECONDS - start)) "$tool" "$name" "$log" >>"$work/results"
}
export -f one
# side_by_side NAME LIMIT LOG LIST: a line of LIST is a test and a tool; eight at once. The log gets what did not pass.
side_by_side() {
  : >"$work/results"
  step "$1" "$2" env.log xargs -a "$4" -P 8 -L 1 bash -c 'one "$0" "$1" 60'
  while read -r name tool; do # those that the step's end cut off
    grep -qF " $tool $name " <(tr -s ' ' <"$work/results") || printf '124    - s %-10s %s -\n' "$tool" "$name" >>"$work/results"
  done <"$4"
  awk '{ n++; if ($1 != 0) bad++ } END { printf "%d ran, %d did not pass\n", n, bad }' "$work/results" >"$out/$3"
  sort -rn "$work/results" | cut -c1-150 >>"$out/$3"
  awk '$1 != 0 && $NF != "-" { print $NF }' "$work/results" | while read -r log; do
    printf '\n=== %s\n' "$(basename "$log")"
    tail -n 60 "$log"
  done >>"$out/$3"
  local said
  said=$(head -n 1 "$out/$3")
  row "$1-result" "$([ "${said#*, }" = '0 did not pass' ] && echo ok || echo FAILED)" 0 "$said"
  awk '$1 != 0 { print $1, $5, $4 }' "$work/results" | head -n 20 | tee -a "$out/table.txt"
}

if want decode || want full || { want ncu && command -v ncu >/dev/null; }; then # beside the tests: 4 and 32 layers of the 8B shape
  { python3 "$here/model.py" "$models/four.gguf" 4 && python3 "$here/model.py" "$models/all.gguf"; touch "$work/models"; } >"$work/models.log" 2>&1 &
  writer=$!
else
  touch "$work/models"
fi
if want env; then
  step env 40 env.log bash -c 'nvidia-smi; uname -a; nproc; free -g | head -2; df -h / /dev/shm; command -v ncu compute-sanitizer python3
    ldd "$programs/libspectralkv_cuda.so" "$programs/test_cuda"; ! ldd "$programs/libspectralkv_cuda.so" "$programs/test_cuda" | grep "not found"'
fi
if want tests; then
  "$programs/test_cuda" --gtest_list_tests 2>/dev/null | sed 's/ *#.*//' | awk '/^[^ ]/ { s = $1; next } NF { print s $1, "none" }' >"$work/list"
  side_by_side tests 110 tests.log "$work/list"
fi
if want sanitize; then
  if command -v compute-sanitizer >/dev/null; then
    {
      for t in 'CudaOps.*' '*ProductOf*Token*/q8_0' '*ProductOf*Token*/q4_k' '*ProductOfOneToken/q6_k' 'Pairs*ReadsTheCpusState/0' \
        'Pairs*SealsAsTheCpu/0' 'Pairs*ReadsTheCpusState/4' 'Trellis*ReadsTheCpusState/1' 'Trellis*SealsAsTheCpu/1' \
        'Heads*SealsAsTheCpu/1' '*LogitsAre*/eopt*'; do echo "$t memcheck"; done
      for t in 'CudaOps.*' 'Pairs*ReadsTheCpusState/0' 'Pairs*SealsAsTheCpu/0' 'Trellis*SealsAsTheCpu/1'; do
        echo "$t racecheck"
        echo "$t synccheck"
      done
      for t in 'Pairs*SealsAsTheCpu/0' 'Trellis*SealsAsTheCpu/1' '*LogitsAre*/eopt*'; do echo "$t initcheck"; done
    } >"$work/list"
    side_by_side sanitize 100 sanitizer.log "$work/list"
  else
    row sanitize LEFT-OUT 0 "there is no compute-sanitizer"
  fi
fi
# From here on nothing runs beside what is measured.
for _ in $(seq 60); do [ -e "$work/models" ] || [ $SECONDS -ge $((budget - 60)) ] && break; sleep 1; done
cat "$work/models.log" >>"$out/env.log" 2>/dev/null
want attention && step attention 75 attention.log "$programs/cuda_attention" 8192 32768 131072
want torch && step torch 75 torch.log python3 "$here/attention.py"
bench() { step "$1" "$2" bench.log "$programs/spectralkv" bench --device "${DEVICE:-cuda}" -r 2 "${@:3}"; }
depths=0,8192,32768,131072
if want decode; then # of four layers
  bench decode-eopt 75 -m "$models/four.gguf" -p 0 -n 64 -d "$depths" -b 2048 -ctk eoptshrinkq:2
  bench decode-f16 110 -m "$models/four.gguf" -p 0 -n 64 -d "$depths" -b 2048 -ctk f16
fi
if want full; then
  bench full-eopt 60 -m "$models/all.gguf" -p 512 -n 64 -d 0 -b 2048 -ctk eoptshrinkq:2
  bench full-f16 60 -m "$models/all.gguf" -p 512 -n 64 -d 0 -b 2048 -ctk f16
fi
if want decode && want full; then step tokens-a-second 10 bench.log python3 "$here/extrapolate.py" "$out/bench.log"; fi
if want ncu; then
  if command -v ncu >/dev/null; then # every kernel of one token with its time; then the counters of the two hottest
    token=("$programs/spectralkv" bench --device cuda -m "$models/four.gguf" -p 0 -n 4 -d 0 -r 1)
    step ncu-token 45 ncu.log ncu --clock-control none --csv --metrics gpu__time_duration.sum -s 900 -c 130 "${token[@]}" -ctk eoptshrinkq:2
    step ncu-gemv 30 ncu.log ncu --clock-control none --csv --page details --set full -k regex:gemv -s 40 -c 5 "${token[@]}" -ctk f16
    step ncu-tiles 40 ncu.log ncu --clock-control none --csv --page details --set full -k regex:attend_tiles -s 39 -c 3 "$programs/cuda_attention" 32768
    step ncu-halves 40 ncu.log ncu --clock-control none --csv --page details --set full -k regex:"attend_halves|expand_blocks" -s 60 -c 4 "$programs/cuda_attention" 8192
  else
    row ncu LEFT-OUT 0 "there is no ncu"
  fi
fi
printf '\n'
cat "$out"/{bench,torch,attention}.log 2>/dev/null | grep -E '^\||decode|prompt|copy|GB/s|tokens/s|^eopt|^f16|^turbo|^q8' | cut -c1-150
cat "$out/table.txt"
[ -z "${writer:-}" ] || pkill -P "$writer" # where the budget ended before it did
rm -rf "$work" "$models/four.gguf" "$models/all.gguf"
