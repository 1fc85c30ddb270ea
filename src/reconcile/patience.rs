//! Decides when to retry an Engine that does not answer.
//!
//! Promises: pure; after about ten minutes without an answer, waits for the next request, so that an idle
//! machine can sleep.

use std::time::Duration;

/// The pause after the first failure; it doubles with each further one.
const FIRST: Duration = Duration::from_secs(5);
/// The number of pauses: five seconds, ten seconds, and so on, 635 seconds in total.
const TRIES: u32 = 7;

/// Counts consecutive failures.
#[derive(Debug, Default)]
pub(super) struct Patience {
    failures: u32,
}

impl Patience {
    /// The Engine did not answer: returns how long to wait before the next attempt; `None` means until the
    /// next request.
    pub(super) fn failed(&mut self) -> Option<Duration> {
        let wait = (self.failures < TRIES).then(|| FIRST * 2u32.pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        wait
    }

    /// A request arrived, so a dockerd is running: starts over. Returns the time that dockerd may still need
    /// to serve its API.
    pub(super) fn requested(&mut self) -> Duration {
        let wait = if self.is_over() { Duration::ZERO } else { FIRST };
        self.renew();
        wait
    }

    /// The Engine answered: starts over.
    pub(super) fn renew(&mut self) {
        self.failures = 0;
    }

    /// Whether only a request can trigger the next attempt.
    const fn is_over(&self) -> bool {
        self.failures > TRIES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_does_not_answer_is_retried_for_ten_minutes_only() {
        let mut patience = Patience::default();
        let waits: Vec<u64> = std::iter::from_fn(|| patience.failed()).map(|wait| wait.as_secs()).collect();
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320]);
        assert!(patience.is_over());
        assert_eq!(patience.failed(), None);
        assert_eq!(patience.requested(), Duration::ZERO, "a request came after a long time");
        assert!(!patience.is_over());
        assert_eq!(patience.failed(), Some(FIRST));
        assert_eq!(patience.requested(), FIRST, "not more often, however many requests come");
    }
}
