//! The state of one connection, and whether its answer can still be withdrawn.
//!
//! One [`Delivery`] is shared by the three parts that see something of a connection: the gate (bytes, ends, errors),
//! the exchange (requests and answers) and the connection's own task (time, shutdown). It holds the one fact
//! none of them has alone: whether an answer has been given of which no byte has gone to the kernel.
//!
//! Promises: an answer's `undelivered` runs at most once; never after a byte of that answer was written; and
//! always if the connection ends, for any reason, before one was. Once it ran, nothing more is written.
//! It does no I/O and holds its lock across no foreign code.

use super::message::{DoorRefusal, Limits, Undelivered};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing of a request has arrived.
    Idle,
    /// Some bytes of a head have arrived.
    Head,
    /// The head is complete, the body is arriving.
    Body,
    /// The handler is at work.
    Handling,
    /// The handler has answered; no byte of the answer has been written.
    Answered,
    /// Some of the answer has been written.
    Answering,
}

/// What the gate is to do with bytes that the HTTP library wants to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outlet {
    /// Write them.
    Open,
    /// Not an answer to a request: the library's own bare error page. Drop it; the owner words a better one.
    Unasked,
    /// The connection is dead, or the answer was withdrawn.
    Dead,
}

/// What the HTTP library should see of an end of file that the gate has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The connection has ended.
    Tell,
    /// Nothing for one more round: a request that has arrived whole reaches its handler first, because some
    /// requests (releases) are to be carried out though nobody waits for the answer.
    HoldBack,
    /// Nothing: we closed that side ourselves, and the last answer is still on its way.
    OurOwn,
}

/// What has become overdue on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Overdue {
    /// Nothing; look again then.
    LookAgain(Instant),
    /// Refuse what there is of a request, and close.
    Refuse(DoorRefusal),
    /// The client does not take its answer: drop the connection.
    Drop,
    /// Idle for too long: close it as soon as that is safe.
    Retire,
}

struct DeliveryState {
    phase: Phase,
    since: Instant,
    /// Requests that came over this connection.
    requests: u64,
    /// Bytes of a next request came before the answer to this one was out.
    ahead: bool,
    /// The client is gone, or our answer was withdrawn.
    dead: bool,
    /// To be closed when idle, from then on; answers say `Connection: close`.
    retiring: Option<Instant>,
    /// Other connections wait: a client that does not send a request is soon closed.
    hurried: bool,
    /// We told the kernel to take no more from the client: an end of file is our own doing.
    deaf: bool,
    /// Something was refused: throw away what still comes, so that the client reads why.
    linger: bool,
    /// The end was seen while a request's body was being read, and kept back once.
    held_back: bool,
    /// A phase with a clock of its own has begun since the task last looked.
    alarm: bool,
    /// More of this answer follows when it is known; nobody is slow until then.
    more: bool,
    undo: Option<Undelivered>,
}

/// See the top of this file.
pub(super) struct Delivery {
    state: Mutex<DeliveryState>,
    /// The listener wants the connection's task to look at the clock now.
    nudge: Notify,
}

/// A connection that is being closed although no request ever came over it waits this long for the first
/// one: its client may be about to write it, and would not get a second chance (P8).
const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(1);

/// At a full listener, a client has this time to say all of a request: dockerd writes it in one piece, as soon as it is connected.
pub(super) const CROWDED_GRACE: Duration = Duration::from_millis(300);

/// How often the clock of a connection is looked at when nothing can become overdue.
pub(super) const NO_HURRY: Duration = Duration::from_secs(30);

impl Delivery {
    /// A fresh connection.
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

    /// The gate: bytes came in.
    pub(super) fn received(&self) {
        let mut state = self.state();
        match state.phase {
            Phase::Idle => state.enter(Phase::Head),
            Phase::Head | Phase::Body => {}
            Phase::Handling | Phase::Answered | Phase::Answering => state.ahead = true,
        }
    }

    /// The exchange: a head is complete.
    pub(super) fn request(&self) {
        let mut state = self.state();
        state.requests += 1;
        state.ahead = false;
        state.enter(Phase::Body);
    }

    /// The exchange: the body is complete, the handler begins.
    pub(super) fn whole(&self) {
        let mut state = self.state();
        state.hurried = false;
        state.enter(Phase::Handling);
    }

    /// The exchange: here is the answer, of which there may be `more` later. If the client has already gone, it is
    /// undone at once. Returns whether the connection is to be closed after it.
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

    /// The exchange: the rest of the answer is known, and leaves now.
    pub(super) fn completed(&self) {
        let mut state = self.state();
        state.more = false;
        if state.phase == Phase::Handling {
            state.enter(Phase::Answering);
        }
    }

