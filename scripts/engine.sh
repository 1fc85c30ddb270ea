#!/bin/bash
# engine.sh - runs complete Docker Engines of several versions side by side, built from Debian suites.
#
#   engine.sh root SUITE...            build (once) the root file systems: bullseye, bookworm = Engine 20.10, trixie = 26.1,
#                                      forky = 28.5 or later; machine = bookworm with systemd, for machine.sh
#   engine.sh start NAME SUITE [FLAG...]   start containerd and dockerd, load the image "bb" (busybox), return when the API
#                                      answers
#   engine.sh hold NAME SUITE [FLAG...]    like start, then print "ready PID", and stop NAME when standard input ends:
#                                      the engine does not outlive the process at the other end of the pipe
#   engine.sh exec NAME COMMAND...     run a command inside, for example: engine.sh exec NAME docker ps
#   engine.sh up NAME [FLAG...]        start dockerd (again); down NAME SIGNAL: stop only dockerd, containers keep running
#   engine.sh stop NAME                kill every process in NAME and delete its data
#   engine.sh sweep                    stop the engines whose starting process has exited
#
# An engine has its own mount, net, pid, uts and ipc namespaces: its bridges, routes, firewall rules, mounts and
# processes are not the host's. Two things are shared on purpose: its /run is a plain directory, so that its sockets can be
# reached by path from outside ($BASE/e/NAME/run), and it uses the host's control groups, all below /gipam-NAME, which
# "stop" deletes. Only the roots stay, in the cache. Needs root, and apt to build the roots.
set -euo pipefail

BASE=${GIPAM_ENGINES:-${XDG_CACHE_HOME:-$HOME/.cache}/gipam-engines}
SELF=$(readlink -f "$0")
COMPOSE=/usr/libexec/docker/cli-plugins/docker-compose

fail() { echo "engine.sh: $*" >&2; exit 1; }
note() { echo "engine.sh: $*" >&2; }

# --- roots ----------------------------------------------------------------------------------------------------------

# The Debian mirror that this machine already uses; on other systems, GIPAM_DEBIAN_MIRROR.
debian_mirror() {
  [ -z "${GIPAM_DEBIAN_MIRROR:-}" ] || { echo "$GIPAM_DEBIAN_MIRROR"; return; }
  local found
  # shellcheck disable=SC2016 # the dollar signs are for apt
  found=$(apt-get indextargets --format '$(REPO_URI) $(LABEL)' 'Identifier: Packages' 2>/dev/null |
    awk '$2 == "Debian" && !seen[$1]++ { sub("/$", "", $1); print $1; exit }')
  [ -n "$found" ] || fail "apt's sources contain no Debian mirror: set GIPAM_DEBIAN_MIRROR to the URL of one"
  echo "$found"
}

fresh_lists() { apt-cache show mmdebstrap >/dev/null 2>&1 || apt-get update -q >&2 || true; }

# mmdebstrap is a single Perl program: unpack it next to the roots instead of installing it on the host.
bootstrap_tool() {
  local dir=$BASE/tool
  [ -f "$dir/usr/bin/mmdebstrap" ] && return
  command -v apt-get >/dev/null || fail "building roots needs Debian's apt, which is not installed"
  command -v perl >/dev/null || fail "perl is needed to build roots: apt-get install perl"
  rm -rf "$dir.new"; mkdir -p "$dir.new"
  (cd "$dir.new" && apt-get download -q -o APT::Sandbox::User=root mmdebstrap >&2 && dpkg -x mmdebstrap_*.deb .) ||
    fail "cannot download mmdebstrap"
  rm -rf "$dir"; mv "$dir.new" "$dir"
}

build_root() { # SUITE
  local suite=$1 release=$1 root=$BASE/roots/$1 log=$BASE/roots/$1.log mirror
  local packages=docker.io,iptables,iproute2,busybox-static,ca-certificates
  case $suite in
    machine) release=bookworm packages+=,systemd-sysv ;; # the last systemd that knows control groups v1
    bullseye | bookworm) ;; # docker.io there includes the client, but not compose v2
    trixie) packages+=,docker-cli,docker-compose ;;
    # systemd-standalone-sysusers satisfies a dependency that would otherwise pull in all of systemd
    *) packages+=,docker-cli,docker-compose,systemd-standalone-sysusers ;;
  esac
  mkdir -p "$BASE/roots"
  exec 8>"$BASE/roots/$suite.lock"
  flock 8
  if [ ! -e "$root/usr/sbin/dockerd" ]; then
    note "building the $suite root (once, about half a minute)"
    (exec 7>"$BASE/tool.lock"; flock 7; fresh_lists; bootstrap_tool) || exit 1
    mirror=$(debian_mirror)
    rm -rf "$root" "$root.new"
    # By the machine's clock, the package lists of a suite that is not released yet may have expired.
    # mmdebstrap has its own mount namespace, so that nothing stays mounted if it is killed.
    unshare -m --propagation private perl "$BASE/tool/usr/bin/mmdebstrap" --mode=root --variant=apt \
      --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Check-Valid-Until "false"' \
      --include="$packages" "$release" "$root.new" "$mirror" >"$log" 2>&1 </dev/null ||
      { tail -n 5 "$log" >&2; fail "building the $suite root failed, see $log"; }
    mv "$root.new" "$root"
  fi
  # the older suites do not have compose v2: trixie's, a single program, works with their Engine too
  if [ "$suite" != machine ] && [ ! -e "$root$COMPOSE" ]; then
    "$SELF" root trixie
    install -D "$BASE/roots/trixie$COMPOSE" "$root$COMPOSE"
  fi
  exec 8>&-
}

