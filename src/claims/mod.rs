//! The slices of pools that several hosts share: which host has which, and how this host gets its own.
//!
//! Promises: a slice is in the books before a network is cut from it; nothing here is called within a request to Docker.
//! Does not choose subnets or addresses: that is the plan's work, inside the slices of this host.

pub mod answers;
pub mod apply;
pub mod around;
pub mod books;
pub mod division;
pub mod etcd;
pub mod file;
mod from_books;
pub mod from_store;
pub mod handle;
pub mod known;
pub mod machine;
mod parse;
pub mod task;

use self::division::Division;
pub use self::known::{HostsPlan, PlanPlace, SharedPlan, StoreHealth};
use crate::config::PlanSource;
use crate::ledger::{Altered, Ledger};
use crate::plan::Plan;
use crate::plan::error::Refusal;

/// At a start, before anything is served: reads the plan file and brings the slices of this host into the books.
pub async fn start(ledger: &Ledger, source: Option<PlanSource>, known: &SharedPlan) -> Result<(), Refusal> {
    // Slices that the hosts claim through etcd are in the books already.
    if let Some(source) = source.as_ref().filter(|source| source.etcd().is_some()) {
        known.set(Some(HostsPlan::unread(source)));
        return Ok(());
    }
    let file = source.as_ref().and_then(PlanSource::file).map(|path| Division::read(path));
    let begin = move |plan: &Plan| {
        let hosts =
            source.zip(file).map(|(source, file)| HostsPlan::at_start(&source, file, plan.settings()));
        let (altered, lines) = altered(plan, hosts.as_ref());
        // A reload is refused as a whole then, so that only a start can find such a pool.
        let settings = hosts.as_ref().and_then(|hosts| hosts.refusing(plan.settings()));
        Ok((Altered { settings, ..altered }, (hosts, lines)))
    };
    let (hosts, lines) = ledger.alter(begin).await?;
    lines.iter().for_each(|line| tracing::info!("{line}"));
    if let Some(error) = hosts.as_ref().and_then(|hosts| hosts.error.as_ref()) {
        tracing::error!("the plan of all hosts: {error}");
    }
    known.set(hosts);
    Ok(())
}

/// Brings the slices of this host into the books; returns a line for each change.
pub fn altered(plan: &Plan, hosts: Option<&HostsPlan>) -> (Altered, Vec<String>) {
    let apply::SliceChanges { changes, lines, .. } = apply::changes(plan, hosts);
    (Altered { changes, ..Altered::default() }, lines)
}
