//! One pool to look in, for one length, and what the host uses of it.
//!
//! Promises: a route over the whole pool does not count (that is how pools are routed), but for an IPv4 on-link one:
//! dockerd refuses whatever overlaps it (P12). Does not choose.

use super::Plan;
use super::intervals::Intervals;
use super::prefix::Prefix;
use super::request::{InUse, InUseKind};
use super::settings::PoolSettings;
use super::subnet::usable;

/// One pool to look in, for one length.
pub(super) struct Place<'a> {
    pub(super) pool: &'a PoolSettings,
    pub(super) base: Prefix,
    pub(super) length: u8,
    pub(super) blocked: Blocked<'a>,
}

impl Place<'_> {
    /// Why no subnet can come from here, whatever is free.
    pub(super) fn hopeless(&self) -> Option<String> {
        let Self { pool, base, length, blocked } = self;
        if pool.closed {
            return Some(format!("pool {} is closed", pool.name));
        }
        if *length < base.length() || *length > base.family().bits() {
            return Some(format!("pool {} ({base}) has no room for a /{length}", pool.name));
        }
        let route = blocked.whole?;
        Some(format!(
            "pool {} ({base}) lies in the on-link route {}, so Docker would refuse all of it",
            pool.name, route.text
        ))
    }
}

/// What must not be offered from one base.
pub(super) struct Blocked<'a> {
    /// What the host uses inside the base.
    in_use: Intervals,
    /// The same, as text for people.
    pub(super) texts: Vec<&'a InUse>,
    /// An IPv4 on-link route over the whole base.
    whole: Option<&'a InUse>,
    /// Reservations of the family.
    reserved: &'a Intervals,
}

impl<'a> Blocked<'a> {
    pub(super) fn new(base: Prefix, in_use: &'a [InUse], plan: &'a Plan) -> Self {
        let reserved = &plan.reserved[base.family() as usize];
        let mut blocked = Self { in_use: Intervals::default(), texts: Vec::new(), whole: None, reserved };
        for used in in_use.iter().filter(|used| used.prefix.overlaps(base)) {
            let over_all = used.prefix.contains(base);
            if over_all && used.kind == InUseKind::OnLinkV4Route {
                blocked.whole = Some(used);
            }
            // A route over the whole pool is how pools are routed here; it does not count.
            if !over_all || matches!(used.kind, InUseKind::InterfaceAddress | InUseKind::Nameserver) {
                blocked.in_use.insert(used.prefix.first(), used.prefix.last());
                blocked.texts.push(used);
            }
        }
        blocked
    }

    /// The last number of what blocks this candidate: something in use that overlaps it, or reservations over all of
    /// its usable addresses.
    pub(super) fn by(&self, candidate: Prefix) -> Option<u128> {
        let (first, last) = usable(candidate);
        if let Some((_, end)) = self.reserved.around(first).filter(|(_, end)| *end >= last) {
            // The candidate in which the reservation ends may have addresses beyond it.
            let beyond = Prefix::new(candidate.family(), end, candidate.length());
            let whole = usable(beyond).1 <= end;
            return Some(if whole { beyond.last() } else { beyond.first() - 1 });
        }
        let (first, last) = (candidate.first(), candidate.last());
        self.in_use.overlapping(first, last).map(|(_, end)| end).max()
    }
}
