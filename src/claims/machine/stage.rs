//! Where the machine goes on when a call was answered or a write is durable.
//!
//! Promises: a stage carries everything that is needed to tell whether its call happened, and what follows.

use crate::plan::prefix::Prefix;
use crate::plan::settings::Millis;
use crate::plan::slices::SliceState;

use super::calls::Pairs;
use super::event::ClaimAction;
use super::listing::Glimpse;
use super::own_books::BookEntry;
use super::records::{Epoch, PLAN, host_key, read, slice_key};
use super::step::Machine;

/// Why a slice is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It is wanted.
    Claim,
    /// The store says that it is this host's, and the books do not know it.
    Adopt,
    /// At a new epoch the books win.
    Reassert,
}

/// What is under way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    #[default]
    Idle,
    Look,
    List,
    /// Books: joining, and then this host's first record.
    JoinIntended,
    /// Books: a beat is to be written; then the host's record, with the epoch at which it has arrived.
    BeatIntended {
        arrived: Option<Epoch>,
    },
    Host {
        key: String,
        value: String,
        beat: u64,
        arrived: Option<Epoch>,
    },
    /// Books: the beat is in the store.
    Acknowledged,
    /// A mutant's beat.
    EarlyArrival {
        value: String,
    },
    /// Another host's record, put back or fenced again.
    OtherHost {
        key: String,
        value: String,
    },
    Plan {
        value: String,
    },
    Pool,
    /// Books: a claim is counted; then the slice, if it still has this value.
    SeqCounted {
        prefix: Prefix,
        old: Option<String>,
        purpose: Purpose,
    },
    Slice {
        prefix: Prefix,
        value: String,
        purpose: Purpose,
    },
    /// Books: the slice is held.
    Held {
        prefix: Prefix,
        purpose: Purpose,
    },
    Delete {
        prefix: Prefix,
    },
    /// A person forgets a host.
    Fence {
        host: String,
        value: String,
        until: Millis,
    },
    /// Books: something after which the machine looks what comes next.
    Written,
    Leaving {
        prefix: Prefix,
    },
}

impl Stage {
    /// Whether an earlier attempt of this call happened: the key has the value, and nothing else that was compared changed.
    pub fn happened(&self, pairs: &Pairs, glimpse: Option<&Glimpse>) -> bool {
        let has = |key: &str, value: &str| pairs.get(key).is_some_and(|it| it == value);
        match self {
            Self::Host { key, value, .. } | Self::OtherHost { key, value } => has(key, value),
            Self::Plan { value } => has(PLAN, value),
            Self::Fence { host, value, .. } => has(&host_key(host), value),
            Self::Slice { prefix, value, .. } => {
                let plan = glimpse.and_then(|glimpse| glimpse.plan.as_ref());
                let host = glimpse.and_then(|glimpse| glimpse.host.as_ref());
                let unchanged = pairs.get(PLAN) == plan.map(|(value, _)| value);
                let mine = pairs.values().any(|it| Some(it) == host.map(|(value, _)| value));
                has(&slice_key(*prefix), value) && unchanged && mine
            }
            _ => false,
        }
    }
}

impl Machine {
    /// A call happened.
    pub(super) fn done(&mut self, stage: Stage) {
        match stage {
            Stage::Host { value, beat, arrived, .. } => {
                if let Some(listing) = &mut self.listing {
                    listing.hosts.insert(self.me.id.clone(), (value.clone(), read(&value)));
                }
                let glimpse = self.glimpse.as_mut();
                if let (Some(glimpse), Some(record)) = (glimpse, read(&value)) {
                    glimpse.host = Some((value, record));
                }
                let epoch = arrived.map(BookEntry::Epoch);
                let entries = [Some(BookEntry::Acknowledged(beat)), epoch].into_iter().flatten().collect();
                self.beat_at = self.now;
                self.write(entries, Stage::Acknowledged);
            }
            Stage::EarlyArrival { value } => {
                if let (Some(glimpse), Some(record)) = (self.glimpse.as_mut(), read(&value)) {
                    glimpse.host = Some((value, record));
                }
            }
            Stage::Plan { value } => {
                if let (Some(glimpse), Some(record)) = (self.glimpse.as_mut(), read(&value)) {
                    glimpse.plan = Some((value, record));
                }
            }
            Stage::Slice { prefix, value, purpose } => {
                if let Some(listing) = &mut self.listing {
                    listing.slices.insert(prefix, (value.clone(), read(&value)));
                }
                let entry = BookEntry::Slice { prefix, state: SliceState::Held, claim: value };
                self.write(vec![entry], Stage::Held { prefix, purpose });
            }
            Stage::Delete { prefix } => {
                if let Some(listing) = &mut self.listing {
                    listing.slices.remove(&prefix);
                }
                if self.books.state(prefix) == Some(SliceState::Leaving) || self.gives_unasked(prefix) {
                    self.write(vec![BookEntry::SliceGone { prefix }], Stage::Leaving { prefix });
                }
            }
            Stage::Fence { host, .. } => {
                self.out.push(ClaimAction::Forgotten { host, result: Ok(()) });
                self.listing = None;
            }
            Stage::OtherHost { .. } | Stage::Pool => self.listing = None,
            _ => {}
        }
    }

    /// A condition of a call did not hold, and no earlier attempt happened.
    pub(super) fn differs(&mut self, stage: &Stage) {
        match stage {
            Stage::Fence { host, until, .. } => self.forgetting.push((host.clone(), *until)),
            Stage::Slice { .. } => self.unsure = true,
            _ => {}
        }
    }

    /// The write with this number is durable.
    pub(super) fn committed(&mut self, stage: Stage, write: u64) {
        match stage {
            Stage::JoinIntended => {
                self.join_now();
            }
            Stage::BeatIntended { arrived } => {
                self.beat_now(arrived);
            }
            Stage::Acknowledged => self.acknowledged(),
            Stage::SeqCounted { prefix, old, purpose } => {
                self.put_now(prefix, old, purpose);
            }
            Stage::Held { prefix, purpose } => self.satisfied(prefix, purpose, write),
            Stage::Leaving { prefix } => {
                self.giving.remove(&prefix);
                self.cleared.remove(&prefix);
            }
            _ => {}
        }
    }

    /// A write was refused.
    pub(super) fn refused(&mut self, stage: &Stage, why: &str) {
        match stage {
            Stage::Leaving { prefix } => {
                self.giving.remove(prefix);
            }
            // In the store and not in the books: the next list shows it.
            _ => self.listing = None,
        }
        self.note(format!("the books refused a change of slices: {why}"));
    }
}
