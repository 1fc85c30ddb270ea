//! The page's listener from outside, with the real daemon: access, health, metrics, JSON, events.
//!
//! Does not open a browser; that is `tests/page`.

#![cfg(test)]

mod api;
mod colours;
mod door;
mod events;
mod metrics;
mod readers;
mod rules;
mod stall;
mod state;
mod strangers;
mod support;
mod unusable;

#[path = "../support/daemon.rs"]
mod daemon;
#[path = "../page/engine.rs"]
#[allow(dead_code, reason = "shared with the tests of the page")]
mod engine;
#[path = "../support/http.rs"]
mod http;
#[path = "../support/timeshift.rs"]
#[allow(dead_code, reason = "shared with the tests of the clock")]
mod timeshift;
