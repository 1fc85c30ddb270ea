//! Which free slice a host tries first.
//!
//! Promises: hosts begin at different places, so that they seldom try the same slice; every free slice is found.

use std::collections::BTreeSet;

use crate::plan::prefix::Prefix;

/// The free slice of this length that a host tries next: from a place on that depends on its id, in ascending order and around.
/// `taken` may contain prefixes of any length.
pub fn candidate(base: Prefix, length: u8, taken: &BTreeSet<Prefix>, host: &str) -> Option<Prefix> {
    let length = length.clamp(base.length(), base.family().bits());
    let bits = u32::from(length - base.length());
    let last = if bits == 128 { u128::MAX } else { (1_u128 << bits) - 1 };
    let start = place(host) & last;
    free(base, length, taken, start, last).or_else(|| free(base, length, taken, 0, start.checked_sub(1)?))
}

/// The first free slice from one place to another, both included.
fn free(base: Prefix, length: u8, taken: &BTreeSet<Prefix>, mut place: u128, to: u128) -> Option<Prefix> {
    let shift = u32::from(base.family().bits() - length);
    let at = |place: u128| base.first() + place.checked_shl(shift).unwrap_or(0);
    while place <= to {
        let slice = Prefix::new(base.family(), at(place), length);
        let Some(other) = overlapping(taken, slice) else { return Some(slice) };
        let last = other.last().max(slice.last()).min(base.last());
        place = (last - base.first()).checked_shr(shift).unwrap_or(0).checked_add(1)?;
    }
    None
}

/// A taken prefix that overlaps this slice.
fn overlapping(taken: &BTreeSet<Prefix>, slice: Prefix) -> Option<Prefix> {
    let inside = taken.range(slice.within()).next().copied();
    inside.or_else(|| {
        let around = std::iter::successors(slice.parent(), |prefix| prefix.parent());
        around.into_iter().find(|prefix| taken.contains(prefix))
    })
}

/// A host's place: FNV-1a over its id. Both halves depend on all of it.
fn place(host: &str) -> u128 {
    let hash = |seed: u128| {
        host.bytes().fold(seed, |hash, byte| {
            (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
        })
    };
    let hash = hash(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
    hash ^ (hash >> 64)
}
