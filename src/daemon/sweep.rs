//! Removes closed pools and lost slices when their last subnet is released.
//!
//! Promises: checks one second after a commit and at no other time, so that an idle daemon stays idle; the
//! ledger decides, so that no subnet can be granted in between. If the daemon stops before a check, the next
//! start removes the pool.

use std::time::Duration;

use crate::claims::{self, HostsPlan, SharedPlan};
use crate::ledger::{Altered, Ledger};
use crate::plan::Plan;
use crate::plan::slices::SliceState;
use crate::settle::difference;

/// The time from a commit to the check, so that there is at most one check per second.
const PAUSE: Duration = Duration::from_secs(1);

/// Checks after commits, until the ledger ends.
pub(super) async fn sweep(ledger: Ledger, known: SharedPlan) {
    let mut commits = ledger.meters().follow();
    while commits.changed().await.is_ok() {
        tokio::time::sleep(PAUSE).await;
        commits.mark_unchanged();
        let hosts = known.get();
        if let Err(refusal) = ledger.alter(move |plan| Ok((swept(plan, hosts.as_deref()), ()))).await {
            tracing::debug!("closed pools and lost slices are not removed yet: {refusal}");
        }
    }
}

fn swept(plan: &Plan, hosts: Option<&HostsPlan>) -> Altered {
    let settings = plan.without_empty_pools(plan.settings());
    for line in settings.iter().flat_map(|settings| difference(plan.settings(), settings)) {
        tracing::info!("{line}; it was closed, and its last subnet has been released");
    }
    let lost = plan.slices().iter().any(|slice| slice.state == SliceState::Lost);
    let (altered, lines) = if lost { claims::altered(plan, hosts) } else { Default::default() };
    lines.iter().for_each(|line| tracing::info!("{line}"));
    Altered { settings, ..altered }
}
