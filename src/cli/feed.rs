//! The input of `gipam top`: moments from the daemon as they come, and its status whenever that changed.
//!
//! Promises: asks at most four times a second, and reads books for at most a tenth of the time, however much happens;
//! goes on while the daemon is away and when it comes back. Draws nothing.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::error::{CliError, chain};
use super::output::{self, Asking};
use crate::admin::client::{self, encoded};
use crate::view::ErrorKind;
use crate::view::rows::{Status, WaitMoment};

/// Least time between two requests.
const APART: Duration = Duration::from_millis(250);
/// Time passes without commits, too: what cooled is free, and the Engine may have gone.
const OLD: Duration = Duration::from_secs(5);
/// The interval where the daemon cannot notify.
const BLIND: Duration = Duration::from_secs(1);
/// Reading takes at most this fraction of the time.
const DUTY: u32 = 10;

/// What came.
#[derive(Debug, Default)]
pub(super) struct News {
    /// What the daemon counted.
    pub(super) moment: Option<WaitMoment>,
    /// Its status, if it was read again.
    pub(super) status: Option<Status>,
    /// Why nothing came.
    pub(super) trouble: Option<String>,
}

/// The client side.
pub(super) struct Feed {
    asking: Asking,
    /// Events that are asked for with each status.
    events: u32,
    seen: Option<String>,
    /// Calls that were refused until then: these commit nothing.
    refused: u64,
    /// Something changed that was not read yet.
    changed: bool,
    asked: Option<Instant>,
    read: Option<Instant>,
    cost: Duration,
}

impl Feed {
    /// Of this daemon; each status comes with this many events.
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

    /// The first status; without one, there is nothing to watch.
    pub(super) fn first(&mut self) -> Result<Status, CliError> {
        self.status()
    }

    /// Waits for what comes next: a second, or a little more.
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
                // One of before this view, or none at all: the status, or the books, say so.
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
        // One that cannot be parsed is ignored; the status says more.
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
