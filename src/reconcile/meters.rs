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
    /// Facts that were learned from the Engine immediately: adopted and identified leases, names.
    pub learned: Counter,
    clock: Clock,
    last: Mutex<LastCheck>,
}

/// The results of the last checks. Times are in milliseconds since the UNIX epoch, by the clock at the time
/// of reading.
#[derive(Clone, Debug, Default)]
pub struct LastCheck {
    /// How many findings the last check had, in the order of [`FOUND`].
    pub found: [u64; FOUND.len()],
    /// Whether the Engine answered the last check; `None` before the first check and if repair is off.
    pub answers: Option<bool>,
    /// Since when the Engine has or has not been answering; only checks notice a change.
    pub changed_at: Option<Millis>,
    /// When the last successful check ended.
    pub looked_at: Option<Millis>,
    /// When the next check is planned, unless something triggers one earlier; `None` if repair waits for the
    /// next request.
    pub next_at: Option<Millis>,
    /// The first findings of the last successful check, without those that it freed.
    pub open: Vec<Finding>,
    /// Why the last check failed; `None` if it succeeded.
    pub failure: Option<String>,
    /// Whether the last check saw an address at two endpoints that may just have moved from one to the other.
    pub(super) passing: bool,
}

impl RepairMeters {
    pub(super) fn new(on: bool, clock: Clock) -> Self {
        let (looks, freed, learned, last) = Default::default();
        Self { on, looks, freed, learned, clock, last }
    }

    /// The stored results, with times by the steady clock, since the time of day may step before they are
    /// read.
    fn kept(&self) -> MutexGuard<'_, LastCheck> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The results of the last checks.
    pub fn last(&self) -> LastCheck {
        let now = self.clock.now();
        let mut last = self.kept().clone();
        for at in [&mut last.changed_at, &mut last.looked_at, &mut last.next_at].into_iter().flatten() {
            *at = now.wall.saturating_add(*at).saturating_sub(now.steady);
        }
        last
    }

    /// Whether the last check has compared the books with the Engine, and every network of the Engine is in them; or repair is off.
    pub fn has_compared(&self) -> bool {
        let last = self.kept();
        let lacking = FOUND.iter().zip(last.found).any(|(kind, found)| *kind == "network" && found > 0);
        !self.on || last.answers == Some(true) && last.looked_at.is_some() && !lacking
    }

    pub(super) fn note_passing(&self, passing: bool) {
        self.kept().passing = passing;
    }

    /// Records when the next check is planned, by the steady clock.
    pub(super) fn plan_next(&self, at: Option<Millis>) {
        self.kept().next_at = at;
    }

    /// Records the outcome of a check.
    pub(super) fn looked(&self, outcome: Result<&[Finding], &String>) {
        let (now, mut last) = (Some(self.clock.now().steady), self.kept());
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
    fn changed_at_is_the_first_check_with_the_current_outcome() {
        let answers = |meters: &RepairMeters| (meters.last().answers, meters.last().changed_at);
        let (clock, hands) = Clock::by_hand(1_000);
        let meters = RepairMeters::new(true, clock);
        assert_eq!(answers(&meters), (None, None));
        let looked = |outcome| {
            hands.pass(10);
            meters.looked(outcome);
        };
        let away = "away".to_owned();
        looked(Err(&away));
        looked(Err(&away));
        assert_eq!(answers(&meters), (Some(false), Some(1_010)));
        assert_eq!(meters.last().failure.as_deref(), Some("away"));
        looked(Ok(&[]));
        looked(Ok(&[]));
        assert_eq!(answers(&meters), (Some(true), Some(1_030)));
        assert_eq!((meters.last().failure, meters.last().looked_at), (None, Some(1_040)));
    }

    #[test]
    fn books_are_compared_after_a_check_that_found_no_network_missing() {
        let meters = RepairMeters::new(true, Clock::by_hand(1_000).0);
        assert!(!meters.has_compared(), "nothing was checked");
        let found = |what: &str| Finding { what: what.to_owned(), ..Finding::default() };
        meters.looked(Ok(&[found("network")]));
        assert!(!meters.has_compared());
        meters.looked(Ok(&[found("lease")]));
        assert!(meters.has_compared());
        meters.looked(Err(&"away".to_owned()));
        assert!(!meters.has_compared(), "the Engine does not answer");
        assert!(RepairMeters::new(false, Clock::by_hand(1_000).0).has_compared(), "repair is off");
    }

    #[test]
    fn after_a_clock_step_the_times_of_checks_keep_their_distance_from_now() {
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
            let last = meters.last();
            assert_eq!((ago(last.looked_at), ago(last.changed_at)), (2_000, 2_000));
            assert_eq!(last.next_at, Some(now + 58_000), "the steady clock triggers the check");
        }
    }
}
