//! RANDOM OPERATIONS of a person on the running plan: reservations by hand.
//!
//! Promises: ranges of both families that meet pools and subnets, and each other. Decides nothing.

use gipam::plan::Plan;
use gipam::plan::prefix::AddressRange;
use gipam::plan::settings::Settings;
use proptest::prelude::*;

/// What a person does.
#[derive(Clone, Debug)]
pub enum Hand {
    Reserve { range: usize },
    Unreserve { range: usize },
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
    ]
}

/// The settings afterwards; `None` if nothing changes. A refusal must be that of the configuration's.
pub fn settings(hand: &Hand, plan: &Plan) -> Result<Option<Settings>, String> {
    let range = |number: usize| AddressRange::parse(RANGES[number]).unwrap();
    match hand {
        Hand::Reserve { range: number } => {
            plan.reserve(range(*number), None).map_err(|error| format!("reserve: {error}"))
        }
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
