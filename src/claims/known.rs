//! What this daemon knows about the plan of all hosts: one value, which the daemon replaces and views read.
//!
//! Promises: a reader gets a consistent value and never waits; a plan file that cannot be used does not replace one that could.
//! Does not read the books: which slices this host really holds is in the plan.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use super::division::{Division, HostPlan, SlicedPool};
use super::file::PlanFileError;
use crate::config::{PlanKeeper, PlanSource};
use crate::plan::prefix::Prefix;
use crate::plan::settings::{Base, Millis, Settings};

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

    /// Notes how the plan's store does; has no effect before the first plan is known.
    pub fn note_health(&self, health: StoreHealth) {
        self.0.send_modify(|plan| {
            if let Some(plan) = plan {
                Arc::make_mut(plan).store = Some(health);
            }
        });
    }

    /// Receives each new value.
    pub fn follow(&self) -> watch::Receiver<Option<Arc<HostsPlan>>> {
        self.0.subscribe()
    }
}

/// Where the plan is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanPlace {
    /// A plan file, which people write.
    File(PathBuf),
    /// A store in which the hosts claim slices, by its endpoints.
    Etcd(Vec<String>),
}

impl PlanPlace {
    pub fn of(keeper: &PlanKeeper) -> Self {
        match keeper {
            PlanKeeper::File(path) => Self::File(path.clone()),
            PlanKeeper::Etcd(etcd) => Self::Etcd(etcd.endpoints.iter().map(ToString::to_string).collect()),
        }
    }
}

impl fmt::Display for PlanPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(formatter, "{}", path.display()),
            Self::Etcd(endpoints) => write!(formatter, "etcd at {}", endpoints.join(", ")),
        }
    }
}

/// How the store of the plan does, from the view of this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreHealth {
    /// Whether a person let this host join the plan.
    pub joined: bool,
    /// When the store last answered; `None`: never since the start.
    pub answered: Option<Millis>,
    /// Why the last call was not answered.
    pub trouble: Option<String>,
    /// Since when what is known of other hosts may be out of date; `None` while the store answers.
    pub stale_since: Option<Millis>,
    /// Hosts that have not confirmed their slices since the store was restored: until then nobody claims.
    pub awaited: Vec<String>,
    /// Why this host claims nothing any more until it is restarted.
    pub stopped: Option<String>,
}

/// What the plan says, from the view of one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostsPlan {
    /// The name of this host.
    pub host: String,
    /// The id of this host in the plan's store; `None` with a plan file.
    pub id: Option<String>,
    pub place: PlanPlace,
    /// Who has what; `None` if no usable plan was read since the start.
    pub division: Option<Arc<Division>>,
    /// Why the newest plan cannot be used, if that is so.
    pub error: Option<String>,
    /// Bases of this host's pools from which it may not give, and why: the plan divides them differently, or not at all.
    pub refused: BTreeMap<Prefix, String>,
    /// The store of the plan; `None` with a plan file.
    pub store: Option<StoreHealth>,
}

impl HostsPlan {
    /// The plan before anything is known of it: the slices in the books go on to be served.
    pub fn unread(source: &PlanSource) -> Self {
        Self {
            host: source.host.clone(),
            id: None,
            place: PlanPlace::of(&source.keeper),
            division: None,
            error: None,
            refused: BTreeMap::new(),
            store: source.etcd().map(|_| StoreHealth::default()),
        }
    }

    /// The plan at a start, with a plan file that was just read. If it cannot be used, the plan says why, and the slices in the
    /// books go on to be served.
    pub fn at_start(source: &PlanSource, file: Result<Division, PlanFileError>, settings: &Settings) -> Self {
        let mut plan = Self::unread(source);
        match file {
            Ok(division) => {
                plan.refused = plan.refusals(&division, settings);
                plan.error = plan.missing(&division).or_else(|| plan.refused.values().next().cloned());
                plan.division = Some(Arc::new(division));
            }
            Err(error) => plan.error = Some(described(&error)),
        }
        plan
    }

    /// The plan after a reload: any mistake in the file, and any pool that it divides differently, is refused.
    pub fn at_reload(
        source: &PlanSource,
        file: Result<Division, PlanFileError>,
        settings: &Settings,
    ) -> Result<Self, String> {
        let plan = Self::at_start(source, file, settings);
        plan.error.clone().map_or(Ok(plan), Err)
    }

    /// The plan of a store, as it was known before a reload. Replaced as soon as the store is read again.
    ///
    /// # Errors
    /// If the reload brings a pool that the plan divides differently. One that was there before gives nothing anyway, and stays so.
    pub fn kept(before: Option<&Self>, source: &PlanSource, settings: &Settings) -> Result<Self, String> {
        let of_store = before.filter(|before| matches!(before.place, PlanPlace::Etcd(_)));
        let mut plan = of_store.cloned().unwrap_or_else(|| Self::unread(source));
        plan.refused =
            plan.division.as_ref().map(|division| plan.refusals(division, settings)).unwrap_or_default();
        let known = |base: &Prefix| before.is_some_and(|before| before.refused.contains_key(base));
        match plan.refused.iter().find(|(base, _)| !known(base)) {
            Some((_, why)) => Err(why.clone()),
            None => Ok(plan),
        }
    }

