//! Maps of pools, parts of pools and subnets. The terminal and the web page draw them from the same rows.
//!
//! Promises: a map is drawn in bites (short steps), each as long as the caller allows, so that the ledger's plan can be read
//! between batches; the requested size limits the number of rows, whatever the map contains. Without a size, each stretch
//! is a segment. Names are looked up when the drawing is finished. Pure.

mod cells;
mod rows;

use std::sync::Arc;

use self::cells::{Cells, length};
pub use self::rows::{CellRow, LegendRow, LineRow, MapRow, SegmentRow, sign_of};
use self::rows::{STATES, name};
pub use super::fold::Whose;
use super::fold::{DrawnLine, Fold, Piece};
use super::{COUNTABLE, Count, Fullness, Size};
use crate::claims::HostsPlan;
use crate::claims::division::SliceAround;
use crate::plan::change::Serial;
use crate::plan::host_use::HostUse;
use crate::plan::prefix::{Family, Prefix};
use crate::plan::settings::{Base, Millis, PoolSettings};
use crate::plan::stretch::{Shade, Stretch};
use crate::plan::{Plan, Subnet};
use crate::text::counted;

/// How many stretches are drawn between two checks of the budget.
const STEP: usize = 16;

/// What is drawn.
#[derive(Clone, Copy, Debug)]
enum Drawn {
    /// A pool's base prefix, or a part of it.
    Pool,
    Subnet(Serial),
    /// The subnets outside all pools, drawn so far up to this prefix of this family.
    Outside(Family, Option<Prefix>),
}

/// A map that is being drawn.
#[derive(Debug)]
pub struct Drawing {
    drawn: Drawn,
    region: Prefix,
    /// The next address to draw; `None` when the drawing is complete.
    next: Option<u128>,
    row: MapRow,
    size: Option<Size>,
    fold: Fold,
    /// How often each state occurs.
    counts: [u128; STATES.len()],
    /// Addresses that are not free.
    taken: u128,
    whose: Option<Whose>,
    /// The plan of all hosts, if several divide the pools.
    hosts: Option<Arc<HostsPlan>>,
}

impl Drawing {
    /// The same drawing, where other hosts are known by name.
    #[must_use]
    pub fn among(self, hosts: Option<Arc<HostsPlan>>) -> Self {
        Self { hosts, ..self }
    }

    /// Drawings of everything, or of the pool, subnet or prefix named by `of`; empty if nothing has that name.
    pub fn find(plan: &Plan, of: Option<&str>, size: Option<Size>, in_use: &HostUse) -> Vec<Self> {
        let pools = plan.settings().pools.iter();
        let bases = pools.flat_map(|pool| {
            Family::BOTH.into_iter().filter_map(move |family| Some((pool, pool.base(family)?)))
        });
        let pool = |(pool, base): (&PoolSettings, &Base)| Self::of_pool(pool, base, base.base, size, in_use);
        let Some(of) = of else {
            let any = || Family::BOTH.into_iter().any(|family| plan.next_outside(family, None).is_some());
            let outside = size.filter(|_| any()).map(Self::outside);
            return bases.map(pool).chain(outside).collect();
        };
        let mut found: Vec<Self> = bases.clone().filter(|(pool, _)| pool.name == of).map(pool).collect();
        if found.is_empty() {
            let whole = |subnet: &Subnet| Self::of_subnet(plan, subnet, subnet.state.prefix, size);
            found = plan.subnets_named(of).into_iter().map(whole).collect();
        }
        let Some(part) = Prefix::parse(of).filter(|_| found.is_empty()) else { return found };
        let around = plan.pool_around(part).and_then(|pool| Some((pool, pool.base(part.family())?)));
        let is_nearer = |subnet: &&Subnet| {
            around.is_none_or(|(_, base)| base.base.length() <= subnet.state.prefix.length())
        };
        match (plan.nearest_subnet(part).filter(is_nearer), around) {
            (Some(subnet), _) => vec![Self::of_subnet(plan, subnet, part, size)],
            (None, Some((pool, base))) => vec![Self::of_pool(pool, base, part, size, in_use)],
            (None, None) => Vec::new(),
        }
    }

