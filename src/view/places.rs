//! The places that have addresses to list: subnets, and prefixes that have only pins.
//!
//! Promises: one look at the plan visits a limited number of subnets.

use super::Refusal;
use super::meant;
use super::views::View;
use crate::plan::change::Serial;
use crate::plan::pins::Pins;
use crate::plan::prefix::Prefix;
use crate::plan::request::Space;
use crate::plan::{Plan, Subnet};

/// How many addresses are read between two checks of the budget.
pub(super) const STEP: usize = 64;

/// A subnet, or a prefix that has only pins. Sorts in the order of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ListedPlace {
    pub(super) prefix: Prefix,
    pub(super) space: Space,
    pub(super) serial: Option<Serial>,
}

impl ListedPlace {
    pub(super) fn of(subnet: &Subnet) -> Self {
        let state = &subnet.state;
        Self { prefix: state.prefix, space: state.space, serial: Some(state.serial) }
    }
}

/// The addresses of one place for which rows are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PlaceSpan {
    pub(super) place: ListedPlace,
    pub(super) first: u128,
    pub(super) last: u128,
}

impl PlaceSpan {
    pub(super) const fn whole(place: ListedPlace) -> Self {
        Self { place, first: 0, last: u128::MAX }
    }
}

/// Which places a query asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PlaceFilter {
    All,
    /// Only those with pins.
    Pinned,
    /// Only those with this prefix or PoolID.
    Named(Option<Prefix>, String),
}

impl PlaceFilter {
    fn takes(&self, prefix: Prefix, id: Option<&str>, pins: &Pins) -> bool {
        match self {
            Self::All => true,
            Self::Pinned => !pins.is_empty(),
            Self::Named(named, text) => *named == Some(prefix) || id == Some(text),
        }
    }
}

impl View {
    /// All matching subnets, and all matching prefixes that have only pins, sorted.
    pub(super) fn places(&self, wanted: PlaceFilter) -> Result<Vec<ListedPlace>, Refusal> {
        if let PlaceFilter::Named(_, text) = &wanted {
            meant::check_prefix(text)?;
        }
        let alone = wanted.clone();
        let mut places = self.source.look(move |plan| pinned_alone(plan, &alone))?;
        let named = move |_: &Plan, subnet: &Subnet| {
            let is_wanted = wanted.takes(subnet.state.prefix, Some(&subnet.state.id), subnet.pins());
            is_wanted.then(|| ListedPlace::of(subnet))
        };
        self.source.each_subnet(named, |place| {
            places.push(place);
            Ok(())
        })?;
        places.sort_unstable();
        Ok(places)
    }
}

/// The matching prefixes that have pins but no subnet.
fn pinned_alone(plan: &Plan, wanted: &PlaceFilter) -> Vec<ListedPlace> {
    let alone = plan.pins().filter(|(space, prefix, _)| !plan.is_known(*space, *prefix));
    let alone = alone.filter(|(_, prefix, pins)| wanted.takes(*prefix, None, pins));
    alone.map(|(space, prefix, _)| ListedPlace { prefix, space, serial: None }).collect()
}
