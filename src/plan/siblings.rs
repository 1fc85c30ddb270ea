//! Siblings are grants of the same prefix: networks that share a subnet and each have their own range, like two macvlan
//! networks on one LAN.
//!
//! Promises: *unique* over all siblings: an address that one of them leases is not given from another, dynamically or by
//! number. The one exception is a gateway requested by number: siblings share a router, so it may be the gateway of several. Each
//! has its own leases, memory and PoolID: releasing one does not affect the others. Copies (`overlap=true`) are not siblings.

use std::collections::BTreeMap;

use super::change::{Kind, Record, Serial, SubnetState};
use super::prefix::Prefix;
use super::request::{Space, SubnetRequest};
use super::settings::Millis;
use super::subnet::Subnet;
use super::{Plan, options};

/// The part of a space that a network takes. It decides whether another network can be held at the same time.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    pub(super) prefix: Prefix,
    /// The network's range, if it is inside the prefix.
    pub(super) range: Option<Prefix>,
    /// Never a sibling: in a Swarm, networks with the same subnet are one network, and copies ignore each other.
    alone: bool,
}

impl Part {
    pub fn new(
        space: Space,
        prefix: Prefix,
        range: Option<Prefix>,
        options: &BTreeMap<String, String>,
    ) -> Self {
        let alone = space != Space::Local || options::wants_copy(options);
        Self { prefix, range: range.filter(|range| prefix.contains(*range)), alone }
    }

    pub fn of(state: &SubnetState) -> Self {
        Self::new(state.space, state.prefix, state.range, &state.options)
    }

    pub(super) fn asked(request: &SubnetRequest, prefix: Prefix) -> Self {
        Self::new(request.space, prefix, request.range, &request.options)
    }

    /// Whether both can be siblings: they have the same prefix, each has a range, and the ranges do not overlap.
    pub(super) fn is_apart_from(self, other: Self) -> bool {
        let ranges = self.range.zip(other.range).filter(|_| self.prefix == other.prefix);
        !self.alone && !other.alone && ranges.is_some_and(|(one, other)| !one.overlaps(other))
    }

    /// Whether both can be held at the same time: they do not overlap, or they can be siblings.
    pub fn coexists_with(self, other: Self) -> bool {
        !self.prefix.overlaps(other.prefix) || self.is_apart_from(other)
    }
}

#[derive(Debug)]
pub(super) struct Siblings<'a>(Vec<&'a Subnet>);

impl<'a> Siblings<'a> {
    /// The sibling that has a lease of this address, with the lease.
    pub(super) fn lease(&self, address: u128) -> Option<(&'a Subnet, &'a Record)> {
        self.0.iter().find_map(|subnet| Some((*subnet, subnet.addresses.lease(address)?)))
    }

    /// Whether one of the siblings has a lease of this address.
    pub(super) fn hold(&self, address: u128) -> bool {
        self.lease(address).is_some()
    }

    /// Whether all siblings that have a lease of this address have it as a gateway.
    pub(super) fn is_router(&self, address: u128) -> bool {
        let mut leases = self.0.iter().filter_map(|subnet| subnet.addresses.lease(address));
        leases.all(|record| record.kind == Kind::Gateway)
    }
}

impl Plan {
    /// The held subnets with exactly this prefix in a space: at most one, unless several networks share it.
    pub fn grants_of(&self, space: Space, prefix: Prefix) -> impl Iterator<Item = &Subnet> {
        self.at(space, prefix).iter().filter_map(|serial| self.subnet(*serial))
    }

    /// The other held subnets of the same prefix that share its addresses. A subnet without a range does not
    /// have siblings, so the search is skipped.
    pub(super) fn siblings(&self, subnet: &Subnet) -> Siblings<'_> {
        let state = &subnet.state;
        if state.range.is_none() {
            return Siblings(Vec::new());
        }
        let mut siblings = self.siblings_of(state.space, Part::of(state));
        siblings.0.retain(|other| other.state.serial != state.serial);
        siblings
    }

    /// The held subnets that share the prefix with this part of it.
    pub(super) fn siblings_of(&self, space: Space, part: Part) -> Siblings<'_> {
        let others = self.grants_of(space, part.prefix);
        Siblings(others.filter(|other| part.is_apart_from(Part::of(&other.state))).collect())
    }

    /// The memory that a new grant reuses: the newest with the same range, else the newest that could not be its sibling (for
    /// example because the ranges overlap), else the newest of all.
    pub(super) fn memory_for(&self, space: Space, part: Part) -> Option<&Subnet> {
        let newest = |wanted: &dyn Fn(&&Subnet) -> bool| self.memories(space, part.prefix).rev().find(wanted);
        newest(&|subnet| subnet.state.range == part.range)
            .or_else(|| newest(&|subnet| !Part::of(&subnet.state).is_apart_from(part)))
            .or_else(|| newest(&|_| true))
    }

    /// The memories of a prefix that a memory of `part` would replace: the plan keeps one for each range.
    pub(super) fn replaced_memories(&self, space: Space, part: Part) -> Vec<Serial> {
        let of_it = self.memories(space, part.prefix).filter(|it| !Part::of(&it.state).is_apart_from(part));
        of_it.map(|subnet| subnet.state.serial).collect()
    }

    /// All memories of a prefix, the earliest release first.
    pub(super) fn memories(&self, space: Space, prefix: Prefix) -> impl DoubleEndedIterator<Item = &Subnet> {
        let of_prefix = (space, prefix, 0, 0)..=(space, prefix, Millis::MAX, Serial::MAX);
        self.remembered.range(of_prefix).filter_map(|(.., serial)| self.subnet(*serial))
    }
}
