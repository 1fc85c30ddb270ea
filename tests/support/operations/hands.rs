//! RANDOM OPERATIONS of a person on the running plan: reservations, pins and changes of pools.
//!
//! Promises: ranges of both families that overlap pools, subnets and each other. Makes no decisions.

use std::net::IpAddr;

use gipam::plan::Plan;
use gipam::plan::pins::{Holder, PinRequest};
use gipam::plan::pools::{Cut, PoolChange};
use gipam::plan::prefix::{AddressRange, Prefix};
use gipam::plan::request::Mac;
use gipam::plan::settings::Settings;
use proptest::prelude::*;

use super::NAMES;

/// A change by a person.
#[derive(Clone, Debug)]
pub enum Hand {
    Reserve { range: usize },
    Unreserve { range: usize },
    Pin { subnet: usize, named: bool, number: u128, name: Option<usize>, mac: u8 },
    Unpin { pick: usize, named: bool },
    Pool(usize),
}

const RANGES: [&str; 8] = [
    "192.0.2.2",
    "192.0.2.4/30",
    "192.0.2.9-192.0.2.10",
    "192.0.2.0/28",
    "203.0.113.0/29",
    "2001:db8::2",
    "2001:db8::8/126",
    "2001:db8:1::1-2001:db8:1::5",
];

pub fn operation() -> impl Strategy<Value = Hand> {
    prop_oneof![
        (0..RANGES.len()).prop_map(|range| Hand::Reserve { range }),
        (0..RANGES.len()).prop_map(|range| Hand::Unreserve { range }),
        pin(),
        pin(),
        (0..16usize).prop_map(Hand::Pool),
        (0usize..8, any::<bool>()).prop_map(|(pick, named)| Hand::Unpin { pick, named }),
    ]
}

fn pin() -> impl Strategy<Value = Hand> {
    let whom = (prop::option::weighted(0.7, 0..NAMES.len()), 0u8..3);
    (0usize..6, prop::bool::weighted(0.8), 0u128..16, whom)
        .prop_map(|(subnet, named, number, (name, mac))| Hand::Pin { subnet, named, number, name, mac })
}

/// The pin that the operation requests.
pub fn wish(hand: &Hand, plan: &Plan) -> Option<PinRequest> {
    let Hand::Pin { subnet, named, number, name, mac } = hand else { return None };
    let held: Vec<_> = plan.subnets().filter(|subnet| subnet.is_held()).map(|subnet| &subnet.state).collect();
    let state = held.get(subnet % held.len().max(1))?;
    let holder = match name {
        Some(name) => Holder::Name(NAMES[*name].into()),
        None => Holder::Mac(Mac([2, 0, 0, 0, 0, *mac])),
    };
    let address = state.prefix.address(state.prefix.first().saturating_add(*number));
    Some(PinRequest { holder, address, subnet: named.then(|| state.id.clone()) })
}

/// The pin to be removed: the address, and its subnet's prefix if the operation names that.
pub fn unwish(hand: &Hand, plan: &Plan) -> Option<(IpAddr, Option<String>)> {
    let Hand::Unpin { pick, named } = hand else { return None };
    let pins = plan.pins().flat_map(|(_, prefix, pins)| pins.keys().map(move |address| (prefix, *address)));
    let pins: Vec<(Prefix, u128)> = pins.collect();
    let (prefix, address) = *pins.get(pick % pins.len().max(1))?;
    Some((prefix.address(address), named.then(|| prefix.to_string())))
}

/// The settings afterwards; `None` if nothing changes. A refusal is accepted only for a reservation of the
/// configuration.
pub fn settings(hand: &Hand, plan: &Plan) -> Result<Option<Settings>, String> {
    let range = |number: usize| AddressRange::parse(RANGES[number]).unwrap();
    match hand {
        Hand::Reserve { range: number } => {
            plan.reserve(range(*number), None).map_err(|error| format!("reserve: {error}"))
        }
        Hand::Pin { .. } | Hand::Unpin { .. } => Ok(None),
        Hand::Pool(number) => pools(*number, plan),
        Hand::Unreserve { range: number } => match plan.unreserve(range(*number), None, "gipam.toml") {
            Ok(settings) => Ok(settings),
            Err(error) => {
                let range = range(*number);
                let known = plan.settings().reserved_by_hand.contains(&range);
                let meets = plan.reserved_by().any(|(other, _)| other.meets(&range));
                if known || !meets { Err(format!("unreserve: {error}")) } else { Ok(None) }
            }
        },
    }
}

/// Adds, closes and resizes pools: the result must be valid, keep every subnet inside its pool, and change
/// nothing when the operation is repeated. A refusal must not change anything.
fn pools(number: usize, plan: &Plan) -> Result<Option<Settings>, String> {
    let cut = |base: &str, size: u8| Cut { base: Prefix::parse(base), size: (size > 0).then_some(size) };
    let add = |name: &str, v4: Cut, v6: Cut| PoolChange::Add { name: name.to_owned(), cuts: [v4, v6] };
    let resize = |name: &str, v4: Cut, v6: Cut| PoolChange::Resize { name: name.to_owned(), cuts: [v4, v6] };
    let close = |name: &str| PoolChange::Close { name: name.to_owned() };
    let no = Cut::default();
    let change = match number {
        0 => add("new", cut("203.0.113.0/28", 30), no),
        1 => add("new", no, cut("2001:db8:2::/124", 126)),
        2 => add("b", no, cut("2001:db8:2::/124", 126)),
        3 => add("a", cut("192.0.2.0/28", 30), no),
        4 => add("wide", cut("192.0.2.0/27", 29), no),
        5 => resize("a", cut("", 29), cut("", 127)),
        6 => resize("a", cut("192.0.2.0/26", 0), no),
        7 => resize("c", no, cut("2001:db8:1::/122", 126)),
        8 => resize("new", cut("203.0.113.0/27", 31), no),
        9 => resize("b", cut("198.51.100.0/29", 0), no),
        10 => add("new", cut("203.0.113.0/29", 8), no),
        11 => close("new"),
        12 => close("b"),
        13 => close("c"),
        14 => close("a"),
        _ => close("wide"),
    };
    let Ok(Some(settings)) = plan.change_pools(&change) else { return Ok(None) };
    settings.check().map_err(|error| format!("{change:?} gave pools that cannot be used: {error}"))?;
    for subnet in plan.subnets().filter(|subnet| subnet.is_held()) {
        let (state, family) = (&subnet.state, subnet.state.prefix.family());
        let of = |settings: &Settings| {
            let pool = settings.pool(state.pool.as_deref()?)?;
            Some(pool.base(family)?.base.contains(state.prefix))
        };
        if of(plan.settings()) == Some(true) && of(&settings) != Some(true) {
            return Err(format!("{change:?} put {} outside its pool", state.prefix));
        }
    }
    let mut after = plan.clone();
    after.configure(settings.clone());
    match after.change_pools(&change) {
        Ok(None) => Ok(Some(settings)),
        // A closed pool without subnets is gone.
        Err(_) if matches!(change, PoolChange::Close { .. }) => Ok(Some(settings)),
        other => Err(format!("{change:?} repeated gave {other:?}")),
    }
}
