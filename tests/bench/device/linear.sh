#!/usr/bin/env bash
# Time over layers and over rows, memory over layers: RECIPE on LAYER_LIST layers with ROWS rows, on
# LAYERS layers with ROW_LIST rows, and the 70B shape without the disk for it: made on reading, written to a
# tmpfs. One warm run each, which verifies its output; that is deleted, and each model below the scratch folder,
# before and after: 64 layers are 30 GB, their FP8 output 16 GB.
# linear.sh RECIPE [layers|rows|70b]...; all three without a word.
# LAYER_LIST (8 16 32 64), ROW_LIST (128 256 512 1024), BIG_SHAPE and BIG_LAYERS (Llama-3-70B's),
# BIG_ROWS (ROWS), TMPFS (110g). $OUT/linear_RECIPE.csv; the last lines say how far the worst is from a
# straight line through the first and the last, and how memory moves.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
recipe=${1:?usage: linear.sh RECIPE [layers|rows|70b]...}
shift
parts=${*:-layers rows 70b}
csv=$out/linear_$recipe.csv
target=$scratch/linear_out
[ -s "$csv" ] || echo what,layers,rows,wall_s,own_MB,device_MB,source_GB,out_GB,verified >"$csv"

# run WHAT LAYERS ROWS SOURCE SOURCE_GB OUTPUT: one line of the CSV.
run() {
  local report=$6/mopt/report.json begin wall verified=no
  rm -rf "$6"
  begin=$(now)
  "$tree/bin/bench_measure" "$scratch/measured.csv" "$1" "$host" --recipe "$recipe" --model "$4" --output "$6" \
    --device "$device" --quiet ${EXTRA:-} --plugin "$tree/lib/mopt/test/synthetic.so" \
    --set "calibration.data=$(ids "$3")" --set "calibration.samples=$3" --set "calibration.seq_len=$seq" \
    >"$scratch/linear.log" 2>&1 || { cat "$scratch/linear.log" >&2; }
  if [ -d "$6" ]; then sync "$6"/*; fi
  wall=$(since "$begin")
  # The run's own verification, of every byte; it would have failed otherwise.
  if [ "$(value "$report" verify.ok)" = True ]; then verified=yes; fi
  if [ -f "$report" ]; then
    echo "$1,$2,$3,$wall,$(tail -n 1 "$scratch/measured.csv" | cut -d, -f6),$(value "$report" memory.device_peak_bytes |
      awk '{printf "%.0f", $1 / 1048576}'),$5,$(value "$report" output.bytes | awk '{printf "%.2f", $1 / 1e9}'),$verified"
  else
    echo "$1,$2,$3,$wall,,,$5,,no"
  fi | tee -a "$csv"
  rm -rf "$6"
}
gigabytes() { cat "$1"/*.safetensors | wc -c | awk '{printf "%.2f", $1 / 1e9}'; }
on_disk() {
  local path
  path=$(model "$2")
  ids "$3" >/dev/null
  run "$1" "$2" "$3" "$path" "$(gigabytes "$path")" "$target"
}

machine
for part in $parts; do
  case $part in
    layers)
      for n in ${LAYER_LIST:-8 16 32 64}; do
        rm -rf "$scratch"/llama_*
        on_disk layers "$n" "$rows"
      done
      ;;
    rows)
      rm -rf "$scratch"/llama_*
      for n in ${ROW_LIST:-128 256 512 1024}; do on_disk rows "$layers" "$n"; done
      ;;
    70b)
      rm -rf "$scratch"/llama_*
      big=$scratch/big.synthetic
      shape=${BIG_SHAPE:-8192,28672,64,8,128256}
      "$tree/bin/make_llama" "$big" --shape "$shape" --layers "${BIG_LAYERS:-80}"
      mkdir -p "$scratch/tmpfs"
      mount -t tmpfs -o "size=${TMPFS:-110g}" mopt "$scratch/tmpfs"
      trap 'umount "$scratch/tmpfs"' EXIT
      data=$(ids "${BIG_ROWS:-$rows}")
      # What the tmpfs itself takes, and the first touch of its memory, which grows with use here.
      bytes=$("$host" --recipe "$recipe" --model "$big" --output "$scratch/tmpfs/out" --check --json --quiet \
        --plugin "$tree/lib/mopt/test/synthetic.so" --set "calibration.data=$data" \
        --set "calibration.samples=${BIG_ROWS:-$rows}" --set "calibration.seq_len=$seq" \
        >"$scratch/check.json" && value "$scratch/check.json" disk.output_bytes)
      begin=$(now)
      dd if=/dev/zero of="$scratch/tmpfs/touch" bs=1M count=$((bytes >> 20)) status=none
      echo "# the tmpfs alone: $(since "$begin") s for $((bytes >> 20)) MiB with one dd, first touch"
      rm "$scratch/tmpfs/touch"
      run 70b "${BIG_LAYERS:-80}" "${BIG_ROWS:-$rows}" "$big" "$("$host" inspect "$big" --json --quiet \
        --plugin "$tree/lib/mopt/test/synthetic.so" | python3 -c 'import json, math, sys
print("%.2f" % sum(2e-9 * math.prod(t["shape"]) for t in json.load(sys.stdin)["tensors"]))')" "$scratch/tmpfs/out"
      ;;
    *) echo "linear.sh: unknown part $part" >&2; exit 2 ;;
  esac
done
rm -rf "$scratch"/llama_*
cat "$csv"
# straight WHAT COLUMN: the largest distance from the line through the first and the last point.
straight() {
  awk -F, -v what="$1" -v c="$2" 'BEGIN {n = 0} $1 == what {x[n] = $c; t[n] = $4; m[n] = $5; d[n++] = $6}
    END {if (n < 2) exit; b = (t[n - 1] - t[0]) / (x[n - 1] - x[0])
      for (i = 0; i < n; i++) {e = t[i] / (t[0] + b * (x[i] - x[0])) - 1; if (e < 0) e = -e; if (e > w) w = e}
      printf "%s: %.3f s each and %.1f s once, worst %.0f %% off the line; own memory %.0f to %.0f MiB, device %.0f to %.0f MiB\n",
        what, b, t[0] - b * x[0], 100 * w, m[0], m[n - 1], d[0], d[n - 1]}' "$csv"
}
awk -F, '$1 == "70b" && $9 == "yes" {printf "70b: %.1f s, %.2f GB/s of the source\n", $4, $7 / $4}' "$csv"
straight layers 2
straight rows 3
bad=$(awk -F, 'NR > 1 && $9 != "yes"' "$csv" | wc -l)
echo "$(awk 'END {print NR - 1}' "$csv") runs, $bad bad"
[ "$bad" -eq 0 ]
