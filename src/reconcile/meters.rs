//! What repair counts.
//!
//! Promises: read at any moment without waiting for a look. Knows no format of metrics.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use prometheus_client::metrics::counter::Counter;

use super::Finding;
use crate::clock::Clock;
use crate::plan::settings::Millis;

/// What a finding can be about.
pub const FOUND: [&str; 5] = ["duplicate", "engine", "lease", "subnet", "network"];

/// Findings of the last look that are kept for people.
const KEPT: usize = 32;

/// Counted since the start.
#[derive(Debug)]
pub struct RepairMeters {
    /// Whether repair is on.
    pub on: bool,
    /// Looks that succeeded, and looks that did not.
    pub looks: [Counter; 2],
    /// Leases and subnets that were freed.
    pub freed: Counter,
    /// What was learned from the Engine at once: adopted and identified leases, names.
    pub learned: Counter,
    found: [AtomicU64; FOUND.len()],
    answers: AtomicBool,
    passing: AtomicBool,
    // By the steady clock, and one more, so that 0 is never: the time of day may step before somebody asks.
    changed_at: AtomicU64,
    looked_at: AtomicU64,
    next_at: AtomicU64,
    clock: Clock,
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

impl RepairMeters {
    /// Of a repair that is on or off.
    pub(super) fn new(on: bool, clock: Clock) -> Self {
        Self {
            on,
            looks: Default::default(),
            freed: Counter::default(),
            learned: Counter::default(),
            found: Default::default(),
            answers: AtomicBool::default(),
            passing: AtomicBool::default(),
            changed_at: AtomicU64::default(),
            looked_at: AtomicU64::default(),
            next_at: AtomicU64::default(),
            clock,
            last: Mutex::default(),
        }
    }

    /// A moment of the steady clock by the time of day as it is now.
    fn dated(&self, stored: &AtomicU64) -> Option<Millis> {
        let at = stored.load(Ordering::Relaxed).checked_sub(1)?;
        let now = self.clock.now();
        Some(now.wall.saturating_add(at).saturating_sub(now.steady))
    }

    /// Whether the last look saw an address at two endpoints that may just have passed from one to the other.
    pub(super) fn passing(&self) -> bool {
        self.passing.load(Ordering::Relaxed)
    }

    pub(super) fn note_passing(&self, passing: bool) {
        self.passing.store(passing, Ordering::Relaxed);
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
        self.dated(&self.looked_at)
    }

    /// Since when the Engine answers, or does not, milliseconds since the UNIX epoch; seen by looks only.
    pub fn engine_since(&self) -> Option<Millis> {
        self.dated(&self.changed_at)
    }

    /// When repair looks next, unless something happens before; nothing where it waits for the next request.
    pub fn next_look(&self) -> Option<Millis> {
        self.dated(&self.next_at)
    }

    /// The first findings of the last look that succeeded, without what was freed by it.
    pub fn open(&self) -> Vec<Finding> {
        self.last.lock().map(|last| last.open.clone()).unwrap_or_default()
    }

    /// Why the last look did not succeed.
    pub fn failure(&self) -> Option<String> {
        self.last.lock().ok().and_then(|last| last.failure.clone())
    }

    /// The next look is planned for then, by the steady clock.
    pub(super) fn plan_next(&self, at: Option<Millis>) {
        self.next_at.store(at.map_or(0, |at| at.saturating_add(1)), Ordering::Relaxed);
    }

    /// A look is over.
    pub(super) fn looked(&self, outcome: Result<&[Finding], &String>) {
        let now = self.clock.now().steady.saturating_add(1);
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
        let (clock, hands) = Clock::by_hand(1_000);
        let meters = RepairMeters::new(true, clock);
        assert_eq!((meters.engine_answers(), meters.engine_since()), (None, None));
        let looked = |outcome| {
            hands.pass(10);
            meters.looked(outcome);
        };
        let away = "away".to_owned();
        looked(Err(&away));
        looked(Err(&away));
        assert_eq!((meters.engine_answers(), meters.engine_since()), (Some(false), Some(1_010)));
        assert_eq!(meters.failure().as_deref(), Some("away"));
        looked(Ok(&[]));
        looked(Ok(&[]));
        assert_eq!((meters.engine_answers(), meters.engine_since()), (Some(true), Some(1_030)));
        assert_eq!((meters.failure(), meters.looked_at()), (None, Some(1_040)));
    }

    #[test]
    fn a_step_of_the_clock_on_an_idle_daemon_moves_what_the_status_says_of_looks_with_it() {
        for by in [-7_200_000, 7_200_000] {
            let (clock, hands) = Clock::by_hand(1_000_000_000);
            let meters = RepairMeters::new(true, clock);
            hands.pass(5_000);
            meters.looked(Ok(&[]));
            meters.plan_next(Some(hands.now().steady + 60_000));
            hands.pass(2_000);
            hands.step(by);
            let now = hands.now().wall;
            let ago = |at: Option<Millis>| now.abs_diff(at.unwrap());
            assert_eq!((ago(meters.looked_at()), ago(meters.engine_since())), (2_000, 2_000));
            assert_eq!(
                meters.next_look(),
                Some(now + 58_000),
                "the look comes when the steady clock says so"
            );
        }
    }
}
