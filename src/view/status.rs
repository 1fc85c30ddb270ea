//! The state of gipam, as one row: `/v1/status`.
//!
//! Promises: values from the books are present with and without a daemon; values that only a daemon has are `null`, empty,
//! 0 or absent without one. Keys are only ever added, and a reader must accept absent keys. Counts agree with the other
//! views. Draws nothing (see `cli::screen`).

use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::census::{Census, CountedSubnet, FULLEST};
use super::query::Query;
use super::rows::{
    Count, FillingRow, HistoryRow, HookRow, KernelRow, PlanRow, PoolRow, ProbesRow, SourceRow,
};
use super::views::View;
use crate::plan::error::Refusal;
use crate::plan::settings::{Millis, parse_rfc3339, rfc3339};
use crate::reconcile::Finding;
use crate::view::{COUNTABLE, Fullness};

/// The maximum number of events in a status.
const EVENTS: u32 = 200;

/// The state of gipam. Without a daemon, `running` is false.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Whether a daemon answered.
    pub running: bool,
    /// The driver names.
    pub names: Vec<String>,
    /// Where the drivers listen, in the same order as `names`.
    pub doors: Vec<String>,
    pub version: Option<String>,
    /// The path of the books.
    pub books: String,
    pub pools: u64,
    /// How many subnets are held.
    pub subnets: u64,
    /// How many addresses are leased.
    pub leases: u64,
    /// When the daemon started.
    pub started: Option<String>,
    /// The last failure since the start.
    pub last_error: Option<String>,
    /// When it happened.
    pub last_error_at: Option<String>,
    /// The hooks, if a daemon runs.
    pub hooks: Vec<HookRow>,
    /// The pools and subnets that are filling up, if a daemon runs.
    pub filling: Vec<FillingRow>,
    /// Bytes of the books' WAL that are in use, while a long-running reader keeps it from being reset.
    pub log_held: Option<u64>,
    pub log_held_since: Option<String>,
    /// When the status was made.
    pub now: Option<String>,
    /// Addresses that were recently released and are not given to others yet.
    pub cooling: u64,
    /// Addresses kept for holders that once requested them by number, or to which a person pinned them.
    pub pinned: u64,
    /// Number of reserved addresses in held subnets.
    pub reserved: Count,
    /// Number of reservations in the configuration.
    pub reservations: u64,
    /// One row for each family of each pool.
    pub usage: Vec<PoolRow>,
    /// The fullest subnets, fullest first.
    pub fullest: Vec<SubnetUsage>,
    /// When the books were last written.
    pub synced: Option<String>,
    /// Whether the last write succeeded.
    pub writable: Option<bool>,
    /// Seconds for which the disk has held up a write; `null` if no write is held up.
    pub stalled: Option<u64>,
    /// Size of the books in bytes.
    pub books_bytes: u64,
    /// Size of their WAL in bytes.
    pub log_bytes: u64,
    /// Whether the Engine answered the last query; `null` before the first one, and if repair is off.
    pub engine: Option<bool>,
    /// Since when the Engine has answered, or has not answered.
    pub engine_since: Option<String>,
    /// Why the Engine does not answer.
    pub engine_error: Option<String>,
    /// Whether repair is on.
    pub repair: Option<bool>,
    /// When repair last compared the books with the Engine.
    pub looked: Option<String>,
    /// When repair compares them next, unless something happens before; `null` if it waits for the next request.
    pub next_look: Option<String>,
    /// Number of findings of the last comparison.
    pub findings: u64,
    /// Number of addresses that two containers have at the same time.
    pub duplicates: u64,
    /// The first findings of the last comparison that are still open.
    pub suspects: Vec<Finding>,
    /// The last refused calls, latest first.
    pub refusals: Vec<RefusalRow>,
    /// The last events, latest first, if the query requests them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<HistoryRow>>,
    /// Number of calls since the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// How many of these were refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<u64>,
    /// How many of these had an empty body (P8).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub empty_bodies: Option<u64>,
    /// Number of grants undone because their answer was not delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undone: Option<u64>,
    /// Pools whose base comes from a source or that have stale subnets, one row for each family.
    pub sources: Vec<SourceRow>,
    /// The plan of several hosts; `null` if pools belong to this host alone.
    pub plan: Option<PlanRow>,
    /// The routes in the kernel of this host; `null` if gipam does not keep them. The same row is in `kernel`.
    pub routes: Option<KernelRow>,
    /// What gipam keeps in the kernel of this host, one row for each kind of objects.
    pub kernel: Vec<KernelRow>,
    /// Probes of addresses on LANs; `null` if no pool is probed.
    pub probes: Option<ProbesRow>,
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
    /// The name of its network, if the Engine has reported it.
    pub network: Option<String>,
    /// Addresses leased.
    pub leased: Count,
    /// Addresses cooling.
    pub cooling: Count,
    /// Addresses that could be given now.
    pub free: Count,
    /// How full it is, 0 to 1; `null` if it is too large for a share to mean anything.
    pub share: Option<Fullness>,
}

/// A call that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalRow {
    pub at: String,
    /// The name of the driver that received the call.
    pub driver: String,
    /// The method; empty if the request never became a call.
    pub method: String,
    /// The text of the answer.
    pub text: String,
}

impl Status {
    /// Seconds from a time in this status to `now`; negative if the time is later than `now`.
    pub fn ago(&self, at: Option<&str>) -> Option<i64> {
        let now = parse_rfc3339(self.now.as_deref()?)?.cast_signed();
        Some((now - parse_rfc3339(at?)?.cast_signed()) / 1_000)
    }
}

/// The path of the books' WAL.
fn log_of(books: &Path) -> std::path::PathBuf {
    let mut log = books.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

/// The size of a file and the time of its last change; both 0 if the file does not exist.
fn facts(path: &Path) -> (u64, Millis) {
    let Ok(found) = std::fs::metadata(path) else { return (0, 0) };
    let changed = found.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    (found.len(), changed.map_or(0, |at| u64::try_from(at.as_millis()).unwrap_or(0)))
}

impl View {
    /// The status, from the plan and the books; `events=N` adds the last events. While the disk hangs, it shows the last counts.
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
            sources: census.sources.clone(),
            plan: PlanRow::new(&census.slices, self.known_hosts().as_deref()),
            ..Status::default()
        })
    }

    fn fullest(&self, census: &Census) -> Result<Vec<SubnetUsage>, Refusal> {
        let usage = |CountedSubnet { serial, generation, row, .. }: &CountedSubnet| {
            let all = row.leases.0.saturating_add(row.cooling.0).saturating_add(row.free.0);
            Ok(SubnetUsage {
                prefix: row.prefix.clone(),
                id: row.id.clone(),
                space: row.space.clone(),
                pool: row.pool.clone(),
                network: self.reader()?.network_of(*serial, *generation)?,
                leased: row.leases,
                cooling: row.cooling,
                free: row.free,
                share: (all <= COUNTABLE).then_some(row.share),
            })
        };
        census.fullest.iter().take(FULLEST).map(usage).collect()
    }
}
