//! RANDOM OPERATIONS: small values that shrink to a readable counterexample, and the requests made from them.
//!
//! Promises: pools so small that they run out, hosts whose routes overlap them, and every request that Docker
//! or a person can make. Reads the plan only to find out what is held.

mod chance;
pub mod hands;
mod networks;

use std::collections::BTreeMap;
use std::sync::Arc;

use gipam::plan::Plan;
use gipam::plan::change::{Kind, ShownHolder};
use gipam::plan::host_use::HostUse;
use gipam::plan::prefix::{AddressRange, Family, Prefix};
use gipam::plan::quarantine::{ProbeResult, Probed, Quarantined};
use gipam::plan::request::{
    AddressRequest, Dead, Fence, InUse, InUseKind, Mac, Repair, Request, ShownLease, SliceRequest, Space,
    SubnetRequest, Undo, Wanted,
};
use gipam::plan::settings::{AddressOrder, Base, Millis, PoolSettings, Settings, Shared};
use proptest::prelude::*;

#[path = "evidence.rs"]
pub mod evidence;

/// What may happen next. A number selects one of the existing items, modulo their count.
#[derive(Clone, Debug)]
pub enum Op {
    Pass(Millis),
    Any {
        space: Space,
        family: Family,
        size: Option<u8>,
        options: Vec<(&'static str, &'static str)>,
        host: usize,
        driver: usize,
    },
    Exact {
        space: Space,
        pool: usize,
        range: Option<usize>,
        overlap: bool,
    },
    Again {
        subnet: usize,
        overlap: bool,
    },
    Address {
        subnet: usize,
        number: Option<u128>,
        gateway: bool,
        name: Option<usize>,
        mac: Option<u8>,
        serial: bool,
    },
    ReleaseAddress {
        subnet: usize,
        number: u128,
    },
    ReleaseLease {
        pick: usize,
    },
    ReleaseSubnet {
        subnet: usize,
    },
    Force {
        subnet: usize,
        by_id: bool,
        number: Option<u128>,
    },
    Undo {
        back: usize,
    },
    TakeOver {
        pool: usize,
        beyond: u128,
        leases: u16,
    },
    Configure(usize),
    Hand(hands::Hand),
    /// From now on, every fourth item, selected by this number modulo 4, is proven dead; at 0, none.
    Proven(u64),
    FreeDead {
        pick: usize,
        fresh: bool,
    },
    FreeSubnet {
        subnet: usize,
        fresh: bool,
    },
    Adopt {
        subnet: usize,
        number: u128,
        kind: Kind,
        ago: u64,
    },
    Identify {
        pick: usize,
        kind: Kind,
    },
    Listed {
        subnet: usize,
    },
    /// The Engine shows this lease in a container with this name.
    Shown {
        pick: usize,
        name: usize,
    },
    AdoptSubnet {
        pool: usize,
        range: Option<usize>,
        leases: u16,
        ago: u64,
        id: Option<u8>,
        /// Two networks that share the prefix; neither range counts.
        pair: bool,
    },
    NameSubnet {
        subnet: usize,
        id: u8,
    },
    /// A change of a slice, as the code that decides about slices requests it.
    Slice {
        pick: usize,
        what: u8,
    },
    /// A machine on the LAN answers a probe.
    Heard {
        subnet: usize,
        number: u128,
        mac: u8,
        ago: u64,
    },
    /// A stranger no longer answers.
    Quiet {
        pick: usize,
    },
    /// Docker uses a PoolID that no held subnet has: one for this prefix, or one of a released grant.
    Stranger {
        pool: usize,
        random: u8,
        over: Option<usize>,
        number: Option<u128>,
        what: u8,
    },
}

/// A whole trial; its debug forms show one operation per line.
#[derive(Clone)]
pub struct Ops(pub Vec<Op>);

impl std::fmt::Debug for Ops {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().enumerate().try_for_each(|(number, op)| write!(formatter, "\n  {number}: {op:?}"))
    }
}

/// Trials of up to this many operations.
pub fn operations(most: usize) -> impl Strategy<Value = Ops> {
    prop::collection::vec(chance::operation(), 1..most).prop_map(Ops)
}

