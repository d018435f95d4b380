#!/usr/bin/env bash
# fetch_cudnn_frontend.sh DIR: cuDNN's frontend, headers only, into DIR/include, from PyPI's package
# nvidia-cudnn-frontend. Does nothing where nvcc is missing or the headers are there already.
set -euo pipefail
version=1.32.0
target=$1
command -v nvcc >/dev/null || [ -x /usr/local/cuda/bin/nvcc ] || exit 0
[ ! -e "$target/include/cudnn_frontend.h" ] || exit 0
if ! command -v python3 >/dev/null || ! python3 -m pip --version >/dev/null 2>&1; then
  echo "fetch_cudnn_frontend.sh: no pip here; attention on cuDNN is left out" >&2
  exit 0
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m pip download -q --disable-pip-version-check --no-deps --only-binary=:all: -d "$scratch" \
  "nvidia-cudnn-frontend==$version"
mkdir -p "$target"
python3 -m zipfile -e "$scratch"/*.whl "$scratch/wheel"
mv "$scratch/wheel/include" "$target/include"
