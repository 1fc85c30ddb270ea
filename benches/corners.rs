//! THE CORNERS: refused requests, and requests with very many pools, for the guard that counts instructions.
//!
//! Promises: each corner first builds its whole plan at once (subnets and leases are applied as a start
//! applies those of the books), and then repeats one kind of request. A refusal changes nothing, so the plan
//! stays as it was.

use std::io;

use gipam::plan::Plan;
use gipam::plan::change::{Change, Kind, Marks, Record, Serial, SubnetState};
use gipam::plan::host_use::HostUse;
use gipam::plan::prefix::{Family, Prefix};
use gipam::plan::request::{
    AddressRequest, InUse, InUseKind, Mac, Reply, Request, Space, SubnetRequest, Wanted,
};
use gipam::plan::settings::{AddressOrder, Base, PoolSettings, Settings};

const NOW: u64 = 1_800_000_000_000;

/// Runs the corner with this name; `None` if it does not exist.
pub fn count(what: &str, standing: u64, calls: u64) -> Option<io::Result<()>> {
    let (plan, request, refused) = match what {
        "full" => (pools_of(1, standing, Standing::Held), any(None), true),
        "full-cooling" => (pools_of(1, standing, Standing::HalfCooling), any(Some(8)), true),
        "full-used" => (Plan::new(settings(1, 24)), used(standing), true),
        "exact" => (pools_of(1, standing, Standing::Held), exact(), true),
        "addresses" => (one_subnet(standing, false), address(standing, false), true),
        "gateway" => (one_subnet(standing, false), address(standing, true), true),
        "gateway-released" => (one_subnet(standing, true), address(standing, true), false),
        "pools" => (Plan::new(settings(standing, 24)), any(None), false),
        "pools-named" => (Plan::new(settings(standing, 24)), named(standing), false),
        "pools-exact" => (Plan::new(settings(standing, 24)), inside_the_last(standing), false),
        "pools-full" => (pools_of(standing, standing, Standing::Held), any(None), true),
        _ => return None,
    };
    Some(ask(plan, &request, refused, calls).map_err(|why| io::Error::other(format!("{what}: {why}"))))
}

/// Makes the request this many times; every grant is applied and undone.
fn ask(mut plan: Plan, request: &Request, refused: bool, calls: u64) -> Result<(), String> {
    plan.advance(NOW);
    for call in 0..calls {
        let decision = plan.decide(request, call);
        if decision.reply.is_err() != refused {
            return Err(format!("{:?}", decision.reply));
        }
        if let (Ok(Reply::Subnet { .. }), Some(Change::SubnetGranted(state))) =
            (&decision.reply, decision.changes.first())
        {
            let serial = state.serial;
            decision.changes.iter().for_each(|change| plan.apply(change));
            plan.apply(&Change::SubnetForgotten { serial });
        }
    }
    // Dropping the plan is not part of a call: see `guard::count`.
    std::mem::forget(plan);
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Held,
    HalfCooling,
}

/// This many pools side by side in 10.0.0.0/8, each of this length and cut into /24.
fn settings(pools: u64, length: u8) -> Settings {
    let length = if pools == 1 { 8 } else { length };
    let base = |n: u64| {
        let first = (10 << 24) + (u128::from(n) << (32 - length));
        Base::new(Prefix::new(Family::V4, first, length), 24, AddressOrder::Sequential)
    };
    let pool = |n: u64| PoolSettings {
        name: format!("pool-{n}"),
        v4: Some(base(n)),
        v6: None,
        cooling: gipam::plan::settings::DEFAULT_COOLING,
        subnet_cooling: gipam::plan::settings::DEFAULT_SUBNET_COOLING,
        closed: false,
        provenance: Default::default(),
    };
    Settings { pools: (0..pools).map(pool).collect(), ..Settings::default() }
}

