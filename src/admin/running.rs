//! What only a running daemon knows: its counters, hooks, repair and what fills up, for the status and the page.
//!
//! Promises: reads meters and memory, except `hooks`, which reads the books; never waits for the ledger. Serves no requests:
//! see `handler`.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use super::handler::Admin;
use crate::docker::counters::Refused;
use crate::hooks::{Hooks, Report};
use crate::plan::error::{ErrorKind, Refusal};
use crate::plan::host_use::HostUse;
use crate::plan::settings::rfc3339;
use crate::view::rows::{FillingRow, HookRow, RefusalRow, Status};
use crate::watch::{Filling, Subject, Watch, WatchFound};

impl Admin {
    /// What fills up, and the log.
    pub fn watched(&self) -> WatchFound {
        self.watch.as_ref().map(Watch::found).unwrap_or_default()
    }

    /// Follows what changes in the status without a commit: hooks, and what fills up.
    pub fn turns(&self) -> watch::Receiver<u64> {
        self.hooks.as_ref().map_or_else(|| watch::Sender::new(0).subscribe(), Hooks::follow)
    }

    /// What this host uses now. Waits, so it is for the threads of views.
    pub fn in_use(&self) -> HostUse {
        self.survey.now(None)
    }

    /// The state of each hook. Reads the books.
    pub fn hooks(&self) -> Vec<Report> {
        self.hooks.as_ref().map(Hooks::report).unwrap_or_default()
    }

    /// A status with what only the daemon knows, as JSON.
    pub fn with_counters(&self, mut status: Status) -> Result<Vec<u8>, Refusal> {
        status.running = true;
        let WatchFound { filling, log } = self.watched();
        status.filling = filling.into_iter().map(FillingRow::from).collect();
        (status.log_held, status.log_held_since) = log.map(|log| (log.bytes, rfc3339(log.since))).unzip();
        (status.names, status.doors) = (self.names.clone(), self.doors.clone());
        status.version = Some(env!("CARGO_PKG_VERSION").to_owned());
        status.started = Some(rfc3339(self.started));
        if let Some((at, text)) = self.counters.last_error() {
            (status.last_error, status.last_error_at) = (Some(text), Some(rfc3339(at)));
        }
        let ledger = self.ledger.meters();
        status.synced = ledger.synced_at().map(rfc3339).or(status.synced);
        status.writable = Some(ledger.is_writable());
        status.stalled = ledger.stalled().map(|stalled| stalled.as_secs());
        let repair = self.repair.meters();
        (status.repair, status.engine) = (Some(repair.on), repair.engine_answers());
        status.engine_since = repair.engine_since().map(rfc3339);
        (status.engine_error, status.suspects) = (repair.failure(), repair.open());
        (status.looked, status.next_look) =
            (repair.looked_at().map(rfc3339), repair.next_look().map(rfc3339));
        status.findings = repair.found().iter().sum();
        status.duplicates = repair.duplicates();
        let refusal = |refused: Refused| RefusalRow {
            at: rfc3339(refused.at),
            driver: refused.driver,
            method: refused.method,
            text: refused.text,
        };
        status.refusals = self.counters.recent().into_iter().map(refusal).collect();
        let count = |counter: &AtomicU64| Some(counter.load(Ordering::Relaxed));
        status.requests = count(&self.counters.requests);
        status.refused = count(&self.counters.refused);
        status.empty_bodies = count(&self.counters.empty);
        status.undone = count(&self.counters.undone);
        serde_json::to_vec(&status).map_err(|error| Refusal::new(ErrorKind::Failed, error.to_string()))
    }
}

impl From<(Subject, Filling)> for FillingRow {
    fn from((subject, filling): (Subject, Filling)) -> Self {
        let (pool, family, subnet, space) = match subject {
            Subject::Pool { pool, family } => (pool, Some(family.to_owned()), None, None),
            Subject::Subnet { pool, space, subnet } => (pool, None, Some(subnet), Some(space.to_owned())),
        };
        let Filling { percent, warn_at, since } = filling;
        let (pool, since) = (Some(pool).filter(|pool| !pool.is_empty()), Some(rfc3339(since)));
        Self { pool, family, subnet, space, percent, warn_at, since }
    }
}

impl From<Report> for HookRow {
    fn from(report: Report) -> Self {
        let Report { name, target, upto, behind, failing_since, last_error, passed_over, .. } = report;
        Self { hook: name, target, upto, behind, failing_since, last_error, passed_over }
    }
}
