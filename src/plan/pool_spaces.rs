//! The pools by name and base, their free parts, and which pools have room: one lookup, however many pools
//! there are.
//!
//! There are two kinds of room: *free* is not occupied, *reclaimable* is not held and contains only cooling subnets.
//! Promises: everything here is a function of the settings and of held and cooling subnets; a change costs
//! O(log n) and touches only the pools that it overlaps. Does not know times, and does not choose.

use std::collections::{BTreeMap, BTreeSet};

use super::COOLING;
use super::change::{Serial, SubnetState};
use super::free_space::{FreeSpace, Standing};
use super::grant_address::never_given_name;
use super::prefix::{Family, Prefix, meeting};
use super::prefix_index::PrefixIndex;
use super::request::Space;
use super::settings::{PoolSettings, Shared};
use super::slices::{Occupied, Slices};

/// The kind of room to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vacancy {
    /// Space that is neither held nor cooling.
    Free,
    /// Space that is not held.
    Reclaimable,
}

/// The pools with room, by vacancy and family.
type Rooms = [[RoomyPools; 2]; 2];

/// One base of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PoolSpace {
    /// The index of the pool in the settings.
    pub(super) pool: usize,
    /// Length of a subnet if the request does not give one.
    size: u8,
    closed: bool,
    /// The length of a slice, if the base is divided among several hosts.
    slice: Option<u8>,
    gateway: Option<u128>,
    probe: bool,
    /// The base is one subnet of several hosts.
    shared: Option<Shared>,
    /// The free parts, by vacancy.
    parts: [FreeSpace; 2],
    /// How many held subnets lie inside.
    pub(super) held: u64,
}

impl PoolSpace {
    /// The part that is not occupied, or the part that is not held.
    pub(super) const fn part(&self, kind: Vacancy) -> &FreeSpace {
        &self.parts[kind as usize]
    }

    /// The length of a slice, if the base is divided among several hosts.
    pub(super) const fn slice(&self) -> Option<u8> {
        self.slice
    }

    /// How the base is shared, if it is one subnet of several hosts.
    pub(super) const fn shared(&self) -> Option<&Shared> {
        self.shared.as_ref()
    }

    /// Whether subnets are cut only from this host's slices, so that all other space counts as occupied.
    pub(super) const fn cut_from_slices(&self) -> bool {
        self.slice.is_some() && self.shared.is_none()
    }

    pub(super) const fn base(&self) -> Prefix {
        self.part(Vacancy::Free).base()
    }

    /// Changes one of the parts and updates the index of pools with room.
    fn change(&mut self, kind: Vacancy, rooms: &mut Rooms, change: impl FnOnce(&mut FreeSpace)) {
        let part = &mut self.parts[kind as usize];
        let before = part.shortest();
        change(part);
        let after = part.shortest();
        self.note(kind, rooms, before, after);
    }

    /// Updates the index; a closed pool does not count as having room, and a shared pool is given only to
    /// requests that name it.
    fn note(&self, kind: Vacancy, rooms: &mut Rooms, before: Option<u8>, after: Option<u8>) {
        if !self.closed && self.shared.is_none() {
            rooms[kind as usize][self.base().family() as usize].note(self.pool, self.size, before, after);
        }
    }
}

/// The pools that have room, by their position in the settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct RoomyPools {
    /// Pools with room for a subnet of their own size.
    own: BTreeSet<usize>,
    /// Pools by the length of their largest free block.
    by_length: BTreeMap<u8, BTreeSet<usize>>,
}

impl RoomyPools {
    fn note(&mut self, pool: usize, size: u8, before: Option<u8>, after: Option<u8>) {
        if before == after {
            return;
        }
        if let Some(length) = before
            && let Some(pools) = self.by_length.get_mut(&length)
        {
            pools.remove(&pool);
            if pools.is_empty() {
                self.by_length.remove(&length);
            }
        }
        if let Some(length) = after {
            self.by_length.entry(length).or_default().insert(pool);
        }
        if after.is_some_and(|length| length <= size) {
            self.own.insert(pool);
        } else {
            self.own.remove(&pool);
        }
    }

