//! Pools and subnets as rows.
//!
//! Promises: pools are in the order of the settings, subnets in that of their prefixes; counts follow the plan's own rules.

use std::sync::Arc;

use super::listing::Listing;
use super::places::{ListedPlace, PlaceFilter};
use super::query::Query;
use super::rows::{Count, PoolRow, StaleRow, SubnetRow};
use super::sink::Sink;
use super::source::Source;
use super::views::View;
use super::{Fullness, Refusal};
use crate::plan::change::Serial;
use crate::plan::host_use::HostUse;
use crate::plan::prefix::{Family, Prefix};
use crate::plan::settings::rfc3339;
use crate::plan::{Plan, Subnet};

/// The row of one family of a pool, by the pool's index; `None` if the pool has no base of that family.
pub(super) fn pool_row(plan: &Plan, (pool, family): (usize, Family), in_use: &HostUse) -> Option<PoolRow> {
    let pool = plan.settings().pools.get(pool)?;
    let base = pool.base(family)?;
    let counts = plan.count_subnets(base);
    let share = match plan.only_subnet(base) {
        Some(subnet) => Fullness::of_subnet(&plan.count_addresses(subnet)),
        None if base.shared.is_some() => Fullness::default(),
        None => Fullness::of_pool(base, &counts),
    };
    let unusable = Plan::unusable(base, in_use);
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

/// The pools in the order of the settings; `in_use` is the address space that this host uses.
pub(super) fn pool_rows(source: &Source, in_use: HostUse) -> Result<Vec<PoolRow>, Refusal> {
    let (in_use, mut rows) = (Arc::new(in_use), Vec::new());
    let pools = source.look(|plan| plan.settings().pools.len())?;
    let both = (0..pools).flat_map(|pool| Family::BOTH.map(|family| (pool, family)));
    source.each_of(
        both.collect(),
        move |plan, of| pool_row(plan, *of, &in_use),
        |row| {
            rows.push(row);
            Ok(())
        },
    )?;
    Ok(rows)
}

/// The serial, the generation and the row of a subnet, without the name of its network.
pub(super) fn subnet_row(plan: &Plan, subnet: &Subnet) -> (Serial, u64, SubnetRow) {
    let (state, counts) = (&subnet.state, plan.count_addresses(subnet));
    let share = Fullness::of_subnet(&counts);
    let gateway = subnet.gateway_lease().map(|(address, _)| address).or(subnet.router());
    let row = SubnetRow {
        id: state.id.clone(),
        prefix: state.prefix.to_string(),
        pool: state.pool.clone(),
        space: state.space.name().to_owned(),
        range: state.range.map(|range| range.to_string()),
        gateway: gateway.map(|address| state.prefix.address(address).to_string()),
        leases: Count(counts.leased),
        cooling: Count(counts.cooling),
        since: Some(rfc3339(state.granted_at)),
        options: state.options.clone(),
        network: None,
        free: Count(counts.free),
        reserved: Count(counts.reserved + counts.never_given + counts.slot),
        share,
        full: share.to_string(),
        others: Count(counts.others),
        stale: StaleRow::of(plan, subnet),
    };
    (state.serial, state.generation, row)
}

impl View {
    pub(super) fn pools(&self) -> Result<Vec<PoolRow>, Refusal> {
        pool_rows(&self.source, self.in_use()?)
    }

    /// Answers with the held subnets: all of them sorted by prefix, or one page if the query has a `limit`.
    pub(super) fn subnets(&self, query: Query<'_>, sink: &mut Sink<'_>) -> Result<(), Refusal> {
        let wanted = query.text("subnet")?;
        let wanted = wanted.map_or(PlaceFilter::All, |text| PlaceFilter::Named(Prefix::parse(&text), text));
        let (places, mut listing) = (self.places(wanted)?, Listing::read(query)?);
        let held = |plan: &Plan, place: &ListedPlace| {
            let subnet = plan.subnet(place.serial?).filter(|subnet| subnet.is_held())?;
            Some(subnet_row(plan, subnet))
        };
        self.source.each_of(places, held, |(serial, generation, row)| {
            let row = SubnetRow { network: self.reader()?.network_of(serial, generation)?, ..row };
            match &mut listing {
                Some(listing) => _ = listing.take(row),
                None => sink.row(&row)?,
            }
            Ok(())
        })?;
        match listing {
            Some(listing) => sink.value(&listing.page()),
            None => sink.end(),
        }
    }
}
