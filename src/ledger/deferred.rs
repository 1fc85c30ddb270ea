//! Releases that could not be written to a full or busy disk; they stay queued until the disk accepts writes
//! again.
//!
//! Promises: bounded; each release carries the generation that it was meant for, so it never releases a later
//! grant; equal releases are kept only once. Undos of grants are kept as well. Does not touch the disk.

use std::collections::VecDeque;

use crate::plan::Plan;
use crate::plan::request::Request;

/// Maximum number of kept releases; beyond it, the oldest is dropped and left for repair to find.
const MOST: usize = 10_000;

/// The kept releases, oldest first.
#[derive(Debug, Default)]
pub(super) struct Deferred(VecDeque<Request>);

impl Deferred {
    /// Keeps a release, bound to the generation in `plan` (the durable state); ignores any other request.
    pub(super) fn keep(&mut self, plan: &Plan, request: &Request) {
        let Some(bound) = bound(plan, request).filter(|bound| !self.0.contains(bound)) else { return };
        self.0.push_back(bound);
        if self.0.len() > MOST {
            self.0.pop_front();
            tracing::warn!(
                "more than {MOST} releases wait for the disk; the oldest is dropped (gipam release frees its lease)"
            );
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&mut self) -> VecDeque<Request> {
        std::mem::take(&mut self.0)
    }
}

/// Whether a request releases something: it is carried out even if its caller has gone, and kept if the disk
/// is full.
pub(super) const fn gives_back(request: &Request) -> bool {
    matches!(request, Request::Release { .. } | Request::Undo(_))
}

fn bound(plan: &Plan, request: &Request) -> Option<Request> {
    match request {
        Request::Release { id, address, generation: None } => {
            let generation = Some(match address {
                None => plan.held(id)?.state.generation,
                Some(address) => {
                    let subnet = plan.asked_under(id)?;
                    subnet.addresses.lease(subnet.number_of(*address)?)?.generation
                }
            });
            Some(Request::Release { id: id.clone(), address: *address, generation })
        }
        _ => gives_back(request).then(|| request.clone()),
    }
}
