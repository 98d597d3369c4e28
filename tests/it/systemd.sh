#!/bin/bash
# Boots a real systemd as PID 1 of namespaces of its own, on a throw-away overlay of this machine's root. Needs root.
# usage: systemd.sh DIR      DIR appears at the same path inside; everything else that is written there is gone afterwards.
# The network is shared. Units that would touch the machine's kernel are masked.
set -euo pipefail
dir=$(realpath "$1")
if [ "${2:-}" != inside ]; then
  exec unshare --pid --mount --cgroup --uts --ipc --fork --kill-child "$BASH" "$0" "$dir" inside
fi
mount --make-rprivate /
mkdir -p "$dir/over" "$dir/root"
mount -t tmpfs tmpfs "$dir/over"
mkdir -p "$dir/over/upper" "$dir/over/work"
mount -t overlay overlay -o "lowerdir=/,upperdir=$dir/over/upper,workdir=$dir/over/work" "$dir/root"
cd "$dir/root"
mount --rbind /dev dev
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mkdir -p ".$dir"
mount --bind "$dir" ".$dir"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t tmpfs tmpfs sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 cgroup2 sys/fs/cgroup
rm -f .dockerenv
mkdir -p run/systemd/system
for unit in systemd-udevd.service systemd-udevd-control.socket systemd-udevd-kernel.socket systemd-udev-trigger.service \
            systemd-timesyncd.service systemd-sysctl.service systemd-modules-load.service systemd-remount-fs.service \
            systemd-binfmt.service; do
  ln -s /dev/null "run/systemd/system/$unit"
done
printf '[Unit]\nRequires=basic.target\nAfter=basic.target\n' > run/systemd/system/test.target
exec chroot . /usr/bin/env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  /lib/systemd/systemd --system --unit=test.target --log-target=console --show-status=0
