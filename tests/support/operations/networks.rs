//! RANDOM OPERATIONS on networks that the books lack: gipam adopts and names them, and Docker uses them with
//! any PoolID.
//!
//! Promises: requests with old PoolIDs also arrive late; networks are small and overlap held ones. Makes no
//! decisions.

use std::collections::BTreeMap;

use gipam::plan::Plan;
use gipam::plan::change::Kind;
use gipam::plan::request::{AddressRequest, Adoption, Fence, Mac, Repair, Request, ShownLease};
use proptest::prelude::*;

use super::{EXACT, NAMES, Op, RANGES, prefix};

/// Networks that the books lack, and Docker's PoolIDs for them.
pub fn operation() -> impl Strategy<Value = Op> {
    let ago = prop_oneof![Just(0u64), Just(30_000), Just(90_000)];
    let id = || prop::option::weighted(0.2, 0u8..3);
    let number = prop::option::weighted(0.3, 0u128..16);
    prop_oneof![
        3 => (0..EXACT.len(), prop::option::weighted(0.3, 0..RANGES.len()), any::<u16>(), ago, id(), any::<bool>())
            .prop_map(|(pool, range, leases, ago, id, pair)| Op::AdoptSubnet { pool, range, leases, ago, id, pair }),
        1 => (0usize..6, 0u8..3).prop_map(|(subnet, id)| Op::NameSubnet { subnet, id }),
        4 => (0..EXACT.len(), 0u8..3, prop::option::weighted(0.3, 0usize..6), number, 0u8..5)
            .prop_map(|(pool, random, over, number, what)| Op::Stranger { pool, random, over, number, what }),
    ]
}

/// The repair that an operation requests.
pub fn wish(op: &Op, plan: &Plan) -> Option<Repair> {
    match op {
        Op::AdoptSubnet { pool, range, leases, ago, id, pair } => {
            let prefix = prefix(EXACT[*pool]);
            let lease = |offset: u128| {
                let kind = [Kind::Gateway, Kind::Auxiliary, Kind::Endpoint][offset as usize % 3];
                let (address, mac) = (prefix.first().saturating_add(offset), Some(Mac([2; 6])));
                let name = (kind == Kind::Endpoint).then(|| NAMES[offset as usize % NAMES.len()].into());
                ShownLease { address, kind, name, mac, evidence: "seen".into() }
            };
            let mut shown: Vec<_> = (0..16).filter(|offset| leases >> offset & 1 == 1).map(lease).collect();
            // The Engine may show an address twice, for example an auxiliary one that is also the gateway.
            shown.extend(shown.first().cloned());
            let read = Fence { generation: plan.counters().0, at: plan.now().saturating_sub(*ago) };
            let one = Adoption {
                prefix,
                range: range.map(|range| super::prefix(RANGES[range])),
                options: BTreeMap::new(),
                id: id.map(|id| format!("given{id}")),
                leases: shown,
                read,
                evidence: "seen".into(),
            };
            let quarter = |n| Some(super::quarter(prefix, n));
            Some(Repair::AdoptSubnets(match pair {
                false => vec![one],
                true => vec![
                    Adoption { range: quarter(0), ..one.clone() },
                    Adoption { range: quarter(3), id: None, ..one },
                ],
            }))
        }
        Op::NameSubnet { subnet, id } => {
            let known: Vec<_> = plan.subnets().map(|subnet| subnet.state.prefix).collect();
            let prefix = *known.get(subnet % known.len().max(1))?;
            Some(Repair::NameSubnet { prefix, id: format!("given{id}") })
        }
        _ => None,
    }
}

/// A request from Docker with a PoolID that does not belong to any held subnet.
pub fn stranger(op: &Op, plan: &Plan) -> Option<Request> {
    let Op::Stranger { pool, random, over, number, what } = op else { return None };
    let over = over.and_then(|n| plan.subnets().filter(|subnet| !subnet.is_held()).nth(n));
    let asked = over.map_or(prefix(EXACT[*pool]), |subnet| subnet.state.prefix);
    // PoolIDs of earlier versions, or of a network with a range.
    let range = match random % 3 {
        0 => String::new(),
        n => format!("/{}", super::quarter(asked, usize::from(3 * (n - 1)))),
    };
    let unknown = || format!("local/{asked}{range}#{:016x}", 0xabc0 + u64::from(*random));
    let id = over.map_or_else(unknown, |subnet| subnet.state.id.clone());
    let wanted = asked.address(asked.first().saturating_add(number.unwrap_or(1)));
    Some(match what {
        0 => Request::Release { id, address: None, generation: None },
        1 => Request::Release { id, address: Some(wanted), generation: None },
        _ => Request::Address(AddressRequest {
            id,
            address: number.map(|_| wanted),
            ..AddressRequest::default()
        }),
    })
}
