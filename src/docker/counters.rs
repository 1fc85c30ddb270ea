//! Counters of the listeners since the start.
//!
//! Promises: counting takes nanoseconds; a limited number of recent refusals is kept, each truncated. Does
//! not know the format of metrics.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

use crate::plan::error::ErrorKind;
use crate::plan::settings::Millis;

/// The methods by their paths; the last entry counts all unknown paths.
pub const METHODS: [&str; 8] = [
    "Plugin.Activate",
    "IpamDriver.GetCapabilities",
    "IpamDriver.GetDefaultAddressSpaces",
    "IpamDriver.RequestPool",
    "IpamDriver.ReleasePool",
    "IpamDriver.RequestAddress",
    "IpamDriver.ReleaseAddress",
    "unknown",
];

/// How a call can end: successfully, or with a refusal of one of these kinds.
pub const OUTCOMES: [&str; 7] = ["ok", "invalid", "missing", "taken", "exhausted", "unavailable", "failed"];

/// Buckets in seconds, from an answer from memory to one that waited for a disk.
const SECONDS: [f64; 15] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// How many refusals are remembered, and how many characters of each.
const RECENT: usize = 32;
const LETTERS: usize = 500;

/// A call that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// When, milliseconds since the UNIX epoch.
    pub at: Millis,
    /// The name of the driver that was called.
    pub driver: String,
    /// The method, or the path that was called instead; empty if the request was never complete.
    pub method: String,
    /// The text of the answer.
    pub text: String,
}

/// The calls of one method.
#[derive(Debug)]
pub struct Calls {
    /// By outcome, in the order of [`OUTCOMES`].
    pub outcomes: [Counter; OUTCOMES.len()],
    /// Seconds from the complete request to its answer.
    pub seconds: Histogram,
}

impl Default for Calls {
    fn default() -> Self {
        Self { outcomes: Default::default(), seconds: Histogram::new(SECONDS) }
    }
}

/// The counters of all listeners since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Calls received.
    pub requests: AtomicU64,
    /// How many of them were refused.
    pub refused: AtomicU64,
    /// How many of them had an empty body (P8).
    pub empty: AtomicU64,
    /// Grants undone because the answer could not be delivered.
    pub undone: AtomicU64,
    /// Requests that never became a call: malformed, too large or too slow.
    pub malformed: AtomicU64,
    /// By method, in the order of [`METHODS`].
    pub calls: [Calls; METHODS.len()],
    pub(super) last_error: Mutex<Option<(Millis, String)>>,
    recent: Mutex<VecDeque<Refused>>,
}

impl Counters {
    /// The last failure that was not the caller's fault, and when it was.
    pub fn last_error(&self) -> Option<(Millis, String)> {
        self.last_error.lock().ok().and_then(|last| last.clone())
    }

    /// The most recent refusals, latest first.
    pub fn recent(&self) -> Vec<Refused> {
        self.recent.lock().map(|recent| recent.iter().rev().cloned().collect()).unwrap_or_default()
    }

    /// Remembers a refusal, and drops the oldest one if there are too many.
    pub(super) fn remember(&self, at: Millis, driver: &str, method: &str, text: &str) {
        let cut = |text: &str| text.chars().take(LETTERS).collect();
        let refused = Refused { at, driver: driver.to_owned(), method: cut(method), text: cut(text) };
        let Ok(mut recent) = self.recent.lock() else { return };
        if recent.len() >= RECENT {
            recent.pop_front();
        }
        recent.push_back(refused);
    }

    /// Calls so far by method and outcome, in the order of [`METHODS`] and [`OUTCOMES`]; zero counts are left
    /// out.
    pub fn called(&self) -> Vec<(&'static str, Vec<(&'static str, u64)>)> {
        let outcomes = |calls: &Calls| {
            let counts = OUTCOMES.iter().zip(&calls.outcomes).map(|(name, count)| (*name, count.get()));
            counts.filter(|(_, count)| *count > 0).collect::<Vec<_>>()
        };
        let all = METHODS.iter().zip(&self.calls).map(|(method, calls)| (*method, outcomes(calls)));
        all.filter(|(_, outcomes)| !outcomes.is_empty()).collect()
    }

    fn of(&self, method: &str) -> &Calls {
        let known = METHODS.iter().position(|name| *name == method).unwrap_or(METHODS.len() - 1);
        &self.calls[known]
    }

    /// Counts a call that succeeded, or was refused with the kind `refused`.
    pub(super) fn ended(&self, method: &str, refused: Option<ErrorKind>) {
        let name = refused.map_or("ok", ErrorKind::name);
        let outcome = OUTCOMES.iter().position(|outcome| *outcome == name).unwrap_or(OUTCOMES.len() - 1);
        self.of(method).outcomes[outcome].inc();
    }

    /// Records how long a call took.
    pub(super) fn took(&self, method: &str, time: Duration) {
        self.of(method).seconds.observe(time.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_refusals_are_remembered_latest_first_and_bounded() {
        let counters = Counters::default();
        for at in 0..40 {
            counters.remember(at, "gipam", "IpamDriver.RequestPool", &"x".repeat(10_000));
        }
        let recent = counters.recent();
        assert_eq!((recent.len(), recent[0].at, recent[31].at), (RECENT, 39, 8));
        assert!(recent.iter().all(|refused| refused.text.len() == LETTERS));
    }

    #[test]
    fn zero_counts_are_left_out() {
        let counters = Counters::default();
        counters.ended("IpamDriver.RequestPool", None);
        counters.ended("IpamDriver.RequestPool", Some(ErrorKind::Taken));
        counters.ended("what", Some(ErrorKind::Invalid));
        let expected = vec![
            ("IpamDriver.RequestPool", vec![("ok", 1), ("taken", 1)]),
            ("unknown", vec![("invalid", 1)]),
        ];
        assert_eq!(counters.called(), expected);
    }
}
