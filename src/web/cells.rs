//! Cells of a map: a region of addresses, what lies in it, and how it is folded.
//!
//! Promises: cells cover the region in order, each address once, and are at most as many as asked for, but for what a
//! single block needs; pure.

use serde::{Serialize, Serializer};

use crate::plan::prefix::{Family, Prefix};

/// What a cell shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CellState {
    /// A held subnet, or a leased address.
    Used,
    /// A leased gateway.
    Gateway,
    /// Released, and not given to others yet.
    Cooling,
    /// Free, but once asked for by number.
    Pinned,
    /// Reserved by the configuration.
    Reserved,
    /// Network, broadcast, or the gateway's place.
    Never,
    Free,
    /// Several things.
    Part,
}

impl CellState {
    const fn text(self) -> &'static str {
        match self {
            Self::Used => "used",
            Self::Gateway => "gateway",
            Self::Cooling => "cooling",
            Self::Pinned => "pinned",
            Self::Reserved => "reserved",
            Self::Never => "not given",
            Self::Free => "free",
            Self::Part => "folded",
        }
    }
}

/// Something that lies in a region.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its first address.
    pub first: u128,
    /// Its last address.
    pub last: u128,
    pub state: CellState,
    /// How full it is, 0 to 1.
    pub share: f64,
    /// Its prefix or address.
    pub label: String,
    /// Its network or holder.
    pub name: Option<String>,
    /// More in words.
    pub text: String,
    /// What can be looked into.
    pub at: Option<String>,
}

/// Where nothing lies, but which is not simply free. In order, none overlapping another.
#[derive(Clone, Debug)]
pub struct Special {
    /// Its first address.
    pub first: u128,
    /// Its last address.
    pub last: u128,
    pub state: CellState,
    /// Why.
    pub text: &'static str,
}

/// What is to be shown.
#[derive(Clone, Copy, Debug)]
pub struct Region {
    pub prefix: Prefix,
    /// The length of the smallest cells.
    pub finest: u8,
    /// What a smallest cell is: `subnet` or `address`.
    pub noun: &'static str,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cell {
    /// What it shows.
    pub state: CellState,
    /// How full, in quarters: 1 to 4; 0 where nothing is used.
    pub level: u8,
    /// Its prefix, address, or range.
    pub label: String,
    /// Its network or holder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is, in words.
    pub text: String,
    /// What can be looked into.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// How many smallest cells it covers; as text, because it may be large.
    #[serde(serialize_with = "as_text", skip_serializing_if = "is_one")]
    pub units: u128,
}

fn as_text<S: Serializer>(units: &u128, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(units)
}

const fn is_one(units: &u128) -> bool {
    *units == 1
}

fn level(share: f64) -> u8 {
    match share {
        share if share <= 0.25 => 1,
        share if share <= 0.5 => 2,
        share if share <= 0.75 => 3,
        _ => 4,
    }
}

impl Item {
    /// As a cell of its own.
    pub fn into_cell(self) -> Cell {
        let text = match self.text.as_str() {
            "" => self.state.text().to_owned(),
            text => format!("{}, {text}", self.state.text()),
        };
        let level =
            if matches!(self.state, CellState::Used | CellState::Gateway) { level(self.share) } else { 0 };
        Cell { state: self.state, level, label: self.label, name: self.name, text, at: self.at, units: 1 }
    }
}

impl Cell {
    /// What did not fit.
    pub fn rest(count: usize) -> Self {
        let label = format!("and {count} more");
        let text = "see the table of subnets".to_owned();
        Self { state: CellState::Part, level: 1, label, name: None, text, at: None, units: count as u128 }
    }
}

/// A block of a length: its first and last address.
fn block(family: Family, address: u128, length: u8) -> (u128, u128) {
    let prefix = Prefix::new(family, address, length);
    (prefix.first(), prefix.last())
}

/// How many blocks of a length lie from one address to another; cut at `u128::MAX`.
fn blocks(family: Family, first: u128, last: u128, length: u8) -> u128 {
    let host = family.bits() - length;
    if host >= 128 { 1 } else { ((last - first) >> host).saturating_add(1) }
}

/// The cells of a region, at most `most` of them.
pub fn fold(region: Region, items: Vec<Item>, special: &[Special], most: usize) -> Vec<Cell> {
    let (family, whole) = (region.prefix.family(), region.prefix);
    let all = blocks(family, whole.first(), whole.last(), region.finest);
    if all <= most as u128 {
        return CellFolding { region, special, length: region.finest, every: true, cells: Vec::new() }
            .run(items);
    }
    // Of very many reservations the widest are shown.
    let mut widest = special.to_vec();
    widest.sort_by_key(|special| std::cmp::Reverse(special.last - special.first));
    widest.truncate(most / 8);
    widest.sort_by_key(|special| special.first);
    let special = widest.as_slice();
    let fits = |length: &u8| count(family, whole, &items, special, *length) <= most;
    let length = (whole.length()..=region.finest).rev().find(fits).unwrap_or(whole.length());
    CellFolding { region, special, length, every: false, cells: Vec::new() }.run(items)
}

