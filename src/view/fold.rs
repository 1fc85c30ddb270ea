//! Folding: draws an address space of any size as lines of places, with as many places as the caller asks for.
//!
//! Promises: pieces are added one at a time, and at most as many are kept as the map has places; everything is drawn to scale,
//! and several whole lines that show one thing become one line. If there are too many places, each place covers twice as many
//! addresses, and things that share a place become one piece that counts them. Pure; works on offsets from the first address.

use std::net::{IpAddr, Ipv4Addr};

use crate::plan::change::Serial;
use crate::plan::prefix::Prefix;
use crate::plan::stretch::Shade;

use super::Fullness;

/// The maximum size of a map.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Places per line.
    pub columns: u16,
    /// The maximum number of lines.
    pub lines: u16,
}

/// A grant that may have a name: serial, generation, and the address if the grant is an address.
pub type Whose = (Serial, u64, Option<IpAddr>);

/// Something on a map. The gaps between pieces are free.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Its first place.
    pub from: u128,
    /// Its last place.
    pub to: u128,
    /// Its first address; for several things, the first address of the first one.
    pub first: IpAddr,
    /// Its last address.
    pub last: IpAddr,
    pub shade: Shade,
    /// How many things it represents.
    pub things: u64,
    /// How many of these are used, and how many are cooling.
    pub counts: [u64; 2],
    /// Addresses that are taken.
    pub taken: u128,
    /// How full it is, if it is one thing.
    pub share: Option<Fullness>,
    /// The prefix of the subnet, if it is one subnet.
    pub prefix: Option<Prefix>,
    /// The grant to which it belongs, if it is one thing.
    pub whose: Option<Whose>,
    /// The name of its holder according to the books.
    pub name: Option<String>,
    /// A description in words.
    pub text: Option<String>,
    /// Whether it contains a subnet that lies outside the current base of its pool.
    pub stale: bool,
}

impl Piece {
    /// One thing in this state, without a position yet.
    pub const fn new(shade: Shade) -> Self {
        Self {
            from: 0,
            to: 0,
            first: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            last: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            shade,
            things: 1,
            counts: [0; 2],
            taken: 0,
            share: None,
            prefix: None,
            whose: None,
            name: None,
            text: None,
            stale: false,
        }
    }

    /// Merges another thing in the same place into this piece.
    fn absorb(&mut self, other: Self) {
        *self = Self {
            from: self.from,
            to: self.to,
            first: self.first,
            last: other.last,
            things: self.things + other.things,
            counts: [0, 1].map(|at| self.counts[at] + other.counts[at]),
            taken: self.taken.saturating_add(other.taken),
            stale: self.stale || other.stale,
            ..Self::new(self.shade.min(other.shade))
        };
    }
}

/// One line with its runs, or several lines that show the same thing from end to end.
#[derive(Debug)]
pub struct DrawnLine<'a> {
    /// How many lines this represents.
    pub lines: u128,
    /// First place, last place, and the piece there; `None` if the run is free.
    pub runs: Vec<(u128, u128, Option<&'a Piece>)>,
}

/// A map that is being drawn.
#[derive(Debug)]
pub struct Fold {
    /// The last offset.
    end: u128,
    /// Each place covers 2^`shift` offsets.
    shift: u32,
    size: Option<Size>,
    pieces: Vec<Piece>,
}

impl Fold {
    /// A map of the offsets up to `end`. Without a size, no pieces are merged.
    pub const fn new(end: u128, shift: u32, size: Option<Size>) -> Self {
        Self { end, shift, size, pieces: Vec::new() }
    }

    /// Adds the next piece; its `from` and `to` are offsets.
    pub fn push(&mut self, piece: Piece) {
        let place = |offset: u128| offset.checked_shr(self.shift).unwrap_or(0);
        let (from, to) = (place(piece.from), place(piece.to));
        self.end = self.end.max(piece.to);
        self.add(Piece { from, to, ..piece });
        let most = self.size.map(|size| usize::from(size.columns) * usize::from(size.lines));
        while most.is_some_and(|most| self.pieces.len() > most) && self.places() > 1 {
            self.coarsen();
        }
    }

