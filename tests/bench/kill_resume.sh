#!/usr/bin/env bash
# SIGKILL at random moments of a calibrated run; then --resume. The output must equal that of an
# undisturbed run byte for byte, nothing loadable may stand under the output's name before the end, and
# at most one block may have been encoded twice (the lines "block i of n" of both runs together).
# kill_resume.sh [TIMES] [RECIPE] [ROWS]; KILL_SEED for the moments.
bench_targets=(bench_measure)
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
times=${1:-20}
recipe=${2:-fp8}
rows=${3:-4}
RANDOM=${KILL_SEED:-1}
model=$(smollm2)
folder=$scratch/kill
rm -rf "$folder"
mkdir -p "$folder"

# Becomes the run: call it in a subshell.
job() {
  exec "$host" --recipe "$recipe" --model "$model" --output "$folder/$1" "${@:2}" \
    --set "calibration.data=$shared/data/smollm2_ids.safetensors:calib_ids" \
    --set "calibration.samples=$rows" --set calibration.seq_len=512
}
blocks() { grep -cE 'block [0-9]+ of [0-9]+' "$1" || :; }
bad=0
complain() {
  echo "FAILED  kill $1: $2"
  bad=$((bad + 1))
}

begin=$(date +%s%N)
(job whole) 2>"$folder/whole.log" >/dev/null
milliseconds=$((($(date +%s%N) - begin) / 1000000))
all=$(blocks "$folder/whole.log")
machine
echo "undisturbed: $milliseconds ms, $all blocks"

for i in $(seq "$times"); do
  rm -rf "$folder/out" "$folder/out.partial"
  moment=$(((RANDOM * 32768 + RANDOM) % milliseconds))
  (job out) 2>"$folder/first.log" >/dev/null &
  pid=$!
  sleep "$(awk -v ms=$moment 'BEGIN {print ms / 1000}')"
  kill -KILL $pid 2>/dev/null || :
  wait $pid 2>/dev/null || :
  ended=
  if [ -d "$folder/out" ]; then ended=1; fi
  if [ -f "$folder/out.partial/config.json" ] && compgen -G "$folder/out.partial/*.safetensors" \
    >/dev/null; then complain "$i" "something loadable stands in out.partial"; fi
  (job out --resume) 2>"$folder/second.log" >/dev/null || complain "$i" "resume ended with $?"
  for file in "$folder"/whole/*; do
    [ -f "$file" ] || continue
    cmp -s "$file" "$folder/out/$(basename "$file")" || complain "$i" "$(basename "$file") differs"
  done
  cmp -s "$folder/whole/mopt/ledger.jsonl" "$folder/out/mopt/ledger.jsonl" || complain "$i" "ledger differs"
  twice=$(($(blocks "$folder/first.log") + $(blocks "$folder/second.log") - all))
  if [ -z "$ended" ] && [ $twice -gt 1 ]; then complain "$i" "$twice blocks were encoded twice"; fi
  echo "kill $i at $moment ms: $(blocks "$folder/first.log") blocks before, $(blocks "$folder/second.log") after"
done
echo "$((times - (bad > times ? times : bad))) passed, $bad failed"
[ $bad -eq 0 ]
