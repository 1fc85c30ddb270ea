//! Which addresses containers have in some pools: all of them at first, then only those that have changed.
//!
//! Promises: a lease that is given or released costs one short look at the plan, however many leases there are; the plan's own state is
//! taken, never a guess from an event. If a read does not end, the next one reads everything. Gateways and auxiliary addresses do
//! not count. A held subnet belongs to the pool that gave it, also if the base of that pool has changed since.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::proxies::ProxiedBase;
use crate::ledger::{Budget, Ledger, TouchedLeases};
use crate::plan::Plan;
use crate::plan::change::{Kind, Record, Serial, SubnetState};
use crate::plan::prefix::Prefix;

/// How many addresses one look at the plan examines.
const LOOK: usize = 256;

/// What has changed since the last read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LeaseChanges {
    /// These are all leased addresses.
    All(BTreeSet<IpAddr>),
    /// Whether each of these addresses is leased now; all others are as before.
    Some(BTreeMap<IpAddr, bool>),
}

/// Follows the leases in some pools.
#[derive(Debug)]
pub(super) struct LeaseFollower {
    ledger: Ledger,
    /// The bases of the pools.
    bases: Arc<[ProxiedBase]>,
    /// The stale subnets of the pools, with the uplinks of their pools.
    stale: Vec<ProxiedBase>,
    /// `None` while no pool is followed.
    touched: Option<mpsc::UnboundedReceiver<Vec<TouchedLeases>>>,
    pending: Vec<TouchedLeases>,
    /// Whether everything has to be read.
    is_new: bool,
    /// The addresses known to be leased.
    known: BTreeSet<IpAddr>,
}

impl LeaseFollower {
    pub(super) fn new(ledger: Ledger) -> Self {
        let bases: Arc<[ProxiedBase]> = Arc::default();
        let (stale, pending, known) = (Vec::new(), Vec::new(), BTreeSet::new());
        Self { ledger, bases, stale, touched: None, pending, is_new: true, known }
    }

    /// The stale subnets and the bases that were last read. What comes first decides about an address in several of them.
    pub(super) fn places(&self) -> Vec<ProxiedBase> {
        [&self.stale[..], &self.bases[..]].concat()
    }

    /// Resolves when leases may have changed.
    pub(super) async fn changed(&mut self) {
        let Some(touched) = &mut self.touched else { return std::future::pending().await };
        match touched.recv().await {
            Some(more) => self.pending.extend(more),
            None => std::future::pending().await,
        }
    }

    /// The next read reads everything.
    pub(super) const fn doubt(&mut self) {
        self.is_new = true;
    }

    /// What has changed in the pools with these bases since the last call; `None` if the ledger has ended.
    pub(super) async fn changes(&mut self, bases: &[ProxiedBase]) -> Option<LeaseChanges> {
        if bases.is_empty() {
            (self.touched, self.is_new, self.bases) = (None, true, Arc::default());
            self.stale.clear();
            self.pending.clear();
            self.known.clear();
            return Some(LeaseChanges::All(BTreeSet::new()));
        }
        if *self.bases != *bases || self.touched.is_none() {
            (self.bases, self.is_new) = (bases.into(), true);
        }
        if self.touched.is_none() {
            self.touched = Some(self.ledger.follow_leases());
        }
        while let Some(Ok(more)) = self.touched.as_mut().map(mpsc::UnboundedReceiver::try_recv) {
            self.pending.extend(more);
        }
        // A subnet becomes stale only by a change of the pools.
        let is_stale = |prefix: &Prefix| self.stale.iter().any(|stale| stale.base == *prefix);
        self.is_new |= self.pending.iter().any(|touched| match touched {
            TouchedLeases::Pools => true,
            TouchedLeases::Subnet(prefix) => is_stale(prefix),
            TouchedLeases::Address(_) => false,
        });
        let was_new = std::mem::replace(&mut self.is_new, true);
        let pending = std::mem::take(&mut self.pending);
        // If this future is dropped at one of the reads, the next call reads everything.
        let changes = if was_new {
            let (all, stale) = self.read_all().await?;
            self.stale = stale;
            self.known.clone_from(&all);
            LeaseChanges::All(all)
        } else {
            let some = self.read(self.meant(&pending)).await?;
            for (address, is_leased) in &some {
                if *is_leased {
                    self.known.insert(*address)
                } else {
                    self.known.remove(address)
                };
            }
            LeaseChanges::Some(some)
        };
        self.is_new = false;
        Some(changes)
    }

