#!/bin/sh
# Memory-heavy sample workload: fills memory, holds it, exits 0.
# Usage: memory-workload.sh [MIB] [SECONDS]   (default 64 MiB for 10 s)
# The memory belongs to this shell itself, one variable of 1 MiB after the other.
# On SIGTERM it says so and exits 143 at once.

mib=${1:-64}
seconds=${2:-10}
case "$mib:$seconds" in
  :* | *: | *[!0-9:]* | *:*:*) echo "usage: $0 [MIB] [SECONDS]" >&2; exit 2 ;;
esac

stop() {
  echo "stopped by SIG$1"
  [ -n "$!" ] && kill "$!" 2>/dev/null
  exit "$2"
}
trap 'stop TERM 143' TERM
trap 'stop INT 130' INT

instance=${MORCH_INSTANCE:-memory}
echo "$instance: filling $mib MiB (pid $$)"

chunk=0123456789abcdef
doublings=0
while [ "$doublings" -lt 16 ]; do
  chunk=$chunk$chunk
  doublings=$((doublings + 1))
done

i=0
while [ "$i" -lt "$mib" ]; do
  eval "block_$i=\$chunk"
  i=$((i + 1))
  [ $((i % 16)) -eq 0 ] && echo "$instance: $i of $mib MiB"
done

echo "$instance: holding $mib MiB for $seconds s"
held=0
while [ "$held" -lt "$seconds" ]; do
  # `wait` returns at once on a signal, a foreground sleep would not.
  sleep 1 &
  wait "$!"
  held=$((held + 1))
done
echo "$instance: done"
