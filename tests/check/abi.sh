#!/usr/bin/env bash
# The ABI gate: layout and constants as committed, every plugin exports exactly the entry, and what
# must not compile does not, for the expected reason.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
build=${MOPT_BUILD:-build/release}
export LC_ALL=C  # plain quotes in messages

for what in layout constants; do
  if difference=$(diff <("$build/test/abi_print" $what) sdk/abi/$what.txt); then
    good
  else
    bad "the ABI's $what is as in sdk/abi/$what.txt (if meant: sdk/abi/update.sh)" "$difference"
  fi
done

shopt -s nullglob
plugins=("$build"/lib/mopt/plugins/abi-0/*.so)
if [ ${#plugins[@]} -eq 0 ]; then bad "there are plugins in $build/lib/mopt/plugins/abi-0"; fi
for plugin in "${plugins[@]}"; do
  name=$(basename "$plugin")
  exported=$(nm -D --defined-only "$plugin" | awk '{print $2, $3}')
  wrong=$(diff <(echo "$exported" | cut -d' ' -f2 | sort) sdk/abi/symbols.txt)
  expect_none "$name exports exactly what sdk/abi/symbols.txt lists" "$wrong"
  expect_none "$name has no unique symbols" "$(nm -a "$plugin" | awk '$2 == "u"')"
  expect_none "$name has no executable stack" \
    "$(readelf -lW "$plugin" | grep GNU_STACK | grep -v ' RW ')"
  expect_none "$name has no text relocations and no static TLS" \
    "$(readelf -dW "$plugin" | grep -E 'TEXTREL|STATIC_TLS')"
done

# The host reaches plugins through the loader only.
host=$build/bin/mopt-host
if [ -x "$host" ]; then
  wrong=$(readelf -dW "$host" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p' | while read -r library; do
    if [ -f "$build/lib/mopt/plugins/abi-0/$library" ]; then echo "$library"; fi
  done)
  expect_none "mopt-host links no plugin" "$wrong"
else
  bad "there is a host at $host"
fi

# Each file holds `// expect: REGEX`, and compiles when MOPT_MENDED is defined.
for file in tests/compile_fail/*.cpp; do
  expected=$(sed -n 's,^// expect: ,,p' "$file")
  command="${CXX:-g++} -std=c++20 -Wall -Wextra -Werror -fsyntax-only -I sdk/include $file"
  if output=$($command 2>&1); then
    bad "$file does not compile" "it compiled"
  elif ! grep -qE "$expected" <<<"$output"; then
    bad "$file fails with '$expected'" "$output"
  else
    good
  fi
  if output=$($command -DMOPT_MENDED 2>&1); then good; else bad "$file compiles when mended" "$output"; fi
done
done_checking
