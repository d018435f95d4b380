#!/usr/bin/env bash
# Installs what is missing, configures and builds the release build in build/release.
# Arguments go to ninja.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash tests/install_packages.sh
bash tests/fetch_cudnn_frontend.sh build/release/cudnn_frontend
cmake -S . -B build/release -G Ninja -DCMAKE_BUILD_TYPE=Release
cmake --build build/release -j "$(nproc)" -- "$@"