pub fn prefix(text: &str) -> Prefix {
    Prefix::parse(text).unwrap()
}

fn base(text: &str, size: u8, addresses: AddressOrder) -> Option<Base> {
    Some(Base::new(prefix(text), size, addresses))
}

fn pool(name: &str, v4: Option<Base>, v6: Option<Base>) -> PoolSettings {
    PoolSettings {
        name: name.to_owned(),
        v4,
        v6,
        cooling: 600_000,
        subnet_cooling: 60_000,
        closed: false,
        provenance: Default::default(),
    }
}

/// The settings that the plan may get; number 0 is used first.
pub fn settings(number: usize) -> Settings {
    let next = AddressOrder::Sequential;
    let a = pool("a", base("192.0.2.0/28", 30, next), base("2001:db8::/124", 126, next));
    let routed = |base: Option<Base>, gateway: &str| {
        base.map(|base| Base { gateway: Some(prefix(gateway).first()), probe: true, ..base })
    };
    let b = pool("b", routed(base("198.51.100.0/28", 29, next), "198.51.100.10/32"), None);
    let lan = routed(base("2001:db8:1::/124", 125, AddressOrder::Stable), "2001:db8:1::b/128");
    let c = PoolSettings { cooling: 0, ..pool("c", None, lan) };
    let ranges = |texts: &[&str]| texts.iter().map(|text| AddressRange::parse(text).unwrap()).collect();
    let usual = Settings {
        pools: vec![a.clone(), b.clone(), c.clone()],
        reserved: ranges(&["192.0.2.5", "192.0.2.8/30", "2001:db8::c/126", "2001:db8:1::2-2001:db8:1::3"]),
        storm_limit: 4,
        secret: [7; 32],
        ..Settings::default()
    };
    match number % 5 {
        0 => usual,
        4 => {
            let sliced = |base: Option<Base>| base.map(|base| Base { slice: Some(29), ..base });
            let a = PoolSettings { v4: sliced(a.v4), subnet_cooling: 5_000, ..a };
            let b = PoolSettings { v4: sliced(b.v4), ..b };
            let shared = Shared { by_number: Some(prefix("203.0.113.6/31")) };
            let lan = Base {
                slice: Some(31),
                gateway: Some(prefix("203.0.113.1/32").first()),
                shared: Some(shared),
                ..Base::new(prefix("203.0.113.0/29"), 29, next)
            };
            let d = pool("d", Some(lan), None);
            let reserved = ranges(&["192.0.2.8/30", "203.0.113.3"]);
            Settings { pools: vec![b, a, c, d], reserved, ..usual }
        }
        1 => Settings {
            pools: vec![PoolSettings { closed: true, ..a }, b],
            reserved: Vec::new(),
            storm_limit: 0,
            ..usual
        },
        2 => {
            let a = PoolSettings { cooling: 0, subnet_cooling: 0, ..a };
            Settings {
                pools: vec![c, a],
                reserved: ranges(&["192.0.2.1-192.0.2.2", "192.0.2.3"]),
                cooling: 0,
                ..usual
            }
        }
        _ => {
            let wide =
                PoolSettings { subnet_cooling: 2_000, ..pool("wide", base("192.0.2.0/27", 29, next), None) };
            Settings { pools: vec![wide, c], subnet_cooling: 0, storm_limit: 2, ..usual }
        }
    }
}

/// What the host uses when it is surveyed.
fn host(number: usize) -> HostUse {
    let used = |text: &str, kind| InUse { prefix: prefix(text), kind, text: text.to_owned() };
    match number % 8 {
        1 => HostUse::from([used("192.0.2.4/30", InUseKind::Route)]),
        2 => HostUse::from([used("192.0.2.0/24", InUseKind::Route), used("2001:db8::/64", InUseKind::Route)]),
        3 => HostUse::from([used("192.0.2.0/24", InUseKind::OnLinkV4Route)]),
        4 => HostUse::from([
            used("192.0.2.1/32", InUseKind::InterfaceAddress),
            used("2001:db8::9/128", InUseKind::Nameserver),
        ]),
        5 => HostUse::from([used("198.51.100.0/29", InUseKind::OnLinkV4Route)]),
        _ => HostUse::from([]),
    }
}

