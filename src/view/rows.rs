//! The rows of the views, as JSON: a contract with programs outside this repository.
//!
//! Promises: fields keep this order and these names, further ones may follow, and a reader passes over those it does
//! not know; absent values are `null`, never left out; times are RFC 3339 in UTC (`plan::settings::rfc3339`); numbers above 2^53 are strings, since
//! many readers would round them. Does not know where the values come from.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::plan::settings::parse_rfc3339;
use crate::view::Fullness;

pub use super::status::{RefusalRow, Status, SubnetUsage};
pub use crate::view::Count;

/// Seconds since a time of a row; negative if it lies ahead.
pub fn age(at: &str) -> Option<i64> {
    let seconds = |millis: u64| (millis / 1_000).cast_signed();
    Some(seconds(crate::clock::now()) - seconds(parse_rfc3339(at)?))
}

/// One family of a pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolRow {
    /// The pool's name.
    pub pool: String,
    /// `v4` or `v6`.
    pub family: String,
    /// The prefix from which subnets are cut.
    pub base: String,
    /// Their length where a request does not give one.
    pub size: u8,
    /// Subnets held in it.
    pub subnets: Count,
    /// Further subnets of `size` that it can give.
    pub free: Count,
    /// Subnets that were released and are not given to others yet.
    pub cooling: Count,
    /// It left the configuration and gives no new subnets.
    pub closed: bool,
    /// Why this host's own use leaves no part of it free; `null` where some is, or where no daemon looks at the host.
    #[serde(default)]
    pub unusable: Option<String>,
    /// Places for subnets that reservations keep free.
    #[serde(default)]
    pub reserved: Count,
    /// How full its space is, 0 to 1.
    #[serde(default)]
    pub share: Fullness,
    /// That share as text: `50%`.
    #[serde(default)]
    pub full: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubnetRow {
    /// The `PoolID`.
    pub id: String,
    pub prefix: String,
    /// The pool that it was cut from; `null` outside all pools.
    pub pool: Option<String>,
    /// The address space.
    pub space: String,
    /// The part for dynamic addresses, if it is not all of it.
    pub range: Option<String>,
    /// The gateway that is leased.
    pub gateway: Option<String>,
    /// Addresses leased.
    pub leases: Count,
    /// Addresses cooling.
    pub cooling: Count,
    /// When it was granted.
    pub since: Option<String>,
    /// The options it was asked for with.
    pub options: BTreeMap<String, String>,
    /// The name of its network, where the Engine has shown it.
    pub network: Option<String>,
    /// Addresses that could be given now.
    #[serde(default)]
    pub free: Count,
    /// Addresses that are not given: reserved, the gateway's place, network and broadcast.
    #[serde(default)]
    pub reserved: Count,
    /// How full it is, 0 to 1.
    #[serde(default)]
    pub share: Fullness,
    /// That share as text: `50%`.
    #[serde(default)]
    pub full: String,
}

/// One address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRow {
    /// The prefix of its subnet.
    pub subnet: SmolStr,
    pub address: SmolStr,
    /// `gateway`, `auxiliary` or `endpoint`; `null` where it was taken over and nobody knows yet.
    pub kind: Option<SmolStr>,
    /// Who holds it, or held it, by name.
    pub holder: Option<SmolStr>,
    /// The MAC it was asked for with.
    pub mac: Option<SmolStr>,
    /// `leased`, `cooling` or `pinned`.
    pub state: SmolStr,
    /// When that began.
    pub since: Option<SmolStr>,
    /// The `PoolID` of its subnet; `null` for a pin that outlived it.
    pub id: Option<SmolStr>,
    /// The address space.
    pub space: SmolStr,
    /// The id of the container that holds it, where the Engine has shown it.
    pub container: Option<SmolStr>,
    /// The name of its network, where the Engine has shown it.
    pub network: Option<SmolStr>,
    /// To whom a person pinned it, by name or MAC; somebody else may hold it now.
    pub pinned_to: Option<SmolStr>,
}

/// One setting of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingRow {
    /// Its key in the configuration file.
    pub key: String,
    pub value: String,
    /// Where that comes from.
    pub origin: String,
}

