# Shared by the benchmarks: the build, the machine, medians.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
root=$PWD
build=${MOPT_BUILD:-$root/build/release}
host=$build/bin/mopt-host
shared=${MOPT_SHARED:-$root/../shared}
scratch=${MOPT_BENCH:-$root/build/bench}
mkdir -p "$scratch"
unset MOPT_PLUGIN_PATH

cmake --build "$build" --target "${bench_targets[@]}" >/dev/null

median() { sort -g | awk '{x[NR] = $1} END {print NR % 2 ? x[(NR + 1) / 2] : (x[NR / 2] + x[NR / 2 + 1]) / 2}'; }
machine() {
  printf '# commit %s, %s, %s cores, load %s, %s\n' "$(git rev-parse --short HEAD)" \
    "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)" \
    "$(cut -d' ' -f1 /proc/loadavg)" "$("$host" --version | head -n 1)"
}
# SmolLM2-135M-Instruct as a BF16 checkpoint, from the GGUF that quickstart.sh fetched.
smollm2() {
  local gguf
  gguf=$(find "$root/build/models" -name '*.gguf' | sort | head -n 1)
  [ -n "$gguf" ] || { echo "fetch the model first: bash samples/quickstart.sh" >&2; exit 3; }
  if [ ! -f "$scratch/smollm2/config.json" ]; then
    "$host" convert "$gguf" "$scratch/smollm2" --dtype bf16 --quiet >&2
  fi
  echo "$scratch/smollm2"
}
