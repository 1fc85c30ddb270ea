//! The records in the store: what a key is called, and what its value contains.
//!
//! Promises: a value is JSON with a fixed order of fields, so that two equal records have equal bytes; a key names its record
//! completely. Values are compared as bytes by the store and are parsed only to explain and to propose.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::plan::prefix::{Family, Prefix};
use crate::plan::settings::Millis;

/// The version of the records that this gipam writes and understands.
pub const VERSION: u32 = 1;

/// The key of the plan's own record.
pub const PLAN: &str = "plan";

/// One stretch of the store's life: from its beginning or a restore to the next restore. The mark tells two stretches with the
/// same number apart, which arise if the store is restored twice from one backup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Epoch {
    pub number: u64,
    pub mark: String,
}

/// `plan`: written by a person once, and when the store was restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanRecord {
    pub version: u32,
    pub id: String,
    pub epoch: u64,
    pub mark: String,
    /// The number of the last epoch at which all hosts arrived. Slices are claimed only while it is the current one.
    pub settled: u64,
}

impl PlanRecord {
    /// The first record of a new plan.
    pub fn first(id: &str, mark: &str) -> Self {
        Self { version: VERSION, id: id.to_owned(), epoch: 1, mark: mark.to_owned(), settled: 1 }
    }

    pub fn epoch(&self) -> Epoch {
        Epoch { number: self.epoch, mark: self.mark.clone() }
    }

    pub const fn is_settled(&self) -> bool {
        self.settled == self.epoch
    }

    /// The record after a restore; `known` is the highest epoch that the caller knows.
    pub fn restored(&self, known: u64, mark: &str) -> Self {
        Self { epoch: self.epoch.max(known).saturating_add(1), mark: mark.to_owned(), ..self.clone() }
    }
}

/// `pool/<family>/<base>`: how the pool is cut. Never changed: another geometry needs another base.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolRecord {
    pub slice: u8,
    pub shared: bool,
    pub by_number: Option<String>,
}

/// `host/<id>`: a host of the plan, and the last sign of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRecord {
    pub name: String,
    /// The addresses through which other hosts reach this one's slices.
    pub via: Vec<String>,
    /// When a person said that this host is gone for good. Never taken back.
    pub fenced: Option<Millis>,
    /// Counts this host's signs of life. It never decreases, unless the store was restored.
    pub beat: u64,
    /// The epoch at which this host has arrived.
    pub epoch: u64,
    pub mark: String,
    /// The machine, and the run of the daemon: they tell a second copy of the same books.
    pub machine: String,
    pub run: String,
}

impl HostRecord {
    pub fn epoch(&self) -> Epoch {
        Epoch { number: self.epoch, mark: self.mark.clone() }
    }

    /// The record of a host that others know and the restored store lacks: it has not arrived at any epoch.
    pub fn missing(name: &str, fenced: Option<Millis>) -> Self {
        Self {
            name: name.to_owned(),
            via: Vec::new(),
            fenced,
            beat: 0,
            epoch: 0,
            mark: String::new(),
            machine: String::new(),
            run: String::new(),
        }
    }
}

/// `slice/<family>/<first address in hex>-<length>`: who owns the slice, by which of its claims.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliceRecord {
    pub host: String,
    /// The host's claims, counted in its books. With `run` it makes each value unique.
    pub seq: u64,
    pub epoch: u64,
    pub run: String,
}

/// The bytes of a record.
pub fn written<T: Serialize>(record: &T) -> String {
    // Serializing plain fields cannot fail.
    serde_json::to_string(record).unwrap_or_default()
}

/// The record in these bytes, if this version understands them.
pub fn read<T: DeserializeOwned>(value: &str) -> Option<T> {
    serde_json::from_str(value).ok()
}

pub fn host_key(id: &str) -> String {
    format!("host/{id}")
}

/// The host's id in its key.
pub fn host_of(key: &str) -> Option<&str> {
    key.strip_prefix("host/")
}

pub fn pool_key(base: Prefix) -> String {
    format!("pool/{}/{base}", base.family().name())
}

/// The pool's base in its key; `None` for keys that no gipam of this version writes.
pub fn base_of(key: &str) -> Option<Prefix> {
    let (_, base) = key.strip_prefix("pool/")?.split_once('/')?;
    Prefix::parse(base).filter(|base| pool_key(*base) == key)
}

pub fn slice_key(prefix: Prefix) -> String {
    let width = usize::from(prefix.family().bits()) / 4;
    format!("slice/{}/{:0width$x}-{}", prefix.family().name(), prefix.first(), prefix.length())
}

/// The prefix that this key names; `None` for keys of other records, and for those that no gipam of this version writes.
pub fn slice_of(key: &str) -> Option<Prefix> {
    let (family, rest) = key.strip_prefix("slice/")?.split_once('/')?;
    let family = Family::BOTH.into_iter().find(|it| it.name() == family)?;
    let (first, length) = rest.split_once('-')?;
    let first = u128::from_str_radix(first, 16).ok()?;
    let prefix = Prefix::new(family, first, length.parse().ok()?);
    let fits = first.checked_shr(family.bits().into()).unwrap_or(0) == 0;
    (fits && slice_key(prefix) == key).then_some(prefix)
}
