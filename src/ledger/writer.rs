//! The ledger's task: take the queued messages, decide each request, commit once, answer.
//!
//! Promises: requests are decided in the order of the queue. A batch becomes durable as a whole or (full
//! disk) not at all, and then the plan is rebuilt from the books. The books are tidied while no requests
//! arrive. Waits for the queue and never polls, except for one attempt per second while releases wait for a
//! full disk.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::yield_now;
use tokio::time::timeout;

use super::deferred::{Deferred, gives_back};
use super::failing::stopped_by;
use super::parked::{Parked, Wants};
use super::repeated::Repeated;
use super::timeline::Timeline;
use super::touched::LeaseTeller;
use super::{Alter, AlterOutcome, Altered, Answer, Granted, Ledger, Message, Meters, PlanLook, Ticket};
use crate::clock::Clock;
use crate::plan::Plan;
use crate::plan::change::Change;
use crate::plan::request::{Reply, Request};
use crate::store::{Books, CommitError};

/// Why the ledger ended without a request to stop.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct Fatal(pub String);

/// Maximum number of requests in one batch.
const BATCH: usize = 1_024;
/// The interval at which a full disk is tried again while releases wait for it.
const RETRY: Duration = Duration::from_secs(1);

/// Reads of the plan may take this long between two batches, plus the time of the last one.
const GAP: Duration = Duration::from_micros(500);

/// After this time without a request, the ledger counts as quiet.
const QUIET: Duration = Duration::from_millis(250);

/// The plan, the books, and what waits for them.
pub struct Writer {
    pub(super) meters: Arc<Meters>,
    pub(super) plan: Plan,
    pub(super) books: Books,
    pub(super) time: Timeline,
    pub(super) messages: mpsc::UnboundedReceiver<Message>,
    queue: mpsc::UnboundedSender<Message>,
    /// Requests that wait for a very young cooling subnet or for a claim.
    pub(super) parked: Vec<Parked>,
    /// The channel for the wants of requests; `None` if this host does not claim slices.
    pub(super) wants: Option<Wants>,
    /// Learns which leases change.
    follower: LeaseTeller,
    looks: VecDeque<PlanLook>,
    pub(super) deferred: Deferred,
    repeated: Repeated,
    /// No request has arrived for a while.
    quiet: bool,
    stopping: bool,
}

/// A request of the batch that is decided but not answered yet.
pub(super) struct Decided {
    pub(super) answer: Option<oneshot::Sender<Answer>>,
    outcome: Answer,
    /// The release to keep if the commit fails.
    pub(super) release: Option<Request>,
}

/// The requests of one batch.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) decided: Vec<Decided>,
    pub(super) altered: Vec<AlterOutcome>,
    pub(super) changed: bool,
    /// The message to log about the clock once the step is in the books.
    pub(super) stepped: Option<String>,
    /// The changed slices, for which requests may wait.
    pub(super) slices: Vec<Change>,
    /// The books were tidied: this has to be committed, but followers are not notified.
    tidied: bool,
    pub(super) failed: Option<CommitError>,
}

impl Writer {
    /// Creates the writer for a loaded plan and its books, and the handle to it. The task starts only with
    /// [`Writer::run`].
    pub fn new(plan: Plan, books: Books, clock: Clock) -> (Ledger, Self) {
        let (queue, messages) = mpsc::unbounded_channel();
        let meters = Arc::new(Meters::default());
        let ledger = Ledger { queue: queue.clone(), meters: meters.clone() };
        let writer = Self {
            meters,
            plan,
            books,
            time: Timeline::new(clock),
            messages,
            queue,
            parked: Vec::new(),
            wants: None,
            follower: LeaseTeller::default(),
            looks: VecDeque::new(),
            deferred: Deferred::default(),
            repeated: Repeated::default(),
            quiet: false,
            stopping: false,
        };
        (ledger, writer)
    }

    /// Serves until [`Ledger::stop`] or until a write fails, then closes the books. Needs a runtime with time
    /// enabled.
    pub async fn run(mut self) -> Result<(), Fatal> {
        let outcome = self.serve().await;
        self.messages.close();
        // After a failure, the plan may differ from the books.
        if outcome.is_ok()
            && let Err(error) = self.books.fold_all(&self.plan)
        {
            // Unfolded events stay in the history, where the next start reads them.
            tracing::warn!("the books {}: {error}", self.books.path().display());
        }
        if let Err(error) = self.books.close() {
            tracing::warn!("{error}");
        }
        outcome
    }

    async fn serve(&mut self) -> Result<(), Fatal> {
        // Compare the stamps with the clock before the first request.
        let batch = self.begin();
        self.meters.youth.note(self.time.steady(), self.plan.counters().0);
        self.finish(batch)?;
        self.meters.end_batch();
        while !self.stopping {
            let first = self.next().await;
            self.gather().await;
            let Some(first) = self.or_only_looks(first) else {
                self.between_batches().await;
                continue;
            };
            let mut batch = self.begin();
            if first.is_none() {
                self.tidy(&mut batch);
            }
            self.take_all(first, &mut batch);
            self.finish(batch)?;
            self.meters.end_batch();
            self.between_batches().await;
        }
        Ok(())
    }

