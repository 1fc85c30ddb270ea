//! One check: compares the ledger's plan with the Engine's lists.
//!
//! Promises: does not copy the plan, but reads it in short steps between batches, after the lists. Grants
//! since the lists were requested are left alone, and the ledger refuses repairs of anything that has changed
//! since then. Does not decide what is dead; see the plan's `evidence`. Matches by space and prefix, since
//! the Engine does not show PoolIDs; if subnets share a prefix, the addresses of a network are adopted into
//! only one of them (`home_of`). Everything that the lists show alive counts as alive, even if the lists are
//! incomplete.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::findings::WaitingSubnet;
use super::networks::{Unknown, unknown};
use super::noted::Noted;
use crate::ledger::{Budget, Ledger, Refusal};
use crate::plan::change::{Kind, Record, Serial, ShownHolder};
use crate::plan::evidence::{Absence, CompleteView, Doubt, IndexedLists, ProofKey, Sight};
use crate::plan::prefix::{Prefix, number};
use crate::plan::request::{Fence, Mac, Repair, Space};
use crate::plan::settings::{Millis, Moment};
use crate::plan::shown::{Endpoint, EngineIdentity, Network};
use crate::plan::strangers::Strangers;
use crate::plan::{Plan, Subnet};
use crate::store::names::Networks;

/// Number of addresses between two checks of the time.
const STEP: usize = 64;

/// An Engine's lists, and the moment in the books before they were read.
#[derive(Debug)]
pub(super) struct Sighting {
    pub(super) lists: IndexedLists,
    pub(super) read: Fence,
    /// The same moment, by both clocks.
    pub(super) at: Moment,
    /// Grants below this generation were at least a minute old at that moment.
    pub(super) settled: u64,
    /// None of the recorded callers is alive. Then the first call of a new dockerd may show that the previous
    /// one is gone, so the leases that are alive now are remembered.
    pub(super) nobody: bool,
}

/// A lease or subnet that the lists do not show.
#[derive(Debug)]
pub(super) struct Missing {
    pub(super) key: ProofKey,
    pub(super) prefix: Prefix,
    /// The name that Docker gave for the holder of a lease.
    pub(super) name: Option<String>,
    pub(super) mac: Option<Mac>,
    /// When it was granted, by the time of day.
    pub(super) since: Millis,
    pub(super) why: String,
    /// The proof that it is absent; `None` if the grant is too new or the view is not complete.
    pub(super) absence: Option<Absence>,
}

/// An address that two endpoints have.
#[derive(Debug)]
pub(super) struct Doubled {
    pub(super) prefix: Prefix,
    pub(super) address: u128,
    /// Container and network of each endpoint, for people.
    pub(super) who: Vec<(String, String)>,
    /// The subnet in the books, if there is one; if several share the prefix, the one with the lease.
    pub(super) serial: Option<Serial>,
}

impl Doubled {
    /// The holders as text: `container web in network front, container db in network front`.
    pub(super) fn holders(&self) -> String {
        let who =
            self.who.iter().map(|(container, network)| format!("container {container} in network {network}"));
        who.collect::<Vec<_>>().join(" and ")
    }
}

/// The result of one check.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// Why the lists are not a complete view; `None` if they are.
    pub(super) doubt: Option<Doubt>,
    /// The Engine to which the books will belong, if they do not belong to one yet.
    pub(super) engine: Option<EngineIdentity>,
    /// Leases and subnets that the lists do not show.
    pub(super) missing: Vec<Missing>,
    /// Addresses that two endpoints have.
    pub(super) doubled: Vec<Doubled>,
    /// Repairs to make immediately: adopt, identify, note as listed.
    pub(super) at_once: Vec<Repair>,
    /// Addresses in use that the books lack, by the place of their network in the lists, the prefix, and the
    /// subnet into which they are adopted.
    lacking: BTreeMap<(usize, Prefix, Serial), BTreeSet<u128>>,
    /// The Engine's names for the holders.
    pub(super) holders: Noted,
    /// The Engine's names for the networks.
    pub(super) networks: Networks,
    /// Live leases of callers that are gone; these must not count as dead.
    pub(super) alive_nevertheless: BTreeSet<ProofKey>,
    /// gipam's networks whose subnet is not in the books.
    pub(super) unknown_networks: Vec<Unknown>,
    /// Subnets of networks of any IPAM driver that are not in the books, with the names of the networks.
    strangers: Vec<(Prefix, String)>,
    /// Adopted subnets whose PoolID is not known yet; they were adopted from this Engine.
    pub(super) waiting: Vec<WaitingSubnet>,
}

