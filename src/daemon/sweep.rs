//! Closed pools go when their last subnet is released.
//!
//! Promises: looks a second after something was committed and never by itself, so that an idle daemon stays idle; the
//! ledger decides, so that no subnet can come between. Nothing is lost if it does not run: the next start does the same.

use std::time::Duration;

use crate::ledger::{Altered, Ledger};
use crate::plan::Plan;
use crate::settle::difference;

/// Most looks are one a second.
const PAUSE: Duration = Duration::from_secs(1);

/// Looks after commits until the ledger ends.
pub(super) async fn sweep(ledger: Ledger) {
    let mut commits = ledger.meters().follow();
    while commits.changed().await.is_ok() {
        tokio::time::sleep(PAUSE).await;
        commits.mark_unchanged();
        if let Err(refusal) = ledger.alter(|plan| Ok((swept(plan), ()))).await {
            tracing::debug!("closed pools stay for now: {refusal}");
        }
    }
}

fn swept(plan: &Plan) -> Altered {
    let settings = plan.without_empty_pools(plan.settings());
    for line in settings.iter().flat_map(|settings| difference(plan.settings(), settings)) {
        tracing::info!("{line}; it was closed, and its last subnet is released");
    }
    Altered { settings, ..Altered::default() }
}
