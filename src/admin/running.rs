//! The part of the status that only a running daemon knows: counters, hooks, repair, and pools and subnets that are filling up.
//!
//! Promises: reads meters and memory, and the books to count undelivered events; never waits for the ledger.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::claims::SharedPlan;
use crate::claims::handle::ClaimsHandle;
use crate::docker::Counters;
use crate::docker::counters::Refused;
use crate::edge::Edge;
use crate::hooks::Hooks;
use crate::ledger::Meters;
use crate::plan::settings::{Millis, rfc3339};
use crate::probe::ProbeState;
use crate::reconcile::RepairMeters;
use crate::view::rows::{KindName, RefusalRow, Status};
use crate::watch::{Watch, WatchFound};

/// The parts of a daemon that its status describes.
#[derive(Clone, Debug)]
pub struct RunningDaemon {
    /// The driver names.
    pub names: Vec<String>,
    /// Where the drivers listen, in the same order as `names`.
    pub doors: Vec<String>,
    pub started: Millis,
    pub ledger: Arc<Meters>,
    pub counters: Arc<Counters>,
    pub repair: Arc<RepairMeters>,
    pub hooks: Hooks,
    pub watch: Watch,
    /// The plan of all hosts.
    pub plan: SharedPlan,
    /// Takes what people ask of the plan's store.
    pub claims: ClaimsHandle,
    pub edge: Edge,
    pub probes: ProbeState,
}

impl RunningDaemon {
    /// Adds to a status what only the daemon knows. If everyone can see the status, the targets of hooks are omitted.
    pub fn add_to(&self, mut status: Status, to_everybody: bool) -> Status {
        status.running = true;
        let WatchFound { filling, log } = self.watch.found();
        status.filling = filling.into_values().collect();
        (status.log_held, status.log_held_since) = log.map(|log| (log.bytes, rfc3339(log.since))).unzip();
        (status.names, status.doors) = (self.names.clone(), self.doors.clone());
        status.version = Some(env!("CARGO_PKG_VERSION").to_owned());
        status.started = Some(rfc3339(self.started));
        status.hooks = self.hooks.rows();
        status.routes = self.edge.state.row(KindName::Routes);
        status.kernel = self.edge.state.rows();
        status.probes = self.probes.row();
        if to_everybody {
            status.hooks.iter_mut().for_each(|hook| hook.target.clear());
        }
        if let Some((at, text)) = self.counters.last_error() {
            (status.last_error, status.last_error_at) = (Some(text), Some(rfc3339(at)));
        }
        status.synced = self.ledger.synced_at().map(rfc3339).or(status.synced);
        status.writable = Some(self.ledger.is_writable());
        status.stalled = self.ledger.stalled().map(|stalled| stalled.as_secs());
        self.add_repair(&mut status);
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
        status
    }

    fn add_repair(&self, status: &mut Status) {
        let last = self.repair.last();
        (status.repair, status.engine) = (Some(self.repair.on), last.answers);
        status.engine_since = last.changed_at.map(rfc3339);
        (status.looked, status.next_look) = (last.looked_at.map(rfc3339), last.next_at.map(rfc3339));
        (status.findings, status.duplicates) = (last.found.iter().sum(), last.found[0]);
        (status.engine_error, status.suspects) = (last.failure, last.open);
    }
}
