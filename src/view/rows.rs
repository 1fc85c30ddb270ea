//! The rows of the views, as JSON: a contract with programs outside this repository.
//!
//! Promises: fields keep this order and these names; new fields may be added at the end, and readers ignore fields that they do
//! not know; absent values are `null` (only the status omits a few keys without a daemon); times are RFC 3339 in UTC
//! (`plan::settings::rfc3339`); numbers above 2^53 are strings, because many readers would round them. Does not know where
//! the values come from.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

pub use crate::plan::explain::Explanation;
use crate::plan::settings::parse_rfc3339;
use crate::view::Fullness;

pub use super::hosts::{HostRow, StoreRow};
pub use super::kernel::{KernelRow, KindName, UnmadeObject};
pub use super::probes::{ProbedPool, ProbesRow};
pub use super::routes::RouteRow;
pub use super::slices::{PlanRow, SliceRow};
pub use super::sources::{SourceRow, StaleRow};
pub use super::status::{RefusalRow, Status, SubnetUsage};
pub use crate::view::Count;

/// Seconds since a time in a row; negative if the time is in the future.
pub fn age(at: &str) -> Option<i64> {
    let seconds = |millis: u64| (millis / 1_000).cast_signed();
    Some(seconds(crate::clock::now()) - seconds(parse_rfc3339(at)?))
}

/// One family of a pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PoolRow {
    pub pool: String,
    /// `v4` or `v6`.
    pub family: String,
    /// The prefix from which subnets are cut.
    pub base: String,
    /// The length of a subnet if the request does not give one.
    pub size: u8,
    /// Subnets held in it.
    pub subnets: Count,
    /// How many more subnets of `size` it can give.
    pub free: Count,
    /// Released subnets that are not given to others yet.
    pub cooling: Count,
    /// Whether it gives no new subnets, because it was closed or left the configuration.
    pub closed: bool,
    /// Why this host's own use makes all of it unusable; `null` if some of it is usable, or if no daemon checks the host.
    pub unusable: Option<String>,
    /// Room for subnets of `size` that reservations keep free.
    pub reserved: Count,
    /// How full its space is, 0 to 1.
    pub share: Fullness,
    /// The share as text, such as `50%`.
    pub full: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SubnetRow {
    /// The `PoolID`.
    pub id: String,
    pub prefix: String,
    /// The pool that it was cut from; `null` outside all pools.
    pub pool: Option<String>,
    /// The address space.
    pub space: String,
    /// The range for dynamic addresses, if it is not the whole subnet.
    pub range: Option<String>,
    /// The gateway: the leased address, or the one that the pool's configuration names.
    pub gateway: Option<String>,
    /// Addresses leased.
    pub leases: Count,
    /// Addresses cooling.
    pub cooling: Count,
    /// When it was granted.
    pub since: Option<String>,
    /// The options in the request for it.
    pub options: BTreeMap<String, String>,
    /// The name of its network, if the Engine has reported it.
    pub network: Option<String>,
    /// Addresses that could be given now.
    pub free: Count,
    /// Addresses that are not given dynamically: reserved, kept for the gateway, network and broadcast.
    pub reserved: Count,
    /// How full it is, 0 to 1.
    pub share: Fullness,
    /// The share as text, such as `50%`.
    pub full: String,
    /// Addresses of a subnet of several hosts that lie in no slice of this host.
    #[serde(default)]
    pub others: Count,
    /// Set if it lies outside the current base of its pool.
    pub stale: Option<StaleRow>,
}

/// One address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRow {
    /// The prefix of its subnet.
    pub subnet: SmolStr,
    pub address: SmolStr,
    /// `gateway`, `auxiliary` or `endpoint`; `null` if it was imported and its kind is not known yet.
    pub kind: Option<SmolStr>,
    /// The name of its current or last holder.
    pub holder: Option<SmolStr>,
    /// The MAC in the request for it.
    pub mac: Option<SmolStr>,
    /// `leased`, `cooling` or `pinned`.
    pub state: SmolStr,
    /// When this state began.
    pub since: Option<SmolStr>,
    /// The `PoolID` of its subnet; `null` for a pin whose subnet is no longer held.
    pub id: Option<SmolStr>,
    /// The address space.
    pub space: SmolStr,
    /// The id of the container that holds it, if the Engine has reported it.
    pub container: Option<SmolStr>,
    /// The name of its network, if the Engine has reported it.
    pub network: Option<SmolStr>,
    /// The name or MAC to which a person pinned it; another holder may have it now.
    pub pinned_to: Option<SmolStr>,
}