    /// This host in the plan.
    pub fn own(&self) -> Option<&HostPlan> {
        let division = self.division.as_ref()?;
        match &self.id {
            Some(id) => division.host_by_id(id),
            None => division.host(&self.host),
        }
    }

    /// Whether this is the host of these books.
    pub fn is_own(&self, host: &HostPlan) -> bool {
        match (&self.id, &host.record) {
            (Some(id), Some(record)) => record.id == *id,
            _ => host.name.eq_ignore_ascii_case(&self.host),
        }
    }

    /// The other host to which this prefix belongs, and the slice that contains it.
    pub fn other_owner(&self, prefix: Prefix) -> Option<(&HostPlan, Prefix)> {
        let (slice, host) = self.division.as_ref()?.owners_of(prefix).next()?;
        (slice.contains(prefix) && !self.is_own(host)).then_some((host, slice))
    }

    /// The slices that a plan file gives to this host; `None` if none is known, or if the hosts claim slices in a store: those in
    /// the books stay.
    pub fn wanted(&self) -> Option<BTreeSet<Prefix>> {
        self.division.as_ref().filter(|_| matches!(self.place, PlanPlace::File(_)))?;
        let slices = self.own().into_iter().flat_map(|host| host.slices.iter().copied());
        Some(slices.filter(|slice| !self.refused.keys().any(|base| base.overlaps(*slice))).collect())
    }

    /// Changed settings for pools that the plan divides and this host's configuration does not. They put such a pool in slices, and as
    /// this host has none of them, the pool gives nothing and says why. `None` if there is no such pool.
    pub fn refusing(&self, settings: &Settings) -> Option<Settings> {
        let mut refusing = settings.clone();
        let bases = refusing.pools.iter_mut().flat_map(|pool| pool.v4.iter_mut().chain(&mut pool.v6));
        for base in bases.filter(|base| base.slice.is_none() && self.refused.contains_key(&base.base)) {
            let pools = self.division.iter().flat_map(|division| &division.pools);
            let around = pools.into_iter().find(|pool| pool.base.overlaps(base.base));
            base.slice = around.map(|pool| match self.place {
                PlanPlace::File(_) => pool.slice.clamp(base.base.length(), base.size),
                // The store would give slices to a host whose pool looks as its own.
                PlanPlace::Etcd(_) if pool.slice == base.base.length() => base.size,
                PlanPlace::Etcd(_) => base.base.length(),
            });
        }
        (refusing != *settings).then_some(refusing)
    }

    fn missing(&self, division: &Division) -> Option<String> {
        if division.host(&self.host).is_some() {
            return None;
        }
        let names: Vec<&str> = division.hosts.iter().take(9).map(|host| host.name.as_str()).collect();
        Some(format!(
            "{} does not have host {}, but {}; set [plan] host, or add a [[host]] (slices = [] if it gives none)",
            self.place,
            self.host,
            names.join(", ")
        ))
    }

    /// The bases of this host's pools that the plan divides differently, with both values.
    pub(super) fn refusals(&self, division: &Division, settings: &Settings) -> BTreeMap<Prefix, String> {
        let open = settings.pools.iter().filter(|pool| !pool.closed);
        let bases = open.flat_map(|pool| pool.bases().map(|base| (pool.name.as_str(), base)));
        bases
            .filter_map(|(pool, base)| Some((base.base, difference(pool, base, division, &self.place)?)))
            .collect()
    }
}

/// Why the plan cannot serve this base, with both values; `None` if both agree. A store gets the pools that it lacks by their first
/// claim.
fn difference(pool: &str, base: &Base, division: &Division, place: &PlanPlace) -> Option<String> {
    let known = division.pools.iter().find(|known| known.base.overlaps(base.base));
    let own = base.slice.map(|slice| SlicedPool {
        base: base.base,
        slice,
        shared: known.and_then(|known| known.shared).map(|_| base.shared.is_some()),
        by_number: base.shared.and_then(|shared| shared.by_number),
    });
    let there = match (known, place) {
        (known, _) if known == own.as_ref() => return None,
        (Some(known), _) => format!("{place} has {} {}", known.base, cut(known)),
        (None, PlanPlace::Etcd(_)) => return None,
        (None, PlanPlace::File(_)) => format!("{place} does not have it"),
    };
    let whole = |own: &&SlicedPool| own.slice > own.base.length() || matches!(place, PlanPlace::File(_));
    let here = own.as_ref().filter(whole).map_or_else(|| "without slices".to_owned(), cut);
    let mend = match place {
        PlanPlace::File(_) => "make both the same, then run gipam reload",
        PlanPlace::Etcd(_) => "make the settings of this host the same, then run gipam reload",
    };
    Some(format!("pool {pool} is {} {here}, but {there}; {mend}", base.base))
}

/// How a pool is cut, for people.
fn cut(pool: &SlicedPool) -> String {
    let shared = if pool.shared == Some(true) { " of one LAN" } else { "" };
    let by_number = pool.by_number.map_or_else(String::new, |part| format!(" and {part} by number"));
    format!("in slices of /{}{shared}{by_number}", pool.slice)
}

/// An error with its cause, in one line.
fn described(error: &PlanFileError) -> String {
    match error {
        PlanFileError::Unreadable { source, .. } => format!("{error}: {source}"),
        _ => error.to_string(),
    }
}