    /// Yields as long as that brings more requests: the last answers are sent, ready sockets are read, and
    /// their requests share a commit.
    async fn gather(&mut self) {
        let mut waiting = usize::MAX;
        while self.messages.len() != waiting && self.messages.len() < BATCH {
            waiting = self.messages.len();
            yield_now().await;
        }
    }

    /// The next message; `None` when it is time to serve what waits, or to tidy.
    async fn next(&mut self) -> Option<Message> {
        if !self.looks.is_empty() {
            yield_now().await;
            let message = self.messages.try_recv().ok();
            self.quiet &= message.is_none();
            return message;
        }
        let due = self.parked.iter().map(Parked::due).min();
        let due = due.map(|at| Duration::from_millis(at.saturating_sub(self.time.steady()).max(1)));
        let retry = (!self.deferred.is_empty()).then_some(RETRY);
        let untidy = !self.meters.is_sick() && self.books.is_untidy();
        let tidy = untidy.then_some(if self.quiet { Duration::ZERO } else { QUIET });
        let wait = [due, retry, tidy].into_iter().flatten().min();
        let message = match wait {
            // This task holds a sender itself, so the queue never closes.
            None => self.messages.recv().await,
            Some(Duration::ZERO) => {
                yield_now().await;
                self.messages.try_recv().ok()
            }
            Some(wait) => timeout(wait, self.messages.recv()).await.ok().flatten(),
        };
        self.quiet = message.is_none() && (self.quiet || tidy == wait);
        message
    }

    /// Passes the first message on. Returns `None` if only reads of the plan wait while the disk refuses
    /// writes: trying the disk may take seconds, and these reads need not wait for it.
    fn or_only_looks(&mut self, first: Option<Message>) -> Option<Option<Message>> {
        match first {
            Some(Message::Look(look)) if self.meters.is_sick() && self.messages.is_empty() => {
                self.looks.push_back(look);
                None
            }
            None if self.meters.is_sick() && !self.looks.is_empty() => None,
            first => Some(first),
        }
    }

    /// Begins a batch: reads the clock and handles what is due.
    fn begin(&mut self) -> Batch {
        let mut batch = Batch::default();
        self.meters.begin_batch();
        self.time.read();
        self.plan.advance(self.time.now());
        if self.meters.is_sick() {
            self.probe(&mut batch);
        }
        self.tick(&mut batch);
        self.retry_due(&mut batch);
        batch
    }

    /// Decides `first`, if any, and everything else that waits, up to the size of one batch.
    fn take_all(&mut self, first: Option<Message>, batch: &mut Batch) {
        let mut next = first.or_else(|| self.messages.try_recv().ok());
        while let Some(message) = next {
            match message {
                Message::Ask { request, answer } => self.decide(request, answer, batch),
                Message::Alter(alter) => self.alter(alter, batch),
                Message::Look(look) => self.looks.push_back(look),
                Message::Wants(wants) => self.wants = Some(wants),
                Message::Follow(follower) => self.follower.set(follower),
                Message::Cannot { want, why } => self.cannot(want, &why, batch),
                Message::Stop => self.stopping = true,
            }
            self.retry_met(batch);
            let full = batch.decided.len() >= BATCH || self.stopping;
            next = if full { None } else { self.messages.try_recv().ok() };
        }
    }

    /// Does the work that may wait until the answers were sent: reads of the plan, and the checkpoint. If
    /// many reads wait, does some of them, at least one, so that requests do not wait for all of them and no
    /// read waits forever.
    async fn between_batches(&mut self) {
        let checkpoint = !self.meters.is_sick() && self.books.is_checkpoint_due();
        if !checkpoint && self.looks.is_empty() {
            return;
        }
        yield_now().await;
        let begun = Instant::now();
        while let Some(look) = self.looks.pop_front() {
            look(&self.plan);
            if begun.elapsed() >= GAP && !self.stopping {
                break;
            }
        }
        if checkpoint {
            self.meters.begin_batch();
            self.books.checkpoint_if_due();
            self.meters.end_batch();
        }
    }

    /// Tidies a part of the books if the ledger is quiet.
    fn tidy(&mut self, batch: &mut Batch) {
        if self.quiet && batch.failed.is_none() && self.books.is_untidy() {
            batch.failed = self.books.tidy(&self.plan).err();
            batch.tidied = true;
        }
    }

