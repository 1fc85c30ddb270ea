//! One subnet: its state in the books, its addresses, its gateway's slot and the addresses that it never gives.
//!
//! Promises: the arithmetic of RFC 950 (network and broadcast), RFC 3021 (/31), RFC 4291 (subnet-router anycast) and
//! RFC 6164 (/127) is in one place. Does not choose.

use std::borrow::Cow;

use super::addresses::{Addresses, Bounds};
use super::change::{Kind, Record, SubnetState};
use super::intervals::Intervals;
use super::pins::Pins;
use super::prefix::{AddressRange, Family, Prefix};
use super::settings::Millis;
use super::slices::Confines;

/// Reservations by family, merged.
pub type Reserved = [Intervals; 2];

/// Merges these ranges, by family.
pub(super) fn merged<'a>(ranges: impl IntoIterator<Item = &'a AddressRange>) -> Reserved {
    let mut reserved = Reserved::default();
    for range in ranges {
        reserved[range.family as usize].insert(range.first, range.last);
    }
    reserved
}

/// A subnet in the plan, held or remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// The state in the books.
    pub state: SubnetState,
    pub addresses: Addresses,
    /// Pins by hand: dynamic choice avoids them.
    pub(super) pins: Pins,
    /// The reservations that have an effect in it.
    reserved: Intervals,
    /// The addresses that other hosts may have; empty unless networks of several hosts share the subnet.
    foreign: Intervals,
    /// The address where the gateway is, or would be.
    slot: u128,
    /// The gateway that the pool's configuration names, if this subnet contains it.
    router: Option<u128>,
    /// Its addresses are probed before their first use.
    probes: bool,
}

/// The lowest and the highest never-given address of a prefix: network or all-zero host part, and broadcast.
pub fn never_given(prefix: Prefix) -> (Option<u128>, Option<u128>) {
    match (prefix.family(), prefix.length()) {
        (Family::V4, 0..=30) => (Some(prefix.first()), Some(prefix.last())),
        (Family::V6, 0..=126) => (Some(prefix.first()), None),
        _ => (None, None),
    }
}

/// The first and last address that may ever be given.
pub fn usable(prefix: Prefix) -> (u128, u128) {
    let (low, high) = never_given(prefix);
    (prefix.first() + u128::from(low.is_some()), prefix.last() - u128::from(high.is_some()))
}

/// The reservations that lie in this prefix. If they leave no usable address, they have no effect inside it: they keep
/// dynamic subnets away, and a request for exactly this prefix overrides them.
pub(super) fn reserved_inside(prefix: Prefix, reserved: &Reserved) -> Intervals {
    let mut inside = Intervals::default();
    for (first, last) in reserved[prefix.family() as usize].overlapping(prefix.first(), prefix.last()) {
        inside.insert(first.max(prefix.first()), last.min(prefix.last()));
    }
    let (first, last) = usable(prefix);
    if inside.covers(first, last) { Intervals::default() } else { inside }
}

impl Subnet {
    /// A subnet without records.
    pub(super) fn new(state: SubnetState, limits: &Confines<'_>, pins: Pins) -> Self {
        let (addresses, slot, router) = (Addresses::default(), 0, None);
        let (reserved, foreign) = (Intervals::default(), Intervals::default());
        let mut subnet = Self { state, addresses, pins, reserved, foreign, slot, router, probes: false };
        subnet.bound(limits);
        subnet
    }

    pub const fn pins(&self) -> &Pins {
        &self.pins
    }

    pub const fn reserved(&self) -> &Intervals {
        &self.reserved
    }

    /// The addresses that other hosts may have.
    pub const fn foreign(&self) -> &Intervals {
        &self.foreign
    }

