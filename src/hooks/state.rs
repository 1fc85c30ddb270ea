//! The state of each hook, for `gipam status`, `gipam doctor` and the metrics.
//!
//! Promises: cheap to update, safe to read at any time; logs once when a hook starts failing, and once when
//! it recovers.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use crate::config::Hook;
use crate::plan::settings::{Millis, rfc3339};
use crate::store::Reader;
use crate::view::rows::HookRow;

/// The state of one hook since it was started.
#[derive(Debug)]
pub(super) struct HookState {
    hook: Hook,
    /// The hook's row, and its number of consecutive failures.
    now: Mutex<(HookRow, u64)>,
    /// Counts how often a hook started failing or recovered.
    turns: watch::Sender<u64>,
}

impl HookState {
    pub(super) fn new(hook: &Hook, upto: u64, turns: watch::Sender<u64>) -> Self {
        let (name, target) = (hook.name.clone(), hook.target.to_string());
        let row = HookRow { hook: name, target, upto, ..HookRow::default() };
        Self { hook: hook.clone(), now: Mutex::new((row, 0)), turns }
    }

    fn change<T>(&self, change: impl FnOnce(&mut (HookRow, u64)) -> T) -> T {
        change(&mut self.now.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn turned(&self) {
        self.turns.send_modify(|turns| *turns += 1);
    }

    /// Records that everything up to this number was delivered.
    pub(super) fn reached(&self, number: u64) {
        self.change(|(row, _)| row.upto = number);
    }

    /// Records a successful delivery.
    pub(super) fn well(&self, events: u64) {
        let failed = self.change(|(row, failed)| {
            row.delivered += events;
            (row.failing_since, row.last_error) = (None, None);
            std::mem::take(failed)
        });
        if failed > 0 {
            tracing::info!("hook {}: works again after {failed} failures", self.hook.name);
            self.turned();
        }
    }

    /// Records a permanently rejected event. Each one is logged, because this hook never receives it.
    pub(super) fn passed_over(&self, what: &str, text: &str) {
        self.change(|(row, _)| row.passed_over += 1);
        tracing::error!("hook {}: {what} is skipped and never delivered: {text}", self.hook.name);
        self.turned();
    }

    /// Records a failure that will be retried.
    pub(super) fn failed(&self, what: &str, text: String, at: Millis) {
        let first = self.change(|(row, failed)| {
            row.failures += 1;
            *failed += 1;
            row.failing_since.get_or_insert_with(|| rfc3339(at));
            row.last_error = Some(text.clone());
            *failed == 1
        });
        if first {
            tracing::warn!(
                "hook {}: {what} failed: {text}; retrying; later events for this hook are queued",
                self.hook.name
            );
            self.turned();
        }
    }

    /// The hook's row; counts the undelivered events in the books.
    pub(super) fn row(&self, books: &Path) -> HookRow {
        let row = self.change(|(row, _)| row.clone());
        // Event names in the history contain spaces.
        let wanted = self.hook.events.iter().flatten().map(|event| event.replace('_', " "));
        let wanted: Vec<String> = wanted.collect();
        let behind = Reader::open(books).and_then(|reader| reader.count_after(row.upto, &wanted)).ok();
        HookRow { behind, ..row }
    }
}
