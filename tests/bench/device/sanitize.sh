#!/usr/bin/env bash
# compute-sanitizer over the op harness: every kernel of every op and the plugins' encoders, on small problems
# (op_harness compare --quick), under each TOOL. Kernels of cuBLASLt and cuDNN under memcheck alone, which
# shows whether we gave them the right memory; how they synchronize is theirs.
# sanitize.sh [TOOL...]: racecheck synccheck memcheck. JOBS at a time (6), LIMIT seconds each (300). Needs
# op_harness in the tree: gather.sh op_harness. $OUT/sanitize.csv; what the tools said lies in MOPT_BENCH's
# sanitize/, the end of it goes to stderr where a run is not clean.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
tools=("$@")
[ $# -gt 0 ] || tools=(racecheck synccheck memcheck)
export harness=$tree/bin/op_harness logs=$scratch/sanitize limit=${LIMIT:-300} device
PATH=$PATH:/usr/local/cuda/bin
command -v compute-sanitizer >/dev/null ||
  { echo "sanitize.sh: no compute-sanitizer in PATH; it comes with the CUDA toolkit" >&2; exit 2; }
rm -rf "$logs"
mkdir -p "$logs"
csv=$out/sanitize.csv
machine

one() {
  local tool=$1 op=$2 kernel=${3:-} begin=$SECONDS status=0 log passed
  log=$logs/$tool.${kernel:-$op}.log
  timeout "$limit" compute-sanitizer --tool "$tool" --error-exitcode 97 "$harness" compare --device "$device" --quick \
    --op "$op" ${kernel:+--kernel "$kernel"} >"$log" 2>&1 || status=$?
  # The harness itself fails when nothing was compared.
  passed=$(sed -n 's/^\([0-9]*\) passed, .*/\1/p' "$log")
  if [ $status -eq 0 ] && grep -q 'SUMMARY: 0 ' "$log"; then
    echo "$tool,${kernel:-$op},$((SECONDS - begin)),$passed,clean"
  else
    echo "$tool,${kernel:-$op},$((SECONDS - begin)),${passed:-0},exit $status"
    tail -n 40 "$log" >&2
  fi
}
export -f one

kernels=$("$harness" support --device "$device" | awk '$2 ~ /[.]/ {print $1, $2}' | sort -u)
[ -n "$kernels" ] || { echo "sanitize.sh: no kernel on $device" >&2; exit 1; }
echo "tool,what,seconds,passed,result" >"$csv"
for tool in "${tools[@]}"; do
  printf '%s\n' encoders "$kernels" | sed "s/^/$tool /"
done | grep -vE '^(racecheck|synccheck) .*[.](cublaslt|cudnn)$' |
  xargs -P "${JOBS:-6}" -I{} bash -c 'one {}' >>"$csv"
cat "$csv"
awk -F, 'NR > 1 {if ($NF == "clean") ++clean; else ++bad}
  END {printf "sanitize: %d runs clean, %d not\n", clean, bad; exit clean == 0 || bad > 0}' "$csv"