    fn new(drawn: Drawn, region: Prefix, size: Option<Size>, row: MapRow) -> Self {
        // Without folding, each address is a separate place.
        let unit = if size.is_some() { row.unit } else { region.family().bits() };
        let fold = Fold::new(region.last() - region.first(), u32::from(region.family().bits() - unit), size);
        let next = Some(region.first());
        Self {
            drawn,
            region,
            next,
            row,
            size,
            fold,
            counts: Default::default(),
            taken: 0,
            whose: None,
            hosts: None,
        }
    }

    fn of_pool(pool: &PoolSettings, base: &Base, part: Prefix, size: Option<Size>, in_use: &HostUse) -> Self {
        let family = part.family();
        // A part that is no larger than one of the pool's subnets may hold smaller ones: draw up to 64 units.
        let cut = (part.length() + 6).min(family.bits());
        let row = MapRow {
            of: "pool".to_owned(),
            pool: Some(pool.name.clone()),
            family: family.name().to_owned(),
            prefix: part.to_string(),
            unit: if base.size > part.length() { base.size } else { cut },
            unusable: Plan::unusable(base, in_use),
            closed: pool.closed,
            within: around(&[base.base, part]),
            ..MapRow::default()
        };
        Self::new(Drawn::Pool, part, size, row)
    }

    fn of_subnet(plan: &Plan, subnet: &Subnet, part: Prefix, size: Option<Size>) -> Self {
        let (state, family) = (&subnet.state, part.family());
        let pool = state.pool.as_deref().and_then(|pool| plan.pool(pool));
        let base = pool.and_then(|pool| pool.base(family)).map(|base| base.base);
        let row = MapRow {
            of: "subnet".to_owned(),
            pool: state.pool.clone(),
            family: family.name().to_owned(),
            prefix: part.to_string(),
            unit: family.bits(),
            id: Some(state.id.clone()),
            within: around(&[base.unwrap_or(state.prefix), state.prefix, part]),
            ..MapRow::default()
        };
        let whose = Some((state.serial, state.generation, None));
        Self { whose, ..Self::new(Drawn::Subnet(state.serial), part, size, row) }
    }

    /// Draws the subnets outside all pools, one place for each prefix, in the order of the prefixes.
    fn outside(size: Size) -> Self {
        let row = MapRow { of: "outside".to_owned(), ..MapRow::default() };
        let place = Prefix::new(Family::V6, 0, Family::V6.bits());
        let drawn = Drawn::Outside(Family::V4, None);
        Self { fold: Fold::new(0, 0, Some(size)), ..Self::new(drawn, place, Some(size), row) }
    }

    /// Continues drawing until `enough` returns true. Returns whether the drawing is complete.
    pub fn bite(&mut self, plan: &Plan, mut enough: impl FnMut() -> bool) -> bool {
        let held = match self.drawn {
            Drawn::Subnet(serial) => plan.subnet(serial).filter(|subnet| subnet.is_held()),
            _ => None,
        };
        let mut steps = 0;
        while let Some(from) = self.next {
            self.next = match (self.drawn, held) {
                (Drawn::Pool, _) => self.draw(plan, from, plan.stretch(self.region, from)),
                (Drawn::Subnet(_), Some(subnet)) => {
                    self.draw(plan, from, plan.stretch_inside(subnet, from, self.region.last()))
                }
                // The subnet is no longer held.
                (Drawn::Subnet(_), None) => None,
                (Drawn::Outside(family, after), _) => self.draw_outside(plan, from, family, after),
            };
            steps += 1;
            if steps % STEP == 0 && enough() {
                break;
            }
        }
        self.next.is_none()
    }

