#!/usr/bin/env bash
# Builds the shim for arm64 and runs its tests under qemu-user, whose kernel is this machine's: start, output, exits,
# records, stops, fence. What the emulator cannot do (it has no subreaper) is skipped.
# Installs the cross compiler and the emulator where this is root and apt-get is there. Exit 77: they cannot be had.
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
packages=(g++-aarch64-linux-gnu qemu-user-static)

missing() {
  ! command -v aarch64-linux-gnu-g++ >/dev/null || ! command -v qemu-aarch64-static >/dev/null
}

skip() {
  echo "skipped: $*"
  exit 77
}

[ "$(uname -s)" = Linux ] || skip 'this is not Linux'
if missing && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "installing ${packages[*]} ..."
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q >/dev/null 2>&1 || true # a broken extra source; the packages may be had from the others
  apt-get install -y -q --no-install-recommends "${packages[@]}" >/dev/null 2>&1 || true
fi
missing && skip "no arm64 compiler or emulator (Debian, Ubuntu: apt-get install ${packages[*]})"

build=$(mktemp -d "${TMPDIR:-/tmp}/morch-shim-arm64.XXXXXX")
trap 'rm -rf "$build"' EXIT
cmake -S "$repository/agent/native" -B "$build" -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
  -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ >/dev/null
cmake --build "$build" --target morch-shim
shim=$build/Release/morch-shim
readelf -h "$shim" | grep -q AArch64
echo "built: $(wc -c <"$shim") bytes"

cd "$repository"
MORCH_TEST_SHIM="$(command -v qemu-aarch64-static) $shim" npx jest test/shim --maxWorkers=1 "$@"
