#!/usr/bin/env bash
# One recipe on one Llama shape, ours and ModelOpt's in one run: first each once warm alternating, REPEATS
# times, then ours cold as often. Both calibrate on ROWS x SEQ random tokens, ModelOpt in batches of BATCH.
# shape.sh RECIPE [PRESET]; PRESET of ModelOpt: FP8_DEFAULT_CFG for fp8, NVFP4_DEFAULT_CFG for nvfp4.
# REPEATS (2); EXTRA: more words for our command line, such as --device-memory-limit 6GiB.
#
# Ours is timed until its files are on the disk (sync_s is what a sync after its end still took), the
# peer's output is not synced. own_MB: RssAnon + RssShmem; device_MB: what each program counts itself;
# smi_MB: nvidia-smi's largest minus the idle value. Then limits.sh, in the same run. $OUT:
# shape_RECIPE.csv, .md, reports_RECIPE.tar.gz with every run's report.json and the limits.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
recipe=${1:?usage: shape.sh RECIPE [PRESET]}
case $recipe in
  fp8) preset=${2:-FP8_DEFAULT_CFG} ;;
  nvfp4) preset=${2:-NVFP4_DEFAULT_CFG} ;;
  *) preset=${2:-} ;;
esac
repeats=${REPEATS:-2}
source=$(model "$layers")
tokens=$(ids "$rows")
csv=$out/shape_$recipe.csv
reports=$scratch/reports
target=$scratch/shape_out
rm -rf "$reports"
mkdir -p "$reports"
header=run,wall_s,cpu_s,peak_MB,exit,own_MB,sync_s,device_MB,smi_MB,out_GB,verified
echo $header >"$csv"
idle=$(nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits 2>/dev/null | head -n 1 || echo 0)

