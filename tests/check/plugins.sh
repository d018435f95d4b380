#!/usr/bin/env bash
# mopt-plugin-check holds for every plugin of the product, and finds the fault of each broken one.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
build=${MOPT_BUILD:-build/release}

shopt -s nullglob
plugins=("$build"/lib/mopt/plugins/abi-0/*.so "$build/test/plugins/good/good.so")
if [ ${#plugins[@]} -lt 10 ]; then bad "the product has plugins in $build/lib/mopt/plugins/abi-0"; fi
for plugin in "${plugins[@]}"; do
  if output=$("$build/bin/mopt-plugin-check" "$plugin" 2>&1); then good; else
    bad "mopt-plugin-check $(basename "$plugin")" "$output"
  fi
done

# lists PLUGIN yes|no TEXT: whether a test whose name holds TEXT is among those tried.
lists() {
  local output said=no
  output=$("$build/bin/mopt-plugin-check" "$build/lib/mopt/plugins/abi-0/$1.so" 2>&1)
  if grep -q "$3" <<<"$output"; then said=yes; fi
  if [ "$said" = "$2" ]; then good; else bad "mopt-plugin-check $1 lists '$3': $2" "$output"; fi
}
lists fp8 yes "quantizer: weights"
lists fp8 yes "life cycle:"
lists max no "quantizer:"
lists max yes "life cycle:"
lists llama_adapter no "life cycle:"
lists llama_adapter yes "describe:"

# finds NAME TEXT: the check of this broken plugin fails and says so.
finds() {
  local output
  if output=$("$build/bin/mopt-plugin-check" "$build/test/plugins/$1/$1.so" 2>&1); then
    bad "mopt-plugin-check finds a fault in $1" "$output"
  elif ! grep -q "$2" <<<"$output"; then
    bad "mopt-plugin-check says '$2' of $1" "$output"
  else
    good
  fi
}
finds no_entry MP-01
finds null_entry "returned NULL"
finds wrong_minor "another ABI"
finds short_struct MP-03
finds short_component MP-03
finds reserved "reserved field"
finds no_component "no component"
finds no_table "no function table"
finds not_utf8 "no name, summary or interface"
finds no_id "reverse DNS"
finds crashing "crashed"
finds lacking a_function_that_no_library_has
done_checking