    pub(super) fn decide(
        &mut self,
        request: Request,
        answer: Option<oneshot::Sender<Answer>>,
        batch: &mut Batch,
    ) {
        let release = gives_back(&request);
        if !release && answer.as_ref().is_some_and(oneshot::Sender::is_closed) {
            return;
        }
        if batch.failed.is_some() {
            let outcome = Err(stopped_by(batch.failed.as_ref()));
            batch.decided.push(Decided { answer, outcome, release: release.then_some(request) });
            return;
        }
        if self.repeated.keeps(&request) {
            return;
        }
        let decision = self.plan.decide(&request, random_for(&request));
        for warning in &decision.warnings {
            tracing::warn!("{warning}");
        }
        match (&decision.reply, answer) {
            (Ok(Reply::Wait(until)), Some(answer)) => self.wait_until(*until, request, answer),
            (Ok(Reply::Claim(want)), Some(answer)) => self.claim(*want, request, answer, batch),
            (reply, answer) => {
                let storms =
                    |change: &Change| matches!(change, Change::SubnetMarked { marks, .. } if marks.stormed);
                if reply.is_err() && decision.changes.iter().any(storms) {
                    self.meters.storms.inc();
                }
                self.write(&decision.changes, batch);
                self.repeated.note(&self.plan, &request, &decision);
                let ticket = decision.undo.map(|undo| Ticket { undo, queue: self.queue.clone() });
                let outcome = decision.reply.map(|reply| Granted { reply, ticket });
                batch.decided.push(Decided { answer, outcome, release: release.then_some(request) });
            }
        }
    }

    pub(super) fn write(&mut self, changes: &[Change], batch: &mut Batch) {
        for change in changes {
            if let Err(error) = self.books.write(&self.plan, change) {
                batch.failed = Some(error);
                return;
            }
            self.plan.apply(change);
            self.follower.note(&self.plan, change);
            batch.changed = true;
            if matches!(change, Change::SlicePut(_)) {
                batch.slices.push(change.clone());
            }
        }
    }

    fn alter(&mut self, alter: Alter, batch: &mut Batch) {
        let plan =
            if batch.failed.is_some() { Err(stopped_by(batch.failed.as_ref())) } else { Ok(&self.plan) };
        if let Some((altered, outcome)) = alter(plan) {
            self.carry_out(altered, batch);
            batch.altered.push(outcome);
        }
    }

    /// Writes what an alteration requests. Stops at the first write that fails, since its transaction may
    /// already be gone.
    fn carry_out(&mut self, altered: Altered, batch: &mut Batch) {
        let Altered { settings, changes, meta } = altered;
        if let Some(settings) = settings {
            let written = self.books.put_settings(&settings);
            let written = written.and_then(|()| self.books.write_reservations(&self.plan, &settings));
            let written = written.and_then(|()| self.books.write_stale(&self.plan, &settings));
            if let Err(error) = written {
                batch.failed = Some(error);
                return;
            }
            batch.changed = true;
            self.plan.configure(settings);
            self.follower.note_pools();
        }
        for (key, value) in meta {
            if let Err(error) = self.books.put_meta(&key, &value) {
                batch.failed = Some(error);
                return;
            }
            batch.changed = true;
        }
        self.write(&changes, batch);
    }

    /// Commits the batch and answers every caller in it.
    fn finish(&mut self, mut batch: Batch) -> Result<(), Fatal> {
        if batch.failed.is_none() && (batch.changed || batch.tidied) {
            let (begun, requests) = (Instant::now(), batch.decided.len().max(1));
            let committed = self.commit();
            if committed.is_ok() && batch.changed {
                self.meters.committed(begun.elapsed(), requests, self.time.now());
                if let Some(text) = batch.stepped.take() {
                    tracing::info!("{text}");
                }
                self.meters.youth.note(self.time.steady(), self.plan.counters().0);
            }
            batch.failed = committed.err();
        }
        let Some(error) = batch.failed.take() else {
            let changed = batch.changed;
            self.time.committed();
            Self::answer_all(batch);
            if changed {
                self.meters.tell();
                self.follower.tell();
            }
            return Ok(());
        };
        self.follower.forget();
        self.give_up(batch, &error)
    }

    fn answer_all(batch: Batch) {
        for Decided { answer, outcome, .. } in batch.decided {
            // The caller has disconnected in the meantime: undo the grant.
            if let Some(answer) = answer
                && let Err(Ok(Granted { ticket: Some(ticket), .. })) = answer.send(outcome)
            {
                ticket.undo();
            }
        }
        for outcome in batch.altered {
            outcome(Ok(()));
        }
    }

    fn commit(&mut self) -> Result<(), CommitError> {
        self.books.write_counters(&self.plan)?;
        self.books.tidy_if_pressing(&self.plan)?;
        self.books.commit()
    }
}

/// Random bits for a new PoolID.
fn random_for(request: &Request) -> u64 {
    let mut random = [0; 8];
    if matches!(request, Request::Subnet(_)) {
        // If the kernel gives no random bytes, the plan still makes the id unique among those held.
        let _ = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty());
    }
    u64::from_ne_bytes(random)
}
