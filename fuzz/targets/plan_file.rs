//! Fuzz target: see `plan_file` in tests/support/fuzzed.rs.
#![no_main]

#[path = "../../tests/support/fuzzed.rs"]
mod fuzzed;
#[path = "../../tests/support/invariants.rs"]
mod invariants;
#[path = "../../tests/support/model/mod.rs"]
mod model;
#[path = "../../tests/support/rows.rs"]
mod rows;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzzed::plan_file(bytes));
