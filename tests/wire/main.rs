//! The wire: the real daemon behind its sockets, called as dockerd calls it and as nobody should.
//!
//! Tests carry the number of the fact (P..) or duty that they show in their names.

#[path = "../support/daemon.rs"]
mod daemon;
#[path = "../support/http.rs"]
mod http;
mod replay;
