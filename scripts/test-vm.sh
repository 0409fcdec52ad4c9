#!/usr/bin/env bash
# `npm run test:vm`: boots a small machine (qemu) with cgroup v2 and all its controllers, and checks there what cannot be
# checked elsewhere: hard limits, users, killed shims, reboots. Prints one line per check and, last, "N passed, N failed".
#
# Needs x86-64 and Debian's apt-get, but no root: qemu (unless installed), Debian's cloud kernel and busybox are fetched
# as packages and unpacked below ${XDG_CACHE_HOME:-~/.cache}/morch/vm; nothing is installed. Uses KVM where it may.
#
# Exit code 0: all passed; 1: not; 77: cannot run here, with the reason. The machine is given MORCH_VM_SECONDS (300), a
# download two minutes.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/morch/vm
limit=${MORCH_VM_SECONDS:-300}
readonly PHASES='checks reboot'
readonly BOOT_SECONDS=40

say() { printf '%s\n' "$*" >&2; }
skip() {
  say "skipped: $*"
  exit 77
}

work=$(mktemp -d "${TMPDIR:-/tmp}/morch-vm.XXXXXX")
machine=
cleanup() {
  [ -z "$machine" ] || kill -KILL -- "-$machine" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# apt ARGUMENTS: apt-get into the cache, without the locks of an installation. Its output is told when it fails.
apt() {
  timeout 120 apt-get -q -y -o Debug::NoLocking=1 -o Dir::Cache::archives="$cache/debs" -o APT::Sandbox::User= "$@" \
    >"$work/apt.log" 2>&1 && return
  tail -n 5 "$work/apt.log" >&2
  return 1
}
# A machine that has never fetched the lists of packages knows none.
apt_lists() {
  apt-cache show linux-image-cloud-amd64 >/dev/null 2>&1 && return
  [ "$(id -u)" = 0 ] || skip 'apt-get has no lists of packages; run apt-get update as root'
  timeout 120 apt-get update -q >"$work/apt.log" 2>&1 || say "apt-get update failed: $(tail -n 1 "$work/apt.log")"
}

# unpack NAME FILE...: the packages as a tree in the cache, whole or not at all.
unpack() {
  local name=$1 file
  shift
  rm -rf "$cache/$name.part"
  for file in "$@"; do dpkg-deb -x "$file" "$cache/$name.part"; done
  mv "$cache/$name.part" "$cache/$name"
}

# A download of its own for each, so that what is there is only what it needs.
provide_qemu() {
  if command -v qemu-system-x86_64 >/dev/null; then
    qemu=(qemu-system-x86_64)
    return
  fi
  if [ ! -d "$cache/qemu" ]; then
    say 'fetching qemu'
    apt_lists
    rm -rf "$cache/debs"
    mkdir -p "$cache/debs/partial"
    apt install --download-only --no-install-recommends qemu-system-x86 || skip 'apt-get cannot fetch qemu-system-x86'
    unpack qemu "$cache"/debs/*.deb
    rm -rf "$cache/debs"
  fi
  local libraries=$cache/qemu/usr/lib/x86_64-linux-gnu:$cache/qemu/lib/x86_64-linux-gnu
  qemu=(env "LD_LIBRARY_PATH=$libraries" "$cache/qemu/usr/bin/qemu-system-x86_64"
    -L "$cache/qemu/usr/share/qemu" -L "$cache/qemu/usr/share/seabios")
}

provide_guest() {
  [ -d "$cache/guest" ] && return
  say "fetching Debian's cloud kernel and busybox"
  apt_lists
  local kernel
  kernel=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-.*\)$/\1/p' | head -n 1)
  [ -n "$kernel" ] || skip 'apt-get knows no linux-image-cloud-amd64'
  mkdir -p "$work/debs"
  (cd "$work/debs" && apt download "$kernel" busybox-static) || skip "apt-get cannot fetch $kernel and busybox-static"
  unpack guest "$work"/debs/*.deb
}

[ "$(uname -sm)" = 'Linux x86_64' ] || skip "the test machine is for Linux on x86-64, this is $(uname -sm)"
for program in apt-get dpkg-deb ldd mkfs.ext4; do
  PATH=$PATH:/sbin:/usr/sbin command -v "$program" >/dev/null || skip "there is no $program"
done
mkdir -p "$cache"
provide_qemu
provide_guest

node "$root/test/vm/image.cjs" "$work/initramfs" "$cache/guest/lib/modules" "$cache/guest/bin/busybox"
truncate -s 256M "$work/state.img"
PATH=$PATH:/sbin:/usr/sbin mkfs.ext4 -q -F "$work/state.img"

# boot PHASE SECONDS: runs the machine until it ends; what it says goes to stdout and $work/console. An emulated machine
# may hang before its first process runs; then nothing has been done in it yet, and it is started once more.
boot() {
  local attempt
  for attempt in 1 2 3; do
    boot_once "$1" "$2" && return
    say "the machine did not get to its first process (attempt $attempt)"
  done
}

# Fails when the machine did not get to its first process.
boot_once() {
  local started=$SECONDS status=0
  : >"$work/console"
  # With job control the machine has a process group of its own, which can be ended.
  set -m
  timeout --kill-after=5 "$2" "${qemu[@]}" -machine pc -accel "$accelerator" -cpu max -smp 2 -m 1024 \
    -nodefaults -no-user-config -display none -serial stdio -no-reboot \
    -kernel "$(echo "$cache"/guest/boot/vmlinuz-*)" -initrd "$work/initramfs" \
    -append "console=ttyS0 quiet loglevel=3 panic=-1 mitigations=off cgroup_no_v1=all morch.phase=$1" \
    -drive "file=$work/state.img,format=raw,if=virtio" </dev/null 2>&1 | sed -u 's/\r$//' | tee "$work/console" &
  machine=$!
  set +m
  while ! grep -q '^# booted ' "$work/console"; do
    if [ $((SECONDS - started)) -ge "$BOOT_SECONDS" ] || ! kill -0 -- "-$machine" 2>/dev/null; then
      status=1
      kill -KILL -- "-$machine" 2>/dev/null || true
      break
    fi
    sleep 0.2
  done
  wait "$machine" || true
  machine=
  return "$status"
}

# Neither is sure: a virtual machine may have a KVM that runs no common kernel, and emulation may hang.
accelerator=
for candidate in kvm tcg tcg,thread=single; do
  [ "$candidate" != kvm ] || [ -w /dev/kvm ] || continue
  accelerator=$candidate
  boot_once none 60 >/dev/null 2>&1 && grep -q '^vm: exit 0$' "$work/console" && break
  say "no machine by $candidate: $(tail -n 1 "$work/console")"
  accelerator=
done
[ -n "$accelerator" ] || skip "Debian's cloud kernel does not boot here, neither by KVM nor emulated"
say "the machine is run by $accelerator"

passed=0 failed=0
SECONDS=0
for phase in $PHASES; do
  say "=== $phase"
  boot "$phase" $((limit > SECONDS ? limit - SECONDS : 1))
  passed=$((passed + $(grep -c '^ok ' "$work/console" || true)))
  failed_here=$(grep -c '^not ok ' "$work/console" || true)
  failed=$((failed + failed_here))
  case $(grep '^vm: exit ' "$work/console" || true) in
    'vm: exit 0') continue ;;
    'vm: exit '*) [ "$failed_here" -gt 0 ] && continue ;;
  esac
  if [ "$SECONDS" -ge "$limit" ]; then say "$phase has not ended within the $limit s of MORCH_VM_SECONDS"
  else say "the machine did not come to the end of $phase"; fi
  failed=$((failed + 1))
  break
done
say "$passed passed, $failed failed (in $SECONDS s)"
[ "$failed" = 0 ]