# --- namespaces -----------------------------------------------------------------------------------------------------

# Sets PID1 to the host's process id of NAME's first process; fails if NAME is not running.
find_first() { # NAME
  PID1=$(cat "$BASE/e/$1/pid1" 2>/dev/null) || return 1
  [ -n "$PID1" ] && tr '\0' '\n' <"/proc/$PID1/environ" 2>/dev/null | grep -qx "GIPAM_ENGINE=$1"
}

inside() { # NAME COMMAND...
  local name=$1; shift
  find_first "$name" || fail "$name is not running"
  nsenter -t "$PID1" -m -n -p -u -i -r -w -- "$@"
}

# Becomes the first process of the new namespaces.
first_process() { # NAME SUITE
  local name=$1 home=$BASE/e/$1 top=$BASE/e/$1/top init
  mount -t overlay overlay -o "lowerdir=$BASE/roots/$2,upperdir=$home/upper,workdir=$home/scratch" "$top"
  mkdir -p "$top/run" "$top/var/lib/docker" "$top/var/lib/containerd" "$top/host"
  mount -t proc proc "$top/proc"
  mount -t sysfs sysfs "$top/sys"
  mount --rbind /sys/fs/cgroup "$top/sys/fs/cgroup"
  mount --rbind /dev "$top/dev"
  mount --bind "$home/run" "$top/run"
  # overlay file systems do not stack well, so the engine's own layers go on the plain file system underneath
  mount --bind "$home/docker" "$top/var/lib/docker"
  mount --bind "$home/containerd" "$top/var/lib/containerd"
  rm -f "$top/etc/resolv.conf"
  echo "nameserver 127.0.0.1" >"$top/etc/resolv.conf" # so that lookups fail at once instead of hanging
  cd "$top"
  pivot_root . host # not chroot, because runc also calls pivot_root
  cd /
  busybox umount -l /host # the minimal root does not contain the mount commands
  busybox hostname "$name"
  ip link set lo up
  # an uplink with a default route, as every host has
  ip link add up0 type veth peer name up1
  ip addr add 192.0.2.1/24 dev up0
  ip link set up0 up
  ip link set up1 up
  ip route add default via 192.0.2.254
  for init in /usr/bin/tini-static /usr/bin/tini; do [ ! -x "$init" ] || break; done
  exec env -i "GIPAM_ENGINE=$name" PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    "$init" -- sleep infinity
}

start_namespaces() { # NAME SUITE
  local name=$1 home=$BASE/e/$1 outer child i
  mkdir -p "$home"/{upper,scratch,top,run,docker,containerd}
  echo "${GIPAM_OWNER:-$PPID}" >"$home/owner"
  # the path of a UNIX socket has at most 107 bytes; containerd's are the longest below this directory
  [ "${#home}" -le 60 ] || fail "$home is too long for the paths of UNIX sockets: set GIPAM_ENGINES to a shorter directory"
  setsid unshare -m -n -p -u -i --fork --propagation private "$SELF" __first "$name" "$2" \
    </dev/null >"$home/first.log" 2>&1 7>&- 8>&- 9>&- &
  outer=$!
  for ((i = 0; i < 200; i++)); do
    child=$(tr -d " " 2>/dev/null <"/proc/$outer/task/$outer/children") || break
    if [ -n "$child" ]; then
      echo "$child" >"$home/pid1"
      find_first "$name" && return
    fi
    sleep 0.05
  done
  cat "$home/first.log" >&2
  fail "cannot create namespaces for $name (needs root and, in a container, CAP_SYS_ADMIN)"
}

# --- the engine -----------------------------------------------------------------------------------------------------

runs() { inside "$1" busybox pidof "$2" >/dev/null; } # NAME PROGRAM

