//! The input of `gipam top`: the daemon's status whenever something changed, and its calls per second.
//!
//! Promises: sends at most four requests per second, and spends at most a tenth of the time reading, however much
//! happens; keeps working while the daemon is down and after it returns. Draws nothing.

use std::collections::VecDeque;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::error::{CliError, chain};
use super::output::{self, Asking};
use crate::admin::client::{self, encoded};
use crate::view::ErrorKind;
use crate::view::rows::{Status, WaitMoment};

/// Minimum time between two requests.
const APART: Duration = Duration::from_millis(250);
/// Read the status again after this time even without commits: cooling may have ended, and the Engine may have stopped.
const OLD: Duration = Duration::from_secs(5);
/// The interval between requests if the daemon cannot send events.
const BLIND: Duration = Duration::from_secs(1);
/// Reading the status takes at most 1/`DUTY` of the time.
const DUTY: u32 = 10;
/// The time over which calls per second are counted.
const WINDOW: Duration = Duration::from_secs(5);
/// Methods with their own rate; all others share the last one.
pub(super) const METHODS: [&str; 5] =
    ["RequestPool", "ReleasePool", "RequestAddress", "ReleaseAddress", "others"];

/// What `gipam top` knows at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Live {
    pub(super) status: Status,
    /// Why the last request failed, unless the status shows that.
    pub(super) trouble: Option<String>,
    /// Calls per second, in the order of `METHODS`.
    pub(super) rates: [f64; METHODS.len()],
}

/// The counters of one daemon at several moments.
#[derive(Default)]
struct CallRates {
    started: String,
    counted: VecDeque<(Instant, [u64; METHODS.len()])>,
}

impl CallRates {
    /// Adds the counters of this moment; returns calls per second, which are 0 until there are two moments.
    fn rates(&mut self, moment: &WaitMoment, at: Instant) -> [f64; METHODS.len()] {
        if self.started != moment.started {
            self.started.clone_from(&moment.started);
            self.counted.clear();
        }
        let mut sums = [0; METHODS.len()];
        for (method, outcomes) in &moment.calls {
            let name = method.rsplit('.').next().unwrap_or(method);
            let at = METHODS.iter().position(|known| *known == name).unwrap_or(METHODS.len() - 1);
            sums[at] += outcomes.values().sum::<u64>();
        }
        self.counted.push_back((at, sums));
        while self.counted.len() > 2 && at - self.counted[0].0 > WINDOW {
            self.counted.pop_front();
        }
        let (then, before) = self.counted[0];
        let seconds = (at - then).as_secs_f64();
        let rate = |n: usize| sums[n].saturating_sub(before[n]) as f64 / seconds;
        std::array::from_fn(|n| if seconds > 0.0 { rate(n) } else { 0.0 })
    }
}

/// Requests the status and the counters from the daemon.
pub(super) struct Feed {
    asking: Asking,
    /// How many events to request with each status.
    events: u32,
    pub(super) live: Live,
    calls: CallRates,
    /// The id and the number of refused calls at the last check; refused calls commit nothing.
    seen: Option<(String, u64)>,
    /// Whether something changed that has not been read yet.
    changed: bool,
    asked: Option<Instant>,
    /// When the status was last read, and how long that took.
    read: (Instant, Duration),
}

impl Feed {
    /// Reads the first status, and fails if that fails; each status comes with this many events.
    pub(super) fn start(asking: Asking, events: u32) -> Result<Self, CliError> {
        let read = (Instant::now(), Duration::ZERO);
        let (live, calls) = (Live::default(), CallRates::default());
        let mut feed = Self { asking, events, live, calls, seen: None, changed: true, asked: None, read };
        feed.read()?;
        Ok(feed)
    }

    /// Waits about a second for the next change.
    pub(super) fn next(&mut self) -> Live {
        if let Some(asked) = self.asked {
            sleep(APART.saturating_sub(asked.elapsed()));
        }
        self.asked = Some(Instant::now());
        self.live.trouble = self.wait();
        let (read, cost) = self.read;
        if (self.changed || read.elapsed() > OLD)
            && read.elapsed() >= cost * DUTY
            && let Err(error) = self.read()
        {
            self.live.trouble = Some(chain(&error));
        }
        self.live.clone()
    }

    /// Waits for the daemon's next counters. Returns why there are none, unless the status shows that.
    fn wait(&mut self) -> Option<String> {
        match self.moment() {
            Ok(moment) => {
                let seen = Some((moment.id.clone(), moment.refused));
                self.changed |= self.seen != seen;
                self.seen = seen;
                self.live.rates = self.calls.rates(&moment, Instant::now());
                let status = &mut self.live.status;
                (status.requests, status.refused) = (Some(moment.requests), Some(moment.refused));
                status.now = Some(moment.now).filter(|now| !now.is_empty()).or(status.now.take());
                None
            }
            Err(error) => {
                self.seen = None;
                sleep(BLIND);
                self.changed = true;
                // An older daemon without this view, or no daemon: the status, or the books, show that.
                let known = match &error {
                    client::AskError::Refused(refused) => refused.kind == ErrorKind::Missing,
                    client::AskError::Down { .. } => true,
                    client::AskError::NoAnswer(_) => false,
                };
                (!known).then(|| chain(&error))
            }
        }
    }

    fn moment(&self) -> Result<WaitMoment, client::AskError> {
        let seen = self.seen.as_ref().map(|(id, _)| format!("&seen={}", encoded(id))).unwrap_or_default();
        let answer = self.asking.daemon_view(&format!("/v1/events?hold=1{seen}"))?;
        let event = String::from_utf8_lossy(&answer);
        let data = event.lines().find_map(|line| line.strip_prefix("data: "));
        // An event that cannot be parsed is ignored; the status says more.
        Ok(data.and_then(|data| serde_json::from_str(data).ok()).unwrap_or_default())
    }

    fn read(&mut self) -> Result<(), CliError> {
        let begun = Instant::now();
        let path = format!("/v1/status?events={}", self.events);
        let answer = self.asking.quiet_view(&path).and_then(|answer| output::read(&path, &answer));
        self.read = (Instant::now(), begun.elapsed());
        self.changed = answer.is_err();
        self.live.status = answer?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_cover_the_last_seconds_and_start_again_when_the_daemon_restarts() {
        let mut calls = CallRates::default();
        let begun = Instant::now();
        let mut rates = |started: &str, leased: u64, second: u64| {
            let of = [("IpamDriver.RequestAddress", leased), ("Plugin.Activate", 1), ("unknown", 1)];
            let of = of.map(|(method, count)| (method.to_owned(), [("ok".to_owned(), count)].into()));
            let moment =
                WaitMoment { started: started.to_owned(), calls: of.into(), ..WaitMoment::default() };
            calls.rates(&moment, begun + Duration::from_secs(second))
        };
        assert_eq!(rates("a", 100, 0), [0.0; 5]);
        assert_eq!(rates("a", 104, 2), [0.0, 0.0, 2.0, 0.0, 0.0]);
        for second in 3..20 {
            rates("a", 104, second);
        }
        assert_eq!(rates("a", 104, 20), [0.0; 5], "old calls do not count");
        assert_eq!(rates("b", 7, 20), [0.0; 5]);
    }
}
