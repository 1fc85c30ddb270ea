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
use super::request::{InUse, InUseKind, SubnetRequest, Want};
use super::settings::{Base, PoolSettings};
use super::slices::{SliceState, Slices};
use super::subnet::usable;

/// One pool to search for subnets of one length, and what must not be offered from it.
pub(super) struct PoolPlace<'a> {
    pub(super) pool: &'a PoolSettings,
    pub(super) base: Prefix,
    pub(super) space: &'a PoolSpace,
    pub(super) length: u8,
    /// The addresses that the host uses inside the base.
    in_use: Cow<'a, Intervals>,
    /// The reservations of this family.
    reserved: &'a Intervals,
    request: &'a SubnetRequest,
    slices: &'a Slices,
    plan: &'a Plan,
}

impl<'a> PoolPlace<'a> {
    /// The pool, if it has the family of the request; `size` is the length that the request wants.
    pub(super) fn new(
        plan: &'a Plan,
        pool: &'a PoolSettings,
        request: &'a SubnetRequest,
        size: Option<u8>,
    ) -> Option<Self> {
        let Base { base, size: usual, .. } = *pool.base(request.family)?;
        let (space, in_use) = (plan.spaces.at(base)?, request.in_use.blocked(base));
        let reserved = &plan.reserved[base.family() as usize];
        Some(Self {
            pool,
            base,
            space,
            length: size.unwrap_or(usual),
            in_use,
            reserved,
            request,
            slices: &plan.slices,
            plan,
        })
    }

    /// Why no subnet can come from this pool, even if parts of it are free.
    pub(super) fn hopeless(&self) -> Option<String> {
        let Self { pool, base, length, .. } = self;
        if pool.closed {
            return Some(format!("pool {} is closed", pool.name));
        }
        if *length < base.length() || *length > base.family().bits() {
            return Some(format!("pool {} ({base}) has no room for a /{length}", pool.name));
        }
        Some(format!("pool {} ({base}) {}", pool.name, refused_whole(*base, &self.request.in_use)?))
    }

    /// How many slices of the base this host holds.
    pub(super) fn slices_held(&self) -> usize {
        self.slices.meeting(self.base).filter(|slice| slice.state == SliceState::Held).count()
    }

    /// Why this host cannot claim another slice of the base, if that is known.
    pub(super) fn cannot(&self) -> Option<&'a str> {
        self.request.cannot.why(Want::Room { base: self.base })
    }

    /// What is in use in a part of the base, or in all of it, for people: by the host, and by networks that the books lack.
    pub(super) fn texts_in(&self, part: Prefix) -> impl Iterator<Item = String> + use<'a> {
        let base = self.base;
        let one_address = move |used: &&InUse| {
            part == base && matches!(used.kind, InUseKind::InterfaceAddress | InUseKind::Nameserver)
        };
        let (host, strangers) = (&self.request.in_use, &self.request.dead.strangers);
        let inside = host.inside(part).filter(move |used| used.prefix != base);
        let used = host.over(part).filter(one_address).chain(inside).map(|used| used.text.clone());
        used.chain(strangers.texts(part, base))
    }

    /// Like [`PoolPlace::blocked_by`], but a number that is kept for a stale subnet of the pool also blocks.
    pub(super) fn blocked_or_kept(&self, candidate: Prefix) -> Option<u128> {
        self.blocked_by(candidate).max(self.plan.kept_for_stale(self.pool, candidate))
    }

    /// The last address that blocks this candidate: something in use that overlaps it, or reservations over all of
    /// its usable addresses.
    pub(super) fn blocked_by(&self, candidate: Prefix) -> Option<u128> {
        let (first, last) = usable(candidate);
        if let Some((_, end)) = self.reserved.around(first).filter(|(_, end)| *end >= last) {
            // The candidate in which the reservation ends may have free addresses after it.
            let beyond = Prefix::new(candidate.family(), end, candidate.length());
            let whole = usable(beyond).1 <= end;
            return Some(if whole { beyond.last() } else { beyond.first() - 1 });
        }
        let (first, last) = (candidate.first(), candidate.last());
        let in_use = self.in_use.overlapping(first, last).map(|(_, end)| end).max();
        in_use.max(self.request.dead.strangers.at(candidate, self.base).map(Prefix::last))
    }
}

/// The IPv4 on-link route over a whole base, if there is one.
fn refused_whole(base: Prefix, in_use: &HostUse) -> Option<String> {
    let route = in_use.over(base).find(|used| used.kind == InUseKind::OnLinkV4Route)?;
    Some(format!("lies in the on-link route {}, so Docker would refuse all of it", route.text))
}

impl Plan {
    /// Why no part of this base can be given on a host with these prefixes in use; `None` if some part can, and on a LAN, which
    /// may be the host's own: Docker's macvlan and ipvlan do not mind that.
    pub fn unusable(base: &Base, in_use: &HostUse) -> Option<String> {
        if base.is_of_a_lan() {
            return None;
        }
        let base = base.base;
        let refused = refused_whole(base, in_use);
        if refused.is_some() {
            return refused;
        }
        let whole = in_use.blocked(base).around(base.first()).is_some_and(|(_, end)| end >= base.last());
        let used = in_use.first_in(base).filter(|_| whole)?;
        Some(format!("this host uses all of it: {}", used.text))
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::AddressOrder;
    use super::*;

    fn used(prefix: &str, kind: InUseKind) -> InUse {
        InUse { prefix: Prefix::parse(prefix).unwrap(), kind, text: format!("{prefix} dev x") }
    }

    #[test]
    fn a_base_is_unusable_only_if_no_part_of_it_is_left() {
        let base = Base::new(Prefix::parse("198.51.100.0/24").unwrap(), 28, AddressOrder::Sequential);
        let why = |in_use: &[InUse]| Plan::unusable(&base, &in_use.iter().cloned().collect());
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
            let lan = Base { probe: true, ..base };
            assert_eq!(Plan::unusable(&lan, &in_use.into_iter().collect()), None, "macvlan is on it");
        }
    }
}
