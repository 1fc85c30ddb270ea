//! What people see of the kernel's routes: how many are in place, and why the others are not.
//!
//! Promises: cheap to read at any time; each reason is logged once when it begins, and once when it is over.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::io::Errno;

use super::kernel::is;
use super::routes::SliceRoute;
use crate::text::counted;
use crate::view::routes::METRIC;
use crate::view::rows::{KernelRoutesRow, UnmadeRoute};

/// The state of the routes, which the daemon shows.
#[derive(Clone, Debug, Default)]
pub struct EdgeState(Arc<Mutex<Option<KernelRoutesRow>>>);

impl EdgeState {
    /// The row for the status; `None` if gipam keeps no routes in the kernel.
    pub fn row(&self) -> Option<KernelRoutesRow> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the state, and logs what is new in it.
    pub(super) fn set(&self, row: Option<KernelRoutesRow>) {
        let before = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *state, row.clone()).unwrap_or_default()
        };
        let Some(now) = row else { return };
        let (old, new) = (texts(&before), texts(&now));
        new.iter().filter(|text| !old.contains(text)).for_each(|text| tracing::warn!("{text}"));
        if new.is_empty() && !old.is_empty() {
            tracing::info!("all routes of the plan are in the kernel: {}", now.kept);
        }
    }
}

/// The reasons for missing routes, one line for each reason and next hop.
fn texts(row: &KernelRoutesRow) -> Vec<String> {
    let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for route in &row.unmade {
        by_reason.entry(&route.why).or_default().push(&route.prefix);
    }
    let line = |(why, prefixes): (&str, Vec<&str>)| {
        let others = prefixes.len() - 1;
        let others = if others == 0 { String::new() } else { format!(" and {others} more") };
        format!("no route to {}{others}: {why}", prefixes[0])
    };
    row.error.iter().cloned().chain(by_reason.into_iter().map(line)).collect()
}

/// A route that the kernel did not accept.
pub(super) fn unmade(route: &SliceRoute, host: &str, error: &io::Error) -> UnmadeRoute {
    let prefix = route.prefix.to_string();
    let via = route.via();
    UnmadeRoute { why: why(&prefix, via, host, error), prefix, host: host.to_owned(), via }
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

/// What a person reads if gipam may not change routes at all.
pub(super) const FORBIDDEN: &str = "gipam may not change the routes of this host: it needs CAP_NET_ADMIN; install the drop-in \
    kernel-routes.conf (see docs/install.md)";

/// The line about a change that was made.
pub(super) fn changed(added: usize, removed: usize, kept: usize) -> String {
    let routes = counted(kept, "route");
    format!("{routes} of the plan in the kernel: {added} added, {removed} removed")
}
