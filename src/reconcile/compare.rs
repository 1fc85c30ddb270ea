//! One check: compares the books as they were read with the Engine's lists, which were read afterwards.
//!
//! Promises: pure. Does not decide what is dead; see the plan's `evidence`. Matches by space and prefix, since the Engine does
//! not show PoolIDs; if subnets share a prefix, the addresses of a network are adopted into only one of them (`home_of`).
//! What the lists show alive counts as alive, even if they are incomplete.

use std::collections::BTreeSet;

use super::findings::BooksNow;
use super::networks::{Unknown, unknown_networks};
use super::run::Noted;
use crate::plan::change::{Kind, Record, Serial, ShownHolder};
use crate::plan::evidence::{Absence, CompleteView, Doubt, ProofKey, Sight};
use crate::plan::prefix::Prefix;
use crate::plan::request::{Fence, Repair, Space};
use crate::plan::settings::Millis;
use crate::plan::shown::{Endpoint, EngineIdentity, Lists, Network};
use crate::plan::strangers::Strangers;
use crate::plan::{Plan, Subnet};
use crate::store::names::Networks;

/// A lease or subnet that the lists do not show.
#[derive(Debug)]
pub(super) struct Missing {
    pub(super) key: ProofKey,
    /// When it was granted, by the time of day.
    pub(super) since: Millis,
    pub(super) why: String,
    /// The proof that it is absent; `None` if it is too new or if this view proves nothing.
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
    /// Why this view proves nothing; `None` if it does prove something.
    pub(super) doubt: Option<Doubt>,
    /// The Engine, if the view is complete and of the Engine that the books belong to.
    pub(super) engine: Option<EngineIdentity>,
    /// What the lists do not show.
    pub(super) missing: Vec<Missing>,
    /// Addresses that two endpoints have.
    pub(super) doubled: Vec<Doubled>,
    /// What can be done immediately: adopt, identify, note as listed.
    pub(super) at_once: Vec<Repair>,
    /// The Engine's names for the holders.
    pub(super) holders: Noted,
    /// The Engine's names for the networks.
    pub(super) networks: Networks,
    /// None of the recorded callers is alive.
    nobody: bool,
    /// Live leases of callers that are gone; these must not count as dead.
    pub(super) alive_all_the_same: BTreeSet<ProofKey>,
    /// gipam's networks whose subnet is not in the books.
    pub(super) unknown_networks: Vec<Unknown>,
    /// Subnets of networks of any IPAM driver that are not in the books.
    pub(super) strangers: Strangers,
    /// Adopted subnets whose PoolID is not known yet; they were adopted from this Engine.
    pub(super) unnamed: BTreeSet<ProofKey>,
}

/// Compares books and lists. While no caller is alive (`nobody`), the first call of a new dockerd may show that the previous
/// one is gone. So what is alive now is remembered as such.
pub(super) fn compare(books: &BooksNow, lists: &Lists, drivers: &[String], nobody: bool) -> Look {
    let plan = &books.plan;
    let sight = Sight::new(plan, lists, drivers);
    let mut look = Look { nobody, ..Look::default() };
    let view = match CompleteView::of(&sight, books.at, books.settled) {
        Ok(view) => {
            look.engine = Some(view.engine().clone());
            Some(view)
        }
        Err(doubt) => {
            look.doubt = Some(doubt);
            None
        }
    };
    let held: Vec<&Subnet> = plan.subnets().filter(|subnet| subnet.is_held_locally()).collect();
    for subnet in &held {
        let state = &subnet.state;
        let key = (state.serial, None, state.generation);
        if subnet.awaits_id() {
            look.unnamed.insert(key);
        }
        if let Some(why) = sight.subnet_missing(subnet) {
            let absence = view.as_ref().and_then(|view| view.subnet_absent(subnet));
            look.missing.push(Missing { key, since: state.granted_at, why, absence });
            continue;
        }
        known(&mut look, plan, subnet, &sight, view.as_ref(), books.read);
    }
    look.networks = plan.subnets().filter_map(|subnet| network_name(subnet, &sight)).collect();
    let standing: BTreeSet<Prefix> =
        plan.subnets().filter(|subnet| subnet.is_held()).map(|subnet| subnet.state.prefix).collect();
    let listed = lists
        .networks
        .iter()
        .flat_map(|network| network.subnets.iter().map(move |subnet| (subnet.prefix, network.name.as_str())));
    look.strangers = Strangers::listed(listed.filter(|(prefix, _)| !standing.contains(prefix)));
    look.unknown_networks = unknown_networks(&held, &sight, &lists.networks, books.read);
    look.doubled = doubled(&sight, &held);
    look
}

