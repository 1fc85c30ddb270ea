//! The wall clock of a real daemon, stepped while it runs and while it is stopped, in both directions.
//!
//! Promises: a request that waits for a recently released subnet is answered within seconds, and not before
//! the subnet is 5 s old by a clock that never steps (the test's own). No test waits for more than a few
//! seconds.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

#[path = "../support/daemon.rs"]
mod daemon;
#[path = "../support/http.rs"]
mod http;
mod restarts;
mod steps;
mod support;
#[path = "../support/timeshift.rs"]
mod timeshift;
