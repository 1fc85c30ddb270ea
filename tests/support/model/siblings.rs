//! The naive plan's shared prefixes: several grants of one prefix, each with its own range.
//!
//! Promises: implements the rules of `plan/siblings.rs` a second time.

use std::collections::BTreeMap;

use gipam::plan::change::{Kind, Record, SubnetState};
use gipam::plan::prefix::Prefix;
use gipam::plan::request::{Space, SubnetRequest};

use super::{Entry, Model};

/// Space, range and options: they decide whether two grants of one prefix can be held together.
pub type Part<'a> = (Space, Option<Prefix>, &'a BTreeMap<String, String>);

pub fn part(state: &SubnetState) -> Part<'_> {
    (state.space, state.range, &state.options)
}

pub fn asked(request: &SubnetRequest) -> Part<'_> {
    (request.space, request.range, &request.options)
}

pub fn apart(one: Part<'_>, other: Part<'_>) -> bool {
    let usual = |part: Part<'_>| part.0 == Space::Local && !part.2.contains_key("overlap");
    let (Some(first), Some(second)) = (one.1, other.1) else { return false };
    usual(one) && usual(other) && !first.overlaps(second)
}

impl Model {
    /// The sibling of this subnet in which the address is leased.
    pub fn sibling_with(&self, entry: &Entry, address: u128) -> Option<(&Entry, &Record)> {
        let state = &entry.state;
        let sibling = |other: &&Entry| {
            other.held()
                && other.state.serial != state.serial
                && (other.state.space, other.state.prefix) == (state.space, state.prefix)
                && apart(part(&other.state), part(state))
        };
        self.subnets.iter().filter(sibling).find_map(|other| Some((other, other.leased(address)?)))
    }

    /// Whether the address is the gateway of a sibling.
    pub fn is_router(&self, entry: &Entry, address: u128) -> bool {
        self.sibling_with(entry, address).is_some_and(|(_, record)| record.kind == Kind::Gateway)
    }

    /// The memory that a new grant reuses.
    pub fn memory_for(&self, space: Space, prefix: Prefix, of: Part<'_>) -> Option<usize> {
        let newest = |wanted: &dyn Fn(&SubnetState) -> bool| {
            let all = self.subnets.iter().enumerate().map(|(at, entry)| (at, &entry.state));
            let of_it =
                all.filter(|(_, state)| (state.space, state.prefix) == (space, prefix) && wanted(state));
            let released = of_it.filter_map(|(at, state)| Some((state.released_at?, state.serial, at)));
            released.max().map(|(.., at)| at)
        };
        newest(&|state| state.range == of.1)
            .or_else(|| newest(&|state| !apart(part(state), of)))
            .or_else(|| newest(&|_| true))
    }
}
