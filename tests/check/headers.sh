#!/usr/bin/env bash
# Each header of the sdk compiles alone: C headers as C11 to C++23, C++ headers as C++20, with every
# compiler that is here and all warnings as errors.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
warnings="-Wall -Wextra -Wpedantic -Werror -Wshadow -Wconversion -Wundef"

# compile NAME COMPILER LANGUAGE STANDARD HEADER
compile() {
  local output
  printf '#include "%s"\nint main(void) { return 0; }\n' "$5" >"$scratch/alone.$3"
  # shellcheck disable=SC2086
  if output=$($2 -x "$3" -std="$4" $warnings -fsyntax-only -isystem sdk/none -I sdk/include \
    "$scratch/alone.$3" 2>&1); then good; else bad "$5 alone with $2 -std=$4" "$output"; fi
}

compilers_c=(gcc)
compilers_cpp=(g++)
if command -v clang >/dev/null; then compilers_c+=(clang) compilers_cpp+=(clang++); fi

for header in $(our_files sdk/include | sed -n 's,^sdk/include/\(.*\.h\)$,\1,p'); do
  for compiler in "${compilers_c[@]}"; do
    for standard in c11 c17; do compile "" "$compiler" c $standard "$header"; done
  done
  for compiler in "${compilers_cpp[@]}"; do
    for standard in c++11 c++14 c++17 c++20 c++2b; do compile "" "$compiler" c++ $standard "$header"; done
  done
done

# -Wshadow of GCC takes enumerators of scoped enumerations for shadows, -Wconversion knows no ranges.
warnings="-Wall -Wextra -Wpedantic -Werror"
for header in $(our_files sdk/include | sed -n 's,^sdk/include/\(.*\.hpp\)$,\1,p'); do
  for compiler in "${compilers_cpp[@]}"; do compile "" "$compiler" c++ c++20 "$header"; done
done

done_checking
