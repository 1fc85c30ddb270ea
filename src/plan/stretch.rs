//! What lies at an address, and up to where it is the same: a map is drawn from these stretches, one after another.
//!
//! Promises: from any address on, in O(log n), so that a walk can stop anywhere and go on later; each address lies in one
//! stretch. For views only.

use super::Plan;
use super::change::{Kind, Record, Serial};
use super::intervals::Intervals;
use super::prefix::{Family, Prefix};
use super::prefix_index::PrefixIndex;
use super::request::Space;
use super::subnet::{Subnet, never_given, reserved_inside};

/// What a part of a map is; where several things share a place, the first of these is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shade {
    /// A subnet that a network has; an address that a container has.
    Used,
    /// The lease of a gateway.
    Gateway,
    /// The lease of an `--aux-address`.
    Auxiliary,
    /// Released, and not given to others yet.
    Cooling,
    /// Free, but once asked for by number, or pinned by hand: given last.
    Pinned,
    /// Kept for the gateway.
    Slot,
    /// Configured: never given dynamically.
    Reserved,
    /// Network, broadcast, all-zero host part.
    Never,
    Free,
}

/// From the address that was asked for to the last one of the same kind.
#[derive(Clone, Copy, Debug)]
pub struct Stretch<'a> {
    pub last: u128,
    pub shade: Shade,
    /// The subnet there, held or cooling; of a pool only.
    pub subnet: Option<&'a Subnet>,
    /// What is known of the address; of a subnet only.
    pub record: Option<&'a Record>,
}

impl Stretch<'_> {
    const fn plain(last: u128, shade: Shade) -> Self {
        Self { last, shade, subnet: None, record: None }
    }

    /// Reserved or free from this address on.
    fn open(reserved: &Intervals, from: u128, last: u128) -> Self {
        match reserved.overlapping(from, last).next() {
            Some((first, end)) if first <= from => Self::plain(end.min(last), Shade::Reserved),
            Some((first, _)) => Self::plain(first - 1, Shade::Free),
            None => Self::plain(last, Shade::Free),
        }
    }
}

/// A subnet, prepared for questions about its addresses.
#[derive(Debug)]
pub struct Inside<'a> {
    plan: &'a Plan,
    subnet: &'a Subnet,
    slot: u128,
    reserved: Intervals,
}

impl Plan {
    /// What lies in the space of a pool at an address, looked at as far as the end of this prefix.
    pub fn stretch(&self, within: Prefix, from: u128) -> Stretch<'_> {
        let family = within.family();
        let here = Prefix::new(family, from, family.bits());
        let covering = |held: bool| {
            let serials = self.occupied.all_covering(here);
            let subnets = serials.filter_map(|serial| self.subnet(*serial));
            let alike = subnets.filter(|subnet| subnet.is_held() == held);
            // Of copies, and of subnets in each other, the outermost and eldest.
            alike.min_by_key(|subnet| (subnet.state.prefix.length(), subnet.state.serial))
        };
        let as_subnet = |subnet: &'_ Subnet, last: u128| subnet.state.prefix.last().min(last);
        if let Some(subnet) = covering(true) {
            let plain = Stretch::plain(as_subnet(subnet, within.last()), Shade::Used);
            return Stretch { subnet: Some(subnet), ..plain };
        }
        // Up to where the next one begins.
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

    /// For questions about the addresses of this subnet.
    pub fn inside<'a>(&'a self, subnet: &'a Subnet) -> Inside<'a> {
        let reserved = reserved_inside(subnet.state.prefix, &self.reserved);
        Inside { plan: self, subnet, slot: subnet.slot(&self.reserved), reserved }
    }

    /// The next prefix of held subnets outside of all pools, and these.
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

    /// The held subnets of this PoolID or prefix.
    pub fn subnets_named(&self, text: &str) -> Vec<&Subnet> {
        let prefix = Prefix::parse(text);
        let at = |space| prefix.map(|prefix| self.at(space, prefix).to_vec()).unwrap_or_default();
        let mut serials = [Space::Local, Space::Global].map(at).concat();
        serials.extend(self.by_id.get(text));
        serials.sort_unstable();
        serials.into_iter().filter_map(|serial| self.subnet(serial)).collect()
    }

    /// The smallest held subnet around this prefix.
    pub fn nearest_subnet(&self, prefix: Prefix) -> Option<&Subnet> {
        let spaces = [Space::Local, Space::Global].map(|space| self.index(space).all_covering(prefix).next());
        let around = spaces.into_iter().flatten().filter_map(|serial| self.subnet(*serial));
        around.max_by_key(|subnet| subnet.state.prefix.length())
    }

    /// What a record is in the picture; nothing for a mere memory.
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
    /// What lies at this address, looked at as far as the last one.
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