/// Compares a subnet that the lists show.
fn known(
    look: &mut Look,
    plan: &Plan,
    subnet: &Subnet,
    sight: &Sight<'_>,
    view: Option<&CompleteView<'_>>,
    read: Fence,
) {
    let state = &subnet.state;
    let listed = sight.lists_all(state.prefix);
    for (address, record) in subnet.addresses.leases() {
        let (serial, generation) = (state.serial, record.generation);
        let living = sight.living(state.prefix, address);
        if let Some((network, endpoint)) = living.first() {
            if look.nobody || plan.asked_by_the_gone(record.generation) {
                look.alive_all_the_same.insert((serial, Some(address), generation));
            }
            let named = shown_as(record, network, endpoint).map(|shown| (record.generation, shown));
            look.holders.extend(named.map(|named| ((state.serial, address), named)));
        } else if let Some(why) = sight.lease_missing(subnet, address, record) {
            let absence = view.and_then(|view| view.lease_absent(subnet, address, record));
            let key = (serial, Some(address), generation);
            look.missing.push(Missing { key, since: record.since, why, absence });
        }
        let set_up = sight.set_up(state.prefix, address);
        if let Some(kind) = identified(record, set_up, !living.is_empty(), listed) {
            let evidence = "the Engine shows it".into();
            look.at_once.push(Repair::Identify { serial, address, generation, kind, evidence });
        }
    }
    adopt(look, plan, subnet, sight, read);
    if state.start_beyond.is_some() && listed {
        look.at_once.push(Repair::Listed { serial: state.serial, generation: state.generation });
    }
}

/// A name belongs to the MAC and not only to the address: if both MACs are known and differ, the endpoint is not the holder.
fn shown_as(record: &Record, network: &Network, endpoint: &Endpoint) -> Option<ShownHolder> {
    let other = matches!((record.mac, endpoint.mac), (Some(ours), Some(theirs)) if ours != theirs);
    (!other && !endpoint.container.is_empty()).then(|| ShownHolder {
        container: endpoint.container.as_str().into(),
        container_id: endpoint.container_id.as_str().into(),
        network: network.name.as_str().into(),
    })
}

/// The Engine's name for the network of a held subnet, if only one network matches.
fn network_name(subnet: &Subnet, sight: &Sight<'_>) -> Option<(Serial, (u64, Box<str>))> {
    let state = &subnet.state;
    let mut there = sight.networks(state.prefix).iter().filter(|network| !network.is_local());
    let network = match state.space {
        Space::Local => sight.network_of(subnet)?,
        Space::Global => there.next().filter(|_| there.next().is_none())?,
    };
    subnet.is_held().then(|| (state.serial, (state.generation, network.name.as_str().into())))
}

/// The kind that the lists show for a lease. Applies to a lease whose kind is unknown, to an endpoint without name and MAC,
/// and to an auxiliary address that the lists do not show as auxiliary.
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

/// Adopts what the Engine shows in the networks of a subnet and the books lack: live endpoints and auxiliary addresses.
fn adopt(look: &mut Look, plan: &Plan, subnet: &Subnet, sight: &Sight<'_>, read: Fence) {
    let (prefix, serial) = (subnet.state.prefix, subnet.state.serial);
    let copied = sight.is_copied(prefix);
    // If subnets share a prefix, a lease in one of them is enough to keep the address out of all.
    let lacks = |address: u128| {
        let mut grants = plan.grants_of(Space::Local, prefix);
        !grants.any(|it| (it.state.serial == serial || !copied) && it.addresses.is_leased(address))
    };
    let ours = sight.networks(prefix).iter().filter(|network| network.is_local() && sight.is_ours(network));
    let at_home =
        |network: &&&Network| sight.home_of(network, prefix).is_some_and(|home| home.state.serial == serial);
    for network in ours.filter(at_home) {
        let mut leases = network.subnet(prefix).map_or_else(Vec::new, |shown| network.lives_in(shown));
        // A live endpoint says more than a configured address.
        leases.sort_by_key(|lease| std::cmp::Reverse(lease.kind));
        let lacking = leases.into_iter().filter(|it| it.kind != Kind::Gateway && lacks(it.address));
        look.at_once.extend(lacking.map(|lease| Repair::Adopt { serial, lease, read }));
    }
}

/// Addresses at two live endpoints, the most serious finding.
fn doubled(sight: &Sight<'_>, held: &[&Subnet]) -> Vec<Doubled> {
    let found = sight.doubled().map(|(prefix, address, living)| {
        let of_prefix = || held.iter().filter(|subnet| subnet.state.prefix == prefix);
        let leased = of_prefix().find(|subnet| subnet.addresses.is_leased(address));
        let serial = leased.or_else(|| of_prefix().next()).map(|subnet| subnet.state.serial);
        let who = living.iter().map(|(network, endpoint)| (endpoint.container.clone(), network.name.clone()));
        Doubled { prefix, address, who: who.collect(), serial }
    });
    found.collect()
}
