//! An index of prefixes: which subnets overlap a prefix, in O(log n).
//!
//! Promises: prefixes may nest and repeat (spaces coincide, `overlap=true` makes copies). Knows serials, not subnets.

use std::collections::BTreeMap;

use super::change::Serial;
use super::prefix::{Family, Prefix};

/// Prefixes with the serials of the subnets there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixIndex {
    entries: BTreeMap<(Family, u128, u8), Vec<Serial>>,
    /// How many entries there are of each length, so that only lengths in use are looked up.
    lengths: [[u32; 129]; 2],
}

impl Default for PrefixIndex {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), lengths: [[0; 129]; 2] }
    }
}

const fn key(prefix: Prefix) -> (Family, u128, u8) {
    (prefix.family(), prefix.first(), prefix.length())
}

impl PrefixIndex {
    fn length_count(&mut self, prefix: Prefix) -> &mut u32 {
        &mut self.lengths[prefix.family() as usize][usize::from(prefix.length())]
    }

    /// Adds a serial at a prefix.
    pub fn insert(&mut self, prefix: Prefix, serial: Serial) {
        let serials = self.entries.entry(key(prefix)).or_default();
        serials.push(serial);
        if serials.len() == 1 {
            *self.length_count(prefix) += 1;
        } else {
            serials.sort_unstable();
        }
    }

    /// Removes a serial from a prefix.
    pub fn remove(&mut self, prefix: Prefix, serial: Serial) {
        let Some(serials) = self.entries.get_mut(&key(prefix)) else { return };
        serials.retain(|other| *other != serial);
        if serials.is_empty() {
            self.entries.remove(&key(prefix));
            *self.length_count(prefix) -= 1;
        }
    }

    /// The serials at exactly this prefix, lowest first.
    pub fn at(&self, prefix: Prefix) -> &[Serial] {
        self.entries.get(&key(prefix)).map_or(&[], Vec::as_slice)
    }

    /// A serial at this prefix or at one that contains it; the nearest first.
    pub fn covering(&self, prefix: Prefix) -> Option<Serial> {
        self.all_covering(prefix).next()
    }

    /// Every serial at this prefix or at one that contains it; the nearest first.
    pub fn all_covering(&self, prefix: Prefix) -> impl Iterator<Item = Serial> + '_ {
        let lengths = &self.lengths[prefix.family() as usize];
        let longest = self.shared(prefix).into_iter().flat_map(|length| (0..=length).rev());
        let in_use = longest.filter(|length| lengths[usize::from(*length)] > 0);
        in_use.flat_map(move |length| {
            self.at(Prefix::new(prefix.family(), prefix.first(), length)).iter().copied()
        })
    }

    /// The greatest length that what contains this prefix can have: it contains the nearest entry before it, too.
    fn shared(&self, prefix: Prefix) -> Option<u8> {
        let ((family, first, length), _) = self.entries.range(..=key(prefix)).next_back()?;
        let alike = (first ^ prefix.first()).leading_zeros() as u8;
        let alike = alike.saturating_sub(128 - prefix.family().bits());
        (*family == prefix.family()).then(|| alike.min(*length).min(prefix.length()))
    }

    pub fn inside(&self, prefix: Prefix) -> Option<Serial> {
        self.all_inside(prefix).next()
    }

    /// Every serial at this prefix or at one inside it.
    pub fn all_inside(&self, prefix: Prefix) -> impl Iterator<Item = Serial> + '_ {
        let first = (prefix.family(), prefix.first(), prefix.length());
        let last = (prefix.family(), prefix.last(), u8::MAX);
        let shortest = prefix.length();
        self.entries
            .range(first..=last)
            .filter(move |((_, _, length), _)| *length >= shortest)
            .flat_map(|(_, serials)| serials.iter().copied())
    }

    /// A serial whose prefix shares an address with this one; an equal prefix comes first.
    pub fn overlapping(&self, prefix: Prefix) -> Option<Serial> {
        self.covering(prefix).or_else(|| self.inside(prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_covers_and_what_is_inside_is_what_a_walk_over_all_finds(
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
            let mut covering: Vec<Serial> = index.all_covering(asked).collect();
            let lengths: Vec<u8> = covering.iter().map(|serial| all[*serial as usize - 1].length()).collect();
            prop_assert!(lengths.is_sorted_by(|a, b| a >= b), "the nearest first: {lengths:?}");
            covering.sort_unstable();
            prop_assert_eq!(covering, walk(&|entry| entry.contains(asked)));
            let mut inside: Vec<Serial> = index.all_inside(asked).collect();
            inside.sort_unstable();
            prop_assert_eq!(inside, walk(&|entry| asked.contains(entry)));
        }
    }
}
