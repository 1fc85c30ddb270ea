#!/bin/bash
# check.sh [build|run] - format, lints, and the tests that do not need a Docker Engine; without an argument, it does both.
#
#   check.sh build   checks format and lints (a warning is an error), and compiles the test programs; as root, it installs nft
#                    if that is missing, and leaves it installed
#   check.sh run     runs the test programs, two at a time, because many only wait; prints a line for each and the output of failures
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
CARGO=${CARGO:-cargo}
# Scenarios are compiled here, but other steps run them.
SCENARIOS=(--test engines --test units --test torture --test page --test packages)

# The tests of what gipam keeps in the kernel compare it with what nft shows. Without nft they say that they did not run.
install_nft() {
  PATH=$PATH:/usr/sbin:/sbin command -v nft >/dev/null && return
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 0
  apt-get update -q >/dev/null
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends nftables >/dev/null
}

build() {
  scripts/protoc.sh
  install_nft
  "$CARGO" fmt --check
  "$CARGO" clippy --locked --quiet --all-targets -- -D warnings
  "$CARGO" clippy --locked --quiet "${SCENARIOS[@]}" -- -D warnings
  "$CARGO" test --locked --quiet --no-run
  "$CARGO" test --locked --quiet --no-run "${SCENARIOS[@]}"
}

# Prints the paths of the programs that cargo test would run.
programs() {
  "$CARGO" test --locked --quiet --no-run --message-format=json |
    sed -n '/"profile":{[^}]*"test":true}/s/.*"executable":"\([^"]*\)".*/\1/p'
}

# Runs one program, and prints its output only if it failed.
one() { # PROGRAM LOGS
  local name log code=0 began=$EPOCHREALTIME took
  name=$(basename "$1")
  log=$2/$name.log
  name=${name%-*}
  "$1" --quiet >"$log" 2>&1 || code=$?
  took=$(((${EPOCHREALTIME/./} - ${began/./}) / 100000))
  if [ "$code" = 0 ]; then
    printf 'ok     %-16s %4d.%d s  %s\n' "$name" $((took / 10)) $((took % 10)) "$(grep -a -o '[0-9]* passed' "$log" | tail -n 1)"
  else
    printf 'FAILED %-16s %4d.%d s  exit code %s, %s\n' "$name" $((took / 10)) $((took % 10)) "$code" "$log"
    tail -n 60 "$log"
    return 1
  fi
}

run() {
  local logs
  logs=${CARGO_TARGET_DIR:-$PWD/target}/tmp/suite/check
  rm -rf "$logs"; mkdir -p "$logs"
  programs >"$logs/programs"
  [ "$(wc -l <"$logs/programs")" -gt 20 ] || { echo "check.sh: cargo lists too few programs: $logs/programs"; return 1; }
  xargs -P 2 -I {} scripts/check.sh __one {} "$logs" <"$logs/programs" || { echo "check.sh: tests failed; logs: $logs"; return 1; }
  if command -v shellcheck >/dev/null; then
    shellcheck -x scripts/*.sh packaging/install.sh packaging/debian/p* .ci/run examples/hooks/*.sh
  else
    echo "shellcheck: not installed, skipped"
  fi
}

case ${1:-all} in
  build) build ;;
  run) run ;;
  all) build; run ;;
  __one) one "$2" "$3" ;;
  *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 2 ;;
esac