# row SYNC DEVICE_MB OUT_GB VERIFIED: the last measured line, with the rest of its columns.
row() {
  local smi
  smi=$(awk -v a="$(device_peak)" -v b="${idle:-0}" 'BEGIN {print (a > b ? a - b : 0)}')
  echo "$(tail -n 1 "$scratch/measured.csv"),$1,$2,$smi,$3,$4" | tee -a "$csv"
}
ours() {
  local verified=no at=$1_$2 sync_s begin
  rm -rf "$target"
  if [ "$1" = ours_warm ]; then warm "$source"; else cold "$source"; fi
  watch_device
  # shellcheck disable=SC2086
  "$tree/bin/bench_measure" "$scratch/measured.csv" "$1" "$host" --recipe "$recipe" --model "$source" \
    --output "$target" --device "$device" --quiet ${EXTRA:-} --set "calibration.data=$tokens" \
    --set "calibration.samples=$rows" --set "calibration.seq_len=$seq" >"$scratch/$at.log" 2>&1 ||
    cat "$scratch/$at.log" >&2
  begin=$(now)
  if [ -d "$target" ]; then sync "$target"/*; fi
  sync_s=$(since "$begin")
  if "$host" verify "$target" --quiet >"$scratch/verify.log" 2>&1; then verified=yes; fi
  cp "$target/mopt/report.json" "$reports/$at.json" 2>/dev/null || echo '{}' >"$reports/$at.json"
  row "$sync_s" "$(value "$reports/$at.json" memory.device_peak_bytes | awk '{printf "%.0f", $1 / 1048576}')" \
    "$(value "$reports/$at.json" output.bytes | awk '{printf "%.3f", $1 / 1e9}')" $verified
}
peer() {
  local at=$reports/peer_$1.json on=cuda
  if [ "$device" = cpu ]; then on=cpu; fi
  warm "$source"
  watch_device
  PYTHONPATH=${PEER_PYTHONPATH:-}${PYTHONPATH:+:$PYTHONPATH} \
    outside "$tree/bin/bench_measure" "$scratch/measured.csv" peer_warm "${PEER_PYTHON:-python3}" \
    "$peers/gpu_shape.py" "$source" "modelopt:$preset" --batch "$batch" --samples "$rows" --seq "$seq" \
    --device $on >"$at" 2>"$scratch/peer.log" || tail -n 5 "$scratch/peer.log" >&2
  row 0 "$(value "$at" gpu_peak_GiB | awk '{printf "%.0f", $1 * 1024}')" "$(value "$at" out_GB)" no
}

with_peer=
if [ -n "$preset" ] && [ -f "$peers/gpu_shape.py" ] && PYTHONPATH=${PEER_PYTHONPATH:-} \
  outside "${PEER_PYTHON:-python3}" -c 'import modelopt' 2>/dev/null; then with_peer=1; fi
# Each once on a tiny model, so that neither waits for the disk to bring its libraries and its Python.
warm_up() {
  local shape=256,512,4,2,1024 seq=64 tiny
  tiny=$(model 2)
  "$host" --recipe "$recipe" --model "$tiny" --output "$target" --overwrite --device "$device" --quiet \
    --set "calibration.data=$(ids 8)" >"$scratch/warm_up.log" 2>&1 || cat "$scratch/warm_up.log" >&2
  if [ -n "$with_peer" ] && [ "$device" != cpu ]; then
    PYTHONPATH=${PEER_PYTHONPATH:-}${PYTHONPATH:+:$PYTHONPATH} outside "${PEER_PYTHON:-python3}" \
      "$peers/gpu_shape.py" "$tiny" "modelopt:$preset" --batch 8 --samples 8 --seq 64 --device cuda \
      >"$scratch/warm_up.log" 2>&1 || tail -n 2 "$scratch/warm_up.log" >&2
  fi
}
warm_up
for i in $(seq "$repeats"); do
  if [ -n "$with_peer" ]; then peer "$i"; fi
  ours ours_warm "$i"
done
for i in $(seq "$repeats"); do ours ours_cold "$i"; done
rm -rf "$target"

# cell LABEL COLUMN; the time of ours includes its sync.
column() { awk -F, -v l="$1" -v c="$2" '$1 == l {print c == 2 ? $2 + $7 : $c}' "$csv" | median; }
spread() { awk -F, -v l="$1" '$1 == l {x = $2 + $7; if (!n++ || x < a) a = x; if (x > b) b = x} END {printf "%.1f to %.1f", a, b}' "$csv"; }
seconds() { value "$reports/ours_warm_1.json" "seconds.$1" | awk '{printf "%.2f", $1}'; }
{
  echo "| $recipe, $layers layers, $rows x $seq tokens | s (spread) | VmHWM MiB | own MiB | device MiB | out GB |"
  echo "|---|---|---|---|---|---|"
  for label in peer_warm ours_warm ours_cold; do
    if grep -q "^$label," "$csv"; then
      printf '| %s | %.1f (%s) | %.0f | %.0f | %.0f | %.2f |\n' $label "$(column $label 2)" \
        "$(spread $label)" "$(column $label 4)" "$(column $label 6)" "$(column $label 8)" "$(column $label 10)"
    fi
  done
} >"$out/shape_$recipe.md"
machine
cat "$csv" "$out/shape_$recipe.md"
echo "seconds of the first warm run: read $(seconds read), forward $(seconds forward), solve $(seconds solve), encode $(seconds encode), write $(seconds write), verify $(seconds verify)"
bad=$(awk -F, '$1 ~ /^ours/ && ($5 != 0 || $11 != "yes")' "$csv" | wc -l)

bytes=$(value "$reports/ours_warm_1.json" output.bytes)
[ -n "$bytes" ] || { echo "$bad bad runs, the first of ours too: see above" >&2; exit 1; }
LIMITS=$reports bash "$here/limits.sh" "$source" "$bytes" "$repeats"
tar -C "$reports" -czf "$out/reports_$recipe.tar.gz" .
# The products of all blocks' linear layers; attention's own and the head's are not in it.
awk -v shape="$shape" -v layers="$layers" -v tokens=$((rows * seq)) -v s="$(seconds forward)" 'BEGIN {
  split(shape, x, ","); kv = x[1] / x[3] * x[4]
  flop = 2 * tokens * layers * x[1] * (2 * x[1] + 2 * kv + 3 * x[2])
  if (s > 0) printf "forward: %.3g TFLOP of products in %.1f s, %.0f TFLOP/s\n", flop / 1e12, s, flop / 1e12 / s}'
limit() { sed -n "s/^$1 //p" "$reports/limits.txt"; }
awk -v s="$(seconds forward)" -v bursts="$(limit forward)" -v products="$(limit products)" 'BEGIN {
  if (s > 0 && products > 0) printf "forward: %.0f %% of the rate of its products alone, %.0f %% of that in bursts\n", 100 * products / s, 100 * bursts / s}'
for state in warm cold; do
  awk -v t="$(column ours_$state 2)" -v disk="$(limit $state)" -v forward="$(seconds forward)" -v s=$state \
    'BEGIN {most = disk > forward ? disk : forward; if (most > 0) printf \
      "%s: %.1f s, %.2f times the larger of disk %.1f s and forward %.1f s\n", s, t, t / most, disk, forward}'
done
if [ -n "$with_peer" ]; then
  awk -v a="$(column ours_warm 2)" -v b="$(column peer_warm 2)" -v c="$(column ours_cold 2)" -v bad="$bad" \
    'BEGIN {printf "ours warm %.1f s, cold %.1f s; peer %.1f s; ours / peer %.3f; %d bad runs\n", a, c, b, a / b, bad}'
else
  echo "ours warm $(column ours_warm 2) s, cold $(column ours_cold 2) s; no peer; $bad bad runs"
fi
[ "$bad" -eq 0 ]
