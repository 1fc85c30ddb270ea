//! `gipam hosts`: the hosts of the plan, and how the plan's store does.
//!
//! Promises: the same rows for a plan file and for a store, where the file leaves empty what only a store knows; this host's
//! own slices are counted in its books. Changes nothing, and judges nobody: a silent host is shown as it was last seen.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::slices::own_name;
use super::views::View;
use super::{ErrorKind, Refusal};
use crate::claims::division::{HostPlan, HostState};
use crate::claims::{HostsPlan, StoreHealth};
use crate::plan::prefix::Prefix;
use crate::plan::settings::rfc3339;
use crate::plan::slices::SliceState;

/// One host of the plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostRow {
    pub host: String,
    /// Whether it is this host.
    pub own: bool,
    /// `active`, `absent` (it has not confirmed its slices since the store was restored), `forgotten`, `unrecorded` (it has slices
    /// but no record) or `unreadable` (a later version wrote its record).
    pub state: String,
    /// The addresses at which other hosts reach it.
    pub via: Vec<IpAddr>,
    /// How many slices it has; `null` if they are unknown here.
    pub slices: Option<u64>,
    /// Its id in the plan's store.
    pub id: Option<String>,
    /// How many signs of life it gave.
    pub beat: Option<u64>,
    /// When this host first saw the last of them; `null` if that was before its driver started.
    pub sign: Option<String>,
    /// When a person said that it is gone for good.
    pub forgotten: Option<String>,
}

/// The store of the plan, as this host sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoreRow {
    /// Whether a person let this host join the plan.
    pub joined: bool,
    /// When the store last answered.
    pub answered: Option<String>,
    /// Why the last call was not answered.
    pub trouble: Option<String>,
    /// Since when what is known of other hosts may be out of date; `null` while the store answers.
    pub stale_since: Option<String>,
    /// Hosts that have not confirmed their slices since the store was restored: until then no host claims.
    pub awaited: Vec<String>,
    /// Why this host claims nothing until a person acts.
    pub stopped: Option<String>,
}

impl From<&StoreHealth> for StoreRow {
    fn from(health: &StoreHealth) -> Self {
        Self {
            joined: health.joined,
            answered: health.answered.map(rfc3339),
            trouble: health.trouble.clone(),
            stale_since: health.stale_since.map(rfc3339),
            awaited: health.awaited.clone(),
            stopped: health.stopped.clone(),
        }
    }
}

fn row(plan: &HostsPlan, host: &HostPlan, own_slices: u64) -> HostRow {
    let own = plan.is_own(host);
    let complete = plan.division.as_ref().is_some_and(|division| division.complete);
    let slices = match own {
        true => Some(own_slices),
        false => complete.then_some(host.slices.len() as u64),
    };
    let row = HostRow {
        host: host.name.clone(),
        own,
        state: HostState::Active.name().to_owned(),
        via: host.via.clone(),
        slices,
        ..HostRow::default()
    };
    let Some(record) = &host.record else { return row };
    HostRow {
        state: record.state.name().to_owned(),
        id: Some(record.id.clone()),
        beat: Some(record.beat),
        sign: record.sign_at.map(rfc3339),
        forgotten: record.fenced.map(rfc3339),
        ..row
    }
}

/// The text for a host without a plan.
pub(super) fn no_plan() -> Refusal {
    let text =
        "no plan of several hosts is configured; set host, and file or etcd, in [plan], then restart gipam";
    Refusal::new(ErrorKind::Missing, text)
}

impl View {
    /// The hosts of the plan.
    pub(super) fn host_rows(&self) -> Result<Vec<HostRow>, Refusal> {
        let known = self.known_hosts().ok_or_else(no_plan)?;
        let Some(division) = &known.division else { return Err(unknown(&known)) };
        let own_slices = self.source.look(|plan| {
            plan.slices().iter().filter(|slice| slice.state != SliceState::Lost).count() as u64
        })?;
        Ok(division.hosts.iter().map(|host| row(&known, host, own_slices)).collect())
    }

    /// The other host that has this address, and its slice.
    pub(super) fn owner_of(&self, address: IpAddr) -> Option<(String, String)> {
        let known = self.known_hosts()?;
        let (host, slice) = known.other_owner(Prefix::host(address))?;
        Some((host.name.clone(), slice.to_string()))
    }
}

/// Why nothing is known of the plan.
pub(super) fn unknown(known: &HostsPlan) -> Refusal {
    let text = known.error.clone().unwrap_or_else(|| {
        let trouble = known.store.as_ref().and_then(|store| store.trouble.as_ref());
        let why = trouble.map(|why| format!(": {why}")).unwrap_or_default();
        format!("host {} has not read the plan in {} since its start{why}", own_name(known), known.place)
    });
    Refusal::new(ErrorKind::Unavailable, text)
}
