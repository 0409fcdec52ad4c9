#!/bin/sh
# The first process of the test machine: mounts what a Linux machine has, then runs the checks of the phase named on
# the kernel's command line. The machine ends when this does.
PATH=/usr/bin:/bin
export PATH HOME=/root LANG=C.UTF-8 NO_COLOR=1
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/shm && mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
mount -t cgroup2 -o nsdelegate cgroup2 /sys/fs/cgroup
ip link set lo up
hostname vm
for module in /modules/*.ko; do insmod "$module"; done
tries=0
until [ -b /dev/vda ] || [ $tries -ge 50 ]; do
  tries=$((tries + 1))
  usleep 100000
done
mount -t ext4 /dev/vda /state || echo '# the disk for the state cannot be mounted'
phase=$(sed -n 's/.*morch\.phase=\([^ ]*\).*/\1/p' /proc/cmdline)
echo "# booted Linux $(uname -r) with cgroup controllers: $(cat /sys/fs/cgroup/cgroup.controllers), up $(cut -d' ' -f1 /proc/uptime) s"
# Not the init process itself: node does not adopt and reap orphans.
setsid node /morch/test/vm/main.cjs "$phase" </dev/null
echo "vm: exit $?"
# The console is given the time to say it.
usleep 500000
# At once, without writing back what is in memory, as when the power goes; what must survive that was synced.
echo b >/proc/sysrq-trigger
sleep 60