/// Slices of the pools in `settings(4)`.
pub const SLICES: [&str; 10] = [
    "192.0.2.0/29",
    "192.0.2.8/29",
    "198.51.100.0/29",
    "198.51.100.8/29",
    "203.0.113.0/31",
    "203.0.113.2/31",
    "203.0.113.4/31",
    "203.0.113.6/32",
    "203.0.113.7/32",
    "203.0.113.6/31",
];

/// The pools of each driver name; any further driver has all of them.
const DRIVERS: [&[&str]; 3] = [&["b"], &["c", "a"], &["a"]];

pub const EXACT: [&str; 18] = [
    "192.0.2.0/30",
    "192.0.2.4/30",
    "192.0.2.0/29",
    "192.0.2.8/31",
    "192.0.2.12/32",
    "192.0.2.0/28",
    "192.0.2.0/26",
    "203.0.113.0/29",
    "203.0.113.0/30",
    "203.0.113.4/31",
    "198.51.100.8/29",
    "2001:db8::/126",
    "2001:db8::4/127",
    "2001:db8::f/128",
    "2001:db8::/124",
    "2001:db8:1::/125",
    "2001:db8:2::/124",
    "2001:db8:2::8/126",
];

const RANGES: [&str; 6] = [
    "192.0.2.4/31",
    "192.0.2.8/30",
    "203.0.113.4/30",
    "203.0.113.2/32",
    "2001:db8::4/126",
    "2001:db8:2::8/125",
];

pub const NAMES: [&str; 3] = ["web", "db", "cache"];

/// What is known from probes: that all addresses or the even ones are silent, nothing, or mostly that there is no time.
fn probed(prefix: Prefix, mac: Option<u8>) -> Probed {
    let silent = |step: usize| {
        (prefix.first()..=prefix.last()).step_by(step).take(64).map(|it| prefix.address(it)).collect()
    };
    match mac {
        None => Probed { is_over: true, ..Probed::default() },
        Some(0) => Probed { silent: silent(1), is_over: false },
        Some(1) => Probed { silent: silent(2), is_over: false },
        Some(_) => Probed::default(),
    }
}

/// What repair has proven dead: every fourth held item, or nothing.
fn dead(plan: &Plan, proven: u64) -> Arc<Dead> {
    let mut dead = Dead::default();
    for subnet in plan.subnets().filter(|subnet| subnet.is_held() && proven > 0) {
        let (serial, generation) = (subnet.state.serial, subnet.state.generation);
        let proof = evidence::dead_subnet(plan, subnet, generation);
        if serial % 4 != proven {
            dead.proven.extend(proof.map(|death| (death.key(), death)));
        } else {
            dead.proven.extend(proof.map(|death| (death.key(), death.while_unnamed())));
        }
        for (address, record) in subnet.addresses.records() {
            if record.generation % 4 != proven {
                let proof = evidence::dead_lease(plan, subnet, address, record.generation);
                dead.proven.extend(proof.map(|death| (death.key(), death)));
            }
        }
    }
    Arc::new(dead)
}

fn exact(space: Space, asked: Prefix, range: Option<Prefix>, overlap: bool) -> SubnetRequest {
    SubnetRequest {
        space,
        family: asked.family(),
        wanted: Wanted::Exact(asked),
        range,
        options: BTreeMap::from_iter(overlap.then(|| ("overlap".to_owned(), "true".to_owned()))),
        pools: None,
        in_use: [].into(),
        in_a_row: u32::MAX,
        dead: Arc::default(),
        cannot: Default::default(),
    }
}

/// A quarter of a prefix as a range; the whole prefix if it is too small for quarters.
fn quarter(of: Prefix, number: usize) -> Prefix {
    let length = of.length() + 2;
    if length > of.family().bits() {
        return of;
    }
    let step = 1u128 << (of.family().bits() - length);
    Prefix::new(of.family(), of.first() + step * (number % 4) as u128, length)
}

