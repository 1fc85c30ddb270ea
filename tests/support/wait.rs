//! Waits for conditions: a test fails if a condition is not met in time, and names it.
//!
//! Does not end the work that the test waits for.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::time::{Duration, Instant};

/// Waits for a condition.
pub fn until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    until_every(Duration::from_millis(20), what, limit, &mut holds);
}

/// Waits for a condition that is expensive to check.
pub fn until_every(pause: Duration, what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < limit, "timed out after {} s waiting until {what}", limit.as_secs());
        std::thread::sleep(pause);
    }
}
