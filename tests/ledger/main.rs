//! THE WRITER under real conditions: many callers, callers who leave, disks that are busy, full or broken.
//!
//! Nothing waits for time to pass where a condition will do: the thread is held at a gate while its queue fills, and the
//! clock is a number that the test moves.

#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs, reason = "a test")]

mod asking;
mod clock;
mod disk;
mod leaving;
#[path = "../support/ledger.rs"]
mod ledger;
mod quiet;
mod support;
