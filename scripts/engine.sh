#!/bin/bash
# engine.sh - whole Docker Engines of several versions side by side, made from Debian suites.
#
#   engine.sh root SUITE...            build (once) the root file systems: bullseye, bookworm = Engine 20.10, trixie = 26.1,
#                                      forky = 28.5 or what it has by now; machine = bookworm with systemd, for machine.sh
#   engine.sh start NAME SUITE [FLAG...]   start containerd and dockerd, load the image "bb", return when the API answers
#   engine.sh hold NAME SUITE [FLAG...]    the same, print "ready PID", and stop NAME again when standard input ends:
#                                      the holder of the other end of the pipe cannot leave an engine behind
#   engine.sh exec NAME COMMAND...     run a command inside, for example: engine.sh exec NAME docker ps
#   engine.sh up NAME [FLAG...]        start dockerd (again); down NAME SIGNAL: end dockerd alone, containers run on
#   engine.sh stop NAME                end everything in NAME and delete its data
#   engine.sh sweep                    stop the engines whose starter is gone
#
# An engine lives in mount, net, pid, uts and ipc namespaces of its own: no bridge, route, firewall rule, mount or
# process of it is the host's. Two things are shared, on purpose: its /run is a plain directory, so that sockets are
# reachable from outside by path ($BASE/e/NAME/run), and its control groups are the host's, all below /gipam-NAME, deleted
# by "stop". Roots stay in the cache; nothing else stays. Needs root, and apt for building roots.
set -euo pipefail

BASE=${GIPAM_ENGINES:-${XDG_CACHE_HOME:-$HOME/.cache}/gipam-engines}
SELF=$(readlink -f "$0")
COMPOSE=/usr/libexec/docker/cli-plugins/docker-compose

fail() { echo "engine.sh: $*" >&2; exit 1; }
note() { echo "engine.sh: $*" >&2; }

# --- roots ----------------------------------------------------------------------------------------------------------

# The mirror this machine already uses for Debian itself; another system's user names one.
debian_mirror() {
  [ -z "${GIPAM_DEBIAN_MIRROR:-}" ] || { echo "$GIPAM_DEBIAN_MIRROR"; return; }
  local found
  # shellcheck disable=SC2016 # the dollars are apt's
  found=$(apt-get indextargets --format '$(REPO_URI) $(LABEL)' 'Identifier: Packages' 2>/dev/null |
    awk '$2 == "Debian" && !seen[$1]++ { sub("/$", "", $1); print $1; exit }')
  [ -n "$found" ] || fail "no Debian mirror among apt's sources: set GIPAM_DEBIAN_MIRROR to one"
  echo "$found"
}

fresh_lists() { apt-cache show mmdebstrap >/dev/null 2>&1 || apt-get update -q >&2 || true; }

# mmdebstrap is one perl program: unpacked next to the roots, the host's list of packages stays as it is.
bootstrap_tool() {
  local dir=$BASE/tool
  [ -f "$dir/usr/bin/mmdebstrap" ] && return
  command -v apt-get >/dev/null || fail "roots are built with Debian's apt, which this machine lacks"
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
    bullseye | bookworm) ;; # its docker.io holds the client, but not compose v2
    trixie) packages+=,docker-cli,docker-compose ;;
    # systemd-standalone-sysusers satisfies a dependency that would else bring all of systemd
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
    # A suite that is not released yet may be older than its own expiry date by the time a machine's clock shows.
    # In a mount namespace of its own, so that nothing stays mounted should it be killed.
    unshare -m --propagation private perl "$BASE/tool/usr/bin/mmdebstrap" --mode=root --variant=apt \
      --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Check-Valid-Until "false"' \
      --include="$packages" "$release" "$root.new" "$mirror" >"$log" 2>&1 </dev/null ||
      { tail -n 5 "$log" >&2; fail "building the $suite root failed, see $log"; }
    mv "$root.new" "$root"
  fi
  # they have no compose v2: the next suite's, one program, serves its Engine as well
  if [ "$suite" != machine ] && [ ! -e "$root$COMPOSE" ]; then
    "$SELF" root trixie
    install -D "$BASE/roots/trixie$COMPOSE" "$root$COMPOSE"
  fi
  exec 8>&-
}

