//! Pools and subnets as rows.
//!
//! Promises: pools are in the order of the settings, subnets in that of their prefixes; counts follow the plan's own rules.

use std::sync::Arc;

use super::leases::{ListedPlace, PlaceFilter};
use super::listing::Listing;
use super::query::Query;
use super::rows::{Count, PoolRow, SubnetRow};
use super::sink::Sink;
use super::source::{Budget, Source};
use super::views::View;
use super::{Fullness, Refusal};
use crate::plan::change::Serial;
use crate::plan::host_use::HostUse;
use crate::plan::prefix::{Family, Prefix};
use crate::plan::settings::rfc3339;
use crate::plan::{Plan, Subnet};

/// Number of subnets between two checks of the time.
const STEP: usize = 16;

/// The row of one family of a pool, by the pool's index; `None` if the pool has no base of that family.
pub(super) fn pool_row(plan: &Plan, (pool, family): (usize, Family), in_use: &HostUse) -> Option<PoolRow> {
    let pool = plan.settings().pools.get(pool)?;
    let base = pool.base(family)?;
    let counts = plan.count_subnets(base);
    let share = Fullness::of_pool(base, &counts);
    let unusable = Plan::unusable(base.base, in_use);
    Some(PoolRow {
        pool: pool.name.clone(),
        family: family.name().to_owned(),
        base: base.base.to_string(),
        size: base.size,
        subnets: Count(counts.held.into()),
        free: Count(if pool.closed || unusable.is_some() { 0 } else { counts.free }),
        cooling: Count(counts.cooling.into()),
        closed: pool.closed,
        unusable,
        reserved: Count(counts.reserved),
        share,
        full: share.to_string(),
    })
}

/// The pools in the order of the settings, read in bites; `in_use` is what this host uses.
pub(super) fn pool_rows(source: &Source, in_use: HostUse) -> Result<Vec<PoolRow>, Refusal> {
    let (in_use, mut rows) = (Arc::new(in_use), Vec::new());
    let bite = move |plan: &Plan, pool: usize, budget: &Budget| {
        let (mut found, mut at) = (Vec::new(), pool);
        while at < plan.settings().pools.len() {
            found.extend(Family::BOTH.iter().filter_map(|family| pool_row(plan, (at, *family), &in_use)));
            at += 1;
            if budget.is_spent() {
                break;
            }
        }
        (found, Some(at).filter(|at| *at < plan.settings().pools.len()))
    };
    source.walk(0, bite, |found| {
        rows.extend(found);
        Ok(true)
    })?;
    Ok(rows)
}

/// The row of a held subnet, without the name of its network.
fn subnet_row(plan: &Plan, subnet: &Subnet) -> SubnetRow {
    let (state, counts) = (&subnet.state, plan.count_addresses(subnet));
    let share = Fullness::of_subnet(&counts);
    SubnetRow {
        id: state.id.clone(),
        prefix: state.prefix.to_string(),
        pool: state.pool.clone(),
        space: state.space.name().to_owned(),
        range: state.range.map(|range| range.to_string()),
        gateway: subnet.gateway_lease().map(|(address, _)| state.prefix.address(address).to_string()),
        leases: Count(counts.leased),
        cooling: Count(counts.cooling),
        since: Some(rfc3339(state.granted_at)),
        options: state.options.clone(),
        network: None,
        free: Count(counts.free),
        reserved: Count(counts.reserved + counts.never_given + counts.slot),
        share,
        full: share.to_string(),
    }
}

/// The rows of the held subnets among these places, starting at the index `from`.
fn bite(
    plan: &Plan,
    places: &[ListedPlace],
    from: usize,
    budget: &Budget,
) -> (Vec<(Serial, u64, SubnetRow)>, Option<usize>) {
    let mut rows = Vec::new();
    for (n, place) in places.iter().enumerate().skip(from) {
        if (n - from) % STEP == STEP - 1 && budget.is_spent() {
            return (rows, Some(n));
        }
        let subnet = place.serial.and_then(|serial| plan.subnet(serial)).filter(|subnet| subnet.is_held());
        let row = |subnet: &Subnet| (subnet.state.serial, subnet.state.generation, subnet_row(plan, subnet));
        rows.extend(subnet.map(row));
    }
    (rows, None)
}

impl View {
    /// The rows of the pools.
    pub(super) fn pools(&self) -> Result<Vec<PoolRow>, Refusal> {
        pool_rows(&self.source, self.in_use()?)
    }

    /// Answers with the held subnets: all of them sorted by prefix, or one page if the query has a `limit`.
    pub(super) fn subnets(&self, query: Query<'_>, sink: &mut Sink<'_>) -> Result<(), Refusal> {
        let wanted = query.text("subnet")?;
        let wanted = wanted.map_or(PlaceFilter::All, |text| PlaceFilter::Named(Prefix::parse(&text), text));
        let places: Arc<[ListedPlace]> = self.places(wanted)?.into();
        let mut listing = Listing::read(query)?;
        let bite = move |plan: &Plan, from: usize, budget: &Budget| bite(plan, &places, from, budget);
        self.source.walk(0, bite, |rows| {
            for (serial, generation, row) in rows {
                let row = SubnetRow { network: self.reader()?.network_of(serial, generation)?, ..row };
                match &mut listing {
                    Some(listing) => _ = listing.take(row),
                    None => sink.row(&row)?,
                }
            }
            Ok(true)
        })?;
        match listing {
            Some(listing) => sink.value(&listing.page()),
            None => sink.end(),
        }
    }
}
