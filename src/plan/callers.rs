//! Callers: the dockerd processes that made the requests behind what is held, and which of them have ended.
//!
//! Each caller is kept with the generation that was next when it first came, so a lease's generation tells which
//! callers can have requested it; the lease itself stores nothing. A caller that has gone, and that no container outlived, leaves
//! the list; what stays in the list may still have live containers.
//!
//! Promises: a lease counts as gone only if every caller that can have requested it is. A lease older than the list belongs
//! to an unrecorded caller and is filed under the boot in which the list was started. Does not look at
//! processes itself: the caller passes in what is gone.

use super::Plan;
use super::change::{Change, Kind, Record};
use super::evidence::Death;
use super::request::{Context, Dead, Gone, Space};
use super::subnet::Subnet;

/// One caller, or all callers of a boot that cannot be distinguished any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// It can have asked for leases of this generation and later ones.
    pub first: u64,
    /// And of earlier ones than this, since it had gone then.
    pub until: Option<u64>,
}

impl Caller {
    const fn can_have_asked(&self, generation: u64) -> bool {
        self.first <= generation
            && match self.until {
                Some(until) => generation < until,
                None => true,
            }
    }
}

impl Plan {
    /// The recorded callers, by name.
    pub fn callers(&self) -> impl Iterator<Item = (&str, &Caller)> {
        self.callers.iter().map(|(name, caller)| (name.as_ref(), caller))
    }

    /// Whether every caller that can have asked for this generation has gone, and its containers with it.
    pub fn asked_by_the_gone(&self, generation: u64) -> bool {
        !self.callers.is_empty() && !self.callers.values().any(|caller| caller.can_have_asked(generation))
    }

    /// An unrecorded caller came, and these have ended: `boot` is the name of this boot.
    pub(super) fn decide_arrival(&self, boot: &str, arrived: &str, gone: &[(Box<str>, Gone)]) -> Vec<Change> {
        let next = self.next_generation;
        let mut changes = Vec::new();
        let mut unknown: Option<Caller> = self.callers.get(boot).cloned();
        let mut widen = |first: u64, until: Option<u64>| {
            let known = unknown.clone().unwrap_or(Caller { first, until: Some(0) });
            let until = known.until.zip(until).map(|(known, until)| known.max(until));
            unknown = Some(Caller { first: known.first.min(first), until });
        };
        if self.callers.is_empty() && next > 1 {
            widen(0, Some(next));
        }
        for (name, gone) in gone {
            let Some(caller) = self.callers.get(name) else { continue };
            changes.push(Change::CallerForgotten { name: name.clone() });
            if *gone == Gone::Itself {
                widen(caller.first, Some(next));
            }
        }
        if arrived == boot {
            widen(next, None);
        }
        let boot: Box<str> = boot.into();
        if unknown.as_ref() != self.callers.get(&boot)
            && let Some(caller) = unknown
        {
            changes.push(Change::CallerSeen { name: boot.clone(), caller });
        }
        if arrived != boot.as_ref() && !self.callers.contains_key(arrived) {
            let caller = Caller { first: next, until: None };
            changes.push(Change::CallerSeen { name: arrived.into(), caller });
        }
        changes
    }

    /// The proof that this lease holds nothing any more, if there is one.
    pub(super) fn death_of(
        &self,
        subnet: &Subnet,
        address: u128,
        record: &Record,
        dead: &Dead,
        context: Context,
    ) -> Option<Death> {
        if record.kind != Kind::Endpoint || subnet.state.space != Space::Local {
            return None;
        }
        let lease = (subnet.state.serial, Some(address), record.generation);
        if let Some(death) = dead.proven.get(&lease) {
            return Some(death.clone());
        }
        let gone = self.asked_by_the_gone(record.generation) && !dead.alive_all_the_same.contains(&lease);
        gone.then(|| {
            let now = super::settings::rfc3339(context.now);
            let evidence =
                format!("the dockerd that asked for it was gone at {now}, and its containers with it");
            Death::with_its_dockerd(lease, evidence.into())
        })
    }
}
