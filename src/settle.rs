//! Which pools hold: those of the configuration file, of a lease file at its takeover, of the books, of flags and
//! variables; in this order (design.md section 6, "Precedence").
//!
//! Promises: pure; whatever stands lower and differs is a warning that names both; a pool that leaves the
//! configuration file while it has subnets stays, closed. Reads nothing.

use crate::config::PoolsOrigin;
use crate::plan::Plan;
use crate::plan::prefix::Family;
use crate::plan::settings::{PoolSettings, Settings};

/// Where the pools in force come from beside the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Below {
    /// A lease file that is just being taken over.
    LeaseFile,
    /// The books.
    Books,
}

/// The settings in force, from the configuration and what `known` (books or lease file) has; with warnings.
pub fn settle(
    configured: &Settings,
    origin: &PoolsOrigin,
    known: &[PoolSettings],
    below: Below,
    plan: &Plan,
) -> (Settings, Vec<String>) {
    let mut settings = configured.clone();
    let mut warnings = Vec::new();
    match origin {
        PoolsOrigin::Document(_) => keep_closed(&mut settings, known, plan, &mut warnings),
        PoolsOrigin::Nowhere | PoolsOrigin::Options { .. } => {
            if !known.is_empty() {
                settings.pools = known.to_vec();
                for pool in &mut settings.pools {
                    (pool.cooling, pool.subnet_cooling) = (configured.cooling, configured.subnet_cooling);
                }
                for pool in &configured.pools {
                    add_families(&mut settings.pools, pool, below, &mut warnings);
                }
            }
        }
    }
    (settings, warnings)
}

/// Pools of the books that the file does not name: those with subnets stay, closed, unless another took their place.
fn keep_closed(settings: &mut Settings, known: &[PoolSettings], plan: &Plan, warnings: &mut Vec<String>) {
    for pool in known {
        let named = settings.pool(&pool.name).is_some();
        let in_use =
            plan.subnets().any(|subnet| subnet.is_held() && subnet.state.pool.as_deref() == Some(&pool.name));
        if named || !in_use {
            continue;
        }
        let closed = PoolSettings { closed: true, ..pool.clone() };
        settings.pools.push(closed);
        if settings.check().is_err() {
            settings.pools.pop();
            warnings.push(format!(
                "pool {} left the configuration and another pool took its place; its subnets stay",
                pool.name
            ));
        } else {
            warnings.push(format!(
                "pool {} left the configuration while it has subnets; it stays, closed, until it is empty",
                pool.name
            ));
        }
    }
}

/// Flags and variables may add a family that is lacking; anything else that differs is named.
fn add_families(pools: &mut [PoolSettings], wanted: &PoolSettings, below: Below, warnings: &mut Vec<String>) {
    let standing = match below {
        Below::LeaseFile => "the lease file",
        Below::Books => "the books",
    };
    for family in Family::BOTH {
        let Some(base) = wanted.base(family) else { continue };
        let has = pools.iter().find_map(|pool| pool.base(family).map(|base| (pool.name.clone(), *base)));
        let first = pools.iter_mut().find(|pool| pool.name == wanted.name);
        match (has, first) {
            (Some((name, known)), _) if known.base != base.base || known.size != base.size => warnings.push(format!(
                "-{family} {} (size /{}) differs from pool {name} of {standing}, {} (size /{}), which stays in force; \
                 a configuration file would stand above it",
                base.base,
                base.size,
                known.base,
                known.size,
                family = family.name(),
            )),
            (Some(_), _) | (None, None) => {}
            (None, Some(pool)) => match family {
                Family::V4 => pool.v4 = Some(*base),
                Family::V6 => pool.v6 = Some(*base),
            },
        }
    }
}
