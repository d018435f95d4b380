#!/usr/bin/env bash
# Writes layout.txt and constants.txt anew after a deliberate change of the ABI. While the version is 0
# any change is allowed; sdk/CHANGELOG.md names it, and MOPT_ABI_MINOR goes up.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
printer=${1:-build/release/test/abi_print}
"$printer" layout >sdk/abi/layout.txt
"$printer" constants >sdk/abi/constants.txt
