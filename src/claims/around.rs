//! The slices around networks that this host has without them: repair adopted the networks, or they are older than the plan.
//!
//! Promises: pure; in a shared pool an address that every host may have (the gateway, a reserved one) needs no slice. Does not
//! claim: the machine does, or says whose the slice is.

use std::collections::BTreeSet;

use super::machine::event::Geometry;
use crate::plan::prefix::Prefix;
use crate::plan::settings::Settings;
use crate::plan::{Plan, Subnet};

/// How the pool around this prefix is cut.
pub fn geometry(settings: &Settings, prefix: Prefix) -> Option<Geometry> {
    let open = settings.pools.iter().filter(|pool| !pool.closed);
    let base = open.flat_map(|pool| pool.bases()).find(|base| base.base.contains(prefix))?;
    Geometry::of(base)
}

/// The slices that the networks and leases of this host need.
pub fn needed(plan: &Plan) -> BTreeSet<Prefix> {
    let held = plan.subnets().filter(|subnet| subnet.is_held_locally());
    held.flat_map(|subnet| needed_by(plan, subnet)).collect()
}

fn needed_by(plan: &Plan, subnet: &Subnet) -> Vec<Prefix> {
    let prefix = subnet.state.prefix;
    let Some(pool) = geometry(plan.settings(), prefix) else { return Vec::new() };
    if !pool.shared {
        return pool.slices(prefix);
    }
    let gateway = subnet.gateway_lease().map(|(address, _)| address);
    let leases = subnet.addresses.leases().map(|(address, _)| address);
    let own = leases.filter(|address| Some(*address) != gateway && !subnet.reserved().contains(*address));
    own.flat_map(|address| pool.slices(Prefix::host(prefix.address(address)))).collect()
}

/// The needed slices of which the books say nothing, with their pools.
pub fn unclaimed(plan: &Plan) -> Vec<(Geometry, Prefix)> {
    let open = |slice: &Prefix| plan.slices().meeting(*slice).next().is_none();
    let needed = needed(plan).into_iter().filter(open);
    needed.filter_map(|slice| Some((geometry(plan.settings(), slice)?, slice))).collect()
}
