//! Subnets of the Engine's networks that the books lack: from lost books, from a renamed driver, or from other IPAM drivers.
//!
//! Promises: pure; what overlaps a candidate is found in O(log n). A subnet over the whole pool does not count, as with routes.
//! Shows whether the Engine was queried at all.

use std::collections::BTreeMap;

use super::prefix::Prefix;

/// The names of their networks, by subnet; `None` until the Engine is queried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strangers(Option<BTreeMap<Prefix, Box<str>>>);

impl Strangers {
    /// The subnets that the Engine listed, each with the name of its network.
    pub fn listed<'a>(all: impl Iterator<Item = (Prefix, &'a str)>) -> Self {
        Self(Some(all.map(|(prefix, name)| (prefix, name.into())).collect()))
    }

    /// Whether the Engine was queried.
    pub(super) const fn are_known(&self) -> bool {
        self.0.is_some()
    }

    /// One that overlaps this candidate from a base: the largest that contains it, else the last inside it.
    pub(super) fn at(&self, candidate: Prefix, base: Prefix) -> Option<Prefix> {
        let networks = self.0.as_ref().filter(|networks| !networks.is_empty())?;
        let covering = covering(candidate, base).find(|prefix| networks.contains_key(prefix));
        covering.or_else(|| networks.range(candidate.within()).next_back().map(|(prefix, _)| *prefix))
    }

    /// All that overlap a part of a base, or the base itself, as text for people.
    pub(super) fn texts(&self, part: Prefix, base: Prefix) -> impl Iterator<Item = String> + use<'_> {
        let around = covering(part, base).filter(move |prefix| *prefix != part);
        let around = move |networks: &'_ BTreeMap<Prefix, Box<str>>| -> Vec<String> {
            let here = around.filter_map(|prefix| networks.get_key_value(&prefix));
            let within = networks.range(part.within()).filter(|(prefix, _)| **prefix != base);
            here.chain(within).map(|(prefix, name)| format!("{prefix} of Docker's network {name}")).collect()
        };
        self.0.as_ref().map(around).into_iter().flatten()
    }
}

/// The prefixes that contain a candidate, including itself, and are smaller than its base; the largest first.
fn covering(candidate: Prefix, base: Prefix) -> impl Iterator<Item = Prefix> {
    let around = move |length| Prefix::new(candidate.family(), candidate.first(), length);
    (base.length() + 1..=candidate.length()).map(around)
}
