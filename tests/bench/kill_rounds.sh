# Sourced: rounds of SIGKILL at random moments and --resume, for kill_resume.sh here and below device/.
# Needs host, folder (emptied), job_words (the main job without --output), begin_words and resume_words
# (such as --device cuda), times; KILL_SEED for the moments. same_results A B prints what differs: bytes,
# unless it is defined again.

# Becomes the run: call it in a subshell.
job() { exec "$host" "${job_words[@]}" --output "$folder/$1" "${@:2}"; }
blocks() { grep -cE 'block [0-9]+ of [0-9]+' "$1" || :; }
bad=0
complain() {
  echo "FAILED  kill $1: $2"
  bad=$((bad + 1))
}
# Byte for byte; differences go to standard output.
same_bytes() {
  local file
  for file in "$1"/*; do
    [ -f "$file" ] || continue
    cmp -s "$file" "$2/$(basename "$file")" || echo "$(basename "$file") differs"
  done
  cmp -s "$1/mopt/ledger.jsonl" "$2/mopt/ledger.jsonl" || echo "ledger differs"
}
same_results() { same_bytes "$@"; }

# Sets `milliseconds` of the undisturbed run and `all`, its blocks.
undisturbed() {
  local begin
  rm -rf "$folder"
  mkdir -p "$folder"
  begin=$(date +%s%N)
  (job whole "${begin_words[@]}") 2>"$folder/whole.log" >/dev/null || {
    cat "$folder/whole.log" >&2
    exit 1
  }
  milliseconds=$((($(date +%s%N) - begin) / 1000000))
  all=$(blocks "$folder/whole.log")
  echo "undisturbed: $milliseconds ms, $all blocks"
}

kill_rounds() {
  local i moment pid ended twice difference
  RANDOM=${KILL_SEED:-1}
  for i in $(seq "$times"); do
    rm -rf "$folder/out" "$folder/out.partial"
    moment=$(((RANDOM * 32768 + RANDOM) % milliseconds))
    (job out "${begin_words[@]}") 2>"$folder/first.log" >/dev/null &
    pid=$!
    sleep "$(awk -v ms=$moment 'BEGIN {print ms / 1000}')"
    kill -KILL $pid 2>/dev/null || :
    wait $pid 2>/dev/null || :
    ended=
    if [ -d "$folder/out" ]; then ended=1; fi
    # Between the last check and the rename the result is whole already.
    if [ -f "$folder/out.partial/config.json" ] && compgen -G "$folder/out.partial/*.safetensors" \
      >/dev/null && ! "$host" verify "$folder/out.partial" --quiet >/dev/null 2>&1; then
      complain "$i" "what stands in out.partial loads but is not whole"
    fi
    (job out --resume "${resume_words[@]}") 2>"$folder/second.log" >/dev/null ||
      complain "$i" "resume ended with $?: $(tail -n 1 "$folder/second.log")"
    difference=$(same_results "$folder/whole" "$folder/out" | paste -sd' ')
    if [ -n "$difference" ]; then complain "$i" "$difference"; fi
    twice=$(($(blocks "$folder/first.log") + $(blocks "$folder/second.log") - all))
    if [ -z "$ended" ] && [ $twice -gt 1 ]; then complain "$i" "$twice blocks were encoded twice"; fi
    echo "kill $i at $moment ms: $(blocks "$folder/first.log") blocks before, $(blocks "$folder/second.log") after"
  done
}
