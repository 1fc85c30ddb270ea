//! The listeners, tested from outside: real sockets, raw bytes, hostile clients.
//!
//! The tests wait for conditions, with time limits that only a bug reaches; only the test for spinning takes
//! a fixed time.

#![allow(clippy::unwrap_used, reason = "a test that cannot continue must stop")]

mod client;
mod files;
mod inherited;
mod shutdown;
mod slow;
mod starved;
mod support;
mod tls;
mod undo;
mod wire;
