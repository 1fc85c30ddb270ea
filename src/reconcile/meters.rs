//! What repair counts.
//!
//! Promises: read at any moment without waiting for a look. Knows no format of metrics.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use prometheus_client::metrics::counter::Counter;

use super::Finding;
use crate::plan::settings::Millis;

/// What a finding can be about.
pub const FOUND: [&str; 5] = ["duplicate", "engine", "lease", "subnet", "network"];

/// Findings of the last look that are kept for people.
const KEPT: usize = 32;

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
    changed_at: AtomicU64,
    looked_at: AtomicU64,
    next_at: AtomicU64,
    last: Mutex<Last>,
}

/// What the last look said.
#[derive(Debug, Default)]
struct Last {
    /// The first findings of the last one that succeeded.
    open: Vec<Finding>,
    /// Why the last one did not succeed.
    failure: Option<String>,
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

    /// How many addresses two containers have at once, by the last look.
    pub fn duplicates(&self) -> u64 {
        self.found[0].load(Ordering::Relaxed)
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

    /// Since when the Engine answers, or does not, milliseconds since the UNIX epoch; seen by looks only.
    pub fn engine_since(&self) -> Option<Millis> {
        Some(self.changed_at.load(Ordering::Relaxed)).filter(|at| *at != 0)
    }

    /// When repair looks next, unless something happens before; nothing where it waits for the next request.
    pub fn next_look(&self) -> Option<Millis> {
        Some(self.next_at.load(Ordering::Relaxed)).filter(|at| *at != 0)
    }

    /// The first findings of the last look that succeeded, without what was freed by it.
    pub fn open(&self) -> Vec<Finding> {
        self.last.lock().map(|last| last.open.clone()).unwrap_or_default()
    }

    /// Why the last look did not succeed.
    pub fn failure(&self) -> Option<String> {
        self.last.lock().ok().and_then(|last| last.failure.clone())
    }

    /// The next look is planned for then.
    pub(super) fn plan_next(&self, at: Option<Millis>) {
        self.next_at.store(at.unwrap_or(0), Ordering::Relaxed);
    }

    /// A look is over.
    pub(super) fn looked(&self, outcome: Result<&[Finding], &String>, now: Millis) {
        if self.engine_answers() != Some(outcome.is_ok()) {
            self.changed_at.store(now, Ordering::Relaxed);
        }
        self.answers.store(outcome.is_ok(), Ordering::Relaxed);
        self.looks[usize::from(outcome.is_err())].inc();
        if let Ok(mut last) = self.last.lock() {
            last.failure = outcome.err().cloned();
            if let Ok(findings) = outcome {
                let open = findings.iter().filter(|finding| finding.action != "freed");
                last.open = open.take(KEPT).cloned().collect();
            }
        }
        let Ok(findings) = outcome else { return };
        self.looked_at.store(now, Ordering::Relaxed);
        for (what, count) in FOUND.iter().zip(&self.found) {
            let found = findings.iter().filter(|finding| finding.what == *what && finding.action != "freed");
            count.store(found.count() as u64, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_when_an_engine_answers_is_the_first_look_of_those_that_agree() {
        let meters = Meters::new(true);
        assert_eq!((meters.engine_answers(), meters.engine_since()), (None, None));
        meters.looked(Err(&"away".to_owned()), 10);
        meters.looked(Err(&"away".to_owned()), 20);
        assert_eq!((meters.engine_answers(), meters.engine_since()), (Some(false), Some(10)));
        assert_eq!(meters.failure().as_deref(), Some("away"));
        meters.looked(Ok(&[]), 30);
        meters.looked(Ok(&[]), 40);
        assert_eq!((meters.engine_answers(), meters.engine_since()), (Some(true), Some(30)));
        assert_eq!((meters.failure(), meters.looked_at()), (None, Some(40)));
    }
}
