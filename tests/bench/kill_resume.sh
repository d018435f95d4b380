#!/usr/bin/env bash
# SIGKILL at random moments of a calibrated run; then --resume. The output must equal that of an
# undisturbed run byte for byte, nothing loadable may stand under the output's name before the end, and
# at most one block may have been encoded twice (the lines "block i of n" of both runs together).
# kill_resume.sh [TIMES] [RECIPE] [ROWS]; KILL_SEED for the moments.
bench_targets=(bench_measure)
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$root/tests/bench/kill_rounds.sh"
times=${1:-20}
folder=$scratch/kill
begin_words=()
resume_words=()
job_words=(--recipe "${2:-fp8}" --model "$(smollm2)"
  --set "calibration.data=$shared/data/smollm2_ids.safetensors:calib_ids"
  --set "calibration.samples=${3:-4}" --set calibration.seq_len=512)

machine
undisturbed
kill_rounds
echo "$((times - (bad > times ? times : bad))) passed, $bad failed"
[ $bad -eq 0 ]
