//! An index of prefixes that finds the entries overlapping a prefix in O(log n).
//!
//! Promises: prefixes may nest and repeat (in both spaces, or as `overlap=true` copies). Does not know what entries mean.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::prefix::{Family, Prefix};

/// Prefixes with the entries at each, in order: serials of subnets, or what the host uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixIndex<T> {
    entries: BTreeMap<Prefix, Vec<T>>,
    /// The number of prefixes of each length, by family, so that only lengths in use are looked up.
    lengths: [[u32; 129]; 2],
}

impl<T> Default for PrefixIndex<T> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), lengths: [[0; 129]; 2] }
    }
}

impl<T: Ord> PrefixIndex<T> {
    fn length_count(&mut self, prefix: Prefix) -> &mut u32 {
        &mut self.lengths[prefix.family() as usize][usize::from(prefix.length())]
    }

    /// Adds an entry at a prefix.
    pub fn insert(&mut self, prefix: Prefix, one: T) {
        let here = self.entries.entry(prefix).or_default();
        here.push(one);
        if here.len() == 1 {
            *self.length_count(prefix) += 1;
        } else {
            here.sort_unstable();
        }
    }

    /// Removes one entry equal to this from a prefix, if there is one.
    pub fn remove(&mut self, prefix: Prefix, one: &T) {
        let Some(here) = self.entries.get_mut(&prefix) else { return };
        let Some(place) = here.iter().position(|other| other == one) else { return };
        here.remove(place);
        if here.is_empty() {
            self.entries.remove(&prefix);
            *self.length_count(prefix) -= 1;
        }
    }

    /// The entries at exactly this prefix, the lowest first.
    pub fn at(&self, prefix: Prefix) -> &[T] {
        self.entries.get(&prefix).map_or(&[], Vec::as_slice)
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All entries, in ascending order.
    pub fn all(&self) -> impl Iterator<Item = &T> {
        self.entries.values().flatten()
    }

    /// All entries at this prefix or at one that contains it, the nearest first.
    pub fn all_covering(&self, prefix: Prefix) -> impl Iterator<Item = &T> {
        let lengths = &self.lengths[prefix.family() as usize];
        let longest = self.shared(prefix).into_iter().flat_map(|length| (0..=length).rev());
        let in_use = longest.filter(|length| lengths[usize::from(*length)] > 0);
        in_use.flat_map(move |length| self.at(Prefix::new(prefix.family(), prefix.first(), length)))
    }

    /// The greatest length of a prefix that can contain this one: it also contains the nearest entry before this one.
    fn shared(&self, prefix: Prefix) -> Option<u8> {
        let (before, _) = self.entries.range(..=prefix).next_back()?;
        let alike = (before.first() ^ prefix.first()).leading_zeros() as u8;
        let alike = alike.saturating_sub(128 - prefix.family().bits());
        (before.family() == prefix.family()).then(|| alike.min(before.length()).min(prefix.length()))
    }

    /// All entries at this prefix or at one inside it, in ascending order.
    pub fn all_inside(&self, prefix: Prefix) -> impl Iterator<Item = &T> {
        self.entries.range(prefix.within()).flat_map(|(_, here)| here)
    }

    /// The next prefix that has entries, or the first one of the family.
    pub fn next_after(&self, family: Family, after: Option<Prefix>) -> Option<Prefix> {
        let from = after.map_or(Bound::Included(Prefix::new(family, 0, 0)), Bound::Excluded);
        let (next, _) = self.entries.range((from, Bound::Unbounded)).next()?;
        (next.family() == family).then_some(*next)
    }

    /// An entry whose prefix overlaps this one; an equal prefix comes first.
    pub fn overlapping(&self, prefix: Prefix) -> Option<&T> {
        self.all_covering(prefix).next().or_else(|| self.all_inside(prefix).next())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::change::Serial;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn queries_find_what_a_walk_over_all_entries_finds(
            entries in prop::collection::vec((any::<bool>(), 0u128..64, 0u8..=6), 0..40),
            (v6, offset, length) in (any::<bool>(), 0u128..64, 0u8..=6),
        ) {
            let prefix = |(v6, offset, length): (bool, u128, u8)| match v6 {
                false => Prefix::new(Family::V4, 0xc000_0200 + offset, 26 + length),
                true => Prefix::new(Family::V6, (0x2001_0db8 << 96) + offset, 122 + length),
            };
            let mut index = PrefixIndex::default();
            let all: Vec<Prefix> = entries.into_iter().map(prefix).collect();
            all.iter().zip(1..).for_each(|(entry, serial)| index.insert(*entry, serial));
            let asked = prefix((v6, offset, length));
            let walk = |wanted: &dyn Fn(Prefix) -> bool| {
                all.iter().zip(1..).filter(|(entry, _)| wanted(**entry)).map(|(_, serial)| serial).collect::<Vec<Serial>>()
            };
            let mut covering: Vec<Serial> = index.all_covering(asked).copied().collect();
            let lengths: Vec<u8> = covering.iter().map(|serial| all[*serial as usize - 1].length()).collect();
            prop_assert!(lengths.is_sorted_by(|a, b| a >= b), "the nearest first: {lengths:?}");
            covering.sort_unstable();
            prop_assert_eq!(covering, walk(&|entry| entry.contains(asked)));
            let mut inside: Vec<Serial> = index.all_inside(asked).copied().collect();
            inside.sort_unstable();
            prop_assert_eq!(inside, walk(&|entry| asked.contains(entry)));
        }
    }
}
