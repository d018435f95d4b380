#!/usr/bin/env bash
# What a run says and leaves behind when the device is not there, is full, breaks or is shared; and where
# its activations go under limits. Each check is one line, "ok ...", "FAILED ..." with the log's end, or
# "skipped ...": what needs a device, with MOPT_DEVICE=cpu. What was made under a fault is compared to an
# undisturbed run: byte for byte, unless other batches were measured, which moves scales (1 % of a norm).
# Needs trap.so and, with a device, hold_device_memory in the tree: package.sh packs both. 8 GB of scratch
# are enough, of which the model stays. Under 120 s. The last line: "faults: N passed, N failed".
LAYERS=${LAYERS:-5}
SHAPE=${SHAPE:-2048,8192,16,8,65536}
ROWS=${ROWS:-256}
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$here/../kill_rounds.sh"  # same_bytes
# The first visible one is also that of the process that holds its memory.
case $device in
  cuda:*) export CUDA_VISIBLE_DEVICES=${device#cuda:} ;;
esac
if [ "$device" != cpu ]; then device=cuda; fi
folder=$scratch/faults
rm -rf "$folder"
mkdir -p "$folder"
source=$(model "$layers")
fp8=(--recipe fp8 --set "calibration.data=$(ids "$rows")" --set "calibration.samples=$rows"
  --set "calibration.seq_len=$seq")
weights=(--recipe int8_wo)
passed=0 failed=0 skipped=0 log= status=0

# run OUTPUT WORDS...: the main job. Sets status, and log, which has both streams.
run() {
  local output=$folder/$1
  shift
  log=$output.log
  status=0
  "$host" --model "$source" --output "$output" --color never --verbose "$@" >"$log" 2>&1 || status=$?
}
# check WHAT CONDITION...: the condition prints what is wrong.
check() {
  local what=$1 wrong
  shift
  if wrong=$("$@") && [ -z "$wrong" ]; then
    echo "ok       $what"
    passed=$((passed + 1))
  else
    echo "FAILED   $what: $wrong"
    tail -n 3 "$log" | cut -c 1-400 | sed 's/^/         | /'
    failed=$((failed + 1))
  fi
}
skip() {
  echo "skipped  $1: needs a device"
  skipped=$((skipped + 1))
}
# ended STATUS [REGULAR_EXPRESSION...]: so, and the log has each.
ended() {
  local expected=$1 text
  shift
  if [ "$status" -ne "$expected" ]; then echo "it ended with $status, expected $expected"; fi
  for text; do
    grep -qE -- "$text" "$log" || echo "it does not say '$text'"
  done
}
# done_like OTHER OUTPUT: it ended well and verified, with the other's bytes.
done_like() {
  local difference
  ended 0
  [ "$status" -eq 0 ] || return 0
  [ "$(reported "$2" verify.ok)" = True ] || echo "it is not verified"
  difference=$(same_bytes "$folder/$1" "$folder/$2" | paste -sd' ')
  if [ -z "$difference" ]; then return 0; fi
  if [ "$(reported "$1" memory.activations.batch_tokens)" = \
    "$(reported "$2" memory.activations.batch_tokens)" ]; then
    echo "$difference"
  else
    near "$folder/$1" "$folder/$2"
  fi
}
reported() { value "$folder/$1/mopt/report.json" "$2"; }
# What differs between two outputs by more than their scales may.
near() {
  "$host" diff "$1" "$2" --json --quiet >"$folder/diff.json" 2>>"$log" || :
  python3 - "$folder/diff.json" <<'PY'
import json, sys
found = json.load(open(sys.argv[1]))
for name in found["only_a"] + found["only_b"]:
    print(name, "is only in one")
for row in found["differ"]:
    if not (row.get("rel_rms") or 0) <= 0.01:
        print(row["tensor"], "differs by", row.get("rel_rms"), row.get("note", ""))
PY
}
# Nothing stands under the output's name, and what is unfinished can be resumed or is not there.
unfinished() {
  if [ -e "$folder/$1" ]; then echo "an output stands there"; fi
  if [ -e "$folder/$1.partial/config.json" ]; then echo "what is unfinished could be loaded"; fi
}
failed_and_kept() {
  ended "${@:2}"
  unfinished "$1"
}
# at_least: the MiB that the log's refusal gives.
at_least() { sed -n 's/.*give at least \([0-9]*\)MiB.*/\1/p' "$log" | head -n 1; }

on_cpu() {
  ended 0 '^device cpu: (this build|no NVIDIA driver|the driver is here)'
  done_like whole_weights "$1"
}

machine
warm "$source"
run whole "${fp8[@]}" --device "$device"
check "an undisturbed run" ended 0
run whole_weights "${weights[@]}" --device "$device"
check "an undisturbed run without data" ended 0

# ---- no device
if [ "$device" = cpu ]; then
  missing='--device cuda: (this build has no CUDA part|no NVIDIA driver is here|the driver is here .* no device is visible)'
else
  missing='--device cuda: the driver is here .* no device is visible to it; look at nvidia-smi and CUDA_VISIBLE_DEVICES'
fi
for visible in "" -1; do
  CUDA_VISIBLE_DEVICES=$visible run none "${weights[@]}" --device cuda
  check "no device is visible ('$visible'): refused, with what is missing" \
    failed_and_kept none 6 "error\[R103\]: $missing"
  CUDA_VISIBLE_DEVICES=$visible run auto "${weights[@]}" --overwrite
  check "no device is visible ('$visible'): the CPU does it, with the same bytes" on_cpu auto
done
rm -rf "$folder/auto"
if [ "$device" = cpu ]; then
  skip "a device of another number"
else
  run none "${weights[@]}" --device cuda:99
  check "a device of another number is refused with those that are here" failed_and_kept none 6 \
    'error\[R103\]: .* there is no CUDA device 99; [0-9]+ (is|are) here'
fi

# ---- what is said beforehand
log=$folder/plan.log
status=0
"$host" --check --json --quiet --model "$source" --output "$folder/none" "${fp8[@]}" --device "$device" \
  >"$folder/plan.json" 2>"$log" || status=$?
check "--check" ended 0
planned() { value "$folder/plan.json" "$1"; }
# at_most KEY: the undisturbed run took no more than that.
at_most() {
  local taken
  taken=$(reported whole "$1")
  if ! [ "${taken:-0}" -gt 0 ] || ! [ "$taken" -le "$(planned "$1")" ]; then
    echo "taken ${taken:-nothing}, planned $(planned "$1") bytes"
  fi
}
check "memory of the process: at most what --check says" at_most memory.peak_bytes
if [ "$device" = cpu ]; then
  skip "memory of the device: at most what --check says"
else
  check "memory of the device: at most what --check says" at_most memory.device_peak_bytes
fi

# ---- a library that can be done without
# The tree without its cuDNN part, which other kernels stand in for.
without_cudnn() {
  ended 0 'warning\[W117\]: attention runs without cuDNN'
  [ "$(reported lame verify.ok)" = True ] || echo "it is not verified"
}
if [ "$device" = cpu ]; then
  skip "without the cuDNN part: a warning, and it works"
else
  mkdir "$folder/tree"
  cp -r "$tree"/{bin,lib,share} "$folder/tree/"
  rm "$folder/tree/lib/mopt/libmopt_cudnn.so"
  whole_host=$host
  host=$folder/tree/bin/mopt-host
  run lame "${fp8[@]}" --device "$device"
  host=$whole_host
  check "without the cuDNN part: a warning, and it works" without_cudnn
  rm -rf "$folder/lame" "$folder/tree"
fi

# ---- limits of the device and of the process
# limited OPTION LESS: too small a limit is refused with the number that works, and LESS MiB below it again.
limited() {
  run none "${fp8[@]}" --device "$device" "$1" 1MiB
  check "$1 1MiB: refused, with the number" failed_and_kept none 6 \
    'error\[R101\]: the run needs [0-9]+ MiB' "$1 allows 1 MiB; give at least [0-9]+MiB"
  number=$(at_least)
  number=${number:-0}
  run limited "${fp8[@]}" --device "$device" "$1" "${number}MiB"
  check "$1 ${number}MiB, the number: works" done_like whole limited
  run none "${fp8[@]}" --device "$device" "$1" "$((number > $2 ? number - $2 : 1))MiB"
  check "$1, $2 MiB less: refused" failed_and_kept none 6 'error\[R101\]' 'give at least [0-9]+MiB'
  rm -rf "$folder/limited" "$folder/limited.partial"
}
if [ "$device" = cpu ]; then
  skip "--device-memory-limit: the number works, less is refused"
else
  limited --device-memory-limit 1
fi
device_number=${number:-0}
# The next process may hold some pages more or less.
limited --memory-limit 32
process_number=$number

# ---- tiers of activations
# tier WHAT PYTHON WORDS...: the expression is true of report.json's memory.activations, `a`, where whole's
# are `w`; in the same batches, hence with the same bytes.
tier() {
  local what=$1 expression=$2 found
  shift 2
  run tier "${fp8[@]}" --device "$device" "$@"
  found=$(reported tier memory.activations)
  check "activations $what: $(tr -d "{}'" <<<"${found:-not reported}")" tier_holds "$expression"
  rm -rf "$folder/tier"
}
tier_holds() {
  done_like whole tier
  [ "$status" -eq 0 ] || return 0
  python3 - "$folder/whole/mopt/report.json" "$folder/tier/mopt/report.json" "$1" <<'PY'
import json, sys
w, a = (json.load(open(f))["memory"]["activations"] or {} for f in sys.argv[1:3])
if a.get("batch_tokens") != w.get("batch_tokens"):
    print("other batches than without limits")
elif not eval(sys.argv[3]):
    print("expected", sys.argv[3])
PY
}
if [ "$device" = cpu ]; then
  for where in "all on the device" "in part in pinned memory" "in part on disk"; do
    skip "activations rest $where"
  done
else
  # What all of them need at most, and that without two fifths of the activations.
  most=$(planned memory.device_peak_bytes)
  hidden=${shape%%,*}
  less=$((most - rows * seq * hidden * 2 * 2 / 5))
  tier "all on the device" "a['on_device'] > 0 == a['pinned'] == a['on_disk']" \
    --device-memory-limit "$((most / 1048576 + 1))MiB"
  tier "in part in pinned memory" "a['on_device'] > 0 < a['pinned'] and a['on_disk'] == 0" \
    --device-memory-limit "$((less / 1048576))MiB"
  tier "in part on disk" "a['on_disk'] > 0" --device-memory-limit "$((less / 1048576))MiB" \
    --memory-limit "${process_number}MiB"
fi

# ---- two processes
twice() {
  "$host" --model "$source" "${fp8[@]}" --output "$folder/$1" --device "$device" --color never --verbose \
    >"$folder/$1.log" 2>&1
}
twice one &
one=$!
status=0
log=$folder/two.log
twice two || status=$?
check "two processes at once, the second" done_like whole two
status=0
wait $one || status=$?
log=$folder/one.log
check "two processes at once, the first" done_like whole one
rm -rf "$folder/one" "$folder/two"

# ---- a kernel that breaks, in the third block
armed=$folder/armed
cat >"$folder/trap.toml" <<TOML
schema = 1
name = "trap"
[format.trapped]
use = "trap"
tensor = "layers.2.mlp.up_proj"
armed = "$armed"
[[quantize.rule]]
id = "linears"
role = ["attn.*", "mlp.*"]
weight = "trapped"
TOML
trapped=(--recipe "$folder/trap.toml" --plugin "$tree/lib/mopt/test/trap.so")
same_weights() {
  ended 0
  local file
  for file in "$folder/$1"/*.safetensors; do
    cmp -s "$file" "$folder/$2/$(basename "$file")" || echo "$(basename "$file") differs"
  done
}
run trap_whole "${trapped[@]}" --device "$device"
check "a plugin with a kernel of its own writes what int8 writes" same_weights whole_weights trap_whole
touch "$armed"
run trap_cpu "${trapped[@]}" --device cpu
check "its CPU path does not break" done_like trap_whole trap_cpu
rm -rf "$folder/trap_cpu"
lost='error\[R103\]: .*cudaError.*; the first block that is not finished is decoder\.2\b.*; what is finished is kept'
if [ "$device" = cpu ]; then
  for what in "exit 6 with the device's error and the block" "the weight, where launches wait" \
    "resumed without the fault" "resumed on the CPU"; do
    skip "its kernel breaks: $what"
  done
else
  run trap "${trapped[@]}" --device "$device"
  check "its kernel breaks: exit 6 with the device's error and the block" failed_and_kept trap 6 "$lost" \
    'continue with: .*--resume'
  CUDA_LAUNCH_BLOCKING=1 run trap "${trapped[@]}" --device "$device" --resume
  check "its kernel breaks: the weight, where launches wait" failed_and_kept trap 6 "$lost" \
    'noticed at model\.layers\.2\.mlp\.up_proj\.weight'
  rm "$armed"
  run trap "${trapped[@]}" --device "$device" --resume
  check "its kernel breaks: resumed without the fault" done_like trap_whole trap
  check "its kernel breaks: what was finished is kept" ended 0 'resuming: [2-9] of [0-9]+ blocks'
  rm -rf "$folder/trap"
  touch "$armed"
  run trap "${trapped[@]}" --device "$device"
  run trap "${trapped[@]}" --device cpu --resume
  check "its kernel breaks: resumed on the CPU" done_like trap_whole trap
fi
rm -rf "$folder"/trap*

# ---- memory that another process has
holder=
# hold LEAVE_MIB [GO_FILE]: sets left, unless it waits for the file.
hold() {
  "$tree/bin/hold_device_memory" "$@" >"$folder/holder.log" 2>&1 &
  holder=$!
  local word='are left'
  if [ $# -gt 1 ]; then word=ready; fi
  while ! grep -q "$word" "$folder/holder.log"; do
    kill -0 $holder 2>/dev/null || { cat "$folder/holder.log" >&2; exit 1; }
    sleep 0.02
  done
  left=$(sed -n 's/ MiB are left//p' "$folder/holder.log")
}
release() {
  if [ -n "$holder" ]; then
    kill "$holder" 2>/dev/null || :
    wait "$holder" 2>/dev/null || :
  fi
  holder=
}
trap release EXIT
done_near() {
  ended 0
  [ "$status" -eq 0 ] || return 0
  [ "$(reported "$1" verify.ok)" = True ] || echo "it is not verified"
  near "$folder/whole" "$folder/$1"
}
kept_with_number() { failed_and_kept "$1" 6 'error\[R101\]: .*at least [0-9]+ MiB|error\[R101\]: the run needs [0-9]+ MiB'; }
full() {
  hold 64
  run full "${fp8[@]}" --device "$device"
  check "64 MiB are left: refused, with the reason" failed_and_kept full 6 \
    'error\[R103\]: .* other processes left no memory on it'
  release
  run full "${fp8[@]}" --device "$device" --resume
  check "after that, the memory free again: the same command" done_like whole full
  rm -rf "$folder/full"
}
# The number of the refusal, beside what the process takes of the device before it counts, does; it may
# take some more for the code of its kernels.
little() {
  local needs has overhead more
  hold 768
  run little "${fp8[@]}" --device "$device"
  check "$left MiB are left: refused, with the number" failed_and_kept little 6 \
    'error\[R101\]: the run needs [0-9]+ MiB of the device, it has [0-9]+ MiB left; end what else runs there'
  needs=$(sed -n 's/.*the run needs \([0-9]*\) MiB of the device.*/\1/p' "$log" | head -n 1)
  has=$(sed -n 's/.*it has \([0-9]*\) MiB left.*/\1/p' "$log" | head -n 1)
  overhead=$((left - ${has:-left}))
  release
  retried=
  for more in 2 64 128 256; do
    hold $((${needs:-0} + overhead + more))
    run little "${fp8[@]}" --device "$device" --resume
    release
    if grep -q 'too little device memory' "$log"; then retried=$more; fi
    if [ "$status" -eq 0 ]; then break; fi
    check "$needs MiB and $more more: too little, it ends with a number" kept_with_number little
  done
  check "$needs MiB, the number, and $more more: works" done_near little
  check "too little at first: less rests there, batches are smaller" text_of_retry "$retried"
  rm -rf "$folder/little"
}
text_of_retry() { [ -n "$1" ] || echo "no run said 'too little device memory'"; }
# Everything is taken once the first block is done.
taken() {
  local go=$folder/go pid how
  hold 0 "$go"
  log=$folder/taken.log
  "$host" --model "$source" "${fp8[@]}" --output "$folder/taken" --device "$device" --color never --verbose \
    >"$log" 2>&1 &
  pid=$!
  while kill -0 $pid 2>/dev/null && ! grep -qE 'block [0-9]+ of [0-9]+' "$log"; do sleep 0.01; done
  touch "$go"
  status=0
  wait $pid || status=$?
  release
  how="it had what it needed"
  if [ "$status" -ne 0 ]; then
    check "all memory is taken after the first block: it ends with a number" kept_with_number taken
    run taken "${fp8[@]}" --device "$device" --resume
    how="resumed"
  fi
  check "all memory is taken after the first block: $how" done_near taken
  rm -rf "$folder/taken"
}
if [ "$device" = cpu ]; then
  for what in "no memory is left" "little memory is left" "all memory is taken after the first block"; do
    skip "$what"
  done
else
  full
  little
  taken
fi
rm -rf "$folder"
if [ $skipped -gt 0 ]; then echo "$skipped skipped"; fi
echo "faults: $passed passed, $failed failed"
[ $failed -eq 0 ]
