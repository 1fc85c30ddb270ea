//! The address space as a map: the parts of a pool or of a subnet that are not simply free, from first to last.
//!
//! Promises: segments come in order, never overlap, and neighbours of one state are one segment; what is not in a
//! segment is free. As many segments as there is something to show, however wide the prefix. For views only.

use super::Plan;
use super::change::{Kind, Record};
use super::intervals::Intervals;
use super::prefix::Prefix;
use super::settings::Base;
use super::subnet::{Subnet, never_given, reserved_inside};

/// What a part of the picture is.
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
}

impl Shade {
    /// The word in views.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Used => "used",
            Self::Gateway => "gateway",
            Self::Auxiliary => "auxiliary",
            Self::Cooling => "cooling",
            Self::Pinned => "pinned",
            Self::Slot => "slot",
            Self::Reserved => "reserved",
            Self::Never => "never",
        }
    }
}

/// A stretch of one state: first and last address.
pub type Segment = (u128, u128, Shade);

/// Segments; what was put in first wins.
#[derive(Default)]
struct Drawing {
    drawn: Intervals,
    segments: Vec<Segment>,
}

impl Drawing {
    /// Fills only what is still empty.
    fn draw(&mut self, first: u128, last: u128, shade: Shade) {
        let mut next = Some(first);
        while let Some(start) = next.and_then(|next| self.drawn.first_absent(next, last)) {
            let taken =
                self.drawn.overlapping(start, last).map(|(first, _)| first).find(|first| *first > start);
            let end = taken.map_or(last, |taken| taken - 1);
            self.segments.push((start, end, shade));
            self.drawn.insert(start, end);
            next = end.checked_add(1).filter(|next| *next <= last);
        }
    }

    fn finish(mut self, merge: bool) -> Vec<Segment> {
        self.segments.sort_unstable();
        let mut merged: Vec<Segment> = Vec::with_capacity(self.segments.len());
        for (first, last, shade) in self.segments {
            match merged.last_mut() {
                Some((_, end, before)) if merge && *before == shade && end.checked_add(1) == Some(first) => {
                    *end = last
                }
                _ => merged.push((first, last, shade)),
            }
        }
        merged
    }
}

impl Plan {
    /// The picture of a pool's base: a segment for each subnet held or cooling, and the reservations.
    pub fn map_of_pool(&self, base: &Base) -> Vec<Segment> {
        let mut picture = Drawing::default();
        let whole = base.base;
        let standing = self.occupied.all_inside(whole).chain(self.occupied.all_covering(whole));
        let standing: Vec<&Subnet> = standing.filter_map(|serial| self.subnet(*serial)).collect();
        for (held, shade) in [(true, Shade::Used), (false, Shade::Cooling)] {
            for subnet in standing.iter().filter(|subnet| subnet.is_held() == held) {
                let prefix = subnet.state.prefix;
                picture.draw(prefix.first().max(whole.first()), prefix.last().min(whole.last()), shade);
            }
        }
        let reserved = &self.reserved[whole.family() as usize];
        for (first, last) in reserved.overlapping(whole.first(), whole.last()) {
            picture.draw(first.max(whole.first()), last.min(whole.last()), Shade::Reserved);
        }
        picture.finish(false)
    }

    /// The picture of a subnet.
    pub fn map_of_subnet(&self, subnet: &Subnet) -> Vec<Segment> {
        let mut picture = Drawing::default();
        for (address, record) in subnet.addresses.records() {
            if let Some(shade) = self.shade(subnet, record) {
                picture.draw(address, address, shade);
            }
        }
        for pinned in subnet.pins().keys() {
            picture.draw(*pinned, *pinned, Shade::Pinned);
        }
        let prefix: Prefix = subnet.state.prefix;
        let slot = subnet.slot(&self.reserved);
        picture.draw(slot, slot, Shade::Slot);
        let (low, high) = never_given(prefix);
        for never in [low, high].into_iter().flatten() {
            picture.draw(never, never, Shade::Never);
        }
        let reserved = reserved_inside(prefix, &self.reserved);
        for (first, last) in reserved.overlapping(prefix.first(), prefix.last()) {
            picture.draw(first, last, Shade::Reserved);
        }
        picture.finish(true)
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_picture_shows_at_each_place_what_was_drawn_first(
            strokes in prop::collection::vec((0u128..60, 0u128..20, 0usize..3), 0..30),
        ) {
            let shades = [Shade::Used, Shade::Cooling, Shade::Reserved];
            let (mut picture, mut plain) = (Drawing::default(), vec![None; 80]);
            for (first, more, shade) in strokes {
                picture.draw(first, first + more, shades[shade]);
                for place in &mut plain[first as usize..=(first + more) as usize] {
                    place.get_or_insert(shades[shade]);
                }
            }
            let segments = picture.finish(true);
            let mut shown = vec![None; 80];
            for (first, last, shade) in &segments {
                for place in &mut shown[*first as usize..=*last as usize] {
                    prop_assert!(place.is_none(), "segments overlap");
                    *place = Some(*shade);
                }
            }
            prop_assert_eq!(&shown, &plain);
            prop_assert!(segments.windows(2).all(|pair| pair[0].1 < pair[1].0));
            prop_assert!(segments.windows(2).all(|pair| pair[0].2 != pair[1].2 || pair[0].1 + 1 < pair[1].0));
        }
    }
}
