#!/usr/bin/env bash
# SIGKILL at TIMES random moments of a calibrated run on the device, each resumed there; the output equals
# the undisturbed one's byte for byte. Then twice as begun on the device and resumed with --device cpu: a
# weight-only recipe, byte for byte; the calibrated one, which must verify and whose weights may differ by
# what its scales may (1 % of a tensor's norm), for it is another machine that measured some of them.
# kill_resume.sh [TIMES] [RECIPE] [WEIGHT_ONLY]: 10, fp8, w4a16_nvfp4. The model: LAYERS (6 unless set) of
# SHAPE, ROWS (32 unless set) rows.
LAYERS=${LAYERS:-6}
ROWS=${ROWS:-32}
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$here/../kill_rounds.sh"
times=${1:-10}
recipe=${2:-fp8}
weight_only=${3:-w4a16_nvfp4}
folder=$scratch/kill
source=$(model "$layers")
data=(--model "$source" --set "calibration.data=$(ids "$rows")" --set "calibration.samples=$rows"
  --set "calibration.seq_len=$seq")
begin_words=(--device "$device")
resume_words=(--device "$device")
machine
warm "$source"

job_words=(--recipe "$recipe" "${data[@]}")
undisturbed
kill_rounds
on_device=$times
times=2

job_words=(--recipe "$weight_only" "${data[@]}")
resume_words=(--device cpu)
undisturbed
kill_rounds

same_results() {
  "$host" verify "$2" --quiet >/dev/null 2>&1 || echo "it does not verify"
  "$host" diff "$1" "$2" --json --quiet >"$folder/diff.json" || :
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
job_words=(--recipe "$recipe" "${data[@]}")
undisturbed
kill_rounds
rm -rf "$folder"
echo "killed and resumed: $on_device times on $device, 4 times from $device to cpu; $bad failed"
[ $bad -eq 0 ]
