//! Server-sent events: how pages learn that something happened.
//!
//! Each answer is a short stream of one event, after which the browser asks again by itself with the id of the last
//! one; so every connection has a bounded life, and no event is missed between two answers.
//!
//! Promises: an answer begins at once and ends with its event; the ledger never waits for a page; events are as far apart
//! as pictures; the number of pages that follow is bounded, and further pages are refused and ask from time to time
//! instead. Tells that something changed, not what.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::TEXT;
use super::picture::Gallery;
use crate::clock;
use crate::ledger::Ledger;
use crate::plan::settings::Millis;
use crate::server::Response;

/// Pages that follow at a time.
const SEATS: usize = 32;
/// An answer comes after this time even if nothing happened.
const HOLD: Duration = Duration::from_secs(20);
/// What happens together is one event.
const TOGETHER: Duration = Duration::from_millis(150);

/// Pages that follow.
#[derive(Debug)]
pub struct Followers {
    commits: watch::Receiver<u64>,
    /// What changed without a commit.
    turns: watch::Receiver<u64>,
    seats: Arc<Semaphore>,
    stop: watch::Sender<bool>,
    started: Millis,
}

impl Followers {
    /// Follows this ledger, and changes outside of it.
    pub fn new(ledger: &Ledger, turns: watch::Receiver<u64>) -> Self {
        Self {
            commits: ledger.meters().follow(),
            turns,
            seats: Arc::new(Semaphore::new(SEATS)),
            stop: watch::Sender::new(false),
            started: clock::now(),
        }
    }

    /// Answers all waiting pages.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Whether the daemon is about to end.
    pub fn stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// How many follow now.
    pub fn count(&self) -> usize {
        SEATS - self.seats.available_permits()
    }

    /// The next event after the one that was seen last. The head of the answer leaves at once, so that the
    /// page knows that the daemon answers, also on a host where nothing happens.
    pub fn wait(&self, last: Option<&str>, gallery: &Gallery) -> Response {
        let Ok(seat) = self.seats.clone().try_acquire_owned() else {
            return Response::new(
                503,
                TEXT,
                "too many pages follow already; this one asks from time to time\n",
            );
        };
        let waiting = WaitingViewer {
            commits: self.commits.clone(),
            turns: self.turns.clone(),
            stop: self.stop.subscribe(),
            started: self.started,
            gallery: gallery.clone(),
            last: last.map(str::to_owned),
        };
        Response::new(200, "text/event-stream", "retry: 500\n").and_later(async move {
            let event = waiting.event().await;
            drop(seat);
            event.into_bytes()
        })
    }
}

/// One page that waits.
struct WaitingViewer {
    commits: watch::Receiver<u64>,
    turns: watch::Receiver<u64>,
    stop: watch::Receiver<bool>,
    started: Millis,
    gallery: Gallery,
    last: Option<String>,
}

impl WaitingViewer {
    /// The event, when there is one or when nothing has happened for long enough.
    async fn event(mut self) -> String {
        let started = self.started;
        let id = |(commits, turns): (u64, u64)| format!("{started:x}-{commits}-{turns}");
        let known = id((*self.commits.borrow_and_update(), *self.turns.borrow_and_update()));
        let event = match self.last {
            None => "hello",
            Some(last) if last != known => "change",
            Some(_) => {
                let changed = tokio::select! {
                    changed = timeout(HOLD, self.commits.changed()) => matches!(changed, Ok(Ok(()))),
                    Ok(()) = self.turns.changed() => true,
                    _ = self.stop.wait_for(|stop| *stop) => false,
                };
                if changed { "change" } else { "still" }
            }
        };
        if event == "change" {
            let ripe = async {
                sleep(TOGETHER).await;
                self.gallery.ripe().await;
            };
            tokio::select! {
                () = ripe => {}
                _ = self.stop.wait_for(|stop| *stop) => {}
            }
        }
        let id = id((*self.commits.borrow(), *self.turns.borrow()));
        format!("id: {id}\nevent: {event}\ndata: {{}}\n\n")
    }
}
