#!/usr/bin/env bash
# fp8 of SmolLM2 with 32 x 512 calibration tokens, all of it from start to exit, against ModelOpt on the
# same checkpoint, ids and threads. Alternating, three times; medians of wall seconds and of the largest
# resident set. Both caches are warm after the first pair, which does not count.
# PEER_PYTHON: a Python with the packages that ../shared/peers/README.md names.
bench_targets=(bench_measure)
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
python=${PEER_PYTHON:-python3}
repeats=${1:-3}
threads=$(nproc)
model=$(smollm2)
csv=$scratch/speed_fp8.csv
rm -f "$csv"

ours() {
  "$build/bench/bench_measure" "$csv" "ours$1" "$host" --recipe fp8 --model "$model" --quiet \
    --output "$scratch/fp8" --overwrite --threads "$threads" \
    --set "calibration.data=$shared/data/smollm2_ids.safetensors:calib_ids" \
    --set calibration.samples=32 --set calibration.seq_len=512
}
peer() {
  "$build/bench/bench_measure" "$csv" "peer$1" "$python" "$shared/peers/cpu_fp8.py" FP8_DEFAULT_CFG \
    --model "$model" --batch 4 --threads "$threads" >"$scratch/peer.json"
}
with_peer=1
"$python" -c 'import modelopt, torch' 2>/dev/null || with_peer=

ours _warm
if [ -n "$with_peer" ]; then peer _warm; fi
for _ in $(seq "$repeats"); do
  ours ""
  if [ -n "$with_peer" ]; then peer ""; fi
done

machine
echo "label,wall_s,cpu_s,peak_MB,exit,own_MB"
cat "$csv"
value() { awk -F, -v l="$1" -v c="$2" '$1 == l {print $c}' "$csv" | median; }
echo "median of ours: $(value ours 2) s, $(value ours 4) MB"
if [ -n "$with_peer" ]; then
  echo "median of peer: $(value peer 2) s, $(value peer 4) MB ($(cut -c1-60 "$scratch/peer.json"))"
  awk -v a="$(value ours 2)" -v b="$(value peer 2)" -v m="$(value ours 4)" -v n="$(value peer 4)" \
    'BEGIN {printf "ours / peer: %.2f of the time, %.2f of the memory\n", a / b, m / n}'
else
  echo "no peer: PEER_PYTHON=$python has no modelopt"
fi
