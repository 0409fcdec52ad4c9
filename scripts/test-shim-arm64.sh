#!/usr/bin/env bash
# Builds the shim for arm64 with the flags of CMakeLists.txt, and runs its tests (test/shim) against it, emulated by
# qemu-user. Their workloads are programs of this machine: what is arm64 is the shim. Installs the cross-compiler and the
# emulator where it may. Arguments go to jest.
#
# What qemu-user does not show: the child on its parent's stack (it makes a fork of every vfork), clone3, and pages
# larger than 4 KiB.
#
# Exit codes: 0 all passed; 77 the tools are not here (what to do is printed); else jest's, or that of the build.
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
packages='g++-aarch64-linux-gnu qemu-user-static'
install_limit_s=300

skip() {
  echo "skipped: $1"
  exit 77
}

find_tools() {
  compiler=$(command -v aarch64-linux-gnu-g++) && qemu=$(command -v qemu-aarch64-static || command -v qemu-aarch64)
}

[ "$(uname -m)" = x86_64 ] || skip "this is for x86-64; on arm64 the tests of test/shim need no emulator"
if ! find_tools; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing $packages"
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive timeout "$install_limit_s" \
      apt-get install -y --no-install-recommends $packages >/dev/null || true
  fi
  find_tools || skip "no cross-compiler and emulator (Debian, Ubuntu: apt-get install $packages)"
fi
for tool in cmake make "${CXX:-g++}"; do
  command -v "$tool" >/dev/null || skip "$tool is not installed (Debian, Ubuntu: apt-get install cmake make g++)"
done

work=$(mktemp -d "${TMPDIR:-/tmp}/morch-arm64.XXXXXX")
trap 'rm -rf "$work"' EXIT

{
  cmake -S "$repository/agent/native" -B "$work/build" -G 'Unix Makefiles' -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_CXX_COMPILER="$compiler" &&
    cmake --build "$work/build" --target morch-shim
} >"$work/build.log" 2>&1 || { cat "$work/build.log"; exit 1; }
shim=$work/build/Release/morch-shim
head=$(LC_ALL=C aarch64-linux-gnu-readelf -hlW "$shim")
grep -q 'Machine: *AArch64' <<<"$head" || { echo "$shim is not for arm64"; exit 1; }
# Kernels for arm64 have pages of up to 64 KiB: parts with different rights must not share one.
if grep LOAD <<<"$head" | grep -qv ' 0x10000$'; then
  echo "the shim's segments are not aligned to 64 KiB:"
  grep LOAD <<<"$head"
  exit 1
fi

# What the tests start in place of the shim, with its path first. qemu-user knows no PR_SET_CHILD_SUBREAPER, which an exec
# keeps.
cat >"$work/emulate.cc" <<'SOURCE'
#include <sys/prctl.h>
#include <unistd.h>

#include <vector>

int main(int, char** argv) {
  prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  char name[] = "qemu", option[] = "-0", as[] = "morch-shim";
  std::vector<char*> arguments = {name, option, as};
  do arguments.push_back(*++argv);
  while (*argv != nullptr);
  execv(QEMU, arguments.data());
  return 127;
}
SOURCE
"${CXX:-g++}" -O1 "-DQEMU=\"$qemu\"" "$work/emulate.cc" -o "$work/emulate"

echo "running the shim's tests on $("$qemu" --version | head -n 1)"
cd "$repository"
MORCH_TEST_SHIM="$work/emulate $shim" node node_modules/jest/bin/jest.js test/shim --runInBand "$@"
