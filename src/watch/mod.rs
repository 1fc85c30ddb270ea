//! WATCH: which pools and subnets fill up, and whether the WAL of the books can be reset.
//!
//! ```text
//!   ledger ── "something was committed" ──▶ a moment later: census (reads the plan) ─▶ filling
//!                                                           store: how much of the WAL is in use
//!             a crossing, an episode ──▶ one line in the log, an event for the hooks, status, metrics
//! ```
//!
//! Promises: counts after a change, off the ledger's thread, for at most a hundredth of the time; an idle daemon does not
//! count. Each crossing and each episode (WAL not reset) is reported once. Does not decide anything about addresses.

pub mod filling;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::sleep;

use self::filling::{Crossing, Level, judge};
pub use self::filling::{Filling, Fillings, Subject};
use crate::clock;
use crate::config::WarnAt;
use crate::hooks::{Event, Hooks};
use crate::ledger::Ledger;
use crate::plan::error::Refusal;
use crate::plan::host_use::HostUse;
use crate::plan::settings::Millis;
use crate::store::log_size::{LONG, log_in_use};
use crate::view::census::{Census, CountedSubnet};
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
    /// What is filling up.
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
    /// Makes a watch with these thresholds.
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
                for crossing in judge(&mut found.filling, &levels, now) {
                    say(&crossing);
                    hooks.tell(&event(&crossing, now));
                }
            }
            Err(error) => tracing::debug!("cannot count subnets and addresses: {error}"),
        }
        let held = judge_log(found.log, log, now);
        say_log(books, found.log, held, log);
        found.log = held;
    }
}

/// How full each pool and subnet is.
fn levels(source: &Source, shares: &WarnAt) -> Result<Vec<Level>, Refusal> {
    let census = Census::take(source, SUBNETS, HostUse::default())?;
    let pools = census.pools.into_iter().map(|pool| Level {
        full: pool.share,
        warn_at: shares.of(&pool.pool).filter(|_| !pool.closed),
        subject: Subject::Pool { pool: pool.pool, family: pool.family },
    });
    let subnets = census.fullest.into_iter().map(|CountedSubnet { label, row, .. }| (label, row));
    let subnets = subnets.filter(|(_, row)| row.leases.0 + row.cooling.0 + row.free.0 >= SMALL);
    let subnets = subnets.map(|(subnet, row)| {
        let pool = row.pool.unwrap_or_default();
        let warn_at = shares.of(&pool);
        Level { full: row.share, warn_at, subject: Subject::Subnet { pool, space: row.space, subnet } }
    });
    Ok(pools.chain(subnets).collect())
}

/// Logs a crossing in one line.
fn say(crossing: &Crossing) {
    let Crossing { subject, percent, warn_at, up } = crossing;
    let what = match subject {
        Subject::Pool { pool, family } => {
            format!("pool {pool}: {percent}% of its {family} space is given to subnets")
        }
        Subject::Subnet { pool, subnet, .. } if pool.is_empty() => {
            format!("subnet {subnet}: {percent}% of its addresses are given")
        }
        Subject::Subnet { pool, subnet, .. } => {
            format!("subnet {subnet} of pool {pool}: {percent}% of its addresses are given")
        }
    };
    if *up {
        tracing::warn!("{what} (warn_at is {warn_at}%)");
    } else {
        tracing::info!("{what}: well below {warn_at}% again");
    }
}

/// Makes an event for the hooks from a crossing.
fn event(crossing: &Crossing, now: Millis) -> Event {
    let (name, pool, space, subnet, family) = match &crossing.subject {
        Subject::Pool { pool, family } => ("pool", pool, None, None, family.as_str()),
        Subject::Subnet { pool, space, subnet } => {
            let family = if subnet.contains(':') { "v6" } else { "v4" };
            ("subnet", pool, Some(space.clone()), Some(subnet.clone()), family)
        }
    };
    let name = format!("{name}_{}", if crossing.up { "filling" } else { "relieved" });
    let pool = Some(pool.clone()).filter(|pool| !pool.is_empty());
    Event::of_filling(name, now, crossing.percent, family, [space, subnet, pool])
}

/// Whether the WAL cannot be reset: from when it is too long until it has been reset.
fn judge_log(known: Option<Held>, bytes: u64, now: Millis) -> Option<Held> {
    let long = bytes > LONG;
    long.then(|| Held { bytes, since: known.map_or(now, |known| known.since) })
}

fn say_log(books: &Path, before: Option<Held>, after: Option<Held>, bytes: u64) {
    let books = books.display();
    match (before, after) {
        (None, Some(_)) => tracing::warn!(
            "the WAL of the books {books} has grown to {} MiB: a long-running reader (an open sqlite3 shell?) keeps it from \
             being reset; close it",
            bytes >> 20
        ),
        (Some(_), None) => tracing::info!("the WAL of the books {books} was reset"),
        _ => {}
    }
}
