//! THE WRITER: one thread owns the plan and the books. It drains its queue, decides request after request, commits all
//! their changes with one sync, then answers them all.
//!
//! Promises: *durable*: no answer leaves before its change is on disk. A request whose caller has gone is dropped
//! before it is decided; a release is always carried out. An undeliverable grant is undone: drop the
//! future of [`Ledger::ask`], or call [`Ticket::undo`]. The answers of a batch leave the thread together: waking a
//! waiter on another thread costs a system call, so all of them share one. After a failed write other than a full
//! or busy disk every waiting caller gets an error, and the thread ends with the reason. Knows no HTTP and no JSON.

mod deferred;
mod meters;
mod repeated;
mod steps;
mod timeline;
mod writer;
mod youth;

use std::sync::{Arc, mpsc};

use tokio::sync::oneshot;

pub use self::meters::Meters;
pub use self::writer::{Deliver, Fatal, start};
pub use self::youth::{YOUNG, Youth};
use crate::plan::Plan;
use crate::plan::error::ErrorKind;
use crate::plan::request::{Reply, Request, Undo};
use crate::plan::settings::{Millis, Settings};

/// Why something was not done: the plan refused it, or the disk does not accept writes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Refusal {
    /// Its class.
    pub kind: ErrorKind,
    /// For people.
    pub text: String,
}

impl From<crate::plan::error::Error> for Refusal {
    fn from(error: crate::plan::error::Error) -> Self {
        Self { kind: error.kind(), text: error.to_string() }
    }
}

/// Undoes a grant whose answer could not be delivered.
#[derive(Debug)]
pub struct Ticket {
    undo: Box<Undo>,
    queue: mpsc::Sender<Message>,
}

impl Ticket {
    /// The answer's first byte never left: undo what the request changed.
    pub fn undo(self) {
        // A stopped ledger cannot undo any more; repair finds it.
        let _ = self.queue.send(Message::Undo(self.undo));
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

/// Answers of a committed batch; dropping them delivers each to its caller.
#[derive(Debug, Default)]
pub struct Answers(Vec<(oneshot::Sender<Answer>, Answer)>);

impl Drop for Answers {
    fn drop(&mut self) {
        for (answer, outcome) in self.0.drain(..) {
            // The caller has gone meanwhile: undo the grant.
            if let Err(Ok(Granted { ticket: Some(ticket), .. })) = answer.send(outcome) {
                ticket.undo();
            }
        }
    }
}

/// A change of the settings, or of all books at once.
type Alter = Box<dyn FnOnce(&Plan) -> Result<Altered, Refusal> + Send>;

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
    Alter { alter: Alter, answer: oneshot::Sender<Result<(), Refusal>> },
    Stop,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Ask { .. } => "Ask",
            Self::Undo(_) => "Undo",
            Self::Alter { .. } => "Alter",
            Self::Stop => "Stop",
        })
    }
}

/// The way into the ledger; cheap to clone.
#[derive(Clone, Debug)]
pub struct Ledger {
    queue: mpsc::Sender<Message>,
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

    /// Looks at the plan and changes settings or books in one durable step.
    pub async fn alter(&self, alter: Alter) -> Result<(), Refusal> {
        let (sender, receiver) = oneshot::channel();
        self.queue.send(Message::Alter { alter, answer: sender }).map_err(|_| stopped())?;
        receiver.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// The plan's time, after a step of the clock has been followed: the stamps in the books are compared with this, not with
    /// the time of day.
    pub async fn now(&self) -> Result<Millis, Refusal> {
        let (tell, told) = oneshot::channel();
        let look = move |plan: &Plan| {
            let _ = tell.send(plan.now());
            Ok(Altered::default())
        };
        self.alter(Box::new(look)).await?;
        told.await.map_err(|_| stopped())
    }

    /// Which grants are young.
    pub fn youth(&self) -> &Youth {
        &self.meters.youth
    }

    /// What was counted since the start.
    pub fn meters(&self) -> &Arc<Meters> {
        &self.meters
    }

    /// Ends the thread once the queue is empty.
    pub fn stop(&self) {
        let _ = self.queue.send(Message::Stop);
    }
}
