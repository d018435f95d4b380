#!/usr/bin/env bash
# Builds the adapter of this folder out of tree and compares what it computes with the original.
# With --test it ends with "N passed, N failed".
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
export MOPT_BUILD=${MOPT_BUILD:-$root/build/release}
export MOPT_GOLDEN=$root/tests/golden
if [ -z "${MOPT_SHARED:-}" ] && [ -d "$root/../shared" ]; then export MOPT_SHARED=$root/../shared; fi
[ -x "$MOPT_BUILD/bin/mopt-host" ] || bash "$root/tests/build.sh" || exit 1

plugin=$root/build/third_party_adapter
if ! { cmake -S "$here" -B "$plugin" -Dmopt-sdk_DIR="$root/sdk/cmake" -DCMAKE_BUILD_TYPE=Release &&
  cmake --build "$plugin" && "$MOPT_BUILD/bin/mopt-plugin-check" "$plugin/olmo2_adapter.so"; }; then
  echo "0 passed, 1 failed"
  exit 1
fi

test=$(mktemp --suffix .test)
trap 'rm -f "$test"' EXIT
cat >"$test" <<END
# test: the adapter of a third party is found
host plugins --plugin-dir $plugin --json
json /plugins/[id=org.example.olmo2]/components/0/interface == "mopt.adapter/1"

# test: logits of OLMo 2 in float32 equal the original's
# needs: golden models/olmo2/model.safetensors
copy golden/models/olmo2 model
host logits model --plugin-dir $plugin --ids model/expected.safetensors:input_ids --out long.safetensors --dtype float32
close long.safetensors:logits golden/models/olmo2/expected.safetensors:logits 1e-4

# test: OLMo 2 can be quantized and verified
# needs: golden models/olmo2/model.safetensors
copy golden/models/olmo2 model
run --recipe fp8_pc_pt --plugin-dir $plugin
tensor out/model.safetensors model.layers.0.mlp.down_proj.weight F8_E4M3 [64,160]
host verify out --source model --plugin-dir $plugin
END
"$MOPT_BUILD/test/recipe_tests" "$test"
