//! The wire: the real daemon behind its sockets, called as dockerd calls it, and in ways that no client
//! should use.
//!
//! The names of tests contain the number of the fact (P..) or duty that they check. Not covered here, because
//! it cannot be seen at the sockets of one host: P2, P4, P5, P22, P23 and P26 (what the Engine does by
//! itself), P25 and duty 17 (packaging), duty 8 (repair), duties 12 and 14.

#![allow(clippy::unwrap_used, reason = "a test that cannot continue must fail")]

mod browsers;
#[path = "../support/daemon.rs"]
mod daemon;
mod doors;
mod e29;
mod facts;
mod hostile;
#[path = "../support/http.rs"]
mod http;
mod life;
mod replay;