    /// The number of places. Saturates: for all of IPv6, the result is one too low.
    fn places(&self) -> u128 {
        self.end.checked_shr(self.shift).unwrap_or(0).saturating_add(1)
    }

    /// Adds a piece. Pieces come in order, so a new piece can share a place only with the last one.
    fn add(&mut self, mut new: Piece) {
        if let Some(last) = self.pieces.last_mut().filter(|last| last.to >= new.from) {
            match (last.from == last.to, new.from == new.to) {
                (true, true) => return last.absorb(new),
                // A piece of one place stays visible next to a wider one.
                (false, true) => last.to -= 1,
                (_, false) => new.from += 1,
            }
        }
        self.pieces.push(new);
    }

    /// Makes each place cover twice as many offsets.
    fn coarsen(&mut self) {
        self.shift += 1;
        for piece in std::mem::take(&mut self.pieces) {
            self.add(Piece { from: piece.from >> 1, to: piece.to >> 1, ..piece });
        }
    }

    /// The pieces in the order in which they were added.
    pub fn into_pieces(self) -> Vec<Piece> {
        self.pieces
    }

    /// Folds until the lines fit the size. Returns the lines, and how many bits of an offset one place covers.
    pub fn lines(&mut self, size: Size) -> (Vec<DrawnLine<'_>>, u32) {
        while self.places() > 1 && self.try_lines(size).is_none() {
            self.coarsen();
        }
        (self.try_lines(size).unwrap_or_default(), self.shift)
    }

    /// The lines at this scale, or `None` if there are too many.
    fn try_lines(&self, size: Size) -> Option<Vec<DrawnLine<'_>>> {
        let mut lines = Vec::new();
        let mut next = Some(0);
        let end = self.places() - 1;
        for piece in &self.pieces {
            let start = next.unwrap_or(end);
            if start < piece.from {
                draw(&mut lines, size, (start, piece.from - 1, None))?;
            }
            draw(&mut lines, size, (piece.from, piece.to, Some(piece)))?;
            next = piece.to.checked_add(1).filter(|next| *next <= end);
        }
        if let Some(start) = next {
            draw(&mut lines, size, (start, end, None))?;
        }
        Some(lines)
    }
}

