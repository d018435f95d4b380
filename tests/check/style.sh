#!/usr/bin/env bash
# The hard part of the house style: budgets, formatter, words and paths that do not belong here.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

sources=$(our_files | grep -E '\.(h|hpp|c|cpp|cu|cuh)$' | grep -v '^tests/golden/')
texts=$(our_files | grep -E '(\.(h|hpp|c|cpp|cu|cuh|sh|cmake|toml|md|test|awk|py)|CMakeLists\.txt|\.ci/run)$' |
  grep -v '^tests/golden/')

wrong=$(echo "$sources" | xargs -r wc -l | awk '$2 != "total" && $1 > 600 {print $2 ": " $1 " lines"}')
expect_none "source files have at most 600 lines" "$wrong"

wrong=$(our_files | grep -E '^(sdk/include/.*\.h)$' | xargs wc -l |
  awk '$2 != "total" && $1 > 200 {print $2 ": " $1 " lines"}')
expect_none "C headers have at most 200 lines" "$wrong"

wrong=$(for f in CMakeLists.txt README.md; do
  if [ -f "$f" ] && [ "$(wc -l <"$f")" -gt 150 ]; then echo "$f: $(wc -l <"$f") lines"; fi
done)
expect_none "CMakeLists.txt and README.md have at most 150 lines" "$wrong"

wrong=$(echo "$sources" | xargs -r awk 'FNR == 1 {decode = 0}
  {text = $0; gsub(/[\200-\277]/, "", text); if (length(text) > 100) print FILENAME ":" FNR ": " length(text) " columns"}')
expect_none "lines have at most 100 columns" "$wrong"

# Built from pieces, so that this file does not find itself.
todo='TO''DO|FIX''ME|X''XX|HA''CK'
wrong=$(echo "$texts" | xargs -r grep -nE "\b($todo)\b" | grep -vE "\b($todo)\(#[0-9]+\)")
expect_none "no open end without an issue number" "$wrong"

paths='/(wo''rk|ro''ot|ho''me)/[A-Za-z]|/tmp/[a-z]+/'
wrong=$(echo "$texts" | xargs -r grep -nE "$paths")
expect_none "no paths of one machine" "$wrong"

wrong=$(our_files | cut -d/ -f1 | sort -u | grep -vE \
  '^(sdk|host|plugins|formats|models|recipes|samples|tests|CMakeLists\.txt|README\.md|LICENSE|CMakePresets\.json|\..*)$')
expect_none "nothing else stands at the top" "$wrong"

wrong=$(our_files tests |
  grep '^tests/golden/' | tr '\n' '\0' | du -cb --files0-from=- | tail -n 1 |
  awk '$1 > 2097152 {print $1 " bytes"}')
expect_none "tests/golden holds at most 2 MB" "$wrong"

wrong=$(our_files | grep -E '\.py$' | grep -v '^tests/')
expect_none "no Python in the product" "$wrong"

# The formatter's output depends on its version; 14 is the one of Debian 12.
formatter=
for candidate in clang-format-14 clang-format; do
  if command -v "$candidate" >/dev/null && "$candidate" --version | grep -q 'version 14\.'; then
    formatter=$candidate
    break
  fi
done
if [ -n "$formatter" ]; then
  wrong=$(echo "$sources" | xargs -r "$formatter" --dry-run -Werror 2>&1 | grep 'error:' | head -n 40)
  expect_none "formatted as .clang-format says" "$wrong"
else
  echo "skipped: the formatter check needs clang-format 14"
fi

wrong=$(our_files | grep -E '\.sh$' | while read -r f; do bash -n "$f" 2>&1; done)
expect_none "shell scripts parse" "$wrong"

done_checking