    /// Whose space this is that lies in no slice of this host, and up to where: of another host with its name, or of none. If the
    /// plan of all hosts is not known, it may be anybody's.
    fn elsewhere(&self, from: u128, last: u128) -> (u128, Shade, Option<String>) {
        let Some(division) = self.hosts.as_ref().and_then(|hosts| hosts.division.as_ref()) else {
            return (last, Shade::Others, None);
        };
        match division.around(Prefix::host(self.region.address(from))) {
            SliceAround::Slice(slice, host) => {
                (slice.last().min(last), Shade::Others, host.map(|host| host.name.clone()))
            }
            SliceAround::Nothing(_) if !division.complete => (last, Shade::Others, None),
            SliceAround::Nothing(next) => {
                let next = next.filter(|next| next.family() == self.region.family());
                (next.map_or(last, |next| (next.first() - 1).min(last)), Shade::Unclaimed, None)
            }
        }
    }

    /// Draws one stretch. Returns where the next one begins, or `None` at the end.
    fn draw(&mut self, plan: &Plan, from: u128, mut stretch: Stretch<'_>) -> Option<u128> {
        let mut host = None;
        if stretch.shade == Shade::Others {
            (stretch.last, stretch.shade, host) = self.elsewhere(from, stretch.last);
        }
        let next = stretch.last.checked_add(1).filter(|next| *next <= self.region.last());
        // If the host uses all of a pool, the pool cannot give any subnet.
        let shade = match stretch.shade {
            Shade::Free if self.row.unusable.is_some() => Shade::Never,
            shade => shade,
        };
        if shade == Shade::Free {
            return next;
        }
        let family = self.region.family();
        let (size, is_thing) = (stretch.last - from, stretch.subnet.is_some());
        // A subnet of any size counts as one; a reservation counts as the number of units that it covers.
        let unit = (size >> (family.bits() - self.row.unit).min(127)) + 1;
        self.counts[shade as usize] += if is_thing { 1 } else { unit };
        self.taken = self.taken.saturating_add(size).saturating_add(1);
        let origin = self.region.first();
        let mut piece = Piece {
            from: from - origin,
            to: stretch.last - origin,
            first: family.address(from),
            last: family.address(stretch.last),
            name: host,
            ..Piece::new(shade)
        };
        if let Some(subnet) = stretch.subnet {
            piece = of_subnet(plan, subnet, piece);
        }
        if let (Some(record), Drawn::Subnet(serial)) = (stretch.record, self.drawn) {
            piece.whose = Some((serial, record.generation, Some(piece.first)));
            piece.name = record.name.as_deref().map(str::to_owned);
            let stranger = record.mac.filter(|_| shade == Shade::Stranger);
            piece.text = stranger
                .map(|mac| format!("in quarantine: {mac}, which is not a container of this host, has it"));
        }
        if shade <= Shade::Stranger {
            piece.counts[0] = 1;
            piece.taken = size.saturating_add(1);
        }
        if shade <= Shade::Auxiliary {
            piece.share = piece.share.or(Some(Fullness(1.0)));
        }
        piece.counts[1] = u64::from(shade == Shade::Cooling);
        self.fold.push(piece);
        next
    }

    /// Draws the subnets of the next prefix outside all pools. Returns the next place, or `None` at the end.
    fn draw_outside(&mut self, plan: &Plan, at: u128, family: Family, after: Option<Prefix>) -> Option<u128> {
        let Some((prefix, subnets)) = plan.next_outside(family, after) else {
            self.drawn = Drawn::Outside(Family::V6, None);
            return (family == Family::V4).then_some(at);
        };
        self.drawn = Drawn::Outside(family, Some(prefix));
        self.counts[Shade::Used as usize] += subnets.len() as u128;
        for subnet in subnets {
            let (first, last) = (family.address(prefix.first()), family.address(prefix.last()));
            let piece = Piece { from: at, to: at, first, last, counts: [1, 0], ..Piece::new(Shade::Used) };
            self.fold.push(of_subnet(plan, subnet, piece));
        }
        Some(at + 1)
    }

