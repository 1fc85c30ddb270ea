//! What this daemon knows about the plan of all hosts: one value, which the daemon replaces and views read.
//!
//! Promises: a reader gets a consistent value and never waits; a plan file that cannot be used does not replace one that could.
//! Does not read the books: which slices this host really holds is in the plan.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;

use super::file::{HostPlan, PlanFile, PlanFileError, SlicedPool};
use crate::config::PlanSource;
use crate::plan::prefix::Prefix;
use crate::plan::settings::{Base, Settings};

/// The plan of all hosts, as this daemon knows it; cheap to clone. Empty without `[plan]`.
#[derive(Clone, Debug)]
pub struct SharedPlan(Arc<watch::Sender<Option<Arc<HostsPlan>>>>);

impl Default for SharedPlan {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl SharedPlan {
    /// The plan as it is known now; `None` without `[plan]`.
    pub fn get(&self) -> Option<Arc<HostsPlan>> {
        self.0.borrow().clone()
    }

    pub fn set(&self, plan: Option<HostsPlan>) {
        self.0.send_replace(plan.map(Arc::new));
    }

    /// Notes why the newest plan file was refused; the plan before it stays in force.
    pub fn note_refused(&self, why: String) {
        self.0.send_modify(|plan| {
            if let Some(plan) = plan {
                Arc::make_mut(plan).error = Some(why);
            }
        });
    }

    /// Receives each new value.
    pub fn follow(&self) -> watch::Receiver<Option<Arc<HostsPlan>>> {
        self.0.subscribe()
    }
}

/// What the plan file says, from the view of one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostsPlan {
    /// The name of this host.
    pub host: String,
    /// The path of the plan file.
    pub path: PathBuf,
    /// The plan in force; `None` if there was no usable plan file since the start.
    pub file: Option<Arc<PlanFile>>,
    /// Why the newest plan file cannot be used, if that is so.
    pub error: Option<String>,
    /// Bases of this host's pools from which it may not give, and why: the plan file divides them differently, or not at all.
    pub refused: BTreeMap<Prefix, String>,
}

impl HostsPlan {
    /// The plan at a start, with a plan file that was just read. If it cannot be used, the plan says why, and the slices in the
    /// books go on to be served.
    pub fn at_start(source: &PlanSource, file: Result<PlanFile, PlanFileError>, settings: &Settings) -> Self {
        let mut plan = Self {
            host: source.host.clone(),
            path: source.file().cloned().unwrap_or_default(),
            file: None,
            error: None,
            refused: BTreeMap::new(),
        };
        match file {
            Ok(file) => {
                plan.refused = plan.refusals(&file, settings);
                plan.error = plan.missing(&file).or_else(|| plan.refused.values().next().cloned());
                plan.file = Some(Arc::new(file));
            }
            Err(error) => plan.error = Some(described(&error)),
        }
        plan
    }

    /// The plan after a reload: any mistake in the file, and any pool that it divides differently, is refused.
    pub fn at_reload(
        source: &PlanSource,
        file: Result<PlanFile, PlanFileError>,
        settings: &Settings,
    ) -> Result<Self, String> {
        let plan = Self::at_start(source, file, settings);
        plan.error.clone().map_or(Ok(plan), Err)
    }

    /// This host in the plan.
    pub fn own(&self) -> Option<&HostPlan> {
        self.file.as_ref()?.host(&self.host)
    }

    /// The slices that this host is to hold; `None` if no plan file is known, so that those in the books stay.
    pub fn wanted(&self) -> Option<BTreeSet<Prefix>> {
        self.file.as_ref()?;
        let slices = self.own().into_iter().flat_map(|host| host.slices.iter().copied());
        Some(slices.filter(|slice| !self.refused.keys().any(|base| base.overlaps(*slice))).collect())
    }

    fn missing(&self, file: &PlanFile) -> Option<String> {
        if file.host(&self.host).is_some() {
            return None;
        }
        let names: Vec<&str> = file.hosts.iter().take(9).map(|host| host.name.as_str()).collect();
        Some(format!(
            "{} does not have host {}, but {}; set [plan] host, or add a [[host]] (slices = [] if it gives none)",
            self.path.display(),
            self.host,
            names.join(", ")
        ))
    }

    /// The bases of this host's pools that the file divides differently, with both values.
    fn refusals(&self, file: &PlanFile, settings: &Settings) -> BTreeMap<Prefix, String> {
        let open = settings.pools.iter().filter(|pool| !pool.closed);
        let bases = open.flat_map(|pool| pool.bases().map(|base| (pool.name.as_str(), base)));
        bases
            .filter_map(|(pool, base)| Some((base.base, difference(pool, base, file, &self.path)?)))
            .collect()
    }
}

/// Why the file cannot serve this base, with both values; `None` if both agree.
fn difference(pool: &str, base: &Base, file: &PlanFile, path: &Path) -> Option<String> {
    let known = file.pools.iter().find(|known| known.base.overlaps(base.base));
    let by_number = base.shared.and_then(|shared| shared.by_number);
    let same = |known: &SlicedPool| {
        known.base == base.base && Some(known.slice) == base.slice && known.by_number == by_number
    };
    let path = path.display();
    let there = match known {
        Some(known) if same(known) => return None,
        None if base.slice.is_none() => return None,
        Some(known) => {
            format!(
                "{path} has {} in slices of /{}{}",
                known.base,
                known.slice,
                by_number_text(known.by_number)
            )
        }
        None => format!("{path} does not have it"),
    };
    let here = base.slice.map_or("without slices".to_owned(), |slice| {
        format!("in slices of /{slice}{}", by_number_text(by_number))
    });
    Some(format!(
        "pool {pool} is {} {here}, but {there}; make both the same, then run gipam reload",
        base.base
    ))
}

fn by_number_text(part: Option<Prefix>) -> String {
    part.map_or_else(String::new, |part| format!(" and {part} by number"))
}

/// An error with its cause, in one line.
fn described(error: &PlanFileError) -> String {
    match error {
        PlanFileError::Unreadable { source, .. } => format!("{error}: {source}"),
        _ => error.to_string(),
    }
}