/// Draws a run after the previous one. Returns `None` if that takes too many lines.
fn draw<'a>(
    lines: &mut Vec<DrawnLine<'a>>,
    size: Size,
    (from, to, piece): (u128, u128, Option<&'a Piece>),
) -> Option<()> {
    let columns = u128::from(size.columns);
    let mut next = Some(from);
    while let Some(from) = next.filter(|from| *from <= to) {
        let column = from % columns;
        let whole = if column == 0 { (to - from).saturating_add(1) / columns } else { 0 };
        let last = match whole {
            0 | 1 => to.min((from - column).saturating_add(columns - 1)),
            whole => from + (whole * columns - 1),
        };
        match lines.last_mut().filter(|_| column > 0) {
            Some(line) => line.runs.push((from, last, piece)),
            None => lines.push(DrawnLine { lines: whole.max(1), runs: vec![(from, last, piece)] }),
        }
        if lines.len() > usize::from(size.lines) {
            return None;
        }
        next = last.checked_add(1);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::prefix::{Family, number};
    use proptest::prelude::*;

    fn piece(from: u128, to: u128, shade: Shade) -> Piece {
        Piece {
            from,
            to,
            first: Family::V6.address(from),
            last: Family::V6.address(to),
            counts: [u64::from(shade == Shade::Used), u64::from(shade == Shade::Cooling)],
            ..Piece::new(shade)
        }
    }

    proptest! {
        #[test]
        fn every_place_is_drawn_once_and_to_scale_and_no_piece_is_lost(
            steps in prop::collection::vec((0u128..40, 0u128..30, 0usize..3), 0..60),
            (columns, lines, wide) in (1u16..20, 1u16..20, 0u128..5_000),
        ) {
            let shades = [Shade::Used, Shade::Cooling, Shade::Reserved];
            let (mut pieces, mut next) = (Vec::new(), 0);
            for (gap, more, shade) in steps {
                pieces.push(piece(next + gap, next + gap + more, shades[shade]));
                next += gap + more + 1;
            }
            let size = Size { columns, lines };
            let mut fold = Fold::new((next + wide).max(1) - 1, 0, Some(size));
            pieces.iter().cloned().for_each(|piece| fold.push(piece));
            let end = fold.end;
            let (drawn, shift) = fold.lines(size);
            prop_assert!(drawn.len() <= usize::from(lines).max(1));
            let mut at = 0;
            for (n, line) in drawn.iter().enumerate() {
                prop_assert!(line.lines == 1 || line.runs.len() == 1);
                let before = at;
                for (from, to, _) in &line.runs {
                    prop_assert_eq!(*from, at);
                    at = to + 1;
                }
                let whole = u128::from(columns) * line.lines;
                prop_assert!(at - before == whole || (n + 1 == drawn.len() && at - before < whole));
            }
            prop_assert_eq!(at, (end >> shift) + 1);
            let mut shown: Vec<&Piece> = drawn.iter().flat_map(|line| &line.runs).filter_map(|run| run.2).collect();
            shown.dedup_by(|a, b| std::ptr::eq(*a, *b));
            let count = |shade| pieces.iter().filter(|piece| piece.shade == shade).count() as u64;
            for (at, shade) in [Shade::Used, Shade::Cooling].into_iter().enumerate() {
                prop_assert_eq!(shown.iter().map(|piece| piece.counts[at]).sum::<u64>(), count(shade));
            }
            prop_assert_eq!(shown.iter().map(|piece| piece.things).sum::<u64>(), pieces.len() as u64);
            for (from, to, piece) in drawn.iter().flat_map(|line| &line.runs) {
                let free = (*from << shift)..=((*to << shift) | ((1 << shift) - 1));
                let is_free = |piece: &&Piece| !free.contains(&number(piece.first)) && !free.contains(&number(piece.last));
                prop_assert!(piece.is_some() || pieces.iter().all(|piece| is_free(&piece)));
            }
        }
    }

    #[test]
    fn a_small_piece_stays_visible_next_to_a_large_one() {
        let size = Size { columns: 4, lines: 1 };
        let mut fold = Fold::new(31, 0, Some(size));
        fold.push(piece(0, 17, Shade::Reserved));
        fold.push(piece(18, 18, Shade::Used));
        let (lines, shift) = fold.lines(size);
        assert_eq!(shift, 3);
        let shown: Vec<_> =
            lines[0].runs.iter().map(|(from, to, piece)| (*from, *to, piece.map(|p| p.shade))).collect();
        assert_eq!(shown, [(0, 1, Some(Shade::Reserved)), (2, 2, Some(Shade::Used)), (3, 3, None)]);
    }

    #[test]
    fn all_of_ipv6_can_be_drawn() {
        let size = Size { columns: 64, lines: 4 };
        let mut fold = Fold::new(u128::MAX, 0, Some(size));
        fold.push(piece(0, 0, Shade::Used));
        fold.push(piece(1 << 127, u128::MAX, Shade::Reserved));
        let lines = fold.lines(size).0;
        assert_eq!(lines.iter().map(|line| line.lines).collect::<Vec<_>>(), [1, (1 << 121) - 1, 1 << 121]);
        let mut one = Fold::new(u128::MAX, 0, Some(Size { columns: 1, lines: 1 }));
        one.push(piece(0, u128::MAX, Shade::Used));
        assert_eq!(one.lines(Size { columns: 1, lines: 1 }).0.len(), 1);
    }
}
