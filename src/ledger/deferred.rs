//! Releases that a full or busy disk kept back: they stay queued until the disk takes writes again.
//!
//! Promises: bounded; each carries the generation it was meant for, so that it never releases a later grant.

use std::collections::VecDeque;

use crate::plan::Plan;
use crate::plan::request::Request;

/// Most releases kept; beyond it the oldest is dropped, for repair to find.
const MOST: usize = 10_000;

/// The kept-back releases, oldest first.
#[derive(Debug, Default)]
pub(super) struct Deferred {
    releases: VecDeque<Request>,
}

impl Deferred {
    /// Keeps a release, bound to the generation that `plan` (the durable state) shows; anything else is left out.
    pub(super) fn keep(&mut self, plan: &Plan, request: &Request) {
        let Some(bound) = bound(plan, request) else { return };
        if self.releases.contains(&bound) {
            return;
        }
        if self.releases.len() >= MOST {
            self.releases.pop_front();
            tracing::warn!(
                "more than {MOST} releases wait for the disk; the oldest is dropped (gipam release frees it)"
            );
        }
        self.releases.push_back(bound);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.releases.is_empty()
    }

    pub(super) fn take(&mut self) -> VecDeque<Request> {
        std::mem::take(&mut self.releases)
    }
}

/// Whether a request gives something back.
pub(super) const fn is_release(request: &Request) -> bool {
    matches!(request, Request::ReleaseSubnet { .. } | Request::ReleaseAddress { .. })
}

fn bound(plan: &Plan, request: &Request) -> Option<Request> {
    match request {
        Request::ReleaseSubnet { id, generation: None } => {
            let generation = Some(plan.held(id)?.state.generation);
            Some(Request::ReleaseSubnet { id: id.clone(), generation })
        }
        Request::ReleaseAddress { id, address, generation: None } => {
            let subnet = plan.held(id)?;
            let record = subnet.addresses.get(subnet.number_of(*address)?)?;
            let generation = Some(record.generation);
            record.leased.then(|| Request::ReleaseAddress { id: id.clone(), address: *address, generation })
        }
        Request::ReleaseSubnet { .. } | Request::ReleaseAddress { .. } => Some(request.clone()),
        _ => None,
    }
}
