//! How each hook does: for `gipam status`, `gipam doctor` and the metrics.
//!
//! Promises: cheap to write, safe to read at any time; a failing hook is logged once, and once when it recovers.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use crate::config::Hook;
use crate::plan::settings::{Millis, rfc3339};
use crate::store::Reader;
use crate::view::rows::HookRow;

/// A hook that fails at the moment.
#[derive(Clone, Debug)]
struct Trouble {
    since: Millis,
    tries: u64,
    text: String,
}

/// What is known of one hook since it was started.
#[derive(Debug)]
pub(super) struct HookState {
    name: String,
    target: String,
    /// The events that it wants, as the history spells them.
    wanted: Vec<String>,
    upto: AtomicU64,
    delivered: AtomicU64,
    failures: AtomicU64,
    passed_over: AtomicU64,
    trouble: Mutex<Option<Trouble>>,
    /// How often a hook started failing or recovered.
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

    /// Everything up to here is delivered.
    pub(super) fn reached(&self, number: u64) {
        self.upto.store(number, Ordering::Relaxed);
    }

    /// A delivery succeeded.
    pub(super) fn well(&self, events: u64) {
        self.delivered.fetch_add(events, Ordering::Relaxed);
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Trouble { tries, .. }) = trouble {
            tracing::info!("hook {}: works again, after {tries} failures", self.name);
            self.turns.send_modify(|turns| *turns += 1);
        }
    }

    /// An event can never be delivered: logged each time, because no hook gets it.
    pub(super) fn passed_over(&self, what: &str, text: &str) {
        self.passed_over.fetch_add(1, Ordering::Relaxed);
        tracing::error!("hook {}: {what} is skipped and never delivered: {text}", self.name);
        self.turns.send_modify(|turns| *turns += 1);
    }

    /// Something failed, and will be tried again.
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
