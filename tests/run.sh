#!/usr/bin/env bash
# Installs what is missing, builds, runs every test. The last line is "N passed, N failed"; the exit
# status is 0 only when nothing failed. `tests/run.sh NAME` runs the groups whose name contains NAME.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
build=$root/build/release
only=${1:-}

export MOPT_GOLDEN=$root/tests/golden
if [ -z "${MOPT_SHARED:-}" ] && [ -d "$root/../shared" ]; then
  MOPT_SHARED=$(cd "$root/../shared" && pwd)
  export MOPT_SHARED
fi
export MOPT_BUILD=$build
unset MOPT_PLUGIN_PATH

passed=0
failed=0
logs=$build/logs
finish() {
  echo "$passed passed, $failed failed"
  [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
  exit
}

if ! bash tests/build.sh; then
  echo "the build failed"
  failed=1
  finish
fi
mkdir -p "$logs"

# report NAME STATUS PASSED FAILED LOG: a group that ended badly without naming a failed case counts
# as one failure.
report() {
  local name=$1 status=$2 good=$3 bad=$4 log=$5
  if [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then bad=1; fi
  passed=$((passed + good))
  failed=$((failed + bad))
  if [ "$bad" -gt 0 ]; then
    cat "$log"
    echo "FAILED  $name: $good passed, $bad failed (exit $status)"
  else
    printf 'ok      %s: %s passed in %s s\n' "$name" "$good" "$SECONDS"
  fi
}

wanted() { [[ $1 == *"$only"* ]]; }

# Unit tests: doctest counts its cases.
for binary in "$build"/test/*_test; do
  name=$(basename "$binary")
  wanted "$name" || continue
  SECONDS=0
  "$binary" >"$logs/$name.log" 2>&1
  status=$?
  counts=$(sed -n 's/^\[doctest\] test cases: *[0-9]* *| *\([0-9]*\) passed *| *\([0-9]*\) failed.*/\1 \2/p' \
    "$logs/$name.log" | tail -n 1)
  if [ -z "$counts" ]; then counts="0 1"; fi
  # shellcheck disable=SC2086
  report "$name" "$status" $counts "$logs/$name.log"
done

# Everything else ends with the same line as this script.
group() {
  local name=$1
  shift
  wanted "$name" || return 0
  SECONDS=0
  "$@" >"$logs/$name.log" 2>&1
  local status=$?
  local counts
  counts=$(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$logs/$name.log" | tail -n 1)
  if [ -z "$counts" ]; then counts="0 1"; fi
  # shellcheck disable=SC2086
  report "$name" "$status" $counts "$logs/$name.log"
}

group recipe "$build/test/recipe_tests" tests/recipe
group ops "$build/bin/op_harness" compare --device cpu
group ops_emulated "$build/bin/op_harness" compare --device emulated
for script in tests/check/*.sh; do
  [ "$(basename "$script")" = lib.sh ] || group "$(basename "$script" .sh)" bash "$script"
done
group third_party_plugin bash samples/third_party_plugin/run.sh --test
group third_party_adapter bash samples/third_party_adapter/run.sh --test
finish