/// One setting of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingRow {
    /// Its key in the configuration file.
    pub key: String,
    pub value: String,
    /// Where the value comes from.
    pub origin: String,
}

impl From<&crate::config::Shown> for SettingRow {
    fn from(shown: &crate::config::Shown) -> Self {
        Self { key: shown.key.clone(), value: shown.value.clone(), origin: shown.origin.to_string() }
    }
}

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HistoryRow {
    pub at: String,
    pub event: String,
    /// The prefix of the subnet; for a reservation, its first and last address.
    pub subnet: Option<String>,
    pub address: Option<String>,
    pub kind: Option<String>,
    /// The name of the holder.
    pub holder: Option<String>,
    pub mac: Option<String>,
    /// The address space; `null` if the event is about all of them.
    pub space: Option<String>,
    /// The reason, if it is not obvious.
    pub why: Option<String>,
    /// The name of its network, if the Engine has reported it.
    pub network: Option<String>,
    /// Its number in the history, for the parameter `before`.
    pub number: Option<u64>,
}

/// The daemon's counters at one moment, for clients that follow events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitMoment {
    /// The client sends it back as `seen`. A different id means that something changed, or that the daemon was restarted.
    pub id: String,
    pub now: String,
    /// When the daemon started.
    pub started: String,
    /// Number of calls since then.
    pub requests: u64,
    /// How many of these were refused.
    pub refused: u64,
    /// Number of calls by method and outcome; methods and outcomes without calls are omitted.
    pub calls: BTreeMap<String, BTreeMap<String, u64>>,
}

/// A pool or a subnet that is filling up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FillingRow {
    /// The pool; `null` for a subnet outside all pools.
    pub pool: Option<String>,
    /// `v4` or `v6`; `null` for a subnet.
    pub family: Option<String>,
    /// The subnet; `null` if the row is about the pool.
    pub subnet: Option<String>,
    /// The subnet's address space.
    pub space: Option<String>,
    /// How full it is.
    pub percent: u8,
    /// The `warn_at` threshold, in percent, that it reached; `since` is when that was first seen.
    pub warn_at: u8,
    pub since: Option<String>,
}

impl std::fmt::Display for FillingRow {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { percent, warn_at, .. } = self;
        match (&self.subnet, &self.pool) {
            (Some(subnet), Some(pool)) => write!(formatter, "subnet {subnet} of pool {pool}")?,
            (Some(subnet), None) => write!(formatter, "subnet {subnet}")?,
            (None, pool) => {
                let (pool, family) = (pool.as_deref().unwrap_or("?"), self.family.as_deref().unwrap_or("?"));
                write!(formatter, "pool {pool} ({family})")?;
            }
        }
        write!(formatter, " is {percent}% full (warn_at is {warn_at}%)")
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HookRow {
    /// Its name.
    pub hook: String,
    /// The program or the server, without anything that may be a password.
    pub target: String,
    /// All events up to this history number have been delivered.
    pub upto: u64,
    /// Number of events that have not been delivered yet; `null` if they could not be counted.
    pub behind: Option<u64>,
    /// Since when deliveries fail; `null` if they succeed.
    pub failing_since: Option<String>,
    /// Why the last delivery failed.
    pub last_error: Option<String>,
    /// Number of events since the daemon's start that the hook permanently rejected and that were skipped.
    pub passed_over: u64,
    /// Events delivered since the daemon started or the hook was changed.
    pub delivered: u64,
    /// Deliveries that failed since then.
    pub failures: u64,
}

/// Everything about one address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhoRow {
    pub address: IpAddr,
    /// The subnet that contains it.
    pub subnet: Option<String>,
    /// `leased`, `cooling`, `pinned` or `free`.
    pub state: String,
    /// Its row in the leases view, if it has one.
    pub lease: Option<LeaseRow>,
    /// The name of its last holder, if it is free and the name is still known.
    pub last_holder: Option<String>,
    /// The pool that contains it.
    pub pool: Option<String>,
    pub reserved: bool,
    /// Where the reservation comes from: `configuration` or `by hand`.
    pub reserved_by: Option<String>,
    /// Its history, latest event first.
    pub history: Vec<HistoryRow>,
    /// The other host to which it belongs, if it lies in another host's slice.
    #[serde(default)]
    pub host: Option<String>,
    /// That slice.
    #[serde(default)]
    pub slice: Option<String>,
}

