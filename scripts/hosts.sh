# shellcheck shell=bash
# hosts.sh - what edge.sh and cluster.sh have in common; they source it after `set -euo pipefail`.
#
# Demonstrations on hosts that are Docker Engines (engine.sh) in namespaces of their own. With run, they serve until Ctrl-C; with
# demo, they exit by themselves. Their processes end with them, even if they are killed. Sets MODE, SUITE, BASE, GIPAM, STATE and OURS.
cd "$(dirname "$(readlink -f "$0")")/.."
MODE=${1:-run}
case $MODE in run | demo) ;; *) echo "usage: ${0##*/} run|demo" >&2; exit 2 ;; esac

# shellcheck disable=SC2034 # for those who source this
SUITE=forky # Engine 28.5 or later
BASE=${GIPAM_ENGINES:-${XDG_CACHE_HOME:-$HOME/.cache}/gipam-engines}
GIPAM=${GIPAM_BINARY:-}
unset GIPAM_BINARY # gipam warns about GIPAM_ variables that it does not know
STATE='' OURS=()

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
fail() { echo "${0##*/}: $*" >&2; exit 1; }

build() {
  local tool
  [ "$(id -u)" = 0 ] || command -v sudo >/dev/null || fail "only root can create namespaces: run this as root"
  for tool in ip nsenter unshare setpriv; do
    command -v $tool >/dev/null || fail "$tool is needed: apt-get install iproute2 util-linux"
  done
  if [ -z "$GIPAM" ]; then
    say "building target/package/gipam, the same program that make build and the packages use"
    [ -e target/package/gipam ] || echo "The first build takes some minutes of processor time."
    scripts/package.sh program
    GIPAM=${GIPAM_OUT:-$PWD/target/package}/gipam
  fi
  [ "$(id -u)" = 0 ] || exec sudo "GIPAM_BINARY=$GIPAM" "$0" "$MODE"
}

# Makes a directory for files, and lets clean_up remove everything at the end.
begin() { # NAME
  trap clean_up EXIT
  trap 'exit 130' INT TERM
  STATE=$(mktemp -d "${TMPDIR:-/tmp}/gipam-$1.XXXXXX")
}

# Starts a process that ends with this script, even if the script is killed.
ours() { # COMMAND...
  setpriv --pdeathsig KILL -- "$@" </dev/null &
  OURS+=($!)
}

# Starts a process that only holds a new network namespace; it is $! then.
namespace() {
  ours unshare -n sleep infinity
  local i
  for ((i = 0; i < 200; i++)); do
    [ "$(readlink "/proc/$!/ns/net")" = "$(readlink /proc/self/ns/net)" ] || return 0
    sleep 0.05
  done
  fail "cannot create a network namespace"
}

# The root directory of a host.
root_of() { echo "/proc/$(cat "$BASE/e/$1/pid1")/root"; } # ENGINE

# Starts gipam on a host, with the configuration from standard input.
run_gipam() { # ENGINE
  local root i
  root=$(root_of "$1")
  install -m 755 "$GIPAM" "$root/usr/local/bin/gipam"
  mkdir -p "$root/etc/gipam" "$root/var/lib/gipam"
  cat >"$root/etc/gipam/gipam.toml"
  scripts/engine.sh exec "$1" setsid sh -c 'exec >>/var/log/gipam.log 2>&1 </dev/null; gipam &'
  for ((i = 0; i < 100; i++)); do
    ! scripts/engine.sh exec "$1" gipam status >/dev/null 2>&1 || return 0
    sleep 0.1
  done
  log_of "$1"
  return 1
}

# The last lines of a gipam's log.
log_of() { scripts/engine.sh exec "$1" tail -n 15 /var/log/gipam.log; } # ENGINE

# The exit code for this one. Ctrl-C is how run ends.
outcome() { # CODE
  [ "$MODE$1" != run130 ] || { echo >&2; echo 0; return; }
  echo "$1"
}

# Ends all processes, and removes the directory.
end_all() {
  [ "${#OURS[@]}" = 0 ] || kill -KILL "${OURS[@]}" 2>/dev/null
  wait 2>/dev/null
  rm -rf "$STATE"
}

# Serves until Ctrl-C if the script is to run, and shows what can be pasted into another shell (`lines`); otherwise it checks without a
# terminal that these commands work.
finish() { # WORDS
  local line
  if [ "$MODE" = run ]; then
    say "$1"
    lines
    sleep infinity &
    OURS+=($!)
    wait $!
  fi
  while read -r line; do sh -c "$line" </dev/null >/dev/null || fail "this line does not work: $line"; done < <(lines)
  echo "every step succeeded"
}
