#!/usr/bin/env bash
# Runs the tests of the native addon against one built with AddressSanitizer and UndefinedBehaviorSanitizer, in a copy of
# the sources: the normal build stays as it is. Arguments go to jest; without any, all of test/native runs.
# Exit codes: 0 all passed; 77 there is no libasan here (the reason is printed); else jest's.
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
compiler=${CXX:-g++}

# The runtimes must be in the process before the addon is: node itself is not linked with them. With gcc they are
# libraries of their own; a name that comes back without a folder is not installed.
libasan=$("$compiler" -print-file-name=libasan.so 2>/dev/null || true)
libubsan=$("$compiler" -print-file-name=libubsan.so 2>/dev/null || true)
if [[ $libasan != /* || $libubsan != /* ]]; then
  echo "skipped: $compiler has no libasan and libubsan (Debian, Ubuntu: they come with g++)"
  exit 77
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/morch-sanitized.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$repository"
tar -cf - --exclude=build --exclude=node_modules package.json jest.config.cjs agent test | tar -xf - -C "$work"
ln -s "$repository/node_modules" "$work/node_modules"
cd "$work"

echo "building the addon with sanitizers in $work"
node node_modules/cmake-js/bin/cmake-js build --prefer-make --directory agent/native --CDMORCH_SANITIZE=ON \
  >build.log 2>&1 || { cat build.log; exit 1; }
nm -D agent/native/build/Release/morch_native.node >symbols
grep -q __asan_init symbols || { echo 'the addon has no sanitizer in it'; exit 1; }

# Leaks are not looked for: V8 frees little of what it holds at the end, and neither do the compilers that tests start.
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:detect_stack_use_after_return=0
export UBSAN_OPTIONS=halt_on_error=1:abort_on_error=1:print_stacktrace=1
arguments=("$@")
[ ${#arguments[@]} -gt 0 ] || arguments=(test/native)
LD_PRELOAD="$libasan $libubsan" node node_modules/jest/bin/jest.js --runInBand --testTimeout=120000 "${arguments[@]}"
