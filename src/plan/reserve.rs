//! Reservations by hand: the settings after one is added or removed, and what it touches.
//!
//! Promises: pure; those of the configuration are never touched; a repeat changes nothing. Where a reservation takes
//! effect is decided in `subnet::reserved_inside` and `place`, for both kinds alike. Does not free anything.

use super::Plan;
use super::change::Record;
use super::error::PlanError;
use super::prefix::{AddressRange, Family};
use super::settings::{PoolSettings, Settings};
use super::subnet::{Subnet, merged, usable};

/// Most reservations by hand: each is looked at when an address is chosen.
const MOST: usize = 1_000;

/// Where a reservation comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReservedBy {
    /// The configuration file.
    Configuration,
    /// A person, with `gipam reserve`.
    Hand,
}

impl ReservedBy {
    /// The words in views.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Hand => "by hand",
        }
    }
}

impl Plan {
    /// Every reservation with who made it: those of the configuration first, each kind in its own order.
    pub fn reserved_by(&self) -> impl Iterator<Item = (AddressRange, ReservedBy)> {
        let configured = self.settings.reserved.iter().map(|range| (*range, ReservedBy::Configuration));
        configured.chain(self.settings.reserved_by_hand.iter().map(|range| (*range, ReservedBy::Hand)))
    }

    /// The settings with one more reservation by hand; `None` if it already exists. With a pool it must touch that
    /// pool, or it was mistyped.
    pub fn reserve(&self, range: AddressRange, pool: Option<&str>) -> Result<Option<Settings>, PlanError> {
        self.touches(range, pool)?;
        let mut settings = self.settings.clone();
        let Err(place) = settings.reserved_by_hand.binary_search(&range) else { return Ok(None) };
        if settings.reserved_by_hand.len() >= MOST {
            return Err(PlanError::InvalidRequest(format!(
                "{MOST} reservations were made by hand; remove some with gipam unreserve, or write them into the \
                 configuration file"
            )));
        }
        settings.reserved_by_hand.insert(place, range);
        Ok(Some(settings))
    }

    /// The settings without a reservation by hand; `None` if no part of the range is reserved. One that the
    /// configuration declares is refused, naming the file; so is a part of one.
    pub fn unreserve(
        &self,
        range: AddressRange,
        pool: Option<&str>,
        file: &str,
    ) -> Result<Option<Settings>, PlanError> {
        self.touches(range, pool)?;
        let mut settings = self.settings.clone();
        if let Ok(place) = settings.reserved_by_hand.binary_search(&range) {
            settings.reserved_by_hand.remove(place);
            return Ok(Some(settings));
        }
        let Some((whole, by)) = self.reserved_by().find(|(reserved, _)| reserved.meets(&range)) else {
            return Ok(None);
        };
        Err(PlanError::InvalidRequest(match by {
            ReservedBy::Configuration => format!(
                "{range} is reserved by the configuration ({whole}); take it out of {file}, then: gipam reload"
            ),
            ReservedBy::Hand => {
                format!(
                    "{range} is not reserved as such, but {whole} is; remove that: gipam unreserve {whole}"
                )
            }
        }))
    }

    fn touches(&self, range: AddressRange, pool: Option<&str>) -> Result<(), PlanError> {
        let Some(name) = pool else { return Ok(()) };
        let pool = self.pool(name).ok_or_else(|| self.no_pool(name))?;
        if touches(pool, range) {
            return Ok(());
        }
        let bases = Family::BOTH.into_iter().filter_map(|family| pool.base(family));
        let bases: Vec<String> = bases.map(|base| base.base.to_string()).collect();
        Err(PlanError::InvalidRequest(format!("{range} lies outside of pool {name} ({})", bases.join(", "))))
    }

    pub fn pools_touching(&self, range: AddressRange) -> impl Iterator<Item = &PoolSettings> {
        self.settings.pools.iter().filter(move |pool| touches(pool, range))
    }

    /// The held subnets that share an address with a range, by prefix.
    pub fn subnets_touching(&self, range: AddressRange) -> Vec<&Subnet> {
        let held = self.subnets().filter(|subnet| subnet.is_held());
        let mut met: Vec<&Subnet> =
            held.filter(|subnet| AddressRange::of(subnet.state.prefix).meets(&range)).collect();
        met.sort_by_key(|subnet| (subnet.state.prefix, subnet.state.space, subnet.state.serial));
        met
    }

    pub fn leases_in(&self, range: AddressRange) -> Vec<(&Subnet, u128, &Record)> {
        let mut leases = Vec::new();
        for subnet in self.subnets_touching(range) {
            let records = subnet.addresses.records().filter(|(address, record)| {
                record.leased && range.first <= *address && *address <= range.last
            });
            leases.extend(records.map(|(address, record)| (subnet, address, record)));
        }
        leases
    }

    /// The held subnets that a range touches and whose usable addresses are all reserved with these settings:
    /// reservations have no effect inside them.
    pub fn wholly_reserved(&self, settings: &Settings, range: AddressRange) -> Vec<&Subnet> {
        let reserved = merged(settings.reserved.iter().chain(&settings.reserved_by_hand));
        let whole = |subnet: &&Subnet| {
            let (first, last) = usable(subnet.state.prefix);
            reserved[range.family as usize].covers(first, last)
        };
        self.subnets_touching(range).into_iter().filter(whole).collect()
    }
}

fn touches(pool: &PoolSettings, range: AddressRange) -> bool {
    pool.base(range.family).is_some_and(|base| AddressRange::of(base.base).meets(&range))
}
