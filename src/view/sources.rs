//! Pools whose base comes from a source or has changed, and the subnets that are stale because of that.
//!
//! Promises: rows are a contract with programs; counts agree with the subnets view. Changes nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::plan::prefix::Family;
use crate::plan::{Plan, Subnet};

/// How many held subnets are stale, by pool and family.
pub type StaleCounts = BTreeMap<(String, Family), u64>;

/// One family of a pool whose base comes from a source, or that has stale subnets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceRow {
    pub pool: String,
    /// `v4` or `v6`.
    pub family: String,
    /// Where the base comes from; `null` if it is written in the configuration.
    pub source: Option<String>,
    /// The base; `null` if the source has not given one yet.
    pub base: Option<String>,
    /// Earlier bases, the latest first.
    pub former: Vec<String>,
    /// Held subnets of the pool that lie outside the base.
    pub stale: u64,
}

/// Why a subnet is stale.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StaleRow {
    /// The current base of its pool.
    pub base: String,
    /// The prefix with the same number in that base; `null` if the base is too small for it.
    pub same_number: Option<String>,
}

impl StaleRow {
    /// `None` if the subnet is not stale.
    pub(super) fn of(plan: &Plan, subnet: &Subnet) -> Option<Self> {
        let base = plan.stale(subnet)?.to_string();
        Some(Self { base, same_number: plan.renumbered(subnet).map(|prefix| prefix.to_string()) })
    }
}

/// The pool and the family under which a stale subnet counts.
pub(super) fn stale_of(plan: &Plan, subnet: &Subnet) -> Option<(String, Family)> {
    plan.stale(subnet)?;
    Some((subnet.state.pool.clone()?, subnet.state.prefix.family()))
}

/// One row for each family of a pool that has a source or stale subnets.
pub(super) fn source_rows(plan: &Plan, stale: &StaleCounts) -> Vec<SourceRow> {
    let pools = plan.settings().pools.iter().flat_map(|pool| Family::BOTH.map(|family| (pool, family)));
    let row = |(pool, family): (&crate::plan::settings::PoolSettings, Family)| {
        let source = pool.provenance.sources[family as usize].as_ref().map(|source| source.text.clone());
        let stale = stale.get(&(pool.name.clone(), family)).copied().unwrap_or_default();
        if source.is_none() && stale == 0 {
            return None;
        }
        let former = pool.provenance.former.iter().filter(|base| base.family() == family);
        Some(SourceRow {
            pool: pool.name.clone(),
            family: family.name().to_owned(),
            source,
            base: pool.base(family).map(|base| base.base.to_string()),
            former: former.map(ToString::to_string).collect(),
            stale,
        })
    };
    pools.filter_map(row).collect()
}
