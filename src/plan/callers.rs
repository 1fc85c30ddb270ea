//! Callers: the dockerd processes that requested the current leases, and which of these processes have ended.
//!
//! Each caller is recorded with the generation that was next when it first appeared, so a lease's generation shows which
//! callers could have requested it; the lease itself does not store them. A caller is removed from the list once it and all its
//! containers have ended. If only the caller itself has ended, the entry of its boot covers it: its containers may still run.
//!
//! Promises: a lease counts as gone only if every caller that could have requested it has ended. A lease
//! older than the list belongs to an unrecorded caller, which is recorded under the boot in which the list
//! was started. Does not examine processes itself: the ended ones are passed in.

use super::Plan;
use super::change::{Change, Kind, Why};
use super::choose_address::AddressSearch;
use super::request::{Gone, Space};
use super::settings::rfc3339;
use super::subnet::Subnet;

/// One caller, or all callers of a boot that can no longer be distinguished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The first generation that it could have requested.
    pub first: u64,
    /// If it has ended, the first generation that it can no longer have requested.
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

    /// Whether every caller that could have requested this generation has ended, together with its containers.
    pub fn asked_by_the_gone(&self, generation: u64) -> bool {
        !self.callers.is_empty() && !self.callers.values().any(|caller| caller.can_have_asked(generation))
    }

    /// Records a caller that is not in the list yet, and removes those that have ended; `boot` is the name of this boot.
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
}

impl AddressSearch<'_> {
    /// The change that frees a lease of this subnet or of a sibling, if it is proven to be unused.
    pub(super) fn clear(&self, holder: &Subnet, address: u128) -> Option<Change> {
        let record = holder.addresses.get(address)?;
        if record.kind != Kind::Endpoint || holder.state.space != Space::Local {
            return None;
        }
        let (dead, at, serial) = (&self.request.dead, self.plan.now, holder.state.serial);
        let lease = (serial, Some(address), record.generation);
        let evidence = match dead.proven.get(&lease) {
            Some(death) => death.evidence(),
            None if dead.alive_nevertheless.contains(&lease) => return None,
            None if !self.plan.asked_by_the_gone(record.generation) => return None,
            None => {
                let now = rfc3339(at);
                format!("the dockerd that requested it was gone at {now}, and its containers with it").into()
            }
        };
        Some(Change::AddressReleased { serial, address, at, why: Why::Repair(evidence) })
    }
}