/// A reservation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservedRow {
    pub first: IpAddr,
    pub last: IpAddr,
    /// `configuration` or `by hand`.
    pub origin: String,
    /// The pools that it overlaps.
    pub pools: Vec<String>,
    /// Number of addresses in it that are leased nevertheless.
    pub leases: Count,
}

/// What a command changed in the running plan, or would change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedRow {
    /// Whether anything changed, or would change.
    pub changed: bool,
    pub dry_run: bool,
    /// One line for each change.
    pub changes: Vec<String>,
    pub notes: Vec<String>,
    /// The affected leases, at most a thousand; they stay.
    pub leases: Vec<HeldRow>,
}

/// A lease that a change affects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldRow {
    /// The prefix of its subnet.
    pub subnet: String,
    pub address: String,
    /// Its kind, as in [`LeaseRow`].
    pub kind: Option<String>,
    /// The name of its holder.
    pub holder: Option<String>,
    /// The MAC in the request for it.
    pub mac: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_numbers_up_to_two_to_the_53_and_strings_above() {
        for (count, wire) in [
            (0, "0"),
            (1 << 53, "9007199254740992"),
            ((1 << 53) + 1, "\"9007199254740993\""),
            (u128::MAX, "\"340282366920938463463374607431768211455\""),
        ] {
            assert_eq!(serde_json::to_string(&Count(count)).unwrap(), wire);
            assert_eq!(serde_json::from_str::<Count>(wire).unwrap(), Count(count));
        }
        assert!(serde_json::from_str::<Count>("\"many\"").is_err());
    }

    fn keys(row: &impl Serialize) -> String {
        let value = serde_json::to_value(row).unwrap();
        value.as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn rows_begin_with_the_keys_of_the_contract_in_its_order() {
        let pool = r#"{"pool":"p","family":"v4","base":"b","size":24,"subnets":1,"free":2,"cooling":0,"closed":false}"#;
        let pool: PoolRow = serde_json::from_str(pool).unwrap();
        assert!(keys(&pool).starts_with("pool family base size subnets free"));
        let subnet = r#"{"id":"i","prefix":"p","pool":null,"space":"local","range":null,"gateway":null,"leases":0,
            "cooling":0,"since":null,"options":{}}"#;
        let subnet: SubnetRow = serde_json::from_str(subnet).unwrap();
        assert!(keys(&subnet).starts_with("id prefix pool space range gateway leases"));
        let lease = r#"{"subnet":"s","address":"a","kind":null,"holder":null,"mac":null,"state":"leased","since":null,
            "id":null,"space":"local","what_a_later_version_adds":1}"#;
        let lease: LeaseRow = serde_json::from_str(lease).unwrap();
        assert!(keys(&lease).starts_with("subnet address kind holder mac state since"));
    }

    #[test]
    fn absent_values_are_null_and_never_omitted() {
        let row: HistoryRow = serde_json::from_str(r#"{"at":"t","event":"e"}"#).unwrap();
        let wire = serde_json::to_string(&row).unwrap();
        assert!(
            wire.contains(r#""subnet":null,"address":null,"kind":null,"holder":null,"mac":null"#),
            "{wire}"
        );
    }
}
