#!/usr/bin/env bash
# Seconds and largest resident set of --check and --check --json on checkpoints of 500,000 tensors whose
# data is a hole (100 MB each, headers and index): experts without an adapter, and decoder layers with
# one. Each is run REPEATS times; medians. Verifies that the plan lists every tensor.
# check_many_tensors.sh [TENSORS] [REPEATS]
bench_targets=(bench_measure make_many_tensors)
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
tensors=${1:-500000}
repeats=${2:-3}
csv=$scratch/check_many_tensors.csv
rm -f "$csv"

check() { # KIND RECIPE SETTINGS...
  local kind=$1 recipe=$2 source=$scratch/$1_$tensors listed
  shift 2
  [ -f "$source/config.json" ] || "$build/bench/make_many_tensors" "$source" "$kind" "$tensors" >&2
  for _ in $(seq "$repeats"); do
    for output in "" --json; do
      "$build/bench/bench_measure" "$csv" "$kind $recipe${output:+ $output}" "$host" --check --quiet \
        --recipe "$recipe" --model "$source" --output "$scratch/none" "$@" $output >"$scratch/plan"
    done
    listed=$(grep -c '^  {"name":"[^"]*","fate":' "$scratch/plan")
    [ "$listed" -eq "$(("$tensors" - missing))" ] ||
      { echo "$kind $recipe: $listed tensors are listed"; exit 1; }
  done
}

missing=0
for recipe in int8_wo fp8_pc_pt w4a16_nvfp4; do
  check experts "$recipe" --set model.adapter=none
done
missing=$(((tensors - 3) % 9)) # layers are whole
check llama int8_wo

machine
echo "label,wall_s,cpu_s,peak_MB,exit,own_MB"
cat "$csv"
cut -d, -f1 "$csv" | sort -u | while read -r label; do
  value() { awk -F, -v l="$label" -v c="$1" '$1 == l {print $c}' "$csv" | median; }
  echo "median of $label: $(value 2) s, $(value 3) s of CPU, $(value 4) MB"
done
