//! `/v1/wait`: the moment when something was committed, for those who watch.
//!
//! Promises: answers when there were commits since the moment that was seen last, else after a second; reads no books,
//! so it costs next to nothing; a daemon at which nobody waits does not wake up. Says that something changed and what
//! was counted, not what changed.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::clock;
use crate::docker::Counters;
use crate::plan::error::Refusal;
use crate::plan::settings::{Millis, rfc3339};
use crate::view::query::Query;

/// An answer comes after this time though nothing happened; it also bounds how long the end of the daemon waits.
const HOLD: Duration = Duration::from_secs(1);
/// What happens together is one moment.
const TOGETHER: Duration = Duration::from_millis(50);

/// A moment of the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitMoment {
    /// To be sent back as `seen`: a different one means that something was committed, or that the daemon was restarted.
    pub id: String,
    pub now: String,
    /// When the daemon started.
    pub started: String,
    /// Calls that came since.
    pub requests: u64,
    /// Of these refused.
    pub refused: u64,
    /// By method, by outcome; those that never came are left out.
    pub calls: BTreeMap<String, BTreeMap<String, u64>>,
}

/// Waits for the moment after the one that was seen.
pub(super) async fn wait(
    query: &str,
    mut commits: watch::Receiver<u64>,
    counters: &Counters,
    started: Millis,
) -> Result<WaitMoment, Refusal> {
    let id = |commits: u64| format!("{started:x}-{commits}");
    let known = id(*commits.borrow_and_update());
    if Query(query).text("seen")?.is_some_and(|seen| seen == known) {
        // That nothing happened is also an answer.
        if timeout(HOLD, commits.changed()).await.is_ok() {
            sleep(TOGETHER).await;
        }
    }
    let counts = |counts: Vec<(&str, u64)>| {
        counts.into_iter().map(|(outcome, count)| (outcome.to_owned(), count)).collect()
    };
    let called = counters.called().into_iter();
    let commits = *commits.borrow();
    Ok(WaitMoment {
        id: id(commits),
        now: rfc3339(clock::now()),
        started: rfc3339(started),
        requests: counters.requests.load(Ordering::Relaxed),
        refused: counters.refused.load(Ordering::Relaxed),
        calls: called.map(|(method, outcomes)| (method.to_owned(), counts(outcomes))).collect(),
    })
}
