//! RANDOM OPERATIONS of a person on the running plan: reservations and pins by hand.
//!
//! Promises: ranges of both families that meet pools and subnets, and each other. Decides nothing.

use std::net::IpAddr;

use gipam::plan::Plan;
use gipam::plan::pins::{Holder, PinRequest};
use gipam::plan::prefix::{AddressRange, Prefix};
use gipam::plan::settings::Settings;
use proptest::prelude::*;

use super::NAMES;

/// What a person does.
#[derive(Clone, Debug)]
pub enum Hand {
    Reserve { range: usize },
    Unreserve { range: usize },
    Pin { subnet: usize, named: bool, number: u128, name: Option<usize>, mac: u8 },
    Unpin { pick: usize, named: bool },
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
        (0usize..8, any::<bool>()).prop_map(|(pick, named)| Hand::Unpin { pick, named }),
    ]
}

fn pin() -> impl Strategy<Value = Hand> {
    let whom = (prop::option::weighted(0.7, 0..NAMES.len()), 0u8..3);
    (0usize..6, prop::bool::weighted(0.8), 0u128..16, whom)
        .prop_map(|(subnet, named, number, (name, mac))| Hand::Pin { subnet, named, number, name, mac })
}

/// The pin that a person wants.
pub fn wish(hand: &Hand, plan: &Plan) -> Option<PinRequest> {
    let Hand::Pin { subnet, named, number, name, mac } = hand else { return None };
    let held: Vec<_> = plan.subnets().filter(|subnet| subnet.is_held()).map(|subnet| &subnet.state).collect();
    let state = held.get(subnet % held.len().max(1))?;
    let holder = match name {
        Some(name) => Holder::Name(NAMES[*name].into()),
        None => Holder::Mac([2, 0, 0, 0, 0, *mac]),
    };
    let address = state.prefix.address(state.prefix.first().saturating_add(*number));
    Some(PinRequest { holder, address, subnet: named.then(|| state.id.clone()) })
}

/// What a person wants unpinned: the address, and its subnet's prefix if that is named.
pub fn unwish(hand: &Hand, plan: &Plan) -> Option<(IpAddr, Option<String>)> {
    let Hand::Unpin { pick, named } = hand else { return None };
    let pins = plan.pins().flat_map(|(_, prefix, pins)| pins.keys().map(move |address| (prefix, *address)));
    let pins: Vec<(Prefix, u128)> = pins.collect();
    let (prefix, address) = *pins.get(pick % pins.len().max(1))?;
    Some((prefix.address(address), named.then(|| prefix.to_string())))
}

/// The settings afterwards; `None` if nothing changes. A refusal must be that of the configuration's.
pub fn settings(hand: &Hand, plan: &Plan) -> Result<Option<Settings>, String> {
    let range = |number: usize| AddressRange::parse(RANGES[number]).unwrap();
    match hand {
        Hand::Reserve { range: number } => {
            plan.reserve(range(*number), None).map_err(|error| format!("reserve: {error}"))
        }
        Hand::Pin { .. } | Hand::Unpin { .. } => Ok(None),
        Hand::Unreserve { range: number } => match plan.unreserve(range(*number), None, "gipam.toml") {
            Ok(settings) => Ok(settings),
            Err(error) => {
                let range = range(*number);
                let known = plan.settings().reserved_by_hand.contains(&range);
                let meets = plan.reserved_ranges().iter().any(|other| other.meets(&range));
                if known || !meets { Err(format!("unreserve: {error}")) } else { Ok(None) }
            }
        },
    }
}

/// The name of a refusal.
pub fn variant(error: &impl std::fmt::Debug) -> String {
    format!("{error:?}").chars().take_while(|letter| letter.is_alphanumeric()).collect()
}