/// The request made from an operation, given what is held; `None` for time, settings and empty selections.
pub fn request(op: &Op, plan: &Plan, undos: &[Undo], proven: u64) -> Option<Request> {
    match plain_request(op, plan, undos)? {
        Request::Subnet(request) => {
            Some(Request::Subnet(SubnetRequest { dead: dead(plan, proven), ..request }))
        }
        Request::Address(request) => {
            Some(Request::Address(AddressRequest { dead: dead(plan, proven), ..request }))
        }
        request => Some(request),
    }
}

/// All held leases: subnet's serial and PoolID, address, generation.
fn leases(plan: &Plan) -> Vec<(u64, String, u128, u64)> {
    let held = plan.subnets().filter(|subnet| subnet.is_held());
    let of = |subnet: &gipam::plan::Subnet| {
        let (serial, id) = (subnet.state.serial, subnet.state.id.clone());
        let leased = subnet.addresses.records().filter(|(_, record)| record.leased);
        leased.map(|(address, record)| (serial, id.clone(), address, record.generation)).collect::<Vec<_>>()
    };
    held.flat_map(of).collect()
}

/// The repair that an operation requests.
fn repair(op: &Op, plan: &Plan) -> Option<Repair> {
    let held: Vec<_> = plan.subnets().filter(|subnet| subnet.is_held()).map(|subnet| &subnet.state).collect();
    let subnet_at = |n: usize| held.get(n % held.len().max(1)).copied();
    let leases = leases(plan);
    let lease_at = |n: usize| leases.get(n % leases.len().max(1));
    let seen = || "seen".into();
    Some(match op {
        Op::FreeDead { pick, fresh } => {
            let &(serial, _, address, generation) = lease_at(*pick)?;
            let generation = generation - u64::from(!fresh);
            let death = evidence::dead_lease(plan, plan.subnet(serial)?, address, generation)?;
            Repair::Free(death)
        }
        Op::FreeSubnet { subnet, fresh } => {
            let state = subnet_at(*subnet)?;
            let generation = state.generation - u64::from(!fresh);
            let unnamed = subnet % 2 == 1;
            let death = evidence::dead_subnet(plan, plan.subnet(state.serial)?, generation)?;
            Repair::Free(if unnamed { death.while_unnamed() } else { death })
        }
        Op::Adopt { subnet, number, kind, ago } => {
            let state = subnet_at(*subnet)?;
            let address = state.prefix.first().saturating_add(*number);
            let read = Fence {
                generation: plan.counters().0.saturating_sub(ago / 30_000),
                at: plan.now().saturating_sub(*ago),
            };
            let (serial, kind, mac) = (state.serial, *kind, Some(Mac([2; 6])));
            let name = (number % 3 == 0).then(|| NAMES[*number as usize % NAMES.len()].into());
            Repair::Adopt { serial, lease: ShownLease { address, kind, name, mac, evidence: seen() }, read }
        }
        Op::Identify { pick, kind } => {
            let &(serial, _, address, generation) = lease_at(*pick)?;
            Repair::Identify { serial, address, generation, kind: *kind, evidence: seen() }
        }
        Op::Shown { pick, name } => {
            let &(serial, _, address, generation) = lease_at(*pick)?;
            let (container, container_id, network) = (NAMES[*name].into(), "id".into(), "net".into());
            Repair::Name {
                serial,
                address,
                generation,
                shown: ShownHolder { container, container_id, network },
            }
        }
        Op::Listed { subnet } => {
            let state = subnet_at(*subnet)?;
            Repair::Listed { serial: state.serial, generation: state.generation }
        }
        _ => return networks::wish(op, plan),
    })
}

