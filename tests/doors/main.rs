//! The listeners, tested from outside: real sockets, raw bytes, hostile clients.
//!
//! No test waits for time to pass; every wait is for a condition, with a limit that only a bug reaches.

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
