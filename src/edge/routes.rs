//! The routes that the kernel is to have: one for each slice of the plan, as `gipam routes` prints them.
//!
//! Promises: pure; each prefix has at most one route, and it lies in a pool of the plan; the same rows give the same set. Does not
//! know what the kernel has, or whether it accepts a next hop.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

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
            RouteTarget::Discard | RouteTarget::Unreachable => None,
        }
    }
}

/// Where packets to a slice go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteTarget {
    /// Nowhere: the slice is this host's, and the routes of its networks are more specific.
    Discard,
    /// Nowhere, and the sender gets an ICMP error: no network of the pool has the address.
    Unreachable,
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
    /// The routes of these rows, in the pools of a plan.
    pub fn of(rows: &[RouteRow], pools: impl IntoIterator<Item = Prefix>) -> Self {
        let pools: BTreeSet<Prefix> = pools.into_iter().collect();
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
        Self { routes: by_prefix.into_iter().map(route).collect(), pools }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(prefix: &str, host: &str, kind: RouteKind, via: Option<&str>) -> RouteRow {
        let via = via.map(|via| via.parse().unwrap());
        RouteRow { prefix: prefix.to_owned(), host: host.to_owned(), kind, via }
    }

    /// The wanted routes as text: prefix, next hop, host.
    fn wanted(rows: &[RouteRow]) -> Vec<String> {
        let pools = ["10.8.0.0/16", "2001:db8:8::/48"].map(|pool| Prefix::parse(pool).unwrap());
        let text = |(route, host): (&SliceRoute, &String)| {
            let via = route.via().map_or_else(|| "discard".to_owned(), |via| via.to_string());
            format!("{} {via} {host}", route.prefix)
        };
        WantedRoutes::of(rows, pools).routes.iter().map(text).collect()
    }

    #[test]
    fn each_slice_in_a_pool_has_a_route_unless_it_lacks_a_next_hop() {
        let rows = [
            row("10.8.0.0/20", "a", RouteKind::Discard, None),
            row("10.8.16.0/20", "b", RouteKind::Via, Some("192.0.2.12")),
            row("10.9.0.0/20", "b", RouteKind::Via, Some("192.0.2.12")),
            row("2001:db8:8::/52", "c", RouteKind::Missing, None),
            row("2001:db8:8:1000::/52", "b", RouteKind::Via, Some("2001:db8::12")),
        ];
        let expected =
            ["10.8.0.0/20 discard a", "10.8.16.0/20 192.0.2.12 b", "2001:db8:8:1000::/52 2001:db8::12 b"];
        assert_eq!(wanted(&rows), expected);
    }

    #[test]
    fn a_slice_that_this_host_and_another_one_have_is_this_hosts() {
        let own = row("10.8.0.0/20", "b", RouteKind::Discard, None);
        let others = row("10.8.0.0/20", "a", RouteKind::Via, Some("192.0.2.11"));
        assert_eq!(wanted(&[others.clone(), own.clone()]), ["10.8.0.0/20 discard b"]);
        assert_eq!(wanted(&[own, others]), ["10.8.0.0/20 discard b"]);
    }
}