fn plain_request(op: &Op, plan: &Plan, undos: &[Undo]) -> Option<Request> {
    let held: Vec<_> = plan.subnets().filter(|subnet| subnet.is_held()).collect();
    let pick = |n: usize| (!held.is_empty()).then(|| &held[n % held.len()].state);
    let address = |prefix: Prefix, number: u128| prefix.address(prefix.first().saturating_add(number));
    Some(match op {
        Op::Pass(_) | Op::Configure(_) | Op::TakeOver { .. } | Op::Proven(_) | Op::Hand(_) => return None,
        Op::Slice { pick, what } => {
            let prefix = prefix(SLICES[pick % SLICES.len()]);
            Request::Slice(Box::new(match what % 6 {
                0..=2 => SliceRequest::Owned { prefix, claim: what.to_string().into() },
                3 => SliceRequest::Leave { prefix },
                4 => SliceRequest::Lost { prefix },
                _ => SliceRequest::Gone { prefix },
            }))
        }
        Op::Any { space, family, size, options, host: seen, driver } => Request::Subnet(SubnetRequest {
            space: *space,
            family: *family,
            wanted: Wanted::Any {
                size: size.filter(|size| *size <= family.bits() && *size >= family.bits() - 4),
            },
            range: None,
            options: options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            pools: DRIVERS.get(*driver).map(|names| names.iter().map(|name| (*name).to_owned()).collect()),
            in_use: host(*seen),
            in_a_row: if seen % 3 == 0 { 0 } else { 5 },
            dead: Arc::default(),
            cannot: Default::default(),
        }),
        Op::Exact { space, pool, range, overlap } => {
            let asked = prefix(EXACT[*pool]);
            let range =
                range.map(|range| RANGES.get(range).map_or_else(|| quarter(asked, range), |it| prefix(it)));
            Request::Subnet(exact(*space, asked, range, *overlap))
        }
        Op::Again { subnet, overlap } => {
            let known: Vec<_> = plan.subnets().map(|subnet| &subnet.state).collect();
            let state = known.get(subnet % known.len().max(1))?;
            let range = (subnet % 3 != 0).then(|| quarter(state.prefix, *subnet));
            Request::Subnet(exact(state.space, state.prefix, range, *overlap))
        }
        Op::Address { subnet, number, gateway, name, mac, serial } => {
            let state = pick(*subnet)?;
            Request::Address(AddressRequest {
                cannot: Default::default(),
                id: state.id.clone(),
                address: number.map(|number| match state.marks.gateway.filter(|_| number >= 17) {
                    Some(gateway) => state.prefix.address(gateway),
                    None => address(state.prefix, number),
                }),
                gateway: *gateway,
                name: name.map(|name| NAMES[name].into()),
                // One of these MACs belongs to a network card and is not generated.
                mac: mac.map(|mac| Mac([if mac == 2 { 0 } else { 2 }, 0, 0, 0, 0, mac])),
                serial: *serial,
                dead: Arc::default(),
                half: None,
                probed: Some(Arc::new(probed(state.prefix, *mac))),
            })
        }
        Op::ReleaseAddress { subnet, number } => {
            let state = pick(*subnet)?;
            Request::Release {
                id: state.id.clone(),
                address: Some(address(state.prefix, *number)),
                generation: None,
            }
        }
        Op::ReleaseLease { pick } => {
            let leases = leases(plan);
            let (serial, id, number, _) = leases.get(pick % leases.len().max(1))?.clone();
            let address = plan.subnet(serial)?.state.prefix.address(number);
            Request::Release { id, address: Some(address), generation: None }
        }
        Op::ReleaseSubnet { subnet } => {
            Request::Release { id: pick(*subnet)?.id.clone(), address: None, generation: None }
        }
        Op::Force { subnet, by_id, number } => {
            let state = pick(*subnet)?;
            let subnet = if *by_id { state.id.clone() } else { state.prefix.to_string() };
            let address = number.map(|number| address(state.prefix, number));
            Request::Force { subnet, address, generation: None }
        }
        Op::Undo { back } => {
            let at = undos.len().checked_sub(back + 1)?;
            Request::Undo(Box::new(undos[at].clone()))
        }
        Op::Stranger { .. } => networks::stranger(op, plan)?,
        Op::Heard { subnet, number, mac, ago } => Request::Probed(ProbeResult::Answered {
            address: address(pick(*subnet)?.prefix, *number),
            mac: Mac([2, 0, 0, 0, 0, *mac]),
            began: plan.counters().0.saturating_sub(*ago),
        }),
        Op::Quiet { pick } => {
            let all = plan.quarantined();
            let Quarantined { serial, address, generation, .. } = *all.get(pick % all.len().max(1))?;
            Request::Probed(ProbeResult::Silent {
                serial,
                address,
                generation: generation + u64::from(pick % 5 == 4),
            })
        }
        _ => Request::Repair(Box::new(repair(op, plan)?)),
    })
}
