//! Parked requests: they cannot be answered before a young subnet has cooled or a slice has been claimed.
//!
//! Promises: the ledger never waits for a claim. It passes the want on and continues with other requests. It
//! decides the request again when the slice is in the books, when the claim turns out to be impossible, or
//! when no answer came within [`LONGEST`]. A want that several requests share is passed on once. This module
//! does not claim slices itself.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::Answer;
use super::writer::{Batch, Writer};
use crate::plan::change::Change;
use crate::plan::request::{Request, Want};
use crate::plan::settings::Millis;

/// How long a request waits for a claim. dockerd waits 30 s for an answer.
const LONGEST: Duration = Duration::from_secs(5);
/// The maximum number of parked requests; further requests are decided without a claim.
const MOST: usize = 1_024;

/// A request that waits.
pub(super) struct Parked {
    /// When to decide it again at the latest, by the steady clock.
    due: Millis,
    request: Request,
    pub(super) answer: oneshot::Sender<Answer>,
    /// The space that must be claimed first; `None` if the request waits only until `due`.
    want: Option<Want>,
}

impl Parked {
    pub(super) const fn due(&self) -> Millis {
        self.due
    }

    /// Whether the request waits for this change.
    fn is_met_by(&self, change: &Change) -> bool {
        let Change::SlicePut(slice) = change else { return false };
        match self.want {
            Some(Want::Room { base }) => base.contains(slice.prefix),
            Some(Want::These(prefix)) => prefix.overlaps(slice.prefix),
            None => false,
        }
    }
}

impl Writer {
    /// Parks a request until this time of the plan.
    pub(super) fn wait_until(&mut self, until: Millis, request: Request, answer: oneshot::Sender<Answer>) {
        let wait = until.saturating_sub(self.plan.now());
        let due = self.time.steady().saturating_add(wait);
        self.parked.push(Parked { due, request, answer, want: None });
    }

    /// Passes the want of a request on and parks the request. If this host does not claim slices, decides at
    /// once without a claim.
    pub(super) fn claim(
        &mut self,
        want: Want,
        mut request: Request,
        answer: oneshot::Sender<Answer>,
        batch: &mut Batch,
    ) {
        let known = self.parked.iter().any(|parked| parked.want == Some(want));
        let full = self.parked.len() >= MOST;
        let sent = !full && (known || self.wants.as_ref().is_some_and(|wants| wants.send(want).is_ok()));
        if !sent {
            let why = match full {
                true => "too many requests wait for a claim; try again",
                false => {
                    "this host has no [plan], so it cannot claim a slice; configure [plan], or remove slice from the pool"
                }
            };
            request.note_cannot(want, why);
            return self.decide(request, Some(answer), batch);
        }
        let longest = Millis::try_from(LONGEST.as_millis()).unwrap_or(Millis::MAX);
        let due = self.time.steady().saturating_add(longest);
        self.parked.push(Parked { due, request, answer, want: Some(want) });
    }

    /// Decides again the requests that are due.
    pub(super) fn retry_due(&mut self, batch: &mut Batch) {
        let now = self.time.steady();
        self.retry(
            batch,
            |parked| parked.due <= now,
            Some("the claim of a slice was not answered within 5 s; try again"),
        );
    }

    /// Decides again the requests that wait for the changes of the batch.
    pub(super) fn retry_met(&mut self, batch: &mut Batch) {
        while let Some(change) = batch.slices.pop() {
            self.retry(batch, |parked| parked.is_met_by(&change), None);
        }
    }

    /// Decides again the requests that wait for this want, which cannot be claimed.
    pub(super) fn cannot(&mut self, want: Want, why: &str, batch: &mut Batch) {
        self.retry(batch, |parked| parked.want == Some(want), Some(why));
    }

    /// Decides the selected requests again, the oldest first, after recording why their claim failed.
    fn retry(&mut self, batch: &mut Batch, is_due: impl Fn(&Parked) -> bool, why: Option<&str>) {
        if !self.parked.iter().any(&is_due) {
            return;
        }
        let (due, later) = std::mem::take(&mut self.parked).into_iter().partition(is_due);
        self.parked = later;
        for Parked { mut request, answer, want, .. } in due {
            if let Some((want, why)) = want.zip(why) {
                request.note_cannot(want, why);
            }
            self.decide(request, Some(answer), batch);
        }
    }
}

/// The channel that wants are sent to.
pub(super) type Wants = mpsc::UnboundedSender<Want>;
