//! What was read from the store: proposals, never decisions.
//!
//! Promises: keeps the bytes next to what they mean, since conditions compare bytes. A value that this version does not
//! understand is kept as something of others.

use std::collections::BTreeMap;

use crate::plan::prefix::Prefix;

use super::calls::Pairs;
use super::records::{
    HostRecord, PLAN, PlanRecord, PoolRecord, SliceRecord, host_key, host_of, read, slice_of,
};

/// The two records that each host looks at regularly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glimpse {
    /// `Err`: its bytes, if this version does not understand them.
    pub plan: Option<(String, PlanRecord)>,
    pub host: Option<(String, HostRecord)>,
    /// One of the two exists, and this version does not understand it.
    pub strange: bool,
}

impl Glimpse {
    pub fn of(pairs: &Pairs, me: &str) -> Self {
        let (plan, host) = (pairs.get(PLAN), pairs.get(&host_key(me)));
        let mut glimpse = Self { plan: None, host: None, strange: false };
        glimpse.plan = plan.and_then(|value| Some((value.clone(), read(value)?)));
        glimpse.host = host.and_then(|value| Some((value.clone(), read(value)?)));
        glimpse.strange =
            plan.is_some() != glimpse.plan.is_some() || host.is_some() != glimpse.host.is_some();
        glimpse
    }
}

/// A slice in the store: its value, and what it means if this version understands it.
pub type Owned = (String, Option<SliceRecord>);

/// All records of the plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanListing {
    pub hosts: BTreeMap<String, (String, Option<HostRecord>)>,
    /// By key.
    pub pools: BTreeMap<String, (String, Option<PoolRecord>)>,
    pub slices: BTreeMap<Prefix, Owned>,
}

impl PlanListing {
    pub fn of(pairs: &Pairs) -> Self {
        let mut listing = Self::default();
        for (key, value) in pairs {
            if let Some(id) = host_of(key) {
                listing.hosts.insert(id.to_owned(), (value.clone(), read(value)));
            } else if let Some(prefix) = slice_of(key) {
                listing.slices.insert(prefix, (value.clone(), read(value)));
            } else if key.starts_with("pool/") {
                listing.pools.insert(key.clone(), (value.clone(), read(value)));
            }
        }
        listing
    }

    /// Whether a person said that this host is gone for good.
    pub fn is_fenced(&self, id: &str) -> bool {
        self.hosts.get(id).and_then(|(_, host)| host.as_ref()).is_some_and(|host| host.fenced.is_some())
    }

    /// A host for people: its name, or its id.
    pub fn name<'a>(&'a self, id: &'a str) -> &'a str {
        self.hosts.get(id).and_then(|(_, host)| host.as_ref()).map_or(id, |host| host.name.as_str())
    }

    /// The slices of one host.
    pub fn of_host<'a>(&'a self, id: &'a str) -> impl Iterator<Item = (Prefix, &'a str, &'a SliceRecord)> {
        self.slices.iter().filter_map(move |(prefix, (value, record))| {
            let record = record.as_ref().filter(|record| record.host == id)?;
            Some((*prefix, value.as_str(), record))
        })
    }
}
