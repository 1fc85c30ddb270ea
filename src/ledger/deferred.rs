//! Releases that could not be written to a full or busy disk; they stay queued until the disk accepts writes again.
//!
//! Promises: bounded; each release carries the generation that it was meant for, so it never releases a later grant; equal
//! releases are kept only once. Undos of grants are kept as well. Does not touch the disk.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;

use crate::plan::Plan;
use crate::plan::request::Request;

/// Maximum number of kept releases; beyond it, the oldest is dropped and left for repair to find.
const MOST: usize = 10_000;

/// What a kept release would end: PoolID, address, generation.
type ReleaseTarget = (String, Option<IpAddr>, Option<u64>);

/// The kept releases, oldest first.
#[derive(Debug, Default)]
pub(super) struct Deferred {
    releases: VecDeque<Request>,
    targets: BTreeSet<ReleaseTarget>,
}

impl Deferred {
    /// Keeps a release, bound to the generation in `plan` (the durable state); ignores any other request.
    pub(super) fn keep(&mut self, plan: &Plan, request: &Request) {
        let Some(bound) = bound(plan, request) else { return };
        if target(&bound).is_some_and(|target| !self.targets.insert(target)) {
            return;
        }
        self.releases.push_back(bound);
        if self.releases.len() > MOST {
            if let Some(target) = self.releases.pop_front().as_ref().and_then(target) {
                self.targets.remove(&target);
            }
            tracing::warn!(
                "more than {MOST} releases wait for the disk; the oldest is dropped (gipam release frees it)"
            );
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.releases.is_empty()
    }

    pub(super) fn take(&mut self) -> VecDeque<Request> {
        self.targets.clear();
        std::mem::take(&mut self.releases)
    }
}

/// Whether a request releases something: it is carried out even if its caller has gone, and kept if the disk is full.
pub(super) const fn gives_back(request: &Request) -> bool {
    matches!(request, Request::Release { .. } | Request::Undo(_))
}

/// The target of a release; `None` for an undo, which is never requested twice.
fn target(request: &Request) -> Option<ReleaseTarget> {
    match request {
        Request::Release { id, address, generation } => Some((id.clone(), *address, *generation)),
        _ => None,
    }
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
