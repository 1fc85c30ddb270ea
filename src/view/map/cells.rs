//! Turns places into cells, and describes each cell in words.
//!
//! Promises: every cell has a description. Does not fold (see `fold`).

use std::net::IpAddr;

use super::Drawn;
use super::rows::{CellRow, name, sign_of};
use crate::plan::prefix::{Family, Prefix, number};
use crate::plan::stretch::Shade;
use crate::text::counted;
use crate::view::fold::{DrawnLine, Piece, Whose};
use crate::view::{Fullness, Size, digits};

/// Turns runs of places into cells.
pub(super) struct Cells<'a> {
    pub region: Prefix,
    pub drawn: Drawn,
    pub unit: u8,
    pub names: &'a dyn Fn(Whose) -> Option<String>,
}

impl Cells<'_> {
    /// The first and the last address that these places cover.
    fn addresses(&self, from: u128, to: u128, shift: u32) -> (u128, u128) {
        let first = |place: u128| self.region.first().saturating_add(place.checked_shl(shift).unwrap_or(0));
        let last = to.checked_add(1).map(first).filter(|next| *next > first(from));
        (first(from), last.map_or(self.region.last(), |next| (next - 1).min(self.region.last())))
    }

    /// The first address of a line.
    pub fn first(&self, line: &DrawnLine<'_>, shift: u32) -> IpAddr {
        match line.runs.first() {
            Some((.., Some(piece))) if self.is_outside() => piece.first,
            Some((from, to, _)) => self.region.address(self.addresses(*from, *to, shift).0),
            None => self.region.address(self.region.first()),
        }
    }

    const fn is_outside(&self) -> bool {
        matches!(self.drawn, Drawn::Outside(..))
    }

    pub fn cell(&self, (from, to, piece): (u128, u128, Option<&Piece>), shift: u32, size: Size) -> CellRow {
        let (first, last) = self.addresses(from, to, shift);
        let free = Piece {
            first: self.region.address(first),
            last: self.region.address(last),
            ..Piece::new(Shade::Free)
        };
        let piece = piece.unwrap_or(&free);
        let block = Prefix::new(self.region.family(), first, length(self.region, shift));
        let prefix = match piece.things {
            1 => piece.prefix,
            _ => Some(block).filter(|_| !self.is_outside()),
        };
        // If several subnets have the same prefix, they may take more addresses than the place covers.
        let share = || piece.taken as f64 / 2f64.powi(i32::try_from(shift).unwrap_or(i32::MAX));
        let folded = (piece.things > 1 && piece.counts[0] > 0).then(|| Fullness(share().min(1.0)));
        CellRow {
            first: piece.first,
            last: piece.last,
            state: name(piece.shade).to_owned(),
            span: u16::try_from(to - from).unwrap_or(u16::MAX).saturating_add(1).min(size.columns),
            things: piece.things,
            label: self.label(piece, prefix),
            name: piece.name.clone().or_else(|| piece.whose.and_then(self.names)),
            text: self.text(piece),
            of: prefix.filter(|prefix| *prefix != self.region).map(|prefix| prefix.to_string()),
            share: piece.share.or(folded),
            stale: piece.stale,
        }
    }

    fn label(&self, piece: &Piece, prefix: Option<Prefix>) -> String {
        let (first, last) = (number(piece.first), number(piece.last));
        let unit = Prefix::new(Family::of(piece.first), first, self.unit);
        match prefix {
            Some(prefix) => prefix.to_string(),
            None if first == last => piece.first.to_string(),
            None if self.is_outside() => format!("{} subnets", piece.things),
            None if (unit.first(), unit.last()) == (first, last) => unit.to_string(),
            None => format!("{} – {}", piece.first, piece.last),
        }
    }

    /// The description of a cell.
    fn text(&self, piece: &Piece) -> String {
        if let Some(text) = &piece.text {
            return text.clone();
        }
        let noun = if matches!(self.drawn, Drawn::Subnet(_)) { "address" } else { "subnet" };
        let word = if piece.shade == Shade::Stranger { "in quarantine" } else { "used" };
        match (piece.things, piece.counts) {
            (1, _) | (_, [0, 0]) => {}
            (_, [used, 0]) => return format!("{} {word}", counted(used, noun)),
            (_, [used, cooling]) => return format!("{} {word}, {cooling} cooling", counted(used, noun)),
        }
        let words = match piece.shade {
            Shade::Reserved => "reserved: never given dynamically",
            Shade::Others => return self.others(piece, noun),
            Shade::Unclaimed => "of no host yet",
            Shade::Never if noun == "address" => "never given: network or broadcast address",
            Shade::Never => "never given: this host uses it (see the pool)",
            shade => sign_of(name(shade)).1,
        };
        self.counted(piece, noun, words)
    }

    /// The description of space in which this host has no slice.
    fn others(&self, piece: &Piece, noun: &str) -> String {
        match (&piece.name, piece.things) {
            (Some(host), 1) => self.counted(piece, noun, &format!("of host {host}")),
            (None, 1) => self.counted(piece, noun, "in no slice of this host"),
            _ => "of other hosts".to_owned(),
        }
    }

    fn counted(&self, piece: &Piece, noun: &str, words: &str) -> String {
        let host = self.region.family().bits() - self.unit;
        match ((number(piece.last) - number(piece.first)) >> host.min(127)).saturating_add(1) {
            1 => words.to_owned(),
            units if noun == "subnet" => {
                format!("{words}, room for {} subnets of /{}", digits(units), self.unit)
            }
            units => format!("{words}, {} addresses", digits(units)),
        }
    }
}

/// The prefix length of one place.
pub(super) fn length(region: Prefix, shift: u32) -> u8 {
    region.family().bits().saturating_sub(u8::try_from(shift).unwrap_or(u8::MAX))
}
