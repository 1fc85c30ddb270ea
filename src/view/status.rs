//! The state of gipam, as one row: `/v1/status`.
//!
//! Promises: what the books know is there with and without a daemon; what only a daemon knows is `null`, empty or 0
//! without one. Keys are only ever added, and a reader does without those that are absent. Counts agree with the other
//! views. Draws nothing (see `cli::screen`).

use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::census::{Census, FULLEST, SubnetCount, share};
use super::query::Query;
use super::rows::{Count, FillingRow, HistoryRow, HookRow, PoolRow};
use super::views::View;
use crate::plan::error::Refusal;
use crate::plan::settings::{Millis, parse_rfc3339, rfc3339};
use crate::reconcile::Finding;
use crate::view::Fullness;

/// The most events that are given along.
const EVENTS: u32 = 200;

/// The state of the daemon. Read from the books alone, `running` is false and what only a daemon knows is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Whether a daemon answered.
    pub running: bool,
    /// The driver names.
    pub names: Vec<String>,
    /// Where they listen, in the same order.
    pub doors: Vec<String>,
    /// The daemon's version.
    pub version: Option<String>,
    /// The path of the books.
    pub books: String,
    /// How many pools.
    pub pools: u64,
    /// How many subnets are held.
    pub subnets: u64,
    /// How many addresses are leased.
    pub leases: u64,
    /// When the daemon started.
    pub started: Option<String>,
    /// The last failure since then.
    pub last_error: Option<String>,
    /// When it happened.
    pub last_error_at: Option<String>,
    /// The hooks, if a daemon runs.
    #[serde(default)]
    pub hooks: Vec<HookRow>,
    /// What fills up, as far as a daemon runs.
    #[serde(default)]
    pub filling: Vec<FillingRow>,
    /// Bytes of the books' WAL that are in use, while a long-running reader keeps it from being reset.
    #[serde(default)]
    pub log_held: Option<u64>,
    #[serde(default)]
    pub log_held_since: Option<String>,
    /// What the time was.
    #[serde(default)]
    pub now: Option<String>,
    /// Addresses that were released lately and are not given to others yet.
    #[serde(default)]
    pub cooling: u64,
    /// Addresses kept for holders that once requested them by number, or to which a person pinned them.
    #[serde(default)]
    pub pinned: u64,
    /// Addresses of held subnets that reservations withhold.
    #[serde(default)]
    pub reserved: Count,
    /// Reservations of the configuration.
    #[serde(default)]
    pub reservations: u64,
    /// The pools, each family by itself.
    #[serde(default)]
    pub usage: Vec<PoolRow>,
    /// The fullest subnets, the fullest first.
    #[serde(default)]
    pub fullest: Vec<SubnetUsage>,
    /// When the books were last written.
    #[serde(default)]
    pub synced: Option<String>,
    /// Whether the last write went well.
    #[serde(default)]
    pub writable: Option<bool>,
    /// Seconds for which the disk has held up a write; nothing if it does not.
    #[serde(default)]
    pub stalled: Option<u64>,
    /// Size of the books, bytes.
    #[serde(default)]
    pub books_bytes: u64,
    /// Size of their log (WAL), bytes.
    #[serde(default)]
    pub log_bytes: u64,
    /// Whether the Engine answered when it was last asked; nothing before that, and where repair is off.
    #[serde(default)]
    pub engine: Option<bool>,
    /// Since when it answers, or does not.
    #[serde(default)]
    pub engine_since: Option<String>,
    /// Why it does not.
    #[serde(default)]
    pub engine_error: Option<String>,
    /// Whether repair is on.
    #[serde(default)]
    pub repair: Option<bool>,
    /// When repair last compared the books with the Engine.
    #[serde(default)]
    pub looked: Option<String>,
    /// When it will, unless something happens before; nothing where it waits for the next request.
    #[serde(default)]
    pub next_look: Option<String>,
    /// How much the last comparison found.
    #[serde(default)]
    pub findings: u64,
    /// Addresses that two containers have at once.
    #[serde(default)]
    pub duplicates: u64,
    /// The first of that, with what follows.
    #[serde(default)]
    pub suspects: Vec<Finding>,
    /// The last calls that were refused, the latest first.
    #[serde(default)]
    pub refusals: Vec<RefusalRow>,
    /// What happened last, the latest first, if that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<HistoryRow>>,
    /// Calls that came since the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// Of these refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<u64>,
    /// Of these with an empty body (P8).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub empty_bodies: Option<u64>,
    /// Grants undone because their answer was not delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undone: Option<u64>,
}

