#!/usr/bin/env bash
# Installs the Debian packages that building and testing need, those that are missing only.
# Further package names may be given as arguments.
set -euo pipefail

packages=(
  g++ cmake ninja-build ccache binutils pkg-config
  libboost-dev libboost-program-options-dev libboost-filesystem-dev libboost-system-dev
  libtomlplusplus-dev libtbb-dev libdnnl-dev libhwy-dev nlohmann-json3-dev libfmt-dev
  libspdlog-dev libpcre2-dev libicu-dev libxxhash-dev libssl-dev doctest-dev clang-format
  "$@"
)

if ! command -v dpkg-query >/dev/null; then
  echo "install_packages.sh: no dpkg here, so nothing was installed; needed are the equivalents of" \
       "these Debian packages: ${packages[*]}" >&2
  exit 0
fi

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>&1) || status=absent
  [ "$status" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "install_packages.sh: these packages are missing and installing needs root; run this as" \
         "root, with sudo installed, or once: apt-get install ${missing[*]}" >&2
    exit 6
  fi
  as_root=(sudo)
fi
echo "installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get -q update
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get -q install -y --no-install-recommends "${missing[@]}"
