//! Removes closed pools when their last subnet is released.
//!
//! Promises: checks one second after a commit and at no other time, so that an idle daemon stays idle; the
//! ledger decides, so that no subnet can be granted in between. If the daemon stops before a check, the next
//! start removes the pool.

use std::time::Duration;

use crate::ledger::{Altered, Ledger};
use crate::plan::Plan;
use crate::settle::difference;

/// The time from a commit to the check, so that there is at most one check per second.
const PAUSE: Duration = Duration::from_secs(1);

/// Checks after commits, until the ledger ends.
pub(super) async fn sweep(ledger: Ledger) {
    let mut commits = ledger.meters().follow();
    while commits.changed().await.is_ok() {
        tokio::time::sleep(PAUSE).await;
        commits.mark_unchanged();
        if let Err(refusal) = ledger.alter(|plan| Ok((swept(plan), ()))).await {
            tracing::debug!("closed pools are not removed yet: {refusal}");
        }
    }
}

fn swept(plan: &Plan) -> Altered {
    let settings = plan.without_empty_pools(plan.settings());
    for line in settings.iter().flat_map(|settings| difference(plan.settings(), settings)) {
        tracing::info!("{line}; it was closed, and its last subnet has been released");
    }
    Altered { settings, ..Altered::default() }
}
