//! What repair counts.
//!
//! Promises: read at any moment without waiting for a look. Knows no format of metrics.

use std::sync::{Mutex, MutexGuard, PoisonError};

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
    clock: Clock,
    last: Mutex<LastLook>,
}

/// What the last look said. Moments are by the steady clock: the time of day may step before somebody asks.
#[derive(Debug, Default)]
struct LastLook {
    found: [u64; FOUND.len()],
    /// Whether the Engine answered.
    answers: Option<bool>,
    passing: bool,
    changed_at: Option<Millis>,
    looked_at: Option<Millis>,
    next_at: Option<Millis>,
    /// The first findings of the last one that succeeded.
    open: Vec<Finding>,
    /// Why the last one did not succeed.
    failure: Option<String>,
}

impl RepairMeters {
    /// Of a repair that is on or off.
    pub(super) fn new(on: bool, clock: Clock) -> Self {
        let (looks, freed, learned, last) = Default::default();
        Self { on, looks, freed, learned, clock, last }
    }

    fn last(&self) -> MutexGuard<'_, LastLook> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A moment of the steady clock by the time of day as it is now.
    fn dated(&self, at: Option<Millis>) -> Option<Millis> {
        let now = self.clock.now();
        Some(now.wall.saturating_add(at?).saturating_sub(now.steady))
    }

    /// Whether the last look saw an address at two endpoints that may just have passed from one to the other.
    pub(super) fn passing(&self) -> bool {
        self.last().passing
    }

    pub(super) fn note_passing(&self, passing: bool) {
        self.last().passing = passing;
    }

    /// Findings of the last look, in the order of [`FOUND`].
    pub fn found(&self) -> [u64; FOUND.len()] {
        self.last().found
    }

    /// How many addresses two containers have at once, by the last look.
    pub fn duplicates(&self) -> u64 {
        self.last().found[0]
    }

    /// Whether the Engine answered the last look; nothing before the first, and where repair is off.
    pub fn engine_answers(&self) -> Option<bool> {
        self.last().answers
    }

    /// When the last look that succeeded was over, milliseconds since the UNIX epoch.
    pub fn looked_at(&self) -> Option<Millis> {
        self.dated(self.last().looked_at)
    }

    /// Since when the Engine answers, or does not, milliseconds since the UNIX epoch; seen by looks only.
    pub fn engine_since(&self) -> Option<Millis> {
        self.dated(self.last().changed_at)
    }

    /// When repair looks next, unless something happens before; nothing where it waits for the next request.
    pub fn next_look(&self) -> Option<Millis> {
        self.dated(self.last().next_at)
    }

    /// The first findings of the last look that succeeded, without what was freed by it.
    pub fn open(&self) -> Vec<Finding> {
        self.last().open.clone()
    }

    /// Why the last look did not succeed.
    pub fn failure(&self) -> Option<String> {
        self.last().failure.clone()
    }

    /// The next look is planned for then, by the steady clock.
    pub(super) fn plan_next(&self, at: Option<Millis>) {
        self.last().next_at = at;
    }

    /// A look is over.
    pub(super) fn looked(&self, outcome: Result<&[Finding], &String>) {
        let (now, mut last) = (Some(self.clock.now().steady), self.last());
        if last.answers != Some(outcome.is_ok()) {
            last.changed_at = now;
        }
        last.answers = Some(outcome.is_ok());
        last.failure = outcome.err().cloned();
        self.looks[usize::from(outcome.is_err())].inc();
        let Ok(findings) = outcome else { return };
        let open = || findings.iter().filter(|finding| finding.action != "freed");
        last.looked_at = now;
        last.open = open().take(KEPT).cloned().collect();
        last.found = FOUND.map(|what| open().filter(|finding| finding.what == what).count() as u64);
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
