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
        let in_use = (0..=prefix.length()).rev().filter(|length| lengths[usize::from(*length)] > 0);
        in_use.flat_map(move |length| {
            self.at(Prefix::new(prefix.family(), prefix.first(), length)).iter().copied()
        })
    }

    /// A serial at this prefix or at one inside it.
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
