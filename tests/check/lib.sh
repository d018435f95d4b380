# Counting for the check scripts: good NAME, bad NAME [DETAIL], and done_checking at the end.
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
checks_passed=0
checks_failed=0
good() { checks_passed=$((checks_passed + 1)); }
bad() {
  checks_failed=$((checks_failed + 1))
  printf 'FAILED  %s\n' "$1"
  if [ $# -gt 1 ]; then printf '%s\n' "$2" | sed 's/^/    /'; fi
}
# expect_none NAME LINES: passes when LINES is empty.
expect_none() { if [ -z "$2" ]; then good; else bad "$1" "$2"; fi; }
done_checking() {
  echo "$checks_passed passed, $checks_failed failed"
  [ "$checks_failed" -eq 0 ]
  exit
}
# Files of the checkout, also when it is an unpacked archive without git.
our_files() {
  if git rev-parse --git-dir >/dev/null 2>&1; then
    git ls-files --cached --others --exclude-standard -- "$@" | sort -u | while read -r f; do
      if [ -f "$f" ]; then echo "$f"; fi
    done
  else
    find "${@:-.}" -path ./build -prune -o -type f -print | sed 's,^\./,,' | sort
  fi
}
