//! Proofs of death for tests: two views of an Engine from which the lease or subnet is missing.
//!
//! Promises: proves only what the plan's rules allow. Makes no decisions.

use std::collections::BTreeSet;

use gipam::plan::change::{Kind, Record};
use gipam::plan::evidence::{Absence, CompleteView, Death, IndexedLists, Sight};
use gipam::plan::prefix::Prefix;
use gipam::plan::settings::Moment;
use gipam::plan::shown::{Configured, EngineIdentity, Lists, Network};
use gipam::plan::{Plan, Subnet};

/// The lists of an Engine that shows one network of gipam for each of these prefixes, without containers.
pub fn lists(prefixes: impl IntoIterator<Item = Prefix>) -> Lists {
    let network = |(n, prefix): (usize, Prefix)| Network {
        name: format!("n{n}"),
        id: format!("id{n}"),
        scope: "local".to_owned(),
        ipam: "gipam".to_owned(),
        subnets: vec![Configured { prefix, range: None, gateway: None, auxiliary: Vec::new() }],
        complete: true,
        ..Network::default()
    };
    let engine = Some(EngineIdentity { id: "engine".into(), root: "/var/lib/docker".into() });
    Lists { engine, networks: prefixes.into_iter().enumerate().map(network).collect(), unclear: Vec::new() }
}

fn held(plan: &Plan) -> impl Iterator<Item = &Subnet> {
    plan.subnets().filter(|subnet| subnet.is_held_locally())
}

/// Proves that leases and subnets are dead if two views of these lists, ten minutes apart, do not show them.
pub fn twice(
    plan: &Plan,
    lists: &Lists,
    absent: impl Fn(&CompleteView<'_>) -> Option<Absence>,
) -> Option<Death> {
    let drivers = ["gipam".to_owned()];
    let shown = IndexedLists::new(lists.clone(), &drivers);
    let at =
        |steady| CompleteView::of(Sight::new(plan, &shown), Moment { steady, wall: steady }, u64::MAX).ok();
    Death::of(&absent(&at(1_000)?)?, &absent(&at(601_000)?)?, 600_000)
}

/// Proves that this lease, with this generation, is dead, if that can be proven.
pub fn dead_lease(plan: &Plan, subnet: &Subnet, address: u128, generation: u64) -> Option<Death> {
    let record = Record { generation, ..subnet.addresses.get(address)?.clone() };
    let lists = lists(held(plan).map(|subnet| subnet.state.prefix));
    let record = if record.kind == Kind::Endpoint { record } else { Record { leased: true, ..record } };
    twice(plan, &lists, |view| view.lease_absent(subnet, address, &record))
}

/// Proves that this subnet, with this generation, is dead, if that can be proven.
pub fn dead_subnet(plan: &Plan, subnet: &Subnet, generation: u64) -> Option<Death> {
    let prefix = subnet.state.prefix;
    let others: BTreeSet<Prefix> = held(plan).map(|subnet| subnet.state.prefix).collect();
    let lists = lists(others.into_iter().filter(|other| !other.overlaps(prefix)));
    let mut subnet = subnet.clone();
    subnet.state.generation = generation;
    twice(plan, &lists, |view| view.subnet_absent(&subnet))
}
