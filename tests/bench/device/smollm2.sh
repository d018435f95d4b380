#!/usr/bin/env bash
# SmolLM2-135M on the device against the CPU, every recipe of the library: one without data gives the same
# bytes on both; one with data gives the same bytes twice on the device, the CPU's bytes in every tensor but
# the scales of inputs, those within SCALES, and a perplexity within 0.2 % of the CPU's or, where more, within
# the recipe's noise: the most that the CPU's own checkpoint moves when the range behind each static scale of
# an input is one step of bfloat16 larger or smaller, or neither, drawn DRAWS times; when it is evaluated on
# the CPU and not on the device; or when another instruction set of the CPU (OTHER_ISA, of oneDNN) calibrates.
# No two orders of a sum in bfloat16 agree better than such a step. Every output is verified.
#   smollm2.sh keep DIR       puts the pieces below DIR (gather.sh made them) aside, one call after the other
#   smollm2.sh [RECIPE...]    joins them, converts to BF16 and runs (all recipes of general/ but base)
# ROWS (32 unless set) calibration rows; EVAL_TOKENS (65536); SCALES (0.05); DRAWS (8); OTHER_ISA
# (AVX512_CORE_BF16). $OUT/smollm2.csv, one line a recipe: how many scales of inputs differ and by how much at
# most, and the perplexities of all draws, stand there too.
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
echo recipe,kind,cpu_s,device_s,bytes,perplexity_cpu,perplexity_device,evaluated_on_cpu,other_isa,draws,scales,result >"$csv"
eval_tokens=${EVAL_TOKENS:-65536}