impl Look {
    /// Subnets of networks of any IPAM driver that are not in the books.
    pub(super) fn strangers(&self) -> Strangers {
        Strangers::listed(self.strangers.iter().map(|(prefix, name)| (*prefix, name.as_str())))
    }
}

/// Reads part of the plan from a position on, and returns the position at which the next step continues.
type LookPart = fn(&Sighting, &Plan, (u64, u128), &mut Look) -> Option<(u64, u128)>;

/// Compares the plan of this ledger with the lists.
pub(super) async fn compare(ledger: &Ledger, seen: &Arc<Sighting>) -> Result<Look, Refusal> {
    let of = seen.clone();
    let mut look = ledger.look(move |plan| of.begin(plan)).await?;
    for bite in [Sighting::subnets as LookPart, Sighting::networks] {
        let mut from = Some((0, 0));
        while let Some(here) = from {
            let seen = seen.clone();
            (look, from) = ledger
                .look(move |plan| {
                    let next = bite(&seen, plan, here, &mut look);
                    (look, next)
                })
                .await?;
        }
    }
    seen.adopt(&mut look);
    for unknown in &mut look.unknown_networks {
        unknown.complete(ledger, seen).await?;
    }
    let crowded: Vec<_> = seen.lists.crowded().collect();
    for part in crowded.chunks(STEP) {
        let (seen, part) = (seen.clone(), part.to_vec());
        let doubled = move |plan: &Plan| {
            part.into_iter().filter_map(|(prefix, address)| seen.doubled(plan, prefix, address)).collect()
        };
        let found: Vec<Doubled> = ledger.look(doubled).await?;
        look.doubled.extend(found);
    }
    Ok(look)
}

impl Sighting {
    fn begin(&self, plan: &Plan) -> Look {
        match self.view(plan) {
            Ok(view) => {
                let engine = Some(view.engine().clone()).filter(|engine| plan.engine() != Some(engine));
                Look { engine, ..Look::default() }
            }
            Err(doubt) => Look { doubt: Some(doubt), ..Look::default() },
        }
    }

    /// The complete view, if these lists are one.
    pub(super) fn view<'a>(&'a self, plan: &'a Plan) -> Result<CompleteView<'a>, Doubt> {
        CompleteView::of(Sight::new(plan, &self.lists), self.at, self.settled)
    }

    /// Compares the subnets, starting at a serial, and in that subnet at an address.
    fn subnets(&self, plan: &Plan, from: (u64, u128), look: &mut Look) -> Option<(u64, u128)> {
        let (budget, sight) = (Budget::now(), Sight::new(plan, &self.lists));
        let view = if look.doubt.is_none() { self.view(plan).ok() } else { None };
        for subnet in plan.subnets_from(from.0) {
            let state = &subnet.state;
            let (serial, first) = (state.serial, if state.serial == from.0 { from.1 } else { 0 });
            if serial != from.0 && budget.is_spent() {
                return Some((serial, 0));
            }
            if !subnet.is_held() || state.generation >= self.read.generation {
                continue;
            }
            if first == 0 && !self.is_shown(subnet, sight, view.as_ref(), look) {
                continue;
            }
            if !subnet.is_held_locally() {
                continue;
            }
            let listed = sight.lists_all(state.prefix);
            for (n, (address, record)) in subnet.addresses.records_from(first).enumerate() {
                if n % STEP == STEP - 1 && budget.is_spent() {
                    return Some((serial, address));
                }
                if record.leased && record.generation < self.read.generation {
                    self.lease(plan, subnet, (address, record), listed, view.as_ref(), look);
                }
            }
        }
        None
    }

