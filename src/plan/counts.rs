//! How full subnets and pools are: the addresses of a subnet by state, and how many more subnets a pool can
//! give.
//!
//! Promises: *conserved*: the counts of a subnet add up to its size. Only for views; not used on the request
//! path.

use super::Plan;
use super::intervals::Intervals;
use super::pool_spaces::Vacancy;
use super::prefix::Prefix;
use super::request::Space;
use super::settings::{Base, Millis};
use super::slices::SliceState;
use super::subnet::{Subnet, never_given, usable};

/// The address counts of one subnet; they add up to its size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressCounts {
    /// Network, broadcast and all-zero host part, unless leased anyway.
    pub never_given: u128,
    /// Not leased, and not given dynamically: reserved, or in the part of a shared pool that is given by number.
    pub reserved: u128,
    /// Not leased, and in no slice of this host: those that other hosts have or may claim.
    pub others: u128,
    /// The gateway's slot, unless it is leased.
    pub slot: u128,
    pub leased: u128,
    /// Released, and not given to others yet.
    pub cooling: u128,
    /// All other addresses.
    pub free: u128,
}

/// The subnet counts of one family of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubnetCounts {
    pub held: u64,
    /// Released, and not given to others yet.
    pub cooling: u64,
    /// How many more subnets of the pool's size are free.
    pub free: u128,
    /// How many such subnets are blocked by reservations.
    pub reserved: u128,
    /// How many slices of the base this host holds, if several hosts divide it.
    pub slices: u64,
}

/// The slices of this host, and the room in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SliceCounts {
    pub held: u64,
    pub leaving: u64,
    pub lost: u64,
    /// How many more subnets of their pool's size fit into the slices held.
    pub room: u128,
}

/// Addresses that views show although they are not held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShownCounts {
    /// Released, and not given to others yet.
    pub cooling: u64,
    /// Kept for the holder that requested them by number or that a person pinned them to.
    pub pinned: u64,
}

impl std::ops::AddAssign for ShownCounts {
    fn add_assign(&mut self, other: Self) {
        self.cooling += other.cooling;
        self.pinned += other.pinned;
    }
}

impl Plan {
    /// Counts what views show of a subnet in addition to its leases; takes time proportional to its cooling
    /// addresses and pins.
    pub fn count_shown(&self, subnet: &Subnet) -> ShownCounts {
        let (addresses, pins) = (&subnet.addresses, subnet.pins());
        let by_number = |address: &u128| addresses.get(*address).is_some_and(|record| record.asked_by_number);
        let cools =
            |since: Millis| subnet.is_held() && since.saturating_add(self.cooling_of(subnet)) > self.now;
        let cooling = || addresses.released_while(cools).filter(|address| !pins.contains_key(address));
        let kept = || pins.keys().filter(|address| !addresses.is_leased(**address));
        // Addresses with a pin, and cooling ones, are already counted as such.
        let remembered = addresses.released_by_number() - kept().filter(|address| by_number(address)).count();
        let pinned = kept().count() + remembered - cooling().filter(by_number).count();
        ShownCounts { cooling: cooling().count() as u64, pinned: pinned as u64 }
    }

    /// Counts the pins in prefixes without a subnet.
    pub fn count_pinned_alone(&self) -> ShownCounts {
        let alone = self.pins().filter(|(space, prefix, _)| !self.is_known(*space, *prefix));
        ShownCounts { cooling: 0, pinned: alone.map(|(.., pins)| pins.len() as u64).sum() }
    }

    /// Counts the addresses of a subnet; takes time proportional to its cooling addresses and reservations.
    pub fn count_addresses(&self, subnet: &Subnet) -> AddressCounts {
        self.count_addresses_in(subnet, subnet.state.prefix)
    }

    /// Counts the addresses in this part of a subnet.
    fn count_addresses_in(&self, subnet: &Subnet, part: Prefix) -> AddressCounts {
        let addresses = &subnet.addresses;
        let (mut special, mut elsewhere) = (subnet.aside().into_owned(), self.elsewhere(subnet));
        let (low, high) = never_given(subnet.state.prefix);
        let is_here = |address: &u128| part.contains_number(*address);
        let never: Vec<u128> = [low, high].into_iter().flatten().filter(is_here).collect();
        let slot = Some(subnet.slot()).filter(is_here).filter(|slot| !never.contains(slot));
        for address in never.iter().chain(&slot) {
            special.remove(*address);
            elsewhere.remove(*address);
        }
        let clipped = |(first, last): (u128, u128)| (first.max(part.first()), last.min(part.last()));
        let reserved = |(first, last)| last - first + 1 - addresses.leased_between(first, last);
        let aside = |of: &Intervals| -> u128 {
            of.overlapping(part.first(), part.last()).map(clipped).map(reserved).sum()
        };
        // A leased address always counts as leased, wherever it is.
        let open = |address: &u128| u128::from(!addresses.is_leased(*address));
        let cools = |address: &u128| {
            is_here(address)
                && !special.contains(*address)
                && Some(*address) != slot
                && !never.contains(address)
        };
        let cooling =
            addresses.released_while(|since| since.saturating_add(self.cooling_of(subnet)) > self.now);
        let is_whole = part == subnet.state.prefix;
        let others = aside(&elsewhere);
        let mut counts = AddressCounts {
            never_given: never.iter().map(open).sum(),
            // Everything elsewhere is set aside, too.
            reserved: aside(&special) - others,
            others,
            slot: slot.iter().map(open).sum(),
            leased: match is_whole {
                true => addresses.leased() as u128,
                false => addresses.leased_between(part.first(), part.last()),
            },
            cooling: cooling.filter(cools).count() as u128,
            free: 0,
        };
        let taken =
            counts.never_given + counts.reserved + others + counts.slot + counts.leased + counts.cooling;
        counts.free = part.size().saturating_sub(taken);
        counts
    }