    /// The addresses that this host never gives dynamically: reserved ones, and those that other hosts may have.
    pub fn aside(&self) -> Cow<'_, Intervals> {
        let (first, last) = (self.state.prefix.first(), self.state.prefix.last());
        let mut foreign = self.foreign.overlapping(first, last).peekable();
        if foreign.peek().is_none() {
            return Cow::Borrowed(&self.reserved);
        }
        let mut aside = self.reserved.clone();
        foreign.for_each(|(first, last)| aside.insert(first, last));
        Cow::Owned(aside)
    }

    pub const fn slot(&self) -> u128 {
        self.slot
    }

    /// Whether its addresses are probed before their first use.
    pub const fn probes(&self) -> bool {
        self.probes
    }

    /// The gateway that the pool's configuration names, if this subnet contains it.
    pub const fn router(&self) -> Option<u128> {
        self.router
    }

    /// Updates the gateway's slot and the bounds of dynamic choice, after a change of the state, the pins or the reservations.
    pub(super) fn bound(&mut self, limits: &Confines<'_>) {
        let (prefix, range) = (self.state.prefix, self.state.range);
        self.reserved = reserved_inside(prefix, limits.reserved);
        let shared = self.shared_in(limits.spaces);
        self.foreign = shared.map_or_else(Intervals::default, |shared| limits.foreign(prefix, shared));
        self.probes = limits.spaces.probes(&self.state);
        self.router = limits.spaces.router(self.state.space, prefix);
        // The requested gateway, else the configured one, else the first usable address that is not reserved: in the range, as with Docker's own driver
        // (P31), or in the whole subnet if the range has none.
        let (first, last) = usable(prefix);
        let open = |first: u128, last: u128| self.reserved.first_absent(first, last);
        let in_range = |range: Prefix| open(first.max(range.first()), last.min(range.last()));
        let gateway = self.state.marks.gateway.or(self.router).or_else(|| range.and_then(in_range));
        self.slot = gateway.or_else(|| open(first, last)).unwrap_or(first);
        if let Some(router) = self.router.filter(|router| *router != self.slot) {
            self.reserved.insert(router, router);
        }
        let mut excluded = self.excluded_with(Some(self.slot));
        for pinned in self.pins.keys() {
            excluded.insert(*pinned, *pinned);
        }
        for (first, last) in self.foreign.overlapping(prefix.first(), prefix.last()) {
            excluded.insert(first, last);
        }
        let range = range.unwrap_or(prefix);
        let bounds = Bounds { first: range.first(), last: range.last(), excluded: excluded.into() };
        self.addresses.set_bounds(bounds);
    }

    /// What dynamic choice avoids, pins not included, if the gateway is at this address.
    fn excluded_with(&self, gateway: Option<u128>) -> Intervals {
        let mut excluded = self.reserved.clone();
        let (low, high) = never_given(self.state.prefix);
        for address in [low, high, gateway, self.router].into_iter().flatten() {
            excluded.insert(address, address);
        }
        excluded
    }

    /// Shifts the stamps of the addresses and pins.
    pub fn move_stamps(&mut self, to: impl Fn(Millis) -> Millis) {
        self.addresses.move_stamps(&to);
        for pin in self.pins.values_mut() {
            pin.since = to(pin.since);
        }
    }

    pub const fn is_held(&self) -> bool {
        self.state.released_at.is_none()
    }

    /// Whether it is held now, in the space of this host's own networks.
    pub fn is_held_locally(&self) -> bool {
        self.is_held() && self.state.space == super::request::Space::Local
    }

    /// The number of an address, if it is in this subnet.
    pub fn number_of(&self, address: std::net::IpAddr) -> Option<u128> {
        self.state.prefix.contains_address(address).then(|| super::prefix::number(address))
    }

    /// Whether the range has an address that may be given dynamically if the gateway is at this address.
    pub(super) fn has_room_with(&self, gateway: Option<u128>) -> bool {
        let range = self.state.range.unwrap_or(self.state.prefix);
        // Network, broadcast, gateway and router do not fill a range of more than four addresses.
        if range.size() > 4 && self.reserved.overlapping(range.first(), range.last()).next().is_none() {
            return true;
        }
        !self.excluded_with(gateway).covers(range.first(), range.last())
    }

    /// The lease of the gateway, if it is held. In the meantime another holder may have its address.
    pub fn gateway_lease(&self) -> Option<(u128, &Record)> {
        let address = self.state.marks.gateway?;
        let is_gateway = |record: &&Record| record.leased && record.kind == Kind::Gateway;
        self.addresses.get(address).filter(is_gateway).map(|record| (address, record))
    }
}