    /// Compares a held subnet without its addresses; returns whether the lists show it.
    fn is_shown(
        &self,
        subnet: &Subnet,
        sight: Sight<'_>,
        view: Option<&CompleteView<'_>>,
        look: &mut Look,
    ) -> bool {
        let state = &subnet.state;
        let (serial, generation) = (state.serial, state.generation);
        let network = self.network_name(subnet, sight);
        look.networks.extend(network.map(|name| (serial, (generation, name.into()))));
        if subnet.awaits_id() {
            look.waiting.push(WaitingSubnet::of(subnet, sight.plan(), network, self.read.at));
        }
        if let Some(why) = sight.subnet_missing(subnet) {
            let absence = view.and_then(|view| view.subnet_absent(subnet));
            let (key, prefix, since) = ((serial, None, generation), state.prefix, state.granted_at);
            look.missing.push(Missing { key, prefix, name: None, mac: None, since, why, absence });
            return false;
        }
        if state.start_beyond.is_some() && subnet.is_held_locally() && sight.lists_all(state.prefix) {
            look.at_once.push(Repair::Listed { serial, generation });
        }
        true
    }

    /// Compares a lease in a subnet that the lists show; `listed` says whether the lists are complete for its
    /// prefix.
    fn lease(
        &self,
        plan: &Plan,
        subnet: &Subnet,
        (address, record): (u128, &Record),
        listed: bool,
        view: Option<&CompleteView<'_>>,
        look: &mut Look,
    ) {
        let (prefix, serial, generation) = (subnet.state.prefix, subnet.state.serial, record.generation);
        let key = (serial, Some(address), generation);
        let living = self.lists.living(prefix, address).next();
        if let Some((network, endpoint)) = living {
            if self.nobody || plan.asked_by_the_gone(generation) {
                look.alive_nevertheless.insert(key);
            }
            let named = shown_as(record, network, endpoint).map(|shown| (generation, shown));
            look.holders.extend(named.map(|named| ((serial, address), named)));
        } else if let Some(why) = Sight::new(plan, &self.lists).lease_missing(subnet, address, record) {
            let absence = view.and_then(|view| view.lease_absent(subnet, address, record));
            let (name, mac, since) = (record.name.as_deref().map(str::to_owned), record.mac, record.since);
            look.missing.push(Missing { key, prefix, name, mac, since, why, absence });
        }
        let set_up = self.lists.set_up(prefix, address);
        if let Some(kind) = identified(record, set_up, living.is_some(), listed) {
            let evidence = "the Engine shows it".into();
            look.at_once.push(Repair::Identify { serial, address, generation, kind, evidence });
        }
    }

    /// Finds what the books lack in the Engine's networks, starting at one network, and in it at an endpoint.
    fn networks(&self, plan: &Plan, from: (u64, u128), look: &mut Look) -> Option<(u64, u128)> {
        let (budget, sight) = (Budget::now(), Sight::new(plan, &self.lists));
        let (mut n, mut e) = (from.0 as usize, from.1 as usize);
        while let Some(network) = self.lists.lists().networks.get(n) {
            for shown in &network.subnets {
                let is_held = |space| plan.grants_of(space, shown.prefix).next().is_some();
                if e == 0 && !is_held(Space::Local) && !is_held(Space::Global) {
                    look.strangers.push((shown.prefix, network.name.clone()));
                }
                if !self.lists.is_ours_here(network) {
                    continue;
                }
                if e == 0 {
                    look.unknown_networks.extend(unknown(plan, n, network, shown, self.read));
                }
                let home = sight.home_of(network, shown.prefix);
                let old = home.filter(|home| home.state.generation < self.read.generation);
                let Some(home) = old else { continue };
                let (serial, copied) = (home.state.serial, sight.is_copied(shown.prefix));
                // If subnets share a prefix, an address that is leased in one of them is not adopted into any
                // other.
                let lacks = |address: u128| {
                    let mut grants = plan.grants_of(Space::Local, shown.prefix);
                    !grants.any(|it| (it.state.serial == serial || !copied) && it.addresses.is_ours(address))
                };
                let auxiliary = shown.auxiliary.iter().filter(|_| e == 0);
                let lives = network.endpoints.iter().skip(e).take(STEP).flat_map(|it| &it.addresses);
                let here = auxiliary.chain(lives).filter(|it| shown.prefix.contains_address(**it));
                for address in here.map(|address| number(*address)).filter(|address| lacks(*address)) {
                    look.lacking.entry((n, shown.prefix, serial)).or_default().insert(address);
                }
            }
            e += STEP;
            if e >= network.endpoints.len() {
                (n, e) = (n + 1, 0);
            }
            if budget.is_spent() {
                return Some((n as u64, e as u128));
            }
        }
        None
    }