    /// The next pool with room, from this one on.
    fn next(&self, from: usize, size: Option<u8>) -> Option<usize> {
        let first = |pools: &BTreeSet<usize>| pools.range(from..).next().copied();
        match size {
            None => first(&self.own),
            Some(size) => self.by_length.range(..=size).filter_map(|(_, pools)| first(pools)).min(),
        }
    }
}

/// All pools.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PoolSpaces {
    by_name: BTreeMap<String, usize>,
    spaces: BTreeMap<Prefix, PoolSpace>,
    /// The number of bases, by family.
    counts: [usize; 2],
    /// Whether any base is divided among several hosts.
    divided: bool,
    /// Whether any base has a configured gateway.
    routed: bool,
    /// Whether addresses of any base are probed.
    probed: bool,
    /// Whether any pool has had other bases.
    renumbered: bool,
    /// The open pools whose subnets are cut from slices, by family.
    sliced: [BTreeSet<usize>; 2],
    rooms: Rooms,
}

impl PoolSpaces {
    /// Builds everything from the settings, from held and cooling subnets, and from the slices of this host.
    pub(super) fn new(pools: &[PoolSettings], standing: &[PrefixIndex<Serial>; 3], slices: &Slices) -> Self {
        let held = &standing[..COOLING];
        let mut all = Self::default();
        for (number, pool) in pools.iter().enumerate() {
            all.by_name.entry(pool.name.clone()).or_insert(number);
            all.renumbered |= !pool.provenance.former.is_empty();
            for base in Family::BOTH.into_iter().filter_map(|family| pool.base(family)) {
                let owned = (base.slice.is_some() && base.shared.is_none()).then_some(slices);
                let free = |standing| FreeSpace::new(base.base, &Occupied { standing, owned });
                let space = PoolSpace {
                    pool: number,
                    size: base.size,
                    closed: pool.closed,
                    slice: base.slice,
                    gateway: base.gateway,
                    probe: base.probe,
                    shared: base.shared,
                    parts: [free(&standing[..]), free(held)],
                    held: held.iter().map(|held| held.all_inside(base.base).count() as u64).sum(),
                };
                for kind in [Vacancy::Free, Vacancy::Reclaimable] {
                    space.note(kind, &mut all.rooms, None, space.part(kind).shortest());
                }
                let family = base.base.family() as usize;
                all.counts[family] += 1;
                all.divided |= base.slice.is_some();
                all.routed |= base.gateway.is_some();
                all.probed |= base.probe;
                if owned.is_some() && !pool.closed {
                    all.sliced[family].insert(number);
                }
                all.spaces.insert(base.base, space);
            }
        }
        all
    }

