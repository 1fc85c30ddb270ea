//! The ledger's time: a time of day that advances only with the steady clock, until a step of the time of day
//! is in the books.
//!
//! `offset` is the time of day at which the steady clock was 0. All stamps in the books use the same offset,
//! which the books store together with its boot. As long as both are known, ages are exact, even across steps
//! and restarts. While a step cannot be written (a full disk), time continues with the old offset: dates are
//! wrong then, but ages are right.
//!
//! Promises: between two steps, time runs at the pace of the steady clock and never goes back. Makes no
//! decisions.

use std::time::Duration;

use crate::clock::{Clock, Moment};
use crate::plan::settings::Millis;
use crate::plan::stamps::Shift;

/// Differences of the time of day below this are ignored: all durations here are longer.
const STEP: u64 = 1_000;
/// Writing slow steps (many leases) may use at most this fraction of the time: one part in `DUTY`.
const DUTY: u32 = 20;
/// Steps that are written faster than this are followed immediately.
const FAST: Duration = Duration::from_millis(50);

/// The key in the `meta` table of the books; its value is "BOOT OFFSET".
pub(super) const KEY: &str = "clock";

/// The clock that the stamps refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ClockFrame {
    offset: i64,
    /// Whether the stamps have been compared with the clock since the start.
    settled: bool,
}

/// The clock and what is known about it.
#[derive(Debug)]
pub(super) struct Timeline {
    clock: Clock,
    moment: Moment,
    frame: ClockFrame,
    /// The frame at the last commit.
    kept: ClockFrame,
    /// No further step is followed before this time of the steady clock.
    not_before: Millis,
}

impl Timeline {
    pub(super) fn new(clock: Clock) -> Self {
        let moment = Moment { wall: 0, steady: 0 };
        let frame = ClockFrame { offset: 0, settled: false };
        Self { clock, moment, frame, kept: frame, not_before: 0 }
    }

    /// Reads the clock, once per batch.
    pub(super) fn read(&mut self) {
        self.moment = self.clock.now();
        if !self.frame.settled {
            self.frame.offset = self.moment.offset();
        }
    }

    pub(super) const fn is_settled(&self) -> bool {
        self.frame.settled
    }

    pub(super) const fn steady(&self) -> Millis {
        self.moment.steady
    }

    /// The time that the plan gets.
    pub(super) fn now(&self) -> Millis {
        self.moment.steady.saturating_add_signed(self.frame.offset)
    }

    /// What the books record about the clock; the boot is `-` if it is not known.
    pub(super) fn note(&self) -> String {
        format!("{} {}", self.clock.boot().unwrap_or("-"), self.frame.offset)
    }

    /// At startup: adopts the frame in the books if it is from this boot, and returns whether it did.
    pub(super) fn settle(&mut self, note: Option<&str>) -> bool {
        let known = note.and_then(|note| note.split_once(' '));
        let known = known.filter(|(boot, _)| self.clock.boot() == Some(boot));
        let offset = known.and_then(|(_, offset)| offset.parse().ok());
        self.frame = ClockFrame { offset: offset.unwrap_or_else(|| self.moment.offset()), settled: true };
        offset.is_some()
    }

    /// How the stamps have to move, if the time of day has stepped.
    pub(super) fn stepped(&self) -> Option<Shift> {
        let by = self.moment.offset().saturating_sub(self.frame.offset);
        // A time of day before 1970 is not valid.
        let told = self.moment.wall > 0 && by.unsigned_abs() >= STEP;
        let due = told && self.moment.steady >= self.not_before;
        due.then_some(Shift { by, now: self.moment.wall })
    }

    /// Records that the stamps have moved, and how long that took.
    pub(super) fn follow(&mut self, took: Duration) {
        self.frame.offset = self.moment.offset();
        let pause = if took < FAST { Duration::ZERO } else { took * DUTY };
        let pause = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        self.not_before = self.moment.steady.saturating_add(pause);
    }

    pub(super) const fn committed(&mut self) {
        self.kept = self.frame;
    }

    pub(super) const fn rolled_back(&mut self) {
        self.frame = self.kept;
    }
}

/// A duration for people: rounded to the second, then shown in the two largest units.
pub(super) fn text(millis: u64) -> String {
    let seconds = millis.saturating_add(500) / 1_000;
    match (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds} s"),
        (0, 0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (0, hours, minutes, _) => format!("{hours} h {minutes} min"),
        (days, hours, ..) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_runs_by_the_steady_clock_until_a_step_is_followed() {
        let (clock, hands) = Clock::by_hand(1_000_000);
        let mut time = Timeline::new(clock);
        time.read();
        assert!(!time.settle(None), "the books have no record of the clock");
        hands.pass(500);
        hands.step(-7_200);
        time.read();
        assert_eq!(time.now(), 1_000_500);
        assert_eq!(time.stepped(), Some(Shift { by: -7_200, now: 993_300 }));
        time.committed();
        time.follow(Duration::ZERO);
        assert_eq!((time.now(), time.stepped()), (993_300, None));
        time.rolled_back();
        assert_eq!(time.now(), 1_000_500, "the step could not be written");
    }

    #[test]
    fn small_steps_add_up_to_one() {
        let (clock, hands) = Clock::by_hand(1_000_000);
        let mut time = Timeline::new(clock);
        time.read();
        time.settle(None);
        let mut step = || {
            hands.step(-400);
            time.read();
            time.stepped()
        };
        assert_eq!([step(), step()], [None, None]);
        assert_eq!(step(), Some(Shift { by: -1_200, now: 998_800 }));
    }

    #[test]
    fn the_frame_of_the_same_boot_is_adopted() {
        let (clock, hands) = Clock::by_hand(1_000_000);
        let mut time = Timeline::new(clock.clone().in_boot(Some("a".to_owned())));
        time.read();
        time.settle(None);
        let note = time.note();
        assert_eq!(note, "a 1000000");
        hands.pass(10);
        hands.step(5_000);
        let mut later = Timeline::new(clock.clone().in_boot(Some("a".to_owned())));
        later.read();
        assert!(later.settle(Some(&note)));
        assert_eq!(later.stepped(), Some(Shift { by: 5_000, now: 1_005_010 }));
        for other in [Some("b".to_owned()), None] {
            let mut other = Timeline::new(clock.clone().in_boot(other));
            other.read();
            assert!(!other.settle(Some(&note)));
            assert_eq!((other.now(), other.stepped()), (1_005_010, None));
        }
    }

    #[test]
    fn spans_are_printed_in_two_units() {
        let told = [5_400, 61_000, 7_200_000, 90_000_000].map(text);
        assert_eq!(told, ["5 s", "1 min 1 s", "2 h 0 min", "1 d 1 h"]);
    }
}
