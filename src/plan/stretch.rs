//! Finds what is at an address and how far it extends: maps are drawn from these stretches, one after another.
//!
//! Promises: a stretch is found from any address in O(log n), so that a walk can stop anywhere and continue later; each
//! address is in one stretch. For views only.

use super::change::{Kind, Record, Serial};
use super::intervals::Intervals;
use super::prefix::{Family, Prefix};
use super::subnet::{Subnet, never_given};
use super::{COOLING, Plan};

/// How a part of a map is shown; where several apply to a place, the first of these is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shade {
    /// A subnet that a network has, or an address that a container has.
    Used,
    /// The lease of a gateway.
    Gateway,
    /// The lease of an `--aux-address`.
    Auxiliary,
    /// In quarantine: a machine that gipam does not know has the address.
    Stranger,
    /// Released, and not given to others yet.
    Cooling,
    /// Free, but once requested by number, or pinned by hand: given last.
    Pinned,
    /// Kept for the gateway.
    Slot,
    /// Configured: never given dynamically.
    Reserved,
    /// In a divided pool, and in no slice of this host. The plan does not know whose it is.
    Others,
    /// Network or broadcast address, or all-zero host part.
    Never,
    /// In a divided pool, and in no slice of any host.
    Unclaimed,
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

impl Plan {
    /// What is at an address in the space of a pool, up to the end of this prefix at most.
    pub fn stretch(&self, within: Prefix, from: u128) -> Stretch<'_> {
        let family = within.family();
        let here = Prefix::new(family, from, family.bits());
        let mut last = within.last();
        let (held, cooling) = self.standing.split_at(COOLING);
        for (indexes, shade) in [(held, Shade::Used), (cooling, Shade::Cooling)] {
            let serials = indexes.iter().flat_map(|index| index.all_covering(here));
            let subnets = serials.filter_map(|serial| self.subnet(*serial));
            // Of copies and nested subnets, the outermost and oldest.
            let outermost = subnets.min_by_key(|subnet| (subnet.state.prefix.length(), subnet.state.serial));
            if let Some(subnet) = outermost {
                let plain = Stretch::plain(subnet.state.prefix.last().min(last), shade);
                return Stretch { subnet: Some(subnet), ..plain };
            }
            // Up to the beginning of the next one.
            let next = indexes.iter().filter_map(|index| index.next_after(family, Some(here)));
            last = next.fold(last, |last, next| last.min(next.first() - 1));
        }
        match self.in_own_slice(here) {
            Some((false, end)) => Stretch::plain(end.min(last), Shade::Others),
            Some((true, end)) => Stretch::open(&self.reserved[family as usize], from, end.min(last)),
            None => Stretch::open(&self.reserved[family as usize], from, last),
        }
    }

    /// The next prefix of held subnets outside all pools, with these subnets.
    pub fn next_outside(&self, family: Family, mut after: Option<Prefix>) -> Option<(Prefix, Vec<&Subnet>)> {
        loop {
            let held = self.held_by_space().iter();
            let next = held.clone().filter_map(|index| index.next_after(family, after)).min()?;
            let Some(base) = self.pool_around(next).and_then(|pool| pool.base(family)) else {
                let serials = held.flat_map(|index| index.at(next));
                return Some((next, serials.filter_map(|serial| self.subnet(*serial)).collect()));
            };
            after = Some(Prefix::new(family, base.base.last(), family.bits()));
        }
    }

    /// The held subnets with this PoolID or prefix.
    pub fn subnets_named(&self, text: &str) -> Vec<&Subnet> {
        let at = |prefix| self.held_by_space().iter().flat_map(move |held| held.at(prefix));
        let mut serials: Vec<Serial> = Prefix::parse(text).into_iter().flat_map(at).copied().collect();
        serials.extend(self.by_id.get(text));
        serials.sort_unstable();
        serials.into_iter().filter_map(|serial| self.subnet(serial)).collect()
    }

    /// The smallest held subnet that contains this prefix.
    pub fn nearest_subnet(&self, prefix: Prefix) -> Option<&Subnet> {
        let nearest = self.held_by_space().iter().filter_map(|held| held.all_covering(prefix).next());
        let around = nearest.filter_map(|serial| self.subnet(*serial));
        around.max_by_key(|subnet| subnet.state.prefix.length())
    }

    /// How a record is shown on the map; `None` if it is only a memory.
    fn shade(&self, subnet: &Subnet, record: &Record) -> Option<Shade> {
        let cools = record.since.saturating_add(self.cooling_of(subnet)) > self.now;
        match (record.leased, record.kind) {
            (true, Kind::Gateway) => Some(Shade::Gateway),
            (true, Kind::Auxiliary) => Some(Shade::Auxiliary),
            (true, Kind::Stranger) => Some(Shade::Stranger),
            (true, Kind::Endpoint | Kind::Unknown) => Some(Shade::Used),
            (false, _) if subnet.is_held() && cools => Some(Shade::Cooling),
            (false, _) => record.asked_by_number.then_some(Shade::Pinned),
        }
    }

    /// What is at this address of a subnet, up to `last` at most.
    pub fn stretch_inside<'a>(&self, subnet: &'a Subnet, from: u128, last: u128) -> Stretch<'a> {
        let slot = subnet.slot();
        let record = subnet.addresses.get(from);
        if let Some(shade) = record.and_then(|record| self.shade(subnet, record)) {
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
        let elsewhere = self.elsewhere(subnet);
        let open = |last: u128| match elsewhere.overlapping(from, last).next() {
            Some((first, end)) if first <= from => Stretch::plain(end.min(last), Shade::Others),
            Some((first, _)) => Stretch::open(&subnet.aside(), from, first - 1),
            None => Stretch::open(&subnet.aside(), from, last),
        };
        let Some(behind) = from.checked_add(1).filter(|behind| *behind <= last) else { return open(from) };
        let next = [
            subnet.addresses.records_from(behind).next().map(|(address, _)| address),
            subnet.pins().range(behind..).next().map(|(address, _)| *address),
            Some(slot),
            low,
            high,
        ];
        let next = next.into_iter().flatten().filter(|next| *next >= behind).min();
        open(next.map_or(last, |next| last.min(next - 1)))
    }
}
