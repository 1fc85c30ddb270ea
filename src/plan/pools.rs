//! Changes of the pools by hand: computes the settings after a pool is added, closed or resized.
//!
//! Promises: pure; a base only grows, so that every subnet of a pool stays inside; held subnets keep their length; a pool
//! is removed when it is closed and empty; at least one pool stays open; repeating a change has no effect. Does not check
//! whether the configuration allows changing pools at all.

use std::collections::BTreeMap;

use super::Plan;
use super::error::Refusal;
use super::prefix::{Family, Prefix};
use super::renumbering::Provenance;
use super::settings::{AddressOrder, Base, PoolSettings, Settings, default_size};

/// The requested settings for one family of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// The prefix from which subnets are cut.
    pub base: Option<Prefix>,
    /// The length of the subnets.
    pub size: Option<u8>,
}

/// A change of the pools that a person requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolChange {
    /// Adds a pool, adds a family to a pool, or reopens a closed pool.
    Add {
        name: String,
        /// IPv4 and IPv6.
        cuts: [Cut; 2],
    },
    /// Stops giving subnets from this pool.
    Close { name: String },
    /// Changes the length of future subnets, or enlarges the base.
    Resize {
        name: String,
        /// IPv4 and IPv6.
        cuts: [Cut; 2],
    },
}

impl PoolChange {
    /// The name of the pool that changes.
    pub fn pool(&self) -> &str {
        let (Self::Add { name, .. } | Self::Close { name } | Self::Resize { name, .. }) = self;
        name
    }
}

fn refused<T>(text: String) -> Result<T, Refusal> {
    Err(Refusal::invalid_request(text))
}

impl Plan {
    /// The settings after a change; `None` if nothing changes.
    pub fn change_pools(&self, change: &PoolChange) -> Result<Option<Settings>, Refusal> {
        let mut settings = self.settings.clone();
        let name = change.pool();
        let known = settings.pools.iter().position(|pool| pool.name == name);
        if known.is_none() && !matches!(change, PoolChange::Add { .. }) {
            return Err(self.no_pool(name));
        }
        let at = known.unwrap_or(settings.pools.len());
        match change {
            PoolChange::Add { cuts, .. } => {
                if known.is_none() {
                    let Settings { cooling, subnet_cooling, .. } = self.settings;
                    let (name, v4, v6, closed) = (name.to_owned(), None, None, false);
                    let provenance = Provenance::default();
                    settings.pools.push(PoolSettings {
                        name,
                        v4,
                        v6,
                        cooling,
                        subnet_cooling,
                        closed,
                        provenance,
                    });
                }
                add_to(&mut settings.pools[at], *cuts)?;
            }
            PoolChange::Close { .. } => self.close(&mut settings, at)?,
            PoolChange::Resize { cuts, .. } => resize(&mut settings.pools[at], *cuts)?,
        }
        settings.check().or_else(|error| refused(error.to_string()))?;
        Ok((settings != self.settings).then_some(settings))
    }

    /// How many held subnets each pool has, without pools that have none.
    pub fn held_by_pool(&self) -> BTreeMap<&str, usize> {
        let mut held = BTreeMap::new();
        for subnet in self.subnets().filter(|subnet| subnet.is_held()) {
            if let Some(pool) = subnet.state.pool.as_deref() {
                *held.entry(pool).or_default() += 1;
            }
        }
        held
    }

    /// The settings without closed pools that have no held subnets left; `None` if nothing changes.
    pub fn without_empty_pools(&self, settings: &Settings) -> Option<Settings> {
        if !settings.pools.iter().any(|pool| pool.closed) {
            return None;
        }
        let mut left = settings.clone();
        let held = self.held_by_pool();
        left.pools.retain(|pool| !pool.closed || held.contains_key(pool.name.as_str()));
        (left.pools.len() < settings.pools.len() && !left.pools.is_empty()).then_some(left)
    }

    /// The error for a pool that does not exist; it lists those that do.
    pub(super) fn no_pool(&self, name: &str) -> Refusal {
        let known = self.pool_names();
        Refusal::not_found(format!("pool {name:?} does not exist; the pools are {known}"))
    }

    fn close(&self, settings: &mut Settings, at: usize) -> Result<(), Refusal> {
        let name = settings.pools[at].name.clone();
        if settings.pools.iter().filter(|pool| !pool.closed && pool.name != name).count() == 0 {
            return refused(format!(
                "pool {name} is the only open one, and without it no network gets a subnet; add another first: gipam pool \
                 add NAME --v4 PREFIX"
            ));
        }
        settings.pools[at].closed = true;
        if !self.held_by_pool().contains_key(name.as_str()) {
            settings.pools.remove(at);
        }
        Ok(())
    }
}

/// Adds families to a pool and reopens it. Refuses to change a family that the pool already has.
fn add_to(pool: &mut PoolSettings, cuts: [Cut; 2]) -> Result<(), Refusal> {
    for (family, cut) in Family::BOTH.into_iter().zip(cuts) {
        let (name, short) = (pool.name.clone(), family.name());
        let Some(base) = cut.base else {
            if cut.size.is_some() {
                return refused(format!("--{short}-size also needs --{short} PREFIX"));
            }
            continue;
        };
        match pool.base_mut(family) {
            new @ None => {
                let size = cut.size.unwrap_or(default_size(family));
                *new = Some(Base::new(base, size, AddressOrder::default()));
            }
            Some(known) if known.base == base && cut.size.is_none_or(|size| size == known.size) => {}
            Some(known) => {
                return refused(format!(
                    "pool {name} already cuts {} into /{}; to change the length or grow the base: gipam pool resize \
                     {name} --{short} PREFIX --{short}-size LENGTH",
                    known.base, known.size
                ));
            }
        }
    }
    pool.closed = false;
    Ok(())
}

fn resize(pool: &mut PoolSettings, cuts: [Cut; 2]) -> Result<(), Refusal> {
    if cuts == [Cut::default(); 2] {
        return refused(format!(
            "nothing to resize in pool {}: give --v4, --v6, --v4-size or --v6-size",
            pool.name
        ));
    }
    for (family, cut) in Family::BOTH.into_iter().zip(cuts).filter(|(_, cut)| *cut != Cut::default()) {
        let (name, short) = (pool.name.clone(), family.name());
        let Some(known) = pool.base_mut(family) else {
            return refused(format!(
                "pool {name} has no {family}; add it with: gipam pool add {name} --{short} PREFIX"
            ));
        };
        if let Some(base) = cut.base {
            if !base.contains(known.base) {
                return refused(format!(
                    "{base} does not contain {}, and the base of a pool only grows; add another pool and close {name}",
                    known.base
                ));
            }
            if let Some(slice) = known.slice.filter(|_| base != known.base) {
                return refused(format!(
                    "several hosts share {} in slices of /{slice}, so it keeps its prefix; add another pool on all hosts",
                    known.base
                ));
            }
            known.base = base;
        }
        known.size = cut.size.unwrap_or(known.size);
    }
    Ok(())
}