impl From<&crate::config::Shown> for SettingRow {
    fn from(shown: &crate::config::Shown) -> Self {
        Self { key: shown.key.clone(), value: shown.value.clone(), origin: shown.origin.to_string() }
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryRow {
    pub at: String,
    pub event: String,
    /// The prefix of the subnet; of a reservation its first and last address.
    pub subnet: Option<String>,
    pub address: Option<String>,
    pub kind: Option<String>,
    /// Who held it.
    pub holder: Option<String>,
    pub mac: Option<String>,
    /// The address space; `null` where it is all of them.
    pub space: Option<String>,
    /// Why, where it is not obvious.
    pub why: Option<String>,
    /// The name of its network, where the Engine has shown it.
    pub network: Option<String>,
    /// Its place in the history: `before` takes one.
    #[serde(default)]
    pub number: Option<u64>,
}

/// A moment of the daemon, for those who follow it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitMoment {
    /// To be sent back as `seen`: a different one means that something was committed, or that the daemon was restarted.
    pub id: String,
    pub now: String,
    /// When the daemon started.
    pub started: String,
    /// Calls that came since.
    pub requests: u64,
    /// Of these refused.
    pub refused: u64,
    /// By method, by outcome; those that never came are left out.
    pub calls: BTreeMap<String, BTreeMap<String, u64>>,
}

/// A pool or a subnet that fills up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FillingRow {
    /// The pool; `null` for a subnet outside of all pools.
    pub pool: Option<String>,
    /// `v4` or `v6`, of a pool.
    pub family: Option<String>,
    /// The subnet; `null` where it is the pool.
    pub subnet: Option<String>,
    /// The subnet's address space.
    pub space: Option<String>,
    /// How full it is.
    pub percent: u8,
    /// Reported since.
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
pub struct HookRow {
    /// Its name.
    pub hook: String,
    /// The program or the server: what may be a password is left out.
    pub target: String,
    /// Everything up to this number of the history was delivered.
    pub upto: u64,
    /// Events that it was not told yet; `null` if they could not be counted.
    pub behind: Option<u64>,
    /// Since when it fails; `null` if it does not.
    pub failing_since: Option<String>,
    /// Why it fails.
    pub last_error: Option<String>,
    /// Events since the daemon's start that it never takes, and that were passed over.
    #[serde(default)]
    pub passed_over: u64,
    /// Events delivered since the daemon started or the hook was changed.
    #[serde(default)]
    pub delivered: u64,
    /// Deliveries that failed since then.
    #[serde(default)]
    pub failures: u64,
}

/// Everything about one address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhoRow {
    pub address: IpAddr,
    /// The subnet that it lies in.
    pub subnet: Option<String>,
    /// `leased`, `cooling`, `pinned` or `free`.
    pub state: String,
    /// The lease, or what is left of it.
    pub lease: Option<LeaseRow>,
    /// Who held it last, where it is free and somebody remembers.
    pub last_holder: Option<String>,
    /// The pool around it.
    pub pool: Option<String>,
    /// Whether it is reserved.
    pub reserved: bool,
    /// By whom: `configuration` or `by hand`.
    pub reserved_by: Option<String>,
    /// What happened to it, the latest first.
    pub history: Vec<HistoryRow>,
}

/// Why something would be given or refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainRow {
    /// What was asked.
    pub question: String,
    /// What would be given.
    pub given: Option<String>,
    /// The refusal, as Docker would get it.
    pub refused: Option<String>,
    /// What it depends on that was not said, and how to say it.
    #[serde(default)]
    pub depends: Option<String>,
    /// What was looked at, in order.
    pub steps: Vec<StepRow>,
}

/// One step of the decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRow {
    pub what: String,
    pub found: String,
}

/// A reservation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservedRow {
    /// Its first address.
    pub first: IpAddr,
    /// Its last address.
    pub last: IpAddr,
    /// `configuration` or `by hand`.
    pub origin: String,
    /// The pools that it touches.
    pub pools: Vec<String>,
    /// Addresses in it that are leased anyway.
    pub leases: Count,
}

/// What a command changed of the running plan, or would change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedRow {
    /// Whether anything is (or would be) other than before.
    pub changed: bool,
    /// Whether this was a rehearsal.
    pub dry_run: bool,
    /// A line for each change.
    pub changes: Vec<String>,
    /// Further notes.
    pub notes: Vec<String>,
    /// The leases that are concerned and stay, a thousand at most.
    pub leases: Vec<HeldRow>,
}

/// A lease that a change meets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldRow {
    /// The prefix of its subnet.
    pub subnet: String,
    pub address: String,
    /// As in leases.
    pub kind: Option<String>,
    /// Who holds it, by name.
    pub holder: Option<String>,
    /// The MAC it was asked for with.
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
    fn absent_values_are_null_and_never_left_out() {
        let row: HistoryRow = serde_json::from_str(r#"{"at":"t","event":"e"}"#).unwrap();
        let wire = serde_json::to_string(&row).unwrap();
        assert!(
            wire.contains(r#""subnet":null,"address":null,"kind":null,"holder":null,"mac":null"#),
            "{wire}"
        );
    }
}
