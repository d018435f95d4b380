#!/usr/bin/env bash
# SmolLM2-135M on the device against the CPU, every recipe of the library: one without data gives the same
# bytes on both; one with data gives the same bytes twice on the device, and a perplexity within 0.2 % of the
# CPU's. Every output is verified.
#   smollm2.sh keep DIR       puts the pieces below DIR (gather.sh made them) aside, one call after the other
#   smollm2.sh [RECIPE...]    joins them, converts to BF16 and runs (all recipes of general/ but base)
# ROWS (32 unless set) calibration rows; EVAL_TOKENS (20480). $OUT/smollm2.csv, one line a recipe.
ROWS=${ROWS:-32}
SEQ=${SEQ:-512}
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
pieces=$scratch/smollm2_pieces
if [ "${1:-}" = keep ]; then
  mkdir -p "$pieces"
  cp "${2:?usage: smollm2.sh keep DIR}"/part.* "$pieces/"
  echo "$(find "$pieces" -type f | wc -l) pieces, $(du -sm "$pieces" | cut -f1) MB"
  exit
fi
model=$scratch/smollm2
if [ ! -f "$model/config.json" ]; then
  cat "$pieces"/part.* >"$scratch/smollm2.gguf"
  [ "$(sha256sum <"$scratch/smollm2.gguf")" = "$(cat "$peers/smollm2.sha256")" ] ||
    { echo "the pieces are not the model: some are missing" >&2; exit 3; }
  "$host" convert "$scratch/smollm2.gguf" "$model" --dtype bf16 --quiet >&2
fi
ids_file=$peers/smollm2_ids.safetensors
csv=$out/smollm2.csv
echo recipe,kind,cpu_s,device_s,bytes,perplexity_cpu,perplexity_device,result >"$csv"

# quantize DEVICE FOLDER
quantize() {
  "$host" --recipe "$recipe" --model "$model" --output "$scratch/$2" --overwrite --device "$1" --quiet \
    --set "calibration.data=$ids_file:calib_ids" --set "calibration.samples=$rows" \
    --set "calibration.seq_len=$seq" >"$scratch/$2.log" 2>&1 || { cat "$scratch/$2.log" >&2; return 1; }
  "$host" verify "$scratch/$2" --quiet >"$scratch/$2.log" 2>&1 || { cat "$scratch/$2.log" >&2; return 1; }
}
# The files that engines load.
same() {
  local file
  for file in "$scratch/$1"/*; do
    if [ -f "$file" ]; then cmp -s "$file" "$scratch/$2/$(basename "$file")" || return 1; fi
  done
}
perplexity() {
  "$host" eval "$scratch/$2" --ids "$ids_file:eval_ids" --max-tokens "${EVAL_TOKENS:-20480}" --device "$1" \
    --json --quiet >"$scratch/eval.json" && value "$scratch/eval.json" perplexity
}
# The words after `recipe,kind` of one line.
compare() {
  local begin cpu_s device_s a=- b=- result=same bytes
  begin=$(now)
  quantize cpu smol_cpu || { echo "-,-,-,-,-,-,FAILED on the cpu"; return; }
  cpu_s=$(since "$begin")
  begin=$(now)
  quantize "$device" smol_one || { echo "-,$cpu_s,-,-,-,-,FAILED on the device"; return; }
  device_s=$(since "$begin")
  if [ -z "$(value "$scratch/smol_cpu/mopt/report.json" calibration)" ]; then
    kind=weights
    same smol_cpu smol_one || result="FAILED other bytes than on the cpu"
  else
    kind=calibrated
    quantize "$device" smol_two || result="FAILED on the device"
    same smol_one smol_two || result="FAILED two runs differ"
    # Both on one device: the difference is the checkpoints', not the evaluation's.
    a=$(perplexity "$device" smol_cpu)
    b=$(perplexity "$device" smol_one)
    awk -v a="$a" -v b="$b" 'BEGIN {d = b / a - 1; exit !(d < 0.002 && d > -0.002)}' ||
      result="FAILED perplexity is more than 0.2 % off"
  fi
  bytes=$(value "$scratch/smol_one/mopt/report.json" output.bytes)
  echo "$kind,$cpu_s,$device_s,$bytes,$a,$b,$result"
}
machine
if [ $# -eq 0 ]; then
  for file in "$tree"/share/mopt/recipes/general/*.toml; do
    if [ "$(basename "$file")" != base.toml ]; then set -- "$@" "$(basename "$file" .toml)"; fi
  done
fi
for recipe in "$@"; do
  echo "$recipe,$(compare)" | tee -a "$csv"
done
# The source itself, evaluated on both.
echo "source: perplexity $("$host" eval "$model" --ids "$ids_file:eval_ids" --max-tokens "${EVAL_TOKENS:-20480}" \
  --device cpu --json --quiet | python3 -c 'import json, sys; print(json.load(sys.stdin)["perplexity"])') on cpu, $(
  "$host" eval "$model" --ids "$ids_file:eval_ids" --max-tokens "${EVAL_TOKENS:-20480}" --device "$device" --json --quiet |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["perplexity"])') on $device"
bad=$(grep -c FAILED "$csv" || :)
echo "$(($(wc -l <"$csv") - 1)) recipes, $bad failed"
[ "$bad" -eq 0 ]
