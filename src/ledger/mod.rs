//! THE WRITER: one task owns the plan and the books. It takes what waits in its queue, decides request after request, commits
//! all their changes with one sync, then answers them all (`writer`, [`Writer::run`]).
//!
//! Promises: *durable*: no answer leaves before its change is on disk. A request whose caller has gone is dropped
//! before it is decided; a release is always carried out. An undeliverable grant is undone: drop the
//! future of [`Ledger::ask`], or call [`Ticket::undo`]. Looks see only what is durable. A commit blocks the thread that the
//! task runs on: nothing that has to answer while a disk hangs may share it. After a failed write other than a full
//! or busy disk every waiting caller gets an error, and the task ends with the reason. Knows no HTTP and no JSON.

mod deferred;
mod failing;
mod meters;
mod repeated;
mod steps;
mod timeline;
mod writer;
mod youth;

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

pub use self::meters::Meters;
pub use self::writer::{Fatal, Writer};
pub use self::youth::{YOUNG, Youth};
use crate::plan::Plan;
use crate::plan::error::ErrorKind;
pub use crate::plan::error::Refusal;
use crate::plan::request::{Reply, Request, Undo};
use crate::plan::settings::{Millis, Settings};

/// Undoes a grant whose answer could not be delivered.
#[derive(Debug)]
pub struct Ticket {
    undo: Undo,
    queue: mpsc::UnboundedSender<Message>,
}

impl Ticket {
    /// The answer's first byte never left: undo what the request changed.
    pub fn undo(self) {
        // A stopped ledger cannot undo any more; repair finds it.
        let _ = self.queue.send(Message::Undo(Box::new(self.undo)));
    }
}

/// What was decided and is durable.
#[derive(Debug)]
pub struct Granted {
    /// The answer.
    pub reply: Reply,
    /// To undo it, for grants.
    pub ticket: Option<Ticket>,
}

type Answer = Result<Granted, Refusal>;

/// A change of the settings, or of all books at once: gets the plan, or why nothing can be written now; answers its caller
/// itself where nothing is to be written.
type Alter = Box<dyn FnOnce(Result<&Plan, Refusal>) -> Option<(Altered, AlterOutcome)> + Send>;

/// Gets whether what an [`Alter`] wanted is durable.
type AlterOutcome = Box<dyn FnOnce(Result<(), Refusal>) + Send>;

/// Sees the plan as the books have it.
type PlanLook = Box<dyn FnOnce(&Plan) + Send>;

/// What an [`Alter`] wants done.
#[derive(Debug, Default)]
pub struct Altered {
    /// New settings, saved with the books.
    pub settings: Option<Settings>,
    /// Changes to commit.
    pub changes: Vec<crate::plan::change::Change>,
    /// Values of the books' `meta` table.
    pub meta: Vec<(String, String)>,
}

/// What waits in the queue.
enum Message {
    Ask { request: Request, answer: oneshot::Sender<Answer> },
    Undo(Box<Undo>),
    Alter(Alter),
    Look(PlanLook),
    Stop,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Ask { .. } => "Ask",
            Self::Undo(_) => "Undo",
            Self::Alter(_) => "Alter",
            Self::Look(_) => "Look",
            Self::Stop => "Stop",
        })
    }
}

/// The way into the ledger; cheap to clone.
#[derive(Clone, Debug)]
pub struct Ledger {
    queue: mpsc::UnboundedSender<Message>,
    meters: Arc<Meters>,
}

/// A pending answer. Dropping it early cancels it; a grant that was already sent is undone.
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
    /// Asks and waits until the answer is durable. Dropping the future takes the request back.
    pub async fn ask(&self, request: Request) -> Answer {
        let (sender, receiver) = oneshot::channel();
        self.queue.send(Message::Ask { request, answer: sender }).map_err(|_| stopped())?;
        let mut waiting = Waiting { answer: receiver };
        (&mut waiting.answer).await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Looks at the plan and changes settings or books in one durable step; answers what `alter` made for its caller.
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

    /// Looks at the plan between two batches, when the answers of the last one have left. Keep it short: requests wait.
    pub async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Plan) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let (sender, receiver) = oneshot::channel();
        let look = move |plan: &Plan| drop(sender.send(look(plan)));
        self.queue.send(Message::Look(Box::new(look))).map_err(|_| stopped())?;
        receiver.await.map_err(|_| stopped())
    }

    /// The plan's time, after a step of the clock has been followed: the stamps in the books are compared with this, not with
    /// the time of day.
    pub async fn now(&self) -> Result<Millis, Refusal> {
        self.look(Plan::now).await
    }

    /// Which grants are young.
    pub fn youth(&self) -> &Youth {
        &self.meters.youth
    }

    /// What was counted since the start.
    pub fn meters(&self) -> &Arc<Meters> {
        &self.meters
    }

    /// Ends the task once everything before this is done.
    pub fn stop(&self) {
        let _ = self.queue.send(Message::Stop);
    }
}
