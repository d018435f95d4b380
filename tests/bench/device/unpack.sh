#!/usr/bin/env bash
# Opens what package.sh made and finds the machine's own cuBLASLt and cuDNN. TREE/env.sh then holds what
# the other scripts of this folder need. Also keeps DIR/peers and installs the wheels of DIR/wheels.
# unpack.sh DIR [TREE]
set -euo pipefail
dir=${1:?usage: unpack.sh DIR [TREE]}
tree=${2:-${MOPT_TREE:-${TMPDIR:-/tmp}/mopt}}
mkdir -p "$tree"
if command -v xz >/dev/null; then
  xz -dc "$dir/mopt.tar.xz" | tar -x -C "$tree"
else
  python3 -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])' \
    "$dir/mopt.tar.xz" "$tree"
fi

# The folder of a library: known to the loader (nothing to do), of the toolkit, or of Python's packages.
folder_of() {
  if ldconfig -p 2>/dev/null | grep -q "$1"; then return; fi
  local roots=(/usr/local/cuda*/lib64 /usr/local/cuda*/targets/*/lib /usr/lib/x86_64-linux-gnu) site
  for site in $(python3 -c 'import site, sys; print(*site.getsitepackages(), *sys.path)' 2>/dev/null); do
    roots+=("$site"/nvidia/*/lib)
  done
  local root
  for root in "${roots[@]}"; do
    if compgen -G "$root/$1*" >/dev/null; then
      echo "$root"
      return
    fi
  done
  echo "unpack.sh: no $1 on this machine; runs on CUDA will say so" >&2
}
folders=$(for library in libcublasLt.so.13 libcudnn.so.9 libnvrtc.so.13; do folder_of $library; done | sort -u)
{
  echo "export MOPT_TREE=$(realpath "$tree")"
  if [ -n "$folders" ]; then
    # For ours alone: the peer's torch has libraries of its own.
    echo "export OUTSIDE_LIBRARY_PATH=\${OUTSIDE_LIBRARY_PATH-\${LD_LIBRARY_PATH:-}}"
    echo "export LD_LIBRARY_PATH=$(paste -sd: <<<"$folders")\${OUTSIDE_LIBRARY_PATH:+:\$OUTSIDE_LIBRARY_PATH}"
  fi
} >"$tree/env.sh"

if [ -d "$dir/peers" ]; then cp -r "$dir/peers" "$tree/"; fi
if compgen -G "$dir/wheels/*.whl" >/dev/null; then
  python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade \
    --target "$tree/site" "$dir"/wheels/*.whl
  # Only for the peer: nothing of ours is Python.
  echo "export PEER_PYTHONPATH=$(realpath "$tree")/site" >>"$tree/env.sh"
fi
. "$tree/env.sh"
echo "$("$tree/bin/mopt-host" --version | head -n 1) in $tree, libraries of the machine: ${folders:-known to the loader}"