    /// The addresses that may have changed.
    fn meant(&self, pending: &[TouchedLeases]) -> Vec<IpAddr> {
        let mut meant = BTreeSet::new();
        for touched in pending {
            match touched {
                TouchedLeases::Address(address) => {
                    let host = Prefix::host(*address);
                    let is_meant = is_in(&self.bases, host) || is_in(&self.stale, host);
                    meant.extend(is_meant.then_some(*address));
                }
                // A subnet that is granted has no leases yet, so only those that it had can change.
                TouchedLeases::Subnet(prefix) => {
                    let [first, last] = [prefix.first(), prefix.last()].map(|end| prefix.address(end));
                    meant.extend(self.known.range(first..=last));
                }
                TouchedLeases::Pools => {}
            }
        }
        meant.into_iter().collect()
    }

    /// Whether each of these addresses is leased.
    async fn read(&self, addresses: Vec<IpAddr>) -> Option<BTreeMap<IpAddr, bool>> {
        let mut read = BTreeMap::new();
        for part in addresses.chunks(LOOK) {
            let part = part.to_vec();
            let look = move |plan: &Plan| -> Vec<(IpAddr, bool)> {
                part.into_iter().map(|address| (address, is_leased(plan, address))).collect()
            };
            read.extend(self.ledger.look(look).await.ok()?);
        }
        Some(read)
    }

    /// All leased addresses, and the stale subnets.
    async fn read_all(&self) -> Option<(BTreeSet<IpAddr>, Vec<ProxiedBase>)> {
        let (mut all, mut stale, mut from) = (BTreeSet::new(), Vec::new(), Some((0, 0)));
        while let Some(here) = from {
            let bases = self.bases.clone();
            let look = move |plan: &Plan| bite(plan, &bases, here, &Budget::now());
            let found = self.ledger.look(look).await.ok()?;
            all.extend(found.leased);
            stale.extend(found.stale);
            from = found.next;
        }
        stale.dedup();
        Some((all, stale))
    }
}

fn is_in(places: &[ProxiedBase], prefix: Prefix) -> bool {
    places.iter().any(|place| place.base.contains(prefix))
}

/// A held subnet of one of these pools that lies outside the base of its pool, with that pool's uplink.
fn stale(bases: &[ProxiedBase], state: &SubnetState) -> Option<ProxiedBase> {
    let (pool, prefix) = (state.pool.as_deref()?, state.prefix);
    let own = bases.iter().find(|base| base.pool == pool && base.base.family() == prefix.family())?;
    (!own.base.contains(prefix)).then(|| ProxiedBase { base: prefix, ..own.clone() })
}

/// What one look has found.
#[derive(Debug, Default)]
struct LeasesFound {
    leased: Vec<IpAddr>,
    stale: Vec<ProxiedBase>,
    /// Where the next look begins, if there is more.
    next: Option<(Serial, u128)>,
}

/// Whether a container has the address of this lease. A lease of unknown kind may be a container's.
fn is_of_container(record: &Record) -> bool {
    record.leased && matches!(record.kind, Kind::Endpoint | Kind::Unknown)
}

/// Whether a container has this address.
fn is_leased(plan: &Plan, address: IpAddr) -> bool {
    plan.held_around(address).any(|subnet| {
        let record = subnet.number_of(address).and_then(|number| subnet.addresses.lease(number));
        record.is_some_and(is_of_container)
    })
}

/// The addresses of containers from a place on until the budget is spent.
fn bite(plan: &Plan, bases: &[ProxiedBase], (serial, first): (Serial, u128), budget: &Budget) -> LeasesFound {
    let mut found = LeasesFound::default();
    for subnet in plan.subnets_from(serial) {
        let state = &subnet.state;
        let first = if state.serial == serial { first } else { 0 };
        if state.serial > serial && budget.is_spent() {
            return LeasesFound { next: Some((state.serial, 0)), ..found };
        }
        if state.released_at.is_some() {
            continue;
        }
        match stale(bases, state) {
            Some(place) => found.stale.push(place),
            None if is_in(bases, state.prefix) => {}
            None => continue,
        }
        for (count, (number, record)) in subnet.addresses.records_from(first).enumerate() {
            if count % LOOK == LOOK - 1 && budget.is_spent() {
                return LeasesFound { next: Some((state.serial, number)), ..found };
            }
            if is_of_container(record) {
                found.leased.push(state.prefix.address(number));
            }
        }
    }
    found
}
