//! When to ask an Engine again that does not answer.
//!
//! Promises: pure; after some ten minutes it is not asked any more until the next request. A machine on which
//! nothing happens is left asleep.

use std::time::Duration;

/// After the first failure; doubled with each further one.
const FIRST: Duration = Duration::from_secs(5);
/// Five seconds, then twice as long, and so on: 635 seconds in all.
const TRIES: u32 = 7;

/// Failures in a row.
#[derive(Debug, Default)]
pub(super) struct Patience {
    failures: u32,
}

impl Patience {
    /// It did not answer: when to ask again; only at the next request, if absent.
    pub(super) fn failed(&mut self) -> Option<Duration> {
        let wait = (self.failures < TRIES).then(|| FIRST * 2u32.pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        wait
    }

    /// A request came, so a dockerd runs: start over. The time that it may still need before it serves its API.
    pub(super) fn requested(&mut self) -> Duration {
        let wait = if self.is_over() { Duration::ZERO } else { FIRST };
        self.renew();
        wait
    }

    /// It answered: start over.
    pub(super) fn renew(&mut self) {
        self.failures = 0;
    }

    /// Whether only a request is a reason to ask again.
    const fn is_over(&self) -> bool {
        self.failures > TRIES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_stays_away_is_asked_for_ten_minutes_and_then_no_more() {
        let mut patience = Patience::default();
        let waits: Vec<u64> = std::iter::from_fn(|| patience.failed()).map(|wait| wait.as_secs()).collect();
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320]);
        assert!(patience.is_over());
        assert_eq!(patience.failed(), None);
        assert_eq!(patience.requested(), Duration::ZERO, "somebody came after a long time");
        assert!(!patience.is_over());
        assert_eq!(patience.failed(), Some(FIRST));
        assert_eq!(patience.requested(), FIRST, "nor more often than that, however many requests come");
    }
}
