//! Usage over time: the numbers of leased addresses and held subnets, computed backwards from now through the history.
//!
//! Promises: exact as far back as the history reaches, and reports how far that is; limits the number of points. Reads only.

use std::collections::HashMap;

use serde::Serialize;
use smol_str::SmolStr;

use super::query::Query;
use super::views::View;
use super::{ErrorKind, Refusal};
use crate::plan::prefix::{AddressRange, Prefix};
use crate::plan::settings::{Millis, rfc3339};

/// Number of steps in a curve.
const POINTS: u64 = 120;
/// The longest time that a curve spans, even if the history reaches further back.
const LONGEST: Millis = 400 * 86_400_000;
/// The maximum number of history lines that are read.
const LINES: u32 = 200_000;

/// One point of the curve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Point {
    /// The time, RFC 3339.
    pub at: String,
    /// Addresses leased then.
    pub leases: u64,
    /// Subnets held then.
    pub subnets: u64,
}

/// The curve.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Usage {
    /// The start of the requested period.
    pub from: String,
    /// Its end: now.
    pub to: String,
    /// How far the history reaches back; `None` if it is empty.
    pub known_since: Option<String>,
    /// The points, oldest first.
    pub points: Vec<Point>,
}

/// How an event changed the numbers of leases and of subnets.
fn effect(event: &str) -> (i64, i64) {
    match event {
        "leased" | "adopted" => (1, 0),
        "released" | "undone" => (-1, 0),
        "subnet granted" => (0, 1),
        "subnet released" | "subnet undone" => (0, -1),
        _ => (0, 0),
    }
}

/// Computes the curve backwards from now: `lines` are newest first, `known` is how far back they reach.
fn curve(
    (lines, known): (&[(Millis, SmolStr)], Option<Millis>),
    (now, span): (Millis, Millis),
    [leases, subnets]: [u64; 2],
) -> Usage {
    let from = now.saturating_sub(span);
    let (mut leases, mut subnets) = (leases.cast_signed(), subnets.cast_signed());
    let mut points = Vec::new();
    let mut rest = lines.iter().peekable();
    for step in 0..=POINTS {
        let at = now - span.min(now) * step / POINTS;
        while let Some((_, event)) = rest.next_if(|(then, _)| *then > at) {
            let (more_leases, more_subnets) = effect(event);
            (leases, subnets) = (leases - more_leases, subnets - more_subnets);
        }
        if known.is_none_or(|known| at < known) && step > 0 {
            break;
        }
        let count = |count: i64| u64::try_from(count).unwrap_or(0);
        points.push(Point { at: rfc3339(at), leases: count(leases), subnets: count(subnets) });
    }
    points.reverse();
    Usage { from: rfc3339(from), to: rfc3339(now), known_since: known.map(rfc3339), points }
}

impl View {
    /// Usage in the last `seconds` (a day if the query does not have this parameter), of everything or of one `pool`.
    pub(super) fn usage(&self, query: Query<'_>) -> Result<Usage, Refusal> {
        let seconds: Millis = query.parsed("seconds", "number")?.unwrap_or(86_400);
        let span = seconds.saturating_mul(1_000).clamp(60_000, LONGEST);
        let now = self.now();
        let Some(pool) = query.text("pool")? else {
            let census = self.census_or_last()?;
            let (lines, known) = self.reader()?.happened(now.saturating_sub(span), LINES, |_| true)?;
            return Ok(curve((&lines, known), (now, span), [census.leases(), census.held()]));
        };
        let bases = self.bases_of(pool)?;
        let mut inside = HashMap::<String, bool>::new();
        let is_about = |subnet: &str| {
            if let Some(known) = inside.get(subnet) {
                return *known;
            }
            let is_inside = |prefix| bases.iter().any(|base| base.contains(prefix));
            *inside.entry(subnet.to_owned()).or_insert(Prefix::parse(subnet).is_some_and(is_inside))
        };
        let (lines, known) = self.reader()?.happened(now.saturating_sub(span), LINES, is_about)?;
        let ranges = bases.iter().map(|base| AddressRange::of(*base)).collect();
        let present =
            self.leases_in(ranges)?.into_iter().fold([0; 2], |[leases, subnets], [more, others]| {
                [leases + u64::try_from(more).unwrap_or(0), subnets + u64::try_from(others).unwrap_or(0)]
            });
        Ok(curve((&lines, known), (now, span), present))
    }

    fn bases_of(&self, name: String) -> Result<Vec<Prefix>, Refusal> {
        let unknown = Refusal::new(ErrorKind::Missing, format!("{name} is not a pool; see: gipam pools"));
        let bases = self.source.look(move |plan| {
            let pool = plan.pool(&name)?;
            Some(pool.bases().map(|base| base.base).collect())
        })?;
        bases.ok_or(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at: Millis, event: &str) -> (Millis, SmolStr) {
        (at, event.into())
    }

    #[test]
    fn numbers_are_computed_back_as_far_as_the_history_reaches() {
        let lines = [line(90_000, "released"), line(70_000, "leased"), line(60_000, "subnet granted")];
        let usage = curve((&lines, Some(60_000)), (120_000, 120_000), [4, 1]);
        let at = |seconds: Millis| {
            let at = rfc3339(seconds * 1_000);
            usage.points.iter().find(|point| point.at == at).map(|point| (point.leases, point.subnets))
        };
        assert_eq!(at(120), Some((4, 1)));
        assert_eq!(at(90), Some((4, 1)));
        assert_eq!(at(89), Some((5, 1)));
        assert_eq!(at(69), Some((4, 1)));
        assert_eq!(at(60), Some((4, 1)));
        assert_eq!(at(59), None, "the history begins at the first row");
        assert_eq!(usage.known_since.as_deref(), Some(rfc3339(60_000).as_str()));
        let nothing = curve((&[], None), (120_000, 60_000), [4, 1]);
        assert_eq!(nothing.points.len(), 1, "without a history, only the present is known");
    }
}