# quantize DEVICE FOLDER
quantize() {
  "$host" --recipe "$recipe" --model "$model" --output "$scratch/$2" --overwrite --device "$1" --quiet \
    --set "calibration.data=$ids_file:calib_ids" --set "calibration.samples=$rows" \
    --set "calibration.seq_len=$seq" "${settings[@]}" >"$scratch/$2.log" 2>&1 ||
    { head -n 3 "$scratch/$2.log" >&2; return 1; }
  "$host" verify "$scratch/$2" --quiet >"$scratch/$2.log" 2>&1 || { cat "$scratch/$2.log" >&2; return 1; }
}
# The files that engines load.
same() {
  local file
  for file in "$scratch/$1"/*; do
    if [ -f "$file" ]; then cmp -s "$file" "$scratch/$2/$(basename "$file")" || return 1; fi
  done
}
# Of two outputs: nothing but scales of inputs may differ. Prints "DIFFERENT of ALL, at most PART"; 1 when
# another tensor differs or a scale does by more than SCALES.
scales() {
  python3 - "$scratch/$1/model.safetensors" "$scratch/$2/model.safetensors" "${SCALES:-0.05}" <<'PY'
import json, struct, sys
def tensors(path):
    data = open(path, "rb").read()
    at = 8 + struct.unpack("<Q", data[:8])[0]
    return {name: data[at + t["data_offsets"][0]:at + t["data_offsets"][1]]
            for name, t in json.loads(data[8:at]).items() if name != "__metadata__"}
a, b = tensors(sys.argv[1]), tensors(sys.argv[2])
scale = [n for n in a if n.endswith(("input_scale", "k_scale", "v_scale"))]
other = [n for n in a if n not in scale and a[n] != b.get(n)]
off = [abs(struct.unpack("<f", b[n])[0] / struct.unpack("<f", a[n])[0] - 1) for n in scale]
print(f"{sum(x > 0 for x in off)} of {len(off)} at most {max(off, default=0):.4f}")
for name in other[:5]:
    print(name, "has other bytes", file=sys.stderr)
sys.exit(bool(other) or a.keys() != b.keys() or max(off, default=0) > float(sys.argv[3]))
PY
}
# nudged FROM TO SEED: TO is FROM with the range behind each scale a step of bfloat16 off, or as it was.
nudged() {
  rm -rf "${scratch:?}/$2"
  cp -r "$scratch/$1" "$scratch/$2"
  python3 - "$scratch/$2/model.safetensors" "$3" <<'PY'
import json, random, struct, sys
random.seed(int(sys.argv[2]))
with open(sys.argv[1], "r+b") as f:
    size = struct.unpack("<Q", f.read(8))[0]
    for name, t in sorted(json.loads(f.read(size)).items()):
        if not name.endswith(("input_scale", "k_scale", "v_scale")):
            continue
        f.seek(8 + size + t["data_offsets"][0])
        scale = struct.unpack("<f", f.read(4))[0]
        f.seek(-4, 1)
        f.write(struct.pack("<f", scale * (1 + random.choice((-1, 0, 1)) / 256)))
PY
}
perplexity() {
  "$host" eval "$scratch/$2" --ids "$ids_file:eval_ids" --max-tokens "$eval_tokens" --device "$1" \
    --json --quiet >"$scratch/eval.json" && value "$scratch/eval.json" perplexity
}
# The words after `recipe,kind` of one line.
compare() {
  local begin cpu_s device_s a=- b=- c=- d=- draws=- moved=- result=same bytes
  begin=$(now)
  quantize cpu smol_cpu || { echo "-,-,-,-,-,-,-,-,-,-,FAILED on the cpu"; return; }
  cpu_s=$(since "$begin")
  begin=$(now)
  quantize "$device" smol_one || { echo "-,$cpu_s,-,-,-,-,-,-,-,-,FAILED on the device"; return; }
  device_s=$(since "$begin")
  if [ -z "$(value "$scratch/smol_cpu/mopt/report.json" calibration)" ]; then
    kind=weights
    same smol_cpu smol_one || result="FAILED other bytes than on the cpu"
  else
    kind=calibrated
    quantize "$device" smol_two || result="FAILED on the device"
    same smol_one smol_two || result="FAILED two runs differ"
    # Both on one device: the difference is the checkpoints', not the evaluation's.
    moved=$(scales smol_cpu smol_one) || result="FAILED other tensors, or scales, than on the cpu"
    a=$(perplexity "$device" smol_cpu)
    b=$(perplexity "$device" smol_one)
    c=$(perplexity cpu smol_cpu)
    ONEDNN_MAX_CPU_ISA=${OTHER_ISA:-AVX512_CORE_BF16} quantize cpu smol_two && d=$(perplexity "$device" smol_two)
    draws=$(for draw in $(seq "${DRAWS:-8}"); do
      nudged smol_cpu smol_two "$draw" && perplexity "$device" smol_two
    done | tr '\n' ' ')
    awk -v a="$a" -v b="$b" -v others="$c $d $draws" 'function off(x, y) {return x > y ? x / y - 1 : y / x - 1}
      BEGIN {
        most = 0.002
        for (i = split(others, other); i > 0; i--) if (off(a, other[i]) > most) most = off(a, other[i])
        exit !(off(a, b) <= most)
      }' ||
      result="FAILED perplexity is off by more than 0.2 % and than its own noise"
  fi
  bytes=$(value "$scratch/smol_one/mopt/report.json" output.bytes)
  echo "$kind,$cpu_s,$device_s,$bytes,$a,$b,$c,$d,$draws,$moved,$result"
}
machine
if [ $# -eq 0 ]; then
  for file in "$tree"/share/mopt/recipes/general/*.toml; do
    if [ "$(basename "$file")" != base.toml ]; then set -- "$@" "$(basename "$file" .toml)"; fi
  done
fi
for recipe in "$@"; do
  # Its block does not divide this model's 576 columns.
  settings=()
  if [ "$recipe" = int4_wo ]; then settings=(--set format.int4_block.block=64); fi
  echo "$recipe,$(compare)" | tee -a "$csv"
done
# The source itself, evaluated on both.
echo "source: perplexity $("$host" eval "$model" --ids "$ids_file:eval_ids" --max-tokens "$eval_tokens" \
  --device cpu --json --quiet | python3 -c 'import json, sys; print(json.load(sys.stdin)["perplexity"])') on cpu, $(
  "$host" eval "$model" --ids "$ids_file:eval_ids" --max-tokens "$eval_tokens" --device "$device" --json --quiet |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["perplexity"])') on $device"
bad=$(grep -c FAILED "$csv" || :)
echo "$(($(wc -l <"$csv") - 1)) recipes, $bad failed"
[ "$bad" -eq 0 ]
