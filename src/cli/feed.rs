//! The input of `gipam top`: counters from the daemon as they change, and its status whenever something happened.
//!
//! Promises: sends at most four requests per second, and spends at most a tenth of the time reading, however much
//! happens; keeps working while the daemon is down and after it returns. Draws nothing.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::error::{CliError, chain};
use super::output::{self, Asking};
use crate::admin::client::{self, encoded};
use crate::view::ErrorKind;
use crate::view::rows::{Status, WaitMoment};

/// Minimum time between two requests.
const APART: Duration = Duration::from_millis(250);
/// Read the status again after this time even without commits: cooled addresses become free, and the Engine may have gone.
const OLD: Duration = Duration::from_secs(5);
/// The interval if the daemon cannot notify.
const BLIND: Duration = Duration::from_secs(1);
/// Reading the status takes at most this fraction of the time.
const DUTY: u32 = 10;

/// The result of one wait.
#[derive(Debug, Default)]
pub(super) struct News {
    /// The daemon's counters.
    pub(super) moment: Option<WaitMoment>,
    /// The daemon's status, if it was read again.
    pub(super) status: Option<Status>,
    /// Why nothing was received.
    pub(super) trouble: Option<String>,
}

/// The client side.
pub(super) struct Feed {
    asking: Asking,
    /// How many events to request with each status.
    events: u32,
    seen: Option<String>,
    /// The number of refused calls at the last check; refused calls commit nothing.
    refused: u64,
    /// Whether something changed that was not read yet.
    changed: bool,
    asked: Option<Instant>,
    read: Option<Instant>,
    cost: Duration,
}

impl Feed {
    /// A feed from this daemon; each status comes with this many events.
    pub(super) const fn new(asking: Asking, events: u32) -> Self {
        Self {
            asking,
            events,
            seen: None,
            refused: 0,
            changed: true,
            asked: None,
            read: None,
            cost: Duration::ZERO,
        }
    }

    /// The first status; without it, there is nothing to watch.
    pub(super) fn first(&mut self) -> Result<Status, CliError> {
        self.status()
    }

    /// Waits for the next news, for about a second.
    pub(super) fn next(&mut self) -> News {
        if let Some(asked) = self.asked {
            sleep(APART.saturating_sub(asked.elapsed()));
        }
        self.asked = Some(Instant::now());
        let mut news = News::default();
        match self.moment() {
            Ok(moment) => {
                self.changed |= self.seen.as_ref() != Some(&moment.id) || self.refused != moment.refused;
                (self.seen, self.refused) = (Some(moment.id.clone()), moment.refused);
                news.moment = Some(moment);
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
                news.trouble = (!known).then(|| chain(&error));
            }
        }
        let old = self.read.is_none_or(|read| read.elapsed() > OLD);
        let due = self.read.is_none_or(|read| read.elapsed() >= self.cost * DUTY);
        if (self.changed || old) && due {
            match self.status() {
                Ok(status) => news.status = Some(status),
                Err(error) => news.trouble = Some(chain(&error)),
            }
        }
        news
    }

    fn moment(&self) -> Result<WaitMoment, client::AskError> {
        let seen = self.seen.as_deref().map(|seen| format!("&seen={}", encoded(seen))).unwrap_or_default();
        let answer = self.asking.daemon_view(&format!("/v1/events?hold=1{seen}"))?;
        let event = String::from_utf8_lossy(&answer);
        let data = event.lines().find_map(|line| line.strip_prefix("data: "));
        // An event that cannot be parsed is ignored; the status says more.
        Ok(data.and_then(|data| serde_json::from_str(data).ok()).unwrap_or_default())
    }

    fn status(&mut self) -> Result<Status, CliError> {
        let begun = Instant::now();
        let path = format!("/v1/status?events={}", self.events);
        let answer = self.asking.quiet_view(&path).and_then(|(answer, _)| output::read(&path, &answer));
        (self.cost, self.read) = (begun.elapsed(), Some(Instant::now()));
        self.changed = answer.is_err();
        answer
    }
}
