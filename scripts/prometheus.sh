#!/bin/bash
# prometheus.sh - Debian's Prometheus for the tests, unpacked next to the engines' root file systems.
#
#   prometheus.sh get                  download and unpack it (once; 19 MB)
#   prometheus.sh run PROGRAM [FLAG...]   run prometheus or promtool
#
# The script does not install a package on the host.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$(readlink -f "$0")")/engine.sh"

HOME_OF_IT=${GIPAM_PROMETHEUS:-${XDG_CACHE_HOME:-$HOME/.cache}/gipam-prometheus}

get_programs() {
  [ ! -x "$HOME_OF_IT/usr/bin/prometheus" ] || return 0
  command -v apt-get >/dev/null || fail "cannot download Prometheus: this machine does not have Debian's apt"
  mkdir -p "$HOME_OF_IT"
  exec 8>"$HOME_OF_IT.lock"
  flock 8
  if [ ! -x "$HOME_OF_IT/usr/bin/prometheus" ]; then
    apt-cache show prometheus >/dev/null 2>&1 || apt-get update -q >&2 || true
    rm -rf "$HOME_OF_IT.new"; mkdir -p "$HOME_OF_IT.new"
    (cd "$HOME_OF_IT.new" && apt-get download -q -o APT::Sandbox::User=root prometheus >&2 && dpkg -x prometheus_*.deb . &&
      rm prometheus_*.deb) || fail "cannot download prometheus"
    rm -rf "$HOME_OF_IT"; mv "$HOME_OF_IT.new" "$HOME_OF_IT"
  fi
  exec 8>&-
}

command=${1:-help}
[ $# = 0 ] || shift
case $command in
  get) get_programs ;;
  run) program=$1; shift; exec "$HOME_OF_IT/usr/bin/$program" "$@" ;;
  *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$(readlink -f "$0")"; [ "$command" = help ] || exit 2 ;;
esac