    /// Completes the row with its legend, its lines or segments, and the names that the Engine has reported.
    pub fn finish(mut self, names: &dyn Fn(Whose) -> Option<String>) -> MapRow {
        self.row.network = self.whose.and_then(names);
        let free = self.region.size().saturating_sub(self.taken);
        self.counts[Shade::Free as usize] = match self.drawn {
            Drawn::Outside(..) => 0,
            _ => free >> (self.region.family().bits() - self.row.unit).min(127),
        };
        let states = STATES.iter().zip(self.counts).filter(|(_, count)| *count > 0);
        let legend = states.map(|((_, state, _, words), count)| LegendRow {
            state: (*state).to_owned(),
            words: (*words).to_owned(),
            count: Count(count),
        });
        self.row.legend = legend.collect();
        let Some(size) = self.size else {
            self.row.segments = segments(self.fold.into_pieces(), matches!(self.drawn, Drawn::Subnet(_)));
            return self.row;
        };
        let cells = Cells { region: self.region, drawn: self.drawn, unit: self.row.unit, names };
        let (lines, shift) = self.fold.lines(size);
        let line = |line: &DrawnLine<'_>| LineRow {
            first: cells.first(line, shift),
            lines: Count(line.lines),
            cells: line.runs.iter().map(|run| cells.cell(*run, shift, size)).collect(),
        };
        self.row.lines = lines.iter().map(line).collect();
        self.row.scale = length(self.region, shift);
        self.row
    }
}

/// The enclosing prefixes as text, without duplicates.
fn around(prefixes: &[Prefix]) -> Vec<String> {
    let mut texts: Vec<String> = prefixes.iter().map(Prefix::to_string).collect();
    texts.dedup();
    texts
}

/// Adds what is known about a subnet to its piece of the map.
fn of_subnet(plan: &Plan, subnet: &Subnet, piece: Piece) -> Piece {
    let (state, now) = (&subnet.state, plan.now());
    if !subnet.is_held() {
        let left: Millis = state.cool_until.saturating_sub(now);
        let text = format!("cooling, given to others in {} s", left.div_ceil(1_000));
        return Piece { text: Some(text), prefix: Some(state.prefix), ..piece };
    }
    let counts = plan.count_addresses(subnet);
    let all = counts.leased + counts.cooling + counts.free;
    let text = match counts.leased {
        leased if all > COUNTABLE => format!("used, {} used", counted(leased, "address")),
        leased => format!("used, {leased} of {all} addresses used"),
    };
    let earlier = plan.stale(subnet).and(state.pool.as_deref());
    let text =
        text + &earlier.map(|pool| format!(", on an earlier prefix of pool {pool}")).unwrap_or_default();
    Piece {
        share: Some(Fullness::of_subnet(&counts)),
        prefix: Some(state.prefix),
        whose: Some((state.serial, state.generation, None)),
        text: Some(text),
        stale: earlier.is_some(),
        ..piece
    }
}

/// Pieces as rows. With `merge` (inside a subnet), adjacent pieces in the same state become one segment.
fn segments(pieces: Vec<Piece>, merge: bool) -> Vec<SegmentRow> {
    let is_next = |before: &Piece, piece: &Piece| {
        let is_same =
            before.shade == piece.shade && (before.shade != Shade::Others || before.name == piece.name);
        merge && is_same && before.to.checked_add(1) == Some(piece.from)
    };
    let row = |run: &[Piece]| {
        let ([first, ..], [.., last]) = (run, run) else { return None };
        let host = first.name.clone().filter(|_| first.shade == Shade::Others);
        Some(SegmentRow { first: first.first, last: last.last, state: name(first.shade).to_owned(), host })
    };
    pieces.chunk_by(is_next).filter_map(row).collect()
}

#[cfg(test)]
mod tests;
