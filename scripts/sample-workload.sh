#!/bin/sh
# CPU-heavy sample workload: keeps one core busy, prints one line a second, exits 0.
# Usage: sample-workload.sh [SECONDS]   (default 5)
# On SIGTERM it says so and exits 143 at once.

seconds=${1:-5}
case $seconds in
  '' | *[!0-9]*) echo "usage: $0 [SECONDS]" >&2; exit 2 ;;
esac

trap 'echo "stopped by SIGTERM"; exit 143' TERM
trap 'echo "stopped by SIGINT"; exit 130' INT

instance=${MORCH_INSTANCE:-sample}
started=$(date +%s)
reported=0
sum=0
rounds=0
echo "$instance: computing for $seconds s (pid $$)"

while :; do
  elapsed=$(($(date +%s) - started))
  if [ "$elapsed" -gt "$reported" ] && [ "$elapsed" -le "$seconds" ]; then
    reported=$elapsed
    echo "$instance: $reported of $seconds s, $rounds rounds"
  fi
  # The clock counts whole seconds: past the last one at least that many have gone by.
  [ "$elapsed" -gt "$seconds" ] && break
  # Built-in arithmetic only, so that a signal is handled between two additions.
  i=0
  while [ "$i" -lt 20000 ]; do
    sum=$(((sum * 31 + i) % 1000003))
    i=$((i + 1))
  done
  rounds=$((rounds + 1))
done

echo "$instance: done, $rounds rounds, checksum $sum"
