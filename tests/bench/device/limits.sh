#!/usr/bin/env bash
# What the disk allows: one dd reads the source while another writes as much as the output holds, with
# fsync; with the source in the page cache, and without. limits.sh SOURCE BYTES [REPEATS]
# Also what the products of the calibration take through cuBLASLt: at the rate of short bursts
# (gpu_limits.py, whose shapes are Llama-3-8B's) and one after the other for as long as a run (products.py),
# and the other limits of the device.
# Into $LIMITS (default $OUT): limits.csv (state, seconds of both, read GB/s, write GB/s), gpu_limits.jsonl,
# limits.txt with `warm S`, `cold S`, `forward S` (bursts), `products S`. The last line has these figures.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
source=${1:?usage: limits.sh SOURCE BYTES [REPEATS]}
bytes=${2:?usage: limits.sh SOURCE BYTES [REPEATS]}
repeats=${3:-3}
into=${LIMITS:-$out}
csv=$into/limits.csv
target=$scratch/limits.bin
piece_mib=256
block=$(mktemp -p /dev/shm)
trap 'rm -f "$block" "$target"' EXIT
# Random: a disk may treat zeros otherwise.
head -c $((piece_mib << 20)) /dev/urandom >"$block"

read_source() {
  local file
  for file in "$source"/*.safetensors; do dd if="$file" of=/dev/null bs=16M status=none; done
}
write_output() {
  rm -f "$target"
  local at=0 mib=$(((bytes + (1 << 20) - 1) >> 20)) n
  while [ $at -lt $mib ]; do
    n=$((mib - at < piece_mib ? mib - at : piece_mib))
    local last=
    if [ $((at + n)) -ge $mib ]; then last=,fsync; fi
    dd if="$block" of="$target" bs=1M count=$n seek=$at conv=notrunc$last status=none
    at=$((at + n))
  done
  # The page cache would otherwise be asked for room in the next round.
  [ "$(stat -c %s "$target")" -eq $((mib << 20)) ]
}
total=$(cat "$source"/*.safetensors | wc -c)
echo "state,both_s,read_GBs,write_GBs" >"$csv"
for state in warm cold; do
  for _ in $(seq "$repeats"); do
    if [ $state = warm ]; then warm "$source"; else cold "$source"; fi
    rm -f "$target"
    begin=$(now)
    (read_source && since "$begin" >"$scratch/read_s") &
    reader=$!
    write_output
    write_s=$(since "$begin")
    wait $reader
    awk -v s=$state -v r="$(cat "$scratch/read_s")" -v w="$write_s" -v n="$total" -v m="$bytes" \
      'BEGIN {printf "%s,%.2f,%.2f,%.2f\n", s, (r > w ? r : w), n / 1e9 / (r > 0 ? r : 0.01), m / 1e9 / (w > 0 ? w : 0.01)}' >>"$csv"
  done
done
machine
cat "$csv"
gpu=$into/gpu_limits.jsonl
if [ ! -s "$gpu" ] && [ "$device" != cpu ] && [ -f "$peers/gpu_limits.py" ]; then
  outside python3 "$peers/gpu_limits.py" --disk --gib 1 | tee "$gpu"
fi
# Seconds of all products of the calibration but the head's, each at its own measured rate; empty without.
forward_limit() {
  [ -s "$gpu" ] && [ "$shape" = 4096,14336,32,8,128256 ] || return 0
  python3 - "$gpu" "$layers" $((rows * seq)) <<'PY'
import json, sys
rate = {}
for line in open(sys.argv[1]):
    row = json.loads(line)
    if "median" in row:
        rate[row["limit"].rsplit("_", 1)[0]] = row["median"] * 1e12
products = [("bf16_q_o", 4096 * 4096, 2), ("bf16_k_v", 4096 * 1024, 2), ("bf16_gate_up", 4096 * 14336, 2),
            ("bf16_down", 4096 * 14336, 1)]
print("%.2f" % sum(2 * size * n * int(sys.argv[2]) * int(sys.argv[3]) / rate[name] for name, size, n in products))
PY
}
both() { awk -F, -v s="$1" '$1 == s {print $2}' "$csv" | median; }
forward=$(forward_limit)
products=
if [ "$device" != cpu ] && outside python3 "$here/products.py" "$layers" $((rows * seq)) 8192 "$shape" \
  >"$scratch/products.json"; then
  cat "$scratch/products.json" >>"$gpu"
  products=$(value "$scratch/products.json" seconds)
fi
printf 'warm %s\ncold %s\nforward %s\nproducts %s\n' "$(both warm)" "$(both cold)" "${forward:-0}" \
  "${products:-0}" >"$into/limits.txt"
echo "limits: disk $(both warm) s warm, $(both cold) s cold for $(awk -v n="$total" -v m="$bytes" \
  'BEGIN {printf "%.2f GB read, %.2f GB written", n / 1e9, m / 1e9}'); products ${forward:-not measured} s in bursts, ${products:-not measured} s one after the other"
