//! The prefixes in use on the host, in the form needed to choose a subnet: sorted, and merged for each base
//! of a pool.
//!
//! Promises: entries that overlap a prefix are found in O(log n); entries that block a base are merged once,
//! and adding or removing a prefix changes only the bases that it overlaps; a clone is cheap. A `HostUse`
//! limited to some bases knows that it lacks the others. Does not survey the host.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::intervals::Intervals;
use super::prefix::{Prefix, meeting};
use super::prefix_index::PrefixIndex;
use super::request::{InUse, InUseKind};

/// The protocol number of the routes between the hosts of a plan, by which a person can list and remove them. They lead to
/// slices, not to networks, so they do not show that a subnet is in use.
pub const ROUTE_PROTOCOL: u8 = 171;

/// Everything in use on the host, shared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostUse(Arc<HostUseSeen>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct HostUseSeen {
    entries: PrefixIndex<InUse>,
    /// By base: the addresses that block candidates inside it.
    blocked: BTreeMap<Prefix, Intervals>,
    /// Whether only entries that overlap the bases of `blocked` are included.
    limited: bool,
}

impl HostUse {
    /// An empty value that accepts only entries that overlap one of these bases.
    pub fn limited_to(bases: impl IntoIterator<Item = Prefix>) -> Self {
        let blocked = bases.into_iter().map(|base| (base, Intervals::default())).collect();
        Self(Arc::new(HostUseSeen { blocked, limited: true, ..HostUseSeen::default() }))
    }

    /// Whether everything that can block this base is included.
    pub fn knows(&self, base: Prefix) -> bool {
        !self.0.limited || self.0.blocked.contains_key(&base)
    }

    /// Whether an entry for this prefix would be included.
    pub fn minds(&self, prefix: Prefix) -> bool {
        !self.0.limited || self.0.blocked.range(meeting(&self.0.blocked, prefix)).next().is_some()
    }

    /// Adds an entry; duplicates are kept.
    pub fn add(&mut self, used: InUse) {
        if !self.minds(used.prefix) {
            return;
        }
        let seen = Arc::make_mut(&mut self.0);
        for base in blocked_by(&seen.blocked, &used) {
            if let Some(blocked) = seen.blocked.get_mut(&base) {
                blocked.insert(used.prefix.first(), used.prefix.last());
            }
        }
        seen.entries.insert(used.prefix, used);
    }

    /// Removes one entry that equals this one.
    pub fn remove(&mut self, used: &InUse) {
        let prefix = used.prefix;
        if !self.0.entries.at(prefix).contains(used) {
            return;
        }
        let seen = Arc::make_mut(&mut self.0);
        seen.entries.remove(prefix, used);
        for base in blocked_by(&seen.blocked, used) {
            let covered = seen.entries.all_covering(prefix).any(|other| blocks(other, base));
            if let Some(blocked) = seen.blocked.get_mut(&base).filter(|_| !covered) {
                blocked.cut(prefix.first(), prefix.last());
                let inside = seen.entries.all_inside(prefix).map(|other| other.prefix);
                let others = inside.filter(|other| *other != prefix);
                others.for_each(|other| blocked.insert(other.first(), other.last()));
            }
        }
    }

    /// The entries that contain this prefix or equal it, the nearest first.
    pub(super) fn over(&self, prefix: Prefix) -> impl Iterator<Item = &InUse> {
        self.0.entries.all_covering(prefix)
    }

    /// The entries inside this prefix or equal to it, in ascending order.
    pub(super) fn inside(&self, prefix: Prefix) -> impl Iterator<Item = &InUse> {
        self.0.entries.all_inside(prefix)
    }

    /// The entries for which Docker refuses a subnet that it did not request explicitly: on-link routes, then nameservers.
    pub(super) fn refused_for(&self) -> impl Iterator<Item = &InUse> {
        let of_kind = |kind| self.iter().filter(move |used| used.kind == kind);
        [InUseKind::OnLinkV4Route, InUseKind::Nameserver].into_iter().flat_map(of_kind)
    }

