//! Subnets of the Engine's networks that the books lack: from lost books, from a renamed driver, or from other IPAM drivers.
//!
//! Promises: pure; subnets that overlap a candidate are found in O(log n). A subnet that contains the whole
//! pool is ignored, like a route that does. Records whether the Engine was queried at all.

use super::prefix::Prefix;
use super::prefix_index::PrefixIndex;

/// The subnets that the books lack, each with the name of its network; `None` until the Engine is queried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strangers(Option<PrefixIndex<(Prefix, Box<str>)>>);

impl Strangers {
    /// The subnets that the Engine listed, each with the name of its network.
    pub fn listed<'a>(all: impl Iterator<Item = (Prefix, &'a str)>) -> Self {
        let mut networks = PrefixIndex::default();
        all.for_each(|(prefix, name)| networks.insert(prefix, (prefix, name.into())));
        Self(Some(networks))
    }

    /// Whether the Engine was queried.
    pub(super) const fn are_known(&self) -> bool {
        self.0.is_some()
    }

    /// A subnet that overlaps this candidate from a base: the largest that contains it, else the last one inside it.
    pub(super) fn at(&self, candidate: Prefix, base: Prefix) -> Option<Prefix> {
        let networks = self.0.as_ref()?;
        let covering = networks.all_covering(candidate).filter(|(prefix, _)| prefix.length() > base.length());
        covering.last().or_else(|| networks.all_inside(candidate).last()).map(|(prefix, _)| *prefix)
    }

    /// All subnets that overlap `part`, which is `base` or a part of it, as text for people.
    pub(super) fn texts(&self, part: Prefix, base: Prefix) -> impl Iterator<Item = String> + use<'_> {
        let texts = move |networks: &'_ PrefixIndex<(Prefix, Box<str>)>| -> Vec<String> {
            let around = networks.all_covering(part).filter(|(prefix, _)| *prefix != part);
            let all = around.chain(networks.all_inside(part));
            let smaller = all.filter(|(prefix, _)| prefix.length() > base.length());
            smaller.map(|(prefix, name)| format!("{prefix} of Docker's network {name}")).collect()
        };
        self.0.as_ref().map(texts).into_iter().flatten()
    }
}