# --- namespaces -----------------------------------------------------------------------------------------------------

# The host's process id of NAME's first process, in PID1; false when NAME does not run.
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
  # overlay file systems do not stack well: the engine's own layers lie on the plain file system below
  mount --bind "$home/docker" "$top/var/lib/docker"
  mount --bind "$home/containerd" "$top/var/lib/containerd"
  rm -f "$top/etc/resolv.conf"
  echo "nameserver 127.0.0.1" >"$top/etc/resolv.conf" # a look-up fails at once instead of hanging
  cd "$top"
  pivot_root . host # not chroot: runc wants to pivot, too
  cd /
  busybox umount -l /host # the small root has no mount commands
  busybox hostname "$name"
  ip link set lo up
  # an uplink with a default route, as every host has one
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
  # the longest path of a UNIX socket is 107 bytes; containerd's are the longest that come from here
  [ "${#home}" -le 60 ] || fail "$home is too long for UNIX sockets: set GIPAM_ENGINES to a short path"
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
  fail "cannot make namespaces for $name (root is needed, in a container also CAP_SYS_ADMIN)"
}

# --- the engine -----------------------------------------------------------------------------------------------------

runs() { inside "$1" busybox pidof "$2" >/dev/null; } # NAME PROGRAM

up() { # NAME [FLAG...]
  local name=$1 home=$BASE/e/$1 gone=0 i; shift
  rm -f "$home/run/docker.sock" "$home/run/docker.pid"
  # shellcheck disable=SC2016 # expanded inside
  inside "$name" setsid sh -c 'exec >>/var/log/dockerd.log 2>&1 </dev/null; dockerd "$@" &' sh \
    --containerd /run/containerd/containerd.sock --cgroup-parent "/gipam-$name" "$@"
  for ((i = 0; i < 1800; i++)); do # with plugins away an Engine may need minutes
    [ -S "$home/run/docker.sock" ] && inside "$name" docker version >/dev/null 2>&1 && return
    # right after its start it may still be the shell that becomes dockerd
    if runs "$name" dockerd; then gone=0; else gone=$((gone + 1)); fi
    [ "$gone" -lt 10 ] || { tail -n 5 "$home/upper/var/log/dockerd.log" >&2; fail "dockerd of $name died"; }
    sleep 0.1
  done
  fail "dockerd of $name does not answer"
}

down() { # NAME SIGNAL
  local pid i
  pid=$(inside "$1" busybox pidof dockerd) || return 0
  # shellcheck disable=SC2086 # pidof may name two
  inside "$1" busybox kill "-$2" $pid
  for ((i = 0; i < 1200; i++)); do runs "$1" dockerd || return 0; sleep 0.05; done
  fail "dockerd of $1 does not end"
}

# Nothing is pulled: the image is busybox and links to it.
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
  if ! runs "$name" containerd; then # started apart, so that containers outlive dockerd
    inside "$name" setsid sh -c 'exec >>/var/log/containerd.log 2>&1 </dev/null; containerd &'
    for ((i = 0; i < 200; i++)); do [ ! -S "$BASE/e/$name/run/containerd/containerd.sock" ] || break; sleep 0.05; done
  fi
  runs "$name" dockerd || up "$name" "$@"
  load_image "$name"
}

stop() { # NAME
  local home=$BASE/e/${1:?} i dir
  if find_first "$1"; then
    kill -9 "$PID1" # the kernel ends everything else in the pid namespace
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
  trap '' INT HUP # Ctrl-C goes to everybody at the terminal; the end of the input is what counts here
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

# machine.sh goes on from here
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
