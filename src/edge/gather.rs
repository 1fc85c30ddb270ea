//! Collects the facts from which the kinds derive what they want: the plan of all hosts, the pools, their leases.
//!
//! Promises: reads the plan only in short looks; nothing is guessed if the ledger does not answer. The leases are read last, because
//! what has changed about them is reported only once.

use std::collections::BTreeSet;

use super::kind::EdgeSettings;
use super::leases::{LeaseChanges, LeaseFollower};
use super::proxies::ProxiedBase;
use super::sysctls::Sysctls;
use crate::claims::HostsPlan;
use crate::ledger::Ledger;
use crate::plan::Plan;
use crate::plan::prefix::{Family, Prefix};
use crate::view::rows::RouteRow;
use crate::view::slices::{BooksOfRoutes, routes_of};

/// The facts, as `kind::Facts` refers to them.
pub(super) struct Gathered {
    pub(super) rows: Option<Vec<RouteRow>>,
    pub(super) discarded: Vec<Prefix>,
    pub(super) proxied: Vec<ProxiedBase>,
    pub(super) sysctl_trouble: Option<String>,
    pub(super) leases: Option<LeaseChanges>,
}

/// Collects all facts; `None` if the ledger has ended.
pub(super) async fn gather(
    ledger: &Ledger,
    leases: &mut LeaseFollower,
    sysctls: &mut Sysctls,
    settings: &EdgeSettings,
    hosts: Option<&HostsPlan>,
) -> Option<Gathered> {
    let rows = rows(ledger, hosts).await;
    let named = ledger.look(named_bases).await.ok()?;
    let (mut discarded, mut proxied) = (Vec::new(), Vec::new());
    for pool in &settings.pools {
        for (_, base) in named.iter().filter(|(name, _)| *name == pool.pool) {
            discarded.extend(pool.discard.then_some(*base));
            let uplink = pool.uplink(base.family()).map(ToOwned::to_owned);
            let of_pool = |uplink| ProxiedBase { pool: pool.pool.clone(), base: *base, uplink };
            proxied.extend(uplink.map(of_pool));
        }
    }
    let uplinks: BTreeSet<&str> = proxied
        .iter()
        .filter(|proxied| proxied.base.family() == Family::V6)
        .map(|proxied| proxied.uplink.as_str())
        .collect();
    let sysctl_trouble = sysctls.keep(&uplinks).await;
    let changes = leases.changes(&proxied).await;
    Some(Gathered { rows, discarded, proxied: leases.places(), sysctl_trouble, leases: changes })
}

/// The bases of all pools, each with the pool's name.
fn named_bases(plan: &Plan) -> Vec<(String, Prefix)> {
    let pools = plan.settings().pools.iter();
    pools.flat_map(|pool| pool.bases().map(|base| (pool.name.clone(), base.base))).collect()
}

/// The routes of the plan, as `gipam routes` prints them; `None` while it is not known.
async fn rows(ledger: &Ledger, hosts: Option<&HostsPlan>) -> Option<Vec<RouteRow>> {
    let Some(hosts) = hosts else { return Some(Vec::new()) };
    // What only the books say is not the whole plan: routes to other hosts stay.
    hosts.division.as_ref().filter(|division| division.complete)?;
    let books = ledger.look(BooksOfRoutes::of).await.ok()?;
    routes_of(hosts, books, None).ok()
}