/// How full a subnet is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubnetUsage {
    pub prefix: String,
    /// The `PoolID`.
    pub id: String,
    /// The address space.
    pub space: String,
    /// The pool that it was cut from; `null` outside all pools.
    pub pool: Option<String>,
    /// The name of its network, where the Engine has shown it.
    pub network: Option<String>,
    /// Addresses leased.
    pub leased: Count,
    /// Addresses cooling.
    pub cooling: Count,
    /// Addresses that could be given now.
    pub free: Count,
    /// How full it is, 0 to 1; `null` where it is too large for a share to mean anything.
    pub share: Option<Fullness>,
}

/// A call that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalRow {
    pub at: String,
    /// The driver name that was asked.
    pub driver: String,
    /// The method; empty where it never became a call.
    pub method: String,
    /// What was answered.
    pub text: String,
}

impl Status {
    /// Seconds from a time of this row to when it was made; negative if that lies ahead.
    pub fn ago(&self, at: Option<&str>) -> Option<i64> {
        let now = parse_rfc3339(self.now.as_deref()?)?.cast_signed();
        Some((now - parse_rfc3339(at?)?.cast_signed()) / 1_000)
    }
}

/// The WAL of the books.
fn log_of(books: &Path) -> std::path::PathBuf {
    let mut log = books.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

/// Size and time of the last change of a file; 0 if it is not there.
fn facts(path: &Path) -> (u64, Millis) {
    let Ok(found) = std::fs::metadata(path) else { return (0, 0) };
    let changed = found.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    (found.len(), changed.map_or(0, |at| u64::try_from(at.as_millis()).unwrap_or(0)))
}

impl View {
    /// The status as far as plan and books know it; `events=N` gives the last events along. While the disk hangs, it is that of
    /// the last counts.
    pub(super) fn status_for(&self, query: Query<'_>) -> Result<Status, Refusal> {
        let mut status = self.status()?;
        if let Some(events) = query.parsed::<u32>("events", "number")? {
            status.events = Some(self.history_of(None, events.min(EVENTS), 0, None)?);
        }
        Ok(status)
    }

    fn status(&self) -> Result<Status, Refusal> {
        let census = self.census_or_last()?;
        let [(books_bytes, written), (log_bytes, logged)] =
            [facts(self.books()), facts(&log_of(self.books()))];
        let [pools, reservations] = census.settings;
        Ok(Status {
            books: self.books().display().to_string(),
            pools,
            subnets: census.held(),
            leases: census.leases(),
            cooling: census.shown.cooling,
            pinned: census.shown.pinned,
            reserved: Count(census.reserved),
            reservations,
            usage: census.pools.clone(),
            fullest: self.fullest(&census)?,
            now: Some(rfc3339(self.now())),
            synced: Some(written.max(logged)).filter(|at| *at != 0).map(rfc3339),
            books_bytes,
            log_bytes,
            ..Status::default()
        })
    }

    fn fullest(&self, census: &Census) -> Result<Vec<SubnetUsage>, Refusal> {
        let row = |subnet: &SubnetCount| {
            Ok(SubnetUsage {
                prefix: subnet.prefix.to_string(),
                id: subnet.id.clone(),
                space: subnet.space.to_owned(),
                pool: Some(subnet.pool.clone()).filter(|pool| !pool.is_empty()),
                network: self.reader()?.network_of(subnet.serial, subnet.generation)?,
                leased: Count(subnet.counts.leased),
                cooling: Count(subnet.counts.cooling),
                free: Count(subnet.counts.free),
                share: share(&subnet.counts),
            })
        };
        census.fullest.iter().take(FULLEST).map(row).collect()
    }
}
