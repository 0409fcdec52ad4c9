#!/usr/bin/env bash
# Fuzzes the shim's reader of plans (agent/native/shim/plan.cc) under AddressSanitizer and UndefinedBehaviorSanitizer,
# against a second reader made from docs/shim.md: with libFuzzer where clang has it, else with a driver of our own and g++.
#
#   fuzz-shim.sh [seconds]     20 without
#
# SEED is a number; without, a new one each time. ENGINE=driver: not with libFuzzer even where it is.
# Exit codes: 0 nothing found; 1 a finding, its bytes and the program are kept; 2 wrong use; 77 no compiler here has the
# sanitizers (the reason is printed).
set -euo pipefail

seconds=${1:-20}
[[ $# -le 1 && $seconds =~ ^[0-9]+$ ]] || { echo "usage: $0 [seconds]" >&2; exit 2; }
shim=$(cd "$(dirname "${BASH_SOURCE[0]}")/../agent/native/shim" && pwd -P)
seed=${SEED:-$((RANDOM << 15 | RANDOM))}

work=$(mktemp -d "${TMPDIR:-/tmp}/morch-fuzz.XXXXXX")
trap 'rm -rf "$work"' EXIT

flags=(-std=c++20 -O1 -g -fno-omit-frame-pointer -fno-exceptions -fno-rtti -Wall -Wextra -Werror -fno-sanitize-recover=all)
sources=("$shim/plan.cc" "$shim/fuzz/plan_target.cc" "$shim/fuzz/plan_rules.cc" "$shim/fuzz/plan_maker.cc")

# has COMPILER FLAG PROGRAM: whether it can build and run one with these sanitizers, runtimes included.
has() {
  command -v "$1" >/dev/null && echo "$3" >"$work/probe.cc" &&
    "$1" "$2" "$work/probe.cc" -o "$work/probe" 2>/dev/null && "$work/probe" -runs=1 >/dev/null 2>&1
}

build() {
  local compiler=$1
  shift
  "$compiler" "${flags[@]}" "$@" "${sources[@]}" -o "$work/fuzz-plan"
}

clangs=$(echo clang++ clang++-{21..14})
engine=
if [ "${ENGINE:-}" != driver ]; then
  for compiler in ${CLANGXX:-$clangs}; do
    has "$compiler" -fsanitize=fuzzer,address,undefined \
      'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, decltype(sizeof(0))) { return 0; }' || continue
    engine=libFuzzer
    break
  done
fi
if [ -z "$engine" ]; then
  for compiler in ${CXX:-g++ $clangs}; do
    has "$compiler" -fsanitize=address,undefined 'int main() { return 0; }' || continue
    engine=driver
    break
  done
fi
if [ -z "$engine" ]; then
  echo 'skipped: no g++ with libasan and libubsan, no clang with its runtime (Debian, Ubuntu: apt-get install g++)'
  exit 77
fi

echo "fuzzing the plan reader for $seconds s: $engine by $compiler, seed $seed"
status=0
if [ "$engine" = libFuzzer ]; then
  build "$compiler" -fsanitize=fuzzer,address,undefined "$shim/fuzz/mutator.cc"
  mkdir "$work/corpus"
  # To libFuzzer 0 seconds, and a seed of 0, mean: without end, any.
  "$work/fuzz-plan" -max_total_time=$((seconds > 0 ? seconds : 1)) -seed=$((seed > 0 ? seed : 1)) -max_len=16384 \
    -print_final_stats=1 -artifact_prefix="$work/" "$work/corpus" >"$work/output" 2>&1 || status=$?
else
  build "$compiler" -fsanitize=address,undefined "$shim/fuzz/driver.cc"
  ASAN_OPTIONS=handle_abort=1 UBSAN_OPTIONS=print_stacktrace=1 \
    "$work/fuzz-plan" "$seconds" "$seed" "$work/finding" >"$work/output" 2>&1 || status=$?
fi

if [ "$status" -ne 0 ]; then
  trap - EXIT
  cat "$work/output"
  echo "a finding: run $work/fuzz-plan with the file of its bytes in $work"
  exit 1
fi
grep '^plan reader:' "$work/output"
