//! The counters of repair.
//!
//! Promises: can be read at any time without waiting for a check. Knows nothing about metrics formats.

use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::counter::Counter;

use super::Finding;
use crate::clock::Clock;
use crate::plan::settings::Millis;

/// The kinds of findings.
pub const FOUND: [&str; 5] = ["duplicate", "engine", "lease", "subnet", "network"];

/// How many findings of the last check are kept for people.
const KEPT: usize = 32;

/// Values counted since the start.
#[derive(Debug)]
pub struct RepairMeters {
    /// Whether repair is on.
    pub on: bool,
    /// Checks that succeeded, and checks that failed.
    pub looks: [Counter; 2],
    /// Leases and subnets that were freed.
    pub freed: Counter,
    /// What was learned from the Engine immediately: adopted and identified leases, names.
    pub learned: Counter,
    clock: Clock,
    last: Mutex<LastLook>,
}

/// The result of the last check. Times are by the steady clock, since the time of day may step before they are read.
#[derive(Debug, Default)]
struct LastLook {
    found: [u64; FOUND.len()],
    /// Whether the Engine answered.
    answers: Option<bool>,
    passing: bool,
    changed_at: Option<Millis>,
    looked_at: Option<Millis>,
    next_at: Option<Millis>,
    /// The first findings of the last successful check.
    open: Vec<Finding>,
    /// Why the last check failed.
    failure: Option<String>,
}

impl RepairMeters {
    /// `on` says whether repair is on.
    pub(super) fn new(on: bool, clock: Clock) -> Self {
        let (looks, freed, learned, last) = Default::default();
        Self { on, looks, freed, learned, clock, last }
    }

    fn last(&self) -> MutexGuard<'_, LastLook> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Converts a time of the steady clock into the current time of day.
    fn dated(&self, at: Option<Millis>) -> Option<Millis> {
        let now = self.clock.now();
        Some(now.wall.saturating_add(at?).saturating_sub(now.steady))
    }

    /// Whether the last check saw an address at two endpoints that may just have moved from one to the other.
    pub(super) fn passing(&self) -> bool {
        self.last().passing
    }

    pub(super) fn note_passing(&self, passing: bool) {
        self.last().passing = passing;
    }

    /// How many findings the last check had, in the order of [`FOUND`].
    pub fn found(&self) -> [u64; FOUND.len()] {
        self.last().found
    }

    /// How many addresses two containers had at the same time in the last check.
    pub fn duplicates(&self) -> u64 {
        self.last().found[0]
    }

    /// Whether the Engine answered the last check; `None` before the first check and if repair is off.
    pub fn engine_answers(&self) -> Option<bool> {
        self.last().answers
    }

    /// When the last successful check ended, in milliseconds since the UNIX epoch.
    pub fn looked_at(&self) -> Option<Millis> {
        self.dated(self.last().looked_at)
    }

    /// Since when the Engine has or has not been answering, in milliseconds since the UNIX epoch; only checks notice a change.
    pub fn engine_since(&self) -> Option<Millis> {
        self.dated(self.last().changed_at)
    }

    /// When the next check is planned, unless something triggers one earlier; `None` if repair waits for the next request.
    pub fn next_look(&self) -> Option<Millis> {
        self.dated(self.last().next_at)
    }

    /// The first findings of the last successful check, without what it freed.
    pub fn open(&self) -> Vec<Finding> {
        self.last().open.clone()
    }

    /// Why the last check failed; `None` if it succeeded.
    pub fn failure(&self) -> Option<String> {
        self.last().failure.clone()
    }

    /// Records when the next check is planned, by the steady clock.
    pub(super) fn plan_next(&self, at: Option<Millis>) {
        self.last().next_at = at;
    }

    /// Records the outcome of a check.
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
            assert_eq!(meters.next_look(), Some(now + 58_000), "the steady clock triggers the check");
        }
    }
}