/// A plan in which this many subnets of one length use up all of these pools.
fn pools_of(pools: u64, subnets: u64, standing: Standing) -> Plan {
    let mut plan = Plan::new(settings(pools, 24));
    plan.advance(NOW);
    let bits = if pools == 1 { subnets.ilog2() as u8 } else { 16 };
    for number in 0..subnets {
        let length = 8 + bits;
        let first = (10 << 24) + (u128::from(number) << (32 - length));
        let serial = number + 1;
        let pool = if pools == 1 { 0 } else { number };
        let state = SubnetState {
            serial,
            id: format!("local/{number}#{number:016x}"),
            space: Space::Local,
            prefix: Prefix::new(Family::V4, first, length),
            range: None,
            pool: Some(format!("pool-{pool}")),
            options: Default::default(),
            dynamic: true,
            granted_at: NOW - 1_000_000,
            generation: serial,
            start_beyond: None,
            marks: Marks { addressed: true, had_endpoint: true, ..Marks::default() },
            released_at: None,
            cool_until: 0,
        };
        plan.apply(&Change::SubnetGranted(Box::new(state)));
    }
    if standing == Standing::HalfCooling {
        for serial in (1..=subnets).step_by(2) {
            plan.apply(&Change::SubnetReleased {
                serial,
                at: NOW - 10_000,
                cool_until: NOW + 50_000,
                why: gipam::plan::change::Why::Docker,
            });
        }
    }
    plan
}

fn request(wanted: Wanted, in_use: HostUse) -> Request {
    Request::Subnet(SubnetRequest {
        space: Space::Local,
        family: Family::V4,
        wanted,
        range: None,
        options: Default::default(),
        pools: None,
        in_use,
        in_a_row: 0,
        dead: Default::default(),
        cannot: Default::default(),
    })
}

fn any(size: Option<u8>) -> Request {
    request(Wanted::Any { size }, HostUse::default())
}

/// A request for a subnet of the last of this many pools, by the pool's name.
fn named(pools: u64) -> Request {
    match any(None) {
        Request::Subnet(request) => {
            let options = [("pool".to_owned(), format!("pool-{}", pools - 1))].into();
            Request::Subnet(SubnetRequest { options, ..request })
        }
        other => other,
    }
}

/// A request for a subnet of the last of this many pools, by prefix.
fn inside_the_last(pools: u64) -> Request {
    let first = (10 << 24) + (u128::from(pools - 1) << 8);
    request(Wanted::Exact(Prefix::new(Family::V4, first, 26)), HostUse::default())
}

/// A host that uses all of the pool, with this many routes.
fn used(routes: u64) -> Request {
    let length = 8 + routes.ilog2() as u8;
    let route = |n: u64| {
        let prefix = Prefix::new(Family::V4, (10 << 24) + (u128::from(n) << (32 - length)), length);
        InUse { prefix, kind: InUseKind::Route, text: format!("{prefix} dev eth0") }
    };
    // As the daemon keeps it: merged once, not at each request.
    let mut in_use = HostUse::limited_to([Prefix::new(Family::V4, 10 << 24, 8)]);
    (0..routes).map(route).for_each(|used| in_use.add(used));
    request(Wanted::Any { size: None }, in_use)
}

/// A request for all of 10.0.0.0/8, by prefix.
fn exact() -> Request {
    request(Wanted::Exact(Prefix::new(Family::V4, 10 << 24, 8)), HostUse::default())
}

/// A plan with a subnet in which this many addresses were used: all leased, or all but the gateway released
/// and pinned.
fn one_subnet(leases: u64, released: bool) -> Plan {
    let mut plan = Plan::new(settings(1, 8));
    plan.advance(NOW);
    let length = 32 - leases.ilog2() as u8;
    let prefix = Prefix::new(Family::V4, 10 << 24, length);
    let request = request(Wanted::Exact(prefix), HostUse::default());
    let serial: Serial = 1;
    let decision = plan.decide(&request, 1);
    decision.changes.iter().for_each(|change| plan.apply(change));
    for number in 1..leases - 1 {
        // The slot is leased, so the search for a gateway's address must continue.
        let leased = number == 1 || !released;
        let record = Record {
            leased,
            kind: Kind::Endpoint,
            name: None,
            mac: None,
            asked_by_number: false,
            withheld: false,
            since: NOW - 1_000_000 - number,
            generation: number,
        };
        let address = prefix.first() + u128::from(number);
        plan.apply(&Change::AddressRestored { serial, address, record });
    }
    plan
}

fn address(leases: u64, gateway: bool) -> Request {
    Request::Address(AddressRequest {
        id: format!("local/10.0.0.0/{}#0000000000000001", 32 - leases.ilog2()),
        gateway,
        mac: (!gateway).then_some(Mac([2, 0, 0, 0, 0, 1])),
        ..AddressRequest::default()
    })
}
