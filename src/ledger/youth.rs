//! Records which grants are young: which generation was reached at which time, by a clock that never steps.
//!
//! Promises: a grant that counts as settled was made at least a minute ago, however the time of day steps,
//! even across restarts: grants of earlier processes count from the start of this one. Keeps one moment per
//! second, for a minute. Does not read a clock.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::plan::settings::Millis;

/// Younger grants may be missing from the Engine's lists: an Engine shows an endpoint only once its container
/// has started and all its addresses are granted.
pub const YOUNG: Millis = 60_000;
/// The minimum distance between two kept moments.
const STEP: Millis = 1_000;

/// Which generation was reached at which time.
///
/// (when, next generation then), oldest first; the first moment is the start.
#[derive(Debug, Default)]
pub struct Youth(Mutex<VecDeque<(Millis, u64)>>);

impl Youth {
    fn moments(&self) -> MutexGuard<'_, VecDeque<(Millis, u64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that every generation below `next` had been granted at this moment.
    pub(super) fn note(&self, steady: Millis, next: u64) {
        let mut moments = self.moments();
        if moments.back().is_some_and(|(_, known)| *known == next) {
            return;
        }
        // If moments are close together, the later one replaces the earlier, until it is far enough from the
        // one before.
        let crowded = match (moments.len().checked_sub(2).and_then(|at| moments.get(at)), moments.back()) {
            (Some((before, _)), Some((last, _))) => last.saturating_sub(*before) < STEP,
            _ => false,
        };
        if crowded {
            moments.pop_back();
        }
        moments.push_back((steady, next));
        // Of the moments that are old enough, only the newest is needed.
        while moments.get(1).is_some_and(|(at, _)| at.saturating_add(YOUNG) <= steady) {
            moments.pop_front();
        }
    }

    /// Grants with a lower generation than this are settled now.
    pub fn settled(&self, steady: Millis) -> u64 {
        let moments = self.moments();
        let old = moments.iter().rev().find(|(at, _)| at.saturating_add(YOUNG) <= steady);
        old.map_or(0, |(_, next)| *next)
    }

    /// When a grant of this generation will be settled, by the steady clock.
    pub fn settles(&self, generation: u64) -> Option<Millis> {
        let moments = self.moments();
        let first = moments.iter().find(|(_, next)| generation < *next);
        first.map(|(at, _)| at.saturating_add(YOUNG))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_young_for_a_minute() {
        let youth = Youth::default();
        youth.note(5_000, 7); // six grants of earlier processes
        assert_eq!(youth.settled(5_000), 0);
        assert_eq!((youth.settled(64_999), youth.settled(65_000)), (0, 7));
        youth.note(10_000, 8);
        assert_eq!((youth.settled(65_000), youth.settled(70_000)), (7, 8));
        assert_eq!(
            (youth.settles(6), youth.settles(7), youth.settles(8)),
            (Some(65_000), Some(70_000), None)
        );
    }

    #[test]
    fn a_burst_is_never_older_than_its_last_grant_and_takes_little_memory() {
        let youth = Youth::default();
        for n in 0..100_000u64 {
            youth.note(n * 10, n + 1); // granted at n * 10: generation n
        }
        assert!(youth.moments().len() <= 62 * 2);
        for now in [999_990u64, 1_020_000, 1_059_990, 2_000_000] {
            let settled = youth.settled(now);
            assert!(settled == 0 || (settled - 1) * 10 + YOUNG <= now, "{settled} at {now}");
        }
        assert_eq!(youth.settled(999_990 + YOUNG), 100_000);
    }
}
