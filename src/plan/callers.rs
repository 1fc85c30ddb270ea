//! Who asked for what is held: the dockerd processes that came, and which of them have gone.
//!
//! Each caller stands with the generation that was next when it first came, so that a lease says by its generation who
//! can have asked for it, without a word in the lease itself. A caller that has gone, and whose containers cannot have
//! outlived it (it ran without live-restore, or the machine was started anew), leaves the list; what stays in the list
//! may still have live containers.
//!
//! Promises: a lease is called gone only if every caller that can have asked for it is. A lease older than the list is
//! somebody's whom nobody wrote down, and stands under the name of the boot in which the list was begun. Does not look at
//! processes: what is gone comes in.

use super::Plan;
use super::change::{Change, Kind, Record};
use super::request::{Context, Dead, Gone, Space};
use super::subnet::Subnet;

/// One caller, or all callers of a boot that nobody can tell apart any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// It can have asked for leases of this generation and later ones.
    pub first: u64,
    /// And of earlier ones than this, since it had gone then.
    pub until: Option<u64>,
    /// Whether its containers outlive it (`live-restore`); absent where nobody could ask.
    pub live_restore: Option<bool>,
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
    /// The callers that are written down, by name.
    pub fn callers(&self) -> impl Iterator<Item = (&str, &Caller)> {
        self.callers.iter().map(|(name, caller)| (name.as_ref(), caller))
    }

    /// Whether every caller that can have asked for this generation has gone, and its containers with it.
    pub fn asked_by_the_gone(&self, generation: u64) -> bool {
        !self.callers.is_empty() && !self.callers.values().any(|caller| caller.can_have_asked(generation))
    }

    /// A caller came that is not written down, and these have gone: `boot` is the name of this boot.
    pub(super) fn decide_arrival(&self, boot: &str, arrived: &str, gone: &[(Box<str>, Gone)]) -> Vec<Change> {
        let next = self.next_generation;
        let mut changes = Vec::new();
        let mut unknown: Option<Caller> = self.callers.get(boot).cloned();
        let mut widen = |first: u64, until: Option<u64>| {
            let known = unknown.clone().unwrap_or(Caller { first, until: Some(0), live_restore: None });
            let until = known.until.zip(until).map(|(known, until)| known.max(until));
            unknown = Some(Caller { first: known.first.min(first), until, live_restore: None });
        };
        if self.callers.is_empty() && next > 1 {
            widen(0, Some(next));
        }
        for (name, gone) in gone {
            let Some(caller) = self.callers.get(name) else { continue };
            changes.push(Change::CallerForgotten { name: name.clone() });
            if *gone == Gone::WithThisBoot || caller.live_restore == Some(false) {
                continue;
            }
            widen(caller.first, Some(next));
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
            let caller = Caller { first: next, until: None, live_restore: None };
            changes.push(Change::CallerSeen { name: arrived.into(), caller });
        }
        changes
    }

    /// The Engine of this caller says whether its containers outlive it.
    pub(super) fn decide_live_restore(&self, name: &str, live_restore: bool) -> Vec<Change> {
        let caller = self.callers.get(name).filter(|caller| caller.live_restore != Some(live_restore));
        let seen = |caller: &Caller| Change::CallerSeen {
            name: name.into(),
            caller: Caller { live_restore: Some(live_restore), ..caller.clone() },
        };
        caller.map(seen).into_iter().collect()
    }

    /// Why this lease holds nothing any more, if that is certain.
    pub(super) fn death_of(
        &self,
        subnet: &Subnet,
        address: u128,
        record: &Record,
        dead: &Dead,
        context: Context,
    ) -> Option<Box<str>> {
        if record.kind != Kind::Endpoint || subnet.state.space != Space::Local {
            return None;
        }
        let lease = (subnet.state.serial, address, record.generation);
        if let Some(evidence) = dead.leases.get(&lease) {
            return Some(evidence.clone());
        }
        let gone = self.asked_by_the_gone(record.generation) && !dead.alive_all_the_same.contains(&lease);
        gone.then(|| {
            let now = super::settings::rfc3339(context.now);
            format!("the dockerd that asked for it was gone at {now}, and its containers with it").into()
        })
    }
}
