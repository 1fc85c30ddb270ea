//! `gipam map`: the address space as a picture of signs.
//!
//! Promises: readable without colour, on a pipe and at 80 columns; a sign shows one subnet or address, or a
//! power of two of them where the prefix is too wide; whole rows of one state are one line. Counts are exact.

use std::net::IpAddr;

use crate::view::rows::{MapRow, SegmentRow};

/// Signs in a row.
const WIDTH: u128 = 64;
/// Rows after which a sign shows more.
const ROWS: usize = 40;

/// State, sign, colour (an SGR number), and what it is called. The first of those in a sign's place is shown.
const SIGNS: [(&str, char, u8, &str); 9] = [
    ("used", '#', 32, "used"),
    ("gateway", 'G', 36, "gateway"),
    ("auxiliary", 'A', 36, "auxiliary"),
    ("cooling", '~', 33, "cooling"),
    ("pinned", 'p', 34, "pinned"),
    ("slot", 'o', 90, "kept for the gateway"),
    ("reserved", '=', 35, "reserved"),
    ("never", 'x', 90, "never given"),
    ("free", '.', 90, "free"),
];
const FREE: usize = SIGNS.len() - 1;

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn address(family: &str, number: u128) -> String {
    match u32::try_from(number) {
        Ok(v4) if family == "v4" => std::net::Ipv4Addr::from(v4).to_string(),
        _ => std::net::Ipv6Addr::from(number).to_string(),
    }
}

fn sign_of(state: &str) -> usize {
    SIGNS.iter().position(|(name, ..)| *name == state).unwrap_or(FREE)
}

/// A picture in the making.
struct MapPicture<'a> {
    map: &'a MapRow,
    first: u128,
    last: u128,
    bits: u8,
    /// First, last, index of the sign.
    segments: Vec<(u128, u128, usize)>,
}

/// The picture of one pool or subnet; nothing if its prefix cannot be read.
pub(super) fn drawn(map: &MapRow, colour: bool) -> Option<String> {
    let picture = MapPicture::new(map)?;
    let mut unit = map.unit;
    // Each sign shows more until the picture fits a screen.
    while picture.rows(unit).len() > ROWS && unit > picture.length() {
        unit -= 1;
    }
    let rows = picture.rows(unit);
    let width = rows.iter().map(|(first, _)| address(&map.family, *first).len()).max().unwrap_or(0);
    let mut text = picture.heading(unit);
    for (first, row) in &rows {
        let label = address(&map.family, *first);
        let signs = match row {
            PictureRow::Signs(signs) => painted(signs, colour),
            PictureRow::Same(last, sign) => {
                format!("{} to {}", SIGNS[*sign].3, address(&map.family, *last))
            }
        };
        text.push_str(&format!("{label:<width$}  {signs}\n"));
    }
    text.push_str(&picture.legend());
    Some(text)
}

/// One line.
enum PictureRow {
    /// A sign for each place.
    Signs(Vec<usize>),
    /// Several rows of one state, up to this address.
    Same(u128, usize),
}

impl<'a> MapPicture<'a> {
    fn new(map: &'a MapRow) -> Option<Self> {
        let (network, length) = map.prefix.split_once('/')?;
        let (first, length): (u128, u8) = (number(network.parse().ok()?), length.parse().ok()?);
        let bits = if map.family == "v4" { 32 } else { 128 };
        let host = u32::from(bits - length);
        let size = 1u128.checked_shl(host).map_or(u128::MAX, |size| size - 1);
        let segment =
            |segment: &SegmentRow| (number(segment.first), number(segment.last), sign_of(&segment.state));
        Some(Self {
            map,
            first,
            last: first | size,
            bits,
            segments: map.segments.iter().map(segment).collect(),
        })
    }

    /// The length of the prefix.
    fn length(&self) -> u8 {
        self.map.prefix.split_once('/').and_then(|(_, length)| length.parse().ok()).unwrap_or(self.bits)
    }

    /// Addresses that a sign of this length shows, less one.
    fn span(&self, unit: u8) -> u128 {
        1u128.checked_shl(u32::from(self.bits - unit)).map_or(u128::MAX, |size| size - 1)
    }

