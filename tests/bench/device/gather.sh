#!/usr/bin/env bash
# Everything that the device machine lacks, below build/device (ignored by git), to be carried there:
#   mopt.tar.xz  ours, package.sh       wheels/  the peer's (21 MiB)       peers/  its scripts, the id file
#   smollm2/part.00 ...                 the GGUF in pieces of 24 MiB, one to a call
# gather.sh [TARGET...]: TARGETs go to package.sh. MOPT_SHARED: the folder with peers/ and data/.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../../.."
shared=${MOPT_SHARED:-../shared}
dir=build/device
mkdir -p $dir/peers
bash "$here/package.sh" $dir "$@"
cp "$shared"/peers/gpu_*.py "$shared/data/smollm2_ids.safetensors" $dir/peers/
[ -d $dir/wheels ] || bash "$shared/peers/carry.sh" $dir/wheels modelopt
gguf=$(find -L build/models -name '*.gguf' 2>/dev/null | sort | head -n 1 || :)
if [ -n "$gguf" ]; then
  rm -rf $dir/smollm2
  mkdir -p $dir/smollm2
  split -d -b 24m "$gguf" $dir/smollm2/part.
  sha256sum <"$gguf" >$dir/peers/smollm2.sha256
else
  echo "no GGUF below build/models: smollm2.sh cannot run there (samples/quickstart.sh fetches it)" >&2
fi
du -sh $dir/*