    /// The position in the settings of the pool with this name.
    pub(super) fn named(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// How many pools have this family.
    pub(super) const fn count(&self, family: Family) -> usize {
        self.counts[family as usize]
    }

    /// All bases.
    pub(super) fn bases(&self) -> impl Iterator<Item = Prefix> {
        self.spaces.keys().copied()
    }

    /// The space of exactly this base.
    pub(super) fn at(&self, base: Prefix) -> Option<&PoolSpace> {
        self.spaces.get(&base)
    }

    /// The base that contains this prefix.
    pub(super) fn around(&self, prefix: Prefix) -> Option<&PoolSpace> {
        let (base, space) = self.spaces.range(..=prefix).next_back()?;
        base.contains(prefix).then_some(space)
    }

    /// The bases that overlap this prefix.
    pub(super) fn touching(&self, prefix: Prefix) -> impl Iterator<Item = &PoolSpace> {
        self.spaces.range(meeting(&self.spaces, prefix)).map(|(_, space)| space)
    }

    /// The base around a prefix, if it is divided among several hosts.
    pub(super) fn divided_around(&self, prefix: Prefix) -> Option<&PoolSpace> {
        if !self.divided {
            return None;
        }
        self.around(prefix).filter(|space| space.slice.is_some())
    }

    /// The configured gateway of a subnet of this host, if it contains one.
    pub(super) fn router(&self, space: Space, prefix: Prefix) -> Option<u128> {
        if !self.routed || space != Space::Local {
            return None;
        }
        let router = self.around(prefix)?.gateway.filter(|router| prefix.contains_number(*router))?;
        never_given_name(prefix, router).is_none().then_some(router)
    }

    /// Whether any pool has had other bases.
    pub(super) const fn renumbered(&self) -> bool {
        self.renumbered
    }

    /// Whether the addresses of a subnet of this host are probed.
    pub(super) fn probes(&self, subnet: &SubnetState) -> bool {
        if !self.probed || subnet.space != Space::Local {
            return false;
        }
        // A stale subnet is on the LAN as before.
        let around = self.around(subnet.prefix).or_else(|| self.of_pool_of(subnet));
        around.is_some_and(|space| space.probe)
    }

    /// The base of the pool from which a subnet came.
    fn of_pool_of(&self, subnet: &SubnetState) -> Option<&PoolSpace> {
        let pool = self.named(subnet.pool.as_deref()?)?;
        let family = subnet.prefix.family();
        self.spaces.values().find(|space| space.pool == pool && space.base().family() == family)
    }

    /// The open pools of a family whose subnets are cut from slices, in order.
    pub(super) fn sliced(&self, family: Family) -> impl Iterator<Item = usize> {
        self.sliced[family as usize].iter().copied()
    }

    /// The next pool, from this one on, that has room for this size or (if `None`) for a subnet of its own size.
    pub(super) fn next(&self, kind: Vacancy, family: Family, from: usize, size: Option<u8>) -> Option<usize> {
        self.rooms[kind as usize][family as usize].next(from, size)
    }

    /// Records a subnet that is now held or, if `held` is false, cooling.
    pub(super) fn stand(&mut self, prefix: Prefix, held: bool) {
        let Self { spaces, rooms, .. } = self;
        each(spaces, prefix, |space| {
            space.change(Vacancy::Free, rooms, |part| part.occupy(prefix));
            if held {
                space.held += u64::from(space.base().contains(prefix));
                space.change(Vacancy::Reclaimable, rooms, |part| part.occupy(prefix));
            }
        });
    }

    /// Removes a subnet that was held or, if `held` is false, cooling; `standing` has the others.
    pub(super) fn leave(
        &mut self,
        prefix: Prefix,
        standing: &[PrefixIndex<Serial>; 3],
        slices: &Slices,
        held: bool,
    ) {
        // Looking this up among ten thousand subnets is slow, so it is done once for both kinds of room.
        let alone = !standing.covers(prefix) && !standing.is_in(prefix);
        let others = if alone { &[] } else { &standing[..] };
        let Self { spaces, rooms, .. } = self;
        each(spaces, prefix, |space| {
            let owned = space.cut_from_slices().then_some(slices);
            space.change(Vacancy::Free, rooms, |part| {
                part.vacate(prefix, &Occupied { standing: others, owned })
            });
            if held {
                space.held -= u64::from(space.base().contains(prefix));
                let standing = &others[..COOLING.min(others.len())];
                space.change(Vacancy::Reclaimable, rooms, |part| {
                    part.vacate(prefix, &Occupied { standing, owned });
                });
            }
        });
    }

    /// Records whether a slice is now held. Only the base that contains the slice changes, if the base is
    /// sliced.
    pub(super) fn slice_changed(
        &mut self,
        prefix: Prefix,
        is_held: bool,
        standing: &[PrefixIndex<Serial>; 3],
        slices: &Slices,
    ) {
        let Self { spaces, rooms, .. } = self;
        each(spaces, prefix, |space| {
            if !space.cut_from_slices() {
                return;
            }
            for (kind, standing) in
                [(Vacancy::Free, &standing[..]), (Vacancy::Reclaimable, &standing[..COOLING])]
            {
                space.change(kind, rooms, |part| match is_held {
                    true => part.vacate(prefix, &Occupied { standing, owned: Some(slices) }),
                    false => part.occupy(prefix),
                });
            }
        });
    }
}

/// Calls `act` for each base that overlaps the prefix. Bases do not overlap each other.
fn each(spaces: &mut BTreeMap<Prefix, PoolSpace>, prefix: Prefix, mut act: impl FnMut(&mut PoolSpace)) {
    if let Some((base, space)) = spaces.range_mut(..=prefix).next_back()
        && base.contains(prefix)
    {
        return act(space);
    }
    spaces.range_mut(prefix.within()).for_each(|(_, space)| act(space));
}
