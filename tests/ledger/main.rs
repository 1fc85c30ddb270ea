//! THE WRITER under real conditions: many callers, callers that leave, disks that are busy, full or broken.
//!
//! Tests wait for conditions and not for time to pass: the thread is blocked at a gate while its queue fills,
//! and the clock is a number that the test changes.

#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs, reason = "a test")]

mod asking;
mod claims;
mod clock;
mod disk;
mod leaving;
#[path = "../support/ledger.rs"]
mod ledger;
mod quiet;
mod support;
