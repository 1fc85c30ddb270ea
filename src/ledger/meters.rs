//! What the ledger counts: commits, batches, failures, storms; and a signal to those who follow commits.
//!
//! Promises: counting takes nanoseconds and never waits for readers; followers of commits are notified after the answers
//! have left. Knows no format of metrics.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::watch;

use super::youth::Youth;
use crate::plan::settings::Millis;

/// Seconds, from a fast disk to one that hangs.
const SECONDS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
/// Buckets: requests that share one sync.
const REQUESTS: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// A batch that takes longer is held up by the disk.
const LONG: Duration = Duration::from_secs(1);

/// Counted since the start.
#[derive(Debug)]
pub struct Meters {
    /// Seconds that a commit took, its sync included.
    pub commits: Histogram,
    /// Requests decided together and made durable by one commit.
    pub batches: Histogram,
    /// Commits that failed.
    pub failures: Counter,
    /// Storms of subnets that were stopped.
    pub storms: Counter,
    /// How far generations had come, and when.
    pub(super) youth: Youth,
    synced_at: AtomicU64,
    sick: AtomicBool,
    started: Instant,
    /// When the batch that is worked on began, milliseconds after `started`, from 1 on; 0 between batches.
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
    /// When the books were last synced since the start, milliseconds since the UNIX epoch.
    pub fn synced_at(&self) -> Option<Millis> {
        Some(self.synced_at.load(Ordering::Relaxed)).filter(|at| *at != 0)
    }

    /// Whether the last commit went well, and none is held up.
    pub fn is_writable(&self) -> bool {
        !self.sick.load(Ordering::Relaxed) && self.stalled().is_none()
    }

    /// For how long the disk has held up the batch that is worked on, if it does: all requests wait for it.
    pub fn stalled(&self) -> Option<Duration> {
        let began = self.batch_began.load(Ordering::Relaxed).checked_sub(1)?;
        let took = self.started.elapsed().saturating_sub(Duration::from_millis(began));
        (took >= LONG).then_some(took)
    }

    /// A batch begins.
    pub(super) fn begin_batch(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.batch_began.store(now + 1, Ordering::Relaxed);
    }

    /// It is done, whatever became of it.
    pub(super) fn end_batch(&self) {
        self.batch_began.store(0, Ordering::Relaxed);
    }

    /// How many commits there were since the start, now and whenever that changes.
    pub fn follow(&self) -> watch::Receiver<u64> {
        self.committed.subscribe()
    }

    /// A commit that went well.
    pub(super) fn committed(&self, took: Duration, requests: usize, now: Millis) {
        self.commits.observe(took.as_secs_f64());
        // At most a batch: exact as a float.
        self.batches.observe(requests as f64);
        self.synced_at.store(now, Ordering::Relaxed);
        self.sick.store(false, Ordering::Relaxed);
    }

    /// Notifies the followers; after the answers.
    pub(super) fn tell(&self) {
        self.committed.send_modify(|commits| *commits += 1);
    }

    /// A commit that failed.
    pub(super) fn failed(&self) {
        self.failures.inc();
        self.sick.store(true, Ordering::Relaxed);
    }

    /// The disk accepts writes again.
    pub(super) fn healed(&self) {
        self.sick.store(false, Ordering::Relaxed);
    }
}