up() { # NAME [FLAG...]
  local name=$1 home=$BASE/e/$1 gone=0 i; shift
  rm -f "$home/run/docker.sock" "$home/run/docker.pid"
  # shellcheck disable=SC2016 # expanded inside
  inside "$name" setsid sh -c 'exec >>/var/log/dockerd.log 2>&1 </dev/null; dockerd "$@" &' sh \
    --containerd /run/containerd/containerd.sock --cgroup-parent "/gipam-$name" "$@"
  for ((i = 0; i < 1800; i++)); do # an Engine whose plugins are missing may need minutes
    [ -S "$home/run/docker.sock" ] && inside "$name" docker version >/dev/null 2>&1 && return
    # right after the start, the process may still be the shell that becomes dockerd
    if runs "$name" dockerd; then gone=0; else gone=$((gone + 1)); fi
    [ "$gone" -lt 10 ] || { tail -n 5 "$home/upper/var/log/dockerd.log" >&2; fail "dockerd in $name died"; }
    sleep 0.1
  done
  fail "dockerd in $name does not answer"
}

down() { # NAME SIGNAL
  local pid i
  pid=$(inside "$1" busybox pidof dockerd) || return 0
  # dockerd starts itself again for a moment to change a namespace, so pidof may print two processes, and one may have
  # ended before the signal. The loop waits until dockerd itself has ended.
  # shellcheck disable=SC2086
  inside "$1" busybox kill "-$2" $pid 2>/dev/null || true
  for ((i = 0; i < 1200; i++)); do runs "$1" dockerd || return 0; sleep 0.05; done
  fail "dockerd in $1 did not stop"
}

# The image contains only busybox and links to it, so nothing is pulled.
load_image() { # NAME
  inside "$1" docker image inspect bb >/dev/null 2>&1 && return
  # shellcheck disable=SC2016 # expanded inside
  inside "$1" sh -euc 'dir=$(mktemp -d); mkdir "$dir/bin" "$dir/tmp"; cp "$(command -v busybox)" "$dir/bin/busybox"
    for applet in $(busybox --list); do [ "$applet" = busybox ] || ln -s busybox "$dir/bin/$applet"; done
    tar -C "$dir" -c . | docker import - bb >/dev/null; rm -rf "$dir"' || fail "cannot load the image in $1"
}

start() { # NAME SUITE [FLAG...]
  local name=$1 suite=$2 i; shift 2
  build_root "$suite"
  find_first "$name" || start_namespaces "$name" "$suite"
  if ! runs "$name" containerd; then # started separately, so that containers outlive dockerd
    inside "$name" setsid sh -c 'exec >>/var/log/containerd.log 2>&1 </dev/null; containerd &'
    for ((i = 0; i < 200; i++)); do [ ! -S "$BASE/e/$name/run/containerd/containerd.sock" ] || break; sleep 0.05; done
  fi
  runs "$name" dockerd || up "$name" "$@"
  load_image "$name"
}

stop() { # NAME
  local home=$BASE/e/${1:?} i dir
  if find_first "$1"; then
    kill -9 "$PID1" # the kernel kills everything else in the pid namespace
    for ((i = 0; i < 200; i++)); do [ -d "/proc/$PID1" ] || break; sleep 0.05; done
  fi
  for dir in /sys/fs/cgroup/gipam-"$1" /sys/fs/cgroup/*/gipam-"$1"; do
    [ ! -d "$dir" ] || for ((i = 0; i < 40; i++)); do # a group can be deleted once its last process is reaped
      find "$dir" -depth -type d -exec rmdir {} + 2>/dev/null && break
      [ -d "$dir" ] || break
      sleep 0.05
    done
  done
  rm -rf "$home"
}

hold() { # NAME SUITE [FLAG...]
  trap '' INT HUP # Ctrl-C reaches every process at the terminal; this one stops when its input ends
  trap 'stop "$HELD"' EXIT
  HELD=$1
  start "$@"
  find_first "$1"
  echo "ready $PID1"
  cat >/dev/null || true
}

sweep() {
  local home owner
  for home in "$BASE"/e/*/; do
    [ -d "$home" ] || continue
    owner=$(cat "$home/owner" 2>/dev/null || echo 0)
    [ -d "/proc/$owner" ] || { note "stopping $(basename "$home"), left behind by process $owner"; stop "$(basename "$home")"; }
  done
}

# scripts that source this file, such as machine.sh, continue on their own from here
[ "${BASH_SOURCE[0]}" = "$0" ] || return 0

command=${1:-help}
[ $# = 0 ] || shift
[ "$command" = help ] || [ "$(id -u)" = 0 ] || fail "engines need root"
case $command in
  root) for suite in "$@"; do build_root "$suite"; done ;;
  start | hold | up | down | stop | sweep) "$command" "$@" ;;
  exec) inside "$@" ;;
  __first) first_process "$@" ;;
  *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$SELF"; [ "$command" = help ] || exit 2 ;;
esac
