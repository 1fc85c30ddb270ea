//! Telling pages that something happened: server-sent events.
//!
//! Each answer is a short stream of one event, after which the browser asks again by itself with the id of the last
//! one; so every connection has a bounded life, and no event is missed between two answers.
//!
//! Promises: the ledger never waits for a page; events are as far apart as pictures; pages that follow are bounded, and
//! those beyond are refused and ask from time to time instead. Says that something changed, not what.

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
/// An answer comes after this time though nothing happened.
const HOLD: Duration = Duration::from_secs(20);
/// What happens together is one event.
const TOGETHER: Duration = Duration::from_millis(150);

/// Pages that follow.
#[derive(Debug)]
pub struct Followers {
    commits: watch::Receiver<u64>,
    /// What changed without a commit.
    turns: watch::Receiver<u64>,
    seats: Semaphore,
    stop: watch::Sender<bool>,
    started: Millis,
}

impl Followers {
    /// Of this ledger, and of what changes without it.
    pub fn new(ledger: &Ledger, turns: watch::Receiver<u64>) -> Self {
        Self {
            commits: ledger.meters().follow(),
            turns,
            seats: Semaphore::new(SEATS),
            stop: watch::Sender::new(false),
            started: clock::now(),
        }
    }

    /// Answers all that wait, and none waits any more.
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

    /// The next event after the one that was seen last.
    pub async fn wait(&self, last: Option<&str>, gallery: &Gallery) -> Response {
        let Ok(_seat) = self.seats.try_acquire() else {
            return Response::new(
                503,
                TEXT,
                "too many pages follow already; this one asks from time to time\n",
            );
        };
        let (mut commits, mut turns) = (self.commits.clone(), self.turns.clone());
        let mut stop = self.stop.subscribe();
        let id = |(commits, turns): (u64, u64)| format!("{:x}-{commits}-{turns}", self.started);
        let known = (*commits.borrow_and_update(), *turns.borrow_and_update());
        let event = match last {
            None => "hello",
            Some(last) if last != id(known) => "change",
            Some(_) => {
                let changed = tokio::select! {
                    changed = timeout(HOLD, commits.changed()) => matches!(changed, Ok(Ok(()))),
                    Ok(()) = turns.changed() => true,
                    _ = stop.wait_for(|stop| *stop) => false,
                };
                if changed { "change" } else { "still" }
            }
        };
        if event == "change" {
            let ripe = async {
                sleep(TOGETHER).await;
                gallery.ripe().await;
            };
            tokio::select! {
                () = ripe => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }
        let id = id((*commits.borrow(), *turns.borrow()));
        Response::new(
            200,
            "text/event-stream",
            format!("retry: 500\nid: {id}\nevent: {event}\ndata: {{}}\n\n"),
        )
    }
}
