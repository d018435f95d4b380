#!/usr/bin/env bash
# Largest resident set of a weight-only run on a checkpoint of 8B-shaped layers: 4 GB (8 layers), and the
# same at 16 layers. Weight-only memory is one block plus fixed buffers, so the two agree; beside it what
# --check predicted, which may be 10 % off.
# memory_weight_only.sh [RECIPE] [LAYERS]; needs 3 times the checkpoint on disk.
bench_targets=(bench_measure make_llama)
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
recipe=${1:-int8_wo}
layers=${2:-8}
csv=$scratch/memory_weight_only.csv
rm -f "$csv" "$scratch/predicted"

for n in "$layers" $((2 * layers)); do
  source=$scratch/8b_shaped_$n
  [ -f "$source/config.json" ] || "$build/bench/make_llama" "$source" --layers "$n" --shape 4096,14336,32,8,32000
  predicted=$("$host" --recipe "$recipe" --model "$source" --output "$scratch/8b_out" --check --json --quiet |
    tr -d ' ' | sed -n 's/.*"peak_bytes":\([0-9]*\).*/\1/p')
  "$build/bench/bench_measure" "$csv" "$recipe on $n layers" "$host" --recipe "$recipe" --quiet \
    --model "$source" --output "$scratch/8b_out" --overwrite
  "$host" verify "$scratch/8b_out" --quiet
  rm -rf "$scratch/8b_out"
  awk -F, -v p="$predicted" 'END {printf "%s: %.0f MB predicted, %.0f MB measured, %+.1f %%\n",
    $1, p / 1048576, $4, 100 * (p / 1048576 / $4 - 1)}' "$csv" | tee -a "$scratch/predicted"
done
machine
echo "label,wall_s,cpu_s,peak_MB,exit,own_MB"
cat "$csv"
if grep -E '[+-][0-9]{2,}\.[0-9] %$' "$scratch/predicted"; then echo "prediction is off by 10 % or more"; exit 1; fi
awk -F, '{p[NR] = $4} END {printf "peak: %s MB, twice the layers: %s MB\n", p[1], p[2]; exit !(p[1] < 400 && p[2] < 400)}' \
  "$csv" || { echo "above the bound of 400 MB"; exit 1; }
