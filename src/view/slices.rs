//! `gipam slices` and `gipam routes`: which host has which part of the divided pools, and the routes to the
//! others.
//!
//! Promises: this host's own slices come from the plan, those of others from the plan file; both are in the
//! order of their prefixes. Without a plan file, the slices of others are unknown and not guessed. Changes
//! nothing.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::count::Count;
use super::listing::Listing;
use super::query::Query;
use super::routes::{self, RouteRow, RoutedHost};
use super::sink::Sink;
use super::views::View;
use super::{ErrorKind, Refusal};
use crate::claims::HostsPlan;
use crate::claims::file::HostPlan;
use crate::plan::Plan;
use crate::plan::counts::SliceCounts;
use crate::plan::prefix::{Prefix, gaps};
use crate::plan::settings::Base;
use crate::plan::slices::SliceState;

/// What the plan of several hosts says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownHosts {
    /// The name of this host.
    pub own: String,
    /// All hosts, this one included.
    pub hosts: Vec<RoutedHost>,
    /// The divided pools, by base.
    pub pools: Vec<Prefix>,
    /// The plan file.
    pub file: String,
    /// Why the file cannot be used; `hosts` are then those of the last file that could.
    pub error: Option<String>,
}

impl KnownHosts {
    /// What the plan of all hosts says.
    pub fn of(plan: &HostsPlan) -> Self {
        let file = plan.file.as_deref();
        let hosts = file.map(|file| file.hosts.iter().map(routed).collect()).unwrap_or_default();
        Self {
            own: plan.own().map_or_else(|| plan.host.clone(), |host| host.name.clone()),
            hosts,
            pools: file.map(|file| file.pools.iter().map(|pool| pool.base).collect()).unwrap_or_default(),
            file: plan.path.display().to_string(),
            error: plan.error.clone(),
        }
    }

    /// The other host to which this prefix belongs, and the slice that contains it.
    pub fn owner(&self, prefix: Prefix) -> Option<(&RoutedHost, Prefix)> {
        let others = self.hosts.iter().filter(|host| host.name != self.own);
        let slices = others.flat_map(|host| host.slices.iter().map(move |slice| (host, *slice)));
        slices.into_iter().find(|(_, slice)| slice.contains(prefix))
    }
}

fn routed(host: &HostPlan) -> RoutedHost {
    RoutedHost { name: host.name.clone(), via: host.via.clone(), slices: host.slices.clone() }
}

/// A slice, or a part of a divided pool that no host has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SliceRow {
    /// The pool; `null` if this host has no such pool.
    pub pool: Option<String>,
    /// `v4` or `v6`.
    pub family: String,
    pub slice: String,
    /// The host to which it belongs; `null` if it is free.
    pub host: Option<String>,
    /// `held`, `leaving`, `lost` (another host has it, and this host still has networks in it) or `free`.
    pub state: String,
    /// What is cut from it: `subnets`, or `addresses` if the pool is one subnet of several hosts.
    pub of: String,
    /// How many of these this host has in it; `null` for slices of other hosts.
    pub used: Option<Count>,
    /// How many more of the pool's size fit; `null` for slices of other hosts.
    pub room: Option<Count>,
    /// Whether this host and another one both have it, or a part of it.
    pub contested: bool,
}

/// The state of the plan of several hosts, for the status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PlanRow {
    /// The name of this host; `null` if no plan is configured.
    pub host: Option<String>,
    /// The plan file.
    pub file: Option<String>,
    /// Why the file cannot be used.
    pub error: Option<String>,
    /// Slices that this host holds.
    pub held: u64,
    /// Slices that it gives back.
    pub leaving: u64,
    /// Slices that belong to another host although this host has networks in them.
    pub lost: u64,
    /// How many more subnets of their pool's size fit into the slices held.
    pub room: Count,
}

/// A slice as the plan or the plan file knows it.
type KnownSlice = (Option<SliceState>, Option<String>);

/// The row of one slice or free part.
fn slice_row(plan: &Plan, prefix: Prefix, (state, host): &KnownSlice, contested: bool) -> SliceRow {
    let pool = plan.pool_around(prefix);
    let base = pool.and_then(|pool| pool.base(prefix.family()));
    let is_others = state.is_none() && host.is_some();
    let counts = base.filter(|_| !is_others).map(|base| match state {
        None => (0, whole(base, prefix)),
        Some(_) => plan.count_in_slice(base, prefix),
    });
    let shared = base.is_some_and(|base| base.shared.is_some());
    SliceRow {
        pool: pool.map(|pool| pool.name.clone()),
        family: prefix.family().name().to_owned(),
        slice: prefix.to_string(),
        host: host.clone(),
        state: match state {
            Some(state) => state.name(),
            None if is_others => SliceState::Held.name(),
            None => "free",
        }
        .to_owned(),
        of: if shared { "addresses" } else { "subnets" }.to_owned(),
        used: counts.map(|(used, _)| Count(used)),
        room: counts.map(|(_, room)| Count(if *state == Some(SliceState::Lost) { 0 } else { room })),
        contested,
    }
}

