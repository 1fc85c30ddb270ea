//! What this host's books know about the plan of many hosts, and the changes of it.
//!
//! Promises: an entry says completely what it changes, so that applying entries in order rebuilds the books.

use std::collections::BTreeMap;

use crate::plan::prefix::Prefix;
use crate::plan::settings::Millis;
use crate::plan::slices::SliceState;

use super::records::Epoch;

/// A host of the plan that this one has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenHost {
    pub name: String,
    pub fenced: Option<Millis>,
}

/// The part of the books that the machine reads and changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimBooks {
    /// The plan's id; empty until this host joined.
    pub plan: String,
    /// The epoch at which this host has arrived.
    pub epoch: Epoch,
    /// The beat that was to be written, and the last one that the store is known to have had.
    pub intended: u64,
    pub acknowledged: u64,
    /// How many claims were begun.
    pub seq: u64,
    /// The books were found to be older than the store, and do not agree with it yet.
    pub older: bool,
    pub hosts: BTreeMap<String, SeenHost>,
    /// The slices, each with the value in the store that proves its claim.
    pub slices: BTreeMap<Prefix, (SliceState, String)>,
}

/// One change of the books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BookEntry {
    Slice { prefix: Prefix, state: SliceState, claim: String },
    SliceGone { prefix: Prefix },
    Plan(String),
    Epoch(Epoch),
    Intended(u64),
    Acknowledged(u64),
    Seq(u64),
    Older(bool),
    Host { id: String, host: SeenHost },
}

impl ClaimBooks {
    /// Applies a committed change.
    pub fn apply(&mut self, entry: BookEntry) {
        match entry {
            BookEntry::Slice { prefix, state, claim } => {
                self.slices.insert(prefix, (state, claim));
            }
            BookEntry::SliceGone { prefix } => {
                self.slices.remove(&prefix);
            }
            BookEntry::Plan(id) => self.plan = id,
            BookEntry::Epoch(epoch) => self.epoch = epoch,
            BookEntry::Intended(beat) => self.intended = beat,
            BookEntry::Acknowledged(beat) => self.acknowledged = beat,
            BookEntry::Seq(seq) => self.seq = seq,
            BookEntry::Older(older) => self.older = older,
            BookEntry::Host { id, host } => {
                self.hosts.insert(id, host);
            }
        }
    }

    pub fn state(&self, prefix: Prefix) -> Option<SliceState> {
        self.slices.get(&prefix).map(|(state, _)| *state)
    }

    pub fn holds(&self, prefix: Prefix) -> bool {
        self.state(prefix) == Some(SliceState::Held)
    }

    /// The slices in this state.
    pub fn with(&self, wanted: SliceState) -> impl Iterator<Item = Prefix> {
        self.slices.iter().filter(move |(_, (it, _))| *it == wanted).map(|(prefix, _)| *prefix)
    }
}
