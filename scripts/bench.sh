#!/bin/bash
# bench.sh run|check|load [WORD...] - measures gipam (docs/benchmarks.md), checks what calls cost, or puts any plugin
# under load.
#
# Builds the benchmark or the guard in the same way as the packages, together with the packaged program. `check` counts
# instructions; if valgrind is missing, it installs it and leaves it installed. Load goes only to daemons that the benchmark
# starts and to the named sockets.
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