    /// The lines, each with its first address.
    fn rows(&self, unit: u8) -> Vec<(u128, PictureRow)> {
        let row_span = self.span(unit).saturating_add(1).saturating_mul(WIDTH) - 1;
        let mut rows: Vec<(u128, PictureRow)> = Vec::new();
        let mut at = Some(self.first);
        let mut segments = self.segments.iter().peekable();
        while let Some(first) = at.filter(|at| *at <= self.last) {
            while segments.next_if(|(_, last, _)| *last < first).is_some() {}
            let next = segments.peek();
            // As far as it is the same everywhere.
            let (same_to, sign) = match next {
                Some((start, end, sign)) if *start <= first => (*end, *sign),
                Some((start, ..)) => (start - 1, FREE),
                None => (self.last, FREE),
            };
            let row_end = first.saturating_add(row_span).min(self.last);
            let whole_rows =
                (same_to.min(self.last) - first).saturating_add(1) / row_span.saturating_add(1).max(1);
            if whole_rows > 1 {
                let last =
                    if same_to >= self.last { self.last } else { first + whole_rows * (row_span + 1) - 1 };
                rows.push((first, PictureRow::Same(last, sign)));
                at = last.checked_add(1);
                continue;
            }
            rows.push((first, PictureRow::Signs(self.signs(first, row_end, unit))));
            if rows.len() > 8 * ROWS {
                break; // too many for any unit but a wider one
            }
            at = row_end.checked_add(1);
        }
        rows
    }

    /// The signs from `first` to `last`.
    fn signs(&self, first: u128, last: u128, unit: u8) -> Vec<usize> {
        let span = self.span(unit);
        let start = self.segments.partition_point(|(_, end, _)| *end < first);
        let inside: Vec<_> = self.segments[start..].iter().take_while(|(begin, ..)| *begin <= last).collect();
        let count = usize::try_from((last - first) / span.saturating_add(1).max(1)).unwrap_or(0) + 1;
        let mut signs = vec![FREE; count];
        for (begin, end, sign) in inside {
            let place = |number: u128| {
                let number = number.clamp(first, last) - first;
                usize::try_from(number / span.saturating_add(1).max(1)).unwrap_or(0)
            };
            for shown in &mut signs[place(*begin)..=place(*end)] {
                *shown = (*shown).min(*sign);
            }
        }
        signs
    }

    fn heading(&self, unit: u8) -> String {
        let MapRow { of, pool, prefix, .. } = self.map;
        let what = match (of.as_str(), pool) {
            ("pool", Some(name)) => format!("pool {name}, {prefix}"),
            (_, Some(name)) => format!("subnet {prefix} of pool {name}"),
            _ => format!("subnet {prefix}"),
        };
        let each = if unit == self.bits { "an address".to_owned() } else { format!("a /{unit}") };
        format!("{what}; a sign for {each}\n")
    }

    /// What the signs mean, and how many there are of each.
    fn legend(&self) -> String {
        let mut counts = [0u128; SIGNS.len()];
        let unit = self.span(self.map.unit).saturating_add(1).max(1);
        let mut others = 0u128;
        for (first, last, sign) in &self.segments {
            let size = last - first;
            // A subnet of any size counts as one; a reservation by how many it keeps away.
            let whole = self.map.of == "pool" && ["used", "cooling"].contains(&SIGNS[*sign].0);
            counts[*sign] += if whole { 1 } else { size / unit + 1 };
            others = others.saturating_add(size).saturating_add(1);
        }
        counts[FREE] = (self.last - self.first).saturating_add(1).saturating_sub(others) / unit;
        let shown = SIGNS.iter().zip(counts).filter(|(_, count)| *count > 0);
        let words: Vec<String> =
            shown.map(|((_, sign, _, name), count)| format!("{sign} {name} {}", grouped(count))).collect();
        format!("{}\n", words.join("   "))
    }
}

