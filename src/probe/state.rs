//! What people see of probes: which pools are probed on which interface, what was found, and why a pool cannot be probed.
//!
//! Promises: cheap to read at any time; each reason is logged once when it begins, and once when it is over.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::view::rows::{ProbedPool, ProbesRow};

/// The state of the probes, which the daemon shows.
#[derive(Clone, Debug, Default)]
pub struct ProbeState {
    probes: Arc<Mutex<Probes>>,
    /// Counts the changes of what is probed and of what was found.
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Probes {
    /// The interface or the reason, by pool.
    pools: BTreeMap<String, Result<String, String>>,
    counts: ProbesRow,
}

impl ProbeState {
    fn with<T>(&self, change: impl FnOnce(&mut Probes) -> T) -> T {
        change(&mut self.probes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts the changes of what is probed and of what was found.
    pub fn follow(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn changed(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// The row for the status; `None` if no pool is probed.
    pub fn row(&self) -> Option<ProbesRow> {
        self.with(|probes| {
            let pool = |(pool, found): (&String, &Result<String, String>)| ProbedPool {
                pool: pool.clone(),
                interface: found.as_ref().ok().cloned(),
                error: found.as_ref().err().cloned(),
            };
            let pools: Vec<ProbedPool> = probes.pools.iter().map(pool).collect();
            let known = !pools.is_empty() || probes.counts.quarantined > 0;
            known.then(|| ProbesRow { pools, ..probes.counts.clone() })
        })
    }

    /// Records how a pool is probed, or why it cannot be.
    pub(super) fn set(&self, pool: &str, found: Result<String, String>) {
        let before = self.with(|probes| probes.pools.insert(pool.to_owned(), found.clone()));
        if before.as_ref() == Some(&found) {
            return;
        }
        self.changed();
        match found {
            Ok(interface) => tracing::info!("pool {pool} is probed on {interface}"),
            Err(why) => tracing::warn!("the addresses of pool {pool} are given without a probe: {why}"),
        }
    }

    /// Keeps only these pools.
    pub(super) fn keep(&self, is_kept: impl Fn(&str) -> bool) {
        self.with(|probes| probes.pools.retain(|pool, _| is_kept(pool)));
    }

    pub(super) fn sent(&self) {
        self.with(|probes| probes.counts.sent += 1);
    }

    pub(super) fn found(&self) {
        self.with(|probes| probes.counts.found += 1);
    }

    pub(super) fn quarantined(&self, number: usize) {
        let number = number as u64;
        let before = self.with(|probes| std::mem::replace(&mut probes.counts.quarantined, number));
        if before != number {
            self.changed();
        }
    }

    /// Counts an address that is given without a probe.
    pub(super) fn unprobed(&self, address: IpAddr) {
        tracing::debug!("{address} is given without a probe");
        self.with(|probes| probes.counts.unprobed += 1);
    }
}
