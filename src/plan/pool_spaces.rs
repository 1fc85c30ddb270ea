//! The pools by name and by base, the free parts of each, and which of them have room: one look, however many pools there are.
//!
//! Two kinds of room: *free* is not occupied, *reclaimable* is not held: only cooling subnets are there.
//! Promises: all of it is a function of the settings and of held and cooling subnets; a change costs O(log n) and touches the pools that it
//! overlaps. Knows no times and does not choose.

use std::collections::{BTreeMap, BTreeSet};

use super::free_space::{FreeSpace, Standing};
use super::prefix::{Family, Prefix};
use super::settings::PoolSettings;

/// One base of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PoolSpace {
    /// Which of the settings' pools.
    pub(super) pool: usize,
    /// Length of a subnet where the request does not give one.
    size: u8,
    closed: bool,
    /// What nobody occupies.
    pub(super) free: FreeSpace,
    /// What nobody holds.
    pub(super) reclaimable: FreeSpace,
    /// How many held subnets lie inside.
    pub(super) held: u64,
}

/// Which pools have room, by their place in the settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct RoomyPools {
    /// For a subnet of the pool's own size.
    own: BTreeSet<usize>,
    /// By the length of the largest block.
    by_length: BTreeMap<u8, BTreeSet<usize>>,
}

impl RoomyPools {
    fn note(&mut self, pool: usize, size: u8, before: Option<u8>, after: Option<u8>) {
        if before == after {
            return;
        }
        if let Some(pools) = before.and_then(|length| self.by_length.get_mut(&length)) {
            pools.remove(&pool);
        }
        if let Some(length) = before
            && self.by_length.get(&length).is_some_and(BTreeSet::is_empty)
        {
            self.by_length.remove(&length);
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

    /// The next pool from this one on that has room.
    fn next(&self, from: usize, size: Option<u8>) -> Option<usize> {
        let first = |pools: &BTreeSet<usize>| pools.range(from..).next().copied();
        match size {
            None => first(&self.own),
            Some(size) => self.by_length.range(..=size).filter_map(|(_, pools)| first(pools)).min(),
        }
    }
}

/// What room is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vacancy {
    /// What nobody occupies.
    Free,
    /// What nobody holds.
    Reclaimable,
}

/// All pools.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PoolSpaces {
    by_name: BTreeMap<String, usize>,
    spaces: BTreeMap<Prefix, PoolSpace>,
    /// By family: how many bases there are.
    counts: [usize; 2],
    /// By family: of free space, and of reclaimable space.
    free: [RoomyPools; 2],
    reclaimable: [RoomyPools; 2],
}

impl PoolSpaces {
    /// Everything, from the settings and from held and cooling subnets; `held_inside` counts held subnets.
    pub(super) fn new(
        pools: &[PoolSettings],
        occupied: &impl Standing,
        held: &impl Standing,
        held_inside: impl Fn(Prefix) -> u64,
    ) -> Self {
        let mut all = Self::default();
        for (number, pool) in pools.iter().enumerate() {
            all.by_name.entry(pool.name.clone()).or_insert(number);
            for base in Family::BOTH.into_iter().filter_map(|family| pool.base(family)) {
                let space = PoolSpace {
                    pool: number,
                    size: base.size,
                    closed: pool.closed,
                    free: FreeSpace::new(base.base, occupied),
                    reclaimable: FreeSpace::new(base.base, held),
                    held: held_inside(base.base),
                };
                let family = base.base.family() as usize;
                note(&mut all.free[family], &space, None, space.free.shortest());
                note(&mut all.reclaimable[family], &space, None, space.reclaimable.shortest());
                all.counts[family] += 1;
                all.spaces.insert(base.base, space);
            }
        }
        all
    }

    /// The place of the pool of this name in the settings.
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

    /// The base, if it is one.
    pub(super) fn at(&self, base: Prefix) -> Option<&PoolSpace> {
        self.spaces.get(&base)
    }

    /// The base that contains this prefix.
    pub(super) fn around(&self, prefix: Prefix) -> Option<&PoolSpace> {
        let (base, space) = self.spaces.range(..=prefix).next_back()?;
        base.contains(prefix).then_some(space)
    }

    /// The bases that share an address with this prefix.
    pub(super) fn touching(&self, prefix: Prefix) -> impl Iterator<Item = &PoolSpace> {
        let around = self.around(prefix).filter(|space| space.free.base() != prefix);
        let last = Prefix::new(prefix.family(), prefix.last(), prefix.family().bits());
        around.into_iter().chain(self.spaces.range(prefix..=last).map(|(_, space)| space))
    }

    /// The next pool from this one on that has room for this size, or for one of its own.
    pub(super) fn next(&self, kind: Vacancy, family: Family, from: usize, size: Option<u8>) -> Option<usize> {
        let rooms = match kind {
            Vacancy::Free => &self.free,
            Vacancy::Reclaimable => &self.reclaimable,
        };
        rooms[family as usize].next(from, size)
    }

    /// A subnet is here now, held or (if not) cooling.
    pub(super) fn stand(&mut self, prefix: Prefix, held: bool) {
        let Self { spaces, free, reclaimable, .. } = self;
        each(spaces, prefix, |space| {
            let family = prefix.family() as usize;
            let before = space.free.shortest();
            space.free.occupy(prefix);
            note(&mut free[family], space, before, space.free.shortest());
            if held {
                space.held += u64::from(space.free.base().contains(prefix));
                let before = space.reclaimable.shortest();
                space.reclaimable.occupy(prefix);
                note(&mut reclaimable[family], space, before, space.reclaimable.shortest());
            }
        });
    }

    /// A subnet left: `held` is what others hold if this one was held, else nothing. A held subnet also occupies.
    pub(super) fn leave(&mut self, prefix: Prefix, occupied: &impl Standing, held: Option<&impl Standing>) {
        let Self { spaces, free, reclaimable, .. } = self;
        let alone = !occupied.covers(prefix) && !occupied.is_in(prefix);
        each(spaces, prefix, |space| {
            let family = prefix.family() as usize;
            let before = space.free.shortest();
            vacate(&mut space.free, prefix, alone, occupied);
            note(&mut free[family], space, before, space.free.shortest());
            if let Some(held) = held {
                space.held -= u64::from(space.free.base().contains(prefix));
                let before = space.reclaimable.shortest();
                vacate(&mut space.reclaimable, prefix, alone, held);
                note(&mut reclaimable[family], space, before, space.reclaimable.shortest());
            }
        });
    }
}

/// What is looked up among ten thousand subnets is looked up once for both kinds of room.
fn vacate(space: &mut FreeSpace, prefix: Prefix, alone: bool, others: &impl Standing) {
    if alone { space.vacate_whole(prefix) } else { space.vacate(prefix, others) }
}

/// A closed pool does not have room.
fn note(room: &mut RoomyPools, space: &PoolSpace, before: Option<u8>, after: Option<u8>) {
    if !space.closed {
        room.note(space.pool, space.size, before, after);
    }
}

/// Does this for each base that shares an address with the prefix. Bases do not overlap.
fn each(spaces: &mut BTreeMap<Prefix, PoolSpace>, prefix: Prefix, mut act: impl FnMut(&mut PoolSpace)) {
    if let Some((base, space)) = spaces.range_mut(..=prefix).next_back()
        && base.contains(prefix)
    {
        return act(space);
    }
    let last = Prefix::new(prefix.family(), prefix.last(), prefix.family().bits());
    for (_, space) in spaces.range_mut(prefix..=last) {
        act(space);
    }
}
