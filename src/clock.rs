//! The daemon's only source of time, with two clocks: the time of day, and one that only runs forward.
//!
//! The time of day can jump: NTP sets it after booting, a virtual machine resumes, a board without a battery
//! starts in 1970. It is for dates that people read and that outlive a boot. Durations are measured with the
//! steady clock (`CLOCK_BOOTTIME`: it includes suspends, and cannot be set), or `Instant` if suspends do not
//! matter.
//!
//! Promises: `wall` is in milliseconds since the UNIX epoch, and 0 before it; `steady` is in milliseconds
//! since booting, and never goes back. All other code gets the time from here. Tests set a clock by hand.

use std::sync::{Arc, Mutex, PoisonError};

pub use crate::plan::settings::Moment;

use crate::plan::settings::Millis;

/// Returns the time; cheap to clone.
#[derive(Clone)]
pub struct Clock {
    tell: Arc<dyn Fn() -> Moment + Send + Sync>,
    boot: Option<Arc<str>>,
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Clock").field(&self.now()).finish()
    }
}

impl Clock {
    /// The clocks of this machine.
    pub fn of_this_machine() -> Self {
        Self::new(|| Moment { wall: now(), steady: steady() })
    }

    /// A clock that shows what `tell` returns.
    pub fn new(tell: impl Fn() -> Moment + Send + Sync + 'static) -> Self {
        Self { tell: Arc::new(tell), boot: None }
    }

    /// The same clock, with the id of the boot to which the steady clock refers; `None` if it is unknown.
    pub fn in_boot(self, name: Option<String>) -> Self {
        Self { boot: name.map(Into::into), ..self }
    }

    /// The id of the boot: two times of the steady clock are comparable only within one boot.
    pub fn boot(&self) -> Option<&str> {
        self.boot.as_deref()
    }

    /// A clock that a test sets by hand.
    pub fn by_hand(wall: Millis) -> (Self, Hands) {
        let hands = Hands(Arc::new(Mutex::new(Moment { wall, steady: 0 })));
        let told = hands.clone();
        (Self::new(move || told.now()), hands)
    }

    pub fn now(&self) -> Moment {
        (self.tell)()
    }
}

/// Sets a clock made by [`Clock::by_hand`].
#[derive(Clone, Debug)]
pub struct Hands(Arc<Mutex<Moment>>);

impl Hands {
    /// Lets time pass: both clocks advance.
    pub fn pass(&self, millis: Millis) {
        self.turn(|moment| {
            moment.wall = moment.wall.saturating_add(millis);
            moment.steady = moment.steady.saturating_add(millis);
        });
    }

    /// Sets the time of day; no time passes.
    pub fn step(&self, by: i64) {
        self.turn(|moment| moment.wall = moment.wall.saturating_add_signed(by));
    }

    /// The current reading of both clocks.
    pub fn now(&self) -> Moment {
        let mut now = None;
        self.turn(|moment| now = Some(*moment));
        now.unwrap_or(Moment { wall: 0, steady: 0 })
    }

    fn turn(&self, turn: impl FnOnce(&mut Moment)) {
        turn(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The time of day, milliseconds since the UNIX epoch.
#[allow(clippy::disallowed_methods, reason = "this is the only place that reads the clock")]
pub fn now() -> Millis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds since booting, including suspends.
pub fn steady() -> Millis {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let part = |number: i64| u64::try_from(number).unwrap_or(0);
    part(time.tv_sec).saturating_mul(1_000).saturating_add(part(time.tv_nsec) / 1_000_000)
}

/// The processor time that this thread has used.
pub fn thread_time() -> std::time::Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    std::time::Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steady_clock_runs_at_the_pace_of_the_time_of_day() {
        let clock = Clock::of_this_machine();
        let before = clock.now();
        std::thread::sleep(std::time::Duration::from_millis(20));
        let after = clock.now();
        assert!(after.steady >= before.steady + 19);
        assert!(after.offset().abs_diff(before.offset()) <= 2, "the clock was not set in between");
    }

    #[test]
    fn a_step_moves_only_the_time_of_day() {
        let (clock, hands) = Clock::by_hand(1_000);
        hands.pass(500);
        assert_eq!(clock.now(), Moment { wall: 1_500, steady: 500 });
        hands.step(-1_400);
        assert_eq!((clock.now(), clock.now().offset()), (Moment { wall: 100, steady: 500 }, -400));
        hands.step(-1_000);
        assert_eq!(clock.now().wall, 0, "the earliest time is 1970");
    }
}
