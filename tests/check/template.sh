#!/usr/bin/env bash
# sdk/template builds out of tree from the SDK alone, and the host takes it.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
root=$PWD
build=${MOPT_BUILD:-build/release}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cp -r sdk/template "$scratch/source"

if output=$(cmake -S "$scratch/source" -B "$scratch/build" -Dmopt-sdk_DIR="$root/sdk/cmake" \
  -DCMAKE_CXX_FLAGS="-Wall -Wextra -Wpedantic -Werror" 2>&1 && cmake --build "$scratch/build" 2>&1); then
  good
else
  bad "sdk/template builds out of tree" "$output"
fi
exported=$(nm -D --defined-only "$scratch/build/threshold.so" | awk '{print $3}')
if [ "$exported" = "$(cat sdk/abi/symbols.txt)" ]; then good; else bad "it exports the entry" "$exported"; fi
if output=$("$build/bin/mopt-plugin-check" "$scratch/build/threshold.so" 2>&1); then good; else
  bad "it keeps the rules of the ABI" "$output"
fi
if output=$("$build/bin/mopt-host" plugins --plugin-dir "$scratch/build" --json 2>&1) &&
  grep -q org.example.threshold <<<"$output"; then
  good
else
  bad "mopt-host lists it" "$output"
fi
done_checking
