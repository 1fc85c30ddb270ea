//! `gipam slices` and `gipam routes`: which host has which part of the divided pools, and the routes to the
//! others.
//!
//! Promises: this host's own slices come from the plan, those of others from the plan of all hosts; both are
//! in the order of their prefixes. If no plan is known, the slices of others are unknown and not guessed. Changes
//! nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Refusal;
use super::count::Count;
use super::hosts::{StoreRow, no_plan, unknown};
use super::listing::Listing;
use super::query::Query;
use super::routes::{self, RouteRow, RoutedHost};
use super::sink::Sink;
use super::views::View;
use crate::claims::HostsPlan;
use crate::claims::division::{Division, HostPlan, SlicedPool};
use crate::plan::Plan;
use crate::plan::counts::SliceCounts;
use crate::plan::prefix::{Prefix, gaps};
use crate::plan::settings::Base;
use crate::plan::slices::SliceState;

/// The hosts between which routes lead; those that a person forgot are gone for good.
pub fn routed_hosts(plan: &HostsPlan) -> Vec<RoutedHost> {
    let hosts = plan.division.iter().flat_map(|division| &division.hosts);
    let routed = |host: &HostPlan| RoutedHost {
        name: host.name.clone(),
        via: host.via.clone(),
        slices: host.slices.clone(),
    };
    hosts.filter(|host| !host.is_forgotten()).map(routed).collect()
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
    /// `held`, `leaving`, `lost` (another host has it, and this host still has networks in it), `forgotten` (its host is gone for
    /// good, and others may take it), `unclear` (this version cannot read whose it is) or `free`.
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

/// The state of a part that no host has.
const FREE: &str = "free";

/// The state of the plan of several hosts, for the status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PlanRow {
    /// The name of this host; `null` if no plan is configured.
    pub host: Option<String>,
    /// The plan file, or the endpoints of etcd.
    pub file: Option<String>,
    /// Why the plan cannot be used.
    pub error: Option<String>,
    /// Slices that this host holds.
    pub held: u64,
    /// Slices that it gives back.
    pub leaving: u64,
    /// Slices that belong to another host although this host has networks in them.
    pub lost: u64,
    /// How many more subnets of their pool's size fit into the slices held.
    pub room: Count,
    /// Hosts of the plan, except those that a person forgot.
    pub hosts: u64,
    /// Slices of other hosts; `null` if they are unknown here.
    pub others: Option<u64>,
    /// Slices that no host has; `null` if they are unknown here.
    pub free: Option<Count>,
    /// The store of the plan; `null` with a plan file.
    pub store: Option<StoreRow>,
}

/// A slice as the books and the plan of all hosts know it.
#[derive(Clone, Debug)]
struct KnownSlice {
    prefix: Prefix,
    /// In the books of this host.
    state: Option<SliceState>,
    host: Option<String>,
    /// Its state if it is not in the books.
    elsewhere: &'static str,
    contested: bool,
}