    /// All entries, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = &InUse> {
        self.0.entries.all()
    }

    /// The first entry that blocks candidates inside a base.
    pub(super) fn first_in(&self, base: Prefix) -> Option<&InUse> {
        self.over(base).chain(self.inside(base)).find(|used| blocks(used, base))
    }

    /// The addresses that block candidates inside a base, merged.
    pub(super) fn blocked(&self, base: Prefix) -> Cow<'_, Intervals> {
        if let Some(blocked) = self.0.blocked.get(&base) {
            return Cow::Borrowed(blocked);
        }
        let mut merged = Intervals::default();
        let inside = self.inside(base).filter(|used| used.prefix != base);
        for used in self.over(base).chain(inside).filter(|used| blocks(used, base)) {
            merged.insert(used.prefix.first(), used.prefix.last());
        }
        Cow::Owned(merged)
    }
}

/// A route over the whole pool does not block candidates inside it: pools are routed this way.
fn blocks(used: &InUse, base: Prefix) -> bool {
    let one_address = matches!(used.kind, InUseKind::InterfaceAddress | InUseKind::Nameserver);
    base.overlaps(used.prefix) && (one_address || !used.prefix.contains(base))
}

/// The bases in which this entry blocks candidates.
fn blocked_by(bases: &BTreeMap<Prefix, Intervals>, used: &InUse) -> Vec<Prefix> {
    bases
        .range(meeting(bases, used.prefix))
        .map(|(base, _)| *base)
        .filter(|base| blocks(used, *base))
        .collect()
}

impl FromIterator<InUse> for HostUse {
    fn from_iter<T: IntoIterator<Item = InUse>>(all: T) -> Self {
        let mut here = Self::default();
        all.into_iter().for_each(|used| here.add(used));
        here
    }
}

impl From<Vec<InUse>> for HostUse {
    fn from(all: Vec<InUse>) -> Self {
        all.into_iter().collect()
    }
}

impl<const N: usize> From<[InUse; N]> for HostUse {
    fn from(all: [InUse; N]) -> Self {
        all.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::prefix::Family;
    use proptest::prelude::*;

    fn used(offset: u128, length: u8, kind: u8) -> InUse {
        let prefix = Prefix::new(Family::V4, (10 << 24) + offset, length);
        let kind = match kind {
            0 => InUseKind::Route,
            1 => InUseKind::OnLinkV4Route,
            _ => InUseKind::InterfaceAddress,
        };
        let prefix = if kind == InUseKind::InterfaceAddress {
            Prefix::new(Family::V4, prefix.first(), 32)
        } else {
            prefix
        };
        InUse { prefix, kind, text: format!("{prefix}") }
    }

    proptest! {
        #[test]
        fn single_changes_lead_to_the_same_state_as_a_new_survey(
            ops in prop::collection::vec((any::<bool>(), 0u128..64, 20u8..=32, 0u8..3), 1..60),
        ) {
            let bases = ["10.0.0.0/28", "10.0.0.32/27"].map(|text| Prefix::parse(text).unwrap());
            let mut limited = HostUse::limited_to(bases);
            let mut all: Vec<InUse> = Vec::new();
            for (add, offset, length, kind) in ops {
                if add || all.is_empty() {
                    let used = used(offset, length, kind);
                    limited.add(used.clone());
                    all.push(used);
                } else {
                    let gone = all.remove(usize::try_from(offset).unwrap() % all.len());
                    limited.remove(&gone);
                }
                let whole: HostUse = all.iter().cloned().collect();
                for base in bases {
                    prop_assert_eq!(limited.blocked(base), whole.blocked(base));
                    prop_assert_eq!(limited.over(base).count(), whole.over(base).count());
                    prop_assert!(limited.knows(base));
                }
                prop_assert!(!limited.knows(Prefix::parse("10.0.0.16/28").unwrap()));
                let kept = all.iter().filter(|used| bases.iter().any(|base| base.overlaps(used.prefix)));
                prop_assert_eq!(limited.iter().count(), kept.count(), "only entries of these bases are kept");
            }
        }
    }
}
