#!/usr/bin/env bash
# What the disk allows: one dd reads the source while another writes as much as the output holds, with
# fsync; with the source in the page cache, and without. limits.sh SOURCE BYTES [REPEATS]
# CSV: state, seconds of both together, read GB/s, write GB/s. The last line has both medians. Then the
# limits of products and copies (gpu_limits.py, without its disk part) go to $OUT/gpu_limits.jsonl.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
source=${1:?usage: limits.sh SOURCE BYTES [REPEATS]}
bytes=${2:?usage: limits.sh SOURCE BYTES [REPEATS]}
repeats=${3:-3}
csv=$out/limits.csv
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
if [ -f "$peers/gpu_limits.py" ]; then
  gpu=--skip-gpu
  if python3 -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then gpu=; fi
  python3 "$peers/gpu_limits.py" --disk --gib 1 $gpu | tee "$out/gpu_limits.jsonl" || :
fi
both() { awk -F, -v s="$1" '$1 == s {print $2}' "$csv" | median; }
echo "disk limit: $(both warm) s warm, $(both cold) s cold for $(awk -v n="$total" -v m="$bytes" \
  'BEGIN {printf "%.2f GB read, %.2f GB written", n / 1e9, m / 1e9}')"
