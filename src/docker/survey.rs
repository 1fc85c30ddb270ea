//! Questions about what this host uses, and their answers, between requests and the thread that watches the
//! host.
//!
//! Promises: a request that needs the answer waits for it without delaying others; the answer includes
//! everything that was in use when the question was sent. Does not read the host itself.

use tokio::sync::{mpsc, oneshot};

use crate::ledger::Refusal;
use crate::plan::error::ErrorKind;
use crate::plan::host_use::HostUse;
use crate::plan::prefix::Prefix;

/// A question, with the base prefixes of all pools if they have changed.
#[derive(Debug)]
pub struct Ask {
    /// The prefixes that the answer must cover; if absent, those of the previous question.
    pub bases: Option<Box<[Prefix]>>,
    answer: oneshot::Sender<Result<HostUse, String>>,
}

impl Ask {
    pub fn answer(self, in_use: Result<HostUse, String>) {
        // The request may have been abandoned.
        let _ = self.answer.send(in_use);
    }
}

/// The receiving end of questions.
pub type Surveyor = mpsc::UnboundedReceiver<Ask>;

/// The sending end of questions; cheap to clone.
#[derive(Clone, Debug)]
pub struct Survey(mpsc::UnboundedSender<Ask>);

impl Survey {
    /// Creates both ends.
    pub fn new() -> (Self, Surveyor) {
        let (questions, surveyor) = mpsc::unbounded_channel();
        (Self(questions), surveyor)
    }

    /// The blocking form of [`Survey::look`], for views. Returns an empty result if the host cannot be read.
    pub fn now(&self, bases: Option<Box<[Prefix]>>) -> HostUse {
        let (answer, answered) = oneshot::channel();
        let sent = self.0.send(Ask { bases, answer }).is_ok();
        let answered = sent.then(|| answered.blocking_recv().ok()).flatten();
        answered.and_then(Result::ok).unwrap_or_default()
    }

    /// Returns the prefixes that this host currently uses in the pools.
    pub async fn look(&self, bases: Option<Box<[Prefix]>>) -> Result<HostUse, Refusal> {
        let gone = || Refusal {
            kind: ErrorKind::Unavailable,
            text: "cannot choose a subnet: gipam no longer watches the routes of this host; restart gipam"
                .to_owned(),
        };
        let (answer, answered) = oneshot::channel();
        self.0.send(Ask { bases, answer }).map_err(|_| gone())?;
        let refused = |text| Refusal::new(ErrorKind::Unavailable, text);
        answered.await.map_err(|_| gone())?.map_err(refused)
    }
}
