//! One pool to search for subnets of one length, and what the host uses of it.
//!
//! Promises: a route over the whole pool does not count (pools are routed this way), except an IPv4 on-link route:
//! dockerd refuses everything that overlaps it (P12). Does not choose.

use std::borrow::Cow;

use super::Plan;
use super::host_use::HostUse;
use super::intervals::Intervals;
use super::pool_spaces::PoolSpace;
use super::prefix::Prefix;
use super::request::{Dead, InUse, InUseKind};
use super::settings::PoolSettings;
use super::strangers::Strangers;
use super::subnet::usable;

/// One pool to search for subnets of one length.
pub(super) struct PoolPlace<'a> {
    pub(super) pool: &'a PoolSettings,
    pub(super) base: Prefix,
    pub(super) space: &'a PoolSpace,
    pub(super) length: u8,
    pub(super) blocked: Blocked<'a>,
}

impl PoolPlace<'_> {
    /// Why no subnet can come from this pool, even if parts of it are free.
    pub(super) fn hopeless(&self) -> Option<String> {
        let Self { pool, base, length, blocked, .. } = self;
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
    /// The addresses that the host uses inside the base.
    in_use: Cow<'a, Intervals>,
    host: &'a HostUse,
    base: Prefix,
    /// An IPv4 on-link route over the whole base.
    whole: Option<&'a InUse>,
    /// The reservations of this family.
    reserved: &'a Intervals,
    /// Subnets of the Engine's networks that are not in the books.
    strangers: &'a Strangers,
}

impl<'a> Blocked<'a> {
    pub(super) fn new(base: Prefix, host: &'a HostUse, dead: &'a Dead, plan: &'a Plan) -> Self {
        let whole = host.over(base).find(|used| used.kind == InUseKind::OnLinkV4Route);
        let reserved = &plan.reserved[base.family() as usize];
        Self { in_use: host.blocked(base), host, base, whole, reserved, strangers: &dead.strangers }
    }

    /// What is in use in a part of the base, or in all of it, for people: by the host, and by networks that the books lack.
    pub(super) fn texts_in(&self, part: Prefix) -> impl Iterator<Item = String> + use<'a> {
        let base = self.base;
        let one_address = move |used: &&InUse| {
            part == base && matches!(used.kind, InUseKind::InterfaceAddress | InUseKind::Nameserver)
        };
        let inside = self.host.inside(part).filter(move |used| used.prefix != base);
        let host = self.host.over(part).filter(one_address).chain(inside).map(|used| used.text.clone());
        host.chain(self.strangers.texts(part, base))
    }

    /// The last address that blocks this candidate: something in use that overlaps it, or reservations over all of
    /// its usable addresses.
    pub(super) fn by(&self, candidate: Prefix) -> Option<u128> {
        let (first, last) = usable(candidate);
        if let Some((_, end)) = self.reserved.around(first).filter(|(_, end)| *end >= last) {
            // The candidate in which the reservation ends may have free addresses after it.
            let beyond = Prefix::new(candidate.family(), end, candidate.length());
            let whole = usable(beyond).1 <= end;
            return Some(if whole { beyond.last() } else { beyond.first() - 1 });
        }
        let (first, last) = (candidate.first(), candidate.last());
        let in_use = self.in_use.overlapping(first, last).map(|(_, end)| end).max();
        in_use.max(self.strangers.at(candidate, self.base).map(Prefix::last))
    }
}

impl Plan {
    /// Why no part of this base can be given on a host with these prefixes in use; `None` if some part can.
    pub fn unusable(base: Prefix, in_use: &HostUse) -> Option<String> {
        if let Some(used) = in_use.over(base).find(|used| used.kind == InUseKind::OnLinkV4Route) {
            return Some(format!(
                "lies in the on-link route {}, so Docker would refuse all of it",
                used.text
            ));
        }
        let whole = in_use.blocked(base).around(base.first()).is_some_and(|(_, end)| end >= base.last());
        let used = in_use.first_in(base).filter(|_| whole)?;
        Some(format!("this host uses all of it: {}", used.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(prefix: &str, kind: InUseKind) -> InUse {
        InUse { prefix: Prefix::parse(prefix).unwrap(), kind, text: format!("{prefix} dev x") }
    }

    #[test]
    fn a_base_is_unusable_only_where_nothing_of_it_is_left() {
        let base = Prefix::parse("198.51.100.0/24").unwrap();
        let why = |in_use: &[InUse]| Plan::unusable(base, &in_use.iter().cloned().collect());
        let (route, link) = (InUseKind::Route, InUseKind::OnLinkV4Route);
        let address = InUseKind::InterfaceAddress;
        for in_use in [
            vec![],
            vec![used("198.51.0.0/16", route)],
            vec![used("198.51.100.0/25", address)],
            vec![used("198.51.100.0/25", link), used("198.51.100.128/26", route)],
            vec![used("203.0.113.0/24", link)],
        ] {
            assert_eq!(why(&in_use), None, "{in_use:?}");
        }
        for in_use in [
            vec![used("198.51.0.0/16", link)],
            vec![used("198.51.100.0/24", address)],
            vec![used("198.51.100.0/25", link), used("198.51.100.128/25", route)],
        ] {
            assert!(why(&in_use).is_some_and(|why| why.contains("dev x")), "{in_use:?}");
        }
    }
}
