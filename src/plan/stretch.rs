//! Finds what is at an address and how far it extends: maps are drawn from these stretches, one after another.
//!
//! Promises: a stretch is found from any address in O(log n), so that a walk can stop anywhere and continue later; each
//! address is in one stretch. For views only.

use super::Plan;
use super::change::{Kind, Record, Serial};
use super::intervals::Intervals;
use super::prefix::{Family, Prefix};
use super::prefix_index::PrefixIndex;
use super::request::Space;
use super::subnet::{Subnet, never_given, reserved_inside};

/// How a part of a map is shown; where several apply to a place, the first of these is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shade {
    /// A subnet that a network has, or an address that a container has.
    Used,
    /// The lease of a gateway.
    Gateway,
    /// The lease of an `--aux-address`.
    Auxiliary,
    /// Released, and not given to others yet.
    Cooling,
    /// Free, but once requested by number, or pinned by hand: given last.
    Pinned,
    /// Kept for the gateway.
    Slot,
    /// Configured: never given dynamically.
    Reserved,
    /// Network or broadcast address, or all-zero host part.
    Never,
    Free,
}

/// A part of a map, from the requested address to the last one of the same kind.
#[derive(Clone, Copy, Debug)]
pub struct Stretch<'a> {
    pub last: u128,
    pub shade: Shade,
    /// The subnet there, held or cooling; only for the map of a pool.
    pub subnet: Option<&'a Subnet>,
    /// The record of the address; only for the map of a subnet.
    pub record: Option<&'a Record>,
}

impl Stretch<'_> {
    const fn plain(last: u128, shade: Shade) -> Self {
        Self { last, shade, subnet: None, record: None }
    }

    /// The stretch from this address on, if it is reserved or free.
    fn open(reserved: &Intervals, from: u128, last: u128) -> Self {
        match reserved.overlapping(from, last).next() {
            Some((first, end)) if first <= from => Self::plain(end.min(last), Shade::Reserved),
            Some((first, _)) => Self::plain(first - 1, Shade::Free),
            None => Self::plain(last, Shade::Free),
        }
    }
}

/// A subnet, prepared for queries about its addresses.
#[derive(Debug)]
pub struct Inside<'a> {
    plan: &'a Plan,
    subnet: &'a Subnet,
    slot: u128,
    reserved: Intervals,
}