    /// Plans the adoption of live endpoints and auxiliary addresses that the Engine shows and the books lack.
    fn adopt(&self, look: &mut Look) {
        for ((n, prefix, serial), lacking) in std::mem::take(&mut look.lacking) {
            let Some(network) = self.lists.lists().networks.get(n) else { continue };
            let mut leases = network.subnet(prefix).map_or_else(Vec::new, |shown| network.lives_in(shown));
            // A live endpoint takes precedence over a configured address.
            leases.sort_by_key(|lease| std::cmp::Reverse(lease.kind));
            leases.retain(|lease| lease.kind != Kind::Gateway && lacking.contains(&lease.address));
            let read = self.read;
            look.at_once.extend(leases.into_iter().map(|lease| Repair::Adopt { serial, lease, read }));
        }
    }

    /// The Engine's name for the network of a held subnet, if only one network matches.
    fn network_name<'a>(&'a self, subnet: &Subnet, sight: Sight<'a>) -> Option<&'a str> {
        let mut swarm = self.lists.networks(subnet.state.prefix).filter(|network| !network.is_local());
        match subnet.state.space {
            Space::Local => sight.network_of(subnet).map(|network| network.name.as_str()),
            Space::Global => {
                swarm.next().filter(|_| swarm.next().is_none()).map(|network| network.name.as_str())
            }
        }
    }

    /// The address as a duplicate, if two containers have it.
    fn doubled(&self, plan: &Plan, prefix: Prefix, address: u128) -> Option<Doubled> {
        let of_prefix = || plan.grants_of(Space::Local, prefix);
        let leased = of_prefix().find(|subnet| subnet.addresses.is_leased(address));
        let serial = leased.or_else(|| of_prefix().next()).map(|subnet| subnet.state.serial);
        let living = self.lists.living(prefix, address);
        let who = living.map(|(network, endpoint)| (endpoint.container.clone(), network.name.clone()));
        let is_doubled = Sight::new(plan, &self.lists).is_doubled(prefix, address);
        is_doubled.then(|| Doubled { prefix, address, who: who.collect(), serial })
    }
}

/// A name belongs to the MAC and not only to the address: if both MACs are known and differ, the endpoint is
/// not the holder.
fn shown_as(record: &Record, network: &Network, endpoint: &Endpoint) -> Option<ShownHolder> {
    let other = matches!((record.mac, endpoint.mac), (Some(ours), Some(theirs)) if ours != theirs);
    (!other && !endpoint.container.is_empty()).then(|| ShownHolder {
        container: endpoint.container.as_str().into(),
        container_id: endpoint.container_id.as_str().into(),
        network: network.name.as_str().into(),
    })
}

/// The kind that the lists show for a lease. Applies to a lease whose kind is unknown, to an endpoint without
/// name and MAC, and to an auxiliary address that the lists do not show as auxiliary.
fn identified(record: &Record, set_up: Option<Kind>, lives: bool, listed: bool) -> Option<Kind> {
    let nobody = record.name.is_none() && record.mac.is_none();
    match (record.kind, set_up) {
        (Kind::Unknown, _) if lives => Some(Kind::Endpoint),
        (Kind::Unknown, Some(kind)) => Some(kind),
        (Kind::Endpoint, Some(Kind::Auxiliary)) if !lives && nobody => Some(Kind::Auxiliary),
        (Kind::Auxiliary, None) if listed => Some(Kind::Endpoint),
        _ => None,
    }
}
