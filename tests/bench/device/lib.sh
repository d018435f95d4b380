# Shared by the scripts of this folder: the unpacked tree, the model, page cache, one measured run.
#
# MOPT_TREE    what unpack.sh made                     MOPT_DEVICE  cuda (default), cpu, cuda:N
# MOPT_PEERS   gpu_shape.py, gpu_limits.py and the id file (TREE/peers)
# MOPT_BENCH   scratch, below it models and outputs    OUT          results
# LAYERS, SHAPE, ROWS, SEQ, BATCH: the model and the calibration, by default Llama-3-8B's and 512 x 512
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tree=${MOPT_TREE:-${TMPDIR:-/tmp}/mopt}
[ -x "$tree/bin/mopt-host" ] || { echo "no program in $tree: run unpack.sh first" >&2; exit 2; }
. "$tree/env.sh"
host=$tree/bin/mopt-host
device=${MOPT_DEVICE:-cuda}
scratch=${MOPT_BENCH:-${TMPDIR:-/tmp}/mopt_bench}
out=${OUT:-$scratch/results}
peers=${MOPT_PEERS:-$tree/peers}
layers=${LAYERS:-32}
shape=${SHAPE:-4096,14336,32,8,128256}
rows=${ROWS:-512}
seq=${SEQ:-512}
batch=${BATCH:-16}
mkdir -p "$scratch" "$out"
unset MOPT_PLUGIN_PATH

# The peer's programs, without the folders that unpack.sh found for ours.
outside() { LD_LIBRARY_PATH=${OUTSIDE_LIBRARY_PATH:-} "$@"; }
median() { sort -g | awk '{x[NR] = $1} END {print NR % 2 ? x[(NR + 1) / 2] : (x[NR / 2] + x[NR / 2 + 1]) / 2}'; }
now() { date +%s.%N; }
since() { awk -v a="$1" -v b="$(now)" 'BEGIN {printf "%.2f", b - a}'; }
machine() {
  printf '# %s, %s cores, %s, %s\n' "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)" \
    "$(nproc)" "$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null | head -n 1 ||
      echo 'no GPU')" "$("$host" --version | head -n 1)"
}
# value FILE KEY.KEY: of a JSON file's last line or whole; empty when it is null or not there.
value() {
  python3 - "$@" <<'PY'
import json, sys
text = open(sys.argv[1]).read()
try:
    found = json.loads(text)
except ValueError:
    found = json.loads(text.strip().splitlines()[-1])
for key in sys.argv[2].split('.'):
    found = found.get(key) if isinstance(found, dict) else None
print('' if found is None else found)
PY
}

# The model of N layers below the scratch folder, made when it is not there; its path. The ids stand beside it.
model() {
  local path=$scratch/llama_${1}_${shape//,/x}
  if [ ! -f "$path/config.json" ]; then
    "$tree/bin/make_llama" "$path" --layers "$1" --shape "$shape" >&2
  fi
  echo "$path"
}
ids() {
  local path=$scratch/ids_${1}x${seq}_${shape##*,}.safetensors
  if [ ! -f "$path" ]; then
    "$tree/bin/make_llama" "$scratch/ids.synthetic" --shape "$shape" --ids "$path" --rows "$1" --tokens "$seq"
  fi
  echo "$path"
}

warm() { cat "$1"/*.safetensors >/dev/null; }
cold() {
  sync
  local file
  for file in "$1"/*.safetensors; do dd if="$file" iflag=nocache count=0 status=none; done
}

# Device memory in use in MiB, the largest since watch_device; 0 without nvidia-smi.
watch_device() {
  : >"$scratch/device.log"
  if command -v nvidia-smi >/dev/null; then
    nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits -lms 50 >"$scratch/device.log" 2>/dev/null &
    watcher=$!
  else
    watcher=
  fi
}
device_peak() {
  if [ -n "$watcher" ]; then kill "$watcher" 2>/dev/null || :; wait "$watcher" 2>/dev/null || :; fi
  sort -n "$scratch/device.log" | tail -n 1 | grep . || echo 0
}
