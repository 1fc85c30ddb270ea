//! One subnet: its state in the books, its addresses, its gateway's slot and the addresses that it never gives.
//!
//! Promises: the arithmetic of RFC 950 (network and broadcast), RFC 3021 (/31), RFC 4291 (subnet-router anycast) and
//! RFC 6164 (/127) is in one place. Does not choose.

use super::addresses::{Addresses, Bounds};
use super::change::{Kind, Marks, Record, SubnetState};
use super::intervals::Intervals;
use super::pins::Pins;
use super::prefix::{AddressRange, Family, Prefix};
use super::settings::Millis;

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
    /// Pins by hand, if there are any: dynamic choice avoids them.
    pins: Option<Box<Pins>>,
}

static NO_PINS: Pins = Pins::new();

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
pub fn reserved_inside(prefix: Prefix, reserved: &Reserved) -> Intervals {
    let mut inside = Intervals::default();
    for (first, last) in reserved[prefix.family() as usize].overlapping(prefix.first(), prefix.last()) {
        inside.insert(first.max(prefix.first()), last.min(prefix.last()));
    }
    let (first, last) = usable(prefix);
    if inside.covers(first, last) { Intervals::default() } else { inside }
}

impl Subnet {
    /// A subnet without records.
    pub fn new(state: SubnetState, reserved: &Reserved, pins: Pins) -> Self {
        let addresses = Addresses::new(bounds(&state, reserved, &pins));
        Self { state, addresses, pins: kept(pins) }
    }

    pub fn pins(&self) -> &Pins {
        self.pins.as_deref().unwrap_or(&NO_PINS)
    }

    /// Replaces the pins and updates the bounds.
    pub fn set_pins(&mut self, pins: Pins, reserved: &Reserved) {
        self.pins = kept(pins);
        self.addresses.set_bounds(bounds(&self.state, reserved, self.pins()));
    }

    /// Replaces the state (granted again, marked, released) and updates the bounds.
    pub fn set_state(&mut self, state: SubnetState, reserved: &Reserved) {
        self.state = state;
        self.addresses.set_bounds(bounds(&self.state, reserved, self.pins()));
    }

    /// Replaces the marks and, if the gateway changed, updates the bounds.
    pub fn set_marks(&mut self, marks: Marks, reserved: &Reserved) {
        let moved = self.state.marks.gateway != marks.gateway;
        self.state.marks = marks;
        if moved {
            self.addresses.set_bounds(bounds(&self.state, reserved, self.pins()));
        }
    }

    /// Shifts the stamps of the addresses and pins.
    pub fn move_stamps(&mut self, to: impl Fn(Millis) -> Millis) {
        self.addresses.move_stamps(&to);
        for pin in self.pins.iter_mut().flat_map(|pins| pins.values_mut()) {
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

    /// The gateway's slot: the address where the gateway is, or would be.
    pub fn slot(&self, reserved: &Reserved) -> u128 {
        slot(&self.state, &reserved_inside(self.state.prefix, reserved))
    }

    /// Whether the range has an address that may be given dynamically if the gateway is at this address.
    pub(super) fn has_room_beside(&self, gateway: Option<u128>, reserved: &Reserved) -> bool {
        let prefix = self.state.prefix;
        let range = self.state.range.unwrap_or(prefix);
        let (low, high) = never_given(prefix);
        let mut excluded = reserved_inside(prefix, reserved);
        for address in [low, high, gateway].into_iter().flatten() {
            excluded.insert(address, address);
        }
        !excluded.covers(range.first(), range.last())
    }

    /// The lease of the gateway, if it is held. In the meantime another holder may have its address.
    pub fn gateway_lease(&self) -> Option<(u128, &Record)> {
        let address = self.state.marks.gateway?;
        let is_gateway = |record: &&Record| record.leased && record.kind == Kind::Gateway;
        self.addresses.get(address).filter(is_gateway).map(|record| (address, record))
    }
}

/// Boxed because few subnets have pins.
fn kept(pins: Pins) -> Option<Box<Pins>> {
    (!pins.is_empty()).then(|| Box::new(pins))
}

/// The requested gateway, else the first usable address that is not reserved: in the range, as with Docker's own driver
/// (P31), or in the whole subnet if the range has none.
fn slot(state: &SubnetState, reserved: &Intervals) -> u128 {
    let (first, last) = usable(state.prefix);
    let within = |range: Prefix| reserved.first_absent(first.max(range.first()), last.min(range.last()));
    let gateway = state.marks.gateway.or_else(|| state.range.and_then(within));
    gateway.or_else(|| reserved.first_absent(first, last)).unwrap_or(first)
}

fn bounds(state: &SubnetState, reserved: &Reserved, pins: &Pins) -> Bounds {
    let prefix = state.prefix;
    let range = state.range.unwrap_or(prefix);
    let mut excluded = reserved_inside(prefix, reserved);
    let slot = slot(state, &excluded);
    excluded.insert(slot, slot);
    let (low, high) = never_given(prefix);
    for never in [low, high].into_iter().flatten() {
        excluded.insert(never, never);
    }
    for pinned in pins.keys() {
        excluded.insert(*pinned, *pinned);
    }
    Bounds { first: range.first(), last: range.last(), excluded: excluded.into() }
}
