//! The routes that the kernel is to have: one for each slice of the plan, as `gipam routes` prints them.
//!
//! Promises: pure; each prefix has at most one route, and it lies in a pool of the plan; the same rows give the same set. Does not
//! know what the kernel has, or whether it accepts a next hop.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::claims::HostsPlan;
use crate::plan::prefix::Prefix;
use crate::view::routes::{RouteKind, RouteRow};

/// A route to a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SliceRoute {
    pub prefix: Prefix,
    pub to: RouteTarget,
}

impl SliceRoute {
    /// Its next hop.
    pub const fn via(&self) -> Option<IpAddr> {
        match self.to {
            RouteTarget::Via(via) => Some(via),
            RouteTarget::Discard => None,
        }
    }
}

/// Where packets to a slice go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteTarget {
    /// Nowhere: the slice is this host's, and the routes of its networks are more specific.
    Discard,
    /// To the host that has the slice.
    Via(IpAddr),
}

/// The routes that the kernel is to have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WantedRoutes {
    /// Each route, and the host to which it leads.
    pub routes: BTreeMap<SliceRoute, String>,
    /// The pools of the plan. Routes outside of them are never touched.
    pub pools: BTreeSet<Prefix>,
}

impl WantedRoutes {
    /// The routes of these rows; `None` while no plan is known, so that the routes in the kernel stay.
    pub fn of(rows: &[RouteRow], hosts: &HostsPlan) -> Option<Self> {
        let pools: BTreeSet<Prefix> = hosts.division.as_ref()?.pools.iter().map(|pool| pool.base).collect();
        let mut by_prefix: BTreeMap<Prefix, (RouteTarget, &str)> = BTreeMap::new();
        for row in rows {
            let target = match (row.kind, row.via) {
                (RouteKind::Discard, _) => RouteTarget::Discard,
                (RouteKind::Via, Some(via)) => RouteTarget::Via(via),
                _ => continue,
            };
            let Some(prefix) = Prefix::parse(&row.prefix) else { continue };
            if !pools.iter().any(|pool| pool.contains(prefix)) {
                continue;
            }
            // If this host and another one both have a slice, the networks of this host stay reachable.
            let known = by_prefix.entry(prefix).or_insert((target, &row.host));
            if target == RouteTarget::Discard {
                *known = (target, &row.host);
            }
        }
        let route = |(prefix, (to, host)): (Prefix, (RouteTarget, &str))| {
            (SliceRoute { prefix, to }, host.to_owned())
        };
        Some(Self { routes: by_prefix.into_iter().map(route).collect(), pools })
    }
}