    /// The exchange: the answer to come is a refusal.
    pub(super) fn refused(&self) {
        self.state().linger = true;
    }

    /// The gate: may these bytes be written?
    pub(super) fn outlet(&self) -> Outlet {
        let state = self.state();
        match state.phase {
            _ if state.dead => Outlet::Dead,
            Phase::Idle | Phase::Head => Outlet::Unasked,
            _ => Outlet::Open,
        }
    }

    /// The gate: at least one byte went to the kernel.
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

    /// The gate: all that was to be written has been. Returns whether the gate must be looked at again,
    /// because the connection has just become one to close.
    pub(super) fn flushed(&self) -> bool {
        let mut state = self.state();
        if state.phase != Phase::Answering {
            return false;
        }
        if state.more {
            // The handler still counts as at work.
            state.enter(Phase::Handling);
            return false;
        }
        let next = if state.ahead { Phase::Head } else { Phase::Idle };
        state.enter(next);
        state.retiring.is_some()
    }

    /// The gate: the connection is dead. An answer without a written byte is undone now.
    pub(super) fn died(&self) {
        let mut state = self.state();
        state.dead = true;
        let undo = state.undo.take();
        drop(state);
        run(undo);
    }

    /// The gate: an end of file, or an error, was read. What should the library get?
    pub(super) fn ended(&self) -> Ending {
        let mut state = self.state();
        match state.phase {
            Phase::Handling | Phase::Answered | Phase::Answering if state.deaf => return Ending::OurOwn,
            Phase::Body if !state.held_back => {
                state.held_back = true;
                // What we closed ourselves does not tell anything about the client.
                state.dead = !state.deaf;
                return Ending::HoldBack;
            }
            _ => {}
        }
        drop(state);
        self.died();
        Ending::Tell
    }

    /// The gate: is this connection idle and to be closed now?
    pub(super) fn closing(&self) -> bool {
        let state = self.state();
        let Some(since) = state.retiring else { return false };
        state.phase == Phase::Idle && (state.requests > 0 || since.elapsed() >= state.grace())
    }

    /// The gate: from now on the kernel takes nothing more from the client. True the first time only.
    pub(super) fn go_deaf(&self) -> bool {
        !std::mem::replace(&mut self.state().deaf, true)
    }

    /// The task: close this connection as soon as no request can be on its way.
    pub(super) fn retire(&self) {
        self.state().retiring.get_or_insert_with(Instant::now);
    }

    /// The listener: since when a request, or the rest of one, is waited for, and whether one ever came; none while the
    /// connection is at work, on its way out, or too young to be judged.
    pub(super) fn waits(&self) -> Option<(bool, Instant)> {
        let state = self.state();
        let is_slow = match state.phase {
            Phase::Idle if state.requests > 0 => state.retiring.is_none(),
            Phase::Idle | Phase::Head | Phase::Body => state.since.elapsed() >= CROWDED_GRACE,
            _ => false,
        };
        (is_slow && !state.hurried).then_some((state.requests > 0, state.since))
    }

    /// The listener: others need this connection's slot; close it as soon as no request can be on its way, and refuse
    /// what has not come whole. The time that it has already been silent counts.
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

    /// The task: resolves when the listener wants it to look.
    pub(super) async fn nudged(&self) {
        self.nudge.notified().await;
    }

    /// The task: what the clock says.
    pub(super) fn overdue(&self, limits: &Limits) -> Overdue {
        let state = self.state();
        let limit = match state.phase {
            Phase::Idle => match state.retiring {
                Some(_) => state.grace(),
                None => limits.idle,
            },
            Phase::Head | Phase::Body if state.hurried => CROWDED_GRACE,
            Phase::Head => limits.head,
            // The exchange has its own clock for the body, and a handler may take its time.
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
            Phase::Head => Overdue::Refuse(DoorRefusal::HeadTimeout { limit }),
            Phase::Body => Overdue::Refuse(DoorRefusal::BodyTimeout { limit }),
            _ => Overdue::Drop,
        }
    }

    /// The task: has a phase begun, and not ended, since this was last asked, for which there is a limit?
    pub(super) fn take_alarm(&self) -> bool {
        std::mem::take(&mut self.state().alarm)
    }

    /// The task: was a refusal the last answer?
    pub(super) fn lingers(&self) -> bool {
        let state = self.state();
        state.linger && !state.dead
    }

    /// The task: do others wait for this slot?
    pub(super) fn is_hurried(&self) -> bool {
        self.state().hurried
    }

    /// The task: has the client gone?
    pub(super) fn is_dead(&self) -> bool {
        self.state().dead
    }
}

impl DeliveryState {
    /// How long the first request of a connection that is to be closed is waited for.
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
    /// The connection is over, however it ended: what was never written never will be.
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
