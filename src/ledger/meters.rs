//! The ledger's counters (commits, batches, failures, storms), and a signal for each commit.
//!
//! Promises: counting takes nanoseconds and never waits for readers; followers of commits are notified only
//! after the answers were sent. Knows nothing about metrics formats.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::watch;

use super::youth::Youth;
use crate::plan::settings::Millis;

/// Buckets in seconds, from a fast disk to one that hangs.
const SECONDS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
/// Buckets for the number of requests that share one sync.
const REQUESTS: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// If a batch takes longer than this, the disk is holding it up.
const LONG: Duration = Duration::from_secs(1);

/// Values counted since the start.
#[derive(Debug)]
pub struct Meters {
    /// How many seconds a commit took, including its sync.
    pub commits: Histogram,
    /// How many requests were decided together and made durable by one commit.
    pub batches: Histogram,
    /// Number of commits that failed.
    pub failures: Counter,
    /// Number of subnet storms that were stopped.
    pub storms: Counter,
    /// Records which generation had been reached at which time.
    pub(super) youth: Youth,
    synced_at: AtomicU64,
    sick: AtomicBool,
    started: Instant,
    /// When the current batch began, in milliseconds after `started`, at least 1; 0 between batches.
    batch_began: AtomicU64,
    committed: watch::Sender<u64>,
}

impl Default for Meters {
    fn default() -> Self {
        Self {
            commits: Histogram::new(SECONDS),
            batches: Histogram::new(REQUESTS),
            failures: Counter::default(),
            storms: Counter::default(),
            youth: Youth::default(),
            synced_at: AtomicU64::new(0),
            sick: AtomicBool::new(false),
            started: Instant::now(),
            batch_began: AtomicU64::new(0),
            committed: watch::Sender::new(0),
        }
    }
}

impl Meters {
    /// The time of the last successful sync, in milliseconds since the UNIX epoch; `None` before the first
    /// sync after the start.
    pub fn synced_at(&self) -> Option<Millis> {
        Some(self.synced_at.load(Ordering::Relaxed)).filter(|at| *at != 0)
    }

    /// Whether the last commit succeeded and no batch is held up.
    pub fn is_writable(&self) -> bool {
        !self.is_sick() && self.stalled().is_none()
    }

    /// Whether the last commit failed and no write has succeeded since, usually because the disk is full or
    /// busy.
    pub(super) fn is_sick(&self) -> bool {
        self.sick.load(Ordering::Relaxed)
    }

    /// How long the disk has held up the current batch, with all requests waiting for it; `None` if it does
    /// not.
    pub fn stalled(&self) -> Option<Duration> {
        let began = self.batch_began.load(Ordering::Relaxed).checked_sub(1)?;
        let took = self.started.elapsed().saturating_sub(Duration::from_millis(began));
        (took >= LONG).then_some(took)
    }

    /// Records that a batch begins.
    pub(super) fn begin_batch(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.batch_began.store(now + 1, Ordering::Relaxed);
    }

    /// Records that the batch has ended, successfully or not.
    pub(super) fn end_batch(&self) {
        self.batch_began.store(0, Ordering::Relaxed);
    }

    /// The number of commits since the start, with a notification of each change.
    pub fn follow(&self) -> watch::Receiver<u64> {
        self.committed.subscribe()
    }

    /// Counts a successful commit.
    pub(super) fn committed(&self, took: Duration, requests: usize, now: Millis) {
        self.commits.observe(took.as_secs_f64());
        // At most the size of a batch, so it is exact as a float.
        self.batches.observe(requests as f64);
        self.synced_at.store(now, Ordering::Relaxed);
        self.sick.store(false, Ordering::Relaxed);
    }

    /// Notifies the followers; called after the answers were sent.
    pub(super) fn tell(&self) {
        self.committed.send_modify(|commits| *commits += 1);
    }

    /// Counts a failed commit.
    pub(super) fn failed(&self) {
        self.failures.inc();
        self.sick.store(true, Ordering::Relaxed);
    }

    /// Records that the disk accepts writes again.
    pub(super) fn healed(&self) {
        self.sick.store(false, Ordering::Relaxed);
    }
}
