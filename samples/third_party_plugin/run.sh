#!/usr/bin/env bash
# Builds the plugin of this folder against an installed SDK, elsewhere, and uses it on a model.
# run.sh [MODEL]; with --test it counts its steps and ends with "N passed, N failed".
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
build=${MOPT_BUILD:-$root/build/release}
model=$root/tests/golden/models/llama_tied
test_mode=
for argument in "$@"; do
  if [ "$argument" = --test ]; then test_mode=1; else model=$(realpath "$argument"); fi
done
[ -x "$build/bin/mopt-host" ] || [ -n "$test_mode" ] || bash "$root/tests/build.sh" || exit 1

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
passed=0
finish() {
  if [ -n "$test_mode" ]; then echo "$passed passed, $1 failed"; fi
  exit "$1"
}
step() {
  local what=$1
  shift
  echo "== $what"
  if "$@"; then passed=$((passed + 1)); else
    echo "FAILED: $what" >&2
    finish 1
  fi
}
is_listed() { "$host" plugins --plugin-dir plugin --json | grep -q '"org.example.pow2_int8"'; }
has_codes() { "$host" inspect out --tensors | grep -E 'down_proj.weight +.*(I8|i8)' >/dev/null; }
is_near() {
  "$host" diff "$model" out --plugin-dir plugin --json >diff.json
  # Half a step of at least 1/254 of a row's largest value: far below 2 % on average.
  worst=$(grep -o '"rel_rms": *[0-9.e-]*' diff.json | sed 's/.*: *//' | sort -g | tail -n 1)
  echo "largest relative error of a weight: ${worst:-none}"
  [ -n "$worst" ] && awk -v x="$worst" 'BEGIN { exit !(x > 0 && x < 0.02) }'
}

cd "$scratch" || exit 1
unset MOPT_PLUGIN_PATH
step "install SDK and host" cmake --install "$build" --prefix "$scratch/prefix" >install.log
host=$scratch/prefix/bin/mopt-host
cp -r "$here" source
step "configure against the installed SDK" \
  cmake -S source -B plugin -DCMAKE_PREFIX_PATH="$scratch/prefix" -DCMAKE_BUILD_TYPE=Release
step "build" cmake --build plugin
step "it keeps the rules of the ABI" "$scratch/prefix/bin/mopt-plugin-check" plugin/pow2_int8.so
step "the host lists it" is_listed
step "quantize" "$host" --recipe source/recipe.toml --plugin-dir plugin --model "$model" --output out
step "verify" "$host" verify out --source "$model" --plugin-dir plugin
step "the weights are 8-bit codes" has_codes
step "and near the source's" is_near
finish 0
