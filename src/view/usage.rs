//! Usage over time: how many addresses were leased and subnets held, computed backwards from now through the history.
//!
//! Promises: exact as far back as the history reaches, and says how far that is; bounded in points. Reads, never writes.

use serde::Serialize;
use smol_str::SmolStr;

use super::Refusal;
use super::query::Query;
use super::views::View;
use crate::plan::settings::{Millis, rfc3339};

/// Points of a curve.
const POINTS: u64 = 120;
/// The longest time that a curve spans: what a history may reach back to.
const LONGEST: Millis = 400 * 86_400_000;
/// Lines of history that are looked at.
const LINES: u32 = 200_000;

/// One moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Point {
    /// When, RFC 3339.
    pub at: String,
    /// Addresses leased then.
    pub leases: u64,
    /// Subnets held then.
    pub subnets: u64,
}

/// The curve.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Usage {
    /// The beginning of what was asked for.
    pub from: String,
    /// The end: now.
    pub to: String,
    /// The history reaches back to here; `None` if it is empty.
    pub known_since: Option<String>,
    /// The oldest first.
    pub points: Vec<Point>,
}

/// What a line of history did to the numbers: leases, subnets.
fn effect(event: &str) -> (i64, i64) {
    match event {
        "leased" | "adopted" => (1, 0),
        "released" | "undone" => (-1, 0),
        "subnet granted" => (0, 1),
        "subnet released" | "subnet undone" => (0, -1),
        _ => (0, 0),
    }
}

/// Computes backwards: `lines` are the newest first.
fn reckon(lines: &[(Millis, SmolStr)], now: Millis, span: Millis, leases: u64, subnets: u64) -> Usage {
    let from = now.saturating_sub(span);
    let known = lines.last().map(|(at, _)| *at);
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
    /// Usage in the last so many `seconds`: a day where the query does not say.
    pub(super) fn usage(&self, query: Query<'_>) -> Result<Usage, Refusal> {
        let seconds: Millis = query.parsed("seconds", "number")?.unwrap_or(86_400);
        let span = seconds.saturating_mul(1_000).clamp(60_000, LONGEST);
        let (census, now) = (self.census_or_last()?, self.now());
        let lines = self.reader()?.happened(now.saturating_sub(span), LINES)?;
        Ok(reckon(&lines, now, span, census.leases(), census.held()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at: Millis, event: &str) -> (Millis, SmolStr) {
        (at, event.into())
    }

    #[test]
    fn numbers_are_reckoned_back_as_far_as_the_history_reaches() {
        let lines = [line(90_000, "released"), line(70_000, "leased"), line(60_000, "subnet granted")];
        let usage = reckon(&lines, 120_000, 120_000, 4, 1);
        let at = |seconds: Millis| {
            let at = rfc3339(seconds * 1_000);
            usage.points.iter().find(|point| point.at == at).map(|point| (point.leases, point.subnets))
        };
        assert_eq!(at(120), Some((4, 1)));
        assert_eq!(at(90), Some((4, 1)));
        assert_eq!(at(89), Some((5, 1)));
        assert_eq!(at(69), Some((4, 1)));
        assert_eq!(at(60), Some((4, 1)));
        assert_eq!(at(59), None, "nothing is known before the first line");
        assert_eq!(usage.known_since.as_deref(), Some(rfc3339(60_000).as_str()));
        assert_eq!(reckon(&[], 120_000, 60_000, 4, 1).points.len(), 1, "without history there is only now");
    }
}
