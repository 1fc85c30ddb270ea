//! What repair counts.
//!
//! Promises: read at any moment without waiting for a look. Knows no format of metrics.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use prometheus_client::metrics::counter::Counter;

use super::Finding;
use crate::plan::settings::Millis;

/// What a finding can be about.
pub const FOUND: [&str; 3] = ["lease", "subnet", "network"];

/// Counted since the start.
#[derive(Debug, Default)]
pub struct Meters {
    /// Whether repair is on.
    pub on: bool,
    /// Looks that succeeded, and looks that did not.
    pub looks: [Counter; 2],
    /// Leases and subnets that were freed.
    pub freed: Counter,
    /// What was learned from the Engine at once: adopted or identified leases, and the like.
    pub learned: Counter,
    found: [AtomicU64; FOUND.len()],
    answers: AtomicBool,
    looked_at: AtomicU64,
}

impl Meters {
    /// Of a repair that is on or off.
    pub(super) fn new(on: bool) -> Self {
        Self { on, ..Self::default() }
    }

    /// Findings of the last look, in the order of [`FOUND`].
    pub fn found(&self) -> [u64; FOUND.len()] {
        self.found.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// Whether the Engine answered the last look; nothing before the first, and where repair is off.
    pub fn engine_answers(&self) -> Option<bool> {
        let looked = self.looks.iter().any(|looks| looks.get() > 0);
        (self.on && looked).then(|| self.answers.load(Ordering::Relaxed))
    }

    /// When the last look that succeeded was over, milliseconds since the UNIX epoch.
    pub fn looked_at(&self) -> Option<Millis> {
        Some(self.looked_at.load(Ordering::Relaxed)).filter(|at| *at != 0)
    }

    /// A look is over.
    pub(super) fn looked(&self, outcome: Result<&[Finding], &String>, now: Millis) {
        self.answers.store(outcome.is_ok(), Ordering::Relaxed);
        self.looks[usize::from(outcome.is_err())].inc();
        let Ok(findings) = outcome else { return };
        self.looked_at.store(now, Ordering::Relaxed);
        for (what, count) in FOUND.iter().zip(&self.found) {
            let found = findings.iter().filter(|finding| finding.what == *what && finding.action != "freed");
            count.store(found.count() as u64, Ordering::Relaxed);
        }
    }
}