/// Digits in groups of three; beyond a million million as a power of two.
pub(super) fn grouped(count: u128) -> String {
    if count > 1_000_000_000_000 {
        return format!("2^{}", count.ilog2());
    }
    let digits = count.to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Signs as text, each run in its colour.
fn painted(signs: &[usize], colour: bool) -> String {
    let mut text = String::new();
    for run in signs.chunk_by(|a, b| a == b) {
        let Some((_, sign, sgr, _)) = run.first().map(|sign| SIGNS[*sign]) else { continue };
        let letters: String = std::iter::repeat_n(sign, run.len()).collect();
        if colour {
            text.push_str(&format!("\u{1b}[{sgr}m{letters}\u{1b}[0m"));
        } else {
            text.push_str(&letters);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(of: &str, prefix: &str, family: &str, unit: u8, segments: &[(&str, &str, &str)]) -> MapRow {
        let segment = |(first, last, state): &(&str, &str, &str)| SegmentRow {
            first: first.parse().unwrap(),
            last: last.parse().unwrap(),
            state: (*state).to_owned(),
        };
        MapRow {
            of: of.to_owned(),
            pool: Some("lan".to_owned()),
            family: family.to_owned(),
            prefix: prefix.to_owned(),
            unit,
            segments: segments.iter().map(segment).collect(),
            unusable: None,
        }
    }

    #[test]
    fn a_small_subnet_is_shown_address_by_address() {
        let map = map(
            "subnet",
            "192.0.2.0/28",
            "v4",
            32,
            &[
                ("192.0.2.0", "192.0.2.0", "never"),
                ("192.0.2.1", "192.0.2.1", "gateway"),
                ("192.0.2.2", "192.0.2.4", "used"),
                ("192.0.2.5", "192.0.2.5", "cooling"),
                ("192.0.2.15", "192.0.2.15", "never"),
            ],
        );
        let expected = "subnet 192.0.2.0/28 of pool lan; a sign for an address\n\
                        192.0.2.0  xG###~.........x\n\
                        # used 3   G gateway 1   ~ cooling 1   x never given 2   . free 9\n";
        assert_eq!(drawn(&map, false).unwrap(), expected);
    }

    #[test]
    fn a_wide_pool_is_folded_where_nothing_is_and_counts_stay_exact() {
        let map = map(
            "pool",
            "2001:db8::/48",
            "v6",
            64,
            &[
                ("2001:db8::", "2001:db8::ffff:ffff:ffff:ffff", "used"),
                ("2001:db8:0:8000::", "2001:db8:0:80ff:ffff:ffff:ffff:ffff", "reserved"),
            ],
        );
        let text = drawn(&map, false).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], format!("2001:db8::         #{}", ".".repeat(63)));
        assert_eq!(lines[2], "2001:db8:0:40::    free to 2001:db8:0:7fff:ffff:ffff:ffff:ffff");
        assert_eq!(lines[3], "2001:db8:0:8000::  reserved to 2001:db8:0:80ff:ffff:ffff:ffff:ffff");
        assert_eq!(lines[4], "2001:db8:0:8100::  free to 2001:db8:0:ffff:ffff:ffff:ffff:ffff");
        assert_eq!(lines[5], "# used 1   = reserved 256   . free 65,279");
    }

    #[test]
    fn a_full_and_scattered_pool_fits_a_screen_and_so_does_all_of_ipv6() {
        let places: Vec<(String, String)> = (0..4_096u32)
            .map(|n| {
                let first = u32::from(std::net::Ipv4Addr::new(10, 0, 0, 0)) + n * 4096;
                (
                    std::net::Ipv4Addr::from(first).to_string(),
                    std::net::Ipv4Addr::from(first + 255).to_string(),
                )
            })
            .collect();
        let segments: Vec<(&str, &str, &str)> =
            places.iter().map(|(first, last)| (first.as_str(), last.as_str(), "used")).collect();
        let text = drawn(&map("pool", "10.0.0.0/8", "v4", 24, &segments), false).unwrap();
        assert!(text.lines().count() <= ROWS + 2, "{text}");
        assert!(text.starts_with("pool lan, 10.0.0.0/8; a sign for a /19\n"), "{text}");
        assert!(text.ends_with("# used 4,096   . free 61,440\n"), "{text}");
        let all = drawn(&map("pool", "::/0", "v6", 64, &[]), false).unwrap();
        assert_eq!(all.lines().nth(1), Some("::  free to ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"));
    }

    #[test]
    fn colour_changes_nothing_but_colour() {
        let map = map("subnet", "192.0.2.0/29", "v4", 32, &[("192.0.2.1", "192.0.2.2", "used")]);
        let (plain, painted) = (drawn(&map, false).unwrap(), drawn(&map, true).unwrap());
        assert!(painted.contains("\u{1b}[32m##\u{1b}[0m"));
        let mut stripped = painted;
        for sgr in [32, 90, 0] {
            stripped = stripped.replace(&format!("\u{1b}[{sgr}m"), "");
        }
        assert_eq!(stripped, plain);
    }
}
