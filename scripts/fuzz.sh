#!/bin/bash
# fuzz.sh SECONDS [TARGET...] - runs each fuzz target for this many seconds, starting from the seeds in the repository.
#
# Builds on the stable toolchain with the instrumentation that libFuzzer needs, into target/fuzz. Prints a line for each target:
# its name, how many inputs it tried, what they reached. Failing inputs are kept in target/fuzz/finds, and the exit code is
# then 1; copy them to fuzz/corpus/TARGET, where tests/corpus.rs tries them from then on.
set -euo pipefail
cd "$(dirname "$0")/.."
SECONDS_EACH=${1:?usage: fuzz.sh SECONDS [TARGET...]}
shift
TARGETS=("$@")
[ "${#TARGETS[@]}" -gt 0 ] || TARGETS=(wire configuration lease_file rows plan_file store_records)
CARGO=${CARGO:-cargo}
WORK=$PWD/target/fuzz
scripts/protoc.sh
HOST=$(rustc -vV | sed -n 's/^host: //p')

# Build scripts and macros run on the host and are not instrumented: only --target builds are.
RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing" \
  "$CARGO" build --locked --quiet --manifest-path fuzz/Cargo.toml --target "$HOST" --target-dir "$WORK"

GIPAM_SEEDS=$WORK/seeds "$CARGO" test --locked --quiet --test corpus >"$WORK/seeds.log" 2>&1 ||
  { cat "$WORK/seeds.log" >&2; exit 1; }

FAILED=0
mkdir -p "$WORK/finds"
for target in "${TARGETS[@]}"; do
  mkdir -p "$WORK/corpus/$target"
  log=$WORK/$target.log
  if "$WORK/$HOST/debug/$target" -max_total_time="$SECONDS_EACH" -max_len=4096 -rss_limit_mb=2048 -timeout=10 \
    -dict=fuzz/words.dict -print_final_stats=1 -artifact_prefix="$WORK/finds/$target-" \
    "$WORK/corpus/$target" "$WORK/seeds/$target" "fuzz/corpus/$target" >"$log" 2>&1; then
    verdict=ok
  else
    verdict=FAILED FAILED=1
    grep -aE 'panicked|ERROR|BINGO|Test unit written' -A 1 "$log" | head -n 10 >&2 || true
  fi
  tried=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  reached=$(grep -aoE 'cov: [0-9]+' "$log" | tail -n 1 | grep -oE '[0-9]+' || true)
  printf '%-6s %-44s %6d s  %s inputs tried, %s places reached\n' \
    "$verdict" "fuzz_$target" "$SECONDS_EACH" "${tried:-0}" "${reached:-0}"
  [ "${tried:-0}" -gt 0 ] || FAILED=1
done
exit "$FAILED"
