//! The free parts of one pool's base: best fit, splitting and coalescing (a buddy system over prefixes).
//!
//! Promises: O(length) map operations per call, however many subnets there are; free blocks are maximal, so
//! space that was once whole does not stay fragmented. Does not know times, spaces or names: the caller
//! passes in the occupied prefixes.

use std::collections::BTreeSet;
use std::iter::successors;

use super::change::Serial;
use super::prefix::Prefix;
use super::prefix_index::PrefixIndex;

/// What a free space needs to know about occupied prefixes.
pub trait Standing {
    /// Whether this prefix, or one that contains it, is occupied.
    fn covers(&self, prefix: Prefix) -> bool;
    /// Whether this prefix, or one inside it, is occupied.
    fn is_in(&self, prefix: Prefix) -> bool;
}

impl Standing for [PrefixIndex<Serial>] {
    fn covers(&self, prefix: Prefix) -> bool {
        self.iter().any(|index| !index.is_empty() && index.all_covering(prefix).next().is_some())
    }
    fn is_in(&self, prefix: Prefix) -> bool {
        self.iter().any(|index| !index.is_empty() && index.all_inside(prefix).next().is_some())
    }
}

/// The free blocks of one base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreeSpace {
    base: Prefix,
    /// The length and the first address of each block.
    blocks: BTreeSet<(u8, u128)>,
}

impl FreeSpace {
    /// The parts of the base that are not occupied.
    pub fn new(base: Prefix, occupied: &(impl Standing + ?Sized)) -> Self {
        let mut space = Self { base, blocks: BTreeSet::new() };
        space.vacate(base, occupied);
        space
    }

    pub const fn base(&self) -> Prefix {
        self.base
    }

    /// The prefix length of the largest block.
    pub fn shortest(&self) -> Option<u8> {
        self.blocks.first().map(|(length, _)| *length)
    }

    fn prefix(&self, first: u128, length: u8) -> Prefix {
        Prefix::new(self.base.family(), first, length)
    }

    fn has(&self, block: Prefix) -> bool {
        self.blocks.contains(&(block.length(), block.first()))
    }

    fn add(&mut self, block: Prefix) {
        self.blocks.insert((block.length(), block.first()));
    }

    fn take(&mut self, block: Prefix) {
        self.blocks.remove(&(block.length(), block.first()));
    }

    /// The lengths of blocks that have room for this length, the smallest blocks first.
    fn lengths(&self, length: u8) -> impl Iterator<Item = u8> + '_ {
        let below = |length: u8| self.blocks.range(..(length, 0)).next_back().map(|(length, _)| *length);
        successors(below(length + 1), move |length| below(*length))
    }

    /// The free block that contains this prefix.
    fn block_around(&self, prefix: Prefix) -> Option<Prefix> {
        let mut around = self.lengths(prefix.length()).map(|length| self.prefix(prefix.first(), length));
        around.find(|block| self.has(*block))
    }

    /// Marks this prefix as occupied; parts that are already occupied stay so.
    pub fn occupy(&mut self, region: Prefix) {
        if !self.base.overlaps(region) {
            return;
        }
        if let Some(mut block) = self.block_around(region) {
            self.take(block);
            while block.length() < region.length() {
                let Some((low, high)) = block.halves() else { return };
                let (with, without) = if low.contains(region) { (low, high) } else { (high, low) };
                self.add(without);
                block = with;
            }
            return;
        }
        let inside: Vec<Prefix> = self.blocks_inside(region).collect();
        for block in inside {
            self.take(block);
        }
    }

    /// The free blocks inside a region, the largest first.
    fn blocks_inside(&self, region: Prefix) -> impl Iterator<Item = Prefix> + '_ {
        let next = |length: u8| self.blocks.range((length, 0)..).next().map(|(length, _)| *length);
        let lengths = successors(next(region.length()), move |length| next(length + 1));
        lengths.flat_map(move |length| {
            let inside = self.blocks.range((length, region.first())..=(length, region.last()));
            inside.map(move |(_, first)| self.prefix(*first, length))
        })
    }

    /// Marks a region that was wholly occupied as vacated; the parts that no other prefix occupies become
    /// free.
    pub fn vacate(&mut self, region: Prefix, occupied: &(impl Standing + ?Sized)) {
        let region = if region.contains(self.base) { self.base } else { region };
        if !self.base.contains(region) || occupied.covers(region) {
            return;
        }
        if !occupied.is_in(region) {
            self.coalesce(region);
        } else if let Some((low, high)) = region.halves() {
            self.vacate(low, occupied);
            self.vacate(high, occupied);
        }
    }

    /// Makes a region without free blocks into a free block, merged with its free neighbours.
    fn coalesce(&mut self, region: Prefix) {
        debug_assert!(self.block_around(region).is_none() && self.blocks_inside(region).next().is_none());
        let mut block = region;
        while block.length() > self.base.length() {
            let (Some(sibling), Some(parent)) = (block.sibling(), block.parent()) else { break };
            if !self.has(sibling) {
                break;
            }
            self.take(sibling);
            block = parent;
        }
        self.add(block);
    }

    /// The best place for a subnet of this length: the lowest one in the smallest block that has one. `skip`
    /// returns the last address that blocks a candidate; everything up to it is skipped at once.
    pub fn best_fit(&self, length: u8, skip: impl Fn(Prefix) -> Option<u128>) -> Option<Prefix> {
        self.lengths(length).find_map(|block_length| {
            let mut from = 0;
            while let Some(&(_, first)) =
                self.blocks.range((block_length, from)..(block_length + 1, 0)).next()
            {
                let block = self.prefix(first, block_length);
                match fit(block, length, &skip) {
                    Ok(fit) => return Some(fit),
                    // The block that contains this address may have room after it.
                    Err(blocked_to) => {
                        from =
                            block.last().checked_add(1)?.max(self.prefix(blocked_to, block_length).first());
                    }
                }
            }
            None
        })
    }

    /// At most `most` free blocks of a region that can hold a subnet of this length, reduced to what `others` leave
    /// free.
    pub fn part(&self, region: Prefix, length: u8, most: usize, others: &impl Standing) -> Self {
        let mut part = Self { base: region, blocks: BTreeSet::new() };
        if self.block_around(region).is_some() {
            part.vacate(region, others);
            return part;
        }
        let inside = self.blocks_inside(region).filter(|block| block.length() <= length);
        inside.take(most).for_each(|block| part.vacate(block, others));
        part
    }

    /// All free blocks, the largest first.
    pub fn blocks(&self) -> impl Iterator<Item = Prefix> + '_ {
        self.blocks.iter().map(|(length, first)| self.prefix(*first, *length))
    }

    /// The free blocks of a region, the largest first; of a block that contains the region, only the region.
    pub fn blocks_in(&self, region: Prefix) -> impl Iterator<Item = Prefix> + '_ {
        let around = self.block_around(region).map(|_| region);
        let inside = around.is_none().then(|| self.blocks_inside(region));
        around.into_iter().chain(inside.into_iter().flatten())
    }
}

