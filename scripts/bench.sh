#!/bin/bash
# bench.sh run|check|load [WORD...] - what gipam costs: measured (docs/benchmarks.md), guarded, or any plugin under load.
#
# Builds what measures or counts as packages are built, and with it the program that they carry. `check` counts
# instructions and installs valgrind where it is missing, which then stays installed. Load goes to daemons of its own and to the
# sockets that were named.
set -euo pipefail
cd "$(dirname "$0")/.."
MODE=${1:-}
case $MODE in run | check | load) ;; *) echo "usage: bench.sh run|check|load [WORD...]" >&2; exit 2 ;; esac

if [ "$MODE" = check ] && ! command -v valgrind >/dev/null; then
  ROOT=()
  [ "$(id -u)" = 0 ] || ROOT=(sudo)
  command -v apt-get >/dev/null || { echo "bench.sh: please install valgrind" >&2; exit 1; }
  "${ROOT[@]}" apt-get update -q >/dev/null
  "${ROOT[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends valgrind >/dev/null
fi

case $MODE in check) program=$(scripts/package.sh guarded) ;; *) program=$(scripts/package.sh measured) ;; esac
exec "$program" "$@"
