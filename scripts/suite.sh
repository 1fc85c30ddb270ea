#!/bin/bash
# suite.sh [STEP...] - what `make test` is: all steps, or those that are named, and at the end what each took.
#
# The steps after one that fails are still tried, unless nothing could be built. The last lines of those that failed are printed
# again at the end. What every step said, and the logs of scenarios that failed, are in target/tmp/suite. While the tests run, the
# program of the packages is built and what the Engines' scenarios need is fetched: many tests only wait.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."

# What is built and fetched while the tests run. A failure here comes again, and is seen, where the result is needed.
behind() {
  scripts/package.sh guarded
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 0
  scripts/engine.sh root bookworm trixie forky machine bullseye
  scripts/browser.sh root
}

STEPS=(build check bench-check faults demo page units packages engines)
[ $# = 0 ] || STEPS=("$@")
[ "${STEPS[0]}" != __behind ] || { behind; exit; }
LOGS=${CARGO_TARGET_DIR:-$PWD/target}/tmp/suite
MAKE=${MAKE:-make}
rm -rf "$LOGS"; mkdir -p "$LOGS"
BEGAN=$SECONDS
TABLE=()
FAILED=()
BEHIND=

# One step, its output kept, its time and that of its processes noted.
step() { # NAME COMMAND...
  local name=$1 verdict=ok real user sys
  shift
  echo "=== $name"
  TIMEFORMAT='%R %U %S'
  { time { "$@" 2>&1 | tee "$LOGS/$name.log" >&4; } 2>&5; } 4>&1 5>&2 2>"$LOGS/.time" || verdict=FAILED
  read -r real user sys <"$LOGS/.time"
  TABLE+=("$(printf '%-6s %-12s %8.0f s  %8.0f s of processor time' "$verdict" "$name" "$real" "$(echo "$user $sys" | awk '{ print $1 + $2 }')")")
  [ "$verdict" = ok ] || FAILED+=("$name")
}

finish() {
  local code=$? name
  [ -z "$BEHIND" ] || kill -- "-$BEHIND" 2>/dev/null || true
  for name in "${FAILED[@]}"; do
    printf '\n=== FAILED: %s, its last lines (all of it: %s)\n' "$name" "$LOGS/$name.log"
    tail -n 25 "$LOGS/$name.log"
  done
  printf '\n=== what it took\n'
  printf '%s\n' "${TABLE[@]}"
  printf 'all    %-12s %8d s\n' "" $((SECONDS - BEGAN))
  [ "${#FAILED[@]}" = 0 ] || { echo "failed: ${FAILED[*]}"; exit 1; }
  exit "$code"
}
trap finish EXIT

for name in "${STEPS[@]}"; do
  case $name in
    build)
      step build scripts/check.sh build
      [ "${#FAILED[@]}" = 0 ] || exit 1
      setsid nice -n 19 scripts/suite.sh __behind >"$LOGS/behind.log" 2>&1 </dev/null &
      BEHIND=$!
      ;;
    check) step check scripts/check.sh run ;;
    *) step "$name" "$MAKE" --no-print-directory "$name" ;;
  esac
done
