//! One hook's courier: reads the history, delivers events in order, and records its progress.
//!
//! Promises: each event is delivered before the next one is tried, and retried until it succeeds; one that
//! the hook permanently rejects is reported and skipped. The wait between failures grows, up to a minute.
//! Once all events are delivered, it sleeps until the ledger signals a commit. The only work that it gives
//! the ledger is saving its cursor.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::event::{Event, EventPage, read};
use super::state::HookState;
use super::{Desk, Failure, command, webhook};
use crate::clock;
use crate::config::Hook;
use crate::config::hooks::Target;
use crate::text;

/// Rows read at a time.
const ROWS: usize = 256;
/// After this many rows that the hook does not want, the cursor advances anyway, so that pruning them does
/// not cause a gap.
const SKIPPED: u64 = 256;
/// How long to wait after a commit, so that events close together are read together.
const TOGETHER: Duration = Duration::from_millis(20);
/// Failure messages are truncated to this length.
const LONGEST_TEXT: usize = 1_024;
/// The wait after the first failure.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Delivers to one hook.
pub(super) struct Courier {
    pub(super) hook: Hook,
    pub(super) desk: Arc<Desk>,
    pub(super) state: Arc<HookState>,
    /// The number of commits so far.
    pub(super) commits: watch::Receiver<u64>,
    /// Events that are not in the history.
    pub(super) told: mpsc::Receiver<Event>,
    /// The number of the last row that was read.
    pub(super) position: u64,
    /// The number of the last cursor written to the books.
    pub(super) kept: u64,
}

impl Courier {
    /// Delivers until the daemon ends.
    pub(super) async fn run(mut self) {
        let mut wait = FIRST_WAIT;
        loop {
            self.commits.borrow_and_update();
            while let Ok(event) = self.told.try_recv() {
                self.deliver(&[event]).await;
            }
            match read(&self.desk.books, self.position, ROWS, clock::now()) {
                Ok(page) => {
                    wait = FIRST_WAIT;
                    let more = page.more;
                    self.take(page).await;
                    if !more {
                        self.rest().await;
                    }
                }
                Err(error) => {
                    self.state.failed("reading the history", error.to_string(), clock::now());
                    sleep(wait).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
            }
        }
    }

    /// Delivers the events of a page that the hook wants.
    async fn take(&mut self, page: EventPage) {
        for event in page.events.iter().filter(|event| event.event == "gap") {
            tracing::warn!(
                "hook {}: entries {} to {} of the history were pruned before they were delivered; see history in the \
                 configuration",
                self.hook.name,
                event.first.unwrap_or_default(),
                event.last.unwrap_or_default()
            );
        }
        let wanted = self.hook.events.as_deref();
        let events: Vec<Event> = page.events.into_iter().filter(|event| event.is_wanted(wanted)).collect();
        for batch in events.chunks(self.batch()) {
            self.deliver(batch).await;
            if let Some(number) = batch.last().and_then(|event| event.id) {
                self.keep(number).await;
            }
        }
        self.position = page.upto;
        self.state.reached(self.position);
        if self.position >= self.kept + SKIPPED {
            self.keep(self.position).await;
        }
    }

    const fn batch(&self) -> usize {
        match self.hook.target {
            Target::Command(_) => 1,
            Target::Web { batch, .. } => batch,
        }
    }

    async fn keep(&mut self, number: u64) {
        self.kept = number;
        self.state.reached(number);
        self.desk.advance(&self.hook.name, number).await;
    }

    /// Waits for a commit, or delivers an event that is not in the history.
    async fn rest(&mut self) {
        tokio::select! {
            _ = self.commits.changed() => sleep(TOGETHER).await,
            Some(event) = self.told.recv() => self.deliver(&[event]).await,
        }
    }

    /// Delivers events, or skips those that the hook permanently rejects.
    async fn deliver(&self, events: &[Event]) {
        match (self.insist(events).await, events) {
            (Ok(()), _) => self.state.well(events.len() as u64),
            (Err(text), [event]) => self.state.passed_over(&described(event), &self.hidden(&text)),
            // One event may be the reason, so send each of them alone.
            (Err(_), _) => {
                for event in events.chunks(1) {
                    Box::pin(self.deliver(event)).await;
                }
            }
        }
    }

    /// Sends events until they are accepted, or returns why the hook permanently rejects them.
    async fn insist(&self, events: &[Event]) -> Result<(), String> {
        let mut wait = FIRST_WAIT;
        loop {
            let text = match self.send(events).await {
                Ok(()) => return Ok(()),
                Err(Failure::Never(text)) => return Err(text),
                Err(Failure::Later(text)) => text,
            };
            let what = match events {
                [event] => format!("delivering {}", described(event)),
                [first, .., last] => format!("delivering {} to {}", described(first), described(last)),
                [] => return Ok(()),
            };
            self.state.failed(&what, self.hidden(&text), clock::now());
            sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Removes the secrets of the hook's command or URL from a text, and truncates it.
    fn hidden(&self, text: &str) -> String {
        text::cut(&self.hook.target.hide(text), LONGEST_TEXT).into_owned()
    }

    async fn send(&self, events: &[Event]) -> Result<(), Failure> {
        let limit = Duration::from_millis(self.hook.timeout);
        match &self.hook.target {
            Target::Command(words) => {
                for event in events {
                    command::run(words, &self.hook.name, event, limit).await?;
                }
                Ok(())
            }
            Target::Web { url, tls, .. } => {
                webhook::post(url, tls.as_deref(), &self.hook.name, events, limit).await
            }
        }
    }
}

/// How a message names an event.
fn described(event: &Event) -> String {
    match event.id {
        Some(id) => format!("event {id} ({})", event.event),
        None => event.event.clone(),
    }
}