/// How many cells a length would make, at most: groups of things, the gaps between them, and what is special in these.
fn count(family: Family, whole: Prefix, items: &[Item], special: &[Special], length: u8) -> usize {
    let (mut groups, mut end) = (0, None);
    for item in items {
        if end.is_none_or(|end| item.first > end) {
            groups += 1;
        }
        let last = block(family, item.last, length).1.min(whole.last());
        end = Some(end.map_or(last, |end: u128| end.max(last)));
    }
    2 * groups + 1 + 2 * special.len()
}

struct CellFolding<'a> {
    region: Region,
    special: &'a [Special],
    length: u8,
    /// Every block is a cell of its own; otherwise a gap is one cell.
    every: bool,
    cells: Vec<Cell>,
}

impl CellFolding<'_> {
    fn run(mut self, items: Vec<Item>) -> Vec<Cell> {
        let whole = self.region.prefix;
        let mut next = Some(whole.first());
        let mut items = items.into_iter().peekable();
        while let Some(item) = items.next() {
            let (first, mut last) = (block(whole.family(), item.first, self.length).0, item.last);
            last = last.max(block(whole.family(), item.last, self.length).1).min(whole.last());
            let mut group = vec![item];
            while let Some(item) = items.next_if(|item| item.first <= last) {
                last = last.max(block(whole.family(), item.last, self.length).1).min(whole.last());
                group.push(item);
            }
            if let Some(from) = next.filter(|from| *from < first) {
                self.gap(from, first - 1);
            }
            self.group(group, first, last);
            next = last.checked_add(1).filter(|next| *next <= whole.last());
            if last >= whole.last() {
                next = None;
            }
        }
        if let Some(from) = next {
            self.gap(from, whole.last());
        }
        self.cells
    }

    /// Something, or several things in one block.
    fn group(&mut self, mut group: Vec<Item>, first: u128, last: u128) {
        let family = self.region.prefix.family();
        if group.len() == 1 {
            self.cells.extend(group.pop().map(Item::into_cell));
            return;
        }
        // Copies of one prefix, or one within another, may overlap: no more than all is used.
        let size = last - first;
        let used: u128 =
            group.iter().fold(0, |sum, item| sum.saturating_add((item.last - item.first).saturating_add(1)));
        let share = (used as f64 / (size as f64 + 1.0)).min(1.0);
        let things =
            group.iter().filter(|item| matches!(item.state, CellState::Used | CellState::Gateway)).count();
        let cooling = group.iter().filter(|item| item.state == CellState::Cooling).count();
        let noun = if self.region.noun == "subnet" { "subnets" } else { "addresses" };
        let mut text = format!("{things} {noun} used");
        if cooling > 0 {
            text.push_str(&format!(", {cooling} cooling"));
        }
        let prefix = Prefix::new(family, first, self.length);
        let single = prefix.last() >= last;
        let label = if single { prefix.to_string() } else { self.range(first, last) };
        let at = single.then(|| prefix.to_string()).filter(|_| prefix != self.region.prefix);
        let at = at.or_else(|| group.first().and_then(|item| item.at.clone()));
        let units = blocks(family, first, last, self.region.finest);
        let level = if things > 0 { level(share) } else { 0 };
        self.cells.push(Cell { state: CellState::Part, level, label, name: None, text, at, units });
    }

    /// Nothing from here to there.
    fn gap(&mut self, first: u128, last: u128) {
        let family = self.region.prefix.family();
        if self.every {
            let mut from = first;
            loop {
                let to = block(family, from, self.length).1.min(last);
                let covered = self.special.iter().find(|special| special.first <= from && special.last >= to);
                let covered = covered.map(|special| (special.state, special.text));
                self.empty(from, to, covered);
                if to >= last {
                    return;
                }
                from = to + 1;
            }
        }
        let mut from = first;
        let special = self.special;
        for special in special.iter().filter(|special| special.last >= first && special.first <= last) {
            if special.first > from {
                self.empty(from, special.first - 1, None);
            }
            let (begin, end) = (special.first.max(from), special.last.min(last));
            self.empty(begin, end, Some((special.state, special.text)));
            if end >= last {
                return;
            }
            from = end + 1;
        }
        self.empty(from, last, None);
    }

    fn empty(&mut self, first: u128, last: u128, special: Option<(CellState, &'static str)>) {
        let family = self.region.prefix.family();
        let units = blocks(family, first, last, self.region.finest);
        let prefix = Prefix::new(family, first, self.region.finest);
        let single = prefix.first() == first && prefix.last() == last;
        let label = match (single, self.region.finest == family.bits()) {
            (true, true) => family.address(first).to_string(),
            (true, false) => prefix.to_string(),
            (false, _) => self.range(first, last),
        };
        let (state, why) = special.unwrap_or((CellState::Free, "free"));
        let text = match (units, self.region.noun) {
            (1, _) => why.to_owned(),
            (units, "subnet") => format!("{why}, room for {units} subnets of /{}", self.region.finest),
            (units, _) => format!("{why}, {units} addresses"),
        };
        self.cells.push(Cell { state, level: 0, label, name: None, text, at: None, units });
    }

    fn range(&self, first: u128, last: u128) -> String {
        let family = self.region.prefix.family();
        format!("{} – {}", family.address(first), family.address(last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(prefix: &str, finest: u8) -> Region {
        Region { prefix: Prefix::parse(prefix).unwrap(), finest, noun: "subnet" }
    }

    fn item(prefix: &str) -> Item {
        let prefix = Prefix::parse(prefix).unwrap();
        Item {
            first: prefix.first(),
            last: prefix.last(),
            state: CellState::Used,
            share: 0.1,
            label: prefix.to_string(),
            name: None,
            text: String::new(),
            at: Some(prefix.to_string()),
        }
    }

    fn labels(cells: &[Cell]) -> Vec<&str> {
        cells.iter().map(|cell| cell.label.as_str()).collect()
    }

    #[test]
    fn what_fits_is_shown_block_by_block() {
        let cells = fold(region("192.0.2.0/24", 26), vec![item("192.0.2.64/26")], &[], 256);
        assert_eq!(labels(&cells), ["192.0.2.0/26", "192.0.2.64/26", "192.0.2.128/26", "192.0.2.192/26"]);
        assert_eq!(cells.iter().filter(|cell| cell.state == CellState::Free).count(), 3);
    }

    #[test]
    fn in_a_wide_pool_what_is_free_between_is_one_cell() {
        let items = vec![item("2001:db8:0:1::/64"), item("2001:db8:0:9::/64")];
        let cells = fold(region("2001:db8::/48", 64), items, &[], 256);
        let states: Vec<CellState> = cells.iter().map(|cell| cell.state).collect();
        assert_eq!(
            states,
            [CellState::Free, CellState::Used, CellState::Free, CellState::Used, CellState::Free]
        );
        let units: u128 = cells.iter().map(|cell| cell.units).sum();
        assert_eq!(units, 65_536, "every subnet is in one cell");
    }

    #[test]
    fn too_many_things_become_cells_that_can_be_looked_into() {
        let items: Vec<Item> = (0..200).map(|i| item(&format!("2001:db8:0:{i:x}::/64"))).collect();
        let cells = fold(region("2001:db8::/48", 64), items, &[], 64);
        assert!(cells.len() <= 64, "{}", cells.len());
        assert_eq!(cells[0].state, CellState::Part);
        assert!(cells[0].at.is_some());
        assert_eq!(cells.iter().map(|cell| cell.units).sum::<u128>(), 65_536);
    }

    #[test]
    fn reservations_are_cells_of_their_own_kind() {
        let whole = Prefix::parse("192.0.2.0/24").unwrap();
        let special = [Special {
            first: whole.first(),
            last: whole.first() + 63,
            state: CellState::Reserved,
            text: "reserved",
        }];
        let cells = fold(region("192.0.2.0/24", 26), Vec::new(), &special, 256);
        assert_eq!(cells[0].state, CellState::Reserved);
        let cells = fold(region("192.0.2.0/24", 32), vec![item("192.0.2.9/32")], &special, 16);
        let states: Vec<CellState> = cells.iter().map(|cell| cell.state).collect();
        assert_eq!(states, [CellState::Reserved, CellState::Used, CellState::Reserved, CellState::Free]);
    }

    #[test]
    fn the_whole_of_ipv6_and_overlapping_copies_can_be_drawn() {
        let items = vec![item("::/1"), item("::/1"), item("2001:db8::/32"), item("ffff::/16")];
        for (most, finest) in [(1, 128), (16, 64), (1_024, 128)] {
            assert!(!fold(region("::/0", finest), items.clone(), &[], most).is_empty());
        }
    }
}
