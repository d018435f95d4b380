#!/usr/bin/env bash
# Largest resident set of a weight-only run on a checkpoint of 8B-shaped layers: 4 GB (8 layers), and the
# same at 16 layers. Weight-only memory is one block plus fixed buffers, so the two agree.
# memory_weight_only.sh [RECIPE] [LAYERS]; needs 3 times the checkpoint on disk.
bench_targets=(bench_measure make_8b_shaped)
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
recipe=${1:-int8_wo}
layers=${2:-8}
csv=$scratch/memory_weight_only.csv
rm -f "$csv"

for n in "$layers" $((2 * layers)); do
  source=$scratch/8b_shaped_$n
  [ -f "$source/config.json" ] || "$build/bench/make_8b_shaped" "$source" "$n"
  "$build/bench/bench_measure" "$csv" "$recipe on $n layers" "$host" --recipe "$recipe" --quiet \
    --model "$source" --output "$scratch/8b_out" --overwrite
  "$host" verify "$scratch/8b_out" --quiet
  rm -rf "$scratch/8b_out"
done
machine
echo "label,wall_s,cpu_s,peak_MB,exit"
cat "$csv"
awk -F, '{p[NR] = $4} END {printf "peak: %s MB, twice the layers: %s MB\n", p[1], p[2]; exit !(p[1] < 400 && p[2] < 400)}' \
  "$csv" || { echo "above the bound of 400 MB"; exit 1; }
