//! The state of each hook, for `gipam status`, `gipam doctor` and the metrics.
//!
//! Promises: cheap to update, safe to read at any time; logs once when a hook starts failing, and once when it recovers.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use crate::config::Hook;
use crate::plan::settings::{Millis, rfc3339};
use crate::store::Reader;
use crate::view::rows::HookRow;

/// A hook's current failure.
#[derive(Clone, Debug)]
struct Trouble {
    since: Millis,
    tries: u64,
    text: String,
}

/// What is known about one hook since it was started.
#[derive(Debug)]
pub(super) struct HookState {
    name: String,
    target: String,
    /// The events that it wants, with their names in the history.
    wanted: Vec<String>,
    upto: AtomicU64,
    delivered: AtomicU64,
    failures: AtomicU64,
    passed_over: AtomicU64,
    trouble: Mutex<Option<Trouble>>,
    /// Counts how often a hook started failing or recovered.
    turns: watch::Sender<u64>,
}

impl HookState {
    pub(super) fn new(hook: &Hook, upto: u64, turns: watch::Sender<u64>) -> Self {
        let wanted = hook.events.clone().unwrap_or_default();
        Self {
            name: hook.name.clone(),
            target: hook.target.to_string(),
            wanted: wanted.iter().map(|event| event.replace('_', " ")).collect(),
            upto: AtomicU64::new(upto),
            delivered: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            passed_over: AtomicU64::new(0),
            trouble: Mutex::default(),
            turns,
        }
    }

    /// Records that everything up to this number was delivered.
    pub(super) fn reached(&self, number: u64) {
        self.upto.store(number, Ordering::Relaxed);
    }

    /// Records a successful delivery.
    pub(super) fn well(&self, events: u64) {
        self.delivered.fetch_add(events, Ordering::Relaxed);
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Trouble { tries, .. }) = trouble {
            tracing::info!("hook {}: works again, after {tries} failures", self.name);
            self.turns.send_modify(|turns| *turns += 1);
        }
    }

    /// Records a permanently rejected event. Each one is logged, because this hook never receives it.
    pub(super) fn passed_over(&self, what: &str, text: &str) {
        self.passed_over.fetch_add(1, Ordering::Relaxed);
        tracing::error!("hook {}: {what} is skipped and never delivered: {text}", self.name);
        self.turns.send_modify(|turns| *turns += 1);
    }

    /// Records a failure that will be retried.
    pub(super) fn failed(&self, what: &str, text: String, now: Millis) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match trouble.as_mut() {
            Some(known) => {
                known.tries += 1;
                known.text = text;
            }
            None => {
                tracing::warn!(
                    "hook {}: {what} failed: {text}; retrying; later events for this hook are queued",
                    self.name
                );
                *trouble = Some(Trouble { since: now, tries: 1, text });
                drop(trouble);
                self.turns.send_modify(|turns| *turns += 1);
            }
        }
    }

    /// Its state; undelivered events are counted in the books.
    pub(super) fn row(&self, books: &Path) -> HookRow {
        let upto = self.upto.load(Ordering::Relaxed);
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        HookRow {
            hook: self.name.clone(),
            target: self.target.clone(),
            upto,
            behind: Reader::open(books).and_then(|reader| reader.count_after(upto, &self.wanted)).ok(),
            delivered: self.delivered.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            passed_over: self.passed_over.load(Ordering::Relaxed),
            failing_since: trouble.as_ref().map(|trouble| rfc3339(trouble.since)),
            last_error: trouble.map(|trouble| trouble.text),
        }
    }
}
