#!/bin/bash
# machine.sh - runs a complete Debian machine in namespaces: systemd is its first process, Docker is one of its units.
#
#   machine.sh hold NAME               boot it, load the image "bb" (busybox), print "ready PID", and stop NAME when
#                                      standard input ends: the machine does not outlive the process at the other end of
#                                      the pipe
#   machine.sh boot NAME               boot it again after a poweroff, with the same disk; print "ready PID"
#   machine.sh exec NAME COMMAND...    run a command inside, for example: machine.sh exec NAME systemctl poweroff
#   machine.sh stop NAME               kill every process in NAME and delete its data
#
# As in engine.sh, a machine has its own namespaces, and also its own control groups, devices and kernel settings: its
# systemd sees a tree of groups that begins at /gipam-NAME, its /dev is that of a container, and in /proc/sys it can
# write only the settings of its network. Needs root, and a host with control groups v1 (including name=systemd).
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$(readlink -f "$0")")/engine.sh"

SUITE=machine

# The first process of the new namespaces joins its control groups, so that a cgroup namespace can begin there.
join_groups() { # NAME
  local tree group file
  for tree in /sys/fs/cgroup/*/; do
    [ -e "$tree/cgroup.procs" ] || continue
    group=$tree/gipam-$1
    mkdir -p "$group"
    for file in cpuset.cpus cpuset.mems; do
      [ ! -e "$group/$file" ] || cat "$tree/$file" >"$group/$file"
    done
    echo 0 >"$group/cgroup.procs"
  done
}

mount_groups() { # TOP
  local tree name kind
  mount -t tmpfs -o mode=755 tmpfs "$1/sys/fs/cgroup"
  for tree in /sys/fs/cgroup/*/; do
    name=$(basename "$tree")
    [ -e "$tree/tasks" ] || continue # version 2 next to version 1
    kind=$name
    [ "$name" != systemd ] || kind=none,name=systemd
    mkdir "$1/sys/fs/cgroup/$name"
    mount -t cgroup -o "$kind" cgroup "$1/sys/fs/cgroup/$name"
  done
}

mount_devices() { # TOP
  local node
  mount -t tmpfs -o mode=755 tmpfs "$1/dev"
  mkdir "$1/dev/pts" "$1/dev/shm"
  mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$1/dev/pts"
  for node in null zero full random urandom tty; do cp -a "/dev/$node" "$1/dev/$node"; done
  ln -s pts/ptmx "$1/dev/ptmx"
  ln -s /proc/self/fd "$1/dev/fd"
}

# Makes kernel-wide settings read-only; the network's settings belong to this namespace, and Docker may change them.
shut_kernel() { # TOP
  mount --bind "$1/proc/sys/net" "$1/host"
  mount --bind "$1/proc/sys" "$1/proc/sys"
  mount -o remount,bind,ro "$1/proc/sys"
  mount --move "$1/host" "$1/proc/sys/net"
  [ ! -e "$1/proc/sysrq-trigger" ] || mount --bind "$1/dev/null" "$1/proc/sysrq-trigger"
}

first_process() { # NAME
  local name=$1 home=$BASE/e/$1 top=$BASE/e/$1/top unit
  mount -t overlay overlay -o "lowerdir=$BASE/roots/$SUITE,upperdir=$home/upper,workdir=$home/scratch" "$top"
  mkdir -p "$top/var/lib/docker" "$top/var/lib/containerd" "$top/var/log/journal" "$top/host"
  mount -t proc proc "$top/proc"
  mount -t sysfs sysfs "$top/sys"
  mount_groups "$top"
  mount_devices "$top"
  shut_kernel "$top"
  mount -t tmpfs -o mode=755 tmpfs "$top/run"
  mount --bind "$home/docker" "$top/var/lib/docker"
  mount --bind "$home/containerd" "$top/var/lib/containerd"
  # disable units that read the kernel's state or run by a timer
  for unit in sys-kernel-debug.mount sys-kernel-tracing.mount sys-fs-fuse-connections.mount timers.target; do
    ln -sf /dev/null "$top/etc/systemd/system/$unit"
  done
  rm -f "$top/etc/resolv.conf"
  echo "nameserver 127.0.0.1" >"$top/etc/resolv.conf"
  echo "$name" >"$top/etc/hostname"
  cd "$top"
  pivot_root . host
  cd /
  umount -l /host
  ip link set lo up
  ip link add up0 type veth peer name up1
  ip addr add 192.0.2.1/24 dev up0
  ip link set up0 up
  ip link set up1 up
  ip route add default via 192.0.2.254
  exec env -i "GIPAM_ENGINE=$name" container=gipam-machine \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --log-target=journal
}

boot() { # NAME
  local name=$1 home=$BASE/e/$1 i
  start_namespaces "$name" "$SUITE"
  for ((i = 0; i < 600; i++)); do
    case $(inside "$name" systemctl is-system-running 2>/dev/null || true) in
      running | degraded) return ;;
    esac
    find_first "$name" || { cat "$home/first.log" >&2; fail "systemd of $name exited"; }
    sleep 0.1
  done
  inside "$name" systemctl list-jobs --no-pager >&2
  fail "$name does not boot"
}

hold() { # NAME
  trap '' INT HUP
  trap 'stop "$HELD"' EXIT
  HELD=$1
  [ -e /sys/fs/cgroup/systemd/tasks ] || fail "this host does not have control groups v1 with name=systemd"
  build_root "$SUITE"
  boot "$1"
  load_image "$1"
  echo "ready $PID1"
  cat >/dev/null || true
}

command=${1:-help}
[ $# = 0 ] || shift
case $command in
  hold | stop) "$command" "$@" ;;
  boot)
    boot "$1"
    echo "ready $PID1"
    ;;
  exec) inside "$@" ;;
  __first)
    join_groups "$1"
    exec unshare -C "$SELF" __grouped "$1"
    ;;
  __grouped) first_process "$@" ;;
  *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$SELF"; [ "$command" = help ] || exit 2 ;;
esac
