//! Reservations by hand: computes the settings after one is added or removed, and what it affects.
//!
//! Promises: pure; reservations of the configuration are never changed; repeating a change has no effect. Where a reservation
//! takes effect is decided in `subnet::reserved_inside` and `place`, in the same way for both kinds. Does not free anything.

use super::Plan;
use super::change::Record;
use super::error::Refusal;
use super::prefix::AddressRange;
use super::settings::{PoolSettings, Settings};
use super::subnet::{Subnet, merged, usable};

/// The most reservations by hand: every one is examined when an address is chosen.
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
    /// The words for views.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Hand => "by hand",
        }
    }
}

impl Plan {
    /// Every reservation with its origin: those of the configuration first, each kind in its own order.
    pub fn reserved_by(&self) -> impl Iterator<Item = (AddressRange, ReservedBy)> {
        let configured = self.settings.reserved.iter().map(|range| (*range, ReservedBy::Configuration));
        configured.chain(self.settings.reserved_by_hand.iter().map(|range| (*range, ReservedBy::Hand)))
    }

    /// The settings with one more reservation by hand; `None` if it already exists. If a pool is given, the range must overlap
    /// it: otherwise it was mistyped.
    pub fn reserve(&self, range: AddressRange, pool: Option<&str>) -> Result<Option<Settings>, Refusal> {
        self.touches(range, pool)?;
        let mut settings = self.settings.clone();
        let Err(place) = settings.reserved_by_hand.binary_search(&range) else { return Ok(None) };
        if settings.reserved_by_hand.len() >= MOST {
            return Err(Refusal::invalid_request(format!(
                "there are already {MOST} reservations by hand, the maximum; remove some with gipam unreserve, or \
                 move them to the configuration file"
            )));
        }
        settings.reserved_by_hand.insert(place, range);
        Ok(Some(settings))
    }

    /// The settings without a reservation by hand; `None` if no part of the range is reserved. Removing a reservation of the
    /// configuration is refused, naming the file; so is removing a part of a reservation.
    pub fn unreserve(
        &self,
        range: AddressRange,
        pool: Option<&str>,
        file: &str,
    ) -> Result<Option<Settings>, Refusal> {
        self.touches(range, pool)?;
        let mut settings = self.settings.clone();
        if let Ok(place) = settings.reserved_by_hand.binary_search(&range) {
            settings.reserved_by_hand.remove(place);
            return Ok(Some(settings));
        }
        let Some((whole, by)) = self.reserved_by().find(|(reserved, _)| reserved.meets(&range)) else {
            return Ok(None);
        };
        Err(Refusal::invalid_request(match by {
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

    fn touches(&self, range: AddressRange, pool: Option<&str>) -> Result<(), Refusal> {
        let Some(name) = pool else { return Ok(()) };
        let pool = self.pool(name).ok_or_else(|| self.no_pool(name))?;
        if touches(pool, range) {
            return Ok(());
        }
        let bases: Vec<String> = pool.bases().map(|base| base.base.to_string()).collect();
        Err(Refusal::invalid_request(format!("{range} is outside pool {name} ({})", bases.join(", "))))
    }

    pub fn pools_touching(&self, range: AddressRange) -> impl Iterator<Item = &PoolSettings> {
        self.settings.pools.iter().filter(move |pool| touches(pool, range))
    }

    /// The held subnets that overlap a range, by prefix.
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

    /// The held subnets that overlap a range and whose usable addresses would all be reserved with these settings:
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
