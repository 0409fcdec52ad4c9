#!/usr/bin/env bash
# Feeds mutated plans to the shim's plan reader, built with AddressSanitizer and UndefinedBehaviorSanitizer:
#   scripts/fuzz-shim.sh [seconds, default 30]
# With clang, libFuzzer follows the coverage; without, a driver of our own mutates blindly. Installs nothing.
set -euo pipefail

seconds=${1:-30}
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
work=$(mktemp -d "${TMPDIR:-/tmp}/morch-fuzz.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$repository/agent/native/shim"

mkdir "$work/seeds"
node "$repository/agent/native/shim/fuzz/seeds.cjs" "$work/seeds"

flags=(-std=c++20 -O1 -g -fno-omit-frame-pointer -Wall -Wextra -Werror -fno-sanitize-recover=all)
sources=(plan.cc fuzz/plan_fuzz.cc)
clang=$(command -v clang++ || command -v clang++-14 || true)
if [ -n "$clang" ] && "$clang" "${flags[@]}" -fsanitize=address,undefined,fuzzer "${sources[@]}" -o "$work/fuzz" 2>"$work/log"; then
  echo "$clang, libFuzzer, $seconds s"
  "$work/fuzz" -max_total_time="$seconds" -max_len=65536 -print_final_stats=1 -verbosity=1 "$work/seeds" \
    >"$work/log" 2>&1 || {
    cat "$work/log"
    exit 1
  }
  grep -E 'DONE|number_of_executed_units' "$work/log"
else
  echo 'no clang with libFuzzer: mutating without coverage (Debian, Ubuntu: apt-get install clang-14 libclang-rt-14-dev)'
  "${CXX:-g++}" "${flags[@]}" -fsanitize=address,undefined "${sources[@]}" fuzz/mutate.cc -o "$work/fuzz"
  "$work/fuzz" "$seconds" "$RANDOM" "$work"/seeds/*
fi
echo 'nothing found'
