//! `/v1/events`: how pages and `gipam top` learn that something happened.
//!
//! Each answer is a short stream of one server-sent event, after which the client sends a new request with the id of that event.
//! So every connection has a limited lifetime, and no event is missed between two answers.
//!
//! Promises: an answer begins immediately and ends with its event; the ledger never waits for a client, and without followers,
//! events do not wake the daemon; the number of followers is limited, and further clients are refused and poll instead. Reports
//! that something changed, with counters, but not what changed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{sleep, timeout};

use super::running::RunningDaemon;
use crate::clock;
use crate::plan::settings::rfc3339;
use crate::server::Response;
use crate::view::rows::WaitMoment;

/// The maximum number of clients that follow at a time.
const SEATS: usize = 32;
/// The event is sent after this time even if nothing has happened.
const HOLD: Duration = Duration::from_secs(20);
/// Changes within this time are combined into one event.
const TOGETHER: Duration = Duration::from_millis(50);

/// The clients that follow events.
#[derive(Debug)]
pub struct Moments {
    running: RunningDaemon,
    seats: Arc<Semaphore>,
    stop: watch::Sender<bool>,
}

/// A client that waits for an event.
struct Follower {
    running: RunningDaemon,
    commits: watch::Receiver<u64>,
    /// Counts the changes of the hooks' progress, which are not commits.
    turns: watch::Receiver<u64>,
    /// Count the changes of what is in the kernel, and of what probes found, which are not commits either.
    kernel: watch::Receiver<u64>,
    probes: watch::Receiver<u64>,
    stop: watch::Receiver<bool>,
    seen: Option<String>,
    hold: Duration,
}

impl Moments {
    /// Serves the events of this daemon.
    pub fn new(running: RunningDaemon) -> Self {
        Self { running, seats: Arc::new(Semaphore::new(SEATS)), stop: watch::Sender::new(false) }
    }

    /// Answers all waiting clients, because the daemon is about to stop.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Whether the daemon is about to stop.
    pub fn stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// How many clients follow events now.
    pub fn count(&self) -> usize {
        SEATS - self.seats.available_permits()
    }

    /// Answers with the next event after the one with the id `seen`, within `hold` seconds, or at once without `seen`. The head
    /// of the answer is sent immediately, so that the client knows that the daemon answers even on a host where nothing happens.
    pub fn wait(&self, seen: Option<String>, hold: Option<u64>) -> Response {
        let Ok(seat) = self.seats.clone().try_acquire_owned() else {
            let text = "too many clients already follow events; poll instead\n";
            return Response::new(503, "text/plain; charset=utf-8", text);
        };
        let waiting = Follower {
            commits: self.running.ledger.follow(),
            turns: self.running.hooks.follow(),
            kernel: self.running.edge.state.follow(),
            probes: self.running.probes.follow(),
            stop: self.stop.subscribe(),
            running: self.running.clone(),
            seen,
            hold: hold.map_or(HOLD, Duration::from_secs).min(HOLD),
        };
        let (sender, later) = mpsc::channel(1);
        tokio::spawn(async move {
            tokio::select! {
                event = waiting.event() => drop(sender.send(Ok(event.into_bytes())).await),
                // The client has disconnected.
                () = sender.closed() => {}
            }
            drop(seat);
        });
        Response::new(200, "text/event-stream", "retry: 500\n").and_later(later)
    }
}

impl Follower {
    /// Waits for a change, or until the hold time is over, and returns the event.
    async fn event(mut self) -> String {
        let known = self.id();
        let event = match self.seen.take() {
            None => "hello",
            Some(seen) if seen != known => "change",
            Some(_) => {
                let changed = tokio::select! {
                    changed = timeout(self.hold, self.commits.changed()) => matches!(changed, Ok(Ok(()))),
                    Ok(()) = self.turns.changed() => true,
                    Ok(()) = self.kernel.changed() => true,
                    Ok(()) = self.probes.changed() => true,
                    _ = self.stop.wait_for(|stop| *stop) => false,
                };
                if changed { "change" } else { "still" }
            }
        };
        if event == "change" {
            tokio::select! {
                () = sleep(TOGETHER) => {}
                _ = self.stop.wait_for(|stop| *stop) => {}
            }
        }
        let id = self.id();
        let moment = serde_json::to_string(&self.moment(&id)).unwrap_or_default();
        format!("id: {id}\nevent: {event}\ndata: {moment}\n\n")
    }

    /// An id that changes whenever something happens.
    fn id(&mut self) -> String {
        let Self { commits, turns, kernel, probes, .. } = self;
        let counts = [commits, turns, kernel, probes].map(|changes| *changes.borrow_and_update());
        format!("{:x}-{}", self.running.started, counts.map(|count| count.to_string()).join("-"))
    }

    fn moment(&self, id: &str) -> WaitMoment {
        let counters = &self.running.counters;
        let counts = |counts: Vec<(&str, u64)>| {
            counts.into_iter().map(|(outcome, count)| (outcome.to_owned(), count)).collect()
        };
        let called = counters.called().into_iter();
        WaitMoment {
            id: id.to_owned(),
            now: rfc3339(clock::now()),
            started: rfc3339(self.running.started),
            requests: counters.requests.load(Ordering::Relaxed),
            refused: counters.refused.load(Ordering::Relaxed),
            calls: called.map(|(method, outcomes)| (method.to_owned(), counts(outcomes))).collect(),
        }
    }
}
