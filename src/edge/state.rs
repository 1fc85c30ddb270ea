//! What people see of gipam's objects in the kernel: how many are in place, and why the others are not.
//!
//! Promises: cheap to read at any time; each reason is logged once when it begins, and once when it is over.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::kind::Changes;
use crate::text::counted;
use crate::view::kernel::{KernelRow, KindName};

/// The state of all kinds, which the daemon shows.
#[derive(Clone, Debug, Default)]
pub struct EdgeState {
    rows: Arc<Mutex<BTreeMap<KindName, KernelRow>>>,
    /// Counts the changes of the rows.
    changes: watch::Sender<u64>,
}

impl EdgeState {
    /// The rows for the status: one for each kind that gipam keeps in the kernel.
    pub fn rows(&self) -> Vec<KernelRow> {
        self.with(|rows| rows.values().cloned().collect())
    }

    /// The row of one kind; `None` if gipam does not keep it.
    pub fn row(&self, kind: KindName) -> Option<KernelRow> {
        self.with(|rows| rows.get(&kind).cloned())
    }

    /// Counts the changes of the rows.
    pub fn follow(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<KindName, KernelRow>) -> T) -> T {
        work(&mut self.rows.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Forgets a kind that is not kept any more.
    pub(super) fn remove(&self, kind: KindName) {
        if self.with(|rows| rows.remove(&kind)).is_some() {
            self.changes.send_modify(|changes| *changes += 1);
        }
    }

    /// Replaces the state of a kind, and logs what is new in it.
    pub(super) fn set(&self, now: KernelRow) {
        let before = self.with(|rows| rows.insert(now.kind, now.clone()));
        if before.as_ref() != Some(&now) {
            self.changes.send_modify(|changes| *changes += 1);
        }
        let before = before.unwrap_or_default();
        let (old, new) = (texts(&before), texts(&now));
        new.iter().filter(|text| !old.contains(text)).for_each(|text| tracing::warn!("{text}"));
        if new.is_empty() && !old.is_empty() {
            tracing::info!("all {} are in the kernel: {}", now.kind.all(), now.kept);
        }
    }
}

/// The reasons for missing objects, one line for each reason.
fn texts(row: &KernelRow) -> Vec<String> {
    let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for object in &row.unmade {
        by_reason.entry(&object.why).or_default().push(&object.prefix);
    }
    let line = |(why, prefixes): (&str, Vec<&str>)| {
        let others = prefixes.len() - 1;
        let others = if others == 0 { String::new() } else { format!(" and {others} more") };
        format!("{} {}{others}: {why}", row.kind.lacking(), prefixes[0])
    };
    row.error.iter().cloned().chain(by_reason.into_iter().map(line)).collect()
}

/// The line about a change that was made.
pub(super) fn changed(row: &KernelRow, Changes { added, removed }: Changes) -> String {
    format!("{} in the kernel: {added} added, {removed} removed", counted(row.kept, row.kind.one()))
}
