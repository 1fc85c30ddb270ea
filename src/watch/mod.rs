//! WATCH: which pools and subnets fill up, and whether the WAL of the books can be reset.
//!
//! ```text
//!   ledger ── "something was committed" ──▶ a moment later: census (reads the plan) ─▶ filling
//!                                                           store: how much of the WAL is in use
//!             a crossing, an episode ──▶ one line in the log, an event for the hooks, status, metrics
//! ```
//!
//! Promises: counts only after a change, off the ledger's thread, and at most 1% of the time. Each crossing
//! and each episode (WAL not reset) is reported once. Does not decide anything about addresses.

pub mod filling;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::sleep;

pub use self::filling::Fillings;
use self::filling::judge;
use crate::clock;
use crate::config::WarnAt;
use crate::hooks::{Event, Hooks};
use crate::ledger::Ledger;
use crate::plan::error::Refusal;
use crate::plan::host_use::HostUse;
use crate::plan::settings::Millis;
use crate::store::log::{LONG, log_in_use};
use crate::view::census::{Census, CountedSubnet};
use crate::view::rows::FillingRow;
use crate::view::source::{HASTE, Source};

/// How long to wait between checks, so that changes close together are checked together.
const TOGETHER: Duration = Duration::from_secs(1);
/// Checks take at most 1/`DUTY` of the time.
const DUTY: u32 = 100;
/// How many of the fullest subnets are watched.
const SUBNETS: usize = 1_000;
/// Subnets with fewer addresses than this are full by design, and are not watched.
const SMALL: u128 = 5;

/// A WAL that cannot be reset because of a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Bytes in use at the last check.
    pub bytes: u64,
    /// When this was first seen.
    pub since: Millis,
}

/// The result of the last check.
#[derive(Clone, Debug, Default)]
pub struct WatchFound {
    /// The pools and subnets that are filling up.
    pub filling: Fillings,
    /// The WAL, if it cannot be reset.
    pub log: Option<Held>,
}

/// The watch's state and inputs; cheap to clone.
#[derive(Clone, Debug)]
pub struct Watch {
    found: Arc<Mutex<WatchFound>>,
    warn_at: watch::Sender<WarnAt>,
}

impl Watch {
    /// Creates a watch with these thresholds.
    pub fn new(warn_at: WarnAt) -> Self {
        Self { found: Arc::default(), warn_at: watch::Sender::new(warn_at) }
    }

    /// Replaces the thresholds.
    pub fn configure(&self, warn_at: WarnAt) {
        self.warn_at.send_if_modified(|known| {
            let changed = *known != warn_at;
            *known = warn_at;
            changed
        });
    }

    /// The result of the last check.
    pub fn found(&self) -> WatchFound {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Checks whenever something has changed, until the daemon ends.
    pub async fn run(self, ledger: Ledger, books: PathBuf, hooks: Hooks) {
        let (mut commits, mut warn_at) = (ledger.meters().follow(), self.warn_at.subscribe());
        let mut pause = TOGETHER;
        loop {
            sleep(pause).await;
            commits.borrow_and_update();
            let shares = warn_at.borrow_and_update().clone();
            let begun = Instant::now();
            self.look(&ledger, &books, shares, &hooks).await;
            pause = TOGETHER.max(begun.elapsed() * DUTY);
            tokio::select! {
                _ = commits.changed() => {}
                _ = warn_at.changed() => {}
            }
        }
    }

    async fn look(&self, ledger: &Ledger, books: &Path, shares: WarnAt, hooks: &Hooks) {
        let (path, source) = (books.to_owned(), Source::of(ledger, HASTE));
        let looking = tokio::task::spawn_blocking(move || {
            let levels = if shares.is_off() { Ok(Vec::new()) } else { levels(&source, &shares) };
            (levels, log_in_use(&path).unwrap_or(0))
        });
        let (Ok((levels, log)), now) = (looking.await, clock::now()) else { return };
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        match levels {
            Ok(levels) => {
                for (row, up) in judge(&mut found.filling, levels, now) {
                    say(&row, up);
                    hooks.tell(&event(row, up, now));
                }
            }
            Err(error) => tracing::debug!("cannot count subnets and addresses: {error}"),
        }
        found.log = judge_log(books, found.log, log, now);
    }
}

/// How full each pool and subnet with a threshold is.
fn levels(source: &Source, shares: &WarnAt) -> Result<Vec<FillingRow>, Refusal> {
    let census = Census::take(source, SUBNETS, HostUse::default())?;
    let pools = census.pools.into_iter().filter(|pool| !pool.closed).filter_map(|pool| {
        let (percent, warn_at) = (pool.share.percent(), shares.of(&pool.pool)?);
        let (pool, family) = (Some(pool.pool), Some(pool.family));
        Some(FillingRow { pool, family, subnet: None, space: None, percent, warn_at, since: None })
    });
    let subnets = census.fullest.into_iter().map(|CountedSubnet { label, row, .. }| (label, row));
    let subnets = subnets.filter(|(_, row)| row.leases.0 + row.cooling.0 + row.free.0 >= SMALL);
    let subnets = subnets.filter_map(|(subnet, row)| {
        let (percent, pool) = (row.share.percent(), row.pool.filter(|pool| !pool.is_empty()));
        let warn_at = shares.of(pool.as_deref().unwrap_or_default())?;
        let (space, subnet) = (Some(row.space), Some(subnet));
        Some(FillingRow { pool, family: None, subnet, space, percent, warn_at, since: None })
    });
    Ok(pools.chain(subnets).collect())
}

/// Logs a crossing in one line.
fn say(row: &FillingRow, up: bool) {
    let FillingRow { pool, family, subnet, percent, warn_at, .. } = row;
    let what = match (subnet, pool) {
        (Some(subnet), Some(pool)) => {
            format!("subnet {subnet} of pool {pool}: {percent}% of its addresses are taken")
        }
        (Some(subnet), None) => format!("subnet {subnet}: {percent}% of its addresses are taken"),
        (None, pool) => format!(
            "pool {}: {percent}% of its {} space is granted to subnets",
            pool.as_deref().unwrap_or_default(),
            family.as_deref().unwrap_or_default()
        ),
    };
    if up {
        tracing::warn!("{what} (warn_at is {warn_at}%)");
    } else {
        tracing::info!("{what}: well below {warn_at}% again");
    }
}

/// Converts a crossing to an event for the hooks.
fn event(row: FillingRow, up: bool, now: Millis) -> Event {
    let what = if row.subnet.is_some() { "subnet" } else { "pool" };
    let name = format!("{what}_{}", if up { "filling" } else { "relieved" });
    let of_subnet =
        if row.subnet.as_deref().is_some_and(|subnet| subnet.contains(':')) { "v6" } else { "v4" };
    let family = row.family.as_deref().unwrap_or(of_subnet);
    Event::of_filling(name, now, row.percent, family, [row.space, row.subnet, row.pool])
}

/// Whether a reader keeps the WAL from being reset: from when the WAL is too long until its reset. Logs the
/// beginning and the end.
fn judge_log(books: &Path, known: Option<Held>, bytes: u64, now: Millis) -> Option<Held> {
    let (long, books) = (bytes > LONG, books.display());
    match (known.is_some(), long) {
        (false, true) => tracing::warn!(
            "the WAL of the books {books} has grown to {} MiB: a long-running reader (an open sqlite3 shell?) keeps it from \
             being reset; close it",
            bytes >> 20
        ),
        (true, false) => tracing::info!("the WAL of the books {books} was reset"),
        _ => {}
    }
    long.then(|| Held { bytes, since: known.map_or(now, |known| known.since) })
}
