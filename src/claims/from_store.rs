//! The plan of all hosts, made of the records in its store.
//!
//! Promises: pure. What this version cannot read is kept and shown as something of others, never left out; two hosts never have one
//! name. Decides nothing: each decision is a transaction of the machine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::division::{Division, HostPlan, HostStanding, HostState, SlicedPool};
use super::known::{HostsPlan, PlanPlace};
use super::machine::event::HostIdentity;
use super::machine::listing::{Glimpse, PlanListing};
use super::machine::records::{Epoch, HostRecord, PoolRecord, base_of};
use crate::plan::prefix::Prefix;
use crate::plan::settings::{Millis, Settings};

/// When each host's latest sign of life was first seen here. For people only: no clock decides anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signs(BTreeMap<String, (u64, Option<Millis>)>);

impl Signs {
    /// Notes the signs in a listing that was read at this time.
    pub fn note(&mut self, listing: &PlanListing, now: Millis) {
        let is_first = self.0.is_empty();
        for (id, (_, host)) in &listing.hosts {
            let beat = host.as_ref().map_or(0, |host| host.beat);
            match self.0.get(id) {
                Some((seen, _)) if *seen == beat => {}
                // The first listing does not say how old its signs are.
                None if is_first => _ = self.0.insert(id.clone(), (beat, None)),
                _ => _ = self.0.insert(id.clone(), (beat, Some(now))),
            }
        }
        self.0.retain(|id, _| listing.hosts.contains_key(id));
    }

    fn at(&self, id: &str) -> Option<Millis> {
        self.0.get(id).and_then(|(_, at)| *at)
    }
}

impl HostsPlan {
    /// What the records say, from the view of this host.
    pub fn from_store(
        own: &HostIdentity,
        place: PlanPlace,
        (listing, glimpse): (&PlanListing, &Glimpse),
        signs: &Signs,
        settings: &Settings,
    ) -> Self {
        let epoch = glimpse.plan.as_ref().map(|(_, plan)| plan.epoch());
        let error = match (&epoch, glimpse.strange) {
            (_, true) => {
                Some("the plan's records were written by a newer gipam; upgrade this one".to_owned())
            }
            (None, false) => Some(format!("{place} has no plan; create it: gipam join --new")),
            (Some(_), false) => None,
        };
        let hosts = hosts(&own.id, listing, epoch.as_ref(), signs);
        let (pools, unread) = pools(listing);
        let unclear = listing.slices.iter().filter(|(_, (_, record))| record.is_none());
        let unclear: BTreeSet<Prefix> = unclear.map(|(prefix, _)| *prefix).collect();
        let division = Division::new(pools, hosts, unclear);
        let name = division.host_by_id(&own.id).map_or_else(|| own.name.clone(), |host| host.name.clone());
        let mut plan = Self {
            host: name,
            id: Some(own.id.clone()),
            place,
            division: None,
            error,
            refused: BTreeMap::new(),
            store: None,
        };
        plan.refused = plan.refusals(&division, settings);
        plan.refuse_unread(&unread, settings);
        plan.error = plan.error.or_else(|| plan.refused.values().next().cloned());
        plan.division = Some(Arc::new(division));
        plan
    }

    /// Refuses pools whose record this version cannot read.
    fn refuse_unread(&mut self, unread: &BTreeMap<Prefix, &str>, settings: &Settings) {
        let bases = settings.pools.iter().filter(|pool| !pool.closed);
        for (pool, base) in bases.flat_map(|pool| pool.bases().map(|base| (&pool.name, base.base))) {
            let Some((known, value)) = unread.iter().find(|(known, _)| known.overlaps(base)) else {
                continue;
            };
            let text = format!(
                "pool {pool} is {base}, and {} has a record of {known} that this gipam does not understand ({value}); upgrade it",
                self.place
            );
            self.refused.entry(base).or_insert(text);
        }
    }
}

/// The pools of the store, and the records that this version cannot read.
fn pools(listing: &PlanListing) -> (Vec<SlicedPool>, BTreeMap<Prefix, &str>) {
    let (mut pools, mut unread) = (Vec::new(), BTreeMap::new());
    for (key, (value, record)) in &listing.pools {
        let Some(base) = base_of(key) else { continue };
        match record.as_ref().and_then(|record| sliced(base, record)) {
            Some(pool) => pools.push(pool),
            None => _ = unread.insert(base, value.as_str()),
        }
    }
    pools.sort_unstable_by_key(|pool| pool.base);
    (pools, unread)
}

fn sliced(base: Prefix, record: &PoolRecord) -> Option<SlicedPool> {
    let by_number = match record.by_number.as_deref() {
        Some(text) => Some(Prefix::parse(text)?),
        None => None,
    };
    let fits = (base.length()..=base.family().bits()).contains(&record.slice);
    fits.then_some(SlicedPool { base, slice: record.slice, shared: Some(record.shared), by_number })
}

/// The hosts by name: those with a record, and those that only slices know.
fn hosts(own: &str, listing: &PlanListing, epoch: Option<&Epoch>, signs: &Signs) -> Vec<HostPlan> {
    let mut slices: BTreeMap<&str, Vec<Prefix>> = BTreeMap::new();
    for (prefix, (_, record)) in &listing.slices {
        if let Some(record) = record {
            slices.entry(&record.host).or_default().push(*prefix);
        }
    }
    let ids: BTreeSet<&str> =
        listing.hosts.keys().map(String::as_str).chain(slices.keys().copied()).collect();
    let mut hosts: Vec<HostPlan> = ids
        .into_iter()
        .map(|id| {
            let known = listing.hosts.get(id);
            let record = known.and_then(|(_, record)| record.as_ref());
            let state = match (known, record) {
                (None, _) => HostState::Unrecorded,
                (Some(_), None) => HostState::Unreadable,
                (_, Some(record)) => state(record, epoch),
            };
            let via = record.into_iter().flat_map(|record| &record.via);
            HostPlan {
                name: record.map_or(id, |record| record.name.as_str()).to_owned(),
                via: via.filter_map(|via| via.parse().ok()).collect(),
                slices: slices.remove(id).unwrap_or_default(),
                record: Some(HostStanding {
                    id: id.to_owned(),
                    state,
                    beat: record.map_or(0, |record| record.beat),
                    sign_at: signs.at(id),
                    fenced: record.and_then(|record| record.fenced),
                    arrived: record.is_some_and(|record| Some(&record.epoch()) == epoch),
                }),
            }
        })
        .collect();
    set_apart(own, &mut hosts);
    hosts
}

fn state(record: &HostRecord, epoch: Option<&Epoch>) -> HostState {
    match record.fenced {
        Some(_) => HostState::Forgotten,
        None if Some(&record.epoch()) == epoch => HostState::Active,
        None => HostState::Absent,
    }
}

/// Sorts the hosts by name, and gives each a name of its own: a machine that was forgotten often joins again under the same name.
/// This host keeps its name, or else one that is not forgotten; the others get their id.
pub(super) fn set_apart(own: &str, hosts: &mut [HostPlan]) {
    let id = |host: &HostPlan| host.record.as_ref().map_or_else(String::new, |record| record.id.clone());
    hosts.sort_by_cached_key(|host| {
        (host.name.to_ascii_lowercase(), id(host) != own, host.is_forgotten(), id(host))
    });
    let mut before = String::new();
    for host in hosts {
        let name = host.name.to_ascii_lowercase();
        if name == before {
            host.name = format!("{} ({})", host.name, id(host));
        }
        before = name;
    }
}

#[cfg(test)]
#[path = "from_store_tests.rs"]
mod tests;
