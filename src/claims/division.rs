//! Who has which part of the pools that several hosts divide: the same data, whether a plan file or a store keeps it.
//!
//! Promises: pools do not overlap, slices do not overlap, and the names of hosts differ; the owner of a prefix is found without
//! a search through all slices. Does not know where it was read, or what this host's books have.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::plan::prefix::{Prefix, gaps, meeting};
use crate::plan::settings::Millis;

/// The pools that several hosts divide, and their hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Division {
    /// In the order of the plan file, or of their bases.
    pub pools: Vec<SlicedPool>,
    /// In the order of the plan file, or of their names.
    pub hosts: Vec<HostPlan>,
    /// Slices that have an owner which this version cannot read.
    pub unclear: BTreeSet<Prefix>,
    /// Whether the slices of all hosts are known; otherwise nobody knows what is free.
    pub complete: bool,
    /// The host of each slice, as an index.
    owners: BTreeMap<Prefix, usize>,
}

/// A pool that several hosts share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlicedPool {
    pub base: Prefix,
    /// The prefix length of its slices.
    pub slice: u8,
    /// Whether it is one subnet of several hosts; `None`: only the settings of the hosts say so.
    pub shared: Option<bool>,
    /// In this part of a pool that is one subnet of several hosts, each address is a slice.
    pub by_number: Option<Prefix>,
}

/// One host of the plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostPlan {
    pub name: String,
    /// Where other hosts reach it.
    pub via: Vec<IpAddr>,
    /// Its slices, in the order of the plan file, or of their prefixes.
    pub slices: Vec<Prefix>,
    /// What the plan's store says about it; `None` in a plan file.
    pub record: Option<HostStanding>,
}

/// What the plan's store says about a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostStanding {
    pub id: String,
    pub state: HostState,
    /// How many signs of life it gave.
    pub beat: u64,
    /// When this host first saw that number; `None` if it saw no number before it, so that the sign may be older.
    pub sign_at: Option<Millis>,
    /// When a person said that it is gone for good.
    pub fenced: Option<Millis>,
    /// Whether it has confirmed its slices since the store was restored, if it was.
    pub arrived: bool,
}

/// Where a host stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostState {
    /// It takes part.
    Active,
    /// It has not confirmed its slices since the store was restored, and nobody can claim until it has.
    Absent,
    /// A person said that it is gone for good: others may take its slices.
    Forgotten,
    /// It has slices, but no record.
    Unrecorded,
    /// This version does not understand its record.
    Unreadable,
}

impl HostState {
    pub const ALL: [Self; 5] =
        [Self::Active, Self::Absent, Self::Forgotten, Self::Unrecorded, Self::Unreadable];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Absent => "absent",
            Self::Forgotten => "forgotten",
            Self::Unrecorded => "unrecorded",
            Self::Unreadable => "unreadable",
        }
    }
}

/// What the plan has at an address.
#[derive(Clone, Copy, Debug)]
pub enum SliceAround<'a> {
    /// The slice around it, and its host if this version can read that.
    Slice(Prefix, Option<&'a HostPlan>),
    /// No slice; the next one after it.
    Nothing(Option<Prefix>),
}

impl HostPlan {
    /// Whether a person said that it is gone for good.
    pub fn is_forgotten(&self) -> bool {
        self.record.as_ref().is_some_and(|record| record.state == HostState::Forgotten)
    }
}

impl Division {
    pub fn new(pools: Vec<SlicedPool>, hosts: Vec<HostPlan>, unclear: BTreeSet<Prefix>) -> Self {
        let of_host = |(index, host): (usize, &HostPlan)| {
            host.slices.iter().map(move |slice| (*slice, index)).collect::<Vec<_>>()
        };
        let owners = hosts.iter().enumerate().flat_map(of_host).collect();
        Self { pools, hosts, unclear, complete: true, owners }
    }

    /// Hosts of which only some slices are known.
    pub fn incomplete(hosts: Vec<HostPlan>) -> Self {
        Self { complete: false, ..Self::new(Vec::new(), hosts, BTreeSet::new()) }
    }

    /// The host with this name. The case of letters does not matter, as in host names.
    pub fn host(&self, name: &str) -> Option<&HostPlan> {
        self.hosts.iter().find(|host| host.name.eq_ignore_ascii_case(name))
    }

    /// The host with this id.
    pub fn host_by_id(&self, id: &str) -> Option<&HostPlan> {
        self.hosts.iter().find(|host| host.record.as_ref().is_some_and(|record| record.id == id))
    }

    /// The pool that contains this prefix.
    pub fn pool_around(&self, prefix: Prefix) -> Option<&SlicedPool> {
        self.pools.iter().find(|pool| pool.base.contains(prefix))
    }

    /// The slices that overlap this prefix, with their hosts, in order.
    pub fn owners_of(&self, prefix: Prefix) -> impl Iterator<Item = (Prefix, &HostPlan)> {
        let met = self.owners.range(meeting(&self.owners, prefix));
        met.filter_map(|(slice, index)| Some((*slice, self.hosts.get(*index)?)))
    }

    /// The slice around an address, or where the next one begins.
    pub fn around(&self, address: Prefix) -> SliceAround<'_> {
        if let Some((slice, host)) = self.owners_of(address).next() {
            return SliceAround::Slice(slice, Some(host));
        }
        if let Some(slice) = self.unclear.iter().find(|slice| slice.contains(address)) {
            return SliceAround::Slice(*slice, None);
        }
        let next = self.owners.range(address..).next().map(|(slice, _)| *slice);
        let unclear = self.unclear.range(address..).next().copied();
        SliceAround::Nothing(next.into_iter().chain(unclear).min())
    }

    /// All slices that have an owner, in order; `None` is an owner that this version cannot read.
    pub fn slices(&self) -> BTreeMap<Prefix, Option<&HostPlan>> {
        let known = self.owners.iter().map(|(slice, index)| (*slice, self.hosts.get(*index)));
        known.chain(self.unclear.iter().map(|slice| (*slice, None))).collect()
    }

    /// How many slices no host has, if that is known.
    pub fn free(&self) -> Option<u128> {
        let of_pool = |pool: &SlicedPool| {
            let all = 1_u128
                .checked_shl(u32::from(pool.slice.saturating_sub(pool.base.length())))
                .unwrap_or(u128::MAX);
            let taken = self.owners.keys().chain(&self.unclear);
            let taken = taken.filter(|slice| slice.length() == pool.slice && pool.base.contains(**slice));
            let by_number = pool.by_number.map_or(0, |part| {
                1_u128.checked_shl(u32::from(pool.slice.saturating_sub(part.length()))).unwrap_or(u128::MAX)
            });
            all.saturating_sub(taken.count() as u128).saturating_sub(by_number)
        };
        self.complete.then(|| self.pools.iter().map(of_pool).fold(0, u128::saturating_add))
    }

    /// The space of a pool that no host has, in prefixes that are as large as possible, in order.
    pub fn holes(&self, pool: &SlicedPool) -> Vec<Prefix> {
        gaps(&self.slices(), pool.base)
    }
}
