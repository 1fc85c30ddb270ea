//! The state of one connection, and whether its answer can still be withdrawn.
//!
//! One [`Delivery`] is shared by the three parts that each see one side of a connection: the gate (bytes,
//! ends, errors), the exchange (requests and answers) and the connection's own task (time, shutdown). It
//! holds the one fact that none of them knows alone: whether the handler has answered, but no byte of the
//! answer has been passed to the kernel yet.
//!
//! Promises: the `undelivered` callback of an answer runs at most once, and never after a byte of that answer
//! was written; it always runs if the connection ends before that, for any reason. Once it has run, no
//! further byte is written. Does no I/O, and does not hold its lock while it runs a callback.

use super::message::{DoorRefusal, Limits, Undelivered};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// No part of a request has arrived.
    Idle,
    /// Some bytes of a request's head have arrived.
    Head,
    /// The head is complete, and the body is arriving.
    Body,
    /// The handler is working.
    Handling,
    /// The handler has answered; no byte of the answer has been written.
    Answered,
    /// Part of the answer has been written.
    Answering,
}

/// What the gate should do with bytes that the HTTP library wants to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outlet {
    /// Write them.
    Open,
    /// Not an answer to a request, but the library's own bare error page. Drop it; the owner writes a better
    /// one.
    Unasked,
    /// The connection is dead, or the answer was withdrawn.
    Dead,
}

/// What the gate should report to the HTTP library after it has read an end of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The connection has ended.
    Tell,
    /// Report nothing until the next poll: a request that has arrived whole must reach its handler first,
    /// because some requests (releases) must be carried out even if no caller waits for the answer.
    HoldBack,
    /// Report nothing: we closed that side ourselves, and the last answer is still being sent.
    OurOwn,
}

/// What is overdue on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Overdue {
    /// No deadline has passed; check again at that time.
    LookAgain(Instant),
    /// Refuse the part of a request that has arrived, and close.
    Refuse(DoorRefusal),
    /// The client does not read its answer: drop the connection.
    Drop,
    /// Idle for too long: close it as soon as that is safe.
    Retire,
}

struct DeliveryState {
    phase: Phase,
    since: Instant,
    /// Number of requests received over this connection.
    requests: u64,
    /// Bytes of the next request arrived before the answer to this one was written.
    ahead: bool,
    /// The client is gone, or our answer was withdrawn.
    dead: bool,
    /// Since when the connection is to be closed as soon as it is idle; answers then say `Connection: close`.
    retiring: Option<Instant>,
    /// Other connections are waiting, so this one is closed soon unless its client sends a request.
    hurried: bool,
    /// We shut down the reading side, so an end of file does not come from the client.
    deaf: bool,
    /// A request was refused: discard what the client still sends, so that it can read the reason.
    linger: bool,
    /// The end was read while a request's body was arriving, and was held back once.
    held_back: bool,
    /// A phase with its own time limit has begun since the task last checked.
    alarm: bool,
    /// More of this answer follows once it is known; until then no time limit applies to the client.
    more: bool,
    undo: Option<Undelivered>,
}

/// See the top of this file.
pub(super) struct Delivery {
    state: Mutex<DeliveryState>,
    /// Wakes the connection's task, so that it checks the clock now; used by the listener.
    nudge: Notify,
}

/// If a connection is to be closed before any request has arrived, we first wait this long for one:
/// its client may be about to write it, and could not send it a second time (P8).
const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(1);

/// At a full listener, a client has this long to send a whole request: dockerd writes it at once, in one
/// piece.
pub(super) const CROWDED_GRACE: Duration = Duration::from_millis(300);

/// The interval at which a connection's clock is checked in phases without a time limit.
pub(super) const NO_HURRY: Duration = Duration::from_secs(30);

