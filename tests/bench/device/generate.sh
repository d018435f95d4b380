#!/usr/bin/env bash
# Text that the model of this folder's benchmarks writes: one row of TOKENS (128) greedy tokens, and the
# calibration text of ROWS x SEQ; kernel by kernel and repeated from a recording (a CUDA graph), which must
# give the same ids. Seconds do not count the loading of the model. Needs generate_bench in the tree:
# gather.sh generate_bench. MODEL: another checkpoint, such as SmolLM2's.
# $OUT/generate.csv.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
source=${MODEL:-$(model "$layers")}
csv=$out/generate.csv
warm "$source"
machine
echo what,steps,rows,tokens,seconds,tokens_per_s,device_MB >"$csv"
bad=0
"$tree/bin/generate_bench" "$source" "$device" "${TOKENS:-128}" "$rows" "$seq" >>"$csv" || bad=1
cat "$csv"
rate() { awk -F, -v w="$1" -v s="$2" '$1 == w && $2 == s {print $6}' "$csv" | grep . || echo none; }
if [ "$device" = cpu ]; then
  echo "tokens/s: one text $(rate text cpu), $rows x $seq $(rate own_text cpu)"
else
  echo "tokens/s: one text $(rate text recorded) recorded, $(rate text each) each; $rows x $seq $(rate own_text recorded) recorded, $(rate own_text each) each"
fi
exit $bad
