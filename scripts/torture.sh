#!/bin/bash
# torture.sh --short|--long [WORD...] - runs the tests of docs/reliability.md on this machine, and prints a table of them.
#
# --short is the part for `make test`: faults on the real daemon, a fault at every write, and a few tests of every
# other kind. --long is `make torture`: all of them, a million operations of the plan compared with its model, every
# interleaving, repair next to running containers on every Engine, and each fuzz target for a while. A WORD selects
# the rows whose names contain it. Needs root (or sudo) to mount file systems and to make networks; installs missing tools and
# leaves them installed. All load goes to the sockets of daemons that it starts; it leaves nothing behind.
set -euo pipefail
cd "$(dirname "$0")/.."
MODE=${1:-}
case $MODE in --short | --long) shift ;; *) echo "usage: torture.sh --short|--long [WORD...]" >&2; exit 2 ;; esac
CARGO=${CARGO:-cargo}
OPERATIONS=${OPERATIONS:-1000000}
FUZZ_SECONDS=${FUZZ_SECONDS:-30}
ROOT=()
[ "$(id -u)" = 0 ] || ROOT=(sudo)

# strace injects the faults, mkfs.ext4 and perl create and cut off the disks, unshare separates mounts and networks, ip
# connects the networks, and nft loses their packets. The tests find etcd with etcd.sh.
missing=()
for tool in strace:strace mkfs.ext4:e2fsprogs perl:perl unshare:util-linux ip:iproute2 nft:nftables; do
  PATH=$PATH:/usr/sbin:/sbin command -v "${tool%:*}" >/dev/null || missing+=("${tool#*:}")
done
if [ "${#missing[@]}" -gt 0 ]; then
  command -v apt-get >/dev/null || { echo "torture.sh: please install: ${missing[*]}" >&2; exit 1; }
  "${ROOT[@]}" apt-get update -q >/dev/null
  "${ROOT[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null
fi

scripts/protoc.sh
scripts/etcd.sh >/dev/null

PASSED=0
FAILED=0
TABLE=$(mktemp)
trap 'rm -f "$TABLE" "$TABLE.out"' EXIT

# Adds up the lines of the table.
count() {
  PASSED=$((PASSED + $(grep -c '^ok ' "$TABLE" || true)))
  FAILED=$((FAILED + $(grep -c '^FAILED ' "$TABLE" || true)))
}

# row NAME COUNTS COMMAND... - runs a command and prints a line of the table: its result, its time and its counts.
row() {
  local name=$1 counts=$2 began=$SECONDS verdict=ok
  shift 2
  "$@" >"$TABLE.out" 2>&1 || verdict=FAILED
  printf '%-6s %-44s %6d s  %s\n' "$verdict" "$name" $((SECONDS - began)) "$($counts)" | tee "$TABLE"
  [ $verdict = ok ] || tail -n 40 "$TABLE.out" >&2
  count
}
interleavings() { sed -n 's/.*\b\([0-9]\+ interleavings\).*/\1/p' "$TABLE.out" | paste -sd+ | sed 's/+/, /g'; }
histories() { sed -n 's/.*\b\([0-9]\+ seeds with .* bad\)$/\1/p' "$TABLE.out" | paste -sd';' | sed 's/;/; /g'; }
mutants() { sed -n 's/^\(.* \)\?\([A-Z][A-Za-z]*: [0-9]\+ of [0-9]\+ seeds\).*/\2/p; s/^\([A-Z][A-Za-z]*: first noticed by seed [0-9]\+\).*/\1/p' "$TABLE.out" | paste -sd';' | sed 's/;/; /g'; }
judged() { sed -n 's/.*\b\([0-9]\+ leases judged.*\)/\1/p' "$TABLE.out"; }
lived() { sed -n 's/.*; \([0-9]\+ reports, .*\); agreed.*/\1/p' "$TABLE.out" | paste -sd+ | sed 's/+/; /g'; }
operations() { sed -n 's/.*\b\([0-9]\+ operations in [0-9]\+ trials\).*/\1/p' "$TABLE.out"; }
wanted() { # wanted NAME WORD...: whether one of the words, if any, is in the name
  local name=$1 word
  shift
  [ $# -gt 0 ] || return 0
  for word in "$@"; do [[ $name != *"$word"* ]] || return 0; done
  return 1
}

program=$("$CARGO" test --locked --test torture --no-run --message-format=json 2>/dev/null |
  sed -n 's/.*"executable":"\([^"]*torture-[^"]*\)".*/\1/p' | tail -n 1) ||
  { "$CARGO" test --locked --test torture --no-run; exit 1; }
[ -x "$program" ] || { echo "torture.sh: the test program was not built" >&2; exit 1; }

STATUS=0
RUST_BACKTRACE=0 "${ROOT[@]}" "$program" "$MODE" "$@" | grep --line-buffered -v 'passed, .* failed$' | tee "$TABLE" || STATUS=$?
count
[ "$STATUS" = 0 ] || [ "$FAILED" -gt 0 ] || [ $# -gt 0 ] || FAILED=1

# Simulated histories are many: they run optimized, which takes a build of its own.
QUICK=(env GIPAM_LONG=1 CARGO_PROFILE_DEV_OPT_LEVEL=2 CARGO_PROFILE_TEST_OPT_LEVEL=2)

if [ "$MODE" = --long ]; then
  if wanted faithful_in_every_order "$@"; then
    row faithful_in_every_order interleavings env GIPAM_LONG=1 "$CARGO" test --locked --test interleavings -- --nocapture
  fi
  if wanted one_owner_of_a_slice "$@"; then
    row one_owner_of_a_slice histories "${QUICK[@]}" "$CARGO" test --locked --test claims -- --nocapture never_has_two_hosts no_network mostly
  fi
  if wanted every_rule_of_claims_is_needed "$@"; then
    row every_rule_of_claims_is_needed mutants "${QUICK[@]}" "$CARGO" test --locked --test claims -- --nocapture mutants
  fi
  if wanted plan_behaves_as_the_naive_model "$@"; then
    # A trial has 1 to 59 operations.
    row plan_behaves_as_the_naive_model operations env PROPTEST_CASES=$((OPERATIONS / 29)) \
      "$CARGO" test --locked --test plan -- --nocapture
  fi
  if wanted no_death_of_the_living "$@"; then
    row no_death_of_the_living judged env PROPTEST_CASES=$((OPERATIONS / 50)) \
      "$CARGO" test --locked --test choosing flawed -- --nocapture
  fi
  if [ "$(id -u)" = 0 ] && wanted repair_never_frees_the_living "$@"; then
    row repair_never_frees_the_living lived env GIPAM_LONG=1 CI=true "$CARGO" test --locked --test engines -- never_frees
  fi
  if wanted fuzz "$@"; then
    scripts/fuzz.sh "$FUZZ_SECONDS" | tee "$TABLE" || true
    count
    [ -s "$TABLE" ] || FAILED=$((FAILED + 1))
  fi
fi
echo "$PASSED passed, $FAILED failed"
[ "$FAILED" = 0 ] && [ "$PASSED" -gt 0 ]
