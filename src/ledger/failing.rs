//! Handles failed writes of the books: nothing in the batch takes effect, and every caller in it gets an
//! error.
//!
//! Promises: after a full or busy disk, the plan is rebuilt from the books, releases are kept, and the ledger
//! continues. After any other failure, every waiting caller is refused and the ledger ends with the reason.
//! Makes no decisions.

use super::parked::Parked;
use super::writer::{Batch, Fatal, Writer};
use super::{Message, Refusal};
use crate::plan::error::ErrorKind;
use crate::store::CommitError;

impl Writer {
    /// Called while the disk is full: tries a write, since requests are decided only once the disk accepts
    /// one.
    pub(super) fn probe(&mut self, batch: &mut Batch) {
        match self.books.probe() {
            Ok(()) => {
                self.meters.healed();
                tracing::info!("the books accept writes again");
                for release in self.deferred.take() {
                    self.decide(release, None, batch);
                }
            }
            Err(error) => batch.failed = Some(error),
        }
    }

    /// Handles a failed commit of this batch.
    pub(super) fn give_up(&mut self, batch: Batch, error: &CommitError) -> Result<(), Fatal> {
        let was_sick = self.meters.is_sick();
        self.meters.failed();
        self.time.rolled_back();
        let rolled_back = self.books.rollback();
        if matches!(error, CommitError::Definite(_)) {
            self.books.make_room();
        }
        let fatal = match (error, rolled_back) {
            (CommitError::Definite(_), Ok(())) => None,
            (CommitError::Definite(_), Err(worse)) => Some(worse.to_string()),
            (CommitError::Unknown(_), _) => Some(error.to_string()),
        };
        let fatal = fatal.or_else(|| if batch.changed { self.reload().err() } else { None });
        let refusal = Refusal {
            kind: ErrorKind::Unavailable,
            text: fatal.clone().unwrap_or_else(|| error.to_string()),
        };
        if !was_sick || fatal.is_some() {
            tracing::error!("{}", refusal.text);
        }
        self.refuse_all(batch, &refusal, fatal.is_none());
        match fatal {
            None => Ok(()),
            Some(text) => {
                self.refuse_queue(&refusal);
                Err(Fatal(text))
            }
        }
    }

    /// Rebuilds the plan from the books: the decisions of a failed batch have no effect.
    fn reload(&mut self) -> Result<(), String> {
        self.plan = self.books.plan().map_err(|error| error.to_string())?;
        self.plan.advance(self.time.now());
        Ok(())
    }

    fn refuse_all(&mut self, batch: Batch, refusal: &Refusal, going_on: bool) {
        for decided in batch.decided {
            let mut refusal = refusal.clone();
            if let Some(release) = decided.release.as_ref().filter(|_| going_on) {
                self.deferred.keep(&self.plan, release);
                refusal.text.push_str("; gipam keeps the release and applies it then");
            }
            if let Some(answer) = decided.answer {
                let _ = answer.send(Err(refusal));
            }
        }
        for outcome in batch.altered {
            outcome(Err(refusal.clone()));
        }
    }

    fn refuse_queue(&mut self, refusal: &Refusal) {
        for Parked { answer, .. } in std::mem::take(&mut self.parked) {
            let _ = answer.send(Err(refusal.clone()));
        }
        while let Ok(message) = self.messages.try_recv() {
            match message {
                Message::Ask { answer: Some(answer), .. } => drop(answer.send(Err(refusal.clone()))),
                Message::Alter(alter) => drop(alter(Err(refusal.clone()))),
                Message::Ask { answer: None, .. }
                | Message::Look(_)
                | Message::Wants(_)
                | Message::Follow(_)
                | Message::Cannot { .. }
                | Message::Stop => {}
            }
        }
    }
}

/// The refusal of requests that arrive after a failed write.
pub(super) fn stopped_by(error: Option<&CommitError>) -> Refusal {
    let text = error.map_or_else(|| "the books could not be written".to_owned(), ToString::to_string);
    Refusal::new(ErrorKind::Unavailable, text)
}