impl KnownSlice {
    fn row(&self, plan: &Plan) -> SliceRow {
        let pool = plan.pool_around(self.prefix);
        let base = pool.and_then(|pool| pool.base(self.prefix.family()));
        let counts = match (base, self.state) {
            (Some(base), Some(_)) => Some(plan.count_in_slice(base, self.prefix)),
            (Some(base), None) if self.elsewhere == FREE => Some((0, whole(base, self.prefix))),
            _ => None,
        };
        let shared = base.is_some_and(|base| base.shared.is_some());
        let is_lost = self.state == Some(SliceState::Lost);
        SliceRow {
            pool: pool.map(|pool| pool.name.clone()),
            family: self.prefix.family().name().to_owned(),
            slice: self.prefix.to_string(),
            host: self.host.clone(),
            state: self.state.map_or(self.elsewhere, SliceState::name).to_owned(),
            of: if shared { "addresses" } else { "subnets" }.to_owned(),
            used: counts.map(|(used, _)| Count(used)),
            room: counts.map(|(_, room)| Count(if is_lost { 0 } else { room })),
            contested: self.contested,
        }
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

/// All slices and free parts.
fn known_slices(plan: &Plan, known: Option<&HostsPlan>) -> Vec<KnownSlice> {
    let own = known.map(own_name);
    let mut slices: BTreeMap<Prefix, KnownSlice> = BTreeMap::new();
    for slice in plan.slices().iter() {
        let other = known.and_then(|known| known.other_owner(slice.prefix));
        let other = other.map(|(host, _)| host.name.clone());
        let is_lost = slice.state == SliceState::Lost;
        slices.insert(
            slice.prefix,
            KnownSlice {
                prefix: slice.prefix,
                state: Some(slice.state),
                contested: other.is_some() || is_lost,
                host: if is_lost { other } else { own.clone() },
                elsewhere: FREE,
            },
        );
    }
    let division = known.and_then(|known| Some((known, known.division.as_deref()?)));
    for (known, (prefix, host)) in division
        .iter()
        .flat_map(|(known, division)| division.slices().into_iter().map(move |slice| (*known, slice)))
    {
        let is_own = host.is_some_and(|host| known.is_own(host));
        let elsewhere = match host {
            Some(host) if host.is_forgotten() => "forgotten",
            Some(_) => SliceState::Held.name(),
            None => "unclear",
        };
        slices.entry(prefix).or_insert_with(|| KnownSlice {
            prefix,
            state: None,
            host: host.map(|host| host.name.clone()),
            elsewhere,
            contested: !is_own && plan.slices().meeting(prefix).next().is_some(),
        });
    }
    let divided = plan.settings().pools.iter().flat_map(|pool| pool.bases());
    let mut bases: Vec<Prefix> = divided.filter(|base| base.slice.is_some()).map(|base| base.base).collect();
    bases.extend(division.iter().flat_map(|(_, division)| &division.pools).map(|pool| pool.base));
    bases.sort_unstable();
    bases.dedup();
    // If the plan is not known, nobody knows what is free.
    let complete = division.is_some_and(|(_, division)| division.complete);
    let free = bases.into_iter().filter(|_| complete).flat_map(|base| gaps(&slices, base));
    let free: Vec<Prefix> = free.collect();
    slices.extend(free.into_iter().map(|prefix| {
        (prefix, KnownSlice { prefix, state: None, host: None, elsewhere: FREE, contested: false })
    }));
    slices.into_values().collect()
}

/// The name of this host, as the plan spells it.
pub(super) fn own_name(known: &HostsPlan) -> String {
    known.own().map_or_else(|| known.host.clone(), |host| host.name.clone())
}

impl PlanRow {
    /// The state of the plan, as far as plan and plan file know it; `None` if neither has anything to say.
    pub(super) fn new(counts: &SliceCounts, known: Option<&HostsPlan>) -> Option<Self> {
        let SliceCounts { held, leaving, lost, room } = *counts;
        let is_divided = known.is_some() || held + leaving + lost > 0;
        let division = known.and_then(|known| known.division.as_deref());
        let others = |(known, division): (&HostsPlan, &Division)| {
            let others = division.hosts.iter().filter(|host| !known.is_own(host));
            others.map(|host| host.slices.len() as u64).sum()
        };
        is_divided.then(|| Self {
            host: known.map(own_name),
            file: known.map(|known| known.place.to_string()),
            error: known.and_then(|known| known.error.clone()),
            held,
            leaving,
            lost,
            room: Count(room),
            hosts: division.map_or(0, |division| {
                division.hosts.iter().filter(|host| !host.is_forgotten()).count() as u64
            }),
            others: known.zip(division.filter(|division| division.complete)).map(others),
            free: division.and_then(Division::free).map(Count),
            store: known.and_then(|known| known.store.as_ref()).map(StoreRow::from),
        })
    }
}

/// What the books of this host say about its routes.
#[derive(Clone, Debug, Default)]
pub struct BooksOfRoutes {
    /// The slices that it has.
    own: Vec<Prefix>,
    /// Pools that are one LAN of several hosts, which needs no routes.
    lans: Vec<Prefix>,
}

impl BooksOfRoutes {
    pub fn of(plan: &Plan) -> Self {
        let own = plan.slices().iter().filter(|slice| slice.state != SliceState::Lost);
        let bases = plan.settings().pools.iter().flat_map(|pool| pool.bases());
        let lans = bases.filter(|base| base.shared.is_some());
        Self { own: own.map(|slice| slice.prefix).collect(), lans: lans.map(|base| base.base).collect() }
    }
}

/// The routes on this host, or on the named one, sorted by prefix. The hosts of a pool that is one LAN reach each other without.
pub fn routes_of(
    known: &HostsPlan,
    books: BooksOfRoutes,
    wanted: Option<String>,
) -> Result<Vec<RouteRow>, Refusal> {
    let (mut hosts, own) = (routed_hosts(known), own_name(known));
    let BooksOfRoutes { own: slices, mut lans } = books;
    // The books know best which slices this host has; a slice that it gives back is still its own.
    if let Some(host) = hosts.iter_mut().find(|host| host.name == own).filter(|_| !slices.is_empty()) {
        host.slices = slices;
    }
    let pools = known.division.iter().flat_map(|division| &division.pools);
    let is_lan = |pool: &&SlicedPool| pool.shared == Some(true) || pool.by_number.is_some();
    lans.extend(pools.filter(is_lan).map(|pool| pool.base));
    let is_routed = |slice: &Prefix| !lans.iter().any(|lan| lan.contains(*slice));
    hosts.iter_mut().for_each(|host| host.slices.retain(is_routed));
    let wanted = wanted.unwrap_or(own);
    // The case of letters does not matter, as in the plan file.
    let named = hosts.iter().find(|host| host.name.eq_ignore_ascii_case(&wanted));
    let wanted = named.map_or(wanted.clone(), |host| host.name.clone());
    routes::rows(&hosts, &wanted)
}

impl View {
    /// Answers with the slices: all of them, or one page if the query has a `limit`.
    pub(super) fn slices(&self, query: Query<'_>, sink: &mut Sink<'_>) -> Result<(), Refusal> {
        let known = self.known_hosts();
        let slices = self.source.look(move |plan| known_slices(plan, known.as_deref()))?;
        let mut listing = Listing::read(query)?;
        let row = |plan: &Plan, slice: &KnownSlice| Some(slice.row(plan));
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
        let known = self.known_hosts().ok_or_else(no_plan)?;
        if known.division.as_ref().is_none_or(|division| !division.complete) {
            return Err(unknown(&known));
        }
        let books = self.source.look(BooksOfRoutes::of)?;
        routes_of(&known, books, query.text("host")?)
    }
}