    /// Counts the subnets of one base; takes time proportional to the cooling subnets and free parts.
    pub fn count_subnets(&self, base: &Base) -> SubnetCounts {
        let mut counts = self.count_room(base, base.base);
        let cooling = self.cooling.iter().filter_map(|(_, serial)| self.subnet(*serial));
        counts.cooling = cooling.filter(|subnet| base.base.contains(subnet.state.prefix)).count() as u64;
        counts.held = self.spaces.at(base.base).map_or(0, |space| space.held);
        if base.slice.is_some() {
            let slices = self.slices().meeting(base.base);
            counts.slices = slices.filter(|slice| slice.state == SliceState::Held).count() as u64;
        }
        counts
    }

    /// Counts the slices of this host; takes time proportional to them and to the free parts of divided
    /// pools.
    pub fn count_slices(&self) -> SliceCounts {
        let mut counts = SliceCounts::default();
        for slice in self.slices().iter() {
            *match slice.state {
                SliceState::Held => &mut counts.held,
                SliceState::Leaving => &mut counts.leaving,
                SliceState::Lost => &mut counts.lost,
            } += 1;
        }
        let bases = self.settings.pools.iter().flat_map(|pool| pool.bases());
        for base in bases.filter(|base| base.slice.is_some() && base.shared.is_none()) {
            counts.room = counts.room.saturating_add(self.count_room(base, base.base).free);
        }
        counts
    }

    /// How many subnets this host holds in a part of a base, and how many more fit. If the base is one subnet
    /// of several hosts: how many addresses.
    pub fn count_in_slice(&self, base: &Base, part: Prefix) -> (u128, u128) {
        if base.shared.is_some() {
            let Some(subnet) = self.shared_subnet(base) else { return (0, part.size()) };
            let counts = self.count_addresses_in(subnet, part);
            return (counts.leased, counts.free);
        }
        let held = self.held_by_space().iter().map(|held| held.all_inside(part).count() as u128).sum();
        (held, self.count_room(base, part).free)
    }

    /// The subnet of this host's network in a base that is one subnet of several hosts.
    pub fn shared_subnet(&self, base: &Base) -> Option<&Subnet> {
        self.only_subnet(base).filter(|_| base.shared.is_some())
    }

    /// The subnet that is a whole base: the base is as full as this subnet.
    pub fn only_subnet(&self, base: &Base) -> Option<&Subnet> {
        if base.shared.is_none() && base.size != base.base.length() {
            return None;
        }
        self.index(Space::Local).at(base.base).first().and_then(|serial| self.subnet(*serial))
    }

    /// The free subnets of a base in one part of it.
    fn count_room(&self, base: &Base, part: Prefix) -> SubnetCounts {
        let mut counts = SubnetCounts::default();
        if let Some(space) = self.spaces.at(base.base) {
            let free = space.part(Vacancy::Free).blocks_in(part);
            for block in free.filter(|block| block.length() <= base.size) {
                let all = 1u128.checked_shl(u32::from(base.size - block.length())).unwrap_or(u128::MAX);
                let reserved = self.reserved_subnets(block, base.size).min(all);
                counts.free = counts.free.saturating_add(all - reserved);
                counts.reserved = counts.reserved.saturating_add(reserved);
            }
        }
        counts
    }

    /// How many subnets of this size in a block have only reserved addresses.
    fn reserved_subnets(&self, block: Prefix, size: u8) -> u128 {
        let mut count = 0u128;
        let unit = Prefix::new(block.family(), block.first(), size);
        let (before, after) = (usable(unit).0 - unit.first(), unit.last() - usable(unit).1);
        for (first, last) in self.reserved[block.family() as usize].overlapping(block.first(), block.last()) {
            // Network, broadcast and all-zero host part next to a reservation can never be given either.
            let (first, last) = (first.saturating_sub(before), last.saturating_add(after));
            let (first, last) = (first.max(block.first()), last.min(block.last()));
            let unit = Prefix::new(block.family(), first, size);
            let start = if unit.first() == first { first } else { unit.last().saturating_add(1) };
            let whole = unit.size();
            if start <= last && last - start >= whole - 1 {
                count = count.saturating_add((last - start - (whole - 1)) / whole + 1);
            }
        }
        count
    }
}
