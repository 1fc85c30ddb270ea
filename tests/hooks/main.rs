//! Hooks, with the real daemon and real programs: events are delivered at least once and in order, whichever
//! process dies; requests do not wait for them.

#![cfg(test)]
#![allow(missing_docs, reason = "a test program has no readers of its API")]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "../support/certificates.rs"]
mod certificates;
#[path = "../support/daemon.rs"]
mod daemon;
#[path = "../support/http.rs"]
mod http;

mod delivery;
mod examples;
mod filling;
mod idle;
mod poison;
mod receiver;
mod routes;
mod secrets;
mod secure;
mod support;
mod webhook;
