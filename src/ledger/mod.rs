//! THE WRITER: one task owns the plan and the books. It takes the messages in its queue, decides the requests
//! one by one, commits all changes with one sync, and then answers all requests (`writer`, [`Writer::run`]).
//!
//! Promises: *durable*: no answer is sent before its change is on disk. If the caller of a request has gone,
//! the request is dropped before it is decided, but a release is always carried out. To undo a grant that
//! cannot be delivered, drop the future of [`Ledger::ask`] or call [`Ticket::undo`]. Readers of the plan see
//! only what is durable. A commit blocks the thread of the task, so tasks that have to answer while a disk
//! hangs must run on another thread. If a write fails for a reason other than a full or busy disk, every
//! waiting caller gets an error and the task ends with the reason. Knows nothing about HTTP or JSON.

mod deferred;
mod failing;
mod meters;
mod parked;
mod repeated;
mod steps;
mod timeline;
mod touched;
mod writer;
mod youth;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

pub use self::meters::Meters;
pub use self::touched::TouchedLeases;
pub use self::writer::{Fatal, Writer};
pub use self::youth::{YOUNG, Youth};
use crate::plan::Plan;
use crate::plan::error::ErrorKind;
pub use crate::plan::error::Refusal;
use crate::plan::request::{Reply, Request, Undo, Want};
use crate::plan::settings::{Millis, Settings};

/// Undoes a grant whose answer could not be delivered.
#[derive(Debug)]
pub struct Ticket {
    undo: Undo,
    queue: mpsc::UnboundedSender<Message>,
}

impl Ticket {
    /// Undoes the change of the request; call this if not even the first byte of the answer was sent.
    pub fn undo(self) {
        // A stopped ledger cannot undo anything any more; repair finds the grant.
        let request = Request::Undo(Box::new(self.undo));
        let _ = self.queue.send(Message::Ask { request, answer: None });
    }
}

/// A decision that is durable.
#[derive(Debug)]
pub struct Granted {
    /// The answer.
    pub reply: Reply,
    /// The ticket to undo it; only for grants.
    pub ticket: Option<Ticket>,
}

type Answer = Result<Granted, Refusal>;

/// A change of the settings or of the whole books: gets the plan, or the reason why the books cannot be
/// written now. If it has nothing to write, it answers its caller itself.
type Alter = Box<dyn FnOnce(Result<&Plan, Refusal>) -> Option<(Altered, AlterOutcome)> + Send>;

/// Receives the outcome: whether the changes that an [`Alter`] requested are durable.
type AlterOutcome = Box<dyn FnOnce(Result<(), Refusal>) + Send>;

/// One read of the plan takes at most this long, plus one step.
const BITE: Duration = Duration::from_micros(300);

/// The time that one read of the plan may take.
#[derive(Debug)]
pub struct Budget(Instant);

impl Budget {
    /// The budget of a read that begins now.
    pub fn now() -> Self {
        Self(Instant::now())
    }

    /// Whether the time is used up, so that the next read must do the rest.
    pub fn is_spent(&self) -> bool {
        self.0.elapsed() > BITE
    }
}

/// A function that reads the plan, which agrees with the books at that time.
type PlanLook = Box<dyn FnOnce(&Plan) + Send>;

/// The changes that an [`Alter`] requests.
#[derive(Debug, Default)]
pub struct Altered {
    /// New settings, saved with the books.
    pub settings: Option<Settings>,
    /// Changes to commit.
    pub changes: Vec<crate::plan::change::Change>,
    /// New values for the `meta` table of the books.
    pub meta: Vec<(String, String)>,
}

/// Messages that wait in the queue.
enum Message {
    Ask { request: Request, answer: Option<oneshot::Sender<Answer>> },
    Alter(Alter),
    Look(PlanLook),
    Wants(mpsc::UnboundedSender<Want>),
    Follow(mpsc::UnboundedSender<Vec<TouchedLeases>>),
    Cannot { want: Want, why: Box<str> },
    Stop,
}

/// A handle to the ledger; cheap to clone.
#[derive(Clone, Debug)]
pub struct Ledger {
    queue: mpsc::UnboundedSender<Message>,
    meters: Arc<Meters>,
}

/// A pending answer. Dropping it early cancels the request; a grant that was already sent is undone.
struct Waiting {
    answer: oneshot::Receiver<Answer>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.answer.close();
        if let Ok(Ok(Granted { ticket: Some(ticket), .. })) = self.answer.try_recv() {
            ticket.undo();
        }
    }
}

fn stopped() -> Refusal {
    Refusal { kind: ErrorKind::Unavailable, text: "gipam is stopping; please try again".to_owned() }
}

impl Ledger {
    /// Sends a request and waits until its answer is durable. Dropping the future cancels the request.
    pub async fn ask(&self, request: Request) -> Answer {
        let (sender, receiver) = oneshot::channel();
        self.queue.send(Message::Ask { request, answer: Some(sender) }).map_err(|_| stopped())?;
        let mut waiting = Waiting { answer: receiver };
        (&mut waiting.answer).await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Reads the plan and changes settings or books in one durable step; returns the value that `alter` made
    /// for its caller.
    pub async fn alter<T: Send + 'static>(
        &self,
        alter: impl FnOnce(&Plan) -> Result<(Altered, T), Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let (sender, receiver) = oneshot::channel();
        let alter = move |plan: Result<&Plan, Refusal>| match plan.and_then(alter) {
            Ok((altered, made)) => {
                let outcome: AlterOutcome =
                    Box::new(move |outcome| drop(sender.send(outcome.map(|()| made))));
                Some((altered, outcome))
            }
            Err(refusal) => {
                let _ = sender.send(Err(refusal));
                None
            }
        };
        self.queue.send(Message::Alter(Box::new(alter))).map_err(|_| stopped())?;
        receiver.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Reads the plan between two batches, after the answers of the last one were sent. Keep it short, since
    /// requests wait.
    pub async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Plan) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let (sender, receiver) = oneshot::channel();
        let look = move |plan: &Plan| drop(sender.send(look(plan)));
        self.queue.send(Message::Look(Box::new(look))).map_err(|_| stopped())?;
        receiver.await.map_err(|_| stopped())
    }

    /// The time of the plan, after it has followed any step of the clock. Stamps in the books are compared
    /// with this time, and not with the time of day.
    pub async fn now(&self) -> Result<Millis, Refusal> {
        self.look(Plan::now).await
    }

    /// Receives the wants of requests from now on. Answer each want with a slice in the books
    /// ([`Request::Slice`]) or with [`Ledger::cannot`]; a request waits at most five seconds for the answer.
    pub fn wants(&self) -> mpsc::UnboundedReceiver<Want> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let _ = self.queue.send(Message::Wants(sender));
        receiver
    }

    /// Receives what each commit may have changed about leases, from now on and instead of an earlier follower.
    pub fn follow_leases(&self) -> mpsc::UnboundedReceiver<Vec<TouchedLeases>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let _ = self.queue.send(Message::Follow(sender));
        receiver
    }

    /// Decides again the requests that wait for this want, which cannot be claimed for this reason.
    pub fn cannot(&self, want: Want, why: &str) {
        let _ = self.queue.send(Message::Cannot { want, why: why.into() });
    }

    /// The record of which grants are young.
    pub fn youth(&self) -> &Youth {
        &self.meters.youth
    }

    /// The values counted since the start.
    pub fn meters(&self) -> &Arc<Meters> {
        &self.meters
    }

    /// Ends the task once everything queued before this is done.
    pub fn stop(&self) {
        let _ = self.queue.send(Message::Stop);
    }
}