/// How many subnets of the pool's size, or addresses, a part that nobody has would give.
fn whole(base: &Base, part: Prefix) -> u128 {
    if base.shared.is_some() {
        return part.size();
    }
    let bits = u32::from(base.size.saturating_sub(part.length()));
    1u128.checked_shl(bits).unwrap_or(u128::MAX)
}

/// All slices and free parts; `true` if this host and another one both have it.
fn known_slices(plan: &Plan, known: Option<&KnownHosts>) -> Vec<(Prefix, KnownSlice, bool)> {
    let own = known.map(|known| known.own.clone());
    let mut slices: BTreeMap<Prefix, (KnownSlice, bool)> = BTreeMap::new();
    for slice in plan.slices().iter() {
        let other = known.and_then(|known| known.owner(slice.prefix)).map(|(host, _)| host.name.clone());
        let contested = other.is_some() || slice.state == SliceState::Lost;
        let host = if slice.state == SliceState::Lost { other } else { own.clone() };
        slices.insert(slice.prefix, ((Some(slice.state), host), contested));
    }
    for host in known.iter().flat_map(|known| &known.hosts) {
        let is_own = Some(&host.name) == own.as_ref();
        for slice in &host.slices {
            let contested = !is_own && plan.slices().meeting(*slice).next().is_some();
            slices.entry(*slice).or_insert_with(|| ((None, Some(host.name.clone())), contested));
        }
    }
    let divided =
        plan.settings().pools.iter().flat_map(|pool| pool.bases()).filter(|base| base.slice.is_some());
    let mut bases: Vec<Prefix> = divided.map(|base| base.base).collect();
    bases.extend(known.iter().flat_map(|known| &known.pools));
    bases.sort_unstable();
    bases.dedup();
    // Without a plan file nobody knows what is free.
    let free = bases.into_iter().filter(|_| known.is_some()).flat_map(|base| gaps(&slices, base));
    let free: Vec<Prefix> = free.collect();
    slices.extend(free.into_iter().map(|part| (part, ((None, None), false))));
    slices.into_iter().map(|(prefix, (known, contested))| (prefix, known, contested)).collect()
}

impl PlanRow {
    /// The state of the plan, as far as plan and plan file know it; `None` if neither has anything to say.
    pub(super) fn new(counts: &SliceCounts, known: Option<&KnownHosts>) -> Option<Self> {
        let SliceCounts { held, leaving, lost, room } = *counts;
        let is_divided = known.is_some() || held + leaving + lost > 0;
        is_divided.then(|| Self {
            host: known.map(|known| known.own.clone()),
            file: known.map(|known| known.file.clone()),
            error: known.and_then(|known| known.error.clone()),
            held,
            leaving,
            lost,
            room: Count(room),
        })
    }
}

impl View {
    /// Answers with the slices: all of them, or one page if the query has a `limit`.
    pub(super) fn slices(&self, query: Query<'_>, sink: &mut Sink<'_>) -> Result<(), Refusal> {
        let known = self.known_hosts();
        let slices = self.source.look(move |plan| known_slices(plan, known.as_deref()))?;
        let mut listing = Listing::read(query)?;
        let row = |plan: &Plan, (prefix, known, contested): &(Prefix, KnownSlice, bool)| {
            Some(slice_row(plan, *prefix, known, *contested))
        };
        self.source.each_of(slices, row, |row| {
            match &mut listing {
                Some(listing) => _ = listing.take(row),
                None => sink.row(&row)?,
            }
            Ok(())
        })?;
        match listing {
            Some(listing) => sink.value(&listing.page()),
            None => sink.end(),
        }
    }

    /// The routes of this host, or of the named one.
    pub(super) fn routes(&self, query: Query<'_>) -> Result<Vec<RouteRow>, Refusal> {
        let missing = |text: &str| Refusal::new(ErrorKind::Missing, text);
        let known = self.known_hosts().ok_or_else(|| {
            missing(
                "no plan of several hosts is configured; set file and host in [plan], then run gipam reload",
            )
        })?;
        if let (true, Some(error)) = (known.hosts.is_empty(), &known.error) {
            return Err(Refusal::new(ErrorKind::Failed, error.clone()));
        }
        let mut hosts = known.hosts.clone();
        let own = known.own.clone();
        // The books know best which slices this host has; a slice that it gives back is still its own.
        let mine = self.source.look(|plan| {
            let mine = plan.slices().iter().filter(|slice| slice.state != SliceState::Lost);
            mine.map(|slice| slice.prefix).collect::<Vec<_>>()
        })?;
        if let Some(host) = hosts.iter_mut().find(|host| host.name == own).filter(|_| !mine.is_empty()) {
            host.slices = mine;
        }
        let wanted = query.text("host")?.unwrap_or(own);
        // The case of letters does not matter, as in the plan file.
        let named = hosts.iter().find(|host| host.name.eq_ignore_ascii_case(&wanted));
        let wanted = named.map_or(wanted.clone(), |host| host.name.clone());
        routes::rows(&hosts, &wanted)
    }

    /// The other host that has this address, and its slice.
    pub(super) fn owner_of(&self, address: IpAddr) -> Option<(String, String)> {
        let known = self.known_hosts()?;
        known.owner(Prefix::host(address)).map(|(host, slice)| (host.name.clone(), slice.to_string()))
    }
}
