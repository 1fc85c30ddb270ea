//! The wire: the real daemon behind its sockets, called as dockerd calls it and as nobody should.
//!
//! Tests carry the number of the fact (P..) or duty that they show in their names.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

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
