//! The kind `routes`: one route for each slice of a plan of several hosts.
//!
//! Promises: as for all kinds; routes outside of the pools of the plan are never touched. If the plan is not known, the routes stay.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

use rustix::io::Errno;

use super::kernel::{KernelSockets, News, Notice, is};
use super::kind::{Agreed, Changes, Facts, KernelKind, KindWish, equalise};
use super::route_messages::{FORBIDDEN, OwnRoutes, Reach, RouteCalls, news};
use super::routes::{SliceRoute, WantedRoutes};
use crate::plan::prefix::Prefix;
use crate::view::kernel::{KernelRow, KindName, UNMADE, UnmadeObject};
use crate::view::routes::{METRIC, PROTOCOL};

/// The routes of the plan.
#[derive(Debug, Default)]
pub(super) struct SliceRoutes {
    wanted: WantedRoutes,
    /// Whether the kernel was made equal to `wanted`.
    is_made: bool,
    /// Where routes of gipam may be: in the pools of the plan, and until they are removed, in those of the plan before it.
    pools: BTreeSet<Prefix>,
}

impl SliceRoutes {
    /// An earlier process may have left routes in these pools.
    pub(super) fn after(pools: BTreeSet<Prefix>) -> Self {
        Self { pools, ..Self::default() }
    }
}

impl KernelKind for SliceRoutes {
    fn name(&self) -> KindName {
        KindName::Routes
    }

    fn want(&mut self, facts: &Facts<'_>) -> KindWish {
        if !facts.settings.routes {
            return KindWish::Off;
        }
        let (Some(hosts), Some(rows)) = (facts.hosts, facts.routes) else { return KindWish::Unknown };
        let pools = hosts.division.iter().flat_map(|division| &division.pools);
        let wanted = WantedRoutes::of(rows, pools.map(|pool| pool.base));
        if wanted == self.wanted && self.is_made {
            return KindWish::Same;
        }
        self.pools.extend(&wanted.pools);
        (self.wanted, self.is_made) = (wanted, false);
        KindWish::New
    }

    fn wanted(&self) -> usize {
        self.wanted.routes.len()
    }

    fn make_equal(&mut self, kernel: &mut KernelSockets, _doubtful: bool) -> io::Result<Agreed> {
        self.is_made = true;
        let wanted = &self.wanted.routes;
        let mut reach = BTreeMap::new();
        for via in wanted.keys().filter_map(SliceRoute::via) {
            reach.insert(via, kernel.reach(via)?);
        }
        // The kernel would accept an IPv4 address of this host, and then look for it on the network.
        let is_here =
            |route: &&SliceRoute| route.via().is_some_and(|via| reach.get(&via) == Some(&Reach::Here));
        let here = wanted.keys().filter(is_here).map(|route| (*route, Errno::INVAL.into()));
        let mut refused: BTreeMap<SliceRoute, io::Error> = here.collect();
        let mut calls = RouteCalls { kernel, meant: OwnRoutes::Slices(&self.pools), reach: &reach };
        let changes = equalise(&mut calls, wanted.keys(), &mut refused)?;
        self.pools.clone_from(&self.wanted.pools);
        let host = |route: &SliceRoute| wanted.get(route).map_or("", String::as_str);
        let unmade = refused.iter().take(UNMADE).map(|(route, error)| unmade(route, host(route), error));
        let kept = wanted.len() - refused.len();
        let row = KernelRow {
            kind: KindName::Routes,
            wanted: wanted.len() as u64,
            kept: kept as u64,
            unmade: unmade.collect(),
            error: None,
        };
        Ok(Agreed { row, changes })
    }

    fn remove_all(&mut self, kernel: &mut KernelSockets) -> io::Result<usize> {
        (self.wanted, self.is_made) = (WantedRoutes::default(), false);
        let meant = OwnRoutes::Slices(&self.pools);
        let mut calls = RouteCalls { kernel, meant, reach: &BTreeMap::new() };
        let Changes { removed, .. } = equalise(&mut calls, std::iter::empty(), &mut BTreeMap::new())?;
        self.pools.clear();
        Ok(removed)
    }

    fn places(&self) -> &BTreeSet<Prefix> {
        &self.pools
    }

    fn news(&self, notice: Notice<'_>) -> News {
        news(notice)
    }

    fn forbidden(&self) -> &'static str {
        FORBIDDEN
    }

    fn by_hand(&self) -> String {
        format!("ip route flush proto {PROTOCOL}")
    }
}

/// A route that the kernel did not accept.
fn unmade(route: &SliceRoute, host: &str, error: &io::Error) -> UnmadeObject {
    let prefix = route.prefix.to_string();
    let via = route.via();
    UnmadeObject { why: why(&prefix, via, host, error), prefix, host: host.to_owned(), via }
}

fn why(prefix: &str, via: Option<IpAddr>, host: &str, error: &io::Error) -> String {
    let unreachable = [Errno::NETUNREACH, Errno::HOSTUNREACH, Errno::NETDOWN, Errno::NODEV];
    match via {
        _ if is(error, Errno::EXIST) => format!(
            "another program has a route to it with metric {METRIC}, which gipam does not replace: ip route show {prefix}"
        ),
        Some(via) if unreachable.iter().any(|errno| is(error, *errno)) => format!(
            "{via} of host {host} is not on a network of this host ({error}); gipam retries when links or addresses change"
        ),
        Some(via) if is(error, Errno::INVAL) => format!(
            "{via} of host {host} cannot be a next hop: it is an address of this host; correct its via in the plan"
        ),
        Some(via) => format!("the kernel refuses the route by {via} to host {host}: {error}"),
        None => format!("the kernel refuses the discard route: {error}"),
    }
}