impl Plan {
    /// What is at an address in the space of a pool, up to the end of this prefix at most.
    pub fn stretch(&self, within: Prefix, from: u128) -> Stretch<'_> {
        let family = within.family();
        let here = Prefix::new(family, from, family.bits());
        let covering = |held: bool| {
            let serials = self.occupied.all_covering(here);
            let subnets = serials.filter_map(|serial| self.subnet(*serial));
            let alike = subnets.filter(|subnet| subnet.is_held() == held);
            // Of copies and nested subnets, the outermost and oldest.
            alike.min_by_key(|subnet| (subnet.state.prefix.length(), subnet.state.serial))
        };
        let as_subnet = |subnet: &'_ Subnet, last: u128| subnet.state.prefix.last().min(last);
        if let Some(subnet) = covering(true) {
            let plain = Stretch::plain(as_subnet(subnet, within.last()), Shade::Used);
            return Stretch { subnet: Some(subnet), ..plain };
        }
        // Up to the beginning of the next one.
        let before = |index: &PrefixIndex<Serial>, last: u128| {
            index.next_after(family, Some(here)).map_or(last, |next| last.min(next.first() - 1))
        };
        let [local, global] = [Space::Local, Space::Global].map(|space| self.index(space));
        let last = before(local, before(global, within.last()));
        if let Some(subnet) = covering(false) {
            let plain = Stretch::plain(as_subnet(subnet, last), Shade::Cooling);
            return Stretch { subnet: Some(subnet), ..plain };
        }
        let last = before(&self.occupied, last);
        Stretch::open(&self.reserved[family as usize], from, last)
    }

    /// Prepares a subnet for queries about its addresses.
    pub fn inside<'a>(&'a self, subnet: &'a Subnet) -> Inside<'a> {
        let reserved = reserved_inside(subnet.state.prefix, &self.reserved);
        Inside { plan: self, subnet, slot: subnet.slot(&self.reserved), reserved }
    }

    /// The next prefix of held subnets outside of all pools, with these subnets.
    pub fn next_outside(&self, family: Family, mut after: Option<Prefix>) -> Option<(Prefix, Vec<&Subnet>)> {
        loop {
            let spaces = [Space::Local, Space::Global];
            let next = spaces.map(|space| self.index(space).next_after(family, after));
            let next = next.into_iter().flatten().min()?;
            let Some(base) = self.pool_around(next).and_then(|pool| pool.base(family)) else {
                let serials = spaces.map(|space| self.at(space, next)).concat();
                return Some((next, serials.into_iter().filter_map(|serial| self.subnet(serial)).collect()));
            };
            after = Some(Prefix::new(family, base.base.last(), family.bits()));
        }
    }

    /// The held subnets with this PoolID or prefix.
    pub fn subnets_named(&self, text: &str) -> Vec<&Subnet> {
        let prefix = Prefix::parse(text);
        let at = |space| prefix.map(|prefix| self.at(space, prefix).to_vec()).unwrap_or_default();
        let mut serials = [Space::Local, Space::Global].map(at).concat();
        serials.extend(self.by_id.get(text));
        serials.sort_unstable();
        serials.into_iter().filter_map(|serial| self.subnet(serial)).collect()
    }

    /// The smallest held subnet that contains this prefix.
    pub fn nearest_subnet(&self, prefix: Prefix) -> Option<&Subnet> {
        let spaces = [Space::Local, Space::Global].map(|space| self.index(space).all_covering(prefix).next());
        let around = spaces.into_iter().flatten().filter_map(|serial| self.subnet(*serial));
        around.max_by_key(|subnet| subnet.state.prefix.length())
    }

    /// How a record is shown on the map; `None` if it is only a memory.
    fn shade(&self, subnet: &Subnet, record: &Record) -> Option<Shade> {
        let cools = record.since.saturating_add(self.cooling_of(subnet)) > self.now;
        match (record.leased, record.kind) {
            (true, Kind::Gateway) => Some(Shade::Gateway),
            (true, Kind::Auxiliary) => Some(Shade::Auxiliary),
            (true, Kind::Endpoint | Kind::Unknown) => Some(Shade::Used),
            (false, _) if subnet.is_held() && cools => Some(Shade::Cooling),
            (false, _) => record.asked_by_number.then_some(Shade::Pinned),
        }
    }
}

impl<'a> Inside<'a> {
    /// What is at this address, up to `last` at most.
    pub fn stretch(&self, from: u128, last: u128) -> Stretch<'a> {
        let Self { plan, subnet, slot, .. } = *self;
        let record = subnet.addresses.get(from);
        if let Some(shade) = record.and_then(|record| plan.shade(subnet, record)) {
            return Stretch { record, ..Stretch::plain(from, shade) };
        }
        let (low, high) = never_given(subnet.state.prefix);
        let never = |address: u128| [low, high].contains(&Some(address));
        let special = match from {
            from if subnet.pins().contains_key(&from) => Some(Shade::Pinned),
            from if never(from) => Some(Shade::Never),
            from if from == slot => Some(Shade::Slot),
            _ => None,
        };
        if let Some(shade) = special {
            return Stretch::plain(from, shade);
        }
        let Some(behind) = from.checked_add(1).filter(|behind| *behind <= last) else {
            return Stretch::open(&self.reserved, from, from);
        };
        let next = [
            subnet.addresses.next_from(behind),
            subnet.pins().range(behind..).next().map(|(address, _)| *address),
            Some(slot),
            low,
            high,
        ];
        let next = next.into_iter().flatten().filter(|next| *next >= behind).min();
        Stretch::open(&self.reserved, from, next.map_or(last, |next| last.min(next - 1)))
    }
}
