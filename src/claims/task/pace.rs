//! The task's time, and when a call without an answer is made again.
//!
//! Promises: time never steps back, whatever the clock of the machine does; after a failure the other members are tried at
//! once, then pauses grow to [`LONGEST`], and stay short while a request waits.

use std::collections::VecDeque;

use tokio::time::{Duration, Instant};

use crate::clock;
use crate::plan::settings::Millis;

/// The pause after all members failed, while a request waits.
const SHORT: Millis = 250;
/// The longest pause while nothing waits.
const LONGEST: Millis = 10_000;
/// A wake-up that is later than this is not set.
const FAR: Duration = Duration::from_secs(3_600);

/// Time that began with the wall clock and goes on steadily.
#[derive(Debug)]
pub(super) struct SteadyTime {
    began: Millis,
    from: Instant,
}

impl SteadyTime {
    pub(super) fn begin() -> Self {
        Self { began: clock::now(), from: Instant::now() }
    }

    pub(super) fn now(&self) -> Millis {
        self.began.saturating_add(Millis::try_from(self.from.elapsed().as_millis()).unwrap_or(Millis::MAX))
    }

    pub(super) fn instant(&self, due: Millis) -> Instant {
        let wait = Duration::from_millis(due.saturating_sub(self.began));
        self.from + wait.min(self.from.elapsed() + FAR)
    }
}

/// The failures since the store answered last.
#[derive(Debug)]
pub(super) struct Retries {
    members: usize,
    failures: u32,
    failed_at: Millis,
    /// The newest reason of each member.
    reasons: VecDeque<String>,
}

impl Retries {
    pub(super) const fn new(members: usize) -> Self {
        Self { members, failures: 0, failed_at: 0, reasons: VecDeque::new() }
    }

    pub(super) fn answered(&mut self) {
        self.failures = 0;
        self.reasons.clear();
    }

    /// Notes a failure; returns the reasons of all members that were tried.
    pub(super) fn failed(&mut self, why: String, now: Millis) -> String {
        self.failures += 1;
        self.failed_at = now;
        let member = |text: &str| text.split(": ").next().map(str::to_owned);
        self.reasons.retain(|known| member(known) != member(&why));
        self.reasons.push_back(why);
        self.trouble().unwrap_or_default()
    }

    /// Something else failed: the next attempt waits a moment.
    pub(super) fn wait(&mut self, now: Millis) {
        self.failed_at = now;
        self.failures = self.failures.max(u32::try_from(self.members).unwrap_or(u32::MAX));
    }

    /// Why the store does not answer, with each member that was tried.
    pub(super) fn trouble(&self) -> Option<String> {
        let reasons: Vec<&str> = self.reasons.iter().map(String::as_str).collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    /// When the call is made again.
    pub(super) fn at(&self, is_awaited: bool) -> Millis {
        let rounds = self.failures / u32::try_from(self.members.max(1)).unwrap_or(1);
        let pause = match rounds {
            0 => 0,
            _ if is_awaited => SHORT,
            rounds => SHORT.saturating_mul(1 << rounds.min(10)).min(LONGEST),
        };
        self.failed_at.saturating_add(pause)
    }
}
