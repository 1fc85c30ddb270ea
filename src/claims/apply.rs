//! Brings the slices that the plan file gives to this host into the books, and takes out those that it no longer gives.
//!
//! Promises: pure; repeating it changes nothing; a slice that still has networks becomes lost, not gone, and another slice that
//! overlaps it waits; without a usable plan file, the books stay as they are. Commits nothing: the ledger does, in one step.

use std::collections::BTreeSet;

use super::known::HostsPlan;
use crate::plan::Plan;
use crate::plan::change::Change;
use crate::plan::prefix::Prefix;
use crate::plan::request::{Request, SliceRequest};
use crate::plan::slices::{Slice, SliceState};

/// What proves a claim that a plan file made.
pub const BY_FILE: &str = "file";

/// The changes to the books, and a line about each for people.
#[derive(Debug, Default)]
pub struct SliceChanges {
    pub changes: Vec<Change>,
    pub lines: Vec<String>,
    /// Slices that the file no longer gives to this host, although networks are in them.
    pub lost: Vec<Prefix>,
}

/// What makes the books agree with the plan file. Without `[plan]`, this host gives all slices up.
pub fn changes(plan: &Plan, hosts: Option<&HostsPlan>) -> SliceChanges {
    let mut found = SliceChanges::default();
    // The hosts agree through a store: what is claimed there is brought into the books by the task of claims.
    if hosts.is_some_and(|hosts| hosts.store.is_some()) {
        return found;
    }
    let wanted = match hosts {
        Some(hosts) => match hosts.wanted() {
            Some(wanted) => wanted,
            None => return found,
        },
        None => BTreeSet::new(),
    };
    let place = hosts.map_or_else(|| "the configuration".to_owned(), |hosts| hosts.place.to_string());
    for slice in plan.slices().iter().filter(|slice| !wanted.contains(&slice.prefix)) {
        found.take_out(plan, slice, &place);
    }
    for prefix in wanted {
        found.bring_in(plan, prefix, &place);
    }
    found
}

impl SliceChanges {
    fn take_out(&mut self, plan: &Plan, slice: &Slice, place: &str) {
        let prefix = slice.prefix;
        let gone = plan.decide(&slice_request(SliceRequest::Gone { prefix }), 0);
        if gone.reply.is_ok() {
            self.changes.extend(gone.changes);
            self.lines.push(format!("slice {prefix} no longer belongs to this host"));
            return;
        }
        self.lost.push(prefix);
        if slice.state != SliceState::Lost {
            self.changes.extend(plan.decide(&slice_request(SliceRequest::Lost { prefix }), 0).changes);
            self.lines.push(format!(
                "slice {prefix} is lost: {place} no longer gives it to this host, but networks are in it; it gives no new ones, \
                 and ends with the last of them"
            ));
        }
    }

    fn bring_in(&mut self, plan: &Plan, prefix: Prefix, place: &str) {
        if let Some(lost) = self.lost.iter().find(|lost| lost.overlaps(prefix)) {
            self.lines.push(format!(
                "slice {prefix} of {place} waits: networks are in {lost}, a slice of another length around or in it"
            ));
            return;
        }
        let same = |known: &Slice| known.state == SliceState::Held && *known.claim == *BY_FILE;
        if !plan.slices().get(prefix).is_some_and(same) {
            let (state, claim) = (SliceState::Held, BY_FILE.into());
            self.changes.push(Change::SlicePut(Slice { prefix, state, claim }));
            self.lines.push(format!("slice {prefix} belongs to this host"));
        }
    }
}

fn slice_request(request: SliceRequest) -> Request {
    Request::Slice(Box::new(request))
}