impl Delivery {
    /// A new connection.
    pub(super) fn new() -> Delivery {
        let state = DeliveryState {
            phase: Phase::Idle,
            since: Instant::now(),
            requests: 0,
            ahead: false,
            dead: false,
            retiring: None,
            hurried: false,
            deaf: false,
            linger: false,
            held_back: false,
            alarm: false,
            more: false,
            undo: None,
        };
        Delivery { state: Mutex::new(state), nudge: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, DeliveryState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From the gate: bytes have arrived.
    pub(super) fn received(&self) {
        let mut state = self.state();
        match state.phase {
            Phase::Idle => state.enter(Phase::Head),
            Phase::Head | Phase::Body => {}
            Phase::Handling | Phase::Answered | Phase::Answering => state.ahead = true,
        }
    }

    /// From the exchange: a head is complete.
    pub(super) fn request(&self) {
        let mut state = self.state();
        state.requests += 1;
        state.ahead = false;
        state.enter(Phase::Body);
    }

    /// From the exchange: the body is complete, and the handler starts.
    pub(super) fn whole(&self) {
        let mut state = self.state();
        state.hurried = false;
        state.enter(Phase::Handling);
    }

    /// From the exchange: the answer is ready, and `more` of it may follow later. If the client has already
    /// gone, the answer is undone at once. Returns whether the connection should be closed after this answer.
    pub(super) fn answered(&self, undo: Option<Undelivered>, more: bool) -> bool {
        let mut state = self.state();
        state.enter(Phase::Answered);
        state.more = more;
        state.undo = undo;
        let undo = if state.dead { state.undo.take() } else { None };
        let close = state.retiring.is_some();
        drop(state);
        run(undo);
        close
    }

    /// From the exchange: the rest of the answer is known and is being sent now.
    pub(super) fn completed(&self) {
        let mut state = self.state();
        state.more = false;
        if state.phase == Phase::Handling {
            state.enter(Phase::Answering);
        }
    }

    /// From the exchange: the next answer is a refusal.
    pub(super) fn refused(&self) {
        self.state().linger = true;
    }

    /// For the gate: whether these bytes may be written.
    pub(super) fn outlet(&self) -> Outlet {
        let state = self.state();
        match state.phase {
            _ if state.dead => Outlet::Dead,
            Phase::Idle | Phase::Head => Outlet::Unasked,
            _ => Outlet::Open,
        }
    }

    /// From the gate: at least one byte was passed to the kernel.
    pub(super) fn wrote(&self) {
        let mut state = self.state();
        match state.phase {
            Phase::Answered | Phase::Answering => {
                state.enter(Phase::Answering);
                let undo = state.undo.take();
                drop(state);
                drop(undo);
            }
            _ => {}
        }
    }

    /// From the gate: everything to be written has been written. Returns whether the gate must be polled
    /// again, because the connection should be closed now.
    pub(super) fn flushed(&self) -> bool {
        let mut state = self.state();
        if state.phase != Phase::Answering {
            return false;
        }
        if state.more {
            // The handler still counts as working.
            state.enter(Phase::Handling);
            return false;
        }
        let next = if state.ahead { Phase::Head } else { Phase::Idle };
        state.enter(next);
        state.retiring.is_some()
    }

    /// From the gate: the connection is dead. An answer of which no byte was written is undone now.
    pub(super) fn died(&self) {
        let mut state = self.state();
        state.dead = true;
        let undo = state.undo.take();
        drop(state);
        run(undo);
    }

    /// For the gate, after it read an end of file or an error: what the library should see.
    pub(super) fn ended(&self) -> Ending {
        let mut state = self.state();
        match state.phase {
            Phase::Handling | Phase::Answered | Phase::Answering if state.deaf => return Ending::OurOwn,
            Phase::Body if !state.held_back => {
                state.held_back = true;
                // If we closed the reading side ourselves, the end says nothing about the client.
                state.dead = !state.deaf;
                return Ending::HoldBack;
            }
            _ => {}
        }
        drop(state);
        self.died();
        Ending::Tell
    }

    /// For the gate: whether this connection is idle and should be closed now.
    pub(super) fn closing(&self) -> bool {
        let state = self.state();
        let Some(since) = state.retiring else { return false };
        state.phase == Phase::Idle && (state.requests > 0 || since.elapsed() >= state.grace())
    }

    /// From the gate: from now on the kernel accepts no more bytes from the client. Returns true only the
    /// first time.
    pub(super) fn go_deaf(&self) -> bool {
        !std::mem::replace(&mut self.state().deaf, true)
    }

    /// From the task: close this connection as soon as no request can be on its way.
    pub(super) fn retire(&self) {
        self.state().retiring.get_or_insert_with(Instant::now);
    }

    /// For the listener: since when this connection has been waiting for a request or the rest of one, and
    /// whether it ever received one; `None` while it is working, about to be closed, or too new to be judged.
    pub(super) fn waits(&self) -> Option<(bool, Instant)> {
        let state = self.state();
        let is_slow = match state.phase {
            Phase::Idle if state.requests > 0 => state.retiring.is_none(),
            Phase::Idle | Phase::Head | Phase::Body => state.since.elapsed() >= CROWDED_GRACE,
            _ => false,
        };
        (is_slow && !state.hurried).then_some((state.requests > 0, state.since))
    }

    /// From the listener: others need this connection's slot. Close it as soon as no request can be on its
    /// way, and refuse a request that has not arrived whole. The time for which it has already been silent
    /// counts.
    pub(super) fn give_way(&self) {
        let mut state = self.state();
        if matches!(state.phase, Phase::Idle | Phase::Head | Phase::Body) {
            state.hurried = true;
            if state.phase == Phase::Idle && state.retiring.is_none() {
                state.retiring = Some(state.since);
            }
            drop(state);
            self.nudge.notify_one();
        }
    }

    /// For the task: resolves when the listener wants it to check the clock.
    pub(super) async fn nudged(&self) {
        self.nudge.notified().await;
    }

    /// For the task: what is overdue now, or when to check again.
    pub(super) fn overdue(&self, limits: &Limits) -> Overdue {
        let state = self.state();
        let limit = match state.phase {
            Phase::Idle => match state.retiring {
                Some(_) => state.grace(),
                None => limits.idle,
            },
            Phase::Head | Phase::Body if state.hurried => CROWDED_GRACE,
            Phase::Head => limits.head,
            // The exchange has its own time limit for the body, and a handler's time is not limited.
            Phase::Body | Phase::Handling => return Overdue::LookAgain(Instant::now() + NO_HURRY),
            Phase::Answered | Phase::Answering => limits.answer,
        };
        let since = match (state.phase, state.retiring) {
            (Phase::Idle, Some(retiring)) => retiring.max(state.since),
            _ => state.since,
        };
        if since.elapsed() < limit {
            return Overdue::LookAgain(since + limit);
        }
        match state.phase {
            Phase::Idle => Overdue::Retire,
            Phase::Head => Overdue::Refuse(DoorRefusal::late("head", limit)),
            Phase::Body => Overdue::Refuse(DoorRefusal::late("body", limit)),
            _ => Overdue::Drop,
        }
    }

    /// For the task: whether a phase with a time limit has begun since the last call, and not ended yet.
    pub(super) fn take_alarm(&self) -> bool {
        std::mem::take(&mut self.state().alarm)
    }

    /// For the task: whether the last answer was a refusal.
    pub(super) fn lingers(&self) -> bool {
        let state = self.state();
        state.linger && !state.dead
    }

    /// For the task: whether others are waiting for this slot.
    pub(super) fn is_hurried(&self) -> bool {
        self.state().hurried
    }

    /// For the task: whether the client has gone.
    pub(super) fn is_dead(&self) -> bool {
        self.state().dead
    }
}

impl DeliveryState {
    /// How long to wait for the first request of a connection that is to be closed.
    fn grace(&self) -> Duration {
        if self.hurried { CROWDED_GRACE } else { FIRST_REQUEST_GRACE }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.since = Instant::now();
        self.alarm = matches!(phase, Phase::Head | Phase::Answered | Phase::Answering);
    }
}

impl Drop for Delivery {
    /// The connection is over, however it ended: an answer of which no byte was written is undone.
    fn drop(&mut self) {
        run(self.state.get_mut().unwrap_or_else(PoisonError::into_inner).undo.take());
    }
}

fn run(undo: Option<Undelivered>) {
    if let Some(undo) = undo {
        undo();
    }
}

#[cfg(test)]
#[path = "delivery_tests.rs"]
mod tests;