/// The lowest candidate of this length in a block; if there is none, the last address that blocks the last candidate.
fn fit(block: Prefix, length: u8, skip: impl Fn(Prefix) -> Option<u128>) -> Result<Prefix, u128> {
    let mut candidate = Prefix::new(block.family(), block.first(), length);
    loop {
        let Some(blocked_to) = skip(candidate) else { return Ok(candidate) };
        let last = Prefix::new(block.family(), blocked_to.max(candidate.last()), length).last();
        match last.checked_add(1).filter(|next| block.contains_number(*next)) {
            Some(next) => candidate = Prefix::new(block.family(), next, length),
            None => return Err(blocked_to),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;
    use proptest::prelude::*;

    const NOTHING: &[PrefixIndex<Serial>] = &[];

    fn prefix(text: &str) -> Prefix {
        Prefix::parse(text).unwrap()
    }

    #[test]
    fn best_fit_takes_the_smallest_hole() {
        let mut occupied = PrefixIndex::default();
        let mut space = FreeSpace::new(prefix("192.0.2.0/24"), NOTHING);
        for text in ["192.0.2.0/26", "192.0.2.96/27"] {
            occupied.insert(prefix(text), 1);
            space.occupy(prefix(text));
        }
        assert_eq!(space.best_fit(28, |_| None), Some(prefix("192.0.2.64/28")));
        assert_eq!(space.best_fit(25, |_| None), Some(prefix("192.0.2.128/25")));
        assert_eq!(space.best_fit(24, |_| None), None);
        occupied.remove(prefix("192.0.2.0/26"), &1);
        space.vacate(prefix("192.0.2.0/26"), from_ref(&occupied));
        occupied.remove(prefix("192.0.2.96/27"), &1);
        space.vacate(prefix("192.0.2.96/27"), from_ref(&occupied));
        assert_eq!(space.blocks().collect::<Vec<_>>(), vec![prefix("192.0.2.0/24")]);
    }

    #[test]
    fn blocked_parts_are_skipped() {
        let space = FreeSpace::new(prefix("192.0.2.0/24"), NOTHING);
        let to = prefix("192.0.2.0/25").last();
        let skip = |candidate: Prefix| (candidate.first() <= to).then_some(to);
        assert_eq!(space.best_fit(27, skip), Some(prefix("192.0.2.128/27")));
        assert_eq!(space.best_fit(24, skip), None);
        assert_eq!(space.best_fit(27, |_| Some(u128::MAX)), None);
    }

    #[test]
    fn the_whole_of_ipv6_works() {
        let mut space = FreeSpace::new(prefix("::/0"), NOTHING);
        assert_eq!(space.best_fit(0, |_| None), Some(prefix("::/0")));
        space.occupy(prefix("ffff::/16"));
        assert_eq!(space.best_fit(0, |_| None), None);
        assert_eq!(space.best_fit(64, |_| None), Some(prefix("fffe::/64")));
    }

    proptest! {
        #[test]
        fn only_unoccupied_addresses_are_free(ops in prop::collection::vec((any::<bool>(), 0u128..64, 22u8..=32), 1..60)) {
            let base = prefix("192.0.2.0/26");
            let (mut occupied, mut standing) = (PrefixIndex::default(), Vec::new());
            let mut space = FreeSpace::new(base, from_ref(&occupied));
            for (serial, (add, offset, length)) in ops.into_iter().enumerate() {
                if add || standing.is_empty() {
                    let region = Prefix::new(base.family(), base.first() + offset, length);
                    standing.push((region, serial as u64));
                    occupied.insert(region, serial as u64);
                    space.occupy(region);
                } else {
                    let (region, serial) = standing.remove(usize::try_from(offset).unwrap() % standing.len());
                    occupied.remove(region, &serial);
                    space.vacate(region, from_ref(&occupied));
                }
                for number in base.first()..=base.last() {
                    let free = space.blocks().filter(|block| block.contains_number(number)).count();
                    let taken = standing.iter().any(|(region, _)| region.contains_number(number));
                    prop_assert_eq!(free, usize::from(!taken));
                }
                prop_assert_eq!(&space, &FreeSpace::new(base, from_ref(&occupied)), "coalesced and rebuilt are equal");
            }
        }
    }
}
