#!/bin/bash
# suite.sh [STEP...] - what `make test` runs: all steps, or only those named, and then a table of the time that each took.
#
# A failed step does not stop the later ones, unless it is the build. The last lines of failed steps are printed again at
# the end. The output of every step and the logs of failed scenarios are in target/tmp/suite. The tests often only wait;
# meanwhile the script builds the packaged program and the root file systems for later steps.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."

# Builds and downloads while the tests run. A failure here shows up again in the step that needs the result.
behind() {
  scripts/package.sh guarded
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 0
  scripts/engine.sh root bookworm trixie forky machine bullseye
  scripts/browser.sh root
}

STEPS=(build check bench-check faults demo demo-cluster demo-edge page units packages engines)
[ $# = 0 ] || STEPS=("$@")
[ "${STEPS[0]}" != __behind ] || { behind; exit; }
LOGS=${CARGO_TARGET_DIR:-$PWD/target}/tmp/suite
MAKE=${MAKE:-make}
rm -rf "$LOGS"; mkdir -p "$LOGS"
BEGAN=$SECONDS
TABLE=()
FAILED=()
BEHIND=

# Runs one step, keeps its output, and records its elapsed time and the processor time of its processes.
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
    printf '\n=== FAILED: %s, last lines (full log: %s)\n' "$name" "$LOGS/$name.log"
    tail -n 25 "$LOGS/$name.log"
  done
  printf '\n=== time per step\n'
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
